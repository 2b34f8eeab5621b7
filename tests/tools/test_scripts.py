#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""tools/quickstart, tools/check and tools/tally: bad input, and what they count.

usage: test_scripts.py ROOT
"""
import importlib.machinery
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

ROOT = None


def run(*command, **more):
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          stdin=subprocess.DEVNULL, text=True, check=False, **more)


class Scripts(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="dray scripts ")
        self.addCleanup(shutil.rmtree, self.dir)

    def tool(self, name, *arguments, **more):
        return run(os.path.join(ROOT, "tools", name), *arguments, cwd=self.dir, **more)

    def assert_refused(self, name, *arguments, says):
        done = self.tool(name, *arguments)
        self.assertEqual(done.returncode, 2, done.stdout + done.stderr)
        self.assertEqual(done.stdout, "")
        self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)
        self.assertIn(says, done.stderr)

    def test_help(self):
        for name in ("quickstart", "check"):
            done = self.tool(name, "--help")
            self.assertEqual(done.returncode, 0)
            self.assertIn("usage: tools/" + name, done.stdout)
            self.assertEqual(done.stderr, "")

    def test_quickstart_bad_input(self):
        with open(os.path.join(self.dir, "empty file"), "w", encoding="utf-8"):
            pass
        self.assert_refused("quickstart", "no such file", says="no such file")
        self.assert_refused("quickstart", "empty file", says="is empty")
        self.assert_refused("quickstart", self.dir, says="is not a file")
        self.assert_refused("quickstart", "a", "b", says="one FILE")
        self.assert_refused("quickstart", "--fast", says="--fast")

    def test_check_bad_input(self):
        self.assert_refused("check", "--slow", says="--slow")
        self.assert_refused("check", "--jobs", says="--jobs")
        self.assert_refused("check", "--jobs", "0", says="'0'")
        self.assert_refused("check", "--jobs=many", says="'many'")
        self.assert_refused("check", "file", says="file")


class Library(unittest.TestCase):
    """tools/lib.sh, in a project of its own with programs of its own."""

    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="dray scripts ")
        self.addCleanup(shutil.rmtree, self.dir)
        os.makedirs(os.path.join(self.dir, "tools"))
        os.makedirs(os.path.join(self.dir, "bin"))
        shutil.copy(os.path.join(ROOT, "tools/lib.sh"), os.path.join(self.dir, "tools"))
        self.write("tools/packages.txt", "# words\nbuild one\nbuild two\n\ntest three\n")
        # Installed: two.
        self.write("bin/dpkg-query",
                   '#!/bin/sh\n[ "$4" = two ] && echo "install ok installed"\n')
        self.write("bin/apt-get", "#!/bin/sh\necho \"$*\" >>apt-was-run\n")
        self.write("bin/id", "#!/bin/sh\necho 1000\n")

    def write(self, name, text):
        path = os.path.join(self.dir, name)
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)
        os.chmod(path, 0o755)

    def shell(self, text):
        self.write("tools/script", "#!/usr/bin/env bash\nset -u\n"
                   '. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"\n' + text)
        env = dict(os.environ, PATH=os.path.join(self.dir, "bin") + ":" + os.environ["PATH"])
        return run(os.path.join(self.dir, "tools/script"), cwd=self.dir, env=env)

    def test_packages(self):
        done = self.shell("packages_of build test; echo; packages_missing build")
        self.assertEqual(done.stdout.split("\n"), ["one", "two", "three", "", "one", ""])

    def test_not_root(self):
        done = self.shell('need_packages "$root/log" build test; echo went on')
        self.assertEqual(done.returncode, 2)
        self.assertEqual(done.stdout, "")
        self.assertEqual(done.stderr, "tools/script: packages are missing; run: sudo apt-get install "
                         "--no-install-recommends one three\n")
        self.assertFalse(os.path.exists(os.path.join(self.dir, "apt-was-run")))

    def test_root_installs_what_is_missing(self):
        self.write("bin/id", "#!/bin/sh\necho 0\n")
        done = self.shell('need_packages "$root/log" build && echo installed')
        self.assertTrue(done.stdout.endswith("installed\n"), done.stdout)
        with open(os.path.join(self.dir, "apt-was-run"), encoding="utf-8") as f:
            last = f.read().splitlines()[-1]
        self.assertTrue(last.endswith("install one"), last)
        self.assertIn("--no-install-recommends", last)

    def test_lists_are_renewed_when_they_do_not_serve(self):
        self.write("bin/id", "#!/bin/sh\necho 0\n")
        self.write("bin/apt-get", "#!/bin/sh\necho \"$*\" >>apt-was-run\n"
                   "case $* in *update) touch updated ;; *) [ -e updated ] ;; esac\n")
        done = self.shell('need_packages "$root/log" build && echo installed')
        self.assertTrue(done.stdout.endswith("installed\n"), done.stdout + done.stderr)

    def test_installing_fails(self):
        self.write("bin/id", "#!/bin/sh\necho 0\n")
        self.write("bin/apt-get", "#!/bin/sh\necho E: no network\nexit 100\n")
        done = self.shell('need_packages "$root/log" build || echo "code $?"')
        self.assertIn("E: no network", done.stdout)
        self.assertTrue(done.stdout.endswith("code 100\n"), done.stdout)

    def test_nothing_to_install(self):
        self.write("tools/packages.txt", "build two\n")
        done = self.shell('need_packages "$root/log" build && echo went on')
        self.assertEqual((done.returncode, done.stdout), (0, "went on\n"))

    def test_step(self):
        done = self.shell('work() { echo words; return 3; }\n'
                          'step "$root/log" "a title" work || echo "code $?"\n'
                          'step "$root/log" "another" true && echo fine\n')
        self.assertIn("==> a title\n", done.stdout)
        self.assertIn("    | words\n", done.stdout)
        self.assertIn("code 3\n", done.stdout)
        self.assertRegex(done.stdout, r"(?s)==> another\n    done in \d+ s\nfine\n$")

    def test_step_ends_with_its_script(self):
        """Whatever the step started is gone when the script has ended."""
        self.write("bin/child", "#!/bin/sh\necho $$ >child-pid\nsleep 1000\n")
        done = self.shell('work() { child & wait; }\n'
                          '( while ! [ -s child-pid ]; do sleep 0.05; done; kill -TERM $$ ) &\n'
                          'step "$root/log" "a title" work\n')
        self.assertEqual(done.returncode, 143)
        with open(os.path.join(self.dir, "child-pid"), encoding="utf-8") as f:
            pid = int(f.read())
        # It was told to end; that it has is seen when it no longer runs its program.
        for _ in range(200):
            try:
                with open(f"/proc/{pid}/stat", encoding="utf-8") as f:
                    if re.search(r"\) Z ", f.read()):
                        return
            except OSError:
                return
            run("sleep", "0.05")
        self.fail("the step's child still runs")


def load_tally():
    loader = importlib.machinery.SourceFileLoader("tally", os.path.join(ROOT, "tools/tally"))
    spec = importlib.util.spec_from_loader("tally", loader)
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


class Tally(unittest.TestCase):
    def count(self, result, stdout="", stderr=""):
        entry = {"name": "dray:unit / x", "result": result, "stdout": stdout, "stderr": stderr}
        return load_tally().cases(entry)

    def test_cmocka(self):
        good = "[ RUN      ] a\n[       OK ] a\n[ RUN      ] b\n[       OK ] b\n"
        self.assertEqual(self.count("OK", stderr=good), (2, []))
        bad = good + ("[ RUN      ] c\n[  FAILED  ] c\n[  PASSED  ] 2 test(s).\n"
                      "[  FAILED  ] 1 test(s), listed below:\n[  FAILED  ] c\n")
        self.assertEqual(self.count("FAIL", stderr=bad), (2, ["c"]))

    def test_crash_after_some(self):
        text = "[ RUN      ] a\n[       OK ] a\n[ RUN      ] b\n"
        self.assertEqual(self.count("FAIL", stderr=text), (1, ["fail"]))
        self.assertEqual(self.count("TIMEOUT", stderr=text), (1, ["timeout"]))

    def test_unittest(self):
        self.assertEqual(self.count("OK", stderr="Ran 20 tests in 2.805s\n\nOK\n"), (20, []))
        text = "FAIL: test_x (T)\nERROR: test_y (T)\nRan 5 tests in 1.0s\n"
        self.assertEqual(self.count("FAIL", stderr=text), (3, ["test_x", "test_y"]))

    def test_plain(self):
        self.assertEqual(self.count("OK", stdout="ok   a\nok   b c\n"), (2, []))
        self.assertEqual(self.count("FAIL", stdout="ok   a\nFAIL b\n"), (1, ["b"]))

    def test_counted(self):
        self.assertEqual(self.count("OK", stdout="ok a (B01)\n7 passed, 0 failed\n"), (7, []))
        self.assertEqual(self.count("OK", stdout="54 cases, 0 failed\n"), (54, []))
        text = "FAILED: dray x\nok b\n54 cases, 2 failed\n"
        self.assertEqual(self.count("FAIL", stdout=text), (52, ["case 2", "dray x"]))

    def test_silent(self):
        self.assertEqual(self.count("OK"), (1, []))
        self.assertEqual(self.count("FAIL"), (0, ["fail"]))

    def test_log(self):
        with tempfile.NamedTemporaryFile("w", suffix=".json", delete=False) as f:
            f.write('{"name": "dray:unit / one", "result": "OK", "stdout": ""}\n'
                    '{"name": "dray:unit / two", "result": "FAIL", "stdout": "", "stderr": ""}\n'
                    '{"name": "three", "result": "SKIP", "stdout": ""}\n')
        self.addCleanup(os.unlink, f.name)
        done = run(os.path.join(ROOT, "tools/tally"), f.name)
        self.assertEqual(done.stdout, "1 1\nfailed two fail\nskipped three\n")


if __name__ == "__main__":
    ROOT = sys.argv.pop(1)
    sys.dont_write_bytecode = True
    unittest.main(verbosity=1)
