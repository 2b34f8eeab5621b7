#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Each public header compiles alone, and twice, as C11 and as C++17 with every warning an error.

usage: headers.py INCLUDE-DIR -- CC... -- CXX...
"""
import glob
import os
import re
import subprocess
import sys
import tempfile

WARNINGS = ["-Wall", "-Wextra", "-Wundef", "-Werror", "-pedantic", "-fsyntax-only"]
# These are apart from dray.h, which has all others.
APART = {"dray.h", "sim.h", "heap.h"}


def split(arguments):
    parts = [[]]
    for argument in arguments:
        if argument == "--":
            parts.append([])
        else:
            parts[-1].append(argument)
    return parts


def compiles(compiler, language, standard, include, source):
    with tempfile.TemporaryDirectory() as where:
        path = os.path.join(where, "alone." + language)
        with open(path, "w", encoding="utf-8") as f:
            f.write(source)
        command = [*compiler, "-std=" + standard, *WARNINGS, "-I" + include, path]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              check=False)
        if done.returncode:
            print(done.stdout)
        return done.returncode == 0


def main():
    (include,), cc, cxx = split(sys.argv[1:])
    headers = sorted(os.path.basename(p) for p in glob.glob(os.path.join(include, "dray/*.h")))
    failed = 0
    for name in headers:
        line = f"#include <dray/{name}>\n"
        # An empty translation unit is not ISO C.
        source = line + line + "extern int not_empty;\n"
        for compiler, language, standard in ((cc, "c", "c11"), (cxx, "cc", "c++17")):
            good = compiles(compiler, language, standard, include, source)
            print(f"{'ok  ' if good else 'FAIL'} {name} as {standard}")
            failed += not good

    with open(os.path.join(include, "dray/dray.h"), encoding="utf-8") as f:
        taken = set(re.findall(r"#include <dray/(\w+\.h)>", f.read()))
    wanted = set(headers) - APART
    for name in sorted(taken ^ wanted):
        print(f"FAIL dray.h {'takes' if name in taken else 'lacks'} {name}")
        failed += 1
    if not headers:
        print("FAIL there is no header")
    return 1 if failed or not headers else 0


if __name__ == "__main__":
    sys.exit(main())
