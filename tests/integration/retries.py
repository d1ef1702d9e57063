"""Retries through the whole stack: every kind of policy, what ends them early, and what is on record."""
import datetime

import pytest
from harness import at_best, in_time, until


def at_ms(text):
    return round(datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp() * 1000)


def failures(s, run):
    """(attempt, delay until the next one in ms, code) of each attempt that failed and was repeated."""
    return [(e["attempt"], at_ms(e["next_at"]) - at_ms(e["at"]), e["error"]["code"]) for e in s.history(run)
            if e["kind"] == "attempt_failed"]


@pytest.mark.parametrize("policy, expected", [
    ({"policy": "fixed", "delay_ms": 300, "failures": 3}, [300, 300, 300]),
    ({"policy": "exponential", "delay_ms": 100, "failures": 4}, [100, 200, 400, 800]),
    ({"policy": "list", "delay_ms": 100, "failures": 3}, [100, 300, 300]),
    ({"how": "retry_after", "delay_ms": 350, "failures": 2}, [350, 350]),
    ({"policy": "never", "failures": 1}, []),
])
def test_delays_are_those_of_the_policy(stacks, policy, expected):
    s = stacks(plugins=["flaky"])

    def retries():
        run = s.start("flaky", {"policy": "fixed", **policy})
        assert s.outcome(run)["state"] == ("completed" if expected else "failed")
        told = failures(s, run)
        assert [attempt for attempt, _, _ in told] == list(range(1, len(expected) + 1))
        # `at` is when the server wrote it down, a little after the runtime counted from.
        assert all(delay <= wanted + 5 for (_, delay, _), wanted in zip(told, expected)), told
        in_time(all(wanted - 60 <= delay for (_, delay, _), wanted in zip(told, expected)), told)
    at_best(retries)


def test_the_definition_of_the_task_speaks_when_the_call_says_nothing(stacks):
    s = stacks(plugins=["flaky"])

    def retries():
        run = s.start("defined", {"failures": 2})
        assert s.result(run)["attempt"] == 3
        told = failures(s, run)
        assert [attempt for attempt, _, _ in told] == [1, 2]
        in_time([round(delay / 50) * 50 for _, delay, _ in told] == [50, 100], told)
    at_best(retries)
    exhausted = s.outcome(s.start("defined", {"failures": 9}))  # two delays: three attempts
    assert (exhausted["state"], exhausted["error"]["message"]) == ("failed", "attempt 3 fails")


def test_a_code_the_policy_calls_final_ends_it_and_others_do_not(stacks):
    s = stacks(plugins=["flaky"])
    final = s.start("defined", {"failures": 2, "how": "code"})
    assert s.outcome(final)["error"]["code"] == "FINAL"
    assert failures(s, final) == []
    other = s.start("defined", {"failures": 2})
    assert s.result(other)["attempt"] == 3
    assert [code for _, _, code in failures(s, other)] == ["FLAKY", "FLAKY"]


def test_jitter_spreads_what_failed_together(stacks):
    s = stacks(plugins=["flaky"])
    runs = [s.start("flaky", {"failures": 1, "policy": "fixed", "delay_ms": 1000, "jitter": 100})
            for _ in range(60)]
    until(lambda: all(failures(s, run) for run in runs), "every run failed once")
    delays = [failures(s, run)[0][1] for run in runs]
    assert max(delays) - min(delays) > 500, delays
    assert len({delay // 10 for delay in delays}) > 20, delays


def test_a_workflow_is_tried_again_and_keeps_what_succeeded(stacks):
    s = stacks(plugins=["flaky"])
    run = s.start("passes", {"failures": 1})
    ended = s.outcome(run)
    assert (ended["state"], ended["error"]["code"]) == ("failed", "FLAKY")
    events = s.history(run)
    retried = [e for e in events if e["kind"] == "run_retried"]
    assert [e["attempt"] for e in retried] == [2, 3]
    done = [e["outcome"] for e in events if e["kind"] == "step_done"]
    assert done == ["ok", "failed", "failed", "failed"]  # what succeeded was executed once


def test_calls_with_one_key_are_one_call(stacks):
    s = stacks(plugins=["flaky"])
    run = s.start("keyed", {"failures": 0})
    s.result(run)
    assert sum(e["kind"] == "step_done" for e in s.history(run)) == 2
    assert s.outcome(s.start("keyed", {"failures": 1}))["error"]["code"] == "BAD_KEY"
