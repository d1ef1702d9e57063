"""Check a history as read from the API: gap-free, one epoch at a time, chained."""
ENDS = ("completed", "failed", "cancelled", "timed_out", "terminated")


def check(events):
    assert [e["seq"] for e in events] == list(range(1, len(events) + 1)), "history has a gap"
    epoch = 0
    for e in events:
        assert e["epoch"] >= epoch, f"epoch falls at {e['seq']}"
        epoch = e["epoch"]
    assert len({e["hash"] for e in events}) == len(events), "two events share a hash"
    done, ends = {}, []
    for e in events:
        if e["kind"] == "step_done":
            step = (e["address"], e["nth"])
            assert step not in done, "a step has two results"
            done[step] = e
        if e["kind"] == "run_retried":  # what it voids may be done again, the rest may not
            from_seq = e.get("from_seq") or float("inf")
            done = {step: d for step, d in done.items()
                    if d["outcome"] == "ok" and d["seq"] < from_seq}
            ends = []
        if e["kind"] == "dropped":  # once for each failure, and nothing else comes behind an end
            assert ends and ends[-1]["kind"] == "failed", "what has not failed is dropped"
            ends[-1:] = [e]
        if e["kind"] in ENDS:
            ends.append(e)
    assert len(ends) <= 1 and (not ends or ends[0] is events[-1]), "events after the end"
