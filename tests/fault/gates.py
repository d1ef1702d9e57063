"""A replay gate with a kill in the middle: the build serves all the same, and runs end as they should."""
import http.client
import json
import subprocess

import pytest

import chain
from harness import ROOT, HttpError, at_best, in_time, plugin, until
from points import GATES, owner_of

RUNS = 6


def change_is(s, state):
    return [p["build"] for p in s.get("/v1/plugins")["plugins"] if p["state"] == state]


def new_serves(s, original):
    """The build that serves alone and is another one. All of it out of one answer: the next may be older or newer."""
    def found():
        serving = [p for p in s.get("/v1/plugins")["plugins"] if p["state"] == "serving"]
        return serving[0] if len(serving) == 1 and serving[0]["build"] not in original else None
    return until(found, "another build serves alone")


@pytest.fixture
def parked(stacks):
    """Runs of the original build that wait for their signal."""
    def make(server_env=None, runtime_env=None, runtime_args=()):
        s = stacks(start=False, runtime_args=["--keep-previous-ms", "0"])  # kept is what runs need
        s.drop("change", plugin("change-original"))
        s.start_redis()
        s.start_server(env=server_env)
        s.start_runtime(0, env=runtime_env, args=runtime_args)
        runs = [s.start_surely("change", {}, f"c{i}") for i in range(RUNS)]
        for run in runs:
            until(lambda: s.state(run) == "awaiting_signal", "it waits")
        return s, runs
    return make


def all_end(s, runs, steps):
    for run in runs:
        s.signal(run, "go", None)
    for run in runs:
        assert s.result(run) == steps
        chain.check(s.history(run))


@pytest.mark.parametrize("variant, steps", [("added-before", 3), ("added-behind", 4)])
@pytest.mark.parametrize("nth", [1, 4])
@pytest.mark.parametrize("point", GATES)
def test_killed_at(parked, point, nth, variant, steps):
    fault = {"AIKI_FAULT": f"{point}=kill@{nth}"}
    server = owner_of(point) == "server"
    s, runs = parked(fault if server else None, None if server else fault)
    original = change_is(s, "serving")
    s.drop("change", plugin(f"change-{variant}"))
    until(lambda: not (s.server if server else s.runtime).alive(), f"{point} is passed")
    if server:
        s.start_server()
    else:
        s.start_runtime(0)

    def serves():
        try:
            return change_is(s, "serving") not in ([], original)
        except (OSError, http.client.HTTPException):
            return False
    until(serves, "the new build serves")
    all_end(s, runs, steps)


def test_strict_refuses_what_open_runs_do_not_fit(parked):
    s, runs = parked(runtime_args=["--gate", "off,change.so=strict"])
    s.drop("change", plugin("change-added-before"))
    refused = until(lambda: [p for p in s.get("/v1/plugins")["plugins"] if p["state"] == "refused"], "it is refused")[0]
    assert refused["error"]["code"] == "GATE_REFUSED"
    assert f"{RUNS} of {RUNS} replayed open runs do not fit: recorded: task take" in refused["error"]["message"]
    assert {f["run"] for f in refused["error"]["details"]["findings"]} == set(runs)
    s.drop("change", plugin("change-added-behind"))
    until(lambda: not change_is(s, "refused"), "a build that fits is taken")
    all_end(s, runs, 4)


def test_off_does_not_look(parked):
    s, runs = parked(runtime_args=["--gate", "off"])
    original = change_is(s, "serving")
    s.drop("change", plugin("change-added-before"))
    assert new_serves(s, original)["gate"] is None
    all_end(s, runs, 3)


def test_more_runs_than_are_replayed(parked):
    s, runs = parked()
    more = [s.start("change", {}) for _ in range(300)]
    until(lambda: s.get("/v1/workflows/change")["workflow"]["runs"]["awaiting_signal"] == RUNS + 300, "all wait")
    made = s.directory / "made.so"
    tries = []

    def is_looked_at():
        original = change_is(s, "serving")
        made.write_bytes(plugin("change-added-before").read_bytes() + b"\0" * len(tries))
        tries.append(made)
        s.drop("change", made)
        report = new_serves(s, original)["gate"]
        assert report["open"] == RUNS + 300 and report["stay"] == report["replayed"] <= 200, report
        assert report["unknown"] == RUNS + 300 - report["replayed"] and len(report["findings"]) == 20
        in_time(report["replayed"] == 200 and report["took_ms"] < 5000, "its time was over before")
    at_best(is_looked_at)
    all_end(s, runs + more, 3)


def test_time_is_over_before_all_are_replayed(parked, tmp_path):
    """What could not be replayed in time speaks neither for nor against a build, whatever the policy."""
    s, runs = parked(runtime_args=("--gate", "strict"))
    more = [s.start("change", {}) for _ in range(15)]
    for run in more:
        until(lambda: s.state(run) == "awaiting_signal", "it waits")
    slow = tmp_path / "slow.so"
    source = tmp_path / "slow.c"
    # 200 ms of waiting each, for all of which there is no time; far from GATE_RUN_MS_MAX, however slow the machine.
    source.write_text("#include <time.h>\n" + (ROOT / "tests/support/plugins/change.c").read_text().replace(
        "    uint64_t steps = 0;\n    (void)input;\n", """    uint64_t steps = 0;
    (void)input;
    nanosleep(&(struct timespec){.tv_nsec = 200 * 1000 * 1000}, NULL);
"""))
    subprocess.run(["cc", "-O1", "-shared", "-fPIC", "-fvisibility=hidden", f"-I{ROOT}/abi/include", source, "-o", slow],
                   check=True)
    original = change_is(s, "serving")
    s.drop("change", slow)
    report = new_serves(s, original)["gate"]
    assert report["policy"] == "strict" and report["stay"] == report["crashed"] == 0, report
    assert report["unknown"] > 0 and report["unknown"] + report["replayed"] == report["open"] == RUNS + 15, report


def test_a_look_ahead_that_ends_the_process_decides_nothing(parked):
    s, runs = parked(runtime_args=("--gate", "strict"))
    s.drop("change", plugin("change-added-checked"))
    refused = until(lambda: [p for p in s.get("/v1/plugins")["plugins"] if p["state"] == "refused"], "it is refused")[0]
    assert refused["error"]["code"] == "GATE_REFUSED", refused
    report = refused["error"]["details"]
    assert (report["stay"], report["crashed"], report["unknown"]) == (RUNS, 0, 0), report
    for finding in report["findings"]:
        assert finding["steps"] == 2 and finding["error"]["details"]["cause"] == "a step was inserted, or the input changed"
    all_end(s, runs, 3)


def test_the_same_answer_before_it_is_deployed(parked):
    s, runs = parked()
    stays = s.aiki("plugins", "gate", plugin("change-added-before"), "--against", s.rpc, check=False)
    assert stays.returncode == 5, stays
    assert f"{RUNS} open runs, {RUNS} replayed: 0 move, {RUNS} stay" in stays.stdout
    assert 'recorded: task take "B"; the code now asks for: task take "NEW"' in stays.stdout
    moves = s.aiki("plugins", "gate", plugin("change-added-behind"), "--json")
    assert json.loads(moves.stdout)["move"] == RUNS
    assert s.aiki("plugins", "gate", s.directory / "none.so", check=False).returncode == 4
    assert s.aiki("plugins", "gate", __file__, check=False).returncode == 1
    gone = s.aiki("plugins", "gate", plugin("change-removed"), "--against", f"unix:{s.directory}/nobody", check=False)
    assert gone.returncode == 3, gone
    until(lambda: len(s.get("/v1/workers")["workers"]) == 1, "it has left")
    all_end(s, runs, 3)


def test_who_holds_which_build(parked):
    s, runs = parked()
    original = change_is(s, "serving")[0]
    s.drop("change", plugin("change-added-before"))
    until(lambda: change_is(s, "serving") not in ([], [original]) and change_is(s, "kept") == [original], "it is kept")
    shown = {b["state"]: b for b in json.loads(s.aiki("plugins", "show", "change", "--json").stdout)}
    assert shown["kept"]["open"] == RUNS and shown["serving"]["open"] == 0
    assert s.get("/v1/plugins/change.so")["builds"][0]["file"] == "change.so"
    text = s.aiki("plugins", "show", "change").stdout
    assert f"{RUNS} open, {RUNS} replayed, 0 move, {RUNS} stay" in text and runs[0] in text
    listed = s.aiki("plugins", "list").stdout
    assert "kept" in listed and "serving" in listed
    assert s.aiki("plugins", "show", "nobody", check=False).returncode == 4
    with pytest.raises(HttpError) as e:
        s.get("/v1/plugins/nobody")
    assert e.value.code == "PLUGIN_NOT_FOUND"
    all_end(s, runs, 3)
    until(lambda: not change_is(s, "kept"), "nobody needs the older build any more")
