"""Runs of runs: awaited or let go, in another plugin, and what becomes of them when their parent ends."""
import chain
from harness import until

HOUR_MS = 3_600_000


def start(s, how, *naps):
    return s.start("children", {"naps": naps, "how": how})


def children_of(s, run):
    """Ids in the order in which they were started."""
    return [e["child"] for e in s.history(run) if e["kind"] == "child_done"]


def asleep(s):
    return [r["id"] for r in s.get("/v1/runs?workflow=sleeping&state=sleeping")["runs"]]


def test_a_parent_waits_for_all_of_its_children(common):
    run = start(common, "await", 10, 20, 30)
    assert common.result(run) == {"ids": []}
    done = children_of(common, run)
    assert len(set(done)) == 3
    for child in done:
        assert common.run(child)["parent"] is not None and common.state(child) == "completed"
        assert sum(e["kind"] == "started" for e in common.history(child)) == 1
    chain.check(common.history(run))


def test_by_the_hundred(common):
    run = start(common, "await", *range(100))
    common.result(run)
    assert len(set(children_of(common, run))) == 100


def test_a_detached_child_goes_on_alone(common):
    run = start(common, "detach", HOUR_MS)
    child, = common.result(run)["ids"]
    until(lambda: common.state(child) == "sleeping", "it sleeps on")
    common.request("POST", f"/v1/runs/{child}/terminate")


def test_a_child_that_is_left_is_cancelled_with_its_parent(stacks):
    s = stacks(plugins=["children", "sleeping"])
    run = start(s, "leave", HOUR_MS)
    s.result(run)
    until(lambda: [r["state"] for r in s.get("/v1/runs?workflow=sleeping")["runs"]] == ["cancelled"],
          "the child was cancelled")


def test_cancelling_the_parent_cancels_its_children(stacks):
    s = stacks(plugins=["children", "sleeping"])
    run = start(s, "await", HOUR_MS, HOUR_MS)
    until(lambda: len(asleep(s)) == 2, "both sleep")
    s.request("POST", f"/v1/runs/{run}/cancel")
    assert s.outcome(run)["state"] == "cancelled"
    until(lambda: [r["state"] for r in s.get("/v1/runs?workflow=sleeping")["runs"]] == ["cancelled"] * 2,
          "the children were cancelled")


def test_children_outlive_every_process_of_their_parent(stacks):
    s = stacks(plugins=["children", "sleeping"])
    run = start(s, "await", HOUR_MS, 10)
    until(lambda: sorted(r["state"] for r in s.get("/v1/runs?workflow=sleeping")["runs"]) == ["completed", "sleeping"]
          and s.state(run) == "awaiting_child", "one is done, one sleeps")
    s.runtime.kill()
    s.restart_server()
    s.start_runtime()
    for child in asleep(s):
        s.request("POST", f"/v1/runs/{child}/wake")
    s.result(run)
    assert len(set(children_of(s, run))) == 2
    assert len(s.get("/v1/runs?workflow=sleeping")["runs"]) == 2, "none was started twice"
