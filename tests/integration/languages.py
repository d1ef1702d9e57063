"""C, C++, Rust and Go in one runtime: they serve the same workflow, fail, crash and reload alike."""
import json

import pytest
from harness import end, plugin, until

SPEAKS = {"hello": "", "hello-cpp": ", from C++", "hello-rust": ", from Rust", "hello-go": ", from Go"}
LANGUAGES = {"hello": "c", "hello-cpp": "c++", "hello-rust": "rust", "hello-go": "go"}


def start_greetings(s, name, count):
    return {s.start(name, {"name": f"Ada {n}"}): {"greeting": f"Hello, Ada {n}{SPEAKS[name]}!"}
            for n in range(count)}


def all_complete(s, runs):
    for run, expected in runs.items():
        assert s.result(run) == expected


def test_they_load_side_by_side_and_run_the_same_workflow(stacks):
    s = stacks(plugins=SPEAKS)
    runs = {}
    for name in SPEAKS:
        runs |= start_greetings(s, name, 25)
    all_complete(s, runs)
    for name, language in LANGUAGES.items():
        shown = json.loads(s.aiki("plugins", "check", plugin(name), "--json").stdout)
        assert shown["language"] == language
    listed = {p["name"]: p["language"] for p in s.get("/v1/plugins")["plugins"]}
    assert listed == LANGUAGES


@pytest.mark.parametrize("name,value,code", [
    ("hello-cpp", {"name": " "}, "BAD_NAME"),
    ("hello-rust", {"nom": "Ada"}, "NAME_MISSING"),
    ("hello-rust", [1], "BAD_INPUT"),
    ("hello-go", {"nom": "Ada"}, "NAME_MISSING"),
    ("hello-go", 7, "BAD_PAYLOAD"),
])
def test_they_fail_with_errors_of_their_own(stacks, name, value, code):
    s = stacks(plugins=[name])
    document = s.outcome(s.start(name, value))
    assert document["state"] == "failed"
    assert document["error"]["code"] == code


@pytest.mark.parametrize("language,sign", [
    ("cpp", "terminate called after throwing"),  # an exception that leaves a task
    ("rust", "killed by signal 6"),             # an abort
    ("go", "panic: nobody recovers this"),       # a panic of a goroutine the task started
])
def test_a_crash_is_contained_and_the_run_goes_on(stacks, tmp_path, language, sign):
    s = stacks(plugins=[f"crash-{language}", "hello"])
    mark = tmp_path / "mark"
    crashing = s.start(f"crash-{language}", {"path": str(mark)})
    bystanders = start_greetings(s, "hello", 10)
    assert s.result(crashing) == {"path": str(mark)}
    all_complete(s, bystanders)
    until(lambda: sign in s.runtime.log.read_text(), "the log tells of the crash")


@pytest.mark.parametrize("name", [name for name in SPEAKS if name != "hello"])
def test_they_reload_and_resume_while_runs_are_under_way(stacks, tmp_path, name):
    s = stacks(plugins=[name])
    # Another build of the same source: a loader does not look at what follows an ELF file.
    rebuilt = tmp_path / "rebuilt.so"
    rebuilt.write_bytes(plugin(name).read_bytes() + b"\n")
    runs = start_greetings(s, name, 30)
    s.drop(name, rebuilt)
    runs |= start_greetings(s, name, 30)
    until(lambda: s.runtime.log.read_text().count(f"plugin {name}.so@") >= 2, "the new build serves")
    until(lambda: any([end(pid) for pid in s.runtime.children()]), "one of them serves; the older one may end by itself")
    runs |= start_greetings(s, name, 30)
    all_complete(s, runs)
