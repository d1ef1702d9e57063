"""The HTTP surface: shapes and statuses, limits, many who wait, clients that go away."""
import concurrent.futures
import json
import os
import re
import signal
import socket

import pytest

import harness
from harness import HttpError, until

MANY = 200


@pytest.fixture(scope="module")
def shared():
    s = harness.Stack(plugins=["hello", "waits"])
    yield s
    s.close()


class Raw:
    """One connection, by hand."""

    def __init__(self, stack):
        host, port = stack.http.rsplit(":", 1)
        self.socket = socket.create_connection((host, int(port)), timeout=harness.PATIENCE_S)
        self.file = self.socket.makefile("rb")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.file.close()
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data if isinstance(data, bytes) else data.encode())

    def read(self):
        """Status, headers and body of one answer; None at the end of the connection."""
        line = self.file.readline()
        if not line:
            return None
        headers = {}
        while (row := self.file.readline().strip()):
            name, value = row.decode().split(":", 1)
            headers[name.lower()] = value.strip()
        body = self.file.read(int(headers.get("content-length", 0)))
        return int(line.split()[1]), headers, body

    def ask(self, text):
        self.send(text)
        return self.read()


def get(path, extra=""):
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\n{extra}\r\n"


def post(path, body, extra=""):
    return (f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n{extra}\r\n"
            f"{body}")


def code_of(answer):
    return json.loads(answer[2])["error"]["code"]


def waiting(s):
    return s.metrics()["aiki_http_waiting"], s.get("/v1/server")["waiters"]


def count(s):
    return len(s.get("/v1/runs?limit=1000")["runs"])


def test_a_run_from_start_to_history(shared):
    with Raw(shared) as c:
        status, headers, body = c.ask(post("/v1/workflows/hello/runs",
                                           '{"input":{"name":"w"},"key":"http-1"}'))
        made = json.loads(body)
        assert status == 201 and made["created"] is True and made["workflow"] == "hello"
        assert headers["location"] == f"/v1/runs/{made['id']}"
        assert headers["content-type"] == "application/json"
        status, _, body = c.ask(get(f"/v1/runs/{made['id']}/result?wait=30s"))
        result = json.loads(body)
        assert status == 200 and result["state"] == "completed" and result["error"] is None
        status, _, body = c.ask(get(headers["location"]))
        run = json.loads(body)
        assert status == 200 and run["output"] == result["output"] and run["input"] == {"name": "w"}
        status, _, body = c.ask(post("/v1/workflows/hello/runs",
                                     '{"input":{"name":"w"},"key":"http-1"}'))
        again = json.loads(body)
        assert status == 200 and again["created"] is False and again["id"] == made["id"]
        pages, after = [], 0
        while after is not None:
            _, _, body = c.ask(get(f"/v1/runs/{made['id']}/history?limit=1&after={after}"))
            page = json.loads(body)
            pages += page["events"]
            after = page["next"]
        assert [e["seq"] for e in pages] == list(range(1, run["seq"] + 1))


def test_lists_page_and_filter(shared):
    ids = {shared.start("hello", {"name": f"list {i}"}) for i in range(7)}
    for run in ids:
        shared.result(run)
    seen, before = [], None
    while True:
        page = shared.get("/v1/runs?workflow=hello&limit=3" + (f"&before={before}" if before else ""))
        assert len(page["runs"]) <= 3
        seen += [r["id"] for r in page["runs"]]
        before = page["next"]
        if before is None:
            break
    assert len(seen) == len(set(seen)) and ids <= set(seen)
    assert all(r["state"] == "completed" for r in shared.get("/v1/runs?state=completed")["runs"])
    assert shared.get("/v1/runs?state=blocked")["runs"] == []
    assert {w["name"] for w in shared.get("/v1/workflows")["workflows"]} >= {"hello", "approve"}
    assert shared.get("/v1/workflows/hello")["workflow"]["input"]["required"] == ["name"]
    assert shared.get("/v1/workers")["workers"][0]["name"] == "runtime0"
    assert {p["file"] for p in shared.get("/v1/plugins")["plugins"]} == {"hello.so", "waits.so"}


def test_a_run_that_goes_on_is_202_and_a_repeated_signal_is_not_recorded(shared):
    run = shared.start("approve", {"timeout_ms": 60000})
    assert shared.request("GET", f"/v1/runs/{run}/result")[0] == 202
    assert shared.request("GET", f"/v1/runs/{run}/result?wait=50ms")[0] == 202
    first = shared.signal(run, "other", {"n": 1}, ref="r")
    again = shared.signal(run, "other", {"n": 1}, ref="r")
    assert (first[1]["recorded"], again[1]["recorded"]) == (True, False)
    shared.signal(run, "decision", {"ok": True})
    assert shared.result(run)["ok"] is True
    with pytest.raises(HttpError) as e:
        shared.signal(run, "decision", {"ok": True})
    assert e.value.status == 409


@pytest.mark.parametrize("text,status,code", ids=lambda v: v if str(v).isupper() else "", argvalues=[
    (get("/v1/runs?stat=x"), 400, "UNKNOWN_PARAMETER"),
    (get("/v1/runs?limit=many"), 400, "BAD_PARAMETER"),
    (get("/v1/runs?state=odd"), 400, "BAD_STATE"),
    (get("/v1/runs/01ARZ3NDEKTSV4RRFFQ69G5FAV/result?wait=1h"), 400, "BAD_PARAMETER"),
    (get("/v1/runs/01ARZ3NDEKTSV4RRFFQ69G5FAV/history"), 404, "RUN_NOT_FOUND"),
    (post("/v1/runs/01ARZ3NDEKTSV4RRFFQ69G5FAV/signals/x", "1"), 404, "RUN_NOT_FOUND"),
    (post("/v1/workflows/hello/runs", '{"inptu":{}}'), 400, "UNKNOWN_MEMBER"),
    (post("/v1/workflows/hello/runs", '{"key":7}'), 400, "BAD_BODY"),
    (post("/v1/workflows/hello/runs", '{"input":{"name":5}}'), 422, "SCHEMA_MISMATCH"),
    (post("/v1/workflows/hello/runs", '{"input":{"name":"a"},"version":"7.0.0"}'), 404,
     "VERSION_NOT_FOUND"),
    (post("/v1/workflows/hello/runs", '{"input":{"name":"a"},"key":"' + "k" * 300 + '"}'), 413, "LIMIT"),
    (post("/v1/workflows/hello/runs", '{"input":{"name":"a"}}', "Origin: http://evil.example\r\n"), 403,
     "ORIGIN_NOT_ALLOWED"),
    (get("/v1/runs").replace("localhost", "evil.example"), 403, "HOST_NOT_ALLOWED"),
    (get("/v1/runs", "X-Long: " + "x" * 40000 + "\r\n"), 431, "HEADERS_TOO_LARGE"),
    (get("/v1/" + "x" * 10000), 414, "URI_TOO_LONG"),
    (post("/v1/workflows/hello/runs", '{"input":{"name":"' + "x" * 4300000 + '"}}'), 413,
     "PAYLOAD_TOO_LARGE"),
    (post("/v1/workflows/hello/runs", "x" * 5300000), 413, "BODY_TOO_LARGE"),
])
def test_wrong_requests_are_coded_and_change_nothing(shared, text, status, code):
    before = count(shared)
    with Raw(shared) as c:
        answer = c.ask(text)
        assert (answer[0], code_of(answer)) == (status, code), answer[2]
        assert json.loads(answer[2])["error"]["message"]
    assert count(shared) == before


def test_the_methods_of_a_path_are_named(shared):
    with Raw(shared) as c:
        status, headers, _ = c.ask("PATCH /v1/runs HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert status == 405 and headers["allow"] == "GET, HEAD"
        assert c.ask(get("/healthz"))[0] == 200, "the connection goes on after a refusal"


def test_what_is_no_http_hurts_nobody(shared):
    junk = [b"\x16\x03\x01\x02\x00\x01", b"GET\r\n\r\n", b"\r\n" * 500, b"GET / HTTP/9.9\r\n\r\n",
            b"GET /v1/runs HTTP/1.1\r\nHost localhost\r\n\r\n", b"\0" * 1000,
            b"GET /" + b"x" * 200000, b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 20000,
            b"POST /v1/workflows/hello/runs HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n{}",
            b"POST /v1/workflows/hello/runs HTTP/1.1\r\nHost: localhost\r\n"
            b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n", os.urandom(5000)]
    before = count(shared)
    for data in junk:
        with Raw(shared) as c:
            try:
                c.send(data)
                c.socket.shutdown(socket.SHUT_WR)
                answer = c.read()
            except OSError:
                continue
            assert answer is None or answer[0] >= 400, (data[:60], answer)
    assert count(shared) == before
    assert shared.get("/healthz") == {"status": "ok"}


def test_a_page_from_elsewhere_cannot_read_or_start(shared):
    with Raw(shared) as c:
        _, headers, _ = c.ask(get("/v1/runs"))
        assert not [h for h in headers if h.startswith("access-control")]
        assert headers["x-content-type-options"] == "nosniff"


def test_two_hundred_wait_for_one_run_without_a_thread_each(shared):
    run = shared.start("approve", {"timeout_ms": 600000})
    tasks = f"/proc/{shared.server.pid}/task"
    threads = len(os.listdir(tasks))
    clients = [Raw(shared) for _ in range(MANY)]
    try:
        for c in clients:
            c.send(get(f"/v1/runs/{run}/result?wait=60s"))
        until(lambda: waiting(shared) == (MANY, MANY), "all wait")
        assert len(os.listdir(tasks)) <= threads + 4, "libuv may have started its pool"
        shared.signal(run, "decision", {"ok": True})
        for c in clients:
            status, _, body = c.read()
            assert status == 200 and json.loads(body)["output"]["ok"] is True
    finally:
        for c in clients:
            c.close()
    until(lambda: waiting(shared) == (0, 0), "nobody waits any more")


def test_two_hundred_wait_for_their_own_runs(shared):
    def one(number):
        run = shared.start("approve", {"timeout_ms": 600000})
        with Raw(shared) as c:
            c.send(get(f"/v1/runs/{run}/result?wait=60s"))
            shared.signal(run, "decision", {"ok": number % 2 == 0})
            status, _, body = c.read()
            return status == 200 and json.loads(body)["output"]["ok"] is (number % 2 == 0)
    with concurrent.futures.ThreadPoolExecutor(50) as pool:
        assert all(pool.map(one, range(MANY)))


def test_who_goes_away_while_waiting_is_forgotten(shared):
    run = shared.start("approve", {"timeout_ms": 600000})
    files = f"/proc/{shared.server.pid}/fd"
    before = len(os.listdir(files))
    clients = [Raw(shared) for _ in range(MANY)]
    for c in clients:
        c.send(get(f"/v1/runs/{run}/result?wait=300s"))
    until(lambda: waiting(shared) == (MANY, MANY), "all wait")
    for index, c in enumerate(clients):
        if index % 2:
            c.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        c.close()
    until(lambda: waiting(shared) == (0, 0), "all are forgotten")
    until(lambda: len(os.listdir(files)) <= before + 1, "their descriptors are closed")
    shared.signal(run, "decision", {"ok": True})
    assert shared.result(run)["ok"] is True


def test_a_storm_of_connections_that_end_anywhere(shared):
    text = post("/v1/workflows/hello/runs", '{"input":{"name":"storm"},"key":"storm"}').encode()
    for cut in range(0, len(text) + 1):
        with Raw(shared) as c:
            c.send(text[:cut])
    until(lambda: shared.metrics()["aiki_http_connections"] <= 1, "all connections have ended")
    runs = [r for r in shared.get("/v1/runs?key=storm")["runs"]]
    assert len(runs) <= 1
    assert shared.get("/healthz") == {"status": "ok"}


def test_large_input_and_output_stay_what_they_are(shared):
    run = shared.start("approve", {"timeout_ms": 60000})
    text = "ä\\\"\n" * 200000
    shared.signal(run, "note", {"text": text})

    def note(question):
        events = shared.get(f"/v1/runs/{run}/history?limit=1000{question}")["events"]
        return next(e for e in events if e["kind"] == "signal" and e["name"] == "note")["payload"]["text"]

    assert note("&full=true") == text
    # Otherwise a part of it, which says how much is missing.
    shown, more = note("").split("... ")
    assert text.startswith(shown) and len((text[len(shown):]).encode()) == int(more.split()[0].replace(",", ""))
    shared.signal(run, "decision", {"ok": True})
    shared.result(run)


def test_stopping_answers_who_waits(stacks):
    s = stacks(plugins=["waits"])
    run = s.start("approve", {"timeout_ms": 600000})
    with Raw(s) as waiter, Raw(s) as idle:
        assert idle.ask(get("/healthz"))[0] == 200
        waiter.send(get(f"/v1/runs/{run}/result?wait=60s"))
        until(lambda: waiting(s)[0] == 1, "it waits")
        s.server.send(signal.SIGTERM)
        answer = waiter.read()
        assert (answer[0], code_of(answer)) == (503, "STOPPING")
        assert answer[1]["retry-after"] == "1"
        assert idle.read() is None
    assert s.server.popen.wait(harness.PATIENCE_S) == 0


def test_not_ready_without_redis(stacks):
    s = stacks(plugins=["hello"])

    def why():
        try:
            s.get("/readyz")
        except HttpError as e:
            return e
        return None

    until(lambda: why() is None, "it is ready")
    assert s.get("/readyz") == {"status": "ready"}
    s.redis.kill()
    e = until(why, "not ready")
    assert e.status == 503 and re.search("redis", e.body["error"]["message"], re.I)
    assert s.get("/healthz") == {"status": "ok"}
    assert s.start("hello", {"name": "later"})
