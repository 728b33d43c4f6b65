# SPDX-License-Identifier: Apache-2.0
"""What tests/faults/soak calls flat: noise and sawteeth are, a leak is not, however small beside them."""
import random

import pytest

from faults import soak_flat

MIB = soak_flat.MIB


def series(name, value, seconds=600):
    s = soak_flat.Series("proxy")
    for t in range(seconds):
        s.add(t, {name: value(t)})
    return s


def verdict(s):
    return soak_flat.table([s], 150, {})[1]


def noisy(rng, leak=0.0):
    return lambda t: 30 * MIB + leak * t + rng.uniform(0, 4 * MIB) + (20 * MIB if rng.random() < 0.03 else 0)


@pytest.mark.parametrize("seed", range(5))
def test_noise_is_flat_and_a_leak_in_it_is_not(seed):
    rng = random.Random(seed)
    assert not verdict(series("resident", noisy(rng)))
    assert verdict(series("resident", noisy(rng, 20_000)))


def test_what_is_given_back_again_and_again_is_flat():
    assert not verdict(series("records.db", lambda t: 5 * MIB + 30_000 * (t % 60)))
    assert verdict(series("records.db", lambda t: 5 * MIB + 30_000 * (t % 60) + 4_000 * t))


def test_one_descriptor_in_ten_seconds_is_found():
    rng = random.Random(1)
    assert not verdict(series("descriptors", lambda t: 70 + rng.randrange(-10, 10)))
    assert verdict(series("descriptors", lambda t: 70 + rng.randrange(-10, 10) + t // 10))
    assert verdict(series("threads", lambda t: 19 + (t > 300)))


def test_the_warm_up_does_not_count():
    assert not verdict(series("state.db", lambda t: min(t, 100) * MIB))


def test_ten_times_as_long_finds_a_tenth():
    assert not verdict(series("resident", lambda t: 30 * MIB + 8_000 * t))
    assert verdict(series("resident", lambda t: 30 * MIB + 8_000 * t, 6000))
