"""At most once: a task that is never executed again, at the price of an outcome that may be unknown.

Its beginning is on record before it is executed. Found without an end it is not repeated: its step fails with
OUTCOME_UNKNOWN, and the workflow finds out what happened.
"""
from harness import TERMINAL, until


def begun(s, run):
    return any(e["kind"] == "heartbeat" for e in s.history(run))


def test_nothing_in_its_way_it_is_a_task_like_any_other(common, trace):
    def pays():
        trace.write_text("")
        out = common.result(common.start("at-most-once", {"path": str(trace)}))
        assert trace.read_text() in ("", "p", "pd"), "whatever is lost, it is not executed again"
        return out, trace.read_text()
    assert common.undisturbed(pays) == ({"what": "paid"}, "pd")


def test_a_failure_that_it_answers_leaves_nothing_in_doubt_and_is_retried(common, trace):
    def is_refused():
        trace.write_text("")
        run = common.start("at-most-once", {"path": str(trace), "refusals": 2})
        out = common.result(run)
        assert trace.read_text() in ("", "p", "pd"), "whatever is lost, it is not executed again"
        return out, trace.read_text(), [e["attempt"] for e in common.history(run) if e["kind"] == "heartbeat"]
    assert common.undisturbed(is_refused) == ({"what": "paid"}, "pd", [1, 2, 3])


def test_its_beginning_is_on_record_before_it_does_anything(common, trace, tmp_path):
    gate = tmp_path / "gate"

    def pays():
        trace.write_text("")
        gate.unlink(missing_ok=True)
        run = common.start("at-most-once", {"path": str(trace), "gate": str(gate)})
        until(lambda: trace.read_text() or common.state(run) in TERMINAL, "it pays")
        was_begun = begun(common, run)
        gate.touch()
        common.result(run)
        return was_begun, trace.read_text()
    assert common.undisturbed(pays) == (True, "pd")


def test_a_process_that_dies_with_it_leaves_an_unknown_outcome_and_no_repeat(stacks):
    s = stacks(plugins=["at-most-once"])
    trace = s.directory / "trace"

    def pays():
        trace.unlink(missing_ok=True)
        run = s.start("at-most-once", {"path": str(trace), "gate": str(s.directory / "never")})
        until(lambda: trace.exists() or s.state(run) in TERMINAL, "it pays")
        return run
    run = s.undisturbed(pays)
    s.runtime.kill()
    s.restart_server()
    s.start_runtime()
    assert s.result(run) == {"what": "half paid"}, "the workflow has found out"
    assert trace.read_text() == "p", "it was not executed again"
    done = [e for e in s.history(run) if e["kind"] == "step_done"][0]
    assert (done["outcome"], done["error"]["code"], done["error"]["category"]) == (
        "failed", "OUTCOME_UNKNOWN", "plugin")


def test_what_has_only_been_announced_counts_as_perhaps_done(stacks):
    """Killed between the record of its beginning and its execution: nobody can tell that from outside."""
    s = stacks(plugins=["at-most-once"], start=False)
    s.start_redis()
    s.start_server()
    s.start_runtime(env={"AIKI_FAULT": "child.task.before=kill", "AIKI_FAULT_ONCE": str(s.directory / "once")})
    trace = s.directory / "trace"
    run = s.start("at-most-once", {"path": str(trace)})
    assert s.result(run) == {"what": "not paid"}
    assert not trace.exists()
