"""The main job: a plugin dropped into the directory serves, its runs complete."""
import json

import chain
from harness import Ledger, plugin, until


def test_hello_through_http_and_cli_gives_the_same_answer(stacks):
    s = stacks(plugins=["hello"])
    over_http = s.result(s.start("hello", {"name": "world"}))
    done = s.aiki("workflows", "trigger", "hello", "--input", '{"name":"world"}', "--wait", "--json")
    over_cli = json.loads(done.stdout)
    assert over_cli["state"] == "completed"
    assert over_cli["output"] == over_http
    assert "world" in json.dumps(over_http)


def test_order_retries_its_payment_with_one_reference(stacks):
    s = stacks(plugins=["order-processing"])
    order = {"order_id": "o-1", "customer": "Ada", "email": "ada@example.com",
             "items": [{"sku": "tea", "quantity": 2, "price_cents": 450}]}
    orders = [dict(order, order_id=f"o-{i}", **({"bank_trouble_percent": 100} if i == 0 else {})) for i in range(20)]
    runs = [s.start("process-order", o, key=o["order_id"]) for o in orders]
    retried = 0
    for run in runs:
        output = s.result(run)
        assert output["total_cents"] == 900
        events = s.history(run)
        chain.check(events)
        retried += sum(e["kind"] == "attempt_failed" for e in events)
    assert retried > 0, "the payment never failed: the retry was not exercised"


def test_ledger_runs_each_step_once_in_order(stacks):
    s = stacks(plugins=["ledger"])
    path = s.directory / "ledger.txt"
    run = s.start("ledger", {"steps": 10, "task_ms": 0, "path": str(path), "width": 1})
    assert s.result(run) == {"steps": 10}
    lines = [line.split() for line in path.read_text().splitlines()]
    assert [(line[0], line[2]) for line in lines] == [(run, "1")] * 10
    assert len({line[1] for line in lines}) == 10
    chain.check(s.history(run))


def test_ledger_runs_steps_side_by_side(stacks):
    s = stacks(plugins=["ledger"])
    path = s.directory / "ledger.txt"
    gate = s.directory / "gate"
    run = s.start("ledger", {"steps": 20, "task_ms": 0, "path": str(path), "width": 10, "gate": str(gate)})
    until(lambda: len(Ledger(path).executions(run)) == 10, "ten are under way at once")
    gate.touch()
    assert s.result(run) == {"steps": 20}
    events = s.history(run)
    chain.check(events)
    done = [(e["address"], e["nth"]) for e in events if e["kind"] == "step_done"]
    assert len(done) == len(set(done)) == 20
    stamps = sorted(ns for times in Ledger(path).executions(run).values() for ns in times)
    assert 0 <= len(stamps) - 20 <= 10 * s.taken_away(), "ten at a time were under way"


def test_two_runtimes_share_the_work_without_configuration(stacks):
    s = stacks(plugins=["ledger"], runtimes=1, runtime_args=["--slots", "8"])
    path = s.directory / "ledger.txt"
    s.start_runtime(1)
    gate = s.directory / "gate"
    runs = [s.start("ledger", {"steps": 5, "task_ms": 0, "path": str(path), "width": 1, "gate": str(gate)})
            for _ in range(60)]

    def executing():
        pids = Ledger(path).pids()
        return {i for i, process in s.runtimes.items() if pids & set(process.children())}
    until(lambda: executing() == {0, 1}, "both serve: one has not enough slots for all")
    gate.touch()
    for run in runs:
        assert s.result(run) == {"steps": 5}


def test_a_plugin_dropped_in_later_serves_and_its_removal_ends_that(stacks):
    s = stacks()
    s.drop("hello")
    until(lambda: any(w["name"] == "hello" and w.get("served") for w in s.get("/v1/workflows")["workflows"]),
          "hello is served")
    s.result(s.start("hello", {"name": "x"}))
    (s.plugins / "hello.so").unlink()
    until(lambda: not any(w["name"] == "hello" and w.get("served")
                          for w in s.get("/v1/workflows")["workflows"]), "hello is no longer served")
    until(lambda: s.runtime.children() == [], "the child has ended")
    run = s.start("hello", {"name": "later"})
    assert s.state(run) in ("queued", "stalled")
    s.drop("hello")
    s.result(run)


def test_the_registry_outlives_the_runtimes(stacks):
    s = stacks(plugins=["hello"])
    before, = s.get("/v1/workflows")["workflows"]
    s.runtime.kill()
    s.restart_server()
    shown, = json.loads(s.aiki("workflows", "list", "--json").stdout)
    told = ("name", "version", "plugin", "build", "first_seen_at")
    assert [shown[key] for key in told] == [before[key] for key in told] and shown["first_seen_at"]
    assert not shown["served"]


def test_result_is_the_same_bytes_after_every_process_was_restarted(stacks):
    s = stacks(plugins=["hello"])
    run = s.start("hello", {"name": "ever"})
    before = s.result(run)
    s.runtime.kill()
    s.restart_redis()
    s.restart_server()
    assert s.result(run) == before
    assert plugin("hello").exists()
