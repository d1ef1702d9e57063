"""Processes that start when a run needs them, killed on the way: every run ends once and right."""
import pytest

import chain
from harness import Ledger, end, plugin, until
from points import ON_DEMAND, owner_of

RUNS = 6


def start_all(s, key):
    path = str(s.directory / "ledger.txt")
    return [s.start_surely("ledger", {"steps": 2, "task_ms": 0, "path": path, "width": 1}, f"{key}{i}") for i in range(RUNS)]


def all_end_well(s, runs):
    ledger = Ledger(s.directory / "ledger.txt")
    for run in runs:
        assert s.outcome(run)["output"] == {"steps": 2}
        events = s.history(run)
        chain.check(events)
        assert all(e["attempt"] == 1 for e in events if e["kind"] == "step_done"), "no attempt is charged"
        assert sorted(ledger.executions(run)) == [0, 1]


@pytest.mark.parametrize("nth", [1, 2])
@pytest.mark.parametrize("point", [p for p in ON_DEMAND if owner_of(p) == "runtime"])
def test_the_runtime_is_killed_on_the_way(stacks, point, nth):
    s = stacks(plugins=["ledger"], child_idle="0", start=False)
    s.start_redis()
    s.start_server()
    s.start_runtime(0, env={"AIKI_FAULT": f"{point}=kill@{nth}", "AIKI_FAULT_ONCE": str(s.directory / "spent")})
    runs = []

    def killed():
        if not s.runtime.alive():
            return True
        if not s.runtime.children() and (not runs or s.state(runs[-1]) == "completed"):  # another start, another end
            runs.extend(start_all(s, f"r{len(runs)}-"))
        return False
    until(killed, f"{point} is passed")
    assert (s.directory / "spent").exists()
    s.start_runtime(0)
    all_end_well(s, [*runs, *start_all(s, "after")])


def while_it_loads(stacks, fault):
    """Runs that wait for a process to which this has happened just before it was ready."""
    s = stacks(plugins=["ledger"], child_idle="300", start=False)
    s.start_redis()
    s.start_server()
    once = s.directory / "spent"
    s.start_runtime(0, env={"AIKI_FAULT": f"child.loaded={fault}", "AIKI_FAULT_ONCE": str(once)})
    runs = start_all(s, "l")
    until(once.exists, "it is about to be ready")
    return s, runs


def test_the_process_is_killed_while_it_loads(stacks):
    """Those that wait for it are given back, and executed by the one that comes instead."""
    s, runs = while_it_loads(stacks, "kill")
    all_end_well(s, runs)
    assert s.runtime.alive()


def test_the_process_is_stopped_while_it_loads_and_its_file_goes(stacks):
    """A run that waits for a plugin that is taken away is offered again, and ends when that comes back."""
    s, runs = while_it_loads(stacks, "stop")
    s.remove("ledger")
    until(lambda: s.runtime.children() == [], "nobody waits for it any more")
    s.drop("ledger")
    all_end_well(s, runs)


def test_another_build_comes_while_the_process_loads(stacks):
    s, runs = while_it_loads(stacks, "stop")
    stopped, = s.runtime.children()
    other = s.directory / "other.so"
    other.write_bytes(plugin("ledger").read_bytes() + b"\0")
    s.drop("ledger", other)
    all_end_well(s, runs)
    until(lambda: stopped not in s.runtime.children(), "the former process is gone")


def test_a_process_is_killed_when_nobody_needs_it(stacks):
    """It is replaced as ever, and no run notices."""
    s = stacks(plugins=["ledger"], child_idle="300")
    all_end_well(s, start_all(s, "l"))
    before, = s.runtime.children()
    assert end(before)
    until(lambda: (now := s.runtime.children()) and now != [before], "it is replaced")
    all_end_well(s, start_all(s, "m"))
