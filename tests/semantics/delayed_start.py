"""Started now, executed later: a scheduled run is a row and a timer, like one that sleeps."""
from datetime import datetime, timezone
import statistics

import pytest
from harness import HttpError, at_best, in_time

HOUR_MS = 3_600_000


def later(s, **when):
    return s.request("POST", "/v1/workflows/sleeping/runs", {"input": {"ms": 0}, **when})[1]["id"]


def ms(stamp):
    return round(datetime.fromisoformat(stamp.replace("Z", "+00:00")).timestamp() * 1000)


def executed_at(s, run):
    """When its owner recorded that it has it."""
    s.result(run)
    return ms(next(e for e in s.history(run) if e["kind"] == "claimed")["at"])


def test_it_is_scheduled_until_its_time_and_begins_soon_after_it(common):
    def begin_soon():
        runs = [later(common, delay_ms=3000 + 20 * i) for i in range(9)]
        starts = [ms(common.run(run)["start_at"]) for run in runs]
        states = {common.state(run) for run in runs}
        in_time(datetime.now(timezone.utc).timestamp() * 1000 < min(starts), "the first was due before the last was looked at")
        assert states == {"scheduled"}
        late = [executed_at(common, run) - start for run, start in zip(runs, starts)]
        assert min(late) >= 0, "one began before its time"
        in_time(statistics.median(late) <= 100, late)
    at_best(begin_soon, tries=5)


def test_at_a_time(common):
    at = datetime.fromtimestamp(datetime.now(timezone.utc).timestamp() + 1, timezone.utc)
    run = later(common, start_at=at.isoformat(timespec="milliseconds").replace("+00:00", "Z"))
    assert executed_at(common, run) >= at.timestamp() * 1000 - 1


def test_it_outlives_every_process(stacks):
    """Due while the server is down, it begins when there is one again; not yet due, it stays scheduled."""
    s = stacks(plugins=["sleeping"])
    soon, late = later(s, delay_ms=1500), later(s, delay_ms=HOUR_MS)
    start_at = s.run(soon)["start_at"]
    s.runtime.kill()
    s.restart_redis()
    s.restart_server()
    assert (s.run(soon)["start_at"], s.state(late)) == (start_at, "scheduled")
    s.start_runtime()
    assert executed_at(s, soon) >= ms(start_at)
    assert [e["kind"] for e in s.history(late)] == ["started"], "nothing of it was executed"


def test_what_may_be_asked_of_it(common):
    cancelled, woken, paused = (later(common, delay_ms=HOUR_MS) for _ in range(3))
    common.request("POST", f"/v1/runs/{cancelled}/cancel")
    assert common.state(cancelled) == "cancelled", "there is nothing to clean up"
    common.request("POST", f"/v1/runs/{paused}/pause")
    assert common.state(paused) == "paused"
    common.request("POST", f"/v1/runs/{paused}/resume")
    assert common.state(paused) == "scheduled", "it still starts when it was to"
    for run in (woken, paused):
        common.request("POST", f"/v1/runs/{run}/wake")
        common.result(run)


def test_a_signal_that_comes_before_its_time_is_kept(common):
    body = {"input": {"names": ["letter"]}, "delay_ms": 400}
    run = common.request("POST", "/v1/workflows/inbox/runs", body)[1]["id"]
    common.signal(run, "letter", "early")
    assert common.result(run) == ["early"]


@pytest.mark.parametrize("when", [{"delay_ms": -1}, {"delay_ms": 1, "start_at": "2100-01-01T00:00:00Z"},
                                  {"start_at": "9999-01-01T00:00:00Z"}])
def test_a_time_that_makes_no_sense_is_refused(common, when):
    with pytest.raises(HttpError) as e:
        later(common, **when)
    assert e.value.status == 400 and e.value.code in ("BAD_START", "BAD_BODY"), e.value.body


def test_a_time_that_has_passed_is_now(common):
    common.result(later(common, start_at="2020-01-01T00:00:00Z"))
