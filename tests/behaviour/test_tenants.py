# SPDX-License-Identifier: Apache-2.0
"""Two tenants: what one's upstream credentials brought here is not there for the other, by any route."""
import base64
import json
import statistics
import time

import pytest
import yaml

from rig import images, proxy, registry, wire

USERS = {name: proxy.secret(f"password-of-{name}") for name in ("ann", "bob", "eve")}
HEADERS = {name: {"Authorization": "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()}
           for name, password in USERS.items()}
HEADERS[None] = {}
IMAGE = "team/private"


class Tenants:
    """ann has credentials for the upstream; bob has others, which are wrong there; eve has none of her own."""

    def __init__(self, make, upstream, layer=None, proxys_own=None):
        self.upstream = upstream
        given = {"name": "up.test", "url": upstream.url}
        if proxys_own:
            given.update(zip(("username", "password"), proxys_own))
        accounts = [{"name": name, "password-hash": registry.bcrypt(password), "roles": ["pull", "request"]}
                    for name, password in USERS.items()]
        accounts[0]["upstreams"] = [{"name": "up.test", "username": "puller", "password": "correct-horse-basic"}]
        accounts[1]["upstreams"] = [{"name": "up.test", "username": "bob", "password": USERS["bob"]}]
        config = {"upstreams": [given], "accounts": accounts, "access": {"anonymous": ["pull", "request"]}}
        if layer:
            config["inject"] = [{"match": "*", "injection": layer.path}]
        self.p = make(config=config, args=["--upstream-missing", "0s"])

    def get(self, who, path, method="GET", **headers):
        return self.p.fetch(method, path, {"Accept": wire.MANIFEST_TYPES, **HEADERS[who],
                                           **{k.replace("_", "-"): v for k, v in headers.items()}})

    def pull(self, who, name=IMAGE, reference="latest"):
        """Everything of an image: [(path, digest)]."""
        manifest = self.get(who, f"/v2/{name}/manifests/{reference}")
        assert manifest.status == 200, manifest.body
        found = [(f"/v2/{name}/manifests/{manifest.digest}", manifest.digest)]
        for d in [manifest.json["config"], *manifest.json["layers"]]:
            path = f"/v2/{name}/blobs/{d['digest']}"
            reply = self.get(who, path)
            assert (reply.status, reply.digest) == (200, d["digest"])
            found.append((path, d["digest"]))
        return found


@pytest.fixture(params=["plain", "injected"])
def tenants(request, make, basic_registry, layer):
    return Tenants(make, basic_registry, layer if request.param == "injected" else None)


OTHERS = ["bob", "eve", None]


def routes(paths):
    """Every way to a thing we know of: its path, the other spellings of its name, its tag and what hangs on it."""
    for path in [p for p, _ in paths] + [f"/v2/{IMAGE}/manifests/latest", f"/v2/{IMAGE}/tags/list",
                                         f"/v2/{IMAGE}/referrers/{paths[0][1]}"]:
        rest = path.removeprefix(f"/v2/{IMAGE}/")
        yield path
        yield f"/v2/up.test/{IMAGE}/{rest}"
        yield f"/v2/{IMAGE}/{rest}?ns=up.test"


@pytest.mark.parametrize("who", OTHERS)
def test_another_cannot_read_what_one_has_cached(tenants, who):
    paths = tenants.pull("ann")
    secrets = [tenants.get("ann", path).body for path, _ in paths]
    for path in routes(paths):
        for method, headers in (("GET", {}), ("HEAD", {}), ("GET", {"Range": "bytes=0-9"}),
                                ("GET", {"If_None_Match": "*"}),
                                ("GET", {"If_None_Match": f'"{path.rsplit("/", 1)[1]}"'})):
            reply = tenants.get(who, path, method, **headers)
            assert reply.status in (401, 404), (path, method, headers, reply.status)
            assert not any(s in reply.body for s in secrets) and not reply["Docker-Content-Digest"] and not reply["ETag"]
    # None of that took it away from whom it belongs to.
    assert tenants.pull("ann") == paths


@pytest.mark.parametrize("who", OTHERS)
def test_nor_under_another_name(tenants, who):
    """A name that is public, or made up: possession of the digest is no permission."""
    paths = tenants.pull("ann")
    for _, digest in paths:
        for kind in ("blobs", "manifests"):
            for name in ("team/other", "library/busybox", IMAGE + "/x"):
                for method in ("GET", "HEAD"):
                    assert tenants.get(who, f"/v2/{name}/{kind}/{digest}", method).status in (401, 404)


@pytest.mark.parametrize("who", OTHERS)
def test_the_catalogue_does_not_tell(tenants, who):
    tenants.pull("ann")
    assert f"up.test/{IMAGE}" in tenants.get("ann", "/v2/_catalog").json["repositories"]
    for query in ("", "?n=1", "?n=1000", f"?last=up.test/team", "?n=1&last=a"):
        reply = tenants.get(who, "/v2/_catalog" + query)
        assert reply.json == {"repositories": []} and not reply["Link"]


@pytest.mark.parametrize("who", OTHERS)
def test_there_and_not_there_are_one_answer(tenants, who):
    paths = tenants.pull("ann")
    for path, digest in [*paths, (f"/v2/{IMAGE}/manifests/latest", "latest")]:
        there = tenants.get(who, path)
        absent = tenants.get(who, path.replace(IMAGE, "team/absent"))
        assert there.status == absent.status
        assert there.body.replace(IMAGE.encode(), b"team/absent") == absent.body
        unknown = digest.replace(digest[-8:], "0" * 8) if ":" in digest else "absent"
        assert tenants.get(who, path.replace(digest, unknown)).status == there.status


@pytest.mark.parametrize("who", ["bob", None])
def test_nor_does_time_tell(tenants, who):
    """What ann has cached is asked for upstream like what nobody ever had."""
    paths = tenants.pull("ann")
    path = paths[-1][0]
    times = {path: [], path.replace(IMAGE, "team/absent"): []}
    for _ in range(60):
        for p, took in times.items():
            began = time.perf_counter()
            tenants.get(who, p)
            took.append(time.perf_counter() - began)
    # The quicker ones: what other programs of the machine add is no part of the answer.
    cached, absent = (statistics.quantiles(t, n=5)[0] for t in times.values())
    assert 0.5 < cached / absent < 2, (cached, absent)
    # And both cost the upstream its questions: neither is answered from here.
    asked = [path for _, path, _ in tenants.upstream.requests()]
    assert sum("team/absent/blobs" in a for a in asked) >= 60


@pytest.mark.parametrize("who", OTHERS)
def test_nor_by_a_container_token(tenants, who):
    paths = tenants.pull("ann")

    def request(by, image):
        body = json.dumps({"containerImage": image, "containerConfig": {"env": ["A=B"]}}).encode()
        return tenants.p.fetch("POST", "/container-token", {**HEADERS[by], "Content-Type": "application/json"}, body)
    for image in (f"up.test/{IMAGE}:latest", f"up.test/{IMAGE}@{paths[0][1]}"):
        reply = request(who, image)
        assert reply.status in (401, 404) and "targetImage" not in reply.json, reply.body
    # ann's own works, for whoever she hands it to, and for that image alone.
    made = request("ann", f"up.test/{IMAGE}:latest")
    assert made.status == 200, made.body
    path = "/v2/" + made.json["targetImage"].split("/", 1)[1].rsplit(":", 1)[0]
    assert tenants.get(who, f"{path}/manifests/latest").status == 200
    for path, _ in paths:
        assert tenants.get(who, path).status in (401, 404)


def test_who_may_see_it_upstream_reads_what_is_here(make, basic_registry):
    """Two accounts with the same credentials upstream are one scope; others with them get bytes without a download."""
    t = Tenants(make, basic_registry, proxys_own=("puller", "correct-horse-basic"))
    before = basic_registry.downloads()
    paths = t.pull("ann")
    assert t.pull("eve") == t.pull(None) == paths
    new = basic_registry.downloads() - before
    assert all(n == 1 for n in new.values()), new
    assert t.get("bob", paths[0][0]).status == 401


def test_the_proxys_own_credentials_are_not_an_accounts(make, basic_registry):
    """bob brings credentials of his own: those of the proxy are not used in their place."""
    t = Tenants(make, basic_registry, proxys_own=("puller", "correct-horse-basic"))
    paths = t.pull(None)
    assert t.get("bob", f"/v2/{IMAGE}/manifests/latest").status == 401
    for path, _ in paths:
        assert t.get("bob", path).status in (401, 404)
    assert t.get("bob", "/v2/_catalog").json == {"repositories": []}


def test_it_holds_over_a_restart_and_a_reload(tenants):
    paths = tenants.pull("ann")
    for again in (tenants.p.restart, tenants.p.reload):
        again()
        for who in OTHERS:
            for path, _ in paths:
                assert tenants.get(who, path).status in (401, 404)
        assert tenants.pull("ann") == paths


def test_credentials_that_are_taken_from_an_account(tenants):
    paths = tenants.pull("ann")
    with open(tenants.p.config_file, encoding="utf-8") as f:
        text = f.read()
    tenants.p.configure({**yaml.safe_load(text), "accounts": [
        {"name": "ann", "password-hash": registry.bcrypt(USERS["ann"]), "roles": ["pull"]}]})
    tenants.p.reload()
    for path in routes(paths):
        assert tenants.get("ann", path).status in (401, 404)
    assert tenants.get("ann", "/v2/_catalog").json == {"repositories": []}


def test_an_account_with_credentials_for_an_upstream_that_is_not_there(scratch, make, up):
    done = make(config={"accounts": [{"name": "a", "password-hash": registry.bcrypt("a"),
                                      "upstreams": [{"name": "lab", "username": "u", "password": "p"}]}]}, start=False)
    done = proxy.run_once(scratch, "--check-config", "--config", done.config_file)
    assert done.returncode == 2 and "account 'a': there is no upstream 'lab': add it under 'upstreams'" in done.stderr
