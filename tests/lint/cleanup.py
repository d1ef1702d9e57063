"""What AUTO frees at the end of its scope has a value at every return before it."""
import re

from harness import ROOT

DECLARATION = re.compile(r"^    AUTO\(\w+\) [^=]*?(\w+);$")
LINES_MAX = 60


def returns_before_value(lines, at, name):
    for line in lines[at + 1:at + LINES_MAX]:
        if line == "}" or re.search(rf"&?\b{name}\b", line):
            return False
        if re.search(r"\breturn\b", line):
            return True
    return False


def test_values_before_returns():
    wrong = []
    for folder in ("abi", "runtime", "server", "tools"):
        for path in sorted((ROOT / folder).rglob("*.c")):
            lines = path.read_text().split("\n")
            for at, line in enumerate(lines):
                found = DECLARATION.match(line)
                if found and returns_before_value(lines, at, found[1]):
                    wrong.append(f"{path.relative_to(ROOT)}:{at + 1}: {line.strip()}")
    assert not wrong, wrong
