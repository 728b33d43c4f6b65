# SPDX-License-Identifier: Apache-2.0
"""Programs that people have, on an S3 mount."""
import os
import random
import sqlite3
import subprocess
import threading

import pytest

from test_files import MIB, data, read, write


@pytest.fixture
def tree(scratch):
    """A folder as programs know them."""
    top = scratch.folder("tree")
    rng = random.Random(7)
    for i in range(60):
        folder = os.path.join(top, f"d{i % 7}", f"e {i % 3}")
        os.makedirs(folder, exist_ok=True)
        write(os.path.join(folder, f"f{i}"), rng.randbytes(rng.choice([0, 1, 100, 5000, 200000])))
    write(os.path.join(top, "large"), rng.randbytes(20 * MIB))
    return top


def differences(a, b):
    """Of files that are in both: where they differ, and whether they still do when b is read past the kernel's pages."""
    found = []
    for folder, _, names in os.walk(a):
        for name in names:
            one, two = os.path.join(folder, name), os.path.join(b, os.path.relpath(os.path.join(folder, name), a))
            if not os.path.exists(two) or read(one) == (got := read(two)):
                continue
            fd = os.open(two, os.O_RDONLY)
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(fd)
            first = next((i for i, (x, y) in enumerate(zip(read(one), got)) if x != y), None)
            found.append(f"{two}: {len(read(one))} and {len(got)} bytes, first at {first}, changed at {os.stat(one).st_mtime} and "
                         f"{os.stat(two).st_mtime}; read again it is {'right' if read(one) == read(two) else 'wrong'}")
    return found


def same_tree(scratch, a, b):
    try:
        scratch.run("diff", "-r", a, b)
    except AssertionError as e:
        raise AssertionError("\n".join([str(e), *differences(a, b)])) from None


def test_cp_and_tar(scratch, here, tree):
    scratch.run("cp", "-r", tree, f"{here}/copy")
    same_tree(scratch, tree, f"{here}/copy")
    scratch.run("tar", "-C", tree, "-cf", f"{here}/t.tar", ".")
    os.mkdir(f"{here}/out")
    scratch.run("tar", "-C", f"{here}/out", "-xf", f"{here}/t.tar")
    same_tree(scratch, tree, f"{here}/out")
    scratch.run("rm", "-r", f"{here}/out", f"{here}/copy")
    assert os.listdir(here) == ["t.tar"]


def test_rsync(scratch, here, tree):
    for flags in ("-r", "-a"):
        scratch.run("rsync", flags, f"{tree}/", f"{here}/copy/")
        same_tree(scratch, tree, f"{here}/copy")
    with open(f"{tree}/large", "r+b") as f:
        f.seek(5 * MIB)
        f.write(b"changed")
    os.utime(f"{tree}/large", (2_000_000_000, 2_000_000_000))  # rsync compares seconds, and size, before it looks at bytes
    scratch.run("rsync", "-r", "--inplace", "--no-whole-file", f"{tree}/", f"{here}/copy/")
    same_tree(scratch, tree, f"{here}/copy")


GIT = ["git", "-c", "user.name=t", "-c", "user.email=t@t", "-c", "init.defaultBranch=main"]


def test_git_clone(scratch, here, tree):
    for args in (["init", "-q"], ["add", "."], ["commit", "-qm", "all"]):
        scratch.run(*GIT, "-C", tree, *args)
    scratch.run(*GIT, "clone", "-q", f"file://{tree}", f"{here}/clone")
    scratch.run(*GIT, "-C", f"{here}/clone", "fsck", "--strict")
    assert scratch.run(*GIT, "-C", f"{here}/clone", "status", "--porcelain").stdout == ""
    scratch.run("diff", "-r", "-x", ".git", tree, f"{here}/clone")


def test_git_work(scratch, here):
    """Not only a clone: its files are locked, renamed, mapped, packed and deleted."""
    git = [*GIT, "-C", f"{here}/r"]
    os.mkdir(f"{here}/r")
    scratch.run(*git, "init", "-q")
    for i in range(4):
        write(f"{here}/r/f{i}", data(200_000, i))
        scratch.run(*git, "add", ".")
        scratch.run(*git, "commit", "-qm", f"{i}")
    scratch.run(*git, "gc", "-q")
    scratch.run(*git, "fsck", "--strict")
    scratch.run(*git, "checkout", "-q", "HEAD~2")
    assert sorted(os.listdir(f"{here}/r")) == [".git", "f0", "f1"]
    assert scratch.run(*git, "status", "--porcelain").stdout == ""


@pytest.mark.parametrize("mode", ["delete", "truncate", "persist", "wal"])
def test_sqlite(scratch, here, bucket, mode):
    scratch.run("sqlite3", f"{here}/db", f"pragma journal_mode={mode}; create table t(a); "
                + "insert into t values(randomblob(20000)); " * 30)
    assert scratch.run("sqlite3", f"{here}/db", "pragma integrity_check; select count(*) from t").stdout == "ok\n30\n"
    # What S3 has is a database, too.
    copy = os.path.join(scratch.folder("sqlite"), "db")
    write(copy, bucket.get("db"))
    assert scratch.run("sqlite3", copy, "pragma integrity_check; select count(*) from t").stdout == "ok\n30\n"


def test_sqlite_by_several_programs(scratch, here):
    """Locks hold among the programs of one mount."""
    scratch.run("sqlite3", f"{here}/db", "create table t(a)")
    failed = []

    def work():
        for _ in range(8):
            done = scratch.run("sqlite3", "-cmd", ".timeout 30000", f"{here}/db", "insert into t values(1)", check=False)
            if done.returncode:
                failed.append(done.stderr)
    threads = [threading.Thread(target=work) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert failed == []
    assert scratch.run("sqlite3", f"{here}/db", "pragma integrity_check; select count(*) from t").stdout == "ok\n32\n"


def test_sqlite_from_two_mounts_is_told(scratch, two):
    """Locks do not reach the other mount, so this is what cannot be done: who changes what the other has replaced is
    told, and does not overwrite it."""
    scratch.run("sqlite3", f"{two[0]}/db", "create table t(a); begin; "
                + "insert into t values(randomblob(200000)); " * 60 + "commit")
    mine = sqlite3.connect(f"{two[0]}/db", isolation_level=None)
    mine.execute("begin immediate")
    mine.execute("insert into t values(1)")
    scratch.run("sqlite3", f"{two[1]}/db", "insert into t values(2)")
    with pytest.raises(sqlite3.OperationalError):
        mine.execute("commit")
    # As it is; whoever opens it for more rolls back what the first one's journal says.
    assert scratch.run("sqlite3", f"file:{two[1]}/db?immutable=1", "select a from t where a in (1, 2)").stdout == "2\n"
    mine.close()


def part_of(scratch, content):
    path = os.path.join(scratch.folder("part"), "part")
    write(path, content)
    return path


def test_dd_with_seeks(scratch, here, bucket):
    content = bytearray(data(20 * MIB))
    write(f"{here}/f", bytes(content))
    for seek, count in ((3, 2), (19, 4), (0, 1)):
        piece = data(count * MIB, seek)
        subprocess.run(["dd", f"of={here}/f", "bs=1M", f"seek={seek}", "conv=notrunc", "status=none"], input=piece, check=True)
        content[seek * MIB:seek * MIB + len(piece)] = piece
    assert bucket.get("f") == bytes(content)
    scratch.run("dd", f"if={here}/f", f"of={here}/g", "bs=700001", "status=none")
    assert scratch.run("sh", "-c", 'dd if="$0/f" bs=1M skip=17 count=2 status=none | cmp - "$1"', here,
                       part_of(scratch, content[17 * MIB:19 * MIB])).stdout == ""
    assert bucket.get("g") == bytes(content)


def test_executables_and_mapped_files(mounts, gateway, bucket):
    here = mounts(gateway.environment(), ["--file-mode", "755"], buckets=[bucket.name]).path(bucket.name)
    bucket.put("busybox", read("/bin/busybox"))
    done = subprocess.run([f"{here}/busybox", "echo", "runs"], stdout=subprocess.PIPE, check=True)
    assert done.stdout == b"runs\n"
