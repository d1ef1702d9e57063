"""What may be asked of a run from outside, and how a start says when, until when and how persistently: over
HTTP, with the command, and as `runs inspect` tells it afterwards."""
import json

import pytest

import harness
from harness import ASKS, HttpError, until

OK, USAGE, NOT_FOUND, CONFLICT = 0, 2, 4, 5
HOUR_MS = 3600_000


@pytest.fixture(scope="module")
def shared():
    s = harness.Stack(plugins=["waits", "flaky", "hello"])
    yield s
    s.close()


def in_state(s, run, state):
    until(lambda: s.state(run) == state, f"{run} is {state}")


def asleep(s, **options):
    body = {"input": {"ms": HOUR_MS}, **options}
    run = s.request("POST", "/v1/workflows/nap/runs", body)[1]["id"]
    in_state(s, run, "sleeping")
    return run


def ask(s, run, verb, **body):
    return s.request("POST", f"/v1/runs/{run}/{verb}", body or None)[1]


def refused(s, run, verb):
    with pytest.raises(HttpError) as e:
        ask(s, run, verb)
    return e.value.status, e.value.code


def changed(s, *args):
    return json.loads(s.aiki("runs", *args, "--json").stdout)["changed"]


def kinds(s, run):
    return [e["kind"] for e in s.history(run)]


def test_cancel(shared):
    run = asleep(shared)
    assert ask(shared, run, "cancel", reason="ordered twice", actor="ann") == {"id": run, "changed": True}
    ended = shared.outcome(run)
    assert ended["state"] == "cancelled"
    asked = next(e for e in shared.history(run) if e["kind"] == "cancel_requested")
    assert (asked["reason"], asked["actor"]) == ("ordered twice", "ann")
    shown = shared.aiki("runs", "inspect", run).stdout
    for words in ("cancel asked", "ordered twice ann", "cancel seen", "cancelled"):
        assert words in shown, shown
    done = shared.aiki("runs", "pause", run, check=False)
    assert done.returncode == CONFLICT and "RUN_ENDED" in done.stderr


def test_terminate(shared):
    run = asleep(shared)
    assert changed(shared, "terminate", run, "--reason", "test data") is True
    ended = shared.outcome(run)
    assert (ended["state"], ended["error"]["code"]) == ("terminated", "TERMINATED")
    assert "test data" in shared.aiki("runs", "inspect", run).stdout
    assert refused(shared, run, "resume") == (409, "RUN_ENDED")


def test_pause_and_resume(shared):
    run = shared.start("approve", {"timeout_ms": HOUR_MS})
    in_state(shared, run, "awaiting_signal")
    assert changed(shared, "pause", run, "--reason", "bank is down") is True
    in_state(shared, run, "paused")
    assert changed(shared, "pause", run) is False
    shared.signal(run, "decision", {"ok": True})
    assert shared.state(run) == "paused", "a signal is kept and starts nothing"
    assert [r["id"] for r in shared.get("/v1/runs?state=paused")["runs"]] == [run]
    assert changed(shared, "resume", run) is True
    assert shared.result(run) == {"ok": True}
    shown = shared.aiki("runs", "inspect", run).stdout
    assert "bank is down" in shown and "resumed" in shown


def test_wake(shared):
    run = asleep(shared)
    assert changed(shared, "wake", run) is True
    assert shared.result(run) == {"ms": HOUR_MS}
    assert "woken" in shared.aiki("runs", "inspect", run).stdout


def test_a_request_that_is_repeated_with_its_reference_counts_once(shared):
    def again(verb, ref):
        return shared.request("POST", f"/v1/runs/{run}/{verb}?ref={ref}", {})[1]["changed"]
    run = shared.start("approve", {"timeout_ms": HOUR_MS})
    in_state(shared, run, "awaiting_signal")
    assert [again("pause", "one") for _ in range(3)] == [True] * 3
    assert again("resume", "one") is True, "another request, with its own references"
    in_state(shared, run, "awaiting_signal")
    shared.restart_server()
    assert changed(shared, "pause", run, "--ref", "one") is True, "answered as it was"
    assert shared.state(run) == "awaiting_signal"
    shared.signal(run, "decision", {"ok": True})
    shared.result(run)
    assert again("pause", "one") is True and refused(shared, run, "pause") == (409, "RUN_ENDED")
    asked = [(e["kind"], e["ref"]) for e in shared.history(run) if e["kind"] in ("paused", "resumed")]
    assert asked == [("paused", "one"), ("resumed", "one")]


def test_retry(shared):
    run = shared.start("flaky", {"failures": 1, "policy": "never"})
    assert shared.outcome(run)["state"] == "failed"
    code = shared.aiki("runs", "retry", run, "--from", "nothing", check=False)
    assert code.returncode == NOT_FOUND and "STEP_NOT_FOUND" in code.stderr
    assert changed(shared, "retry", run, "--reason", "mended") is True
    until(lambda: kinds(shared, run).count("failed") == 2 or shared.state(run) == "completed", "it went on")
    retried = next(e for e in shared.history(run) if e["kind"] == "run_retried")
    assert (retried["attempt"], retried["reason"]) == (2, "mended")
    assert "run retried" in shared.aiki("runs", "inspect", run).stdout
    open_run = asleep(shared)
    assert refused(shared, open_run, "retry") == (409, "RUN_NOT_FAILED")
    ask(shared, open_run, "terminate")


@pytest.mark.parametrize("verb", ["cancel", "terminate", "pause", "resume", "wake", "retry"])
def test_a_run_that_does_not_exist(shared, verb):
    nobody = "01JD2V7Q8X3M5N7P9R1S3T5V7W"
    assert refused(shared, nobody, verb) == (404, "RUN_NOT_FOUND")
    done = shared.aiki("runs", verb, nobody, check=False)
    assert done.returncode == NOT_FOUND and "aiki runs list" in done.stderr


def test_a_start_in_the_future(shared):
    start = ["workflows", "trigger", "hello", "--input", '{"name":"later"}', "--json"]
    later = json.loads(shared.aiki(*start, "--delay", "1h").stdout)["id"]
    at = json.loads(shared.aiki(*start, "--at", "2100-01-01T00:00:00Z").stdout)["id"]
    soon = json.loads(shared.aiki(*start, "--delay", "50ms").stdout)["id"]
    assert shared.result(soon) == {"greeting": "Hello, later!"}
    for run in (later, at):
        assert shared.state(run) == "scheduled"
        ask(shared, run, "cancel")
        assert shared.state(run) == "cancelled", "nothing of it was executed"
    assert shared.run(at)["start_at"] == "2100-01-01T00:00:00.000Z"
    assert "not before" in shared.aiki("runs", "inspect", at).stdout


def test_a_time_limit(shared):
    run = asleep(shared, run_timeout_ms=HOUR_MS)
    assert shared.run(run)["deadline_at"] is not None
    assert " left\n" in shared.aiki("runs", "inspect", run).stdout
    ask(shared, run, "terminate")
    body = {"input": {"ms": HOUR_MS}, "run_timeout_ms": 700}
    ended = shared.outcome(shared.request("POST", "/v1/workflows/nap/runs", body)[1]["id"])
    assert (ended["state"], ended["error"]["code"]) == ("timed_out", "RUN_TIMEOUT")


def test_key_policies(shared):
    def start(ms, policy):
        return json.loads(shared.aiki("workflows", "trigger", "nap", "--key", "policies", "--input",
                                      json.dumps({"ms": ms}), "--if-exists", policy, "--json").stdout)
    first = start(HOUR_MS, "same")
    assert first["created"] is True
    assert start(1, "existing") == {**first, "created": False}
    duplicates = shared.run(first["id"])["duplicate_starts"]
    assert [d["actor"] for d in duplicates] == ["aiki"] * ASKS and duplicates[0]["at"]
    second = start(HOUR_MS + 1, "replace")
    assert second["created"] is True and second["id"] != first["id"]
    assert shared.outcome(first["id"])["state"] == "terminated"
    ask(shared, second["id"], "terminate")


def test_a_policy_of_the_start(shared):
    body = {"input": {"failures": 2, "policy": "never"},
            "retry": {"kind": "fixed", "attempts_max": 3, "delay_ms": 10}}
    run = shared.request("POST", "/v1/workflows/flaky/runs", body)[1]["id"]
    assert shared.result(run)["attempt"] == 3
    assert shared.run(run)["retry"] == body["retry"]
    assert 'retry     {"kind":"fixed"' in shared.aiki("runs", "inspect", run).stdout
    with pytest.raises(HttpError) as e:
        shared.request("POST", "/v1/workflows/flaky/runs", {**body, "retry": {"kind": "eager"}})
    assert (e.value.status, e.value.code) == (400, "BAD_RETRY")


def test_a_family(shared):
    parent = shared.start("party", {"count": 3, "ms": HOUR_MS})
    in_state(shared, parent, "awaiting_child")
    tree = json.loads(shared.aiki("runs", "tree", parent, "--json").stdout)["runs"]
    assert [(r["depth"], r["workflow"], r["parent"]) for r in tree] == [
        (0, "party", None), *[(1, "nap", parent)] * 3]
    begun = [e["child"] for e in shared.history(parent) if e["kind"] == "step_begun"]
    assert sorted(begun) == sorted(r["id"] for r in tree[1:])
    assert sorted(w["kind"] for w in shared.run(parent)["waits"]) == ["child"] * 3
    lines = shared.aiki("runs", "tree", parent).stdout.splitlines()
    assert len(lines) == 5 and all(line.startswith("  ") for line in lines[2:])
    shown = shared.aiki("runs", "inspect", tree[1]["id"]).stdout
    assert f"parent    {parent}" in shown
    ask(shared, parent, "cancel")
    assert shared.outcome(parent)["state"] == "cancelled"
    for run in tree[1:]:
        assert shared.outcome(run["id"])["state"] == "cancelled"
    shown = shared.aiki("runs", "inspect", parent).stdout
    assert "children  3" in shown and ("child ended" in shown or "step cancelled" in shown)
