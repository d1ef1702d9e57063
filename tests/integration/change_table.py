"""What open runs survive: the table in docs/plugin-guide.md, "Changing code while runs are open"."""
import subprocess

import pytest

from harness import plugin, until


def build_of(s):
    return next((p.get("build") for p in s.get("/v1/plugins")["plugins"]
                 if p.get("name") == "change" and p["state"] == "serving"), None)


def replace(s, variant):
    """Drop another build over the one that serves, and wait until the new one does."""
    before = build_of(s)
    s.drop("change", plugin(f"change-{variant}"))
    until(lambda: build_of(s) not in (None, before), f"{variant} serves")


@pytest.fixture
def parked(stacks):
    """A run of the original build that waits for its signal."""
    s = stacks()
    s.drop("change", plugin("change-original"))
    until(lambda: build_of(s), "the original serves")
    run = s.start("change", {})
    until(lambda: s.state(run) == "awaiting_signal", "it waits")
    return s, run


def test_a_step_added_behind_the_point_reached_is_taken(parked):
    s, run = parked
    replace(s, "added-behind")
    s.signal(run, "go", None)
    assert s.result(run) == 4


CHANGES = [
    ("added-before", 'recorded: task take "B"; the code now asks for: task take "NEW"'),
    ("added-before-wait", 'recorded: signal go; the code now asks for: task take "NEW"'),
    ("removed", 'recorded: task take "B"; the code now asks for: nothing'),
]


@pytest.mark.parametrize("variant, said", CHANGES)
def test_a_change_before_the_point_reached_leaves_the_run_with_its_build(parked, variant, said):
    s, run = parked
    original = build_of(s)
    replace(s, variant)
    s.signal(run, "go", None)
    assert s.result(run) == 3
    assert f"does not fit change.so@{build_of(s)[:8]}: NONDETERMINISM: {said}" in s.runtime.log.read_text()
    assert {e["build"] for e in s.history(run) if e["kind"] == "claimed"} == {original}


@pytest.mark.parametrize("variant, said", CHANGES)
def test_a_host_without_the_old_build_blocks_until_a_fitting_build_is_back(parked, variant, said):
    s, run = parked
    s.runtime.kill()
    s.drop("change", plugin(f"change-{variant}"))
    s.start_runtime(1)
    s.signal(run, "go", None)
    until(lambda: s.state(run) == "blocked", "it is blocked")
    assert said in s.run(run)["error"]["message"]
    assert sum(e["kind"] == "step_done" for e in s.history(run)) == 2, "nothing new was executed"
    replace(s, "original")
    assert s.result(run) == 3


def test_who_looked_for_an_older_build_before_all_were_known_is_told_that_there_is_none(parked, tmp_path):
    """Another file takes its time to be loaded; what is kept of earlier processes is looked at behind all files."""
    s, run = parked
    gate, source = s.directory / "gate", tmp_path / "held.c"
    s.runtime.kill()
    s.drop("change", plugin("change-added-before"))
    source.write_text(f"""#include <unistd.h>
__attribute__((constructor)) static void hold(void)
{{
    while (access("{gate}", F_OK) != 0)
        (void)usleep(5000); /* a look at a time */
}}
""")
    subprocess.run(["cc", "-shared", "-fPIC", source, "-o", tmp_path / "held.so"], check=True)
    s.drop("held", tmp_path / "held.so")
    s.signal(run, "go", None)
    s.start_runtime(1, wait=False)
    until(lambda: f"run {run} does not fit" in s.runtimes[1].log.read_text(), "it was tried")
    gate.touch()
    until(lambda: s.state(run) == "blocked", "it is blocked")
    replace(s, "original")
    assert s.result(run) == 3


def test_versions_side_by_side_keep_their_runs(parked):
    s, run = parked
    replace(s, "second-version")
    newer = s.start("change", {})
    assert s.run(newer)["version"] == "2.0.0"
    for each in (run, newer):
        s.signal(each, "go", None)
    assert (s.result(run), s.result(newer)) == (3, 1)
