"""Every named point, killed at: the work under way still ends once and right.

The points are read from runtime/base/fault.def; a point that no scenario reaches fails.
"""
import http.client
import threading

import pytest

import chain
from harness import PATIENCE_S, HttpError, Ledger, until
from points import GATES, MOVES, ON_DEMAND, POINTS, QUARANTINES, RECYCLING, SIGNED, STARTS, UNDEFINED, owner_of


@pytest.mark.parametrize("nth", [1, 4])
@pytest.mark.parametrize("point", [p for p in POINTS if p not in
                                   MOVES + GATES + QUARANTINES + RECYCLING + SIGNED + ON_DEMAND + STARTS + UNDEFINED])
def test_killed_at(stacks, point, nth):
    fault = {"AIKI_FAULT": f"{point}=kill@{nth}"}
    who = owner_of(point)
    s = stacks(plugins=["ledger", "waits", "crash", "family"], start=False)
    fault["AIKI_FAULT_ONCE"] = str(s.directory / "spent")  # a child's replacement goes on
    s.start_redis()
    s.start_server(env=fault if who == "server" else None)
    s.start_runtime(0, env=fault if who != "server" else None, wait=False)
    path = str(s.directory / "ledger.txt")

    def died():
        if who == "server":
            return not s.server.alive()
        if who == "runtime":
            return not s.runtime.alive()
        return "signal 9" in s.runtime.log.read_text(errors="replace")

    def revive():
        """What an init system does; the fault is spent."""
        if not s.server.alive():
            s.start_server()
        if not s.runtime.alive():
            s.start_runtime(0, wait=False)

    done = threading.Event()

    def supervise():
        while not done.wait(0.02):
            revive()

    started = []
    seen = []
    keeper = threading.Thread(target=lambda: (until(lambda: died() or done.is_set(), point, 10 * PATIENCE_S),
                                              seen.append(died()), supervise()))
    keeper.start()
    try:
        for i in range(6):
            started.append(s.start_surely("ledger", {"steps": 3, "task_ms": 0, "path": path, "width": 1}, f"l{i}"))
        approvals = [s.start_surely("approve", {"timeout_ms": 600000}, f"a{i}") for i in range(4)]
        naps = [s.start_surely("nap", {"ms": 300}, f"n{i}") for i in range(4)]
        parties = [s.start_surely("party", {"count": 3, "ms": 200}, f"p{i}") for i in range(2)]
        crashing = [s.start_surely("crash", {"how": "null", "path": str(s.directory / f"mark{i}")}, f"c{i}")
                    for i in range(4)]
        # where it is looked at who asks for it meanwhile, it is done when that has happened
        share = {"path": str(s.directory / "shared"), "mode": "k", "n": 7,
                 "gate": fault["AIKI_FAULT_ONCE"] if "joined" in point else ""}
        sharing = [s.start_surely("once", share, f"s{i}") for i in range(8)]
        doomed = [s.start_surely("nap", {"ms": 600000}, f"d{i}") for i in range(4)]

        def signalled(run):
            try:
                s.signal(run, "decision", {"ok": True}, ref="only")
                return True
            except (OSError, HttpError, http.client.HTTPException):
                return False

        def terminated(run):
            try:
                s.request("POST", f"/v1/runs/{run}/terminate", {"reason": "no more"})
                return True
            except HttpError as e:
                return e.code == "RUN_ENDED"  # the answer to an earlier attempt was lost
            except (OSError, http.client.HTTPException):
                return False
        for run in approvals:
            until(lambda: signalled(run), "the signal is acknowledged")
        for run in doomed:
            until(lambda: terminated(run), "the request is acknowledged")
        for run in started:
            assert s.outcome(run)["output"] == {"steps": 3}
        for run in approvals:
            assert s.outcome(run)["output"]["ok"] is True
        for run in naps:
            assert s.outcome(run)["state"] == "completed"
        for run in parties:
            assert s.outcome(run)["output"] == {"count": 3, "ms": 200}
        for run in crashing:
            assert s.outcome(run)["output"] == {"crashes": 1}
        for run in sharing:
            assert s.outcome(run)["output"] == {"n": 7}
        for run in doomed:
            assert s.outcome(run)["state"] == "terminated"
    finally:
        done.set()
        keeper.join()
    revive()
    assert seen == [True], f"{point} was never passed {nth} times"
    for run in doomed:
        assert sum(e["kind"] == "terminated" for e in s.history(run)) == 1
    for run in parties:
        assert sum(e["kind"] == "child_done" for e in s.history(run)) == 3
    for run in crashing:
        assert sum(e["kind"] == "crashed" and e["charged"] for e in s.history(run)) <= 1, "it crashed once"
    for run in sharing:
        assert sum(e["kind"] == "child_done" for e in s.history(run)) == 1
    assert len(s.get("/v1/runs?workflow=share")["runs"]) == 1
    for run in [*started, *approvals, *naps, *parties, *crashing, *sharing, *doomed]:
        events = s.history(run)
        chain.check(events)
    Ledger(path).check_order()
    for run in approvals:
        assert sum(e["kind"] == "signal" for e in s.history(run)) == 1
