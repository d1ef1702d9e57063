"""Today's headers against those of the last release, type by type, with abidiff.

    abidiff.py COMPILER ABIDIFF ROOT

A release is a tag v*. Its headers and today's are compiled into one library each (probe.c); a minor
release may append members and nothing else. The judgement itself is checked first, on copies of
today's headers: the same must pass, an appended member must pass, real breaks must not.
"""
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

# What abidiff says about changes that a binary built before cannot survive.
BREAKS = re.compile(r"deletion|are data member changes|enumerator change|[1-9]\d* (Removed|Changed)|"
                    r"(type|name) changed(:| from: )")

# What was done to a copy of the headers, file, from, to, and whether it is a break.
APPENDED = "    /* ---- members added in 1.2 go below this line ---- */\n"
CASES = [
    ("nothing", "plugin.h", "", "", False),
    ("a member appended to a table", "plugin.h", APPENDED, "    void (*later)(void);\n", False),
    ("a member removed", "plugin.h", "    const char *(*task_name)(const aiki_call *call);\n", "", True),
    ("two members swapped", "client.h", "    const char *name;           /* who connects, for people; "
     "NULL: \"c-client\" */\n    const char *token;          /* credential; NULL: see token_file; \"\": none */\n",
     "    const char *token;\n    const char *name;\n", True),
    ("another return type", "plugin.h", "uint32_t (*attempt)", "uint64_t (*attempt)", True),
    ("another argument", "plugin.h", "(aiki_call *call, int32_t level, const char *text);",
     "(aiki_call *call, int64_t level, const char *text);", True),
    ("a narrower member", "client.h", "    int64_t request_timeout_ms;", "    int32_t request_timeout_ms;",
     True),
]


class Bench:
    def __init__(self, compiler, abidiff, root, directory):
        self.compiler, self.abidiff, self.root, self.directory = compiler, abidiff, root, directory
        self.count = 0

    def library(self, include):
        self.count += 1
        path = self.directory / f"probe{self.count}.so"
        subprocess.run([self.compiler, "-g", "-Og", "-shared", "-fPIC", "-fvisibility=hidden", "-w",
                        f"-I{include}", self.root / "tests/abi/probe.c", "-o", path], check=True)
        return path

    def changed_copy(self, header, before, after):
        self.count += 1
        copy = self.directory / f"include{self.count}"
        shutil.copytree(self.root / "abi/include", copy)
        path = copy / "aiki" / header
        text = path.read_text()
        assert before in text, f"{header} has no {before!r}: update the cases of abidiff.py"
        path.write_text(text.replace(before, after, 1))
        return copy

    def compare(self, old, new):
        """(is a break, report)"""
        done = subprocess.run([self.abidiff, "--leaf-changes-only", old, new], text=True,
                              capture_output=True)
        assert done.returncode & 3 == 0, done.stdout + done.stderr  # abidiff itself failed
        incompatible = done.returncode & 8 != 0
        return incompatible or bool(BREAKS.search(done.stdout)), done.stdout


def last_release(root):
    done = subprocess.run(["git", "-C", root, "describe", "--tags", "--abbrev=0", "--match", "v*"],
                          text=True, capture_output=True)
    return done.stdout.strip() if done.returncode == 0 else None


def release_headers(root, tag, directory):
    archive = subprocess.run(["git", "-C", root, "archive", tag, "abi/include"], check=True,
                             capture_output=True).stdout
    subprocess.run(["tar", "-x", "-C", directory], input=archive, check=True)
    return directory / "abi/include"


def main(compiler, abidiff, root):
    root = pathlib.Path(root)
    failures = 0
    with tempfile.TemporaryDirectory(prefix="aiki-abidiff-") as directory:
        bench = Bench(compiler, abidiff, root, pathlib.Path(directory))
        today = bench.library(root / "abi/include")
        for what, header, before, after, expected in CASES:
            found, report = bench.compare(today, bench.library(bench.changed_copy(header, before, after)))
            if found != expected:
                failures += 1
                print(f"judgement: {what}: {'no ' if expected else 'a '}break was found\n{report}")
        tag = last_release(root)
        if tag is None:
            print(f"{len(CASES)} judgements checked; no release is tagged yet, nothing to compare with")
            return 1 if failures else 0
        found, report = bench.compare(bench.library(release_headers(root, tag, bench.directory)), today)
        print(f"{tag} -> today: {'BREAKS' if found else 'compatible'}\n{report}")
        return 1 if failures or found else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
