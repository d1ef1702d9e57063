"""Plugins are loaded by aiki-child, which has to be beside aiki-runtime and of its release (decision 19)."""
import os
import shutil
import signal
import subprocess

import harness
from harness import RUNTIME, end, until

CHILD = RUNTIME.with_name("aiki-child")


def run(*words):
    return subprocess.run([str(w) for w in words], capture_output=True, text=True, timeout=harness.PATIENCE_S)


def test_a_runtime_without_it_does_not_start(tmp_path):
    alone = shutil.copy(RUNTIME, tmp_path)
    done = run(alone, "--plugins", tmp_path, "--state", tmp_path / "state")
    assert done.returncode == 1, done
    assert "CHILD_PROGRAM" in done.stderr and f"{tmp_path}/aiki-child" in done.stderr, done.stderr


def test_one_of_another_release_ends_before_it_loads_anything():
    for words in (["--child", "3", "orders@1"], ["--probe", "3"]):
        done = run(CHILD, *words, "0.0.1")
        assert done.returncode == 71, done
        assert "of 0.0.1; install both" in done.stderr, done.stderr


def test_people_are_told_what_it_is():
    done = run(CHILD)
    assert done.returncode == 2 and "aiki-runtime" in done.stderr, done


def test_a_runtime_keeps_the_one_it_was_started_with(stacks, tmp_path, monkeypatch):
    for program in (RUNTIME, CHILD):
        shutil.copy(program, tmp_path)
    monkeypatch.setattr("harness.RUNTIME", tmp_path / RUNTIME.name)
    s = stacks(plugins=["hello"])
    aside = tmp_path / "next"
    aside.write_text("#!/bin/sh\nexit 1\n")
    aside.chmod(0o755)
    os.rename(aside, tmp_path / CHILD.name)
    before = s.runtime.children()
    for pid in before:
        end(pid, signal.SIGKILL)
    run = s.start("hello", {"name": "Ada"})
    until(lambda: s.state(run) == "completed", "another process of the program that is open serves it")
    assert not set(before) & set(s.runtime.children())
