# SPDX-License-Identifier: Apache-2.0
"""Three replicas with all that they may share, a Redis, each other's fills and a bucket: a blob comes from whichever has it,
and from the upstream when none of them gives it."""
import pytest

from rig import images
from rig.process import wait_for
from rig.redis import Redis
from rig.s3faults import Fault, S3Faults

NAME = "lib/app"

pytestmark = pytest.mark.skipif(Redis.missing(), reason="not installed: redis-server")


@pytest.fixture
def s3():
    s = S3Faults()
    yield s
    s.close()


@pytest.fixture
def replica(make, up, redis, s3):
    def start():
        p = make({"up.test": up.url}, ["--upstream-connect-timeout", "5s", "--state", redis.url, "--peer-address", "http://127.0.0.1",
                                       "--blobs", f"s3://data/cache?path-style=1&endpoint={s3.url}"], env=s3.environment())
        assert p.manifest(NAME, "1").status == 200
        return p
    return start


def came_from(p, source):
    return p.metrics().get(f'rac_fill_sources_total{{source="{source}"}}', 0)


def has_used_the_bucket(p):
    m = p.metrics()
    return sum(m.get(f'rac_s3_{name}', 0) for name in ('lookups_total{result="hit"}', 'uploads_total{result="there"}',
                                                       'uploads_total{result="sent"}'))


def whole(p, digest):
    reply = p.blob(NAME, digest, timeout=120)
    assert (reply.status, reply.broken, reply.digest) == (200, "", digest)


def test_a_blob_comes_from_whoever_has_it(replica, up, s3):
    image = up.tag(NAME, "1", images.random_image("sources", [300_000, 300_000]))
    one, two = image.layers
    s3.rule("PUT *", Fault(status=503, code="SlowDown"))
    a, b = replica(), replica()
    whole(a, one)
    whole(a, two)
    whole(b, one)
    assert came_from(a, "upstream") == 2 and came_from(b, "peer") == 1, "the bucket has nothing yet"

    s3.rules.clear()
    wait_for(lambda: all(any(d[7:] in key for key in s3.objects["data"]) for d in image.layers), 120, "layers in the bucket")
    c = replica()
    wait_for(lambda: has_used_the_bucket(c), 60, "credentials")
    a.kill()
    whole(c, one)
    assert came_from(c, "s3") == 1 and up.count(f"GET */blobs/{one}") == 1

    s3.rule("GET *", Fault(status=503, code="SlowDown"))
    whole(c, two)
    assert came_from(c, "upstream") == 1 and up.count(f"GET */blobs/{two}") == 2, "its lease names who is dead"
