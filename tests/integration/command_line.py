"""The `aiki` command: what it prints, on a terminal and piped, and every exit code."""
import datetime
import json
import re
import os
import pty
import signal
import statistics
import subprocess
import time

import pytest
from harness import AIKI, ASKS, PATIENCE_S, at_best, in_time, until

OK, INCOMPLETE, USAGE, UNREACHABLE, NOT_FOUND, CONFLICT, TIMED_OUT = 0, 1, 2, 3, 4, 5, 124
NO_RUN = "01JD2V7Q8X3M5N7P9R1S3T5V7W"
NOBODY = "127.0.0.1:1"


def alone(*args, env=None, stdin=None):
    """The command without a stack."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("AIKI_")}
    return subprocess.run([str(AIKI), *args], text=True, capture_output=True, timeout=2 * PATIENCE_S, input=stdin,
                          env={**environment, **(env or {})})


def on_terminal(s, *args, env=None):
    """What the command writes to a terminal, and its exit code."""
    master, slave = pty.openpty()
    process = subprocess.Popen([str(AIKI), *args], stdin=slave, stdout=slave, stderr=slave,
                               env={**os.environ, "AIKI_SERVER": s.rpc, "TERM": "xterm", **(env or {})})
    os.close(slave)
    text = b""
    try:
        while chunk := os.read(master, 65536):
            text += chunk
    except OSError:
        pass  # how a pty says that its other side is closed
    os.close(master)
    return text.decode().replace("\r\n", "\n"), process.wait()


def document(s, *args):
    return json.loads(s.aiki(*args, "--json").stdout)


# -- without a stack ---------------------------------------------------------------------------


def test_any_path_is_printed_as_json(tmp_path):
    name = tmp_path / 'a "quoted" \\ name'
    made = json.loads(alone("plugins", "keygen", str(name), "--json").stdout)
    assert made == {"key": f"{name}.key", "public": f"{name}.pub"}
    signed = json.loads(alone("plugins", "sign", made["public"], "--key", made["key"], "--json").stdout)
    assert signed == {"signature": f"{name}.pub.sig"} and os.path.exists(signed["signature"])


COMMANDS = ["dev", "bench", "version", "help", "workflows list", "workflows show", "workflows trigger",
            "runs list", "runs inspect", "runs watch", "runs wait", "runs result", "runs signal",
            "runs tree", "runs cancel", "runs terminate", "runs pause", "runs resume", "runs wake",
            "runs retry",
            "tasks list", "tasks show", "dead-letters list", "dead-letters show", "dead-letters redrive", "dead-letters drop",
            "workers list", "plugins list", "plugins check", "config show"]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_examples(command):
    done = alone(*command.split(), "--help")
    assert done.returncode == OK
    assert "Examples:" in done.stdout
    assert f"aiki {command}" in done.stdout.split("Examples:")[1]


def test_overview_lists_every_command():
    overview = alone("help").stdout
    for command in COMMANDS:
        assert f"aiki {command}" in overview
    assert alone().returncode == USAGE
    assert alone("--help").stdout == overview
    assert alone("--version").stdout.startswith("aiki ")
    assert "version" in json.loads(alone("version", "--json").stdout)


@pytest.mark.parametrize("args, says", [
    (["frobnicate"], "there is no command 'frobnicate'"),
    (["runs", "frobnicate"], "there is no command 'runs frobnicate'"),
    (["runs", "list", "--sate", "failed"], "unknown flag --sate"),
    (["runs", "list", "--limit", "many"], "--limit: expected a number"),
    (["runs", "list", "--limit"], "--limit needs a value"),
    (["runs", "inspect"], "something is missing"),
    (["runs", "inspect", NO_RUN, "more"], "'more' is one word too many"),
    (["runs", "wait", NO_RUN, "--timeout", "soon"], "expected a duration"),
    (["workflows", "trigger", "hello", "--input", "{\"name\":"], "JSON"),
    (["workflows", "trigger", "hello", "--input", "@/nowhere/order.json"], "/nowhere/order.json"),
    (["workflows", "trigger", "hello", "--if-exists", "maybe"], "--if-exists: expected same"),
    (["workflows", "trigger", "hello", "--at", "tomorrow"], "--at: expected a time"),
    (["workflows", "trigger", "hello", "--at", "2026-11-21T07:31:02Z", "--delay", "5s"], "not both"),
    (["workflows", "trigger", "hello", "--retry", "{"], "JSON"),
    (["workflows", "trigger", "hello", "--timeout", "-5s"], "expected a duration"),
    (["runs", "cancel"], "something is missing"),
    (["runs", "retry", NO_RUN, "--to", "x"], "unknown flag --to"),
    (["bench", "--runs", "0"], "--runs: expected a number from 1"),
    (["bench", "--dev", "--server", NOBODY], "not --server"),
    (["bench", "--data", "/tmp"], "goes with --dev"),
])
def test_bad_arguments_are_usage_errors(args, says):
    done = alone(*args)
    assert (done.returncode, done.stdout) == (USAGE, "")
    assert says in done.stderr


@pytest.mark.parametrize("args", [
    ["workflows", "list"], ["workflows", "show", "hello"],
    ["workflows", "trigger", "hello", "--input", "{}"], ["runs", "list"], ["runs", "inspect", NO_RUN],
    ["runs", "watch", NO_RUN], ["runs", "wait", NO_RUN], ["runs", "result", NO_RUN],
    ["runs", "signal", NO_RUN, "go"], ["runs", "tree", NO_RUN], ["runs", "cancel", NO_RUN],
    ["runs", "terminate", NO_RUN], ["runs", "pause", NO_RUN], ["runs", "resume", NO_RUN],
    ["runs", "wake", NO_RUN], ["runs", "retry", NO_RUN, "--from", "pay"], ["workers", "list"], ["plugins", "list"], ["bench"],
])
def test_no_server_says_how_to_get_one(args):
    done = alone(*args, env={"AIKI_SERVER": NOBODY})
    assert (done.returncode, done.stdout) == (UNREACHABLE, "")
    assert done.stderr.startswith("aiki: UNAVAILABLE: ")
    assert NOBODY in done.stderr
    assert "aiki dev" in done.stderr


# -- exit codes --------------------------------------------------------------------------------

def refused(s, *args, stdin=None):
    done = s.aiki(*args, check=False, stdin=stdin)
    assert done.stdout == "", done.stdout
    assert done.stderr.startswith("aiki: "), done.stderr
    return done.returncode, done.stderr


def test_unknown_things_are_not_found(stacks):
    s = stacks(plugins=["hello"])
    for args in (["runs", "inspect", NO_RUN], ["runs", "watch", NO_RUN], ["runs", "wait", NO_RUN],
                 ["runs", "result", NO_RUN], ["runs", "signal", NO_RUN, "go"],
                 ["workflows", "show", "nothing"], ["workflows", "show", "hello@9.9.9"],
                 ["workflows", "trigger", "nothing"], ["workflows", "trigger", "hello@9.9.9"]):
        code, text = refused(s, *args)
        assert code == NOT_FOUND, (args, text)
        assert "aiki runs list" in text or "aiki workflows list" in text, text
    code, text = refused(s, "runs", "result", "no-run-id")
    assert code == USAGE and "no-run-id" in text


def test_inputs_come_from_words_files_and_pipes(stacks):
    s = stacks(plugins=["hello"])
    path = s.directory / "input.json"
    path.write_text('{"name": "file"}')
    for value, stdin, name in (('{"name":"word"}', None, "word"), (f"@{path}", None, "file"),
                               ("-", '{"name":"pipe"}', "pipe")):
        done = s.aiki("workflows", "trigger", "hello", "--input", value, "--wait", stdin=stdin)
        assert json.loads(done.stdout) == {"greeting": f"Hello, {name}!"}
    code, text = refused(s, "workflows", "trigger", "hello", "--input", '{"name":""}')
    assert code == USAGE and "SCHEMA" in text and "name" in text and "workflows show" in text


def test_a_key_names_one_run(stacks):
    s = stacks(plugins=["hello"])
    start = ["workflows", "trigger", "hello", "--key", "k", "--input"]
    first = document(s, *start, '{"name":"a"}')
    again = document(s, *start, '{"name":"a"}')
    assert (first["created"], again["created"]) == (True, False)
    assert again["id"] == first["id"]
    code, text = refused(s, *start, '{"name":"b"}')
    assert code == CONFLICT and "--key" in text


def test_all_of_an_error_outlives_everything(stacks):
    """Three errors deep, details, and where in the plugin: from the record alone."""
    s = stacks(plugins=["flaky"])
    run = s.start("flaky", {"failures": 1, "how": "full", "policy": "never"})
    assert s.outcome(run)["state"] == "failed"
    for process in s.processes():
        process.kill()
    s.redis_socket.unlink()
    s.start_redis()
    s.start_server()
    text = s.aiki("runs", "inspect", run).stdout
    for part in ("NO_TRANSFER: the transfer was not booked", '{"balance":-5}',
                 "because LEDGER_CLOSED", "because DISK_FULL"):
        assert part in text, text
    frames = re.findall(r"at (\w*)\+0x[0-9a-f]+ \(flaky.so build ([0-9a-f]{8})\)", text)
    assert "fail_fully" in [name for name, _ in frames], text
    failed = [e for e in s.history(run) if (e.get("error") or {}).get("stack")]
    assert failed and failed[0]["error"]["stack"][0].startswith("fail_fully+0x")
    assert failed[0]["error"]["cause"]["cause"]["code"] == "DISK_FULL"


def test_a_failed_run_tells_its_error(stacks):
    s = stacks(plugins=["flaky"])
    done = s.aiki("workflows", "trigger", "flaky", "--input", '{"failures":1,"how":"full","policy":"never"}',
                  "--wait", check=False)
    assert done.returncode == INCOMPLETE and done.stdout == ""
    assert "NO_TRANSFER: the transfer was not booked" in done.stderr
    assert "because LEDGER_CLOSED" in done.stderr and "because DISK_FULL" in done.stderr
    run = document(s, "runs", "list")[0]["id"]
    for command in ("result", "wait"):
        done = s.aiki("runs", command, run, "--json", check=False)
        outcome = json.loads(done.stdout)
        assert done.returncode == INCOMPLETE
        assert (outcome["id"], outcome["state"]) == (run, "failed")
        assert outcome["error"]["code"] == "NO_TRANSFER"
        assert outcome["error"]["details"] == {"balance": -5}
    assert s.aiki("runs", "watch", run, check=False).returncode == INCOMPLETE
    code, text = refused(s, "runs", "signal", run, "go")
    assert code == CONFLICT and "failed" in text


def test_waiting_times_out_and_the_run_goes_on(stacks):
    s = stacks(plugins=["waits"])
    run = s.start("approve", {}, key="k")
    until(lambda: s.state(run) == "awaiting_signal", "it waits")
    done = s.aiki("workflows", "trigger", "approve", "--input", "{}", "--key", "k", "--wait", "50ms", check=False)
    assert done.returncode == TIMED_OUT and done.stdout == ""
    assert "awaiting_signal" in done.stderr and "goes on" in done.stderr
    assert [r["id"] for r in document(s, "runs", "list")] == [run]
    for args in (["wait", run, "--timeout", "50ms"], ["result", run]):
        done = s.aiki("runs", *args, "--json", check=False)
        assert done.returncode == TIMED_OUT
        assert json.loads(done.stdout) == {"id": run, "state": "awaiting_signal"}
    assert s.aiki("runs", "signal", run, "decision", "--payload", '{"ok":true}', "--ref", "r").returncode == OK
    assert json.loads(s.aiki("runs", "wait", run).stdout) == {"ok": True}
    assert json.loads(s.aiki("runs", "result", run, "--wait").stdout) == {"ok": True}


def test_who_waits_is_told_of_the_end_within_50_ms(stacks):
    """Most of three times, beyond what a command takes that has nothing to wait for."""
    s = stacks(plugins=["slow"])

    def late_by():
        done = s.aiki("workflows", "trigger", "slow", "--input", '{"ms":200}', "--wait", "--json")
        returned = time.time()
        run = json.loads(done.stdout)["id"]
        ended = s.history(run)[-1]
        assert ended["kind"] == "completed"
        asked = time.monotonic()
        s.aiki("runs", "result", run)
        command = time.monotonic() - asked
        return returned - datetime.datetime.fromisoformat(ended["at"].replace("Z", "+00:00")).timestamp() - command
    until(lambda: statistics.median(late_by() for _ in range(3)) <= 0.05, "the end is told within 50 ms")


def test_a_run_nobody_serves_says_so(stacks):
    s = stacks(plugins=["hello"])
    s.remove("hello")
    until(lambda: not document(s, "workflows", "list")[0]["served"], "hello is no longer served")
    run = s.start("hello", {"name": "x"}, key="k")
    until(lambda: s.state(run) == "stalled", "nobody serves it")
    done = s.aiki("workflows", "trigger", "hello", "--input", '{"name":"x"}', "--key", "k", "--wait", "100ms", check=False)
    assert done.returncode == TIMED_OUT
    assert "stalled" in done.stderr and "waits for a runtime" in done.stderr
    shown = s.aiki("runs", "inspect", run).stdout
    assert "no runtime serves hello@1.0.0" in shown and "`aiki plugins list` shows" in shown


def test_flag_wins_over_variable(stacks):
    s = stacks(plugins=["hello"])
    assert alone("runs", "list", "--server", s.rpc, env={"AIKI_SERVER": NOBODY}).returncode == OK
    assert alone("runs", "list", env={"AIKI_SERVER": f"aiki://{s.rpc}"}).returncode == OK


def test_output_that_cannot_be_written_is_a_failure(stacks):
    s = stacks(plugins=["hello"])
    with open("/dev/full", "w", encoding="ascii") as full:
        done = subprocess.run([str(AIKI), "workflows", "list", "--server", s.rpc], stdout=full, check=False)
    assert done.returncode == INCOMPLETE


# -- documents ---------------------------------------------------------------------------------

def test_documents_have_the_names_of_the_http_api(stacks):
    s = stacks(plugins=["hello", "waits"])
    run = document(s, "workflows", "trigger", "hello", "--input", '{"name":"x"}', "--wait")
    assert run["state"] == "completed" and run["workflow"] == "hello"
    assert run["output"] == {"greeting": "Hello, x!"}
    assert document(s, "workflows", "list") == s.get("/v1/workflows")["workflows"]
    assert document(s, "workflows", "show", "hello") == s.get("/v1/workflows/hello")
    assert document(s, "runs", "list") == s.get("/v1/runs")["runs"]
    # What their processes use changes by itself.
    until(lambda: document(s, "plugins", "list") == s.get("/v1/plugins")["plugins"], "both say the same")
    worker, = document(s, "workers", "list")
    assert worker["serving"] >= 1 and worker["kept"] == 0, worker
    used = until(lambda: (w := document(s, "workers", "list")[0])["memory_bytes"] and w, "its processes say what they use")
    assert used["processes"] >= 1 and "MEMORY" in s.aiki("workers", "list").stdout, used
    assert (worker["name"], worker["pid"]) == ("runtime0", s.runtime.pid)
    silence = []

    def another_beat():
        silence.append(document(s, "workers", "list")[0]["last_beat_ms"])
        return silence[-1] < max(silence)
    until(another_beat, "the last heartbeat is another one")
    assert "HEARD" in s.aiki("workers", "list").stdout
    inspected = document(s, "runs", "inspect", run["id"])
    assert inspected["run"] == s.run(run["id"])
    assert inspected["events"] == s.history(run["id"])
    watched = s.aiki("runs", "watch", run["id"], "--json").stdout.splitlines()
    assert [json.loads(line) for line in watched] == inspected["events"]


def test_filters_and_pages_of_runs(stacks):
    s = stacks(plugins=["hello", "waits"])
    ids = [s.start("hello", {"name": str(i)}, key=f"k{i}") for i in range(30)]
    for run in ids:
        s.result(run)
    parked = s.start("approve", {})
    until(lambda: s.state(parked) == "awaiting_signal", "the run waits")
    assert [r["id"] for r in document(s, "runs", "list", "--workflow", "hello", "--limit", "7")] == ids[:-8:-1]
    assert [r["id"] for r in document(s, "runs", "list", "--state", "awaiting_signal")] == [parked]
    assert [r["id"] for r in document(s, "runs", "list", "--workflow", "hello", "--key", "k3")] == [ids[3]]
    assert document(s, "runs", "list", "--state", "failed") == []
    code, text = refused(s, "runs", "list", "--state", "lost")
    assert code == USAGE and "lost" in text


def test_plugins_check_serves_no_one_and_says_why(stacks):
    s = stacks()
    bad = s.directory / "text.so"
    bad.write_text("this is no library")
    done = alone("plugins", "check", str(bad))
    assert done.returncode == INCOMPLETE and "NOT_ELF" in done.stdout + done.stderr
    good = json.loads(alone("plugins", "check", str(s.drop("hello")), "--json").stdout)
    assert "hello" in json.dumps(good)


# -- people ------------------------------------------------------------------------------------

def test_tables_are_aligned_on_a_terminal_and_tabbed_in_a_pipe(stacks):
    s = stacks(plugins=["hello"])
    run = s.start("hello", {"name": "x"}, key="a key")
    s.result(run)
    piped = s.aiki("runs", "list").stdout.splitlines()
    assert piped[0].split("\t")[:4] == ["RUN", "WORKFLOW", "VERSION", "STATE"]
    assert piped[1].split("\t")[:4] == [run, "hello", "1.0.0", "completed"]
    assert piped[1].split("\t")[6] == "a key"
    shown, code = on_terminal(s, "runs", "list")
    assert code == OK and "\t" not in shown and "\033[32mcompleted\033[0m" in shown
    plain, _ = on_terminal(s, "runs", "list", env={"NO_COLOR": "1"})
    head, row = plain.splitlines()
    assert "\033" not in plain
    assert row.index("completed") == head.index("STATE")


def test_config_show_tells_values_and_where_they_come_from(tmp_path):
    conf = tmp_path / "runtime.conf"
    conf.write_text("slots = 7\nredis = redis://me:hunter2@db:6379/1\n")
    env = {**os.environ, "AIKI_TOKEN": "a-token-of-sixteen", "AIKI_DRAIN_MS": "5"}

    def show(*args):
        return subprocess.run([str(AIKI), "config", "show", *args], text=True, capture_output=True, env=env)
    lines = show("runtime", "--origin", "--config", str(conf)).stdout.splitlines()
    assert "wait-timeout-ms = 604800000  # default" in lines, "7 days"
    assert "slots = 7  # file:1" in lines and "drain-ms = 5  # AIKI_DRAIN_MS" in lines
    assert "token = (set)  # AIKI_TOKEN" in lines
    assert "redis = redis://(set)@db:6379/1  # file:2" in lines
    plain = show("server").stdout
    assert "lease-ms = 5000\n" in plain and "#" not in plain
    (tmp_path / "again.conf").write_text(plain)
    assert show("server", "--config", str(tmp_path / "again.conf")).stdout == plain, "it is a settings file"
    shown = json.loads(show("server", "--json").stdout)
    assert {"name": "lease-ms", "value": "5000", "origin": "default"} in shown
    bad = show("client")
    assert bad.returncode == 2 and "server or runtime" in bad.stderr
    broken = tmp_path / "broken.conf"
    broken.write_text("slots = many\n")
    assert show("runtime", "--config", str(broken)).returncode == 2


def builds_of(s, count):
    builds = {p["name"]: p["build"] for p in json.loads(s.aiki("plugins", "list", "--json").stdout)}
    return builds if len(builds) == count else None


def test_runs_are_found_by_build_and_time(stacks):
    s = stacks(plugins=["hello", "order-processing", "waits"])
    runs = [s.start("hello", {"name": f"n{i}"}) for i in range(5)]
    for run in runs:
        s.result(run)
    builds = until(lambda: builds_of(s, 3), "all are served, in a session that lasts")

    def found(*filters):
        return {r["id"] for r in json.loads(s.aiki("runs", "list", "--json", *filters).stdout)}
    assert found("--build", builds["hello"]) == set(runs)
    assert found("--build", builds["hello"][:12], "--limit", "3") <= set(runs)
    assert len(found("--build", builds["hello"][:12], "--limit", "3")) == 3
    assert found("--build", builds["order-processing"]) == set()
    waiting = s.start("approve", {})
    until(lambda: s.state(waiting) == "awaiting_signal", "it waits")
    held = s.get(f"/v1/builds/{builds['waits']}")
    assert held["open"] == 1 and [w["name"] for w in held["workflows"]] == ["approve"], held
    assert s.get(f"/v1/builds/{builds['hello']}")["workflows"] == []
    assert found("--build", builds["waits"]) == found("--state", "open") == {waiting}
    runs.append(waiting)
    assert found("--since", "1h") == set(runs)
    assert found("--until", "1h") == set()
    assert found("--since", "1h", "--until", "0s", "--state", "completed") == set(runs) - {waiting}
    refused = s.aiki("runs", "list", "--build", "xyz", check=False)
    assert refused.returncode == 2 and "BAD_BUILD" in refused.stderr


def test_an_empty_list_says_what_to_do_next(stacks):
    s = stacks()
    for args, says in ((["workflows", "list"], "drop a plugin"), (["runs", "list"], "trigger"),
                       (["plugins", "list"], "drop .so files")):
        shown, code = on_terminal(s, *args)
        assert code == OK and says in shown


def test_control_characters_of_users_do_not_reach_the_terminal(stacks):
    s = stacks(plugins=["hello"])
    s.result(s.start("hello", {"name": "\033[2Jboo"}, key="\033]0;owned\a"))
    run = document(s, "runs", "list")[0]["id"]
    for args in (["runs", "list"], ["runs", "inspect", run], ["runs", "result", run]):
        shown, _ = on_terminal(s, *args, env={"NO_COLOR": "1"})
        assert "\033" not in shown and "\a" not in shown


def test_inspect_and_watch_tell_the_story(stacks):
    s = stacks(plugins=["flaky"])
    run = s.start("flaky", {"failures": 1, "policy": "fixed", "delay_ms": 10, "how": "full"})
    for command in ("watch", "inspect"):
        shown = s.aiki("runs", command, run).stdout
        for word in ("started", "attempt failed", "err NO_TRANSFER", 'details {"balance":-5}',
                     "because LEDGER_CLOSED", "because DISK_FULL", 'retry {"kind":"fixed"', "attempt 2",
                     "completed"):
            assert word in shown, (command, word, shown)
    steps = [line.split("\t") for line in shown.splitlines() if line.startswith("task attempt\t")]
    assert [(s[3], s[4]) for s in steps] == [("2", "ok")]


def test_inspect_says_what_it_waits_for_and_who_else_asked(stacks):
    s = stacks(plugins=["waits"])
    start = ["workflows", "trigger", "approve", "--input", '{"timeout_ms":600000}', "--key", "k"]
    run = document(s, *start)["id"]
    assert document(s, *start)["id"] == run
    until(lambda: s.state(run) == "awaiting_signal", "it waits")
    wait, = s.run(run)["waits"]
    assert (wait["kind"], wait["name"]) == ("signal", "decision") and wait["since"] < wait["expires"]
    shown = s.aiki("runs", "inspect", run).stdout
    assert "waits for signal decision since" in shown and "until" in shown
    assert "by aiki" in shown and f"absorbed  {ASKS} more start" in shown
    assert "signal decision\t" in shown and "\topen\t" in shown


def test_versions_say_how_many_runs_need_them(stacks):
    s = stacks(plugins=["waits"])
    runs = [s.start("approve", {"timeout_ms": 600000}) for _ in range(3)]
    for run in runs:
        until(lambda run=run: s.state(run) == "awaiting_signal", "it waits")

    def listed():
        return next(line.split("\t") for line in s.aiki("workflows", "list").stdout.splitlines()
                    if line.startswith("approve"))
    until(lambda: listed()[2] == "yes", "its runtime has a session")
    assert listed()[:4] == ["approve", "1.0.0", "yes", "3"]
    assert "1.0.0\tyes\t3\t" in s.aiki("workflows", "show", "approve").stdout


def test_a_run_alone_is_its_tree(stacks):
    s = stacks(plugins=["hello"])
    run = s.start("hello", {"name": "x"})
    s.result(run)
    tree = document(s, "runs", "tree", run)
    assert tree == s.get(f"/v1/runs/{run}/tree")
    assert (tree["id"], tree["truncated"]) == (run, False)
    assert [(r["id"], r["depth"], r["parent"]) for r in tree["runs"]] == [(run, 0, None)]
    assert s.aiki("runs", "tree", run).stdout.splitlines()[1].startswith(run)
    assert refused(s, "runs", "tree", NO_RUN)[0] == NOT_FOUND


# -- bench -------------------------------------------------------------------------------------

def test_bench_measures_and_reports(stacks):
    s = stacks(plugins=["bench"])
    few = ["bench", "--runs", "60", "--in-flight", "8", "--single", "5", "--fan-out", "2", "--width", "20",
           "--parked", "40", "--history", "300", "--primitives", "3"]

    def measures():
        report = document(s, *few)
        in_time(report["history"]["resume_ms"] < 2000, report["history"])
        return report
    report = at_best(measures)
    assert report["completed"] == 60 and report["failed"] == 0
    assert report["runs_per_s"] > 0
    assert report["steps_per_s"] == pytest.approx(3 * report["runs_per_s"])
    assert 0 < report["p50_ms"] <= report["p95_ms"] <= report["p99_ms"] <= report["max_ms"]
    assert report["fsyncs"] > 0
    assert set(report["cpu_s"]) >= {"server", "broker", "children", "redis", "bench", "total"}
    assert report["one_at_a_time"]["completed"] == 5
    assert report["fan_out"]["steps"] == 20
    parked = report["parked"]
    assert parked["runs"] == 40 and parked["store_bytes_per_run"] > 200
    assert 0 < parked["resume_p50_ms"] <= parked["resume_p99_ms"]
    history = report["history"]
    assert history["steps"] == 300 and history["events"] > 300
    assert 0 < history["resume_ms"] and history["child_peak_bytes"] > 0
    assert 0 < history["repeat_ms"], "the signal was not repeated"
    costs = report["primitives"]
    assert costs["run"]["commits"] >= 1 and costs["run"]["events"] >= 3
    assert all(costs[what]["events"] >= 1 for what in ("task", "side", "group")), costs
    assert {"pool", "sleep", "child", "signal", "cancel"} < set(costs)
    assert costs["retry"]["events"] >= 2, "a failed attempt and a result"
    assert costs["child"]["events"] > costs["shared"]["events"] >= 2, "one run for all who ask"
    assert not document(s, "runs", "list", "--state", "awaiting_signal"), "it left runs behind"
    assert "recovery" not in report, "it killed what is not its own"
    shown = s.aiki(*few, "--pool").stdout
    for word in ("RUNS/S", "one at a time", "fan-out of 20", "redis", "STORE BYTES/RUN", "HISTORY", "COST OF"):
        assert word in shown


def test_bench_without_its_plugin_says_what_to_do(stacks):
    s = stacks()
    code, text = refused(s, "bench", "--runs", "5")
    assert code == NOT_FOUND and "NOT_SERVED" in text and "bench.so" in text


def test_bench_says_when_its_stack_does_not_start(tmp_path):
    redis = tmp_path / "redis-server"
    redis.write_text("#!/bin/sh\nexit 1\n")
    redis.chmod(0o755)
    (tmp_path / "data").mkdir()
    done = alone("bench", "--dev", "--data", str(tmp_path / "data"), "--runs", "5",
                 env={"PATH": f"{tmp_path}:{os.environ['PATH']}"})
    assert done.returncode == INCOMPLETE and "STACK_FAILED" in done.stderr


def test_bench_brings_its_own_stack_and_leaves_nothing(tmp_path):
    done = alone("bench", "--dev", "--data", str(tmp_path), "--runs", "20", "--in-flight", "4",
                 "--single", "2", "--fan-out", "0", "--parked", "20", "--history", "20", "--json")
    assert done.returncode == OK, done.stderr
    report = json.loads(done.stdout)
    assert report["completed"] == 20
    assert 0 < report["recovery"]["killed_child_ms"] and 0 < report["recovery"]["killed_runtime_ms"]
    assert list(tmp_path.iterdir()) == []


def test_bench_that_is_interrupted_leaves_nothing(tmp_path):
    """Ctrl-C reaches the whole process group, as a terminal's does."""
    process = subprocess.Popen([str(AIKI), "bench", "--dev", "--data", str(tmp_path), "--runs", "9000000"],
                               start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until(lambda: list(tmp_path.glob("*/data/aiki.db")), "the stack stores runs")
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(PATIENCE_S) == 128 + signal.SIGINT
    finally:
        process.kill()
        process.wait()
    assert list(tmp_path.iterdir()) == []
