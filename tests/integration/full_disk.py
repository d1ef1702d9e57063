"""The disk of the server is full: who asks is told to come again, nothing is half done, and all goes on by itself
once there is room."""
import resource
import signal

import pytest

from harness import HttpError, plugin, until


def set_full(s, full):
    """To a server that may write no further a disk is full; log lines are lost as well."""
    hard = resource.prlimit(s.server.pid, resource.RLIMIT_FSIZE)[1]
    resource.prlimit(s.server.pid, resource.RLIMIT_FSIZE, (1 if full else hard, hard))


def shown(s, file, runtime):
    return [p for p in s.get("/v1/plugins")["plugins"] if p["file"] == file and p["worker"] == runtime]


def serves(s, file, runtime="runtime0"):
    return any(not p.get("error") and p["state"] == "serving" for p in shown(s, file, runtime))


def is_refused(s, file, runtime="runtime0"):
    return any((p.get("error") or {}).get("code") == "STORE_FULL" for p in shown(s, file, runtime))


def look_again(folder):
    """What comes into the directory is a reason to look at all of it."""
    (folder / "another").mkdir()


def test_a_start_and_a_build_come_again(stacks):
    s = stacks(plugins=["hello"])
    set_full(s, True)
    with pytest.raises(HttpError) as e:
        s.start("hello", {"name": "early"})
    assert (e.value.status, e.value.code) == (503, "STORE_FULL")
    s.drop("waits")
    until(lambda: is_refused(s, "waits.so"), "the build is refused with the reason")
    assert serves(s, "hello.so") and not serves(s, "waits.so")
    set_full(s, False)
    look_again(s.plugins)
    until(lambda: serves(s, "waits.so") and not is_refused(s, "waits.so"), "it serves, and nobody has touched the file")
    assert s.result(s.start("hello", {"name": "late"}))
    assert [r["workflow"] for r in s.get("/v1/runs?limit=10")["runs"]] == ["hello"]


def test_what_served_before_comes_again(stacks):
    """Two hosts with two builds of a plugin: a session that is lost has its build put on record again."""
    s = stacks(plugins=["hello"], lease_ms=2000)
    other = s.directory / "other"
    other.mkdir()
    (other / "hello.so").write_bytes(plugin("hello").read_bytes() + b"x")
    s.start_runtime(1, args=("--plugins", other))
    until(lambda: serves(s, "hello.so", "runtime1"), "the other build serves")
    set_full(s, True)
    s.runtime.send(signal.SIGSTOP)
    until(lambda: not shown(s, "hello.so", "runtime0"), "its lease is over")
    s.runtime.send(signal.SIGCONT)
    until(lambda: is_refused(s, "hello.so"), "it is told so")
    assert not serves(s, "hello.so")
    set_full(s, False)
    look_again(s.plugins)
    until(lambda: serves(s, "hello.so") and not is_refused(s, "hello.so"), "it serves again")
    s.runtimes[1].stop()
    assert s.result(s.start("hello", {"name": "late"}))
