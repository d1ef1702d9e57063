"""What it costs to start a runtime with many plugins that nobody uses: once anew, and again with the same files.

    AIKI_BUILD=BUILD python3 tests/support/start_costs.py [PLUGINS [STARTS]]
"""
import sys
import time

import harness


def processor_s(pid):
    """Of a process and of those that it has waited for."""
    with open(f"/proc/{pid}/stat") as stat:
        ticks = stat.read().rpartition(")")[2].split()[11:15]
    return sum(map(int, ticks)) / 100  # USER_HZ


def main(plugins=1000, starts=3):
    s = harness.Stack(start=False)
    one = harness.plugin("lot-0000").read_bytes()
    for number in range(plugins):
        (s.plugins / f"lot-{number:04}.so").write_bytes(one.replace(b"lot-0000", b"lot-%04d" % number))
    print(f"{plugins} plugins of {len(one) // 1024} KB")
    s.start_redis()
    s.start_server()
    for start in range(1, starts + 1):
        began = time.monotonic()
        s.start_runtime(0, wait=False)
        s.runtime.await_ready(20 * harness.PATIENCE_S)
        print(f"start {start}: ready after {time.monotonic() - began:.1f} s, {processor_s(s.runtime.pid):.2f} s of processor time",
              flush=True)
        s.runtime.kill()
    s.close()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
