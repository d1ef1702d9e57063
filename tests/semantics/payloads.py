"""Values are checked at every boundary; a refusal names the path, the rule and the value."""
import chain
import pytest
from harness import HttpError

GOOD = {"lines": [{"sku": "tea", "quantity": 2}, {"sku": "milk", "quantity": 3}]}


def test_what_fits_passes(common):
    assert common.result(common.start("payloads", GOOD)) == {"quantity": 5}


@pytest.mark.parametrize("given, path", [
    ({}, "lines"), ({"lines": []}, "lines"), ({"lines": [{"sku": "tea"}]}, "lines[0].quantity"),
    ({"lines": [{"sku": "tea", "quantity": 100}]}, "lines[0].quantity"),
    ({"lines": [{"sku": "tea", "quantity": "two"}]}, "lines[0].quantity"),
    ({**GOOD, "fault": "nowhere"}, "fault"),
])
def test_an_input_that_does_not_fit_makes_no_run(common, given, path):
    with pytest.raises(HttpError) as e:
        common.start("payloads", given, key=f"bad-{path}-{given}"[:60].replace(" ", ""))
    assert (e.value.status, e.value.code) == (422, "SCHEMA_MISMATCH")
    assert path in e.value.body["error"]["message"]
    assert all(r["key"] is None or not r["key"].startswith("bad-")
               for r in common.get("/v1/runs?workflow=payloads")["runs"])


def test_a_task_that_answers_what_its_schema_forbids_has_failed(common):
    run = common.start("payloads", {**GOOD, "fault": "task"})
    document = common.outcome(run, patience_s=60)
    assert document["state"] == "failed"
    assert document["error"]["code"] == "SCHEMA_MISMATCH" and "quantity" in document["error"]["message"]


def test_a_workflow_that_answers_what_its_schema_forbids_has_failed(common):
    document = common.outcome(common.start("payloads", {**GOOD, "fault": "output"}))
    assert document["state"] == "failed"
    assert document["error"]["code"] == "SCHEMA_MISMATCH" and "quantity" in document["error"]["message"]


def warnings(s, run):
    return [(e["value"], e["error"]["code"]) for e in s.history(run) if e["kind"] == "warned"]


def test_strict_fails_what_does_not_fit(common):
    document = common.outcome(common.start("modes", {"task": "strict", "quantity": 0}))
    assert document["state"] == "failed"
    assert document["error"]["code"] == "SCHEMA_MISMATCH" and "quantity" in document["error"]["message"]


def test_warn_lets_it_pass_and_says_so(common):
    run = common.start("modes", {"task": "warn", "quantity": 0})
    assert common.result(run) == {"quantity": 0}
    assert warnings(common, run) == [("input", "SCHEMA_MISMATCH"), ("output", "SCHEMA_MISMATCH")]
    chain.check(common.history(run))
    shown = common.aiki("runs", "inspect", run).stdout
    assert "warned" in shown and "quantity: must be at least 1, is 0" in shown


def test_off_does_not_look(common):
    run = common.start("modes", {"task": "off", "quantity": 0})
    assert common.result(run) == {"quantity": 0}
    assert warnings(common, run) == []


def test_a_workflow_has_a_mode_too(common):
    run = common.start("lax", {"quantity": 0})
    assert common.result(run) == {"quantity": 0}
    assert warnings(common, run) == [("input", "SCHEMA_MISMATCH"), ("output", "SCHEMA_MISMATCH")]
    chain.check(common.history(run))


def test_no_mode_decodes_what_is_of_another_type(common):
    document = common.outcome(common.start("lax", {"quantity": "none"}))
    assert document["state"] == "failed" and document["error"]["code"] == "SCHEMA_MISMATCH"
