"""The ways in which files come into a plugins directory: each is seen, and the same bytes again change nothing."""
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


def another_build(folder):
    """The same source once more: a loader does not look at what follows an ELF file."""
    path = folder / "another.so"
    path.write_bytes(plugin("hello").read_bytes() + b"\n")
    return path


def serving(s):
    return [p["build"] for p in s.get("/v1/plugins")["plugins"] if p["state"] == "serving"]


def greets(s):
    assert s.result(s.start("hello", {"name": "Ada"})) == {"greeting": "Hello, Ada!"}


def builds_taken_in(s):
    return len(re.findall(r"plugin hello\.so@\S+ serves", s.runtime.log.read_text()))


@pytest.mark.parametrize("name", WAYS)
def test_each_way_is_seen(stacks, tmp_path, name):
    s = stacks(plugins=["hello"])
    before, target = serving(s), s.plugins / "hello.so"
    WAYS[name](another_build(tmp_path), target)
    until(lambda: serving(s) not in ([], before), "the new build serves")
    greets(s)
    after, taken_in, children = serving(s), builds_taken_in(s), sorted(s.runtime.children())
    WAYS[name](another_build(tmp_path), target)
    s.drop("other", plugin("ledger"))
    until(lambda: len(serving(s)) == 2, "what came later serves, so the same bytes were looked at")
    assert after[0] in serving(s) and builds_taken_in(s) == taken_in, "the same bytes are no new build"
    assert set(children) <= set(s.runtime.children()), "nor a new process"


def test_the_real_linker(stacks, tmp_path):
    s = stacks(plugins=["hello"])
    before = serving(s)
    subprocess.run(["cc", "-shared", "-fPIC", "-fvisibility=hidden", f"-I{ROOT}/abi/include", "-DANOTHER",
                    ROOT / "plugins/hello/hello.c", "-o", s.plugins / "hello.so"], check=True)
    until(lambda: serving(s) not in ([], before), "the new build serves")
    greets(s)


def test_more_events_than_the_kernel_keeps(stacks, tmp_path):
    """The event of the file is among those that are lost."""
    s = stacks(plugins=["hello"])
    before = serving(s)
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
    before = serving(s)
    elsewhere = s.directory / "elsewhere.so"
    os.link(s.plugins / "hello.so", elsewhere)
    with open(elsewhere, "ab") as file:
        file.write(b"\n")
    until(lambda: serving(s) not in ([], before), "the new build serves", patience_s=90)
    greets(s)
