# SPDX-License-Identifier: Apache-2.0
"""What tests/faults/soak calls flat: noise and sawteeth are, a leak is not, however small beside them."""
import os
import random
import subprocess
import sys

import pytest

from faults import soak_flat
from rig import faults

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


def of_requests(heap, seconds=600, a_second=50):
    s = series("heap", heap, seconds)
    for t in range(seconds):
        s.add(t, {soak_flat.REQUESTS: a_second * t})
    return s


@pytest.mark.parametrize("seed", range(5))
def test_a_hundred_bytes_a_request_are_found_in_ten_minutes_and_what_comes_and_goes_is_not(seed):
    rng = random.Random(seed)

    def busy(leak):
        return lambda t: 24 * MIB + rng.uniform(0, 2 * MIB) + (8 * MIB if rng.random() < 0.03 else 0) + leak * 50 * t
    s = of_requests(busy(0))
    assert not verdict(s)
    s = of_requests(busy(100))
    assert ["heap" in w for w in verdict(s)] == [True]
    said = next(soak_flat.leaks([s], 150))
    assert said.startswith("proxy: the heap grew by ") and 80 < float(said.split()[5]) < 130


COUNTED = """
import ctypes, struct, sys
libc = ctypes.CDLL(None)
for f in (libc.malloc, libc.calloc, libc.realloc, libc.aligned_alloc):
    f.restype = ctypes.c_void_p
S = ctypes.c_size_t
def now():
    with open(sys.argv[1], "rb") as f:
        return struct.unpack("qq", f.read(16))
def change(do):
    before = now()
    made = do()
    return [b - a for a, b in zip(before, now())], made
kinds = [lambda: libc.malloc(S(5000)), lambda: libc.calloc(S(5), S(1000)), lambda: libc.realloc(None, S(5000)), lambda: libc.aligned_alloc(S(64), S(5056))]
for kind in kinds:
    grown, made = change(lambda: [kind() for _ in range(1000)])
    assert all(made)
    grown_more, moved = change(lambda: [libc.realloc(ctypes.c_void_p(p), S(50000)) for p in made])
    gone, _ = change(lambda: [libc.free(ctypes.c_void_p(p)) for p in moved])
    print(*grown, *grown_more, *gone)
"""


def test_the_heap_is_counted_to_the_byte(scratch):
    """All that hands memory out is met, and all that takes it back."""
    path = os.path.join(scratch.folder("heap"), "count")
    done = subprocess.run([sys.executable, "-c", COUNTED, path], check=True, text=True, stdout=subprocess.PIPE,
                          env={**os.environ, "LD_PRELOAD": faults.library("heap_count"), "HEAP_COUNT": path})
    lines = [[int(n) for n in line.split()] for line in done.stdout.splitlines()]
    assert len(lines) == 4
    for grown, blocks, more, same, gone, freed in lines:
        # Up to a few objects of Python's own.
        assert 5_000_000 <= grown < 5_300_000 and abs(blocks - 1000) < 200
        assert 44_500_000 < more < 45_500_000 and abs(same) < 200
        assert -51_000_000 < gone < -49_500_000 and abs(freed + 1000) < 200
