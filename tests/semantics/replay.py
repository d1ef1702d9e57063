"""After every wait the function is called again from its first line, and no recorded step with it."""
import chain
from harness import until


def test_a_forced_replay_after_every_step_executes_each_step_once(common, trace):
    steps = 12
    run = common.start("replay", {"path": str(trace), "steps": steps})
    for i in range(steps):
        until(lambda: sum(e["kind"] == "step_begun" and e["step"] == "signal"
                          for e in common.history(run)) > i and common.state(run) == "awaiting_signal",
              f"it waits for the {i + 1}. time")
        common.signal(run, "next", None)
    assert common.result(run) == list(range(steps))
    marks = trace.read_text()
    assert marks.count("t") == steps, marks
    assert marks.count("w") >= steps + 1, "it was not replayed at every wait"
    chain.check(common.history(run))


def test_signals_that_are_there_need_no_wait_and_no_replay(common, trace):
    run = common.start("replay", {"path": str(trace), "steps": 1})
    common.signal(run, "next", None)
    assert common.result(run) == [0]
    assert trace.read_text().count("t") == 1
