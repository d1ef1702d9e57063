"""Code in documents is true.

A block that opens with ```c NAME or ```cpp NAME is a piece of the file NAME: the pieces of one
document are put together in their order, compiled without a warning and, being plugins, checked by
`aiki plugins check`. A block that opens with a bare ```c is a verbatim part of a source in the tree.
"""
import subprocess

import pytest

from harness import AIKI, ROOT
from doc_text import blocks, documents

COMPILERS = {"c": ["cc"], "cpp": ["c++", "-std=c++17"]}
WARNINGS = ["-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wshadow", "-Werror"]


def whole_files():
    files = {}
    for path in documents():
        for block in blocks(path, *COMPILERS):
            if block.name:
                files.setdefault((path, block.name), []).append(block)
    return files


FILES = whole_files()


@pytest.mark.parametrize("path, name", FILES, ids=lambda v: getattr(v, "name", v))
def test_named_blocks_make_a_plugin(path, name, tmp_path):
    pieces = FILES[path, name]
    source, plugin = tmp_path / name, tmp_path / "plugin.so"
    # The compiler's complaints name the document and its lines.
    source.write_text("".join(f'#line {p.line + 1} "{path}"\n{p.text}' for p in pieces))
    done = subprocess.run([*COMPILERS[pieces[0].language], *WARNINGS, "-O1", "-shared", "-fPIC",
                           "-fvisibility=hidden", f"-I{ROOT}/abi/include", source, "-o", plugin],
                          text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    checked = subprocess.run([AIKI, "plugins", "check", plugin], text=True, capture_output=True)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_bare_blocks_are_copies_of_sources():
    sources = [p.read_text() for folder in ("abi", "plugins", "runtime", "server", "docs/examples")
               for p in (ROOT / folder).rglob("*.[ch]")]
    strangers = [str(block) for path in documents() for block in blocks(path, "c")
                 if not block.name and not any(block.text in source for source in sources)]
    assert not strangers, f"neither named nor copied from a source: {strangers}"


def test_a_whole_plugin_is_small_and_shown_as_it_is():
    hello = (ROOT / "plugins/hello/hello.c").read_text()
    assert len(hello.splitlines()) <= 25
    for page in ("README.md", "docs/plugin-guide.md"):
        assert hello in [block.text for block in blocks(ROOT / page, "c")], page
