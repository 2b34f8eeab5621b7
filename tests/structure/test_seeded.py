#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""The structure checks find what they are for: each test plants one fault in a copy of the tree.

usage: test_seeded.py ROOT
"""
import os
import shutil
import sys
import tempfile
import unittest

import files
import includes

ROOT = None


class Seeded(unittest.TestCase):
    def setUp(self):
        self.root = tempfile.mkdtemp(prefix="dray-structure-")
        self.addCleanup(shutil.rmtree, self.root)
        for top in ("include", "lib", "tools"):
            shutil.copytree(os.path.join(ROOT, top), os.path.join(self.root, top))
        # What the tree has of its own is told by the checks themselves, not here.
        self.before = set(includes.check(self.root)), set(files.check(self.root)[0])

    def plant(self, path, text, end=False):
        path = os.path.join(self.root, path)
        old = ""
        if os.path.exists(path):
            with open(path, encoding="utf-8") as f:
                old = f.read()
        with open(path, "w", encoding="utf-8") as f:
            f.write(old + text if end else text + old)

    def new_arrows(self):
        return sorted(set(includes.check(self.root)) - self.before[0])

    def new_faults(self):
        return sorted(set(files.check(self.root)[0]) - self.before[1])

    def assert_arrow(self, path, include):
        self.plant(path, f"#include {include}\n", end=True)
        found = self.new_arrows()
        self.assertEqual(len(found), 1, found)
        self.assertIn(path, found[0])

    def test_untouched(self):
        self.assertEqual(self.new_arrows(), [])
        self.assertEqual(self.new_faults(), [])

    def test_up_by_one(self):
        self.assert_arrow("lib/backend/type1.c", '"domain/domain.h"')

    def test_up_by_many(self):
        self.assert_arrow("lib/base/err.c", '"map/map.h"')

    def test_up_from_a_directory_below(self):
        os.makedirs(os.path.join(self.root, "lib/backend/sim"), exist_ok=True)
        self.assert_arrow("lib/backend/sim/seeded.c", '"domain/domain.h"')

    def test_up_by_relative_path(self):
        self.assert_arrow("lib/iova/tree.c", '"../backend/backend.h"')

    def test_up_with_blanks(self):
        self.plant("lib/iova/tree.c", '\t# include\t"map/map.h" /* hidden */\n', end=True)
        self.assertEqual(len(self.new_arrows()), 1)

    def test_sideways(self):
        self.assert_arrow("lib/iova/space.c", '"pgtable/pgtable.h"')

    def test_unknown_layer(self):
        os.makedirs(os.path.join(self.root, "lib/side"))
        self.plant("lib/side/room.c", "/* empty */\n")
        self.assertEqual(len(self.new_arrows()), 1)

    def test_down_is_fine(self):
        self.plant("lib/map/map.c", '#include "base/err.h"\n#include <dray/dray.h>\n', end=True)
        self.assertEqual(self.new_arrows(), [])

    def test_public_header_with_an_internal_one(self):
        self.assert_arrow("include/dray/map.h", '"base/err.h"')

    def test_public_header_with_the_system(self):
        self.assert_arrow("include/dray/map.h", "<linux/vfio.h>")

    def test_tool_with_an_internal_header(self):
        self.assert_arrow("tools/dray/main.c", '"domain/domain.h"')

    def test_tool_with_the_base(self):
        self.plant("tools/dray/main.c", '#include "base/err.h"\n', end=True)
        self.assertEqual(self.new_arrows(), [])

    def test_long_file(self):
        self.plant("lib/map/map.c", "\n" * files.FAIL, end=True)
        self.assertEqual(len(self.new_faults()), 1)

    def test_no_licence(self):
        self.plant("lib/map/map.c", "/* mine */\n")
        self.assertEqual(len(self.new_faults()), 1)

    def test_machine_path(self):
        for path in ("/ho" "me/me/dray", "/wo" "rk/dray", "/tm" "p/build"):
            with self.subTest(path=path):
                self.plant("lib/README.md", f"See {path}.\n", end=True)
                self.assertTrue(any(path in fault for fault in self.new_faults()))

    def test_paths_that_every_machine_has(self):
        self.plant("lib/README.md", "/tm" "p/dray-XXXXXX ${TMPDIR:-/tmp}/x /dev/vfio\n", end=True)
        self.assertEqual(self.new_faults(), [])

    def test_note(self):
        self.plant("lib/map/map.c", "/* TO" "DO: later */\n", end=True)
        self.assertEqual(len(self.new_faults()), 1)

    def test_trailing_blank(self):
        self.plant("lib/map/map.c", "int x; \n", end=True)
        self.assertEqual(len(self.new_faults()), 1)

    def test_no_newline(self):
        self.plant("lib/map/map.c", "/* end */", end=True)
        self.assertEqual(len(self.new_faults()), 1)


if __name__ == "__main__":
    ROOT = sys.argv.pop(1)
    unittest.main(verbosity=1)
