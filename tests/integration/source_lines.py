"""Errors name the source line, where the plugin has debug information; without, or with nonsense in its
place, everything else works as ever."""
import bisect
import pathlib
import re
import struct
import subprocess

import pytest

import harness
from harness import until

SOURCES = pathlib.Path(__file__).parent.parent


def line_of(source, text):
    """Number of the only line that has it."""
    found = [number for number, line in enumerate((SOURCES / source).read_text().splitlines(), 1) if text in line]
    assert len(found) == 1, (source, text, found)
    return found[0]


def stripped(tmp_path, name, *how):
    file = tmp_path / f"{name}.so"
    subprocess.run(["objcopy", *how, harness.plugin(name), file], check=True)
    return file


def fail(s):
    """The step that failed, once there is a plugin with such a run."""
    until(lambda: [w for w in s.get("/v1/workflows")["workflows"] if w["name"] == "error-passed-on" and w["served"]],
          "the plugin serves")
    run = s.start("error-passed-on", {"transfer": 7})
    s.outcome(run)
    return run, next(e for e in s.history(run) if e["kind"] == "step_done" and e["outcome"] == "failed")


def lines_files(s):
    return sorted(s.directory.glob("state0/cache/*/*.lines*"))


def test_a_failed_task_names_its_line_build_and_input(stacks):
    s = stacks(plugins=["error-capture"])
    run, step = fail(s)
    line = line_of("semantics/error-capture.c", "return call->api->fail(call, &top);")
    build = until(lambda: s.get("/v1/plugins")["plugins"], "the plugin is registered")[0]["build"]
    frame = step["error"]["stack"][0]
    assert re.fullmatch(rf"transfer\+0x[0-9a-f]+ \(error-capture.so build {build[:8]}\) semantics/error-capture.c:{line}",
                        frame), frame
    shown = s.aiki("runs", "inspect", run).stdout
    assert f"at {frame}" in shown and 'in  {"transfer":7}' in shown, shown
    assert "compile the plugin with -g" not in shown


def test_a_workflow_that_fails_names_its_line(stacks):
    s = stacks(plugins=["personal"])
    line = line_of("semantics/personal.c", '"UNWELCOME"')
    run = s.start("personal", {"name": "Ada", "fault": "run"})
    s.outcome(run)
    stack = next(e for e in s.history(run) if e["kind"] == "failed")["error"]["stack"]
    assert stack[-1].endswith(f" semantics/personal.c:{line}"), stack
    assert f"semantics/personal.c:{line}" in s.aiki("runs", "inspect", run).stdout


def test_a_crash_names_its_line(stacks):
    s = stacks(plugins=["crash"], env={"ASAN_OPTIONS": "detect_leaks=0:abort_on_error=1"})
    line = line_of("support/plugins/crash.c", "*nowhere = 1;")
    for where in ("task", "workflow"):
        run = s.start("crash", {"how": "null", "times": 1, "path": str(s.directory / where), "where": where, "ms": 0})
        s.result(run)
        crashed = next(e for e in s.history(run) if e["kind"] == "crashed")
        assert crashed["error"]["stack"][0].endswith(f" plugins/crash.c:{line}"), crashed
        assert f"plugins/crash.c:{line}" in s.aiki("runs", "inspect", run).stdout


def rows_of(lines):
    """{address: (file, line)} of a table as base/lines.h says."""
    count, files, _ = struct.unpack_from("=IIQ", lines, 8)
    names = 24 + 16 * count
    text = lines[names + 4 * files:]
    name = [text[at:text.index(b"\0", at)].decode() for at in struct.unpack_from(f"={files}I", lines, names)]
    rows = struct.iter_unpack("=QII", lines[24:names])
    return {address: (name[file].rpartition("/")[2], line) for address, file, line in rows}


def test_optimised_code_has_the_lines_that_other_tools_say(tmp_path):
    """There several rows are for one address, and the last of them counts."""
    plugin = tmp_path / "optimised.so"
    subprocess.run(["cc", "-O2", "-g", "-shared", "-fPIC", "-fvisibility=hidden", f"-I{harness.ROOT}/abi/include", "-o",
                    plugin, SOURCES / "semantics/error-capture.c"], check=True)
    said = subprocess.run(["objdump", "--dwarf=decodedline", plugin], check=True, capture_output=True, text=True).stdout
    expected, shared = {}, 0
    for file, line, address in re.findall(r"^(\S+) +(\d+|-) +(0x[0-9a-f]+)", said, re.M):
        if line != "-":
            shared += expected.get(int(address, 16), (file, int(line))) != (file, int(line))
            expected[int(address, 16)] = file, int(line)
    with open(plugin) as source:
        lines = subprocess.run([harness.RUNTIME.parent / "aiki-lines"], stdin=source, check=True, capture_output=True).stdout
    rows = rows_of(lines)
    addresses = sorted(rows)
    assert shared > 100 and len(rows) > 100
    wrong = {address: (told, here) for address, told in expected.items()
             if (here := rows[addresses[bisect.bisect_right(addresses, address) - 1]]) != told}
    assert wrong == {}


def test_without_debug_information_there_are_functions_and_how_to_get_lines(stacks, tmp_path):
    s = stacks()
    s.drop("error-capture", stripped(tmp_path, "error-capture", "--strip-debug"))
    run, step = fail(s)
    assert step["error"]["stack"][0].endswith(")")
    assert "compile the plugin with -g" in s.aiki("runs", "inspect", run).stdout
    assert lines_files(s) == []


@pytest.mark.parametrize("section", [".debug_line", ".debug_info", ".debug_abbrev"])
def test_debug_information_that_is_none_costs_the_lines_alone(stacks, tmp_path, section):
    nonsense = tmp_path / "nonsense"
    nonsense.write_bytes(bytes((i * i + 131 * i) % 251 for i in range(20000)))
    s = stacks()
    s.drop("error-capture", stripped(tmp_path, "error-capture", "--update-section", f"{section}={nonsense}"))
    assert fail(s)[1]["error"]["stack"][0].startswith("transfer+0x")


def kept_lines(s):
    return sorted(s.directory.glob("state0/kept/*/*/.lines"))


@pytest.mark.parametrize("damaged", [False, True])
def test_lines_are_read_once_a_build_and_kept_with_it(stacks, damaged):
    """The next process of the runtime has them from there; what a power cut left of them is no reason to go without."""
    s = stacks(plugins=["error-capture"])
    (kept,), (lines,) = kept_lines(s), lines_files(s)
    first = kept.stat().st_ino
    assert lines.stat().st_ino == first
    s.runtime.kill()
    if damaged:
        kept.write_bytes(kept.read_bytes()[:-1])
    s.start_runtime()
    lines, = lines_files(s)
    assert (lines.stat().st_ino == first) is not damaged
    assert re.search(r"\.c:\d+$", fail(s)[1]["error"]["stack"][0])


def test_lines_go_with_the_last_process_of_the_build(stacks):
    s = stacks(plugins=["error-capture"])
    assert len(lines_files(s)) == 1
    s.remove("error-capture")
    until(lambda: lines_files(s) == [], "its lines are removed")
    s.drop("error-capture")
    assert ".c:" in fail(s)[1]["error"]["stack"][0]
    s.runtime.stop()
    assert lines_files(s) == []
