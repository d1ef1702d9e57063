"""What settings say of plugins, changed while they are served: a reload does it, for what is here as well."""
import contextlib
import errno
import os
import pathlib
import shutil
import signal
import subprocess
import time

import harness
import pytest

from harness import PATIENCE_S, ROOT, RUNTIME, at_best, end, in_time, plugin, until
from points import SIGNED


class Settings:
    """A settings file of a runtime, and its reload."""

    def __init__(self, s, **values):
        self.s, self.path = s, s.directory / "runtime.conf"
        self.write(values)
        s.start_redis()
        s.start_server()
        self.start()

    def write(self, values):
        self.path.write_text("".join(f"{name.replace('_', '-')} = {value}\n" for name, value in values.items()))

    def start(self):
        self.s.start_runtime(args=["--config", self.path])

    def change(self, **values):
        self.write(values)
        self.s.runtime.send(signal.SIGHUP)


def builds(s, *states):
    return [p["build"] for p in s.get("/v1/plugins")["plugins"] if p["state"] in states]


def refusal(s, file):
    errors = [p["error"]["code"] for p in s.get("/v1/plugins")["plugins"] if p["file"] == file and p.get("error")]
    return errors[0] if errors else None


def waiting_run(s):
    run = s.start("change", {})
    until(lambda: s.state(run) == "awaiting_signal", "it waits")
    return run


def test_a_gate_that_is_strict_no_more_lets_the_file_in(stacks):
    s = stacks(plugins=["hello"], start=False)
    s.drop("change", plugin("change-original"))
    settings = Settings(s, gate="strict")
    run = waiting_run(s)
    s.drop("change", plugin("change-added-before"))
    until(lambda: refusal(s, "change.so") == "GATE_REFUSED", "it is refused")
    before = builds(s, "serving")
    settings.change(gate="strict,change.so=safe")
    until(lambda: len(builds(s, "kept")) == 1 and builds(s, "serving") != before, "it serves")
    s.signal(run, "go", None)
    assert s.result(run) == 3, "with the build before"
    settings.change(gate="stricter")
    until(lambda: "gate must be safe" in s.runtime.log.read_text(), "nonsense changes nothing")
    assert s.result(s.start("hello", {"name": "still"}))


def test_what_was_not_deterministic_enough_is(stacks):
    s = stacks(plugins=["hello"], start=False)
    settings = Settings(s, determinism="strict")
    s.drop("confined")  # its workflow forks
    until(lambda: refusal(s, "confined.so") == "NOT_DETERMINISTIC", "it is refused")
    settings.change(determinism="warn")
    until(lambda: refusal(s, "confined.so") is None and len(builds(s, "serving")) == 2, "it serves")


def test_a_sandbox_is_entered_by_processes_from_now_on(stacks):
    s = stacks(plugins=["confined"], start=False)
    settings = Settings(s, sandbox="off")

    def read():
        return s.result(s.start("confined", {"what": "read", "path": "/etc/passwd"}))["errno_was"]

    assert read() == 0
    settings.change(sandbox="on")
    until(lambda: "sandbox has changed" in s.runtime.log.read_text(), "it was heard")
    assert read() == 0, "by the process that is there"
    assert end(s.runtime.children()[0])
    until(lambda: read() == errno.EACCES, "the next one is confined")


# ---- keys ----------------------------------------------------------------------------------------

@pytest.fixture
def signed(stacks):
    """One run that only the first of two builds fits, both signed by keys of their own."""
    s = stacks(start=False)
    s.keys = s.directory / "keys"
    s.keys.mkdir()
    for name in ("first", "second"):
        s.aiki("plugins", "keygen", s.directory / name)
        shutil.copyfile(s.directory / f"{name}.pub", s.keys / f"{name}.pub")

    def put(variant, key):
        """The signature first, so that both are there when the file is looked at."""
        aside = s.directory / f"{variant}.so"
        shutil.copyfile(plugin(variant), aside)
        s.aiki("plugins", "sign", aside, "--key", s.directory / f"{key}.key")
        os.rename(f"{aside}.sig", s.plugins / "change.so.sig")
        os.rename(aside, s.plugins / "change.so")

    s.put = put
    put("change-original", "first")
    s.settings = Settings(s, plugin_keys=s.keys)
    s.parked = waiting_run(s)
    before = builds(s, "serving")
    put("change-added-before", "second")
    until(lambda: builds(s, "kept") == before and builds(s, "serving"), "the second one serves, the first is kept")
    return s


def is_blocked_by_the_key(s):
    s.signal(s.parked, "go", None)
    row = until(lambda: (r := s.run(s.parked))["state"] == "blocked" and r, "its run is blocked")
    assert row["error"]["code"] == "BUILD_REVOKED" and "none of the 1 keys" in row["error"]["message"], row
    assert row["error"]["cause"]["code"] == "DIVERGED" or "recorded" in row["error"]["cause"]["message"], row


def comes_back(s):
    """The old file, signed anew."""
    s.put("change-original", "second")
    assert s.result(s.parked) == 3


def test_a_kept_build_whose_key_is_gone_is_not_started_any_more(signed):
    s = signed
    (s.keys / "first.pub").unlink()
    s.runtime.send(signal.SIGHUP)
    until(lambda: not builds(s, "kept"), "it is kept no longer")
    assert "is not started any more: BAD_SIGNATURE" in s.runtime.log.read_text()
    assert len(builds(s, "serving")) == 1, "the other key is still there"
    is_blocked_by_the_key(s)
    comes_back(s)


def test_nor_by_a_runtime_that_starts(signed):
    s = signed
    s.runtime.kill()
    (s.keys / "first.pub").unlink()
    s.settings.start()
    until(lambda: "is not used: its signature" in s.runtime.log.read_text(), "it is not adopted")
    is_blocked_by_the_key(s)
    comes_back(s)


def test_a_disk_that_is_full_takes_no_kept_build_away(signed, monkeypatch):
    """It cannot be used just then; with room again it is."""
    s = signed
    s.runtime.kill()
    kept = list((s.directory / "state0/kept").rglob("*.so"))
    assert kept
    for path in kept:
        path.chmod(0o660)  # what others may write to is copied; all else has a second name, which takes no room
    confined = s.directory / "confined"
    confined.write_text(f"""#!/bin/bash
trap '' XFSZ
ulimit -f 16
exec {RUNTIME} "$@"
""")
    confined.chmod(0o755)
    with monkeypatch.context() as m:
        m.setattr(harness, "RUNTIME", confined)
        s.settings.start()
    until(lambda: "is not used: cannot write the copy" in s.runtime.log.read_text(), "there is no room for it")
    s.runtime.kill()
    s.settings.start()
    s.signal(s.parked, "go", None)
    assert s.result(s.parked) == 3


@pytest.mark.parametrize("point", SIGNED)
def test_killed_while_a_signed_build_is_kept(signed, point):
    """The signature is on disk and the build is not, or the other way round: neither is lost, nothing is let in."""
    s = signed
    s.runtime.kill()
    s.start_runtime(env={"AIKI_FAULT": f"{point}=kill@1"}, args=["--config", s.settings.path], wait=False)
    until(lambda: not s.runtime.alive(), f"{point} is passed")
    s.settings.start()
    s.signal(s.parked, "go", None)
    assert s.result(s.parked) == 3
    assert len(builds(s, "serving")) == 1


def test_a_restarted_runtime_has_what_is_still_signed(signed):
    s = signed
    s.runtime.kill()
    s.settings.start()
    s.signal(s.parked, "go", None)
    assert s.result(s.parked) == 3


def test_a_serving_build_whose_key_is_gone_drains(signed):
    s = signed
    (s.keys / "second.pub").unlink()
    s.runtime.send(signal.SIGHUP)
    until(lambda: refusal(s, "change.so") == "BAD_SIGNATURE" and not builds(s, "serving"), "its file is refused")
    late = s.start("change", {})
    shutil.copyfile(s.directory / "second.pub", s.keys / "second.pub")
    s.runtime.send(signal.SIGHUP)
    until(lambda: s.state(late) == "awaiting_signal", "it is back with its key")


def test_the_process_in_the_place_of_a_worn_one_is_as_signed(signed):
    s = signed
    s.runtime.kill()
    s.settings.write({"plugin_keys": s.keys, "child_tasks": 2})
    s.settings.start()
    for _ in range(4):
        waiting_run(s)
    until(lambda: "another process takes its place" in s.runtime.log.read_text(), "it is worn")
    (s.keys / "first.pub").unlink()
    s.runtime.send(signal.SIGHUP)
    until(lambda: "is not started any more" in s.runtime.log.read_text(), "the kept one is withdrawn")
    waiting_run(s)
    assert s.runtime.log.read_text().count("is not started any more") == 1 and refusal(s, "change.so") is None


def test_a_mistake_in_the_keys_takes_nothing_away(signed):
    s = signed
    (s.keys / "bad.pub").write_text("short")
    s.runtime.send(signal.SIGHUP)
    until(lambda: "builds that are here already go on" in s.runtime.log.read_text(), "it says so")
    assert len(builds(s, "serving")) == 1 and len(builds(s, "kept")) == 1
    s.signal(s.parked, "go", None)
    assert s.result(s.parked) == 3


# ---- files that hang -------------------------------------------------------------------------------

def probes(s):
    """Their parents are threads of the runtime, which come and go."""
    count = 0
    for path in pathlib.Path(f"/proc/{s.runtime.pid}/task").glob("*/children"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            count += len(path.read_text().split())
    return count


def refused_for_hanging(s):
    return s.runtime.log.read_text().count("LOAD_TIMEOUT")


def test_fifty_files_that_hang_do_not_delay_a_good_one(stacks, tmp_path):
    s = stacks()
    source, hanging, tries = tmp_path / "hangs.c", tmp_path / "hangs.so", []
    source.write_text("#include <unistd.h>\n__attribute__((constructor)) static void hang(void) { for (;;) pause(); }\n")
    subprocess.run(["cc", "-shared", "-fPIC", f"-I{ROOT}/abi/include", source, "-o", hanging], check=True)

    def serves_meanwhile():
        before, serving = refused_for_hanging(s), builds(s, "serving")
        for i in range(50):
            own = tmp_path / "own.so"  # the same bytes would not be looked at again
            own.write_bytes(hanging.read_bytes() + b"%d" % len(tries))
            s.drop(f"hangs{i}", own)
        until(lambda: probes(s) + refused_for_hanging(s) - before >= 50, "each of them hangs, or did so")
        began = time.monotonic()
        good = tmp_path / "good.so"
        good.write_bytes(plugin("hello").read_bytes() + b"%d" % len(tries))
        tries.append(good)
        s.drop("hello", good)
        until(lambda: builds(s, "serving") not in ([], serving), "the good one serves")
        took = time.monotonic() - began
        assert s.result(s.start("hello", {"name": "meanwhile"}))
        until(lambda: refused_for_hanging(s) - before == 50, "each is refused", patience_s=2 * PATIENCE_S)
        in_time(took < 4, f"{took:.1f} s; a hanging one takes 5 s until it is refused")
    at_best(serves_meanwhile)
