# SPDX-License-Identifier: Apache-2.0
"""A store of records that is full, slow, broken or gone: pulls go on as if nothing was, and what was lost is counted."""
import contextlib
import os
import shutil
import sqlite3
import statistics
import time

import pytest

from rig import images, wire
from rig.process import wait_for
from test_records import records

NAME = "lib/app"
HERE = os.path.dirname(os.path.abspath(__file__))
ARGS = ["--pulls-check-window", "1s", "--access-anonymous", "pull,read-records", "--log-level", "info", "--log-access=false"]
# More than can wait: 20,000 records, and what is in the rings.
MANY = 60000


def storm(p, count, at_once=500):
    """That many pulls of a warm manifest, pipelined; returns seconds."""
    request = f"GET /v2/{NAME}/manifests/1 HTTP/1.1\r\nHost: x\r\nUser-Agent: storm\r\n\r\n".encode()
    begin = time.monotonic()
    with wire.Raw(p.address, timeout=60) as raw:
        for _ in range(0, count, at_once):
            raw.data = b""
            raw.send(request * at_once)
            raw.read_until(lambda d: d.count(b"HTTP/1.1 200 OK") >= at_once and d.endswith(b"}"))
            assert not raw.ended, raw.ended
    return time.monotonic() - begin


def latency(p, count=50):
    with wire.Connection(p.address) as c:
        times = []
        for _ in range(count):
            begin = time.monotonic()
            assert c.request("GET", f"/v2/{NAME}/manifests/1").status == 200
            times.append(time.monotonic() - begin)
    return statistics.median(times)


def dropped(p):
    return sum(v for k, v in p.metrics().items() if k.startswith("rac_records_dropped_total"))


def written(p):
    return sum(v for k, v in p.metrics().items() if k.startswith("rac_records_written_total"))


def pending(p):
    """What lies in the journal to become records."""
    with contextlib.closing(sqlite3.connect(f"file:{p.data}/records.db?mode=ro", uri=True, timeout=10)) as db:
        return [bytes(row) for row, in db.execute("SELECT bytes FROM pending")]


def test_a_full_disk(make, scratch, up):
    data = scratch.folder("small")
    scratch.run("mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", data)
    try:
        up.tag(NAME, "1", images.tiny())
        p = make({"up.test": up.url}, ["--upstream-fresh", "1h", *ARGS], data=data)
        assert p.manifest(NAME, "1").status == 200
        wait_for(lambda: written(p) == 1, 10, "the first record")
        with open(data + "/ballast", "wb", buffering=0) as f, contextlib.suppress(OSError):
            while True:
                f.write(b"x" * 65536)
        storm(p, MANY)
        wait_for(lambda: "pull records are not written" in p.log(), 20, "word of it")
        storm(p, MANY)
        wait_for(lambda: p.metrics()['rac_records_dropped_total{reason="store"}'] > 0, 30, "records that are dropped")
        assert "pull records are not written" in p.log() and latency(p) < 0.05
        assert p.log().count("pull records are not written") == 1, "once a minute"
        assert p.get("/v1/pulls").status == 200, "what there is can be read"
        os.unlink(data + "/ballast")
        before = written(p)
        wait_for(lambda: written(p) > before, 10, "records again, once there is room")
        p.manifest(NAME, "1")
        p.stop()
    finally:
        scratch.run("umount", data)


@pytest.fixture
def slow(make, up, scratch):
    """A proxy whose records.db is as slow as slow.set says."""
    if not shutil.which("cc"):
        pytest.skip("no C compiler for the shim")
    folder = scratch.folder("slow")
    source = os.path.join(os.path.dirname(HERE), "faults", "slow_disk.c")
    scratch.run("cc", "-O1", "-shared", "-fPIC", "-D_GNU_SOURCE", "-o", folder + "/slow.so", source, "-ldl")

    def pace(text):
        with open(folder + "/ms.new", "w", encoding="utf-8") as f:
            f.write(text)
        os.rename(folder + "/ms.new", folder + "/ms")
    pace("0")
    up.tag(NAME, "1", images.tiny())
    p = make({"up.test": up.url}, ["--upstream-fresh", "1h", *ARGS],
             env={"LD_PRELOAD": folder + "/slow.so", "SLOW_DISK_MATCH": "records.db", "SLOW_DISK_MS": folder + "/ms",
                  "ASAN_OPTIONS": "detect_leaks=1:verify_asan_link_order=0"})
    assert p.manifest(NAME, "1").status == 200
    p.pace = pace
    yield p
    pace("0")


def test_a_disk_that_is_slow_loses_nothing_of_an_ordinary_day(slow):
    assert latency(slow) < 0.15
    slow.pace("300")
    for _ in range(5):
        assert latency(slow, 20) < 0.15, "far from what a write takes"
    slow.pace("0")
    wait_for(lambda: written(slow) == 1 + 50 + 5 * 20, 20, "every record")
    assert dropped(slow) == 0


def test_a_disk_that_hangs_holds_up_nobody(slow):
    quick = storm(slow, 20000)
    slow.pace("hang")
    slow.manifest(NAME, "1")
    time.sleep(1)
    assert storm(slow, 20000) < 10 * quick + 20
    for _ in range(20):
        if dropped(slow):
            break
        storm(slow, 20000)
    assert latency(slow) < 1 and dropped(slow) > 0
    assert slow.get("/healthz").status == 200 and slow.get("/readyz").status == 200
    slow.pace("0")
    before = written(slow)
    wait_for(lambda: written(slow) > before, 20, "records again")


def test_a_damaged_file_is_put_aside(make, up):
    up.tag(NAME, "1", images.tiny())
    p = make({"up.test": up.url}, ARGS)
    p.manifest(NAME, "1")
    records(p)
    p.stop()
    with open(p.data + "/records.db", "r+b") as f:
        f.write(b"this is no database" * 100)
    p.start()
    assert "damaged" in p.log() and records(p, timeout=0) == []
    p.manifest(NAME, "1")
    assert len(records(p)) == 1
    assert [f for f in os.listdir(p.data) if f.startswith("records.db.corrupt-")]


def test_a_file_that_cannot_be_opened_stops_nobody(make, up):
    up.tag(NAME, "1", images.tiny())
    p = make({"up.test": up.url}, ARGS)
    p.stop()
    for name in os.listdir(p.data):
        if name.startswith("records.db"):
            os.unlink(os.path.join(p.data, name))
    os.mkdir(p.data + "/records.db")
    p.start()
    assert p.manifest(NAME, "1").status == 200 and "pull records are off" in p.log()
    assert p.get("/v1/pulls").status == 503


def test_kill_9_loses_at_most_the_last_second(make, up):
    up.tag(NAME, "1", images.tiny())
    p = make({"up.test": up.url}, ["--access-anonymous", "pull,read-records"])
    for i in range(20):
        p.fetch("GET", f"/v2/{NAME}/manifests/1", {"User-Agent": f"n{i}"})
        p.fetch("HEAD", f"/v2/{NAME}/manifests/1", {"User-Agent": f"c{i}"})
    wait_for(lambda: written(p) == 20 and any(b"c19" in row for row in pending(p)), 20, "what is to outlive the process")
    p.kill()
    p.start()
    found = records(p, 21)
    assert {r["userAgent"] for r in found if r["kind"] == "pull"} == {f"n{i}" for i in range(20)}
    # The window of the checks was not over, and every GET followed the HEADs before it: one is left.
    assert [r["userAgent"] for r in found if r["kind"] == "check"] == ["c19"]


def test_the_oldest_go_when_the_store_is_as_large_as_it_may_be(make, up):
    up.tag(NAME, "1", images.tiny())
    p = make({"up.test": up.url}, [*ARGS, "--pulls-size", "2MiB"])
    p.manifest(NAME, "1")
    first = records(p)[0]["id"]
    storm(p, 40000)
    wait_for(lambda: written(p) + dropped(p) >= 40000, 60, "all of them")
    p.restart()
    wait_for(lambda: p.metrics()["rac_records_bytes"] <= 2 << 20, 30, "less than it may have")
    left = records(p)
    assert left and first not in {r["id"] for r in left} and p.metrics()["rac_records_kept"] > 1000
