"""Signals: durable from the acknowledgement on, in order for each name, once by reference."""
import pytest
from harness import HttpError, until


def waits(s, run):
    until(lambda: s.state(run) == "awaiting_signal", "it waits for a signal")


def test_one_that_comes_before_the_wait_is_kept(stacks):
    s = stacks(plugins=["inbox"], runtimes=0)
    s.start_runtime()
    s.runtime.kill()
    run = s.start("inbox", {"names": ["letter"]})
    s.signal(run, "letter", "early")
    assert s.state(run) in ("queued", "stalled"), "nobody has executed it yet"
    s.start_runtime()
    assert s.result(run) == ["early"]


def test_one_that_comes_during_the_wait_wakes_the_run(common):
    run = common.start("inbox", {"names": ["letter"]})
    waits(common, run)
    common.signal(run, "letter", {"any": ["json"]})
    assert common.result(run) == [{"any": ["json"]}]


def test_first_in_first_out_for_each_name(common):
    run = common.start("inbox", {"names": ["a"] * 3 + ["b"] * 3})
    for i in range(3):
        common.signal(run, "b", f"b{i}")
        common.signal(run, "a", f"a{i}")
    assert common.result(run) == ["a0", "a1", "a2", "b0", "b1", "b2"]


def test_a_reference_counts_once(common):
    run = common.start("inbox", {"names": ["letter", "letter"]})
    answers = [common.signal(run, "letter", 1, ref="order-7")[1] for _ in range(3)]
    assert [a["recorded"] for a in answers] == [True, False, False]
    common.signal(run, "letter", 2, ref="order-8")
    assert common.result(run) == [1, 2]
    assert sum(e["kind"] == "signal" for e in common.history(run)) == 2


def test_a_wait_gives_up_after_its_time(common):
    run = common.start("inbox", {"names": ["letter"], "timeout_ms": 100})
    assert common.result(run) == [None]
    step = next(e for e in common.history(run) if e["kind"] == "step_done")
    assert step["outcome"] == "timed_out"


def test_a_time_that_has_passed_is_over_at_once(common):
    for timeout_ms in (0, -3, -60_000, -2**63):
        run = common.start("inbox", {"names": ["letter"], "timeout_ms": timeout_ms})
        assert common.result(run) == [None]


def test_a_signal_that_is_there_wins_over_a_timeout_that_has_passed(common):
    run = common.start("inbox", {"names": ["letter", "letter"], "timeout_ms": 0})
    assert common.result(run) == [None, None]
    run = common.start("inbox", {"names": ["gate", "letter"], "timeout_ms": 60000})
    common.signal(run, "letter", "there")
    common.signal(run, "gate", "open")
    assert common.result(run) == ["open", "there"]


def test_a_run_that_has_ended_takes_none(common):
    run = common.start("inbox", {"names": ["letter"]})
    common.signal(run, "letter", 1)
    common.result(run)
    with pytest.raises(HttpError) as e:
        common.signal(run, "letter", 2)
    assert e.value.status == 409


def test_the_state_says_what_a_run_waits_for(common):
    run = common.start("inbox", {"names": ["letter"], "timeout_ms": 600_000})
    waits(common, run)
    wait, = common.run(run)["waits"]
    assert (wait["kind"], wait["name"]) == ("signal", "letter")
    assert wait["since"] < wait["expires"]
    shown = common.aiki("runs", "inspect", run).stdout
    assert "letter" in shown and "awaiting_signal" in shown
    common.signal(run, "letter", 1)
    common.result(run)
    assert common.run(run)["waits"] == []


def test_of_three_waits_at_once_each_is_shown(common):
    run = common.start("three-waits", {"ms": 3_600_000})
    waits_of = lambda: {w["kind"]: w for w in common.run(run)["waits"]}
    shown = until(lambda: len(waits_of()) == 3 and waits_of(), "it waits for three things")
    assert {kind: w["name"] for kind, w in shown.items()} == {
        "signal": "letter", "sleep": "alarm", "child": "sleeping"}
    assert all(set(w) == {"kind", "name", "since", "expires", "ref"} and w["since"] for w in shown.values())
    child = common.get(f"/v1/runs/{run}/tree")["runs"][1]["id"]
    assert {kind: w["ref"] for kind, w in shown.items()} == {"signal": None, "sleep": None, "child": child}
    assert child in common.aiki("runs", "inspect", run).stdout
    assert [shown[kind]["expires"] is None for kind in ("signal", "sleep", "child")] == [True, False, True]
    common.signal(run, "letter", 1)
    left = until(lambda: set(waits_of()) == {"sleep", "child"} and waits_of(), "the signal is there")
    assert left == {kind: shown[kind] for kind in left}, "executed again, each wait has the beginning it had"
    common.request("POST", f"/v1/runs/{run}/terminate")
    assert common.run(run)["waits"] == []
