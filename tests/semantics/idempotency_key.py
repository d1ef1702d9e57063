"""At-least-once execution, exactly-once record; the key tells a repeat from a second call."""
import chain


def test_every_execution_of_a_call_has_its_key_and_every_call_its_own(stacks):
    s = stacks(plugins=["idempotency-key"])
    file = s.directory / "paid.txt"
    run = s.start("idempotency-key", {"path": str(file), "deaths": 2})
    keys = s.result(run)
    assert keys["first"] != keys["second"], "two calls with the same input are two payments"
    executed = [line.split() for line in file.read_text().splitlines()]
    # Executed three times, because it died twice behind its effect; a death is no failed attempt.
    assert executed == [[keys["first"], "1"]] * 3 + [[keys["second"], "1"]]
    events = s.history(run)
    assert sum(e["kind"] == "step_done" for e in events) == 2, "and recorded once"
    chain.check(events)


def test_two_runs_never_share_a_key(stacks):
    s = stacks(plugins=["idempotency-key"])
    runs = [s.start("idempotency-key", {"path": str(s.directory / "paid.txt"), "deaths": 0}) for _ in range(2)]
    outputs = [s.result(run) for run in runs]
    assert len({key for output in outputs for key in output.values()}) == 4
