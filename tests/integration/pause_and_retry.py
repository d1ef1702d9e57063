"""Pause, resume, wake and retry a run; whatever a run did before stays done."""
import chain
import pytest
from harness import HttpError, until


def marks(s):
    path = s.directory / "trace"
    return path.read_text() if path.exists() else ""


def begin(s, workflow, **more):
    return s.start(workflow, {"path": str(s.directory / "trace"), **more})


def control(s, run, action, **body):
    return s.request("POST", f"/v1/runs/{run}/{action}", body)


def in_state(s, run, state):
    until(lambda: s.state(run) == state, f"{run} is {state}, not {s.state(run)}")


def once_on_record(s, run, tasks):
    """However often they were executed."""
    done = [(e["address"], e["nth"]) for e in s.history(run) if e["kind"] == "step_done" and e["attempt"]]
    assert len(done) == len(set(done)) == tasks, done


def pause_and_hear(s, run):
    """What its process is told comes in order: when another run was executed there, it has heard of this."""
    control(s, run, "pause")
    s.result(s.start("busy", {"path": str(s.directory / "elsewhere")}))


def kinds(s, run):
    return [e["kind"] for e in s.history(run)]


def test_a_paused_run_shows_what_it_waited_for(stacks):
    s = stacks(plugins=["inbox"])
    run = s.start("inbox", {"names": ["letter"]})
    in_state(s, run, "awaiting_signal")
    control(s, run, "pause")
    in_state(s, run, "paused")
    s.restart_server()
    assert [(wait["kind"], wait["name"]) for wait in s.run(run)["waits"]] == [("signal", "letter")]
    assert "waits for signal letter" in s.aiki("runs", "inspect", run).stdout
    control(s, run, "resume")
    s.signal(run, "letter", "come")
    assert s.result(run) == ["come"]
    assert s.run(run)["waits"] == []


def test_a_paused_run_ends_what_it_began_and_no_more(stacks):
    s = stacks(plugins=["family", "waits"])
    tries = []

    def paused():
        trace, gate = (s.directory / f"{what}{len(tries)}" for what in ("trace", "gate"))
        run = begin(s, "busy", path=str(trace), gate=str(gate))
        tries.append(run)
        until(trace.exists, "the task is under way")
        pause_and_hear(s, run)
        gate.touch()
        in_state(s, run, "paused")
        return run, trace, trace.read_text(), kinds(s, run)[-1]
    run, trace, left, last = s.undisturbed(paused)
    assert (left, last) == ("+d", "step_done"), "the attempt under way has ended"
    s.restart_server()
    assert s.state(run) == "paused"
    control(s, run, "resume")
    s.result(run)
    assert trace.read_text() == "+d"
    chain.check(s.history(run))


def test_a_result_the_code_does_not_wait_for_is_kept_and_not_seen(stacks):
    """Two tasks end while the run is paused; its code waits for one of them and returns."""
    s = stacks(plugins=["family"])
    tries = []

    def pauses():
        path, gate = s.directory / f"trace{len(tries)}", s.directory / f"gate{len(tries)}"
        run = s.start("race", {"path": str(path), "gate": str(gate)})
        tries.append(path)
        until(lambda: path.exists() and path.read_text() == "++", "both are under way")
        pause_and_hear(s, run)
        gate.touch()
        in_state(s, run, "paused")
        return run
    run = s.undisturbed(pauses)
    assert tries[-1].read_text() == "++dd"
    assert [k for k in kinds(s, run) if k.endswith("_done")] == ["step_done", "attempt_done"]
    s.runtime.kill()
    s.restart_server()
    control(s, run, "resume")
    s.start_runtime(0)
    assert s.result(run)["n"] == 1
    assert tries[-1].read_text() == "++dd"
    assert kinds(s, run)[-1] == "completed"
    chain.check(s.history(run))


def test_signals_sent_to_a_paused_run_are_kept(stacks):
    s = stacks(plugins=["waits"])
    run = s.start("approve", {"timeout_ms": 60000})
    in_state(s, run, "awaiting_signal")
    control(s, run, "pause")
    in_state(s, run, "paused")
    s.signal(run, "decision", {"ok": True})
    s.runtime.kill()
    s.start_runtime(0)
    assert s.state(run) == "paused"
    control(s, run, "resume")
    assert s.result(run)["ok"] is True
    chain.check(s.history(run))


def test_a_paused_run_that_is_cancelled_cleans_up(stacks):
    s = stacks(plugins=["family"])
    run = begin(s, "cleanup", ms=3600000)
    in_state(s, run, "sleeping")
    control(s, run, "pause")
    in_state(s, run, "paused")
    control(s, run, "cancel")
    assert s.outcome(run)["state"] == "cancelled"
    s.check_trace(marks(s), "auv")
    once_on_record(s, run, 3)


def test_a_sleeper_is_woken_early(stacks):
    s = stacks(plugins=["waits"])
    run = s.start("nap", {"ms": 3600000})
    in_state(s, run, "sleeping")
    s.runtime.kill()
    control(s, run, "wake")
    s.start_runtime(0)
    assert s.result(run)["ms"] == 3600000
    chain.check(s.history(run))


def test_a_failed_run_goes_on_where_it_failed(stacks):
    """The failed step and what the code did because of it: the first is executed again, the second
    is not needed any more."""
    s = stacks(plugins=["family"])
    run = begin(s, "gate")
    assert s.outcome(run)["state"] == "failed"
    s.check_trace(marks(s), "au")
    (s.directory / "trace.open").write_text("")
    s.runtime.kill()
    control(s, run, "retry")
    s.start_runtime(0)
    assert s.result(run)["n"] == 1
    s.check_trace(marks(s), "aub")
    assert "run_retried" in kinds(s, run)
    chain.check(s.history(run))


def test_a_failed_run_is_done_again_from_a_step(stacks):
    s = stacks(plugins=["family"])
    run = begin(s, "gate")
    assert s.outcome(run)["state"] == "failed"
    (s.directory / "trace.open").write_text("")
    control(s, run, "retry", **{"from": "mark"})
    assert s.result(run)["n"] == 1
    s.check_trace(marks(s), "auab")
    chain.check(s.history(run))


def test_a_cancelled_run_goes_on_as_if_nobody_had_asked(stacks):
    s = stacks(plugins=["family"])
    run = begin(s, "cleanup", ms=3600000)
    in_state(s, run, "sleeping")
    control(s, run, "cancel")
    assert s.outcome(run)["state"] == "cancelled"
    control(s, run, "retry")
    in_state(s, run, "sleeping")
    control(s, run, "wake")
    s.result(run)
    s.check_trace(marks(s), "auv")
    once_on_record(s, run, 3)
    chain.check(s.history(run))


def test_a_terminated_run_executes_nothing_more(stacks):
    s = stacks(plugins=["family"])
    run = begin(s, "cleanup", ms=3600000)
    in_state(s, run, "sleeping")
    control(s, run, "terminate")
    assert s.outcome(run)["state"] == "terminated"
    busy = begin(s, "busy", ms=3600000)
    until(lambda: "+" in marks(s), "the task is under way")
    control(s, busy, "terminate")
    assert s.outcome(busy)["state"] == "terminated"
    until(lambda: marks(s) == "a+c", "the attempt was told")
    with pytest.raises(HttpError):
        control(s, busy, "cancel")


def test_requests_survive_a_server_that_dies_behind_them(stacks):
    """Killed at once after the answer: what was answered holds."""
    s = stacks(plugins=["family"])
    run = begin(s, "cleanup", ms=3600000)
    in_state(s, run, "sleeping")
    control(s, run, "cancel")
    s.restart_server()
    assert s.outcome(run)["state"] == "cancelled"
    s.check_trace(marks(s), "auv")
    once_on_record(s, run, 3)
