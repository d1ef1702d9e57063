"""Following a run: a history that is asked for before it goes on is answered by the commit that appends."""
import concurrent.futures
import json
import os
import subprocess

from harness import AIKI, until


def queries(s):
    return s.metrics()["aiki_commands_total"]


def watch(s, run):
    return subprocess.Popen([str(AIKI), "runs", "watch", run, "--json"], text=True, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, env={**os.environ, "AIKI_SERVER": s.rpc})


def kinds(events):
    return [e["kind"] for e in events]


def waiting_run(s):
    """A run that waits for its decision, and the number of its last event."""
    run = s.start("approve", {"timeout_ms": 600000})
    until(lambda: s.state(run) == "awaiting_signal", "it waits")
    return run, s.history(run)[-1]["seq"]


def follow(s, run, after, wait="60s"):
    return s.get(f"/v1/runs/{run}/history?after={after}&wait={wait}")


def test_the_next_events_are_told_when_they_are_on_record(stacks):
    s = stacks(plugins=["waits"])
    run, last = waiting_run(s)
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(follow, s, run, last) for _ in range(4)]
        until(lambda: s.get("/v1/server")["waiters"] == 4, "all wait")
        before = queries(s)
        s.signal(run, "note", {"n": 1})
        answers = [a.result() for a in asked]
    assert all(kinds(a["events"])[0] == "signal" for a in answers), answers
    assert queries(s) - before < 20, "one request each, not one every so often"
    page = follow(s, run, last)
    assert page["events"][0]["hash"] == answers[0]["events"][0]["hash"] == \
        next(e for e in s.history(run) if e["seq"] == last + 1)["hash"]
    assert follow(s, run, 10**6, "20ms") == {"id": run, "state": "awaiting_signal", "events": [], "next": None}
    s.signal(run, "decision", {"ok": True})
    s.result(run)
    ended = follow(s, run, 10**6)
    assert (ended["state"], ended["events"]) == ("completed", [])


def test_watch_prints_what_happens_as_it_happens(stacks):
    s = stacks(plugins=["waits"])
    run, last = waiting_run(s)
    with watch(s, run) as w:
        for seq in range(1, last + 1):
            assert json.loads(w.stdout.readline())["seq"] == seq
        until(lambda: s.get("/v1/server")["waiters"] == 1, "it waits for more")
        before = queries(s)
        s.signal(run, "note", {"n": 1})
        assert json.loads(w.stdout.readline())["kind"] == "signal"
        until(lambda: s.get("/v1/server")["waiters"] == 1, "it waits again")
        assert queries(s) - before < 20
        s.signal(run, "decision", {"ok": True})
        rest = [json.loads(line) for line in w.stdout]
    assert w.returncode == 0, w.stderr
    assert rest[-1]["kind"] == "completed"


def test_watching_goes_on_over_restarts_of_the_server(stacks):
    s = stacks(plugins=["waits"])
    run, last = waiting_run(s)
    with watch(s, run) as w:
        seen = [json.loads(w.stdout.readline()) for _ in range(last)]
        for note in range(3):
            s.restart_server()
            s.signal(run, "note", {"n": note})
            while seen[-1]["kind"] != "signal" or seen[-1]["payload"] != {"n": note}:
                seen.append(json.loads(w.stdout.readline()))
        s.signal(run, "decision", {"ok": True})
        seen += [json.loads(line) for line in w.stdout]
    assert w.returncode == 0
    assert [e["seq"] for e in seen] == list(range(1, len(seen) + 1)), "each once, in order"
    assert seen == s.history(run)
