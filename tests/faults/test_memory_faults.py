# SPDX-License-Identifier: Apache-2.0
"""The n-th allocation fails. What is decided (docs/decisions/0016): the process says so and ends, or, where a library can
tell its caller, a request fails; after a new start everything is whole. A wrong byte is never an outcome."""
import re
import signal

import pytest

from rig import process
import tour as walk

# abort() of ours and of h2o's; 1: at the start, by err.
ENDS = (-signal.SIGABRT, 1)
SAYS = re.compile("out of memory|[Oo]ut of memory|no memory|Cannot allocate|failed to allocate|no more memory")
# Calls of a walk, by their number; with --long each tenth of the first 3,000, then each hundredth.
SAMPLE = (3, 40, 200, 700, 1500, 3000)


@pytest.fixture(scope="module")
def toured(scratch):
    t = walk.Tour(scratch, memory=True, name="m")
    t.px.fails_quietly = True
    t.start()
    yield t
    t.close()


def once(t, n):
    """Returns whether that many were asked for at all."""
    what = t.image()
    t.faults.arm("malloc", "ENOMEM", "", n, 1)
    try:
        seen = t.walk(what)
    except walk.Wrong as e:
        raise walk.Wrong(f"allocation {n}, in {t.faults.where()}: {e}") from None
    hit = t.faults.hit()
    t.faults.clear()
    if hit and seen.lost:  # it may be gone: who asked was told nothing, as after a crash
        process.wait_for(lambda: not t.px.daemon.running() or alive(t), 20, "an end, or an answer")
    if not t.px.daemon.running():
        code = t.px.daemon.process.returncode
        log = t.px.log()
        assert code in ENDS and SAYS.search(log[-4000:]), \
            f"allocation {n}, in {t.faults.where()}: ended with {code}:\\n{log[-3000:]}"
        t.px.check_log()
        t.px.start()
    t.walk_right(what)
    t.check_tokens()
    t.check_store()
    return hit


def alive(t):
    try:
        return t.px.get("/healthz").status == 200
    except OSError:
        return False


@pytest.mark.parametrize("n", SAMPLE)
def test_an_allocation_fails(toured, n):
    assert once(toured, n)


@pytest.mark.long
def test_each_allocation_fails(toured):
    n, ended = 1, 0
    while once(toured, n):
        ended += 1
        n += 10 if n < 3000 else 100
    print(f"{ended} allocations of {n}")
