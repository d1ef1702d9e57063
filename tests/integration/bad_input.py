"""Bad input of every kind: a coded answer, nothing changes, nothing dies."""
import json
import os
import random
import socket
import struct

import pytest

from harness import PATIENCE_S, HttpError, plugin, until


def count(s):
    return len(s.get("/v1/runs?limit=1000")["runs"])


@pytest.mark.parametrize("raw,status", [
    (b"{", 400), (b"[1,2", 400), (b"\xff\xfe", 400), (b'{"input": 1e999}', 400),
    (b'{"input":' + b"[" * 5000 + b"]" * 5000 + b"}", 400), (b'"text"', 400),
    (b'{"input":{"name":5}}', 422), (b'{"input":{}}', 422), (b'{"input":{"name":""}}', 422),
])
def test_bad_start_bodies(shared, raw, status):
    before = count(shared)
    with pytest.raises(HttpError) as e:
        shared.request("POST", "/v1/workflows/hello/runs", raw=raw)
    assert e.value.status == status
    assert e.value.code, e.value.body
    assert count(shared) == before


def test_schema_error_names_path_rule_and_value(shared):
    with pytest.raises(HttpError) as e:
        shared.start("process-order", {"order_id": "o", "customer": "c", "email": "e@x",
                                       "items": [{"sku": "a", "quantity": -3, "price_cents": 5}]})
    message = e.value.body["error"]["message"]
    assert "items[0].quantity" in message and "-3" in message, message


@pytest.mark.parametrize("method,path,status", [
    ("POST", "/v1/workflows/nobody/runs", 404), ("GET", "/v1/runs/zzz", 400),
    ("GET", "/v1/runs/01ARZ3NDEKTSV4RRFFQ69G5FAV", 404), ("GET", "/nowhere", 404),
    ("DELETE", "/v1/runs", 405), ("GET", "/v1/workflows/nobody", 404),
])
def test_unknown_things(shared, method, path, status):
    with pytest.raises(HttpError) as e:
        shared.request(method, path, {"input": {}} if method == "POST" else None)
    assert e.value.status == status
    assert e.value.code


def test_oversized_payload_names_the_limit(shared):
    before = count(shared)
    with pytest.raises((HttpError, OSError)) as e:
        shared.start("hello", {"name": "x" * (5 * 1024 * 1024)})
    if isinstance(e.value, HttpError):
        assert e.value.status == 413
    assert count(shared) == before


@pytest.fixture(scope="module")
def shared():
    import harness
    s = harness.Stack(plugins=["hello", "order-processing"])
    yield s
    s.close()


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def frame(kind, payload, correlation=1):
    tail = struct.pack("<HHI", kind, 0, correlation) + payload
    return struct.pack("<II", len(payload), crc32c(tail)) + tail


def rpc(s):
    host, port = s.rpc.rsplit(":", 1)
    c = socket.create_connection((host, int(port)), timeout=PATIENCE_S)
    return c


HELLO = bytes([0x99]) + b"\xa4aiki" + b"\x01\x00\x01" + b"\xa4test" + b"\xa0\xa0\x00\x00"


def test_damaged_and_hostile_frames_on_the_rpc_port(shared):
    """Random bytes, lying sizes, wrong checksums, deep nesting, every type with junk."""
    random.seed(7)
    payloads = [os.urandom(64), b"\xdd\x10\x00\x00\x00", b"\xdf\x7f\xff\xff\xff", b"\x91" * 3000 + b"\xc0",
                b"\xc1", b"", b"\x99" + b"\xc6\xff\xff\xff\xff"]
    for attempt in range(150):
        if attempt % 3 == 0:
            data = os.urandom(random.randrange(1, 200))
        else:
            data = frame(1, HELLO)
            for _ in range(5):
                data += frame(random.randrange(0, 70), random.choice(payloads))
        if attempt % 3 == 2:
            good = frame(1, HELLO)
            data += good[:random.randrange(1, len(good))]
        with rpc(shared) as c:
            c.sendall(data)  # all at once: who is refused may not send any more
    assert shared.server.alive()
    assert shared.result(shared.start("hello", {"name": "still"}))


def test_junk_in_the_ticket_stream(shared):
    key = until(lambda: next((k for k in shared.redis_command("KEYS", "aiki:*") if ":hello:" in k), None), "there is a stream")
    for junk in ("", "x", "\xdd\x10", "\x91" * 200, "a" * 70000):
        shared.redis_command("XADD", key, "*", "t", junk)
    shared.redis_command("XADD", key, "*", "other", "field")
    assert shared.result(shared.start("hello", {"name": "after junk"}))
    until(lambda: shared.redis_command("XLEN", key) == 0, "junk entries are removed")
    assert shared.runtime.alive()


def test_files_that_are_not_plugins_are_refused_by_name(stacks):
    s = stacks(plugins=["hello"])
    good = plugin("hello").read_bytes()
    files = {"text": b"hello\n", "empty": b"", "cut": good[:len(good) // 2], "head": good[:100],
             "zeros": good[:2000] + bytes(len(good) - 2000)}
    for name, data in files.items():
        aside = s.plugins / f".{name}"
        aside.write_bytes(data)
        aside.rename(s.plugins / f"{name}.so")
    s.drop("wrong-abi")
    names = {*files, "wrong-abi"}

    def refused():
        shown = s.get("/v1/plugins")["plugins"]
        return {os.path.basename(p["file"])[:-3]: p["error"] for p in shown if p.get("error")}

    until(lambda: names <= set(refused()), "all are refused")
    for name, error in refused().items():
        assert error["code"] and error["message"], (name, error)
    assert refused()["wrong-abi"]["code"] == "ABI_MAJOR"
    assert s.result(s.start("hello", {"name": "still"}))
    check = s.aiki("plugins", "check", s.plugins / "text.so", "--json", check=False)
    assert check.returncode == 1 and json.loads(check.stdout)["error"]["code"], check


def test_a_crashing_plugin_is_replaced_and_hurts_nobody(stacks):
    s = stacks(plugins=["hello", "crash"])
    bad = s.start("crash", {"how": "segv", "times": 2, "path": str(s.directory / "crashes")})
    for i in range(20):
        assert s.result(s.start("hello", {"name": str(i)}))
    assert s.result(bad)
    assert s.runtime.alive()
