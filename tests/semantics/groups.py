"""Many tasks at once: wait for all, any, however they end, or a number of them."""
import chain

SOON, LATE = 0, 2000


def said(s, until, *branches):
    """Branches are times; a negative one fails."""
    run = s.start("groups", {"until": until, "branches": [{"ms": abs(b), "fails": b < 0} for b in branches]})
    output = s.result(run)
    chain.check(s.history(run))
    return output["said"], output["branches"]


def test_all_succeed(common):
    assert said(common, "all", 10, 20, 30) == ("ok", ["ok", "ok", "ok"])


def test_all_waits_for_every_branch_and_answers_the_first_failure_in_the_order_given(common):
    assert said(common, "all", 40, -10, 20) == ("REFUSED", ["ok", "REFUSED", "ok"])


def test_settled_a_failure_of_a_branch_is_not_one_of_the_group(common):
    assert said(common, "settled", 10, -20, 30) == ("ok", ["ok", "REFUSED", "ok"])


def test_any_goes_on_with_the_first_and_the_others_stay_pending(common):
    assert said(common, "any", LATE, 20, LATE) == ("ok", ["pending", "ok", "pending"])


def test_any_counts_a_failure_as_an_end(common):
    assert said(common, "any", LATE, -20, LATE) == ("ok", ["pending", "REFUSED", "pending"])


def test_a_number_of_ends_is_waited_for_in_the_same_way(common):
    assert said(common, "most", -20, LATE, 40) == ("ok", ["REFUSED", "pending", "ok"])


def test_a_quorum_counts_successes_and_lists_the_others(common):
    assert said(common, "quorum", 20, LATE, 40, -10, 600) == ("ok", ["ok", "pending", "ok", "REFUSED", "ok"])


def test_a_quorum_that_cannot_be_reached_any_more_is_the_first_failure(common):
    assert said(common, "quorum", LATE, -10, -20) == ("REFUSED", ["pending", "REFUSED", "REFUSED"])


def test_fail_fast_ends_with_the_first_failure_and_cancels_the_others(common):
    branches = [{"ms": 0}, {"ms": 60_000}, {"ms": 300, "fails": True}]
    run = common.start("groups", {"until": "fail-fast", "branches": branches})
    output = common.result(run)
    assert (output["said"], output["branches"]) == ("REFUSED", ["ok", "CANCELLED", "REFUSED"])
    outcomes = [e["outcome"] for e in common.history(run) if e["kind"] == "step_done"]
    assert outcomes == ["ok", "failed", "cancelled"]


def test_fail_fast_without_a_failure_is_all(common):
    assert said(common, "fail-fast", 10, 20, 30) == ("ok", ["ok", "ok", "ok"])


def test_to_continue_on_error_is_to_have_two_results_and_one_error(common):
    assert said(common, "settled", 10, 20, -30) == ("ok", ["ok", "ok", "REFUSED"])


def test_branches_overlap(common):
    run = common.start("groups", {"until": "all", "branches": [{"ms": 200}] * 16})
    common.result(run)
    events = common.history(run)
    took = sum(e.get("duration_us", 0) for e in events if e["kind"] == "step_done")
    assert took >= 16 * 200_000, "each branch takes its time"
    assert len({e["address"] for e in events if e["kind"] == "step_done"}) == 1
    assert sorted(e["nth"] for e in events if e["kind"] == "step_done") == list(range(16))
