"""What a runtime takes and when: slots, reserve before execute, orderly end."""
import re
import time

import chain
from harness import PATIENCE_S, at_best, in_time, until


def most_at_once(marks):
    at_once = most = 0
    for mark in marks:
        at_once += 1 if mark == "+" else -1
        most = max(most, at_once)
    return most


def test_slots_are_used_and_never_exceeded(stacks):
    s = stacks(plugins=["turns"], runtime_args=["--slots", "3"])
    path = s.directory / "turns"
    gate = s.directory / "gate"
    runs = [s.start("turns", {"path": str(path), "gate": str(gate)}) for _ in range(30)]
    until(lambda: path.exists() and path.read_text() == "+++", "all slots are used")
    gate.touch()
    busy = set()

    def sample():
        busy.update(w["runs"] for w in s.get("/v1/workers")["workers"])
        return all(s.state(run) == "completed" for run in runs)
    until(sample, "all are done")
    assert max(busy) <= 3, "the worker claimed more than it has slots for"
    # Of a run that was taken away an attempt may still be going on when the next one begins.
    assert 3 <= most_at_once(path.read_text()) <= 3 + s.taken_away()
    assert 60 <= len(path.read_text()) <= 60 + 2 * s.taken_away()


def test_a_ticket_that_was_read_is_reserved_by_nobody_until_it_is_claimed(stacks):
    s = stacks(plugins=["turns"], start=False)
    s.start_redis()
    s.start_server()
    s.start_runtime(0, env={"AIKI_FAULT": "runtime.ticket.read=kill"})
    path = s.directory / "turns"
    run = s.start("turns", {"path": str(path)})
    until(lambda: not s.runtime.alive(), "it died with the ticket in its hands")
    assert not path.exists() and [e["kind"] for e in s.history(run)] == ["started"]
    s.start_runtime(1)
    s.result(run)
    assert path.read_text() == "+-", "executed once, by the one that claimed it"
    chain.check(s.history(run))


def test_a_run_that_was_reserved_and_not_begun_is_somebody_elses_long_before_the_lease_ends(stacks):
    """Its runtime dies with the claim granted and nothing executed; the lease would be an hour."""
    def goes_on():
        s = stacks(plugins=["turns"], lease_ms=3_600_000, start=False)
        s.start_redis()
        s.start_server()
        s.start_runtime(0, env={"AIKI_FAULT": "runtime.claim.granted=kill"})
        path = s.directory / "turns"
        run = s.start("turns", {"path": str(path)})
        until(lambda: not s.runtime.alive(), "it died with the run reserved")
        until(lambda: s.state(run) in ("queued", "stalled"), "the server has heard of its end")
        assert not path.exists(), "nothing was executed"
        s.start_runtime(1)
        ready = time.monotonic()
        s.result(run)
        took = time.monotonic() - ready
        assert path.read_text() == "+-", "executed once"
        in_time(took < 2, f"{took:.1f} s")
    at_best(goes_on)


def test_two_runtimes_never_own_the_same_run(stacks):
    s = stacks(plugins=["turns"], runtimes=2)
    path = s.directory / "turns"
    runs = [s.start("turns", {"path": str(path)}) for _ in range(40)]
    for run in runs:
        s.result(run)
    epochs = [[e["epoch"] for e in s.history(run) if e["kind"] == "claimed"] for run in runs]
    assert all(len(own) == len(set(own)) for own in epochs)
    assert len(runs) <= sum(map(len, epochs)) <= len(runs) + s.taken_away()
    assert 2 * len(runs) <= len(path.read_text()) <= 2 * (len(runs) + s.taken_away())


def test_sigterm_finishes_what_is_under_way_and_takes_nothing_new(stacks):
    s = stacks(plugins=["turns"])
    path = s.directory / "turns"
    gate = s.directory / "gate"
    run = s.start("turns", {"path": str(path), "gate": str(gate)})
    until(lambda: path.exists() and path.read_text() == "+", "it is under way")
    s.runtime.send(15)
    until(lambda: re.search("SIGTERM", s.runtime.log.read_text()), "it drains")
    later = s.start("turns", {"path": str(path)})
    gate.touch()
    assert s.runtime.popen.wait(PATIENCE_S) == 0
    # Taken from it while it drained, the run is for another one.
    assert (s.state(run) == "completed" and path.read_text() == "+-") or s.taken_away()
    assert s.state(later) in ("queued", "stalled")
    s.start_runtime()
    s.result(later)
    s.result(run)
    assert path.read_text().count("-") <= 2 + s.taken_away()
