"""What a changed plugin does to a parked run."""
import chain
from harness import plugin, until


def parked(s):
    run = s.start("swap", {"path": str(s.directory / "swap.txt")})
    until(lambda: s.state(run) == "awaiting_signal", "swap waits for go")
    return run


def lines(s):
    return (s.directory / "swap.txt").read_text().split()


def builds(s):
    return {p["build"] for p in s.get("/v1/plugins")["plugins"] if p["state"] == "serving"}


def replace(s, name):
    before = builds(s)
    s.drop("swap", source=plugin(name))
    until(lambda: builds(s) - before, f"{name} serves instead")


def test_swapped_steps_continue_with_the_right_results(stacks):
    s = stacks()
    s.drop("swap", source=plugin("swap1"))
    until(lambda: s.get("/v1/plugins")["plugins"], "swap serves")
    run = parked(s)
    replace(s, "swap2")
    s.signal(run, "go", None)
    assert s.result(run) == {"a": "A", "b": "B", "c": "C"}
    assert sorted(lines(s)) == ["A", "B", "C"], "a recorded step was executed again"
    chain.check(s.history(run))


def serve_elsewhere(s, name, file):
    """The host with the old build is gone; another one never had it."""
    s.runtime.kill()
    s.drop(file, source=plugin(name))
    s.start_runtime(1)


def test_changed_input_leaves_the_run_with_its_build(stacks):
    s = stacks()
    s.drop("swap", source=plugin("swap1"))
    until(lambda: s.get("/v1/plugins")["plugins"], "swap serves")
    run = parked(s)
    replace(s, "swap3")
    s.signal(run, "go", None)
    assert s.result(run) == {"a": "A", "b": "B", "c": "C"}
    assert sorted(lines(s)) == ["A", "B", "C"]
    assert not [e for e in s.history(run) if e["kind"] == "blocked"]
    chain.check(s.history(run))


def test_changed_input_blocks_and_the_old_build_continues(stacks):
    s = stacks()
    s.drop("swap", source=plugin("swap1"))
    until(lambda: s.get("/v1/plugins")["plugins"], "swap serves")
    run = parked(s)
    serve_elsewhere(s, "swap3", "swap")
    s.signal(run, "go", None)
    until(lambda: s.state(run) == "blocked", "the run is blocked")
    error = s.run(run)["error"]
    assert error["code"] == "NONDETERMINISM", error
    message = error["message"]
    assert 'recorded: task mark with edition 1;' in message, error
    assert 'now asks for: task mark with edition 2;' in message and "the input changed" in message, error
    assert sorted(lines(s)) == ["A", "B"], "something was executed after the divergence"
    replace(s, "swap1")
    assert s.result(run) == {"a": "A", "b": "B", "c": "C"}
    assert sorted(lines(s)) == ["A", "B", "C"]
    chain.check(s.history(run))


def tighten(s):
    """From here on answers over 5 do not fit."""
    serve_elsewhere(s, "family-tight", "family")


def blocks_until_a_build_fits(s, run, what):
    until(lambda: s.state(run) == "blocked", f"the run is blocked, not {s.state(run)}")
    error = s.run(run)["error"]
    assert error["code"] == "SCHEMA_MISMATCH", error
    assert what in error["message"] and "n: " in error["message"], error
    # In some modes it is offered and blocked again.
    until(lambda: "\nblocked   put a build that fits" in s.aiki("runs", "inspect", run).stdout, "inspect says what to do")
    s.drop("family", source=plugin("family"))
    document = s.result(run)
    chain.check(s.history(run))
    return document


def test_a_recorded_result_that_fits_no_more_blocks_with_the_field(stacks):
    s = stacks(plugins=["family"])
    run = s.start("leaf", {"path": str(s.directory / "trace"), "ms": 3600000, "n": 7})
    until(lambda: s.state(run) == "sleeping", "leaf sleeps")
    tighten(s)
    s.request("POST", f"/v1/runs/{run}/wake", {})
    assert blocks_until_a_build_fits(s, run, "task mark")["n"] == 14


def test_a_childs_result_that_fits_no_more_blocks_too(stacks):
    s = stacks(plugins=["family"])
    run = s.start("parent", {"path": str(s.directory / "trace"), "ms": 3600000, "n": 4})
    until(lambda: len(s.get("/v1/runs?workflow=leaf&state=sleeping")["runs"]) == 4, "leaves sleep")
    s.request("POST", f"/v1/runs/{run}/pause", {})
    for child in s.get("/v1/runs?workflow=leaf")["runs"]:
        s.request("POST", f"/v1/runs/{child['id']}/wake", {})
        s.result(child["id"])
    tighten(s)
    s.request("POST", f"/v1/runs/{run}/resume", {})
    assert blocks_until_a_build_fits(s, run, "child leaf")["n"] == 12


def test_a_signals_payload_that_fits_no_more_blocks_too(stacks):
    s = stacks(plugins=["family"])
    run = s.start("decide", {"path": str(s.directory / "trace"), "ms": 3600000})
    s.signal(run, "decision", {"n": "seven"})
    s.signal(run, "decision", {"n": 7})
    until(lambda: s.state(run) == "sleeping", "it ponders")
    tighten(s)
    s.request("POST", f"/v1/runs/{run}/wake", {})
    assert blocks_until_a_build_fits(s, run, "payload of signal decision") == {
        "n": 7, "text": "SCHEMA_MISMATCH"}
