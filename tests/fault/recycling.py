"""A worn process is replaced, with a kill at every point on the way: nothing is lost, charged or done twice."""
import pytest

import chain
from harness import Ledger, until
from points import ON_DEMAND, POINTS, RECYCLING, UNDEFINED, owner_of

RUNS, STEPS = 4, 12
# Passed by every process that executes something, worn or new.
CHILD = [p for p in POINTS if owner_of(p) == "child" and p not in RECYCLING + ON_DEMAND + UNDEFINED + ["child.unfit.sent"]]


def start(s, key):
    path = str(s.directory / "ledger.txt")
    return s.start_surely("ledger", {"steps": STEPS, "task_ms": 150, "path": path, "width": 1}, key)


def worn_stack(stacks, env):
    s = stacks(plugins=["ledger"], runtime_args=["--child-tasks", "6"], start=False)
    s.start_redis()
    s.start_server()
    s.start_runtime(0, env={"AIKI_FAULT_ONCE": str(s.directory / "spent"), **env})
    return s, [start(s, f"l{i}") for i in range(RUNS)], Ledger(s.directory / "ledger.txt")


def replaced(s):
    return s.runtime.log.read_text(errors="replace").count("another process takes its place")


def all_end_well(s, runs, ledger, twice):
    for run in runs:
        assert s.result(run) == {"steps": STEPS}
        events = s.history(run)
        chain.check(events)
        assert all(e["attempt"] == 1 for e in events if e["kind"] == "step_done"), "no attempt is charged"
        assert not [e for e in events if e["kind"] == "crashed" and e["charged"]]
    executed = [n for run in runs for stamps in ledger.executions(run).values() for n in [len(stamps)]]
    assert len(executed) == len(runs) * STEPS and sum(executed) - len(executed) <= twice, executed


def enough(s, runs, condition, what):
    """There is something to do until condition() is true, however long a replacement takes: for RUNS at a time, so that no more
    are under way when something dies."""
    def more():
        if condition():
            return True
        if s.runtime.alive() and all(s.state(run) == "completed" for run in runs[-RUNS:]):
            runs.extend(start(s, f"l{len(runs) + i}") for i in range(RUNS))
        return False
    until(more, what)


def test_nothing_is_executed_twice(stacks):
    s, runs, ledger = worn_stack(stacks, {})
    enough(s, runs, lambda: replaced(s) >= 2, "it is replaced twice")
    all_end_well(s, runs, ledger, twice=0)
    until(lambda: len(s.runtime.children()) == 1, "the worn ones have ended")


@pytest.mark.parametrize("nth", [1, 2])
@pytest.mark.parametrize("point", RECYCLING)
def test_killed_on_the_way(stacks, point, nth):
    s, runs, ledger = worn_stack(stacks, {"AIKI_FAULT": f"{point}=kill@{nth}"})
    enough(s, runs, (s.directory / "spent").exists, f"{point} is passed")
    if owner_of(point) == "runtime":
        until(lambda: not s.runtime.alive(), "it is dead")
        s.start_runtime(0)
    all_end_well(s, runs, ledger, twice=RUNS)


@pytest.mark.parametrize("point", CHILD)
def test_a_process_killed_while_others_are_replaced(stacks, point):
    s, runs, ledger = worn_stack(stacks, {"AIKI_FAULT": f"{point}=kill@4"})
    enough(s, runs, (s.directory / "spent").exists, f"{point} is passed")
    all_end_well(s, runs, ledger, twice=RUNS)
    after = [start(s, f"after{i}") for i in range(RUNS)]  # suspects were executed alone, these are not
    runs += after
    enough(s, runs, lambda: replaced(s) >= 1, "a worn one is replaced")
    all_end_well(s, runs, ledger, twice=RUNS)
