# SPDX-License-Identifier: Apache-2.0
"""An upstream that is broken in every way we could think of: what comes out is right, or is an error, or breaks off.
It is never complete and wrong."""
import gzip
import json

import pytest

from faults import liar
from rig import images, upstream, wire

NAME = "lib/app"
SIZE = 300_000


@pytest.fixture
def app(up, px):
    """An image with one layer over the 64 KiB that are held back; its manifest was pulled, its layer not."""
    image = up.tag(NAME, "1", images.random_image("app", [SIZE]))
    assert px.manifest(NAME, "1").status == 200
    return image


def blob_rule(up, app, answer, times=None):
    up.rule(f"GET /v2/{NAME}/blobs/{app.layers[0]}", answer, times)


def right_or_broken(reply, app):
    """The one thing that holds whatever the upstream does."""
    if reply.status == 200 and not reply.broken:
        assert reply.digest == app.layers[0]
    elif reply.status != 200:
        assert reply.status in (502, 504) and reply.code == "UNAVAILABLE" and "up.test" in reply.message
    return reply


ONCE = {
    "cut at the first byte": lambda x: x.proper(cut=0),
    "cut after one byte": lambda x: x.proper(cut=1),
    "cut in the middle": lambda x: x.proper(cut=SIZE // 2),
    "cut before the last byte": lambda x: x.proper(cut=-1),
    "reset at the first byte of the body": lambda x: x.proper(reset=0),
    "reset in the middle": lambda x: x.proper(reset=SIZE // 2),
    "reset before the last byte": lambda x: x.proper(reset=-3),
    "chunked, cut in the middle": lambda x: x.proper(length="chunked", cut=SIZE // 2),
    "no length, cut in the middle": lambda x: x.proper(length="none", cut=SIZE // 2),
    "silent in the middle": lambda x: x.proper(stall=SIZE // 2),
}


@pytest.mark.parametrize("what", ONCE)
def test_a_download_that_breaks_once_is_resumed(px, up, app, what):
    blob_rule(up, app, ONCE[what], times=1)
    reply = px.blob(NAME, app.layers[0])
    assert (reply.status, reply.broken, reply.digest) == (200, "", app.layers[0])
    asked = up.seen(f"GET */blobs/{app.layers[0]}")
    assert len(asked) == 2
    assert asked[0]["Range"] is None
    if "first byte" not in what:
        assert asked[1].range_from > 0, "what was there already was downloaded again"


@pytest.mark.parametrize("what", ["reset before the head", "reset in the head", "silent before the head"])
def test_a_download_that_breaks_before_it_begins(px, up, app, what):
    broken = {"reset before the head": upstream.Answer(reset=-2),
              "reset in the head": upstream.Answer(reset=-1),
              "silent before the head": upstream.Answer(stall=-1)}[what]
    blob_rule(up, app, broken, times=1)
    right_or_broken(px.blob(NAME, app.layers[0]), app)
    reply = px.blob(NAME, app.layers[0])
    assert (reply.status, reply.digest) == (200, app.layers[0])


@pytest.mark.parametrize("count,whole", [(4, True), (40, False)])
def test_a_download_that_breaks_again_and_again(px, up, app, count, whole):
    """Up to five times it is resumed; each time something came, and nothing of it is asked for twice."""
    blob_rule(up, app, lambda x: x.proper(cut=20_000), times=count)
    reply = px.blob(NAME, app.layers[0], timeout=90)
    assert (reply.status, reply.broken == "") == (200, whole)
    asked = up.seen(f"GET */blobs/{app.layers[0]}")
    assert len(asked) == (5 if whole else 6)
    assert [s.range_from for s in asked] == sorted({s.range_from for s in asked})
    if not whole:
        up.clear()
        again = px.blob(NAME, app.layers[0], timeout=60)
        assert (again.status, again.digest) == (200, app.layers[0])
        assert up.seen(f"GET */blobs/{app.layers[0]}")[0].range_from > 0, "what was there was thrown away"


FOREVER = {
    "always cut": lambda x: x.proper(cut=1000),
    "wrong bytes, right length": lambda x: upstream.Answer(body=images.noise(len(x.proper().body), "wrong")),
    "wrong last byte": lambda x: upstream.Answer(body=x.proper().body[:-1] + bytes([x.proper().body[-1] ^ 1])),
    "shorter than it should be": lambda x: upstream.Answer(body=x.proper().body[:-10]),
    "longer than it should be": lambda x: upstream.Answer(body=x.proper().body + b"more"),
    "a web page": lambda x: upstream.text("<html>please log in</html>", content_type="text/html"),
    "empty": lambda x: upstream.Answer(),
    "206 to no range": lambda x: upstream.Answer(206, {"Content-Range": "bytes 0-9/10"}, b"0123456789"),
    "gzip on top": lambda x: upstream.Answer(headers={"Content-Encoding": "gzip"},
                                             body=gzip.compress(x.proper().body)),
    "silent before the head": lambda x: upstream.Answer(stall=-1),
    "reset before the head": lambda x: upstream.Answer(reset=-2),
    "reset in the head": lambda x: upstream.Answer(reset=-1),
    "200 with the wrong digest header": lambda x: upstream.Answer(
        headers={"Docker-Content-Digest": "sha256:" + "0" * 64},
        body=images.noise(len(x.proper().body), "wrong")),
    "chunked and endless": lambda x: upstream.Answer(length="chunked", body=b"\0" * (2 << 20)),
    "a length that is no number": lambda x: upstream.Answer(headers={"Content-Length": "many"}, body=b"x"),
    "a head of 1 MB": lambda x: upstream.Answer(headers={"X-Much": ["y" * 1000] * 1000},
                                                body=x.proper().body),
}


@pytest.mark.parametrize("what", FOREVER)
def test_a_wrong_blob_is_never_complete(px, up, app, what):
    blob_rule(up, app, FOREVER[what])
    reply = px.blob(NAME, app.layers[0], timeout=90)
    right_or_broken(reply, app)
    assert reply.status != 200 or reply.broken
    up.clear()
    again = px.blob(NAME, app.layers[0], timeout=30)
    assert (again.status, again.broken, again.digest) == (200, "", app.layers[0]), "and it is not remembered"


SIZES = {
    "too long": lambda x: x.proper(length=SIZE * 2),
    "too short": lambda x: x.proper(length=SIZE - 1000),
    "no blob at all": lambda x: upstream.text("<html>" + "please log in" * 10_000, content_type="text/html"),
}


@pytest.mark.parametrize("what", SIZES)
@pytest.mark.parametrize("part", [None, "bytes=0-99"])
def test_a_size_that_the_manifest_does_not_say_is_not_handed_on(px, up, app, what, part):
    """No reader is told a length, or sees a byte, that only the answer claims: there is still time for a proper error."""
    blob_rule(up, app, SIZES[what])
    reply = px.fetch("GET", f"/v2/{NAME}/blobs/{app.layers[0]}", {"Range": part} if part else {}, timeout=90)
    assert (reply.status, reply.code) == (502, "UNAVAILABLE") and "up.test" in reply.message


def test_a_size_that_only_the_manifest_gets_wrong_is_no_harm(px, up):
    """The digest decides, not who says how long it is."""
    data = images.noise(SIZE, "sized")
    digest = wire.sha256(data)
    document = images.tiny().json
    document["layers"][0].update(size=SIZE + 5, digest=digest)
    up.tag(NAME, "1", images.Image(document, images.DOCKER_MANIFEST, {digest: data}))
    px.manifest(NAME, "1")
    reply = px.blob(NAME, digest)
    assert (reply.status, reply.broken, reply.digest, reply["Content-Length"]) == (200, "", digest, str(SIZE))


def test_heads_that_are_none(px, up):
    """One after the other at one proxy: each is an error, and the next question is answered as if nothing had been."""
    for number, head in enumerate(liar.NO_HEADS):
        image = up.tag(NAME, f"t{number}", images.random_image(f"head{number}", [SIZE]))
        up.rule(f"* /v2/{NAME}/manifests/t{number}", upstream.Answer(raw=head), times=2)
        reply = px.manifest(NAME, f"t{number}")
        assert (reply.status, reply.code) == (502, "UNAVAILABLE") and "up.test" in reply.message, head[:60]
        up.clear()
        assert px.manifest(NAME, f"t{number}").body == image.manifest, head[:60]
        up.rule("GET */blobs/*", upstream.Answer(raw=head), times=1)
        reply = px.blob(NAME, image.layers[0], timeout=60)
        if reply.status != 200:  # where a body had begun, the download is taken up again
            assert (reply.status, reply.code) == (502, "UNAVAILABLE") and "up.test" in reply.message, head[:60]
            reply = px.blob(NAME, image.layers[0])
        assert (reply.status, reply.broken, reply.digest) == (200, "", image.layers[0]), head[:60]


HARMLESS = {
    "chunked": lambda x: x.proper(length="chunked"),
    "no length": lambda x: x.proper(length="none"),
    "bytes behind the end": lambda x: x.proper(extra=b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"),
    "no digest header": lambda x: upstream.Answer(body=x.proper().body),
    "says gzip and is not": lambda x: x.proper(headers={"Content-Encoding": "gzip"}),
    "a hundred small pieces": lambda x: x.proper(rate=400_000),
    "no type": lambda x: upstream.Answer(headers={}, body=x.proper().body),
    "an odd type": lambda x: x.proper(headers={"Content-Type": "text/html"}),
}


@pytest.mark.parametrize("what", HARMLESS)
def test_what_is_odd_but_harmless(px, up, app, what):
    blob_rule(up, app, HARMLESS[what])
    reply = px.blob(NAME, app.layers[0])
    assert (reply.status, reply.broken, reply.digest) == (200, "", app.layers[0])
    assert reply["Content-Length"] == str(len(app.blobs[app.layers[0]])) and reply["Content-Encoding"] is None
    assert px.blob(NAME, app.layers[0]).digest == app.layers[0]
    assert up.count(f"GET */blobs/{app.layers[0]}") == 1


def test_a_byte_at_a_time(px, up):
    data = b"slow but sure, all of it"
    image = images.tiny()
    digest = wire.sha256(data)
    document = image.json
    document["layers"].append({"mediaType": images.DOCKER_LAYER, "size": len(data), "digest": digest})
    image = images.Image(document, images.DOCKER_MANIFEST, {**image.blobs, digest: data})
    up.tag(NAME, "1", image)
    px.manifest(NAME, "1")
    up.rule(f"GET */blobs/{digest}", lambda x: x.proper(drip=0.2))
    reply = px.blob(NAME, digest)
    assert (reply.status, reply.body) == (200, data), "a download that moves is not stalled, however slow it is"


RESUME = {
    "a 200 to the range is skipped forward": (lambda x: upstream.Answer(body=x.upstream.blobs[NAME][x.path.rsplit("/", 1)[1]]), True),
    "a 206 of another range": (lambda x: _range(x, 0), False),
    "a 206 without Content-Range": (lambda x: upstream.Answer(206, body=x.proper().body), False),
    "a 206 of another total": (lambda x: upstream.Answer(
        206, {"Content-Range": f"bytes {x.range_from}-{SIZE * 3 - 1}/{SIZE * 3}"}, x.proper().body), False),
    "a 206 with wrong bytes": (lambda x: x.proper(body=images.noise(len(x.proper().body), "other")), False),
    "416": (lambda x: upstream.Answer(416, {"Content-Range": "bytes */1000"}), False),
    "404": (lambda x: upstream.missing("BLOB_UNKNOWN"), False),
    "401": (lambda x: upstream.challenge("http://127.0.0.1:1/token"), False),
}


def _range(x, first):
    data = x.upstream.blobs[NAME][x.path.rsplit("/", 1)[1]]
    return upstream.Answer(206, {"Content-Range": f"bytes {first}-{len(data) - 1}/{len(data)}"}, data[first:])


@pytest.mark.parametrize("what", RESUME)
def test_what_comes_back_to_a_resume(px, up, app, what):
    answer, right = RESUME[what]
    up.rule(f"GET */blobs/{app.layers[0]}", lambda x: x.proper(cut=SIZE // 2)
            if not x.range_from else answer(x))
    reply = px.blob(NAME, app.layers[0], timeout=90)
    right_or_broken(reply, app)
    if right:
        assert (reply.status, reply.broken) == (200, "")
    up.clear()
    again = px.blob(NAME, app.layers[0], timeout=60)
    if again.status != 200 or again.broken:  # a part that was spoilt may cost one more try, but no more than one
        again = px.blob(NAME, app.layers[0], timeout=60)
    assert (again.status, again.broken, again.digest) == (200, "", app.layers[0])


# Manifests

def manifest_rule(up, answer):
    up.rule(f"GET /v2/{NAME}/manifests/*", answer)
    up.rule(f"HEAD /v2/{NAME}/manifests/*", answer)


def document(**members):
    return json.dumps({"schemaVersion": 2, "mediaType": images.DOCKER_MANIFEST, **members})


HEX = "sha256:" + "a" * 64
DESCRIPTOR = {"mediaType": images.DOCKER_LAYER, "size": 5, "digest": HEX}
CONFIG = {"mediaType": images.DOCKER_CONFIG, "size": 5, "digest": HEX}

BAD_MANIFESTS = {
    "a web page": ("<html>log in</html>", "text/html"),
    "a web page said to be a manifest": ("<html>log in</html>", images.DOCKER_MANIFEST),
    "empty": ("", images.DOCKER_MANIFEST),
    "not JSON": ("{", images.DOCKER_MANIFEST),
    "two documents": (document(config=CONFIG, layers=[]) + "{}", images.DOCKER_MANIFEST),
    "a list": ("[]", images.DOCKER_MANIFEST),
    "a number": ("12", images.DOCKER_MANIFEST),
    "layers and manifests": (document(config=CONFIG, layers=[DESCRIPTOR], manifests=[]),
                             images.DOCKER_MANIFEST),
    "Layers beside layers": (document(config=CONFIG, layers=[DESCRIPTOR], Layers=[]), images.DOCKER_MANIFEST),
    "MANIFESTS": (document(config=CONFIG, layers=[DESCRIPTOR], MANIFESTS=[]), images.DOCKER_MANIFEST),
    "layers twice": (document(config=CONFIG, layers=[DESCRIPTOR])[:-1] + ',"layers":[]}',
                     images.DOCKER_MANIFEST),
    "a negative size": (document(config=CONFIG, layers=[{**DESCRIPTOR, "size": -1}]), images.DOCKER_MANIFEST),
    "a size past 2^63": (document(config=CONFIG, layers=[{**DESCRIPTOR, "size": 1 << 63}]), images.DOCKER_MANIFEST),
    "a size of 1e400": (document(config=CONFIG, layers=[DESCRIPTOR]).replace(' 5,', ' 1e400,'), images.DOCKER_MANIFEST),
    "a size that is text": (document(config=CONFIG, layers=[{**DESCRIPTOR, "size": "5"}]),
                            images.DOCKER_MANIFEST),
    "a digest that is none": (document(config=CONFIG, layers=[{**DESCRIPTOR, "digest": "sha256:../../x"}]),
                              images.DOCKER_MANIFEST),
    "layers that are no list": (document(config=CONFIG, layers={}), images.DOCKER_MANIFEST),
    "depth of 10,000": ('{"schemaVersion":2,"a":' + "[" * 10_000 + "]" * 10_000 + "}",
                        images.DOCKER_MANIFEST),
    "invalid UTF-8": (b'{"schemaVersion":2,"mediaType":"\xff\xfe","layers":[]}', images.DOCKER_MANIFEST),
}


@pytest.mark.parametrize("injecting", [False, True], ids=["plain", "injecting"])
@pytest.mark.parametrize("what", BAD_MANIFESTS)
def test_manifests_that_are_none(request, up, what, injecting):
    p = request.getfixturevalue("ix" if injecting else "px")
    body, kind = BAD_MANIFESTS[what]
    body = body.encode() if isinstance(body, str) else body
    manifest_rule(up, upstream.text(body, content_type=kind, **{"Docker-Content-Digest": wire.sha256(body)}))
    reply = p.manifest(NAME, "1")
    assert (reply.status, reply.code) == (502, "UNAVAILABLE"), reply.body[:300]
    assert "up.test" in reply.message


@pytest.mark.parametrize("injecting", [False, True], ids=["plain", "injecting"])
@pytest.mark.parametrize("what,body", [
    ("100,000 descriptors", document(config=CONFIG, layers=[DESCRIPTOR] * 100_000)),
    ("4 MiB and a byte", document(config=CONFIG, layers=[],
                                  x="y" * ((4 << 20) + 1 - len(document(config=CONFIG, layers=[], x=""))))),
    ("64 MiB", "{" + " " * (64 << 20) + "}"),
], ids=lambda v: v if len(v) < 30 else "")
def test_manifests_that_are_too_large(request, up, what, body, injecting):
    p = request.getfixturevalue("ix" if injecting else "px")
    manifest_rule(up, upstream.text(body, content_type=images.DOCKER_MANIFEST))
    reply = p.manifest(NAME, "1", timeout=60)
    assert (reply.status, reply.code) == (413, "SIZE_INVALID"), (what, reply.body[:300])


def test_20000_descriptors_are_an_answer_in_time(ix, up):
    body = document(config=CONFIG, layers=[{"size": 5, "digest": HEX}] * 20_000)
    assert len(body) < 4 << 20
    manifest_rule(up, upstream.text(body, content_type=images.DOCKER_MANIFEST))
    reply = ix.manifest(NAME, "1", timeout=20)
    assert reply.status in (413, 502) and reply.code in ("SIZE_INVALID", "UNAVAILABLE")


MANIFEST_FAULTS = {
    "cut": (lambda x: x.proper(cut=30), False),
    "cut once": (lambda x: x.proper(cut=30) if x.attempt == 0 else None, None),
    "chunked": (lambda x: x.proper(length="chunked"), True),
    "no length": (lambda x: x.proper(length="none"), True),
    "wrong digest header": (lambda x: x.proper(headers={"Content-Type": images.DOCKER_MANIFEST,
                                                        "Docker-Content-Digest": "sha256:" + "0" * 64}),
                                                        False),
    "digest header that is none": (lambda x: x.proper(headers={"Content-Type": images.DOCKER_MANIFEST,
                                                               "Docker-Content-Digest": "sha256:xyz"}), None),
    "no digest header": (lambda x: x.proper(headers={"Content-Type": images.DOCKER_MANIFEST}), True),
    "type with parameters": (lambda x: x.proper(headers={"Content-Type": images.DOCKER_MANIFEST + "; charset=utf-8"}), True),
    "application/json": (lambda x: x.proper(headers={"Content-Type": "application/json"}), True),
    "type of the other family": (lambda x: x.proper(headers={"Content-Type": images.OCI_MANIFEST}), True),
    "gzip said": (lambda x: x.proper(headers={"Content-Type": images.DOCKER_MANIFEST,
                                              "Content-Encoding": "gzip"},
                                     body=gzip.compress(x.proper().body)), False),
    "reset": (lambda x: upstream.Answer(reset=-2), False),
    "206": (lambda x: x.proper(status=206), False),
    "silence": (lambda x: upstream.Answer(stall=-1), False),
    "silence in the body": (lambda x: x.proper(stall=10), False),
}


@pytest.mark.parametrize("what", MANIFEST_FAULTS)
def test_manifest_faults(px, up, what):
    """right True: the image comes; False: an error that names the upstream; None: either, but nothing else."""
    image = up.tag(NAME, "1", images.tiny())
    answer, right = MANIFEST_FAULTS[what]
    manifest_rule(up, answer)
    reply = px.manifest(NAME, "1")
    if reply.status == 200:
        assert right is not False
        assert (reply.body, reply["Docker-Content-Digest"],
                reply["Content-Type"]) == (image.manifest, image.digest, image.media_type)
    else:
        assert right is not True, reply.body
        assert reply.status in (502, 504) and reply.code == "UNAVAILABLE" and "up.test" in reply.message


def test_another_manifest_than_the_digest_asked_for(px, up):
    image, other = images.tiny("right"), images.tiny("wrong")
    up.rule("GET */manifests/*", upstream.Answer(headers={"Content-Type": other.media_type,
                                                          "Docker-Content-Digest": image.digest},
                                                 body=other.manifest))
    reply = px.manifest(NAME, image.digest)
    assert (reply.status, reply.code) == (502, "UNAVAILABLE") and "up.test" in reply.message


def test_head_404_while_get_is_200(px, up):
    image = up.tag(NAME, "1", images.tiny())
    up.rule("HEAD *", upstream.missing("MANIFEST_UNKNOWN"))
    assert px.manifest(NAME, "1").body == image.manifest


def test_head_405(px, up):
    image = up.tag(NAME, "1", images.tiny())
    up.rule("HEAD *", upstream.Answer(405))
    assert px.manifest(NAME, "1").body == image.manifest
    assert px.manifest(NAME, "1", "HEAD")["Docker-Content-Digest"] == image.digest


def test_a_tag_that_moves_between_two_requests(make, up):
    """HEAD names one image, and before the GET the tag is another: one of the two comes, whole, and under its own digest."""
    p = make({"up.test": up.url}, ["--upstream-fresh", "0s"])
    first, second = images.tiny("first"), images.tiny("second")
    up.tag(NAME, "1", first)
    p.manifest(NAME, "1")
    up.add(NAME, second)

    def move(x):
        answer = x.proper()
        up.tags[NAME]["1"] = second if up.tags[NAME]["1"] is first else first
        return answer
    up.rule(f"* /v2/{NAME}/manifests/1", move)
    for _ in range(8):
        reply = p.manifest(NAME, "1")
        assert reply.status == 200 and reply.body in (first.manifest, second.manifest)
        assert reply["Docker-Content-Digest"] == reply.digest
