# SPDX-License-Identifier: Apache-2.0
"""What is answered, to the letter: the headers that engines need, and the table of fault answers."""
import re

import pytest

from rig import images, upstream, wire

NAME = "lib/app"


@pytest.fixture
def app(up):
    return up.tag(NAME, "1", images.random_image("app", [100_000]))


def test_the_ping(px):
    reply = px.get("/v2/")
    assert (reply.status, reply.body) == (200, b"{}")
    assert reply["Docker-Distribution-Api-Version"] == "registry/2.0"
    assert reply["Content-Type"].startswith("application/json")


@pytest.mark.parametrize("build", [images.tiny, lambda: images.tiny(oci=True), images.two_platforms,
                                   images.mixed_list],
                         ids=["docker", "oci", "oci-index", "docker-list"])
@pytest.mark.parametrize("by", ["tag", "digest"])
def test_manifest_head_has_exactly_the_headers_of_get(px, up, build, by):
    image = up.tag(NAME, "1", build())
    reference = "1" if by == "tag" else image.digest
    got, headed = px.manifest(NAME, reference), px.manifest(NAME, reference, "HEAD")
    assert (got.status, headed.status) == (200, 200)
    assert (got.body, headed.body) == (image.manifest, b"")
    assert got["Docker-Content-Digest"] == image.digest and got["Content-Type"] == image.media_type
    assert got["Content-Length"] == str(len(image.manifest))
    varying = {"x-request-id", "date", "connection", "age"}
    assert ({k.lower(): v for k, v in got.headers.items() if k.lower() not in varying}
            == {k.lower(): v for k, v in headed.headers.items() if k.lower() not in varying})


def test_head_of_a_cold_tag_needs_no_get(px, app):
    headed = px.manifest(NAME, "1", "HEAD")
    assert (headed.status, headed["Docker-Content-Digest"], headed["Content-Length"],
            headed["Content-Type"]) == \
        (200, app.digest, str(len(app.manifest)), app.media_type)


def test_blob_headers(px, app):
    px.manifest(NAME, "1")
    digest = app.layers[0]
    for _ in ("cold", "warm"):
        reply = px.blob(NAME, digest)
        assert (reply.status, reply.digest) == (200, digest)
        assert reply["Docker-Content-Digest"] == digest and reply["ETag"] == f'"{digest}"'
        assert reply["Accept-Ranges"] == "bytes" and reply["Content-Length"] == str(len(reply.body))
    headed = px.head(f"/v2/{NAME}/blobs/{digest}")
    assert (headed.status, headed["Content-Length"],
            headed["Docker-Content-Digest"]) == (200, str(len(reply.body)), digest)


def test_head_of_a_cold_blob(px, app):
    px.manifest(NAME, "1")
    digest = app.layers[0]
    headed = px.head(f"/v2/{NAME}/blobs/{digest}")
    assert (headed.status, headed["Content-Length"]) == (200, str(len(app.blobs[digest])))


def test_nothing_is_compressed(px, app):
    for path in (f"/v2/{NAME}/manifests/1", f"/v2/{NAME}/blobs/{app.layers[0]}", f"/v2/{NAME}/tags/list"):
        reply = px.get(path, Accept_Encoding="gzip, br, zstd", Accept=wire.MANIFEST_TYPES)
        assert reply.status == 200 and reply["Content-Encoding"] is None and reply["Content-Length"] == str(len(reply.body))


def test_every_answer_has_a_request_id_that_the_log_has_too(px, app):
    ids = [px.manifest(NAME, "1")["X-Request-Id"], px.get("/v2/")["X-Request-Id"],
           px.get("/nothing")["X-Request-Id"],
           px.manifest(NAME, "none")["X-Request-Id"]]
    assert len(set(ids)) == 4 and all(re.fullmatch(r"[0-9A-HJKMNP-TV-Z]{26}", i) for i in ids), ids
    px.stop()
    assert all(i in px.log() for i in ids)


@pytest.mark.parametrize("accept", [None, "", "*/*", "application/json", "text/html", "x" * 8000,
                                    "application/vnd.oci.image.manifest.v1+json;q=0.1"])
def test_the_clients_accept_does_not_decide(px, up, app, accept):
    reply = px.fetch("GET", f"/v2/{NAME}/manifests/1", {} if accept is None else {"Accept": accept})
    assert (reply.status, reply.body, reply["Content-Type"]) == (200, app.manifest, app.media_type)
    sent = {s["Accept"] for s in up.seen(f"* /v2/{NAME}/manifests/*")}
    assert len(sent) == 1
    assert set(wire.MANIFEST_TYPES.split(", ")) <= set(re.split(r",\s*", sent.pop()))


def test_the_six_accept_lines_of_dockerd(px, app):
    reply = px.fetch("GET", f"/v2/{NAME}/manifests/1",
                     {"Accept": wire.MANIFEST_TYPES.split(", ") + ["*/*", "application/json"]})
    assert (reply.status, reply.body) == (200, app.manifest)


UNKNOWN = "sha256:" + "0" * 64


@pytest.mark.parametrize("path,status,code", [
    (f"/v2/{NAME}/manifests/none", 404, "MANIFEST_UNKNOWN"),
    (f"/v2/{NAME}/manifests/{UNKNOWN}", 404, "MANIFEST_UNKNOWN"),
    (f"/v2/{NAME}/blobs/{UNKNOWN}", 404, "BLOB_UNKNOWN"),
    ("/v2/lib/none/tags/list", 404, "NAME_UNKNOWN"),
    ("/v2/Upper/manifests/1", 400, "NAME_INVALID"),
    (f"/v2/{NAME}/blobs/sha256:abc", 400, "DIGEST_INVALID"),
    (f"/v2/{NAME}/manifests/sha256:abc", 400, "DIGEST_INVALID"),
    (f"/v2/{NAME}/manifests/-bad", 400, "MANIFEST_INVALID"),
    (f"/v2/{NAME}/nonsense/1", 404, None),
    (f"/v2/{NAME}/uploads", 404, None),
])
def test_errors_say_what_is_wrong(px, app, path, status, code):
    reply = px.get(path)
    assert reply.status == status
    assert reply.code == code if code else reply.code
    assert px.head(path).status == status and px.head(path).body == b""


@pytest.mark.parametrize("method,path", [
    ("POST", f"/v2/{NAME}/blobs/uploads/"), ("PUT", f"/v2/{NAME}/manifests/1"),
    ("DELETE", f"/v2/{NAME}/manifests/1"),
    ("DELETE", f"/v2/{NAME}/blobs/{UNKNOWN}"), ("PATCH", f"/v2/{NAME}/blobs/uploads/1"),
    ("POST", f"/v2/{NAME}/manifests/1"),
    ("PUT", "/v2/"), ("DELETE", f"/v2/{NAME}/tags/list")])
def test_what_writes_is_not_allowed(px, up, app, method, path):
    reply = px.fetch(method, path, body=b"" if method != "DELETE" else None)
    assert (reply.status, reply.code) == (405, "UNSUPPORTED")
    assert not up.seen(f"{method} *")


def test_outside_of_v2_the_errors_are_plain(px):
    reply = px.get("/no/such/thing")
    assert reply.status == 404 and set(reply.json) == {"message"} and reply.json["message"]


@pytest.mark.parametrize("status,headers,expected,code,retry_after", [
    (401, {}, 401, "UNAUTHORIZED", None),
    (403, {}, 403, "DENIED", None),
    (404, {}, 404, None, None),
    (429, {}, 429, "TOOMANYREQUESTS", "5"),
    (429, {"Retry-After": "17"}, 429, "TOOMANYREQUESTS", "17"),
    (500, {}, 502, "UNAVAILABLE", None),
    (502, {}, 502, "UNAVAILABLE", None),
    (503, {}, 502, "UNAVAILABLE", None),
    (504, {}, 502, "UNAVAILABLE", None),
    (416, {"Content-Range": "bytes */5"}, 502, "UNAVAILABLE", None),
    (418, {}, 502, "UNAVAILABLE", None),
    (204, {}, 502, "UNAVAILABLE", None),
    (304, {}, 502, "UNAVAILABLE", None),
])
@pytest.mark.parametrize("what", ["tag", "digest", "blob"])
def test_the_upstreams_answer_is_never_masked(px, up, what, status, headers, expected, code, retry_after):
    """504 from an upstream may come out as 504 too: both mean that it was the upstream."""
    up.rule("* /v2/lib/*", lambda x: upstream.Answer(status, {"Content-Type": "text/plain", **headers},
                                                     b"no"))
    reply = (px.blob(NAME, UNKNOWN) if what == "blob" else px.manifest(NAME, "1"
                                                                       if what == "tag" else UNKNOWN))
    if status == 404:
        code = "BLOB_UNKNOWN" if what == "blob" else "MANIFEST_UNKNOWN"
    assert reply.status == expected or (status == 504 and reply.status == 504)
    assert reply.code == code
    if status != 404:
        assert "up.test" in reply.message
    if status in (401, 403):
        assert "credentials" in reply.message
    if retry_after:
        assert reply["Retry-After"] == retry_after


@pytest.mark.parametrize("value,accepted", [
    ("1", [1]), ("120", [120]), ("99999999999", range(1, 86401)), ("date+100", range(90, 102)),
    ("0", [5]), ("Wed, 01 Jan 2020 00:00:00 GMT", [1]), ("soon", [5]), ("-5", [5]), ("", [5]), ("1.5", [5])])
def test_retry_after_in_all_its_forms(px, up, value, accepted):
    """Where the upstream does not say when we say: in 5 s."""
    if value == "date+100":
        import email.utils  # pylint: disable=import-outside-toplevel
        import time  # pylint: disable=import-outside-toplevel
        value = email.utils.formatdate(time.time() + 100, usegmt=True)
    up.rule("*", upstream.Answer(429, {"Retry-After": value}))
    reply = px.manifest(NAME, "1")
    assert (reply.status, reply.code) == (429, "TOOMANYREQUESTS")
    assert int(reply["Retry-After"]) in accepted


def test_an_upstream_that_is_down(px, up):
    up.stop()
    reply = px.manifest(NAME, "1")
    assert (reply.status, reply.code) == (502, "UNAVAILABLE") and "up.test" in reply.message


@pytest.mark.parametrize("what", ["tag", "blob"])
def test_an_upstream_that_never_answers(px, up, what):
    up.rule("*", upstream.Answer(stall=-1))
    reply = px.manifest(NAME, "1") if what == "tag" else px.blob(NAME, UNKNOWN)
    assert (reply.status, reply.code) == (504, "UNAVAILABLE") and "up.test" in reply.message


def test_a_black_hole(make):
    hole = upstream.BlackHole()
    try:
        p = make({"up.test": hole.url}, ["--upstream-connect-timeout", "1s"])
        reply = p.manifest(NAME, "1")
        assert (reply.status, reply.code) == (504, "UNAVAILABLE") and "up.test" in reply.message
    finally:
        hole.close()


def test_a_host_that_does_not_exist(make):
    p = make({"up.test": "http://nothing.invalid"}, ["--upstream-connect-timeout", "5s"])
    reply = p.manifest(NAME, "1")
    assert reply.status in (502, 504) and reply.code == "UNAVAILABLE"
    assert "up.test" in reply.message and "nothing.invalid" in reply.message


def test_an_upstream_with_an_expired_certificate(make, authority):
    broken = upstream.Upstream(tls=authority.server("expired", expired=True))
    broken.tag(NAME, "1", images.tiny())
    try:
        p = make(config={"upstreams": [{"name": "up.test", "url": broken.url, "ca": authority.certificate}]})
        reply = p.manifest(NAME, "1")
        assert (reply.status, reply.code) == (502, "UNAVAILABLE")
        assert "up.test" in reply.message and "expired" in reply.message
        assert not broken.log
    finally:
        broken.close()


@pytest.mark.parametrize("trusted", [True, False], ids=["our-ca", "system-ca"])
def test_an_upstream_with_a_certificate_of_our_own(make, authority, trusted):
    tls = upstream.Upstream(tls=authority.server("good"))
    image = tls.tag(NAME, "1", images.tiny())
    try:
        p = make(config={"upstreams": [{"name": "up.test", "url": tls.url,
                                        **({"ca": authority.certificate} if trusted else {})}]})
        reply = p.manifest(NAME, "1")
        if trusted:
            assert (reply.status, reply.body) == (200, image.manifest)
        else:
            assert (reply.status, reply.code) == (502, "UNAVAILABLE") and "certificate" in reply.message
    finally:
        tls.close()
