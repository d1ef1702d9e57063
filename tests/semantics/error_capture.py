"""An error arrives whole: code, category, message, details, causes; and the same on every replay."""
import chain
from harness import until

SEEN = ["FAILED", 4, "NO_TRANSFER", "the transfer was not booked", {"balance": -5}, "LEDGER_CLOSED", "DISK_FULL"]


def test_workflow_code_sees_the_whole_error_and_sees_it_again_after_a_restart(stacks):
    s = stacks(plugins=["error-capture"])
    run = s.start("error-capture", {})
    until(lambda: s.state(run) == "awaiting_signal", "it waits")
    s.runtime.kill()
    s.restart_server()
    s.start_runtime()
    s.signal(run, "again", None)
    assert s.result(run) == {"then": SEEN, "now": SEEN, "kept": "debited, not credited"}
    chain.check(s.history(run))


def test_an_error_that_is_passed_on_is_that_of_the_run(common):
    document = common.outcome(common.start("error-passed-on", {}))
    error = document["error"]
    assert document["state"] == "failed"
    assert (error["code"], error["category"], error["details"]) == ("NO_TRANSFER", "user", {"balance": -5})
    assert (error["cause"]["code"], error["cause"]["cause"]["code"]) == ("LEDGER_CLOSED", "DISK_FULL")


def test_output_kept_beside_the_error_is_in_the_history(common):
    run = common.start("error-passed-on", {})
    common.outcome(run)
    step = next(e for e in common.history(run) if e["kind"] == "step_done")
    assert (step["outcome"], step["output"]) == ("failed", "debited, not credited")
    assert step["error"]["code"] == "NO_TRANSFER"
    assert "debited, not credited" in common.aiki("runs", "inspect", run).stdout


def test_half_a_record_is_kept_too(common):
    run = common.start("error-half", {})
    assert common.result(run) == {"debit": "debit-2", "credit": "none", "fee": 1}
    chain.check(common.history(run))
