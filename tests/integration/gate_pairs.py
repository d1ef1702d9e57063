"""Pairs of old and new source: what the gate says of open runs, and how they end.

Each pair is a workflow of its own, all in one stack: the old ones are served, a run of each is brought
to its wait, the new ones are dropped over them, and then every run is told to go on. The answer is
the steps that were asked for, so it tells which code ended the run.
"""
import pathlib
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest

import chain
from harness import BUILD, MODE, ROOT, Stack, until

OLD = 'TASK("a"); TASK("b"); WAIT("go"); TASK("c");'
MOVES, STAYS, REFUSED = "moves", "stays", "refused"
MESSAGE_BYTES = 248  # of an aiki_error, with its NUL
GATES_AT_ONCE = 3  # each gate has three seconds, also where sanitizers make everything slow
pytestmark = pytest.mark.xdist_group("gate_pairs")  # one process builds and serves them all


class Pair:
    def __init__(self, name, new, verdict, answer, said="", old=OLD, **more):
        self.name, self.old, self.new = name, old, new
        self.verdict, self.answer, self.said = verdict, answer, said
        self.more = more  # tasks, workflows, head: of the new source; both: workflows of both

    def source(self, new):
        more = self.more if new else {}
        name, workflows = self.name, self.more.get("both", 'AIKI_WORKFLOW("NAME", "1.0.0", work)')
        return f"""#include "pair.h"
{more.get("head", "")}
PAIR_FUNCTION(work, {self.new if new else self.old})
AIKI_PLUGIN("{name}", "{2 if new else 1}.0.0",
            AIKI_WORKFLOWS({more.get("workflows", workflows).replace("NAME", name)}),
            {more.get("tasks", "PAIR_TASKS()")});
"""


STAYED = "ab-c"
WITH_KID = 'AIKI_WORKFLOW("NAME", "1.0.0", work), AIKI_WORKFLOW("NAME-kid", "1.0.0", kid)'
REMEDY = ". To continue, serve a build that takes the recorded steps"


def task(name, amount=1, of="task"):
    return f'{of} {name} {{"order":{{"amount":"{amount}"}}}}'


def said(recorded, asked, cause):
    """The whole sentence. Where the remedy has no room it is in the details alone."""
    text = f"recorded: {recorded}; the code now asks for: {asked}; {cause}"
    return text + REMEDY if len(text + REMEDY) < MESSAGE_BYTES else text


WITHOUT_C = 'AIKI_TASKS(AIKI_TASK("a", echo), AIKI_TASK("b", echo), AIKI_TASK("d", echo))'
LATER = 'TASK("a"); TASK("b"); WAIT("go"); TASK("d"); NAP("nap", 1); SIDE("s"); TASK("c");'
BRANCH = 'bool e = false; AIKI_TRY(pair_echoed(&p, "a", "1", &e)); TASK("b"); WAIT("go"); if (e) TASK("c");'
UNSEEN = 'bool e = false; TASK("a"); TASK("b"); WAIT("go"); AIKI_TRY(pair_echoed(&p, "d", "2", &e)); if (e) TASK("c");'


def gone(name, behind="", cause=None):
    return f"has no task {name}; {cause or 'the code calls it' + behind}"


PAIRS = [
    # what moves
    Pair("same-code", OLD, MOVES, "ab-c"),
    Pair("appended", 'TASK("a"); TASK("b"); WAIT("go"); TASK("c"); TASK("d");', MOVES, "ab-cd"),
    Pair("inserted-behind", 'TASK("a"); TASK("b"); WAIT("go"); TASK("d"); TASK("c");', MOVES, "ab-dc"),
    Pair("removed-behind", 'TASK("a"); TASK("b"); WAIT("go");', MOVES, "ab-"),
    Pair("renamed-behind", 'TASK("a"); TASK("b"); WAIT("go"); TASK("d");', MOVES, "ab-d"),
    Pair("input-behind", 'TASK("a"); TASK("b"); WAIT("go"); TASK_OF("c", "2");', MOVES, "ab-c"),
    Pair("reordered", 'TASK("b"); TASK("a"); WAIT("go"); TASK("c");', MOVES, "ba-c"),
    Pair("in-parallel", 'aiki_future f, g; BEGIN("a", f); BEGIN("b", g); JOIN(f); JOIN(g); WAIT("go"); TASK("c");',
         MOVES, "ab-c"),
    Pair("begun-before-the-wait", 'aiki_future f; TASK("a"); TASK("b"); BEGIN("x", f); WAIT("go"); JOIN(f); TASK("c");',
         MOVES, "abx-c"),
    Pair("retry-policy", """const aiki_retry r = {.struct_size = sizeof(r), .kind = AIKI_RETRY_FIXED, .attempts_max = 9,
                                                  .delay_ms = 5};
         const aiki_task_options o = {.struct_size = sizeof(o), .retry = &r};
         TASK_WITH("a", &o); TASK("b"); WAIT("go"); TASK("c");""", MOVES, "ab-c"),
    Pair("timeout", """const aiki_task_options o = {.struct_size = sizeof(o), .start_to_close_ms = 60000};
         TASK_WITH("a", &o); TASK("b"); WAIT("go"); TASK("c");""", MOVES, "ab-c"),
    Pair("wait-limit", 'TASK("a"); TASK("b"); WAIT_FOR("go", 3600000); TASK("c");', MOVES, "ab-c"),
    Pair("sleep-that-is-over", 'TASK("a"); NAP("nap", 60000); WAIT("go"); TASK("c");', MOVES, "a-c",
         old='TASK("a"); NAP("nap", 1); WAIT("go"); TASK("c");'),
    Pair("side-value-behind", 'TASK("a"); TASK("b"); WAIT("go"); SIDE("s"); TASK("c"); TASK("d");', MOVES, "ab-cd"),
    Pair("sleep-behind", 'TASK("a"); TASK("b"); WAIT("go"); NAP("nap", 1); TASK("c"); TASK("d");', MOVES, "ab-cd"),
    Pair("workflow-policy", OLD, MOVES, "ab-c",
         workflows='AIKI_WORKFLOW("NAME", "1.0.0", work, AIKI_BACKOFF(3, 10, 100))'),
    Pair("version-beside", OLD, MOVES, "ab-c",
         workflows='AIKI_WORKFLOW("NAME", "1.0.0", work), AIKI_WORKFLOW("NAME", "2.0.0", work)'),
    Pair("task-added", OLD, MOVES, "ab-c", tasks='PAIR_TASKS(, AIKI_TASK("unused", echo))'),
    # what stays
    Pair("inserted-first", 'TASK("x"); TASK("a"); TASK("b"); WAIT("go"); TASK("c");', STAYS, STAYED,
         said(task("a"), task("x"), "task x was inserted before task a")),
    Pair("inserted-alike", 'TASK("a"); TASK("x"); TASK("b"); WAIT("go"); TASK("c");', STAYS, STAYED,
         said(task("b"), task("x"), "task x was inserted before task b")),
    Pair("inserted-between", 'TASK("a"); TASK_OF("x", "2"); TASK("b"); WAIT("go"); TASK("c");', STAYS, STAYED,
         said(task("b"), task("x", 2), "task x was inserted before task b")),
    Pair("inserted-before-the-wait", 'TASK("a"); TASK("b"); TASK("x"); WAIT("go"); TASK("c");', STAYS, STAYED,
         said("signal go", task("x"), "task x was inserted before signal go")),
    Pair("two-inserted", 'TASK("a"); TASK("x"); TASK("d"); TASK("b"); WAIT("go"); TASK("c");', STAYS, STAYED,
         said(task("b"), task("x"), "task x and task d were inserted before task b")),
    Pair("two-inserted-apart", 'TASK("x"); TASK("a"); TASK("d"); TASK("b"); WAIT("go"); TASK("c");', STAYS, STAYED,
         said(task("a"), task("x"), "task x was inserted before task a; task d was inserted before task b")),
    Pair("inserted-in-a-loop", 'const char *n[] = {"1", "2", "3"};'
         'for (int i = 0; i < 3; i++) { TASK_OF("a", n[i]); TASK_OF("x", n[i]); } WAIT("go");', STAYS, "aaa-",
         said(task("a", 2), task("x"), 'task x {"order":{"amount":"1"}} was inserted before task a '
              '{"order":{"amount":"2"}}; 2 more changes'),
         old='const char *n[] = {"1", "2", "3"}; for (int i = 0; i < 3; i++) TASK_OF("a", n[i]); WAIT("go");'),
    Pair("another-pass-of-a-loop", 'const char *n[] = {"1", "2", "3"}; for (int i = 0; i < 3; i++) TASK_OF("a", n[i]);'
         'WAIT("go");', STAYS, "aa-",
         said("signal go", task("a", 3), 'task a {"order":{"amount":"3"}} was inserted before signal go'),
         old='const char *n[] = {"1", "2"}; for (int i = 0; i < 2; i++) TASK_OF("a", n[i]); WAIT("go");'),
    Pair("removed-first", 'TASK("b"); WAIT("go"); TASK("c");', STAYS, STAYED,
         said(task("a"), "nothing", "task a was removed")),
    Pair("removed-last", 'TASK("a"); WAIT("go"); TASK("c");', STAYS, STAYED,
         said(task("b"), "nothing", "task b was removed")),
    Pair("two-removed", 'TASK("a"); WAIT("go");', STAYS, "abc-",
         said(task("b"), "nothing", "task b and task c were removed"),
         old='TASK("a"); TASK("b"); TASK("c"); WAIT("go");'),
    Pair("wait-removed", 'TASK("a"); TASK("b"); TASK("c");', STAYS, STAYED,
         said("signal go", task("c"), "signal go was removed")),
    Pair("all-removed", ';', STAYS, STAYED, said(task("a"), "nothing", "the code now ends before task a")),
    Pair("returns-early", 'TASK("a"); if (p.steps[0] == \'a\') return pair_answer(&p); TASK("b"); WAIT("go");', STAYS,
         STAYED, said(task("b"), "nothing", "the code now ends before task b")),
    Pair("renamed", 'TASK("x"); TASK("b"); WAIT("go"); TASK("c");', STAYS, STAYED,
         said(task("a"), task("x"), "task a was renamed to x")),
    Pair("renamed-and-input-changed", 'TASK("a"); TASK_OF("x", "2"); WAIT("go"); TASK("c");', STAYS, STAYED,
         said(task("b"), task("x", 2), 'task b became task x with another input: order.amount was "1", is "2"')),
    Pair("signal-renamed", 'TASK("a"); TASK("b"); WAIT("start"); TASK("c");', STAYS, STAYED,
         said("signal go", "signal start", "signal go was renamed to start")),
    Pair("input-changed", 'TASK("a"); TASK_OF("b", "2"); WAIT("go"); TASK("c");', STAYS, STAYED,
         said('task b with order.amount "1"', 'task b with order.amount "2"',
              'the input of task b changed: order.amount was "1", is "2"')),
    Pair("input-marked", 'TASK("a"); TASK_OF("b", "2"); WAIT("go"); TASK("c");', STAYS, STAYED,
         said('task b with order.amount "[redacted]"', 'task b with order.amount "[redacted]"',
              'the input of task b changed: order.amount was "[redacted]", is "[redacted]"'),
         head="""#include <aiki/record.h>
#define BILL(F, R) F(R, str, amount, AIKI_OPTIONAL, AIKI_PII)
AIKI_RECORD(bill, BILL);""",
         tasks='PAIR_TASKS(, AIKI_TASK("pay", echo, AIKI_INPUT(bill)))'),
    Pair("called-once-more", 'TASK("a"); TASK("b"); TASK("b"); WAIT("go"); TASK("c");', STAYS, STAYED,
         said("signal go", task("b"), "task b (call 2) was inserted before signal go")),
    Pair("called-once-less", OLD, STAYS, "abb-c", said(task("b"), "nothing", "task b (call 2) was removed"),
         old='TASK("a"); TASK("b"); TASK("b"); WAIT("go"); TASK("c");'),
    # Once the signal is on record too, it is but another order. Who replays then may go on with the new code.
    Pair("wait-before-a-step", 'TASK("a"); WAIT("go"); TASK("b"); TASK("c");', STAYS,
         "a-bc" if MODE == "always-replay" else STAYED,
         said(task("b"), "nothing", "task b and signal go are in another order")),
    Pair("sleep-renamed", 'TASK("a"); NAP("pause", 1); WAIT("go"); TASK("c");', STAYS, "a-c",
         said("sleep nap", "sleep pause", "sleep nap was renamed to pause"),
         old='TASK("a"); NAP("nap", 1); WAIT("go"); TASK("c");'),
    Pair("sleep-until-renamed", 'TASK("a"); NAP_UNTIL("pause", 1); WAIT("go"); TASK("c");', STAYS, "a-c",
         said("sleep nap", "sleep pause", "sleep nap was renamed to pause"),
         old='TASK("a"); NAP_UNTIL("nap", 1); WAIT("go"); TASK("c");'),
    Pair("sleep-inserted", 'TASK("a"); NAP("nap", 1); TASK("b"); WAIT("go"); TASK("c");', STAYS, STAYED,
         said(task("b"), "sleep nap", "sleep nap was inserted before task b")),
    Pair("sleep-became-a-task", 'TASK("a"); TASK("x"); WAIT("go"); TASK("c");', STAYS, "a-c",
         said("sleep nap", task("x"), "sleep nap became task x"),
         old='TASK("a"); NAP("nap", 1); WAIT("go"); TASK("c");'),
    Pair("side-value-inserted", 'SIDE("s"); TASK("a"); TASK("b"); WAIT("go"); TASK("c");', STAYS, STAYED,
         said(task("a"), "side s", "side s was inserted before task a")),
    Pair("side-value-removed", OLD, STAYS, STAYED, said("side s", "nothing", "side s was removed"),
         old='TASK("a"); SIDE("s"); TASK("b"); WAIT("go"); TASK("c");'),
    Pair("side-value-renamed", 'TASK("a"); SIDE("t"); TASK("b"); WAIT("go"); TASK("c");', STAYS, STAYED,
         said("side s", "side t", "side s was renamed to t"),
         old='TASK("a"); SIDE("s"); TASK("b"); WAIT("go"); TASK("c");'),
    Pair("clock-inserted", 'int64_t at; TASK("a"); AIKI_TRY(aiki_now(run, &at, err)); TASK("b"); WAIT("go"); TASK("c");',
         STAYS, STAYED, said(task("b"), "side $now", "side $now was inserted before task b")),
    Pair("child-inserted", 'TASK("a"); CHILD("child-inserted-kid", "1"); TASK("b"); WAIT("go"); TASK("c");', STAYS, STAYED,
         said(task("b"), task("child-inserted-kid", of="child"), "child child-inserted-kid was inserted before task b"),
         both=WITH_KID),
    Pair("child-input", 'TASK("a"); CHILD("child-input-kid", "2"); WAIT("go"); TASK("c");', STAYS, "ak-c",
         said('child child-input-kid with order.amount "1"', 'child child-input-kid with order.amount "2"',
              'the input of child child-input-kid changed: order.amount was "1", is "2"'),
         old='TASK("a"); CHILD("child-input-kid", "1"); WAIT("go"); TASK("c");', both=WITH_KID),
    Pair("another-child", 'TASK("a"); CHILD("another-kid", "1"); WAIT("go"); TASK("c");', STAYS, "ak-c",
         said(task("another-child-kid", of="child"), task("another-kid", of="child"),
              "child another-child-kid was renamed to another-kid"),
         old='TASK("a"); CHILD("another-child-kid", "1"); WAIT("go"); TASK("c");', both=WITH_KID),
    Pair("all-of-more", 'aiki_future f[3]; BEGIN("a", f[0]); BEGIN("b", f[1]); BEGIN("x", f[2]); ALL(f); WAIT("go");', STAYS,
         "ab-", said("signal go", task("x"), "task x was inserted before signal go"),
         old='aiki_future f[2]; BEGIN("a", f[0]); BEGIN("b", f[1]); ALL(f); WAIT("go");'),
    Pair("all-of-others", 'aiki_future f[2]; BEGIN("a", f[0]); BEGIN("x", f[1]); ALL(f); WAIT("go");', STAYS, "ab-",
         said(task("b"), task("x"), "task b was renamed to x"),
         old='aiki_future f[2]; BEGIN("a", f[0]); BEGIN("b", f[1]); ALL(f); WAIT("go");'),
    Pair("any-of-fewer", 'aiki_future f[1]; BEGIN("a", f[0]); ANY(f); WAIT("go");', STAYS, "ab-",
         said(task("b"), "nothing", "task b was removed"),
         old='aiki_future f[2]; BEGIN("a", f[0]); BEGIN("b", f[1]); ANY(f); ALL(f); WAIT("go");'),
    # What an inserted step answers is made up while the gate looks on; code that relies on it must do no harm.
    Pair("crashes-looking-ahead", 'TASK("a"); TASK_ECHOED("x", "2", __builtin_trap()); TASK("b"); WAIT("go");', STAYS,
         STAYED, said(task("b"), task("x", 2), "likely a step was inserted or replaced")),
    Pair("loops-looking-ahead", 'TASK("a"); TASK_ECHOED("x", "2", for (volatile int i = 0; i == 0;) {}); TASK("b");'
         'WAIT("go");', STAYS, STAYED, said(task("b"), task("x", 2), "likely a step was inserted or replaced")),
    Pair("fails-looking-ahead", 'TASK("a"); TASK_ECHOED("x", "2", return AIKI_FAILED); TASK("b"); WAIT("go");', STAYS,
         STAYED, said(task("b"), task("x", 2), "likely a step was inserted or replaced")),
    Pair("input-schema", OLD, STAYS, STAYED, "count: is required",
         head="""#include <aiki/record.h>
#define STRICT(F, R) F(R, i64, count, AIKI_REQUIRED)
AIKI_RECORD(strict, STRICT);""",
         workflows='AIKI_WORKFLOW("NAME", "1.0.0", work, AIKI_INPUT(strict))'),
    Pair("output-schema", OLD, STAYS, STAYED,
         "the recorded output of task a does not fit this build: count: is required",
         head="""#include <aiki/record.h>
#define STRICT(F, R) F(R, i64, count, AIKI_REQUIRED)
AIKI_RECORD(strict, STRICT);""",
         tasks="""AIKI_TASKS(AIKI_TASK("a", echo, AIKI_OUTPUT(strict)), AIKI_TASK("b", echo),
                             AIKI_TASK("c", echo))"""),
    # What the new table lacks, and old ones had: whether it will be called.
    Pair("task-gone-and-called", OLD, STAYS, STAYED, gone("c", " behind signal go, as far as made-up results show"),
         tasks=WITHOUT_C),
    Pair("task-gone-called-at-once", 'aiki_future f; TASK("a"); TASK("b"); BEGIN("c", f); WAIT("go"); JOIN(f);', STAYS, STAYED,
         gone("c", cause="serve a build that has it, and the run goes on"), tasks=WITHOUT_C),
    Pair("task-gone-called-later", LATER, STAYS, "ab-dc", gone("c", " behind side s, as far as made-up results show"),
         old=LATER, tasks=WITHOUT_C),
    Pair("task-gone-in-a-branch-taken", BRANCH, STAYS, STAYED,
         gone("c", " behind signal go, as far as made-up results show"), old=BRANCH, tasks=WITHOUT_C),
    # Only what the task really answers leads to the call: then the run stays nevertheless.
    Pair("task-gone-in-a-branch-not-seen", UNSEEN, MOVES, "ab-dc", old=UNSEEN, tasks=WITHOUT_C),
    Pair("task-gone-and-not-called", 'TASK("a"); TASK("b"); WAIT("go"); TASK("d");', MOVES, "ab-d", tasks=WITHOUT_C),
    Pair("task-renamed-in-both", 'TASK("a"); TASK("b"); WAIT("go"); TASK("e");', MOVES, "ab-e",
         tasks=WITHOUT_C.replace('"d"', '"e"')),
    Pair("task-gone-from-the-record", 'TASK("a"); TASK("b"); WAIT("go"); TASK("d");', MOVES, "ab-d",
         tasks=WITHOUT_C.replace('AIKI_TASK("a", echo), ', '')),
    Pair("task-gone-crashes-looking-on", 'TASK("a"); TASK("b"); WAIT("go"); TASK_ECHOED("d", "2", __builtin_trap()); TASK("c");',
         MOVES, "ab-dc", old='TASK("a"); TASK("b"); WAIT("go"); TASK_OF("d", "2"); TASK("c");', tasks=WITHOUT_C),
    Pair("task-gone-loops-looking-on", 'TASK("a"); TASK("b"); WAIT("go");'
         'TASK_ECHOED("d", "2", for (volatile int i = 0; i == 0;) {}); TASK("c");',
         MOVES, "ab-dc", old='TASK("a"); TASK("b"); WAIT("go"); TASK_OF("d", "2"); TASK("c");', tasks=WITHOUT_C),
    # what cannot be asked, or must not serve
    Pair("version-gone", 'TASK("x");', None, STAYED, workflows='AIKI_WORKFLOW("NAME", "2.0.0", work)'),
    Pair("crashes-in-replay", 'TASK("a"); TASK("b"); __builtin_trap(); WAIT("go");', REFUSED, STAYED,
         "while the journal of run", code="GATE_CRASHED"),
    Pair("never-comes-back", 'TASK("a"); TASK("b"); for (volatile int i = 0; i == 0;) {} WAIT("go");', REFUSED,
         STAYED, "endless loop", code="GATE_STUCK"),
]


def build(folder, pair, new):
    at = folder / f"{pair.name}-{'new' if new else 'old'}"
    source, target = at.with_suffix(".c"), at.with_suffix(".so")
    source.write_text(pair.source(new))
    subprocess.run(["cc", "-shared", "-fPIC", "-fvisibility=hidden", "-O1", "-Wall", "-Werror", "-Wno-unused-function",
                    f"-I{ROOT}/abi/include", f"-I{BUILD}/abi/include", f"-I{ROOT}/tests/support/plugins",
                    source, "-o", target], check=True)
    return target


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Every pair's run, brought to its wait, replaced, and told to go on."""
    folder = tmp_path_factory.mktemp("pairs")
    with ThreadPoolExecutor(2) as pool:
        old = list(pool.map(lambda p: build(folder, p, False), PAIRS))
        new = list(pool.map(lambda p: build(folder, p, True), PAIRS))
    s = Stack(start=False)
    try:
        for pair, file in zip(PAIRS, old):
            s.drop(pair.name, file)
        s.start_redis()
        s.start_server()
        s.start_runtime(0)
        s.runs = {pair.name: s.start(pair.name, {}) for pair in PAIRS}
        for name, run in s.runs.items():
            until(lambda: s.state(run) == "awaiting_signal", f"{name} waits")
        before = builds(s)
        for at in range(0, len(PAIRS), GATES_AT_ONCE):
            names = {pair.name for pair in PAIRS[at:at + GATES_AT_ONCE]}
            for pair, file in zip(PAIRS[at:at + GATES_AT_ONCE], new[at:at + GATES_AT_ONCE]):
                s.drop(pair.name, file)
            until(lambda names=names: names <= decided(s, before), f"the new builds of {names} serve or are refused")
        s.plugins_then = newest(s)
        for name, run in s.runs.items():
            s.signal(run, "go", None)
        yield s
    except BaseException:
        s.close(failed=True)
        raise
    s.close()


def builds(s):
    return {p["build"] for p in s.get("/v1/plugins")["plugins"]}


def decided(s, before):
    """Files whose new content is refused, or serves where that before it serves no more."""
    serving, refused = {}, set()
    for p in s.get("/v1/plugins")["plugins"]:
        name = pathlib.Path(p["file"]).stem
        if p["state"] == "refused":
            refused.add(name)
        elif p["state"] == "serving":
            serving.setdefault(name, set()).add(p["build"])
    return refused | {name for name, own in serving.items() if not own & before}


def newest(s):
    """By file: what became of the file as it is now."""
    out = {}
    for p in s.get("/v1/plugins")["plugins"]:
        name = pathlib.Path(p["file"]).stem
        if p["state"] == "refused" or (p["state"] == "serving" and out.get(name, {}).get("state") != "refused"):
            out[name] = p
    return out


@pytest.mark.parametrize("pair", PAIRS, ids=lambda p: p.name)
def test_verdict(world, pair):
    plugin = world.plugins_then[pair.name]
    assert (plugin["state"] == "refused") == (pair.verdict == REFUSED), plugin
    if pair.verdict is None:
        assert plugin["gate"] is None, "no workflow version that it offers has open runs"
        return
    report = plugin["gate"] or plugin["error"]["details"]
    assert report["open"] == report["replayed"] == 1 and report["unknown"] == 0, report
    assert (report["move"], report["stay"], report["crashed"]) == {
        MOVES: (1, 0, 0), STAYS: (0, 1, 0), REFUSED: (0, 0, 1)}[pair.verdict], report
    assert len(report["findings"]) == (pair.verdict != MOVES)
    if pair.verdict == REFUSED:
        assert plugin["error"]["code"] == "GATE_CRASHED"
        assert report["findings"][0]["error"]["code"] == pair.more["code"]
    for finding in report["findings"]:
        assert finding["run"] == world.runs[pair.name] and finding["workflow"] == pair.name
        message = finding["error"]["message"]
        if pair.verdict == STAYS and pair.said.startswith("has no task"):
            assert message == f"build {plugin['build'][:12]} of plugin {pair.name[:40]} {pair.said}", finding
            assert finding["error"]["code"] == "TASK_UNKNOWN"
        else:
            assert message == pair.said if pair.verdict == STAYS else pair.said in message, finding


@pytest.mark.parametrize("pair", PAIRS, ids=lambda p: p.name)
def test_end(world, pair):
    run = world.runs[pair.name]
    assert world.result(run) == pair.answer
    events = world.history(run)
    chain.check(events)
    assert not [e for e in events if e["kind"] in ("blocked", "attempt_failed")], events
    steps = [(e["address"], e["nth"]) for e in events if e["kind"] == "step_done"]
    assert len(steps) == len(set(steps)), "a recorded step was executed again"


def test_what_the_new_build_marks_is_not_shown(world):
    """Neither in the sentence, which test_verdict compares, nor beside it."""
    details = world.plugins_then["input-marked"]["gate"]["findings"][0]["error"]["details"]
    assert details["recorded"]["input"] == details["code"]["input"] == '{"order":{"amount":"[redacted]"}}'
