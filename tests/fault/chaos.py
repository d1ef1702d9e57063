r"""kill -9 of everything at random instants while 500 ledger runs of 10 steps are open.

The long form takes a minute or two:
    AIKI_RUNS=1000 AIKI_KILLS=200 AIKI_TASK_MS=500 AIKI_BUILD=build/gcc python3 -m pytest -s -p no:cacheprovider \
        tests/fault/chaos.py -k "at_random_instants[runtime]"

Checked against the ledger file outside the system: every acknowledged start completes with the
right output, no step whose result is on record is executed again, histories are gap-free.
AIKI_SEED repeats a failing run's plan.
"""
import concurrent.futures
import os
import random
import signal
import time

import pytest

import chain
from harness import Ledger, at_best, end, in_time, is_stopped, seed, until

RUNS = int(os.environ.get("AIKI_RUNS", 500))
KILLS = int(os.environ.get("AIKI_KILLS", 6))
TASK_MS = int(os.environ.get("AIKI_TASK_MS", 2))
STEPS = 10


class Load:
    """Starts runs through faults; every id here was acknowledged."""

    def __init__(self, stack, count, task_ms=TASK_MS):
        self.stack = stack
        self.path = stack.directory / "ledger.txt"
        self.value = {"steps": STEPS, "task_ms": task_ms, "path": str(self.path), "width": 1}
        self.pool = concurrent.futures.ThreadPoolExecutor(8)
        self.started = [self.pool.submit(stack.start_surely, "ledger", self.value, f"k{i}")
                        for i in range(count)]

    def acknowledged(self):
        return [f.result() for f in self.started if f.done()]

    def all(self):
        return [f.result() for f in self.started]


def steps_done(s, runs):
    return len(Ledger(s.directory / "ledger.txt").lines())


def check_everything(s, runs):
    for run in runs:
        assert s.outcome(run)["output"] == {"steps": STEPS}
    ledger = Ledger(s.directory / "ledger.txt")
    ledger.check_order()
    lines = ledger.lines()
    by_run = {}
    for run, step, _, _, _ in lines:
        by_run.setdefault(run, []).append(step)
    assert set(by_run) == set(runs), "a run nobody was told about, or one that did nothing"
    for run in runs:
        chain.check(s.history(run))
        assert set(by_run[run]) == set(range(STEPS)), by_run[run]
    repeated = len(lines) - STEPS * len(runs)
    print(f"{len(lines)} executions, {repeated} of them repetitions of unrecorded steps")


def kill_runtime(s, rng):
    index = rng.choice(list(s.runtimes))
    s.runtimes[index].kill()
    s.start_runtime(index, wait=False)


def kill_child(s, rng):
    children = [c for p in s.runtimes.values() for c in p.children()]
    if children:
        end(rng.choice(children))


def kill_server(s):
    s.server.kill()
    s.start_server()


def kill_all(s):
    for p in s.processes():
        p.kill()
    s.restart_redis()
    s.start_server()
    for index in list(s.runtimes):
        s.start_runtime(index, wait=False)


FAULTS = {
    "server": lambda s, rng: kill_server(s),
    "runtime": lambda s, rng: kill_runtime(s, rng),
    "child": kill_child,
    "redis": lambda s, rng: s.restart_redis(),
    "all": lambda s, rng: kill_all(s),
}


@pytest.mark.parametrize("fault", [*FAULTS, "mixed"])
def test_killed_at_random_instants(stacks, fault):
    rng = random.Random(seed())
    s = stacks(plugins=["ledger"], runtimes=2)
    load = Load(s, RUNS)
    total = RUNS * STEPS
    # Faults come by progress, not by the clock, so that they land on work in flight.
    marks = sorted(rng.randrange(total // 20, total * 9 // 10) for _ in range(KILLS))
    bit = 0
    for mark in marks:
        until(lambda: steps_done(s, None) >= mark, f"{mark} steps executed", patience_s=90)
        name = fault if fault != "mixed" else rng.choice(list(FAULTS))
        print(f"at {mark}: {name}")
        bit += steps_done(s, None) < total
        FAULTS[name](s, rng)
    runs = load.all()
    assert len(set(runs)) == RUNS
    check_everything(s, runs)
    assert bit >= KILLS // 2, "the faults came too late to hit anything"


def test_flush_and_empty_restart_of_redis_lose_nothing(stacks):
    s = stacks(plugins=["ledger"], runtimes=2, runtime_args=["--slots", "16"])
    load = Load(s, RUNS)
    for mark in (200, 800, 1500, 2500):
        until(lambda: steps_done(s, None) >= mark, f"{mark} steps executed", patience_s=90)
        s.redis_command("FLUSHALL")
    s.restart_redis()
    check_everything(s, load.all())


def test_runnable_runs_are_offered_again_within_two_seconds(stacks):
    """With nobody to take them, every queued run is back in the stream soon after a flush."""
    s = stacks(plugins=["ledger"], runtimes=1)
    path = str(s.directory / "ledger.txt")
    s.result(s.start("ledger", {"steps": 1, "task_ms": 0, "path": path, "width": 1}))
    s.runtime.kill()
    runs = [s.start("ledger", {"steps": 1, "task_ms": 0, "path": path, "width": 1}) for _ in range(200)]
    key = next(k for k in s.redis_command("KEYS", "aiki:*"))
    until(lambda: s.redis_command("XLEN", key) >= 200, "all are offered")

    def offered_again(loss):
        loss()
        lost = time.monotonic()
        until(lambda: s.redis_command("XLEN", key) >= 200, "all are offered again")
        in_time(time.monotonic() - lost < 2, f"all are offered again after {time.monotonic() - lost:.1f} s")
    at_best(lambda: offered_again(lambda: s.redis_command("FLUSHALL")))
    at_best(lambda: offered_again(s.restart_redis))
    s.start_runtime(0)
    for run in runs:
        s.result(run)


def test_a_runtime_stopped_beyond_its_lease_is_fenced_and_serves_on(stacks):
    s = stacks(plugins=["ledger"], runtimes=1, lease_ms=1000)
    load = Load(s, 60, task_ms=30)
    until(lambda: steps_done(s, None) >= 20, "work is under way")
    zombie = s.runtimes[0]
    zombie.send(signal.SIGSTOP)
    s.start_runtime(1)
    until(lambda: s.metrics()["aiki_sessions_expired_total"] >= 1, "the lease has ended")
    runs = load.all()
    for run in runs:
        s.outcome(run)
    before = s.metrics()["aiki_fenced_writes_total"]
    zombie.send(signal.SIGCONT)
    until(lambda: s.metrics()["aiki_fenced_writes_total"] > before, "a late write was refused")
    for run in runs:
        chain.check(s.history(run))
        assert s.outcome(run)["output"] == {"steps": STEPS}
    s.runtimes[1].kill()
    assert zombie.alive()
    path = str(s.directory / "ledger.txt")
    s.result(s.start("ledger", {"steps": 2, "task_ms": 0, "path": path, "width": 1}))


def test_what_a_process_had_in_hand_when_it_lost_the_run_changes_nothing(stacks):
    """It begins a step that another one has got on record meanwhile, hears that the run is not its own, and leaves it at that."""
    s = stacks(plugins=["ledger"], start=False)
    s.start_redis()
    s.start_server()
    s.start_runtime(0, env={"AIKI_FAULT": "child.task.before=stop@4", "AIKI_FAULT_ONCE": str(s.directory / "spent")})
    path = s.directory / "ledger.txt"
    run = s.start("ledger", {"steps": STEPS, "task_ms": 0, "path": str(path), "width": 1})
    child, = until(lambda: [pid for pid in s.runtime.children() if is_stopped(pid)], "it has a step in hand")
    s.runtime.send(signal.SIGSTOP)
    s.restart_server()
    s.start_runtime(1)
    assert s.result(run) == {"steps": STEPS}
    events = s.history(run)
    ledger = Ledger(path)
    assert [len(stamps) for stamps in ledger.executions(run).values()] == [1] * STEPS
    end(child, signal.SIGCONT)
    until(lambda: len(ledger.executions(run)[3]) == 2, "it executes what it had in hand")
    s.runtime.send(signal.SIGCONT)
    s.runtimes[1].kill()
    late = s.start("ledger", {"steps": STEPS, "task_ms": 0, "path": str(path), "width": 1})
    assert s.result(late) == {"steps": STEPS}, "it serves on"
    assert ledger.pids() - {child} and len(ledger.lines()) == 2 * STEPS + 1
    ledger.check_order()
    assert s.history(run) == events


def test_an_orderly_stop_charges_nobody(stacks):
    s = stacks(plugins=["ledger"], runtimes=2)
    load = Load(s, 100, task_ms=5)
    until(lambda: steps_done(s, None) >= 100, "work is under way")
    assert s.runtimes[0].stop() == 0
    runs = load.all()
    check_everything(s, runs)
    assert s.server.stop() == 0
