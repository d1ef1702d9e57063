"""How often and when a failed attempt is repeated: by the definition, the call, or the task itself.

A delay is what lies between the end of an attempt and `next_at`, the time of the next one on record.
The two are taken from clocks that are read a moment apart, so a delay may seem a few ms shorter.
"""
from datetime import datetime

import pytest
from harness import at_best, in_time, until

SKEW_MS = 20


def ms(stamp):
    return datetime.fromisoformat(stamp.replace("Z", "+00:00")).timestamp() * 1000


def outcome(s, expected=None, **given):
    def ends():
        run = s.start("retry-policies", given)
        document, failed = s.outcome(run), [e for e in s.history(run) if e["kind"] == "attempt_failed"]
        if expected is not None:
            follows(failed, expected)
        return document, failed
    return at_best(ends)


def delays(failed):
    """What the policy asked for; a step begins no attempt before the time on record."""
    return [ms(e["next_at"]) - ms(e["at"]) for e in failed]


def follows(failed, expected):
    assert len(failed) == len(expected), failed
    for measured, asked in zip(delays(failed), expected):
        assert measured <= asked + SKEW_MS, (delays(failed), expected)
        in_time(measured >= asked - 10 * SKEW_MS, (delays(failed), expected))


def test_never_the_first_failure_is_the_last(common):
    document, failed = outcome(common, task="never", failures=1)
    assert (document["state"], document["error"]["code"], failed) == ("failed", "NOT_YET", [])


def test_fixed_the_same_delay_each_time(common):
    document, _ = outcome(common, [50, 50, 50], task="fixed", failures=3)
    assert document["output"] == {"attempt": 4}


def test_fixed_ends_when_the_attempts_are_used_up(common):
    document, failed = outcome(common, task="fixed", failures=9)
    assert (document["state"], document["error"]["message"]) == ("failed", "attempt 4 fails")
    assert len(failed) == 3, "the last failure is the outcome of the step"


def test_exponential_doubles_up_to_its_ceiling(common):
    document, _ = outcome(common, [25, 50, 100, 100, 100], task="exponential", failures=5)
    assert document["output"] == {"attempt": 6}


def test_without_a_policy_ten_attempts_from_200_ms_on(common):
    document, _ = outcome(common, [200, 400], task="standard", failures=2)
    assert document["output"] == {"attempt": 3}


def test_a_task_that_fails_for_good_is_not_repeated(common):
    document, failed = outcome(common, task="stubborn", failures=9)
    assert (document["state"], document["error"]["code"], failed) == ("failed", "CARD_STOLEN", [])


def test_a_task_may_choose_the_delay_itself(common):
    document, _ = outcome(common, [300, 300], task="choosy", failures=2)
    assert document["output"] == {"attempt": 3}


@pytest.mark.parametrize("task", ["never", "fixed", "exponential"])
def test_the_call_overrides_the_definition(common, task):
    document, _ = outcome(common, [20, 40, 40], task=task, failures=3, attempts=5, delay_ms=20, delay_ms_max=40)
    assert document["output"] == {"attempt": 4}


def test_the_start_overrides_both_and_inspect_shows_what_is_in_force(common):
    policy = {"kind": "fixed", "attempts_max": 2, "delay_ms": 30}

    def ends():
        _, started = common.request("POST", "/v1/workflows/retry-policies/runs", {
            "input": {"task": "fixed", "failures": 9, "attempts": 5, "delay_ms": 20}, "retry": policy})
        document = common.outcome(started["id"])
        failed = [e for e in common.history(started["id"]) if e["kind"] == "attempt_failed"]
        assert (document["state"], document["error"]["message"]) == ("failed", "attempt 2 fails")
        follows(failed, [30])
        return started, failed
    started, failed = at_best(ends)
    assert {**failed[0]["retry"], **policy} == failed[0]["retry"]
    steps = common.aiki("runs", "inspect", started["id"]).stdout.split("attempt failed")[1]
    assert '"attempts_max":2' in steps and '"delay_ms":30' in steps


def test_the_number_of_the_attempt_and_its_delay_outlive_the_process(stacks):
    s = stacks(plugins=["retry-policies"])
    run = s.start("retry-policies", {"task": "choosy", "failures": 2})
    until(lambda: any(e["kind"] == "attempt_failed" for e in s.history(run)), "an attempt has failed")
    s.runtime.kill()
    s.start_runtime()
    assert s.result(run) == {"attempt": 3}
    failed = [e for e in s.history(run) if e["kind"] == "attempt_failed"]
    assert [e["attempt"] for e in failed] == [1, 2], "an attempt was counted twice or not at all"
    assert ms(failed[1]["at"]) >= ms(failed[0]["next_at"]) - SKEW_MS, "the restart shortened the delay"
