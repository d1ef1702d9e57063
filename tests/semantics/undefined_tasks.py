"""A call of a task that the build does not define: the run waits for a build that does, and loses nothing."""
import subprocess

import pytest

import chain
from harness import BUILD, ROOT, until

MISSPELT = 'TASK("mark"); TASK("shpi-it"); WAIT("go");'
MENDED = MISSPELT.replace("shpi-it", "ship-it")
BESIDE = 'aiki_future f[3]; BEGIN("held", f[0]); TASK("mark"); BEGIN("mark", f[1]); BEGIN("shpi-it", f[2]); ALL(f);'


@pytest.fixture
def orders(stacks, tmp_path, trace):
    """A stack, and orders(steps) which serves them as the plugin "orders"."""
    s = stacks()

    def serve(steps):
        source, target = tmp_path / "orders.c", tmp_path / "orders.so"
        source.write_text(f"""#include "pair.h"
#include "trace.h"
static aiki_status noted(const char *letter)
{{
    return trace_append("{trace}", letter, 1) ? AIKI_OK : AIKI_FAILED;
}}
static aiki_status mark(aiki_call *call, aiki_view in) {{ (void)call; (void)in; return noted("m"); }}
static aiki_status ship(aiki_call *call, aiki_view in) {{ (void)call; (void)in; return noted("s"); }}
static aiki_status held(aiki_call *call, aiki_view in)
{{
    (void)in;
    trace_await(call, "{tmp_path}/open");
    return noted("h");
}}
PAIR_FUNCTION(work, {steps})
AIKI_PLUGIN("orders", "1.0.0", AIKI_WORKFLOWS(AIKI_WORKFLOW("orders", "1.0.0", work)),
            AIKI_TASKS(AIKI_TASK("mark", mark), AIKI_TASK("ship-it", ship), AIKI_TASK("held", held)));
""")
        subprocess.run(["cc", "-shared", "-fPIC", "-fvisibility=hidden", f"-I{ROOT}/abi/include", f"-I{BUILD}/abi/include",
                        f"-I{ROOT}/tests/support/plugins", source, "-o", target], check=True)
        before = serving(s)
        s.drop("orders", target)
        until(lambda: serving(s) not in ([], before), "it serves")
    s.serve, s.gate = serve, tmp_path / "open"
    return s


def serving(s):
    return [p["build"] for p in s.get("/v1/plugins")["plugins"] if p["state"] == "serving" and p["file"] == "orders.so"]


def blocked(s, run):
    """Why. In some modes it is offered and blocked again."""
    seen = []
    until(lambda: seen.append(s.run(run)) or seen[-1]["state"] == "blocked", "no build defines the task")
    return seen[-1]["error"]


def test_a_misspelt_task_blocks_until_it_is_mended(orders, trace):
    orders.serve(MISSPELT)
    run = orders.start("orders", {})
    error = blocked(orders, run)
    build = serving(orders)[0][:12]
    assert error["code"] == "TASK_UNKNOWN"
    assert error["message"] == (f"build {build} of plugin orders has no task shpi-it, is it ship-it; serve a build that has it, "
                                "and the run goes on")
    assert {k: error["details"][k] for k in ("plugin", "task", "nearest")} == {
        "plugin": "orders", "task": "shpi-it", "nearest": "ship-it"}
    until(lambda: "\nblocked   put a build that fits" in orders.aiki("runs", "inspect", run).stdout, "inspect says what to do")
    until(lambda: run in orders.aiki("runs", "list", "--state", "blocked").stdout, "it is listed")
    orders.serve(MENDED)
    until(lambda: orders.state(run) == "awaiting_signal", "it goes on by itself")
    orders.signal(run, "go", None)
    orders.result(run)
    orders.check_trace(trace.read_text(), "ms")
    events = orders.history(run)
    chain.check(events)
    assert not [e for e in events if e["kind"] in ("attempt_failed", "step_begun") and e.get("name") == "shpi-it"]


def check_marks(s, text, expected):
    """In any order. Each may be there more than once, for each time a run was taken away."""
    assert set(text) == set(expected), text
    for mark in set(expected):
        assert 0 <= text.count(mark) - expected.count(mark) <= s.taken_away(), text


def test_what_is_under_way_beside_it_is_not_lost(orders, trace):
    orders.serve(BESIDE)
    run = orders.start("orders", {})
    until(lambda: "m" in trace.read_text(), "the first has ended, and with it the unknown one is called")
    assert orders.state(run) != "blocked" or orders.taken_away(), "a task is under way"
    orders.gate.touch()
    assert blocked(orders, run)["code"] == "TASK_UNKNOWN"
    if orders.taken_away():
        assert "s" not in trace.read_text()  # what was under way is executed again, in the end
    else:
        check_marks(orders, trace.read_text(), "hm")
    orders.serve(BESIDE.replace("shpi-it", "ship-it"))
    orders.result(run)
    check_marks(orders, trace.read_text(), "hmms")
    chain.check(orders.history(run))


def test_it_can_be_ended(orders, trace):
    orders.serve(MISSPELT)
    runs = [orders.start("orders", {}) for _ in range(2)]
    for run in runs:
        blocked(orders, run)
    orders.request("POST", f"/v1/runs/{runs[0]}/terminate", {"reason": "no more"})
    assert orders.outcome(runs[0])["state"] == "terminated"
    orders.request("POST", f"/v1/runs/{runs[1]}/cancel", {"reason": "no more"})
    orders.serve(MISSPELT + ' TASK("mark");')
    assert orders.outcome(runs[1])["state"] == "cancelled", "code that is to end does not need the task"
    orders.check_trace(trace.read_text(), "mm")
    for run in runs:
        chain.check(orders.history(run))


def test_the_build_before_goes_on_with_it(orders, trace):
    """It was executed by the new build already, and by the record the old one fits as well."""
    orders.serve('TASK("mark"); WAIT("go"); TASK("ship-it");')
    run = orders.start("orders", {})
    until(lambda: orders.state(run) == "awaiting_signal", "it waits")
    orders.serve('TASK("mark"); WAIT("go"); TASK("shpi-it");')
    orders.signal(run, "go", None)
    orders.result(run)
    orders.check_trace(trace.read_text(), "ms")
    assert not [e for e in orders.history(run) if e["kind"] == "blocked"]
