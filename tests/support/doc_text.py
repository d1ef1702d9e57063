"""Reading our Markdown: documents, fenced blocks, indented command lines."""
import pathlib
import re
from typing import NamedTuple

from harness import ROOT

FENCE = re.compile(r"^```(\w+)(?: +(\S+))?$")


class Block(NamedTuple):
    """A fenced block. name is the second word behind the fence: ```c NAME"""

    path: pathlib.Path
    line: int
    language: str
    name: str
    text: str

    def __str__(self):
        return f"{self.path.relative_to(ROOT)}:{self.line}"


def documents():
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(path, *languages):
    found, current, begin = [], None, None
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if current is None and line.startswith("```"):
            begin = (number, *(FENCE.match(line) or FENCE.match("```text")).groups())
            current = []
        elif current is not None and line == "```":
            number, language, name = begin
            if language in languages:
                found.append(Block(path, number, language, name, "\n".join(current) + "\n"))
            current = None
        elif current is not None:
            current.append(line)
    assert current is None, f"{path}: a block is not closed"
    return found


def prose(path):
    """The text without fenced blocks and code spans."""
    text = re.sub(r"^```.*?^```$", "", path.read_text(), flags=re.M | re.S)
    return re.sub(r"`[^`\n]*`", "", "\n".join(l for l in text.splitlines() if not l.startswith("    ")))


def indented(path, around):
    """The indented block that has these words in it, as a reader would paste it."""
    block, = [b for b in re.split(r"\n(?! {4})", path.read_text()) if around in b and "\n    " in "\n" + b]
    return "\n".join(line[4:] for line in block.splitlines() if line.startswith("    ")) + "\n"


def command_lines(path):
    """Indented lines: what a reader would type."""
    return [line.strip() for line in path.read_text().splitlines() if line.startswith("    ")]
