"""Typed calls between plugins: one header, given out by the one that is called, checked by the compiler.

The header is an agreement at compile time; what crosses between the two is checked again at run time,
against the schema of the build that is serving.
"""
import subprocess

import pytest
from harness import ROOT

HERE = ROOT / "tests/semantics"


def compiles(tmp_path, call, warnings):
    """Whether workflow code with this call is accepted."""
    (tmp_path / "caller.c").write_text(f"""
#include "shipping.h"
aiki_status caller(aiki_run *run, aiki_error *err);
aiki_status caller(aiki_run *run, aiki_error *err)
{{
    const struct parcel parcel = {{.to = "Ada", .grams = 100}};
    struct receipt receipt;
    (void)parcel;
    return {call};
}}
""")
    return subprocess.run(["cc", "-fsyntax-only", *warnings, f"-I{HERE}", f"-I{ROOT}/abi/include",
                           tmp_path / "caller.c"], capture_output=True).returncode == 0


def test_a_workflow_of_another_plugin_is_called_like_a_function(common):
    run = common.start("typed-calls", {"to": "Ada", "grams": [100, 2000]})
    assert common.result(run) == {"cents": 310 + 500}
    family = common.get(f"/v1/runs/{run}/tree")["runs"]
    assert sorted(r["workflow"] for r in family) == ["ship", "ship", "typed-calls"]
    done = [e["output"] for e in common.history(run) if e["kind"] == "child_done"]
    assert {"tracking": "Ada/100", "cents": 310} in done


def test_its_failure_is_an_error_with_its_code(common):
    document = common.outcome(common.start("typed-calls", {"to": "nowhere", "grams": [1]}))
    assert (document["state"], document["error"]["code"]) == ("failed", "NO_ADDRESS")


def test_what_the_types_do_not_say_the_schema_does(common):
    """A weight of 0 is an int64_t like any other; the rule is in the record."""
    error = common.outcome(common.start("typed-calls", {"to": "Ada", "grams": [0]}))["error"]
    assert error["code"] in ("SCHEMA", "SCHEMA_MISMATCH") and "grams" in error["message"]


@pytest.mark.parametrize("call, accepted", [
    ("ship_child(run, &parcel, &receipt, err)", True),
    ("ship_child(run, &receipt, &receipt, err)", False),
    ("ship_child(run, &parcel, &parcel, err)", False),
    ("ship_child(run, \"parcel\", &receipt, err)", False),
    ("shipp_child(run, &parcel, &receipt, err)", False),
    ("ship_child(run, &(struct parcel){.too = \"Ada\"}, &receipt, err)", False),
], ids=["right", "wrong-input", "wrong-output", "text", "misspelt-workflow", "misspelt-field"])
def test_the_compiler_refuses_what_does_not_fit(tmp_path, call, accepted):
    for warnings in ([], ["-Wall", "-Wextra", "-Werror"]):
        assert compiles(tmp_path, call, warnings) is accepted, warnings
