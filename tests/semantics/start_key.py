"""A start with a key may be repeated until it is answered: one key is one run.

Of a start with the key of a run and another input its policy decides: `same` (without one) refuses it, `existing`
answers with the run there is, `replace` terminates that and starts another one in the same commit.
"""
import concurrent.futures
import json

import pytest
from harness import HttpError

HOUR_MS = 3_600_000


def test_a_hundred_clients_at_once_start_one_run(common):
    with concurrent.futures.ThreadPoolExecutor(100) as pool:
        runs = set(pool.map(lambda _: common.start("sleeping", {"ms": 0}, key="once"), range(100)))
    assert len(runs) == 1
    run = runs.pop()
    assert [r["id"] for r in common.get("/v1/runs?key=once")["runs"]] == [run]
    assert sum(e["kind"] == "started" for e in common.history(run)) == 1
    common.result(run)
    assert common.run(run)["duplicates"] == 99, "what was absorbed is counted"


def test_the_answer_says_whether_the_run_is_new(common):
    body = {"input": {"ms": 0}, "key": "new-or-not"}
    first = common.request("POST", "/v1/workflows/sleeping/runs", body)
    again = common.request("POST", "/v1/workflows/sleeping/runs", body)
    assert (first[0], first[1]["created"]) == (201, True)
    assert (again[0], again[1]["created"], again[1]["id"]) == (200, False, first[1]["id"])


def test_the_same_key_with_another_input_is_a_conflict_that_names_the_run(common):
    run = common.start("sleeping", {"ms": 0}, key="taken")
    with pytest.raises(HttpError) as e:
        common.start("sleeping", {"ms": 1}, key="taken")
    assert (e.value.status, e.value.code) == (409, "KEY_TAKEN")
    assert run in e.value.body["error"]["message"]


def start(s, key, ms, policy):
    body = {"input": {"ms": ms}, "key": key, "key_policy": policy, "actor": policy}
    return s.request("POST", "/v1/workflows/sleeping/runs", body)[1]


def test_or_is_answered_with_the_run_there_is(common):
    run = start(common, "existing", HOUR_MS, "same")["id"]
    answer = start(common, "existing", 1, "existing")
    assert (answer["id"], answer["created"]) == (run, False)
    assert common.history(run)[0]["input"] == {"ms": HOUR_MS}, "what was started stays as it was"
    common.request("POST", f"/v1/runs/{run}/terminate")


def test_or_ends_it_and_takes_its_place(common):
    first = start(common, "replaced", HOUR_MS, "same")["id"]
    answer = start(common, "replaced", 0, "replace")
    assert answer["created"] is True and answer["id"] != first
    assert common.outcome(first)["state"] == "terminated"
    assert common.result(answer["id"]) == {"ms": 0}
    assert common.history(first)[0]["key"] == "replaced", "its history still says so"
    assert [r["id"] for r in common.get("/v1/runs?key=replaced")["runs"]] == [answer["id"]]


def test_what_was_absorbed_is_on_record_with_time_and_actor(common):
    run = start(common, "absorbed", 0, "same")["id"]
    for policy in ("same", "existing", "replace"):
        assert start(common, "absorbed", 0, policy)["id"] == run, "the same input is the same start"
    shown = common.run(run)
    assert shown["duplicates"] == 3
    assert [d["actor"] for d in shown["duplicate_starts"]] == ["same", "existing", "replace"]
    assert min(d["at"] for d in shown["duplicate_starts"]) >= common.history(run)[0]["at"]
    assert "absorbed" in common.aiki("runs", "inspect", run).stdout
    common.result(run)


def test_who_asked_is_shown_if_it_was_said(common):
    body = {"input": {"ms": 0}, "key": "nameless"}
    for asked in (body, body, {**body, "actor": "till-3"}):
        run = common.request("POST", "/v1/workflows/sleeping/runs", asked)[1]["id"]
    shown = common.aiki("runs", "inspect", run).stdout.splitlines()
    absorbed = shown[next(i for i, line in enumerate(shown) if line.startswith("absorbed")):][1:3]
    assert [" by " in line for line in absorbed] == [False, True] and absorbed[1].endswith(" by till-3"), absorbed
    common.result(run)


def test_an_empty_key_is_refused(common):
    """It is a variable that was not set, and starts that are repeated would be runs of their own."""
    def newest():
        return [run["id"] for run in common.get("/v1/runs?limit=1")["runs"]]
    before = newest()
    with pytest.raises(HttpError) as e:
        common.request("POST", "/v1/workflows/sleeping/runs", {"input": {"ms": 0}, "key": ""})
    assert (e.value.status, e.value.code) == (400, "BAD_KEY")
    asked = common.aiki("workflows", "trigger", "sleeping", "--input", '{"ms":0}', "--key", "", check=False)
    assert asked.returncode == 2 and "BAD_KEY" in asked.stderr
    assert newest() == before, "nothing was started"


def test_a_key_belongs_to_one_workflow(common):
    one = common.start("sleeping", {"ms": 0}, key="shared")
    other = common.start("inbox", {"names": ["x"]}, key="shared")
    assert one != other
    common.signal(other, "x", 1)


def test_the_key_outlives_the_run_and_the_server(stacks):
    s = stacks(plugins=["sleeping"])
    run = s.start("sleeping", {"ms": 0}, key="for-ever")
    s.result(run)
    s.restart_server()
    assert s.start("sleeping", {"ms": 0}, key="for-ever") == run
    shown = json.loads(s.aiki("runs", "list", "--json").stdout)
    assert json.dumps(shown).count(run) == 1
