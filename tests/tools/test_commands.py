#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""The dray program from outside: exit codes, one line for bad input, and the JSON that others read.

usage: test_commands.py DRAY
"""
import json
import os
import subprocess
import sys
import unittest

DRAY = None

ALWAYS = {"bench": str, "contender": str, "workload": str, "threads": int, "ops": int,
          "ops_per_s": float, "spread": float, "ns_batch64_p50": float, "ns_batch64_p99": float,
          "ns_batch64_p999": float, "backend": str, "mode": str, "size": int,
          "backend_calls_per_1000": float, "invalidations_per_1000": float, "cost_model": str}
SINGLE = {"ns_p50", "ns_p99", "ns_p999"}


def dray(*arguments):
    return subprocess.run([DRAY, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          stdin=subprocess.DEVNULL, text=True, check=False)


class Commands(unittest.TestCase):
    def assert_refused(self, *arguments, says, lines=1):
        done = dray(*arguments)
        self.assertEqual(done.returncode, 2, done.stderr)
        self.assertEqual(done.stdout, "")
        self.assertIn(says, done.stderr)
        self.assertLessEqual(len(done.stderr.splitlines()), lines, done.stderr)

    def test_program(self):
        self.assert_refused(says="--help", lines=2)
        self.assert_refused("no-such", says="no-such", lines=2)
        self.assert_refused("bench", says="--help", lines=2)
        self.assert_refused("bench", "no-such", says="no-such", lines=2)
        for command in ([], ["bench"], ["bench", "map"], ["doctor"]):
            done = dray(*command, "--help")
            self.assertEqual(done.returncode, 0)
            self.assertIn("Usage: dray", done.stdout)


class Bench(Commands):
    def measure(self, *arguments):
        done = dray("bench", "map", "--seconds", "0.02", "--json", *arguments)
        self.assertEqual(done.returncode, 0, done.stderr)
        return json.loads(done.stdout)

    def test_schema(self):
        data = self.measure()
        self.assertEqual(set(data), {"machine", "results"})
        machine = data["machine"]
        for name in ("cpu", "cores", "kernel", "compiler", "dray"):
            self.assertTrue(machine[name], name)
        self.assertEqual(machine["kernel"], os.uname().release)
        (result,) = data["results"]
        self.assertEqual(set(result) - SINGLE, set(ALWAYS))
        for name, kind in ALWAYS.items():
            self.assertIs(type(result[name]), kind, name)
        # The defaults that are promised.
        self.assertEqual((result["bench"], result["backend"], result["mode"]),
                         ("map", "sim", "strict"))
        self.assertEqual((result["threads"], result["size"]), (1, 4096))
        self.assertIn("1060 ns", result["cost_model"])
        self.assertIn("70 ns", result["cost_model"])
        self.assertIn("DRAY_SIM_NOCHECK", result["cost_model"])
        # A map and an unmap; strict, so one invalidation. It takes over 1060 ns.
        self.assertEqual(result["backend_calls_per_1000"], 2000)
        self.assertEqual(result["invalidations_per_1000"], 1000)
        self.assertLessEqual(SINGLE, set(result))
        self.assertGreater(result["ns_p50"], 1060)
        self.assertLess(result["ops_per_s"], 1e9 / 1060)
        for prefix in ("ns_batch64", "ns"):
            p50, p99, p999 = (result[f"{prefix}_p{p}"] for p in ("50", "99", "999"))
            self.assertLessEqual(p50, p99)
            self.assertLessEqual(p99, p999)

    def test_every_combination(self):
        results = self.measure("--size", "4k,64K", "--threads", "1,2", "--mode",
                               "strict")["results"]
        self.assertEqual([(r["size"], r["threads"]) for r in results],
                         [(4096, 1), (4096, 2), (65536, 1), (65536, 2)])

    def test_cost_is_set(self):
        (free,) = self.measure("--invalidate-ns", "0", "--pin-ns", "0", "--check")["results"]
        self.assertIn("0 ns an invalidation, 0 ns a pinned page", free["cost_model"])
        self.assertNotIn("NOCHECK", free["cost_model"])
        (dear,) = self.measure("--invalidate-ns", "40000")["results"]
        # What is spun cannot take less.
        self.assertGreaterEqual(dear["ns_p50"], 40000)
        self.assertLess(dear["ops_per_s"], 1e9 / 40000)

    def test_table(self):
        done = dray("bench", "map", "--seconds", "0.02", "--size", "8k")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("1060 ns an invalidation", done.stdout)
        self.assertIn("DRAY_SIM_NOCHECK", done.stdout)
        self.assertRegex(done.stdout, r"(?m)^machine: .*Linux " + os.uname().release)
        self.assertRegex(done.stdout, r"(?m)^strict +8192 +1 ")

    def test_bad_input(self):
        for arguments, says in (
                (["--mode", "lazy"], "there is: strict"),
                (["--mode", "strict,nonsense"], "there is: strict"),
                (["--mode", ""], "there is: strict"),
                (["--backend", "iommufd"], "there is: sim, type1"),
                (["--backend", "type1"], "--device"),
                (["--size", "0"], "size"), (["--size", "4q"], "4q"), (["--size", "4k,"], "size"),
                (["--size", "18446744073709551615"], "memory"),
                (["--size", ",".join(["4k"] * 33)], "32"),
                (["--threads", "0"], "threads"), (["--threads", "1,x"], "'x'"),
                (["--threads", "100000"], "threads"),
                (["--seconds", "0"], "seconds"), (["--seconds", "soon"], "soon"),
                (["--invalidate-ns", "-1"], "-1"),
                (["--backend", "type1", "--device", "0000:00:00.0", "--pin-ns", "1"], "cost"),
                (["surprise"], "surprise")):
            with self.subTest(arguments=arguments):
                self.assert_refused("bench", "map", *arguments, says=says)
        # argp's own words have a second line that points at --help.
        self.assert_refused("bench", "map", "--no-such-option", says="no-such-option", lines=2)

    def test_no_such_device(self):
        for device in ("ffff:ff:1f.7", "nonsense"):
            done = dray("bench", "map", "--device", device)
            self.assertEqual(done.returncode, 1)
            self.assertEqual(done.stdout, "")
            self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)


class Doctor(Commands):
    def test_json_and_text_agree(self):
        done = dray("doctor", "--json")
        report = json.loads(done.stdout)
        self.assertEqual(done.returncode, 0 if report["ready"] else 1)
        self.assertEqual(set(report), {"ready", "checks", "devices"})
        ids = [check["id"] for check in report["checks"]]
        self.assertEqual(len(ids), len(set(ids)))
        self.assertLessEqual({"kernel", "cpu", "iommu", "modules", "memlock", "hugepages", "thp",
                              "iommufd", "devices"}, set(ids))
        for line in report["checks"] + report["devices"]:
            self.assertIn(line["state"], ("good", "bad", "info"))
            self.assertTrue(line["fact"])
        usable = [d for d in report["devices"] if d["use"] in ("works", "taken")]
        self.assertEqual(report["ready"], bool(usable))

        text = dray("doctor")
        self.assertEqual(text.returncode, done.returncode)
        for check in report["checks"]:
            self.assertIn(check["fact"], text.stdout)
            if check["state"] == "bad" and check["fix"]:
                self.assertIn("fix: " + check["fix"], text.stdout)
        # One screen.
        self.assertLessEqual(len(text.stdout.splitlines()), 50)

    def test_bad_input(self):
        self.assert_refused("doctor", "surprise", says="surprise")
        self.assert_refused("doctor", "--no-such-option", says="no-such-option", lines=2)


if __name__ == "__main__":
    DRAY = os.path.abspath(sys.argv.pop(1))
    unittest.main(verbosity=1)
