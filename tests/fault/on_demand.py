"""Processes that start when a run needs them, killed on the way: every run ends once and right."""
import signal

import pytest

import chain
from harness import SANITIZED, Ledger, children_of, command_of, end, is_stopped, plugin, until
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
@pytest.mark.parametrize("point", [*(p for p in ON_DEMAND if owner_of(p) == "runtime"), "runtime.moved.sent"])
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


def claims(s, run):
    return [e for e in s.history(run) if e["kind"] == "claimed"]


@pytest.mark.parametrize("ends", ["first", "behind the claim"])
def test_a_run_comes_in_the_moment_its_process_ends(stacks, ends):
    """Neither is it lost nor is it given to what ends: it waits for the next process, claimed once."""
    s = stacks(plugins=["ledger"], child_idle="0", start=False)
    s.start_redis()
    s.start_server()
    s.start_runtime(0, env={"AIKI_FAULT": "runtime.demand.ending=stop", "AIKI_FAULT_ONCE": str(s.directory / "spent")})
    before = start_all(s, "before")  # the first of them may have ended when the last one comes
    until(lambda: is_stopped(s.runtime.pid), "it has decided that nobody needs the process")
    child, = s.runtime.children()
    if ends == "behind the claim":
        assert end(child, signal.SIGSTOP)
    runs = start_all(s, "then")
    s.runtime.send(signal.SIGCONT)
    if ends == "behind the claim":
        until(lambda: all(s.state(run) == "running" for run in runs), "they are claimed")
        assert s.runtime.children() == [child], "the process that is to end, and no other one beside it"
        assert end(child, signal.SIGCONT)
    all_end_well(s, before + runs)
    assert all(len(claims(s, run)) == 1 for run in runs)


def test_the_runtime_is_killed_beside_a_process_that_loads(stacks):
    """What was about to be ready for runs of the one before ends with it."""
    s = stacks(plugins=["ledger"], child_idle="300", start=False)
    s.start_redis()
    s.start_server()
    s.start_runtime(0, env={"AIKI_FAULT": "child.loaded=stop", "AIKI_FAULT_ONCE": str(s.directory / "spent")})
    runs = start_all(s, "l")
    until(lambda: any(is_stopped(pid) for pid in s.runtime.children()), "it is about to be ready")
    child, = s.runtime.children()
    s.runtime.kill()
    until(lambda: not command_of(child), "it ends with its runtime")
    s.start_runtime(0)
    all_end_well(s, runs)


# ---- quarantine ---------------------------------------------------------------------------------------

CRASHES = 3  # until a task is quarantined


def quarantined(s):
    return [q["name"] for q in s.get("/v1/plugins")["quarantined"]]


def charged(s, run):
    return [e for e in s.history(run) if e["kind"] == "crashed" and e["charged"]]


def crash(s, number):
    return s.start_surely("crash", {"how": "null", "times": 1, "path": str(s.directory / f"mark{number}")}, f"c{number}")


def is_held(s, run):
    row = until(lambda: (now := s.run(run))["state"] == "blocked" and now, "it is held")
    return row["error"]["code"] == "QUARANTINED" and charged(s, run) == []


@pytest.mark.skipif(SANITIZED, reason="sanitizers end a process in their own way")
def test_a_build_without_a_process_is_quarantined_and_mended(stacks):
    """Each process that starts later is told, in this runtime and in the next; and of the end of it as well."""
    s = stacks(plugins=["crash"], child_idle="0", server_args=["--quarantine-crashes", CRASHES])
    unloaded = lambda: until(lambda: children_of(s.runtime.pid) == [], "no process is left")
    build = s.get("/v1/plugins")["plugins"][0]["build"]
    first = [crash(s, n) for n in range(CRASHES)]
    until(lambda: quarantined(s) == ["crash"], "it crashed too often")
    held = until(lambda: [r for r in first if s.state(r) == "blocked"], "the one that tipped it is held")
    unloaded()
    held.append(crash(s, 3))
    assert is_held(s, held[-1]), "the process that was started for it does not execute it"
    unloaded()
    s.runtime.kill()
    s.start_runtime(0)
    unloaded()  # nobody needs one; a gate at the start may have
    held.append(crash(s, 4))
    assert is_held(s, held[-1])
    unloaded()
    s.request("POST", f"/v1/plugins/{build}/unquarantine")
    for run in [*first, *held]:
        assert s.outcome(run)["state"] == "completed"
        assert len(charged(s, run)) <= 1
        chain.check(s.history(run))
