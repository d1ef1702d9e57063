"""A start with a key may be repeated until it is answered: one key is one run."""
import concurrent.futures
import json

import pytest
from harness import HttpError


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
