# SPDX-License-Identifier: Apache-2.0
"""Parts of blobs, as engines ask for them, of a blob that is stored and of one that is not yet (RFC 9110, section 14)."""
import email

import pytest

from rig import images, proxy, upstream

NAME = "lib/app"
SIZE = 200_000
IMAGE = images.random_image("ranges", [SIZE])
DIGEST = IMAGE.layers[0]
DATA = IMAGE.blobs[DIGEST]
N = len(DATA)


@pytest.fixture(scope="module")
def px(scratch):
    up = upstream.Upstream()
    up.tag(NAME, "1", IMAGE)
    p = proxy.Proxy(scratch, {"up.test": up.url})
    p.manifest(NAME, "1")
    yield p
    p.close()
    up.close()


@pytest.mark.parametrize("spec,first,last", [
    ("0-0", 0, 0), ("0-99", 0, 99), ("100-", 100, N - 1), (f"{N - 1}-", N - 1, N - 1), ("-1", N - 1, N - 1),
    ("-500", N - 500, N - 1),
    (f"-{N + 1}", 0, N - 1), (f"0-{N * 2}", 0, N - 1), (f"0-{N - 1}", 0, N - 1),
    (f"{N - 70_000}-{N - 60_000}", N - 70_000, N - 60_000)])
def test_single_ranges(px, spec, first, last):
    for _ in range(2):
        reply = px.blob(NAME, DIGEST, Range=f"bytes={spec}")
        assert (reply.status, reply.body) == (206, DATA[first:last + 1])
        assert reply["Content-Range"] == f"bytes {first}-{last}/{N}" and reply["Content-Length"] == str(last - first + 1)
        assert reply["Docker-Content-Digest"] == DIGEST and reply["ETag"] == f'"{DIGEST}"'


@pytest.mark.parametrize("spec", [f"{N}-", f"{N}-{N + 5}", "-0", f"{N * 10}-"])
def test_ranges_outside(px, spec):
    reply = px.blob(NAME, DIGEST, Range=f"bytes={spec}")
    assert reply.status == 416 and reply["Content-Range"] == f"bytes */{N}"


@pytest.mark.parametrize("specs", [[(0, 9), (20, 29)], [(0, 0), (N - 1, N - 1)], [(100, 199), (0, 9)],
                                   [(0, 9), (5, 15)],
                                   [(0, 9), (N + 5, N + 9)], [(i * 1000, i * 1000 + 9) for i in range(8)]])
def test_several_ranges(px, specs):
    reply = px.blob(NAME, DIGEST, Range="bytes=" + ", ".join(f"{a}-{b}" for a, b in specs))
    wanted = [(a, min(b, N - 1)) for a, b in specs if a < N]
    if reply.status == 200:
        assert reply.body == DATA
        return
    assert reply.status == 206
    if reply["Content-Range"]:
        first, last = map(int, reply["Content-Range"].split()[1].split("/")[0].split("-"))
        assert reply.body == DATA[first:last + 1]
        assert all(first <= a and b <= last for a, b in wanted)
        return
    message = email.message_from_bytes(b"Content-Type: " + reply["Content-Type"].encode() + b"\r\n\r\n" + reply.body)
    assert message.get_content_type() == "multipart/byteranges"
    found = {}
    boundary = b"--" + message.get_boundary().encode()
    assert reply.body.rstrip(b"\r\n").endswith(boundary + b"--")
    for part in reply.body.split(b"\r\n" + boundary) if not reply.body.startswith(boundary) else (b"\r\n" + reply.body).split(b"\r\n" + boundary):
        head, _, body = part.partition(b"\r\n\r\n")
        if b"ontent-" not in head:
            continue
        place = email.message_from_bytes(head.lstrip(b"\r\n"))["Content-Range"]
        first, last = map(int, place.split()[1].split("/")[0].split("-"))
        assert place.endswith(f"/{N}") and body == DATA[first:last + 1]
        found[(first, last)] = body
    for a, b in wanted:
        assert any(first <= a and b <= last for first, last in found), (wanted, list(found))


@pytest.mark.parametrize("value,status", [(f'"{DIGEST}"', 304), (f'W/"{DIGEST}"', 304), ('"other"', 200),
                                          (f'"other", "{DIGEST}"', 304),
                                          ("*", 304), (DIGEST, (200, 304)), ("", 200)])
def test_if_none_match(px, value, status):
    reply = px.blob(NAME, DIGEST, If_None_Match=value)
    assert reply.status in (status if isinstance(status, tuple) else (status,))
    assert reply.body == (b"" if reply.status == 304 else DATA)
    if reply.status == 304:
        assert reply["ETag"] == f'"{DIGEST}"'


@pytest.mark.parametrize("value,status", [(f'"{DIGEST}"', 206), ('"other"', 200), (f'W/"{DIGEST}"', 200),
                                          ("Wed, 01 Jan 2020 00:00:00 GMT", 200)])
def test_if_range(px, value, status):
    reply = px.blob(NAME, DIGEST, Range="bytes=0-9", If_Range=value)
    assert (reply.status, reply.body) == (status, DATA[:10] if status == 206 else DATA)


def test_head_ignores_the_range_or_answers_it_like_get(px):
    reply = px.head(f"/v2/{NAME}/blobs/{DIGEST}", Range="bytes=0-9")
    assert (reply.status, reply["Content-Length"]) in [(200, str(N)), (206, "10")] and reply.body == b""


def test_a_manifest_answers_if_none_match(px):
    reply = px.get(f"/v2/{NAME}/manifests/1", If_None_Match=f'"{IMAGE.digest}"')
    assert reply.status in (200, 304) and reply["Docker-Content-Digest"] == IMAGE.digest


def test_eight_parallel_ranges_make_the_blob(px):
    from concurrent.futures import ThreadPoolExecutor  # pylint: disable=import-outside-toplevel
    step = N // 8 + 1
    with ThreadPoolExecutor(8) as pool:
        parts = pool.map(lambda i: px.blob(NAME, DIGEST,
                                           Range=f"bytes={i * step}-{(i + 1) * step - 1}").body, range(8))
        assert b"".join(parts) == DATA
