"""Heartbeats: an attempt says that it is alive and how far it is; silence ends it, its details do not get lost.

Within a process the next attempt has the last details. Of those said in the last moments of a process that
died the record may know an older state: details go to the record when the first one is said and then at
intervals (at least a second), not with every beat.
"""
from harness import at_best, in_time, until


def test_an_attempt_that_beats_may_take_longer_than_its_silence(common, trace):
    def beats():
        trace.write_text("")
        run = common.start("heartbeats", {"path": str(trace), "items": 150, "pause_ms": 10})
        out = common.result(run)
        in_time(out["attempt"] == 1, "no processor for a second")
        assert out == {"attempt": 1, "began_at": 0} and trace.read_text() == "." * 150
        done, = [e for e in common.history(run) if e["kind"] == "step_done"]
        assert done["duration_us"] > 1_000_000, "longer than it may be silent"
    at_best(beats)


def test_silence_ends_it_and_the_next_attempt_goes_on_where_it_was(common, trace):
    def falls_silent():
        trace.write_text("")
        run = common.start("heartbeats", {"path": str(trace), "items": 30, "silent_after": 20})
        out = common.result(run)
        assert trace.read_text() == "." * 30, "no item was handled twice"
        in_time(out["began_at"] >= 20, "no processor for a second")
        assert out == {"attempt": 2, "began_at": 20}
        return run
    failed, = [e for e in common.history(at_best(falls_silent)) if e["kind"] == "attempt_failed"]
    assert failed["error"]["code"] == "TIMEOUT_HEARTBEAT"
    assert failed["error"]["message"] == "attempt 1 of task handle: it was silent for over 1000 ms"


def test_beats_do_not_fill_the_history(common, trace):
    run = common.start("heartbeats", {"path": str(trace), "items": 400, "pause_ms": 0})
    common.result(run)
    assert 1 <= sum(e["kind"] == "heartbeat" for e in common.history(run)) <= 10


def test_details_outlive_the_process(stacks):
    s = stacks(plugins=["heartbeats"])
    trace = s.directory / "trace"
    gate = s.directory / "gate"
    run = s.start("heartbeats", {"path": str(trace), "items": 10000, "pause_ms": 10, "gate": str(gate)})
    until(lambda: sum(e["kind"] == "heartbeat" for e in s.history(run)) >= 2, "details are on record again")
    recorded = [e for e in s.history(run) if e["kind"] == "heartbeat"][-1]["details"]
    s.runtime.kill()
    s.restart_server()
    gate.touch()
    s.start_runtime()
    out = s.result(run)
    assert out["began_at"] >= recorded > 1
    assert out["attempt"] == 1, "an attempt that died with its process is none that failed"
