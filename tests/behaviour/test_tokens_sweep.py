# SPDX-License-Identifier: Apache-2.0
"""What container tokens leave behind, when it goes, and what the clock on the wall has to do with it."""
import gzip
import os
import sqlite3

import pytest

from rig import faults, images, token_api
from rig.process import wait_for
from rig.token_api import data_layer, token

NAME = "lib/app"
IMAGE = "up.test/lib/app:1"
HOUR, DAY = 3600, 86400


def sql(p, *statements):
    """The first row of each."""
    with sqlite3.connect(os.path.join(p.data, "state.db"), timeout=30) as db:
        rows = [db.execute(s).fetchone() for s in statements]
    db.close()
    return rows


def expired(p):
    return p.metrics().get('rac_tokens_total{event="expired"}', 0)


def pull_all(p, name, reference):
    """An index, each manifest of it, each blob of those; the index's digest."""
    top = p.manifest(name, reference)
    assert (top.status, top.digest) == (200, top["Docker-Content-Digest"]), top.body[:300]
    for d in top.json["manifests"]:
        child = p.manifest(name, d["digest"])
        assert (child.status, child.digest) == (200, d["digest"])
        for blob in [child.json["config"], *child.json["layers"]]:
            assert p.blob(name, blob["digest"]).digest == blob["digest"]
    return top.digest


def lose_blobs(p):
    for folder, _, files in os.walk(os.path.join(p.data, "blobs")):
        for name in files:
            os.unlink(os.path.join(folder, name))


def wish(n):
    tar = images.tar([(f"{n}.bin", images.noise(300_000, f"sweep{n}"))])
    return {"layers": [token_api.inline(gzip.compress(tar, 1, mtime=0), tar)]}


def wait_forgotten(p, count):
    wait_for(lambda: p.metrics().get("rac_injections_forgotten_total", 0) == count, 90, f"{count} injections to be forgotten", step=0.2)


def test_what_only_tokens_asked_for_goes_some_time_after_them(make, up, layer):
    """Injections with their inline layers while it runs, what was made of them at the next start; never what the configuration
    injects, nor what a token is still there for. What was forgotten can be asked for again, and is kept again."""
    up.tag(NAME, "1", images.two_platforms())
    p = make({"up.test": up.url}, ["--upstream-missing", "0s"], inject=layer.path)

    def used():
        (pages,), (free,) = sql(p, "PRAGMA page_count", "PRAGMA freelist_count")
        return pages - free

    rows = ["SELECT count(*) FROM " + t for t in ("injection", "passing", "variant", "link", "object", "token")]
    configured = pull_all(p, NAME, "1")
    held = token(p, IMAGE, wish(0), containerPlatform="all", workflowId="held")
    pull_all(p, held.name, held.reference)
    p.stop()
    before, pages = sql(p, *rows), used()
    p.start()
    brief = [token(p, IMAGE, wish(n), containerPlatform="all") for n in range(1, 21)]
    for t in brief:
        pull_all(p, t.name, t.reference)
    p.stop()
    assert used() - pages > 20 * 300_000 // 4096
    # Days pass.
    sql(p, "UPDATE passing SET until_ms = 1 WHERE injection <> (SELECT injection FROM token WHERE note IS NOT NULL)",
        "UPDATE token SET expires_ms = 1 WHERE note IS NULL")
    p.start()
    wait_forgotten(p, 20)
    p.stop()
    assert used() - pages < 300_000 // 4096
    p.start()
    p.stop()
    assert "what was made for tokens that are gone is forgotten" in p.log()
    assert sql(p, *rows) == before
    # What was promised holds, whatever the cache lost; and what is gone can be had again.
    lose_blobs(p)
    p.start()
    assert p.manifest(brief[0].name, brief[0].reference).status == 404
    assert pull_all(p, NAME, configured) == configured
    assert pull_all(p, held.name, held.reference) == held.target
    again = token(p, IMAGE, wish(1), containerPlatform="all")
    assert again.target == brief[0].target
    p.kill()
    lose_blobs(p)
    p.start()
    assert pull_all(p, again.name, again.reference) == again.target


def test_what_was_forgotten_is_asked_for_while_it_runs(make, up):
    """What was made of it is known still, the injection is not: it is put again, and the new token holds."""
    up.tag(NAME, "1", images.two_platforms())
    p = make({"up.test": up.url}, ["--upstream-missing", "0s"])
    old = token(p, IMAGE, wish(0), containerPlatform="all")
    p.stop()
    sql(p, "UPDATE passing SET until_ms = 1", "UPDATE token SET expires_ms = 1")
    p.start()
    wait_forgotten(p, 1)
    t = token(p, IMAGE, wish(0), containerPlatform="all")
    assert t.target == old.target and p.metrics()['rac_injections_total{result="reused"}'] == 1
    p.kill()
    lose_blobs(p)
    p.start()
    assert pull_all(p, t.name, t.reference) == t.target


def test_a_token_of_what_the_configuration_injects_takes_nothing_from_it(make, up, layer):
    """The same injection for both, the token first: what is pulled by the rules stays when the token's time is over."""
    up.tag(NAME, "1", images.two_platforms())
    p = make({"up.test": up.url}, ["--upstream-missing", "0s"], inject=layer.path)
    t = token(p, IMAGE, {**layer.json, "layers": [data_layer(layer)]}, containerPlatform="all")
    assert sql(p, "SELECT count(*) FROM passing") == [(1,)]
    assert pull_all(p, NAME, "1") == t.target
    p.stop()
    none, (text,), _ = sql(p, "SELECT count(*) FROM passing", "SELECT text FROM injection", "UPDATE token SET expires_ms = 1")
    assert none == (0,) and b"data:" not in text
    p.start()
    token(p, IMAGE, {**layer.json, "layers": [data_layer(layer)]}, containerPlatform="all")
    assert pull_all(p, NAME, t.target) == t.target
    p.stop()
    assert sql(p, "SELECT count(*) FROM passing", "SELECT text FROM injection") == [(0,), (text,)]


# The clock on the wall

@pytest.fixture
def clock(scratch):
    return faults.Faults(scratch)


@pytest.fixture
def timed(make, up, clock):
    """Its clock is the test's; a token holds for an hour."""
    up.tag(NAME, "1", images.two_platforms())
    return make({"up.test": up.url}, ["--upstream-missing", "0s", "--tokens-ttl", "1h"], env=clock.env)


def test_expired_tokens_are_forgotten_in_the_background(timed, clock):
    held = [token(timed, IMAGE) for _ in range(10)]
    clock.shift_clock(HOUR + 5)
    held.append(token(timed, IMAGE))
    wait_for(lambda: expired(timed) == 10, 90, "ten tokens to be forgotten", step=0.2)
    timed.stop()
    assert sql(timed, "SELECT count(*) FROM token") == [(1,)]
    timed.start()
    assert [t.manifest().status for t in held] == [404] * 10 + [200]


@pytest.mark.parametrize("later,put_again", [(3 * HOUR - 300, False), (3 * HOUR + 5, True), (40 * DAY, True), (-40 * DAY, False)])
def test_what_memory_says_of_an_injection_is_believed_for_three_hours(timed, clock, later, put_again):
    """It stays for six after its last token: so there are three left to make another. As long as it is believed, nothing
    that was put is put again; a clock that goes back keeps in the state, too, what it keeps in memory."""
    first = token(timed, IMAGE, wish(0), containerPlatform="all")
    # As if the sweep had taken it, which it must not have: who looks finds out who believes.
    sql(timed, "DELETE FROM injection", "DELETE FROM passing")
    clock.shift_clock(later)
    second = token(timed, IMAGE, wish(0), containerPlatform="all")
    assert second.target == first.target
    assert sql(timed, "SELECT count(*) FROM injection") == [(int(put_again),)]
    if put_again:
        timed.kill()
        lose_blobs(timed)
        timed.start()
        assert pull_all(timed, second.name, second.reference) == second.target


def test_a_jump_ahead_ends_tokens_and_not_what_others_are_being_made_of(timed, clock):
    """A request that was under way when the machine slept is through before the injection's hours are over."""
    held = [token(timed, IMAGE, wish(n), containerPlatform="all") for n in range(2)]
    clock.shift_clock(40 * DAY)
    wait_for(lambda: expired(timed) == 2, 90, "the tokens to be forgotten", step=0.2)
    assert timed.manifest(held[0].name, held[0].reference).status == 404
    # What is written behind the sweep that came with it:
    token(timed, IMAGE, wish(2), containerPlatform="all")
    assert timed.metrics().get("rac_injections_forgotten_total", 0) == 0
    assert sql(timed, "SELECT count(*) FROM injection") == [(3,)]


def test_a_jump_back_and_ahead_again_takes_nothing_from_tokens_that_hold(timed, clock):
    held = token(timed, IMAGE, wish(0), containerPlatform="all")
    clock.shift_clock(-40 * DAY)
    assert pull_all(timed, held.name, held.reference) == held.target
    brief = token(timed, IMAGE, wish(1), containerPlatform="all")
    clock.shift_clock(0)
    wait_for(lambda: expired(timed) == 1, 90, "the token of weeks ago to be forgotten", step=0.2)
    assert timed.manifest(brief.name, brief.reference).status == 404
    timed.kill()
    lose_blobs(timed)
    timed.start()
    assert pull_all(timed, held.name, held.reference) == held.target
