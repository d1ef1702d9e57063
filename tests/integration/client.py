"""The C client library as applications get it: installed, linked, and cut off from its server."""
import os
import pathlib
import subprocess

import pytest
from harness import BUILD, PATIENCE_S, ROOT, SANITIZED, until

EXAMPLES = ROOT / "docs" / "examples"


def run_example(name, *args, patience_s=PATIENCE_S):
    return subprocess.run([str(BUILD / "abi" / "client" / f"example-{name}"), *map(str, args)], text=True,
                          capture_output=True, timeout=patience_s, check=False)


def test_the_blocking_example(stacks):
    s = stacks(plugins=["hello"])
    first = run_example("client", s.rpc, "world")
    assert first.returncode == 0, first.stderr
    run, greeting = first.stdout.splitlines()
    assert greeting == "Hello, world!"
    again = run_example("client", f"aiki://{s.rpc}", "world").stdout.splitlines()
    assert again == [f"{run} (started earlier)", greeting]
    refused = run_example("client", s.rpc, "x" * 101)
    assert refused.returncode == 1 and "SCHEMA" in refused.stderr and "name" in refused.stderr
    assert run_example("client", "127.0.0.1:1", "x").returncode == 1


def test_the_callback_example(stacks):
    s = stacks(plugins=["hello"])
    done = run_example("client_async", s.rpc, 200)
    assert (done.returncode, done.stdout) == (0, "200 of 200 completed\n"), done.stderr


def test_a_client_rides_through_restarts_of_the_server(stacks):
    s = stacks(plugins=["waits"])
    count = 30
    waits = [s.start("approve", {}, key=f"k{i}") for i in range(count)]
    with subprocess.Popen([str(BUILD / "tools" / "aiki"), "runs", "wait", waits[0]], text=True,
                          env={**os.environ, "AIKI_SERVER": s.rpc}, stdout=subprocess.PIPE) as waiting:
        until(lambda: s.state(waits[0]) == "awaiting_signal", "the run waits")
        for _ in range(3):
            s.restart_server()
        until(lambda: s.get("/v1/workers")["workers"], "the runtime is back")
        for run in waits:
            s.signal(run, "decision", {"ok": True})
        output, _ = waiting.communicate(timeout=PATIENCE_S)
    assert (waiting.returncode, output) == (0, '{"ok":true}\n')


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """What `meson install` puts on a machine, in a folder."""
    root = tmp_path_factory.mktemp("installed")
    subprocess.run(["meson", "install", "-C", str(BUILD), "--no-rebuild", "--quiet", "--destdir", str(root)],
                   check=True, capture_output=True)
    return root


def pkg_config(root, *args):
    package, = root.glob("**/pkgconfig/aiki-client.pc")
    return subprocess.run(["pkg-config", *args, "aiki-client"], check=True, text=True, capture_output=True,
                          env={**os.environ, "PKG_CONFIG_PATH": str(package.parent),
                               "PKG_CONFIG_SYSROOT_DIR": str(root)}).stdout.split()


def preloaded():
    """What a library with sanitizers in it wants to be loaded before everything else."""
    if not SANITIZED:
        return {}
    path = subprocess.run(["gcc", "-print-file-name=libasan.so"], check=True, text=True, capture_output=True).stdout.strip()
    return {"LD_PRELOAD": path}


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_an_application_builds_with_pkg_config_alone(stacks, installed, tmp_path, compiler):
    s = stacks(plugins=["hello"])
    program = tmp_path / "client"
    subprocess.run([compiler, "-Wall", "-Wextra", "-Werror", str(EXAMPLES / "client.c"),
                    *pkg_config(installed, "--cflags", "--libs"), "-o", str(program)], check=True)
    library, = installed.glob("**/libaiki-client.so.1")
    done = subprocess.run([str(program), s.rpc, compiler], text=True, capture_output=True, check=False,
                          env={**os.environ, "LD_LIBRARY_PATH": str(library.parent), **preloaded()})
    assert done.returncode == 0, done.stderr
    assert f"Hello, {compiler}!" in done.stdout


def test_the_library_exports_what_its_header_declares(installed):
    library, = installed.glob("**/libaiki-client.so.1.*")
    lines = subprocess.run(["nm", "-D", "--defined-only", str(library)], check=True, text=True,
                           capture_output=True).stdout.splitlines()
    exported = {line.split()[-1].split("@")[0] for line in lines if line.split()[1] == "T"}
    header = pathlib.Path(ROOT / "abi" / "include" / "aiki" / "client.h").read_text()
    assert exported
    for name in exported:
        assert f"{name}(" in header, name
    dynamic = subprocess.run(["readelf", "-d", str(library)], check=True, text=True,
                             capture_output=True).stdout
    assert "Library soname: [libaiki-client.so.1]" in dynamic
