"""Hostile and broken plugins over one that serves: each refused by its name, the one before serves on.

All of the corpus goes through a real runtime. Random cuts and tails of zeros go through `plugins check` of
the same code, and some of them through the runtime too.
"""
import json
import os
import random
import re
import subprocess

import hostile
import pytest
from harness import RUNTIME, SANITIZED, Stack, plugin, seed, until

# Where a sanitizer does something in the place of the file, for the files that it does it to: it answers SIGSEGV itself,
# so that they seem to exit; and it forks to look for leaks when they exit, which no plugin may while it is loaded.
SWITCHES = {
    "handle_segv=0": ("ctor-segv", "ctor-overflow", "init-null", "entry-segv", "entry-nowhere", "entry-is-data", "name-nowhere",
                      "name-at-the-edge", "workflows-nowhere", "retry-nowhere", "record-nowhere"),
    "detect_leaks=0": ("ctor-exit-0", "entry-exit"),
} if SANITIZED else {}

CUTS = 400

pytestmark = pytest.mark.xdist_group("corpus")  # one process compiles all of them


# A host with sanitizers in it loads what was built for one, and has no limit of memory for its probe: that
# takes all there is.
NOT_HERE = ("ctor-eats-memory", "sanitized") if SANITIZED else ()


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hostile")
    files = {**hostile.compiled(folder), **hostile.changed(plugin("hello").read_bytes())}
    assert len(files) + len(hostile.special()) > 120
    return files


def switch_of(name):
    return next((switch for switch, names in SWITCHES.items() if name in names), "")


def environment(switch):
    return {"ASAN_OPTIONS": switch} if switch else {}


@pytest.fixture(scope="module")
def served():
    s = Stack(plugins=["hello"])
    yield s
    s.close()


def entry(s, refused):
    return next((p for p in s.get("/v1/plugins")["plugins"]
                 if p["file"] == "hello.so" and bool(p.get("error")) == refused), None)


def place(s, put):
    """Over hello.so, as an installer does it."""
    aside, target = s.plugins / ".next", s.plugins / "hello.so"
    put(aside)
    if target.is_dir() and not target.is_symlink():
        target.rmdir()
    elif aside.is_dir() and not aside.is_symlink():
        target.unlink()
    os.rename(aside, target)


def back_to_good(s, good):
    place(s, lambda path: path.write_bytes(good))
    until(lambda: entry(s, True) is None, "the refusal is taken back")


def expect_refused(s, name, code, before):
    def refused():
        found = entry(s, True)
        return found and found["error"]
    error = until(refused, f"{name} is refused")
    assert error["code"].startswith(code), (name, error)
    assert len(error["message"]) > 20, (name, error)
    assert entry(s, False)["build"] == before, f"{name}: the build before it no longer serves"
    assert s.runtime.alive()
    return error


SAYS = {
    "ctor-abort": "no licence found",  # what it printed is part of the reason
    "ctor-segv": "its constructors ran",
    "entry-segv": "its entry function ran",
    "workflows-nowhere": "its tables were read",
    "library-missing": "libgone.so",
    "symbol-missing": "nobody_has_this",
}


@pytest.mark.parametrize("switch", ["", *SWITCHES])
def test_every_hostile_file_is_refused_by_name_and_the_build_before_it_serves(stacks, made, switch):
    s, good = stacks(plugins=["hello"], env=environment(switch)), plugin("hello").read_bytes()
    before = entry(s, False)["build"]
    errors = {}
    for name, (code, data) in made.items():
        if code is None or name in NOT_HERE or switch_of(name) != switch:
            continue
        place(s, lambda path, data=data: path.write_bytes(data))
        errors[name] = expect_refused(s, name, code, before)
        back_to_good(s, good)
    for name, (code, put) in hostile.special().items() if switch == "" else ():
        place(s, put)
        errors[name] = expect_refused(s, name, code, before)
        back_to_good(s, good)
    assert s.result(s.start("hello", {"name": "still"})) == {"greeting": "Hello, still!"}
    for name, text in SAYS.items():
        assert switch_of(name) != switch or text in errors[name]["message"], errors[name]
    assert len(list((s.directory / "state0" / "cache").rglob("*.so"))) == 1, "copies of refused files are left"
    log = s.runtime.log.read_text()
    for name, error in errors.items():
        assert f"refused: {error['code']}" in log, name
    until(lambda: len(s.runtime.children()) == 1, "nothing is left but the process of the run")


def check(s, *arguments, switch=""):
    done = subprocess.run([RUNTIME, "--check", *arguments, "--json", "--state", s.directory / "check"],
                          capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL,
                          env={**os.environ, **environment(switch)})
    return done.returncode, json.loads(done.stdout)


def test_check_gives_the_same_verdict_offline(served, made):
    path = served.directory / "hello.so"
    quick = [n for n, (c, _) in made.items() if c not in ("LOAD_TIMEOUT", None) and n not in NOT_HERE][::7]
    for name in quick:
        code, data = made[name]
        path.write_bytes(data)
        status, document = check(served, path, switch=switch_of(name))
        assert status == 1 and document["error"]["code"].startswith(code), (name, document)
    for name in ("destructor-segv", "table-larger", "needs-later"):
        path.write_bytes(made[name][1])
        status, document = check(served, path)
        assert status == 0 and document["needs"] == ("none" if name == "needs-later" else None), name


ELF_MACHINE_END = 20  # zeros from before here on: it says another class or machine, or none


def damaged(good, random_source):
    """Cuts and tails of zeros; a tail may be so short that it changes nothing that counts."""
    for _ in range(CUTS):
        yield "cut", good[:random_source.randrange(len(good))]
    for _ in range(CUTS):
        at = random_source.randrange(len(good) - 64)
        yield "tail", good[:at] + bytes(len(good) - at)


def test_random_cuts_and_tails_of_zeros(served):
    s, good = served, plugin("hello").read_bytes()
    before = entry(s, False)["build"]
    source = random.Random(seed())
    folder = s.directory / "damaged"
    folder.mkdir()
    files = list(damaged(good, source))
    for i, (_, data) in enumerate(files):
        (folder / f"{i}.so").write_bytes(data)
    for i in range(0, len(files), 40):
        place(s, lambda path, data=files[i][1]: path.write_bytes(data))
        expect_refused(s, f"{files[i][0]} {i}", "", before)
        back_to_good(s, good)
    later = s.start_runtime("damaged", wait=False, args=["--plugins", folder])
    later.await_ready()
    assert later.ready["plugins"] == 0 and later.ready["refused"] == len(files)
    codes = set(re.findall(r"refused: (\w+)", later.log.read_text()))
    headless = any(len(data.rstrip(b"\0")) < ELF_MACHINE_END for _, data in files)
    assert codes <= {"TRUNCATED", "NOT_ELF", "BAD_ELF", *(["WRONG_MACHINE"] if headless else [])}, codes
    assert later.stop() == 0
