"""docs/errors.md: every error code that the sources can give is there, with its true category, and a test
speaks of each. Codes that nobody gives any more are not."""
import functools
import pathlib
import re

import pytest

from harness import ROOT

CODE = r"[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)*"
# What gives an error its code; STATUS and CODE are among the arguments, either may be chosen by ?:.
GIVES = re.compile(r"\b(?:error_code|aiki_error_set|engine_refuse\w*|refuse\w*)\s*\(")
# Words of capitals with an underscore that are no codes: variables of the environment, limits.
OTHER = re.compile(r"AIKI_|XDG_|NO_COLOR$|\w+_MS$|\w+_MAX$|NOTIFY_SOCKET$")


def without_comments(text):
    return re.sub(r"/\*.*?\*/", " ", text, flags=re.S)


def sources():
    for folder in ("abi", "runtime", "server", "tools"):
        for path in sorted((ROOT / folder).rglob("*.[ch]")):
            yield path, without_comments(path.read_text())


def arguments(text, at):
    """The text between the parenthesis at `at` and the one that closes it."""
    depth = 0
    for end in range(at, len(text)):
        depth += {"(": 1, ")": -1}.get(text[end], 0)
        if depth == 0:
            return text[at:end]
    return ""


@functools.cache
def statuses():
    header = (ROOT / "abi/include/aiki/status.h").read_text()
    return {name: category.lower()
            for name, category in re.findall(r"X\((\w+), (\w+), \d+, \"", header) if name != "OK"}


@functools.cache
def given():
    """Every code, with the categories of the statuses it is given with where those stand beside it."""
    codes = {name: {category} for name, category in statuses().items()}
    for _, text in sources():
        for call in GIVES.finditer(text):
            inside = arguments(text, call.end() - 1)
            found = re.findall(rf'"({CODE})"', inside)
            categories = {statuses().get(name) for name in re.findall(r"\bAIKI_([A-Z_]+)\b", inside)} - {None}
            for code in found:
                codes.setdefault(code, set()).update(categories)
        for code in re.findall(rf'"({CODE})"', text):
            if "_" in code and not OTHER.match(code):
                codes.setdefault(code, set())
    return codes


@functools.cache
def table():
    """Code, category, meaning, remedy."""
    rows = {}
    for line in (ROOT / "docs/errors.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("| `") and len(cells) == 4:
            code = cells[0].strip("`")
            assert code not in rows, f"{code} is there twice"
            rows[code] = cells[1:]
    return rows


def test_every_code_is_documented():
    missing = sorted(set(given()) - set(table()))
    assert not missing, f"not in docs/errors.md: {missing}"


def test_nothing_else_is_documented():
    gone = sorted(set(table()) - set(given()))
    assert not gone, f"nobody gives these any more: {gone}"


def test_every_row_says_what_and_what_to_do():
    for code, (category, meaning, remedy) in table().items():
        assert category in set(statuses().values()), f"{code}: {category}"
        assert len(meaning) > 5 and len(remedy) > 5, code


def test_categories_are_those_of_the_sources():
    wrong = {code: (category, given()[code]) for code, (category, _, _) in table().items()
             if given().get(code) and category not in given()[code]}
    assert not wrong, wrong


@pytest.fixture(scope="module")
def tests_text():
    return "\n".join(path.read_text(errors="replace") for path in sorted((ROOT / "tests").rglob("*"))
                     if path.suffix in (".c", ".h", ".py") and path != pathlib.Path(__file__))


def test_a_test_speaks_of_every_code(tests_text):
    silent = sorted(code for code in table() if not re.search(rf"\b(AIKI_)?{code}\b", tests_text))
    assert not silent, f"no test provokes {silent}"
