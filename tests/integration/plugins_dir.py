"""The watched directory: whatever way a file gets there, what fits serves and what does not is named."""
import os
import subprocess
import time

import chain
from harness import Ledger, at_best, in_time, plugin, until


def plugins(s):
    return s.get("/v1/plugins")["plugins"]


def build(s, file):
    """Build that serves out of this file, or None."""
    return next((p["build"] for p in plugins(s) if p["file"] == file and not p.get("error")), None)


def refusal(s, file):
    return next((p["error"] for p in plugins(s) if p["file"] == file and p.get("error")), None)


def serves(s, file, before=None):
    return until(lambda: build(s, file) not in (None, before) and build(s, file),
                 f"{file} serves{' a new build' if before else ''}")


def is_refused(s, file, code):
    error = until(lambda: (refusal(s, file) or {}).get("code") == code and refusal(s, file),
                  f"{file} is refused with {code}")
    assert len(error["message"]) > 10, error
    return error


def install(s, file, data):
    """The way an installer does it."""
    aside = s.plugins / f".{file}"
    aside.write_bytes(data)
    aside.rename(s.plugins / file)


def other_build(name, salt=b"x"):
    """The same plugin in other bytes: the loader does not look behind the section headers."""
    return plugin(name).read_bytes() + salt


def compiled(s, name, source):
    """Bytes of a shared object made of this C source."""
    path, out = s.directory / f"{name}.c", s.directory / f"{name}.bin"
    path.write_text(source)
    subprocess.run(["cc", "-shared", "-fPIC", "-o", out, path], check=True)
    return out.read_bytes()


def start_ledger(s, steps, task_ms, name="ledger.txt", gate=""):
    path = s.directory / name
    return s.start("ledger", {"steps": steps, "task_ms": task_ms, "path": str(path), "width": 1, "gate": str(gate)}), Ledger(path)


def test_a_file_that_grows_slowly_is_taken_when_it_is_whole(stacks):
    s = stacks()
    data = plugin("hello").read_bytes()
    with open(s.plugins / "hello.so", "wb", buffering=0) as f:
        f.write(data[:len(data) // 2])
        s.drop("ledger")
        serves(s, "ledger.so")
        assert refusal(s, "hello.so") is None, "looked at while it was being written"
        f.write(data[len(data) // 2:])
    serves(s, "hello.so")
    assert s.result(s.start("hello", {"name": "slow"}))


def test_copied_over_in_place_the_old_build_serves_until_the_new_one_does(stacks):
    s = stacks(plugins=["hello"])
    first = build(s, "hello.so")
    with open(s.plugins / "hello.so", "wb", buffering=0) as f:  # truncates what is served
        assert s.result(s.start("hello", {"name": "meanwhile"}))
        f.write(other_build("hello"))
    serves(s, "hello.so", before=first)
    assert s.result(s.start("hello", {"name": "after"}))


def test_refused_files_leave_the_build_before_them_serving(stacks):
    s = stacks(plugins=["hello"])
    good = plugin("hello").read_bytes()
    first = build(s, "hello.so")
    sparc = bytearray(good)
    sparc[18:20] = (2).to_bytes(2, "little")
    for data, code in ((b"hello\n", "NOT_ELF"), (b"", "NOT_ELF"), (good[:len(good) // 2], "TRUNCATED"),
                       (good[:-1], "TRUNCATED"), (bytes(sparc), "WRONG_MACHINE"),
                       (plugin("wrong-abi").read_bytes(), "ABI_MAJOR")):
        install(s, "hello.so", data)
        is_refused(s, "hello.so", code)
        assert build(s, "hello.so") == first
        assert s.result(s.start("hello", {"name": code}))
    listed = s.aiki("plugins", "list").stdout
    assert "ABI_MAJOR" in listed and "refused" in listed
    install(s, "hello.so", good)
    until(lambda: refusal(s, "hello.so") is None, "the refusal is taken back")
    assert build(s, "hello.so") == first


def test_a_plugin_that_dies_or_hangs_while_it_is_loaded_is_refused(stacks):
    s = stacks(plugins=["hello"])
    install(s, "dies.so", compiled(s, "dies", """
        #include <stdlib.h>
        __attribute__((constructor)) static void die(void) { abort(); }"""))
    install(s, "hangs.so", compiled(s, "hangs", """
        #include <unistd.h>
        __attribute__((constructor)) static void hang(void) { for (;;) pause(); }"""))
    assert "signal 6" in is_refused(s, "dies.so", "LOAD_CRASHED")["message"]
    assert s.result(s.start("hello", {"name": "meanwhile"}))
    is_refused(s, "hangs.so", "LOAD_TIMEOUT")
    install(s, "none.so", compiled(s, "none", "int nothing;"))
    until(lambda: refusal(s, "none.so"), "a library that is no plugin is refused")


def test_the_new_build_serves_while_the_old_one_finishes(stacks):
    s = stacks(plugins=["ledger"])
    gate = s.directory / "gate"
    old, old_ledger = start_ledger(s, 12, 0, "old.txt", gate)
    old_pid = until(old_ledger.lines, "the old run has begun")[0][3]
    before = build(s, "ledger.so")
    install(s, "ledger.so", other_build("ledger"))
    serves(s, "ledger.so", before)
    new, new_ledger = start_ledger(s, 1, 0, "new.txt")
    assert s.result(new) == {"steps": 1}
    assert s.state(old) != "completed", "the old run should still be going on"
    gate.touch()
    assert {pid for _, _, _, pid, _ in new_ledger.lines()} != {old_pid}
    assert s.result(old) == {"steps": 12}
    moved = {pid for _, _, _, pid, _ in old_ledger.lines()} - {old_pid}
    assert len(moved) <= s.taken_away(), "a resident run was moved"
    until(lambda: old_pid not in s.runtime.children(), "the old process has ended")
    chain.check(s.history(old))


def test_replaced_many_times_the_last_one_serves(stacks):
    s = stacks(plugins=["ledger"], runtime_args=["--keep-previous-ms", "0"])
    run, ledger = start_ledger(s, 20, 20)
    for i in range(15):
        install(s, "ledger.so", other_build("ledger", b"%d" % i))
    wanted = subprocess.run(["b2sum", "-l", "256", s.plugins / "ledger.so"], check=True,
                            capture_output=True, text=True).stdout.split()[0]
    until(lambda: build(s, "ledger.so") == wanted, "the last build serves")
    assert s.result(run) == {"steps": 20}
    assert sorted(step for _, step, _, _, _ in ledger.lines()) == list(range(20))
    until(lambda: len(s.runtime.children()) == 1, "one process is left")
    until(lambda: len(list((s.directory / "state0/cache").rglob("*.so"))) == 1,
          "only the copy that serves is left")


def test_a_refused_file_that_is_removed_is_no_longer_listed(stacks):
    s = stacks(plugins=["hello"])
    install(s, "text.so", b"text")
    is_refused(s, "text.so", "NOT_ELF")
    (s.plugins / "text.so").unlink()
    until(lambda: refusal(s, "text.so") is None, "the refusal goes with the file")


def test_rolled_back_by_putting_the_old_file_back(stacks):
    s = stacks(plugins=["hello"])
    old = plugin("hello").read_bytes()
    first = build(s, "hello.so")
    install(s, "hello.so", other_build("hello"))
    serves(s, "hello.so", before=first)
    install(s, "hello.so", old)
    until(lambda: build(s, "hello.so") == first, "the old build serves again")
    assert s.result(s.start("hello", {"name": "back"}))


def test_two_files_may_not_offer_the_same_workflow(stacks):
    s = stacks(plugins=["hello"])
    install(s, "second.so", other_build("hello"))
    error = is_refused(s, "second.so", "WORKFLOW_TAKEN")
    assert "hello.so" in error["message"]
    (s.plugins / "hello.so").unlink()
    serves(s, "second.so")
    assert s.result(s.start("hello", {"name": "second"}))


def test_removed_and_back_resident_runs_finish_and_new_ones_wait(stacks):
    s = stacks(plugins=["ledger"])
    gate = s.directory / "gate"
    resident, ledger = start_ledger(s, 15, 0, gate=gate)
    until(ledger.lines, "the run has begun")
    (s.plugins / "ledger.so").unlink()
    until(lambda: build(s, "ledger.so") is None, "ledger is no longer served")
    waiting, _ = start_ledger(s, 2, 0, "waiting.txt")
    gate.touch()
    until(lambda: s.state(resident) in ("completed", "stalled"), "the resident run finishes")
    # Unless it was taken away: then the build is kept for it, and serves what else is open; or when nothing of the run
    # was on record it waits like the other.
    assert (s.state(resident) == "completed" and s.state(waiting) in ("queued", "stalled")) or s.taken_away()
    s.drop("ledger")
    assert s.result(resident) == {"steps": 15} and s.result(waiting) == {"steps": 2}


def test_a_directory_of_links_is_switched_like_a_release(stacks):
    s = stacks()
    for release in ("one", "two"):
        (s.directory / release).mkdir()
    (s.directory / "one" / "hello.so").write_bytes(plugin("hello").read_bytes())
    (s.directory / "two" / "hello.so").write_bytes(other_build("hello"))
    os.symlink(s.directory / "one" / "hello.so", s.plugins / "hello.so")
    first = serves(s, "hello.so")
    os.symlink(s.directory / "two" / "hello.so", s.plugins / ".next")
    os.rename(s.plugins / ".next", s.plugins / "hello.so")
    serves(s, "hello.so", before=first)


def test_a_dropped_plugin_serves_soon(stacks):
    s = stacks()
    took = []

    def serves_soon():
        before = build(s, "hello.so")
        began = time.monotonic()
        install(s, "hello.so", other_build("hello", b"%d" % len(took)))
        serves(s, "hello.so", before)
        took.append(time.monotonic() - began)
        in_time(min(took) < 1, f"{min(took):.3f} s from the drop to serving")
    at_best(serves_soon)


def test_a_replaced_process_that_does_not_end_is_killed_and_its_runs_go_on(stacks):
    s = stacks(plugins=["crash"], runtime_args=["--drain-ms", "100"])
    marks = s.directory / "marks"
    run = s.start("crash", {"how": "loop", "times": 1, "path": str(marks), "where": "workflow"})
    until(marks.exists, "the workflow spins")
    pid, = s.runtime.children()
    before = build(s, "crash.so")
    install(s, "crash.so", other_build("crash"))
    serves(s, "crash.so", before)
    assert s.result(run) == {"crashes": 1}
    until(lambda: pid not in s.runtime.children(), "the old process has ended")
    assert "does not end; killed" in s.runtime.log.read_text()
