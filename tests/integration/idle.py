"""Nothing polls: an idle stack asks Redis next to nothing and writes nothing."""
import threading
import time

from harness import until


def commands(s):
    info = s.redis_command("INFO", "stats")
    return int(next(x for x in info.splitlines() if x.startswith("total_commands_processed")).split(":")[1])


def test_a_minute_of_idleness(stacks):
    s = stacks(plugins=["hello", "ledger", "waits", "order-processing"])
    s.result(s.start("hello", {"name": "x"}))
    nap = s.start("nap", {"ms": 3_600_000})
    until(lambda: s.state(nap) == "sleeping", "the nap is parked")
    before = commands(s)
    writes = s.metrics()["aiki_store_commits_total"]
    files = {p: p.stat().st_mtime_ns for p in s.directory.glob("aiki.db*")}
    began = time.monotonic()
    threading.Event().wait(60)  # the subject of the test is a minute of time
    spent, seconds = commands(s) - before, time.monotonic() - began
    assert spent < seconds, f"{spent} Redis commands in {seconds:.0f} s"
    assert s.metrics()["aiki_store_commits_total"] == writes
    assert files == {p: p.stat().st_mtime_ns for p in s.directory.glob("aiki.db*")}
