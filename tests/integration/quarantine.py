"""A build that crashes must not cost a run: the build before takes over, or the run waits for one that does. An input that
crashes whatever executes it ends as a dead letter.
"""
import datetime

import pytest

from harness import UNADORNED, plugin, until


@pytest.fixture
def stacks(stacks):
    return lambda **options: stacks(env=UNADORNED, **options)


NEVER = ["--quarantine-crashes", "0"]  # the budget of one step alone is what these tests are about


def crashed(s, run):
    return [e for e in s.history(run) if e["kind"] == "crashed"]


def builds_of_crashes(s, run):
    return [e["build"] for e in crashed(s, run) if e["charged"]]


def builds(s, state):
    return [p["build"] for p in s.get("/v1/plugins")["plugins"] if p["state"] == state]


def crash(s, times, how="null", where="task"):
    return s.start("crash", {"how": how, "times": times, "path": str(s.directory / "marks"), "where": where})


def in_state(s, run, state):
    return until(lambda: (row := s.run(run))["state"] == state and row, f"it is {state}")


def deploy(s, name, source):
    """Over what serves: the two builds, the new one first."""
    before = builds(s, "serving")
    s.drop(name, plugin(source))
    until(lambda: builds(s, "kept") == before and len(builds(s, "serving")) == 1, "the new build serves, the old one is kept")
    return builds(s, "serving")[0], before[0]


@pytest.fixture
def deployed(stacks):
    """The crash plugin with another build of it over the first one; no run needs the first."""
    def make(**more):
        s = stacks(plugins=["crash"], server_args=NEVER, **more)
        return s, *deploy(s, "crash", "crash-next")
    return make


@pytest.mark.parametrize("where", ["task", "workflow"])
def test_where_the_new_build_has_spent_a_budget_the_build_before_goes_on(deployed, where):
    s, new, old = deployed()
    run = crash(s, 3, where=where)
    assert s.result(run) == {"crashes": 3}
    assert builds_of_crashes(s, run) == [new] * 3
    assert [e["build"] for e in s.history(run) if e["kind"] == "claimed"][-1] == old
    assert not [e for e in s.history(run) if e["kind"] == "blocked"]


def test_what_crashes_the_build_before_as_well_fails(deployed):
    s, new, old = deployed()
    run = crash(s, 99)
    error = s.outcome(run)["error"]
    assert error["code"] == "STEP_CRASHED" and "another build" in error["message"], error
    assert builds_of_crashes(s, run) == [new] * 3 + [old]
    letter, = s.get("/v1/dead-letters")["dead_letters"]
    assert letter["id"] == run and letter["crashed_builds"] == [new, old]


def test_workflow_code_that_crashes_every_build_is_blocked(deployed):
    s, new, old = deployed()
    run = crash(s, 99, where="workflow")
    assert in_state(s, run, "blocked")["error"]["code"] == "WORKFLOW_CRASHED"
    assert builds_of_crashes(s, run) == [new] * 3 + [old] * 3


def test_a_process_that_is_killed_alone_is_alone_with_the_build_before_too(deployed):
    """Among other runs nobody would know who it was, and it would go round for ever."""
    s, new, old = deployed()
    run = crash(s, 99, how="kill")
    assert s.outcome(run)["error"]["code"] == "STEP_CRASHED"
    assert builds_of_crashes(s, run) == [new] * 3 + [old]


def test_a_build_that_no_run_needs_is_kept_as_the_one_before_only(deployed):
    s, _, _ = deployed()
    new, old = deploy(s, "crash", "crash")
    until(lambda: builds(s, "kept") == [old], "the one before that is gone")
    run = crash(s, 3)
    assert s.result(run) == {"crashes": 3} and builds_of_crashes(s, run) == [new] * 3


# ---- no build before ------------------------------------------------------------------------------

def at(text):
    return datetime.datetime.fromisoformat(text)


def test_without_another_build_the_run_is_held_until_one_comes(stacks):
    s = stacks(plugins=["crash"], server_args=NEVER)
    first, = builds(s, "serving")
    run = crash(s, 3)
    row = in_state(s, run, "blocked")
    error = row["error"]
    assert error["code"] == "TASK_CRASHED" and f"unquarantine {first[:12]}" in error["message"], error
    assert error["cause"]["code"] == "CRASH_SIGNAL", error
    assert at(row["wake_at"]) - at(crashed(s, run)[-1]["at"]) == datetime.timedelta(minutes=5)
    s.drop("crash", plugin("crash-next"))
    assert s.result(run) == {"crashes": 3} and builds_of_crashes(s, run) == [first] * 3
    why, = [e["why"] for e in s.history(run) if e["kind"] == "unblocked"]
    assert why == "a build appeared"


def test_who_lifts_it_gives_the_build_another_budget(stacks):
    s = stacks(plugins=["crash"], server_args=NEVER)
    first, = builds(s, "serving")
    run = crash(s, 5)
    in_state(s, run, "blocked")
    s.request("POST", f"/v1/plugins/{first[:12]}/unquarantine")
    assert s.request("POST", f"/v1/plugins/{first[:12]}/unquarantine")[1] == {"lifted": 0}, "asked again"
    assert s.result(run) == {"crashes": 5}
    assert builds_of_crashes(s, run) == [first] * 5


def test_an_input_that_crashes_the_only_build_ends_when_nothing_came(stacks):
    s = stacks(plugins=["crash"], server_args=[*NEVER, "--crash-hold-ms", "300"])
    run = crash(s, 99)
    error = s.outcome(run)["error"]
    assert error["code"] == "STEP_CRASHED" and error["cause"]["code"] == "CRASH_SIGNAL", error
    assert len(builds_of_crashes(s, run)) == 3
    unblocked, = [e for e in s.history(run) if e["kind"] == "unblocked"]
    assert unblocked["why"] == "nothing came in time"
    assert at(unblocked["at"]) - at(crashed(s, run)[-1]["at"]) >= datetime.timedelta(milliseconds=300)
    assert [x["id"] for x in s.get("/v1/dead-letters")["dead_letters"]] == [run]


def test_no_run_is_lost_to_a_bad_deploy_that_is_rolled_back(stacks):
    """The build before is not kept, the bad one crashes in every run, one after the other and together."""
    s = stacks(server_args=["--quarantine-crashes", "5"], runtime_args=["--keep-previous-ms", "0"])
    s.drop("verge", plugin("verge-good"))
    until(lambda: builds(s, "serving"), "it serves")
    good = builds(s, "serving")
    s.drop("verge", plugin("verge-deployed"))
    until(lambda: [(p["state"], [p["build"]] == good) for p in s.get("/v1/plugins")["plugins"]] == [("serving", False)],
          "the bad one is all there is")
    runs = [s.start("verge", {"ms": 0})]
    assert in_state(s, runs[0], "blocked")["error"]["code"] == "TASK_CRASHED"
    runs += [s.start("verge", {"ms": 0}) for _ in range(5)]
    until(lambda: {s.state(run) for run in runs} == {"blocked"}, "all are held")
    until(lambda: [q["name"] for q in s.get("/v1/plugins")["quarantined"]] == ["edge"], "more than five crashed")
    s.drop("verge", plugin("verge-good"))
    for run in runs:
        assert s.result(run) == {"ok": True}
