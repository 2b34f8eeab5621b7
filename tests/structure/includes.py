#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Reads every #include line and reports each that points up the layers.

usage: includes.py ROOT

Layers, each allowed to include those before it and itself:

  lib/base < lib/cpu, lib/memory, lib/stats, lib/pgtable, lib/iova, lib/nvme < lib/backend < lib/iospace
           < lib/flush < lib/bounce < lib/region < lib/domain < lib/map < lib/heap

Directories of one layer do not include each other. Public headers include public headers and the C
library. Tools stand on the public headers; of lib/ they may use lib/base, for the errors in words
and the seam to the world. Code that is neither (tests, benches) may include anything of lib/.
"""
import os
import re
import sys

LAYERS = [
    ["base"], ["cpu", "memory", "stats", "pgtable", "iova", "nvme"], ["backend"], ["iospace"], ["flush"],
    ["bounce"], ["region"], ["domain"], ["map"], ["heap"],
]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
TOOLS_MAY = {"base"}

INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*([<"])([^>"]+)[>"]', re.M)
# What a public header may take from outside: nothing that a C11 or C++17 compiler does not bring.
STANDARD = {"stdbool.h", "stddef.h", "stdint.h", "sys/uio.h"}


def sources(root, top):
    """Paths, relative to root, of C and C++ files below root/top."""
    for where, dirs, names in os.walk(os.path.join(root, top)):
        dirs.sort()
        for name in sorted(names):
            if name.endswith((".c", ".h", ".cc")):
                yield os.path.relpath(os.path.join(where, name), root)


def includes(root, path):
    """(line number, quote, name) of each include in a file."""
    with open(os.path.join(root, path), encoding="utf-8") as f:
        text = f.read()
    for match in INCLUDE.finditer(text):
        line = text.count("\n", 0, match.start(2)) + 1
        yield line, match.group(1), match.group(2)


def layer_of(root, directory, name):
    """The directory of lib/ that an include leads to, or None."""
    for base in (directory, os.path.join(root, "lib")):
        target = os.path.normpath(os.path.join(base, name))
        parts = os.path.relpath(target, os.path.join(root, "lib")).split(os.sep)
        if os.path.exists(target) and parts[0] != "..":
            return parts[0]
    # Not a file that is there: judged by its words, so that a typo does not hide an arrow.
    first = name.split("/")[0]
    return first if first in LEVEL else None


def check_lib(root):
    for path in sources(root, "lib"):
        parts = path.split(os.sep)
        own = parts[1] if len(parts) > 2 else None
        if own not in LEVEL:
            yield f"{path}: is in no layer; see tests/structure/includes.py"
            continue
        for line, quote, name in includes(root, path):
            if quote == "<":
                continue
            layer = layer_of(root, os.path.join(root, os.path.dirname(path)), name)
            if layer is None:
                yield f'{path}:{line}: "{name}" is in no layer of lib/'
            elif layer != own and LEVEL.get(layer, len(LAYERS)) >= LEVEL[own]:
                yield f'{path}:{line}: {own} includes "{name}": the arrow goes up'


def check_public(root):
    for path in sources(root, "include"):
        for line, quote, name in includes(root, path):
            there = os.path.exists(os.path.join(root, "include", name))
            if quote == '"' or not (name in STANDARD or name.startswith("dray/") and there):
                yield f"{path}:{line}: a public header includes {name}"


def check_tools(root):
    for path in sources(root, "tools"):
        for line, quote, name in includes(root, path):
            if quote == "<":
                continue
            directory = os.path.join(root, os.path.dirname(path))
            # A tool's own directories come first, as the compiler sees it.
            own = [directory, os.path.join(root, "tools/dray")]
            if any(os.path.exists(os.path.join(d, name)) for d in own):
                if not os.path.normpath(os.path.join(directory, name)).startswith(
                        os.path.join(root, "lib") + os.sep):
                    continue
            layer = layer_of(root, directory, name)
            if layer is not None and layer not in TOOLS_MAY:
                yield f'{path}:{line}: a tool includes "{name}" of lib/{layer}'


def check(root):
    """Every arrow that points up, in words."""
    root = os.path.abspath(root)
    return [*check_lib(root), *check_public(root), *check_tools(root)]


def main():
    if len(sys.argv) != 2:
        print("usage: includes.py ROOT", file=sys.stderr)
        return 2
    found = check(sys.argv[1])
    for message in found:
        print(message)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
