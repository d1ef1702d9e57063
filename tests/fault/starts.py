"""Processes that start at the same time on one state directory: each has a directory of its own for its copies."""
import os
import signal

import pytest

from harness import PATIENCE_S, RUNTIME, Process, is_stopped, plugin, until
from points import STARTS


def check(name, tmp_path, fault=None):
    """A short-lived process with a cache."""
    return Process(name, [RUNTIME, "--check", plugin("hello"), "--state", tmp_path / "state"], tmp_path,
                   env={"AIKI_FAULT": fault} if fault else None)


def end_of(process):
    """Its exit code."""
    code = process.popen.wait(PATIENCE_S)
    process.kill()
    return code


def left(tmp_path):
    return os.listdir(tmp_path / "state" / "cache")


@pytest.mark.parametrize("point", STARTS)
def test_none_takes_the_new_directory_of_another_for_a_left_one(tmp_path, point):
    slow = check("slow", tmp_path, f"{point}=stop")
    until(lambda: is_stopped(slow.pid), f"it is at {point}")
    assert len(left(tmp_path)) == 1
    assert end_of(check("quick", tmp_path)) == 0
    assert left(tmp_path) == [], "the other one has swept: that is the case this is about"
    slow.send(signal.SIGCONT)
    assert end_of(slow) == 0, slow.tail()
    assert left(tmp_path) == []


@pytest.mark.parametrize("point", STARTS)
def test_what_is_left_of_one_that_was_killed_goes(tmp_path, point):
    assert end_of(check("killed", tmp_path, f"{point}=kill")) == -signal.SIGKILL
    assert len(left(tmp_path)) == 1
    assert end_of(check("next", tmp_path)) == 0
    assert left(tmp_path) == []
