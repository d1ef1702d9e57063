"""A run on its way to a process of its own, and what comes in between: it ends once and right, and no place is lost."""
import pytest

import chain
from harness import until


@pytest.mark.parametrize("nth", [1, 2])
def test_the_server_is_killed_when_it_is_asked_for_the_journal(stacks, nth):
    """The process is there, and its run is gone with the session: the next one finds the only place free."""
    s = stacks(plugins=["crash"], child_idle="always", runtime_args=["--child-alone", "1"], start=False)
    spent = s.directory / "spent"
    s.start_redis()
    s.start_server(env={"AIKI_FAULT": f"server.journal.received=kill@{nth}", "AIKI_FAULT_ONCE": str(spent)})
    s.start_runtime(0)

    def crash(key):
        return s.start_surely("crash", {"how": "null", "times": nth, "path": str(s.directory / key)}, key)

    runs = [crash("before")]
    until(lambda: not s.server.alive(), "its journal was asked for")
    assert spent.exists()
    s.start_server()
    runs.append(crash("after"))
    for run in runs:
        assert s.outcome(run)["output"] == {"crashes": nth}
        chain.check(s.history(run))
