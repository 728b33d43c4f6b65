# SPDX-License-Identifier: Apache-2.0
"""Folders are renamed by their keys: what is open below goes on, and a failure takes everything back."""
import errno
import os
import threading
import time

import pytest

from rig.process import wait_for
from rig.s3faults import Fault
from test_faults import body
from test_files import MIB, data, read, refused, write


def keys(s3):
    return sorted(s3.objects["data"])


def test_what_is_open_below_goes_on(folder, s3):
    """In parts, so that the copy has another ETag."""
    content = bytearray(data(20 * MIB))
    os.mkdir(f"{folder}/d")
    write(f"{folder}/d/f", bytes(content))
    reader, writer = os.open(f"{folder}/d/f", os.O_RDONLY), os.open(f"{folder}/d/f", os.O_RDWR)
    assert os.pread(reader, 100, 0) == content[:100]
    os.pwrite(writer, b"before", 9 * MIB)
    os.rename(f"{folder}/d", f"{folder}/e")
    os.pwrite(writer, b"after", 17 * MIB)
    os.fsync(writer)
    content[9 * MIB:9 * MIB + 6], content[17 * MIB:17 * MIB + 5] = b"before", b"after"
    assert os.pread(reader, MIB, 17 * MIB) == content[17 * MIB:18 * MIB]
    assert os.pread(writer, MIB, 9 * MIB) == content[9 * MIB:10 * MIB]
    os.close(writer)
    os.close(reader)
    assert keys(s3) == ["e/", "e/f"] and body(s3, "e/f") == content and s3.uploads == {}


def test_what_is_only_read_below_goes_on(folder, s3):
    content = data(20 * MIB)
    os.mkdir(f"{folder}/d")
    write(f"{folder}/d/f", content)
    reader = os.open(f"{folder}/d/f", os.O_RDONLY)
    os.rename(f"{folder}/d", f"{folder}/e")
    for at in range(0, 20 * MIB, MIB):
        assert os.pread(reader, MIB, at) == content[at:at + MIB]
    os.close(reader)


@pytest.mark.parametrize("of", ["file", "folder"])
def test_what_is_read_while_the_old_key_is_gone_is_read_at_the_new_one(folder, s3, of):
    content = data(40 * MIB)
    s3.put("d/f", content)
    fd = os.open(f"{folder}/d/f", os.O_RDONLY)
    answer, read_bytes = threading.Event(), []
    s3.rule("DELETE /data/d/f" if of == "file" else "POST /data[?]delete*", Fault(hold_answer=answer))
    moves = {"file": ("d/f", "d/g"), "folder": ("d", "e")}[of]
    threads = [threading.Thread(target=os.rename, args=[f"{folder}/{name}" for name in moves]),
               threading.Thread(target=lambda: read_bytes.append(os.pread(fd, 1000, 30 * MIB)))]
    threads[0].start()
    wait_for(lambda: "d/f" not in s3.objects["data"])
    asked = s3.count("GET /data/d/f")
    threads[1].start()
    wait_for(lambda: s3.count("GET /data/d/f") > asked)
    answer.set()
    for thread in threads:
        thread.join()
    os.close(fd)
    assert read_bytes == [content[30 * MIB:30 * MIB + 1000]]


def test_what_is_written_meanwhile_waits(folder, s3):
    """It would be stored under the old name, or not be in the copy."""
    os.mkdir(f"{folder}/d")
    writer = os.open(f"{folder}/d/f", os.O_WRONLY | os.O_CREAT)
    os.write(writer, b"before ")
    s3.rule("PUT /data/e/f", Fault(delay=1), times=1)
    renaming = threading.Thread(target=os.rename, args=(f"{folder}/d", f"{folder}/e"))
    renaming.start()
    time.sleep(0.3)
    for _ in range(20):
        os.write(writer, bytes(MIB))
    os.close(writer)
    renaming.join()
    assert keys(s3) == ["e/", "e/f"] and body(s3, "e/f") == b"before " + bytes(20 * MIB) and s3.uploads == {}


@pytest.mark.parametrize("what", ["PUT /data/e/17", "GET /data[?]*token*prefix=d%2F*"])
def test_a_failure_takes_the_copies_back(start, s3, what):
    folder, _ = start(RAC_S3_TRIES="1")
    for i in range(1100):
        s3.put(f"d/{i}", b"%d" % i)
    before = keys(s3)
    s3.rule(what, Fault(status=500), times=1)
    refused(errno.EIO, os.rename, f"{folder}/d", f"{folder}/e")
    assert keys(s3) == before
    os.rename(f"{folder}/d", f"{folder}/e")
    assert keys(s3) == [k.replace("d/", "e/") for k in before]
    assert read(f"{folder}/e/1099") == b"1099" and not os.path.exists(f"{folder}/d")


def test_what_others_put_there_meanwhile_stays(folder, s3):
    for i in range(50):
        s3.put(f"d/{i:02}", b"%d" % i)
    s3.rule("PUT /data/e/49", Fault(then=lambda s: (s.put("d/10a", b"late"), s.put("d/x", b"late"), s.put("e/y", b"late"))))
    os.rename(f"{folder}/d", f"{folder}/e")
    assert keys(s3) == ["d/10a", "d/x", *(f"e/{i:02}" for i in range(50)), "e/y"]
