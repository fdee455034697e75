# SPDX-License-Identifier: Apache-2.0
"""Prints "passed failed skipped" of one test program: count.py doctest|junit|plain FILE EXIT_CODE.

A program that crashed, was killed or said nothing counts as at least one failed test.
"""

import re
import sys


def doctest(text: str) -> tuple[int, int, int]:
    text = re.sub(r"\x1b\[[0-9;]*m", "", text)
    passed = failed = skipped = 0
    for m in re.finditer(r"\[doctest\] test cases:\s*\d+ \|\s*(\d+) passed \|\s*(\d+) failed \|\s*(\d+) skipped", text):
        passed, failed = passed + int(m[1]), failed + int(m[2])
    # A test that finds at run time that it cannot run here says so on a line of its own, once a test case (tests/support/testing.hpp).
    skips = len(re.findall(r"^SKIPPED: ", text, re.M))
    skipped += min(skips, passed)
    return passed - min(skips, passed), failed, skipped


def junit(path: str) -> tuple[int, int, int]:
    import xml.etree.ElementTree as tree  # not in every minimal Python

    total = failed = skipped = 0
    for suite in tree.parse(path).getroot().iter("testsuite"):
        total += int(suite.get("tests", 0))
        failed += int(suite.get("failures", 0)) + int(suite.get("errors", 0))
        skipped += int(suite.get("skipped", 0))
    return max(0, total - failed - skipped), failed, skipped


def plain(text: str) -> tuple[int, int, int]:
    found = re.findall(r"^(\d+) passed, (\d+) failed(?:, (\d+) skipped)?$", text, re.M)
    if not found:
        return 0, 0, 0
    p, f, s = found[-1]
    return int(p), int(f), int(s or 0)


def main() -> None:
    kind, path, code = sys.argv[1], sys.argv[2], int(sys.argv[3])
    try:
        if kind == "junit":
            p, f, s = junit(path)
        else:
            with open(path, encoding="utf-8", errors="replace") as file:
                text = file.read()
            p, f, s = doctest(text) if kind == "doctest" else plain(text)
    except (OSError, SyntaxError, ValueError):  # ParseError of XML is a SyntaxError
        p, f, s = 0, 0, 0
    if f == 0 and (code != 0 or p + s == 0):
        f = 1
    print(p, f, s)


main()
