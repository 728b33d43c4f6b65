# SPDX-License-Identifier: Apache-2.0
"""Real engines and three replicas behind a balancer: one of them dies, and all of them are replaced, one after the other."""
import concurrent.futures
import os

import pytest

from rig import images, proxy, token_api, wire
from rig.cluster import Cluster
from rig.redis import Redis

pytestmark = pytest.mark.skipif(Redis.missing(), reason="not installed: redis-server")
FOO = "bar of the token\n"


@pytest.fixture
def cluster(scratch, store, layer):
    c = Cluster(scratch, {"store.test": store.url}, ["--tokens-rate", "0"], inject=layer.path)
    yield c
    c.close()


@pytest.fixture(scope="module")
def foo(scratch):
    return proxy.Layer(scratch, {"foo.txt": FOO})


def test_a_token_outlives_who_made_it(cluster, docker, podman, containerd, foo):
    """Made at A, which is killed at once: B and C serve it, though neither has heard of the image."""
    for engine in (docker, podman, containerd):
        engine.forget()
    config = {"layers": [token_api.data_layer(foo)]}
    made = token_api.token(cluster.replicas[0], "store.test/lib/busybox", config)
    cluster.kill(0)
    for p, engines in ((cluster.replicas[1], [docker, containerd]), (cluster.replicas[2], [podman])):
        for engine in engines:
            image = made.json["targetImage"].replace(made.host, p.address)
            engine.pull(image)
            assert made.target in engine.digest(image)
            assert engine.run(image, "cat", "/foo.txt") == FOO


@pytest.mark.parametrize("pulls", [32, pytest.param(200, marks=pytest.mark.long)])
def test_a_rolling_restart_fails_no_pull(cluster, store, docker, skopeo, layer, pulls):
    """Each replica gets SIGTERM and has a successor, while docker and skopeo pull what nobody has pulled before."""
    built = [images.random_image(f"rolling-{pulls}-{n}", [300_000, 20_000]) for n in range(pulls)]
    for n, image in enumerate(built):
        store.push(f"roll/{pulls}", str(n), image)
    docker.forget()

    def one(n):
        reference = f"{cluster.address}/roll/{pulls}:{n}"
        announced = None
        if n % 2:
            docker.pull(reference)
            announced = next(iter(docker.digest(reference)))
        else:
            folder = skopeo.copy(reference)
            manifest = images.read(os.path.join(folder, "manifest.json"))
            announced = wire.sha256(manifest)
            listed = wire.Reply(200, {}, manifest).json["layers"]
            assert [d["digest"] for d in listed] == [*built[n].layers, layer.gzip_digest]
            for d in listed:
                assert wire.sha256(images.read(os.path.join(folder, d["digest"][7:]))) == d["digest"]
        return announced

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        futures = [pool.submit(one, n) for n in range(pulls)]
        for i in range(3):
            # So that each restart meets some that are under way.
            concurrent.futures.wait(futures[:(i + 1) * pulls // 4])
            cluster.restart(i)
        digests = [f.result() for f in futures]
    for n, digest in enumerate(digests):
        assert cluster.manifest(f"roll/{pulls}", str(n), "HEAD")["Docker-Content-Digest"] == digest
    docker.forget()
