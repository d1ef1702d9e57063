"""/metrics of server and runtime: what a scraper reads, and that a bad build and a refused file can be seen there."""
import http.client
import json
import re
import subprocess

import prometheus
from harness import PATIENCE_S, ROOT, RUNTIME, UNADORNED, Ledger, plugin, until


def of_server(s):
    return prometheus.parse(s.get("/metrics"))


def ask_runtime(s, method="GET", path="/metrics"):
    host, port = s.runtime.ready["metrics"].rsplit(":", 1)
    connection = http.client.HTTPConnection(host, int(port), timeout=PATIENCE_S)
    connection.request(method, path)
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer, text


def of_runtime(s):
    answer, text = ask_runtime(s)
    assert answer.status == 200 and answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    return prometheus.parse(text)


def with_metrics(stacks, **kwargs):
    return stacks(runtime_args=["--metrics", "127.0.0.1:0"], **kwargs)


def short(s, name, state="serving"):
    def found():
        return next((p["build"] for p in s.get("/v1/plugins")["plugins"] if p["name"] == name and p["state"] == state), None)
    return until(found, f"a build of {name} is {state}")[:12]


def attempts(s, **labels):
    return prometheus.value(of_server(s)[1], "aiki_task_attempts_total", **labels)


def test_every_metric_is_documented_with_its_type(stacks):
    s = with_metrics(stacks, plugins=["flaky"])
    assert s.result(s.start("flaky", {"failures": 0}))
    found = {**of_server(s)[0], **of_runtime(s)[0]}
    rows = re.findall(r"^\| `(aiki_\w+)` \| (counter|gauge) \|", (ROOT / "docs/operating.md").read_text(), re.M)
    assert len(dict(rows)) == len(rows), "one row each"
    documented = dict(rows)
    tokens = {"aiki_tokens_refused_total"}  # only with a token file
    assert {n: t for n, t in documented.items() if n not in tokens} == found


def test_attempts_are_counted_by_outcome_category_and_build(stacks):
    s = stacks(plugins=["flaky"])
    assert s.result(s.start("flaky", {"failures": 0}))
    assert s.result(s.start("flaky", {"failures": 2, "policy": "fixed", "delay_ms": 10}))
    s.outcome(s.start("flaky", {"failures": 1, "policy": "never"}))
    build = short(s, "flaky")
    mine = {"task": "attempt", "build": build}
    assert attempts(s, **mine, outcome="ok", category="none") == 2
    assert attempts(s, **mine, outcome="retried", category="user") == 2
    assert attempts(s, **mine, outcome="failed", category="user") == 1
    assert attempts(s) == 5, "nothing else is counted"


def test_steps_that_were_announced_are_counted_by_name_also_after_a_restart(stacks):
    """Their ends do not say what they are; neither does the memory of a server that was not there."""
    s = stacks(plugins=["ledger", "waits"])
    path = str(s.directory / "ledger.txt")
    assert s.result(s.start("ledger", {"steps": 8, "task_ms": 20, "path": path, "width": 4}))
    names = {dict(labels)["task"] for name, labels in of_server(s)[1] if name == "aiki_task_attempts_total"}
    assert "other" not in names and len(names) == 1, names
    assert attempts(s, outcome="ok") == 8
    gate = s.directory / "gate"
    slow = s.start("ledger", {"steps": 4, "task_ms": 0, "path": path, "width": 4, "gate": str(gate)})
    until(lambda: len(Ledger(path).executions(slow)) == 4, "it runs")
    s.restart_server()
    gate.touch()
    assert s.result(slow)
    assert attempts(s, outcome="ok") >= 4 and attempts(s, task="other") == 0


def test_a_bad_new_build_is_a_series_of_its_own(stacks):
    s = with_metrics(stacks, server_args=["--quarantine-crashes", "3"], env=UNADORNED)
    s.drop("verge", plugin("verge-good"))
    good = short(s, "verge")
    assert s.result(s.start("verge", {"ms": 0}))
    asleep = s.start("verge", {"ms": 600000})
    until(lambda: s.state(asleep) == "sleeping", "a run that keeps the old build")
    s.drop("verge", plugin("verge-bad"))
    until(lambda: {p["state"] for p in s.get("/v1/plugins")["plugins"]} == {"serving", "kept"}, "the old one is kept")
    bad = short(s, "verge")
    for run in [s.start("verge", {"ms": 0}) for _ in range(4)]:
        assert s.result(run) == {"ok": True}
    assert attempts(s, task="edge", build=bad, outcome="crashed", category="plugin") >= 3
    assert attempts(s, task="edge", build=bad, outcome="ok") == 0
    assert attempts(s, task="edge", build=good, outcome="ok") == 5
    samples = of_runtime(s)[1]
    assert prometheus.value(samples, "aiki_runtime_quarantined") == 1
    assert prometheus.value(samples, "aiki_runtime_gate_runs_total", verdict="moves") >= 1
    assert prometheus.value(samples, "aiki_runtime_builds", state="kept") == 1


def test_a_runtime_says_what_it_serves_and_how_busy_it_is(stacks):
    s = with_metrics(stacks, plugins=["hello", "waits", "slow"], child_idle="always")  # processes without runs are counted
    samples = of_runtime(s)[1]
    assert prometheus.value(samples, "aiki_runtime_builds", state="serving") == 3
    assert prometheus.value(samples, "aiki_runtime_children") == len(s.runtime.children()) == 3
    assert prometheus.value(samples, "aiki_runtime_session_up") == 1
    assert prometheus.value(samples, "aiki_runtime_slots") == 512
    assert prometheus.value(samples, "aiki_runtime_slots_busy") == 0
    before = prometheus.value(samples, "aiki_runtime_child_restarts_total")
    for pid in s.runtime.children():
        subprocess.run(["kill", "-9", str(pid)], check=True)
    until(lambda: prometheus.value(of_runtime(s)[1], "aiki_runtime_child_restarts_total") == before + 3, "replaced")
    assert ask_runtime(s, path="/")[0].status == 404
    assert ask_runtime(s, method="DELETE")[0].status == 405


def test_every_refusal_is_seen_in_all_four_places(stacks):
    """Log, `aiki plugins list`, /metrics of runtime and server, and the registry of the server (issue 4)."""
    s = with_metrics(stacks, plugins=["hello"])
    wrong = {"text.so": (b"not a plugin\n" * 300, None), "abi.so": (plugin("wrong-abi").read_bytes(), None),
             "twin.so": (plugin("hello").read_bytes() + b"\0", None), "cut.so": (plugin("hello").read_bytes()[:5000], None),
             "open.so": (plugin("waits").read_bytes(), 0o777)}
    for name, (content, mode) in wrong.items():
        aside = s.plugins / f".{name}.tmp"
        aside.write_bytes(content)
        aside.chmod(mode or 0o644)
        aside.rename(s.plugins / name)
    rows = until(lambda: (p := {p["file"]: p for p in s.get("/v1/plugins")["plugins"] if p["state"] == "refused"})
                 and set(p) == set(wrong) and p, "the registry knows all of them")
    listed = s.aiki("plugins", "list").stdout
    log = s.runtime.log.read_text()
    samples = of_runtime(s)[1]
    codes = {name: row["error"]["code"] for name, row in rows.items()}
    assert codes["open.so"] == "UNTRUSTED_MODE" and len(set(codes.values())) >= 4, codes
    for name, code in codes.items():
        assert f"plugin {name} refused: {code}: " in log
        assert any(name in line and code in line for line in listed.splitlines()), (name, code, listed)
        assert prometheus.value(samples, "aiki_runtime_files_refused_total", code=code) >= 1, code
    assert prometheus.value(samples, "aiki_runtime_files_refused") == len(wrong)
    assert prometheus.value(of_server(s)[1], "aiki_plugins_refused_total") >= len(wrong)
    assert json.loads(s.aiki("plugins", "list", "--json").stdout)
    assert s.result(s.start("hello", {"name": "still"})), "what served goes on"
    for name in wrong:
        (s.plugins / name).unlink()
    until(lambda: prometheus.value(of_runtime(s)[1], "aiki_runtime_files_refused") == 0, "gone files are refused no more")


def test_an_address_that_cannot_be_had_ends_the_runtime_with_a_reason(stacks):
    s = stacks(start=False)
    for address, words in (("nowhere", "expected"), ("example.org:80", "expected IP:PORT"), ("unix:/x", "expected IP:PORT")):
        done = subprocess.run([RUNTIME, "--plugins", s.plugins, "--state", s.directory / "state", "--metrics", address],
                              text=True, capture_output=True, timeout=30)
        assert done.returncode == 2 and words in done.stderr + done.stdout, done
