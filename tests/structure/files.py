#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Rules that every file of the project keeps, whatever is in it.

usage: files.py ROOT

- A source file is at most 600 lines long; from 500 on a warning is printed.
- Its licence is named in its first line, or in its second where the first is `#!`.
- No file names a path of the machine it was written on, and none has a note to do something later.
- Text ends with a newline, and no line with a blank.
"""
import os
import re
import sys

WARN, FAIL = 500, 600
TOPS = ["bench", "docs", "include", "lib", "tests", "tools"]
LICENSED = (".c", ".h", ".cc", ".py", ".sh", "meson.build", "meson_options.txt")
# Taken apart, so that this file passes its own test.
PATHS = re.compile(r"(?<![\w}.])/(?:wo" r"rk|ho" r"me|Us" r"ers)/\w")
TEMPORARY = re.compile(r"(?<![\w}.-])/tm" r"p/(?!\S*XXXXXX)\w")
NOTES = re.compile(r"\b(?:TO" r"DO|FIX" r"ME|XX" r"X)\b")


def project_files(root):
    """Paths, relative to root, of all text of the project."""
    found = [name for name in os.listdir(root)
             if os.path.isfile(os.path.join(root, name)) and name != ".git"]
    for top in TOPS + [".ci"]:
        for where, dirs, names in os.walk(os.path.join(root, top)):
            dirs[:] = sorted(d for d in dirs if d != "__pycache__")
            found += [os.path.relpath(os.path.join(where, name), root) for name in names]
    return sorted(found)


def is_script(text):
    return text.startswith("#!")


def check_file(path, text):
    lines = text.split("\n")
    if path.endswith((".c", ".h", ".cc")) and len(lines) - 1 > FAIL:
        yield f"{path}: has {len(lines) - 1} lines; at most {FAIL} are allowed, split it"
    if path.endswith(LICENSED) or is_script(text):
        line = lines[1 if is_script(text) and len(lines) > 1 else 0]
        if "SPDX-License-Identifier: BSD-2-Clause" not in line:
            yield f"{path}: its first line does not name the licence"
    for number, line in enumerate(lines, 1):
        where = f"{path}:{number}:"
        if PATHS.search(line) or TEMPORARY.search(line):
            yield f"{where} names a path of one machine: {line.strip()}"
        if NOTES.search(line):
            yield f"{where} is a note to do something later: {line.strip()}"
        if line != line.rstrip():
            yield f"{where} ends with a blank"
    if text and not text.endswith("\n"):
        yield f"{path}: does not end with a newline"


def check(root):
    """(errors, warnings), in words."""
    errors, warnings = [], []
    for path in project_files(root):
        with open(os.path.join(root, path), "rb") as f:
            raw = f.read()
        if b"\0" in raw:
            continue
        text = raw.decode("utf-8", "replace")
        errors += check_file(path, text)
        length = text.count("\n")
        if path.endswith((".c", ".h", ".cc")) and WARN < length <= FAIL:
            warnings.append(f"{path}: has {length} lines; above {WARN} a file has two ideas")
    return errors, warnings


def main():
    if len(sys.argv) != 2:
        print("usage: files.py ROOT", file=sys.stderr)
        return 2
    errors, warnings = check(sys.argv[1])
    for message in warnings:
        print("warning:", message)
    for message in errors:
        print(message)
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
