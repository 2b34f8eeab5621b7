#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""The headers, the version map, the built library and the list of promised symbols agree.

usage: symbols.py INCLUDE-DIR MAP PROMISED LIBRARY

PROMISED has a line `symbol version` for each symbol that was ever given out: a symbol is added to
it with the interface, and no line of it ever goes or changes.
"""
import glob
import os
import re
import subprocess
import sys


def strip_comments(text):
    return re.sub(r"/\*.*?\*/|//[^\n]*", " ", text, flags=re.S)


# Headers of another library; tests/unit/heap/library.py holds them.
APART = {"heap.h"}


def declared(include):
    """Names of the functions that the headers declare with DRAY_API, and of those without."""
    exported, others = set(), set()
    for path in glob.glob(os.path.join(include, "dray/*.h")):
        if os.path.basename(path) in APART:
            continue
        with open(path, encoding="utf-8") as f:
            text = strip_comments(f.read())
        text = re.sub(r"^[ \t]*#(?:[^\n]*\\\n)*[^\n]*", "", text, flags=re.M)
        for statement in re.split(r"[;{}]", text):
            name = re.search(r"\b(dray_\w+)\s*\(", statement)
            if name and "typedef" not in statement and "static" not in statement:
                (exported if "DRAY_API" in statement else others).add(name.group(1))
    return exported, others


def mapped(path):
    """{symbol: version} of a version map."""
    with open(path, encoding="utf-8") as f:
        text = strip_comments(f.read())
    found = {}
    for version, body in re.findall(r"(\w[\w.]*)\s*\{(.*?)\}", text, re.S):
        part = None
        for word in re.findall(r"global:|local:|[\w*]+(?=\s*;)", body):
            if word.endswith(":"):
                part = word
            elif part == "global:":
                found[word] = version
    return found


def promised(path):
    with open(path, encoding="utf-8") as f:
        lines = [line.split() for line in f if line.strip() and not line.startswith("#")]
    return {symbol: version for symbol, version in lines}


def exported(library):
    """{symbol: version} that a linker finds in the library."""
    out = subprocess.run(["nm", "-D", "--defined-only", "--with-symbol-versions", library],
                         stdout=subprocess.PIPE, text=True, check=True).stdout
    found = {}
    for line in out.splitlines():
        kind, name = line.split()[-2:]
        symbol, _, version = name.partition("@")
        # The versions themselves are listed as absolute symbols.
        if kind != "A":
            found[symbol] = version.lstrip("@")
    return found


def compare(what, have, other, want):
    for name in sorted(set(want) - set(have)):
        yield f"{name} is in {other} and not in {what}"
    if isinstance(have, dict) and isinstance(want, dict):
        for name in sorted(set(have) & set(want)):
            if have[name] != want[name]:
                yield f"{name} has version {have[name]} in {what}, {want[name]} in {other}"


def main():
    include, map_path, promised_path, library = sys.argv[1:]
    api, others = declared(include)
    in_map, in_library, old = mapped(map_path), exported(library), promised(promised_path)
    errors = [f"{name} is declared without DRAY_API" for name in sorted(others)]
    errors += compare("the version map", in_map, "the headers", api)
    errors += compare("the headers", api, "the version map", set(in_map))
    errors += compare("the library", in_library, "the version map", in_map)
    errors += compare("the version map", in_map, "the library", in_library)
    errors += compare("the version map", in_map, "the promised symbols", old)
    errors += compare("the promised symbols", old, "the version map", in_map)
    if not api:
        errors.append("the headers declare nothing")
    for error in errors:
        print(error)
    print(f"{len(api)} functions declared, {len(in_map)} in the map, {len(in_library)} exported")
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
