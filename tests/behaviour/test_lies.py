# SPDX-License-Identifier: Apache-2.0
"""Runs of tests/faults/lies.py: a short one with a seed of its own, and the long ones, whose seeds a failure shows."""
import random

import pytest

from faults import lies


def test_two_hundred_pulls_from_liars(scratch):
    run = lies.Lies(scratch, 1, 200)
    seen = run.run()
    assert seen["whole images"] > 20 and seen[200] > 200, seen
    assert sum(run.lies.values()) > 100, run.lies


@pytest.mark.long
@pytest.mark.parametrize("number", [1, 2])
def test_ten_thousand_pulls_from_liars(scratch, number):
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"tests/faults/lies.py --pulls 10000 --seed {seed}")
    seen = lies.Lies(scratch, seed, 10_000).run()
    assert seen["whole images"] > 2000, seen
