"""One stack for all tests that only look; those that kill something make their own with `stacks`."""
import harness
import pytest

PLUGINS = ["at-most-once", "cancellation", "children", "deadlines", "error-capture", "groups", "heartbeats",
           "inbox", "own-retries", "passes", "payloads", "personal", "replay", "retry-policies", "shipping", "side-values",
           "sleeping", "timeline", "timeouts", "turns", "typed-calls", "versions"]


@pytest.fixture(scope="session")
def common(request):
    stack = harness.Stack.__new__(harness.Stack)
    try:
        stack.__init__(plugins=PLUGINS)
        yield stack
    finally:
        stack.close(failed=request.session.testsfailed > 0)


@pytest.fixture
def trace(tmp_path):
    """A file that tasks append to; its text so far is trace.read_text()."""
    file = tmp_path / "trace"
    file.touch()
    return file
