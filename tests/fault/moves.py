"""A run that the newest build does not fit, with a kill on its way to the build that does."""
import subprocess

import pytest

import chain
from harness import ROOT, plugin, until
from points import MOVES, owner_of

RUNS = 5


def serving(s):
    return [p["build"] for p in s.get("/v1/plugins")["plugins"] if p["state"] == "serving"]


@pytest.fixture
def parked(stacks):
    """Runs of the original build that wait for their signal."""
    def make(env=None, **more):
        s = stacks(start=False, runtime_args=["--keep-previous-ms", "0"], **more)  # kept is what runs need
        s.drop("change", plugin("change-original"))
        s.start_redis()
        s.start_server()
        s.start_runtime(0, env={"AIKI_FAULT_ONCE": str(s.directory / "spent"), **(env or {})})
        runs = [s.start_surely("change", {}, f"c{i}") for i in range(RUNS)]
        for run in runs:
            until(lambda: s.state(run) == "awaiting_signal", "it waits")
        return s, runs
    return make


def replace(s, variant):
    before = serving(s)
    s.drop("change", plugin(f"change-{variant}"))
    until(lambda: serving(s) not in ([], before), f"{variant} serves")


def all_end_as_they_began(s, runs):
    for run in runs:
        assert s.result(run) == 3
        events = s.history(run)
        chain.check(events)
        assert sum(e["kind"] == "step_done" for e in events) == 4, "nothing was executed twice"
        assert not [e for e in events if e["kind"] == "blocked"]


@pytest.mark.parametrize("nth", [1, 4])
@pytest.mark.parametrize("point", MOVES)
def test_killed_at(parked, point, nth):
    # Who waits for a process passes runtime.moved.sent, too: tests/fault/on_demand.py.
    s, runs = parked({"AIKI_FAULT": f"{point}=kill@{nth}"}, child_idle="always")
    replace(s, "added-before")
    for run in runs:
        s.signal(run, "go", None)
    if owner_of(point) == "runtime":
        until(lambda: not s.runtime.alive(), f"{point} is passed")
        s.start_runtime(0)
    all_end_as_they_began(s, runs)


def test_a_restarted_runtime_still_has_the_older_build(parked):
    s, runs = parked()
    replace(s, "added-before")
    s.runtime.kill()
    s.start_runtime(0)
    for run in runs:
        s.signal(run, "go", None)
    all_end_as_they_began(s, runs)
    until(lambda: len(s.get("/v1/plugins")["plugins"]) == 1, "the older build is not needed any more")
    until(lambda: len(list((s.directory / "state0/kept").rglob("*.so"))) == 1, "nor kept")
    until(lambda: len(s.runtime.children()) == 1, "nor has it a process")


@pytest.mark.parametrize("restarts", [1, 3])
def test_killed_while_the_older_build_drains(stacks, tmp_path, restarts):
    """Runs are resident in a process that drains, their code fits no other build, and the runtime is gone: with it
    goes the process, but not the build."""
    def body(name, steps):
        source, target = tmp_path / f"{name}.c", tmp_path / f"{name}.so"
        source.write_text(f"""#include "pair.h"
#include "trace.h"
static aiki_status held(aiki_call *call, aiki_view in)
{{
    trace_await(call, "{tmp_path}/open");
    return call->api->output(call, in);
}}
PAIR_FUNCTION(work, {steps})
AIKI_PLUGIN("pair", "1.0.0", AIKI_WORKFLOWS(AIKI_WORKFLOW("pair", "1.0.0", work)),
            PAIR_TASKS(, AIKI_TASK("held", held)));
""")
        subprocess.run(["cc", "-shared", "-fPIC", "-fvisibility=hidden", f"-I{ROOT}/abi/include",
                        f"-I{ROOT}/tests/support/plugins", source, "-o", target], check=True)
        return target

    s = stacks(start=False)
    s.drop("pair", body("old", 'TASK("a"); TASK("held"); TASK("b");'))
    s.start_redis()
    s.start_server()
    s.start_runtime(0)
    runs = [s.start("pair", {}) for _ in range(RUNS)]
    for run in runs:
        until(lambda: any(e["kind"] == "step_done" for e in s.history(run)), "its first step is on record")
    old = serving(s)
    s.drop("pair", body("new", 'TASK("x"); TASK("a"); TASK("held"); TASK("b");'))
    until(lambda: serving(s) not in ([], old), "the new build serves")
    until(lambda: [p["build"] for p in s.get("/v1/plugins")["plugins"] if p["state"] == "draining"] == old, "the old one drains")
    for _ in range(restarts):
        s.runtime.kill()
        s.start_runtime(0)
    (tmp_path / "open").touch()
    for run in runs:
        assert s.result(run) == "aheldb", "by the old build, from its record"
        events = s.history(run)
        chain.check(events)
        assert sum(e["kind"] == "step_done" for e in events) == 3, "nothing is on record twice"
        assert not [e for e in events if e["kind"] == "blocked"]
    late = s.start("pair", {})
    assert s.result(late) == "xaheldb"


def test_a_build_replaced_while_the_runtime_was_down(parked):
    s, runs = parked()
    s.runtime.kill()
    s.drop("change", plugin("change-removed"))
    s.start_runtime(0)
    for run in runs:
        s.signal(run, "go", None)
    all_end_as_they_began(s, runs)


def test_an_older_build_that_dies_is_started_again(parked):
    s, runs = parked({"AIKI_FAULT": "child.acked=kill@1"})
    replace(s, "added-before")
    for run in runs:
        s.signal(run, "go", None)
    all_end_as_they_began(s, runs)
