"""`aiki dev`: everything on one machine, and nothing left of it afterwards."""
import contextlib
import json
import os
import pathlib
import shutil
import signal
import subprocess

import pytest
from harness import AIKI, PATIENCE_S, ROOT, SANITIZED, Process, at_best, children_of, end, in_time, plugin, until


def is_running(pid):
    """A zombie is not: nobody may have waited for it yet."""
    try:
        state = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def descendants(pid):
    found = []
    for child in children_of(pid):
        found += [child, *descendants(child)]
    return found


class Dev:
    def __init__(self, directory):
        self.directory = directory
        self.plugins = directory / "plugins"
        self.plugins.mkdir()
        self.data = directory / "data"
        self.process = None

    def start(self, *args, listen="127.0.0.1:0", http="127.0.0.1:0", env=None):
        addresses = (["--listen", listen] if listen else []) + (["--http", http] if http else [])
        self.process = Process("dev", [AIKI, "dev", "--plugins", self.plugins, "--data", self.data,
                                       *addresses, *args], self.directory, env=env, ready=True)
        self.process.await_ready()
        return self

    @property
    def ready(self):
        return self.process.ready

    def drop(self, name):
        aside = self.plugins / f".{name}.tmp"
        shutil.copyfile(plugin(name), aside)
        aside.rename(self.plugins / f"{name}.so")

    def aiki(self, *args):
        return subprocess.run([str(AIKI), *args], text=True, capture_output=True, timeout=60,
                              env={**os.environ, "AIKI_SERVER": self.ready["rpc"]})

    def greet(self, name="world"):
        done = self.aiki("workflows", "trigger", "hello", "--input", json.dumps({"name": name}), "--wait")
        assert done.returncode == 0, done.stderr + self.process.tail()
        return json.loads(done.stdout)["greeting"]

    def part(self, name):
        """Pid of a part as it is now, by its program."""
        for pid in self.process.children():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                if pathlib.Path(f"/proc/{pid}/comm").read_text().strip() == name:
                    return int(pid)
        return None


@pytest.fixture
def dev(tmp_path, request):
    d = Dev(tmp_path)
    yield d
    if d.process:
        left = descendants(d.process.pid)
        d.process.kill()
        until(lambda: not any(map(is_running, left)), "everything ended with aiki dev")
        if getattr(request.node, "failed", False):
            print(d.process.tail(150))
        text = d.process.log.read_text(errors="replace")
        for sign in ("ERROR: AddressSanitizer", "runtime error:", "ERROR: LeakSanitizer", "Assertion `"):
            assert sign not in text, d.process.tail(80)


def test_serves_a_plugin_and_ends_on_ctrl_c_leaving_only_data(dev):
    dev.drop("hello")
    dev.start()
    assert dev.greet() == "Hello, world!"
    text = dev.process.log.read_text()
    for word in ("is ready", str(dev.plugins), dev.ready["rpc"], f"http://{dev.ready['http']}"):
        assert word in text, text
    everything = descendants(dev.process.pid)
    assert len(everything) >= 4, "redis, server, runtime and a child"
    dev.process.send(signal.SIGINT)
    assert dev.process.popen.wait(PATIENCE_S) == 0
    assert not any(map(is_running, everything))
    assert not list(dev.data.glob("*.sock"))
    assert (dev.data / "aiki.db").exists()


def test_runs_are_still_there_after_a_restart(dev):
    dev.drop("hello")
    dev.start()
    dev.greet("before")
    assert dev.process.stop() == 0
    dev.start()
    runs = json.loads(dev.aiki("runs", "list", "--json").stdout)
    assert [r["state"] for r in runs] == ["completed"]
    assert dev.greet("after") == "Hello, after!"


def test_kill_9_leaves_no_process(dev):
    dev.drop("hello")
    dev.start()
    dev.greet()
    everything = descendants(dev.process.pid)
    dev.process.kill()
    until(lambda: not any(map(is_running, everything)), "all parts ended")
    dev.start()  # and the lock is free again
    assert dev.greet("again") == "Hello, again!"


@pytest.mark.parametrize("program", ["redis-server", "aiki-server", "aiki-runtime"])
def test_a_part_that_crashes_is_started_again(dev, program):
    dev.drop("hello")
    dev.start()
    dev.greet()
    before = dev.part(program)
    assert end(before)
    until(lambda: dev.part(program) not in (None, before), f"{program} runs again")
    assert dev.greet("again") == "Hello, again!"
    until(lambda: "is started again" in dev.process.log.read_text(), "it is told")


def test_a_plugin_dropped_in_later_serves_at_once(dev):
    dev.start()
    dev.drop("hello")
    assert dev.greet() == "Hello, world!", "nobody has to wait between cp and trigger"
    assert dev.aiki("workflows", "show", "hello", "--wait", "20s").returncode == 0


def greets_with(dev, words):
    """What is served now; the trigger may come while the former build still serves."""
    return until(lambda: dev.greet() == words, f"greeted with {words}")


def test_sources_are_built_again_when_they_change(dev, tmp_path):
    sources = tmp_path / "src"
    sources.mkdir()
    text = (ROOT / "plugins/hello/hello.c").read_text()
    (sources / "hello.c").write_text(text)
    dev.start("--sources", sources, env={"CFLAGS": f"-I{ROOT}/abi/include"})
    until(lambda: (dev.plugins / "hello.so").exists(), "the source is built")
    greets_with(dev, "Hello, world!")
    (sources / "hello.c").write_text("this is no C\n")
    until(lambda: "hello.c does not compile" in dev.process.log.read_text(), "the mistake is told")
    assert dev.greet() == "Hello, world!", "what served before goes on serving"
    (sources / "hello.c").write_text(text.replace("Hello, %s!", "Good morning, %s!"))
    greets_with(dev, "Good morning, world!")
    dev.process.send(signal.SIGINT)
    assert dev.process.popen.wait(PATIENCE_S) == 0


def test_one_stack_for_one_folder(dev):
    dev.start()
    done = dev.aiki("dev", "--plugins", str(dev.plugins), "--data", str(dev.data))
    assert done.returncode == 5
    assert "another `aiki dev` uses" in done.stderr


def test_mistakes_are_told_before_anything_starts(dev):
    done = subprocess.run([str(AIKI), "dev", "--plugins", str(dev.directory / "none"), "--data", str(dev.data)],
                          text=True, capture_output=True, timeout=30, check=False)
    assert done.returncode == 2 and "none" in done.stderr
    assert not dev.data.exists()


def test_an_address_that_is_taken_is_named(dev):
    dev.start()
    other = dev.directory / "other"
    done = dev.aiki("dev", "--plugins", str(dev.plugins), "--data", str(other), "--listen", dev.ready["rpc"])
    assert done.returncode != 0
    assert dev.ready["rpc"] in done.stderr


def test_a_redis_of_ones_own(dev, tmp_path):
    path = tmp_path / "own.sock"
    redis = Process("redis", ["redis-server", "--port", "0", "--unixsocket", path, "--save", "",
                              "--dir", tmp_path], tmp_path)
    try:
        until(path.exists, "redis listens")
        dev.drop("hello")
        dev.start("--redis", f"unix:{path}")
        assert dev.part("redis-server") is None
        assert dev.greet() == "Hello, world!"
    finally:
        redis.kill()


def test_a_data_folder_with_a_long_path(dev):
    dev.data = dev.directory / ("d" * 120)
    dev.drop("hello")
    dev.start()
    assert dev.greet() == "Hello, world!"
    assert dev.process.stop() == 0


@pytest.mark.skipif(SANITIZED, reason="sanitizers are slow")
def test_ready_in_well_under_a_second(dev):
    dev.drop("hello")

    def starts():
        if dev.process:
            dev.process.kill()
            dev.process.log.unlink()
        dev.start("--json")
        line = next(line for line in dev.process.log.read_text().splitlines() if line.startswith("{"))
        in_time(json.loads(line)["ready_ms"] < 900, line)
    at_best(starts)
