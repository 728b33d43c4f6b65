# SPDX-License-Identifier: Apache-2.0
"""What the runs that follow from a seed share: how their programs begin and end."""
import argparse
import random
import sys

from rig import process


class Wrong(Exception):
    """Something that must never happen."""


def stop(proxies):
    """What was wrong with any of them, as lines."""
    problems = []
    for p in proxies:
        try:
            p.close()
        except AssertionError as e:
            problems.append(str(e))
    return problems


def main(story, work, **options):
    """options: further flags and what argparse is told of each. work(scratch, values) prints what it saw, or fails with
    Wrong. Returns the exit code."""
    parser = argparse.ArgumentParser(description=story.split("\n", maxsplit=1)[0])
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    for name, about in options.items():
        parser.add_argument("--" + name.replace("_", "-"), **about)
    values = parser.parse_args()
    print(f"seed {values.seed}", flush=True)
    scratch = process.Scratch()
    try:
        work(scratch, values)
    except Wrong as e:
        print(f"seed {values.seed}: {e}", file=sys.stderr)
        return 1
    finally:
        left = scratch.close()
        if left:
            print("left behind:", *left, sep="\n", file=sys.stderr)
    return 1 if left else 0


def counted(seen):
    return ", ".join(f"{k}: {v}" for k, v in sorted(seen.items(), key=str))
