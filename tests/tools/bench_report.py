#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""The page that `dray bench report` writes: every result is in it, nothing else is needed to read
it, pictures keep to their frame, and what is no result is refused.

usage: bench_report.py DRAY
"""
import html.parser
import json
import os
import re
import subprocess
import sys
import tempfile
import unittest
import xml.etree.ElementTree

DRAY = None
# A wide letter of a label, in the unit of the picture.
LETTER = 7.2


def row(**more):
    return {"contender": "dray", "workload": "W0", "threads": 1, "ops": 1000, "ops_per_s": 2.5e6,
            "spread": 0.031, "ns_batch64_p50": 400.5, "ns_batch64_p99": 500,
            "ns_batch64_p999": 600, **more}


def map_row(mode, size=4096, threads=1, **more):
    return row(bench="map", backend="sim", mode=mode, size=size, threads=threads,
               backend_calls_per_1000=2000, invalidations_per_1000=1000,
               cost_model="modelled: 1060 ns", **more)


def iova_row(contender, workload="W0", **more):
    return row(bench="iova", workload=workload, **{"contender": contender, "live": 1,
               "population": 2, "leaf_tables_per_1000": 3.25, "ratio_to_dray": 0.5, **more})


def aged(contender, windows=10):
    return iova_row(contender, "W7", drift_p50=0.012, drift_p999=-0.034, series=[
        {"ops": (i + 1) * 100, "ns_batch64_p50": 10 + i, "ns_batch64_p999": 100 * i,
         "live": 5, "population": 6 + i} for i in range(windows)])


def file_of(*results, **machine):
    return {"machine": {"cpu": "A <small> machine", "cores": 2, "virtual": True, **machine},
            "results": list(results)}


class Cells(html.parser.HTMLParser):
    """Rows of all tables, as lists of their cells' words; and everything that could load."""

    def __init__(self):
        super().__init__()
        self.rows, self.cell, self.loads = [], None, []

    def handle_starttag(self, tag, attrs):
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.cell = ""
        if tag in ("script", "link", "img", "iframe", "object", "embed", "image", "use"):
            self.loads.append(tag)
        self.loads += [a for a, _ in attrs if a in ("src", "href", "srcset", "style", "onload")]

    def handle_endtag(self, tag):
        if tag in ("td", "th"):
            self.rows[-1].append(self.cell)
            self.cell = None

    def handle_data(self, data):
        if self.cell is not None:
            self.cell += data


class Report(unittest.TestCase):
    def setUp(self):
        self.room = tempfile.TemporaryDirectory()
        self.addCleanup(self.room.cleanup)

    def path(self, name):
        return os.path.join(self.room.name, name)

    def write(self, name, what):
        with open(self.path(name), "w", encoding="utf-8") as f:
            f.write(what if isinstance(what, str) else json.dumps(what))
        return self.path(name)

    def report(self, *arguments):
        return subprocess.run([DRAY, "bench", "report", *arguments], capture_output=True,
                              text=True, check=False)

    def page(self, *files):
        names = [self.write(f"in{i}.json", f) for i, f in enumerate(files)]
        done = self.report(*names, "-o", self.path("out.html"))
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(done.stdout + done.stderr, "")
        with open(self.path("out.html"), encoding="utf-8") as f:
            text = f.read()
        self.cells = Cells()
        self.cells.feed(text)
        self.assertEqual(self.cells.loads, [])
        self.assertNotRegex(text, r"https?:|url\(|@import")
        self.tree = xml.etree.ElementTree.fromstring(text.replace("<!DOCTYPE html>", ""))
        for picture in self.tree.iter("svg"):
            self.check_picture(picture)
        return text

    def check_picture(self, picture):
        """Everything is inside the frame, and no two words on a line run into each other."""
        _, _, width, height = map(float, picture.get("viewBox").split())
        lines = {}
        for e in picture.iter():
            for name, limit in (("x", width), ("x1", width), ("x2", width), ("y", height),
                                ("y1", height), ("y2", height)):
                if e.get(name):
                    self.assertGreaterEqual(float(e.get(name)), 0)
                    self.assertLessEqual(float(e.get(name)), limit)
            if e.tag == "rect":
                self.assertLessEqual(float(e.get("x")) + float(e.get("width")), width)
            if e.tag == "path":
                points = re.findall(r"[ML]([-\d.]+) ([-\d.]+)", e.get("d"))
                for x, y in points:
                    self.assertTrue(0 <= float(x) <= width and 0 <= float(y) <= height)
            if e.tag == "text":
                long = LETTER * len(e.text)
                x = float(e.get("x"))
                left = x - (long if "end" in e.get("class") else
                            long / 2 if "mid" in e.get("class") else 0)
                self.assertGreaterEqual(left, -4, e.text)
                self.assertLessEqual(left + long, width + 4, e.text)
                lines.setdefault(e.get("y"), []).append((left, left + long, e.text))
        for words in lines.values():
            words.sort()
            for a, b in zip(words, words[1:]):
                self.assertLessEqual(a[1], b[0] + 4, f"{a[2]!r} runs into {b[2]!r}")

    def find(self, *words):
        found = [r for r in self.cells.rows if all(w in r for w in words)]
        self.assertEqual(len(found), 1, (words, found))
        return found[0]

    def texts(self):
        return [e.text for e in self.tree.iter("text")]

    def test_every_result_of_map(self):
        rates = iter(range(1000, 9000, 7))
        rows = [map_row(mode, size, threads, **{**more, "ops_per_s": next(rates)})
                for size in (4096, 65536, 2 << 20) for threads in (1, 2, 8)
                for mode, more in (("strict", {}),
                                   ("lazy", {"queue_entries": 64}),
                                   ("lazy", {"queue_entries": 1024, "flush_bytes": 1 << 20}),
                                   ("lazy", {"contender": "kernel-fq"}))]
        text = self.page(file_of(*rows))
        for r in rows:
            shown = self.find(f"{r['ops_per_s'] / 1000:.3f} k")
            self.assertEqual([shown[2], shown[3], shown[5], shown[6]],
                             [r["mode"], r["contender"], str(r["size"]), str(r["threads"])])
            self.assertIn("3.1 %", shown)
            strict = next(s for s in rows if s["mode"] == "strict" and s["size"] == r["size"]
                          and s["threads"] == r["threads"])
            self.assertIn(f"{r['ops_per_s'] / strict['ops_per_s']:.2f}", shown)
            self.assertIn(f"{r['ops_per_s'] / 1000:.3f} k/s", self.texts())
        for heading in ("by threads, 4K", "by size, 8 threads", "by queue depth, 64K, 2 threads"):
            self.assertIn(heading, text)
        self.assertEqual(len(list(self.tree.iter("svg"))), 3 + 3 + 9)
        self.assertIn("A &lt;small&gt; machine", text)
        self.assertIn("lazy, 1024 entries, 1M", self.texts())
        depths = [p for p in self.tree.iter("svg")
                  if any("strict in the same run" in (t.text or "") for t in p.iter("text"))]
        self.assertEqual(len(depths), 9)
        for picture in depths:
            ratios = [t.text for t in picture.iter("text") if t.text.endswith(" inv.")]
            self.assertEqual(len(ratios), 3)
            self.assertTrue(all(t.endswith("x, 1e+03 inv.") for t in ratios), ratios)
        self.assertIn("prefers-color-scheme:dark", text)
        self.assertIn("@media print", text)

    def test_one_setting_has_a_picture_too(self):
        self.page(file_of(map_row("strict", ns_p50=1111, ns_p99=2222, ns_p999=3333)))
        self.assertEqual(len(list(self.tree.iter("svg"))), 1)
        self.assertEqual(self.find("1111")[-6:], ["1111", "2222", "3333", "2000.0", "-", "1000.0"])

    def test_every_result_of_iova(self):
        rows = [iova_row(c, f"W{w}", threads=t, held=h, ratio_to_dray=1 if c == "dray" else 0.1 * w
                         + 0.017 * t, ops_per_s=1e6 + 1e4 * w + 1e3 * t + h * 500 + k * 1e5)
                for w in range(1, 6) for t in (1, 2) for h in (0, 1000)
                for k, c in enumerate(("dray", "rcache-unbounded", "floor"))]
        self.page(file_of(*rows))
        for r in rows:
            shown = self.find(f"{r['ops_per_s'] / 1e6:.3f} M")
            self.assertEqual(shown[1:5], [r["workload"], str(r["threads"]), str(r["held"]),
                                          r["contender"]])
            self.assertEqual(shown[-1], "3.2")
            if r["contender"] != "dray":
                self.assertIn(f"{r['ratio_to_dray']:.3g}x", self.texts())
        self.assertIn("W5, 2 threads, beside 1000 live", self.texts())

    def test_without_ours_nothing_is_compared(self):
        text = self.page(file_of(iova_row("floor", ratio_to_dray=None)))
        self.assertEqual(list(self.tree.iter("svg")), [])
        self.assertIn("1 result has no dray", text)
        self.find("floor", "2.500 M")

    def test_ageing(self):
        text = self.page(file_of(aged("dray"), aged("rcache-fixed-depot"), aged("floor")))
        self.assertEqual(len(list(self.tree.iter("svg"))), 3)
        # What floor holds says nothing; it has no curve of its population.
        self.assertEqual([len(list(p.iter("path"))) for p in self.tree.iter("svg")], [3, 3, 2])
        # The first window's p99.9 of 0 has no place on the scale.
        points = [len(re.findall("[ML]", p.get("d"))) for p in self.tree.iter("path")]
        self.assertEqual(points, [10] * 3 + [9] * 3 + [10] * 2)
        for name in ("dray", "rcache-fixed-depot", "floor"):
            self.assertIn("+1.2 %", self.find(name, "-3.4 %"))
            self.assertEqual(self.texts().count(name), 2 if name == "floor" else 3)
        self.assertIn("+0.0 %", self.find("dray", "-3.4 %"))
        self.assertIn("Ageing", text)

    def test_ratios_of_rounds_are_shown(self):
        pairs = {"by_clock": [0.31, 0.4567, 0.52], "by_cpu": [0.4, 0.41, 0.42]}
        self.page(file_of(iova_row("dray", ratio_to_dray=1),
                          iova_row("rbtree", ratio_to_dray=0.5, paired_to_dray=pairs)))
        self.assertIn("0.457x", self.texts())

    def test_where_ranges_lie(self):
        # Eight kinds: live, retired, cached, chunk_free, slack, reserved, quarantined, free.
        cells = [[0] * 7 + [8], [8] + [0] * 7, [2, 1, 1, 1, 1, 0, 1, 1], [0] * 8] + \
                [[0, 0, 8, 0, 0, 0, 0, 0]] * 66
        heat = [{"first": 1 << 32, "last": (1 << 32) + 8 * 70 * 4096 - 1, "cells": cells}]
        text = self.page(file_of(iova_row("dray", ratio_to_dray=None, heat=heat),
                                 iova_row("floor", ratio_to_dray=None)))
        pictures = list(self.tree.iter("svg"))
        self.assertEqual(len(pictures), 1)
        # The key's seven; 1 and 6 of the second and third cell; the others, which are alike, once
        # in each line; two lines' frames.
        self.assertEqual(len(list(pictures[0].iter("rect"))), 7 + 1 + 6 + 2 + 2)
        self.assertIn("0x000100000000 to 0x00010022ffff, lowest first: 552 pages", text)
        self.assertIn("2.0 % are live or wait for a flush, 95.8 % lie in magazines", text)

    def test_repeated_settings_are_told(self):
        text = self.page(file_of(map_row("strict"), iova_row("dray")),
                         file_of(map_row("strict"), map_row("lazy"), cores=4))
        self.assertIn("Measured more than once", text)
        notes = [e for e in self.tree.iter("li")]
        self.assertEqual(len(notes), 1)
        self.assertIn("map dray strict W0, 1 thread, 4096 bytes: [1] [2]",
                      " ".join("".join(notes[0].itertext()).split()))
        self.assertIn("strict [1]", self.texts())
        self.assertIn("strict [2]", self.texts())
        self.assertNotIn("Measured more than once", self.page(file_of(map_row("strict"))))

    def test_strange_words_and_figures(self):
        evil = "<script>alert(1)</script>&\"'\u2028\U0001f600" + "x" * 300
        self.page(file_of(map_row(evil, ops_per_s=0, spread=0), map_row("strict", 1, 7, spread=9),
                          map_row("lazy", 10 ** 17, 7, ops_per_s=1e17, queue_entries=1),
                          map_row("lazy", 10 ** 17, 7, ops_per_s=1, queue_entries=10 ** 9),
                          iova_row(evil, evil, ratio_to_dray=1e-9),
                          iova_row("dray", evil, ratio_to_dray=1),
                          iova_row(evil, heat=[{"first": 0, "last": 4095,
                                                "cells": [[1e18] * 8]}]),
                          aged(evil, 2), cpu=evil))
        self.assertTrue(any(evil in r for r in self.cells.rows))

    def assert_refused(self, *arguments, says):
        done = self.report(*arguments)
        self.assertEqual(done.returncode, 2, done.stderr)
        self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)
        for word in says:
            self.assertIn(word, done.stderr)

    def test_bad_files(self):
        good = self.write("good.json", file_of(map_row("strict")))
        out = self.path("none.html")
        no_spread = map_row("strict")
        del no_spread["spread"]
        for i, (what, says) in enumerate((
                ("", "too early"), ("{", "too early"), ("[1,", "too early"), ("\0", "byte"),
                ("no", "byte"), (json.dumps(file_of(map_row("strict"))) + "}", "follows"),
                ({}, "machine"), (file_of(), "empty"), (file_of(no_spread), "spread"),
                (file_of({"bench": "cake"}), "result 1"),
                (file_of(map_row("strict"), row(bench="cake")), "cake"),
                (file_of(map_row("strict", size="4k")), "size"),
                (file_of(iova_row("dray", heat={})), "heat"),
                (file_of(iova_row("dray", heat=[1])), "heat"),
                (file_of(iova_row("dray", heat=[{"first": 0, "last": 9, "cells": []}])), "heat"),
                (file_of(iova_row("dray", heat=[{"first": 9, "last": 0,
                                                 "cells": [[0] * 8]}])), "heat"),
                (file_of(iova_row("dray", heat=[{"first": 0, "last": 9, "cells": [[0] * 8,
                                                 [0] * 7]}])), "cells"),
                (file_of(iova_row("dray", heat=[{"first": 0, "last": 9,
                                                 "cells": [[-1] * 8]}])), "cells"),
                (file_of(iova_row("dray", paired_to_dray=1)), "paired"),
                (file_of(iova_row("dray", paired_to_dray={"by_clock": [1, 2, 3]})), "by_cpu"),
                ("[" * 100000, "byte"))):
            bad = self.write(f"bad{i}.json", what)
            with self.subTest(what=str(what)[:60]):
                self.assert_refused(good, bad, "-o", out, says=(bad, says))
        self.assert_refused(self.path("absent.json"), "-o", out, says=("absent.json",))
        self.assert_refused(self.room.name, "-o", out, says=(self.room.name,))
        self.assert_refused(good, says=("-o",))
        self.assert_refused("-o", out, says=("no file",))
        self.assertFalse(os.path.exists(out))

    def test_page_that_cannot_be_written(self):
        good = self.write("good.json", file_of(map_row("strict")))
        done = self.report(good, "-o", self.path("no/such/place.html"))
        self.assertEqual(done.returncode, 1)
        self.assertIn("no/such/place.html", done.stderr)
        if os.path.exists("/dev/full"):
            self.assertEqual(self.report(good, "-o", "/dev/full").returncode, 1)

    def test_what_benches_print_is_read(self):
        printed = []
        for arguments in (["map", "-S", "0.01"], ["iova", "-S", "0.01"],
                          ["iova", "-c", "dray,rcache", "-w", "W12", "-S", "0.01", "--heat"],
                          ["iova", "-c", "dray,floor", "-w", "W7", "--ops", "100000"]):
            done = subprocess.run([DRAY, "bench", *arguments, "--json"], capture_output=True,
                                  text=True, check=True)
            printed.append(json.loads(done.stdout))
        self.page(*printed)
        for name in ("rcache-unbounded", "rbtree", "floor", "strict"):
            self.assertTrue(any(name in r for r in self.cells.rows), name)


if __name__ == "__main__":
    DRAY = os.path.abspath(sys.argv.pop(1))
    unittest.main(verbosity=1)
