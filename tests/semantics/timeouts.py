"""Timeouts: of an attempt, of the wait for its start, of a whole call; who says them, and what follows.

A timeout is a failed attempt with a code of its own. That of an attempt is repeated by the policy; those of
the whole call are final.
"""
from harness import at_best, in_time, until

HOUR_MS = 3_600_000


def failed(s, run):
    return [e for e in s.history(run) if e["kind"] == "attempt_failed"]


def only_the_first_fails(s, workflow, **given):
    """The second one answers at once; without a processor for its whole time it would be late as well."""
    def ends():
        run = s.start(workflow, {"ms": HOUR_MS, "bad": 1, **given})
        document, events = s.outcome(run), failed(s, run)
        in_time(document["state"] == "completed" and len(events) == 1, events)
        assert document["output"] == {"attempt": 2}
        return events[0]
    return at_best(ends)


def test_start_to_close_ends_one_attempt_and_the_next_one_has_its_own_time(common):
    event = only_the_first_fails(common, "timeouts", start_to_close_ms=300)
    assert (event["attempt"], event["error"]["code"]) == (1, "TIMEOUT_START_TO_CLOSE")
    assert event["duration_us"] >= 300_000, "no attempt is ended before its time"


def test_start_to_close_of_the_last_attempt_is_the_failure_of_the_run(common):
    document = common.outcome(common.start("timeouts", {"ms": HOUR_MS, "start_to_close_ms": 60}))
    assert (document["state"], document["error"]["code"]) == ("failed", "TIMEOUT_START_TO_CLOSE")
    assert document["error"]["message"] == "attempt 3 of task take: it took over 60 ms"


def test_schedule_to_close_is_for_the_whole_call_and_keeps_the_last_failure(common):
    def ends():
        run = common.start("timeouts", {"ms": HOUR_MS, "start_to_close_ms": 1000, "schedule_to_close_ms": 1600})
        error, attempts = common.outcome(run)["error"], failed(common, run)
        assert error["code"] == "TIMEOUT_SCHEDULE_TO_CLOSE"
        in_time(attempts, "the call was over before its first attempt was")
        assert error["cause"]["code"] == "TIMEOUT_START_TO_CLOSE", "what the attempt before it failed with"
        assert len(attempts) == 1, "it is final, whatever the policy still allows"
    at_best(ends)


def test_schedule_to_start_gives_up_a_call_that_nobody_takes(stacks):
    s = stacks(plugins=["timeouts"], runtime_args=["--task-threads", "1"])
    s.result(s.start("timeouts", {"ms": 0}))  # its process is there: who comes then may overtake who waited for it
    def calls_meanwhile():
        busy = s.start("timeouts", {"ms": HOUR_MS})
        until(lambda: s.state(busy) == "running", "it has the only thread")
        run = s.start("timeouts", {"ms": 0, "schedule_to_start_ms": 200})
        document = s.outcome(run)
        found = document["error"], failed(s, run), s.state(busy)
        s.request("POST", f"/v1/runs/{busy}/terminate", {})
        return found
    error, attempts, busy_is = s.undisturbed(calls_meanwhile)
    assert error["code"] == "TIMEOUT_SCHEDULE_TO_START"
    assert attempts == [], "there was no attempt"
    assert busy_is == "running"


def test_the_workflow_has_a_default_for_its_tasks_and_the_call_may_say_otherwise(common):
    event = only_the_first_fails(common, "timeouts-by-default")
    assert event["error"]["message"] == "attempt 1 of task take: it took over 200 ms"
    run = common.start("timeouts-by-default", {"ms": 600, "bad": 1, "start_to_close_ms": 60_000})
    assert common.result(run) == {"attempt": 1}


def test_a_call_goes_on_counting_in_another_process(stacks):
    s = stacks(plugins=["timeouts"])
    run = s.start("timeouts", {"ms": HOUR_MS, "schedule_to_close_ms": 1500})
    begun = lambda: [e for e in s.history(run) if e["kind"] == "step_begun"]
    until(begun, "the call is on record")
    s.runtime.kill()
    s.start_runtime()
    assert s.outcome(run)["error"]["code"] == "TIMEOUT_SCHEDULE_TO_CLOSE"
    assert len(begun()) == 1, "it was called once"
