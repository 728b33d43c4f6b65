# SPDX-License-Identifier: Apache-2.0
"""Two things at once, and clients that leave at the wrong moment."""
import concurrent.futures
import os
import threading

import pytest

from rig import images, process, proxy, upstream, wire

NAME = "lib/app"


def request(digest, name=NAME, method="GET"):
    return f"{method} /v2/{name}/blobs/{digest} HTTP/1.1\r\nHost: x\r\n\r\n".encode()


def test_an_injected_layer_that_is_being_downloaded_as_an_images_own(make, up, layer, scratch):
    """An upstream image has the very layer that a reload brings in while it is on its way: both go through."""
    data = images.read(layer.path.replace("layer.json", "layer.tar.gz"))
    config = images.compact({"rootfs": {"type": "layers", "diff_ids": [layer.tar_digest]}})
    image = images.Image({"schemaVersion": 2, "mediaType": images.OCI_MANIFEST,
                          "config": {"mediaType": images.OCI_CONFIG, "digest": wire.sha256(config),
                                     "size": len(config)},
                          "layers": [{"mediaType": images.OCI_LAYER, "digest": layer.gzip_digest,
                                      "size": len(data)}]},
                         images.OCI_MANIFEST, {wire.sha256(config): config, layer.gzip_digest: data})
    up.tag(NAME, "1", image)
    hold = threading.Event()
    up.rule("GET */blobs/*", lambda x: x.proper(hold=hold))
    plain = {"upstreams": [{"name": "up.test", "url": up.url}], "default-upstream": "up.test"}
    p = make(config=plain)
    try:
        assert p.manifest(NAME, "1").status == 200
        with wire.Raw(p.address, timeout=20) as raw:
            raw.send(request(layer.gzip_digest))
            process.wait_for(lambda: up.count(f"GET */blobs/{layer.gzip_digest}"))
            p.configure({**plain, "inject": [{"match": "*", "injection": layer.path}]})
            p.reload()
            hold.set()
            assert raw.read_reply().digest == layer.gzip_digest
    finally:
        hold.set()
    up.clear()
    up.tag("lib/other", "1", images.tiny())
    rewritten = p.manifest("lib/other", "1")
    assert rewritten.status == 200 and rewritten.json["layers"][-1]["digest"] == layer.gzip_digest
    assert p.blob("lib/other", layer.gzip_digest).digest == layer.gzip_digest


@pytest.fixture
def small_disk(scratch):
    """A folder with 6 MiB of room."""
    folder = scratch.folder("small")
    scratch.run("mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", folder)
    yield folder
    scratch.run("umount", "-l", folder)


@pytest.fixture
def full(make, up, small_disk):
    """A proxy whose disk cannot hold the image that its upstream has."""
    p = make({"up.test": up.url}, data=small_disk)
    image = up.tag(NAME, "1", images.random_image("full", [16 << 20]))
    assert p.manifest(NAME, "1").status == 200
    yield p, image
    p.stop()


def test_full_disk_and_the_reader_leaves_while_the_download_pauses_to_try_again(full, up):
    """Nobody is there to read what the next try brings: the download ends, and does not stand in the way."""
    p, image = full
    digest = image.layers[0]
    up.rule("GET */blobs/*", lambda x: x.proper(reset=-2), times=2)
    up.rule("GET */blobs/*", lambda x: x.proper(cut=9 << 20), times=1)
    with wire.Raw(p.address, timeout=20) as raw:
        raw.send(request(digest))
        raw.read_until(lambda d: len(d) > 8 << 20)
        process.wait_for(lambda: up.count(f"GET */blobs/{digest}") == 3)
    process.wait_for(lambda: p.metrics().get("rac_fills_in_flight") == 0, 20, "end of the download")
    reply = p.blob(NAME, digest, timeout=60)
    assert (reply.status, reply.broken, reply.digest) == (200, "", digest)


def test_full_disk_and_the_upstream_breaks_off_while_the_window_is_full(full, up):
    """A reader that stops for a while, and a new try in that time: nothing is lost, and nothing overruns."""
    p, image = full
    digest = image.layers[0]
    up.rule("GET */blobs/*", lambda x: x.proper(cut=10 << 20), times=1)
    with wire.Raw(p.address, timeout=20, receive_buffer=4096) as raw:
        raw.send(request(digest))
        raw.read_until(lambda d: len(d) > 6 << 20)
        threading.Event().wait(1.5)
        assert raw.read_reply().digest == digest


def test_full_disk_and_nobody_says_how_long_the_blob_is(full, up):
    """Without a length no reader gets a byte before the end: that needs room, and the client is told so."""
    p, image = full
    digest = up.blob("lib/lone", image.blobs[image.layers[0]])
    up.rule("GET */blobs/*", lambda x: x.proper(length="chunked"))
    reply = p.blob("lib/lone", digest, timeout=20)
    assert (reply.status, reply.code) == (503, "UNAVAILABLE") and "no room on disk" in reply.message
    assert reply["Retry-After"]


def test_a_resumed_answer_without_a_length_takes_nothing_back(px, up):
    image = up.tag(NAME, "1", images.random_image("lengths", [3 << 20]))
    digest = image.layers[0]
    data = image.blobs[digest]
    px.manifest(NAME, "1")
    up.rule("GET */blobs/*", lambda x: upstream.Answer(body=data, length="chunked"))
    up.rule("GET */blobs/*", lambda x: x.proper(cut=1 << 20), times=1)
    reply = px.blob(NAME, digest, timeout=30)
    assert (reply.status, reply.broken, reply.digest) == (200, "", digest)


@pytest.mark.parametrize("said", [1000, 100_000])
def test_an_upstream_that_says_a_wrong_length(px, up, said):
    """The digest would be right; the length that clients were promised is not: never a complete answer."""
    data = images.noise(200_000, "lengths")
    digest = up.blob("lib/lone", data)
    up.rule("GET */blobs/*", lambda x: upstream.Answer(206, {"Content-Range": f"bytes {x.range_from}-199999/200000"},
                                                       data[x.range_from:]))
    up.rule("GET */blobs/*", lambda x: x.proper(length=said), times=1)
    reply = px.blob("lib/lone", digest, timeout=20)
    assert reply.status == 502 or reply.broken or reply.digest == digest
    assert px.get("/healthz").status == 200


@pytest.mark.parametrize("length", ["none", "chunked"])
@pytest.mark.parametrize("listed", [True, False])
def test_head_where_the_upstream_does_not_say_a_length(px, up, length, listed):
    """Never a made-up one: what the manifest says, or what the bytes come to."""
    data = images.noise(50_000, "no length")
    digest = up.blob("lib/lone", data)
    if listed:
        image = up.tag("lib/lone", "1", images.random_image("no length", [1000]))
        digest = image.layers[0]
        data = image.blobs[digest]
        px.manifest("lib/lone", "1")
    up.rule("* */blobs/*", lambda x: x.proper(length=length))
    reply = px.head(f"/v2/lib/lone/blobs/{digest}")
    assert (reply.status, reply["Content-Length"]) == (200, str(len(data)))


def test_an_index_that_branches_without_end(ix, up):
    """A few small documents that stand for a million manifests: refused, not worked through."""
    child = images.tiny()
    for _ in range(3):
        child = images.index([(child, None)] * 100)
    up.tag(NAME, "1", child)
    reply = ix.manifest(NAME, "1", timeout=60)
    assert (reply.status, reply.code) == (502, "UNAVAILABLE") and "more than 1000 manifests" in reply.message


def test_a_fault_is_logged_with_the_requests_id_also_without_an_access_log(make, up):
    p = make({"up.test": up.url}, ["--log-access=false"])
    up.rule("*", upstream.Answer(500))
    reply = p.manifest(NAME, "1")
    assert reply.status == 502
    line = process.wait_for(lambda: next((line for line in p.log().splitlines() if reply["X-Request-Id"] in line),
                                         None), 5, "line in the log")
    assert "level=warn" in line and "up.test" in line
    up.clear()
    up.tag(NAME, "1", images.tiny())
    reply = p.manifest(NAME, "1")
    assert reply.status == 200
    p.stop()  # all that was to be logged is there now
    assert reply["X-Request-Id"] not in p.log()


def test_what_is_said_when_the_upstream_is_away_names_the_image(px, up):
    image = up.tag(NAME, "1", images.random_image("away", [1000]))
    px.manifest(NAME, "1")
    up.stop()
    digest = image.layers[0]
    for reply, what in [(px.manifest("lib/other", "9"), "up.test/lib/other:9"),
                        (px.blob(NAME, digest), f"up.test/{NAME}@{digest}"),
                        (px.get("/v2/lib/other/tags/list"), "up.test/lib/other")]:
        assert (reply.status, reply.code) == (502, "UNAVAILABLE")
        assert what in reply.message and "cannot connect" in reply.message, reply.message
    reply = px.head(f"/v2/{NAME}/blobs/{digest}")
    assert reply.status == 502


def test_a_blob_of_a_signed_manifests_digest_is_not_that_manifest(ix, up):
    """Schema 1: the digest is the payload's. Somebody calls the bare payload his image's config, and both come in at once."""
    body = images.read(os.path.join(proxy.ROOT, "tests", "fixtures", "schema1-manifest.json"))
    payload = body[:6989] + b"\n}"
    digest = wire.sha256(payload)
    kind = "application/vnd.docker.distribution.manifest.v1+prettyjws"
    image = images.Image({"schemaVersion": 2, "mediaType": images.OCI_MANIFEST,
                          "config": {"mediaType": images.OCI_CONFIG, "digest": digest, "size": len(payload)},
                          "layers": []}, images.OCI_MANIFEST, {digest: payload})
    up.tag(NAME, "1", image)
    up.rule("GET /v2/lib/old/manifests/*", upstream.Answer(headers={"Content-Type": kind}, body=body))
    hold = threading.Event()
    up.rule("GET */blobs/*", lambda x: x.proper(hold=hold))
    try:
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            asked = pool.submit(ix.manifest, NAME, "1")
            process.wait_for(lambda: up.count(f"GET */blobs/{digest}"))
            assert ix.manifest("lib/old", "1").body == body
            hold.set()
            assert asked.result().status in (200, 502)
    finally:
        hold.set()
    assert ix.blob(NAME, digest).body == payload
    assert ix.manifest("lib/old", "1").body == body
