# SPDX-License-Identifier: Apache-2.0
"""What was taken back while the disk was full stays taken back: a name that the upstream denies, a token that was revoked."""
import sqlite3

import pytest

from rig import faults, images, token_api
from rig.process import wait_for

NAME = "lib/app"
WRITES = "write pwrite fallocate ftruncate"


@pytest.fixture
def full(scratch):
    return faults.Faults(scratch)


@pytest.fixture
def p(make, up, full):
    return make({"up.test": up.url}, ["--upstream-missing", "0s", "--upstream-fresh", "0s",
                                    "--access-anonymous", "pull,request,admin"], env=full.env)


def links(p):
    """How many the state store has."""
    with sqlite3.connect(f"file:{p.data}/state.db?mode=ro", uri=True, timeout=30) as db:
        count = db.execute("SELECT count(*) FROM link").fetchone()[0]
    db.close()
    return count


def withdrawn(p, up, full):
    """An image that was pulled and kept, and that the upstream denies once state.db cannot be written to."""
    image = up.tag(NAME, "1", images.tiny())
    assert p.manifest(NAME, "1").status == p.manifest(NAME, image.digest).status == 200
    assert p.blob(NAME, image.layers[0]).status == 200
    wait_for(lambda: links(p), 30, "the links to be written")
    full.arm(WRITES, "ENOSPC", "state.db")
    up.remove(NAME)
    assert p.manifest(NAME, "1").status == 404
    wait_for(full.hit, 30, "a write that fails")
    return image


def nothing_of_it(p, image):
    """The upstream does not answer: whatever comes now is what the proxy believes."""
    for reply in (p.manifest(NAME, image.digest), p.manifest(NAME, "1"), p.blob(NAME, image.layers[0])):
        assert reply.status in (404, 502, 503), reply.status


def test_it_is_not_served_while_it_cannot_be_written(p, up, full):
    image = withdrawn(p, up, full)
    up.stop()
    nothing_of_it(p, image)
    full.clear()


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_it_is_written_once_there_is_room(p, up, full, end):
    image = withdrawn(p, up, full)
    full.clear()
    if end == "stop":
        p.stop()
    else:
        wait_for(lambda: not links(p), 60, "the withdrawal to be written", step=0.2)
        p.kill()
    up.stop()
    p.start()
    nothing_of_it(p, image)


def test_what_comes_back_is_served_again(p, up, full):
    """What is withdrawn late does not take away what was said since."""
    image = withdrawn(p, up, full)
    full.clear()
    up.tag(NAME, "1", image)

    def kept():
        assert p.blob(NAME, image.layers[0]).status == p.manifest(NAME, "1").status == 200
        return links(p)
    wait_for(kept, 60, "the links to be written again", step=0.2)
    p.restart()
    up.stop()
    assert p.manifest(NAME, image.digest).body == image.manifest


def test_an_end_on_a_full_disk_says_what_is_lost(p, up, full):
    withdrawn(p, up, full)
    p.stop()
    assert 'msg="withdrawals are lost' in p.log()


def test_a_revocation_that_is_not_written_is_not_claimed(p, up, full):
    up.tag(NAME, "1", images.tiny())
    t = token_api.token(p, f"up.test/{NAME}:1")
    assert t.manifest().status == 200
    full.arm(WRITES, "ENOSPC", "state.db")
    reply = p.fetch("DELETE", f"/container-token/{t.text}")
    full.clear()
    assert reply.status == 503 and reply["Retry-After"] and "state store" in reply.json["message"], (reply.status, reply.body)
    assert p.fetch("DELETE", f"/container-token/{t.text}").status == 204
    p.kill()
    p.start()
    assert t.manifest().status == 404
