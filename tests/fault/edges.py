"""Every kind of event is a durable edge: the server is killed right before and right behind the commit of one.

Kinds are read from abi/wire/event.h. Each has a row below: what brings such an event about, and what must be
so in the end. A kind without a row fails, and so does a row that does not bring its event about.
"""
import http.client
import re
import threading

import pytest

import chain
from harness import ROOT, HttpError, plugin, until

MAP = re.search(r"#define EVENT_KIND_MAP\(X\)(.*?)\n\n", (ROOT / "abi/wire/event.h").read_text(), re.S).group(1)
KINDS = re.findall(r'X\(\w+, \d+, "(\w+)"\)', MAP)
HOUR_MS = 3_600_000


# ---- what a client does whose server may be gone -------------------------------------------------

def surely(request, done=()):
    """Repeat until it is answered; a code of `done` says that an earlier attempt was heard."""
    def attempt():
        try:
            return request() or True
        except HttpError as e:
            if e.code in done:
                return True
            if e.status in (500, 503) or e.code == "WORKFLOW_NOT_FOUND":
                return None
            raise
        except (OSError, http.client.HTTPException):
            return None
    return until(attempt, "it is answered", 60)


def begin(s, workflow, value, **more):
    body = {"input": value, "key": f"edge-{workflow}", **more}
    return surely(lambda: s.request("POST", f"/v1/workflows/{workflow}/runs", body)[1])["id"]


def ask(s, run, verb, done=(), path="runs"):
    surely(lambda: s.request("POST", f"/v1/{path}/{run}/{verb}"), done)


def state(s, run):
    return surely(lambda: s.run(run))["state"]


def in_state(s, run, *states):
    until(lambda: state(s, run) in states, f"it is {states}")


def ended(s, run, as_state="completed"):
    in_state(s, run, "completed", "failed", "cancelled", "timed_out", "terminated")
    document = surely(lambda: s.run(run))
    assert document["state"] == as_state, document
    return document


def trace(s):
    return str(s.directory / "trace")


def marks(s):
    path = s.directory / "trace"
    return path.read_text() if path.exists() else ""


# ---- rows: they answer the run, and how often the event must stand in its history ----------------

def three_steps(s):
    run = begin(s, "ledger", {"steps": 3, "task_ms": 0, "path": trace(s), "width": 1})
    assert ended(s, run)["state"] == "completed"
    return run, None


def once(s):
    return three_steps(s)[0], 1


def a_sleep(s):
    run = begin(s, "nap", {"ms": 300})
    ended(s, run)
    return run, 1


def two_failures(s):
    run = begin(s, "flaky", {"failures": 2, "policy": "fixed", "delay_ms": 50})
    ended(s, run)
    return run, 2


def a_failed_run(s):
    run = begin(s, "flaky", {"failures": 1, "policy": "never"})
    ended(s, run, "failed")
    return run, 1


def a_letter(s):
    run = a_failed_run(s)[0]
    ask(s, run, "drop", path="dead-letters")
    assert surely(lambda: s.get("/v1/dead-letters"))["dead_letters"] == []
    return run, 1


def a_signal(s):
    run = begin(s, "approve", {"timeout_ms": HOUR_MS})
    surely(lambda: s.signal(run, "decision", {"ok": True}, ref="only"))
    ended(s, run)
    return run, 1


def another_build(s):
    """Parked with one build, found by one that does not fit on a host that never had it, and by the first again."""
    s.drop("swap", source=plugin("swap1"))
    run = begin(s, "swap", {"path": trace(s)})
    in_state(s, run, "awaiting_signal")
    s.runtime.kill()
    s.drop("swap", source=plugin("swap3"))
    s.start_runtime(1, wait=False)
    surely(lambda: s.signal(run, "go", None, ref="only"))
    in_state(s, run, "blocked")
    s.drop("swap", source=plugin("swap1"))
    ended(s, run)
    assert sorted(marks(s).split()) == ["A", "B", "C"]
    return run, None


def a_cleanup(s):
    run = begin(s, "cleanup", {"path": trace(s), "ms": HOUR_MS})
    in_state(s, run, "sleeping")
    ask(s, run, "cancel")
    ended(s, run, "cancelled")
    return run, 1


def a_party(s):
    run = begin(s, "party", {"count": 3, "ms": 100})
    ended(s, run)
    return run, 3


def woken(s):
    run = begin(s, "nap", {"ms": HOUR_MS})
    in_state(s, run, "sleeping")
    ask(s, run, "wake", done=["RUN_ENDED"])
    ended(s, run)
    return run, None


def paused_and_resumed(s):
    run = begin(s, "nap", {"ms": HOUR_MS})
    in_state(s, run, "sleeping")
    ask(s, run, "pause")
    in_state(s, run, "paused")
    ask(s, run, "resume")
    in_state(s, run, "sleeping")
    ask(s, run, "wake", done=["RUN_ENDED"])
    ended(s, run)
    return run, 1


def out_of_time(s):
    run = begin(s, "nap", {"ms": HOUR_MS}, run_timeout_ms=500)
    ended(s, run, "timed_out")
    return run, 1


def terminated(s):
    run = begin(s, "nap", {"ms": HOUR_MS})
    ask(s, run, "terminate")
    ended(s, run, "terminated")
    return run, 1


def passes(s):
    run = begin(s, "passes", {"failures": 1})
    ended(s, run, "failed")
    return run, 2


def at_most_once(s):
    """Its outcome may be unknown; it is not executed twice, and the workflow finds out what happened."""
    run = begin(s, "at-most-once", {"path": trace(s)})
    assert ended(s, run)["output"]["what"] in ("paid", "not paid")
    assert marks(s) in ("", "pd")
    return run, None


def a_race(s):
    gate = s.directory / "gate"
    run = begin(s, "race", {"path": trace(s), "gate": str(gate)})
    until(lambda: marks(s).startswith("++"), "both are under way")
    ask(s, run, "pause")
    ended(s, begin(s, "busy", {"path": str(s.directory / "elsewhere")}))  # in the same process, which has heard of it then
    gate.touch()
    in_state(s, run, "paused")
    ask(s, run, "resume")
    ended(s, run)
    return run, None


def a_crash(s):
    run = begin(s, "crash", {"how": "null", "path": trace(s)})
    assert ended(s, run)["output"] == {"crashes": 1}
    return run, None


def a_warning(s):
    run = begin(s, "modes", {"task": "warn", "quantity": 0})
    ended(s, run)
    return run, 2


def a_join(s):
    """Two runs share one execution: the run that does the work is told of the second."""
    gate = s.directory / "gate"
    value = {"path": trace(s), "mode": "k", "n": 7, "gate": str(gate)}
    runs = [begin(s, "once", value, key=f"share-{i}") for i in range(2)]
    (holder,) = until(lambda: surely(lambda: s.get("/v1/runs?workflow=share"))["runs"], "one of them does the work")
    until(lambda: [e for e in surely(lambda: s.history(holder["id"])) if e["kind"] == "joined"], "the other one waits for it")
    gate.touch()
    for run in runs:
        assert ended(s, run)["output"] == {"n": 7}
    return holder["id"], 1


ROWS = {
    "started": once, "claimed": three_steps, "step_begun": a_sleep, "attempt_failed": two_failures,
    "step_done": three_steps, "signal": a_signal, "completed": once, "failed": a_failed_run,
    "blocked": another_build, "unblocked": another_build, "cancel_requested": a_cleanup, "cancel_seen": a_cleanup,
    "child_done": a_party, "woken": woken, "paused": paused_and_resumed, "resumed": paused_and_resumed,
    "cancelled": a_cleanup, "timed_out": out_of_time, "terminated": terminated, "run_retried": passes,
    "heartbeat": at_most_once, "attempt_done": a_race, "crashed": a_crash, "warned": a_warning,
    "joined": a_join, "dropped": a_letter,
}
PLUGINS = ["ledger", "waits", "flaky", "family", "at-most-once", "crash", "payloads"]
# Of what only the owner knew and had not got on record yet nothing is left: it happens anew, or not again.
KNOWN_TO_THE_OWNER_ONLY = ["attempt_done", "crashed"]


def test_every_kind_of_event_has_a_row():
    assert KINDS and set(ROWS) == set(KINDS)


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("kind", KINDS)
def test_killed_around_the_commit_of(stacks, kind, when):
    s = stacks(plugins=PLUGINS, start=False)
    spent = s.directory / "spent"
    fault = {"AIKI_FAULT": f"server.{when}.{kind}=kill", "AIKI_FAULT_ONCE": str(spent)}
    s.start_redis()
    s.start_server(env=fault)
    s.start_runtime(0, wait=False)
    done = threading.Event()

    def supervise():
        while not done.wait(0.02):
            if not s.server.alive():
                s.start_server()
    keeper = threading.Thread(target=supervise)
    keeper.start()
    try:
        run, count = ROWS[kind](s)
    finally:
        done.set()
        keeper.join()
    if not s.server.alive():
        s.start_server()
    assert spent.exists(), f"no {kind} was recorded"
    events = s.history(run)
    chain.check(events)
    found = sum(e["kind"] == kind for e in events)
    if when == "before" and kind in KNOWN_TO_THE_OWNER_ONLY:
        return
    assert found == count if count is not None else found >= 1, [e["kind"] for e in events]
