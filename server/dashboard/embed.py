#!/usr/bin/env python3
"""embed.py OUT.c FILE... : the files as constant bytes, for dashboard.h."""
import pathlib
import sys

TYPES = {".html": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8",
         ".css": "text/css; charset=utf-8"}

out, *files = sys.argv[1:]
arrays, entries = [], []
for number, name in enumerate(files):
    file = pathlib.Path(name)
    data = file.read_bytes()
    path = "/" if file.name == "index.html" else "/" + file.name
    arrays.append(f"static const unsigned char bytes_{number}[] = {{{','.join(map(str, data))}}};")
    entries.append(f'    {{"{path}", "{TYPES[file.suffix]}", bytes_{number}, sizeof(bytes_{number})}},')
pathlib.Path(out).write_text("\n".join(
    ['#include "dashboard/dashboard.h"', *arrays, "const struct asset dashboard_assets[] = {", *entries,
     "};", f"const size_t dashboard_asset_count = {len(files)};", ""]))
