"""At a limit everything works; one over it is refused, and the refusal names the limit."""
import concurrent.futures
import contextlib
import json

import pytest

from harness import MODE, PATIENCE_S, HttpError, at_best, in_time, until

PAYLOAD_MAX = 4 * 1024 * 1024
DETAILS_MAX = 64 * 1024
SIGNALS_MAX = WAITS_MAX = 10_000
STEPS_MAX = 100_000
SENDERS = 16
TEXT_HEAD = 5  # bytes of msgpack before a text of this length


@pytest.fixture(scope="module")
def shared():
    import harness
    s = harness.Stack(plugins=["bulk", "waits"])
    yield s
    s.close()


def settled(s, run):
    """State of a run that waits or goes no further."""
    return until(lambda: (state := s.state(run)) not in ("queued", "stalled", "running") and state, f"{run} waits or ends")


def refusal_of(s, run):
    settled(s, run)
    return s.run(run)["error"]


@pytest.mark.parametrize("size", [PAYLOAD_MAX - 1, PAYLOAD_MAX])
def test_payloads_up_to_the_limit(shared, size):
    text = "x" * (size - TEXT_HEAD)
    assert shared.result(shared.start("carry", text)) == {"bytes": size}
    assert shared.result(shared.start("make", {"result": size})) == {"bytes": size}
    assert len(shared.result(shared.start("make", {"output": size}))) == size - TEXT_HEAD
    run = shared.start("pend", {"signals": 1})
    shared.signal(run, "item", text)
    assert shared.result(run)["signals"] == 1


def test_an_input_over_the_limit_starts_nothing(shared):
    before = len(shared.get("/v1/runs?limit=1000")["runs"])
    with pytest.raises(HttpError) as e:
        shared.start("carry", "x" * (PAYLOAD_MAX + 1 - TEXT_HEAD))
    assert (e.value.status, e.value.code) == (413, "PAYLOAD_TOO_LARGE")
    assert str(PAYLOAD_MAX + 1) in str(e.value) and "PAYLOAD_BYTES_MAX" in str(e.value)
    assert len(shared.get("/v1/runs?limit=1000")["runs"]) == before


def test_a_signal_over_the_limit_changes_nothing(shared):
    run = shared.start("pend", {"signals": 1})
    assert settled(shared, run) == "awaiting_signal"
    before = shared.run(run)["seq"]
    with pytest.raises(HttpError) as e:
        shared.signal(run, "item", "x" * (PAYLOAD_MAX + 1 - TEXT_HEAD))
    assert (e.value.status, e.value.code) == (413, "PAYLOAD_TOO_LARGE")
    assert shared.run(run)["seq"] == before
    shared.signal(run, "item", 1)
    shared.result(run)


@pytest.mark.parametrize("what", ["result", "output"])
def test_a_result_over_the_limit_fails_at_once_and_says_why(shared, what):
    outcome = shared.outcome(shared.start("make", {what: PAYLOAD_MAX + 1}))
    assert outcome["state"] == "failed" and outcome["error"]["code"] == "PAYLOAD_TOO_LARGE", outcome
    assert f"{PAYLOAD_MAX + 1} bytes, PAYLOAD_BYTES_MAX is {PAYLOAD_MAX}" in outcome["error"]["message"]


def test_error_details_up_to_the_limit_and_over_it(shared):
    """The failure counts in any case; details over the limit are replaced by a note."""
    for size in (DETAILS_MAX - 1, DETAILS_MAX):
        assert shared.result(shared.start("make", {"details": size})) == {"bytes": size}
    run = shared.start("make", {"details": DETAILS_MAX + 1})
    assert 0 < shared.result(run)["bytes"] < 200
    failure = next(e for e in shared.history(run) if e["kind"] == "step_done")["error"]
    assert failure["code"] == "ON_PURPOSE" and str(DETAILS_MAX) in json.dumps(failure["details"]), failure


def test_ten_thousand_steps_at_once(shared):
    for what in ("tasks", "sleeps"):
        run = shared.start("pend", {what: WAITS_MAX})
        assert shared.result(run, 2 * PATIENCE_S)[what] == WAITS_MAX


def test_waits_over_the_limit_block_and_say_why(shared):
    error = refusal_of(shared, shared.start("pend", {"signals": WAITS_MAX + 1}))
    assert "RUN_WAITS_MAX" in error["message"] and str(WAITS_MAX) in error["message"], error


def test_signals_one_by_one_do_not_replay_what_was_before_each(shared):
    """Three thousand events on record, then two hundred signals, each sent when the one before is durable."""
    def stays():
        shared.runtime.kill()
        run = shared.start("collect", {"count": 1700})
        with contextlib.closing(shared.http_connection(PATIENCE_S)) as connection:
            def send(value):
                connection.request("POST", f"/v1/runs/{run}/signals/item", json.dumps(value),
                                   {"Content-Type": "application/json"})
                assert connection.getresponse().read()
            for value in range(1500):
                send(value)
            shared.start_runtime(0)
            until(lambda: shared.state(run) == "awaiting_signal", "it has taken them")
            before = shared.metrics()["aiki_claims_total"]
            for value in range(1500, 1700):
                send(value)
        assert shared.result(run)["items"] == list(range(1700))
        if not MODE:  # which may send it away after each append, or send each ticket twice
            in_time(shared.metrics()["aiki_claims_total"] - before < 50, "it was executed from the top for each")
    at_best(stays)


def test_ten_thousand_signals_and_not_one_more(shared):
    """They come while nobody executes the run, and all are there when somebody does."""
    shared.runtime.kill()
    run = shared.start("collect", {"count": SIGNALS_MAX})

    def send(connection, value):
        connection.request("POST", f"/v1/runs/{run}/signals/item", json.dumps(value),
                           {"Content-Type": "application/json"})
        answer = connection.getresponse()
        return answer.status, answer.read().decode()

    def send_some(values):
        with contextlib.closing(shared.http_connection(PATIENCE_S)) as connection:
            return [send(connection, value)[0] for value in values]

    with concurrent.futures.ThreadPoolExecutor(SENDERS) as senders:
        shares = [range(i, SIGNALS_MAX, SENDERS) for i in range(SENDERS)]
        assert all(status < 300 for statuses in senders.map(send_some, shares) for status in statuses)
    with contextlib.closing(shared.http_connection(PATIENCE_S)) as connection:
        status, text = send(connection, SIGNALS_MAX)
    assert status == 413 and "RUN_SIGNALS_MAX" in text and str(SIGNALS_MAX) in text, (status, text)
    shared.start_runtime(0)
    items = shared.result(run, PATIENCE_S)["items"]
    assert sorted(items) == list(range(SIGNALS_MAX))
    assert items == [e["payload"] for e in shared.history(run) if e["kind"] == "signal"]


def test_a_hundred_thousand_events_and_a_restart(shared):
    """One task less than the limit of steps, and the wait."""
    run = shared.start("pend", {"tasks": STEPS_MAX - 1, "signals": 1})
    until(lambda: shared.state(run) == "awaiting_signal", "all tasks are on record", 2 * PATIENCE_S)
    assert shared.run(run)["seq"] > STEPS_MAX
    shared.restart_server()
    shared.signal(run, "item", 1)
    assert shared.result(run, PATIENCE_S)["tasks"] == STEPS_MAX - 1


def test_steps_over_the_limit_block_before_anything_is_executed(shared):
    run = shared.start("pend", {"tasks": STEPS_MAX, "signals": 1})
    assert refusal_of(shared, run)["code"] == "TOO_MANY_STEPS"
    assert [e["kind"] for e in shared.history(run)] == ["started", "claimed", "blocked"]


def test_journals_up_to_the_limit_and_over_it(shared):
    small = shared.start("heap", {"times": 15, "bytes": PAYLOAD_MAX})
    large = shared.start("heap", {"times": 17, "bytes": PAYLOAD_MAX})
    assert settled(shared, small) == "awaiting_signal"
    error = refusal_of(shared, large)
    assert "RUN_JOURNAL_BYTES_MAX" in error["message"], error
    shared.signal(small, "go", None)
    assert shared.result(small, PATIENCE_S)["times"] == 15


def test_memory_of_a_workflow_over_the_limit_fails_it(shared):
    error = shared.outcome(shared.start("hoard", {"own": 65 * 1024 * 1024}))["error"]
    assert (error["code"], error["category"]) == ("NOMEM", "infra")


def test_steps_that_need_too_much_memory_block_before_anything_is_executed(shared):
    """The host keeps 256 MiB of a run, and what its code leaves of its own 64: ninety inputs of 4 MiB are more."""
    run = shared.start("hoard", {"inputs": 90})
    error = refusal_of(shared, run)
    assert error["code"] == "RUN_TOO_LARGE" and "256 MiB" in error["message"], error
    assert [e["kind"] for e in shared.history(run)] == ["started", "claimed", "blocked"]


@pytest.mark.heavy
def test_a_commit_over_the_limit_of_a_message_blocks(shared):
    """Ninety thousand waits with long names, and 8 MiB of input and output to record with them."""
    gate = shared.directory / "hoard-gate"
    run = shared.start("hoard", {"waits": 90_000, "gate": str(gate)})
    until(lambda: shared.get(f"/v1/runs/{run}/history?after=90001&limit=1")["events"], "all waits are on record", 2 * PATIENCE_S)
    gate.touch()
    error = until(lambda: shared.state(run) == "blocked" and shared.run(run)["error"], "it is blocked", 2 * PATIENCE_S)
    assert error["code"] == "APPEND_TOO_LARGE" and "16777216" in error["message"], error


@pytest.mark.heavy
def test_long_journals_that_wake_together_take_turns(shared):
    """Together more than a connection may hold unsent."""
    runs = [shared.start("heap", {"times": 15, "bytes": PAYLOAD_MAX}) for _ in range(6)]
    for run in runs:
        assert until(lambda: shared.state(run) == "awaiting_signal", "all results are on record", PATIENCE_S)
    shared.runtime.kill()
    shared.start_runtime(0)
    for run in runs:
        shared.signal(run, "go", None)
    for run in runs:
        assert shared.result(run, PATIENCE_S)["times"] == 15
    assert "cut off" not in shared.runtime.log.read_text() + shared.server.log.read_text()
