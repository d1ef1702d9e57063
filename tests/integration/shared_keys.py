"""A task with a key of wider scope is executed once, whatever run asks for it, whoever dies meanwhile."""
import pytest

import chain
from harness import until


def marks(s):
    path = s.directory / "trace"
    return path.read_text() if path.exists() else ""


def begin(s, key, n=7, gate=""):
    return s.start("once", {"path": str(s.directory / "trace"), "n": n, "mode": key, "gate": str(gate)})


def joined(s, key, count):
    """Until so many wait for what another one began."""
    until(lambda: marks(s).endswith("+"), "it is under way")
    until(lambda: sum(e["kind"] == "joined" for e in s.history(holder(s, key)["id"])) == count, f"{count} joined it")


def holder(s, key):
    return next(r for r in s.get("/v1/runs?workflow=share")["runs"] if r["key"] == f":{key}")


def test_one_execution_for_all_who_ask(stacks):
    s = stacks(plugins=["family"])
    gate = s.directory / "gate"
    runs = [begin(s, "k", gate=gate) for _ in range(5)]
    joined(s, "k", 4)
    gate.touch()
    assert [s.result(run)["n"] for run in runs] == [7] * 5
    assert s.result(begin(s, "k", gate=gate))["n"] == 7, "much later, too"
    assert marks(s) == "+d"
    assert s.result(begin(s, "other"))["n"] == 7
    assert marks(s) == "+d+d"
    for run in [*runs, holder(s, "k")["id"]]:
        chain.check(s.history(run))
    told = [e for run in runs for e in s.history(run) if e["kind"] == "child_done" and "by" in e]
    assert len(told) == 4 and {e["by"] for e in told} == {holder(s, "k")["id"]}


def test_the_same_key_with_another_input_is_a_conflict(stacks):
    s = stacks(plugins=["family"])
    assert s.result(begin(s, "k", n=7))["n"] == 7
    assert s.result(begin(s, "k", n=8))["text"] == "KEY_TAKEN"
    assert marks(s) == "+d"


def test_those_who_wait_get_the_failure_and_the_next_one_tries_anew(stacks):
    s = stacks(plugins=["family"])
    shut = s.directory / "trace.shut"
    shut.write_text("")
    gate = s.directory / "gate"
    runs = [begin(s, "k", gate=gate) for _ in range(3)]
    joined(s, "k", 2)
    gate.touch()
    assert [s.result(run)["text"] for run in runs] == ["SHUT"] * 3
    assert marks(s) == "+"
    shut.unlink()
    assert s.result(begin(s, "k"))["n"] == 7
    assert marks(s) == "++d"


def test_a_caller_that_is_cancelled_leaves_it_to_the_others(stacks):
    s = stacks(plugins=["family"])
    gate = s.directory / "gate"
    runs = [begin(s, "k", gate=gate)]
    until(lambda: marks(s) == "+", "it is under way")
    runs.append(begin(s, "k", gate=gate))
    joined(s, "k", 1)
    s.request("POST", f"/v1/runs/{runs[0]}/cancel", {})
    assert s.outcome(runs[0])["state"] == "cancelled"
    gate.touch()
    assert s.result(runs[1])["n"] == 7
    assert marks(s) == "+d"


def test_the_tree_shows_what_was_joined(stacks):
    s = stacks(plugins=["family"])
    gate = s.directory / "gate"
    starter = begin(s, "k", gate=gate)
    until(lambda: marks(s) == "+", "it is under way")
    joiner = begin(s, "k", gate=gate)
    shared = holder(s, "k")["id"]
    joined(s, "k", 1)

    def tree(run):
        return [(r["id"], r["depth"], r["joined"]) for r in s.get(f"/v1/runs/{run}/tree")["runs"]]
    for _ in range(2):  # while it waits, and when all have ended
        assert tree(starter) == [(starter, 0, False), (shared, 1, False)]
        assert tree(joiner) == [(joiner, 0, False), (shared, 1, True)]
        drawn = s.aiki("runs", "tree", joiner).stdout.splitlines()
        assert shared in drawn[2] and "(joined)" in drawn[2] and "(joined)" not in drawn[1]
        gate.touch()
        assert [s.result(run)["n"] for run in (starter, joiner)] == [7, 7]
    late = begin(s, "k", gate=gate)
    s.result(late)
    assert tree(late) == [(late, 0, False), (shared, 1, True)]
    taken = begin(s, "k", n=8, gate=gate)
    assert s.result(taken)["text"] == "KEY_TAKEN"
    assert tree(taken) == [(taken, 0, False)], "a conflict is no join"


def circle(s, n, mode, ms):
    return s.start("circle", {"path": "-", "ms": ms, "n": n, "mode": mode})


def circles(s):
    """The calls that failed because of it: who called, and the message."""
    return [(r["id"], e["error"]["message"]) for r in s.get("/v1/runs?workflow=circle")["runs"]
            for e in s.history(r["id"]) if e["kind"] == "child_done" and e["error"]["code"] == "JOIN_CIRCLE"
            and not e.get("by") and e["child"] not in {x["id"] for x in s.get("/v1/runs?workflow=circle")["runs"]}]


@pytest.mark.parametrize("starts", [1, 2])
def test_a_circle_is_untied(stacks, starts):
    """a waits for b, which waits for a: as its parent, or because it has joined it. One call fails, once."""
    s = stacks(plugins=["family"])
    runs = [circle(s, n, mode, 2000) for n, mode in ((0, "b"), (1, "a"))[:starts]]
    assert [s.outcome(run)["state"] for run in runs] == ["failed"] * starts, "none waits for ever"
    (caller, message), = circles(s)
    named = {r["id"]: r["key"] for r in s.get("/v1/runs?workflow=circle")["runs"] if r["id"] in message}
    assert len(named) == 1 and set(named) != {caller} and set(named.values()) <= {"a", "b"}, message
    assert sum(e["kind"] == "joined" for r in s.get("/v1/runs?workflow=circle")["runs"]
               for e in s.history(r["id"])) == starts
    for run in s.get("/v1/runs?workflow=circle")["runs"]:
        chain.check(s.history(run["id"]))


def test_runtime_and_server_may_die(stacks):
    """The attempt that died with its process is made again, as ever; nobody else makes another one."""
    s = stacks(plugins=["family"])
    gate = s.directory / "gate"
    runs = [begin(s, "k", gate=gate) for _ in range(3)]
    joined(s, "k", 2)
    s.runtime.kill()
    s.restart_server()
    s.start_runtime(0)
    gate.touch()
    assert [s.result(run)["n"] for run in runs] == [7] * 3
    assert marks(s) == "++d"
    for run in [*runs, holder(s, "k")["id"]]:
        chain.check(s.history(run))
