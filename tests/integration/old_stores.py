"""Stores of earlier releases: opened, tried out without a trace, brought up to date, refused when they are newer."""
import re
import sqlite3
import subprocess

import pytest

import chain
from harness import ROOT, SERVER, until

STORES = sorted((ROOT / "tests/support/stores").glob("schema-*.sql"))
STEPS = re.findall(r"^    /\* (\d+)", (ROOT / "server/store/sqlite_schema.c").read_text(), re.M)
NEWEST = int(STEPS[-1])


def thaw(path, sql):
    db = sqlite3.connect(path)
    db.executescript(sql.read_text())
    db.close()


def content(path):
    db = sqlite3.connect(path)
    db.text_factory = bytes
    tables = [name.decode() for name, in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")]
    rows = {name: db.execute(f"SELECT * FROM {name}").fetchall() for name in tables}
    rows["schema"] = db.execute("SELECT name, sql FROM sqlite_schema ORDER BY name").fetchall()
    db.close()
    return rows


def migrate(path, *flags):
    return subprocess.run([SERVER, "--migrate", *flags, "--store", f"sqlite:{path}"], text=True, capture_output=True)


def test_every_earlier_schema_is_kept():
    assert [int(path.stem.removeprefix("schema-")) for path in STORES] == list(range(1, NEWEST))


@pytest.mark.parametrize("sql", STORES, ids=lambda p: p.stem)
def test_a_dry_run_says_what_would_be_done_and_leaves_no_trace(tmp_path, sql):
    old = int(sql.stem.removeprefix("schema-"))
    path = tmp_path / "aiki.db"
    thaw(path, sql)
    before = content(path)
    done = migrate(path, "--dry-run")
    assert done.returncode == 0 and f"schema {old}, can be brought to schema {NEWEST}" in done.stdout, done
    assert content(path) == before
    done = migrate(path)
    assert done.returncode == 0 and f"schema {old}, is now schema {NEWEST}" in done.stdout, done
    assert content(path) != before
    done = migrate(path)
    assert done.returncode == 0 and f"schema {NEWEST}, nothing to do" in done.stdout, done


@pytest.mark.parametrize("sql", STORES, ids=lambda p: p.stem)
def test_runs_of_an_earlier_release_go_on(stacks, sql):
    s = stacks(plugins=["hello", "waits", "flaky"], start=False)
    thaw(s.directory / "aiki.db", sql)
    s.start_redis()
    s.start_server()
    s.start_runtime(0)
    runs = {r["workflow"]: r["id"] for r in s.get("/v1/runs")["runs"]}
    assert set(runs) == {"hello", "flaky", "nap", "approve"}
    assert s.result(runs["hello"]) == {"greeting": "Hello, world!"}
    assert s.start("hello", {"name": "world"}, key="greet-1") == runs["hello"], "its key is known"
    assert [x["id"] for x in s.get("/v1/dead-letters")["dead_letters"]] == [runs["flaky"]]
    noted = [e for e in s.history(runs["approve"]) if e["kind"] == "signal"]
    assert [e["ref"] for e in noted] == ([] if sql.stem in ("schema-1", "schema-2") else ["note-1"])
    for event in noted:  # a repeat is known as one, though that store had no table of references
        s.signal(runs["approve"], event["name"], event["payload"], ref=event["ref"])
    assert [e for e in s.history(runs["approve"]) if e["kind"] == "signal"] == noted
    s.signal(runs["approve"], "decision", {"ok": True})
    assert s.result(runs["approve"])["ok"] is True
    s.request("POST", f"/v1/runs/{runs['nap']}/wake") if s.state(runs["nap"]) == "sleeping" else None
    assert s.result(runs["nap"])["ms"] == 3_600_000
    for run in runs.values():
        chain.check(s.history(run))


def test_a_newer_store_is_refused_and_left_as_it_is(tmp_path):
    path = tmp_path / "aiki.db"
    thaw(path, STORES[-1])
    assert migrate(path).returncode == 0
    db = sqlite3.connect(path)
    db.execute("UPDATE meta SET value = 99 WHERE name = 'schema'")
    db.commit()
    db.close()
    before = content(path)
    for argv in (["--migrate", "--dry-run"], ["--migrate"], ["--listen", "127.0.0.1:0", "--http", "127.0.0.1:0"]):
        done = subprocess.run([SERVER, *argv, "--store", f"sqlite:{path}"], text=True, capture_output=True, timeout=30)
        assert done.returncode == 1, done
        assert f"has schema 99, this server speaks up to {NEWEST}: use the newer server" in done.stdout + done.stderr
    assert content(path) == before


def test_what_cannot_be_migrated_says_why(tmp_path, stacks):
    missing = migrate(tmp_path / "no.db")
    assert missing.returncode == 1 and "No such file" in missing.stderr and not (tmp_path / "no.db").exists()
    assert migrate(tmp_path / "x", "--bogus").returncode == 2
    alone = subprocess.run([SERVER, "--dry-run"], text=True, capture_output=True)
    assert alone.returncode == 2 and "dry-run goes with migrate" in alone.stdout + alone.stderr
    s = stacks(runtimes=0)
    busy = migrate(s.directory / "aiki.db", "--dry-run")
    assert busy.returncode == 1 and f"process {s.server.pid}" in busy.stderr, busy
    until(lambda: s.get("/healthz"), "it serves on")
