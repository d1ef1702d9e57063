"""What is in a plugins directory and is no plugin that can be read: named with its code wherever people look, and nothing
that serves is lost by it. So are a cache, a state directory and a plugins directory that go while a runtime is there."""
import json
import os
import re
import resource
import shutil
import socket
import subprocess

import pytest

from harness import RUNTIME, plugin, until


def plugins(s):
    return s.get("/v1/plugins")["plugins"]


def refusals(s):
    return {p["file"]: p["error"]["code"] for p in plugins(s) if p.get("error")}


def serving(s, file="hello.so"):
    return next((p["build"] for p in plugins(s) if p["file"] == file and p["state"] == "serving"), None)


def serves(s, file="hello.so", before=None):
    return until(lambda: serving(s, file) not in (None, before) and serving(s, file), f"{file} serves")


def greets(s):
    assert s.result(s.start("hello", {"name": "Ada"})) == {"greeting": "Hello, Ada!"}


def another_build(s, salt=b"x", file="hello"):
    aside = s.plugins / f".{file}"
    aside.write_bytes(plugin(file).read_bytes() + salt)
    aside.rename(s.plugins / f"{file}.so")


def check(s, path):
    done = subprocess.run([RUNTIME, "--check", path, "--json", "--state", s.directory / "check"], capture_output=True, timeout=60)
    return done.returncode, json.loads(done.stdout.decode("ascii"))


def listen(path):
    with socket.socket(socket.AF_UNIX) as s:
        s.bind(str(path))


LONG = "n" * 200
HOSTILE = b"a\n\x1b[2Jb\xc2\x9b.so"  # a line of its own in a log, and what clears a terminal
# name: (as it is shown, code, how it is made)
ODD = {
    b"dangling.so": ("dangling.so", "BROKEN_LINK", lambda path: os.symlink("nowhere/hello.so", path)),
    b"circle.so": ("circle.so", "BROKEN_LINK", lambda path: os.symlink("circle.so", path)),
    b"behind.so": ("behind.so", "BROKEN_LINK", lambda path: os.symlink("circle.so/hello.so", path)),
    b"folder.so": ("folder.so", "NOT_A_FILE", os.mkdir),
    b"to-a-folder.so": ("to-a-folder.so", "NOT_A_FILE", lambda path: os.symlink("/usr", path)),
    b"fifo.so": ("fifo.so", "NOT_A_FILE", os.mkfifo),
    b"socket.so": ("socket.so", "NOT_A_FILE", lambda path: listen(path.decode())),
    b"device.so": ("device.so", "NOT_A_FILE", lambda path: os.symlink("/dev/null", path)),
    b"empty.so": ("empty.so", "NOT_ELF", lambda path: open(path, "wb").close()),
    HOSTILE: ("a\\x0a\\x1b[2Jb\\xc2\\x9b.so", "BAD_FILE_NAME", lambda path: shutil.copyfile(plugin("hello"), path)),
    b"\xff\xfe.so": ("\\xff\\xfe.so", "BAD_FILE_NAME", lambda path: shutil.copyfile(plugin("hello"), path)),
}
SILENT = (".hidden.so", "hello.so~", "4913", ".hello.so.Xb3kQz", "sedX8k2", "#hello.so#", "readme", "old-one.so")


def make_odd(s):
    folder = os.fsencode(s.plugins)
    for name, (_, _, make) in ODD.items():
        make(folder + b"/" + name)
    for name in SILENT:
        (s.plugins / name).write_bytes(b"no plugin")
    (s.plugins / LONG).mkdir()
    (s.plugins / LONG / f"{LONG}.so").write_bytes(b"no plugin")
    (s.plugins / "1/2/3/4/5").mkdir(parents=True)


def expected(s):
    codes = {shown: code for shown, code, _ in ODD.values()}
    long = next((name for name in refusals(s) if name.startswith(f"{LONG}/") and name.endswith("...")), "...")
    return {**codes, long: "BAD_FILE_NAME", "1/2/3/4/5/": "FOLDER_LIMIT"}


def all_listed(s):
    listed = s.aiki("plugins", "list").stdout
    return listed if all(name in listed for name, _, _ in ODD.values()) else None


@pytest.mark.parametrize("at_start", [True, False])
def test_what_is_no_plugin_is_named_wherever_people_look(stacks, at_start):
    s = stacks(start=False, runtime_args=["--plugins-ignore", "old-*"])
    s.drop("hello")
    s.start_redis()
    s.start_server()
    if at_start:
        make_odd(s)
    s.start_runtime(0)
    if not at_start:
        make_odd(s)
    until(lambda: refusals(s) == expected(s), "all are named")
    greets(s)
    listed = until(lambda: all_listed(s), "the command names all of them")
    assert "\x1b" not in listed and "\x9b" not in listed
    assert "$bin" not in s.aiki("plugins", "list", "--json").stdout
    log = s.runtime.log.read_text()  # which is UTF-8
    assert "\x1b" not in log and "\nb" not in log
    for name, code in expected(s).items():
        assert re.search(rf"plugin {re.escape(name)}( \(a directory\))? refused: {code}: ", log), name
    assert not [name for name in SILENT if f"plugin {name} refused" in log], "what is ignored on purpose is silent"
    for name, (shown, _, _) in ODD.items():
        status, document = check(s, os.fsencode(s.plugins) + b"/" + name)
        error = next(p["error"] for p in plugins(s) if p["file"] == shown)
        assert (status, document["error"]) == (1, error), "the same verdict offline"
    for path in s.plugins.iterdir():
        if path.name != "hello.so":
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    until(lambda: refusals(s) == {}, "what is gone is not listed any more")
    greets(s)


def test_a_link_serves_when_its_file_comes_and_serves_on_when_that_goes(stacks):
    s = stacks()
    release = s.directory / "release"
    (s.plugins / "hello.so").symlink_to(release / "hello.so")
    until(lambda: refusals(s) == {"hello.so": "BROKEN_LINK"}, "it leads nowhere")
    release.mkdir()
    shutil.copyfile(plugin("hello"), release / "hello.so")
    before = serves(s)
    until(lambda: refusals(s) == {}, "the refusal is taken back")
    shutil.rmtree(release)
    until(lambda: refusals(s) == {"hello.so": "BROKEN_LINK"}, "it leads nowhere again")
    assert serving(s) == before
    greets(s)
    (s.plugins / "hello.so").unlink()
    until(lambda: plugins(s) == [], "the link itself is gone: that is a removal")


def test_more_plugins_than_there_may_be(stacks):
    """5,000 at once: as many as WATCH_NAMES_MAX are looked at, TROUBLES_MAX others are named."""
    s = stacks(plugins=["hello"])
    for i in range(5000):
        os.symlink("/dev/null", s.plugins / f"{i}.so")
    until(lambda: sorted(refusals(s).values()).count("NOT_A_FILE") == 1023 and
          sorted(refusals(s).values()).count("TOO_MANY_FILES") == 64, "as many as may be are looked at", patience_s=180)
    greets(s)
    for i in range(5000):
        (s.plugins / f"{i}.so").unlink()
    until(lambda: refusals(s) == {}, "all are gone", patience_s=180)
    s.drop("waits")
    serves(s, "waits.so")


# ---- directories that go -------------------------------------------------------------------------

def test_a_plugins_directory_that_goes_and_comes_back(stacks):
    s = stacks(plugins=["hello"])
    before, aside = serves(s), s.directory / "aside"
    os.rename(s.plugins, aside)
    until(lambda: refusals(s) == {"./": "PLUGINS_DIR"}, "it is told")
    assert serving(s) == before
    greets(s)
    os.rename(aside, s.plugins)
    until(lambda: refusals(s) == {}, "it is back")
    another_build(s)
    serves(s, before=before)
    greets(s)
    before = serving(s)
    shutil.rmtree(s.plugins)
    until(lambda: refusals(s) == {"./": "PLUGINS_DIR"}, "it is removed with its plugins")
    assert serving(s) == before, "with it they are not known to be gone"
    s.plugins.mkdir()
    another_build(s, b"later")
    serves(s, before=before)
    until(lambda: refusals(s) == {}, "it is back")
    greets(s)


def children(s):
    return until(lambda: s.runtime.children(), "it has a process")


@pytest.mark.parametrize("what", ["cache", "cache/*", "cache/*/*", ""])
def test_a_cache_that_is_removed_is_made_again(stacks, what):
    """By somebody who makes room. What serves has processes that die, and other builds come."""
    s = stacks(plugins=["hello", "waits"], child_idle="always")
    run = s.start("approve", {"timeout_ms": 600000})
    until(lambda: s.state(run) == "awaiting_signal", "a run is open")
    before = serves(s)
    state = s.directory / "state0"
    for path in list(state.glob(what)) if what else [state]:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    for pid in children(s):
        os.kill(pid, 9)
    greets(s)
    another_build(s)
    serves(s, before=before)
    greets(s)
    another_build(s, b"y", "waits")
    serves(s, "waits.so")
    s.signal(run, "decision", {"ok": True})
    assert s.result(run)["ok"] is True
    assert refusals(s) == {}
    log = s.runtime.log.read_text()
    assert "is there again" in log
    assert s.runtime.stop() == 0
    s.start_runtime(0)
    greets(s)


def set_full(s, full):
    """To a process that may write no further a disk is full; log lines are lost as well."""
    hard = resource.prlimit(s.runtime.pid, resource.RLIMIT_FSIZE)[1]
    resource.prlimit(s.runtime.pid, resource.RLIMIT_FSIZE, (1 if full else hard, hard))


def test_no_room_for_a_copy(stacks):
    s = stacks(plugins=["hello"], child_idle="always")
    children(s)  # the next ones would have the limit, too
    before = serves(s)
    set_full(s, True)
    another_build(s)
    until(lambda: refusals(s) == {"hello.so": "CACHE_WRITE"}, "there is no room for its copy")
    error = next(p["error"] for p in plugins(s) if p.get("error"))
    assert "make room" in error["message"] and serving(s) == before
    greets(s)
    set_full(s, False)
    (s.plugins / "look-again").mkdir()
    serves(s, before=before)
    until(lambda: refusals(s) == {}, "nobody has touched the file")
    assert len(list((s.directory / "state0/cache").rglob("*.draft"))) == 0


def test_a_mode_that_others_may_write_to_while_it_serves(stacks):
    """It is said at once; what serves is its copy, which nobody else can write to."""
    s = stacks(plugins=["hello"], child_idle="always")
    before = serves(s)
    (s.plugins / "hello.so").chmod(0o666)
    until(lambda: refusals(s) == {"hello.so": "UNTRUSTED_MODE"}, "it is told")
    for pid in children(s):
        os.kill(pid, 9)
    greets(s)
    until(lambda: serving(s) == before, "it serves on")
    (s.plugins / "hello.so").chmod(0o644)
    until(lambda: refusals(s) == {}, "it is mended")
    until(lambda: serving(s) == before, "it serves on")
