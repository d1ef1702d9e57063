"""Crashes of every kind beside healthy runs of the same plugin and of others.

The full form: AIKI_CRASHES=1000 AIKI_BUILD=BUILD python3 -m pytest tests/fault/crashes.py
"""
import os

from harness import until

CRASHES = int(os.environ.get("AIKI_CRASHES", "64"))
HEALTHY = CRASHES // 2
WAYS = ["null", "segv", "bus", "division", "instruction", "abort", "stack", "exit", "_exit", "quick_exit",
        "handlers", "heap", "thread", "kill"]
PATIENCE_S = 60 + CRASHES // 2


def test_healthy_runs_take_no_harm(stacks):
    s = stacks(plugins=["crash", "hello", "ledger"], server_args=["--quarantine-crashes", "0"])
    path = str(s.directory / "ledger.txt")
    bad, same, others = [], [], []
    for n in range(CRASHES):
        how, where = WAYS[n % len(WAYS)], ("task", "workflow")[n // len(WAYS) % 2]
        marks = str(s.directory / f"bad{n}")
        bad.append((s.start("crash", {"how": how, "times": 1, "path": marks, "where": where, "ms": n % 7}), how))
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
    on_record = []
    for run, how in bad:
        assert s.outcome(run, PATIENCE_S)["state"] == "completed", (run, how)
        crashed = [e for e in s.history(run) if e["kind"] == "crashed"]
        assert len([e for e in crashed if e["charged"]]) <= 1, (how, crashed)
        on_record += crashed
    # Two may take their process down in the same instant: then the one that was first is named. But
    # no process ended without a name.
    deaths = s.runtime.log.read_text().count("; its runs are given back")
    assert CRASHES // 8 <= deaths <= len(on_record) + sum(
        e["kind"] == "crashed" for run in same for e in s.history(run)), (deaths, on_record)
    assert s.runtime.alive() and s.server.alive()
    until(lambda: len(s.runtime.children()) == 3, "one process a plugin is left")
