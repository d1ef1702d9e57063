"""The times of the history are those at which things happened.

`at` of an event is when the server recorded it, `duration_us` how long the attempt took in its thread. On a
machine that has something else to do a record may be late, so a run that was disturbed is tried again; a clock
that is wrong, or a stamp taken at the wrong moment, would disturb every one.
"""
from datetime import datetime

import chain
from harness import until

TOLERANCE_US = 5000


def us(stamp):
    return round(datetime.fromisoformat(stamp.replace("Z", "+00:00")).timestamp() * 1e6)


def stamps(path):
    """(branch, attempt): (began, ended), as the task saw it."""
    rows = [[int(word) for word in line.split()] for line in path.read_text().splitlines()]
    return {(branch, attempt): (began, ended) for branch, attempt, began, ended in rows}


def timeline(events):
    """The same from the history. The first event of a step has its input."""
    branches, told = {}, {}
    for e in events:
        if e["kind"] not in ("step_begun", "attempt_failed", "step_done"):
            continue
        if e["input"] is not None:
            branches[e["address"], e["nth"]] = e["input"].get("number", 0)
        if e["kind"] != "step_begun":
            ended = us(e["at"])
            told[branches[e["address"], e["nth"]], e["attempt"]] = (ended - e["duration_us"], ended)
    return told


def differences(s, path):
    path.write_text("")
    run = s.start("timeline", {"path": str(path)})
    s.result(run)
    events = s.history(run)
    chain.check(events)
    seen, told = stamps(path), timeline(events)
    assert set(seen) == set(told) == {(branch, attempt) for branch in range(3) for attempt in (1, 2)}
    return {(*key, end): abs(a - b) for key in sorted(seen) for end, a, b in zip(("began", "ended"), seen[key], told[key])}


def test_begin_and_end_of_every_attempt_are_right_to_5_ms(common, trace):
    """Each in a run that did not disturb it; another one may have disturbed another stamp."""
    least = differences(common, trace)

    def agree():
        for stamp, difference in differences(common, trace).items():
            least[stamp] = min(least[stamp], difference)
        return max(least.values()) <= TOLERANCE_US
    until(agree, f"they agree within 5 ms: {least}")


def test_the_order_is_that_of_the_events(common, trace):
    """In every branch the retry follows its failure."""
    run = common.start("timeline", {"path": str(trace)})
    common.result(run)
    ends = list(timeline(common.history(run)))
    for branch in range(3):
        assert ends.index((branch, 1)) < ends.index((branch, 2))
    shown = common.aiki("runs", "inspect", run).stdout
    assert shown.count("attempt failed") == 3 and shown.count("attempt 2, took") == 3
