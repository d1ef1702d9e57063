"""Check a history as read from the API: gap-free, one epoch at a time, chained."""


def check(events):
    assert [e["seq"] for e in events] == list(range(1, len(events) + 1)), "history has a gap"
    epoch = 0
    for e in events:
        assert e["epoch"] >= epoch, f"epoch falls at {e['seq']}"
        epoch = e["epoch"]
    assert len({e["hash"] for e in events}) == len(events), "two events share a hash"
    done = [(e["address"], e["nth"]) for e in events if e["kind"] == "step_done"]
    assert len(done) == len(set(done)), "a step has two results"
    ends = [e for e in events if e["kind"] in ("completed", "failed")]
    assert len(ends) <= 1 and (not ends or ends[0] is events[-1]), "events after the end"
