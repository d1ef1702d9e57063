"""Prometheus text (exposition format 0.0.4), read strictly: what a scraper would refuse or mistake fails here."""
import re

NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
LABEL = r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"'
SAMPLE = re.compile(rf"({NAME})(?:\{{((?:{LABEL}(?:,|(?=\}})))*)\}})? (-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?|NaN|[+-]Inf)$")
UNITS = ("_bytes", "_seconds", "_ratio")


def parse(text):
    """{name: type}, {(name, frozenset of labels): value}"""
    assert text.endswith("\n"), "the last line ends"
    types, helps, samples, current = {}, {}, {}, None
    for line in text.splitlines():
        if line.startswith("# HELP "):
            name, words = line[7:].split(" ", 1)
            assert name not in helps and words, f"HELP of {name} once, with words"
            assert not re.search(r"\\(?![\\n])", words), line
            helps[name], current = words, name
        elif line.startswith("# TYPE "):
            name, kind = line[7:].split(" ")
            assert name == current and name not in types, f"TYPE of {name} once, behind its HELP"
            assert kind in ("counter", "gauge"), line
            assert (kind == "counter") == name.endswith("_total"), f"{name}: counters, and only they, end with _total"
            types[name] = kind
        else:
            found = SAMPLE.match(line)
            assert found, f"no sample: {line!r}"
            name, labels = found[1], found[2] or ""
            assert name == current and name in types, f"{name} stands behind its own TYPE"
            pairs = re.findall(LABEL, labels)
            assert len({key for key, _ in pairs}) == len(pairs), line
            key = name, frozenset((k, re.sub(r"\\(.)", lambda m: {"n": "\n"}.get(m[1], m[1]), v)) for k, v in pairs)
            assert key not in samples, f"twice: {line}"
            samples[key] = float(found[5])
            assert types[name] == "gauge" or samples[key] >= 0, line
    assert set(types) == set(helps)
    for name in types:
        assert name.startswith("aiki_") and name == name.lower(), name
        assert not re.search(r"_(ms|us|kb|mb|percent)(_total)?$", name), f"{name}: seconds and bytes are the units"
    return types, samples


def value(samples, name, **labels):
    """The sum of the series of that name that have these labels."""
    return sum(v for (n, have), v in samples.items() if n == name and labels.items() <= dict(have).items())
