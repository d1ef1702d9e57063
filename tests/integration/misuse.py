"""Plugin code that blocks, forks, becomes another program, leaves things behind, jumps and throws: what it
costs is its own attempt or its process, never the host, and never a run that only was there.
"""
import os
import pathlib

import pytest

from harness import SANITIZED, plugin, until

PATIENCE_S = 60


def misuse(stack, how, where="task", workflow="misuse"):
    return stack.start(workflow, {"how": how, "path": str(stack.directory / f"{how}-{where}"), "where": where})


def of_kind(stack, run, kind):
    return [e for e in stack.history(run) if e["kind"] == kind]


def healthy(stack, count=6):
    """Of the same plugin and of another one."""
    mark = stack.directory / "nothing-to-do"
    mark.write_text("x")
    value = {"how": "nothing", "path": str(mark)}
    return [stack.start("misuse", value) for _ in range(count)] + [stack.start("hello", {"name": "Ada"})]


def check_healthy(stack, runs):
    for run in runs:
        assert stack.outcome(run, PATIENCE_S)["state"] == "completed"
        assert [e for e in of_kind(stack, run, "crashed") if e["charged"]] == []
        assert {e["attempt"] for e in of_kind(stack, run, "step_done")} == {1}


def processes_of(stack):
    """Whatever executes with the environment of this test, the runtime itself aside."""
    def is_ours(pid):
        try:
            return f"MISUSE={stack.directory}".encode() in (pid / "environ").read_bytes().split(b"\0")
        except OSError:
            return False
    found = {int(p.name) for p in pathlib.Path("/proc").iterdir() if p.name.isdigit() and is_ours(p)}
    return found - {stack.runtime.pid}


@pytest.fixture
def served(stacks):
    s = stacks(plugins=["misuse", "hello"], start=False)
    s.start_redis()
    s.start_server()
    s.start_runtime(0, env={"MISUSE": str(s.directory)})
    check_healthy(s, healthy(s, 1))  # either plugin has its process now, and keeps it
    return s


def test_what_blocks_in_a_task_costs_its_attempt_and_its_process(served):
    s = served

    def block():
        for mark in s.directory.glob("*-task"):
            mark.unlink()  # what is there was done once already
        runs = [misuse(s, how) for how in ("sleep", "read", "deadlock")]
        others = healthy(s)
        return runs, others, [s.result(run) for run in runs]
    runs, others, answers = s.undisturbed(block)
    assert answers == [{"attempt": 2}] * 3
    for run in runs:
        failed, = of_kind(s, run, "attempt_failed")
        assert failed["error"]["code"] == "TIMEOUT_START_TO_CLOSE"
        assert of_kind(s, run, "crashed") == []
    check_healthy(s, others)


@pytest.mark.heavy
def test_what_blocks_in_a_workflow_fails_its_run(served):
    s = served
    run = misuse(s, "deadlock", "workflow")
    assert s.outcome(run, PATIENCE_S)["error"]["code"] == "WORKFLOW_STUCK"
    check_healthy(s, healthy(s))


@pytest.mark.parametrize("where", ["task", "workflow"])
def test_a_copy_that_comes_back_from_fork_ends_and_nothing_else_does(served, where):
    s = served
    before = s.runtime.children()
    run = misuse(s, "fork", where)
    assert s.result(run) == {"attempt": 1}
    until(lambda: "FORKED in misuse" in s.runtime.log.read_text(), "it says so")
    until(lambda: processes_of(s) == set(before), "it is gone")
    assert s.runtime.children() == before and of_kind(s, run, "crashed") == []
    check_healthy(s, healthy(s))


def test_a_copy_that_crashes_is_not_the_process(served):
    s = served
    before = s.runtime.children()
    run = misuse(s, "forked_crash")
    assert s.result(run) == {"attempt": 1}
    assert s.runtime.children() == before and of_kind(s, run, "crashed") == []
    check_healthy(s, healthy(s))


@pytest.mark.parametrize("where", ["task", "workflow"])
def test_a_thread_that_asks_to_be_traced_costs_its_process_which_ends(served, where):
    s = served
    before = set(s.runtime.children())
    run = misuse(s, "traced", where)
    assert s.outcome(run, PATIENCE_S)["state"] == "completed"
    until(lambda: processes_of(s) == set(now := s.runtime.children()) and len(now) == 2 and len(before & set(now)) == 1,
          "the process is gone, and another one is there")
    check_healthy(s, healthy(s))


@pytest.mark.parametrize("where", ["task", "workflow"])
def test_signals_of_plugin_code_do_not_reach_the_runtime(served, where):
    s = served
    before = s.runtime.children()
    run = misuse(s, "signals", where)
    assert s.result(run) == {"attempt": 1} and of_kind(s, run, "crashed") == []
    assert s.runtime.alive() and s.runtime.children() == before

    def refusals():
        return [line for line in s.runtime.log.read_text().splitlines() if "is refused: that would reach the runtime" in line]
    until(lambda: len(refusals()) >= 4, "each is told")
    assert len(refusals()) == 4 and all(run in line for line in refusals()), refusals()
    assert s.result(misuse(s, "own_signals", where)) == {"attempt": 1}
    assert s.runtime.children() == before
    check_healthy(s, healthy(s))


def test_no_terminal_of_the_runtime_is_that_of_plugins(served):
    assert {os.getsid(pid) for pid in served.runtime.children()} == set(served.runtime.children())


def test_a_process_that_is_stopped_is_ended_and_its_runs_go_on(stacks):
    """Its own limits of time stand still with it."""
    s = stacks(plugins=["misuse", "hello"], runtime_args=["--stopped-ms", "500"])
    run = misuse(s, "stop")
    others = healthy(s)
    assert s.outcome(run, PATIENCE_S)["state"] == "completed"
    event = of_kind(s, run, "crashed")[0]
    assert (event["error"]["code"], event["charged"]) == ("CRASH_STOPPED", False)
    check_healthy(s, others)


@pytest.mark.parametrize("how", ["stop", "execve"])
def test_what_happens_beside_a_thread_that_is_traced_is_no_end_without_end(stacks, how):
    """Stopped, the others stand still and the kernel tells nobody. To become another program is to wait for its end."""
    s = stacks(plugins=["misuse", "hello"], runtime_args=["--stopped-ms", "500"])
    runs = [misuse(s, "traced"), misuse(s, how)]
    for run in runs:
        assert s.outcome(run, PATIENCE_S)["state"] == "completed"
    check_healthy(s, healthy(s))


@pytest.mark.parametrize("where", ["task", "workflow"])
def test_who_writes_over_the_page_of_blame_is_found_by_being_alone(served, where):
    """Each time it is executed. Alone it is hit where it does so, and nobody else is charged."""
    s = served
    run = misuse(s, "wipe", where)
    others = healthy(s)
    until(lambda: s.state(run) == "blocked", "its budget is spent")
    assert s.run(run)["error"]["code"] == {"task": "TASK_CRASHED", "workflow": "WORKFLOW_CRASHED"}[where]
    unsure = [e for e in of_kind(s, run, "crashed") if not e["charged"]]
    assert [(e["error"]["code"], e["step"], e["name"]) for e in unsure] == [("CRASH_UNTOLD", "unknown", "?")], unsure
    charged = [e for e in of_kind(s, run, "crashed") if e["charged"]]
    assert len(charged) == 3 and {e["error"]["code"] for e in charged} == {"CRASH_SIGNAL"}
    for event in charged:
        assert (event["step"], event["name"], event["error"]["details"]["signal"]) == (where, "misuse", 11), event
        assert any("wipe+0x" in line for line in event["error"]["stack"]), event
    check_healthy(s, others)


def test_who_cannot_be_told_is_charged_and_no_code_of_that_name_is_quarantined(stacks):
    """Who takes the protection away before, as nobody does by mistake."""
    s = stacks(plugins=["misuse", "hello"], server_args=["--quarantine-crashes", "2"])
    runs = [misuse(s, "unlock", where) for where in ("task", "workflow")]
    for run in runs:
        until(lambda: s.state(run) == "blocked", "its budget is spent")
        error = s.run(run)["error"]
        assert error["code"] == "WORKFLOW_CRASHED" and error["cause"]["code"] == "CRASH_UNTOLD", error
        assert error["message"].startswith("something that nobody can tell"), error
        charged = [e for e in of_kind(s, run, "crashed") if e["charged"]]
        assert [(e["error"]["code"], e["step"], e["name"]) for e in charged] == [("CRASH_UNTOLD", "unknown", "?")] * 3
    assert s.get("/v1/plugins")["quarantined"] == []
    check_healthy(s, healthy(s))


@pytest.mark.parametrize("how", ["daemon", "execve"])
def test_nothing_goes_on_of_a_process_that_left(served, how):
    s = served
    run = misuse(s, how)
    assert s.outcome(run, PATIENCE_S)["state"] == "completed"
    event = of_kind(s, run, "crashed")[0]
    assert (event["step"], event["name"]) == ("task", "misuse")
    assert event["error"]["code"] == ("CRASH_EXIT" if how == "daemon" else "CRASH_KILLED"), event
    check_healthy(s, healthy(s))
    until(lambda: processes_of(s) == set(now := s.runtime.children()) and len(now) == 2,
          "neither the copy nor the other program is there")


def test_threads_and_handlers_that_are_left_behind_do_not_keep_a_build(served, tmp_path):
    s = served
    for how in ("leave_thread", "leave_handlers"):
        assert s.result(misuse(s, how)) == {"attempt": 1}
    rebuilt = tmp_path / "rebuilt.so"  # a loader does not look at what follows an ELF file
    rebuilt.write_bytes(plugin("misuse").read_bytes() + b"\n")
    old = s.runtime.children()
    s.drop("misuse", rebuilt)
    until(lambda: len(now := s.runtime.children()) == 2 and now != old, "its process is another one")
    until(lambda: "has ended" in s.runtime.log.read_text(), "its end is told")
    log = s.runtime.log.read_text()
    assert "while it drained" not in log and "CRASH" not in log
    check_healthy(s, healthy(s))


@pytest.mark.skipif(SANITIZED, reason="a sanitizer checks each jump and each block, and ends the process itself")
@pytest.mark.parametrize("how", ["scribble", "longjmp"])
def test_a_process_that_is_not_sound_any_more_gives_no_wrong_result(stacks, how):
    s = stacks(plugins=["leaper" if how == "longjmp" else "misuse", "hello"])
    bad = misuse(s, how)
    others = [run for _ in range(5) for run in healthy(s)]
    for run in others:  # some may have been the first to meet what the other left
        assert s.outcome(run, PATIENCE_S)["state"] == "completed"
        assert s.outcome(run)["output"] in ({"attempt": 1}, {"greeting": "Hello, Ada!"})
    assert s.outcome(bad, PATIENCE_S)["state"] in ("completed", "failed")
    assert s.runtime.alive() and s.server.alive()


@pytest.mark.parametrize("where", ["task", "workflow"])
def test_a_frame_larger_than_the_guard_is_a_stack_overflow(served, where):
    s = served
    run = misuse(s, "jump", where)
    assert s.result(run) == {"attempt": 1}
    event, = of_kind(s, run, "crashed")
    assert event["error"]["code"] == "CRASH_STACK_OVERFLOW" and event["charged"], event
    assert (event["step"], event["name"]) == (where, "misuse")
    assert event["error"]["stack"][0].startswith("jump_over_guard+0x"), event
    check_healthy(s, healthy(s))


@pytest.mark.parametrize("where", ["task", "workflow"])
def test_an_exception_that_leaves_a_step_is_its_crash(stacks, tmp_path, where):
    s = stacks(plugins=["crash-cpp", "hello"])
    run = s.start("crash-cpp", {"path": str(tmp_path / "mark"), "where": where})
    assert s.result(run) == {"path": str(tmp_path / "mark")}
    event, = of_kind(s, run, "crashed")
    assert event["charged"] and (event["step"], event["name"]) == (where, "crash-cpp"), event
    assert (event["error"]["code"], event["error"]["details"]["signal"]) == ("CRASH_SIGNAL", 6), event
    assert any("throw_once" in line for line in event["error"]["stack"]), event
    until(lambda: "nobody catches this" in s.runtime.log.read_text(), "its last words are in the log")


def test_a_workflow_that_asks_the_clock_is_blocked_and_says_where(served):
    s = served
    assert "fickle@1.0.0 calls clock_gettime" in s.runtime.log.read_text(), "told when it was taken in"
    mark = s.directory / "fickle"
    mark.write_text("x")
    run = s.start("fickle", {"how": "x", "path": str(mark)})
    until(lambda: s.state(run) == "blocked", "it is blocked")
    error = s.run(run)["error"]
    assert error["code"] == "NONDETERMINISM" and "misuse" in error["message"], error
    assert len(of_kind(s, run, "step_done")) == 1, "nothing was recorded twice"
