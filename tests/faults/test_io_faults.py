# SPDX-License-Identifier: Apache-2.0
"""Each kind of call fails in turn, once and for as long as it lasts, while a proxy does all that it can do (tour.py).

Here a fixed choice of the calls; with --long, each of them: the first, the second, … until a whole walk has not so many.
"""
import pytest

from rig import upstream
from rig.process import wait_for
import tour as walk

DATA, SOCKET, ANY = None, "socket:", ""
HALF = 0  # of what was to be read or written
# What fails; on what; how; which calls of a walk, one after the other (0: each of them, for as long as it lasts).
CASES = [line.split("|") for line in """
    write pwrite          | data   | ENOSPC        | 0 2 6 9 14 21 30 41
    write pwrite          | data   | EIO           | 0 1 4 8 17 25
    write pwrite          | data   | EINTR         | 3 12
    write pwrite          | data   | HALF          | 0 5
    read pread            | data   | EIO           | 0 2 7 15
    read pread            | data   | EINTR         | 4
    read pread            | data   | HALF          | 0
    open openat           | data   | EMFILE        | 0 1 5 11
    open openat           | data   | EIO           | 0 2 8
    open openat           | data   | EROFS         | 0
    fsync fdatasync       | data   | EIO           | 0 1 6
    rename                | data   | ENOSPC        | 0 2
    unlink                | data   | EIO           | 0
    mkdir                 | data   | ENOSPC        | 0
    sendfile              | data   | EIO           | 0 3
    sendfile              | data   | HALF          | 0
    opendir               | data   | EMFILE        | 0
    stat fstat fstatat    | data   | EIO           | 0 9
    statvfs               | data   | EIO           | 0
    close                 | data   | EIO           | 0
    socket                | any    | EMFILE        | 0 1
    connect               | socket | ECONNREFUSED  | 0
    connect               | socket | EADDRNOTAVAIL | 0
    accept4               | any    | EMFILE        | 2
    recv                  | socket | ECONNRESET    | 0 4
    recv                  | socket | EINTR         | 2
    send                  | socket | EPIPE         | 0
    send                  | socket | HALF          | 0
    write writev          | socket | EPIPE         | 2
    write writev          | socket | HALF          | 0
    pthread_create        | any    | EAGAIN        | 0
    socketpair pipe       | any    | EMFILE        | 0
""".strip().splitlines()]
CASES = [(calls.strip(), where.strip(), error.strip(), [int(n) for n in which.split()]) for calls, where, error, which in CASES]
# Too few of these to count in every walk, or none at all on some file systems: nothing is expected to fail.
RARE = {"mkdir", "socketpair pipe", "pthread_create", "opendir", "statvfs", "unlink"}


@pytest.fixture(scope="module")
def walked(scratch):
    """One proxy for all cases; a new one if it ended, which is for the case to complain of."""
    made = []

    def get():
        if not made or not made[-1].px.daemon.running():
            made.append(walk.Tour(scratch, name=f"t{len(made)}-").start())
        return made[-1]
    yield get
    for t in made:
        t.close()


def place(tour, where):
    return {"data": tour.px.data, "socket": "socket:", "any": ""}[where]


def run(tour, calls, where, error, n):
    """n = 0: each call."""
    kind = walk.HALF if error == "HALF" else error
    if where != "data":  # else the connections of before are used
        tour.up.rule("*", lambda x: upstream.dataclasses.replace(
            x.proper(), headers={**x.proper().headers, "Connection": "close"}))
    try:
        return tour.case(calls, kind, place(tour, where), n or 1, walk.FOREVER if n == 0 else 1, log=where == "data")
    finally:
        tour.up.clear()


@pytest.mark.parametrize("calls,where,error,which", CASES, ids=[f"{c[0]}-{c[1]}-{c[2]}".replace(" ", "_") for c in CASES])
def test_a_call_that_fails(walked, calls, where, error, which):
    for n in which:
        hit, _, _ = run(walked(), calls, where, error, n)
        assert hit or calls in RARE, f"{calls} {error}: there were less than {n} such calls"


@pytest.mark.long
@pytest.mark.parametrize("calls,where,error,which", CASES, ids=[f"{c[0]}-{c[1]}-{c[2]}".replace(" ", "_") for c in CASES])
def test_each_call_that_can_fail(walked, calls, where, error, which):
    del which
    n, quiet = 0, 0
    while quiet < 3:  # not each walk has as many calls as the one before
        n += 1
        hit, _, _ = run(walked(), calls, where, error, n)
        quiet = 0 if hit else quiet + 1
    print(f"{calls} {error} on {where}: {n - 3} calls in turn")


def test_why_it_is_not_ready_is_said(walked):
    tour = walked()
    for calls, error, match, says in [("pread", "EIO", "/partial/check", b"Input/output error"),
                                      ("write", "ENOSPC", "/partial/check", b"No space left"),
                                      ("pwrite", "EIO", "state.db", b"disk I/O error")]:
        tour.faults.arm(calls, error, match)
        reply = tour.px.get("/readyz")
        seen = tour.faults.seen(), tour.faults.hit()
        tour.faults.clear()
        assert reply.status == 503 and says in reply.body, (calls, match, seen, reply.body)
        assert tour.px.get("/readyz").status == 200


def test_what_the_state_store_failed_to_keep_is_put_there_once_it_can(walked):
    """A full disk for a moment, and an image that was first pulled in it: whoever asks later finds it whole."""
    tour = walked()
    name, image = tour.image()
    tour.faults.arm("write pwrite", "ENOSPC", "state.db")
    assert tour.px.manifest(name, "1").status == 200
    tour.faults.clear()
    assert tour.faults.hit()
    tour.walk_right((name, image))

    name, _ = tour.image()
    tour.faults.arm("write pwrite", "ENOSPC", "state.db")
    target = tour.px.manifest(name, "1").digest
    tour.faults.clear()

    def saved():
        tour.px.manifest(name, "1")
        return tour.px.log().count(f"target={target}") > 1
    wait_for(saved, 30, "the rewritten manifest to be put again", step=0.2)
    assert tour.px.log().count(f'msg="rewritten manifest is not durable" image=up.test/{name} digest={target}') == 1
