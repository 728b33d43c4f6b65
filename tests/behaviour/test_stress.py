# SPDX-License-Identifier: Apache-2.0
"""A short run of tests/faults/stress.py: with a seed of its own each time, which a failure shows."""
import random

from faults import stress


def test_ten_seconds_of_stress(scratch):
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"tests/faults/stress.py --seconds 10 --seed {seed}")
    seen = stress.Stress(scratch, seed, 10).run()
    assert seen[200] > 50, seen
