# SPDX-License-Identifier: Apache-2.0
"""What fails while rac-proxy starts: it says so and ends with 1, or starts and works. The next start finds all in order."""
import os
import re
import signal

import pytest

from rig import faults, images, proxy, upstream
from rig.process import wait_for

CASES = [line.split() for line in """
    pthread_create EAGAIN
    eventfd,timerfd EMFILE
    epoll EMFILE
    socket EMFILE
    open,openat EMFILE
    open,openat EROFS
    write,pwrite ENOSPC
    write,pwrite EIO
    read,pread EIO
    mmap ENOMEM
    mkdir EACCES
    fsync,fdatasync EIO
    ftruncate EIO
    statvfs EIO
    stat,fstat,fstatat EIO
""".strip().splitlines()]
ON_FILES = {"open", "write", "read", "mmap", "mkdir", "fsync", "ftruncate", "statvfs", "stat"}
SAYS = re.compile(r"cannot start|rac-proxy: |msg=\"cannot start\"|failed to|unable to")


class Start:
    def __init__(self, scratch, up, layer, workers=1):
        self.faults = faults.Faults(scratch)
        self.px = proxy.Proxy(scratch, {"up.test": up.url}, ["--workers", str(workers)], env=self.faults.env, inject=layer.path,
                              start=False)
        self.px.fails_quietly = True
        up.tag("lib/app", "1", images.tiny())
        self.px.start()
        self.image = self.px.manifest("lib/app", "1").digest
        self.px.stop()

    def once(self, calls, error, first, times, file=""):
        """Returns how many calls failed. It starts, or ends with 1 and a reason."""
        data = "" if calls.split(",")[0] not in ON_FILES else self.px.data + file
        self.faults.arm(calls.replace(",", " "), error, data, first, times)
        try:
            self.px.start()
        except AssertionError:
            assert not self.px.daemon.running(), "it neither starts nor ends"
        try:
            if self.px.daemon.running():
                # It may serve less than all: what it says is right.
                reply = self.px.manifest("lib/app", "1")
                assert reply.status in (200, 500, 502, 503), (reply.status, reply.body)
                assert reply.status != 200 or reply.digest == self.image
                self.faults.clear()
                self.px.stop()
            else:
                code = self.px.daemon.process.returncode
                h2o = "h2o_evloop_create: failed" in self.px.log()  # says it, and calls abort()
                assert code == (-signal.SIGABRT if h2o else 1), f"ended with {code}: {self.px.log()[-2000:]}"
                assert SAYS.search(self.px.log()), self.px.log()[-2000:]
                self.px.check_log()
        except AssertionError as e:
            raise AssertionError(f"{calls} {error} first={first} times={times}: {self.faults.last()} in "
                                 f"{self.faults.where()}: {e}") from None
        hit = self.faults.hit()
        self.faults.clear()
        return hit

    def sound(self):
        self.px.start()
        assert self.px.manifest("lib/app", self.image).digest == self.image
        wait_for(lambda: self.px.get("/readyz").status == 200, 20, "ready")
        self.px.stop()


@pytest.fixture(scope="module")
def begun(scratch, layer):
    up = upstream.Upstream()
    s = Start(scratch, up, layer)
    yield s
    s.faults.clear()
    s.px.close()
    up.close()


@pytest.mark.parametrize("calls,error", CASES)
def test_a_start_without(begun, calls, error):
    assert begun.once(calls, error, 1, faults.FOREVER)


def test_and_the_next_start_is_sound(begun):
    begun.once("write,pwrite", "ENOSPC", 1, faults.FOREVER)
    begun.sound()


def test_a_read_that_fails_is_no_damage(begun):
    """A page of the state that cannot be had is not one that is wrong: what is known must not be given up for it."""
    n, ended = 1, 0
    while begun.once("read,pread", "EIO", n, 1, "/state.db"):
        ended += begun.px.daemon.process.returncode == 1
        assert not [f for f in os.listdir(begun.px.data) if "corrupt" in f], f"read {n}:\n{begun.px.log()[-2000:]}"
        n += 1
    assert ended > 5, "no page was asked for"
    begun.sound()


def test_workers_that_run_are_ended_before_what_they_stand_on(scratch, layer, up):
    """The first worker of three runs, or two do, when there is no thread for the next."""
    s = Start(scratch, up, layer, workers=3)
    try:
        s.faults.arm("pthread_create", "EAGAIN", times=0)
        s.px.start()
        threads = s.faults.seen()
        s.px.stop()
        for worker, n in ((1, threads - 1), (2, threads)):
            assert s.once("pthread_create", "EAGAIN", n, 1) == 1
            assert s.px.daemon.process.returncode == 1
            assert f"cannot start worker {worker}:" in s.px.log()
        s.sound()
    finally:
        s.faults.clear()
        s.px.close()


@pytest.mark.long
@pytest.mark.parametrize("calls,error", CASES)
def test_a_start_on_which_one_call_fails(begun, calls, error):
    n = 1
    while begun.once(calls, error, n, 1):
        n += 1
        if n % 10 == 0:
            begun.sound()
    begun.sound()
    print(f"{calls} {error}: {n - 1} calls in turn")
