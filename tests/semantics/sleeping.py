"""A sleeping run is a row on disk and a timer: no process, no slot, no polling."""
from datetime import datetime, timezone

import chain
from harness import at_best, in_time, until


def begun(s, run):
    return next(e for e in s.history(run) if e["kind"] == "step_begun")


def test_a_sleep_ends_at_its_time_and_not_before(common):
    run = common.start("sleeping", {"ms": 300})
    common.result(run)
    started, *_, done = [e for e in common.history(run) if e["kind"] in ("started", "step_done")]
    assert done["at"] > started["at"]
    assert done["outcome"] == "ok"


def test_no_slot_and_no_owner_while_it_sleeps(stacks):
    s = stacks(plugins=["sleeping", "turns"], runtime_args=["--slots", "2"])
    runs = [s.start("sleeping", {"ms": 3_600_000}) for _ in range(50)]
    for run in runs:
        until(lambda: s.state(run) == "sleeping", f"{run} sleeps")
    assert s.run(runs[0])["owner"] is None
    worker, = s.get("/v1/workers")["workers"]
    assert worker["runs"] == 0, "fifty sleeping runs do not occupy two slots"
    turn = s.start("turns", {"path": str(s.directory / "t")})
    assert s.result(turn) is not None


def test_it_outlives_every_process(stacks):
    s = stacks(plugins=["sleeping"])

    def sleeps_on():
        run = s.start("sleeping", {"ms": 6000})
        until(lambda: any(e["kind"] == "step_begun" for e in s.history(run)), "it sleeps")
        s.runtime.kill()
        s.redis.kill()
        s.restart_server()
        s.redis_socket.unlink()
        s.start_redis()
        state, now = s.state(run), datetime.now(timezone.utc)
        s.start_runtime()
        in_time(now < datetime.fromisoformat(begun(s, run)["due_at"].replace("Z", "+00:00")), "it was over before all were there")
        assert state == "sleeping"
        return run
    run = at_best(sleeps_on)
    due = begun(s, run)["due_at"]
    s.result(run)
    over = next(e for e in s.history(run) if e["kind"] == "step_done")
    assert over["at"] >= due, "it woke early"
    chain.check(s.history(run))
