# SPDX-License-Identifier: Apache-2.0
"""Replicas on one Redis have one journal between them: whoever is asked knows every pull, once, whatever was away meanwhile."""
import itertools

import pytest

from rig import images
from rig.events import Events
from rig.process import wait_for
from rig.redis import Redis

NAME = "lib/app"
ARGS = ["--pulls-check-window", "1s", "--access-anonymous", "pull,read-records"]

pytestmark = pytest.mark.skipif(Redis.missing(), reason="not installed: redis-server")


@pytest.fixture
def replica(make, up, redis):
    up.tag(NAME, "1", images.tiny())
    return lambda *args, **kwargs: make({"up.test": up.url}, [*ARGS, "--state", redis.url, *args], **kwargs)


def pulls(p, *agents):
    for agent in agents:
        assert p.fetch("GET", f"/v2/{NAME}/manifests/1", {"User-Agent": agent}).status == 200


def told(p):
    """The agents of all records that it answers with, oldest first: not one of them twice."""
    found, cursor = [], ""
    while cursor is not None:
        page = p.get(f"/v1/pulls?limit=1000{cursor}").json
        found += page["pulls"]
        cursor = f"&cursor={page['next']}" if "next" in page else None
    assert len({r["id"] for r in found}) == len(found), found
    return [r["userAgent"] for r in reversed(found)]


def knows(p, *agents):
    wait_for(lambda: sorted(told(p)) == sorted(agents), 30, f"a replica that knows of {agents}")


def own(p, *agents):
    """It has them in its own journal, whoever else knows of them."""
    wait_for(lambda: set(agents) <= set(told(p)), 30, "a replica's own records")


def away(p):
    wait_for(lambda: p.get("/readyz").status == 503, 30, "that Redis is away is seen")


def test_whoever_is_asked_knows_of_all_pulls(replica):
    a, b = replica(), replica()
    pulls(a, "at-a-1", "at-a-2")
    pulls(b, "at-b")
    for p in (a, b):
        knows(p, "at-a-1", "at-a-2", "at-b")
    of_a, of_b = ({r["id"]: r for r in p.get("/v1/pulls").json["pulls"]} for p in (a, b))
    assert set(of_a) == set(of_b)
    for p in (a, b):
        demand, = p.get(f"/v1/demand?image=up.test/{NAME}").json["demand"]
        assert (demand["pulls"], demand["image"]) == (3, f"up.test/{NAME}")
    any_id = next(iter(of_a))
    assert all(p.get(f"/v1/pulls?cursor={any_id}").status == 200 for p in (a, b))  # whoever made it
    c = replica()
    knows(c, "at-a-1", "at-a-2", "at-b")  # what was before it came


def test_what_becomes_of_a_pull_is_known_everywhere(replica, up):
    a, b = replica(), replica()
    manifest = a.manifest(NAME, "1")
    for part in [manifest.json["config"], *manifest.json["layers"]]:
        assert a.blob(NAME, part["digest"]).status == 200

    def of(p):
        record, = p.get("/v1/pulls").json["pulls"] or [None]
        return record
    wait_for(lambda: (of(a) or {}).get("complete"), 30, "a pull that is through")
    wait_for(lambda: of(b) == of(a), 30, "the same record at the other replica")
    assert of(b)["bytesSent"] > 0
    node, = b.get("/v1/demand").json["demand"][0]["nodes"]
    assert node["complete"]


def test_events_of_one_replica_come_from_the_other(replica):
    a, b = replica(), replica()
    e = Events(b, shared=True)
    pulls(a, *[f"a{i}" for i in range(20)])
    pulls(b, *[f"b{i}" for i in range(20)])
    got = [r["userAgent"] for r in e.take(40)]
    for which in "ab":
        assert [g for g in got if g[0] == which] == [f"{which}{i}" for i in range(20)]  # each one's in order
    e.close()


def test_a_reader_of_events_goes_on_where_it_was_and_elsewhere(replica):
    a, b = replica(), replica()
    e = Events(a, shared=True)
    pulls(a, "one")
    pulls(b, "two")
    assert sorted(r["userAgent"] for r in e.take(2)) == ["one", "two"]
    e.close()
    pulls(a, "three")
    pulls(b, "four")
    knows(a, "one", "two", "three", "four")
    a.restart()
    again = Events(a, e.last, shared=True)
    assert sorted(r["userAgent"] for r in again.take(2)) == ["four", "three"]  # none twice where it was before
    again.close()
    a.kill()
    knows(b, "one", "two", "three", "four")
    elsewhere, got = Events(b, e.last, shared=True), set()
    while not got >= {"three", "four"}:
        got.add(elsewhere.next()["userAgent"])
    pulls(b, "five")
    while "five" not in got:
        got.add(elsewhere.next()["userAgent"])
    elsewhere.close()


def test_what_only_the_other_had_not_seen_is_not_missed(replica, redis):
    a, b = replica(), replica()
    pulls(b, "before")
    knows(a, "before")
    redis.kill()
    away(a)
    away(b)
    pulls(b, "only-at-b")
    own(b, "only-at-b")
    e = Events(a, shared=True)
    pulls(a, "only-at-a")
    assert e.next()["userAgent"] == "only-at-a"
    e.close()
    # Its reader comes here, where what it has not seen stands before what it has.
    there = Events(b, e.last, shared=True)
    assert there.next()["userAgent"] == "only-at-b"
    redis.start()
    assert there.next()["userAgent"] == "only-at-a"
    there.close()


def test_ids_that_are_none(replica):
    p = replica()
    pulls(p, "one")
    own(p, "one")
    good = p.get("/v1/pulls").json["pulls"][0]["id"]
    for bad in ("x", "0" * 26, good[:-1], good + ".", good + ".00000000", good + ".00000000.x", good + ".00000000." + "f" * 17, "u" * 300):
        assert p.get("/v1/events", Last_Event_ID=bad).status == 400, bad
        assert p.get(f"/v1/pulls?cursor={bad}").status == 400, bad
    assert p.get(f"/v1/pulls?cursor={good}").json["pulls"] == []


def test_while_redis_is_away_records_are_kept_and_arrive_afterwards(replica, redis):
    a, b = replica(), replica()
    pulls(a, "before")
    knows(b, "before")
    redis.kill()
    away(a)
    pulls(a, "a1", "a2")
    pulls(b, "b1")
    own(a, "before", "a1", "a2")  # what is here is told all the while
    own(b, "before", "b1")
    redis.start()
    for p in (a, b):
        knows(p, "before", "a1", "a2", "b1")
    pulls(a, "after")
    knows(b, "before", "a1", "a2", "b1", "after")


def test_what_was_served_while_redis_was_away_is_known_by_its_source_again(replica, redis, up, layer):
    """What an image was made of is asked of Redis, once for each: that it could not say is not kept for good."""
    image = up.tags[NAME]["1"]
    a = replica("--workers", "1", inject=layer.path)
    redis.kill()
    away(a)
    pulls(a, "meanwhile")
    own(a, "meanwhile")
    redis.start()
    wait_for(lambda: a.get("/readyz").status == 200, 30, "that Redis is back is seen")

    def known():
        pulls(a, f"after-{next(count)}")
        latest = a.get("/v1/pulls?limit=1").json["pulls"][0]
        return latest["userAgent"] != "meanwhile" and latest["sourceDigest"] == image.digest
    count = itertools.count()
    wait_for(known, 60, "the source of what is served", step=0.5)
    node, = a.get("/v1/demand").json["demand"][0]["nodes"]
    assert node["sourceDigest"] == image.digest


def test_a_record_of_a_replica_that_was_killed_arrives_after_its_restart(replica, redis):
    a, b = replica(), replica()
    redis.kill()
    away(a)
    pulls(a, *[f"a{i}" for i in range(30)])
    own(a, *[f"a{i}" for i in range(30)])
    a.kill()
    redis.start()
    wait_for(lambda: b.get("/readyz").status == 200, 30, "that Redis is back is seen")
    assert told(b) == []
    a.start()
    for p in (a, b):
        knows(p, *[f"a{i}" for i in range(30)])


def test_killed_at_any_moment_it_passes_each_record_on_once(replica):
    a, b = replica(), replica()
    sent = []
    for i in range(6):
        pulls(a, f"a{i}")
        sent.append(f"a{i}")
        own(a, f"a{i}")  # from here on it is there, whatever happens
        a.kill()
        a.start()
    for p in (a, b):
        knows(p, *sent)
    assert told(b) == sent


def test_a_replica_that_ends_passes_its_last_records_on(replica):
    a, b = replica(), replica()
    pulls(a, "a")
    assert a.manifest(NAME, "1", "HEAD").status == 200  # a question: it is a check when the replica ends
    a.stop()
    wait_for(lambda: len(told(b)) == 2, 30, "the last records of a replica that is gone")
    assert sorted(r["kind"] for r in b.get("/v1/pulls").json["pulls"]) == ["check", "pull"]


def test_a_redis_that_comes_back_empty(replica, redis):
    a, b = replica(), replica()
    pulls(a, "a1")
    knows(b, "a1")
    redis.empty()
    pulls(a, "a2")
    pulls(b, "b1")
    for p in (a, b):
        knows(p, "a1", "a2", "b1")  # what they have they keep, and have it once
    b.kill()
    pulls(a, "a3")
    b.start()
    knows(b, "a1", "a2", "b1", "a3")


def test_what_is_no_record_is_left_out(replica, redis):
    a, b = replica(), replica()
    pulls(a, "one")
    knows(b, "one")
    for junk in ("", "{", "[]", "{}", '{"replica":"x","id":"01","kind":"pull"}', '{"kind":7}', "\xff"):
        redis.ask("XADD", "rac:1:records", "*", "r", junk)
    pulls(a, "two")
    knows(b, "one", "two")
    assert b.log().count("what another replica put among the pull records is none") >= 1


def test_a_replica_alone_is_as_it_was(make, up):
    up.tag(NAME, "1", images.tiny())
    p = make({"up.test": up.url}, ARGS)
    pulls(p, "one")
    own(p, "one")
    e = Events(p, p.get("/v1/pulls").json["pulls"][0]["id"])
    pulls(p, "two")
    assert e.next()["userAgent"] == "two"
    e.close()
