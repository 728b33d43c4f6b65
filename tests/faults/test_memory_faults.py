# SPDX-License-Identifier: Apache-2.0
"""The n-th allocation fails. What is decided (docs/decisions/0016): the process says so and ends, or, where a library can
tell its caller, a request fails; after a new start everything is whole. A wrong byte is never an outcome."""
import collections
import os
import re
import signal
import time

import pytest

from rig import faults, process, proxy
from rig.redis import Redis
import tour as walk

# abort() of ours and of h2o's; 1: at the start, by err.
ENDS = (-signal.SIGABRT, 1)
SAYS = re.compile("out of memory|[Oo]ut of memory|no memory|Cannot allocate|failed to allocate|no more memory")
# What getaddrinfo() and pthread_create() call it; they are asked while it starts.
START_SAYS = re.compile(SAYS.pattern + "|Memory allocation failure|(no thread|cannot start worker) .*Resource temporarily unavailable")
# Of libh2o 2.2.5, which makes its tables of file types and of open files, neither of use to us, without looking whether
# there was memory for them: the second is missed when a worker ends.
SILENT = ("malloc h2o_mimemap_create", "malloc h2o_filecache_create")
# Calls of a walk, by their number; with --long each of them.
SAMPLE = (3, 40, 200, 700, 1500, 3000)
# Of a start.
START_SAMPLE = (1, 200, 1000)
# Walks differ by some calls: it is over when so many in a row had no n-th.
QUIET = 20
KEPT = 8  # images that the upstream still has: thousands of them would be gigabytes


@pytest.fixture(scope="module")
def toured(scratch):
    t = walk.Tour(scratch, memory=True, name="m")
    t.px.fails_quietly = True
    t.start()
    yield t
    t.close()


def once(t, n):
    """Returns "ended", "lived" (a request failed, or none), or "" if not so many were asked for."""
    what = t.image()
    t.up.remove(f"lib/i{int(what[0][len('lib/i'):]) - KEPT}")
    begun = len(t.px.log())
    t.faults.arm("malloc", "ENOMEM", "", n, 1)
    try:
        seen = t.walk(what)
    except walk.Wrong as e:
        raise walk.Wrong(f"allocation {n}, in {t.faults.where()}: {e}") from None
    hit = t.faults.hit()
    t.faults.clear()
    if hit and seen.lost:  # it may be gone: who asked was told nothing, as after a crash
        process.wait_for(lambda: not t.px.daemon.running() or alive(t), 20, "an end, or an answer")
    outcome = "lived" if hit else ""
    try:
        if t.px.daemon.running():
            t.walk_right(what)
    except walk.Wrong as e:  # a thread may say so, and end it, when the last answer was given
        if not hit or e.args[0].count("lost=0"):
            raise
        process.wait_for(lambda: not t.px.daemon.running(), 20, f"allocation {n}: connections are lost, and no end")
    if not t.px.daemon.running():
        outcome = "ended"
        check_end(t, n, begun=begun)
        t.px.start()
        t.walk_right(what)
    t.check_tokens()
    t.check_store()
    return outcome


def check_end(t, n, says=SAYS, begun=0):
    """begun: how long the log was before. Its end is not enough: the thread that writes it may go on while another dies."""
    code = t.px.daemon.process.returncode
    log = t.px.log()[begun:]
    # A sanitizer has a word for it.
    if t.faults.last() in SILENT and (code == -signal.SIGSEGV or "AddressSanitizer:DEADLYSIGNAL" in log):
        return
    assert code in ENDS and says.search(log), \
        f"allocation {n}, in {t.faults.where()}: ended with {code}:\n{log[-3000:]}"
    t.px.check_log()


def alive(t):
    try:
        return t.px.get("/healthz").status == 200
    except OSError:
        return False


def start_once(t, n, function=""):
    """The same of a start: it ends and says so, or works; and the next one, which may end at once too, goes on from there.
    function: n is of those that this one of a library asks for."""
    t.faults.arm("malloc", "ENOMEM", function, n, 1)
    try:
        t.px.start()
    except AssertionError:
        assert not t.px.daemon.running(), f"allocation {n} of a start, in {t.faults.where()}: it neither starts nor ends"
    reached = bool(t.faults.hit())
    t.faults.clear()
    assert not [f for f in os.listdir(t.px.data) if "corrupt" in f], \
        f"allocation {n} of a start, in {t.faults.where()}: {t.px.log()[-3000:]}"
    if not t.px.daemon.running():
        check_end(t, n, START_SAYS)
        return "ended"
    try:
        t.px.stop()
    except AssertionError:  # a thread of its own may come to it once it is ready
        if not reached:
            raise
        check_end(t, n, START_SAYS)
        return "ended"
    return "lived" if reached else ""


def sweep(one, what):
    """Each n, from the first to the last; says how many there were, and what became of them."""
    begin, n, quiet, outcomes = time.monotonic(), 0, 0, collections.Counter()
    while quiet < QUIET:
        n += 1
        outcome = one(n)
        quiet = 0 if outcome else quiet + 1
        outcomes[outcome] += 1
    print(f"{n - QUIET} allocations of {what} in turn: {outcomes['ended']} ended it, {outcomes['lived']} did not, "
          f"{time.monotonic() - begin:.0f} s")


@pytest.mark.parametrize("n", SAMPLE)
def test_an_allocation_fails(toured, n):
    assert once(toured, n)


@pytest.mark.long
def test_each_allocation_fails(toured):
    sweep(lambda n: once(toured, n), "a walk")


@pytest.fixture
def stopped(toured):
    toured.px.stop()
    yield toured
    toured.faults.clear()
    if not toured.px.daemon.running():
        toured.px.start()


@pytest.mark.parametrize("n", START_SAMPLE)
def test_an_allocation_of_a_start_fails(stopped, n):
    assert start_once(stopped, n)
    stopped.px.start()
    stopped.walk_right(stopped.image())
    stopped.check_tokens()
    stopped.px.stop()


def test_the_table_that_h2o_does_not_look_at(stopped):
    assert start_once(stopped, 2, "h2o_filecache_create") == "ended"
    stopped.px.start()
    stopped.walk_right(stopped.image())
    stopped.px.stop()


@pytest.mark.parametrize("function", ["inflateInit2_", "inflate"])
def test_a_layer_that_there_is_no_memory_to_check_is_not_called_damaged(scratch, function):
    f = faults.Faults(scratch, memory=True)
    big = proxy.Layer(scratch, {"big": "zlib keeps what it unpacked: it did not fit into one piece\n" * 3000})
    px = proxy.Proxy(scratch, {}, ["--workers", "1"], env=f.env, inject=big.path, start=False)
    px.fails_quietly = True
    f.arm("malloc", "ENOMEM", function, 1, 1)
    with pytest.raises(AssertionError):
        px.start()
    f.clear()
    assert f.last() == f"malloc {function}"
    assert px.daemon.process.returncode == -signal.SIGABRT and SAYS.search(px.log()), px.log()[-2000:]
    px.close()


@pytest.mark.skipif(Redis.missing(), reason="not installed: redis-server")
@pytest.mark.parametrize("function,most", [
    ("redisAsyncConnectUnix", 1), ("redisFormatCommandArgv", 1), ("redisAsyncCommandArgv", 3), ("__redisAppendCommand", 1)])
def test_a_command_that_there_is_no_memory_for_is_not_taken_for_another(scratch, redis, function, most):
    """Half of a command, its bytes or whom the reply is for, would leave each reply to the command after it."""
    f = faults.Faults(scratch, memory=True)
    px = proxy.Proxy(scratch, {}, ["--workers", "1", "--state", redis.url], env=f.env, start=False)
    px.fails_quietly = True
    for n in range(1, most + 1):
        f.arm("malloc", "ENOMEM", function, n, 1)
        with pytest.raises(AssertionError):
            px.start()
            px.stop()
        assert f.hit() == 1
        f.clear()
        assert px.daemon.process.returncode == -signal.SIGABRT and SAYS.search(px.log()), (n, f.where(), px.log()[-2000:])
    px.close()


@pytest.mark.long
def test_each_allocation_of_a_start_fails(stopped):
    def one(n):
        outcome = start_once(stopped, n)
        if n % 100 == 0:
            stopped.px.start()
            stopped.walk_right(stopped.image())
            stopped.check_tokens()
            stopped.px.stop()
        return outcome
    stopped.px.start()
    for _ in range(40):  # a state of some pages
        stopped.walk_right(stopped.image())
    stopped.px.stop()
    sweep(one, "a start")
