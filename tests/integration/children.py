"""Runs that run others: found by a repeat, awaited or on their own, and ended with their parent."""
import json

import chain
import pytest
from harness import at_best, in_time, until


def marks(s):
    path = s.directory / "trace"
    return path.read_text() if path.exists() else ""


def begin(s, workflow, **more):
    return s.start(workflow, {"path": str(s.directory / "trace"), **more})


def in_state(s, run, *states):
    until(lambda: s.state(run) in states, f"{run} is {states}, not {s.state(run)}")


HOUR_MS = 3_600_000


def wake(s, runs):
    """Each of them sleeps, and does no longer."""
    for run in runs:
        in_state(s, run, "sleeping")
        s.request("POST", f"/v1/runs/{run}/wake")


def ids(s, run):
    return [c["id"] for c in children(s, run)]


def children(s, run):
    return [r for r in s.get(f"/v1/runs/{run}/tree")["runs"] if r["id"] != run]


def test_a_parent_awaits_its_children(stacks):
    s = stacks(plugins=["family"], runtimes=2)
    run = begin(s, "parent", n=5, ms=HOUR_MS)
    in_state(s, run, "awaiting_child")
    waits = s.run(run)["waits"]
    assert [(w["kind"], w["name"]) for w in waits] == [("child", "leaf")] * 5
    wake(s, ids(s, run))
    assert s.result(run)["n"] == 2 * (0 + 1 + 2 + 3 + 4)
    assert marks(s).count("l") == marks(s).count("m") == 5
    family = children(s, run)
    assert len(family) == 5 and {c["state"] for c in family} == {"completed"}
    for e in [run] + [c["id"] for c in family]:
        chain.check(s.history(e))


def test_a_failed_child_is_a_failed_step(stacks):
    s = stacks(plugins=["family"])
    answer = s.result(begin(s, "parent", n=14))
    assert answer["n"] == 2 * sum(range(13)) and answer["text"] == "UNLUCKY"


def test_no_child_is_started_twice(stacks):
    """Everything is killed while the children sleep, and once more while they end."""
    s = stacks(plugins=["family"])
    run = begin(s, "parent", n=3, ms=1500)
    until(lambda: marks(s).count("l") == 3, "the children are under way")
    s.runtime.kill()
    s.restart_server()
    s.start_runtime(0)
    until(lambda: "m" in marks(s), "a child ends")
    s.runtime.kill()
    s.restart_server()
    s.start_runtime(0)
    assert s.result(run)["n"] == 6
    assert len(children(s, run)) == 3
    assert sum(e["kind"] == "child_done" for e in s.history(run)) == 3
    chain.check(s.history(run))


def test_two_hundred_children_at_once(stacks):
    """Spread over both runtimes, of which one alone has not enough slots, and shown as one family."""
    s = stacks(plugins=["family"], runtimes=2, runtime_args=["--slots", "64"])
    gate = s.directory / "gate"
    run = begin(s, "parent", n=200, ms=200, gate=str(gate))
    until(lambda: [w["runs"] > 1 for w in s.get("/v1/workers")["workers"]] == [True, True], "both execute some of them")
    gate.touch()
    answer = s.result(run)
    assert answer["n"] == 2 * (sum(range(200)) - 13) and answer["text"] == "UNLUCKY"
    chain.check(s.history(run))
    tree = json.loads(s.aiki("runs", "tree", run, "--json").stdout)["runs"]
    assert (tree[0]["id"], tree[0]["depth"]) == (run, 0) and len(tree) == 201
    assert {(r["depth"], r["parent"], r["workflow"]) for r in tree[1:]} == {(1, run, "leaf")}
    assert sorted(r["state"] for r in tree[1:]) == ["completed"] * 199 + ["failed"]
    drawn = s.aiki("runs", "tree", run).stdout
    assert sum(r["id"] in drawn for r in tree) == 201
    owners = {e["runtime"] for r in tree[1:] for e in s.history(r["id"]) if e["kind"] == "claimed"}
    assert owners == {"runtime0", "runtime1"}


@pytest.mark.parametrize("mode,state", [("", "cancelled"), ("terminate", "terminated"),
                                        ("abandon", "completed")])
def test_children_of_a_cancelled_parent(stacks, mode, state):
    s = stacks(plugins=["family"])
    run = begin(s, "parent", n=2, ms=HOUR_MS, mode=mode)
    in_state(s, run, "awaiting_child")
    family = ids(s, run)
    assert len(family) == 2
    s.request("POST", f"/v1/runs/{run}/cancel", {})
    assert s.outcome(run)["state"] == "cancelled"
    if mode == "abandon":
        wake(s, family)  # whom nobody has asked to end
    for child in family:
        assert s.outcome(child)["state"] == state
        chain.check(s.history(child))
    chain.check(s.history(run))


def test_a_detached_child_outlives_its_parent(stacks):
    s = stacks(plugins=["family"])
    run = begin(s, "detach", ms=HOUR_MS, n=4)
    child = s.result(run)["text"]
    wake(s, [child])
    assert s.result(child)["n"] == 8
    ended = {one: s.history(one)[-1] for one in (run, child)}
    assert ended[run]["at"] < ended[child]["at"] and {e["kind"] for e in ended.values()} == {"completed"}
    assert not any(e["kind"] == "child_done" for e in s.history(run))


def test_a_child_of_another_plugin(stacks):
    """By name alone, in a process of its own; a name nobody knows is a failed child."""
    s = stacks(plugins=["family", "waits"])
    assert s.result(begin(s, "elsewhere", mode="nap", ms=50))["text"] == "OK"
    assert s.result(begin(s, "elsewhere", mode="leaf"))["text"] == "SCHEMA_MISMATCH"
    run = begin(s, "elsewhere", mode="nobody")
    assert s.result(run)["text"] == "WORKFLOW_NOT_FOUND"
    assert children(s, run) == []
    chain.check(s.history(run))


def test_a_child_that_nobody_serves_ends_when_it_is_not_taken_up_in_time(stacks):
    """Stalled at once, and ended with the name of what nobody serves; the limit outlives the server."""
    s = stacks(plugins=["family", "waits"])
    until(lambda: s.get("/v1/workflows/nap")["workflow"]["served"], "nap is known")
    s.remove("waits")
    until(lambda: not any(p["file"] == "waits.so" for p in s.get("/v1/plugins")["plugins"]),
          "nobody serves nap, nor keeps it for the runs there are")

    def is_stalled():
        run = begin(s, "elsewhere", mode="nap", ms=50, n=6000)  # time to look at it and to restart the server
        until(lambda: children(s, run), "the child is there")
        child = children(s, run)[0]["id"]
        until(lambda: s.state(child) in ("stalled", "timed_out"), "nobody serves it")
        shown = s.aiki("runs", "inspect", child).stdout
        in_time(s.state(child) != "timed_out", "it was over before it was looked at")
        assert s.run(child)["start_by"]
        assert "no runtime serves nap@1.0.0" in shown and "start by" in shown
        return run, child
    run, child = at_best(is_stalled)
    s.restart_server()
    assert s.result(run)["text"] == "TIMEOUT_SCHEDULE_TO_START"
    ended = s.run(child)
    assert ended["state"] == "timed_out" and "nobody serves nap@1.0.0" in ended["error"]["message"]
    done = next(e for e in s.history(run) if e["kind"] == "step_done")
    assert (done["outcome"], done["error"]) == ("timed_out", ended["error"])
    for e in (run, child):
        chain.check(s.history(e))


def test_a_child_that_is_taken_up_may_take_its_time(stacks):
    s = stacks(plugins=["family", "waits"])

    def is_taken_up():
        text = s.result(begin(s, "elsewhere", mode="nap", ms=4000, n=3000))["text"]
        in_time(text != "TIMEOUT_SCHEDULE_TO_START", "it was not taken up within 3 s")
        assert text == "OK"
    at_best(is_taken_up, tries=5)


def test_a_retried_parent_has_new_children(stacks):
    """Cancelled, its child ended with it, then retried: another child, once. What its child does behind the
    request, which may be faster, is not what the parent sees."""
    s = stacks(plugins=["family"])
    run = begin(s, "parent", n=1, ms=HOUR_MS)
    in_state(s, run, "awaiting_child")
    before = ids(s, run)
    s.request("POST", f"/v1/runs/{run}/cancel", {})
    assert s.outcome(run)["state"] == "cancelled"
    s.runtime.kill()
    s.request("POST", f"/v1/runs/{run}/retry", {})
    s.start_runtime(0)
    wake(s, until(lambda: set(ids(s, run)) - set(before), "another child"))
    s.result(run)
    assert sorted(c["state"] for c in children(s, run)) == ["cancelled", "completed"]
    chain.check(s.history(run))
