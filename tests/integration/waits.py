"""Signals, sleeps and side values survive everything and are seen once."""
import chain
from harness import until


def awaiting(s, run, state="awaiting_signal"):
    until(lambda: s.state(run) == state, f"{run} is {state}")


def test_signal_before_and_during_the_wait(stacks):
    s = stacks(plugins=["waits"])
    early = s.start("approve", {"timeout_ms": 60000})
    s.signal(early, "decision", {"ok": True})
    assert s.result(early)["ok"] is True
    late = s.start("approve", {"timeout_ms": 60000})
    awaiting(s, late)
    waits = s.run(late)["waits"]
    assert [(w["kind"], w["name"]) for w in waits] == [("signal", "decision")]
    s.signal(late, "unrelated", 1)
    s.signal(late, "decision", {"ok": True})
    assert s.result(late)["ok"] is True
    chain.check(s.history(late))


def test_a_signal_reference_counts_once(stacks):
    s = stacks(plugins=["waits"])
    run = s.start("approve", {"timeout_ms": 60000})
    awaiting(s, run)
    for _ in range(3):
        s.signal(run, "other", 1, ref="same")
    s.signal(run, "decision", {"ok": True})
    s.result(run)
    assert sum(e["kind"] == "signal" for e in s.history(run)) == 2


def test_timeout_when_no_signal_comes(stacks):
    s = stacks(plugins=["waits"])
    run = s.start("approve", {"timeout_ms": 300})
    assert s.result(run)["ok"] is False


def test_sleep_and_wait_survive_restarts_of_everything(stacks):
    s = stacks(plugins=["waits"])
    nap = s.start("nap", {"ms": 3000})
    wait = s.start("approve", {"timeout_ms": 600000})
    awaiting(s, wait)
    awaiting(s, nap, "sleeping")
    due = next(e for e in s.history(nap) if e["kind"] == "step_begun")["due_at"]
    s.runtime.kill()
    s.restart_server()
    s.restart_redis()
    s.signal(wait, "decision", {"ok": True})
    s.start_runtime(0)
    assert s.result(wait)["ok"] is True
    s.result(nap)
    over = next(e for e in s.history(nap) if e["kind"] == "step_done")
    assert over["at"] >= due, "the sleep ended early"
    chain.check(s.history(nap))


def test_side_values_are_the_same_on_every_replay(stacks):
    s = stacks(plugins=["values"])
    run = s.start("values", {})
    until(lambda: s.state(run) == "awaiting_signal", "values waits")
    s.runtime.kill()
    s.start_runtime(0)
    s.signal(run, "go", None)
    output = s.result(run)
    assert output["before"] == output["after"], output


def test_a_thousand_signals_arrive_in_order(stacks):
    s = stacks(plugins=["waits"])
    run = s.start("collect", {"count": 1000})
    for i in range(1000):
        s.signal(run, "item", i)
    assert s.result(run)["items"] == list(range(1000))
