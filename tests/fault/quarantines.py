"""A quarantine, and its end, with a kill in the middle: what was on record holds, what was not begins anew, and
to ask again is enough in any case. And the quarantined pair over restarts of everything.
"""
import http.client

import pytest

import chain
from harness import plugin, until
from points import MOVES, QUARANTINES, owner_of

CRASHES = 3  # until a task is quarantined


def quarantined(s):
    try:
        return [q["name"] for q in s.get("/v1/plugins")["quarantined"]]
    except (OSError, http.client.HTTPException):
        return []


def charged(s, run):
    return [e for e in s.history(run) if e["kind"] == "crashed" and e["charged"]]


def crash(s, n):
    return s.start_surely("crash", {"how": "null", "path": str(s.directory / f"mark{n}")}, f"c{n}")


def make_quarantine(s):
    """Crashes until it is there, the server being started again when it is not."""
    runs = []

    def more():
        if not s.server.alive():
            s.start_server()
        if quarantined(s):
            return True
        if len(runs) < 4 * CRASHES and all(state_of(s, run) == "completed" for run in runs):
            runs.extend(crash(s, len(runs) + i) for i in range(CRASHES))
        return False
    until(more, "the task is quarantined")
    return runs


def state_of(s, run):
    try:
        return s.state(run)
    except (OSError, http.client.HTTPException):
        return None


def lift(s, build):
    """Asked until it is answered: who asks again is not told that there is nothing to lift."""
    def attempt():
        if not s.server.alive():
            s.start_server()
        try:
            s.request("POST", f"/v1/plugins/{build}/unquarantine")
        except (OSError, http.client.HTTPException):
            return False
        return s.server.alive()
    until(attempt, "it is lifted")


@pytest.mark.parametrize("point", QUARANTINES)
def test_killed_at(stacks, point):
    s = stacks(plugins=["crash"], server_args=["--quarantine-crashes", CRASHES], start=False)
    spent = s.directory / "spent"
    s.start_redis()
    s.start_server(env={"AIKI_FAULT": f"{point}=kill", "AIKI_FAULT_ONCE": str(spent)})
    s.start_runtime(0)
    build = s.get("/v1/plugins")["plugins"][0]["build"]
    runs = make_quarantine(s)
    held = until(lambda: [r for r in runs if state_of(s, r) == "blocked"], "the one that tipped it is held back")
    assert s.run(held[0])["error"]["code"] == "QUARANTINED"
    lift(s, build)
    assert spent.exists(), f"{point} was not passed"
    s.restart_server()
    until(lambda: s.get("/v1/plugins")["plugins"], "the runtime is there again")
    assert quarantined(s) == [], "it stays lifted"
    for run in runs:
        assert s.outcome(run)["state"] == "completed"
        assert len(charged(s, run)) <= 1, "it crashed once"
        chain.check(s.history(run))


def test_crashes_before_and_behind_a_kill_of_the_server_count_together(stacks):
    s = stacks(plugins=["crash"], server_args=["--quarantine-crashes", CRASHES])
    for n in range(CRASHES):
        until(lambda: s.get("/v1/plugins")["plugins"], "the runtime is there")
        assert quarantined(s) == [], f"it crashed {n} times"
        run = crash(s, n)
        until(lambda: charged(s, run), "it crashed")
        s.restart_server()
    until(lambda: quarantined(s) == ["crash"], "it crashed too often")


def pair(s):
    """The good build asleep with a run, the bad one over it."""
    s.drop("verge", plugin("verge-good"))
    until(lambda: s.get("/v1/plugins")["plugins"], "it serves")
    asleep = s.start("verge", {"ms": 600000})
    until(lambda: s.state(asleep) == "sleeping", "a run that keeps the old build")
    s.drop("verge", plugin("verge-bad"))
    until(lambda: sorted(p["state"] == "serving" for p in s.get("/v1/plugins")["plugins"]) == [False, True],
          "the new build serves, the one before is kept")
    runs = [s.start("verge", {"ms": 0}) for _ in range(4)]
    for run in runs:
        assert s.result(run) == {"ok": True}
    assert quarantined(s) == ["edge"]
    return asleep


def test_the_build_before_goes_on_over_restarts_of_runtime_and_server(stacks):
    s = stacks(server_args=["--quarantine-crashes", CRASHES])
    asleep = pair(s)
    for restart in (lambda: s.restart_server(), lambda: (s.runtime.kill(), s.start_runtime(0)),
                    lambda: (s.runtime.kill(), s.restart_server(), s.start_runtime(0))):
        restart()
        until(lambda: len(s.get("/v1/plugins")["plugins"]) == 2, "both builds are there")
        assert quarantined(s) == ["edge"]
        run = s.start("verge", {"ms": 0})
        assert s.result(run) == {"ok": True}
        assert charged(s, run) == [], "the new build does not execute it"
    s.request("POST", f"/v1/runs/{asleep}/wake")
    assert s.result(asleep) == {"ok": True}


def test_without_a_build_before_the_runs_are_blocked_and_say_why(stacks):
    s = stacks(plugins=["verge-bad"], server_args=["--quarantine-crashes", CRASHES])
    runs = [s.start("verge", {"ms": 0}) for _ in range(4)]
    for restart in (lambda: None, lambda: s.restart_server(), lambda: (s.runtime.kill(), s.start_runtime(0))):
        restart()
        late = s.start_surely("verge", {"ms": 0}, f"late{len(runs)}")
        runs.append(late)
        until(lambda: s.state(late) == "blocked", "it is blocked")
        error = s.run(late)["error"]
        assert error["code"] == "QUARANTINED" and "aiki plugins unquarantine" in error["message"], error
        assert charged(s, late) == [] or late == runs[4]
    s.remove("verge-bad")
    s.drop("verge", plugin("verge-good"))  # a mended build is what resolves it
    for run in runs:
        assert s.result(run) == {"ok": True}


@pytest.mark.parametrize("point", MOVES)
def test_killed_while_the_build_before_takes_over_a_run(stacks, point):
    s = stacks(plugins=["crash"], server_args=["--quarantine-crashes", "0"], start=False)
    s.start_redis()
    s.start_server()
    s.start_runtime(0, env={"AIKI_FAULT": f"{point}=kill", "AIKI_FAULT_ONCE": str(s.directory / "spent")})
    s.drop("crash", plugin("crash-next"))
    until(lambda: sorted(p["state"] for p in s.get("/v1/plugins")["plugins"]) == ["kept", "serving"], "it is deployed")
    run = s.start_surely("crash", {"how": "null", "times": 3, "path": str(s.directory / "marks")}, "c")
    if owner_of(point) == "runtime":
        until(lambda: not s.runtime.alive(), f"{point} is passed")
        s.start_runtime(0)
    assert s.result(run) == {"crashes": 3}
    assert (s.directory / "spent").exists() and len({e["build"] for e in charged(s, run)}) == 1
    chain.check(s.history(run))


@pytest.mark.parametrize("point", ["server.timer.due", "server.commit.before", "server.commit.after"])
def test_killed_when_a_run_is_held_no_longer(stacks, point):
    """What a server commits first after a restart is that the time is over."""
    s = stacks(plugins=["crash"], server_args=["--quarantine-crashes", "0", "--crash-hold-ms", "1000"], start=False)
    s.start_redis()
    s.start_server(env={"AIKI_FAULT": "server.after.blocked=kill"})
    s.start_runtime(0)
    run = s.start("crash", {"how": "null", "times": 99, "path": str(s.directory / "marks")})
    until(lambda: not s.server.alive(), "it is held")
    s.start_server(env={"AIKI_FAULT": f"{point}=kill"}, wait=False)
    until(lambda: not s.server.alive(), f"{point} is passed")
    s.start_server()
    assert s.outcome(run)["error"]["code"] == "STEP_CRASHED"
    assert len(charged(s, run)) == 3
    chain.check(s.history(run))
