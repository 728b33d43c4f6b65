# SPDX-License-Identifier: Apache-2.0
"""Files of an S3 mount, compared with what S3 has, seen without the driver."""
import errno
import hashlib
import mmap
import os
import random
import stat
import threading
import time

import pytest

from rig import radosgw
from rig.bucket import Bucket

MIB = 1 << 20
PART = 8 * MIB


def data(size, seed=1):
    rng = random.Random(seed)
    return b"".join(rng.randbytes(min(64 * MIB, size - at)) for at in range(0, size, 64 * MIB))


def write(path, content, step=MIB):
    with open(path, "wb", buffering=0) as f:
        for i in range(0, len(content), step):
            assert f.write(content[i:i + step]) == len(content[i:i + step])


def read(path):
    with open(path, "rb") as f:
        return f.read()


def refused(code, call, *args):
    with pytest.raises(OSError) as e:
        call(*args)
    assert e.value.errno == code, e.value


def refused_or_not(call, *args):
    try:
        call(*args)
    except OSError:
        pass


SIZES = [0, 1, PART - 1, PART, PART + 1, 64 * MIB, pytest.param(1 << 30, marks=pytest.mark.long)]


@pytest.mark.parametrize("size", SIZES)
def test_what_is_written_is_the_object(here, bucket, size):
    content = data(size)
    write(f"{here}/f", content)
    assert hashlib.sha256(bucket.get("f")).digest() == hashlib.sha256(content).digest()
    assert os.stat(f"{here}/f").st_size == size


@pytest.mark.parametrize("size", SIZES)
def test_the_object_is_what_is_read(here, bucket, size):
    content = data(size)
    bucket.put("f", content)
    assert hashlib.sha256(read(f"{here}/f")).digest() == hashlib.sha256(content).digest()


LARGE = (5 << 30) + 1  # more than one PUT, or one copy, may have


def large(at):
    """The MiB of a large file that begins there: no two are alike."""
    n = min(MIB, LARGE - at)
    return (at.to_bytes(8, "big") + BLOCK)[:n]


BLOCK = data(MIB - 8, 5)


def available_memory():
    with open("/proc/meminfo", encoding="ascii") as f:
        return next(int(line.split()[1]) * 1024 for line in f if line.startswith("MemAvailable:"))


@pytest.mark.long
def test_past_5_gib(scratch, mounts):
    """Written, read, and renamed, which is a copy in parts. The gateway holds all of it twice, in memory: it ends with
    the test."""
    if available_memory() < 17 << 30:
        pytest.skip(f"needs 17 GiB of free memory, there are {available_memory() >> 30}")
    gateway, mount = radosgw.Radosgw(scratch, 12 << 30), None
    try:
        bucket = Bucket(gateway.environment(), "large")
        mount = mounts(gateway.environment(), buckets=["large"])
        here = mount.path("large")
        with open(f"{here}/f", "wb", buffering=0) as f:
            for at in range(0, LARGE, MIB):
                assert f.write(large(at)) == len(large(at))
        assert os.stat(f"{here}/f").st_size == LARGE
        with open(f"{here}/f", "rb", buffering=0) as f:
            for at in range(0, LARGE, MIB):
                assert f.read(MIB) == large(at), at
        os.rename(f"{here}/f", f"{here}/g")
        assert bucket.keys() == ["g"] and bucket.uploads() == []
        for at in range(0, LARGE, 64 * MIB):
            end = min(at + 64 * MIB, LARGE)
            _, got = bucket.request("GET", "g", headers={"range": f"bytes={at}-{end - 1}"}, expect=(206,))
            assert got == b"".join(large(i) for i in range(at, end, MIB)), at
        if b"ld-linux" not in read(f"/proc/{mount.pid}/maps"):
            assert mount.memory() < 80 * MIB
    finally:
        if mount:
            mount.stop()
        gateway.close()


NAMES = ["a b", "+", "%41", "a%2Fb", "&?#=;:@!$'()*,[]", "\u00fc\u00f1\u00ed\u4e2d\u6587\U0001f600", "trailing ", " leading", "back\\slash", "a\nb",
         "x" * 1000, "~tilde", "\"quoted\"", "<xml>&amp;", "...", "..a", "-"]


@pytest.mark.parametrize("name", NAMES)
def test_names(here, bucket, name):
    write(f"{here}/{name}", b"content")
    assert bucket.keys() == [name]
    assert os.listdir(here) == [name]
    assert read(f"{here}/{name}") == b"content"
    os.mkdir(f"{here}/d")
    os.rename(f"{here}/{name}", f"{here}/d/{name}")
    assert sorted(bucket.keys()) == ["d/", f"d/{name}"]
    os.unlink(f"{here}/d/{name}")
    assert bucket.keys() == ["d/"]


def test_a_key_of_1024_bytes(here, bucket):
    folders = ["d" * 200] * 4
    os.makedirs("/".join([here, *folders]))
    name = "n" * (1024 - len("/".join(folders)) - 1)
    path = "/".join([here, *folders, name])
    write(path, b"x")
    assert len(bucket.keys()[-1]) == 1024 and read(path) == b"x"
    refused(errno.ENAMETOOLONG, write, path + "n", b"x")


@pytest.mark.parametrize("key", ["a//b", "a/./b", "a/../b", "../b", "./b", "/b"])
def test_names_that_cannot_be_files_are_hidden(here, bucket, key):
    bucket.put(key, b"hidden")
    bucket.put("a/seen", b"x")
    assert os.listdir(here) == ["a"]
    assert os.listdir(f"{here}/a") == ["seen"]


def test_a_folder_shadows_an_object(here, bucket):
    bucket.put("a", b"object")
    bucket.put("a-1", b"between them in the order of keys")
    bucket.put("a/b", b"below")
    assert sorted(os.listdir(here)) == ["a", "a-1"]
    assert stat.S_ISDIR(os.stat(f"{here}/a").st_mode)
    assert read(f"{here}/a/b") == b"below"


def test_a_name_is_found_among_many_that_begin_like_it(here, bucket):
    for i in range(30):
        bucket.put(f"a-{i}", b"")
    bucket.put("a/b", b"below")
    assert read(f"{here}/a/b") == b"below"


def test_folders(here, bucket):
    os.mkdir(f"{here}/d")
    assert bucket.keys() == ["d/"]
    refused(errno.EEXIST, os.mkdir, f"{here}/d")
    write(f"{here}/d/f", b"x")
    refused(errno.ENOTEMPTY, os.rmdir, f"{here}/d")
    os.unlink(f"{here}/d/f")
    os.rmdir(f"{here}/d")
    assert bucket.keys() == [] and os.listdir(here) == []
    refused(errno.ENOENT, os.rmdir, f"{here}/d")


def test_a_prefix_is_a_folder_without_a_marker(here, bucket):
    bucket.put("p/q/f", b"x")
    assert os.listdir(here) == ["p"] and os.listdir(f"{here}/p") == ["q"]
    refused(errno.ENOTEMPTY, os.rmdir, f"{here}/p/q")


@pytest.mark.parametrize("count", [2000, pytest.param(10000, marks=pytest.mark.long)])
def test_a_folder_of_many_objects(here, bucket, count):
    # Four writers: the gateway, not the test, is to be busy.
    def put(k):
        for i in range(k, count, 4):
            bucket.put(f"many/{i:05}", b"%d" % i)
    threads = [threading.Thread(target=put, args=(k,)) for k in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    names = [f"{i:05}" for i in range(count)]
    assert sorted(os.listdir(f"{here}/many")) == names
    with os.scandir(f"{here}/many") as entries:
        assert {e.name: e.stat().st_size for e in entries} == {n: len(str(int(n))) for n in names}
    assert read(f"{here}/many/{count - 1:05}") == b"%d" % (count - 1)


def test_nothing_appears_before_it_is_complete(here, bucket):
    f = os.open(f"{here}/f", os.O_WRONLY | os.O_CREAT)
    for _ in range(20):
        os.write(f, data(MIB))
    assert bucket.keys() == [] and os.stat(f"{here}/f").st_size == 20 * MIB
    os.close(f)
    assert bucket.keys() == ["f"]


def test_a_replaced_object_is_old_until_it_is_new(here, bucket):
    bucket.put("f", b"old")
    f = os.open(f"{here}/f", os.O_WRONLY | os.O_TRUNC)
    os.write(f, b"new content")
    assert bucket.get("f") == b"old"
    os.close(f)
    assert bucket.get("f") == b"new content"


def test_fsync_stores(here, bucket):
    f = os.open(f"{here}/f", os.O_WRONLY | os.O_CREAT)
    for size in (5, PART, 3 * MIB):
        before = os.fstat(f).st_size
        os.write(f, b"x" * size)
        os.fsync(f)
        assert len(bucket.get("f")) == before + size
    os.close(f)
    assert bucket.get("f") == b"x" * (5 + PART + 3 * MIB)


def test_a_shell_redirection_is_one_object(here, bucket, scratch):
    scratch.run("sh", "-c", 'echo one >"$0/a"; (echo two; echo three; sleep 0.1; echo four) >"$0/b"; : >"$0/c"; '
                'echo more >>"$0/a"; cat "$0/a" "$0/b" >"$0/d"', here)
    assert {k: bucket.get(k) for k in bucket.keys()} == {
        "a": b"one\nmore\n", "b": b"two\nthree\nfour\n", "c": b"", "d": b"one\nmore\ntwo\nthree\nfour\n"}


def test_exclusive_creation(two, bucket):
    f = os.open(f"{two[0]}/f", os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    os.write(f, b"mine")
    refused(errno.EEXIST, os.open, f"{two[0]}/f", os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    bucket.put("f", b"somebody was faster")
    refused(errno.EEXIST, os.close, f)
    assert bucket.get("f") == b"somebody was faster"


@pytest.mark.parametrize("size", [10, 3 * MIB, 9 * MIB, 40 * MIB])
def test_appending(here, bucket, size):
    content = data(size)
    bucket.put("f", content)
    for piece in (b"1", b"22" * 1000, data(PART, 2)):
        with open(f"{here}/f", "ab") as f:
            f.write(piece)
        content += piece
        assert bucket.get("f") == content
    assert read(f"{here}/f") == content


def test_writes_in_the_middle(here, bucket):
    content = bytearray(data(40 * MIB))
    bucket.put("f", bytes(content))
    with open(f"{here}/f", "r+b", buffering=0) as f:
        for offset, piece in [(0, b"head"), (20 * MIB + 17, data(5000, 3)), (PART - 2, b"edge"), (40 * MIB - 1, b"tail"),
                              (20 * MIB, b"before what was written")]:
            f.seek(offset)
            f.write(piece)
            content[offset:offset + len(piece)] = piece
            f.seek(offset // 2)
            assert f.read(100) == content[offset // 2:offset // 2 + 100]
    assert bucket.get("f") == bytes(content)
    assert read(f"{here}/f") == bytes(content)


def test_the_head_is_filled_in_at_the_end(here, bucket):
    """As video containers do, without reading."""
    content = bytearray(data(30 * MIB))
    with open(f"{here}/f", "wb", buffering=0) as f:
        f.write(bytes(content))
        f.seek(4)
        f.write(b"the length is known now")
        content[4:27] = b"the length is known now"
    assert bucket.get("f") == bytes(content)


def test_what_was_sent_cannot_be_written_again_but_by_who_also_reads(here, bucket):
    with open(f"{here}/f", "wb", buffering=0) as f:
        for i in range(64):
            f.write(data(MIB, i))
        f.seek(20 * MIB)
        refused(errno.EOPNOTSUPP, f.write, b"again")
    content = bytearray(b"".join(data(MIB, i) for i in range(64)))
    assert bucket.get("f") == bytes(content)
    with open(f"{here}/g", "w+b", buffering=0) as f:
        f.write(bytes(content))
        f.seek(20 * MIB)
        assert f.read(10) == content[20 * MIB:20 * MIB + 10]
        f.seek(20 * MIB)
        f.write(b"again")
    content[20 * MIB:20 * MIB + 5] = b"again"
    assert bucket.get("g") == bytes(content)


def test_holes_are_zeros(here, bucket):
    with open(f"{here}/f", "wb") as f:
        f.seek(17 * MIB)
        f.write(b"end")
    assert bucket.get("f") == bytes(17 * MIB) + b"end"


@pytest.mark.parametrize("size", [0, 1, 100, PART, PART + 5, 30 * MIB])
def test_truncate(here, bucket, size):
    content = data(20 * MIB)
    bucket.put("f", content)
    os.truncate(f"{here}/f", size)
    expected = content[:size] + bytes(max(0, size - len(content)))
    assert os.stat(f"{here}/f").st_size == size
    assert bucket.get("f") == expected
    assert read(f"{here}/f") == expected
    with open(f"{here}/f", "r+b") as f:
        f.seek(size)
        f.write(b"and on")
        f.flush()
        f.truncate(size + 3)
    assert bucket.get("f") == expected + b"and"


def test_rename(here, bucket):
    write(f"{here}/a", b"a")
    write(f"{here}/b", b"b")
    os.rename(f"{here}/a", f"{here}/b")
    assert bucket.keys() == ["b"] and read(f"{here}/b") == b"a"
    os.mkdir(f"{here}/d")
    refused(errno.EISDIR, os.rename, f"{here}/b", f"{here}/d")
    os.rename(f"{here}/b", f"{here}/d/b")
    assert bucket.keys() == ["d/", "d/b"]
    refused(errno.ENOENT, os.rename, f"{here}/b", f"{here}/c")


def test_rename_of_an_open_file(here, bucket):
    """As rsync and editors do."""
    with open(f"{here}/.f.tmp", "w+b", buffering=0) as f:
        f.write(b"first ")
        os.rename(f"{here}/.f.tmp", f"{here}/f")
        f.write(b"second")
        f.seek(0)
        assert f.read() == b"first second"
    assert bucket.keys() == ["f"] and bucket.get("f") == b"first second"


def test_rename_of_a_folder(here, bucket):
    for i in range(30):
        bucket.put(f"d/e/{i}", b"%d" % i)
    bucket.put("other/f", b"")
    with open(f"{here}/d/open", "wb") as f:
        f.write(b"being written")
        os.rename(f"{here}/d", f"{here}/moved")
    assert bucket.keys("d/") == []
    assert len(bucket.keys("moved/")) == 31 and bucket.get("moved/open") == b"being written"
    assert sorted(os.listdir(f"{here}/moved/e"), key=int) == [str(i) for i in range(30)]
    refused(errno.ENOTEMPTY, os.rename, f"{here}/moved", f"{here}/other")
    refused(errno.EINVAL, os.rename, f"{here}/moved", f"{here}/moved/e/x")


def test_a_deleted_file_that_is_open(here, bucket):
    with open(f"{here}/f", "w+b", buffering=0) as f:
        f.write(b"temporary")
        os.unlink(f"{here}/f")
        assert os.listdir(here) == []
        f.seek(0)
        assert f.read() == b"temporary"
        f.write(b" and more")
    assert bucket.keys() == []


def test_what_there_is_not(here):
    refused(errno.EPERM, os.symlink, "target", f"{here}/l")
    write(f"{here}/f", b"x")
    refused(errno.EOPNOTSUPP, os.link, f"{here}/f", f"{here}/g")
    refused(errno.ENOENT, read, f"{here}/missing")
    refused(errno.ENOENT, os.listdir, f"{here}/missing")
    refused(errno.EPERM, os.mkdir, f"{os.path.dirname(here)}/new-bucket")
    refused(errno.ENOENT, os.listdir, f"{os.path.dirname(here)}/.Trash")
    # Granted, and without effect: cp -p, tar and rsync would fail for nothing.
    os.chmod(f"{here}/f", 0o600)
    os.utime(f"{here}/f", (1, 1))
    os.chown(f"{here}/f", 1, 1)


def test_metadata_with_posix(mounts, gateway, bucket):
    here = mounts(gateway.environment(), ["--posix"], buckets=[bucket.name]).path(bucket.name)
    write(f"{here}/f", b"content")
    os.chmod(f"{here}/f", 0o750)
    os.chown(f"{here}/f", 12, 34)
    os.utime(f"{here}/f", (1234567890.5, 1234567890.5))
    os.mkdir(f"{here}/d", 0o700)
    os.symlink("f", f"{here}/l")
    assert bucket.meta("f")["mode"] == str(stat.S_IFREG | 0o750)
    again = mounts(gateway.environment(), ["--posix"], buckets=[bucket.name]).path(bucket.name)
    st = os.stat(f"{again}/f")
    assert (st.st_mode, st.st_uid, st.st_gid, st.st_mtime) == (stat.S_IFREG | 0o750, 12, 34, 1234567890.5)
    assert stat.S_IMODE(os.stat(f"{again}/d").st_mode) == 0o700
    assert os.readlink(f"{again}/l") == "f" and read(f"{again}/l") == b"content"
    assert bucket.get("f") == b"content"


def test_read_only(mounts, gateway, bucket):
    bucket.put("f", b"x")
    here = mounts(gateway.environment(), ["--read-only"], buckets=[bucket.name]).path(bucket.name)
    assert read(f"{here}/f") == b"x"
    refused(errno.EROFS, write, f"{here}/g", b"x")
    refused(errno.EROFS, os.unlink, f"{here}/f")


def in_order(size, rng):
    at = 0
    while at < size:
        n = rng.choice([1, 4096, 94208, 200_000, MIB])
        yield at, n
        at += n


def pieces_out_of_order(size, rng):
    """As the kernel's read-ahead is served by several threads."""
    offsets = list(range(0, size, 128 << 10))
    for i in range(0, len(offsets), 4):
        group = offsets[i:i + 4]
        rng.shuffle(group)
        for at in group:
            yield at, 128 << 10


PATTERNS = {
    "in order": in_order,
    "out of order": pieces_out_of_order,
    "backwards": lambda size, rng: ((max(0, at), 300_000) for at in range(size - 1, -300_000, -300_000)),
    "anywhere": lambda size, rng: ((rng.randrange(size), rng.choice([1, 4096, 256 << 10])) for _ in range(100)),
    "with leaps": lambda size, rng: ((at + (at // MIB % 3) * 700_000, 100_000) for at in range(0, size, 100_000)),
}


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("size", [100, MIB + 1, 30 * MIB])
def test_reading_in_any_order(here, bucket, pattern, size):
    content = data(size)
    bucket.put("f", content)
    fd = os.open(f"{here}/f", os.O_RDONLY | os.O_DIRECT)
    buffer = mmap.mmap(-1, MIB)
    for at, n in PATTERNS[pattern](size, random.Random(pattern)):
        got = os.preadv(fd, [memoryview(buffer)[:n]], at)
        assert buffer[:got] == content[at:at + n], (at, n, got)
    os.close(fd)


# -- other clients ----------------------------------------------------------------------------------------
def test_another_clients_change_is_seen_at_open(here, bucket):
    bucket.put("f", b"old")
    assert read(f"{here}/f") == b"old"
    for content in (b"new, and longer", b"s", data(3 * MIB), data(3 * MIB, 2)):
        bucket.put("f", content)
        assert read(f"{here}/f") == content


def test_another_clients_change_is_seen_by_stat(here, bucket):
    bucket.put("f", b"old")
    assert os.stat(f"{here}/f").st_size == 3 and os.listdir(here) == ["f"]
    bucket.put("f", b"longer")
    bucket.put("g", b"")
    time.sleep(1.1)
    assert os.stat(f"{here}/f").st_size == 6 and sorted(os.listdir(here)) == ["f", "g"]
    bucket.delete("f")
    time.sleep(1.1)
    refused(errno.ENOENT, os.stat, f"{here}/f")


def test_a_handle_reads_one_version(here, bucket):
    old, new = data(20 * MIB), data(20 * MIB, 2)
    bucket.put("f", old)
    with open(f"{here}/f", "rb", buffering=0) as f:
        assert f.read(MIB) == old[:MIB]
        bucket.put("f", new)
        assert read(f"{here}/f") == new
        f.seek(15 * MIB)
        refused(errno.ESTALE, f.read, MIB)
    assert read(f"{here}/f") == new


def test_a_rename_takes_the_newest_version(here, bucket):
    write(f"{here}/f", b"ours")
    bucket.put("f", b"theirs, later")
    os.rename(f"{here}/f", f"{here}/g")
    assert bucket.keys() == ["g"] and bucket.get("g") == b"theirs, later"


def test_two_mounts(two):
    a, b = two
    for i in range(5):
        write(f"{a}/f", b"a%d" % i)
        assert read(f"{b}/f") == b"a%d" % i
        write(f"{b}/f", b"longer %d" % i)
        assert read(f"{a}/f") == b"longer %d" % i


def test_readers_and_writers_at_once(two):
    """Each version is one byte repeated: whatever a reader gets is of one version, or it is told."""
    a, b = two
    size, stop, problems = 3 * MIB, threading.Event(), []
    write(f"{a}/f", bytes(size))

    def reader(folder):
        while not stop.is_set():
            try:
                content = read(f"{folder}/f")
            except OSError as e:
                if e.errno != errno.ESTALE:
                    problems.append(e)
            else:
                if len(content) != size or content.count(content[:1]) != size:
                    problems.append(f"mixed: {len(content)} bytes of {set(content)}")
    threads = [threading.Thread(target=reader, args=(b,)) for _ in range(4)]
    for t in threads:
        t.start()
    for i in range(1, 25):
        write(f"{a}/f", bytes([i]) * size)
    stop.set()
    for t in threads:
        t.join()
    assert problems == []


def test_many_at_once(here, bucket):
    problems = []

    def work(k):
        try:
            for i in range(8):
                content = data(random.Random(k * 100 + i).choice([1, 70000, 3 * MIB, 9 * MIB]), k)
                write(f"{here}/{k}-{i}", content)
                if read(f"{here}/{k}-{i}") != content:
                    problems.append((k, i))
                os.unlink(f"{here}/{k}-{i}")
        except OSError as e:
            problems.append(e)
    threads = [threading.Thread(target=work, args=(k,)) for k in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert problems == [] and bucket.keys() == []
