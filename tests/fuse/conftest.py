# SPDX-License-Identifier: Apache-2.0
"""Mounts of rac-fuse on a radosgw of the session, and a box for rac-init. An operation on a mount that hangs would hang the
test for ever, so a watchdog kills the driver then: what waits sees ENOTCONN, and the test fails."""
import os
import threading

import pytest

from rig.box import Box
from rig.mount import Mount
from rig.s3faults import S3Faults

WATCHDOG_S = 240


@pytest.fixture
def mounts(scratch, request):
    """mounts(environment, ...) is a Mount that is unmounted and checked at the end of the test."""
    made = []

    def start(environment, *args, **kwargs):
        made.append(Mount(scratch, environment, *args, **kwargs))
        assert made[-1].ready == b"1", made[-1].log()
        return made[-1]

    def hung():
        for m in made:
            m.kill()
    limit = WATCHDOG_S * (10 if request.node.get_closest_marker("long") else 1)
    watchdog = threading.Timer(limit, hung)
    watchdog.daemon = True
    watchdog.start()
    try:
        yield start
    finally:
        watchdog.cancel()
        problems = []
        for m in made:
            try:
                if m.daemon.running():
                    assert m.stop() == 0, m.log()
            except AssertionError as e:
                problems.append(str(e))
        assert not problems, "\n".join(problems)


@pytest.fixture
def box(scratch):
    """Where rac-init is started."""
    b = Box(scratch)
    yield b
    b.close()


@pytest.fixture
def mount(mounts, gateway, bucket):
    """A mount with the test's bucket, whose files are below mount.path(bucket.name)."""
    return mounts(gateway.environment(), buckets=[bucket.name])


@pytest.fixture
def here(mount, bucket):
    """The bucket as a folder."""
    return mount.path(bucket.name)


@pytest.fixture
def two(mounts, gateway, bucket):
    """The bucket as a folder of two mounts."""
    return [os.path.join(mounts(gateway.environment(), buckets=[bucket.name]).root, bucket.name) for _ in range(2)]


# -- on a server that breaks where it is told to ------------------------------------------------------------
@pytest.fixture
def s3():
    s = S3Faults()
    yield s
    s.close()


@pytest.fixture
def start(mounts, s3):
    """start(args, **environment) is the bucket as a folder of a mount, and the mount."""
    def go(*args, **env):
        m = mounts(s3.environment(**env), args, buckets=["data"])
        return m.path("data"), m
    return go


@pytest.fixture
def folder(start):
    """The same without the mount."""
    return start()[0]
