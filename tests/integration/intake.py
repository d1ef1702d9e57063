"""Who may put a plugin here, and what speaks against one: owners, signatures, what workflow code calls."""
import json
import os
import shutil
import struct
import subprocess
import time

import pytest
from harness import ROOT, RUNTIME, SANITIZED, at_best, in_time, plugin, until

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="gives files away")

LINTED = """
#include <aiki/plugin.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>
static long __attribute__((noinline)) helper(void) { return (long)time(NULL) + rand(); }
static aiki_status task(aiki_call *call, aiki_view in)
{
    FILE *f = fopen("/dev/null", "r");
    (void)call; (void)in;
    if (f) fclose(f);
    return getpid() > 0 ? AIKI_OK : AIKI_FAILED;
}
static aiki_status pure(aiki_run *run, aiki_view in, aiki_error *err)
{
    return aiki_task(run, "t", in, NULL, err);
}
#ifdef IMPURE
static aiki_status flow(aiki_run *run, aiki_view in, aiki_error *err)
{
    (void)in; (void)err;
    return helper() > 5 ? aiki_run_fail(run, "X", "y") : AIKI_OK;
}
AIKI_PLUGIN("linted", "1.0.0", AIKI_WORKFLOWS(AIKI_WORKFLOW("impure", "1.0.0", flow),
            AIKI_WORKFLOW("pure", "1.0.0", pure)), AIKI_TASKS(AIKI_TASK("t", task)));
#else
static aiki_status own(aiki_call *call, aiki_view in) { (void)call; (void)in; return helper() ? AIKI_OK : AIKI_FAILED; }
AIKI_PLUGIN("linted", "1.0.0", AIKI_WORKFLOWS(AIKI_WORKFLOW("pure", "1.0.0", pure)),
            AIKI_TASKS(AIKI_TASK("t", task), AIKI_TASK("own", own)));
#endif
"""


def compiled(folder, name, *options, cc="cc"):
    source, out = folder / "linted.c", folder / f"{name}.so"
    source.write_text(LINTED)
    subprocess.run([cc, "-shared", "-fPIC", "-fvisibility=hidden", f"-I{ROOT}/abi/include", "-o", out, source,
                    *options], check=True)
    return out


def check(folder, path, *options):
    done = subprocess.run([RUNTIME, "--check", path, "--json", "--state", folder / "state", *options],
                          capture_output=True, text=True, timeout=60)
    return json.loads(done.stdout)


def code(document):
    return (document.get("error") or {}).get("code")


def warned(document):
    return sorted(w["message"].split(":")[0] for w in document["warnings"])


# ---- what workflow code calls ----------------------------------------------------------------

BUILDS = [("cc", "-O0"), ("cc", "-O2"), ("cc", "-O2", "-s"), ("cc", "-O2", "-fno-plt"), ("cc", "-O2", "-Wl,-z,now"),
          ("cc", "-O2", "-fcf-protection=full"), ("clang", "-O2"), ("clang", "-O1", "-fuse-ld=lld")]


@pytest.mark.parametrize("build", BUILDS, ids=" ".join)
def test_calls_of_workflow_code_are_told_from_those_of_tasks(tmp_path, build):
    cc, *options = build
    if shutil.which(cc) is None or ("-fuse-ld=lld" in options and shutil.which("ld.lld") is None):
        pytest.skip(f"no {build}")
    found = check(tmp_path, compiled(tmp_path, "impure", "-DIMPURE", *options, cc=cc))
    assert warned(found) == ["impure@1.0.0 calls rand", "impure@1.0.0 calls time"], found["warnings"]
    assert all(w["code"] == "NOT_DETERMINISTIC" for w in found["warnings"])
    assert warned(check(tmp_path, compiled(tmp_path, "pure", *options, cc=cc))) == []


POINTERS = """
#include <aiki/plugin.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>
typedef long (*fn)(long *);
struct table { fn one, two; };
static fn single = (fn)(void *)time;
static struct table several = {(fn)(void *)labs, (fn)(void *)rand};
static const struct table of_tasks = {(fn)(void *)getpid, (fn)(void *)random};
static struct table *volatile chosen;
static aiki_status task(aiki_call *call, aiki_view in)
{
    (void)call; (void)in;
    return of_tasks.two(NULL) ? AIKI_OK : AIKI_FAILED;
}
static aiki_status flow(aiki_run *run, aiki_view in, aiki_error *err)
{
    (void)in; (void)err;
#ifdef SINGLE
    return single(NULL) > 5 ? aiki_run_fail(run, "X", "y") : AIKI_OK;
#else
    (void)single;
    chosen = &several;
    return chosen->two(NULL) > 5 ? aiki_run_fail(run, "X", "y") : AIKI_OK;
#endif
}
AIKI_PLUGIN("pointers", "1.0.0", AIKI_WORKFLOWS(AIKI_WORKFLOW("flow", "1.0.0", flow)), AIKI_TASKS(AIKI_TASK("t", task)));
"""


@pytest.mark.parametrize("build", BUILDS, ids=" ".join)
def test_calls_through_pointers_are_found(tmp_path, build):
    cc, *options = build
    if shutil.which(cc) is None or ("-fuse-ld=lld" in options and shutil.which("ld.lld") is None):
        pytest.skip(f"no {build}")

    def built(*more):
        source, out = tmp_path / "pointers.c", tmp_path / "pointers.so"
        source.write_text(POINTERS)
        subprocess.run([cc, "-shared", "-fPIC", "-fvisibility=hidden", f"-I{ROOT}/abi/include", "-o", out, source,
                        *options, *more], check=True)
        return out

    table = check(tmp_path, built(), "--determinism", "strict")
    assert code(table) is None, "whether it is called is not known: a warning, also in strict mode"
    (warning,) = table["warnings"]
    assert warning["code"] == "NOT_DETERMINISTIC" and "flow@1.0.0 refers to a table at 0x" in warning["message"]
    assert "with rand:" in warning["message"] and "if it is called" in warning["message"]
    single = check(tmp_path, built("-DSINGLE"), "--determinism", "strict")
    assert code(single) == "NOT_DETERMINISTIC" or warned(single), single


PACKED = "-Wl,-z,pack-relative-relocs"
VIRTUAL = """
#include <aiki/plugin.h>
#include <ctime>
#include <unistd.h>
struct Rate { virtual long of(long n) const = 0; };
struct Fixed : Rate { long of(long n) const override { return n; } };
struct Daily : Rate { long of(long n) const override { return n + (long)time(nullptr); } };
struct Local : Rate { long of(long n) const override { return n + (long)getpid(); } };
static const Fixed fixed;
static const Daily daily;
static const Local local;
static const Rate *volatile of_flow = &fixed, *volatile of_tasks[] = {&local, &daily};
static aiki_status task(aiki_call *, aiki_view)
{
    return of_tasks[getpid() > 5]->of(1) > 1 ? AIKI_OK : AIKI_FAILED;
}
static aiki_status flow(aiki_run *run, aiki_view in, aiki_error *)
{
#if defined(HERE)
    Daily one;
    Fixed other;
    const Rate *volatile rate = in.size_bytes > 3 ? static_cast<const Rate *>(&one) : &other;
#elif defined(GLOBAL)
    static const Rate *volatile all[] = {&fixed, &daily};
    const Rate *volatile rate = all[in.size_bytes > 3];
#else
    const Rate *volatile rate = of_flow;
    (void)in;
#endif
    return rate->of(5) > 7 ? aiki_run_fail(run, "X", "y") : AIKI_OK;
}
AIKI_PLUGIN("virtual", "1.0.0", AIKI_WORKFLOWS(AIKI_WORKFLOW("flow", "1.0.0", flow)), AIKI_TASKS(AIKI_TASK("t", task)))
;
"""


@pytest.mark.parametrize("compiler", ["g++", "clang++"])
@pytest.mark.parametrize("options", ["-O0", "-O2", "-O2 -fvisibility=hidden", "-O2 -fvisibility=hidden -s", "-O1 -fno-plt",
                                     f"-O2 {PACKED}", f"-O2 -fvisibility=hidden -s {PACKED}"])
def test_virtual_functions_of_workflow_code_are_found(tmp_path, compiler, options):
    if shutil.which(compiler) is None:
        pytest.skip(f"no {compiler}")

    def built(*more):
        source, out = tmp_path / "virtual.cpp", tmp_path / "virtual.so"
        source.write_text(VIRTUAL)
        subprocess.run([compiler, "-std=c++17", "-shared", "-fPIC", f"-I{ROOT}/abi/include", "-o", out, source,
                        *options.split(), *more], check=True)
        return check(tmp_path, out, "--determinism", "strict")

    for how in ("-DHERE", "-DGLOBAL"):
        found = built(how)
        assert code(found) is None, "whether it is called is not known: a warning, also in strict mode"
        (warning,) = found["warnings"]
        assert "flow@1.0.0 refers to a table at 0x" in warning["message"], (how, warning)
        assert "calls time: a clock" in warning["message"] and "if it is called" in warning["message"], (how, warning)
    assert warned(built()) == [], "what only tasks refer to"


def segments(image):
    at, size, count = struct.unpack_from("<Q", image, 32)[0], *struct.unpack_from("<HH", image, 54)
    return [struct.unpack_from("<IIQQQQQQ", image, at + i * size) for i in range(count)]


def packed_relocations(image):
    """Where they are in the file, and how many words."""
    def offset(address):
        return next(address - s[3] + s[2] for s in segments(image) if s[0] == 1 and s[3] <= address < s[3] + s[5])
    at = next(s[2] for s in segments(image) if s[0] == 2)
    tags = {}
    while (pair := struct.unpack_from("<qQ", image, at))[0] != 0:
        tags[pair[0]] = pair[1]
        at += 16
    return offset(tags[36]), tags[35] // 8


@pytest.mark.parametrize("word, expected", [
    (0x7fffffff0000, "BAD_ELF"), (1 << 63, "BAD_ELF"), (0, "TEXT_RELOCATIONS"), (1, None)])
def test_packed_relocations_are_followed_as_the_loader_does(tmp_path, word, expected):
    """The last word of the table is another one: far away, far into what is no memory, in code, nothing at all."""
    built = compiled(tmp_path, "pure", "-O2", PACKED)
    assert code(check(tmp_path, built)) is None
    image = bytearray(built.read_bytes())
    at, count = packed_relocations(image)
    struct.pack_into("<Q", image, at + 8 * (count - 1), word)
    built.write_bytes(image)
    found = check(tmp_path, built)
    # What is left out is not moved, and what the probe then finds there is not the plugin's.
    assert code(found) == expected if expected else code(found) != "BAD_ELF", found


def let_functions_overlap(path):
    """In what unwinding needs, each function goes on to the end of the code."""
    image = bytearray(path.read_bytes())
    all_of = segments(image)
    hdr = next(s for s in all_of if s[0] == 0x6474E550)
    code_end = next(s[3] + s[5] for s in all_of if s[0] == 1 and s[1] & 1)
    for i in range(struct.unpack_from("<I", image, hdr[2] + 8)[0]):
        start, entry = (hdr[3] + n for n in struct.unpack_from("<ii", image, hdr[2] + 12 + 8 * i))
        offset = next(entry - s[3] + s[2] for s in all_of if s[0] == 1 and s[3] <= entry < s[3] + s[5])
        struct.pack_into("<I", image, offset + 12, code_end - start)
    path.write_bytes(image)


def test_a_function_ends_where_the_next_one_begins(tmp_path):
    """Else a file of overlapping ones could keep its check busy for hours."""
    built = compiled(tmp_path, "pure", "-O0")
    let_functions_overlap(built)
    assert warned(check(tmp_path, built)) == [], "what stands behind it is not called"


def test_strict_refuses_it_by_the_symbols_name(tmp_path):
    impure = compiled(tmp_path, "impure", "-DIMPURE", "-O2")
    refused = check(tmp_path, impure, "--determinism", "strict")
    assert code(refused) == "NOT_DETERMINISTIC" and "impure@1.0.0 calls" in refused["error"]["message"]
    assert code(check(tmp_path, compiled(tmp_path, "pure", "-O2"), "--determinism", "strict")) is None
    for name in ("hello", "order-processing"):
        assert code(check(tmp_path, plugin(name), "--determinism", "strict")) is None, name


def test_warnings_are_listed_and_logged(stacks):
    s = stacks()
    s.drop("impure", compiled(s.directory, "impure", "-DIMPURE", "-O2"))
    entry = until(lambda: next((p for p in s.get("/v1/plugins")["plugins"] if p["name"] == "linted"), None),
                  "it serves")
    assert warned(entry) == ["impure@1.0.0 calls rand", "impure@1.0.0 calls time"]
    assert "NOT_DETERMINISTIC: impure@1.0.0 calls time" in s.runtime.log.read_text()
    assert "warning: impure@1.0.0 calls" in s.aiki("plugins", "list").stdout


# ---- owners and modes ------------------------------------------------------------------------

def test_what_others_may_write_to_is_refused(tmp_path):
    folder = tmp_path / "a" / "b"
    folder.mkdir(parents=True)
    path = folder / "hello.so"
    path.write_bytes(plugin("hello").read_bytes())
    for target in (path, folder, folder.parent):
        before = target.stat().st_mode
        target.chmod(0o777)
        refused = check(tmp_path, path)
        assert code(refused) == "UNTRUSTED_MODE" and target.name in refused["error"]["message"], refused
        allowed = check(tmp_path, path, "--plugin-owner-check", "off")
        assert [w["code"] for w in allowed["warnings"]] == ["UNTRUSTED_MODE"]
        target.chmod(before & 0o7777)
    folder.chmod(0o1777)
    assert code(check(tmp_path, path)) is None, "sticky: others cannot replace it"


@as_root
def test_what_belongs_to_others_is_refused_also_behind_links(tmp_path):
    (tmp_path / "real").mkdir()
    path, link = tmp_path / "real" / "hello.so", tmp_path / "link.so"
    path.write_bytes(plugin("hello").read_bytes())
    os.symlink("real/hello.so", link)
    for target in (path, path.parent):
        os.chown(target, 4711, 0)
        for way in (path, link):
            refused = check(tmp_path, way)
            assert code(refused) == "UNTRUSTED_OWNER" and "4711" in refused["error"]["message"], refused
        os.chown(target, 0, 0)
    os.chown(link, 4711, 0, follow_symlinks=False)
    assert code(check(tmp_path, link)) == "UNTRUSTED_OWNER"
    assert code(check(tmp_path, path)) is None


def test_libraries_are_looked_for_in_trusted_places_only(tmp_path):
    (tmp_path / "lib").mkdir()
    path = compiled(tmp_path, "rpath", f"-Wl,-rpath,{tmp_path}/lib:/usr/lib")
    assert code(check(tmp_path, path)) is None
    (tmp_path / "lib").chmod(0o777)
    assert code(check(tmp_path, path)) == "FOREIGN_RPATH"


def error_of(s, file):
    return next((p["error"] for p in s.get("/v1/plugins")["plugins"] if p["file"] == file and p.get("error")), None)


def serves(s, file):
    return any(p["file"] == file and not p.get("error") for p in s.get("/v1/plugins")["plugins"])


def test_mended_modes_are_noticed_and_the_override_is_logged(stacks):
    s = stacks()
    target = s.plugins / "hello.so"

    def is_mended():
        aside = s.plugins / ".hello"
        shutil.copyfile(plugin("hello"), aside)
        aside.chmod(0o666)
        aside.rename(target)
        until(lambda: (error_of(s, "hello.so") or {}).get("code") == "UNTRUSTED_MODE", "it is refused")
        assert s.metrics()["aiki_plugins_refused_total"] >= 1
        began = time.monotonic()
        target.chmod(0o644)
        until(lambda: serves(s, "hello.so") and not error_of(s, "hello.so"), "it serves once its mode is mended")
        in_time(time.monotonic() - began < 15, "not only at the next rescan")
    at_best(is_mended)
    assert s.runtime.stop() == 0
    target.chmod(0o666)
    s.start_runtime(args=["--plugin-owner-check", "off"])
    assert s.runtime.ready["plugins"] == 1
    log = s.runtime.log.read_text()
    assert "plugin-owner-check is off (flag)" in log and "UNTRUSTED_MODE" in log


# ---- signatures ------------------------------------------------------------------------------

def sign(s, file, key):
    return s.aiki("plugins", "sign", file, "--key", key)


def test_signatures(stacks):
    s = stacks(start=False)
    keys = s.directory / "keys"
    keys.mkdir()
    for name in ("first", "second"):
        s.aiki("plugins", "keygen", s.directory / name)
        assert (s.directory / f"{name}.key").stat().st_mode & 0o777 == 0o600
    again = s.aiki("plugins", "keygen", s.directory / "first", check=False)
    assert again.returncode != 0, "a key is never overwritten"
    path = s.directory / "hello.so"
    shutil.copyfile(plugin("hello"), path)

    def verdict():
        return code(check(s.directory, path, "--plugin-keys", keys))

    assert verdict() == "UNSIGNED"
    sign(s, path, s.directory / "first.key")
    assert verdict() == "BAD_SIGNATURE", "nobody's key is trusted"
    shutil.copyfile(s.directory / "first.pub", keys / "first.pub")
    assert verdict() is None
    with open(path, "ab") as f:
        f.write(b"!")
    assert verdict() == "BAD_SIGNATURE", "of other bytes"
    sign(s, path, s.directory / "second.key")
    assert verdict() == "BAD_SIGNATURE", "by a key that is not here"
    shutil.copyfile(s.directory / "second.pub", keys / "second.pub")
    assert verdict() is None
    (keys / "second.pub").unlink()
    assert verdict() == "BAD_SIGNATURE", "revoked"
    path.with_suffix(".so.sig").write_text("not base64!\n")
    assert verdict() == "BAD_SIGNATURE"
    (keys / "bad.pub").write_text("short")
    assert verdict() in ("BAD_SIGNATURE", "KEYS_UNUSABLE")
    sign(s, path, s.directory / "second.key")
    assert verdict() == "KEYS_UNUSABLE", "a directory of keys is used whole or not at all"
    (keys / "bad.pub").unlink()
    keys.chmod(0o777)
    assert verdict() == "KEYS_UNUSABLE"


def test_a_signature_may_come_after_its_file(stacks):
    s = stacks(start=False)
    keys = s.directory / "keys"
    keys.mkdir()
    s.aiki("plugins", "keygen", s.directory / "release")
    shutil.copyfile(s.directory / "release.pub", keys / "release.pub")
    s.start_redis()
    s.start_server()
    s.start_runtime(args=["--plugin-keys", keys])
    s.drop("hello")
    until(lambda: (error_of(s, "hello.so") or {}).get("code") == "UNSIGNED", "it is refused")
    assert not serves(s, "hello.so")
    sign(s, s.plugins / "hello.so", s.directory / "release.key")
    until(lambda: serves(s, "hello.so") and not error_of(s, "hello.so"), "it serves")
    assert s.result(s.start("hello", {"name": "signed"}))


# ---- time ------------------------------------------------------------------------------------

SOON_S = 2 if SANITIZED else 0.2  # with a sanitizer a probe takes ten times as long to start


def test_new_code_serves_soon_after_its_rename(stacks):
    s = stacks(plugins=["hello"])
    good, took = plugin("hello").read_bytes(), []

    def serves_soon():
        before = {p["build"] for p in s.get("/v1/plugins")["plugins"]}
        aside = s.plugins / ".next"
        aside.write_bytes(good + b"%d" % len(took))
        began = time.monotonic()
        aside.rename(s.plugins / "hello.so")
        until(lambda: {p["build"] for p in s.get("/v1/plugins")["plugins"]
                       if p["file"] == "hello.so" and p["state"] == "serving"} - before, "it serves", every_s=0.002)
        took.append(time.monotonic() - began)
        print(f"rename to serving: {took[-1] * 1000:.0f} ms")
        return took[-1] < SOON_S
    until(serves_soon, f"it serves within {SOON_S} s")
