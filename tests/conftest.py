"""Shared fixtures: `stack` makes stacks that are taken down, with their logs shown on failure."""
import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent / "support"))
import harness  # noqa: E402


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    if report.failed:
        item.failed = True


def pytest_configure(config):
    config.addinivalue_line("markers", "heavy: too slow for the sanitizer build")


@pytest.fixture
def stacks(request):
    made = []

    def make(*args, **kwargs):
        stack = harness.Stack.__new__(harness.Stack)
        made.append(stack)
        stack.__init__(*args, **kwargs)
        return stack

    yield make
    for stack in made:
        stack.close(failed=getattr(request.node, "failed", False))


@pytest.fixture
def stack(stacks):
    """The usual: one runtime and every example plugin the test asks for by drop()."""
    return stacks()
