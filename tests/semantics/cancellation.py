"""Asked to end, paused, woken, ended at once: what a run does about it and what it does not."""
import chain
import pytest
from harness import HttpError, until

HOUR_MS = 3_600_000


def ask(s, run, verb):
    return s.request("POST", f"/v1/runs/{run}/{verb}")[1]["changed"]


def reserved(s, trace):
    run = s.start("cancellation", {"path": str(trace)})
    until(lambda: s.state(run) == "sleeping", "it sleeps")
    return run


def kinds(s, run):
    events = s.history(run)
    chain.check(events)
    return [e["kind"] for e in events]


def test_cancel_lets_the_code_clean_up_and_then_ends_the_run(common, trace):
    run = reserved(common, trace)
    assert ask(common, run, "cancel") is True
    assert common.outcome(run)["state"] == "cancelled"
    assert trace.read_text() == "R-"
    told = kinds(common, run)
    assert told.index("cancel_requested") < told.index("cancel_seen") < told.index("cancelled")


def test_to_be_asked_twice_is_to_be_asked_once(common, trace):
    run = reserved(common, trace)
    ask(common, run, "pause")
    assert [ask(common, run, "cancel") for _ in range(2)] == [True, False]
    assert common.outcome(run)["state"] == "cancelled", "a paused run goes on for its cleanup"
    assert kinds(common, run).count("cancel_requested") == 1
    assert trace.read_text() == "R-"


def test_the_cleanup_outlives_its_process(stacks):
    s = stacks(plugins=["cancellation"])
    trace = s.directory / "trace"
    run = reserved(s, trace)
    s.runtime.kill()
    ask(s, run, "cancel")
    s.restart_server()
    s.start_runtime()
    assert s.outcome(run)["state"] == "cancelled"
    assert trace.read_text() == "R-"


def test_terminate_executes_nothing(common, trace):
    run = reserved(common, trace)
    ask(common, run, "terminate")
    assert common.outcome(run)["state"] == "terminated"
    assert trace.read_text() == "R"
    assert ask(common, run, "terminate") is False, "a repeat of what is done is no mistake"
    with pytest.raises(HttpError) as e:
        ask(common, run, "cancel")
    assert (e.value.status, e.value.code) == (409, "RUN_ENDED")


def test_a_paused_run_sleeps_on_and_goes_on_when_resumed(common):
    run = common.start("sleeping", {"ms": HOUR_MS})
    until(lambda: common.state(run) == "sleeping", "it sleeps")
    ask(common, run, "pause")
    until(lambda: common.state(run) == "paused", "it is paused")
    ask(common, run, "resume")
    until(lambda: common.state(run) == "sleeping", "it sleeps again")
    ask(common, run, "wake")
    assert common.result(run) == {"ms": HOUR_MS}


def test_wake_ends_a_sleep_early(common):
    run = common.start("sleeping", {"ms": HOUR_MS})
    until(lambda: common.state(run) == "sleeping", "it sleeps")
    ask(common, run, "wake")
    common.result(run)
    assert "woken" in kinds(common, run)
