"""docs/wire-format.md says what abi/wire/ says: every message, field, event and named limit."""
import re

from harness import ROOT

DOCUMENT = (ROOT / "docs/wire-format.md").read_text()
DEFINITION = (ROOT / "abi/wire/message.def").read_text()
HEADERS = "\n".join(p.read_text() for folder in ("abi", "runtime", "server")
                    for p in sorted((ROOT / folder).rglob("*.h")))


def rows(heading):
    """Cells of the table whose first column is called that."""
    table = DOCUMENT[DOCUMENT.index(f"\n| {heading} |"):].split("\n\n")[0].strip().splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table[2:]]


def test_messages():
    numbers = {name: number for name, number in re.findall(r"X\((\w+), (\d+), MSG_\w+\)", DEFINITION)}
    fields = {name: " ".join(re.findall(r"F\(\w+, (\w+)\)", body)) for name, body in
              re.findall(r"#define MSG_(\w+)\(F\)((?:.*\\\n)*.*)\n", DEFINITION)}
    assert len(numbers) == len(fields) > 20
    written = {name.strip("`"): (number, names) for name, number, _, names, _ in rows("message")}
    assert written == {name: (numbers[name], fields[name]) for name in numbers}


def test_field_types():
    types = set(re.findall(r"F\((\w+), \w+\)", DEFINITION))
    written = set(re.findall(r"`(\w+)`", " ".join(row[0] for row in rows("type"))))
    assert written == types


def kinds(name):
    block = re.search(rf"#define {name}\(X\)((?:.*\\\n)*.*)\n", HEADERS).group(1)
    return [(text, number) for number, text in re.findall(r'X\(\w+, (\d+), "(\w+)"', block)]


def test_events():
    assert [(text.strip("`"), number) for text, number, _, _ in rows("event")] == kinds("EVENT_KIND_MAP")
    for text, number in kinds("STEP_KIND_MAP"):
        assert f"`{text}` {number}" in DOCUMENT


def test_limits_exist():
    names = re.findall(r"`(\w+)`", " ".join(row[0] for row in rows("name")))
    assert len(names) > 10
    assert [n for n in names if not re.search(rf"\b{n} = ", HEADERS)] == []


def test_queries():
    comment = re.search(r'/\* what: (.*?)\*/', DEFINITION, re.S).group(1)
    for what in re.findall(r'"([a-z]+\.[a-z]+)"', comment):
        assert f'"{what}"' in DOCUMENT
