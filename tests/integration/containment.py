"""Plugin code that takes its process down: who is charged, what the history says, what becomes of it."""
import pytest

from harness import until


def crashed(stack, run):
    return [e for e in stack.history(run) if e["kind"] == "crashed"]


def crash(stack, how, times=1, where="task", ms=0, name=None, **more):
    marks = stack.directory / f"marks-{name or how}-{where}"
    return stack.start("crash", {"how": how, "times": times, "path": str(marks), "where": where, "ms": ms}, **more)


WAYS = {"null": ("CRASH_SIGNAL", "signal 11"), "segv": ("CRASH_SIGNAL", "signal 11"),
        "bus": ("CRASH_SIGNAL", "signal 7"), "division": ("CRASH_SIGNAL", "signal 8"),
        "instruction": ("CRASH_SIGNAL", "signal 4"), "abort": ("CRASH_SIGNAL", "signal 6"),
        "stack": ("CRASH_STACK_OVERFLOW", "stack"), "exit": ("CRASH_EXIT", "exit code 0"),
        "_exit": ("CRASH_EXIT", "exit code 3"), "quick_exit": ("CRASH_EXIT", "exit code 4"),
        "handlers": ("CRASH_SIGNAL", "signal 11"), "heap": ("CRASH_SIGNAL", "signal 6")}


@pytest.mark.parametrize("where", ["task", "workflow"])
def test_every_end_of_a_process_is_on_record_with_its_cause(stacks, where):
    s = stacks(plugins=["crash"])
    for how, (code, words) in WAYS.items():
        run = crash(s, how, where=where)
        assert s.result(run) == {"crashes": 1}, how
        (event,) = crashed(s, run)
        error = event["error"]
        assert error["code"] == code and words in error["message"], (how, error)
        assert error["category"] == "plugin" and event["charged"], (how, event)
        assert event["step"] == where and event["name"] == "crash", (how, event)
        assert event["build"] == s.get("/v1/plugins")["plugins"][0]["build"], (how, event)
        done = [e for e in s.history(run) if e["kind"] == "step_done"]
        assert [e["attempt"] for e in done] == [1], "no attempt of the policy is charged"
        if where == "task":
            assert event["attempt"] == 1 and event["error"]["details"]["input_hash"] == event["address"]
            assert event["address"] == done[0]["address"]


def test_the_stack_names_the_function(stacks):
    s = stacks(plugins=["crash"])
    for where in ("task", "workflow"):
        run = crash(s, "null", where=where)
        assert s.result(run)
        (event,) = crashed(s, run)
        stack = event["error"]["stack"]
        assert stack[0].startswith("die_by_null+0x") and "crash.so build " in stack[0], stack
        assert event["error"]["details"]["fault_address"] == "0x0"
        text = s.aiki("runs", "inspect", run).stdout
        assert "crashed" in text and "at die_by_null+0x" in text and "signal 11" in text, text


def test_a_step_that_keeps_crashing_fails_with_its_cause(stacks):
    s = stacks(plugins=["crash"])
    run = crash(s, "abort", times=8)
    outcome = s.outcome(run)
    assert outcome["state"] == "failed" and outcome["error"]["code"] == "STEP_CRASHED", outcome
    assert outcome["error"]["category"] == "plugin" and outcome["error"]["cause"]["code"] == "CRASH_SIGNAL"
    assert len(crashed(s, run)) == 3
    s.request("POST", f"/v1/runs/{run}/retry", {})
    assert s.outcome(run)["state"] == "failed" and len(crashed(s, run)) == 6, "another pass has a budget of its own"
    s.request("POST", f"/v1/runs/{run}/retry", {})
    assert s.result(run) == {"crashes": 8}


def test_a_workflow_that_keeps_crashing_is_blocked_with_its_cause(stacks):
    s = stacks(plugins=["crash"])
    run = crash(s, "null", times=9, where="workflow")
    row = until(lambda: (r := s.run(run))["state"] == "blocked" and r, "the run is blocked")
    assert row["error"]["code"] == "WORKFLOW_CRASHED", row
    assert "aiki plugins unquarantine" in row["error"]["message"]
    assert row["error"]["cause"]["code"] == "CRASH_SIGNAL"
    assert len(crashed(s, run)) == 3


def test_who_was_not_the_cause_is_not_charged(stacks):
    s = stacks(plugins=["crash"])
    slow = [crash(s, "none", ms=400, name=f"slow{i}") for i in range(4)]
    bad = crash(s, "segv", ms=100)
    for run in slow:
        assert s.result(run) == {"crashes": 1}
        assert crashed(s, run) == [] and [e["attempt"] for e in s.history(run) if e["kind"] == "step_done"] == [1]
    assert s.result(bad) == {"crashes": 1} and len(crashed(s, bad)) == 1
