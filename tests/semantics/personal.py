"""What a schema marks as personal data is on record and not on the screen, unless an admin asks for it."""
import contextlib
import json
import sqlite3

import pytest
from harness import HttpError, until

ADA = {"name": "Ada", "city": "Rome", "homes": [{"street": "Via Appia", "zip": "00179"}, {"street": "Via Sacra"}],
       "tags": ["kind", "clever"], "note": "calls on Sundays"}
SECRETS = ("Ada", "Via Appia", "Via Sacra", "clever", "Sundays")
HIDDEN = {"name": "[redacted]", "city": "Rome", "homes": [{"street": "[redacted]", "zip": "00179"},
                                                          {"street": "[redacted]"}],
          "tags": "[redacted]", "note": "[redacted]"}


@pytest.fixture(scope="module")
def run(common):
    run = common.start("personal", ADA)
    common.outcome(run)
    return run


def steps(events):
    return {e["kind"]: e for e in events if e["kind"] in ("step_begun", "step_done", "child_done", "started", "completed")}


def no_secrets(shown):
    text = shown if isinstance(shown, str) else json.dumps(shown)
    assert not [s for s in SECRETS if s in text], text


def test_a_history_is_shown_without_personal_data(common, run):
    events = common.history(run)
    no_secrets(events)
    kinds = steps(events)
    assert kinds["started"]["input"] == HIDDEN
    assert kinds["completed"]["output"] == {"to": "[redacted]", "cents": 86}
    assert kinds["child_done"]["output"] == {"to": "[redacted]", "cents": 85}
    book = next(e for e in events if e.get("name") == "book-letter")
    assert book["input"] == {"to": "[redacted]", "cents": 85}


def test_every_page_is_shown_so_wherever_it_begins(common, run):
    whole = common.history(run)
    pages = []
    for after in reversed(range(len(whole))):
        pages += common.get(f"/v1/runs/{run}/history?after={after}&limit=1")["events"]
    assert pages == whole[::-1]


def test_nothing_else_shows_it_either(common, run):
    no_secrets(common.get(f"/v1/runs/{run}"))
    assert common.get(f"/v1/runs/{run}/result")["output"] == {"to": "[redacted]", "cents": 86}
    stream = common.request("GET", f"/v1/runs/{run}/events")[1]
    assert "event: end" in stream and "[redacted]" in stream
    no_secrets(stream)
    assert "Via Appia" in common.request("GET", f"/v1/runs/{run}/events?reveal=true")[1]
    for command in (["runs", "inspect", run], ["runs", "inspect", run, "--json"], ["runs", "watch", run],
                    ["runs", "result", run], ["runs", "wait", run, "--json"]):
        shown = common.aiki(*command).stdout
        no_secrets(shown)
        assert "[redacted]" in shown
    shown = common.aiki("workflows", "trigger", "personal", "--input", json.dumps(ADA), "--wait").stdout
    assert json.loads(shown) == {"to": "[redacted]", "cents": 86}


def test_a_dead_letter_is_shown_without_it(common):
    task, whole = common.start("personal", dict(ADA, fault="task")), common.start("personal", dict(ADA, fault="run"))
    common.outcome(task)
    common.outcome(whole)
    letter = common.get(f"/v1/dead-letters/{task}")
    assert (letter["step"], letter["input"]) == ("book-letter", {"to": "[redacted]", "cents": -100})
    assert common.get(f"/v1/dead-letters/{whole}")["input"] == dict(HIDDEN, fault="run")
    no_secrets(common.get("/v1/dead-letters?workflow=personal"))
    for command in (["show", task], ["show", whole], ["list", "--json"]):
        no_secrets(common.aiki("dead-letters", *command).stdout)
    assert common.get(f"/v1/dead-letters/{task}?reveal=true")["input"]["to"] == "Ada"
    assert "Ada" in common.aiki("dead-letters", "show", whole, "--reveal").stdout
    assert "Ada" in common.aiki("dead-letters", "list", "--json", "--reveal").stdout


def test_who_asks_for_it_sees_it(common, run):
    events = common.get(f"/v1/runs/{run}/history?reveal=true")["events"]
    assert steps(events)["started"]["input"] == ADA
    assert steps(events)["completed"]["output"] == {"to": "Ada", "cents": 86}
    assert common.get(f"/v1/runs/{run}?reveal=true")["input"] == ADA
    assert common.get(f"/v1/runs/{run}/result?reveal=true")["output"] == {"to": "Ada", "cents": 86}
    assert json.loads(common.aiki("runs", "result", run, "--reveal").stdout) == {"to": "Ada", "cents": 86}
    assert "Via Appia" in common.aiki("runs", "inspect", run, "--reveal").stdout
    assert common.get(f"/v1/runs/{run}?reveal=false")["input"] == HIDDEN
    with pytest.raises(HttpError) as bad:
        common.get(f"/v1/runs/{run}?reveal=maybe")
    assert bad.value.code == "BAD_PARAMETER"


def test_a_page_that_is_waited_for_is_shown_the_same_way(common):
    """The question is answered later, by another part of the server."""
    for reveal, seen in (("", "[redacted]"), ("&reveal=true", "Ada")):
        waiting = common.start("personal-later", ADA)
        until(lambda: common.state(waiting) == "awaiting_signal", "it waits")
        after = len(common.history(waiting))
        common.signal(waiting, "go", None)
        page = common.get(f"/v1/runs/{waiting}/history?after={after}&wait=30s{reveal}")
        while not any(e["kind"] == "completed" for e in page["events"]):
            page = common.get(f"/v1/runs/{waiting}/history?after={page['events'][-1]['seq']}&wait=30s{reveal}")
        assert next(e for e in page["events"] if e["kind"] == "completed")["output"]["to"] == seen


ADDRESS = {"street": "Via Appia", "answer": 42}


def test_values_without_a_schema_are_shown_without_what_has_a_marked_name(common):
    """Signals, values written down, heartbeats, details of errors and of their causes."""
    run = common.start("personal-talk", ADA)
    until(lambda: common.state(run) == "awaiting_signal", "it waits")
    common.signal(run, "note", {"to": ["Ada", "Ada"], "list": [ADDRESS]})
    assert common.outcome(run)["state"] == "failed"
    hidden = dict(ADDRESS, street="[redacted]")
    events = common.history(run)
    no_secrets(events)
    assert next(e for e in events if e["kind"] == "signal")["payload"] == {"to": "[redacted]", "list": [hidden]}
    assert next(e for e in events if e.get("step") == "side")["output"] == hidden
    for event in events:
        if event["kind"] in ("step_done", "failed") and event["error"]:
            assert event["error"]["details"] == event["error"]["cause"]["details"] == hidden, event
    for path in (f"/v1/runs/{run}", f"/v1/runs/{run}/result", f"/v1/runs/{run}/tree", "/v1/runs", "/v1/dead-letters",
                 f"/v1/dead-letters/{run}"):
        no_secrets(common.get(path))
    for command in (["runs", "inspect", run], ["runs", "result", run, "--json"], ["runs", "list", "--json"]):
        no_secrets(common.aiki(*command, check=False).stdout)
    revealed = common.get(f"/v1/runs/{run}/history?reveal=true")["events"]
    assert next(e for e in revealed if e["kind"] == "failed")["error"]["cause"]["details"] == ADDRESS
    assert next(e for e in revealed if e["kind"] == "signal")["payload"]["to"] == ["Ada", "Ada"]
    assert common.get(f"/v1/runs/{run}?reveal=true")["error"]["details"] == ADDRESS


def test_it_stays_hidden_when_the_plugin_is_gone_and_the_server_was_restarted(stacks):
    s = stacks(plugins=["personal"])
    run = s.start("personal", ADA)
    s.result(run)
    before = s.history(run)
    s.runtime.kill()
    s.restart_server()
    assert s.history(run) == before
    no_secrets(s.get(f"/v1/runs/{run}"))


def test_what_nobody_has_said_anything_about_is_hidden_whole(stacks):
    """As in a store of an older release, whose plugin has not come back yet."""
    s = stacks(plugins=["personal"])
    runs = [s.start("personal", ADA), s.start("echo-anything", {"any": "thing"})]
    for run in runs:
        s.result(run)
    before = [s.history(run) for run in runs]
    s.runtime.kill()
    s.server.stop()
    with contextlib.closing(sqlite3.connect(s.directory / "aiki.db")) as store:
        assert store.execute("DELETE FROM workflows WHERE space LIKE '%!schemas'").rowcount == 1
        store.commit()
    s.start_server()
    for run in runs:
        assert s.history(run)[0]["input"] == s.get(f"/v1/runs/{run}")["output"] == "[redacted]"
    assert s.get(f"/v1/runs/{runs[0]}?reveal=true")["input"] == ADA
    s.start_runtime()
    until(lambda: [s.history(run) for run in runs] == before, "they are shown as before")


def test_long_values_are_cut_and_say_so(common):
    text = "x" * 200_000
    run = common.start("echo-anything", {"text": text, "list": list(range(5))})
    assert common.outcome(run)["output"]["text"] == text
    event = common.history(run)[0]
    assert event["input"]["text"].startswith("xxxx") and event["input"]["text"].endswith(" bytes more")
    assert len(json.dumps(event)) < 80_000
    assert common.get(f"/v1/runs/{run}?full=true")["input"]["text"] == text
    shown = common.aiki("runs", "inspect", run).stdout
    assert "bytes more" in shown and len(shown) < 80_000
    assert text in common.aiki("runs", "inspect", run, "--full", "--json").stdout
