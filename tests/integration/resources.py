"""What a plugin's process may use, what becomes of one that uses more, and what it prints."""
import pathlib
import re
import subprocess

import pytest

from harness import RUNTIME, SANITIZED, until

# For tests that crash a lot and are not about what is done for the build's other runs.
MANY = ["--quarantine-crashes", "0", "--crash-hold-ms", "0"]
SMALL = ["--child-memory", "160"]


def greedy(s, what, amount=0, **more):
    return s.start("greedy", {"what": what, "amount": amount, **more})


def crashed(s, run):
    return [e for e in s.history(run) if e["kind"] == "crashed"]


def log(s):
    return s.runtime.log.read_text(errors="replace")


def process(s, file="greedy.so"):
    return next(p["process"] for p in s.get("/v1/plugins")["plugins"]
                if p["file"] == file and p["state"] == "serving")


def replaced(s):
    return log(s).count("another process takes its place")


@pytest.mark.skipif(SANITIZED, reason="a sanitizer's process has another size")
def test_who_takes_too_much_memory_is_named_with_limit_and_setting(stacks):
    s = stacks(plugins=["greedy", "hello"], server_args=MANY, runtime_args=SMALL)
    run = greedy(s, "memory", 400, ms=60000)
    outcome = s.outcome(run)
    assert outcome["state"] == "failed" and outcome["error"]["code"] == "STEP_CRASHED", outcome
    ends = crashed(s, run)
    assert [e["charged"] for e in ends] == [False, True, True, True], "first it was not certain who"
    for e in ends:
        error = e["error"]
        assert error["code"] == "CRASH_LIMIT" and "child-memory is 160" in error["message"], error
        assert error["details"]["setting"] == "child-memory" and error["details"]["limit"] == 160
        assert error["details"]["found"] > 160, error
    assert s.result(s.start("hello", {"name": "you"}))
    assert re.search(r"greedy.so@\w+ was ended: \d+ MiB of memory, child-memory is 160", log(s))


def leak_slowly(s, what, amount, times, reason):
    """All tasks of a run together come to three quarters of the limit and not to the limit, whenever it is looked at:
    another process takes the place of theirs, twice. Another run is under way, and no attempt of either is lost."""
    beside = greedy(s, "nothing", ms=20, times=10000)

    def done(run):
        return [e["attempt"] for e in s.history(run) if e["kind"] == "step_done"]
    for n in (1, 2):
        run = greedy(s, what, amount, ms=10, times=times)
        assert s.result(run)["times"] == times and done(run) == [1] * times and not crashed(s, run)
        until(lambda: replaced(s) == n, "it is replaced")
        until(lambda: len(re.findall(r"greedy.so@\w+ has ended", log(s))) == n, "the worn one has ended")
        before = len(done(beside))
        until(lambda: len(done(beside)) > before, "who was in it goes on in the next one")
    assert reason in log(s) and set(done(beside)) == {1} and not crashed(s, beside)
    s.request("POST", f"/v1/runs/{beside}/terminate", {})


@pytest.mark.skipif(SANITIZED, reason="a sanitizer's process has another size")
def test_a_leak_costs_a_process_now_and_then_and_no_attempt(stacks):
    s = stacks(plugins=["greedy"], runtime_args=["--child-memory", "96"])
    leak_slowly(s, "memory", 2, 36, "child-memory is 96")
    shown = until(lambda: (p := process(s)) and p["replaced"] >= 2 and p, "it is told")
    assert "child-memory is 96" in shown["why"], shown
    text = s.aiki("plugins", "show", "greedy").stdout
    assert "child-memory is 96" in text and "MiB" in text, text


def test_no_descriptor_is_left(stacks):
    s = stacks(plugins=["greedy"], runtime_args=["--child-files", "128"])
    run = greedy(s, "files", 10000)
    error = s.outcome(run)["error"]
    assert error["code"] == "NO_FILE", error
    assert error["cause"]["code"] == "CHILD_FILES" and "child-files is 128" in error["cause"]["message"], error
    until(lambda: replaced(s) == 1 and re.search(r"greedy.so@\w+ has ended", log(s)), "the process is replaced")
    assert "child-files is 128" in log(s)
    assert s.result(greedy(s, "files", 10)) == {"times": 1, "processes": 1}


@pytest.mark.parametrize("what, reason", [("files", "child-files is 256"), ("threads", "child-threads is 256")])
def test_what_leaks_slowly_is_replaced_between_tasks(stacks, what, reason):
    s = stacks(plugins=["greedy"], runtime_args=["--child-files", "256", "--child-threads", "256"])
    leak_slowly(s, what, 6, 32, reason)


def test_too_many_threads_end_the_process(stacks):
    s = stacks(plugins=["greedy"], server_args=MANY, runtime_args=["--child-threads", "128"])
    run = greedy(s, "threads", 300, ms=60000)
    assert s.outcome(run)["error"]["code"] == "STEP_CRASHED"
    error = crashed(s, run)[-1]["error"]
    assert error["code"] == "CRASH_LIMIT" and error["details"]["setting"] == "child-threads", error


@pytest.mark.skipif(SANITIZED, reason="a sanitizer keeps the stacks")
def test_threads_that_nobody_joins_are_a_leak_of_memory(stacks):
    s = stacks(plugins=["greedy"], runtime_args=["--child-memory", "40"])
    for _ in range(3):
        s.result(greedy(s, "unjoined", 700, ms=300, times=2))
    until(lambda: "child-memory is 40" in log(s), "their stacks are counted")
    assert s.result(greedy(s, "unjoined", 1))


def test_processor_time_over_a_window(stacks):
    s = stacks(plugins=["greedy"], server_args=MANY, runtime_args=["--child-cpu", "2"])
    run = greedy(s, "time", 60000)
    event = until(lambda: crashed(s, run), "it is ended")[0]
    assert event["error"]["code"] == "CRASH_LIMIT" and "child-cpu is 2" in event["error"]["message"]
    s.request("POST", f"/v1/runs/{run}/terminate", {})


def test_a_number_of_tasks_and_an_age(stacks):
    s = stacks(plugins=["greedy", "hello"], runtime_args=["--child-tasks", "20", "--child-age", "0,hello.so=1"])
    assert s.result(greedy(s, "nothing", ms=20, times=90))["times"] == 90
    until(lambda: "tasks, child-tasks is 20; another process" in log(s), "tasks are counted")
    assert s.result(s.start("hello", {"name": "you"}))
    until(lambda: "seconds of age, child-age is 1; another process" in log(s), "time passes")
    assert s.result(s.start("hello", {"name": "you"}))


def test_more_descriptors_than_the_kernel_gives_are_not_promised(stacks):
    """Said at start with both numbers; what is in force is the lower one, and is what is shown."""
    s = stacks(start=False)
    few = ["prlimit", "--nofile=512:512"]
    with subprocess.Popen([*few, RUNTIME, "--plugins", s.plugins, "--state", s.directory / "few", "--child-files",
                           "64,greedy.so=4000"], stderr=subprocess.PIPE, text=True) as runtime:
        try:
            line = next(line for line in runtime.stderr if "child-files" in line)
        finally:
            runtime.kill()
    assert "WARN" in line and "child-files is 4000" in line and "get 512 descriptors" in line, line


def test_a_file_may_have_limits_of_its_own(stacks):
    s = stacks(plugins=["greedy"], runtime_args=["--child-files", "64,greedy.so=256"])
    error = s.outcome(greedy(s, "files", 10000))["error"]
    assert "child-files is 256" in error["cause"]["message"], error


@pytest.mark.skipif(SANITIZED, reason="a sanitizer's process has another size")
def test_isolated_tasks_have_the_same_limits(stacks):
    s = stacks(plugins=["greedy"], server_args=MANY, runtime_args=SMALL)
    run = greedy(s, "memory", 400, ms=60000, apart=True)
    assert s.outcome(run)["error"]["code"] == "STEP_CRASHED"
    ends = crashed(s, run)
    assert {(e["charged"], e["error"]["code"]) for e in ends} == {(True, "CRASH_LIMIT")}, ends
    assert replaced(s) == 0


@pytest.mark.parametrize("setting, value, words", [
    ("child-memory", "5", "child-memory must be 0 or 32 to"),
    ("child-files", "many", "child-files must be 0 or 64 to"),
    ("child-threads", "100", "child-threads: 100 is less than twice task-threads (64)"),
    ("child-cpu", "10,x.so=", "child-cpu must be"),
    ("child-tasks", "-1", "child-tasks must be"),
    ("child-age", "=3", "child-age must be")])
def test_a_limit_that_makes_no_sense_is_refused_by_name(stacks, setting, value, words):
    s = stacks(start=False)
    runtime = s.start_runtime(args=[f"--{setting}", value], wait=False)
    until(lambda: not runtime.alive(), "it ends")
    assert words in log(s)


# ---- what it prints --------------------------------------------------------------------------


def test_lines_say_which_run_and_task_printed_them(stacks):
    s = stacks(plugins=["greedy"])
    runs = {greedy(s, "print", 4, ms=100, text=f"word{i}x"): f"word{i}x" for i in range(6)}
    for run, word in runs.items():
        s.result(run)
        until(lambda: log(s).count(word) >= 4, "four lines")
        lines = [line for line in log(s).splitlines() if word in line]
        assert 4 <= len(lines) <= 4 + 4 * s.taken_away(), lines
        assert all(f"run {run} task take attempt 1: {word}" in line and "greedy.so@" in line for line in lines), lines


def test_what_is_written_past_stdio_is_a_guess_and_says_so(stacks):
    s = stacks(plugins=["greedy"])
    gates = [s.directory / name for name in ("first", "second")]
    run = greedy(s, "raw", 1, text="alone", gate=str(gates[0]))
    until(lambda: f"perhaps run {run} task take attempt 1: alone" in log(s), "it is guessed")
    gates[0].touch()
    s.result(run)
    until(lambda: "\\x80\\x01\\x02\\x00\\x1b[31m" in log(s), "binary is escaped")
    runs = [greedy(s, "raw", 0, text="together", gate=str(gates[1])) for _ in range(3)]
    # When all is read at once it may be the first one's as well, which has just ended.
    until(lambda: re.search(r"one of [234] runs: together", log(s)), "it may be any of them")
    gates[1].touch()
    for run in runs:
        s.result(run)


@pytest.mark.heavy
def test_a_gigabyte_of_output_disturbs_nobody(stacks):
    s = stacks(plugins=["greedy", "hello"])
    broker = pathlib.Path(f"/proc/{s.runtime.pid}/status")

    def resident():
        return int(re.search(r"VmRSS:\s+(\d+)", broker.read_text())[1])
    s.result(s.start("hello", {"name": "you"}))
    before = resident()
    loud = greedy(s, "raw", 1000000, text="a gigabyte")
    done = 0
    while s.state(loud) != "completed":
        assert s.result(s.start("hello", {"name": "you"})) == {"greeting": "Hello, you!"}
        done += 1
    assert done >= 20, "others go on meanwhile"
    assert resident() < before + 4096, "nothing of it is kept"
    assert re.search(r"\d+ lines dropped: over OUTPUT_LINES_PER_S \(200\)", log(s))
    assert s.runtime.log.stat().st_size < 60 * 1024 * 1024
