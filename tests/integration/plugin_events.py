"""The ways in which files come into a plugins directory: each is seen, and the same bytes again change nothing."""
import ctypes
import os
import re
import shutil
import signal
import subprocess

import pytest

from harness import ROOT, plugin, until

WAYS = {}


def way(fn):
    WAYS[fn.__name__] = fn
    return fn


@way
def rsync(source, target):
    """As rsync does: a hidden file beside it, its time and mode set, then renamed."""
    aside = target.with_name(f".{target.name}.Xb3kQz")
    shutil.copyfile(source, aside)
    aside.chmod(0o755)
    os.utime(aside, (1, 1))
    os.rename(aside, target)


@way
def rsync_in_place(source, target):
    """With --inplace: over what is there, cut at the end, the time set last."""
    with open(target, "r+b") as file:
        file.write(source.read_bytes())
        file.truncate()
    os.utime(target, (1, 1))


@way
def install(source, target):
    subprocess.run(["install", "-m", "755", source, target], check=True)


@way
def editor(source, target):
    """As vim saves: the old file becomes the backup, a new one is written in its place, the backup goes."""
    backup = target.with_name(target.name + "~")
    os.rename(target, backup)
    with open(source, "rb") as new, open(target, "wb") as file:
        for piece in iter(lambda: new.read(8192), b""):
            file.write(piece)
            file.flush()
        os.fsync(file.fileno())
    backup.unlink()


@way
def editor_by_rename(source, target):
    """As others save: written aside under another name, then over it, the old one kept as a hard link meanwhile."""
    aside, backup = target.with_name(f".{target.name}.swp"), target.with_name(f"{target.name}.bak")
    os.link(target, backup)
    shutil.copyfile(source, aside)
    os.rename(aside, target)
    backup.unlink()


@way
def linker(source, target):
    """As ld writes its output: unlinked, created, written in parts and out of order."""
    bytes_ = source.read_bytes()
    target.unlink()
    with open(target, "wb") as file:
        file.truncate(len(bytes_))
        half = len(bytes_) // 2
        file.seek(half)
        file.write(bytes_[half:])
        file.flush()
        file.seek(0)
        file.write(bytes_[:half])
    target.chmod(0o755)


@way
def exchanged(source, target):
    """The two names exchange their files (RENAME_EXCHANGE), as some do who want to go back at once."""
    aside = target.with_name(".before")
    shutil.copyfile(source, aside)
    renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    here, exchange = -100, 2
    assert renameat2(here, os.fsencode(aside), here, os.fsencode(target), exchange) == 0, os.strerror(ctypes.get_errno())


@way
def dd(source, target):
    """In place, a block at a time, never cut short before."""
    subprocess.run(["dd", f"if={source}", f"of={target}", "bs=512", "status=none"], check=True)


@way
def truncated_and_written(source, target):
    """Two programs, one after the other: there is nothing in it for a while."""
    subprocess.run(["truncate", "-s", "0", target], check=True)
    with open(target, "ab") as file:
        file.write(source.read_bytes())


@way
def older(source, target):
    """As a backup is put back: with the time it had, older than what it takes the place of."""
    aside = target.with_name(".restored")
    shutil.copyfile(source, aside)
    os.utime(aside, (1000000, 1000000))
    os.rename(aside, target)


@way
def hard_link(source, target):
    """A second name of what is elsewhere, as build systems install it."""
    kept = target.parent.parent / f"linked-{len(list(target.parent.parent.glob('linked-*')))}.so"
    shutil.copyfile(source, kept)
    subprocess.run(["ln", "-f", kept, target], check=True)


@way
def link_made_anew(source, target):
    """ln -sfn: the link goes, and another is made."""
    kept = target.parent.parent / f"anew-{len(list(target.parent.parent.glob('anew-*')))}.so"
    shutil.copyfile(source, kept)
    subprocess.run(["ln", "-sfn", kept, target], check=True)


@way
def vim(source, target):
    """The real one, where there is one, writing as it does by default."""
    if shutil.which("vim") is None:
        pytest.skip("no vim")
    subprocess.run(["vim", "-u", "NONE", "-n", "-b", "-es", "-c", "set nofixeol", "-c", f"w! {target}", "-c", "q!", source],
                   check=True, stdin=subprocess.DEVNULL, env={**os.environ, "TERM": "dumb"})
    assert target.read_bytes() == source.read_bytes()


@way
def link_switched(source, target):
    """A link to the file, switched to another one."""
    kept = target.parent.parent / f"release-{len(list(target.parent.parent.glob('release-*')))}.so"
    shutil.copyfile(source, kept)
    aside = target.with_name(".link")
    aside.symlink_to(kept)
    os.rename(aside, target)


@way
def directory_swapped(source, target):
    """The directory itself makes way for another one."""
    fresh, old = target.parent.with_name("fresh"), target.parent.with_name("old")
    fresh.mkdir()
    shutil.copyfile(source, fresh / target.name)
    os.rename(target.parent, old)
    os.rename(fresh, target.parent)
    shutil.rmtree(old)


def another_build(folder, name="hello"):
    """The same source once more: a loader does not look at what follows an ELF file."""
    path = folder / "another.so"
    path.write_bytes(plugin(name).read_bytes() + b"\n")
    return path


def serving(s):
    return [p["build"] for p in s.get("/v1/plugins")["plugins"] if p["state"] == "serving"]


def served(s, count=1):
    """The builds that serve, once there are that many: none does while a session is lost."""
    return until(lambda: len(found := serving(s)) == count and found, f"{count} serve")


def greets(s):
    assert s.result(s.start("hello", {"name": "Ada"})) == {"greeting": "Hello, Ada!"}


def builds_taken_in(s):
    return len(re.findall(r"plugin hello\.so@\S+ serves", s.runtime.log.read_text()))


@pytest.mark.parametrize("name", WAYS)
def test_each_way_is_seen(stacks, tmp_path, name):
    s = stacks(plugins=["hello"])
    before, target = served(s), s.plugins / "hello.so"
    WAYS[name](another_build(tmp_path), target)
    until(lambda: serving(s) not in ([], before), "the new build serves")
    greets(s)
    children = until(lambda: len(s.runtime.children()) == 1 and s.runtime.children(), "the process of the older one has ended")
    after, taken_in = served(s), builds_taken_in(s)
    WAYS[name](another_build(tmp_path), target)
    s.drop("other", plugin("ledger"))
    both = served(s, 2)  # what came later serves, so the same bytes were looked at
    assert after[0] in both and builds_taken_in(s) == taken_in, "the same bytes are no new build"
    assert set(children) <= set(s.runtime.children()), "nor a new process"


def files(s):
    return {p["file"] for p in s.get("/v1/plugins")["plugins"] if p["state"] == "serving"}


def test_directories_are_looked_into(stacks, tmp_path):
    """One that is there at the start, one that is moved in with a file inside, one made by hand."""
    s = stacks(start=False, runtime_args=["--plugins-ignore", "old"])
    for folder in ("shop/eu", "old"):
        (s.plugins / folder).mkdir(parents=True)
        shutil.copyfile(plugin("hello"), s.plugins / folder / "hello.so")
    outside = s.directory / "outside"
    outside.mkdir()
    shutil.copyfile(plugin("waits"), outside / "waits.so")
    (s.plugins / "link").symlink_to(outside)
    s.start_redis()
    s.start_server()
    s.start_runtime(0)
    until(lambda: files(s) == {"shop/eu/hello.so"}, "what is in a directory serves")
    greets(s)
    aside = s.directory / "aside"
    aside.mkdir()
    shutil.copyfile(plugin("ledger"), aside / "ledger.so")
    os.rename(aside, s.plugins / "moved")
    until(lambda: files(s) == {"shop/eu/hello.so", "moved/ledger.so"}, "what was moved in serves")
    (s.plugins / "made").mkdir()
    shutil.copyfile(plugin("values"), s.plugins / "made/values.so")
    until(lambda: "made/values.so" in files(s), "what was copied into a new directory serves")
    before = served(s, 3)
    WAYS["rsync"](another_build(tmp_path), s.plugins / "shop/eu/hello.so")
    until(lambda: len(serving(s)) == 3 and serving(s) != before, "a new build serves")
    greets(s)
    assert files(s) == {"shop/eu/hello.so", "moved/ledger.so", "made/values.so"}
    assert "shop/eu/hello.so" in s.aiki("plugins", "show", "shop/eu/hello.so").stdout
    assert s.get("/v1/plugins/shop%2Feu%2Fhello.so")["builds"][0]["file"] == "shop/eu/hello.so"


def test_a_directory_that_is_renamed_or_removed_takes_its_plugins_along(stacks):
    s = stacks(plugins=["ledger"])
    (s.plugins / "shop").mkdir()
    shutil.copyfile(plugin("hello"), s.plugins / "shop/hello.so")
    until(lambda: files(s) == {"ledger.so", "shop/hello.so"}, "it serves")
    os.rename(s.plugins / "shop", s.plugins / "store")
    until(lambda: files(s) == {"ledger.so", "store/hello.so"}, "it serves by its new name")
    greets(s)
    shutil.rmtree(s.plugins / "store")
    until(lambda: files(s) == {"ledger.so"}, "it went with its directory")


def test_a_build_out_of_a_directory_is_kept_for_its_runs(stacks, tmp_path):
    """Its file and its runtime are gone, and a run that it executed is open."""
    s = stacks()
    (s.plugins / "shop").mkdir()
    shutil.copyfile(plugin("waits"), s.plugins / "shop/100%.so")
    until(lambda: files(s) == {"shop/100%.so"}, "it serves")
    run = s.start("approve", {"timeout_ms": 600000})
    until(lambda: s.state(run) == "awaiting_signal", "the run waits")
    shutil.rmtree(s.plugins / "shop")
    until(lambda: not files(s), "it serves no more")
    s.runtime.kill()
    assert [path.name for path in (s.directory / "state0/kept").rglob("*.so")] == ["shop%2F100%25.so"]
    s.start_runtime(0)
    until(lambda: {p["file"] for p in s.get("/v1/plugins")["plugins"] if p["state"] == "kept"} == {"shop/100%.so"},
          "the new process has it, by the same name")
    (s.plugins / "shop").mkdir()
    shutil.copyfile(another_build(tmp_path, "waits"), s.plugins / "shop/100%.so")
    until(lambda: files(s) == {"shop/100%.so"}, "a newer build serves, to which the run moves")
    s.signal(run, "decision", {"ok": True})
    assert s.result(run)["ok"] is True


def test_the_real_linker(stacks, tmp_path):
    s = stacks(plugins=["hello"])
    before = served(s)
    subprocess.run(["cc", "-shared", "-fPIC", "-fvisibility=hidden", f"-I{ROOT}/abi/include", "-DANOTHER",
                    ROOT / "plugins/hello/hello.c", "-o", s.plugins / "hello.so"], check=True)
    until(lambda: serving(s) not in ([], before), "the new build serves")
    greets(s)


def test_more_events_than_the_kernel_keeps(stacks, tmp_path):
    """The event of the file is among those that are lost."""
    s = stacks(plugins=["hello"])
    before = served(s)
    kept = int(open("/proc/sys/fs/inotify/max_queued_events").read())
    s.runtime.send(signal.SIGSTOP)
    try:
        for i in range(kept // 2 + 1):  # created and gone: two events at least
            path = s.plugins / f".flood{i}"
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT))
            path.unlink()
        os.rename(shutil.copyfile(another_build(tmp_path), s.plugins / ".aside"), s.plugins / "hello.so")
    finally:
        s.runtime.send(signal.SIGCONT)
    until(lambda: serving(s) not in ([], before), "the new build serves")
    greets(s)


def test_a_change_without_any_event_is_found_in_the_end(stacks, tmp_path):
    """Written by another name in another directory, which nobody watches: WATCH_RESCAN_MS is 30 s."""
    s = stacks(plugins=["hello"])
    before = served(s)
    elsewhere = s.directory / "elsewhere.so"
    os.link(s.plugins / "hello.so", elsewhere)
    with open(elsewhere, "ab") as file:
        file.write(b"\n")
    until(lambda: serving(s) not in ([], before), "the new build serves", patience_s=90)
    greets(s)
