"""What shared objects show to the world: the client library its header and nothing else, a plugin
its one entry, and what it declares to need if it does.

    exports.py NM CLIENT_HEADER CLIENT_LIBRARY PLUGIN...
"""
import pathlib
import re
import subprocess
import sys

ENTRY = {"aiki_plugin_v1"}
NEEDS = {"aiki_needs_v1"}
# The runtime parts of sanitizers and coverage come with such builds.
FOREIGN = re.compile(r"^(__asan|__ubsan|__odr_asan|__sanitizer|__gcov|_init$|_fini$)")


def exported(nm, path):
    out = subprocess.run([nm, "-D", "--defined-only", "--format=posix", path], check=True, text=True,
                         capture_output=True).stdout
    names = {line.split()[0].split("@")[0] for line in out.splitlines()
             if line.split()[1] != "A"}  # version names are no symbols
    return {name for name in names if not FOREIGN.match(name)}


def declared(header):
    text = re.sub(r"/\*.*?\*/", "", pathlib.Path(header).read_text(), flags=re.S)
    return {re.search(r"(\w+)\s*\(", re.sub(r"AIKI_\w+", "", declaration)).group(1)
            for declaration in re.findall(r"^AIKI_CLIENT_API([^;]+);", text, flags=re.M)}


def main(nm, header, library, *plugins):
    wrong = []
    promised, found = declared(header), exported(nm, library)
    wrong += [f"{library}: {name} is declared and not exported" for name in sorted(promised - found)]
    wrong += [f"{library}: {name} is exported and not declared" for name in sorted(found - promised)]
    for plugin in plugins:
        wrong += [f"{plugin}: exports {name}" for name in sorted((exported(nm, plugin) - NEEDS) ^ ENTRY)]
    print("\n".join(wrong) or f"{len(promised)} client functions, {len(plugins)} plugins")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
