#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""What `dray bench iova` prints: every contender, every workload, every field, and exit codes.

usage: test_bench_iova.py DRAY
"""
import json
import subprocess
import sys
import unittest

DRAY = sys.argv.pop(1)
CONTENDERS = ["dray", "dray-tree", "dray-lazy", "rcache", "rcache-fixed-depot", "rcache-256",
              "rcache-fixed-depot-256", "rbtree", "floor", "floor-called", "floor-sized"]
FIELDS = ["ops", "ops_per_s", "spread", "ns_batch64_p50", "ns_batch64_p99", "ns_batch64_p999",
          "live", "population", "leaf_tables", "leaf_tables_per_1000",
          "population_leaf_tables"]


def run(*args):
    return subprocess.run([DRAY, "bench", "iova", *args], capture_output=True, text=True)


def results(*args):
    done = run("--json", *args)
    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout)
    assert printed["machine"]["cpu"], printed
    return printed["results"]


class BenchIova(unittest.TestCase):
    def check(self, row):
        self.assertEqual(row["bench"], "iova")
        for field in FIELDS:
            self.assertGreaterEqual(row[field], 0, field)
        self.assertGreater(row["ops_per_s"], 0)
        self.assertGreater(row["live"], 0)

    def test_every_contender_under_every_workload(self):
        rows = results("--contender", ",".join(CONTENDERS), "--workload", "all", "--threads", "1,2",
                       "--seconds", "0.01", "--live", "1000")
        self.assertEqual(len(rows), len(CONTENDERS) * 13 * 2)
        self.assertEqual({row["workload"] for row in rows}, {f"W{i}" for i in range(13)})
        for row in rows:
            self.check(row)
            # W11 has no others than the live ones; all hold at least those.
            self.assertGreaterEqual(row["live"], 1000)

    def test_ratio_is_to_ours(self):
        rows = {row["contender"]: row for row in results("-c", "rbtree,dray", "-S", "0.01")}
        self.assertEqual(rows["dray"]["ratio_to_dray"], 1)
        self.assertAlmostEqual(rows["rbtree"]["ratio_to_dray"],
                               rows["rbtree"]["ops_per_s"] / rows["dray"]["ops_per_s"], 2)
        self.assertIsNone(results("-c", "floor", "-S", "0.01")[0]["ratio_to_dray"])

    def test_ratios_within_rounds(self):
        rows = results("-c", "floor,dray,rbtree", "-t", "2,1", "-S", "0.02")
        self.assertEqual(len(rows), 6)
        for row in rows:
            self.assertGreaterEqual(row["rounds"], 20)
            self.assertEqual("paired_to_dray" in row, row["contender"] != "dray")
            self.assertEqual("scaling" in row, row["threads"] == 2)
            self.assertEqual("scaling_to_floor" in row,
                             row["threads"] == 2 and row["contender"] != "floor")
            for name in ("paired_to_dray", "scaling", "scaling_to_floor"):
                for way in row.get(name, {}).values():
                    low, median, high = way
                    self.assertTrue(0 < low <= median <= high, way)
        # Alone there is nothing to compare.
        self.assertFalse({"paired_to_dray", "scaling"} & set(results("-S", "0.01", "-c", "floor")[0]))
        table = run("-c", "floor,dray", "-t", "1,2", "-S", "0.02").stdout
        self.assertIn("ratios within a round, by the threads' own time", table)

    def test_heat(self):
        rows = {row["contender"]: row
                for row in results("-c", "dray,dray-tree,dray-lazy,rcache,floor", "-w", "W12",
                                   "-S", "0.01", "--heat")}
        for name in ("dray", "dray-tree", "dray-lazy"):
            maps = rows[name]["heat"]
            # What 39 bits reach, and what 32 do, from the top down.
            self.assertEqual([m["last"] for m in maps], [(1 << 39) - 1, (1 << 32) - 1])
            for m in maps:
                pages = (m["last"] + 1 - m["first"]) // 4096
                self.assertEqual(sum(map(sum, m["cells"])), pages)
                self.assertEqual(len(m["kinds"]), 8)
                self.assertTrue(sum(m["cells"][0][:5]) and sum(m["cells"][-1][:5]))
        for name in ("rcache-unbounded", "floor"):
            self.assertNotIn("heat", rows[name])
        # What is held all the time is all that is live; the pair that counted too is back.
        for row in results("-c", "dray,dray-tree,dray-lazy", "-l", "500", "-S", "0.01", "-h"):
            live = sum(cell[0] for m in row["heat"] for cell in m["cells"])
            self.assertEqual(live, row["live_pages"] - 1, row["contender"])
        shown = run("-c", "dray,floor", "--heat", "-S", "0.01").stdout
        self.assertIn("where ranges lie", shown)
        self.assertRegex(shown, r"\n0x[0-9a-f]{12}-0x[0-9a-f]{12}, \d+ pages, .* to a cell\n  \|")
        self.assertNotIn("where ranges lie", run("-c", "floor", "--heat", "-S", "0.01").stdout)

    def test_rcache_is_the_unbounded_one(self):
        rows = results("-c", "rcache,rcache-unbounded", "-S", "0.01")
        self.assertEqual([row["contender"] for row in rows], ["rcache-unbounded"])

    def test_ageing(self):
        rows = results("-c", "rcache,floor", "-w", "W7", "-t", "1,2", "--ops", "200000")
        self.assertEqual(len(rows), 4)
        for row in rows:
            self.check(row)
            self.assertEqual(len(row["series"]), 100)
            self.assertEqual(row["series"][-1]["ops"], row["ops"])
            self.assertIn("drift_p50", row)
            for window in row["series"]:
                self.assertGreater(window["ns_batch64_p999"], 0)

    def test_table(self):
        done = run("-S", "0.01")
        self.assertEqual(done.returncode, 0, done.stderr)
        for name in ["dray", "rcache-unbounded", "rbtree", "floor", "population"]:
            self.assertIn(name, done.stdout)

    def test_bad_arguments(self):
        for args in [["-c", "nobody"], ["-w", "W13"], ["-t", "0"], ["--ops", "1"], ["stray"],
                     ["--live", "-1"], ["--live", "16000001"], ["-S", "nan"], ["--nothing"]]:
            done = run(*args)
            self.assertEqual(done.returncode, 2, args)
            self.assertIn("dray bench iova", done.stderr)


unittest.main()
