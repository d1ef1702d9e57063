"""A plugin serves without a process until a run needs it: of a thousand, those that are used are mapped."""
import collections
import hashlib
import os
import re
import signal
import threading
import urllib.request

import prometheus
import pytest

from harness import PATIENCE_S, SANITIZED, Ledger, descriptors, end, is_stopped, plugin, until

# Under a sanitizer a process takes ten times as long to start; the rest is the same.
MANY = 100 if SANITIZED else 1000
START_S = 20 * PATIENCE_S
IDLE = None  # the product's
FILES, BUILDS = 5, 5  # 20 older builds


def lot(number, task=b"work"):
    """A plugin with a name and a workflow of its own, and perhaps another task."""
    one = plugin("lot-0000").read_bytes()
    assert b"lot-0000" in one and b"\0work\0" in one
    return one.replace(b"lot-0000", b"lot-%04d" % number).replace(b"\0work\0", b"\0" + task + b"\0")


def lots(s, count):
    """So many of them in one directory."""
    for number in range(count):
        (s.plugins / f"lot-{number:04}.so").write_bytes(lot(number))


@pytest.fixture
def demand(stacks):
    """Stacks as the product starts them, or with another idle time."""
    def make(*args, idle=None, **kwargs):
        return stacks(*args, child_idle=idle, runtime_args=["--metrics", "127.0.0.1:0"], **kwargs)
    return make


def sample(s, name):
    with urllib.request.urlopen(f"http://{s.runtime.ready['metrics']}/metrics", timeout=PATIENCE_S) as answer:
        return prometheus.value(prometheus.parse(answer.read().decode())[1], f"aiki_runtime_{name}")


def use(s, number):
    run = s.start(f"lot-{number:04}", {"n": number})
    assert s.result(run) == {"n": number + 1}
    return run


def resident_kb(s):
    with open(f"/proc/{s.runtime.pid}/status") as status:
        return int(re.search(r"VmRSS:\s+(\d+) kB", status.read())[1])


def mapped(s):
    """Copies of plugins that the processes of the runtime have mapped, by build."""
    found = set()
    for pid in [s.runtime.pid, *s.runtime.children()]:
        with open(f"/proc/{pid}/maps") as maps:
            found |= set(re.findall(r"/cache/[^/]+/([0-9a-f]{64})\.\d+\.so", maps.read()))
    return found


def build_of(s, number):
    return until(lambda: next((p["build"] for p in s.get("/v1/plugins")["plugins"] if p["file"] == f"lot-{number:04}.so"), None),
                 "the server has heard of it")


def loaded(s):
    return {p["file"] for p in s.get("/v1/plugins")["plugins"] if p["loaded"]}


def wait_of(s, run):
    return sum(e.get("load_ms", 0) for e in s.history(run) if e["kind"] == "claimed")


def test_of_a_thousand_plugins_those_that_are_used_are_mapped(demand):
    s = demand(start=False, idle=IDLE)
    lots(s, MANY)
    s.start_redis()
    s.start_server()
    s.start_runtime(0, wait=False)
    assert s.runtime.await_ready(START_S)["plugins"] == MANY
    assert s.runtime.children() == [] and mapped(s) == set(), "nothing is loaded, nothing is left of probes"
    assert sample(s, "probes_total") == MANY
    used = [1, MANY // 2, MANY - 1]
    runs = [use(s, n) for n in used]
    assert mapped(s) == {build_of(s, n) for n in used} and len(s.runtime.children()) == len(used)
    assert all(wait_of(s, run) > 0 for run in runs), "who waits can see it"
    until(lambda: loaded(s) == {f"lot-{n:04}.so" for n in used}, "the server has heard of them")
    again = use(s, 1)
    assert wait_of(s, again) == 0 and sample(s, "loads_total") == len(used)
    fourth = use(s, 7)
    assert len(s.runtime.children()) == len(used) + 1 and mapped(s) == {build_of(s, n) for n in [*used, 7]}
    assert re.search(r"waited \d\S*s for its plugin to be loaded", s.aiki("runs", "inspect", fourth).stdout)
    assert "loaded on demand in " in s.runtime.log.read_text()

    s.runtime.kill()
    s.start_runtime(0, wait=False)
    assert s.runtime.await_ready(START_S)["plugins"] == MANY
    assert sample(s, "probes_total") == 0, "the same bytes are not asked again"
    assert s.runtime.children() == []
    use(s, 3)
    assert mapped(s) == {build_of(s, 3)}


def test_a_process_that_nobody_needs_ends_and_comes_back(demand):
    s = demand(plugins=["hello", "ledger"], idle="0,ledger.so=always")
    until(lambda: len(s.runtime.children()) == 1, "the one that is always there")
    ledger, = s.runtime.children()
    for number in range(1, 4):
        assert s.result(s.start("hello", {"name": "you"})) == {"greeting": "Hello, you!"}
        until(lambda: sample(s, "unloads_total") == number, "it has ended")
        until(lambda: s.runtime.children() == [ledger], "one process is left")
    until(lambda: loaded(s) == {"ledger.so"}, "the server has heard of it")
    rows = s.aiki("plugins", "list").stdout.splitlines()
    assert any(re.search(r"^hello\s.*serving\s+no\s", row) for row in rows), rows
    assert any(re.search(r"^ledger\s.*serving\s+\d+\S+\s", row) for row in rows), rows
    shown = s.aiki("plugins", "show", "hello").stdout
    assert ": not loaded" in shown and re.search(r"loaded on demand 3 times, the last in \d+ ms", shown)


def test_runs_by_the_hundred_wait_for_one_process(demand):
    s = demand(plugins=["hello"], idle=IDLE)
    runs = [s.start("hello", {"name": str(n)}) for n in range(100)]
    assert [s.result(run)["greeting"] for run in runs] == [f"Hello, {n}!" for n in range(100)]
    assert sample(s, "loads_total") == 1 and len(s.runtime.children()) == 1
    assert all(len([e for e in s.history(run) if e["kind"] == "claimed"]) == 1 for run in runs), "claimed once each"


def test_a_run_that_waits_keeps_its_process(demand):
    """What is resident needs its process, however long nothing happens; what is parked does not."""
    s = demand(plugins=["slow", "waits"], idle="0")
    resident = s.start("slow", {"ms": 2000, "how": "poll"})
    parked = s.start("approve", {"timeout_ms": 600000})
    until(lambda: s.state(parked) == "awaiting_signal", "it is parked")
    until(lambda: sample(s, "unloads_total") >= 1, "its process ends")
    s.signal(parked, "decision", {"ok": True})
    assert s.result(parked)["ok"] is True
    assert s.result(resident)["attempt"] == 1
    assert "crashed" not in {e["kind"] for e in s.history(resident)}


def test_a_new_build_of_what_is_in_use_is_there_before_it_serves(demand):
    s = demand(plugins=["hello"], idle=IDLE)
    s.drop("hello", with_tail(s, 1))
    until(lambda: serving(s) == with_tail_build(s, 1), "the second build serves")
    assert s.runtime.children() == [], "nobody has used it"
    s.result(s.start("hello", {"name": "you"}))
    s.drop("hello", with_tail(s, 2))
    until(lambda: serving(s) == with_tail_build(s, 2), "the third build serves")
    run = s.start("hello", {"name": "you"})
    s.result(run)
    assert wait_of(s, run) == 0, "nobody waits at a deployment"
    assert sample(s, "loads_total") == 1


def with_tail(s, size):
    path = s.directory / f"hello-{size}.so"
    path.write_bytes(plugin("hello").read_bytes() + b"\0" * size)
    return path


def with_tail_build(s, size):
    return hashlib.blake2b(with_tail(s, size).read_bytes(), digest_size=32).hexdigest()


def serving(s):
    return next((p["build"] for p in s.get("/v1/plugins")["plugins"] if p["state"] == "serving"), None)


def states(s):
    return collections.Counter(p["state"] for p in s.get("/v1/plugins")["plugins"])


def test_many_older_builds_cost_nothing_until_their_runs_need_them(demand):
    """Of each file five builds with a run that fits that one only: all are known, none has a process. Then all run at once."""
    s = demand(start=False, idle="0")
    s.start_redis()
    s.start_server()
    s.start_runtime(0)
    runs = []
    for age in range(BUILDS):
        for number in range(FILES):
            path = s.directory / f"lot-{number}.so"
            path.write_bytes(lot(number, b"wor%d" % age))
            s.drop(f"lot-{number:04}", path)
        until(lambda: states(s) == {"serving": FILES, **({"kept": age * FILES} if age else {})}, "they serve")
        for number in range(FILES):
            runs.append(s.start(f"lot-{number:04}", {"n": age, "sleep_ms": 3_600_000}))
        for run in runs[-FILES:]:
            until(lambda: s.state(run) == "sleeping", "it sleeps")
        until(lambda: s.runtime.children() == [], "nobody needs a process")
        if age == 0:
            before = resident_kb(s), len(descriptors(s.runtime.pid))
    assert len(descriptors(s.runtime.pid)) <= before[1] + 2, "none for what is kept"
    if not SANITIZED:
        assert resident_kb(s) < before[0] + BUILDS * FILES * 64
    s.runtime.kill()
    s.start_runtime(0)
    until(lambda: states(s) == {"serving": FILES, "kept": (BUILDS - 1) * FILES}, "all are known")
    until(lambda: s.runtime.children() == [], "what the gates of those that serve needed is gone")
    assert sample(s, "loads_total") == sample(s, "probes_total") == 0
    for run in runs:
        s.request("POST", f"/v1/runs/{run}/wake")
    for n, run in enumerate(runs):
        assert s.result(run) == {"n": n // FILES + 1}
        kinds = collections.Counter(e["kind"] for e in s.history(run))
        assert kinds["step_done"] == 2 and not kinds["crashed"] + kinds["attempt_failed"] + kinds["blocked"], kinds
    until(lambda: s.runtime.children() == [], "their processes end")
    until(lambda: states(s)["kept"] <= FILES, "nobody needs them any more, but as the ones before")


def test_runs_that_wait_for_one_process_begin_in_the_order_in_which_they_came(demand):
    s = demand(start=False, idle=IDLE)
    s.drop("ledger")
    s.start_redis()
    s.start_server()
    s.runtime_args += ["--task-threads", "1"]
    s.start_runtime(0, env={"AIKI_FAULT": "child.loaded=stop", "AIKI_FAULT_ONCE": str(s.directory / "spent")})
    path = str(s.directory / "ledger.txt")
    runs = [s.start("ledger", {"steps": 1, "task_ms": 0, "path": path, "width": 1}) for _ in range(40)]
    until(lambda: all(s.state(run) == "running" for run in runs), "all are claimed")
    child, = until(lambda: [pid for pid in s.runtime.children() if is_stopped(pid)], "it is about to be ready")
    assert end(child, signal.SIGCONT)
    for run in runs:
        assert s.result(run) == {"steps": 1}
    assert [line[0] for line in Ledger(path).lines()] == runs or s.taken_away()


def test_a_gate_at_the_start_of_a_runtime_leaves_no_process(demand):
    """The file was exchanged while the runtime was down, under runs that do not fit what it is now."""
    s = demand(start=False, idle=IDLE)
    s.drop("change", plugin("change-original"))
    s.start_redis()
    s.start_server()
    s.start_runtime(0)
    runs = [s.start("change", {}) for _ in range(4)]
    for run in runs:
        until(lambda: s.state(run) == "awaiting_signal", "it waits")
    before = serving(s)
    s.runtime.kill()
    s.drop("change", plugin("change-added-before"))
    s.start_runtime(0)
    now = until(lambda: next((p for p in s.get("/v1/plugins")["plugins"] if p["state"] == "serving"), None), "it serves")
    assert now["build"] != before and now["gate"]["stay"] == now["gate"]["replayed"] == len(runs), now
    until(lambda: s.runtime.children() == [], "what the gate needed is gone, and no run needs anything")
    assert sample(s, "loads_total") == 0 and sample(s, "probes_total") == 1, "the older build is known"
    for run in runs:
        s.signal(run, "go", None)
    for run in runs:
        assert s.result(run) == 3
        assert [e["build"] for e in s.history(run) if e["kind"] == "claimed"][-1] == before


def test_what_was_never_loaded_goes_without_a_trace(demand):
    s = demand(plugins=["hello", "waits"], idle=IDLE)
    s.remove("hello")
    until(lambda: {p["file"] for p in s.get("/v1/plugins")["plugins"] if p["state"] == "serving"} == {"waits.so"}, "it is gone")
    assert s.runtime.children() == []
    assert s.runtime.stop() == 0
    kept = list((s.directory / "state0").glob("kept/*/*/.probed"))
    assert len(kept) <= 2, kept
    assert list((s.directory / "state0" / "cache").iterdir()) == [], "no copy is left"


def test_older_builds_that_are_kept_are_not_started_by_a_restart(demand):
    """Each has an open run that executed it last; none of the runs has anything to do just now."""
    s = demand(start=False, idle=IDLE)
    s.runtime_args += ["--log", "debug"]
    s.start_redis()
    s.start_server()
    s.start_runtime(0)
    runs = []
    for variant in (1, 2, 3):
        s.drop("swap", plugin(f"swap{variant}"))
        until(lambda: serving(s) is not None and len({p["build"] for p in s.get("/v1/plugins")["plugins"]}) == variant, "it serves")
        runs.append(s.start("swap", {"path": str(s.directory / "trace")}))
        until(lambda: s.state(runs[-1]) in ("awaiting_signal", "sleeping"), "it is parked")
    s.runtime.kill()
    s.start_runtime(0)
    until(lambda: sum(p["state"] == "kept" for p in s.get("/v1/plugins")["plugins"]) == 2, "the older ones are known")
    before, after = s.runtime.log.read_text().rsplit("\n---- ", 1)
    started = r"runtime/child: swap\.so@\w+: process \d+"
    assert re.search(started, before) and not re.search(started, after), "they are known without one"
    assert sample(s, "probes_total") == 0


def test_the_setting_changes_while_it_runs(demand):
    s = demand(plugins=["hello"], start=False)
    config = s.directory / "runtime.conf"
    config.write_text("child-idle = 300\n")
    s.runtime_args += ["--config", config]
    s.start_redis()
    s.start_server()
    s.start_runtime(0)
    assert s.runtime.children() == []
    config.write_text("child-idle = always\n")
    s.runtime.send(signal.SIGHUP)
    until(lambda: len(s.runtime.children()) == 1, "it is loaded")
    config.write_text("child-idle = 0\n")
    s.runtime.send(signal.SIGHUP)
    until(lambda: s.runtime.children() == [], "it is not needed")
    config.write_text("child-idle = sometimes\n")
    s.runtime.send(signal.SIGHUP)
    until(lambda: re.search(r"child-idle must be .*, or always", s.runtime.log.read_text()), "nonsense is named")
    assert s.result(s.start("hello", {"name": "still"}))


def copies_of(s, build):
    return list((s.directory / "state0" / "cache").glob(f"*/{build}.*.so"))


def test_a_plugin_that_does_not_load_when_it_is_needed_loses_nothing(demand):
    """Its copy is damaged behind the runtime's back; then it is mended, and the runs go on."""
    s = demand(plugins=["hello"], idle=IDLE)
    copy, = copies_of(s, serving(s))
    good = copy.read_bytes()
    copy.write_bytes(b"\x7fELF, once")
    runs = [s.start("hello", {"name": str(n)}) for n in range(5)]
    why = until(lambda: next((p["process"]["why"] for p in s.get("/v1/plugins")["plugins"] if p["process"]["why"]), None),
                "the reason is shown")
    assert "does not load" in why, why
    assert "does not load" in s.aiki("plugins", "show", "hello").stdout
    assert re.search(r"hello\.so@\w+ does not load: ", s.runtime.log.read_text())
    copy.write_bytes(good)
    for n, run in enumerate(runs):
        assert s.result(run) == {"greeting": f"Hello, {n}!"}
        assert not [e for e in s.history(run) if e["kind"] == "crashed"], "no run is charged"


@pytest.mark.parametrize("how", ["rewritten", "cut", "foreign"])
def test_a_damaged_note_is_probed_anew(demand, how):
    s = demand(plugins=["hello"], idle=IDLE)
    note, = (s.directory / "state0").glob("kept/*/*/.probed")
    s.runtime.kill()
    if how == "rewritten":
        note.write_bytes(note.read_bytes().replace(b"hello", b"jello"))
    elif how == "cut":
        note.write_bytes(note.read_bytes()[:-1])
    else:
        os.chmod(note, 0o666)
    s.start_runtime(0)
    assert sample(s, "probes_total") == 1
    assert s.result(s.start("hello", {"name": "you"})) == {"greeting": "Hello, you!"}
    s.runtime.kill()
    s.start_runtime(0)
    assert sample(s, "probes_total") == 0, "and noted anew"


def test_builds_come_and_go_while_a_process_is_started(demand):
    """Every run of those that come meanwhile ends, whichever build has it."""
    s = demand(plugins=["hello"], idle="0")
    over = threading.Event()
    runs, errors = [], []

    def work():
        while not over.is_set():
            try:
                run = s.start("hello", {"name": "you"})
                runs.append(run)
                s.result(run)
            except BaseException as e:  # told below
                errors.append(e)
                return
    worker = threading.Thread(target=work)
    worker.start()
    for size in range(1, 6):
        before = len(runs)
        until(lambda: len(runs) >= before + 2 or errors, "runs come")
        s.drop("hello", with_tail(s, size))
        until(lambda: serving(s) == with_tail_build(s, size), "it serves")
    over.set()
    worker.join()
    assert errors == []
    assert {s.state(run) for run in runs} == {"completed"}
