# SPDX-License-Identifier: Apache-2.0
"""The mount on a server that breaks: no wrong byte is read, nothing is half there, nothing hangs, nothing is left behind."""
import errno
import http.server
import json
import mmap
import os
import threading
import time

import pytest

from rig.process import wait_for
from rig.s3faults import Fault
from test_files import MIB, data, read, refused, write
from test_model import SEED, Model


def body(s3, key):
    found = s3.objects["data"].get(key)
    return found and found.body


# -- requests, and no more of them than needed ------------------------------------------------------------
def asked(s3, since=0):
    """The requests since then: "GET key", "LIST prefix", ..."""
    lines = []
    for seen in s3.seen[since:]:
        if seen.method == "GET" and "list-type" in seen.query:
            lines.append(f"LIST {seen.query.get('prefix', '')}")
        else:
            lines.append(f"{seen.method} {seen.path.removeprefix('/data/')}")
    return lines


def test_attributes_come_from_the_listing(folder, s3):
    for i in range(500):
        s3.put(f"d/{i}", b"x" * i)
    s3.seen.clear()
    with os.scandir(f"{folder}/d") as entries:
        assert sum(e.stat().st_size for e in entries) == sum(range(500))
    assert asked(s3) == ["LIST d", "LIST d/"]


def test_a_small_file_is_one_get(folder, s3):
    for i in range(20):
        s3.put(f"d/{i}", b"%d" % i)
    os.listdir(f"{folder}/d")
    s3.seen.clear()
    order = sorted(map(str, range(20)), reverse=True)  # not as they are listed: nothing is fetched ahead
    for name in order:
        assert read(f"{folder}/d/{name}") == name.encode()
    assert asked(s3) == [f"GET d/{name}" for name in order]


def test_a_small_new_file_is_one_put(folder, s3):
    os.mkdir(f"{folder}/d")
    os.listdir(f"{folder}/d")
    s3.seen.clear()
    write(f"{folder}/d/f", b"x" * 100_000)
    assert asked(s3) == ["PUT d/f"]


def test_many_names_in_one_folder_are_one_listing(folder, s3):
    for i in range(100):
        s3.put(f"d/{i}", b"")
    s3.seen.clear()
    for i in range(100):
        os.stat(f"{folder}/d/{i}")
        assert not os.path.exists(f"{folder}/d/missing-{i}")
    assert len(asked(s3)) <= 8 and {line.split()[0] for line in asked(s3)} == {"LIST"}


def fetched(s3):
    total = 0
    for seen in s3.seen:
        if seen.method == "GET" and "list-type" not in seen.query:
            first, last = seen.headers["range"].removeprefix("bytes=").split("-")
            total += int(last) - int(first) + 1
    return total


def test_bytes_fetched_in_order(folder, s3):
    s3.put("f", data(40 * MIB))
    s3.seen.clear()
    assert read(f"{folder}/f") == data(40 * MIB)
    assert fetched(s3) <= 40 * MIB + (256 << 10)
    # Opening takes the newest version; all else is of that one, by the server's word, too.
    gets = [seen for seen in s3.seen if seen.method == "GET" and "list-type" not in seen.query]
    etag = '"' + s3.objects["data"]["f"].etag + '"'
    assert [seen.headers.get("if-match") for seen in gets] == [None] + [etag] * (len(gets) - 1)
    assert len(asked(s3)) <= 14


def test_bytes_fetched_in_order_but_late(folder, s3):
    """The kernel's requests come by several threads, and some much later than those behind them: nothing is fetched twice
    for that, and the window stays."""
    content, step = data(24 * MIB), 128 << 10
    s3.put("f", content)
    s3.seen.clear()
    order = list(range(24 * MIB // step))
    for i in range(9, len(order) - 8, 13):
        order.insert(i + 6, order.pop(i))
    fd = os.open(f"{folder}/f", os.O_RDONLY | os.O_DIRECT)
    buffer = mmap.mmap(-1, step)
    for i in order:
        assert os.preadv(fd, [buffer], i * step) == step and buffer[:] == content[i * step:(i + 1) * step]
    os.close(fd)
    assert fetched(s3) <= 24 * MIB + (256 << 10)


def test_bytes_fetched_at_random(folder, s3):
    content = data(40 * MIB)
    s3.put("f", content)
    s3.seen.clear()
    fd = os.open(f"{folder}/f", os.O_RDONLY)
    for i in range(50):
        at = (i * 7_654_321) % (40 * MIB)
        assert os.pread(fd, 4096, at) == content[at:at + 4096]
    os.close(fd)
    # The head that opening brings, a first window, since the first read is at the beginning, and what was asked for.
    assert fetched(s3) <= (128 << 10) + (1152 << 10) + 50 * (32 << 10)


def short(fault):
    """Of a fault, what is not as usual."""
    return ",".join(f"{k}={v}" for k, v in vars(fault).items() if v != getattr(Fault(), k))


# -- faults -----------------------------------------------------------------------------------------------
def storm(s3):
    """Every fault that a driver has to get through, at primes, so that they meet in all orders."""
    s3.rule("GET /data/*", Fault(reset_after=3000), every=29)
    s3.rule("GET /data/*", Fault(cut_after=70_000), every=31)
    s3.rule("GET /data/*", Fault(shift_range=1), every=41)
    s3.rule("GET /data/*", Fault(short_by=7), every=43)
    s3.rule("GET /data/*", Fault(rate=400_000), every=97)
    s3.rule("*", Fault(status=503, code="SlowDown"), every=10)
    s3.rule("*", Fault(lose=True), every=19)
    s3.rule("*", Fault(refuse=True), every=23)
    s3.rule("*", Fault(status=500), every=37)


@pytest.mark.parametrize("count", [250, pytest.param(2500, marks=pytest.mark.long)])
def test_random_operations_with_faults(scratch, folder, s3, count):
    storm(s3)
    model = Model(folder, scratch.folder("model"), SEED)
    for _ in range(count):
        model.step()
    model.finish()
    expected = model.contents(1)
    assert model.contents(0) == expected, f"seed {SEED}"
    assert {k: o.body for k, o in s3.objects["data"].items() if not k.endswith("/")} == {
        k: v for k, v in expected.items() if v is not None}
    assert s3.uploads == {}


@pytest.mark.parametrize("fault", [Fault(reset_after=700_000), Fault(cut_after=700_000), Fault(status=503, code="SlowDown"),
                                   Fault(refuse=True), Fault(shift_range=100), Fault(short_by=1000), Fault(ignore_range=True),
                                   Fault(chunked=True), Fault(stall_after=100_000, stall=3)], ids=short)
def test_reading_through_a_fault(start, s3, fault):
    folder, _ = start(RAC_S3_STALL_TIMEOUT="1s")
    content = data(20 * MIB)
    s3.put("f", content)
    s3.rule("GET /data/f*", fault, times=2, every=2)
    assert read(f"{folder}/f") == content


@pytest.mark.parametrize("fault", [Fault(reset_after=700_000), Fault(shift_range=100), Fault(etag="other")], ids=short)
def test_what_cannot_be_read_is_an_error_and_no_wrong_byte(start, s3, fault):
    folder, _ = start(RAC_S3_TRIES="2")
    content = data(20 * MIB)
    s3.put("f", content)
    fd = os.open(f"{folder}/f", os.O_RDONLY)
    s3.rule("GET /data/f*", fault)
    try:
        for at in range(0, len(content), MIB):
            got = os.pread(fd, MIB, at)
            assert got and got == content[at:at + len(got)]
    except OSError as e:
        assert e.errno in (errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EREMOTEIO)
    os.close(fd)


def logged(mount, text):
    """Lines of the log with that text; it is written by a thread of its own, a moment later."""
    return wait_for(lambda: [line for line in mount.log().splitlines() if text in line], 5, text)


ERRORS = [(403, "AccessDenied", errno.EACCES), (403, "InvalidAccessKeyId", errno.EACCES), (404, "NoSuchKey", errno.ENOENT),
          (503, "SlowDown", errno.EBUSY), (429, "TooManyRequests", errno.EBUSY), (400, "InvalidRequest", errno.EINVAL),
          (403, "QuotaExceeded", errno.EREMOTEIO), (507, "InsufficientStorage", errno.EREMOTEIO),
          (418, "Teapot", errno.EREMOTEIO), (408, "RequestTimeout", errno.ETIMEDOUT), (500, "InternalError", errno.EIO)]


@pytest.mark.parametrize("status, code, expected", ERRORS)
def test_errors_have_numbers(start, s3, status, code, expected):
    folder, mount = start(RAC_S3_TRIES="2")
    s3.put("f", b"x")
    s3.rule("GET /data/f", Fault(status=status, code=code))
    s3.rule("PUT /data/*", Fault(status=status, code=code))
    refused(expected, read, f"{folder}/f")
    if status != 404:
        refused(expected, write, f"{folder}/g", b"x")
        wait_for(lambda: not os.path.exists(f"{folder}/g"), 5, "the name is gone")
        for method, key in (("GET", "f"), ("PUT", "g")):
            lines = logged(mount, f"method={method}")
            assert len(lines) == 1, mount.log()
            for field in ("bucket=data", f"key={key}", f"status={status}", f"code={code}", "request_id=REQ"):
                assert field in lines[0]


def test_a_server_that_is_gone_and_one_that_is_silent(start, s3):
    folder, _ = start(RAC_S3_TRIES="2", RAC_S3_ANSWER_TIMEOUT="500ms")
    s3.put("f", b"x")
    s3.rule("GET /data/f", Fault(delay=3), times=2)
    refused(errno.ETIMEDOUT, read, f"{folder}/f")
    assert read(f"{folder}/f") == b"x"
    s3.close()
    refused(errno.EIO, read, f"{folder}/f")
    refused(errno.EIO, write, f"{folder}/g", b"x")


@pytest.mark.parametrize("fault", [Fault(status=500), Fault(refuse=True), Fault(status=503, code="SlowDown"),
                                   Fault(lose=True)], ids=short)
@pytest.mark.parametrize("what", ["PUT /data/f[?]*", "POST /data/f[?]uploads*", "POST /data/f[?]uploadId*"])
def test_an_upload_goes_through_a_fault(folder, s3, what, fault):
    content = data(30 * MIB)
    s3.rule(what, fault, times=1)
    write(f"{folder}/f", content)
    assert body(s3, "f") == content and s3.uploads == {}


@pytest.mark.parametrize("what", ["PUT /data/f[?]*", "POST /data/f[?]uploadId*"])
def test_a_failed_upload_is_told_and_leaves_nothing(start, s3, what):
    folder, mount = start(RAC_S3_TRIES="2")
    s3.put("f", b"old")
    s3.rule(what, Fault(status=500))
    with pytest.raises(OSError) as e:
        write(f"{folder}/f", data(30 * MIB))
    assert e.value.errno == errno.EIO
    s3.rules.clear()
    assert mount.stop() == 0
    assert body(s3, "f") == b"old" and s3.uploads == {}


def test_fsync_can_be_tried_again(start, s3):
    folder, _ = start(RAC_S3_TRIES="2")
    fd = os.open(f"{folder}/f", os.O_RDWR | os.O_CREAT)
    os.write(fd, b"content")
    s3.rule("PUT /data/f", Fault(status=500), times=2)
    refused(errno.EIO, os.fsync, fd)
    os.fsync(fd)
    os.close(fd)
    assert body(s3, "f") == b"content"


def test_a_file_emptied_after_a_failed_part_is_an_empty_object(start, s3):
    """The upload was begun, no part of it came through, and the program begins anew: with nothing, in the end."""
    folder, _ = start(RAC_S3_TRIES="1")
    s3.rule("PUT /data/f[?]partNumber=*", Fault(status=403, code="AccessDenied"))
    fd = os.open(f"{folder}/f", os.O_CREAT | os.O_WRONLY)
    end = time.monotonic() + 30
    with pytest.raises(PermissionError):
        for _ in range(9):
            os.write(fd, b"x" * MIB)
        while time.monotonic() < end:  # the first part is on its way
            os.write(fd, b"x")
            time.sleep(0.02)
    os.ftruncate(fd, 0)
    os.close(fd)
    assert body(s3, "f") == b"" and not s3.uploads
    assert os.stat(f"{folder}/f").st_size == 0


@pytest.mark.parametrize("how", ["unlink", "rename"])
def test_a_deletion_that_fails_deletes_nothing(start, s3, how):
    """What was written to the file goes on to be stored."""
    folder, _ = start(RAC_S3_TRIES="2")
    write(f"{folder}/other", b"other")
    fd = os.open(f"{folder}/f", os.O_WRONLY | os.O_CREAT)
    os.write(fd, b"content")
    s3.rule("DELETE /data/f" if how == "unlink" else "PUT /data/f", Fault(status=500), times=2)
    if how == "unlink":
        refused(errno.EIO, os.unlink, f"{folder}/f")
    else:
        refused(errno.EIO, os.rename, f"{folder}/other", f"{folder}/f")
    assert sorted(os.listdir(folder)) == ["f", "other"]
    os.close(fd)
    assert body(s3, "f") == b"content" and body(s3, "other") == b"other"


def test_no_file_is_made_where_another_client_made_a_folder(start, s3):
    """The kernel still believes that the name is free."""
    folder, _ = start(RAC_METADATA_TTL="60s")
    assert not os.path.exists(f"{folder}/d")
    s3.put("d/f", b"content")
    refused(errno.EISDIR, os.open, f"{folder}/d", os.O_CREAT | os.O_WRONLY)
    assert read(f"{folder}/d/f") == b"content" and sorted(s3.objects["data"]) == ["d/f"]
    os.unlink(f"{folder}/d/f")
    os.rmdir(f"{folder}/d")


def test_a_deleted_file_has_no_way_to_the_one_that_took_its_name(folder, s3):
    """By its descriptor's name in /proc it can be opened again, and cut: what is there now is another file."""
    write(f"{folder}/f", b"old content")
    fd = os.open(f"{folder}/f", os.O_RDONLY)
    os.unlink(f"{folder}/f")
    write(f"{folder}/f", b"new content")
    for flags in (os.O_RDONLY, os.O_RDWR, os.O_WRONLY | os.O_TRUNC):
        refused(errno.ESTALE, os.open, f"/proc/self/fd/{fd}", flags)
    refused(errno.ESTALE, os.truncate, f"/proc/self/fd/{fd}", 3)
    assert os.read(fd, 100) == b"old content"
    os.close(fd)
    assert body(s3, "f") == b"new content" == read(f"{folder}/f")


def test_a_deleted_files_mode_is_not_the_one_of_its_successor(start, s3):
    folder, _ = start(RAC_POSIX="1")
    write(f"{folder}/f", b"old content")
    fd = os.open(f"{folder}/f", os.O_RDWR)
    os.unlink(f"{folder}/f")
    write(f"{folder}/f", b"new content")
    before = s3.objects["data"]["f"]
    os.fchmod(fd, 0o600)
    os.close(fd)
    assert s3.objects["data"]["f"] is before


@pytest.mark.parametrize("how", ["unlink", "rename"])
def test_what_is_opened_while_its_name_goes_does_not_come_back(folder, s3, how):
    write(f"{folder}/other", b"other")
    write(f"{folder}/f", b"content")
    what = {"unlink": "DELETE /data/f", "rename": "PUT /data/f"}[how]
    go = threading.Event()
    s3.rule(what, Fault(hold=go), times=1)
    calls = {"unlink": lambda: os.unlink(f"{folder}/f"), "rename": lambda: os.rename(f"{folder}/other", f"{folder}/f")}
    before = s3.count(what)
    thread = threading.Thread(target=calls[how])
    thread.start()
    wait_for(lambda: s3.count(what) > before)
    fd = os.open(f"{folder}/f", os.O_WRONLY)
    go.set()
    thread.join()
    os.ftruncate(fd, 0)
    os.write(fd, b"late")
    os.close(fd)
    assert body(s3, "f") == {"unlink": None, "rename": b"other"}[how]


def test_another_client_replaces_what_is_patched(folder, s3):
    s3.put("f", data(30 * MIB))
    fd = os.open(f"{folder}/f", os.O_RDWR)
    os.pwrite(fd, b"patch", 20 * MIB)
    s3.put("f", b"theirs")
    refused(errno.ESTALE, os.fsync, fd)
    refused(errno.ESTALE, os.close, fd)
    assert body(s3, "f") == b"theirs" and s3.uploads == {}


def test_listing_is_forbidden_but_reading_is_not(start, s3):
    folder, _ = start(RAC_S3_TRIES="2")
    s3.rule("GET /data[?]*", Fault(status=403, code="AccessDenied"))
    s3.put("top", b"content")
    assert read(f"{folder}/top") == b"content"
    refused(errno.EACCES, os.listdir, folder)


@pytest.mark.parametrize("how", [301, 400])
def test_a_bucket_of_another_region(start, s3, how):
    s3.region, s3.redirect = "eu-south-2", how
    folder, _ = start(AWS_REGION="us-east-1", RAC_S3_TRIES="1")
    content = data(20 * MIB)
    write(f"{folder}/f", content)
    os.mkdir(f"{folder}/d")
    os.rename(f"{folder}/f", f"{folder}/d/f")
    assert read(f"{folder}/d/f") == content and os.listdir(folder) == ["d"]
    assert s3.uploads == {}
    # It is learned once.
    assert sum(seen.status == how for seen in s3.seen) == 1


class Shop:
    """Credentials as a container's service hands them out; each call gives others."""

    def __init__(self):
        shop = self
        self.given = 0

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                shop.given += 1
                body = json.dumps({"AccessKeyId": f"K{shop.given}", "SecretAccessKey": "S", "Token": f"T{shop.given}",
                                   "Expiration": "2099-01-01T00:00:00Z"}).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args):
                pass
        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.http.serve_forever, args=(0.05,), daemon=True).start()
        self.environment = {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "",
                            "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"http://127.0.0.1:{self.http.server_address[1]}/c"}

    def close(self):
        self.http.shutdown()
        self.http.server_close()


@pytest.fixture
def shop():
    s = Shop()
    yield s
    s.close()


def test_credentials_expire_in_the_middle(start, s3, shop):
    """Of an upload, of a read, and of a listing: each goes on with others."""
    s3.known_tokens = {"T1"}
    folder, _ = start(**shop.environment)
    content = data(40 * MIB)
    with open(f"{folder}/f", "wb", buffering=0) as f:
        f.write(content[:20 * MIB])
        s3.known_tokens = {"T2"}
        f.write(content[20 * MIB:])
    assert body(s3, "f") == content and s3.uploads == {}
    with open(f"{folder}/f", "rb", buffering=0) as f:
        got = f.read(MIB)
        s3.known_tokens = {"T3"}
        while piece := f.read(MIB):
            got += piece
    assert got == content
    s3.known_tokens = {"T4"}
    s3.put("d/e", b"")
    assert os.listdir(f"{folder}/d") == ["e"]
    assert shop.given == 4


def test_credentials_that_stay_expired(start, s3, shop):
    folder, mount = start(**shop.environment)
    s3.put("f", data(20 * MIB))
    fd, new = os.open(f"{folder}/f", os.O_RDONLY), os.open(f"{folder}/new", os.O_WRONLY | os.O_CREAT)
    os.write(new, data(20 * MIB))
    s3.known_tokens = set()
    refused(errno.EACCES, os.pread, fd, MIB, 15 * MIB)
    refused(errno.EACCES, os.close, new)
    os.close(fd)
    assert body(s3, "new") is None
    assert logged(mount, "code=ExpiredToken")
    s3.known_tokens = None
    s3.uploads.clear()  # which nobody had the right to abort


def test_a_bucket_that_is_not_there_ends_the_start(scratch, s3):
    from rig.mount import Mount
    m = Mount(scratch, s3.environment(), buckets=["missing"])
    assert m.ready == b"" and m.daemon.process.wait(10) == 1
    assert "missing" in m.log() and not os.path.ismount(m.root)


@pytest.mark.parametrize("size", [3 * MIB, MIB, 4 * MIB])
def test_an_open_that_was_overtaken_by_a_lookup_shares_no_page(folder, s3, size):
    """Its version is older than what the kernel was told meanwhile: who opens the file after it gets nothing of it."""
    old, new = b"1" * (3 * MIB), b"2" * size
    s3.put("f", old)
    os.stat(f"{folder}/f")
    s3.rule("GET /data/f*", Fault(delay=3), times=1)
    fds = []
    opener = threading.Thread(target=lambda: fds.append(os.open(f"{folder}/f", os.O_RDONLY)))
    opener.start()
    time.sleep(1.5)
    s3.put("f", new)
    assert os.stat(f"{folder}/f").st_size == size
    opener.join()
    try:
        first = os.pread(fds[0], 4096, 0)
        assert first in (old[:4096], new[:4096])
        assert read(f"{folder}/f") == new
        assert os.pread(fds[0], 4096, 0) == first, "of the same version as before, or it is told"
    finally:
        os.close(fds[0])
    assert read(f"{folder}/f") == new


def test_a_write_over_a_version_that_others_do_not_read(folder, s3):
    """A remote version comes between an open reader, whose pages the kernel has, and a write of a few bytes: what is stored
    is made of the newest version, and no reader gets the pages of the other for it."""
    s3.put("f", b"1" * (4 * MIB))
    wanted = b"2" * (3 * MIB) + b"x" + b"2" * (MIB - 1)
    with open(f"{folder}/f", "rb", buffering=0) as reader:
        assert reader.read(MIB) == b"1" * MIB
        s3.put("f", b"2" * (4 * MIB))
        fd = os.open(f"{folder}/f", os.O_WRONLY)
        os.pwrite(fd, b"x", 3 * MIB)
        os.close(fd)
        wait_for(lambda: s3.objects["data"]["f"].body == wanted, 30, "the commit, which waits for who has it open as well")
        assert read(f"{folder}/f") == wanted
        try:
            rest = os.pread(reader.fileno(), MIB, 2 * MIB)
        except OSError as e:
            assert e.errno == errno.ESTALE
        else:
            assert rest == b"1" * MIB, "of the version that it began with, or it is told"
    assert read(f"{folder}/f") == wanted


# -- what is fetched before it is asked for -----------------------------------------------------------------
def test_small_files_in_the_order_of_the_folder_are_fetched_ahead(folder, s3):
    names = [f"{i:03}" for i in range(100)]
    for name in names:
        s3.put(f"d/{name}", name.encode())
    s3.put("d/large", data(MIB))
    s3.rule("GET /data/d/*", Fault(delay=0.2))
    os.listdir(f"{folder}/d")
    s3.seen.clear()
    begin = time.monotonic()
    assert [read(f"{folder}/d/{name}").decode() for name in names] == names
    assert time.monotonic() - begin < 100 * 0.2 * 0.8
    # Each once, but for what one listing was too old for.
    assert sum(line.startswith("GET d/") for line in asked(s3)) <= 120 and "GET d/large" not in asked(s3)


def test_what_was_fetched_ahead_is_not_read_when_it_is_old(start, s3):
    folder, _ = start("--metadata-ttl", "300ms")
    for i in range(10):
        s3.put(f"d/{i}", b"old")
    os.listdir(f"{folder}/d")
    for i in range(3):
        read(f"{folder}/d/{i}")
    write(f"{folder}/d/4", b"written here")
    assert read(f"{folder}/d/4") == b"written here"
    s3.put("d/5", b"new")
    time.sleep(0.35)
    assert read(f"{folder}/d/5") == b"new"
