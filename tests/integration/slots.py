"""A worker host and its processes: slots, children, leases, and all that can go away."""
import concurrent.futures
import pathlib
import signal
import subprocess
import threading
import time

import chain
import pytest
from harness import PATIENCE_S, RUNTIME, Ledger, at_best, command_of, descriptors, end, in_time, until


def start_ledger(s, steps, task_ms, name="ledger.txt", width=1):
    path = s.directory / name
    return s.start("ledger", {"steps": steps, "task_ms": task_ms, "path": str(path), "width": width})


def ledger(s, name="ledger.txt"):
    return Ledger(s.directory / name)


def executed_once(s, run, steps, repeated_at_most):
    """Every step ran, and only those under way at a crash ran again."""
    executions = ledger(s).executions(run)
    assert sorted(executions) == list(range(steps))
    extra = sum(len(stamps) - 1 for stamps in executions.values())
    assert extra <= repeated_at_most + s.taken_away(), executions
    chain.check(s.history(run))


def counted(s):
    """When the executions began that count. One before it, of a run that was taken away, may not have ended."""
    return sorted({(run, step): ns for run, step, _, _, ns in ledger(s).lines()}.values())


def alive(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_no_more_runs_than_slots_at_a_time(stacks):
    s = stacks(plugins=["ledger"], runtime_args=["--slots", "4"])
    runs = [start_ledger(s, 1, 100) for _ in range(24)]
    for run in runs:
        assert s.result(run) == {"steps": 1}
        executed_once(s, run, 1, repeated_at_most=0)
    stamps = counted(s)
    assert len(stamps) == 24
    for first, fifth in zip(stamps, stamps[4:]):
        assert fifth - first >= 99_000_000, "a fifth run began before one of four had ended"


def most_at_once(marks, already=0):
    """Of "+" at a beginning and "-" at an end: how many there were at a time."""
    at_once = most = already
    for mark in marks:
        at_once += 1 if mark == "+" else -1
        most = max(most, at_once)
    return most


def test_slots_change_while_it_serves(stacks):
    """Runs are always waiting: as many as there are slots are executed at a time, 5, then 9, then 2, and never more."""
    s = stacks(plugins=["turns"], start=False)
    settings, marks, gate = (s.directory / name for name in ("runtime.conf", "marks", "gate"))
    settings.write_text("slots = 5\n")
    s.start_redis()
    s.start_server()
    s.start_runtime(args=["--config", settings])

    def start(count, gate):
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            return list(pool.map(lambda _: s.start("turns", {"path": str(marks), "gate": str(gate)}), range(count)))

    def begun():
        return marks.read_text().count("+") if marks.exists() else 0

    def change(slots):
        settings.write_text(f"slots = {slots}\n")
        s.runtime.send(signal.SIGHUP)
        until(lambda: s.get("/v1/workers")["workers"][0]["slots"] == slots, "it was heard")

    def scenario():
        """Nobody ends before the gate is there, so what the slots allow is what has begun."""
        change(5)
        marks.unlink(missing_ok=True)
        gate.unlink(missing_ok=True)
        runs = start(30, gate)
        until(lambda: begun() >= 5, "five have begun")
        with_5 = begun()
        change(9)
        until(lambda: begun() >= 9, "four more have begun")
        with_9 = begun()
        change(2)
        gate.touch()
        for run in runs:
            s.result(run)
            chain.check(s.history(run))
        return with_5, with_9, marks.read_text()
    with_5, with_9, text = s.undisturbed(scenario)
    assert (with_5, with_9, text[:9], len(text)) == (5, 9, 9 * "+", 60), text
    assert most_at_once(text) == 9, text
    # With two slots: nothing begins until seven of the nine have ended.
    first = text.index("+", 9)
    assert text[9:first].count("-") >= 8 and most_at_once(text[first:], already=9 - text[9:first].count("-")) <= 2, text


def test_settings_read_again_that_are_wrong_or_need_a_restart(stacks):
    s = stacks(plugins=["ledger"], start=False)
    files = {name: s.directory / f"{name}.conf" for name in ("server", "runtime")}
    for file in files.values():
        file.write_text("log = info\n")
    s.server_args = ["--config", files["server"]]
    s.start_redis()
    s.start_server()
    s.start_runtime(args=["--config", files["runtime"]])

    def read_again(name, process, text, answer):
        files[name].write_text(text)
        process.send(signal.SIGHUP)
        until(lambda: answer in process.log.read_text(), answer)

    read_again("runtime", s.runtime, "slots = 3\nslots = many\n",
               "runtime.conf:2: slots must be a whole number from 1 to 100000, found \"many\"")
    read_again("runtime", s.runtime, "slots = 3\nlog = loud\n", "log must be debug")
    assert s.get("/v1/workers")["workers"][0]["slots"] == 512
    read_again("runtime", s.runtime, "token = secret\nlog = debug\n",
               "token has changed (file:1): restart to use it")
    assert "secret" not in s.runtime.log.read_text()
    read_again("server", s.server, "lease-ms = 100\nlog = no\n", "log must be debug")
    read_again("server", s.server, "lease-ms = 200\n", "lease-ms has changed (file:1): restart")
    assert s.result(start_ledger(s, 2, 0)) == {"steps": 2}
    until(lambda: "DEBUG" in s.runtime.log.read_text(), "its log tells more now")


def kill_one(s, pids):
    """One of these that still is a process of the runtime."""
    return any(end(pid) for pid in set(pids) & set(s.runtime.children()))


def test_a_killed_child_is_replaced_and_its_runs_resume(stacks):
    s = stacks(plugins=["ledger", "hello"])
    runs = []
    for _ in range(3):
        before = len(ledger(s).lines())
        runs += [start_ledger(s, 20, 10) for _ in range(5)]  # so that there is something to do, however slow we are
        until(lambda: kill_one(s, [pid for _, _, _, pid, _ in ledger(s).lines()]), "a process that executed some is killed")
        until(lambda: len(ledger(s).lines()) > before + 20, "the runs go on")
        assert s.result(s.start("hello", {"name": "unharmed"}))
    for run in runs:
        assert s.result(run) == {"steps": 20}
        executed_once(s, run, 20, repeated_at_most=3)
    assert "signal 9" in s.runtime.log.read_text()


def test_a_killed_child_costs_little_time(stacks):
    s = stacks(plugins=["ledger"])
    runs = []

    def is_killed():
        name = f"ledger{len(runs)}.txt"
        runs.append(start_ledger(s, 200, 5, name))
        until(lambda: len(ledger(s, name).lines()) > 5, "the run is under way")
        pid = ledger(s, name).lines()[-1][3]
        killed_ns = time.monotonic_ns()
        assert end(pid)
        resumed = until(lambda: [row[4] for row in ledger(s, name).lines() if row[3] != pid], "it resumed")[0]
        in_time(resumed - killed_ns < 2_000_000_000, f"{(resumed - killed_ns) / 1e6:.0f} ms")
    at_best(is_killed)
    for run in runs:
        assert s.result(run) == {"steps": 200}


def test_a_child_that_keeps_dying_is_replaced_more_and_more_slowly(stacks):
    s = stacks(plugins=["ledger", "hello"], child_idle="always")  # a process that dies without a run is what is looked at
    log = s.runtime.log
    hello = set(s.runtime.children())
    for n in range(1, 7):
        victim = until(lambda: [p for p in s.runtime.children() if "ledger.so" in command_of(p)], "a process for ledger")[0]
        assert end(victim)
        until(lambda: f"crash {n}," in log.read_text(), f"crash {n} is in the log")
    text = log.read_text()
    assert "crash 1, replaced in 0 ms" in text and "crash 6, replaced in 400 ms" in text, text[-2000:]
    assert s.result(start_ledger(s, 2, 0)) == {"steps": 2}
    assert hello & set(s.runtime.children()), "the other plugin's process was replaced too"


def test_children_get_no_secrets_and_no_descriptors(stacks):
    s = stacks(plugins=["hello"], env={"AIKI_TOKEN": "secret", "AIKI_SLOTS": "9", "OTHER": "kept"})
    assert s.result(s.start("hello", {"name": "x"}))
    pid, = s.runtime.children()
    environment = pathlib.Path(f"/proc/{pid}/environ").read_bytes()
    assert b"AIKI_" not in environment.replace(b"AIKI_FAULT", b"") and b"OTHER=kept" in environment
    fds = descriptors(pid)
    assert fds[0] == "/dev/null"
    assert fds[3].startswith("socket:")
    sockets = [fd for fd, to in fds.items() if to.startswith("socket:")]
    broker = descriptors(s.runtime.pid).values()
    shared = [fd for fd, to in fds.items() if fd > 3 and to.startswith(("socket:", "pipe:")) and to in broker]
    files = [to for to in fds.values() if to.startswith("/") and not to.startswith("/dev/")]
    assert [fd for fd in sockets if fd > 3] == shared == files == [], fds
    limits = pathlib.Path(f"/proc/{pid}/limits").read_text()
    core = next(line for line in limits.splitlines() if line.startswith("Max core file size"))
    assert core.split()[4] == "0", core


def test_a_killed_broker_takes_its_children_along(stacks):
    s = stacks(plugins=["hello", "ledger"])
    assert s.result(s.start("hello", {"name": "x"}))
    run = start_ledger(s, 50, 10)
    until(ledger(s).lines, "the run has begun")
    children = s.runtime.children()
    assert len(children) == 2
    s.runtime.kill()
    until(lambda: not any(alive(pid) for pid in children), "its children are gone")
    left = list((s.directory / "state0/cache").rglob("*.so"))
    assert len(left) == 2, "kill -9 leaves the copies"
    s.start_runtime()
    assert s.result(run) == {"steps": 50}
    executed_once(s, run, 50, repeated_at_most=1)
    assert not set(left) & set((s.directory / "state0/cache").rglob("*.so")), "they were not swept"


def test_sigterm_lets_resident_runs_finish(stacks):
    s = stacks(plugins=["ledger"])
    run = start_ledger(s, 10, 50)
    until(ledger(s).lines, "the run has begun")
    assert s.runtime.stop() == 0
    if s.taken_away():
        s.start_runtime(1)  # what was taken from it while it drained is for somebody else
    assert s.result(run) == {"steps": 10}
    executed_once(s, run, 10, repeated_at_most=0)
    assert list((s.directory / "state0/cache").rglob("*.so")) == []


def test_what_is_not_done_within_drain_ms_moves_to_another_worker(stacks):
    for drain_ms in ("0", "200"):
        s = stacks(plugins=["ledger"], runtime_args=["--drain-ms", drain_ms])
        runs = [start_ledger(s, 30, 20) for _ in range(5)]
        until(lambda: len(ledger(s).lines()) > 10, "the runs have begun")
        s.start_runtime(1)
        assert s.runtime.stop() == 0
        for run in runs:
            assert s.result(run) == {"steps": 30}
            executed_once(s, run, 30, repeated_at_most=1)


def test_a_second_signal_ends_it_at_once(stacks):
    s = stacks(plugins=["ledger"], runtime_args=["--drain-ms", "3600000"])
    run = start_ledger(s, 2, 3_600_000)
    until(ledger(s).lines, "the run has begun")
    s.runtime.send(signal.SIGTERM)
    until(lambda: "SIGTERM" in s.runtime.log.read_text(), "it drains")
    assert s.runtime.stop() == 0, "its task takes an hour, and so long it would drain"
    assert s.state(run) in ("queued", "running", "stalled")


def test_stopped_beyond_its_lease_it_writes_nothing_late_and_serves_on(stacks):
    s = stacks(plugins=["ledger"], lease_ms=500)
    runs = [start_ledger(s, 30, 20) for _ in range(8)]
    until(lambda: len(ledger(s).lines()) > 20, "the runs are under way")
    s.runtime.send(signal.SIGSTOP)
    until(lambda: s.metrics()["aiki_sessions_expired_total"] >= 1, "the lease is over")
    s.start_runtime(1)
    until(lambda: all(s.state(run) == "completed" for run in runs[:2]), "others go on with the runs")
    s.runtime.send(signal.SIGCONT)
    for run in runs:
        assert s.result(run) == {"steps": 30}
        chain.check(s.history(run))
    until(lambda: len(s.get("/v1/workers")["workers"]) == 2, "it is back with a new session")
    s.runtimes[1].kill()
    assert s.result(start_ledger(s, 3, 0)) == {"steps": 3}


def test_redis_goes_and_comes_back_empty(stacks):
    s = stacks(plugins=["ledger"])
    runs = [start_ledger(s, 20, 10) for _ in range(10)]
    s.redis.kill()
    runs.append(start_ledger(s, 3, 0))
    assert s.state(runs[-1]) in ("queued", "stalled")
    s.redis_socket.unlink()
    s.start_redis()
    for run in runs:
        assert s.result(run)
    s.redis_command("FLUSHALL")
    assert s.result(start_ledger(s, 3, 0)) == {"steps": 3}
    assert all(s.run(run)["state"] == "completed" for run in runs)


def test_flushall_under_load_loses_nothing(stacks):
    s = stacks(plugins=["ledger"], runtime_args=["--slots", "4"])
    runs = [start_ledger(s, 2, 10) for _ in range(60)]

    def goes_on():
        s.redis_command("FLUSHALL")
        done, began = sum(s.state(run) == "completed" for run in runs), time.monotonic()
        until(lambda: sum(s.state(run) == "completed" for run in runs) > min(done + 5, len(runs) - 1), "work goes on")
        in_time(time.monotonic() - began < 20, f"{time.monotonic() - began:.1f} s")
    for _ in range(3):
        at_best(goes_on)
    for run in runs:
        assert s.result(run) == {"steps": 2}


def test_the_server_goes_and_comes_back(stacks):
    s = stacks(plugins=["ledger"])
    runs, children = [], None
    for _ in range(3):
        before = len(ledger(s).lines())
        runs += [start_ledger(s, 30, 10) for _ in range(4)]  # so that there is something to do, however slow we are
        until(lambda: len(ledger(s).lines()) > before + 20, "the runs are under way")
        children = children or s.runtime.children()
        s.restart_server()
    for run in runs:
        assert s.result(run) == {"steps": 30}
        executed_once(s, run, 30, repeated_at_most=3)
    assert s.runtime.children() == children, "a lost server is no reason to replace processes"


def test_idle_a_worker_hardly_talks_to_redis(stacks):
    s = stacks(plugins=["hello", "ledger", "order-processing"])
    s.result(s.start("hello", {"name": "x"}))

    def commands():
        stats = s.redis_command("INFO", "stats").splitlines()
        return int(next(x for x in stats if x.startswith("total_commands_processed")).split(":")[1])

    def passes_time():
        before, began = commands(), time.monotonic()
        threading.Event().wait(12)  # the subject is time that passes
        return (commands() - before) / (time.monotonic() - began)
    assert s.undisturbed(passes_time) <= 1, "commands a second"


def test_started_before_everything_else_it_waits_and_serves(stacks):
    s = stacks(plugins=["hello"], start=False)
    s.rpc = f"unix:{s.directory}/rpc"
    s.start_runtime(wait=False)
    until(lambda: "no session with" in s.runtime.log.read_text(), "it looks for the server")
    s.start_server()
    s.start_redis()
    s.runtime.await_ready()
    assert s.result(s.start("hello", {"name": "late"}))


def test_told_to_end_before_it_ever_met_a_server_it_ends(stacks):
    s = stacks(plugins=["hello", "ledger"], start=False, child_idle="always")  # so that there is something to end
    s.rpc = f"unix:{s.directory}/rpc"
    s.start_runtime(wait=False)
    until(lambda: len(s.runtime.children()) == 2, "the plugins are loaded")
    assert s.runtime.stop() == 0


@pytest.mark.parametrize("flags,word", [
    (["--plugins", "/nonexistent"], "plugins"), ([], "--plugins"), (["--slots", "0"], "slots"),
    (["--plugins", "{dir}", "--redis", "http://x"], "redis"), (["--plugins", "{dir}", "--server", "nowhere"], "nowhere"),
    (["--plugins", "{dir}", "--namespace", "a b"], "namespace"), (["--plugins", "{dir}", "--log", "loud"], "log"),
    (["--unheard-of"], "--unheard-of"), (["--plugins", "{dir}", "--state", "/proc/nowhere"], "state"),
])
def test_settings_that_cannot_work_end_it_with_the_reason(stacks, flags, word):
    s = stacks(start=False)
    flags = [flag.format(dir=s.plugins) for flag in flags]
    if "--state" not in flags:
        flags += ["--state", str(s.directory / "state")]
    done = subprocess.run([RUNTIME, *flags], capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode in (1, 2), done
    reason = [line for line in done.stderr.splitlines() if "ERROR" in line][-1]
    assert word in reason, done.stderr
