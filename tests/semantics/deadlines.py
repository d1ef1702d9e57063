"""Deadlines: a run has until a time, its children and tasks inherit it, and behind it nothing is executed.

A run limit counts from the start of the run; of a run that is started later, from then. It is given with the
start, else by the definition of the workflow. When it passes, the run ends `timed_out` with RUN_TIMEOUT as if it
had been terminated: at once, whatever it is doing, without cleanup. That is what tells it from a cancel.
"""
from datetime import datetime

import chain
import pytest
from harness import at_best, in_time, until

HOUR_MS = 3_600_000


def start(s, what, limit_ms=None, workflow="deadlines", path="", **more):
    body = {"input": {"what": what, "path": str(path)}, **more}
    if limit_ms:
        body["run_timeout_ms"] = limit_ms
    return s.request("POST", f"/v1/workflows/{workflow}/runs", body)[1]["id"]


def ms(stamp):
    return round(datetime.fromisoformat(stamp.replace("Z", "+00:00")).timestamp() * 1000)


def deadline(s, run):
    return ms(s.run(run)["deadline_at"])


def timed_out(s, run):
    document = s.outcome(run)
    assert (document["state"], document["error"]["code"]) == ("timed_out", "RUN_TIMEOUT"), document
    assert s.history(run)[-1]["kind"] == "timed_out"
    chain.check(s.history(run))
    return ms(s.history(run)[-1]["at"]) - deadline(s, run)


def children(s, run):
    return [r["id"] for r in s.get(f"/v1/runs/{run}/tree")["runs"] if r["id"] != run]


@pytest.mark.parametrize("what", ["sleep", "loop"])
def test_it_ends_whatever_it_is_doing(common, what):
    late_ms = timed_out(common, start(common, what, 400))
    assert late_ms >= 0, "it ended before its time"


def test_a_run_that_spins_in_its_own_code_ends_as_well(stacks):
    """The record says so when the time is over; the process that spins is ended within 10 s and others go on."""
    s = stacks(plugins=["deadlines", "sleeping"])

    def ends():
        run = start(s, "spin", 1000)
        in_time(timed_out(s, run) < 8000, "the limit is not the spinning process's to keep")
        return run
    run = at_best(ends)
    assert start(s, "task", HOUR_MS)
    until(lambda: "STUCK in run" in s.runtime.log.read_text(), "the watchdog sees it")
    assert s.result(start(s, "task")) == {"at_ms": 0}, "a new process serves"
    assert s.state(run) == "timed_out", "what the watchdog wrote came too late"


def test_no_cleanup(common, trace):
    run = start(common, "sleep", 300, path=trace)
    timed_out(common, run)
    assert trace.read_text() == ""
    assert "cancel_seen" not in [e["kind"] for e in common.history(run)]


def test_the_definition_gives_a_limit_and_the_start_another_one(common):
    timed_out(common, start(common, "sleep", workflow="deadlines-by-definition"))
    run = start(common, "sleep", HOUR_MS, workflow="deadlines-by-definition")
    started = common.history(run)[0]
    assert ms(started["deadline_at"]) - ms(started["at"]) == HOUR_MS
    common.request("POST", f"/v1/runs/{run}/terminate")


def test_a_task_sees_it(common):
    run = start(common, "task", HOUR_MS)
    assert common.result(run) == {"at_ms": deadline(common, run)}
    assert common.result(start(common, "task")) == {"at_ms": 0}, "0 is: never"


def test_a_child_inherits_the_time_itself_and_so_do_its_tasks(common):
    run = start(common, "child", HOUR_MS)
    assert common.result(run) == {"at_ms": deadline(common, run)}
    child, = children(common, run)
    assert deadline(common, child) == deadline(common, run)


def test_parent_and_child_end_together(common):
    def end():
        run = start(common, "wait", 3000)
        timed_out(common, run)
        family = children(common, run)
        in_time(family, "its time was over before it had a child")
        child, = family
        timed_out(common, child)
        assert deadline(common, child) == deadline(common, run)
    at_best(end)


def test_a_child_that_may_outlive_its_parent_has_no_deadline_of_its(common):
    def abandons():
        run = start(common, "abandon", 3000)
        timed_out(common, run)
        family = children(common, run)
        in_time(family, "its time was over before it had a child")
        return family
    child, = at_best(abandons)
    assert common.run(child)["deadline_at"] is None
    until(lambda: common.state(child) == "sleeping", "it goes on")
    common.request("POST", f"/v1/runs/{child}/terminate")


def test_inspect_shows_the_time_left(common):
    run = start(common, "sleep", HOUR_MS)
    line, = [x for x in common.aiki("runs", "inspect", run).stdout.splitlines() if x.startswith("deadline")]
    assert line.endswith(" left") and ("59m" in line or "1h" in line), line
    common.request("POST", f"/v1/runs/{run}/terminate")


def test_it_counts_while_a_run_is_paused_and_while_everything_is_down(stacks):
    s = stacks(plugins=["deadlines"])

    def end():
        runs = [start(s, "sleep", 5000) for _ in range(2)]
        for run in runs:
            until(lambda: s.state(run) in ("sleeping", "timed_out"), "it sleeps")
        in_time("timed_out" not in map(s.state, runs), "its time was over before it was paused")
        s.request("POST", f"/v1/runs/{runs[0]}/pause")
        s.runtime.kill()
        s.restart_server()
        for run in runs:
            timed_out(s, run)
    at_best(end)


def test_a_run_that_is_started_later_has_all_of_its_time(common):
    run = start(common, "sleep", 400, delay_ms=600)
    shown = common.run(run)
    assert ms(shown["deadline_at"]) - ms(shown["start_at"]) == 400
    timed_out(common, run)


def test_a_retried_run_has_no_deadline_any_more_and_neither_have_its_tasks(common):
    run = start(common, "sleep", 300)
    timed_out(common, run)
    common.aiki("runs", "retry", run)
    until(lambda: common.state(run) == "sleeping", "it goes on")
    assert common.run(run)["deadline_at"] is None
    common.request("POST", f"/v1/runs/{run}/wake")
    assert common.result(run) == {"at_ms": 0}
