"""docs/features.md names files that exist and claims nothing without one."""
import re

import pytest

from harness import ROOT

LINE = re.compile(r"^\| (\w+) \| (.+) \| (done|part|not yet) \| (.*) \|$", re.M)
ROWS = LINE.findall((ROOT / "docs/features.md").read_text())


def test_every_row_is_there_once():
    text = (ROOT / "docs/features.md").read_text()
    assert len(ROWS) == len([line for line in text.splitlines() if re.match(r"\| \w*\d", line)])
    ids = [row[0] for row in ROWS]
    assert len(ids) == len(set(ids))
    counts = {"A": 20, "B": 18, "C": 4, "D": 12, "E": 12, "F": 11, "G": 22, "H": 12, "I": 13, "J": 12, "K": 15,
              "L": 6, "M": 12, "N": 3, "O": 11, "P": 8, "": 18}
    assert ids == [f"{letter}{n}" for letter, count in counts.items() for n in range(1, count + 1)]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_files_exist(row):
    _, _, state, where = row
    files = re.findall(r"`([\w.-]+/[\w./-]+|LICENSE)`", where)
    assert [f for f in files if not (ROOT / f).exists()] == []
    if state == "done":
        assert files
    if state == "not yet":
        assert not where
