# SPDX-License-Identifier: Apache-2.0
"""/v1/events: each record once, in order, wherever the stream is cut."""
import threading
import time

import pytest

from rig import images, proxy, wire
from rig.events import Events

NAME = "lib/app"
ARGS = ["--pulls-check-window", "1s", "--access-anonymous", "pull,read-records"]


@pytest.fixture
def rec(make, up):
    up.tag(NAME, "1", images.tiny())
    return make({"up.test": up.url}, ARGS)


def pulls(p, *agents):
    for agent in agents:
        assert p.fetch("GET", f"/v2/{NAME}/manifests/1", {"User-Agent": agent}).status == 200


def agents_of(records):
    return [r["userAgent"] for r in records]


def test_a_pull_is_told_before_its_window_is_over(make, up):
    up.tag(NAME, "1", images.tiny())
    e = Events(make({"up.test": up.url}, [*ARGS, "--pulls-check-window", "10m"]))
    pulls(e.proxy, "a")
    assert e.next()["kind"] == "pull"
    e.close()


def test_a_pull_is_told_and_a_check_when_it_is_one(rec):
    e = Events(rec)
    pulls(rec, "a")
    assert e.next()["kind"] == "pull"
    rec.manifest(NAME, "1", "HEAD")
    assert e.next()["kind"] == "check"
    e.close()


def test_a_stream_begins_with_what_comes(rec):
    pulls(rec, "before")
    time.sleep(1)
    e = Events(rec)
    pulls(rec, "after")
    assert agents_of(e.take(1)) == ["after"]
    e.close()


def test_a_stream_that_is_cut_misses_nothing_and_tells_nothing_twice(rec):
    sent = [f"node-{i}" for i in range(300)]
    done = threading.Event()

    def work():
        for agent in sent:
            pulls(rec, agent)
        done.set()
    first = Events(rec)
    threading.Thread(target=work).start()
    got, last = first.take(1), first.last
    first.close()
    while len(got) < len(sent):
        e = Events(rec, last)
        got += e.take(min(37, len(sent) - len(got)))
        last = e.last
        e.close()
    assert done.wait(20) and agents_of(got) == sent
    assert len({r["id"] for r in got}) == len(sent) and sorted(r["id"] for r in got) == [r["id"] for r in got]


def test_it_resumes_across_a_restart_and_from_long_ago(rec):
    e = Events(rec)
    pulls(rec, "first")
    first = e.next()
    e.close()
    pulls(rec, *[f"n{i}" for i in range(50)])
    rec.restart()
    pulls(rec, "last")
    e = Events(rec, first["id"])
    assert agents_of(e.take(51)) == [*[f"n{i}" for i in range(50)], "last"]
    e.close()


def test_many_readers_get_the_same(rec):
    readers = [Events(rec) for _ in range(50)]
    pulls(rec, *[f"n{i}" for i in range(20)])
    for e in readers:
        assert agents_of(e.take(20)) == [f"n{i}" for i in range(20)]
        e.close()


def test_a_reader_that_takes_nothing_holds_up_nobody(make, up):
    up.tag(NAME, "1", images.tiny())
    rec = make({"up.test": up.url}, ARGS, env={"ASAN_OPTIONS": "detect_leaks=1:quarantine_size_mb=1"})
    with wire.Raw(rec.address, receive_buffer=1024) as slow:
        slow.send(b"GET /v1/events HTTP/1.1\r\nHost: x\r\n\r\n")
        slow.read_head()
        e = Events(rec)
        before = rec.metrics()["rac_memory_bytes"]
        for i in range(0, 4000, 100):
            pulls(rec, *[f"{'x' * 200}{j}" for j in range(i, i + 100)])
            assert len(e.take(100)) == 100
        with open(proxy.binary("rac-proxy"), "rb") as f:
            has_shadow = b"__tsan_init" in f.read()
        assert has_shadow or rec.metrics()["rac_memory_bytes"] - before < 48 << 20
        e.close()


def test_drain_ends_a_stream_whole(rec):
    e = Events(rec)
    pulls(rec, "a")
    e.next()
    begin = time.monotonic()
    rec.stop()
    assert time.monotonic() - begin < 25
    assert e.next() is None, "the last chunk, not a reset"


@pytest.mark.parametrize("last", ["nonsense", "0" * 26, "7ZZZZZZZZZZZZZZZZZZZZZZZZZ", "0" * 25 + "\u00e9"])
def test_an_id_that_is_none_is_refused(rec, last):
    assert rec.fetch("GET", "/v1/events", {"Last-Event-ID": last.encode()}).status == 400


def test_head_and_other_methods(rec):
    assert rec.head("/v1/events").status == 200
    assert rec.fetch("POST", "/v1/events", body=b"").status == 405


def test_an_http_1_0_reader_gets_it_unchunked(rec):
    with wire.Raw(rec.address) as raw:
        raw.send(b"GET /v1/events HTTP/1.0\r\n\r\n")
        raw.read_until(lambda d: d.endswith(b":\n\n"))
        pulls(rec, "a")
        raw.read_until(lambda d: d.endswith(b"}\n\n"))
        assert b"chunked" not in raw.data.lower() and b"\nevent: pull\n" in raw.data


def test_without_the_role_nothing_is_told(make, up):
    p = make({"up.test": up.url}, ["--access-anonymous", "pull"])
    for path in ("/v1/events", "/v1/pulls", "/v1/demand"):
        assert p.get(path).status == 401


def test_without_records_it_says_so(make, up):
    p = make({"up.test": up.url}, [*ARGS, "--pulls-record=false"])
    up.tag(NAME, "1", images.tiny())
    assert p.manifest(NAME, "1").status == 200
    for path in ("/v1/events", "/v1/pulls", "/v1/demand"):
        assert p.get(path).status == 503 and "pulls.record" in p.get(path).json["message"]
