"""Following a run: a history that is asked for before it goes on is answered by the commit that appends."""
import concurrent.futures
import json
import os
import signal
import socket
import subprocess

from harness import AIKI, PATIENCE_S, until

STREAMS_MAX = 512


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
        looks = []  # which are requests, too

        def waits_again():
            looks.append(s.get("/v1/server")["waiters"])
            return looks[-1] == 1
        until(waits_again, "it waits again")
        assert queries(s) - before - len(looks) < 20
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


class Stream:
    """Server-sent events, as a browser reads them."""

    def __init__(self, stack, run, after=None, last=None, buffer=None):
        host, port = stack.http.rsplit(":", 1)
        self.socket = socket.socket()
        if buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        self.socket.settimeout(PATIENCE_S)
        self.socket.connect((host, int(port)))
        path = f"/v1/runs/{run}/events" + (f"?after={after}" if after is not None else "")
        head = f"GET {path} HTTP/1.1\r\nHost: localhost\r\n"
        head += f"Last-Event-ID: {last}\r\n" if last is not None else ""
        self.socket.sendall(f"{head}\r\n".encode())
        self.file = self.socket.makefile("rb")
        self.status = int(self.file.readline().split()[1])
        self.headers = {}
        while (line := self.file.readline().strip()):
            name, value = line.decode().split(":", 1)
            self.headers[name.lower()] = value.strip()
        self.text = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.file.close()
        self.socket.close()

    def more(self):
        """One chunk; False at the end."""
        size = int(self.file.readline() or b"0", 16)
        self.text += self.file.read(size)
        self.file.readline()
        return size > 0

    def next(self):
        """(id, name, data) of one event; None at the end."""
        while True:
            while b"\n\n" not in self.text:
                if not self.more():
                    return None
            block, self.text = self.text.split(b"\n\n", 1)
            fields = dict(line.split(": ", 1) for line in block.decode().split("\n") if ": " in line)
            if "data" in fields:
                return int(fields["id"]) if "id" in fields else None, fields["event"], json.loads(fields["data"])

    def rest(self):
        return list(iter(self.next, None))


def streams(s):
    return s.metrics()["aiki_http_streams"]


def test_events_stream_as_they_are_recorded(stacks):
    s = stacks(plugins=["waits"])
    run, last = waiting_run(s)
    with Stream(s, run) as e:
        assert (e.status, e.headers["content-type"]) == (200, "text/event-stream")
        seen = [e.next() for _ in range(last)]
        before = queries(s)
        for n in range(20):
            s.signal(run, "note", {"n": n})
            while (got := e.next())[1] != "signal":
                seen.append(got)
            assert got[2]["payload"] == {"n": n}
            seen.append(got)
        assert queries(s) - before < 300
        s.signal(run, "decision", {"ok": True})
        seen += e.rest()
    assert seen.pop() == (None, "end", {"state": "completed"})
    assert [data for _, _, data in seen] == s.history(run)
    assert all(name == data["kind"] and number == data["seq"] for number, name, data in seen)
    until(lambda: streams(s) == 0, "nothing is left of it")


def test_an_interrupted_stream_goes_on_behind_the_last_event(stacks):
    s = stacks(plugins=["waits"])
    run, last = waiting_run(s)
    with Stream(s, run) as e:
        seen = [e.next() for _ in range(last)]
        s.server.kill()
        assert e.file.read() == b""
    s.restart_server()
    s.signal(run, "note", {"n": 1})
    with Stream(s, run, after=0, last=seen[-1][0]) as e:
        assert e.next()[0] == last + 1
        s.signal(run, "decision", {"ok": True})
        rest = e.rest()
    assert rest[-1][1] == "end"
    with Stream(s, run, last=rest[-2][0]) as e:
        assert e.status == 204, "a browser does not come back after that"
    with Stream(s, run, after=rest[-2][0] - 1) as e:
        assert [x[1] for x in e.rest()] == ["completed", "end"]


def test_a_slow_reader_holds_up_nobody_and_misses_nothing(stacks):
    s = stacks(plugins=["waits"])
    run, last = waiting_run(s)
    text = "x" * 200000
    with Stream(s, run, buffer=4096) as slow, Stream(s, run) as fast:
        for n in range(100):
            s.signal(run, "note", {"n": n, "text": text})
        s.signal(run, "decision", {"ok": True})
        quick = fast.rest()
        assert s.metrics()["aiki_http_held_bytes"] < 40e6, "a page is held for it, not all there is"
        assert slow.rest() == quick
    assert [data for _, _, data in quick[:-1]] == s.history(run)


def test_streams_are_limited_and_forgotten_when_their_reader_goes(stacks):
    s = stacks(plugins=["waits"])
    run, last = waiting_run(s)
    opened = [Stream(s, run, after=last) for _ in range(STREAMS_MAX)]
    until(lambda: s.get("/v1/server")["waiters"] == STREAMS_MAX, "all wait")
    with Stream(s, run) as refused:
        assert refused.status == 503
        body = json.loads(refused.file.read(int(refused.headers["content-length"])))
        assert body["error"]["code"] == "OVERLOADED" and "HTTP_STREAMS_MAX" in body["error"]["message"]
    s.signal(run, "note", {"n": 1})
    assert all(e.next()[0] == last + 1 for e in opened)
    for e in opened:
        e.close()
    until(lambda: streams(s) == 0 and s.get("/v1/server")["waiters"] == 0, "all are forgotten")
    for bad in ("x", "-1", "99999999999999999999"):
        with Stream(s, run, last=bad) as e:
            assert e.status == 400
    with Stream(s, "01ARZ3NDEKTSV4RRFFQ69G5FAV") as e:
        assert e.status == 404


def test_a_server_that_stops_says_so_to_its_streams(stacks):
    s = stacks(plugins=["waits"])
    run, last = waiting_run(s)
    with Stream(s, run, after=last) as e:
        until(lambda: s.get("/v1/server")["waiters"] == 1, "it waits")
        s.server.send(signal.SIGTERM)
        assert [(name, data["error"]["code"]) for _, name, data in e.rest()] == [("error", "STOPPING")]
    assert s.server.popen.wait(PATIENCE_S) == 0
