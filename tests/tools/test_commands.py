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
          "backend_calls_per_1000": float, "backend_unmaps_per_1000": float,
          "invalidations_per_1000": float, "bounces_per_1000": float, "cost_model": str,
          "memory": str}
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

    def test_lazy_and_the_kernels_queue(self):
        results = self.measure("--mode", "strict,lazy", "--contender", "dray,kernel-fq",
                               "--workload", "W0,W1", "--queue-entries", "128", "--flush-bytes",
                               "16m", "--flush-timeout-us", "5000")["results"]
        self.assertEqual([(r["workload"], r["mode"], r["contender"]) for r in results],
                         [(w, m, c) for w in ("W0", "W1") for m, c in (
                             ("strict", "dray"), ("lazy", "dray"), ("lazy", "kernel-fq"))])
        for result in results:
            ours = result["contender"] == "dray"
            self.assertEqual("queue_entries" in result, ours and result["mode"] == "lazy")
            # On the software IOMMU entries are cleared at once; the invalidation may wait.
            self.assertAlmostEqual(result["backend_unmaps_per_1000"], 1000, delta=150)
            if result["mode"] == "lazy":
                self.assertLess(result["invalidations_per_1000"], 200)
        self.assertEqual([results[1][n] for n in ("queue_entries", "flush_bytes",
                                                  "flush_timeout_us")], [128, 16 << 20, 5000])

    def test_every_way(self):
        modes = ("strict", "lazy", "region", "bounce", "auto", "auto-strict")
        results = self.measure("--mode", ",".join(modes), "--workload", "W0,W1", "--threads",
                               "2")["results"]
        self.assertEqual([(r["workload"], r["mode"]) for r in results],
                         [(w, m) for w in ("W0", "W1") for m in modes])
        for r in results:
            calls, copies = r["backend_calls_per_1000"], r["bounces_per_1000"]
            if r["mode"] in ("strict", "lazy"):
                # Two each, less what a short run had under way when it was counted.
                self.assertGreater(calls, 1500)
                self.assertEqual(copies, 0)
            elif r["mode"] == "region":
                self.assertEqual((calls, copies, r["invalidations_per_1000"]), (0, 0, 0))
            elif r["mode"] == "bounce":
                # But for the pools themselves.
                self.assertLess(calls, 1)
                self.assertGreater(copies, 900)
            # Each is copied or mapped, and one size goes one way.
            self.assertLess(min(calls, copies), 1)

    def test_automatic(self):
        # Nothing is cheaper than a map that costs nothing but its bytes; a copy is, than 1 ms.
        def ways(sizes, *cost):
            return {(r["mode"], r["size"]): r["bounces_per_1000"] for r in
                    self.measure("--mode", "strict,bounce,auto,auto-strict", "--size", sizes,
                                 *cost)["results"]}

        cheap = ways("64k,1m", "--invalidate-ns", "0", "--pin-ns", "0")
        self.assertEqual((cheap["auto", 65536], cheap["auto", 1 << 20]), (0, 0))
        # So dear that a copy is cheaper under a sanitizer on a busy machine, too.
        dear = ways("4k,64k", "--invalidate-ns", "3000000", "--pin-ns", "40000")
        for size in (4096, 65536):
            self.assertGreater(dear["auto-strict", size], 900)
            self.assertGreater(dear["auto", size], 900)

        done = dray("bench", "map", "--mode", "strict,bounce,auto-strict", "--seconds", "0.02",
                    "--size", "4k,8k")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertRegex(done.stdout, r"(?m)^automatic .* auto/best$")
        for size in (4096, 8192):
            self.assertRegex(done.stdout, rf"(?m)^auto-strict +{size} +1 W0 .* (strict|bounce) ")

    def test_lists(self):
        results = self.measure("--mode", "strict,region", "--sg", "64")["results"]
        self.assertEqual([(r["sg"], r["sg_stride"]) for r in results], [(64, 4096)] * 2)
        # What adjoins is one mapping, and one unmap; what is registered neither.
        self.assertEqual([r["backend_calls_per_1000"] for r in results], [2000, 0])
        results = self.measure("--mode", "strict,region", "--sg", "64", "--sg-stride",
                               "8k")["results"]
        self.assertEqual([(r["sg"], r["sg_stride"]) for r in results], [(64, 8192)] * 2)
        self.assertEqual([r["backend_calls_per_1000"] for r in results], [65000, 0])
        self.assertEqual(results[0]["backend_unmaps_per_1000"], 1000)
        done = dray("bench", "map", "--seconds", "0.02", "--sg", "3")
        self.assertIn("list of 3 elements that adjoin", done.stdout)

    def test_memory(self):
        self.assertEqual(self.measure()["results"][0]["memory"], "mmap")
        (small,) = self.measure("--memory", "4k", "--sg", "512")["results"]
        self.assertEqual((small["memory"], small["backend_calls_per_1000"]), ("4k", 2000))
        for kind in ("thp", "hugetlb"):
            # Neither has to be there.
            done = dray("bench", "map", "--seconds", "0.02", "--memory", kind, "--mode",
                        "strict,region")
            if done.returncode == 0:
                self.assertIn(f"memory: {kind}", done.stdout)
            else:
                self.assertEqual((done.returncode, done.stdout), (1, ""))
                self.assertIn("huge pages", done.stderr)

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
                (["--contender", "nobody"], "there is: dray, kernel-fq"),
                (["--contender", "dray,kernel-fq"], "--mode lazy"),
                (["--contender", "kernel-fq", "--mode", "lazy", "--backend", "type1", "--device",
                  "0000:00:00.0"], "cost model"),
                (["--workload", "W3"], "W0, W1"), (["--workload", ""], "W0, W1"),
                (["--sg", "0"], "elements"), (["--sg", "x"], "elements"),
                (["--sg-stride", "8k"], "--sg N"), (["--sg", "2", "--sg-stride", "0"], "size"),
                (["--sg", "2", "--sg-stride", "1k"], "overlap"),
                (["--sg", "2", "--workload", "W1"], "W0"),
                (["--sg", "2", "--mode", "bounce"], "list"),
                (["--sg", "2", "--mode", "lazy", "--contender", "kernel-fq"], "lists"),
                (["--sg", "65536", "--sg-stride", "1g"], "memory"),
                (["--memory", "2g"], "there is: mmap, 4k, thp, hugetlb"),
                (["--queue-entries", "0"], "entries"), (["--queue-entries", "x"], "entries"),
                (["--flush-bytes", "0"], "size"), (["--flush-timeout-us", "0"], "microseconds"),
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
        self.assertEqual(set(report), {"ready", "checks", "devices", "costs"})
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
            # Costs are measured each time.
            if not check["id"].startswith(("costs_", "ways_")):
                self.assertIn(check["fact"], text.stdout)
            if check["state"] == "bad" and check["fix"]:
                self.assertIn("fix: " + check["fix"], text.stdout)
        # One screen.
        self.assertLessEqual(len(text.stdout.splitlines()), 50)

    def test_costs(self):
        report = json.loads(dray("doctor", "--json").stdout)
        ids = [check["id"] for check in report["checks"]]
        self.assertIn("costs_sim", ids)
        self.assertIn("ways_sim", ids)
        self.assertIn("costs_type1", ids)
        (sim, *real) = report["costs"]
        self.assertEqual((sim["backend"], sim["device"]), ("sim", "sim0"))
        self.assertIn("1060 ns", sim["cost_model"])
        self.assertEqual(bool(real), "ways_type1" in ids)
        for costs in report["costs"]:
            self.assertEqual(costs["sizes"], [4 ** i << 12 for i in range(5)])
            for name in ("copy_ns", "map_ns", "lazy_map_ns"):
                self.assertEqual(len(costs[name]), 5)
                self.assertGreater(costs[name][4], 0)
            self.assertGreaterEqual(costs["copy_up_to_once"], costs["copy_up_to"])
            self.assertGreaterEqual(costs["lazy_copy_up_to_once"], costs["lazy_copy_up_to"])
        # What is spun cannot take less: an invalidation and the pages.
        for pages, ns in zip((1, 4, 16, 64, 256), sim["map_ns"]):
            self.assertGreaterEqual(ns, 1060 + 70 * pages)

    def test_bad_input(self):
        self.assert_refused("doctor", "surprise", says="surprise")
        self.assert_refused("doctor", "--no-such-option", says="no-such-option", lines=2)


if __name__ == "__main__":
    DRAY = os.path.abspath(sys.argv.pop(1))
    unittest.main(verbosity=1)
