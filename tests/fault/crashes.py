"""Crashes of every kind beside healthy runs of the same plugin and of others.

The full form: AIKI_CRASHES=1000 AIKI_BUILD=BUILD python3 -m pytest tests/fault/crashes.py
"""
import collections
import datetime
import os
import re

from harness import until

CRASHES = int(os.environ.get("AIKI_CRASHES", "64"))
HEALTHY = CRASHES // 2
WAYS = ["null", "segv", "bus", "division", "instruction", "abort", "stack", "exit", "_exit", "quick_exit",
        "handlers", "heap", "thread", "kill"]
PATIENCE_S = 60 + CRASHES // 2
# Their thread is heard, stack and all.
HEARD = {"null", "segv", "bus", "division", "instruction", "abort", "heap", "stack"}
# Ends that ask no handler, and who causes them: for the stack of another thread there is no time then.
UNASKED = {"exit code 3": "_exit", "signal 9": "kill", "signal 11": "handlers"}
# What the event of a run says that certainly did it: code and signal.
SAYS = {"null": ("CRASH_SIGNAL", 11), "segv": ("CRASH_SIGNAL", 11), "bus": ("CRASH_SIGNAL", 7),
        "division": ("CRASH_SIGNAL", 8), "instruction": ("CRASH_SIGNAL", 4), "abort": ("CRASH_SIGNAL", 6),
        "heap": ("CRASH_SIGNAL", 6), "handlers": ("CRASH_SIGNAL", 11), "stack": ("CRASH_STACK_OVERFLOW", 11),
        "exit": ("CRASH_EXIT", 0), "quick_exit": ("CRASH_EXIT", 0), "_exit": ("CRASH_EXIT", 0),
        "thread": ("CRASH_SIGNAL", 11), "kill": ("CRASH_KILLED", 9)}


def moment(event):
    return datetime.datetime.fromisoformat(event["at"].replace("Z", "+00:00")).timestamp()


def check_names(event, how, where, done):
    """Its own step, signal and address, whoever crashed with it."""
    error = event["error"]
    assert (error["code"], error["details"]["signal"]) == SAYS[how], (how, event)
    assert (event["step"], event["name"]) == (where, "crash"), (how, event)
    if where == "task":
        assert event["address"] == done["address"] == error["details"]["input_hash"], (how, event)
    if how in HEARD:
        assert ("stack" in error) != ("cut_short" in error["details"]), (how, event)
    if how == "null":
        assert error["details"]["fault_address"] == "0x0", event
        assert "stack" not in error or error["stack"][0].startswith("die_by_null+0x"), event


def check_cut(event, how, ends):
    """Another run ended the process in that very moment, in a way that leaves no time: it is on record, too."""
    cut = event["error"]["details"].get("cut_short")
    if cut is not None:
        assert cut in UNASKED, (how, event)
        assert any(abs(at - moment(event)) < 1 for at in ends[UNASKED[cut]]), (how, event, ends)


def test_healthy_runs_take_no_harm(stacks):
    s = stacks(plugins=["crash", "hello", "ledger"], server_args=["--quarantine-crashes", "0"])
    path = str(s.directory / "ledger.txt")
    bad, same, others = [], [], []
    for n in range(CRASHES):
        how, where = WAYS[n % len(WAYS)], ("task", "workflow")[n // len(WAYS) % 2]
        marks = str(s.directory / f"bad{n}")
        bad.append((s.start("crash", {"how": how, "times": 1, "path": marks, "where": where, "ms": n % 7}), how, where))
        if n % 2 == 0:
            marks = str(s.directory / f"same{n}")
            same.append(s.start("crash", {"how": "none", "times": 1, "path": marks, "where": "task", "ms": n % 50}))
            others.append(s.start("hello", {"name": str(n)}) if n % 4 else
                          s.start("ledger", {"steps": 5, "task_ms": 2, "path": path, "width": 1}))
    for run in others + same:
        assert s.outcome(run, PATIENCE_S)["state"] == "completed", run
        events = s.history(run)
        assert {e["attempt"] for e in events if e["kind"] == "step_done"} == {1}, events
        charged = [e for e in events if e["kind"] == "crashed" and e["charged"]]
        assert charged == [], charged
    for run in others:
        assert not [e for e in s.history(run) if e["kind"] == "crashed"], "the other plugin's process died too"
    # Whose handler had the time to write its line; the runtime's limit of lines may have swallowed some.
    log = s.runtime.log.read_text()
    seen_to_crash = set(re.findall(r"(?:CRASH|STACK OVERFLOW) in run (\S+) ", log))
    ends, all_charged = collections.defaultdict(list), []
    for run, how, where in bad:
        assert s.outcome(run, PATIENCE_S)["state"] == "completed", (run, how)
        events = s.history(run)
        crashed = [e for e in events if e["kind"] == "crashed"]
        charged = [e for e in crashed if e["charged"]]
        assert len(charged) <= 1 <= len(crashed), (how, crashed)
        for event in charged:
            check_names(event, how, where, next(e for e in events if e["kind"] == "step_done"))
        if run in seen_to_crash:
            assert len(charged) == 1, (how, crashed)
        ends[how] += [moment(event) for event in crashed]
        all_charged += [(event, how) for event in charged]
    for event, how in all_charged:
        check_cut(event, how, ends)
    assert s.runtime.alive() and s.server.alive()
    until(lambda: len(s.runtime.children()) == 3, "one process a plugin is left")
