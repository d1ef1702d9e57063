"""Hostile and broken plugins over one that serves: each refused by its name, the one before serves on.

All of the corpus goes through a real runtime. Random cuts and tails of zeros go through `plugins check` of
the same code, and some of them through the runtime too.
"""
import concurrent.futures
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
    "detect_leaks=0": ("ctor-exit-0", "ctor-ends-its-thread", "entry-exit"),
} if SANITIZED else {}

CUTS = 400
ROOM = ["--child-memory", "512"]  # as much as those take that take all there is

pytestmark = pytest.mark.xdist_group("corpus")  # one process compiles all of them


# A host with sanitizers in it loads what was built for one.
LOADS_HERE = ("sanitized",) if SANITIZED else ()


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hostile")
    files = {**hostile.compiled(folder), **hostile.changed(plugin("hello").read_bytes())}
    code, data = files["symbol-missing"]
    files["symbol-with-controls"] = code, data.replace(b"nobody_has_this", b"nob\n\x1b[2Jas_this")
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


def check(s, *arguments, switch=""):
    done = subprocess.run([RUNTIME, "--check", *arguments, "--json", "--state", s.directory / "check"],
                          capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL,
                          env={**os.environ, **environment(switch)})
    return done.returncode, json.loads(done.stdout)


def without_numbers(error):
    """Addresses and process ids differ each time."""
    return error["code"], re.sub(r"0x[0-9a-f]+|\d+", "N", error["message"])


def check_alone(s, name, put, switch):
    folder = s.directory / "offline" / name
    folder.mkdir(parents=True)
    put(folder / "hello.so")
    status, document = check(s, folder / "hello.so", *ROOM, switch=switch)
    return status, document["error"]


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
    s, good = stacks(plugins=["hello"], runtime_args=ROOM, env=environment(switch)), plugin("hello").read_bytes()
    before = entry(s, False)["build"]
    errors, wanted = {}, {name: (code, lambda path, data=data: path.write_bytes(data)) for name, (code, data) in made.items()
                          if code is not None and name not in LOADS_HERE and switch_of(name) == switch}
    wanted.update(hostile.special() if switch == "" else {})
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        offline = {name: pool.submit(check_alone, s, name, put, switch) for name, (_, put) in wanted.items()}
        for name, (code, put) in wanted.items():
            place(s, put)
            errors[name] = expect_refused(s, name, code, before)
            back_to_good(s, good)
    for name, error in errors.items():
        status, alone = offline[name].result()
        assert status == 1 and alone["code"].startswith(wanted[name][0]), f"{name}: the same verdict offline: {alone}"
        # How far a process came before it was ended is a matter of time, and so is what it said.
        assert alone["code"].startswith("LOAD_") or without_numbers(alone) == without_numbers(error), name
    assert s.result(s.start("hello", {"name": "still"})) == {"greeting": "Hello, still!"}
    for name, text in SAYS.items():
        assert switch_of(name) != switch or text in errors[name]["message"], errors[name]
    assert len(list((s.directory / "state0" / "cache").rglob("*.so"))) == 1, "copies of refused files are left"
    log = s.runtime.log.read_text()
    for name, error in errors.items():
        assert f"refused: {error['code']}" in log, name
    until(lambda: len(s.runtime.children()) == 1, "nothing is left but the process of the run")


def test_what_is_let_in_is_let_in_offline(served, made):
    path = served.directory / "hello.so"
    for name in ("destructor-segv", "table-larger", "needs-later", *LOADS_HERE):
        path.write_bytes(made[name][1])
        status, document = check(served, path)
        assert status == 0 and document["needs"] == ("none" if name == "needs-later" else None), name


def test_what_a_file_says_reaches_no_terminal(served, made):
    (served.directory / "controls.so").write_bytes(made["symbol-with-controls"][1])
    done = subprocess.run([RUNTIME, "--check", served.directory / "controls.so", "--state", served.directory / "check"],
                          capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and "undefined symbol: nob??[2Jas_this; link" in done.stdout, done


def test_while_it_is_loaded_it_has_no_more_than_when_it_serves(stacks, tmp_path):
    files = hostile.compiled(tmp_path, hostile.HUNGRY)
    few = ["--child-memory", "0,hello.so=128", "--child-threads", "0,hello.so=64", "--task-threads", "8"]
    s, good = stacks(plugins=["hello"], runtime_args=few), plugin("hello").read_bytes()
    before = entry(s, False)["build"]
    for name, (code, data) in files.items():
        place(s, lambda path, data=data: path.write_bytes(data))
        error = expect_refused(s, name, code, before)
        setting = "child-threads is 64" if "threads" in name else "child-memory is 128"
        assert setting in error["message"], error
        back_to_good(s, good)
        path = tmp_path / "hello.so"
        path.write_bytes(data)
        status, document = check(s, path, *few)
        assert (status, document["error"]["code"]) == (1, code), document
        status, document = check(s, path)
        assert status == 0, document
    assert s.result(s.start("hello", {"name": "still"})) == {"greeting": "Hello, still!"}


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
