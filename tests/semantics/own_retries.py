"""Each task is retried on its own: what is done stays done."""
import chain


def test_only_the_failing_task_is_executed_again(common, trace):
    run = common.start("own-retries", {"path": str(trace)})
    assert common.result(run) == {"a": 1, "b": 3, "c": 1}
    assert trace.read_text() == "ABBBC"
    chain.check(common.history(run))


def test_every_failed_attempt_is_on_record_with_its_error_and_the_next_time(common, trace):
    run = common.start("own-retries", {"path": str(trace)})
    common.result(run)
    failed = [e for e in common.history(run) if e["kind"] == "attempt_failed"]
    assert [e["attempt"] for e in failed] == [1, 2]
    assert [e["error"]["code"] for e in failed] == ["NOT_YET", "NOT_YET"]
    assert all(e["next_at"] is not None for e in failed)
