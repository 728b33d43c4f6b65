# SPDX-License-Identifier: Apache-2.0
"""/v1/pulls and /v1/demand: what is asked of the records."""
import json
import time
import urllib.parse

import pytest

from rig import images
from test_records import records, wait_for

ARGS = ["--access-anonymous", "pull,read-records", "--pulls-trust-headers",
        "--location", "127.0.1.0/24=north", "--location", "127.0.2.0/24=south", "--trusted-proxy", "127.0.0.1"]


class Estate:
    """Nodes with addresses of their own, as a reverse proxy that is trusted says them."""

    def __init__(self, p):
        self.p = p

    def ask(self, node, address, name, tag, method="GET"):
        reply = self.p.fetch(method, f"/v2/{name}/manifests/{tag}",
                             {"X-Rac-Node": node, "X-Forwarded-For": address, "User-Agent": "engine"})
        assert reply.status == 200, reply.body
        return reply

    def pull(self, node, address, name, tag):
        manifest = self.ask(node, address, name, tag).json
        for part in [manifest["config"], *manifest["layers"]]:
            assert self.p.get(f"/v2/{name}/blobs/{part['digest']}", X_Rac_Node=node,
                              X_Forwarded_For=address).status == 200


@pytest.fixture
def estate(make, up):
    for name in ("lib/app", "lib/db"):
        for tag in ("1", "2"):
            up.tag(name, tag, images.tiny(name + tag))
    e = Estate(make({"up.test": up.url}, ARGS))
    e.pull("n1", "127.0.1.1", "lib/app", "1")
    e.pull("n2", "127.0.1.2", "lib/app", "1")
    e.pull("n2", "127.0.1.2", "lib/app", "2")
    e.pull("s1", "127.0.2.1", "lib/app", "1")
    e.pull("s1", "127.0.2.1", "lib/db", "1")
    e.ask("n1", "127.0.1.1", "lib/app", "1", "HEAD")
    e.p.restart()  # what was asked last is a check, then: nothing can follow it any more
    assert wait_for(lambda: len([r for r in records(e.p) if r["complete"]]) == 5 and len(records(e.p)) == 6)
    return e


def demand(p, **query):
    reply = p.get("/v1/demand?" + urllib.parse.urlencode(query))
    assert reply.status == 200, reply.body
    return {(d["image"], d["location"]): d for d in reply.json["demand"]}


def test_demand_names_exactly_where_each_image_is_needed(estate, up):
    got = demand(estate.p)
    assert {key: ({n["node"] for n in d["nodes"]}, d["pulls"], d["checks"]) for key, d in got.items()} == {
        ("up.test/lib/app", "north"): ({"n1", "n2"}, 3, 1),
        ("up.test/lib/app", "south"): ({"s1"}, 1, 0),
        ("up.test/lib/db", "south"): ({"s1"}, 1, 0)}
    n1, n2 = sorted(got["up.test/lib/app", "north"]["nodes"], key=lambda n: n["node"])
    assert n1["sourceDigest"] == up.tags["lib/app"]["1"].digest and n1["complete"] and n1["lastCheck"] > n1["lastPull"]
    assert n2["sourceDigest"] == up.tags["lib/app"]["2"].digest and n2["lastCheck"] is None
    assert got["up.test/lib/app", "north"]["last"] == n1["lastCheck"]
    youngest = {r["node"]: r for r in reversed(records(estate.p, kind="pull", image="lib/app"))}
    assert {n["node"]: n["lastPull"] for n in (n1, n2)} == {k: youngest[k]["time"] for k in ("n1", "n2")}


@pytest.mark.parametrize("image", ["lib/app", "up.test/lib/app"])
def test_demand_of_one_image(estate, image):
    assert set(demand(estate.p, image=image)) == {("up.test/lib/app", "north"), ("up.test/lib/app", "south")}
    assert demand(estate.p, image="lib/none") == {} == demand(estate.p, image="other.example/x/y")


def test_demand_since_counts_what_came_since(estate):
    time.sleep(2.2)
    begin = time.monotonic()
    estate.pull("s1", "127.0.2.1", "lib/app", "1")
    wait_for(lambda: len(records(estate.p)) == 7)
    got = demand(estate.p, since=f"{int(time.monotonic() - begin) + 2}s")
    assert {k: (d["pulls"], d["checks"]) for k, d in got.items()} == {("up.test/lib/app", "south"): (1, 0)}
    for since in ("1h", "7d", "1970-01-01T00:00:00Z"):
        assert demand(estate.p, since=since)["up.test/lib/app", "south"]["pulls"] == 2


def test_it_is_the_same_after_a_restart(estate):
    before = (demand(estate.p), records(estate.p))
    estate.p.restart()
    assert (demand(estate.p), records(estate.p)) == before


@pytest.mark.parametrize("query, count", [
    ("", 6), ("node=n1", 2), ("node=n2", 2), ("location=north", 4), ("location=south", 2), ("kind=check", 1),
    ("kind=pull", 5), ("image=lib/app", 5), ("image=up.test/lib/db", 1), ("image=lib/app&node=s1", 1),
    ("image=lib/app&location=north&kind=pull", 3), ("since=1h", 6), ("since=1h&until=30m", 0),
    ("until=1970-01-02T00:00:00%2B01:00", 0), ("until=2999-01-01T00:00:00Z", 6), ("node=nobody", 0),
    ("image=other.example/a/b", 0), ("limit=3", 3),
])
def test_filters(estate, query, count):
    assert len(estate.p.get("/v1/pulls?" + query).json["pulls"]) == count


def test_pages_are_stable_while_more_is_pulled(estate):
    whole = [r["id"] for r in records(estate.p)]
    assert whole == sorted(whole, reverse=True)
    got, cursor = [], ""
    while True:
        page = estate.p.get(f"/v1/pulls?limit=2{cursor}").json
        got += [r["id"] for r in page["pulls"]]
        estate.pull("n9", "127.0.1.9", "lib/db", "2")
        if "next" not in page:
            break
        cursor = "&cursor=" + page["next"]
    assert got == whole


@pytest.mark.parametrize("query, said", [
    ("limit=0", "limit"), ("limit=1001", "limit"), ("limit=-1", "limit"), ("limit=1e3", "limit"), ("limit=", "empty"),
    ("since=yesterday", "since"), ("since=2026-13-01T00:00:00Z", "since"), ("since=2026-02-30T00:00:00Z", "since"),
    ("since=2026-01-01", "since"), ("until=%00", "until"), ("until=-1h", "until"), ("since=1h&until=2h", "before"),
    ("cursor=abc", "cursor"), ("cursor=" + "0" * 26, "cursor"), ("kind=push", "kind"), ("kind=PULL", "kind"),
    ("image=UPPER", "image"), ("image=a:1", "image"), ("image=..", "image"), ("image=a//b", "image"),
    ("image=" + "a" * 300, "image"), ("node=" + "n" * 300, "node"), ("limit=1&limit=2", "twice"),
    ("what=1", "no parameter"), ("%zz", "no parameter"), ("node=%zz", "node"), ("image=a%27%20OR%201=1", "image"),
])
def test_bad_parameters_are_named(estate, query, said):
    reply = estate.p.get("/v1/pulls?" + query)
    assert reply.status == 400 and said in reply.json["message"], reply.body


@pytest.mark.parametrize("query", ["since=x", "image=A", "limit=1", "since=1h&since=1h"])
def test_bad_parameters_of_demand(estate, query):
    assert estate.p.get("/v1/demand?" + query).status == 400


def test_what_looks_like_sql_is_a_name(estate):
    for value in ("n1' OR '1'='1", "%", "n_", "x\"; DROP TABLE record; --"):
        assert estate.p.get("/v1/pulls?node=" + urllib.parse.quote(value)).json["pulls"] == []
    assert len(records(estate.p)) == 6


def test_names_from_outside_come_out_as_json(make, up):
    up.tag("lib/app", "1", images.tiny())
    e = Estate(make({"up.test": up.url}, ARGS))
    e.p.fetch("GET", "/v2/lib/app/manifests/1", {"X-Rac-Node": "n\"\\\t1", "User-Agent": "a" * 4000})
    r, = records(e.p)
    assert r["node"] == "n\"\\\t1" or r["node"] == "127.0.0.1"
    assert 0 < len(r["userAgent"]) <= 255 and json.dumps(r)


def test_short_names_are_those_of_docker(make, up):
    """Without a default of its own, one word is docker.io/library/."""
    up.tag("library/busybox", "1", images.tiny())
    e = Estate(make({"docker.io": up.url}, ARGS))
    e.pull("n1", "127.0.1.1", "busybox", "1")
    for image in ("busybox", "library/busybox", "docker.io/busybox", "docker.io/library/busybox", "index.docker.io/library/busybox"):
        assert [r["repository"] for r in records(e.p, image=image)] == ["library/busybox"], image
        assert set(demand(e.p, image=image)) == {("docker.io/library/busybox", "north")}
