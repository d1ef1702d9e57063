"""Plugin code that takes its process down: who is charged, what the history says, what becomes of it."""
import re
import signal

import pytest

from harness import UNADORNED, end, plugin, until


# For tests that crash a lot and are not about what is done for the build's other runs.
MANY = ["--quarantine-crashes", "0", "--crash-hold-ms", "0"]


@pytest.fixture
def stacks(stacks):
    return lambda **options: stacks(env=UNADORNED, **options)


def crashed(stack, run):
    return [e for e in stack.history(run) if e["kind"] == "crashed"]


def crash(stack, how, times=1, where="task", ms=0, name=None, **more):
    marks = stack.directory / f"marks-{name or how}-{where}"
    return stack.start("crash", {"how": how, "times": times, "path": str(marks), "where": where, "ms": ms, **more})


def executing(stack, count):
    """So many healthy runs that are under way, each in its task, until the file that is answered is there."""
    begun, gate = stack.directory / "begun", stack.directory / "gate"
    runs = [crash(stack, "none", name=f"n{i}", begun=str(begun), gate=str(gate)) for i in range(count)]
    until(lambda: begun.exists() and begun.stat().st_size == count, "they are executed")
    return runs, gate


WAYS = {"null": ("CRASH_SIGNAL", "signal 11"), "segv": ("CRASH_SIGNAL", "signal 11"),
        "bus": ("CRASH_SIGNAL", "signal 7"), "division": ("CRASH_SIGNAL", "signal 8"),
        "instruction": ("CRASH_SIGNAL", "signal 4"), "abort": ("CRASH_SIGNAL", "signal 6"),
        "stack": ("CRASH_STACK_OVERFLOW", "stack"), "exit": ("CRASH_EXIT", "exit code 0"),
        "_exit": ("CRASH_EXIT", "exit code 3"), "quick_exit": ("CRASH_EXIT", "exit code 4"),
        "handlers": ("CRASH_SIGNAL", "signal 11"), "heap": ("CRASH_SIGNAL", "signal 6"),
        "memory": ("CRASH_SIGNAL", "signal 6 (Aborted); out of memory")}


@pytest.mark.parametrize("where", ["task", "workflow"])
def test_every_end_of_a_process_is_on_record_with_its_cause(stacks, where):
    s = stacks(plugins=["crash"], server_args=MANY)
    for how, (code, words) in WAYS.items():
        run = crash(s, how, where=where)
        assert s.result(run) == {"crashes": 1}, how
        (event,) = crashed(s, run)
        error = event["error"]
        assert error["code"] == code and words in error["message"], (how, error)
        assert error["category"] == "plugin" and event["charged"], (how, event)
        assert ("out of memory" in error["message"]) == (how == "memory"), error
        assert event["step"] == where and event["name"] == "crash", (how, event)
        assert event["build"] == s.get("/v1/plugins")["plugins"][0]["build"], (how, event)
        done = [e for e in s.history(run) if e["kind"] == "step_done"]
        assert [e["attempt"] for e in done] == [1], "no attempt of the policy is charged"
        if where == "task":
            assert event["attempt"] == 1 and event["error"]["details"]["input_hash"] == event["address"]
            assert event["address"] == done[0]["address"]


def test_the_stack_names_the_function(stacks):
    s = stacks(plugins=["crash"], server_args=MANY)
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
    s = stacks(plugins=["crash"], server_args=MANY)
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
    s = stacks(plugins=["crash"], server_args=MANY)
    run = crash(s, "null", times=9, where="workflow")
    row = until(lambda: (r := s.run(run))["state"] == "blocked" and r, "the run is blocked")
    assert row["error"]["code"] == "WORKFLOW_CRASHED", row
    assert "aiki plugins unquarantine" in row["error"]["message"]
    assert row["error"]["cause"]["code"] == "CRASH_SIGNAL"
    assert len(crashed(s, run)) == 3


def test_who_was_not_the_cause_is_not_charged(stacks):
    s = stacks(plugins=["crash"], server_args=MANY)
    slow, gate = executing(s, 4)
    bad = crash(s, "segv")
    until(lambda: crashed(s, bad), "it crashed among them")
    gate.touch()
    for run in slow:
        assert s.result(run) == {"crashes": 1}
        assert crashed(s, run) == [] and [e["attempt"] for e in s.history(run) if e["kind"] == "step_done"] == [1]
    assert s.result(bad) == {"crashes": 1} and len(crashed(s, bad)) == 1


def test_code_that_exits_in_a_process_that_is_to_end_is_charged(stacks):
    """As a process ends that has nothing left to do; but it had."""
    s = stacks(plugins=["crash"])
    old, = [p["build"] for p in s.get("/v1/plugins")["plugins"]]
    begun, gate = s.directory / "begun", s.directory / "gate"
    run = crash(s, "exit", begun=str(begun), gate=str(gate))
    until(begun.exists, "it is executed")
    newer = s.directory / "newer.so"
    newer.write_bytes(plugin("crash").read_bytes() + b"\n")
    s.drop("crash", newer)
    until(lambda: old not in [p["build"] for p in s.get("/v1/plugins")["plugins"] if p["state"] == "serving"] and
          len(s.get("/v1/plugins")["plugins"]) > 1, "the next build serves")
    gate.touch()
    assert s.result(run) == {"crashes": 1}
    event, = crashed(s, run)
    assert event["charged"] and event["error"]["code"] == "CRASH_EXIT" and event["build"] == old, event


def test_a_process_killed_around_several_charges_none_and_finds_the_one(stacks):
    s = stacks(plugins=["crash"], server_args=MANY)
    slow, gate = executing(s, 6)
    bad = crash(s, "kill", times=9)
    until(lambda: crashed(s, bad), "it killed them all")
    gate.touch()
    assert s.outcome(bad)["error"]["code"] == "STEP_CRASHED"
    ends = crashed(s, bad)
    assert [e["charged"] for e in ends] == [False, True, True, True], ends
    assert {e["error"]["code"] for e in ends} == {"CRASH_KILLED"}
    for run in slow:
        assert s.result(run) == {"crashes": 1}
        assert [e["charged"] for e in crashed(s, run)] == [False], "it was there"
    assert ", alone" in s.runtime.log.read_text()


@pytest.mark.parametrize("by", ["the kernel", "somebody", "somebody who stops it"])
def test_a_kill_for_want_of_memory_is_told_from_any_other(stacks, tmp_path, by):
    count, begun = tmp_path / "count", tmp_path / "begun"
    kills, executions = 0, 0
    count.write_text("oom 0\noom_kill 0\n")
    s = stacks(plugins=["crash"], server_args=["--quarantine-crashes", "4", "--crash-hold-ms", "0"],
               runtime_args=["--oom-events", str(count), "--stopped-ms", "300"])
    runs = [crash(s, "none", ms=60000, name=f"slow{i}", begun=str(begun)) for i in range(2)]

    def both_execute():
        return begun.exists() and begun.stat().st_size == executions + 2

    def charged():
        return [e["error"]["code"] for run in runs for e in crashed(s, run) if e["charged"]]

    def kill(pid):
        nonlocal kills
        if by == "the kernel":  # it counts before it kills
            aside = tmp_path / "aside"  # nobody reads half of the kernel's file
            aside.write_text(f"oom 9\noom_kill {(kills := kills + 1)}\n")
            aside.rename(count)
        assert end(pid, signal.SIGSTOP if by == "somebody who stops it" else signal.SIGKILL)

    for death in range(4):
        until(both_execute, "both execute")
        executions += 2
        # At first both are in one process. Its successor is the oldest one of those there are from then on: the others
        # are for one of the runs each.
        shared, *alone = until(lambda: len(pids := s.runtime.children()) == (3 if death else 1) and pids, "they are there")
        for pid in alone or [shared]:
            kill(pid)
        until(lambda: sum(len(crashed(s, run)) for run in runs) == executions, "both are given back")
        if by == "the kernel" and death == 2:
            break
    code = {"the kernel": "CRASH_NO_MEMORY", "somebody": "CRASH_KILLED"}.get(by, "CRASH_STOPPED")
    assert {e["error"]["code"] for run in runs for e in crashed(s, run)} == {code}
    if by != "the kernel":
        assert [s.outcome(run)["error"]["code"] for run in runs] == ["STEP_CRASHED"] * 2, "its own budget"
        assert len(charged()) == 6 and quarantined(s) == []
        return
    assert len(charged()) == 4
    until(lambda: [q[1] for q in quarantined(s)] == ["crash"], "the task is quarantined")
    # The other one may have begun once more before that was known.
    until(lambda: "blocked" in [s.state(run) for run in runs], "who was the last straw is blocked")


def test_who_left_the_process_unfit_is_found(stacks):
    s = stacks(plugins=["crash", "hello"], server_args=MANY)
    bad = crash(s, "close", times=9)
    assert s.outcome(bad)["error"]["code"] == "STEP_CRASHED"
    assert s.result(s.start("hello", {"name": "still"}))
    assert s.result(crash(s, "none"))


def test_a_suspect_that_is_none_goes_on_unharmed_alone(stacks):
    s = stacks(plugins=["crash"], server_args=MANY)
    runs, gate = executing(s, 8)
    child, = s.runtime.children()
    assert end(child)
    until(lambda: all(crashed(s, run) for run in runs), "each of them may have been it")
    gate.touch()
    for run in runs:
        assert s.result(run) == {"crashes": 1}
        ends = crashed(s, run)
        assert [(e["error"]["code"], e["charged"]) for e in ends] == [("CRASH_KILLED", False)], ends
        assert [e["attempt"] for e in s.history(run) if e["kind"] == "step_done"] == [1]
    until(lambda: len(s.runtime.children()) == 1, "the processes for one run have ended")


def test_a_thread_that_dies_when_nothing_is_executed_costs_nobody_anything(stacks):
    s = stacks(plugins=["crash"], child_idle="always")
    marks = s.directory / "marks-later-task"
    assert s.result(crash(s, "later")) == {"crashes": 0}
    before = s.runtime.children()
    marks.touch()
    until(lambda: len(now := s.runtime.children()) == 1 and now != before, "another process is there")
    assert s.result(crash(s, "none")) == {"crashes": 1}
    told = (r"no code of a run was executed just then; a thread that plugin code had started ended the process "
            r"by signal 11 at die_(when_told|by_null)\+0x")
    until(lambda: re.search(told, s.runtime.log.read_text()), "the log says so")
    assert all(crashed(s, run["id"]) == [] for run in s.get("/v1/runs")["runs"])


def shared_process(s):
    """What is left when a run has been here."""
    s.result(s.start("isolated", {"ms": 10}))
    return until(lambda: len(pids := s.runtime.children()) == 1 and pids, "the process for one run has ended")[0]


def test_an_isolated_task_has_a_process_of_its_own(stacks):
    s = stacks(plugins=["isolated"])
    shared = shared_process(s)
    pids = s.result(s.start("isolated", {"ms": 10}))
    assert pids["here"] != pids["apart"] and shared not in (pids["apart"],), pids
    gate = s.directory / "gate"
    runs = [s.start("isolated", {"ms": 0, "gate": str(gate)}) for _ in range(8)]
    until(lambda: len(s.runtime.children()) > 2, "several at once")
    gate.touch()
    assert len({s.result(run)["apart"] for run in runs}) == 8, "one process a run"
    until(lambda: s.runtime.children() == [shared], "the processes for one run have ended")


def test_isolated_tasks_at_most_once_are_executed(stacks):
    s = stacks(plugins=["isolated"])
    shared = shared_process(s)
    # Of one that is announced when the session is lost nobody knows: OUTCOME_UNKNOWN.
    pids = s.undisturbed(lambda: s.outcome(s.start("isolated-once", {"ms": 10})))["output"]
    assert pids["here"] == pids["apart"] != shared, pids


def quarantined(stack):
    return [(q["of"], q["name"], q["build"]) for q in stack.get("/v1/plugins")["quarantined"]]


def test_what_crashes_too_often_is_quarantined_until_it_is_lifted(stacks):
    s = stacks(plugins=["crash"], server_args=["--quarantine-crashes", "6", "--quarantine-window-ms", "3600000"])
    build = s.get("/v1/plugins")["plugins"][0]["build"]
    # One after the other: of several that die at once only those whose code was executing are charged.
    runs = []
    for i in range(5):
        runs.append(crash(s, "null", name=f"q{i}"))
        assert s.outcome(runs[-1])["state"] == "completed" and quarantined(s) == []
    runs.append(crash(s, "null", name="q5"))
    until(lambda: s.state(runs[-1]) == "blocked", "the crash too many holds its run back")
    assert quarantined(s) == [("task", "crash", build)]
    error = s.run(runs[-1])["error"]
    assert error["code"] == "QUARANTINED" and "aiki plugins unquarantine" in error["message"], error
    late = crash(s, "none")
    until(lambda: s.state(late) == "blocked", "a new run is not executed by it either")
    s.restart_server()
    until(lambda: quarantined(s) == [("task", "crash", build)], "it is on record")
    assert "QUARANTINED" in s.aiki("plugins", "list").stdout
    missing = s.aiki("plugins", "unquarantine", "0000", check=False)
    assert missing.returncode != 0 and "NOT_QUARANTINED" in missing.stderr + missing.stdout
    s.aiki("plugins", "unquarantine", f"{build[:12]}:crash")
    again = s.aiki("plugins", "unquarantine", f"{build[:12]}:crash")
    assert "it was lifted before" in again.stdout
    wrong = s.aiki("plugins", "unquarantine", f"{build[:12]}:other", check=False)
    assert wrong.returncode != 0 and "NOT_QUARANTINED" in wrong.stderr + wrong.stdout, "no code of that name ever was"
    for run in [*runs, late]:
        assert s.outcome(run)["state"] == "completed"
    assert quarantined(s) == []


def test_the_build_before_takes_over_what_a_new_one_crashes_in(stacks):
    s = stacks(plugins=[], server_args=["--quarantine-crashes", "3"])
    s.drop("verge", plugin("verge-good"))
    until(lambda: s.get("/v1/plugins")["plugins"], "it serves")
    asleep = s.start("verge", {"ms": 600000})
    until(lambda: s.state(asleep) == "sleeping", "a run that keeps the old build")
    s.drop("verge", plugin("verge-bad"))
    until(lambda: sorted(p["state"] == "serving" for p in s.get("/v1/plugins")["plugins"]) == [False, True],
          "the new build serves, the one before is kept")
    runs = [s.start("verge", {"ms": 0}) for _ in range(6)]
    for run in runs:
        assert s.result(run) == {"ok": True}, "no run failed for good"
    assert [(of, name) for of, name, _ in quarantined(s)] == [("task", "edge")]
