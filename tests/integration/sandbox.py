"""What plugins may do under the setting `sandbox`, and what they are told who do more."""
import errno
import json
import re
import shutil
import subprocess
import sys

import pytest

import harness
from harness import SANITIZED, end, plugin, until

LACKING = harness.ROOT / "tests/support/lacking.py"
needs_names = pytest.mark.skipif(SANITIZED, reason="sanitizers have handlers of their own for signals")


def offered(part):
    """Whether the kernel of this machine has it."""
    done = subprocess.run([str(harness.RUNTIME), "--check", str(plugin("hello")), "--sandbox", "on"],
                          capture_output=True, text=True)
    return done.returncode == 0 or part not in done.stderr


pytestmark = pytest.mark.skipif(not offered("landlock") or not offered("filters"),
                                reason="this kernel has no landlock, or no system call filters")


def confined(stacks, setting, plugins=("confined",), **more):
    return stacks(plugins=list(plugins), runtime_args=["--sandbox", setting],
                  server_args=["--quarantine-crashes", "0", "--crash-hold-ms", "0"], **more)


def do(s, what, path=None):
    return s.start("confined", {"what": what, **({"path": str(path)} if path else {})})


def answer(s, what, path=None):
    return s.result(do(s, what, path))["errno_was"]


def refusal(s, what, path=None):
    outcome = s.outcome(do(s, what, path))
    assert outcome["state"] == "failed" and outcome["error"]["code"] == "STEP_CRASHED", outcome
    return outcome["error"]["cause"]


# ---- what is refused, and what is not ------------------------------------------------------------

def test_without_needs_a_plugin_lives_but_reaches_nothing(stacks, tmp_path):
    s = confined(stacks, "on")
    secret = tmp_path / "secret"
    secret.write_text("x")
    assert answer(s, "live") == 0, "memory, threads, timers and signals to itself"
    assert answer(s, "read", "/usr/include/stdio.h") == 0 and answer(s, "read", "/proc/self/maps") == 0
    assert answer(s, "read", secret) == errno.EACCES
    assert answer(s, "read", s.directory / "aiki.db") == errno.EACCES
    assert answer(s, "write", secret) == errno.EACCES and answer(s, "write", tmp_path / "new") == errno.EACCES
    assert answer(s, "truncate", secret) == errno.EACCES and secret.read_text() == "x"
    assert answer(s, "chmod", secret) == errno.EPERM
    assert answer(s, "unix") == errno.EAFNOSUPPORT, "who looks for a daemon of the system goes on without"


@needs_names
@pytest.mark.parametrize("what,call,need", [
    ("socket", "socket", "network"), ("fork", "clone", "processes"), ("exec", "execve", "processes"),
    ("kill", "kill", "processes"), ("ptrace", "ptrace", None)])
def test_what_is_refused_is_named_with_the_need_to_declare(stacks, what, call, need):
    s = confined(stacks, "on", plugins=["confined", "hello"])
    error = refusal(s, what, "/usr/bin/true")
    assert error["code"] == "SANDBOX_REFUSED" and f"calls {call}," in error["message"], error
    assert f'add "{need}"' in error["message"] if need else "no sandbox allows" in error["message"], error
    assert "task deed" in error["message"] and error["category"] == "plugin"
    assert s.result(s.start("hello", {"name": "others"}))
    until(lambda: re.search("CRASH in run .*by system call", s.runtime.log.read_text()), "its last words are in the log")


def test_a_program_that_is_started_with_signals_blocked_is_refused_by_name(stacks):
    """No handler sees which call it was, and whose it was is known all the same."""
    s = confined(stacks, "on")
    error = refusal(s, "system", "true")
    assert error["code"] == "SANDBOX_REFUSED" and "task deed" in error["message"], error
    assert 'add "processes"' in error["message"] and "system()" in error["message"], error


def test_what_is_declared_is_allowed(stacks, tmp_path):
    own, other = tmp_path / "a b", tmp_path / "other"
    own.mkdir()
    other.mkdir()
    (other / "file").write_text("x")
    text = str(own).replace(" ", "%20")
    s = confined(stacks, f"on,confined.so=on network processes modes write:{text} read:{other}")
    assert answer(s, "socket") == 0 and answer(s, "unix") == 0
    assert answer(s, "fork", "/usr/bin/true") == 0 and answer(s, "system", "true") == 0
    assert answer(s, "write", own / "new") == 0 and (own / "new").exists()
    assert answer(s, "truncate", own / "new") == 0 and answer(s, "chmod", own / "new") == 0
    assert answer(s, "read", other / "file") == 0
    assert answer(s, "write", other / "file") == errno.EACCES
    assert answer(s, "kill") == errno.EPERM, "it may signal what it starts, and not the runtime"


def test_some_files_are_confined_and_others_are_not(stacks):
    s = confined(stacks, "off,other.so=on")
    assert answer(s, "socket") == 0 and answer(s, "read", "/etc/passwd") == 0
    s.remove("confined")
    s.drop("other", plugin("confined"))
    until(lambda: "other.so@" in s.runtime.log.read_text() and "serves" in s.runtime.tail(), "it serves")
    assert answer(s, "read", "/etc/passwd") == errno.EACCES


@needs_names
def test_a_constructor_is_confined_already_in_the_probe(stacks):
    s = confined(stacks, "on", plugins=["hello"])
    s.drop("confined-load")
    until(lambda: "confined-load.so refused" in s.runtime.log.read_text(), "it is refused")
    line = next(li for li in s.runtime.log.read_text().splitlines() if "confined-load.so refused" in li)
    assert "SANDBOX_REFUSED" in line and "calls socket" in line and "constructors" in line
    done = subprocess.run([str(harness.RUNTIME), "--check", str(plugin("confined-load")), "--json",
                           "--sandbox", "on network", "--state", str(s.directory / "check")],
                          capture_output=True, text=True)
    assert done.returncode == 0 and json.loads(done.stdout)["name"] == "confined", done


@pytest.mark.parametrize("language", ["hello-cpp", "hello-rust", "hello-go"])
def test_other_languages_run_in_it(stacks, language):
    if not list(harness.BUILD.glob(f"**/{language}.so")):
        pytest.skip(f"{language} is not built here")
    s = confined(stacks, "on", plugins=[language])
    runs = [s.start(language, {"name": f"n{i}"}) for i in range(30)]
    for run in runs:
        assert s.result(run)
    assert end(s.runtime.children()[0])
    assert s.result(s.start(language, {"name": "again"}))


def test_a_path_that_is_not_there_refuses_the_plugin(stacks, tmp_path):
    s = confined(stacks, f"on,confined.so=on read:{tmp_path}/none", plugins=["confined", "hello"])
    until(lambda: "confined.so refused: SANDBOX_PATH" in s.runtime.log.read_text(), "it says which")
    assert s.result(s.start("hello", {"name": "still"}))


# ---- what a plugin declares ----------------------------------------------------------------------

def declaring(folder, needs, *options, name="confined"):
    """The plugin `confined` that declares these needs; None: that declares nothing."""
    out = folder / f"{name}.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-fvisibility=hidden", f"-I{harness.ROOT}/abi/include", "-o", out,
                    harness.ROOT / "tests/support/plugins/confined.c",
                    *([] if needs is None else [f'-DNEEDS="{needs}"']), *options], check=True)
    return out


def serving(stacks, setting, needs, folder, *options):
    """A stack that serves it under this setting."""
    s = stacks(start=False, runtime_args=["--sandbox", setting], server_args=["--quarantine-crashes", "0", "--crash-hold-ms", "0"])
    s.drop("confined", declaring(folder, needs, *options))
    s.start_redis()
    s.start_server()
    s.start_runtime()
    return s


def entry(s, state):
    return next((p for p in s.get("/v1/plugins")["plugins"] if p["file"] == "confined.so" and p["state"] == state), None)


def shows(s, state, **fields):
    """Its entry in that state, once it has these fields. Between two builds there may be none for a moment."""
    return until(lambda: (e := entry(s, state)) and all(e[name] == value for name, value in fields.items()) and e,
                 f"it is {state} with {fields}")


def folders(tmp_path):
    made = [tmp_path / name for name in ("own", "given", "secret")]
    for folder in made:
        folder.mkdir()
        (folder / "file").write_text("x")
    return made


def test_a_plugin_has_what_it_declares_and_nothing_else(stacks, tmp_path):
    own, given, secret = folders(tmp_path)
    s = serving(stacks, "declared", f"write:{own} read:{given}", tmp_path)
    assert answer(s, "read", given / "file") == 0 and answer(s, "write", own / "new") == 0
    assert answer(s, "write", given / "file") == errno.EACCES
    assert answer(s, "read", secret / "file") == errno.EACCES, "a file that it does not declare"
    assert answer(s, "unix") == errno.EAFNOSUPPORT and answer(s, "live") == 0
    assert end(s.runtime.children()[0])
    assert answer(s, "read", secret / "file") == errno.EACCES, "nor in the next process"


@needs_names
def test_what_it_does_not_declare_is_refused_by_name_also_when_it_runs_alone(stacks, tmp_path):
    s = serving(stacks, "declared", "processes", tmp_path)
    assert answer(s, "fork", "/usr/bin/true") == 0
    error = refusal(s, "socket")
    assert error["code"] == "SANDBOX_REFUSED" and 'add "network"' in error["message"], error


@needs_names
def test_the_declaration_is_in_force_before_constructors(stacks, tmp_path):
    s = serving(stacks, "declared", "network", tmp_path, "-DAT_LOAD")
    assert answer(s, "live") == 0
    s.drop("confined", declaring(tmp_path, "", "-DAT_LOAD"))
    refused = until(lambda: entry(s, "refused"), "it is refused")
    assert refused["error"]["code"] == "SANDBOX_REFUSED" and "constructors" in refused["error"]["message"]


def test_who_declares_nothing_is_as_ever_and_named(stacks, tmp_path):
    _, _, secret = folders(tmp_path)
    s = serving(stacks, "declared", None, tmp_path)
    assert answer(s, "read", secret / "file") == 0 and answer(s, "socket") == 0
    assert [w["code"] for w in entry(s, "serving")["warnings"]].count("NEEDS_UNDECLARED") == 1
    assert entry(s, "serving")["needs"] is None


def test_a_ceiling_bounds_who_declares_less_more_or_nothing(stacks, tmp_path):
    own, given, secret = folders(tmp_path)
    s = serving(stacks, f"declared write:{own} read:{given}", f"read:{own}", tmp_path)
    assert answer(s, "read", own / "file") == 0 and answer(s, "write", own / "file") == errno.EACCES
    assert answer(s, "read", given / "file") == errno.EACCES, "it could have declared that, and did not"
    before = entry(s, "serving")["build"]
    s.drop("confined", declaring(tmp_path, f"read:{own} write:{given}"))
    error = until(lambda: entry(s, "refused"), "it is refused")["error"]
    assert error["code"] == "NEEDS_REFUSED" and f"needs write:{given}," in error["message"], error
    assert "add that to what is said of this file there" in error["message"], "the remedy"
    assert entry(s, "serving")["build"] == before and answer(s, "read", own / "file") == 0
    s.drop("confined", declaring(tmp_path, None))
    until(lambda: (e := entry(s, "serving")) and e["build"] != before, "the next one serves")
    assert answer(s, "write", own / "file") == 0 and answer(s, "read", given / "file") == 0
    assert answer(s, "read", secret / "file") == errno.EACCES, "who declares nothing has the ceiling"


def test_a_ceiling_of_nothing_and_what_is_given_besides(stacks, tmp_path):
    own, given, _ = folders(tmp_path)
    s = serving(stacks, f"declared none +read:{given} +network", "none", tmp_path)
    assert answer(s, "read", given / "file") == 0 and answer(s, "socket") == 0
    assert answer(s, "read", own / "file") == errno.EACCES
    s.drop("confined", declaring(tmp_path, "processes"))
    error = until(lambda: entry(s, "refused"), "it is refused")["error"]
    assert error["code"] == "NEEDS_REFUSED" and "needs processes," in error["message"], error


def test_a_link_that_a_plugin_makes_below_its_ceiling_leads_nowhere(stacks, tmp_path):
    own, _, secret = folders(tmp_path)
    (own / "link").symlink_to(secret)
    s = serving(stacks, f"declared write:{own}", f"read:{own}/link", tmp_path)
    assert answer(s, "read", own / "link" / "file") == errno.EACCES
    assert answer(s, "read", secret / "file") == errno.EACCES


def test_on_gives_what_the_setting_says_and_warns_of_what_is_declared(stacks, tmp_path):
    _, given, _ = folders(tmp_path)
    s = serving(stacks, "on network", f"network read:{given}", tmp_path)
    assert answer(s, "read", given / "file") == errno.EACCES and answer(s, "socket") == 0
    warning = next(w for w in entry(s, "serving")["warnings"] if w["code"] == "NEEDS_LACKING")
    assert f"needs read:{given}," in warning["message"], warning


def told(s, text):
    """The server lists a build as one that serves a moment before its runtime hears that it may."""
    until(lambda: text in s.runtime.log.read_text(), f"the log says: {text}")


def test_a_build_that_declares_more_than_the_one_before_is_in_the_log(stacks, tmp_path):
    s = serving(stacks, "off", "read:/srv", tmp_path)
    s.drop("confined", declaring(tmp_path, "read:/srv/a", name="less"))
    shows(s, "serving", needs="read:/srv/a")
    s.drop("confined", declaring(tmp_path, "network read:/srv/a", name="more"))
    shows(s, "serving", needs="network read:/srv/a")
    told(s, "declares that it needs network, which the build before it did not")
    assert s.runtime.log.read_text().count("declares that it needs") == 1, "less is no news"
    s.drop("confined", declaring(tmp_path, None))
    shows(s, "serving", needs=None)
    told(s, "does not declare any more what it needs")
    assert answer(s, "socket") == 0, "sandbox = off: a declaration confines nobody"


def test_a_build_kept_over_the_death_of_its_runtime_is_confined_as_before(stacks, tmp_path):
    own, given, secret = folders(tmp_path)
    s = serving(stacks, "declared", f"read:{given}", tmp_path)
    files = (given / "file", secret / "file")
    runs = [s.start("confined", {"what": "read", "path": str(f), "later": True}) for f in files]
    until(lambda: all(s.state(r) == "awaiting_signal" for r in runs), "they wait")
    s.drop("confined", declaring(tmp_path, f"read:{own}", '-DVERSION="2.0.0"'))
    shows(s, "serving", version="2.0.0")
    shows(s, "kept")
    s.runtime.kill()
    s.start_runtime()
    for run in runs:
        s.signal(run, "now", None)
    assert [s.result(r)["errno_was"] for r in runs] == [0, errno.EACCES]


def test_needs_are_shown_by_every_command(stacks, tmp_path):
    s = serving(stacks, "declared", "network read:/srv", tmp_path)
    assert "network read:/srv" in s.aiki("plugins", "list").stdout
    shown = s.aiki("plugins", "show", "confined").stdout
    assert "needs of " in shown and ": network read:/srv\n" in shown
    argv = ["plugins", "check", str(s.plugins / "confined.so")]
    assert "  needs     network read:/srv\n" in s.aiki(*argv).stdout
    done = s.aiki(*argv, "--sandbox", "declared read:/srv", check=False)
    assert done.returncode == 1 and "refused: NEEDS_REFUSED: it declares that it needs network," in done.stdout, done


# ---- settings and kernels --------------------------------------------------------------------------

@pytest.mark.parametrize("setting", ["yes", "on networks", "on read:relative", "a.so=", "on,,off", "on read:/%0", "on none", "on +network",
                                     "declared as network", "declared +", "declared network,b.so=declared nets",
                                     "on " + " ".join(f"read:/{i}" for i in range(17))])
def test_a_setting_that_is_none_is_refused(tmp_path, setting):
    done = subprocess.run([str(harness.RUNTIME), "--plugins", str(tmp_path), "--sandbox", setting],
                          capture_output=True, text=True)
    assert done.returncode == 2 and "sandbox must be off, on or try" in done.stderr


@pytest.mark.parametrize("part,words", [("landlock", "no landlock"), ("seccomp", "no system call filters")])
def test_a_kernel_without_a_part_of_it_is_refused_by_on_and_named_by_try(tmp_path, part, words):
    target = tmp_path / "hello.so"
    shutil.copyfile(plugin("hello"), target)
    argv = [sys.executable, str(LACKING), part, str(harness.RUNTIME), "--check", str(target), "--state", str(tmp_path),
            "--sandbox"]
    refused = subprocess.run([*argv, "on"], capture_output=True, text=True)
    assert refused.returncode == 2 and "SANDBOX_UNAVAILABLE" in refused.stderr and words in refused.stderr
    warned = subprocess.run([*argv, "try"], capture_output=True, text=True)
    assert warned.returncode == 0 and words in warned.stderr and "go without that" in warned.stderr, warned
    off = subprocess.run([*argv, "off"], capture_output=True, text=True)
    assert off.returncode == 0 and "sandbox" not in off.stderr


# ---- processes that plugin code forks ----------------------------------------------------------------

def test_a_copy_that_comes_back_is_ended_and_named(stacks):
    s = stacks(plugins=["confined"])
    assert answer(s, "twice") == 72, "the copy's exit code, as its parent sees it"
    until(lambda: "FORKED in deed" in s.runtime.log.read_text(), "it is named")
    run = s.start("confined", {"what": "flow-twice", "path": "/dev/null"})
    assert s.result(run)["errno_was"] == errno.ENOSYS
    until(lambda: "FORKED in confined" in s.runtime.log.read_text(), "so is one of a workflow")
    done = [e for e in s.history(run) if e["kind"] == "step_done"]
    assert len(done) == 1


@needs_names
def test_what_a_copy_does_is_not_blamed_on_the_process(stacks):
    s = stacks(plugins=["confined"])
    runs = [do(s, "copy-exits"), do(s, "copy-crashes")]
    for run in runs:
        assert s.result(run)["errno_was"] == 0
        assert [e for e in s.history(run) if e["kind"] == "crashed"] == []
    assert end(s.runtime.children()[0])
    assert answer(s, "live") == 0
