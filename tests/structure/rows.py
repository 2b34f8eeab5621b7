#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Every test that tests/rows.tsv names exists.

usage: rows.py ROOT

A row is `id<TAB>test<TAB>one line`. A test is `contract/CASE`, `vm/RUN` of tests/vm/run-all, or the
name of a test in a meson.build below tests/ or bench/.
"""
import glob
import os
import re
import sys

ROW = re.compile(r"[A-I]\d\d")


def read(*path):
    with open(os.path.join(*path), encoding="utf-8") as f:
        return f.read()


def known_tests(root):
    cases = "".join(read(p) for p in glob.glob(os.path.join(root, "tests/contract/*.c")))
    known = {"contract/" + name for name in re.findall(r'^\t\{ "(\w+)", "', cases, re.M)}
    runs = read(root, "tests/vm/run-all")
    known |= {"vm/" + name for name in re.findall(r"^(?:run|suite) ([\w.-]+)", runs, re.M)}
    for path in (path for below in ("tests", "bench") for path in
                 glob.glob(os.path.join(root, below, "**/meson.build"), recursive=True)):
        text = read(path)
        known |= set(re.findall(r"test\('([\w-]+)'[,)]", text))
        # foreach name : ['a', 'b'] … test('prefix-' + name, …
        for names, prefix in re.findall(
                r"foreach \w+(?:, \w+)? : [\[{](.*?)[\]}]\n.*?test\('([\w-]+-)' \+", text, re.S):
            known |= {prefix + name.replace("_", "-") for name in re.findall(r"'([\w-]+)'", names)}
    return known


def main():
    root = sys.argv[1]
    known = known_tests(root)
    errors = 0
    for number, line in enumerate(read(root, "tests/rows.tsv").splitlines(), 1):
        if line.startswith("#"):
            continue
        fields = line.split("\t")
        if len(fields) != 3 or not ROW.fullmatch(fields[0]) or not fields[2]:
            print(f"tests/rows.tsv:{number}: not `id<TAB>test<TAB>one line`: {line}")
            errors += 1
        elif fields[1] not in known:
            print(f"tests/rows.tsv:{number}: there is no test {fields[1]}")
            errors += 1
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
