"""What deploys and crashes cost, for docs/performance.md; no test, nothing is asserted about time.

    AIKI_BUILD=build/gcc python3 tests/support/deploy_costs.py [RUNS]

CPU time is that of server and runtime with all its processes, by /proc, so of 10 ms each: RUNS (1,000)
of a thing are done one after the other and divided by their number.
"""
import os
import pathlib
import re
import sys
import time

from harness import Stack, plugin, until

RUNS = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
CRASHES = RUNS // 10


def cpu_ms(pid, and_ended=True):
    """Of a process, and of its children that have ended."""
    try:
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except FileNotFoundError:
        return 0
    return sum(int(t) for t in fields[11:15 if and_ended else 13]) * 1000 / os.sysconf("SC_CLK_TCK")


def cpu_of(s):
    return sum(cpu_ms(pid) for pid in [s.server.pid, s.runtime.pid, *s.runtime.children()])


def serving(s):
    return {p["build"] for p in s.get("/v1/plugins")["plugins"] if p["state"] == "serving"}


def measured(s, what, times, action):
    began, before = time.monotonic(), cpu_of(s)
    action()
    print(f"{what}: {(cpu_of(s) - before) * 1000 / times:.0f} us CPU, "
          f"{(time.monotonic() - began) * 1e6 / times:.0f} us each of {times}")


def replace(s, name, data):
    before = serving(s)
    aside = s.plugins / ".aside"
    aside.write_bytes(data)
    os.rename(aside, s.plugins / f"{name}.so")
    until(lambda: serving(s) not in (set(), before), "the new build serves", patience_s=60)


def parked(s):
    runs = [s.start("change", {}) for _ in range(RUNS)]
    for run in runs:
        until(lambda: s.state(run) == "awaiting_signal", "it waits")
    return runs


def go_on(s, runs):
    for run in runs:
        s.signal(run, "go", None)
        s.result(run)


def deploys():
    s = Stack(start=False)
    s.drop("change", plugin("change-original"))
    s.start_redis()
    s.start_server()
    s.start_runtime(0)
    original = plugin("change-original").read_bytes()
    runs = parked(s)
    measured(s, "run that goes on with the build it knows", RUNS, lambda: go_on(s, runs))
    runs = parked(s)
    measured(s, "open run at the gate", RUNS, lambda: replace(s, "change", original + b"2"))
    print("  " + re.findall(r"runtime/gate: (.*)", s.runtime.log.read_text())[-1])
    measured(s, "run that moves to the new build", RUNS, lambda: go_on(s, runs))
    runs = parked(s)
    measured(s, "open run at a gate that it does not fit", RUNS,
             lambda: replace(s, "change", plugin("change-added-before").read_bytes()))
    measured(s, "run that stays with the older build", RUNS, lambda: go_on(s, runs))
    s.close()


def crashes():
    s = Stack(plugins=["crash"], server_args=["--quarantine-crashes", "0"])

    def each(times):
        for i in range(CRASHES):
            s.result(s.start("crash", {"how": "segv", "times": times, "path": str(s.directory / f"m{times}-{i}")}))
    measured(s, "run that does not crash", CRASHES, lambda: each(0))
    measured(s, "run that crashes once", CRASHES, lambda: each(1))
    s.close()


deploys()
crashes()
