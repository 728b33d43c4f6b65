# SPDX-License-Identifier: Apache-2.0
"""dockerd, podman and containerd, each a node with an address of its own: /v1/demand names exactly where each image is."""
import time

import pytest

from rig import engines, nodes, proxy
from rig.process import wait_for


@pytest.fixture(scope="module")
def estate(scratch):
    n = nodes.Nodes(scratch)
    yield n
    n.close()


@pytest.fixture(scope="module")
def px(scratch, store, layer, estate):
    p = proxy.Proxy(scratch, {"store.test": store.url}, inject=layer.path, args=[
        "--listen", f"{estate.gateway}:0", "--access-anonymous", "pull,read-records", "--pulls-trust-headers",
        "--pulls-check-window", "3s", "--location", f"{estate.network}.1.0/24=north",
        "--location", f"{estate.network}.2.0/24=south"])
    yield p
    p.close()


@pytest.fixture(scope="module")
def dockerd(scratch, estate, px):
    d = engines.Docker(scratch, insecure=[px.addresses[1]], prefix=estate.node(f"{estate.network}.1.10"))
    yield d
    d.close()


@pytest.fixture(scope="module")
def pods(scratch, estate):
    p = engines.Podman(scratch, prefix=estate.node(f"{estate.network}.1.20"))
    yield p
    p.close()


@pytest.fixture(scope="module")
def edge(scratch, estate, px):
    c = engines.Containerd(scratch, prefix=estate.node(f"{estate.network}.2.30"))
    c.mirror("store.test", px.addresses[1], X_Rac_Node="edge-7.lab")
    yield c
    c.close()


def demand(px, **query):
    listed = px.get("/v1/demand" + ("?" + "&".join(f"{k}={v}" for k, v in query.items()) if query else "")).json["demand"]
    return {(d["image"], d["location"]): d for d in listed}


def pulls(px, **query):
    return px.get("/v1/pulls?" + "&".join(f"{k}={v}" for k, v in query.items())).json["pulls"]


def test_where_each_image_is_needed(px, estate, dockerd, pods, edge):
    address = px.addresses[1]
    north = (f"{estate.network}.1.10", f"{estate.network}.1.20")
    for name in ("busybox", "worker"):
        dockerd.pull(f"{address}/lib/{name}:latest")
    for name in ("busybox", "scratch"):
        pods.pull(f"{address}/lib/{name}:latest")
    for name in ("busybox", "index"):
        edge.pull(f"store.test/lib/{name}:latest", platform="linux/amd64")
    wait_for(lambda: len([r for r in pulls(px, kind="pull") if r["complete"]]) >= 6, 20, "six pulls that are complete")
    found = {key: {n["node"]: n["complete"] for n in d["nodes"]} for key, d in demand(px).items()}
    assert found == {
        ("store.test/lib/busybox", "north"): {north[0]: True, north[1]: True},
        ("store.test/lib/busybox", "south"): {"edge-7.lab": True},
        ("store.test/lib/worker", "north"): {north[0]: True},
        ("store.test/lib/scratch", "north"): {north[1]: True},
        ("store.test/lib/index", "south"): {"edge-7.lab": True}}
    for r in pulls(px, kind="pull"):
        assert r["reference"] == "latest", r
        assert r["platform"] == "linux/amd64" and r["injection"] and r["sourceDigest"] != r["servedDigest"], r
    agents = {r["node"]: r["userAgent"] for r in pulls(px, image="lib/busybox")}
    assert agents[north[0]].startswith("docker/") and "containerd" in agents["edge-7.lab"]
    assert "containers/" in agents[north[1]]


def test_a_second_start_with_always_is_a_check(px, edge):
    """What the kubelet has containerd do: one question about the tag; the image is there."""
    edge.pull("store.test/lib/busybox:latest", platform="linux/amd64")
    before = demand(px, image="lib/busybox")["store.test/lib/busybox", "south"]
    edge.pull("store.test/lib/busybox:latest", platform="linux/amd64")
    wait_for(lambda: demand(px, image="lib/busybox")["store.test/lib/busybox", "south"]["checks"] > before["checks"],
             20, "a check")
    after = demand(px, image="lib/busybox")["store.test/lib/busybox", "south"]
    time.sleep(3.5)
    assert after["pulls"] == before["pulls"] == demand(px, image="lib/busybox")["store.test/lib/busybox", "south"]["pulls"]
    check = pulls(px, kind="check", node="edge-7.lab", image="lib/busybox")[0]
    pull = pulls(px, kind="pull", node="edge-7.lab", image="lib/busybox")[0]
    assert check["reference"] == "latest" and check["location"] == "south" and check["subject"] is None
    assert pull["location"] == "south"
