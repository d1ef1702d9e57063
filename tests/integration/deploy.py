"""What runs it elsewhere: service units, read-only systems, ordinary users."""
import os
import pathlib
import re
import shutil
import socket
import subprocess
import tempfile

import harness
import pytest
from harness import AIKI, BUILD, ROOT, RUNTIME, SERVER, plugin, until

UNITS = ROOT / "tools/systemd"
NOBODY = 65534


def analyze(*words):
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd-analyze is not installed")
    return subprocess.run(["systemd-analyze", *map(str, words)], text=True, capture_output=True)


@pytest.mark.parametrize("unit,program", [("aiki-server.service", SERVER), ("aiki-runtime@.service", RUNTIME)])
def test_units_are_understood(tmp_path, unit, program):
    text = (UNITS / unit).read_text()
    assert f"/usr/local/bin/{program.name} " in text
    mine = tmp_path / unit.replace("@.", "@one.")
    mine.write_text(text.replace(f"/usr/local/bin/{program.name}", str(program)))
    done = analyze("verify", "--man=no", mine)
    ours = [line for line in done.stderr.splitlines() if "aiki" in line]
    assert not ours and done.returncode == 0, done.stderr


def allowed(unit):
    """System calls that the unit's filter lets through."""
    groups = re.findall(r"^SystemCallFilter=(.*)$", (UNITS / unit).read_text(), re.M)
    names, todo, seen = set(), [g for line in groups for g in line.split()], set()
    while todo:
        name = todo.pop()
        if not name.startswith("@"):
            names.add(name)
        elif name not in seen:
            seen.add(name)
            done = analyze("syscall-filter", name)
            assert done.returncode == 0, done.stderr
            todo += [line.strip() for line in done.stdout.splitlines()[1:]
                     if line.startswith("    ") and not line.strip().startswith("#")]
    return names


@pytest.mark.heavy
def test_units_allow_every_system_call_that_is_made(stacks, tmp_path, monkeypatch):
    filters = {"SERVER": allowed("aiki-server.service"), "RUNTIME": allowed("aiki-runtime@.service")}
    if not shutil.which("strace"):
        pytest.skip("strace is not installed")
    for name, program in (("SERVER", SERVER), ("RUNTIME", RUNTIME)):
        wrapper = tmp_path / name
        wrapper.write_text(f'#!/bin/sh\nexec strace -D -f -qq -o {tmp_path}/{name}.calls {program} "$@"\n')
        wrapper.chmod(0o755)
        monkeypatch.setattr(harness, name, wrapper)
    s = stacks(plugins=["hello", "flaky"])
    assert s.result(s.start("hello", {"name": "you"})) == {"greeting": "Hello, you!"}
    assert s.result(s.start("flaky", {"failures": 1, "policy": "fixed", "delay_ms": 1}))
    s.drop("waits")
    until(lambda: "plugin waits.so" in s.runtime.log.read_text(), "a plugin dropped in serves")
    assert s.runtime.stop() == 0 and s.server.stop() == 0
    for name, names in filters.items():
        calls = set(re.findall(r"^\d+ +(\w+)\(", (tmp_path / f"{name}.calls").read_text(), re.M))
        assert "execve" in calls and len(calls) > 30
        refused = sorted(calls - names)
        assert not refused, f"{name}: its unit forbids {refused}"


def test_the_service_manager_is_told(stacks):
    s = stacks(plugins=["hello"], start=False)
    path = s.directory / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(path))
        manager.settimeout(harness.PATIENCE_S)
        s.start_redis()
        s.start_server(env={"NOTIFY_SOCKET": str(path)})
        assert manager.recv(100) == b"READY=1"
        s.start_runtime(env={"NOTIFY_SOCKET": str(path)})
        assert manager.recv(100).startswith(b"READY=1\n")
        assert manager.recv(100) == b"STATUS=serving"
        assert s.runtime.stop() == 0
        assert manager.recv(100) == b"STOPPING=1"
        assert s.server.stop() == 0
        assert manager.recv(100) == b"STOPPING=1"


@pytest.fixture
def open_folder():
    """Reachable for other users, unlike pytest's."""
    path = pathlib.Path(tempfile.mkdtemp(prefix="aiki-test-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


READ_ONLY = """
set -e
mount --make-rprivate /
mount --bind {data} {data}
for at in $(awk '{{print $5}}' /proc/self/mountinfo); do
    case $at in {data}|/proc*|/dev/*) ;; *) mount -o remount,bind,ro "$at" 2>/dev/null || true ;; esac
done
mount -o remount,bind,rw {data}
exec setpriv --reuid={user} --regid={user} --clear-groups --no-new-privs --bounding-set=-all {bin}/aiki dev \
    --plugins {folder}/plugins --data {data} --listen 127.0.0.1:0 --http 127.0.0.1:0
"""


def test_as_an_ordinary_user_with_everything_but_its_data_read_only(open_folder):
    if os.geteuid() != 0 or subprocess.run(["unshare", "--mount", "true"]).returncode != 0:
        pytest.skip("the kernel or the user forbids mount namespaces here")
    data, programs, plugins = (open_folder / name for name in ("data", "bin", "plugins"))
    for folder in (data, programs, plugins):
        folder.mkdir()
    os.chown(data, NOBODY, NOBODY)
    for program in (AIKI, SERVER, RUNTIME, RUNTIME.with_name("aiki-child")):
        shutil.copy(program, programs)
    shutil.copy(plugin("hello"), plugins)
    script = READ_ONLY.format(data=data, user=NOBODY, bin=programs, folder=open_folder)
    log = open_folder / "dev.log"
    with open(log, "wb") as out:
        dev = subprocess.Popen(["unshare", "--mount", "sh", "-c", script], stdout=out, stderr=out,
                               env={"PATH": os.environ["PATH"], "HOME": "/nonexistent"})
    try:
        until(lambda: dev.poll() is not None or "serves 1 workflow" in log.read_text(), "it serves")
        status = pathlib.Path(f"/proc/{dev.pid}/status").read_text()
        assert f"Uid:\t{NOBODY}\t{NOBODY}" in status and "CapBnd:\t0000000000000000" in status
        refused = subprocess.run(["nsenter", "-t", str(dev.pid), "--mount", "touch", open_folder / "x"],
                                 capture_output=True, text=True)
        assert "Read-only file system" in refused.stderr
        rpc = re.search(r"(127\.0\.0\.1:\d+)", log.read_text())[1]
        done = subprocess.run([AIKI, "workflows", "trigger", "hello", "--input", '{"name":"reader"}',
                               "--wait"], env={"AIKI_SERVER": rpc}, capture_output=True, text=True,
                              timeout=harness.PATIENCE_S)
        assert "Hello, reader!" in done.stdout, done.stderr + log.read_text()
    except BaseException:
        print(log.read_text())
        raise
    finally:
        dev.terminate()
        assert dev.wait(harness.PATIENCE_S) == 0, log.read_text()
