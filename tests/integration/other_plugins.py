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
