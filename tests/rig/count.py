#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Adds up the stages of test.sh: count.py FOLDER [-k EXPR].

A stage is NAME.status (its exit code) with NAME.xml (JUnit, from ctest and pytest) or NAME.log, whose last line is
"N passed, N failed[, N skipped]". Prints the skips with their reasons, the failures, and the sum; 1 if anything failed,
or if a stage ran nothing. With -k, some stage must have run something, not every.
"""
import os
import re
import sys
import xml.etree.ElementTree as tree


def from_xml(path):
    """(passed, [failures], [(skipped, why)]); ValueError if it is no result."""
    passed, failed, skipped = 0, [], []
    try:
        cases = list(tree.parse(path).getroot().iter("testcase"))
    except (OSError, tree.ParseError) as e:
        raise ValueError(str(e)) from None
    outcome = {}
    for case in cases:
        name = "::".join(filter(None, [case.get("classname"), case.get("name")]))
        skip = case.find("skipped")
        if case.find("failure") is not None or case.find("error") is not None or case.get("status") == "fail":
            outcome[name] = "failed"  # a test and its teardown are two entries of one name
        elif skip is not None or case.get("status") in ("notrun", "disabled"):
            outcome.setdefault(name, (skip.get("message") if skip is not None else "") or "no reason given")
        else:
            outcome.setdefault(name, "passed")
    for name, what in outcome.items():
        if what == "failed":
            failed.append(name)
        elif what == "passed":
            passed += 1
        else:
            skipped.append((name, what))
    return passed, failed, skipped


def from_log(path, stage):
    with open(path, encoding="utf-8", errors="replace") as f:
        lines = f.read().strip().splitlines()
    found = re.fullmatch(r"(\d+) passed, (\d+) failed(?:, (\d+) skipped)?", lines[-1] if lines else "")
    if not found:
        raise ValueError("its last line counts nothing: " + (lines[-1] if lines else "no output"))
    failures = [line.strip() for line in lines if re.match(r"FAIL(ED)?\b", line)]
    failures += [f"{stage}: a failure"] * (int(found.group(2)) - len(failures))
    return int(found.group(1)), failures, [(line.strip(), "") for line in lines if line.startswith("skip")]


def main():
    folder, some = sys.argv[1], len(sys.argv) > 2
    passed, failed, skipped = 0, [], []
    stages = sorted(name[:-7] for name in os.listdir(folder) if name.endswith(".status"))
    for stage in stages:
        path = os.path.join(folder, stage)
        with open(path + ".status", encoding="ascii") as f:
            status = int(f.read())
        try:
            one = from_xml(path + ".xml") if os.path.exists(path + ".xml") else from_log(path + ".log", stage)
        except ValueError as e:
            one = 0, [f"{stage}: {e}"], []
        if not some and one[0] + len(one[1]) == 0:
            one[1].append(f"{stage}: no test was run")
        elif status != 0 and not one[1] and not (some and status == 5):
            one[1].append(f"{stage}: ended with {status}")
        passed += one[0]
        failed += one[1]
        skipped += one[2]
    if not stages or (some and passed + len(failed) == 0):
        failed.append("no test was run")
    for name, why in skipped:
        print(f"skipped {name}" + (f": {why}" if why else ""))
    for name in failed:
        print(f"failed {name}")
    print(f"{passed} passed, {len(failed)} failed, {len(skipped)} skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
