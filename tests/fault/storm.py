"""Reloads in all the ways people write files, good and bad ones, under load of several plugins.

The short form runs with the other tests. The full form, about ten minutes of a machine with nothing else to do:

    AIKI_STORM=10000 AIKI_BUILD=build/gcc python3 -m pytest -s -p no:cacheprovider tests/fault/storm.py

Then speed and memory are asserted, too: p99 latency under twice the quiet one, new code serves within
200 ms of the rename, the broker's memory within 5 % of what it was after the warm-up.
"""
import hashlib
import json
import multiprocessing
import os
import pathlib
import random
import threading
import time

import pytest

from harness import PATIENCE_S, SANITIZED, Ledger, descriptors, plugin, seed, until

RELOADS = int(os.environ.get("AIKI_STORM", 45))
FULL = RELOADS >= 1000
WARM_UP = max(12, RELOADS // 20)
FILES = ["ledger", "hello", "flaky"]
WORKERS = 12 if FULL else 4
STEPS = 10
STEPS_PER_S = 1000


def build_of(data):
    return hashlib.blake2b(data, digest_size=32).hexdigest()


class Client:
    """A caller that keeps its connection, as those who start runs by the hundred do."""

    def __init__(self, s):
        self.line = s.http_connection(PATIENCE_S)

    def call(self, method, path, body=None):
        self.line.request(method, path, None if body is None else json.dumps(body), {"Content-Type": "application/json"})
        answer = self.line.getresponse()
        value = json.loads(answer.read())
        assert answer.status < 300, (path, value)
        return answer.status, value

    def start(self, workflow, value):
        return self.call("POST", f"/v1/workflows/{workflow}/runs", {"input": value})[1]["id"]

    def result(self, run):
        status, document = until(lambda: self.ended(run), f"run {run} ends")
        assert document["state"] == "completed", document
        return document["output"]

    def ended(self, run):
        answer = self.call("GET", f"/v1/runs/{run}/result?wait=5s")
        return answer if answer[0] == 200 else None


class Load:
    """Workers that start a run, wait for its end, and start another, STEPS_PER_S steps in all if
    they can. They have a process of their own: what installs files and asks what serves is not to
    take their interpreter's time."""

    def __init__(self, s):
        self.s = s
        self.path = str(s.directory / "ledger.txt")
        self.runs, self.latencies, self.errors, self.steps = [], [], [], 0
        context = multiprocessing.get_context("fork")
        self.count = context.Value("Q", 0)
        self.line, other = context.Pipe()
        self.process = context.Process(target=self.work_all, args=(other,))
        self.process.start()

    def one(self, client, number):
        """How many steps it was."""
        if number % 3 == 1:
            assert client.result(client.start("hello", {"name": "you"})) == {"greeting": "Hello, you!"}
            return 1
        if number % 3 == 2:
            assert client.result(client.start("flaky", {"failures": 1, "policy": "fixed", "delay_ms": 1}))
            return 2
        run = client.start("ledger", {"steps": STEPS, "task_ms": 0, "path": self.path, "width": 1})
        self.runs.append(run)
        assert client.result(run) == {"steps": STEPS}
        return STEPS

    def work(self, number):
        client, steps, first = Client(self.s), 0, time.monotonic()
        while not self.over.wait(max(0, first + steps * WORKERS / STEPS_PER_S - time.monotonic())):
            began = time.monotonic()
            try:
                steps += self.one(client, number)
            except BaseException as e:
                self.errors.append(repr(e))
                return
            self.latencies.append((began, time.monotonic() - began))
            with self.count.get_lock():
                self.count.value += 1
        self.steps += steps

    def work_all(self, line):
        self.over = threading.Event()
        threads = [threading.Thread(target=self.work, args=(i,)) for i in range(WORKERS)]
        for t in threads:
            t.start()
        line.recv()
        self.over.set()
        for t in threads:
            t.join()
        line.send((self.runs, self.latencies, self.errors, self.steps))

    def end(self):
        self.line.send("enough")
        self.runs, self.latencies, self.errors, self.steps = self.line.recv()
        self.process.join()
        assert not self.errors, self.errors[0]

    def p99(self, since, until_):
        slow = sorted(took for began, took in self.latencies if since <= began < until_)
        assert slow, "no run ended in that time"
        return slow[int(len(slow) * 0.99)]


class Installer:
    """Puts files there: good ones, whose hash is the answer, and bad ones."""

    def __init__(self, s, rng):
        self.s, self.rng, self.count = s, rng, 0
        self.bytes = {name: plugin(name).read_bytes() for name in FILES}

    def fresh(self, name):
        self.count += 1
        return self.bytes[name] + b"%d" % self.count

    def rename(self, path, data):
        aside = path.with_name(f".{path.name}")
        aside.write_bytes(data)
        os.rename(aside, path)

    def copy(self, path, data):
        path.write_bytes(data)

    def delete_first(self, path, data):
        path.unlink(missing_ok=True)
        path.write_bytes(data)

    def slowly(self, path, data):
        with open(path, "wb", buffering=0) as f:
            for at in range(0, len(data), len(data) // 3 + 1):
                f.write(data[at:at + len(data) // 3 + 1])
                threading.Event().wait(0.01)

    def link(self, path, data):
        release = self.s.directory / f"release-{self.count}-{path.name}"
        release.write_bytes(data)
        aside = path.with_name(f".{path.name}")
        aside.unlink(missing_ok=True)
        aside.symlink_to(release)
        os.rename(aside, path)

    def good(self, name):
        data = self.fresh(name)
        path = self.s.plugins / f"{name}.so"
        if path.is_symlink():
            path.unlink()  # what is written through it is seen only at the next rescan
        way = self.rng.choice([self.rename, self.rename, self.copy, self.delete_first, self.slowly, self.link])
        way(path, data)
        return build_of(data)

    def bad(self, name):
        data = self.fresh(name)
        cut = self.rng.randrange(1, len(self.bytes[name]) // 2)
        data = self.rng.choice([data[:cut], data[:cut] + bytes(len(data) - cut), b"#!/bin/sh\n", b""])
        self.rename(self.s.plugins / f"{name}.so", data)


def serving(s, name):
    return {p["build"] for p in s.get("/v1/plugins")["plugins"]
            if p["file"] == f"{name}.so" and p["state"] == "serving"}


def serves(s, name, build):
    """How long until it does."""
    began = time.monotonic()
    until(lambda: serving(s, name) == {build}, f"{name} {build[:8]} serves")
    return time.monotonic() - began


def footprint(pid):
    """What a broker holds: resident KiB, descriptors, mappings; the least of several looks at what it holds for a moment."""
    def look():
        status = pathlib.Path(f"/proc/{pid}/status").read_text()
        resident = int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS")))
        return resident, len(descriptors(pid)), len(pathlib.Path(f"/proc/{pid}/maps").read_text().splitlines())
    return tuple(map(min, zip(*(look() for _ in range(20)))))


def settle(s, installer):
    """One good build of each file, alone: its process, its copy."""
    for name in FILES:
        data = installer.fresh(name)
        installer.rename(s.plugins / f"{name}.so", data)
        serves(s, name, build_of(data))
    until(lambda: len(s.runtime.children()) == len(FILES), "a process for each file")
    until(lambda: sum(f.endswith(".so") for _, _, files in os.walk(s.directory / "state0") for f in files)
          == 2 * len(FILES),
          "what serves, and its second name", patience_s=60)
    return footprint(s.runtime.pid)


def storm(s, installer, rng, reloads):
    took = []
    for i in range(reloads):
        name = FILES[i % len(FILES)]
        if rng.random() < 0.25:
            installer.bad(name)
        took.append(serves(s, name, installer.good(name)))
    return sorted(took)


@pytest.mark.heavy
def test_reloads_under_load(stacks):
    rng = random.Random(seed())
    s = stacks(plugins=FILES, runtime_args=["--keep-previous-ms", "0"])  # so that only what serves is left
    installer = Installer(s, rng)
    load = Load(s)
    try:
        quiet_since = time.monotonic()
        until(lambda: load.count.value >= (5000 if FULL else 40), "a quiet time", patience_s=120)
        storm_since = time.monotonic()
        storm(s, installer, rng, WARM_UP)
        before = settle(s, installer)
        took = storm(s, installer, rng, RELOADS)
        storm_end = time.monotonic()
        after = settle(s, installer)
    finally:
        load.end()
    quiet, stormy = load.p99(quiet_since, storm_since), load.p99(storm_since, storm_end)
    steps_per_s = load.steps / (time.monotonic() - quiet_since)
    print(f"{len(load.latencies)} runs, {steps_per_s:.0f} steps/s beside {RELOADS} reloads in "
          f"{storm_end - storm_since:.0f} s: p99 {quiet * 1000:.0f} ms quiet, "
          f"{stormy * 1000:.0f} ms in the storm; serves after {took[len(took) // 2] * 1000:.0f} ms, "
          f"at most {took[-1] * 1000:.0f} ms; broker {before} -> {after}")
    executions = Ledger(load.path)
    done = {}
    for run, step, _, _, _ in executions.lines():
        done[run, step] = done.get((run, step), 0) + 1
    assert done == {(run, step): 1 for run in load.runs for step in range(STEPS)}, "each step once"
    assert not [r for r in s.get("/v1/runs?state=open&limit=1")["runs"]]
    assert not [r for r in s.get("/v1/runs?state=failed&limit=1")["runs"]]
    assert after[1] <= before[1] + 2 and after[2] <= before[2] * 1.1, (before, after)
    if FULL and not SANITIZED:
        assert steps_per_s > 0.9 * STEPS_PER_S, "the load it is about"
        assert after[0] <= before[0] * 1.05, (before, after)
        assert stormy < 2 * quiet
        assert took[int(len(took) * 0.99)] < 0.2
