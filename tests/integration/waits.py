"""Signals, sleeps and side values survive everything and are seen once."""
import datetime

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


DEFAULT_MS = -2  # AIKI_DEFAULT_MS


def limit_s(s, run):
    awaiting(s, run)
    wait = s.run(run)["waits"][0]
    since, expires = (datetime.datetime.fromisoformat(wait[x]) for x in ("since", "expires"))
    return (expires - since).total_seconds()


def test_a_wait_without_a_limit_of_its_own_has_the_nearest(stacks):
    s = stacks(plugins=["waits"])
    assert limit_s(s, s.start("approve", {"timeout_ms": DEFAULT_MS})) == 7 * 24 * 3600, "the default"
    assert limit_s(s, s.start("patient", {"timeout_ms": 60000})) == 60, "the call's"
    assert s.result(s.start("patient", {"timeout_ms": DEFAULT_MS})) == {"ok": False}, "the workflow's, 300 ms"
    for_ever = s.start("patient", {"timeout_ms": -1})
    awaiting(s, for_ever)
    assert s.run(for_ever)["waits"][0]["expires"] is None


def test_a_wait_under_way_keeps_the_limit_it_began_with(stacks):
    s = stacks(plugins=["waits"], runtime_args=["--wait-timeout-ms", "3600000"])
    run = s.start("approve", {"timeout_ms": DEFAULT_MS})
    assert limit_s(s, run) == 3600, "the runtime's"
    before = s.run(run)["waits"]
    s.runtime.kill()
    s.start_runtime(0, args=["--wait-timeout-ms", "300"])
    s.signal(run, "unrelated", 1)
    s.request("POST", f"/v1/runs/{run}/wake", {})
    until(lambda: sum(e["kind"] == "claimed" for e in s.history(run)) == 2 and s.state(run) == "awaiting_signal",
          "it was executed again, and waits")
    assert s.run(run)["waits"] == before
    assert s.result(s.start("approve", {"timeout_ms": DEFAULT_MS}))["ok"] is False, "300 ms"


def test_timeout_when_no_signal_comes(stacks):
    s = stacks(plugins=["waits"])
    run = s.start("approve", {"timeout_ms": 300})
    assert s.result(run)["ok"] is False


def test_sleep_and_wait_survive_restarts_of_everything(stacks):
    s = stacks(plugins=["waits"])
    nap = s.start("nap", {"ms": 8000})
    wait = s.start("approve", {"timeout_ms": 600000})
    awaiting(s, wait)
    due = until(lambda: [e["due_at"] for e in s.history(nap) if e["kind"] == "step_begun"], "it sleeps")[0]
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
