"""Real processes for tests: a private redis-server, aiki-server and aiki-runtimes.

Everything lives in one temporary directory, listens on loopback or unix sockets, and is killed
by pid at the end. Tests wait for conditions (`until`), never for time. When a test fails the
logs of all processes are printed.
"""
import contextlib
import http.client
import json
import os
import pathlib
import random
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("AIKI_BUILD", "build/gcc"))
if not BUILD.is_absolute():
    BUILD = ROOT / BUILD
AIKI = BUILD / "tools" / "aiki"
SERVER = BUILD / "server" / "aiki-server"
RUNTIME = BUILD / "runtime" / "aiki-runtime"
SANITIZED = "sanitize" in BUILD.name
# A condition that lasts for all tests (tests/modes): lease-200, or one of FAULT_MODES in base/fault.h.
MODE = os.environ.get("AIKI_TEST_MODE", "")
# How long a plugin's process stays that no run needs; None leaves it to the product, which starts one when a run needs it. A
# test that looks at processes without runs says child_idle="always", and AIKI_TEST_CHILD_IDLE=always does for all of them.
CHILD_IDLE = os.environ.get("AIKI_TEST_CHILD_IDLE")
MODE_ENV = {"AIKI_FAULT_MODE": MODE} if MODE and not MODE.startswith("lease-") else {}
# A lost session gives its runs back, and what was under way is executed again: Stack.taken_away.
LOSES_SESSIONS = MODE == "drop-first-reply" or MODE.startswith("lease-")
# How often a command asks the server for the same thing: a new process loses its first answers.
ASKS = 2 if MODE == "drop-first-reply" else 1
PATIENCE_S = 120 if SANITIZED or MODE else 60
TERMINAL = {"completed", "failed", "cancelled", "timed_out", "terminated"}


def plugin(name):
    """Path of a built plugin, example or test support."""
    found = [path for top in ("plugins", "tests") for path in BUILD.glob(f"{top}/**/{name}.so")]
    assert len(found) == 1, f"plugin {name} is built {len(found)} times in {BUILD}"
    return found[0]


def seed():
    """One number per test run, printed first; AIKI_SEED repeats it."""
    value = int(os.environ.get("AIKI_SEED", random.SystemRandom().randrange(1 << 32)))
    print(f"AIKI_SEED={value}")
    return value


class Address:
    """Loopback and a port that stays ours while this lives, so that a server that is started again finds it free: no
    connection going out and no listener on port 0 gets one from this range, and no other test while the name is taken."""

    RANGE = range(10000, 32768)  # below ip_local_port_range

    def __init__(self):
        for port in random.SystemRandom().sample(self.RANGE, 100):
            self.text, self.name = f"127.0.0.1:{port}", socket.socket(socket.AF_UNIX)
            with contextlib.suppress(OSError), socket.socket() as s:
                self.name.bind(f"\0aiki-test-{port}")
                s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                s.bind(("127.0.0.1", port))
                return
            self.close()
        raise AssertionError("no port is free")

    def close(self):
        self.name.close()


_pause = threading.Event()


def until(condition, what, patience_s=PATIENCE_S, every_s=0.01):
    """Wait until condition() is true; its value is the answer."""
    deadline = time.monotonic() + patience_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"after {patience_s} s still not: {what}")
        _pause.wait(every_s)


def end(pid, number=signal.SIGKILL):
    """Send a signal to a process that may have ended by itself; False: it had."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True


def _children_told(pid):
    try:
        text = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return []
    return [int(child) for child in text.split()]


def name_of(pid):
    """Empty when it has ended meanwhile."""
    try:
        return pathlib.Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def children_of(pid):
    """What a process has started and not yet waited for, oldest first. Of a list that the kernel tells while one of them
    ends others may be missing: what is told twice is so."""
    before, now = None, _children_told(pid)
    while now != before:
        before, now = now, _children_told(pid)
    return now


def is_stopped(pid):
    """By SIGSTOP. False of a process that has ended."""
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"
    except (FileNotFoundError, ProcessLookupError):
        return False


def command_of(pid):
    """Its command line; "" of a process that has ended."""
    try:
        return pathlib.Path(f"/proc/{pid}/cmdline").read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return ""


def program_of(pid):
    """The file that it executes; of one that has ended and is not waited for yet, its name; then ""."""
    try:
        return os.readlink(f"/proc/{pid}/exe")
    except OSError:
        return name_of(pid)


def descriptors(pid):
    """What the descriptors of a living process lead to. One that it closes meanwhile is not among them."""
    found = {}
    for fd in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(FileNotFoundError):
            found[int(fd)] = os.readlink(f"/proc/{pid}/fd/{fd}")
    return found


# Of a host with sanitizers, for plugins that crash as in any other: at exit(), which plugin code may call, it would look
# for leaks, and it says itself how a process ends.
UNADORNED = {"ASAN_OPTIONS": "detect_leaks=0:abort_on_error=1"}


class Slow(AssertionError):
    """What came is right, and came late."""


def in_time(holds, told):
    """A bound on how long something may take, for at_best(); anything else is an assertion and holds in each try."""
    if not holds:
        raise Slow(told)


def at_best(scenario, tries=10):
    """What scenario() answers, for how quick something can be: a machine that is busy with something else says that in
    one of several tries. When all of them are late the last one has failed."""
    for _ in range(tries - 1):
        with contextlib.suppress(Slow):
            return scenario()
    return scenario()


class HttpError(Exception):
    def __init__(self, status, body):
        super().__init__(f"{status}: {body}")
        self.status = status
        self.body = body

    @property
    def code(self):
        return self.body.get("error", {}).get("code") if isinstance(self.body, dict) else None


class Undertaker:
    """Ends what is left when this process dies without saying so. A process of its own, since PR_SET_PDEATHSIG
    would end whatever a thread of a test has started with that thread."""

    CODE = """
import os, signal, sys
living = set()
for line in sys.stdin:
    change, pid = line[0], int(line[1:])
    (living.add if change == '+' else living.discard)(pid)
for pid in living:
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
"""
    lock = threading.Lock()
    of_process = None

    @classmethod
    def tell(cls, change, pid):
        """"+": pid leads a group that is to end with us; "-": it has been waited for."""
        with cls.lock:
            if cls.of_process is None or cls.of_process[0] != os.getpid():
                cls.of_process = os.getpid(), subprocess.Popen(
                    [sys.executable, "-c", cls.CODE], stdin=subprocess.PIPE, text=True, start_new_session=True)
            stdin = cls.of_process[1].stdin
            stdin.write(f"{change}{pid}\n")
            stdin.flush()


class Process:
    """One child process with its log file."""

    def __init__(self, name, argv, directory, env=None, ready=False):
        self.name = name
        self.log = directory / f"{name}.log"
        environment = {k: v for k, v in os.environ.items() if not k.startswith("AIKI_")}
        environment["ASAN_OPTIONS"] = "detect_leaks=1:abort_on_error=1:detect_stack_use_after_return=0"
        environment["UBSAN_OPTIONS"] = "print_stacktrace=1:halt_on_error=1"
        environment.update({**MODE_ENV, **(env or {})})
        self.ready = None
        reader = writer = None
        if ready:
            reader, writer = os.pipe()
            argv = [*argv, "--ready-fd", str(writer)]
        with open(self.log, "ab") as log:
            log.write(f"---- {' '.join(map(str, argv))}\n".encode())
            log.flush()
            self.popen = subprocess.Popen(
                list(map(str, argv)), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                pass_fds=[writer] if ready else [], env=environment, start_new_session=True)
        Undertaker.tell("+", self.popen.pid)
        if ready:
            os.close(writer)
            self._reader = reader

    @property
    def pid(self):
        return self.popen.pid

    def await_ready(self, patience_s=PATIENCE_S):
        """The JSON line written once the process serves; an early end is an error."""
        text = b""
        deadline = time.monotonic() + patience_s
        try:
            while not text.endswith(b"\n"):
                left = deadline - time.monotonic()
                if left <= 0 or not select.select([self._reader], [], [], left)[0]:
                    raise AssertionError(f"{self.name} is not ready after {patience_s} s\n{self.tail()}")
                chunk = os.read(self._reader, 4096)
                if not chunk:
                    raise AssertionError(f"{self.name} ended before it was ready\n{self.tail()}")
                text += chunk
        finally:
            os.close(self._reader)
        self.ready = json.loads(text)
        return self.ready

    def tail(self, lines=60):
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def alive(self):
        return self.popen.poll() is None

    def send(self, number):
        end(self.pid, number)

    def kill(self):
        if self.alive():
            self.send(signal.SIGKILL)
        self.popen.wait()
        Undertaker.tell("-", self.popen.pid)

    def stop(self, patience_s=PATIENCE_S):
        """SIGTERM and the exit code."""
        self.send(signal.SIGTERM)
        try:
            return self.popen.wait(patience_s)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"{self.name} did not end on SIGTERM\n{self.tail()}") from None

    def children(self):
        """Processes of plugins; one that reads debug information, for some milliseconds, is none, and neither is one
        that has not become another program yet."""
        programs = {pid: program_of(pid) for pid in children_of(self.pid)}
        own = program_of(self.pid)
        return [pid for pid, program in programs.items()
                if program not in (own, "") and os.path.basename(program) != "aiki-lines"]


class Stack:
    """redis-server, one aiki-server, any number of aiki-runtimes, in one directory."""

    def __init__(self, plugins=(), runtimes=1, lease_ms=None, server_args=(), runtime_args=(),
                 env=None, start=True, child_idle=CHILD_IDLE):
        """child_idle: None leaves it to runtime_args, settings or the product."""
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="aiki-test-"))
        self.plugins = self.directory / "plugins"
        self.plugins.mkdir()
        self.server_args = list(server_args)
        if MODE.startswith("lease-") and not lease_ms:
            lease_ms = int(MODE.removeprefix("lease-"))
        if lease_ms:
            self.server_args += ["--lease-ms", lease_ms]
        self.runtime_args = [*(["--child-idle", child_idle] if child_idle else []), *runtime_args]
        self.env = env or {}
        self.redis = self.server = None
        self.runtimes = {}
        self.dead = []
        self.closed = False
        self.addresses = [Address(), Address()]
        self.rpc, self.http = (address.text for address in self.addresses)
        for name in plugins:
            self.drop(name)
        if start:
            self.start_redis()
            self.start_server()
            for index in range(runtimes):
                self.start_runtime(index, wait=False)
            for process in self.runtimes.values():
                process.await_ready()

    # -- processes ---------------------------------------------------------------------------

    @property
    def redis_socket(self):
        return self.directory / "redis.sock"

    @property
    def redis_url(self):
        return f"unix:{self.redis_socket}"

    def start_redis(self):
        self.redis = Process("redis", [
            "redis-server", "--port", "0", "--unixsocket", self.redis_socket, "--save", "",
            "--appendonly", "no", "--dir", self.directory, "--daemonize", "no"], self.directory)
        until(lambda: self.redis_socket.exists() and self._redis_answers(), "redis-server answers")

    def _redis_answers(self):
        try:
            return self.redis_command("PING") == "PONG"
        except OSError:
            return False

    def redis_command(self, *words):
        """One command, its raw reply's first line (or bulk) as text."""
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(10)
            s.connect(str(self.redis_socket))
            parts = [str(w).encode() if not isinstance(w, bytes) else w for w in words]
            s.sendall(b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(p), p) for p in parts))
            return self._redis_reply(s.makefile("rb"))

    def _redis_reply(self, f):
        line = f.readline().rstrip(b"\r\n")
        kind, rest = line[:1], line[1:]
        if kind == b"$":
            n = int(rest)
            return None if n < 0 else f.read(n + 2)[:-2].decode("latin-1")
        if kind == b"*":
            n = int(rest)
            return None if n < 0 else [self._redis_reply(f) for _ in range(n)]
        if kind == b"-":
            raise AssertionError(rest.decode())
        return int(rest) if kind == b":" else rest.decode()

    def start_server(self, env=None, wait=True):
        self.server = Process("server", [
            SERVER, "--listen", self.rpc, "--http", self.http, "--store",
            f"sqlite:{self.directory}/aiki.db", "--redis", self.redis_url, *self.server_args],
            self.directory, env={**self.env, **(env or {})}, ready=True)
        if wait:
            ready = self.server.await_ready()
            self.rpc, self.http = ready["rpc"], ready["http"]
        return self.server

    def start_runtime(self, index=0, env=None, wait=True, args=()):
        process = Process(f"runtime{index}", [
            RUNTIME, "--plugins", self.plugins, "--server", self.rpc, "--redis", self.redis_url,
            "--state", self.directory / f"state{index}", "--name", f"runtime{index}",
            *self.runtime_args, *args], self.directory, env={**self.env, **(env or {})}, ready=True)
        self.runtimes[index] = process
        if wait:
            process.await_ready()
        return process

    @property
    def runtime(self):
        return self.runtimes[0]

    def restart_server(self, env=None):
        self.server.kill()
        return self.start_server(env)

    def restart_redis(self):
        self.redis.kill()
        with contextlib.suppress(FileNotFoundError):
            self.redis_socket.unlink()
        self.start_redis()

    def processes(self):
        return [p for p in (self.redis, self.server, *self.runtimes.values()) if p]

    def close(self, failed=False):
        self.closed = True
        for process in self.processes():
            process.kill()
        for address in self.addresses:
            address.close()
        if failed:
            for log in sorted(self.directory.glob("*.log")):
                lines = log.read_text(errors="replace").splitlines()
                print(f"==== {log.name} ({len(lines)} lines, the last 150)")
                print("\n".join(lines[-150:]))
        self.check_sanitizers()
        if not failed:
            shutil.rmtree(self.directory, ignore_errors=True)

    def check_sanitizers(self):
        for log in self.directory.glob("*.log"):
            # The plugin `crash` dies on purpose, and a sanitizer in its process has its say; `leaper` enters
            # a stack on a wrong thread, and an assertion in its process may be what ends it.
            text = "\n".join(line for line in log.read_text(errors="replace").splitlines()
                             if not ("/crash.so@" in line and "AddressSanitizer: " in line)
                             and not ("/leaper.so@" in line and "Assertion `" in line))
            for sign in ("ERROR: AddressSanitizer", "runtime error:", "ERROR: LeakSanitizer",
                         "Assertion `"):
                assert sign not in text, f"{log.name}: {sign}\n" + "\n".join(text.splitlines()[-80:])

    # -- plugins -----------------------------------------------------------------------------

    def drop(self, name, source=None):
        """Put a plugin into the directory the way an installer does: write aside, rename."""
        target = self.plugins / f"{name}.so"
        aside = self.plugins / f".{name}.tmp"
        shutil.copyfile(source or plugin(name), aside)
        os.rename(aside, target)
        return target

    def remove(self, name, index=0):
        """Take a plugin away; its runtime has seen that when this returns, the server a moment later."""
        (self.plugins / f"{name}.so").unlink()
        gone = re.compile(rf"plugin {name}\.so\S* removed; no new runs")
        until(lambda: gone.search(self.runtimes[index].log.read_text()), f"{name} is removed")

    # -- the API -----------------------------------------------------------------------------

    def http_connection(self, patience_s):
        host, port = self.http.rsplit(":", 1)
        return http.client.HTTPConnection(host, int(port), timeout=patience_s)

    def request(self, method, path, body=None, headers=None, raw=None, patience_s=PATIENCE_S):
        connection = self.http_connection(patience_s)
        try:
            data = raw if raw is not None else None if body is None else json.dumps(body).encode()
            connection.request(method, path, data, {"Content-Type": "application/json", **(headers or {})})
            answer = connection.getresponse()
            text = answer.read()
        finally:
            connection.close()
        try:
            value = json.loads(text) if text else None
        except ValueError:
            value = text.decode(errors="replace")
        if answer.status >= 400:
            raise HttpError(answer.status, value)
        return answer.status, value

    def get(self, path):
        return self.request("GET", path)[1]

    def start(self, workflow, value, key=None, version=None):
        body = {"input": value}
        if key:
            body["key"] = key
        if version:
            body["version"] = version
        return self.request("POST", f"/v1/workflows/{workflow}/runs", body)[1]["id"]

    def start_surely(self, workflow, value, key):
        """Start through faults: repeat with the same key until acknowledged."""
        def attempt():
            assert not self.closed, "the test is over"
            try:
                return self.start(workflow, value, key)
            except (OSError, http.client.HTTPException):
                return None
            except HttpError as e:
                if e.status in (503, 500) or e.code == "WORKFLOW_NOT_FOUND":
                    return None  # or its runtime has not registered it yet
                raise
        return until(attempt, f"start {workflow} {key}", patience_s=2 * PATIENCE_S)

    def run(self, run_id):
        return self.get(f"/v1/runs/{run_id}")

    def state(self, run_id):
        return self.run(run_id)["state"]

    def signal(self, run_id, name, value, ref=None):
        suffix = f"?ref={ref}" if ref else ""
        return self.request("POST", f"/v1/runs/{run_id}/signals/{name}{suffix}", value)

    def result(self, run_id, patience_s=PATIENCE_S):
        """Output of a completed run; anything else is an error."""
        document = self.outcome(run_id, patience_s)
        assert document["state"] == "completed", document
        return document["output"]

    def outcome(self, run_id, patience_s=PATIENCE_S):
        def attempt():
            try:
                status, value = self.request("GET", f"/v1/runs/{run_id}/result?wait=5s")
            except (OSError, http.client.HTTPException):
                return None
            return value if status == 200 else None
        try:
            return until(attempt, f"run {run_id} ends", patience_s)
        except AssertionError as e:
            raise AssertionError(f"{e}\n{json.dumps(self.run(run_id), indent=1)}") from None

    def history(self, run_id):
        events, after = [], 0
        while True:
            page = self.get(f"/v1/runs/{run_id}/history?after={after}&limit=500")
            events += page["events"]
            if not page.get("next"):
                return events
            after = page["next"]

    # -- what a mode that loses sessions adds ------------------------------------------------

    def taken_away(self):
        """How many runs such a mode has taken from their owners, at most: those the server took from sessions that
        ended, and those that runtimes had by then, who hand back what they still can. What was under way in them and not
        on record is executed again; so whoever counts executions allows for this many more. Otherwise 0: the count is
        exact."""
        if not LOSES_SESSIONS:
            return 0
        taken = re.findall(r"is gone; its (\d+) runs are offered", self.server.log.read_text())
        for runtime in self.runtimes.values():
            taken += re.findall(r"the session has ended: (\d+) runs dropped", runtime.log.read_text())
        return sum(map(int, taken))

    def check_trace(self, text, expected):
        """Tasks left these marks. One may be there more than once, in its place, for each time a run was taken away."""
        assert 0 <= len(text) - len(expected) <= self.taken_away(), text
        assert re.fullmatch("".join(re.escape(mark) + "+" for mark in expected), text), text

    def undisturbed(self, scenario):
        """What scenario() found when no session was lost meanwhile, for what such a loss would change altogether."""
        if not LOSES_SESSIONS:
            return scenario()

        def sessions():
            now = self.metrics()
            return now["aiki_sessions_open"], now["aiki_sessions_opened_total"]

        def all_open():
            now = sessions()
            return now if now[0] == sum(r.alive() for r in self.runtimes.values()) else None
        for _ in range(20):
            before = until(all_open, "every runtime has a session")
            found = scenario()
            if sessions() == before:
                return found
        raise AssertionError(f"a session was lost each time; the last time this was found: {found}")

    def metrics(self):
        out = {}
        for line in self.get("/metrics").splitlines():
            if line and not line.startswith("#"):
                name, value = line.rsplit(" ", 1)
                out[name] = float(value)
        return out

    def aiki(self, *args, check=True, stdin=None, patience_s=PATIENCE_S):
        """The command line against this stack."""
        done = subprocess.run([str(AIKI), *map(str, args)], input=stdin, text=True,
                              capture_output=True, timeout=patience_s,
                              env={**os.environ, **MODE_ENV, "AIKI_SERVER": self.rpc})
        if check:
            assert done.returncode == 0, f"aiki {args}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done


class Ledger:
    """The file that `ledger` tasks append to: RUN STEP ATTEMPT PID MONOTONIC_NS a line."""

    def __init__(self, path):
        self.path = pathlib.Path(path)

    def lines(self):
        if not self.path.exists():
            return []
        rows = []
        # A reader may see the first part of a line that is being written across two pages.
        for line in self.path.read_text().split("\n")[:-1]:
            run, step, attempt, pid, ns = line.split()
            rows.append((run, int(step), int(attempt), int(pid), int(ns)))
        return rows

    def pids(self):
        """Processes that executed something."""
        return {pid for _, _, _, pid, _ in self.lines()}

    def check_order(self):
        """Of steps one after the other each begins when the one before is on record, so nobody executes what is on record.
        Except what a process had in hand when its run was taken away, and begins when others have gone on, because it
        heard of that late: once, and it goes no further."""
        by_run = {}
        for run, step, _, pid, ns in self.lines():
            by_run.setdefault(run, []).append((ns, step, pid))
        for run, executed in by_run.items():
            executed.sort()
            highest, late = -1, set()
            for i, (_, step, pid) in enumerate(executed):
                if step < highest:
                    goes_on = next((s for _, s, p in executed[i + 1:] if p == pid), None) == step + 1
                    assert pid not in late and not goes_on, f"{run}: recorded step {step} was executed again: {executed}"
                    late.add(pid)
                highest = max(highest, step)

    def executions(self, run_id):
        steps = {}
        for run, step, _, _, ns in self.lines():
            if run == run_id:
                steps.setdefault(step, []).append(ns)
        return steps
