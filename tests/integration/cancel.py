"""A run that is asked to end cleans up, wherever it is and whoever dies meanwhile."""
import chain
import pytest
from harness import HttpError, at_best, in_time, until


def marks(s):
    path = s.directory / "trace"
    return path.read_text() if path.exists() else ""


def begin(s, workflow, **more):
    return s.start(workflow, {"path": str(s.directory / "trace"), **more})


def cancel(s, run):
    s.request("POST", f"/v1/runs/{run}/cancel", {"reason": "changed my mind"})


def kinds(s, run):
    return [e["kind"] for e in s.history(run)]


def asleep(s, run):
    until(lambda: s.state(run) == "sleeping", f"{run} sleeps")


@pytest.mark.parametrize("mode,state", [("", "cancelled"), ("complete", "completed"),
                                        ("fail", "failed")])
def test_a_sleeper_wakes_and_cleans_up(stacks, mode, state):
    s = stacks(plugins=["family"])
    run = begin(s, "cleanup", ms=3600000, mode=mode)
    asleep(s, run)
    cancel(s, run)
    cancel(s, run)  # said twice is said once
    assert s.outcome(run)["state"] == state
    assert marks(s) == "auv"
    seen = kinds(s, run)
    assert seen.count("cancel_requested") == 1 and seen.count("cancel_seen") == 1
    assert s.run(run)["waits"] == []
    chain.check(s.history(run))


def test_cleanup_survives_kills(stacks):
    """The request on record, nobody there to hear it; then a kill in the middle of the cleanup."""
    s = stacks(plugins=["family"])
    run = begin(s, "cleanup", ms=3600000)
    asleep(s, run)
    s.runtime.kill()
    cancel(s, run)
    s.restart_server()
    s.start_runtime(0)
    until(lambda: "u" in marks(s), "the cleanup has begun")
    s.runtime.kill()
    s.start_runtime(0)
    assert s.outcome(run)["state"] == "cancelled"
    assert marks(s).replace("uu", "u").replace("vv", "v") == "auv"
    assert kinds(s, run).count("cancel_seen") == 1
    chain.check(s.history(run))


def test_an_attempt_is_told_and_its_result_dropped(stacks):
    s = stacks(plugins=["family"])
    run = begin(s, "busy", ms=3600000)
    until(lambda: "+" in marks(s), "the task is under way")
    cancel(s, run)
    assert s.outcome(run)["state"] == "cancelled"
    until(lambda: marks(s) == "+c", "the task looked")
    chain.check(s.history(run))


def test_a_task_that_does_not_look_ends_late_and_its_result_is_dropped(stacks):
    """The run does not wait for it: it is cancelled at once, and what comes of the attempt is not on record."""
    s = stacks(plugins=["slow"])
    begun, gate = s.directory / "begun", s.directory / "gate"
    run = s.start("slow", {"ms": 0, "how": "spin", "begun": str(begun), "gate": str(gate)})
    until(begun.exists, "the task is under way")
    cancel(s, run)
    assert s.outcome(run)["state"] == "cancelled"
    events = s.history(run)
    assert "step_done" not in [e["kind"] for e in events if e.get("outcome") == "ok"]
    step = [e for e in events if e["kind"] == "step_done"]
    assert [(e["outcome"], e["attempt"]) for e in step] == [("cancelled", 1)], "history says so"
    assert "attempt 1 was under way: what it answers is dropped" in s.aiki("runs", "inspect", run).stdout
    before = s.runtime.children()
    next_one = s.start("slow", {"ms": 0})
    assert s.result(next_one)["attempt"] == 1
    assert s.runtime.children() == before, "a cancelled attempt costs no process"
    gate.touch()
    assert s.result(s.start("slow", {"ms": 0}))["attempt"] == 1
    assert s.history(run) == events
    chain.check(events)


def test_a_run_that_never_looks_completes(stacks):
    """Asked to end between its last wait and its end, a run completes."""
    s = stacks(plugins=["family"])
    run = begin(s, "busy", ms=0)
    s.result(run)
    with pytest.raises(HttpError):
        cancel(s, run)
    assert s.state(run) == "completed"


@pytest.mark.parametrize("mode,n,text", [("fail_fast", 5, "BRANCH"), ("settled", 41, "BRANCH"),
                                         ("quorum", 31, "")])
def test_groups(stacks, mode, n, text):
    """Fail-fast cancels its siblings, settled waits for all, a quorum goes on with enough."""
    s = stacks(plugins=["family"])
    gate = s.directory / "gate"
    run = begin(s, "group", ms=1000 if mode == "settled" else 3600000, mode=mode, gate=str(gate))
    until(lambda: any(e["kind"] == "step_done" and e["error"] for e in s.history(run)), "a branch has failed")
    if mode != "fail_fast":
        gate.touch()
    answer = s.result(run)
    assert (answer["n"], answer.get("text", "")) == (n, text)
    expected = {"fail_fast": 4, "settled": 0, "quorum": 1}[mode]
    until(lambda: marks(s).count("+") == marks(s).count("c") + marks(s).count("d"), "every attempt has ended")
    told = marks(s).count("c")
    assert expected <= told <= expected + 4 * s.taken_away(), marks(s)
    assert marks(s).count("+") <= 4 * (1 + s.taken_away())
    chain.check(s.history(run))


def test_sleep_until(stacks):
    s = stacks(plugins=["family"])

    def sleeps():
        took_ms = s.result(begin(s, "until", ms=400))["n"]
        assert took_ms >= 400
        in_time(took_ms < 5000, took_ms)
    at_best(sleeps)
