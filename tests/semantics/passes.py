"""A whole run again: by the policy of its workflow, or with `aiki runs retry`. What succeeded stays done.

The next pass of a run keeps every result that is on record; failures, cancelled steps and children without
an outcome are as if they had never been. `--from STEP` makes everything from the first end of that step on
as if it had never been, successes too.
"""
import json

import chain
from harness import until


def passes(s, run):
    return [e for e in s.history(run) if e["kind"] == "run_retried"]


def test_the_policy_of_the_workflow_executes_it_again(common, trace):
    run = common.start("passes", {"path": str(trace), "fails": 2})
    common.result(run)
    common.check_trace(trace.read_text(), "pfff")  # what succeeded was not executed again
    told = passes(common, run)
    assert [(e["attempt"], e["error"]["code"]) for e in told] == [(2, "NOT_YET"), (3, "NOT_YET")]
    assert all(e["next_at"] > e["at"] for e in told)
    chain.check(common.history(run))


def test_between_two_passes_it_waits_and_can_be_woken(common, trace):
    """The next pass would be in an hour."""
    run = common.start("passes-patiently", {"path": str(trace), "fails": 1})
    until(lambda: common.state(run) == "awaiting_retry", "it waits for its next pass")
    common.request("POST", f"/v1/runs/{run}/wake")
    common.result(run)
    common.check_trace(trace.read_text(), "pff")


def test_what_had_begun_and_not_ended_goes_on(common, trace):
    """The hour counts from the first pass."""
    run = common.start("passes-asleep", {"path": str(trace), "fails": 1})
    until(lambda: common.state(run) == "sleeping" and passes(common, run), "the second pass waits for the nap")
    (begun,) = [e for e in common.history(run) if e["kind"] == "step_begun" and e["name"] == "nap"]
    assert begun["seq"] < passes(common, run)[0]["seq"]
    assert common.run(run)["waits"][0]["expires"] == begun["due_at"]
    common.request("POST", f"/v1/runs/{run}/wake")
    common.result(run)
    chain.check(common.history(run))


def test_when_its_passes_are_used_up_the_run_has_failed(common, trace):
    document = common.outcome(common.start("passes", {"path": str(trace), "fails": 9}))
    assert (document["state"], document["error"]["message"]) == ("failed", "pass 3 fails")


def test_a_pass_outlives_every_process(stacks):
    s = stacks(plugins=["passes"])
    trace = s.directory / "trace"
    run = s.start("passes", {"path": str(trace), "fails": 1})
    until(lambda: passes(s, run), "the first pass is over")
    s.runtime.kill()
    s.restart_server()
    s.start_runtime()
    s.result(run)
    assert trace.read_text().startswith("pff")
    assert [e["attempt"] for e in passes(s, run)] == [2]


def test_runs_retry_goes_on_where_it_failed(common, trace):
    run = common.start("passes", {"path": str(trace), "fails": 3})
    common.outcome(run)
    answer = json.loads(common.aiki("runs", "retry", run, "--reason", "bank is back", "--json").stdout)
    assert answer == {"changed": True}
    until(lambda: common.state(run) == "completed", "the fourth pass succeeds")
    common.check_trace(trace.read_text(), "pffff")
    assert (passes(common, run)[-1]["attempt"], passes(common, run)[-1]["reason"]) == (4, "bank is back")
    chain.check(common.history(run))


def test_runs_retry_from_a_step_does_that_and_what_followed_again(common, trace):
    run = common.start("passes", {"path": str(trace), "fails": 3})
    common.outcome(run)
    common.aiki("runs", "retry", run, "--from", "prepare")
    until(lambda: common.state(run) == "completed", "the fourth pass succeeds")
    common.check_trace(trace.read_text(), "pfffpf")


def test_a_pass_that_somebody_asked_for_is_not_one_of_the_policy(common, trace):
    """Asked for when the three passes of the policy are used up, it is executed once and no more."""
    run = common.start("passes", {"path": str(trace), "fails": 9})
    common.outcome(run)
    common.aiki("runs", "retry", run)
    until(lambda: sum(e["kind"] == "failed" for e in common.history(run)) == 2, "it has failed again")
    assert common.outcome(run)["error"]["message"] == "pass 4 fails"


def test_only_a_run_that_ended_without_success_is_retried(common, trace):
    run = common.start("passes", {"path": str(trace), "fails": 0})
    common.result(run)
    refused = common.aiki("runs", "retry", run, check=False)
    assert refused.returncode == 5 and "RUN_NOT_FAILED" in refused.stderr
