# SPDX-License-Identifier: Apache-2.0
"""Container tokens and accounts: who may ask, who may pull, who may revoke; and many of all that at once."""
import base64
import concurrent.futures
import os

import pytest

from rig import images, proxy, registry, token_api, wire
from rig.token_api import data_layer

NAME = "lib/app"
IMAGE = "up.test/lib/app:1"
USERS = {n: proxy.secret(f"secret-words-of-{n}") for n in ("ann", "bob", "root", "reader")}
ROLES = {"ann": ["pull", "request"], "bob": ["request"], "root": ["admin"], "reader": ["pull"]}


def login(name):
    if name is None:
        return {}
    value = proxy.secret(base64.b64encode(f"{name}:{USERS[name]}".encode()).decode())
    return {"Authorization": f"Basic {value}"}


@pytest.fixture
def start(make, up):
    up.tag(NAME, "1", images.tiny())

    def proxy_for(anonymous=(), args=(), upstreams=None):
        accounts = [{"name": n, "password-hash": registry.bcrypt(p), "roles": ROLES[n]} for n, p in USERS.items()]
        if upstreams:
            accounts[0]["upstreams"] = upstreams
        return make({"up.test": up.url}, ["--tokens-rate", "0", *args],
                    config={"accounts": accounts, "access": {"anonymous": list(anonymous) or "none"}})
    return proxy_for


def ask(p, who, image=IMAGE, config=None, **members):
    return token_api.ask(p, image, config, headers=login(who), **members)


def revoke(p, who, t):
    return p.fetch("DELETE", f"/container-token/{t.text}", login(who))


@pytest.mark.parametrize("who,status", [(None, 401), ("reader", 403), ("bob", 200), ("ann", 200), ("root", 200)])
def test_who_may_ask(start, who, status):
    reply = ask(start(), who)
    assert reply.status == status
    if status == 401:
        assert reply["WWW-Authenticate"] == 'Basic realm="rac-proxy"' and "'request'" in reply.json["message"]
    if status == 403:
        assert "'request'" in reply.json["message"]


def test_the_token_is_the_right_to_pull(start, up):
    """Nobody may pull here without credentials, but who has the token may."""
    p = start()
    assert p.manifest(NAME, "1").status == 401
    t = token_api.Token(p, ask(p, "bob"))
    assert t.manifest().body == up.tags[NAME]["1"].manifest
    assert t.blob(up.tags[NAME]["1"].layers[0]).status == 200 and t.about().json["account"] == "bob"
    assert p.manifest(f"wt/{'0' * 32}/{NAME}", "1").status == 404
    # Credentials that are wrong are wrong here, too.
    wrong = {"Authorization": "Basic " + base64.b64encode(b"ann:guess").decode()}
    assert p.fetch("GET", f"/v2/{t.name}/manifests/1", wrong).status == 401


@pytest.mark.parametrize("maker,who,status", [
    ("ann", "ann", 204), ("ann", "bob", 403), ("ann", "reader", 403), ("ann", None, 401), ("ann", "root", 204),
    (None, "ann", 204), (None, "reader", 403), (None, None, 401), (None, "root", 204)])
def test_who_may_revoke(start, maker, who, status):
    p = start(anonymous=["request"])
    t = token_api.Token(p, ask(p, maker))
    assert revoke(p, who, t).status == status
    assert t.manifest().status == (404 if status == 204 else 200)
    if status == 204:
        assert t.about().status == 404 and revoke(p, who, t).status == 404
        assert t.manifest().message == f"container token {t.text[:6]}… is unknown or expired: request a new one"
        p.kill()
        p.start()
        assert t.manifest().status == 404, "for good"


def test_revoked_is_revoked_on_every_worker(start, scratch):
    p = start(args=["--workers", "4", "--tokens-guesses", "0"])
    layer = proxy.Layer(scratch, {"foo.txt": "bar\n"})
    connections = [wire.Connection(p.address) for _ in range(32)]
    for _ in range(5):
        t = token_api.Token(p, ask(p, "ann", config={"layers": [data_layer(layer)]}))
        for c in connections:
            assert c.request("GET", f"/v2/{t.name}/manifests/1").status == 200
        assert revoke(p, "ann", t).status == 204
        for c in connections:
            assert c.request("GET", f"/v2/{t.name}/manifests/1").status == 404
            assert c.request("GET", f"/v2/{t.name}/blobs/{layer.gzip_digest}").status == 404
    for c in connections:
        c.close()


def test_an_accounts_credentials_are_for_its_tokens(start, basic_registry, make):
    """ann's credentials bring the image and the included one; the token pulls with them, also after the bytes were lost."""
    users = [{"name": n, "password-hash": registry.bcrypt(p), "roles": ROLES[n]} for n, p in USERS.items()]
    users[0]["upstreams"] = [{"name": "private.test", "username": "puller", "password": "correct-horse-basic"}]
    basic_registry.push("team/tool", "1", images.image([images.tar([("tool.txt", b"tool\n")])]))
    p = make(config={"upstreams": [{"name": "private.test", "url": basic_registry.url}], "accounts": users,
                     "access": {"anonymous": ["pull", "request"]}})
    image = "private.test/team/private:latest"
    for who in ("bob", None):
        for wish in ({"image": image}, {"image": "private.test/team/tool:1"}):
            assert ask(p, who, **wish).status == 401
    t = token_api.Token(p, ask(p, "ann", image, {}, containerIncludes=["private.test/team/tool:1"]))
    layers = [d["digest"] for d in t.manifest().json["layers"]]
    for digest in layers:
        assert t.blob(digest).digest == digest
    for who in ("bob", None):
        assert ask(p, who, image).status == 401
        assert p.fetch("GET", f"/v2/private.test/team/private/blobs/{layers[0]}", login(who)).status in (401, 403, 404)
    p.stop()
    for digest in [*layers, t.target]:
        if os.path.exists(p.blob_file(digest)):
            os.unlink(p.blob_file(digest))
    p.start()
    assert t.manifest().digest == t.target
    for digest in layers:
        assert t.blob(digest).digest == digest


def test_many_at_once(start, up, scratch):
    """Made, pulled, told of and revoked side by side: what was answered holds, and nothing is left over."""
    p = start(args=["--workers", "4", "--tokens-guesses", "0"])
    layers = [proxy.Layer(scratch, {"foo.txt": f"{n}\n"}) for n in range(4)]
    up.tag(NAME, "index", images.two_platforms())

    def life(n):
        layer = layers[n % 4]
        image = IMAGE if n % 3 else f"up.test/{NAME}:index"
        t = token_api.Token(p, ask(p, "ann", image, {"layers": [data_layer(layer)], "env": [f"N={n % 5}"]}))
        got = t.manifest()
        assert got.digest == t.target
        if "manifests" in got.json:
            got = t.manifest(next(d["digest"] for d in got.json["manifests"] if d["platform"]["architecture"] == "amd64"))
        assert got.json["layers"][-1]["digest"] == layer.gzip_digest
        assert t.blob(layer.gzip_digest).digest == layer.gzip_digest
        assert t.about().json["pulls"] == 1
        if n % 2:
            assert revoke(p, "ann", t).status == 204
            assert t.manifest().status == 404
            return None
        return t

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        alive = [t for t in pool.map(life, range(200)) if t]
    assert len(alive) == 100
    p.kill()
    p.start()
    for t in alive:
        assert t.manifest().digest == t.target
    assert p.metrics()["rac_token_pulls_total"] == 100
