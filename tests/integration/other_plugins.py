"""Plugins that were not built like ours: with the ABI of release 1.0 written down by hand, and in C++."""
import json

from harness import plugin


def test_a_plugin_of_release_1_0_uses_every_table(stacks):
    s = stacks(plugins=["old"])
    run = s.start("old", {"n": 1})
    assert s.result(run) == [2, 5, True]
    kinds = [event["kind"] for event in s.history(run)]
    assert kinds.count("attempt_failed") == 1
    failed = s.outcome(s.start("old", {"n": 0}))
    assert failed["state"] == "failed"
    assert failed["error"]["code"] == "ZERO"
    assert failed["error"]["message"] == "n must not be 0"


def test_a_plugin_built_from_the_headers_of_release_1_0_serves(stacks):
    """Its records, schemas, retries and messages are those of then."""
    s = stacks(plugins=["old-order"])
    order = {"order_id": "o-1", "customer": "Ada", "email": "ada@example.com", "bank_trouble_percent": 100,
             "items": [{"sku": "tea", "quantity": 2, "price_cents": 450}]}
    run = s.start("process-order", order)
    done = s.result(run)
    assert (done["order_id"], done["status"], done["total_cents"]) == ("o-1", "confirmed", 900), done
    charged = [e for e in s.history(run) if e["kind"] == "attempt_failed"]
    assert len(charged) == 3 and charged[0]["error"]["code"] == "BANK_UNAVAILABLE", charged
    refused = s.aiki("workflows", "trigger", "process-order", "--input", '{"order_id":"o-2"}', check=False)
    assert refused.returncode != 0 and "customer" in refused.stderr, refused
    shown = json.loads(s.aiki("plugins", "check", plugin("old-order"), "--json").stdout)
    assert {w["name"] for w in shown["workflows"]} == {"process-order"}, shown


def test_a_cpp_plugin_serves_and_its_input_is_checked_at_the_door(stacks):
    s = stacks(plugins=["typed-cpp"])
    assert s.result(s.start("shout-all", {"words": ["hi", "you"]})) == {"text": "HI!YOU!"}
    refused = s.aiki("workflows", "trigger", "shout-all", "--input", '{"words":[]}', check=False)
    assert refused.returncode != 0
    assert "words: must have 1 to 100 elements, has 0" in refused.stderr


def test_check_tells_what_a_plugin_offers_without_a_server(stacks):
    s = stacks(start=False)
    shown = json.loads(s.aiki("plugins", "check", plugin("old"), "--json").stdout)
    assert shown["name"] == "old"
    assert [w["name"] for w in shown["workflows"]] == ["old"]
    refused = s.aiki("plugins", "check", plugin("wrong-abi"), check=False)
    assert refused.returncode == 1
    assert "built for ABI 99.0" in refused.stdout + refused.stderr
