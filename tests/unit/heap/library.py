#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""libdray-heap as a library: what it gives out, what it leaves alone, and how it is loaded.

usage: library.py HEADER MAP PROMISED SHARED STATIC LIBDRAY HOST LOADER early|late

The last word tells how the jemalloc inside reaches its thread-local storage: `early` needs room
that the program's start sets aside, `late` does not.
"""
import os
import re
import subprocess
import sys

TUNABLE = "glibc.rtld.optional_static_tls=8192"
failures = []


def check(good, what):
    print("ok  " if good else "FAIL", what)
    if not good:
        failures.append(what)


def output(command, **more):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          check=False, **more)
    return done.returncode, done.stdout


def symbols(*arguments):
    """(kind, name with version) of each symbol that nm lists."""
    status, text = output(["nm", *arguments])
    if status:
        sys.exit(text)
    found = re.findall(r"^[0-9a-f ]* ([A-Za-z]) (\S+)$", text, re.M)
    if not found:
        sys.exit(f"nm {' '.join(arguments)} lists nothing")
    return found


def check_names(header, version_map, promised, shared, static):
    with open(promised, encoding="utf-8") as f:
        want = {tuple(line.split()) for line in f if line.strip() and line[0] != "#"}
    with open(header, encoding="utf-8") as f:
        declared = set(re.findall(r"^DRAY_API [^(]*?(\w+)\(", f.read(), re.M))
    with open(version_map, encoding="utf-8") as f:
        mapped = set(re.findall(r"^\t(\w+);", f.read(), re.M))
    given = {tuple(re.split("@+", name)) for kind, name in
             symbols("-D", "--defined-only", "--with-symbol-versions", shared) if kind != "A"}
    names = {name for name, _ in want}
    check(given == want, "the shared library gives out what is promised and nothing else")
    check(declared == names, "the header declares what is promised")
    check(mapped == names, "the version map has what is promised")

    wanted = {name.split("@")[0] for _, name in symbols("-D", "--undefined-only", shared)}
    check({"calloc", "free"} <= wanted, "it uses the host's malloc for its own objects")
    check(not {"secure_getenv", "getenv"} & wanted, "it reads no environment variable")
    outside = {name for name in wanted if name.startswith("dr_")}
    check(not outside, "it needs nothing of libdray but public calls")

    # Symbols that another object of the same program could bind to, or clash with.
    open_names = {name for kind, name in symbols("--defined-only", "-g", static)}
    strange = sorted(n for n in open_names if not re.match(r"(?:dr|dray)_", n))
    check(not strange, f"the static library has only names of ours {strange[:5] or ''}")
    return "libjemalloc" not in output(["readelf", "-d", shared])[1]


def check_host(host):
    # All of this is for an allocator of the host's, and would speak up if it were heard.
    environment = dict(os.environ, MALLOC_CONF="stats_print:true,no_such_option:1,tcache:true")
    status, text = output([host], env=environment)
    check(status == 0 and text == "good\n", f"a program beside it: {text.strip()}")


def check_loading(loader, libdray, shared, when):
    plain = {name: value for name, value in os.environ.items() if name != "GLIBC_TUNABLES"}
    status, text = output([loader, libdray, shared], env=dict(plain, GLIBC_TUNABLES=TUNABLE))
    check(status == 0 and text == "good\n", f"dlopen with {TUNABLE}: {text.strip()}")
    status, text = output([loader, libdray, shared], env=plain)
    if when == "early":
        check(status == 1 and "static TLS" in text, f"dlopen without is refused: {text.strip()}")
    else:
        check(status == 0 and text == "good\n", f"dlopen without: {text.strip()}")


def main():
    header, version_map, promised, shared, static, libdray, host, loader, when = sys.argv[1:]
    check(check_names(header, version_map, promised, shared, static), "it loads no jemalloc")
    check_host(host)
    check_loading(loader, libdray, shared, when)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
