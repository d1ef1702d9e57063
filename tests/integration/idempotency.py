"""Start keys: one run for one key, and a conflict for another input."""
import concurrent.futures

import pytest

from harness import HttpError, until


def test_a_hundred_starts_with_one_key_make_one_run(stacks):
    s = stacks(plugins=["hello"])
    with concurrent.futures.ThreadPoolExecutor(20) as pool:
        ids = set(pool.map(lambda _: s.start("hello", {"name": "one"}, key="k1"), range(100)))
    assert len(ids) == 1
    assert len(s.get("/v1/runs?key=k1")["runs"]) == 1
    s.result(ids.pop())


def test_the_same_key_with_another_input_is_a_conflict_naming_the_run(stacks):
    s = stacks(plugins=["hello"])
    run = s.start("hello", {"name": "one"}, key="k1")
    with pytest.raises(HttpError) as e:
        s.start("hello", {"name": "two"}, key="k1")
    assert e.value.status == 409
    assert run in e.value.body["error"]["message"]


def test_the_key_holds_across_a_restart(stacks):
    s = stacks(plugins=["hello"])
    run = s.start("hello", {"name": "one"}, key="k1")
    s.restart_server()
    assert s.start("hello", {"name": "one"}, key="k1") == run
    s.result(run)


def test_retry_delays_follow_the_policy_and_count_on_after_a_kill(stacks):
    s = stacks(plugins=["flaky"])
    run = s.start("flaky", {"failures": 3, "delay_ms": 400, "policy": "exponential"})
    until(lambda: sum(e["kind"] == "attempt_failed" for e in s.history(run)) >= 2, "two attempts failed")
    s.runtime.kill()
    s.start_runtime(0)
    s.result(run)
    events = s.history(run)
    failed = [e for e in events if e["kind"] == "attempt_failed"]
    assert [e["attempt"] for e in failed] == [1, 2, 3]
    done = next(e for e in events if e["kind"] == "step_done")
    assert done["attempt"] == 4
