# SPDX-License-Identifier: Apache-2.0
"""Connections that are slow, idle, half-sent, left or too many: each ends when it should, and says why in the log."""
import re
import resource
import socket
import struct
import time

import pytest

from rig import images, proxy, upstream, wire
from rig.process import wait_for

NAME = "lib/app"
GET = b"GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n"
LIMITS = ["--http-head-timeout", "2s", "--http-body-timeout", "2s", "--http-idle-timeout", "6s"]


@pytest.fixture(scope="module")
def server():
    u = upstream.Upstream()
    u.tag(NAME, "1", images.tiny())
    yield u
    u.close()


@pytest.fixture(scope="module")
def px(scratch, server):
    p = proxy.Proxy(scratch, {"up.test": server.url}, LIMITS)
    yield p
    p.close()


def logged(p, request_id):
    return wait_for(lambda: [line for line in p.log().splitlines() if request_id in line and "msg=request" in line],
                    what=f"the log line of {request_id}")[0]


def refusal(p, raw):
    """The last answer of a connection: JSON with an id that the log knows."""
    raw.read_all()
    assert raw.ended == "closed", raw.data
    status = raw.status
    reply = raw.read_reply()
    assert reply["Connection"] == "close" and not raw.data
    assert reply.json and b'"message":' in reply.body
    assert f"status={status}" in logged(p, reply["X-Request-Id"])
    return status


HEADS_THAT_CANNOT_BE_READ = {
    "space before colon": (400, b"GET /v2/ HTTP/1.1\r\nHost : x\r\n\r\n"),
    "NUL": (400, b"GET /v2/ HTTP/1.1\r\nHost: x\r\nA: b\x00c\r\n\r\n"),
    "101 headers": (431, b"GET /v2/ HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * 101 + b"\r\n"),
    "500 KB": (431, b"GET /v2/ HTTP/1.1\r\nHost: x\r\nA: " + b"b" * 500_000 + b"\r\n\r\n"),
    "no colon": (400, b"GET /v2/ HTTP/1.1\r\nHost: x\r\nnothing\r\n\r\n"),
    "no version": (400, b"GET /v2/\r\n\r\n"),
    "TLS": (400, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 50 + b"\n"),
    "only line feeds": (400, b"GET /v2/ HTTP/1.1\nHost: x\n\n"),
    "HTTP/2": (505, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
}


@pytest.mark.parametrize("what", HEADS_THAT_CANNOT_BE_READ)
def test_a_head_that_cannot_be_read_is_answered_and_logged(px, what):
    status, head = HEADS_THAT_CANNOT_BE_READ[what]
    with wire.Raw(px.address) as raw:
        raw.send(head)
        assert refusal(px, raw) == status


def drip(raw, data, seconds):
    """A byte at a time, as long as nothing comes back; returns how long that was."""
    begin = time.monotonic()
    raw.socket.settimeout(0.05)
    for i in range(len(data)):
        raw.send(data[i:i + 1])
        try:
            raw.data += raw.socket.recv(65536)
        except TimeoutError:
            pass
        if raw.data or raw.ended or time.monotonic() - begin > seconds:
            break
    raw.socket.settimeout(15)
    return time.monotonic() - begin


@pytest.mark.parametrize("what,before", [
    ("head", b"GET /v2/ HTTP/1.1\r\nHost: x\r\nA: "),
    ("body", b"POST /container-token HTTP/1.1\r\nHost: x\r\nContent-Length: 5000\r\n\r\n"),
    ("chunked body", b"POST /container-token HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1000\r\n")])
def test_a_request_that_trickles_ends(px, what, before):
    with wire.Raw(px.address) as raw:
        raw.send(before)
        took = drip(raw, b"x" * 400, 15)
        assert 0.8 < took < 12, took
        assert refusal(px, raw) == 408


def test_a_slow_body_that_moves_arrives(px):
    with wire.Raw(px.address) as raw:
        raw.send(b"POST /nothing HTTP/1.1\r\nHost: x\r\nContent-Length: 90000\r\n\r\n")
        for _ in range(9):
            time.sleep(0.3)
            raw.send(b"x" * 10000)
        assert raw.read_reply().status == 404


def test_an_idle_connection_outlives_the_time_for_a_head(px):
    with wire.Raw(px.address) as raw:
        for _ in range(2):
            time.sleep(2.6)
            raw.send(GET)
            assert raw.read_reply().status == 200
        begin = time.monotonic()
        raw.read_all()
        assert raw.ended == "closed" and raw.data == b"" and 5 < time.monotonic() - begin < 40


def test_idle_connections_live_75_s_unless_told_otherwise(scratch):
    shown = proxy.run_once(scratch, "--help").stdout
    assert re.search(r"--http-idle-timeout\b.*?75s", shown, re.S)


def test_slow_heads_do_not_keep_others_out(px):
    """Two hundred connections that send a byte now and then: all are answered 408 and end, and the others never notice."""
    slow, end = [wire.Raw(px.address) for _ in range(200)], time.monotonic() + 1
    try:
        for step in range(4):
            if time.monotonic() > end:
                break  # what came after the 408 would be answered with a reset
            for raw in slow:
                raw.send(b"GET "[step:step + 1])
            begin = time.monotonic()
            assert px.manifest(NAME, "1").status == 200
            assert time.monotonic() - begin < 20
        for raw in slow:
            raw.read_all()
            assert (raw.ended, raw.status) == ("closed", 408)
    finally:
        for raw in slow:
            raw.close()


def test_bodies_of_every_kind_leave_the_connection_good(px):
    bodies = [b"Content-Length: 3\r\n\r\nabc", b"Transfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\nT: v\r\n\r\n",
              b"Content-Length: 0\r\n\r\n", b"\r\n"]
    with wire.Raw(px.address) as raw:
        raw.send(b"".join(b"POST /nothing HTTP/1.1\r\nHost: x\r\n" + b for b in bodies * 5) + GET)
        assert [raw.read_reply().status for _ in range(21)] == [404] * 20 + [200]


def test_continue_is_said_when_the_body_is_wanted(px):
    with wire.Raw(px.address) as raw:
        head = b"POST /nothing HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n"
        raw.send(head % 3)
        raw.read_until(lambda d: b"\r\n\r\n" in d)
        assert raw.data == b"HTTP/1.1 100 Continue\r\n\r\n"
        raw.data = b""
        raw.send(b"abc")
        assert raw.read_reply().status == 404
        raw.send(head % (1 << 40))
        assert refusal(px, raw) == 413


def test_a_client_that_leaves_while_it_waits_is_noticed(px, server):
    """The upstream is silent; whoever asked has gone: the request ends long before the upstream's time is up."""
    server.rule("* /v2/lib/silent/*", upstream.Answer(stall=-1))
    for reset in (False, True):
        raw = wire.Raw(px.address)
        raw.send(b"GET /v2/lib/silent/manifests/%d HTTP/1.1\r\nHost: x\r\n\r\n" % reset)
        wait_for(lambda: server.count(f"* /v2/lib/silent/manifests/{int(reset)}"))
        if reset:
            raw.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        raw.close()
        line = wait_for(lambda: [l for l in px.log().splitlines()
                                 if f"silent/manifests/{int(reset)}" in l and "status=499" in l], timeout=20)[0]
        assert "aborted=yes" in line


def test_a_client_that_leaves_amid_its_body_is_noticed(px):
    raw = wire.Raw(px.address)
    raw.send(b"POST /left-amid HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nabc")
    time.sleep(0.1)
    raw.close()
    line = wait_for(lambda: [l for l in px.log().splitlines() if "/left-amid" in l], timeout=20)[0]
    assert "status=499" in line and "aborted=yes" in line


@pytest.fixture
def many_files():
    """As many descriptors as 10,000 connections take, for us and, since it is inherited, for what we start."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(before[0], 12_000), max(before[1], 12_000)))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (before[0], max(before[1], 12_000)))


def test_ten_thousand_idle_connections(make, server, many_files):
    """They cost memory, a few kB each, and nobody's time; the first of them is as good as new at the end."""
    p = make({"up.test": server.url}, ["--http-max-connections", "11000", "--http-idle-timeout", "10m"])
    assert p.manifest(NAME, "1").status == 200
    open_now = lambda: p.metrics()["rac_connections_open"]  # noqa: E731
    held = []
    try:
        for _ in range(10_000):
            held.append(socket.create_connection(wire.split(p.address), timeout=30))
        wait_for(lambda: open_now() >= 10_000, 60, "10,000 connections")
        for _ in range(20):
            assert p.manifest(NAME, "1", timeout=30).status == 200
        for one in (held[0], held[5_000], held[-1]):
            one.sendall(GET)
            assert one.recv(65536).startswith(b"HTTP/1.1 200 ")
    finally:
        for one in held:
            one.close()
    wait_for(lambda: open_now() <= 100, 60, "end of 10,000 connections")
    assert p.manifest(NAME, "1").status == 200
