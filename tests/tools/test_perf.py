#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""tools/perf/nvme: bad input, and the form of what it prints.

usage: test_perf.py ROOT BUILD
"""
import os
import shutil
import subprocess
import sys
import unittest

ROOT = BUILD = None
HEAD = ["buffers", "map", "unmap", "pair", "alone", "recorded", "command", "share"]


def nvme(*arguments):
    return subprocess.run([os.path.join(ROOT, "tools/perf/nvme"), *arguments],
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          stdin=subprocess.DEVNULL, text=True, check=False)


def recorded(way):
    with open(os.path.join(ROOT, "bench/instructions.tsv"), encoding="utf-8") as f:
        return dict(line.split("\t")[:2] for line in f)["map/" + way]


class BadInput(unittest.TestCase):
    def assert_refused(self, code, *arguments, says):
        done = nvme(*arguments)
        self.assertEqual(done.returncode, code, done.stdout + done.stderr)
        self.assertEqual(done.stdout, "")
        self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)
        self.assertIn(says, done.stderr)

    def test_refused(self):
        self.assert_refused(2, "stone/strict", says="stone/strict")
        self.assert_refused(2, "heap/slow", says="heap/slow")
        self.assert_refused(2, "heap", says="heap")
        self.assert_refused(2, "--commands", "0", says="'0'")
        self.assert_refused(2, "--commands", "few", says="'few'")
        self.assert_refused(2, "--why", says="--why")
        self.assert_refused(2, "--why", "mmap/lazy", "mmap/strict", says="--why")
        self.assert_refused(1, "--build", "no such", says="no such")

    def test_usage(self):
        self.assertEqual(nvme("--fast").returncode, 2)
        done = nvme("--help")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertIn("usage: tools/perf/nvme", done.stdout)


class Counts(unittest.TestCase):
    def count(self, *arguments):
        done = nvme("--build", BUILD, "--commands", "64", *arguments)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return [line.split() for line in done.stdout.splitlines()]

    def test_lines(self):
        """Strict and nothing registered: every figure is more than the one it contains."""
        head, line = self.count("mmap/strict")
        self.assertEqual(head, HEAD)
        self.assertEqual(line[0], "mmap/strict")
        taken, given, pair, alone = map(float, line[1:5])
        command, share = float(line[6]), line[7]
        self.assertGreater(taken, 0)
        self.assertGreater(given, 0)
        self.assertAlmostEqual(pair, taken + given, delta=0.2)
        self.assertGreater(pair, alone)
        self.assertGreater(alone, 0)
        self.assertEqual(line[5], recorded("strict"))
        self.assertGreater(command, pair)
        self.assertEqual(share, f"{100 * pair / command:.1f}%")

    def test_why(self):
        """Only the IOMMU beneath the model's controller is asked whether it can pin."""
        head, *lines = self.count("--why", "mmap/strict")
        self.assertEqual(head, ["function", "here", "alone", "more"])
        self.assertIn("madvise", [line[0] for line in lines])
        for _, here, alone, more in lines:
            self.assertAlmostEqual(float(more), float(here) - float(alone), delta=0.2)


if __name__ == "__main__":
    BUILD = sys.argv.pop()
    ROOT = sys.argv.pop()
    if not shutil.which("valgrind"):
        sys.exit(77)
    sys.dont_write_bytecode = True
    unittest.main(verbosity=1)
