"""Commands in documents exist: every `aiki GROUP VERB` and every flag behind it."""
import re
import subprocess

import pytest

from harness import AIKI, ROOT
from doc_text import command_lines, documents

GROUPED = {"workflows", "runs", "plugins", "workers", "dead-letters", "tasks"}


# aiki at the start of a line, of a command substitution, or behind a pipe.
COMMAND = re.compile(r"^(?:\w+=\$\()?(?:[^|]* \| )?aiki (.*)$")


def words_of(line):
    """The words of the command and its flags; quoted words and shell syntax do not matter."""
    found = COMMAND.match(line)
    return re.sub(r"'[^']*'", "X", found.group(1)).rstrip(")&").split() if found else []


def complaint(line):
    words = words_of(line)
    if not words or words[0] == "help":
        return None
    verb = words[:2] if words[0] in GROUPED else words[:1]
    done = subprocess.run([AIKI, *verb, "--help"], text=True, capture_output=True)
    if done.returncode != 0:
        return f"{line}: {done.stderr.strip()}"
    unknown = [w for w in words if w.startswith("--") and
               not re.search(rf"{re.escape(w.split('=')[0])}\b", done.stdout)]
    return f"{line}: unknown {unknown}" if unknown else None


@pytest.mark.parametrize("path", documents(), ids=lambda p: str(p.relative_to(ROOT)))
def test_commands_exist(path):
    complaints = [c for c in map(complaint, command_lines(path)) if c]
    assert not complaints, complaints


@pytest.mark.parametrize("path", documents(), ids=lambda p: str(p.relative_to(ROOT)))
def test_what_is_said_of_a_command_beside_it_is_a_comment(path):
    """Pasted with the line it would be arguments."""
    said = [line for line in command_lines(path)
            if line.startswith(("aiki ", "tools/", "curl ")) and re.search(r"\S {2,}[^# ]", line)]
    assert not said, said

