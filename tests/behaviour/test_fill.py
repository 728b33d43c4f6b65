# SPDX-License-Identifier: Apache-2.0
"""How blobs come in: once, whoever asks, to the end, and only what is right."""
import concurrent.futures
import os
import signal
import threading
import time

import pytest

from rig import images, process, upstream, wire

NAME = "lib/app"
SIZE = 4 << 20


@pytest.fixture
def app(up, px):
    image = up.tag(NAME, "1", images.random_image("fill", [SIZE]))
    assert px.manifest(NAME, "1").status == 200
    return image


def at_once(work, count):
    with concurrent.futures.ThreadPoolExecutor(count) as pool:
        return [f.result() for f in [pool.submit(work, i) for i in range(count)]]


def request(digest, **headers):
    more = "".join(f"{k}: {v}\r\n" for k, v in headers.items())
    return f"GET /v2/{NAME}/blobs/{digest} HTTP/1.1\r\nHost: x\r\n{more}\r\n".encode()


def stored(p, digest):
    return process.wait_for(lambda: os.path.exists(p.blob_file(digest)), 15, "blob in the store")


def test_one_get_and_no_head(px, up, app):
    digest = app.layers[0]
    assert px.blob(NAME, digest).digest == digest
    assert [s.method for s in up.seen(f"* */blobs/{digest}")] == ["GET"]


def test_many_readers_are_one_download(px, up, app):
    digest = app.layers[0]
    up.rule("GET */blobs/*", lambda x: x.proper(rate=8 << 20))
    replies = at_once(lambda i: px.blob(NAME, digest, timeout=60), 30)
    assert {(r.status, r.broken, r.digest) for r in replies} == {(200, "", digest)}
    assert up.count(f"GET */blobs/{digest}") == 1
    assert up.sent[f"/v2/{NAME}/blobs/{digest}"] == len(app.blobs[digest])


def test_many_readers_of_what_no_manifest_named_are_one_download_too(px, up):
    """By digest alone: the download itself is the question whether the name may have it."""
    data = images.noise(SIZE, "bare")
    digest = up.blob(NAME, data)
    up.rule("GET */blobs/*", lambda x: x.proper(delay=0.5, rate=8 << 20))
    replies = at_once(lambda i: px.blob(NAME, digest, timeout=60), 30)
    assert {(r.status, r.broken, r.digest) for r in replies} == {(200, "", digest)}
    assert [s.method for s in up.seen(f"* */blobs/{digest}")] == ["GET"]


def test_one_download_under_two_names(px, up, app):
    up.tag("other/name", "1", app)
    px.manifest("other/name", "1")
    digest = app.layers[0]
    up.rule("GET */blobs/*", lambda x: x.proper(rate=8 << 20))
    replies = at_once(lambda i: px.blob(NAME if i % 2 else "other/name", digest, timeout=60), 10)
    assert {r.digest for r in replies} == {digest}
    assert up.count(f"GET */blobs/{digest}") == 1


def test_the_first_byte_leaves_when_it_arrives(px, up, app):
    digest, hold = app.layers[0], threading.Event()
    up.rule("GET */blobs/*", lambda x: x.proper(hold=hold))
    try:
        with wire.Raw(px.address, timeout=10) as raw:
            raw.send(request(digest))
            raw.read_until(lambda d: len(d) > 1 << 20)
            assert raw.status == 200 and not raw.ended, "half of it is there, and the upstream holds the rest"
            hold.set()
            reply = raw.read_reply()
            assert reply.digest == digest
    finally:
        hold.set()


def test_the_last_64_kib_are_held_back_until_all_is_right(make, up, app):
    """The upstream sent all but one byte: the reader has all but the tail, and not more."""
    digest, px = app.layers[0], make({"up.test": up.url})  # which waits for the upstream longer than we for it
    px.manifest(NAME, "1")
    size = len(app.blobs[digest])
    up.rule("GET */blobs/*", lambda x: x.proper(stall=size - 1), times=1)
    with wire.Raw(px.address, timeout=1) as raw:
        raw.send(request(digest))
        raw.read_until(lambda d: False)
        got = len(raw.data.partition(b"\r\n\r\n")[2])
    assert size - (160 << 10) <= got <= size - (64 << 10)


def test_a_small_blob_is_held_back_whole(px, up):
    image = up.tag(NAME, "1", images.tiny())
    px.manifest(NAME, "1")
    digest = image.layers[0]
    up.rule("GET */blobs/*", lambda x: upstream.Answer(body=bytes(len(x.proper().body))))
    reply = px.blob(NAME, digest)
    assert reply.status == 502 or (reply.broken and not reply.body)


def test_corrupt_bytes_end_in_a_reset_for_every_reader(px, up, app):
    digest = app.layers[0]
    size = len(app.blobs[digest])
    up.rule("GET */blobs/*", lambda x: upstream.Answer(body=app.blobs[digest][:-1] + b"!", rate=4 << 20))

    def read(_):
        with wire.Raw(px.address, timeout=60) as raw:
            raw.send(request(digest))
            raw.read_until(lambda d: len(d.partition(b"\r\n\r\n")[2]) >= size)
            return raw.status, raw.ended, len(raw.data.partition(b"\r\n\r\n")[2])
    for status, ended, length in at_once(read, 8):
        assert status == 502 or (ended == "reset" and length < size), (status, ended, length)
    assert not os.path.exists(px.blob_file(digest))
    assert px.metrics()


def test_a_download_survives_its_client(px, up, app):
    digest = app.layers[0]
    up.rule("GET */blobs/*", lambda x: x.proper(rate=4 << 20))
    with wire.Raw(px.address) as raw:
        raw.send(request(digest))
        raw.read_head()
    stored(px, digest)
    assert up.sent[f"/v2/{NAME}/blobs/{digest}"] == len(app.blobs[digest])
    assert px.blob(NAME, digest).digest == digest
    assert up.count(f"GET */blobs/{digest}") == 1


def test_a_slow_reader_slows_nobody(px, up, app):
    digest = app.layers[0]
    with wire.Raw(px.address, receive_buffer=4096) as slow:
        slow.send(request(digest))
        slow.read_head()
        begin = time.monotonic()
        assert px.blob(NAME, digest).digest == digest
        assert time.monotonic() - begin < 20
        stored(px, digest)


def test_a_reader_that_stops_is_cut_off(make, up):
    p = make({"up.test": up.url}, ["--http-slow-reader-timeout", "2s"])
    image = up.tag(NAME, "1", images.random_image("slow", [24 << 20]))
    p.manifest(NAME, "1")
    with wire.Raw(p.address, receive_buffer=4096) as slow:
        slow.send(request(image.layers[0]))
        slow.read_head()
        time.sleep(5)
        slow.read_until(lambda d: False)
        assert slow.ended == "reset" and len(slow.data) < len(image.blobs[image.layers[0]])


def test_a_reader_that_is_slow_but_reads_is_not_cut_off(make, up):
    p = make({"up.test": up.url}, ["--http-slow-reader-timeout", "2s"])
    image = up.tag(NAME, "1", images.random_image("steady", [6 << 20]))
    p.manifest(NAME, "1")
    digest = image.layers[0]
    with wire.Raw(p.address, receive_buffer=65536) as steady:
        steady.send(request(digest))
        steady.read_head()
        for _ in range(7):
            time.sleep(0.8)
            steady.read_until(lambda d, want=len(steady.data) + 400_000: len(d) >= want)
        assert not steady.ended
        assert steady.read_reply().digest == digest


@pytest.mark.parametrize("where", ["before it came", "while it comes", "after it came"])
def test_a_range_of_a_cold_blob(px, up, app, where):
    digest = app.layers[0]
    data = app.blobs[digest]
    hold = threading.Event()
    up.rule("GET */blobs/*", lambda x: x.proper(hold=hold))
    first = len(data) * 3 // 4
    try:
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            if where == "after it came":
                hold.set()
                px.blob(NAME, digest)
            elif where == "while it comes":
                early = px.blob(NAME, digest, Range="bytes=100-199")
                assert early.status == 206, "what is there is given, while the rest is awaited"
                assert early.body == data[100:200]
            asked = pool.submit(px.blob, NAME, digest, 30, Range=f"bytes={first}-{first + 999}")
            time.sleep(0.3)
            assert where == "after it came" or not asked.done()
            hold.set()
            reply = asked.result()
    finally:
        hold.set()
    assert (reply.status, reply.body) == (206, data[first:first + 1000])
    assert reply["Content-Range"] == f"bytes {first}-{first + 999}/{len(data)}"
    assert up.count(f"GET */blobs/{digest}") == 1 and up.seen(f"GET */blobs/{digest}")[0]["Range"] is None


def test_kill_9_mid_download_goes_on_with_range(px, up, app):
    digest, hold = app.layers[0], threading.Event()
    up.rule("GET */blobs/*", lambda x: x.proper(hold=hold), times=1)
    try:
        with wire.Raw(px.address) as raw:
            raw.send(request(digest))
            raw.read_until(lambda d: len(d) > SIZE // 4)
            process.wait_for(lambda: os.path.exists(px.partial_file(digest))
                             and os.path.getsize(px.partial_file(digest)) > SIZE // 4)
            px.kill()
    finally:
        hold.set()
    up.clear()
    px.start()
    px.manifest(NAME, "1")
    reply = px.blob(NAME, digest)
    assert (reply.status, reply.digest) == (200, digest)
    assert up.seen(f"GET */blobs/{digest}")[0].range_from >= SIZE // 4


def test_a_partial_file_that_was_spoilt_is_no_harm(px, up, app):
    digest = app.layers[0]
    up.rule("GET */blobs/*", lambda x: x.proper(hold=threading.Event()), times=1)
    with wire.Raw(px.address) as raw:
        raw.send(request(digest))
        raw.read_until(lambda d: len(d) > SIZE // 4)
        process.wait_for(lambda: os.path.exists(px.partial_file(digest))
                         and os.path.getsize(px.partial_file(digest)) > SIZE // 4)
        px.kill()
    with open(px.partial_file(digest), "r+b") as f:
        f.seek(1000)
        f.write(b"spoilt")
    px.start()
    replies = [px.blob(NAME, digest, timeout=60) for _ in range(2)]
    for reply in replies:
        assert reply.broken or reply.status == 502 or reply.digest == digest
    assert replies[-1].status == 200 and replies[-1].digest == digest, "one try may fail, the next one starts from nothing"


@pytest.mark.parametrize("damage", ["shorter", "longer", "empty", "unreadable"])
def test_a_stored_blob_that_is_damaged_is_fetched_again(px, up, app, damage):
    digest = app.layers[0]
    px.blob(NAME, digest)
    stored(px, digest)
    px.stop()
    path = px.blob_file(digest)
    os.chmod(path, 0o600)
    if damage == "unreadable":
        os.unlink(path)
        os.mkdir(path)
    else:
        with open(path, "r+b") as f:
            f.truncate({"shorter": SIZE // 2, "longer": SIZE * 2, "empty": 0}[damage])
    px.start()
    px.manifest(NAME, "1")
    first = px.blob(NAME, digest, timeout=60)
    assert first.broken or first.status in (500, 502) or first.digest == digest, "never complete and wrong"
    again = px.blob(NAME, digest, timeout=60)
    assert (again.status, again.broken, again.digest) == (200, "", digest)
    assert os.listdir(os.path.join(px.data, "quarantine"))


def test_a_stored_blob_that_vanished_is_fetched_again(px, up, app):
    digest = app.layers[0]
    px.blob(NAME, digest)
    stored(px, digest)
    px.stop()
    os.unlink(px.blob_file(digest))
    px.start()
    assert px.blob(NAME, digest).digest == digest
    assert up.count(f"GET */blobs/{digest}") == 2


def test_the_store_stays_under_its_limit(make, up):
    """The least recently used goes first; what went is fetched again when it is asked for."""
    p = make({"up.test": up.url}, ["--cache-size", "64MiB"])
    apps = [up.tag(f"lib/app{i}", "1", images.random_image(f"evict{i}", [2 << 20])) for i in range(8)]

    def pull(i):
        p.manifest(f"lib/app{i}", "1")
        assert p.blob(f"lib/app{i}", apps[i].layers[0]).digest == apps[i].layers[0]
        stored(p, apps[i].layers[0])

    for i in range(6):
        pull(i)
    p.stop()  # nobody but us says now when they were used
    for i in range(6):
        long_ago = time.time() - (10 - i) * 3600
        os.utime(p.blob_file(apps[i].layers[0]), (long_ago, long_ago))
    p.args[p.args.index("64MiB")] = "8MiB"
    p.start()
    pull(6)
    pull(7)

    def size():
        files = [os.path.join(folder, f) for folder, _, names in os.walk(os.path.join(p.data, "blobs")) for f in names]
        return sum(os.path.getsize(f) for f in files if os.path.exists(f))
    process.wait_for(lambda: size() <= 8 << 20, 15, "store under its limit")
    assert os.path.exists(p.blob_file(apps[-1].layers[0])) and not os.path.exists(p.blob_file(apps[0].layers[0]))
    for i, image in enumerate(apps):
        assert p.blob(f"lib/app{i}", image.layers[0]).digest == image.layers[0]


def test_a_full_disk_does_not_stop_a_pull(make, scratch, up):
    """Bytes pass through, and are not kept."""
    data = scratch.folder("small")
    scratch.run("mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", data)
    try:
        p = make({"up.test": up.url}, data=data)
        image = up.tag(NAME, "1", images.random_image("full", [16 << 20]))
        assert p.manifest(NAME, "1").status == 200
        reply = p.blob(NAME, image.layers[0], timeout=60)
        assert (reply.status, reply.broken, reply.digest) == (200, "", image.layers[0])
        assert not os.path.exists(p.blob_file(image.layers[0]))
        assert p.blob(NAME, image.json["config"]["digest"]).status == 200
        p.stop()
    finally:
        scratch.run("umount", data)


def test_sigterm_lets_a_download_finish(px, up, app):
    digest, hold = app.layers[0], threading.Event()
    up.rule("GET */blobs/*", lambda x: x.proper(hold=hold))
    try:
        with wire.Raw(px.address, timeout=20) as raw:
            raw.send(request(digest))
            raw.read_until(lambda d: len(d) > SIZE // 4)
            px.daemon.signal(signal.SIGTERM)
            time.sleep(0.5)
            assert px.daemon.running()
            with pytest.raises(OSError):
                px.fetch("GET", "/healthz", timeout=2)
            hold.set()
            assert raw.read_reply().digest == digest
    finally:
        hold.set()
    assert px.daemon.process.wait(20) == 0


def test_sigterm_does_not_wait_for_ever(make, up):
    p = make({"up.test": up.url}, ["--shutdown-grace", "1s"])
    image = up.tag(NAME, "1", images.random_image("grace", [SIZE]))
    p.manifest(NAME, "1")
    up.rule("GET */blobs/*", lambda x: x.proper(stall=SIZE // 2))
    with wire.Raw(p.address, timeout=20) as raw:
        raw.send(request(image.layers[0]))
        raw.read_until(lambda d: len(d) > SIZE // 4)
        begin = time.monotonic()
        p.daemon.signal(signal.SIGTERM)
        assert p.daemon.process.wait(60) == 0
        assert 0.5 < time.monotonic() - begin < 20
