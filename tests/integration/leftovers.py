"""The tests themselves: one that is killed leaves nothing running."""
import os
import pathlib
import shutil
import subprocess
import sys

import harness
from harness import until

KILLED = """
import sys, harness
s = harness.Stack(plugins=["hello"])
print(s.directory, *(p.pid for p in s.processes()), flush=True)
sys.stdin.read()
"""


def test_a_killed_test_leaves_nothing_running():
    tests = pathlib.Path(harness.__file__).parent
    with subprocess.Popen([sys.executable, "-c", KILLED], cwd=tests, text=True, stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE, env={**os.environ, "AIKI_BUILD": str(harness.BUILD)}) as test:
        directory, *pids = test.stdout.readline().split()
        assert len(pids) == 3 and all(os.path.exists(f"/proc/{pid}") for pid in pids)
        test.kill()
    until(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in pids), "all have ended")
    shutil.rmtree(directory)
