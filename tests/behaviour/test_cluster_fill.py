# SPDX-License-Identifier: Apache-2.0
"""Several replicas on one Redis download each blob once: one asks the upstream, the others ask that one."""
import concurrent.futures
import hashlib
import hmac
import os
import signal
import threading
import time

import pytest

from rig import images, upstream, wire
from rig.process import wait_for
from rig.redis import Redis

NAME = "lib/app"
SIZE = 2 << 20

pytestmark = pytest.mark.skipif(Redis.missing(), reason="not installed: redis-server")


@pytest.fixture
def replica(make, up, redis):
    """replica() is one more on that Redis, which the others reach, with a data folder of its own."""
    def start(*args, **kwargs):
        return make({"up.test": up.url}, ["--upstream-connect-timeout", "5s", "--upstream-missing", "0s", "--state", redis.url,
                                          "--peer-address", "http://127.0.0.1", *args], **kwargs)
    return start


@pytest.fixture
def app(up):
    return up.tag(NAME, "1", images.random_image("cluster", [SIZE]))


@pytest.fixture
def peer():
    """What a lease may name in place of a replica."""
    u = upstream.Upstream()
    yield u
    u.close()


def ready(p, name=NAME):
    """It knows what that name refers to."""
    assert p.manifest(name, "1").status == 200
    return p


def key(digest):
    return "rac:1:lease:" + digest


def lease(redis, digest, holder, done=True, ttl_ms=600000):
    redis.ask("HSET", key(digest), "fence", "7", "done", "1" if done else "0", "holder", holder)
    redis.ask("PEXPIRE", key(digest), str(ttl_ms))


def metric(p, name):
    return p.metrics().get(name, 0)


def from_peers(p):
    return metric(p, 'rac_fill_sources_total{source="peer"}')


def at_once(calls):
    with concurrent.futures.ThreadPoolExecutor(len(calls)) as pool:
        return [f.result() for f in [pool.submit(*call) for call in calls]]


class Reader:
    """A client that has begun to read a blob."""

    def __init__(self, p, digest, name=NAME):
        self.raw = wire.Raw(p.address, timeout=60)
        self.raw.send(f"GET /v2/{name}/blobs/{digest} HTTP/1.1\r\nHost: x\r\n\r\n".encode())

    def has(self, count):
        self.raw.read_until(lambda d: len(d) >= count)
        return self.raw.status == 200 and not self.raw.ended

    def whole(self, digest):
        reply = self.raw.read_reply()
        assert (reply.status, reply.broken, reply.digest) == (200, "", digest), (reply.status, reply.broken, len(reply.body))
        self.raw.close()


@pytest.fixture
def held(up):
    """The first download of a blob stops in its middle, until this is set."""
    hold = threading.Event()
    up.rule("GET */blobs/*", lambda x: x.proper(hold=hold), times=1)
    yield hold
    hold.set()


def whole(p, digest, name=NAME):
    reply = p.blob(name, digest, timeout=60)
    assert (reply.status, reply.broken, reply.digest) == (200, "", digest), (reply.status, reply.body[:300])


# Once for all


def test_a_hundred_cold_clients_are_one_download(replica, up):
    image = up.tag(NAME, "1", images.random_image("hundred", [1 << 20, 300_000, 5000]))
    replicas = [replica() for _ in range(3)]
    up.rule("GET */blobs/*", lambda x: x.proper(rate=4 << 20))

    def pull(p):
        manifest = p.manifest(NAME, "1", timeout=120).json
        for part in [manifest["config"], *manifest["layers"]]:
            reply = p.blob(NAME, part["digest"], timeout=120)
            assert (reply.status, reply.broken, reply.digest) == (200, "", part["digest"]), reply.body[:300]
    at_once([(pull, replicas[i % 3]) for i in range(100)])
    for digest in image.blobs:
        assert [s["Range"] for s in up.seen(f"GET */blobs/{digest}")] == [None]
        assert up.sent[f"/v2/{NAME}/blobs/{digest}"] == len(image.blobs[digest])
    wait_for(lambda: sum(from_peers(p) for p in replicas) == 2 * len(image.blobs), 20, "two of three from peers")
    assert sum(metric(p, "rac_fill_bytes_total") for p in replicas) == sum(map(len, image.blobs.values()))


def test_the_first_byte_leaves_while_the_holder_streams(replica, up, app, held):
    digest, a, b = app.layers[0], ready(replica()), ready(replica())
    first = Reader(a, digest)
    assert first.has(SIZE // 4)
    second = Reader(b, digest)
    assert second.has(SIZE // 4), "a quarter came by way of the other, which has a half"
    held.set()
    first.whole(digest)
    second.whole(digest)
    assert up.count(f"GET */blobs/{digest}") == 1


def test_what_one_has_the_next_gets_from_there(replica, redis, up, app):
    """Also when nobody downloads it any more; and from the upstream again, when the one that had it went elsewhere."""
    digest, a, b, c = app.layers[0], ready(replica()), ready(replica()), ready(replica())
    whole(a, digest)
    wait_for(lambda: redis.ask("HGET", key(digest), "done").endswith(b"1\r\n"), 20, "the lease to say that it is done")
    whole(b, digest)
    wait_for(lambda: from_peers(b) == 1, 20, "that it came from there")
    assert up.count(f"GET */blobs/{digest}") == 1 and metric(a, 'rac_peer_requests_total{result="served"}') == 1
    a.restart()  # its port is another
    whole(c, digest)
    assert up.count(f"GET */blobs/{digest}") == 2
    assert metric(c, 'rac_fill_source_failures_total{source="peer"}') == 1


def test_a_replica_that_cannot_be_reached_is_not_asked(make, redis, up, app):
    """Without an address each downloads for itself, at once."""
    digest = app.layers[0]
    replicas = [ready(make({"up.test": up.url}, ["--state", redis.url])) for _ in range(2)]
    for p in replicas:
        whole(p, digest)
    assert up.count(f"GET */blobs/{digest}") == 2
    wait_for(lambda: redis.ask("EXISTS", key(digest)).startswith(b":0"), 20, "the end of a lease that leads nowhere")


# The one that downloads ends


def test_the_others_go_on_where_a_killed_holder_was(replica, up, app, held):
    digest, a, b, c = app.layers[0], ready(replica()), ready(replica()), ready(replica())
    first = Reader(a, digest)
    assert first.has(SIZE // 4)
    others = [Reader(b, digest), Reader(c, digest)]
    assert all(r.has(SIZE // 4) for r in others)
    a.kill()
    for r in others:
        r.whole(digest)
    assert [s.range_from > 0 for s in up.seen(f"GET */blobs/{digest}")] == [False, True]


def test_a_holder_that_sleeps_over_its_lease_disturbs_nobody(replica, redis, up, app, held):
    digest, a, b, c = app.layers[0], ready(replica()), ready(replica()), ready(replica())
    first = Reader(a, digest)
    assert first.has(SIZE // 4)
    fence = redis.ask("HGET", key(digest), "fence")
    second = Reader(b, digest)
    assert second.has(SIZE // 4)
    a.daemon.signal(signal.SIGSTOP)
    try:
        second.whole(digest)  # no sooner than the lease ended
        assert up.count(f"GET */blobs/{digest}") == 2 and up.seen(f"GET */blobs/{digest}")[1].range_from > 0
        wait_for(lambda: redis.ask("HGET", key(digest), "done").endswith(b"1\r\n"), 20, "the second lease to be done")
        after = redis.ask("HGETALL", key(digest))
        assert redis.ask("HGET", key(digest), "fence") > fence
    finally:
        a.daemon.signal(signal.SIGCONT)
    held.set()
    first.whole(digest)  # by its own download, which it goes on with
    wait_for(lambda: os.path.exists(a.blob_file(digest)), 20, "the blob in the first one's store")
    wait_for(lambda: metric(a, 'rac_fill_leases_total{result="lost"}') == 1 or not metric(a, "rac_fills_in_flight"), 20, "the fill's end")
    assert redis.ask("HGETALL", key(digest)) == after, "it left the other's lease as it was"
    whole(c, digest)
    assert up.count(f"GET */blobs/{digest}") == 2
    wait_for(lambda: from_peers(c) == 1, 20, "that it came from a peer")


def test_a_holder_whose_upstream_refuses_leaves_it_to_the_next(replica, up, app):
    """What one replica's upstream says is that replica's answer; the next one asks for itself."""
    digest, a, b = app.layers[0], ready(replica()), ready(replica())
    up.rule("GET */blobs/*", lambda x: upstream.Answer(status=503), times=1)
    assert a.blob(NAME, digest).status == 502
    whole(b, digest)
    assert up.count(f"GET */blobs/{digest}") == 2


# Redis ends


@pytest.mark.parametrize("how", ["killed", "paused", pytest.param("emptied", marks=pytest.mark.long)])
def test_a_fill_goes_on_without_redis(replica, redis, up, app, held, how):
    digest, a, b = app.layers[0], ready(replica()), ready(replica())
    readers = [Reader(a, digest)]
    assert readers[0].has(SIZE // 4)
    readers.append(Reader(b, digest))
    assert readers[1].has(SIZE // 4)
    {"killed": redis.kill, "paused": redis.pause, "emptied": redis.empty}[how]()
    try:
        held.set()
        for r in readers:
            r.whole(digest)
        assert up.count(f"GET */blobs/{digest}") == 1
    finally:
        if how == "paused":
            redis.resume()


def test_without_redis_the_upstream_is_asked(replica, redis, up, app):
    digest, replicas = app.layers[0], [ready(replica()) for _ in range(2)]
    redis.kill()
    for p in replicas:
        wait_for(lambda p=p: p.get("/readyz").status == 503, 30, "that Redis is away is seen")
        whole(p, digest)
    assert up.count(f"GET */blobs/{digest}") == 2


# What is not right about a peer


def test_the_wrong_bytes_of_a_peer_are_never_given(replica, redis, peer, up, app):
    digest, a, b = app.layers[0], ready(replica()), ready(replica())
    peer.rule("GET /v1/peer/*", lambda x: upstream.Answer(body=app.blobs[digest][:-1] + b"!"))
    lease(redis, digest, peer.url)
    reply = a.blob(NAME, digest, timeout=60)
    assert reply.broken or reply.status == 502, "most of it was given before it was known to be wrong: it does not end well"
    assert not os.path.exists(a.blob_file(digest))
    for p in a, b:
        whole(p, digest)
    assert peer.count("GET *") == 1 and up.count(f"GET */blobs/{digest}") == 1


def test_the_wrong_bytes_of_a_small_blob_are_had_again(replica, redis, peer, up):
    """Nobody had any of them: the client does not notice."""
    image = up.tag(NAME, "1", images.tiny())
    digest, a = image.layers[0], ready(replica())
    peer.rule("GET /v1/peer/*", lambda x: upstream.Answer(body=bytes(len(image.blobs[digest]))))
    lease(redis, digest, peer.url)
    whole(a, digest)
    assert peer.count("GET *") == 1 and up.count(f"GET */blobs/{digest}") == 1


NOTHING = [{"status": 404}, {"status": 503}, {"body": b"x" * (SIZE + 5)}, {"status": 302, "headers": {"Location": "/elsewhere"}}]


def test_a_peer_that_gives_nothing_is_no_hindrance(replica, redis, peer, up):
    image = up.tag(NAME, "1", images.random_image("nothing", [SIZE] * len(NOTHING)))
    a = ready(replica())
    for i, (digest, answer) in enumerate(zip(image.layers, NOTHING)):
        peer.rule("*", lambda x, answer=answer: upstream.Answer(**answer))
        lease(redis, digest, peer.url)
        whole(a, digest)
        assert up.count(f"GET */blobs/{digest}") == 1, answer
        assert metric(a, 'rac_fill_source_failures_total{source="peer"}') == i + 1, answer


def test_a_peer_that_does_not_answer_is_not_tried_for_each_blob(replica, redis, peer, up):
    """Where packets vanish each try takes the connect timeout."""
    image = up.tag(NAME, "1", images.random_image("silent", [SIZE, SIZE, SIZE]))
    a = ready(replica())
    peer.stop()
    for digest in image.layers:
        lease(redis, digest, peer.url)
        whole(a, digest)
        assert up.count(f"GET */blobs/{digest}") == 1
    assert metric(a, 'rac_fill_source_failures_total{source="peer"}') == 1
    assert metric(a, 'rac_fill_leases_total{result="taken"}') == 3, "what it does not give is ours to download for all"


def test_a_peer_that_breaks_off_is_gone_on_from(replica, redis, peer, up, app):
    digest, a = app.layers[0], ready(replica())
    peer.rule("GET /v1/peer/*", lambda x: upstream.Answer(body=app.blobs[digest], cut=SIZE // 2))
    lease(redis, digest, peer.url)
    whole(a, digest)
    assert [s.range_from for s in up.seen(f"GET */blobs/{digest}")] == [SIZE // 2]


@pytest.mark.long
def test_a_peer_that_has_all_and_says_nothing_is_not_tried_for_each_blob(replica, redis, peer, up):
    """It hangs, with the system still making its connections: each try takes the time of a lease."""
    image = up.tag(NAME, "1", images.random_image("hangs", [SIZE, SIZE]))
    a = ready(replica())
    peer.rule("GET /v1/peer/*", lambda x: upstream.Answer(stall=-1))
    for digest in image.layers:
        lease(redis, digest, peer.url)
        whole(a, digest)
        assert up.count(f"GET */blobs/{digest}") == 1
    assert peer.count("GET /v1/peer/*") == 1


@pytest.mark.long
@pytest.mark.parametrize("done", [False, True], ids=["streams", "done"])
def test_a_peer_that_stalls_is_gone_on_from(replica, redis, peer, up, app, done):
    """Once it has said nothing for the time of a lease, and its own is over, or says that it has all."""
    digest, a = app.layers[0], ready(replica())
    peer.rule("GET /v1/peer/*", lambda x: upstream.Answer(body=app.blobs[digest], stall=SIZE // 2))
    lease(redis, digest, peer.url, done=done, ttl_ms=600000 if done else 2000)
    whole(a, digest)
    assert [s.range_from for s in up.seen(f"GET */blobs/{digest}")] == [SIZE // 2]


def test_an_address_that_is_none_is_not_asked(replica, redis, up, app):
    digest, a = app.layers[0], ready(replica())
    lease(redis, digest, "file:///etc/passwd")
    whole(a, digest)
    assert up.count(f"GET */blobs/{digest}") == 1


# Who may ask


def signed(redis, digest, *, method="GET", at=0, secret=None, signs=None):
    """The header of a replica, or of who would be one."""
    scope_key = redis.ask("HGET", "rac:1:meta", "scope_key").partition(b"\r\n")[2][:32]
    derived = hmac.new(secret or scope_key, b"rac peer 1", hashlib.sha256).digest()
    now = int(time.time()) + at
    text = f"{method}\n{signs or digest}\n{now}".encode()
    return {"X-Rac-Peer": f"{now} {hmac.new(derived, text, hashlib.sha256).hexdigest()}"}


def test_who_is_no_replica_finds_nothing_there(replica, redis, up, app):
    digest, a = app.layers[0], ready(replica())
    whole(a, digest)
    wait_for(lambda: os.path.exists(a.blob_file(digest)), 20, "the blob in the store")
    path = f"/v1/peer/blobs/{digest}"
    reply = a.fetch("GET", path, signed(redis, digest))
    assert (reply.status, reply.digest) == (200, digest), "this is what a replica gets"
    nothing = a.fetch("GET", "/v1/no-such-path")
    assert nothing.status == 404
    one_off = signed(redis, digest)
    one_off["X-Rac-Peer"] = one_off["X-Rac-Peer"][:-1] + ("0" if one_off["X-Rac-Peer"][-1] != "0" else "1")
    refused = [{}, {"X-Rac-Peer": ""}, {"X-Rac-Peer": "1"}, {"X-Rac-Peer": "-1 " + "0" * 64}, {"X-Rac-Peer": "9" * 300}, one_off,
               signed(redis, digest, secret=b"k" * 32), signed(redis, digest, at=-400), signed(redis, digest, at=400),
               signed(redis, digest, signs=app.layers[0][:-1] + "0"), signed(redis, digest, method="PUT")]
    for headers in refused:
        reply = a.fetch("GET", path, headers)
        assert (reply.status, reply.body) == (404, nothing.body), headers
    for method in "HEAD", "POST", "DELETE":
        assert a.fetch(method, path, signed(redis, digest)).status == 404
    assert a.fetch("GET", "/v1/peer/blobs/sha256:x", signed(redis, "sha256:x")).status == 404


def test_a_replica_that_has_it_not_asks_nobody(replica, redis, up, app):
    digest, a = app.layers[0], ready(replica())
    up.clear()
    assert a.fetch("GET", f"/v1/peer/blobs/{digest}", signed(redis, digest)).status == 404
    assert not up.log


def test_one_process_alone_has_no_such_path(px, redis, app):
    reply = px.fetch("GET", f"/v1/peer/blobs/{app.layers[0]}", {"X-Rac-Peer": f"{int(time.time())} {'0' * 64}"})
    assert (reply.status, reply.body) == (404, px.fetch("GET", "/v1/no-such-path").body)


@pytest.mark.parametrize("when", ["stored", "streaming"])
def test_who_may_not_read_it_gets_nothing_of_a_peer(replica, up, app, held, when):
    """That a blob is here, or comes in, is not permission: neither at the one that has it nor at another."""
    digest, a, b = app.layers[0], ready(replica()), ready(replica())
    if when == "stored":
        held.set()
        whole(a, digest)
        whole(b, digest)
    else:
        readers = [Reader(a, digest), Reader(b, digest)]
        assert all(r.has(SIZE // 4) for r in readers)
    c = replica()
    for p in a, b, c:
        assert p.blob("other/app", digest).status == 404
    assert not metric(c, 'rac_fill_source_bytes_total{source="peer"}')
    held.set()
    if when == "streaming":
        for r in readers:
            r.whole(digest)
    up.tag("other/app", "1", app)
    whole(c, digest, "other/app")


@pytest.mark.parametrize("trusted", [True, False], ids=["trusted", "not trusted"])
def test_peers_by_tls(make, redis, up, app, authority, trusted):
    certificate, key = authority.issue("peer")
    flags = ["--state", redis.url, "--tls-certificate", certificate, "--tls-key", key, "--peer-address", "https://127.0.0.1",
             *(["--peer-ca", authority.certificate] if trusted else [])]
    for p in [make({"up.test": up.url}, flags) for _ in range(2)]:
        for kind, reference, headers in [("manifests", "1", {"Accept": wire.MANIFEST_TYPES}), ("blobs", app.layers[0], {})]:
            reply = wire.fetch(p.address, "GET", f"/v2/{NAME}/{kind}/{reference}", headers, tls=authority.client())
            assert (reply.status, reply.broken) == (200, "")
        assert reply.digest == app.layers[0]
    assert up.count(f"GET */blobs/{app.layers[0]}") == (1 if trusted else 2)


def test_credentials_stay_at_home(replica, redis, peer, up, app):
    digest, a = app.layers[0], ready(replica())
    peer.rule("GET /v1/peer/*", lambda x: upstream.Answer(body=app.blobs[digest]))
    lease(redis, digest, peer.url)
    reply = a.fetch("GET", f"/v2/{NAME}/blobs/{digest}", {"Cookie": "c=d", "X-Secret": "e"})
    assert reply.digest == digest
    seen, = peer.log
    assert {name.lower() for name, _ in seen.headers} <= {"host", "accept", "user-agent", "x-rac-peer", "accept-encoding"}
