"""The plugin that the guide builds does what the guide says, on the real stack."""
import json
import os
import subprocess

import pytest

from doc_text import blocks, indented
from harness import AIKI, PATIENCE_S, ROOT, until


@pytest.fixture
def trip(tmp_path):
    source = tmp_path / "trip.c"
    source.write_text("".join(block.text for block in blocks(ROOT / "docs/plugin-guide.md", "c")
                              if block.name == "trip.c"))
    plugin = tmp_path / "trip.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-fvisibility=hidden", f"-I{ROOT}/abi/include", source,
                    "-o", plugin], check=True)
    return plugin


def journey(**changes):
    legs = [{"from": a, "to": b, "departs_at_ms": 1} for a, b in (("HAM", "OSL"), ("OSL", "KEF"))]
    return {"traveller": "Ada", "legs": legs, **changes}


@pytest.fixture
def served(stacks, trip):
    s = stacks()
    s.drop("trip", trip)
    s.aiki("workflows", "show", "book-trip", "--wait", f"{PATIENCE_S}s")
    return s


def await_state(s, run, state):
    until(lambda: s.state(run) == state, f"{run} is {state}")


def test_approval_then_withdrawal(served):
    run = served.start("book-trip", journey(budget_cents=100))
    await_state(served, run, "awaiting_signal")
    served.aiki("runs", "signal", run, "approval", "--payload", '{"granted":true}')
    until(lambda: len([e for e in served.history(run) if e["kind"] == "step_done"]) >= 7, "it is booked")
    served.aiki("runs", "signal", run, "withdraw")
    output = served.result(run)
    assert output["status"] == "withdrawn"
    assert output["total_cents"] == 39800
    assert [seat["flight"] for seat in output["seats"]] == ["HAM-OSL", "OSL-KEF"]


def test_a_no_is_an_answer_and_books_nothing(served):
    run = served.start("book-trip", journey(budget_cents=100))
    served.signal(run, "approval", {"granted": False})
    output = served.result(run)
    assert output["status"] == "refused"
    assert "seats" not in output


def test_bad_input_is_refused_with_the_words_of_the_guide(served):
    legs = journey()["legs"]
    legs[1]["from"] = "Reykjavik"
    refused = served.aiki("workflows", "trigger", "book-trip", "--input",
                          json.dumps(journey(legs=legs)), check=False)
    assert "legs[1].from: must have exactly 3 characters, has 9" in refused.stderr


def test_the_script_of_the_guide_ends_with_a_result(served, tmp_path):
    script = indented(ROOT / "docs/plugin-guide.md", "run=$(aiki workflows trigger book-trip")
    done = subprocess.run(["sh", "-e", "-c", script], text=True, capture_output=True, cwd=tmp_path, timeout=PATIENCE_S,
                          env={**os.environ, "AIKI_SERVER": served.rpc, "PATH": f"{AIKI.parent}:{os.environ['PATH']}"})
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert (result["state"], result["output"]["status"]) == ("completed", "withdrawn"), done.stdout
