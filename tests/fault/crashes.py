"""Crashes of every kind beside healthy runs of the same plugin and of others.

The full form: AIKI_CRASHES=1000 AIKI_BUILD=BUILD python3 -m pytest tests/fault/crashes.py
"""
import collections
import datetime
import os
import re

from harness import UNADORNED, until

CRASHES = int(os.environ.get("AIKI_CRASHES", "64"))
HEALTHY = CRASHES // 2
WAYS = ["null", "segv", "bus", "division", "instruction", "abort", "stack", "exit", "_exit", "quick_exit",
        "handlers", "heap", "thread", "kill", "memory", "greed", "close"]
# They do it once: what does not return, what leaves, what stands still. (what, where)
MISUSES = [(how, "task") for how in ("sleep", "read", "deadlock", "daemon", "execve", "traced", "stop")]
MISUSES += [("deadlock", "workflow")] if CRASHES >= 1000 else []  # 10 s each; tests/integration/misuse.py has one
# Whose attempt ends by its limit of time, and nothing is charged for: the process is replaced.
BLOCKS = {"sleep", "read", "deadlock"}
PATIENCE_S = 60 + CRASHES // 2
# Their thread is heard, stack and all.
HEARD = {"null", "segv", "bus", "division", "instruction", "abort", "heap", "stack", "memory"}
# Ends that ask no handler, and who causes them: for the stack of another thread there is no time then.
UNASKED = {"exit code 3": ["_exit"], "signal 9": ["kill", "greed"], "signal 11": ["handlers"]}
# What the event of a run says that certainly did it: code and signal.
SAYS = {"null": ("CRASH_SIGNAL", 11), "segv": ("CRASH_SIGNAL", 11), "bus": ("CRASH_SIGNAL", 7),
        "division": ("CRASH_SIGNAL", 8), "instruction": ("CRASH_SIGNAL", 4), "abort": ("CRASH_SIGNAL", 6),
        "heap": ("CRASH_SIGNAL", 6), "handlers": ("CRASH_SIGNAL", 11), "stack": ("CRASH_STACK_OVERFLOW", 11),
        "exit": ("CRASH_EXIT", 0), "quick_exit": ("CRASH_EXIT", 0), "_exit": ("CRASH_EXIT", 0),
        "thread": ("CRASH_SIGNAL", 11), "kill": ("CRASH_KILLED", 9), "memory": ("CRASH_SIGNAL", 6),
        "greed": ("CRASH_LIMIT", 9), "close": ("CRASH_EXIT", 0)}
ABORTS = ("CRASH_SIGNAL", 6)  # of the loop, when it is the first to notice that its descriptors are gone


def moment(event):
    return datetime.datetime.fromisoformat(event["at"].replace("Z", "+00:00")).timestamp()


def check_names(event, how, where, done):
    """Its own step, signal and address, whoever crashed with it."""
    error = event["error"]
    says = (error["code"], error["details"]["signal"])
    assert says == SAYS[how] or (how == "close" and says == ABORTS), (how, event)
    if how == "close":
        return  # it shows later, in whatever the run does then
    assert (event["step"], event["name"]) == (where, "crash"), (how, event)
    if where == "task":
        assert event["address"] == done["address"] == error["details"]["input_hash"], (how, event)
    if how in HEARD:
        assert ("stack" in error) != ("cut_short" in error["details"]), (how, event)
    if how == "null":
        assert error["details"]["fault_address"] == "0x0", event
        # Without the name when another run closed the file in which names are looked up, at that moment.
        assert "stack" not in error or error["stack"][0].startswith(("die_by_null+0x", "+0x")), event


def check_cut(event, how, ends):
    """Another run ended the process in that very moment, in a way that leaves no time: it is on record, too."""
    cut = event["error"]["details"].get("cut_short")
    if cut is not None:
        assert cut in UNASKED, (how, event)
        assert any(abs(at - moment(event)) < 1 for by in UNASKED[cut] for at in ends[by]), (how, event, ends)


def check_misuse(s, run, how, where):
    """It goes on. Workflow code that does not come back fails its run, unless its process ended for another reason before."""
    outcome = s.outcome(run, PATIENCE_S)
    if where == "workflow" and outcome["state"] == "failed":
        assert outcome["error"]["code"] == "WORKFLOW_STUCK", outcome
        return
    assert outcome["state"] == "completed", (run, how)
    events = s.history(run)
    charged = [e for e in events if e["kind"] == "crashed" and e["charged"]]
    assert len(charged) <= (how not in BLOCKS), (how, charged)
    assert {e["error"]["code"] for e in events if e["kind"] == "attempt_failed"} <= {"TIMEOUT_START_TO_CLOSE"}, (how, events)


def test_healthy_runs_take_no_harm(stacks):
    s = stacks(plugins=["crash", "hello", "ledger", "misuse"], server_args=["--quarantine-crashes", "0"],
               runtime_args=["--child-memory", "0,crash.so=256", "--stopped-ms", "300"], env=UNADORNED)
    path, nothing = str(s.directory / "ledger.txt"), s.directory / "nothing-to-do"
    nothing.write_text("x")
    bad, same, others, misusing = [], [], [], []
    for n in range(CRASHES):
        how, where = WAYS[n % len(WAYS)], ("task", "workflow")[n // len(WAYS) % 2]
        marks = str(s.directory / f"bad{n}")
        bad.append((s.start("crash", {"how": how, "times": 1, "path": marks, "where": where, "ms": n % 7}), how, where))
        if n % 2 == 0:
            marks = str(s.directory / f"same{n}")
            same.append(s.start("crash", {"how": "none", "times": 1, "path": marks, "where": "task", "ms": n % 50}))
            others.append(s.start("hello", {"name": str(n)}) if n % 4 else
                          s.start("ledger", {"steps": 5, "task_ms": 2, "path": path, "width": 1}))
        if n % 8 == 0:
            how, where = MISUSES[n // 8 % len(MISUSES)]
            misusing.append((s.start("misuse", {"how": how, "path": str(s.directory / f"misuse{n}"), "where": where}), how, where))
            same.append(s.start("misuse", {"how": "nothing", "path": str(nothing)}))
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
        assert len(charged) <= 1, (how, crashed)
        # What was left unfit may have been taken down by another one before it showed.
        assert crashed or how == "close", how
        for event in charged:
            check_names(event, how, where, next(e for e in events if e["kind"] == "step_done"))
        if run in seen_to_crash:
            assert len(charged) == 1, (how, crashed)
        ends[how] += [moment(event) for event in crashed]
        all_charged += [(event, how) for event in charged]
    for event, how in all_charged:
        check_cut(event, how, ends)
    for run, how, where in misusing:
        check_misuse(s, run, how, where)
    assert s.runtime.alive() and s.server.alive()
    until(lambda: len(s.runtime.children()) == 4, "one process a plugin is left")
