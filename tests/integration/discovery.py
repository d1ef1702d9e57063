"""What runtimes offer, found and told; and that a start of a run does not load anything again."""
import json
import re
import shutil
import time

import pytest

from harness import RUNTIME, SANITIZED, HttpError, plugin, until


def test_tasks_are_listed_with_the_runtimes_that_serve_them(stacks):
    s = stacks(plugins=["flaky", "order-processing"], runtimes=2)
    builds = {p["name"]: p["build"] for p in s.get("/v1/plugins")["plugins"]}
    tasks = {t["name"]: t for t in s.get("/v1/tasks")["tasks"]}
    assert list(tasks) == sorted(tasks) and {"attempt", "charge-payment", "validate-order"} <= set(tasks)
    charge = tasks["charge-payment"]
    assert charge["served"] and charge["summary"] == "Charge the customer's card" and "input" not in charge
    assert charge["retry"]["kind"] == "exponential" and charge["start_to_close_ms"] is None
    assert sorted(b["worker"] for b in charge["served_by"]) == ["runtime0", "runtime1"]
    assert {(b["plugin"], b["build"], b["state"]) for b in charge["served_by"]} == {
        ("order-processing", builds["order-processing"], "serving")}
    one = s.get("/v1/tasks/charge-payment")
    assert one["input"]["properties"]["amount_cents"] and one["output"]["properties"]["payment_reference"], one
    assert json.loads(s.aiki("tasks", "list", "--json").stdout) == s.get("/v1/tasks")["tasks"]
    row, = (line for line in s.aiki("tasks", "list").stdout.splitlines() if "charge-payment" in line)
    assert re.search(r"\b2\b", row), row
    shown = s.aiki("tasks", "show", "charge-payment").stdout
    assert "runtime0" in shown and "runtime1" in shown and "amount_cents" in shown
    with pytest.raises(HttpError) as refused:
        s.get("/v1/tasks/nobody")
    assert refused.value.status == 404 and refused.value.code == "TASK_NOT_FOUND"
    s.runtimes[1].stop()
    until(lambda: len(s.get("/v1/tasks/attempt")["served_by"]) == 1, "who is gone serves nothing")


def test_files_that_match_a_pattern_are_no_plugins(stacks):
    s = stacks(start=False, runtime_args=["--plugins-ignore", "old-*,*-test.so"])
    s.drop("hello")
    s.drop("old-hello", plugin("waits"))
    s.drop("flaky-test", plugin("flaky"))
    s.start_redis()
    s.start_server()
    s.start_runtime(0)
    s.drop("slow-test", plugin("slow"))
    s.drop("values")
    until(lambda: {p["file"] for p in s.get("/v1/plugins")["plugins"]} >= {"hello.so", "values.so"}, "they serve")
    assert {p["file"] for p in s.get("/v1/plugins")["plugins"]} == {"hello.so", "values.so"}


@pytest.mark.skipif(SANITIZED, reason="a sanitizer opens files of its own")
def test_ten_thousand_starts_load_once_and_touch_no_file(stacks, tmp_path, monkeypatch):
    """H5: strace sees every file that the runtime and its children open."""
    if not shutil.which("strace"):
        pytest.skip("strace is not installed")
    wrapper, calls = tmp_path / "aiki-runtime", tmp_path / "calls"
    wrapper.write_text(f'#!/bin/sh\nexec strace -D -f --seccomp-bpf -qq -e trace=openat,open,execve -o {calls} {RUNTIME} "$@"\n')
    wrapper.chmod(0o755)
    monkeypatch.setattr("harness.RUNTIME", wrapper)
    s = stacks(plugins=["bench"])

    def copies():
        """Opens of the private copy of the plugin, each by the process that maps it."""
        return [line for line in calls.read_text().splitlines() if re.search(r'open(at)?\(.*state0/.*\.so".* = \d+', line)]

    def files():
        return [line for line in calls.read_text().splitlines() if re.search(r"\b(open(at)?|execve)\(", line)]

    def bench(runs):
        done = s.aiki("bench", "--runs", runs, "--single", 0, "--fan-out", 0, "--parked", 0, "--history", 0, "--json",
                      patience_s=300)
        assert json.loads(done.stdout)["runs"] == runs, done

    bench(100)
    loaded, before = len(copies()), len(files())
    assert loaded >= 1
    began = time.monotonic()
    bench(10000)
    seconds = time.monotonic() - began
    assert len(copies()) == loaded, "nothing is loaded again"
    new = files()[before:]
    assert not [line for line in new if ".so" in line or "execve" in line], new[:5]
    # The broker looks at what its children use (limits per child) and whether an event was lost, by time and not by start:
    # USAGE_LOOK_MS, two files; WATCH_RESCAN_MS.
    looks = [line for line in new if re.search(r'"/proc/\d+/(status|fd|stat|smaps_rollup|task)', line)]
    opened = [line for line in new if line not in looks]
    assert len(opened) < 10 + seconds / 10, f"{len(opened)} files were opened by 10,000 starts: {opened[:5]}"
    assert len(looks) < 100 + 12 * seconds, f"{len(looks)} looks at children: {looks[:5]}"
