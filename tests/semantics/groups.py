"""Many tasks at once: wait for all, any, however they end, or a number of them."""
import chain
import pytest
from harness import until

NEVER = 0


@pytest.fixture
def said(common, tmp_path):
    """The branches end one after the other, each when the one before is on record: those with 1 or -1 first, then
    those with 2 or -2... Negative ones fail, NEVER is as long as the group waits."""
    def ask(how, *branches):
        gates = [tmp_path / f"gate{abs(b)}" for b in branches]
        run = common.start("groups", {"until": how, "branches": [
            {"gate": str(gate), "fails": b < 0} for gate, b in zip(gates, branches)]})

        def ended():
            return sum(e["kind"] in ("step_done", "attempt_done") for e in common.history(run))
        for turn in sorted({abs(b) for b in branches} - {NEVER}):
            before = ended()
            (tmp_path / f"gate{turn}").touch()
            until(lambda: ended() >= before + sum(abs(b) == turn for b in branches), f"those of turn {turn} are on record")
        output = common.result(run)
        chain.check(common.history(run))
        return output["said"], output["branches"]
    return ask


def test_all_succeed(said):
    assert said("all", 1, 2, 3) == ("ok", ["ok", "ok", "ok"])


def test_all_waits_for_every_branch_and_answers_the_first_failure_in_the_order_given(said):
    assert said("all", 3, -1, 2) == ("REFUSED", ["ok", "REFUSED", "ok"])


def test_settled_a_failure_of_a_branch_is_not_one_of_the_group(said):
    assert said("settled", 1, -2, 3) == ("ok", ["ok", "REFUSED", "ok"])


def test_any_goes_on_with_the_first_and_the_others_stay_pending(said):
    assert said("any", NEVER, 1, NEVER) == ("ok", ["pending", "ok", "pending"])


def test_any_counts_a_failure_as_an_end(said):
    assert said("any", NEVER, -1, NEVER) == ("ok", ["pending", "REFUSED", "pending"])


def test_a_number_of_ends_is_waited_for_in_the_same_way(said):
    assert said("most", -1, NEVER, 2) == ("ok", ["REFUSED", "pending", "ok"])


def test_a_quorum_counts_successes_and_lists_the_others(said):
    assert said("quorum", 2, NEVER, 3, -1, 4) == ("ok", ["ok", "pending", "ok", "REFUSED", "ok"])


def test_a_quorum_that_cannot_be_reached_any_more_is_the_first_failure(said):
    assert said("quorum", NEVER, -1, -2) == ("REFUSED", ["pending", "REFUSED", "REFUSED"])


def test_fail_fast_ends_with_the_first_failure_and_cancels_the_others(common, said):
    assert said("fail-fast", 1, NEVER, -2) == ("REFUSED", ["ok", "CANCELLED", "REFUSED"])
    run = common.get("/v1/runs?workflow=groups&limit=1")["runs"][0]["id"]
    outcomes = [e["outcome"] for e in common.history(run) if e["kind"] == "step_done"]
    assert outcomes == ["ok", "failed", "cancelled"]


def test_fail_fast_without_a_failure_is_all(said):
    assert said("fail-fast", 1, 2, 3) == ("ok", ["ok", "ok", "ok"])


def test_to_continue_on_error_is_to_have_two_results_and_one_error(said):
    assert said("settled", 1, 2, -3) == ("ok", ["ok", "ok", "REFUSED"])


def test_branches_overlap(common, trace, tmp_path):
    gate = tmp_path / "gate"
    run = common.start("groups", {"until": "all", "branches": [{"gate": str(gate), "path": str(trace)}] * 16})
    until(lambda: len(trace.read_text()) >= 16, "all are under way at once")
    gate.touch()
    common.result(run)
    events = common.history(run)
    assert len({e["address"] for e in events if e["kind"] == "step_done"}) == 1
    assert sorted(e["nth"] for e in events if e["kind"] == "step_done") == list(range(16))
