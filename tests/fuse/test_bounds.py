# SPDX-License-Identifier: Apache-2.0
"""What the driver may take of disk, memory and time, and how it ends."""
import errno
import os
import re
import signal
import subprocess
import threading
import time

import pytest

from rig.process import wait_for
from rig.s3faults import Fault
from test_faults import body, logged
from test_files import MIB, data, read, refused, refused_or_not, write


# -- the spill, and memory ----------------------------------------------------------------------------------
def test_the_spill_is_bounded(start, s3):
    folder, mount = start("--cache-size", "16MiB")
    fd = os.open(f"{folder}/f", os.O_RDWR | os.O_CREAT)
    with pytest.raises(OSError) as e:
        for i in range(40):
            os.pwrite(fd, b"x" * MIB, i * 8 * MIB + MIB)
    assert e.value.errno == errno.ENOSPC
    lines = logged(mount, "write refused")
    assert len(lines) == 1 and "bucket=data key=f" in lines[0] and "RAC_CACHE_SIZE" in lines[0]
    refused_or_not(os.close, fd)
    assert s3.uploads == {}


@pytest.fixture
def small_disk(scratch):
    """A folder of 12 MiB."""
    folder = scratch.folder("small")
    scratch.run("mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", folder)
    yield folder
    scratch.run("umount", "-l", folder)


def test_a_full_disk_is_told_and_nothing_is_half_there(start, s3, small_disk):
    folder, mount = start("--cache-dir", small_disk, "--memory", "24MiB")
    old = data(40 * MIB)
    s3.put("f", old)
    fd = os.open(f"{folder}/f", os.O_RDWR)
    written = []
    with pytest.raises(OSError) as e:
        for at in range(0, 40 * MIB, MIB):
            # The second half of each MiB: pieces that no memory is kept for.
            os.pwrite(fd, b"n" * (MIB // 2), at + MIB // 2)
            written.append(at)
    assert e.value.errno == errno.ENOSPC and written
    # What was taken is there to be read, and the rest as it was.
    for at in range(0, 40 * MIB, MIB):
        got = os.pread(fd, MIB, at)
        assert got == old[at:at + MIB // 2] + (b"n" * (MIB // 2) if at in written else old[at + MIB // 2:at + MIB])
    assert body(s3, "f") == old
    # In order, from memory, still works beside it.
    content = data(20 * MIB, 2)
    write(f"{folder}/g", content)
    assert body(s3, "g") == content
    refused_or_not(os.close, fd)
    assert mount.stop() == 0
    new = bytearray(old)
    for at in written:
        new[at + MIB // 2:at + MIB] = b"n" * (MIB // 2)
    assert body(s3, "f") in (old, bytes(new)) and s3.uploads == {}


def test_in_order_needs_no_room_in_the_spill(start, s3):
    folder, _ = start("--cache-size", "16MiB")
    content = data(100 * MIB)
    fd = os.open(f"{folder}/f", os.O_RDWR | os.O_CREAT)
    for at in range(0, len(content), MIB):
        os.write(fd, content[at:at + MIB])
    os.close(fd)
    assert body(s3, "f") == content and s3.uploads == {}


def test_little_memory_is_back_pressure(start, s3):
    folder, mount = start("--memory", "24MiB")
    content, problems = data(30 * MIB), []

    def work(k):
        try:
            write(f"{folder}/{k}", content)
            if read(f"{folder}/{k}") != content:
                problems.append(k)
        except OSError as e:
            problems.append(e)
    threads = [threading.Thread(target=work, args=(k,)) for k in range(6)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert problems == []
    if b"ld-linux" not in read(f"/proc/{mount.pid}/maps"):  # the one that is shipped, not one with sanitizers
        assert mount.memory() < 80 * MIB


def test_what_the_kernel_remembers_is_bounded(start, s3):
    """A walk through a large bucket: later, the kernel is asked to forget, and nothing that is open is lost."""
    folder, mount = start("--memory", "24MiB", "--metadata-ttl", "100ms", "--log-level", "debug")  # 12,288 names
    for i in range(40):
        for k in range(500):
            s3.put(f"d{i:02}/{k}", b"%d" % k)
    fd = os.open(f"{folder}/d00/17", os.O_RDONLY)

    def walk(count):
        for i in range(count):
            with os.scandir(f"{folder}/d{i:02}") as entries:
                assert sum(e.stat().st_size for e in entries) == 10 + 180 + 1200

    def sweeps():
        return [int(of) for of in re.findall(r"forget names\"? names=\d+ of=(\d+)", mount.log())]
    def swept():
        """Another walk; has one of the sweeps since then found that the table had become smaller?"""
        time.sleep(0.3)  # what was swept too early is swept now
        walk(40)
        return [of for of in sweeps()[before + 1:] if of < 16_000]
    walk(40)
    before = len(sweeps())  # and one that runs now and began earlier: it tells how many there were then
    # Of 20,000, the first were forgotten: else each sweep would find all of them in the table.
    wait_for(swept, 40, "a table that becomes smaller")
    assert os.pread(fd, 10, 0) == b"17" and os.fstat(fd).st_size == 2
    os.close(fd)
    assert read(f"{folder}/d39/499") == b"499"


# -- the end ------------------------------------------------------------------------------------------------
def test_sigterm_stores_what_is_written(start, s3):
    folder, mount = start()
    fds = []
    for size in (10, 100_000, 20 * MIB):
        fds.append(os.open(f"{folder}/{size}", os.O_WRONLY | os.O_CREAT))
        for at in range(0, size, MIB):
            os.write(fds[-1], data(size)[at:at + MIB])
    assert s3.objects["data"] == {}
    assert mount.stop() == 0
    assert {k: o.body for k, o in s3.objects["data"].items()} == {str(n): data(n) for n in (10, 100_000, 20 * MIB)}
    for fd in fds:
        refused_or_not(os.close, fd)
    assert s3.uploads == {}


def test_the_end_is_bounded(start, s3):
    folder, mount = start("--flush-timeout", "1s", RAC_S3_ANSWER_TIMEOUT="60s")
    fd = os.open(f"{folder}/f", os.O_WRONLY | os.O_CREAT)
    for _ in range(20):
        os.write(fd, data(MIB))
    s3.rule("PUT /data/f[?]partNumber=3*", Fault(delay=30))
    begin = time.monotonic()
    assert mount.stop() == 1
    assert time.monotonic() - begin < 25
    refused_or_not(os.close, fd)
    assert body(s3, "f") is None and s3.uploads == {}


def test_what_cannot_be_aborted_in_time_is_told(start, s3):
    folder, mount = start("--flush-timeout", "1s")
    fd = os.open(f"{folder}/f", os.O_WRONLY | os.O_CREAT)
    for _ in range(20):
        os.write(fd, data(MIB))
    s3.rule("PUT /data/f[?]partNumber=3*", Fault(delay=30))
    s3.rule("DELETE /data/f[?]uploadId*", Fault(delay=30))
    begin = time.monotonic()
    assert mount.stop() == 1
    assert time.monotonic() - begin < 25
    assert logged(mount, "may be left at the server")
    refused_or_not(os.close, fd)
    assert body(s3, "f") is None


def test_the_end_does_not_wait_for_what_nobody_wants(start, s3):
    """Files that were being fetched ahead."""
    folder, mount = start()
    for i in range(10):
        s3.put(f"d/{i}", b"%d" % i)
    s3.rule("GET /data/d/[4-9]", Fault(delay=40))
    os.listdir(f"{folder}/d")
    for i in range(4):
        assert read(f"{folder}/d/{i}") == b"%d" % i
    wait_for(lambda: s3.count("GET /data/d/[4-9]") == 6, 20, "fetched ahead")
    begin = time.monotonic()
    assert mount.stop() == 0
    assert time.monotonic() - begin < 30


def test_a_killed_driver_is_enotconn(start):
    folder, mount = start()
    fd = os.open(f"{folder}/f", os.O_WRONLY | os.O_CREAT)
    os.kill(mount.pid, signal.SIGKILL)
    mount.daemon.process.wait(10)
    refused(errno.ENOTCONN, os.write, fd, b"x")
    refused(errno.ENOTCONN, os.listdir, folder)
    refused_or_not(os.close, fd)
    mount.kill()


def test_a_connection_that_is_cut_off_leaves_nothing_open(start, s3, scratch):
    """As "umount -f" does: the kernel says nothing of what was open. What was written is stored all the same."""
    folder, mount = start()
    s3.put("d/f", data(3 * MIB))
    number = os.minor(os.stat(folder).st_dev)
    fds = [os.open(f"{folder}/d", os.O_RDONLY), os.open(f"{folder}/d/f", os.O_RDONLY),
           os.open(f"{folder}/new", os.O_WRONLY | os.O_CREAT)]
    assert os.listdir(fds[0]) == ["f"] and len(os.read(fds[1], MIB)) == MIB
    os.write(fds[2], b"written")
    scratch.run("unshare", "-m", "sh", "-c", 'mount -t fusectl none /sys/fs/fuse/connections && '
                f"echo 1 >/sys/fs/fuse/connections/{number}/abort")
    assert mount.daemon.process.wait(20) == 0
    for fd in fds:
        refused_or_not(os.close, fd)
    assert mount.stop() == 0  # looks at what the sanitizers say
    assert body(s3, "new") == b"written"


def test_a_reader_that_waits_can_be_killed(start, s3):
    folder, _ = start()
    s3.put("f", data(10 * MIB))
    s3.rule("GET /data/f", Fault(stall_after=1000, stall=60))
    reader = subprocess.Popen(["cat", f"{folder}/f"], stdout=subprocess.DEVNULL)
    time.sleep(0.5)
    begin = time.monotonic()
    reader.terminate()
    assert reader.wait(30) == -signal.SIGTERM
    assert time.monotonic() - begin < 25


def test_a_reader_that_handled_a_signal_can_be_killed(start, s3):
    """Of all signals, the kernel tells of the first one only."""
    folder, _ = start()
    s3.put("f", data(10 * MIB))
    s3.rule("GET /data/f", Fault(stall_after=1000, stall=60))
    reader = subprocess.Popen(["/usr/bin/python3", "-c", "import signal, sys; signal.signal(signal.SIGUSR1, lambda *a: None); "
                               "print('ready', flush=True); open(sys.argv[1], 'rb').read()", f"{folder}/f"],
                              stdout=subprocess.PIPE)
    assert reader.stdout.readline() == b"ready\n"
    wait_for(lambda: s3.count("GET /data/f"), 20, "the read")
    reader.send_signal(signal.SIGUSR1)
    time.sleep(0.5)
    assert reader.poll() is None
    begin = time.monotonic()
    reader.kill()
    assert reader.wait(60) == -signal.SIGKILL
    assert time.monotonic() - begin < 30
    reader.stdout.close()
