#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""contract_names.c compiles as C11 without a warning and links with the built library.

usage: contract.py INCLUDE-DIR LIBRARY SOURCE... -- CC...

Of several SOURCEs those that are not there are left out, but not the first.
"""
import os
import subprocess
import sys
import tempfile

WRONG = [
    # Another result type; a function that nobody has; a constant's other value.
    "void (*const wrong_result)(void) = dray_version;\n",
    "int dray_no_such_call(void);\nint (*const no_such_call)(void) = dray_no_such_call;\n",
    '_Static_assert(DRAY_LAZY == 2, "value");\n',
]


def builds(cc, include, library, path, more=""):
    """(success, the compiler's words) of the source with `more` and a main() behind it."""
    with tempfile.TemporaryDirectory() as where, open(path, encoding="utf-8") as f:
        source = os.path.join(where, "source.c")
        with open(source, "w", encoding="utf-8") as copy:
            copy.write(f.read() + more + "int main(void) { return 0; }\n")
        done = subprocess.run(
            [*cc, "-std=c11", "-Wall", "-Werror", "-I" + include,
             "-I" + os.path.dirname(os.path.abspath(path)), source, library,
             "-Wl,-rpath," + os.path.dirname(library), "-o", os.path.join(where, "program")],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        if done.returncode == 0:
            done = subprocess.run([os.path.join(where, "program")], stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT, text=True, check=False)
        return done.returncode == 0, done.stdout


def main():
    at = sys.argv.index("--")
    include, library, *sources = sys.argv[1:at]
    cc = sys.argv[at + 1:]
    library = os.path.abspath(library)
    failed = 0
    for path in [p for p in sources if p == sources[0] or os.path.exists(p)]:
        good, words = builds(cc, include, library, path)
        print("ok  " if good else "FAIL", os.path.basename(path))
        if not good:
            print(words)
            failed += 1
    for wrong in WRONG:
        good, _ = builds(cc, include, library, sources[0], wrong)
        print("FAIL it builds with" if good else "ok   refused:", wrong.strip().split("\n")[-1])
        failed += good
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
