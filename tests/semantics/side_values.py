"""Clock, chance and captured values are recorded when first asked for and never asked for again."""
from harness import until


def test_each_is_the_same_in_another_process(stacks):
    s = stacks(plugins=["side-values"])
    run = s.start("side-values", {})
    until(lambda: s.state(run) == "awaiting_signal", "it waits")
    s.runtime.kill()
    s.start_runtime()
    s.signal(run, "again", None)
    seen = s.result(run)
    assert seen["then"] == seen["now"]


def test_a_value_is_captured_once_however_often_the_code_is_executed(common):
    run = common.start("side-values", {})
    until(lambda: common.state(run) == "awaiting_signal", "it waits")
    common.signal(run, "again", None)
    seen = common.result(run)
    assert seen["then"][3] == seen["now"][3], "the function was called twice"
    names = [e["name"] for e in common.history(run) if e["kind"] == "step_done" and e["step"] == "side"]
    assert "captured" in names


def test_two_runs_see_different_values(common):
    runs = [common.start("side-values", {}) for _ in range(2)]
    for run in runs:
        common.signal(run, "again", None)
    (_, random1, uuid1, _), (_, random2, uuid2, _) = [common.result(run)["now"] for run in runs]
    assert random1 != random2 and uuid1 != uuid2
