"""The arrows between folders point one way; the engine and the replay code see no I/O."""
import re

import pytest

from harness import ROOT

# folder: what it may include besides its own folder and system headers
ALLOWED = {
    "abi/include": ["aiki/"],
    "abi/wire": ["aiki/", "wire/"],
    "abi/client": ["aiki/", "wire/", "base/", "client/"],
    "runtime/base": ["aiki/", "wire/", "base/"],
    "runtime/fiber": ["aiki/", "base/", "fiber/"],
    "runtime/replay": ["aiki/", "wire/", "replay/", "base/planted."],
    "runtime/child": ["aiki/", "wire/", "base/", "fiber/", "replay/", "child/"],
    "runtime/intake": ["aiki/", "wire/", "base/", "intake/"],
    "runtime/broker": ["aiki/", "wire/", "base/", "intake/", "broker/"],
    "server/engine": ["aiki/", "wire/", "engine/", "base/planted."],
    "server/store": ["aiki/", "wire/", "base/", "store/"],
    "server/http": ["aiki/", "wire/", "base/", "http/", "dashboard/", "core.h"],
    "plugins": ["aiki/"],
}
PURE = ["server/engine", "runtime/replay"]
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]', re.M)


def sources(folder):
    return sorted(p for p in (ROOT / folder).rglob("*.[ch]"))


@pytest.mark.parametrize("folder", ALLOWED)
def test_arrows(folder):
    wrong = []
    for path in sources(folder):
        for mark, name in INCLUDE.findall(path.read_text()):
            ours = mark == '"' or name.startswith("aiki/")
            if ours and "/" in name and not any(name.startswith(a) for a in ALLOWED[folder]):
                wrong.append(f"{path.relative_to(ROOT)}: {name}")
    assert not wrong, wrong


@pytest.mark.parametrize("folder", PURE)
def test_pure_folders_include_no_system_but_the_plainest(folder):
    plain = {"string.h", "stddef.h", "stdint.h", "stdbool.h", "stdlib.h", "assert.h", "stdio.h", "limits.h"}
    wrong = [f"{p.relative_to(ROOT)}: {name}" for p in sources(folder)
             for mark, name in INCLUDE.findall(p.read_text())
             if mark == "<" and not name.startswith("aiki/") and name not in plain]
    assert not wrong, wrong


def test_no_unnamed_marks_and_no_machine_paths():
    wrong = []
    for pattern in ("**/*.c", "**/*.h", "**/*.py", "**/*.md", "tools/*"):
        for path in ROOT.glob(pattern):
            if not path.is_file() or "build" in path.relative_to(ROOT).parts[:1] or ".git" in path.parts:
                continue
            for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
                if path != ROOT / "tests/lint/includes.py" and re.search(r"\b(TODO|FIXME|HACK|XXX)\b", line):
                    wrong.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()}")
    assert not wrong, wrong
