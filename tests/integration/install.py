"""What `meson install` gives is complete: strangers build plugins and applications from it alone."""
import os
import pathlib
import shutil
import subprocess

import pytest

from harness import BUILD, PATIENCE_S, ROOT

pytestmark = pytest.mark.heavy  # programs built here would need the sanitizers' runtime too


class Tree:
    """An installed tree and the environment in which it is found."""

    def __init__(self, root):
        self.root = root
        subprocess.run(["meson", "install", "-C", BUILD, "--no-rebuild", "--quiet", "--destdir", root],
                       check=True)
        self.prefix = self.folder_of("include/aiki/plugin.h").parents[1]
        self.libraries = self.folder_of("libaiki-client.so")
        files = [self.folder_of(f"{name}.pc") for name in ("aiki-plugin", "aiki-client")]
        self.env = {**os.environ, "PKG_CONFIG_SYSROOT_DIR": str(root), "PKG_CONFIG_PATH": "",
                    "PKG_CONFIG_LIBDIR": ":".join(map(str, files)),
                    "LD_LIBRARY_PATH": str(self.libraries)}

    def folder_of(self, name):
        found = list(self.root.rglob(name))
        assert len(found) == 1, f"{name}: {found}"
        return found[0].parent

    def program(self, name):
        return self.prefix / "bin" / name

    def shell(self, command, cwd, code=0):
        done = subprocess.run(["sh", "-c", command], cwd=cwd, env=self.env, text=True,
                              capture_output=True)
        assert done.returncode == code, f"{command}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout + done.stderr


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    return Tree(tmp_path_factory.mktemp("installed"))


def readme_command(word):
    """The line of README.md with that word, so that what is promised is what is tested."""
    lines = [line.strip() for line in (ROOT / "README.md").read_text().splitlines()
             if line.startswith("    ") and word in line]
    assert len(lines) == 1, lines
    return lines[0]


def test_headers_are_those_of_the_tree_and_no_more(tree):
    ours = ROOT / "abi/include/aiki"
    installed = tree.prefix / "include/aiki"
    assert sorted(p.name for p in installed.iterdir()) == sorted(p.name for p in ours.iterdir())
    for header in ours.iterdir():
        assert (installed / header.name).read_bytes() == header.read_bytes()


@pytest.mark.parametrize("name", ["aiki", "aiki-server", "aiki-runtime"])
def test_programs_say_their_version(tree, name):
    version = tree.shell("pkg-config --modversion aiki-plugin", tree.root).strip()
    assert version in tree.shell(f"{tree.program(name)} --version", tree.root)


def test_the_readme_plugin_builds_outside_the_tree(tree, tmp_path):
    assert len((ROOT / "plugins/hello/hello.c").read_text().splitlines()) <= 25, "a small plugin is small"
    shutil.copytree(ROOT / "plugins/hello", tmp_path / "my-plugin")
    tree.shell(readme_command("cc -shared"), tmp_path / "my-plugin")
    said = tree.shell(f"{tree.program('aiki')} plugins check ./hello.so", tmp_path / "my-plugin")
    assert "hello" in said


def test_a_plugin_folder_is_a_meson_project_but_for_one_line(tree, tmp_path):
    folder = tmp_path / "orders"
    shutil.copytree(ROOT / "plugins/order-processing", folder)
    build = folder / "meson.build"
    build.write_text("project('orders', 'c')\n" + build.read_text())
    tree.shell("meson setup build && ninja -C build", folder)
    tree.shell(f"{tree.program('aiki')} plugins check build/order-processing.so", folder)


def test_nothing_in_a_plugin_needs_aiki_to_link(tree, tmp_path):
    plugin = shutil.copy(ROOT / "plugins/order-processing/order-processing.c", tmp_path)
    tree.shell(f"cc -shared -fPIC -Wl,-z,defs $(pkg-config --cflags aiki-plugin) {plugin} -o o.so",
               tmp_path)
    needed = [line for line in tree.shell("readelf -d o.so", tmp_path).splitlines() if "NEEDED" in line]
    assert all("libc.so" in line for line in needed), needed


@pytest.mark.parametrize("example", sorted(p.name for p in (ROOT / "docs/examples").glob("*.c")))
def test_examples_build_with_the_client_library(tree, tmp_path, example):
    source = ROOT / "docs/examples" / example
    tree.shell(f"cc -Wall -Wextra -Werror {source} $(pkg-config --cflags --libs aiki-client) -o example",
               tmp_path)
    assert "usage" in tree.shell("./example", tmp_path, code=2)


def test_plugin_and_application_from_the_installed_tree_meet(tree, tmp_path, stacks):
    source = pathlib.Path(shutil.copy(ROOT / "plugins/hello/hello.c", tmp_path))
    tree.shell(readme_command("cc -shared"), tmp_path)
    tree.shell(f"cc {ROOT}/docs/examples/client.c $(pkg-config --cflags --libs aiki-client) -o client",
               tmp_path)
    s = stacks()
    s.drop("hello", source.with_suffix(".so"))
    s.aiki("workflows", "show", "hello", "--wait", f"{PATIENCE_S}s")
    assert "Hello, world!" in tree.shell(f"./client {s.rpc} world", tmp_path)
