#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""What is installed is enough: the README's program builds with pkg-config alone, and runs.

usage: install.py BUILD-DIR PREFIX README CC... -- CXX...

Installs into a directory of its own, then builds the first C program of the README against the
shared library and, in two ways, against the static one.
"""
import os
import re
import subprocess
import sys
import tempfile


def run(command, **more):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          check=False, **more)
    if done.returncode:
        print("FAIL", " ".join(command))
        print(done.stdout)
        sys.exit(1)
    return done.stdout


def program_of(readme):
    with open(readme, encoding="utf-8") as f:
        match = re.search(r"^```c\n(.*?)^```$", f.read(), re.S | re.M)
    if not match:
        sys.exit("FAIL the README has no C program")
    return match.group(1)


def installed(where, name):
    found = [os.path.join(d, f) for d, _, files in os.walk(where) for f in files if f == name]
    if len(found) != 1:
        sys.exit(f"FAIL {len(found)} files {name} are installed")
    return found[0]


def main():
    at = sys.argv.index("--")
    build, prefix, readme, *cc = sys.argv[1:at]
    cxx = sys.argv[at + 1:]
    with tempfile.TemporaryDirectory(prefix="dray-install-") as dest:
        run(["meson", "install", "-C", build, "--destdir", dest, "--no-rebuild", "--quiet"])
        pc_dir = os.path.dirname(installed(dest, "dray.pc"))
        lib_dir = os.path.dirname(installed(dest, "libdray.a"))
        source = os.path.join(dest, "hello.c")
        with open(source, "w", encoding="utf-8") as f:
            f.write(program_of(readme))

        # The prefix that dray.pc was made for is not where it lies now. The variable moves that of
        # its dependencies too, but the compiler finds those without being told.
        env = dict(os.environ, PKG_CONFIG_PATH=pc_dir)

        def flags(*options):
            variables = "--define-variable=prefix=" + os.path.join(dest, prefix.lstrip("/"))
            return run(["pkg-config", variables, *options, "dray"], env=env).split()

        def hello(name, compiler, link, more=(), environment=None):
            program = os.path.join(dest, name)
            run([*compiler, *more, source, *flags("--cflags"), *link, "-o", program])
            out = run([program], env=dict(os.environ, **(environment or {})))
            if out != "hello from the device\n":
                sys.exit(f"FAIL {name} says {out!r}")
            print("ok  ", name)
            return run(["readelf", "-d", program])

        warnings = ["-Wall", "-Wextra", "-Werror"]
        path = {"LD_LIBRARY_PATH": lib_dir}
        needed = hello("shared", cc, flags("--libs"), ["-std=c11", *warnings], path)
        if "libdray.so.0" not in needed:
            sys.exit("FAIL the program does not ask for libdray.so.0")
        # libdray alone static: its dependencies are named by pkg-config and may stay shared.
        static = [os.path.join(lib_dir, "libdray.a") if flag == "-ldray" else flag
                  for flag in flags("--static", "--libs")]
        needed = hello("static", cc, static, ["-std=c11", *warnings])
        if "libdray" in needed:
            sys.exit("FAIL the static program asks for libdray")
        hello("all-static", cc, flags("--static", "--libs"), ["-std=c11", *warnings, "-static"])
        # The C program is no C++ program; that the headers are is told by a small one.
        with open(source, "w", encoding="utf-8") as f:
            f.write("#include <dray/dray.h>\n#include <cstdio>\n"
                    'int main() { std::puts(dray_version() ? "hello from the device" : ""); }\n')
        source_cc = os.path.join(dest, "hello.cc")
        os.rename(source, source_cc)
        source = source_cc
        hello("c++", cxx, flags("--libs"), ["-std=c++17", *warnings], path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
