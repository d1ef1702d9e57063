"""The recipes of docs/deploying.md."""
import subprocess

import pytest

from harness import AIKI, BUILD, ROOT, plugin, until

BODY = {
    "now": 'TASK("a"); TASK("b"); WAIT("go"); TASK("c");',
    "append": 'TASK("a"); TASK("b"); WAIT("go"); TASK("c"); TASK("d");',
    "reorder": 'TASK("b"); TASK("a"); WAIT("go"); TASK("c");',
    "wait-alone": 'TASK("a"); TASK("b"); WAIT("go");',
    "insert": 'TASK("a"); TASK("x"); TASK("b"); WAIT("go"); TASK("c");',
    "stuck": 'extern int pause(void); TASK("a"); for (;;) (void)pause();',
    "exits": 'extern void _exit(int) __attribute__((noreturn)); TASK("a"); _exit(75);',
}


@pytest.fixture
def world(stacks, tmp_path):
    """A run of "now" that waits; what a recipe does with files."""
    s = stacks(runtime_args=["--gate", "safe,strict.so=strict"])

    def file(body, version="1.0.0", also="", tasks="PAIR_TASKS()"):
        workflows = f'AIKI_WORKFLOW("pair", "{version}", work)' + (', AIKI_WORKFLOW("pair", "1.0.0", former)' if also else "")
        source = tmp_path / "recipe.c"
        source.write_text(f"""#include "pair.h"
{f'PAIR_FUNCTION(former, {BODY[also]})' if also else ''}
PAIR_FUNCTION(work, {BODY[body]})
AIKI_PLUGIN("pair", "{version}", AIKI_WORKFLOWS({workflows}), {tasks});
""")
        target = tmp_path / f"{body}-{version}-{also}.so"
        subprocess.run(["cc", "-shared", "-fPIC", "-fvisibility=hidden", f"-I{ROOT}/abi/include", f"-I{BUILD}/abi/include",
                        f"-I{ROOT}/tests/support/plugins", source, "-o", target], check=True)
        return target
    s.file = file
    return s


def states(s):
    return [(p["state"], p["build"]) for p in s.get("/v1/plugins")["plugins"]]


def deploy(s, name, path):
    """Over what is there, and wait until it serves."""
    before = {build for _, build in states(s)}
    s.drop(name, path)
    until(lambda: any(state == "serving" and build not in before for state, build in states(s)), "it serves")


def waiting_run(s):
    run = s.start("pair", {})
    until(lambda: s.state(run) == "awaiting_signal", "it waits")
    return run


def end(s, run):
    s.signal(run, "go", None)
    return s.result(run)


@pytest.mark.parametrize("recipe, answer", [("append", "ab-cd"), ("reorder", "ba-c")])
def test_safe_changes(world, recipe, answer):
    deploy(world, "pair", world.file("now"))
    run = waiting_run(world)
    new = world.file(recipe)
    assert world.aiki("plugins", "gate", new).returncode == 0
    deploy(world, "pair", new)
    assert end(world, run) == answer


def test_a_task_that_is_gone_and_still_called_is_seen_before(world):
    """What the code will ask for stands in no record yet."""
    deploy(world, "strict", world.file("now"))
    run = waiting_run(world)
    gone = world.file("now", tasks='AIKI_TASKS(AIKI_TASK("a", echo), AIKI_TASK("b", echo))')
    told = world.aiki("plugins", "gate", gone, check=False)
    assert told.returncode == 5 and "TASK_UNKNOWN" in told.stdout, told
    assert "has no task c; the code calls it behind signal go, as far as made-up results show" in told.stdout, told
    world.drop("strict", gone)
    until(lambda: "refused" in dict(states(world)), "it is refused")
    unused = world.file("wait-alone", tasks='AIKI_TASKS(AIKI_TASK("a", echo), AIKI_TASK("b", echo))')
    assert world.aiki("plugins", "gate", unused).returncode == 0, "nothing calls it any more"
    assert end(world, run) == "ab-c"


def test_an_unsafe_insert_is_refused(world):
    deploy(world, "strict", world.file("now"))
    run = waiting_run(world)
    insert = world.file("insert")
    assert world.aiki("plugins", "gate", insert, check=False).returncode == 5
    world.drop("strict", insert)
    until(lambda: "refused" in dict(states(world)), "it is refused")
    assert "serving" in dict(states(world))
    assert end(world, run) == "ab-c"
    (world.plugins / "strict.so").touch()
    deploy(world, "strict", world.file("insert", version="1.0.1"))
    assert end(world, waiting_run(world)) == "axb-c"


@pytest.mark.parametrize("body, said", [("stuck", "GATE_STUCK: it takes longer than"),
                                        ("exits", "GATE_CRASHED: its process exited with code 75")])
def test_the_gate_before_deployment_names_what_never_comes_back(world, body, said):
    deploy(world, "pair", world.file("now"))
    run = waiting_run(world)
    done = world.aiki("plugins", "gate", world.file(body), check=False)
    assert done.returncode == 1 and said in done.stdout, done
    assert world.state(run) == "awaiting_signal"


@pytest.mark.parametrize("server, said", [("nonsense", 'address "nonsense"'), ("tls:127.0.0.1:1", "/nowhere/ca.pem")])
def test_a_gate_that_can_reach_no_server_refuses_no_file(server, said):
    done = subprocess.run([AIKI, "plugins", "gate", plugin("hello"), "--against", server, "--tls-ca", "/nowhere/ca.pem"],
                          text=True, capture_output=True)
    assert done.returncode == 2 and "not known: " in done.stdout and said in done.stdout, done


def test_drain_and_retire(world):
    deploy(world, "pair", world.file("now"))
    old = waiting_run(world)
    both = world.file("insert", version="2.0.0", also="now")
    assert world.aiki("plugins", "gate", both).returncode == 0
    deploy(world, "pair", both)
    new = waiting_run(world)
    assert world.run(new)["version"] == "2.0.0"
    assert (end(world, old), end(world, new)) == ("ab-c", "axb-c")
    versions = {v["version"]: v["runs"] for v in world.get("/v1/workflows/pair")["versions"]}
    assert versions["1.0.0"] == {}, "nobody needs it any more"
    deploy(world, "pair", world.file("insert", version="2.0.0"))


def test_roll_back(world):
    first = world.file("now")
    deploy(world, "pair", first)
    one = waiting_run(world)
    deploy(world, "pair", world.file("insert"))
    two = waiting_run(world)
    before = dict(states(world))["serving"]
    world.drop("pair", first)
    until(lambda: dict(states(world)).get("serving") not in (None, before), "the old build serves again")
    three = waiting_run(world)
    assert [end(world, run) for run in (one, two, three)] == ["ab-c", "axb-c", "ab-c"]


def test_remove(world):
    first = world.file("now")
    deploy(world, "pair", first)
    run = waiting_run(world)
    (world.plugins / "pair.so").unlink()
    until(lambda: "serving" not in dict(states(world)), "it serves no more")
    world.signal(run, "go", None)
    until(lambda: world.state(run) == "stalled", "it waits for a file")
    world.drop("pair", first)
    assert world.result(run) == "ab-c"
