# SPDX-License-Identifier: Apache-2.0
"""What is on disk is gone, changed, or cannot be written any more: nothing wrong is served, and what there is to say is said."""
import os
import random
import shutil
import sqlite3

import pytest

from rig import faults, images, proxy, token_api, wire
from rig.process import wait_for
import tour as walk

WRITES = "create write pwrite ftruncate fallocate fsync fdatasync rename unlink mkdir link"


@pytest.fixture(scope="module")
def tour(scratch):
    t = walk.Tour(scratch, name="s")
    t.px.fails_quietly = True
    t.start()
    yield t
    t.close()


@pytest.fixture
def toured(tour):
    """The same proxy for all, and running, whatever the test before has done."""
    tour.faults.clear()
    tour.kept.clear()
    if not tour.px.daemon.running():
        for f in os.listdir(tour.px.data):
            if f.startswith(("state.db", "records.db")):
                os.unlink(os.path.join(tour.px.data, f))
        tour.px.start()
    return tour


def everything(t):
    return [os.path.join(at, f) for at, _, names in os.walk(t.px.data + "/blobs") for f in names]


def flip(path, rng):
    with open(path, "r+b") as f:
        at = rng.randrange(os.path.getsize(path))
        f.seek(at)
        byte = f.read(1)
        f.seek(at)
        f.write(bytes([byte[0] ^ (1 << rng.randrange(8))]))


# A folder that cannot be written

def test_the_data_folder_turns_read_only_while_it_runs(toured):
    t, old = toured, toured.image()
    t.walk_right(old)
    t.settle()
    t.faults.arm(WRITES, "EROFS", t.px.data)
    name, image = old
    seen = walk.Seen()
    t.pull(seen, name, "1", image.all_blobs())
    t.check_tokens()
    assert not seen.bad and seen.right, f"what is there is served as before: {seen}"
    new = t.image()
    seen = t.walk(new)
    assert seen.bad and any("Read-only file system" in m or "readonly database" in m for m in seen.messages), seen
    ready = t.px.get("/readyz")
    assert ready.status == 503 and b"ead" in ready.body and t.px.get("/healthz").status == 200
    t.faults.clear()
    t.heal(new)
    t.check_store()
    assert t.px.get("/readyz").status == 200


def test_a_start_on_a_read_only_folder_says_what_to_do(scratch, toured):
    t = toured
    t.px.stop()
    scratch.run("mount", "--bind", t.px.data, t.px.data)
    try:
        scratch.run("mount", "-o", "remount,ro,bind", t.px.data)
        done = proxy.run_once(scratch, *t.px.args)
        assert done.returncode == 1 and "Read-only file system" in done.stderr and t.px.data in done.stderr, done.stderr
    finally:
        scratch.run("umount", t.px.data)
    t.px.start()
    t.walk_right(t.image())
    t.check_tokens()


# Files that are gone, or changed

def test_files_that_are_gone_are_fetched_or_made_again(toured):
    t, what = toured, toured.image()
    t.walk_right(what)
    t.settle()
    t.px.stop()
    for path in everything(t):
        os.unlink(path)
    t.px.start()
    t.check_tokens()
    t.walk_right(what)
    shutil.rmtree(t.px.data + "/blobs/sha256")
    t.walk_right(what)
    t.walk_right(t.image())


def test_a_flipped_bit_in_each_file_is_found(scratch, toured):
    """Documents at once, since they are read as a whole; blobs, which go from the disk to the socket, by --scrub. Until
    then they are for the client's digest to tell."""
    t, what = toured, toured.image()
    t.walk_right(what)
    t.settle()
    t.px.stop()
    rng, files = random.Random(1), everything(t)
    assert len(files) >= 8
    for path in files:
        flip(path, rng)
    t.px.start()
    name, image = what
    digest = None
    for reference in ["1", None]:
        reply = t.px.manifest(name, reference or digest)
        assert reply.status == 200 and reply.digest == reply["Docker-Content-Digest"]
        digest = reply.digest
    config = reply.json["config"]["digest"]
    assert t.px.blob(name, config).digest == config
    t.check_tokens()
    done = proxy.run_once(scratch, "--data", t.px.data, "--scrub")
    assert done.returncode == 1 and "moved to quarantine" in done.stdout, done.stdout + done.stderr
    assert proxy.run_once(scratch, "--data", t.px.data, "--scrub").returncode == 0
    t.check_store()

    def right():
        return all(t.px.blob(name, d).digest == d for d in image.layers)
    wait_for(right, 30, "the right bytes once the janitor has seen it")
    t.walk_right(what)


# Looked for, made again, published, looked for: and gone each time, since the store is far too full.
@pytest.mark.parametrize("evictions,status", [(7, 200), (1000, 404)])
def test_a_layer_of_ours_that_is_evicted_before_it_is_sent_is_made_again(scratch, make, up, layer, evictions, status):
    up.tag("lib/app", "1", images.tiny())
    full = faults.Faults(scratch)
    p = make({"up.test": up.url}, env=full.env)
    token = token_api.token(p, "up.test/lib/app:1", {"layers": [token_api.data_layer(layer)]})
    p.stop()
    os.unlink(p.blob_file(layer.gzip_digest))
    p.start()
    hex_digits = layer.gzip_digest[7:]
    full.arm("open", "ENOENT", f"{hex_digits[:2]}/{hex_digits}", times=evictions)
    reply = token.blob(layer.gzip_digest)
    assert reply.status == status and full.hit() >= min(evictions, 12), (reply.status, full.hit(), full.seen())
    full.clear()
    assert status == 200 or "pull the image again" in reply.message
    assert token.blob(layer.gzip_digest).body == token_api.packed(layer)


# The two databases

def damage(path, how, rng):
    size = os.path.getsize(path)
    if how == "flip":
        flip(path, rng)
    elif how == "newer":
        with sqlite3.connect(path) as db:
            db.execute("PRAGMA user_version = 9999")
        db.close()
    else:
        with open(path, "r+b") as f:
            if how == "noise":
                f.seek(rng.randrange(size))
                f.write(rng.randbytes(5000))
            else:
                f.truncate({"empty": 0, "stump": 50, "page": 4096, "half": size // 2, "odd": size - 100}[how])


def live_through(t, what, how, name):
    """It starts on that, or says why not; what it serves is right. Returns whether it started."""
    t.px.daemon = None
    try:
        t.px.start()
    except AssertionError:
        code, log = t.px.daemon.process.returncode, t.px.log()
        assert code == 1 and "cannot start" in log and name in log, f"{how}: {code}: {log[-2000:]}"
        return False
    seen = t.walk(what)
    assert set(seen.errors) <= {500, 503} and not seen.broken and not seen.lost, f"{how}: {seen}"
    for repository, reference, target in t.kept[-3:]:  # known, or forgotten with the file; never another image
        reply = t.px.manifest(repository, reference)
        assert (reply.status, reply.digest) == (200, target) or reply.status in (404, 500, 503), reply.body
    t.kept.clear()
    t.px.stop()
    return True


def copies(t, what):
    t.walk_right(what)
    t.settle()
    t.px.stop()
    copy = t.scratch.folder("copy")
    for name in ("state.db", "records.db"):
        assert not os.path.exists(f"{t.px.data}/{name}-wal"), "a stop leaves one file"
        shutil.copy(f"{t.px.data}/{name}", copy)
    return copy


def restore(t, copy):
    for f in os.listdir(t.px.data):
        if f.startswith(("state.db", "records.db")):
            os.unlink(os.path.join(t.px.data, f))
    for f in os.listdir(copy):
        shutil.copy(os.path.join(copy, f), t.px.data)


@pytest.mark.parametrize("name", ["state.db", "records.db"])
def test_a_damaged_database(toured, name):
    t, what, rng = toured, toured.image(), random.Random(7)
    copy = copies(t, what)
    for how in ("noise", "odd"):
        restore(t, copy)
        damage(os.path.join(t.px.data, name), how, rng)
        assert live_through(t, what, how, name), f"{how}: a damaged file is put aside, and does not stop anything"


@pytest.mark.parametrize("name", ["state.db", "records.db"])
def test_a_database_of_a_newer_version_is_left_as_it_is(toured, name):
    t, what = toured, toured.image()
    restore(t, copies(t, what))
    path = os.path.join(t.px.data, name)
    damage(path, "newer", None)
    with open(path, "rb") as f:
        before = wire.sha256(f.read())
    started = live_through(t, what, "newer", name)
    assert "newer rac-proxy" in t.px.log() and not started
    with open(path, "rb") as f:
        assert wire.sha256(f.read()) == before


@pytest.mark.long
@pytest.mark.parametrize("name", ["state.db", "records.db"])
def test_a_database_with_a_flipped_bit_or_cut_off(toured, name):
    t, what, rng = toured, toured.image(), random.Random(11)
    copy = copies(t, what)
    kept = list(t.kept)
    for n in range(200):
        t.kept = list(kept)
        restore(t, copy)
        how = rng.choice(["flip", "flip", "flip", "noise", "stump", "half", "odd"])
        damage(os.path.join(t.px.data, name), how, rng)
        live_through(t, what, f"{n}: {how}", name)
