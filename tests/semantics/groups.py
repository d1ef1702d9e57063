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
    assert said(common, "all", 40, -10, 20) == ("REFUSED", ["ok", "failed", "ok"])


def test_settled_a_failure_of_a_branch_is_not_one_of_the_group(common):
    assert said(common, "settled", 10, -20, 30) == ("ok", ["ok", "failed", "ok"])


def test_any_goes_on_with_the_first_and_the_others_stay_pending(common):
    assert said(common, "any", LATE, 20, LATE) == ("ok", ["pending", "ok", "pending"])


def test_any_counts_a_failure_as_an_end(common):
    assert said(common, "any", LATE, -20, LATE) == ("ok", ["pending", "failed", "pending"])


def test_a_quorum_goes_on_with_two_of_three(common):
    assert said(common, "quorum", 20, LATE, 40) == ("ok", ["ok", "pending", "ok"])


def test_branches_overlap(common):
    run = common.start("groups", {"until": "all", "branches": [{"ms": 200}] * 16})
    common.result(run)
    events = common.history(run)
    took = sum(e.get("duration_us", 0) for e in events if e["kind"] == "step_done")
    assert took >= 16 * 200_000, "each branch takes its time"
    assert len({e["address"] for e in events if e["kind"] == "step_done"}) == 1
    assert sorted(e["nth"] for e in events if e["kind"] == "step_done") == list(range(16))
