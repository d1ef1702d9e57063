"""A task that the build does not define, with a kill on the way to the build that does."""
import subprocess

import pytest

import chain
from harness import ROOT, until
from points import UNDEFINED, owner_of

RUNS = 4


def serve(s, tmp_path, name):
    source, target = tmp_path / f"{name}.c", tmp_path / f"{name}.so"
    source.write_text(f"""#include "pair.h"
PAIR_FUNCTION(work, aiki_future f; BEGIN("b", f); TASK("a"); TASK("{name}"); JOIN(f); TASK("c");)
AIKI_PLUGIN("pair", "1.0.0", AIKI_WORKFLOWS(AIKI_WORKFLOW("pair", "1.0.0", work)), PAIR_TASKS());
""")
    subprocess.run(["cc", "-shared", "-fPIC", "-fvisibility=hidden", f"-I{ROOT}/abi/include",
                    f"-I{ROOT}/tests/support/plugins", source, "-o", target], check=True)
    s.drop("pair", target)


@pytest.mark.parametrize("nth", [1, 3])
@pytest.mark.parametrize("point", UNDEFINED + ["child.unfit.sent", "runtime.unfit.read"])
def test_killed_at(stacks, tmp_path, point, nth):
    s = stacks(start=False)
    fault = {"AIKI_FAULT": f"{point}=kill@{nth}", "AIKI_FAULT_ONCE": str(s.directory / "spent")}
    serve(s, tmp_path, "xx")
    s.start_redis()
    s.start_server()
    s.start_runtime(0, env=fault)
    runs = [s.start_surely("pair", {}, f"p{i}") for i in range(RUNS)]
    until(lambda: (s.directory / "spent").exists(), f"{point} is passed")
    if owner_of(point) == "runtime":
        until(lambda: not s.runtime.alive(), "the runtime is killed")
        s.start_runtime(0)
    for run in runs:
        until(lambda: s.state(run) == "blocked", "no build defines the task")
        assert s.run(run)["error"]["code"] == "TASK_UNKNOWN"
    recorded = {run: steps(s, run) for run in runs}
    serve(s, tmp_path, "x")
    for run in runs:
        assert s.result(run) == "baxc"
        chain.check(s.history(run))
        done = steps(s, run)
        assert len(done) == len(set(done)) == 4, "no step has two results"
        assert set(recorded[run]) <= set(done)


def steps(s, run):
    return [(e["address"], e["nth"]) for e in s.history(run) if e["kind"] == "step_done"]
