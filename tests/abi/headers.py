"""The public headers compile alone, twice in a row, with one compiler, as C and as C++; a typed call
with the wrong struct does not.

    headers.py COMPILER ROOT    exit code 0, or 1 with what the compiler said
"""
import pathlib
import subprocess
import sys

WARNINGS = ["-Wall", "-Wextra", "-Wpedantic", "-Wshadow", "-Wconversion", "-Werror"]
C_ONLY = ["-Wstrict-prototypes", "-Wmissing-prototypes"]


# MINE is what the task takes; THEIRS must be refused without any warning flag.
WRONG_STRUCT = """
#include <aiki/record.h>
#define NUMBER(F, R) F(R, i64, number, AIKI_REQUIRED)
AIKI_RECORD(mine, NUMBER);
AIKI_RECORD(theirs, NUMBER);
AIKI_CALL_DECLARE(work, "work", mine, mine);
aiki_status run_it(aiki_run *run, const struct %s *in, struct mine *out, aiki_error *err);
aiki_status run_it(aiki_run *run, const struct %s *in, struct mine *out, aiki_error *err)
{
    return work_call(run, in, out, err);
}
"""

# Whatever may be left out is NULL or empty, with all warnings on.
NOTHING_GIVEN = """
#include <aiki/plugin.h>
aiki_status run_it(aiki_run *run, aiki_view input);
aiki_status run_it(aiki_run *run, aiki_view input)
{
    aiki_future future;
    AIKI_TRY(aiki_task(run, "task", input, NULL, NULL));
    AIKI_TRY(aiki_child_start(run, "workflow", NULL, input, NULL, &future, NULL));
    AIKI_TRY(aiki_await(run, future, NULL, NULL));
    AIKI_TRY(aiki_child(run, "workflow", NULL, input, NULL, NULL));
    return aiki_child_detach(run, "workflow", NULL, input, NULL, NULL, NULL);
}
"""


def standards(compiler):
    cpp = compiler.endswith("++")
    return ("c++", ["c++17", "c++20"]) if cpp else ("c", ["c11"])


def complaint(compiler, root, standard, language, source, text=None, warnings=None):
    if warnings is None:
        warnings = WARNINGS + (C_ONLY if language == "c" else [])
    command = [compiler, f"-std={standard}", "-x", language, *warnings, "-O2", "-c", "-o", "/dev/null",
               f"-I{root}/abi/include", source if text is None else "-"]
    done = subprocess.run(command, input=text, text=True, capture_output=True)
    return done.stderr or f"{compiler} ended with {done.returncode}" if done.returncode else None


def main(compiler, root):
    root = pathlib.Path(root)
    language, versions = standards(compiler)
    headers = sorted((root / "abi/include/aiki").glob("*.h"))
    # The examples too: what users copy is as clean as what they include.
    samples = ([root / "tests/abi/layout.c"] +
               ([root / "tests/abi/typed.cpp"] if language == "c++" else
                [root / "plugins/hello/hello.c", root / "plugins/order-processing/order-processing.c"]))
    complaints = []
    for standard in versions:
        for header in headers:
            include = f"#include <aiki/{header.name}>\n"
            complaints.append(complaint(compiler, root, standard, language, None, include * 2))
        complaints += [complaint(compiler, root, standard, language, str(s)) for s in samples]
        complaints.append(complaint(compiler, root, standard, language, None,
                                    WRONG_STRUCT % ("mine", "mine")))
        complaints.append(complaint(compiler, root, standard, language, None, NOTHING_GIVEN))
        if not complaint(compiler, root, standard, language, None,
                         WRONG_STRUCT % ("theirs", "theirs"), warnings=[]):
            complaints.append(f"{compiler} -std={standard}: a call with the wrong struct compiled")
    complaints = [c for c in complaints if c]
    print("\n".join(complaints) or f"{compiler}: {len(headers)} headers, {len(samples)} samples")
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
