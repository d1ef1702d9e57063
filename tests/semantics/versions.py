"""A run stays with the version it was started with; a start without one gets the newest served."""
import pytest
from harness import HttpError


def test_the_newest_by_default_and_any_by_name(common):
    newest = common.start("versions", {})
    pinned = common.start("versions", {}, version="1.0.0")
    assert [common.run(r)["version"] for r in (newest, pinned)] == ["2.0.0", "1.0.0"]
    for run in (newest, pinned):
        common.signal(run, "go", None)
    assert [common.result(r) for r in (newest, pinned)] == ["two", "one"]


def test_both_are_listed_and_served(common):
    listed = [(w["version"], w["served"]) for w in common.get("/v1/workflows")["workflows"]
              if w["name"] == "versions"]
    assert sorted(listed) == [("1.0.0", True), ("2.0.0", True)]


def test_a_version_nobody_ever_served_is_refused_and_makes_no_run(common):
    with pytest.raises(HttpError) as e:
        common.start("versions", {}, version="3.0.0", key="third")
    assert (e.value.status, e.value.code) == (404, "VERSION_NOT_FOUND")
    assert common.get("/v1/runs?key=third")["runs"] == []
