"""Dead letters: failed runs that nobody has redriven or dropped, with what it takes to decide about them."""
import json

import pytest

import chain
from harness import HttpError, UNADORNED, plugin, until


def letters(s, query=""):
    return s.get(f"/v1/dead-letters{query}")["dead_letters"]


def fail(s, workflow="flaky", **value):
    run = s.start(workflow, {"failures": 1, "policy": "never", **value})
    assert s.outcome(run)["state"] == "failed"
    return run


def build_of(s, name="flaky"):
    """Between two builds there may be none for a moment, and then it is None."""
    return next((p["build"] for p in s.get("/v1/plugins")["plugins"] if p["name"] == name and p["state"] == "serving"), None)


def test_a_task_that_exhausts_its_attempts_is_listed_with_all_there_is_to_know(stacks):
    s = stacks(plugins=["flaky"])
    run = s.start("flaky", {"failures": 9, "policy": "fixed", "delay_ms": 10, "attempts": 3}, key="order-7")
    assert s.outcome(run)["state"] == "failed"
    assert s.result(s.start("flaky", {"failures": 0}))
    (letter,) = letters(s)
    assert letter == s.get(f"/v1/dead-letters/{run}")
    assert (letter["id"], letter["workflow"], letter["version"], letter["key"]) == (run, "flaky", "1.0.0", "order-7")
    assert (letter["step"], letter["kind"], letter["attempts"], letter["crashes"]) == ("attempt", "task", 3, 0)
    assert letter["input"]["failures"] == 9 and letter["input"]["policy"] == "fixed", letter
    assert letter["error"]["code"] == "FLAKY" and "attempt 3" in letter["error"]["message"], letter
    assert letter["build"] == build_of(s) and letter["namespace"] == "default" and letter["redriven"] == 0
    assert letter["run_error"] == s.run(run)["error"]
    s.restart_server()
    assert letters(s) == [letter], "it is derived from what is on record"


def test_what_the_code_handled_is_no_letter_and_what_it_refused_itself_is_one(stacks):
    """A failed step of a run that went on is in its history; a run that failed without one shows its own input."""
    s = stacks(plugins=["waits", "family"])
    own = s.start("gate", {"path": str(s.directory / "trace")})
    assert s.outcome(own)["state"] == "failed"
    (letter,) = letters(s)
    assert letter["id"] == own and letter["error"]["code"], letter


def test_redriven_with_a_record_of_who_asked(stacks):
    s = stacks(plugins=["family"])
    run = s.start("gate", {"path": str(s.directory / "trace")})
    assert s.outcome(run)["state"] == "failed"
    s.request("POST", f"/v1/dead-letters/{run}/redrive", {"reason": "again", "actor": "ann"})
    assert s.outcome(run)["state"] == "failed"
    (letter,) = letters(s)
    assert letter["redriven"] == 1, "it failed again, and says so"
    (s.directory / "trace.open").write_text("")
    assert "goes on" in s.aiki("dead-letters", "redrive", run, "--reason", "gate is open").stdout
    assert s.result(run)["n"] == 1
    assert letters(s) == []
    retried = [e for e in s.history(run) if e["kind"] == "run_retried"]
    assert [e["reason"] for e in retried] == ["again", "gate is open"]
    assert retried[0]["actor"] == "ann" and retried[1]["actor"]
    with pytest.raises(HttpError) as refused:
        s.get(f"/v1/dead-letters/{run}")
    assert refused.value.status == 404 and refused.value.code == "NO_DEAD_LETTER"
    chain.check(s.history(run))


def test_dropped_with_a_record_of_who_asked(stacks):
    s = stacks(plugins=["flaky"])
    runs = [fail(s) for _ in range(3)]
    done = s.request("POST", f"/v1/dead-letters/{runs[0]}/drop", {"reason": "test data", "actor": "bob"})[1]
    assert done["changed"] is True
    assert s.request("POST", f"/v1/dead-letters/{runs[0]}/drop")[1]["changed"] is False, "it is dropped once"
    assert "dropped" in s.aiki("dead-letters", "drop", runs[1], "--reason", "paid by hand").stdout
    s.restart_server()
    assert [x["id"] for x in letters(s)] == [runs[2]]
    assert {s.state(r) for r in runs} == {"failed"}, "the runs stay as they were"
    (event,) = [e for e in s.history(runs[0]) if e["kind"] == "dropped"]
    assert (event["reason"], event["actor"]) == ("test data", "bob")
    assert "dropped" in s.aiki("runs", "inspect", runs[1]).stdout
    s.request("POST", f"/v1/runs/{runs[0]}/retry")
    until(lambda: [x["id"] for x in letters(s)] in ([runs[2], runs[0]], [runs[2]]) and s.state(runs[0]) in (
        "failed", "completed"), "whoever retries it has it back")
    for run in runs:
        chain.check(s.history(run))


def test_only_a_failed_run_is_dropped(stacks):
    s = stacks(plugins=["flaky", "waits"])
    done, asleep = s.start("flaky", {"failures": 0}), s.start("nap", {"ms": 3_600_000})
    assert s.result(done)
    until(lambda: s.state(asleep) == "sleeping", "it sleeps")
    for run in (done, asleep):
        with pytest.raises(HttpError) as refused:
            s.request("POST", f"/v1/dead-letters/{run}/drop")
        assert refused.value.status == 409 and refused.value.code == "RUN_NOT_FAILED"
    with pytest.raises(HttpError) as refused:
        s.request("POST", "/v1/dead-letters/01JD2V7Q8X3M5N7P9R1S3T5V7W/drop")
    assert refused.value.status == 404


def test_pages_and_filters(stacks):
    s = stacks(plugins=["flaky", "family"])
    flaky = [fail(s) for _ in range(5)]
    defined = [fail(s, "defined", how="final") for _ in range(2)]
    seen, before = [], ""
    while True:
        page = s.get(f"/v1/dead-letters?limit=2{before}")
        assert len(page["dead_letters"]) <= 2
        seen += [x["id"] for x in page["dead_letters"]]
        if page["next"] is None:
            break
        before = f"&before={page['next']}"
    assert seen == [*reversed(defined), *reversed(flaky)], "newest first, each once"
    assert {x["id"] for x in letters(s, "?workflow=defined")} == set(defined)
    assert len(letters(s, "?task=attempt")) == 7 and letters(s, "?task=other") == []
    rows = json.loads(s.aiki("dead-letters", "list", "--workflow", "flaky", "--limit", "3", "--json").stdout)
    assert [x["id"] for x in rows] == list(reversed(flaky))[:3]
    assert defined[0] in s.aiki("dead-letters", "list", "--task", "attempt").stdout
    shown = s.aiki("dead-letters", "show", flaky[0]).stdout
    assert "FLAKY" in shown and "attempt" in shown and '"failures":1' in shown, shown
    missing = s.aiki("dead-letters", "show", "01JD2V7Q8X3M5N7P9R1S3T5V7W", check=False)
    assert missing.returncode == 4, missing


def test_an_input_that_crashes_two_builds_is_a_letter(stacks):
    """One crash in each of two builds: the third attempt is not made, though either budget has room."""
    s = stacks(plugins=["crash"], server_args=["--quarantine-crashes", "0"], env=UNADORNED)
    first, runs = build_of(s, "crash"), []

    def crashes_once():
        begun, gate = (s.directory / f"{name}{len(runs)}" for name in ("begun", "gate"))
        run = s.start("crash", {"how": "null", "times": 99, "path": str(s.directory / "marks"), "begun": str(begun),
                                "gate": str(gate)})
        runs.append(run)
        until(begun.exists, "it is executed")
        s.request("POST", f"/v1/runs/{run}/pause")
        gate.touch()
        until(lambda: s.state(run) == "paused", "it crashed and is paused")
        return run
    run = s.undisturbed(crashes_once)
    assert sum(e["kind"] == "crashed" for e in s.history(run)) == 1
    s.drop("crash", plugin("crash-next"))
    until(lambda: build_of(s, "crash") not in (None, first), "the next build serves")
    s.request("POST", f"/v1/runs/{run}/resume")
    outcome = s.outcome(run)
    assert outcome["state"] == "failed" and outcome["error"]["code"] == "STEP_CRASHED", outcome
    assert "another build" in outcome["error"]["message"], outcome
    (letter,) = letters(s)
    assert letter["id"] == run and letter["crashes"] == 2 and letter["step"] == "crash", letter
    assert letter["crashed_builds"] == [first, build_of(s, "crash")] and letter["input"]["times"] == 99
    s.request("POST", f"/v1/dead-letters/{run}/redrive")
    assert s.outcome(run)["state"] == "failed"
    again = [e["build"] for e in s.history(run) if e["kind"] == "crashed"][2:]
    assert again == 3 * [letter["crashed_builds"][1]] + [first], "another pass has budgets of its own"
