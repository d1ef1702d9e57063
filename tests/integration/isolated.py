"""Processes with one run in them: how many a plugin may have, and what becomes of them when their build serves no longer."""
import signal

import pytest

from harness import UNADORNED, plugin, until


@pytest.fixture
def stacks(stacks):
    return lambda **options: stacks(env=UNADORNED, **options)


def isolated(s, gate):
    return s.start("isolated", {"ms": 0, "gate": str(gate)})


def moves_on(s, run, times=1):
    """So often it was told to go on in a process of its own."""
    return s.runtime.log.read_text().count(f"run {run} goes on with isolated.so@") >= times


def serving(s):
    return [p["build"] for p in s.get("/v1/plugins")["plugins"] if p["state"] == "serving"]


def settings(s, **values):
    (s.directory / "runtime.conf").write_text("".join(f"{k.replace('_', '-')} = {v}\n" for k, v in values.items()))


def test_what_hangs_in_one_plugin_keeps_no_other_waiting_for_a_process(stacks):
    s = stacks(plugins=["isolated", "crash"], start=False)
    settings(s, child_alone="1,isolated.so=2")
    s.start_redis()
    s.start_server()
    s.start_runtime(args=["--config", s.directory / "runtime.conf"])
    gate = s.directory / "gate"
    hang = [isolated(s, gate) for _ in range(2)]
    until(lambda: all(moves_on(s, run) for run in hang), "they have the two processes")
    late = [isolated(s, gate) for _ in range(2)]
    crash = s.start("crash", {"how": "null", "times": 2, "path": str(s.directory / "marks")})
    assert s.result(crash) == {"crashes": 2}, "alone, beside those that hang"
    # A second of that plugin has one of its own only now, so those before it in the line had time to take one.
    assert not any(moves_on(s, run) for run in late), "two at a time"
    settings(s, child_alone="1,isolated.so=3")
    s.runtime.send(signal.SIGHUP)
    until(lambda: sum(moves_on(s, run) for run in late) == 1, "three at a time")
    gate.touch()
    assert len({s.result(run)["apart"] for run in hang + late}) == 4, "one process a run"


@pytest.mark.parametrize("how", ["replaced", "removed"])
def test_they_end_with_their_build_in_the_time_that_all_have(stacks, tmp_path, how):
    """Two have a process and one waits for one; none of the old build is left, and all go on with the next."""
    s = stacks(plugins=["isolated"], runtime_args=["--child-alone", "2", "--drain-ms", "300"])
    old = serving(s)
    gate = s.directory / "gate"
    runs = [isolated(s, gate) for _ in range(3)]
    until(lambda: sum(moves_on(s, run) for run in runs) == 2, "two have a process")
    until(lambda: all(any(e["kind"] == "step_done" for e in s.history(run)) for run in runs), "the third waits")
    before = set(s.runtime.children())
    if how == "removed":
        s.remove("isolated")
        until(lambda: not s.runtime.children(), "no process of it is left")
        until(lambda: [s.state(run) for run in runs] == ["stalled"] * 3, "all wait for a file")
    rebuilt = tmp_path / "isolated.so"
    rebuilt.write_bytes(plugin("isolated").read_bytes() + b"\n")
    s.drop("isolated", rebuilt)
    until(lambda: not before & set(s.runtime.children()), "none of the old build is left")
    new, = until(lambda: (now := serving(s)) != old and now, "the next build serves")
    gate.touch()
    for run in runs:
        assert s.result(run)
        claimed = [e["build"] for e in s.history(run) if e["kind"] == "claimed"]
        assert claimed[-1] == new, claimed
        assert not [e for e in s.history(run) if e["kind"] == "crashed"], "nobody is charged"
