"""Timeouts of attempts: when they pass, what is on record, and what becomes of code that does not stop."""
import time

from harness import at_best, in_time, until


def failed_attempts(s, run):
    return [e for e in s.history(run) if e["kind"] == "attempt_failed"]


def only_the_first_fails(s, run):
    """One that answers at once may find no processor for as long as that is late."""
    attempt, failed = s.result(run)["attempt"], failed_attempts(s, run)
    assert attempt == len(failed) + 1 >= 2
    in_time(attempt == 2, failed)
    return failed


def step(s, run):
    return next(e for e in s.history(run) if e["kind"] == "step_done")


def test_an_attempt_over_its_time_is_stopped_and_repeated(stacks):
    s = stacks(plugins=["slow"])

    def times_out():
        run = s.start("slow", {"ms": 3600000, "bad": 1, "timeout_ms": 500})
        failed, = only_the_first_fails(s, run)
        assert failed["error"]["code"] == "TIMEOUT_START_TO_CLOSE"
        assert failed["error"]["message"] == "attempt 1 of task work: it took over 500 ms"
        assert failed["duration_us"] >= 500_000
        in_time(failed["duration_us"] <= 700_000, failed)
    at_best(times_out)
    assert "does not stop" not in s.runtime.log.read_text()


def test_the_attempt_after_the_last_timeout_fails_the_run(stacks):
    s = stacks(plugins=["slow"])
    run = s.start("slow", {"ms": 10000, "timeout_ms": 100, "attempts": 2})
    assert s.outcome(run)["error"]["code"] == "TIMEOUT_START_TO_CLOSE"
    assert step(s, run)["attempt"] == 2


def test_the_default_of_the_workflow_applies_unless_the_task_has_its_own(stacks):
    s = stacks(plugins=["slow"])

    def has_its_own():
        run = s.start("limited", {"ms": 3600000, "bad": 1})
        failed, = only_the_first_fails(s, run)
        assert failed["error"]["message"] == "attempt 1 of task work: it took over 300 ms"
        assert s.result(run) == {"attempt": 2, "details": -1, "deadline": True}
        run = s.start("limited", {"ms": 700, "bad": 1, "timeout_ms": 5000})
        assert not [e for e in failed_attempts(s, run) if e["duration_us"] < 5_000_000]
        in_time(s.result(run)["attempt"] == 1, "700 ms")
    at_best(has_its_own)


def test_the_whole_call_has_a_limit_of_its_own(stacks):
    s = stacks(plugins=["slow"])

    def times_out():
        run = s.start("slow", {"ms": 3600000, "timeout_ms": 200, "attempts": 100, "schedule_to_close_ms": 900})
        began = time.monotonic()
        error = s.outcome(run)["error"]
        took = time.monotonic() - began
        assert error["code"] == "TIMEOUT_SCHEDULE_TO_CLOSE"
        attempts = len(failed_attempts(s, run))
        assert attempts <= 5
        in_time(took < 3 and attempts >= 2, f"{took:.1f} s, {attempts} attempts")
        assert error["cause"]["code"] == "TIMEOUT_START_TO_CLOSE"
    at_best(times_out)


def test_a_call_that_finds_no_thread_in_time_fails_without_being_executed(stacks):
    s, runs = stacks(plugins=["slow"], runtime_args=["--task-threads", "1"]), []

    def calls_meanwhile():
        begun, gate = (s.directory / f"{name}{len(runs)}" for name in ("begun", "gate"))
        busy = s.start("slow", {"ms": 0, "begun": str(begun), "gate": str(gate)})
        runs.append(busy)
        until(begun.exists, "the only thread is taken")
        run = s.start("slow", {"ms": 0, "schedule_to_start_ms": 300})
        found = s.outcome(run)["error"], s.state(busy)
        gate.touch()
        s.result(busy)
        return found
    error, busy_is = s.undisturbed(calls_meanwhile)
    assert (error["code"], busy_is) == ("TIMEOUT_SCHEDULE_TO_START", "running")


def test_silence_ends_an_attempt_and_its_details_reach_the_next_one(stacks):
    s = stacks(plugins=["slow"])

    def falls_silent():
        run = s.start("slow", {"ms": 1200, "how": "beat", "bad": 1, "heartbeat_ms": 200})
        out, (failed,) = s.result(run), only_the_first_fails(s, run)
        assert failed["error"]["code"] == "TIMEOUT_HEARTBEAT"
        in_time(failed["duration_us"] >= 700_000, "silent before its time, for want of a processor")
        assert out["attempt"] == 2
        in_time(out["details"] > 10, f"{out['details']} beats in 600 ms, for want of a processor")
        in_time(failed["duration_us"] <= 1_000_000, failed)  # half of 1200 ms, and 200 ms of silence
        beats = [e for e in s.history(run) if e["kind"] == "heartbeat"]
        assert 1 <= len(beats) <= 4  # not one for each of a hundred
    at_best(falls_silent)


def test_code_that_does_not_stop_costs_its_process_and_nobody_else_an_attempt(stacks):
    s, tries = stacks(plugins=["slow"]), []

    def costs_its_process():
        begun, gate = (s.directory / f"{name}{len(tries)}" for name in ("begun", "gate"))
        bystanders = [s.start("slow", {"ms": 0, "attempts": 1, "begun": str(begun), "gate": str(gate)}) for _ in range(3)]
        tries.append(bystanders)
        until(lambda: begun.exists() and begun.stat().st_size == 3, "others are under way")
        before = s.runtime.children()
        run = s.start("slow", {"ms": 3600000, "how": "spin", "bad": 1, "timeout_ms": 300})
        s.result(run)
        until(lambda: s.runtime.children() != before, "its process is another one")
        until(lambda: "did not return within 1000 ms" in s.runtime.log.read_text(), "its last words are in the log")
        gate.touch()
        for bystander in bystanders:
            assert s.result(bystander)["attempt"] == 1
            assert failed_attempts(s, bystander) == []
        assert len(only_the_first_fails(s, run)) == 1
    at_best(costs_its_process)


def test_an_attempt_that_is_made_at_most_once_is_not_repeated_after_a_crash(stacks):
    s = stacks(plugins=["slow"])
    run = s.start("slow", {"ms": 60000, "once": 1})
    until(lambda: any(e["kind"] == "heartbeat" for e in s.history(run)), "its beginning is on record")
    s.runtime.kill()
    s.start_runtime(0)
    ended = s.outcome(run)
    assert (ended["state"], ended["error"]["code"]) == ("failed", "OUTCOME_UNKNOWN")
    assert s.result(s.start("slow", {"ms": 10, "once": 1}))["attempt"] == 1


def test_a_workflow_that_spins_loses_its_process_and_others_go_on(stacks):
    s = stacks(plugins=["slow"])
    begun, gate = s.directory / "begun", s.directory / "gate"
    bystander = s.start("slow", {"ms": 0, "attempts": 1, "begun": str(begun), "gate": str(gate)})
    until(begun.exists, "another one is under way")
    run = s.start("spin", {"ms": 3600000})
    ended = s.outcome(run)
    assert (ended["state"], ended["error"]["code"]) == ("failed", "WORKFLOW_STUCK")
    gate.touch()
    until(lambda: f"STUCK in run {run}" in s.runtime.log.read_text(), "its process said so")
    assert s.result(bystander)["attempt"] == 1
