"""The history: every event, in order, gap-free, chained, with times, attempts, inputs and outputs."""
import json

import chain


def test_a_run_reads_from_its_start_to_its_end(common, trace):
    run = common.start("own-retries", {"path": str(trace)}, key="read-me")
    common.result(run)
    events = common.history(run)
    chain.check(events)
    assert events[0]["kind"] == "started" and events[0]["input"] == {"path": str(trace)}
    assert events[0]["key"] == "read-me"
    assert events[-1]["kind"] == "completed" and events[-1]["output"] == {"a": 1, "b": 3, "c": 1}
    assert [e["at"] for e in events] == sorted(e["at"] for e in events)
    claimed = next(e for e in events if e["kind"] == "claimed")
    assert claimed["build"] and claimed["session"]


def test_a_step_has_its_input_output_attempt_and_duration(common, trace):
    run = common.start("own-retries", {"path": str(trace)})
    common.result(run)
    done = [e for e in common.history(run) if e["kind"] == "step_done"]
    assert [e["output"] for e in done] == [{"attempt": 1}, {"attempt": 3}, {"attempt": 1}]
    assert all(e["duration_us"] > 0 for e in done)


def test_inspect_says_what_failed_and_why(common):
    run = common.start("error-passed-on", {})
    common.outcome(run)
    shown = common.aiki("runs", "inspect", run).stdout
    for word in ("failed", "task transfer, attempt 1", "NO_TRANSFER: the transfer was not booked", '"balance": -5'):
        assert word in shown, shown
    whole = json.dumps(json.loads(common.aiki("runs", "inspect", run, "--json").stdout))
    assert "LEDGER_CLOSED" in whole and "DISK_FULL" in whole


def test_pages_join_without_gap_or_overlap(common, trace):
    run = common.start("own-retries", {"path": str(trace)})
    common.result(run)
    whole, seen, after = common.history(run), [], 0
    while after is not None:
        page = common.get(f"/v1/runs/{run}/history?after={after}&limit=2")
        seen += page["events"]
        after = page["next"]
    assert seen == whole


def test_what_went_in_and_out_of_every_step_stays_readable(stacks):
    """Of tasks, signals, sleeps and children, long after the run has ended and everything was restarted."""
    s = stacks(plugins=["inbox", "sleeping", "own-retries"])
    trace = s.directory / "trace"
    waits, tasks = s.start("three-waits", {"ms": 50}), s.start("own-retries", {"path": str(trace)})
    s.signal(waits, "letter", {"from": "Ada"})
    s.result(waits)
    s.result(tasks)
    before = {run: s.history(run) for run in (waits, tasks)}
    s.runtime.kill()
    s.restart_server()
    assert {run: s.history(run) for run in (waits, tasks)} == before
    steps = {e["name"]: e for e in before[waits] if e["kind"] in ("step_begun", "step_done") and e["name"]}
    assert steps["sleeping"]["input"] == {"ms": 50}
    assert next(e for e in before[waits] if e["kind"] == "child_done")["output"] == {"ms": 50}
    assert next(e for e in before[waits] if e["kind"] == "signal")["payload"] == {"from": "Ada"}
    assert [e["input"]["letter"] for e in before[tasks] if e.get("input") and "letter" in e["input"]] == ["A", "B", "C"]
    shown = s.aiki("runs", "inspect", tasks).stdout
    assert '"letter":"B"' in shown and '{"attempt":3}' in shown
