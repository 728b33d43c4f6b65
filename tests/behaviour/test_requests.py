# SPDX-License-Identifier: Apache-2.0
"""What clients should not send. Each line is answered with what is wrong, and nothing of it reaches the upstream."""
import pytest

from rig import images, proxy, upstream, wire

NAME = "lib/app"
HEX = "a" * 64


@pytest.fixture(scope="module")
def server():
    u = upstream.Upstream()
    u.tag(NAME, "1", images.tiny())
    u.tag(NAME, "t" * 128, images.tiny())
    u.tag("manifests", "1", images.tiny())
    u.tag("lib/blobs", "1", images.tiny())
    u.tag("tags/list/x", "1", images.tiny())
    u.tag("wta", "1", images.tiny())
    u.tag("lib/wt", "1", images.tiny())
    u.tag("wt", "1", images.tiny())
    u.tag("blobs/manifests/tags", "1", images.tiny())
    u.tag("/".join(["n" * 63] * 3), "1", images.tiny())
    yield u
    u.close()


@pytest.fixture(scope="module")
def px(scratch, server):
    p = proxy.Proxy(scratch, {"up.test": server.url}, ["--upstream-head-timeout", "3s"])
    yield p
    p.close()


@pytest.mark.parametrize("name", [
    "..", "a/../b", "a/./b", "a//b", "/a", "a/", "Upper/case", "_first", "-first", ".first", "a/_b", "last_",
    "last-", "last.",
    "a..b", "a._b", "a___b", "sp ace", "%2e%2e/a", "a%2fb", "a%00b", "a%0d%0ab", "a\\b", "a:b", "a@b",
    "ünicode", "n" * 256, "%2e%2e", "%2E%2E/%2e%2e/etc/passwd", "a/%2e%2e/b", "..%2f..%2fetc", "a%5cb", "a%2f%2fb", "/", "a/%00", "\x00",
    "wt/x", "wt/../lib/app", "wt/" + "0" * 31, "wt/" + "0" * 33, "wt/" + "A" * 32 + "/lib/app",
    "/".join(["a"] * 129), "a?b", "a#b", "*", "~a", "a;b", "%61", "a%"])
def test_malformed_names(px, server, name):
    before = len(server.log)
    escaped = name.replace(" ", "%20").replace("#", "%23").replace("?", "%3f")
    target = f"/v2/{escaped}/manifests/1".encode()
    status, data, _ = wire.exchange(px.address, b"GET " + target + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert status in (400, 404), data
    assert b"NAME_INVALID" in data or b'"message"' in data, data
    assert len(server.log) == before


@pytest.mark.parametrize("name", ["manifests", "lib/blobs", "tags/list/x", "wta", "lib/wt", "wt", "blobs/manifests/tags", "/".join(["n" * 63] * 3)])
def test_odd_names_that_are_names(px, name):
    assert px.manifest(name, "1").status == 200


@pytest.mark.parametrize("digest", [
    "sha256:" + "A" * 64, "sha256:" + "a" * 63, "sha256:" + "a" * 65, "sha256:" + "g" * 64, "SHA256:" + HEX,
    "sha256:", ":" + HEX,
    "sha1:" + "a" * 40, "md5:" + "a" * 32, "sha512:" + "a" * 64, "sha512:" + "a" * 127, "sha256+b64:" + HEX,
    "sha256::" + HEX,
    "sha256:" + HEX + "%00", "sha256:%61" + "a" * 63, "sha256%3A" + "a" * 63, "sha256:" + "a" * 4000,
    "sha384:" + "a" * 96])
@pytest.mark.parametrize("kind", ["blobs", "manifests"])
def test_malformed_digests(px, server, kind, digest):
    before = len(server.log)
    reply = px.get(f"/v2/{NAME}/{kind}/{digest}")
    codes = ["UNSUPPORTED"] if "%00" in digest else ["DIGEST_INVALID", "MANIFEST_INVALID"]
    assert reply.status == 400 and reply.code in codes, reply.body
    assert len(server.log) == before


def test_a_well_formed_sha512_is_asked_for(px):
    reply = px.get(f"/v2/{NAME}/blobs/sha512:{'a' * 128}")
    assert (reply.status, reply.code) == (404, "BLOB_UNKNOWN")


@pytest.mark.parametrize("tag,status", [("t" * 128, 200), ("t" * 129, 400), ("-t", 400), (".t", 400),
                                        ("t%20t", 400), ("t%2ft", 400),
                                        ("t+t", 400), ("%00", 400), ("t@t", 400), ("T_.-", 404), ("_", 404)])
def test_tags(px, tag, status):
    reply = px.manifest(NAME, tag)
    assert reply.status == status
    invalid = "UNSUPPORTED" if tag == "%00" else "MANIFEST_INVALID"
    assert status == 200 or reply.code == {400: invalid, 404: "MANIFEST_UNKNOWN"}[status]


LISTS = pytest.mark.parametrize("path,member", [(f"/v2/{NAME}/tags/list", "tags"), ("/v2/_catalog", "repositories")])


@LISTS
@pytest.mark.parametrize("n", ["-1", "abc", "1e12", "", "99999999999999999999", "1.5", "0x10", "%00", "1%00", "%zz", "%", "%201", "1%20", "+1",
                               "18446744073709551616", "18446744073709551617", "-18446744073709551615"])
def test_page_sizes_that_are_none(px, server, path, member, n):
    """Not even the upstream is asked."""
    before = len(server.log)
    reply = px.get(f"{path}?n={n}")
    assert (reply.status, reply.code) == (400, "PAGINATION_NUMBER_INVALID") and member not in reply.json
    assert reply.message == "'n' must be a whole number, 0 or more" and len(server.log) == before


@LISTS
@pytest.mark.parametrize("n,most", [("1000000000000", 10000), ("9223372036854775808", 10000), ("18446744073709551615", 10000), ("10001", 10000),
                                    ("10000", 10000), ("0002", 2), ("%32", 2), ("1", 1), ("1&n=2", 1), ("0", 0)])
def test_page_sizes_that_are_numbers(px, server, path, member, n, most):
    """The first counts; what is more than a page may hold is the largest page."""
    for name in (NAME, "wta"):
        assert px.manifest(name, "1").status == 200
    everything = px.get(path).json[member]
    before = len(server.log)
    reply = px.get(f"{path}?n={n}")
    assert len(everything) >= 2 and (reply.status, reply.json[member]) == (200, everything[:most])
    asked = [f"/v2/{NAME}/tags/list?n={most}"] if member == "tags" else []
    assert [x.target for x in server.log[before:]] == asked
    assert most == 0 or bool(reply["Link"]) == (most < len(everything))


@pytest.mark.parametrize("ns", ["%00", "%zz", "%", "up.test%00"])
@pytest.mark.parametrize("path", [f"/v2/{NAME}/manifests/1", f"/v2/{NAME}/tags/list"])
def test_an_upstream_that_is_not_well_encoded_is_not_the_default_one(px, server, path, ns):
    before = len(server.log)
    reply = px.get(f"{path}?ns={ns}")
    assert (reply.status, reply.code, len(server.log)) == (400, "NAME_INVALID", before)


@pytest.mark.parametrize("value,status", [
    ("bytes=0-9", 206), ("bytes=-0", 416), ("bytes=5-2", 200),
    ("bytes=18446744073709551616-", 200),
    ("bytes=0-18446744073709551616", 200), ("bytes=99999-", 416), ("bytes=abc", 200), ("bytes=", 200),
    ("lines=1-2", 200),
    ("bytes=0-0", 206), ("bytes = 0-1", 200), ("bytes=--1", 200), ("bytes=1", 200),
    ("BYTES=0-1", 206),
    ("bytes=" + ",".join(f"{i}-{i}" for i in range(1000)), 200),
    ("bytes=" + "0-," * 1000 + "0-", 200),
    ("bytes=0-9,\t", 200), ("bytes=-99999", 206),
    ("bytes=18446744073709551615-18446744073709551616", 200), ("bytes=-18446744073709551616", 200),
    ("bytes=-9223372036854775809", 206), ("bytes=0-9223372036854775807", 206), ("bytes=9223372036854775807-", 416),
    ("bytes=0-\xb2", 200), ("bytes=" + "9" * 5000 + "-", 200), ("bytes=0-1;2-3", 200), ("x" * 60_000, 200)])
def test_ranges_of_all_sorts(px, server, value, status):
    image = images.tiny()
    data = image.blobs[image.layers[0]]
    px.manifest(NAME, "1")
    reply = px.blob(NAME, image.layers[0], Range=value)
    assert reply.status == status, (reply.status, reply.body[:100])
    if reply.status == 200:
        assert reply.body == data
    elif reply.status == 416:
        assert reply["Content-Range"] == f"bytes */{len(data)}"
    else:
        first, last = map(int, reply["Content-Range"].split()[1].split("/")[0].split("-"))
        assert reply.body == data[first:last + 1]


@pytest.mark.parametrize("value", ["Basic", "Basic x", "Basic Og==", "Basic bm9jb2xvbg==", "Basic /////w==",
                                   "Bearer", "Bearer x y z",
                                   "Digest a=b", "x" * 8000, "Basic " + "QUFB" * 2000, "\xff\xfe",
                                   "", ":", "Basic :", "Basic AAAA", "basic " + "Og==" * 2, "Bearer \xff", "Basic " + "QUFB" * 15_000])
def test_authorization_that_nobody_asked_for_stays_here(px, server, value):
    before = len(server.log)
    reply = px.fetch("GET", f"/v2/{NAME}/manifests/1", {"Authorization": value})
    assert reply.status in (200, 400, 401)
    assert all(s["Authorization"] is None for s in server.log[before:])


@pytest.mark.parametrize("header", ["Accept", "Authorization", "Range", "If-None-Match", "User-Agent", "X-Meta-Rac-Node"])
@pytest.mark.parametrize("size,statuses", [(60_000, (200, 400, 401)), (1 << 16, (431,)), (1 << 20, (431,))])
def test_headers_of_64_kib(px, header, size, statuses):
    """Below the limit of a head it is a header like any other, above it is refused."""
    with wire.Raw(px.address) as raw:
        raw.send(f"GET /v2/{NAME}/manifests/1 HTTP/1.1\r\nHost: x\r\n{header}: ".encode() + b"x" * size + b"\r\n\r\n")
        assert raw.read_reply().status in statuses
    assert px.get("/v2/").status == 200


RAW = {
    "two lengths": b"GET /v2/ HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
    "length and chunks": b"POST /v2/ HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
                         b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n",
    "odd encoding": b"POST /v2/ HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n",
    "negative length": b"POST /v2/ HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n",
    "huge length": b"POST /v2/ HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n",
    "no version": b"GET /v2/\r\n\r\n",
    "version 3": b"GET /v2/ HTTP/3.0\r\nHost: x\r\n\r\n",
    "no path": b"GET  HTTP/1.1\r\nHost: x\r\n\r\n",
    "binary": bytes(range(256)) + b"\r\n\r\n",
    "NUL in path": b"GET /v2/\x00 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    "NUL in header": b"GET /v2/ HTTP/1.1\r\nHost: x\r\nA: b\x00c\r\nConnection: close\r\n\r\n",
    "space before colon": b"GET /v2/ HTTP/1.1\r\nHost : x\r\nConnection: close\r\n\r\n",
    "folded header": b"GET /v2/ HTTP/1.1\r\nHost: x\r\nA: b\r\n c\r\nConnection: close\r\n\r\n",
    "star": b"OPTIONS * HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    "connect": b"CONNECT example.com:443 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    "trace": b"TRACE /v2/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    "absolute": b"GET http://169.254.169.254/v2/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    "head of 200 KiB": b"GET /v2/ HTTP/1.1\r\nHost: x\r\nA: " + b"b" * 200_000 + b"\r\nConnection: close\r\n\r\n",
    "1,000 headers": b"GET /v2/ HTTP/1.1\r\nHost: x\r\n" + b"Again: b\r\n" * 1000 + b"Connection: close\r\n\r\n",
    "path of 100 KiB": b"GET /v2/" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    "h2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "h2c upgrade": b"GET /v2/ HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
                   b"HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n\r\n",
    "absolute, of a file": b"GET file:///etc/passwd HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    "absolute, another scheme": b"GET gopher://x/v2/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    "two hosts": b"GET /v2/ HTTP/1.1\r\nHost: x\r\nHost: y\r\nConnection: close\r\n\r\n",
    "no host": b"GET /v2/ HTTP/1.1\r\nConnection: close\r\n\r\n",
    "chunked twice": b"POST /v2/ HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
                     b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n",
    "chunked, then not": b"POST /v2/ HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n"
                         b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n",
    "chunk size past 2^64": b"POST /v2/ HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n10000000000000003\r\nabc\r\n0\r\n\r\n"
                            b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n",
    "chunk extension of 20 KB": b"POST /v2/ HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3;" + b"x" * 20_000 + b"\r\nabc\r\n0\r\n\r\n",
    "line feed in a chunk extension": b"POST /v2/ HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0;a\nb\r\n\r\n"
                                      b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n",
    "length with a plus": b"POST /v2/ HTTP/1.1\r\nHost: x\r\nContent-Length: +5\r\n\r\nabcdeGET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n",
    "broken chunks": b"POST /v2/ HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n",
    "expect": b"POST /v2/ HTTP/1.1\r\nHost: x\r\nExpect: miracles\r\nContent-Length: 1\r\nConnection: close\r\n\r\na",
}


@pytest.mark.parametrize("what", RAW)
def test_raw_heads(px, what):
    """Refused, or answered once; what follows a body of doubtful length is never taken for a request; no upgrade."""
    with wire.Raw(px.address, timeout=3) as raw:
        raw.send(RAW[what])
        raw.read_all()
        data = raw.data
    assert raw.ended in ("closed", "reset", "silent")
    assert b"101 Switching" not in data and b"smuggled" not in data
    assert data.count(b"HTTP/1.1 ") <= 1, data
    assert raw.status in (0, 200, 400, 404, 405, 411, 413, 414, 417, 431, 501, 505), data
    assert px.get("/v2/").status == 200


def test_head_with_a_body(px):
    status, data, _ = wire.exchange(px.address, b"HEAD /v2/ HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc")
    assert status in (200, 400) and data.endswith(b"\r\n\r\n")


def test_pipelined_requests_are_answered_in_order(px):
    tags = ["1", "none", "1", "-bad"]
    with wire.Raw(px.address) as raw:
        raw.send(b"".join(b"GET /v2/%s/manifests/%s HTTP/1.1\r\nHost: x\r\n\r\n" % (NAME.encode(), t.encode()) for t in tags))
        assert [raw.read_reply().status for _ in tags] == [200, 404, 200, 400]


def test_http_1_0(px):
    status, data, ended = wire.exchange(px.address, b"GET /v2/ HTTP/1.0\r\n\r\n")
    assert (status, ended) == (200, "closed") and data.endswith(b"{}")


def test_a_request_that_is_never_finished_ends(scratch, server):
    p = proxy.Proxy(scratch, {"up.test": server.url}, ["--http-head-timeout", "1s"])
    try:
        with wire.Raw(p.address, timeout=10) as raw:
            raw.send(b"GET /v2/ HTTP/1.1\r\nHost")
            raw.read_all()
            assert (raw.ended, raw.status) == ("closed", 408)
    finally:
        p.close()


def test_a_connection_that_goes_away_mid_body_hurts_nobody(px):
    image = images.tiny()
    for _ in range(20):
        with wire.Raw(px.address) as raw:
            raw.send(f"GET /v2/{NAME}/blobs/{image.layers[0]} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    assert px.blob(NAME, image.layers[0]).status == 200


UNKNOWN_HOSTS = ["evil.example", "127.0.0.1:1", "localhost", "169.254.169.254", "up.test.evil.example",
                 "up.test:80",
                 "%5b::1%5d", "http://up.test", "up.test@evil.example", "..", "UP.TEST:", "a" * 300]


@pytest.mark.parametrize("host", UNKNOWN_HOSTS)
def test_ns_is_a_key_and_never_an_address(px, server, host):
    before = len(server.log)
    reply = px.get(f"/v2/{NAME}/manifests/1?ns={host}")
    assert (reply.status, reply.code) in [(403, "DENIED"), (400, "NAME_INVALID")], reply.body
    assert len(server.log) == before


@pytest.mark.parametrize("host", ["evil.example", "169.254.169.254", "10.0.0.1", "up.test.evil.example"])
def test_an_unknown_host_as_first_segment(px, server, host):
    before = len(server.log)
    reply = px.manifest(f"{host}/lib/app", "1")
    assert (reply.status, reply.code) == (403, "DENIED")
    assert host in reply.message and "upstreams" in reply.message
    assert len(server.log) == before
