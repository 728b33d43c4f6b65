# SPDX-License-Identifier: Apache-2.0
"""Two replicas on one Redis: what one knows the other knows, and what goes on while it is away."""
import base64
import os

import pytest

from rig import images, proxy, registry, token_api
from rig.process import wait_for
from rig.redis import Redis

NAME = "lib/app"
IMAGE = "up.test/lib/app:1"
CONFIG = {"env": ["A=b"]}

pytestmark = pytest.mark.skipif(Redis.missing(), reason="not installed: redis-server")


@pytest.fixture
def replica(make, up, redis, layer):
    """replica() is one more on that Redis, with a data folder of its own."""
    up.tag(NAME, "1", images.tiny())

    def start(*args, **kwargs):
        return make({"up.test": up.url}, ["--upstream-connect-timeout", "2s", "--upstream-missing", "0s", "--tokens-rate", "0", "--state", redis.url, *args],
                    inject=layer.path, **kwargs)
    return start


def elsewhere(p, token):
    """The same token, asked for at another replica."""
    return token_api.Token(p, type("Reply", (), {"status": 200, "json": token.json, "body": b""})())


def whole(p, name, reference):
    """Pulls all of an image; the digest of what came."""
    manifest = p.manifest(name, reference)
    assert manifest.status == 200, manifest.body
    for part in [manifest.json["config"], *manifest.json["layers"]]:
        blob = p.blob(name, part["digest"])
        assert (blob.status, blob.digest) == (200, part["digest"]), blob.body[:500]
    return manifest.digest


def away(p):
    wait_for(lambda: p.get("/readyz").status == 503, 30, "that the state is away is seen")


def back(p):
    wait_for(lambda: p.get("/readyz").status == 200, 30, "the state is back")


def test_a_token_is_known_everywhere(replica):
    a, b = replica(), replica()
    token = token_api.token(a, IMAGE, CONFIG)
    there = elsewhere(b, token)
    assert whole(a, token.name, token.reference) == whole(b, there.name, there.reference) == token.target
    about = there.about()
    assert about.status == 200 and about.json["containerImage"] == IMAGE
    a.kill()
    c = replica()
    assert whole(c, token.name, token.reference) == token.target  # its maker is gone, and this one has nothing on its disk




def test_a_revocation_holds_everywhere(replica):
    password = proxy.secret("secret-words-of-root")
    login = {"Authorization": "Basic " + proxy.secret(base64.b64encode(f"root:{password}".encode()).decode())}
    config = {"accounts": [{"name": "root", "password-hash": registry.bcrypt(password), "roles": ["admin"]}],
              "access": {"anonymous": ["pull", "request"]}}
    a, b = replica(config=config), replica(config=config)
    token, stays = token_api.token(a, IMAGE, CONFIG), token_api.token(a, IMAGE)
    there = elsewhere(b, token)
    assert there.manifest().status == 200
    assert a.fetch("DELETE", f"/container-token/{token.text}", login).status in (200, 204)
    assert token.manifest().status == 404
    wait_for(lambda: there.manifest().status == 404, 30, "the other replica's no")
    assert elsewhere(b, stays).manifest().status == 200


def test_a_rewritten_image_is_the_same_everywhere(replica, up):
    a, b = replica(), replica()
    digest = whole(a, NAME, "1")
    assert digest != up.tags[NAME]["1"].digest
    # By its digest alone, at a replica that never saw the tag: it makes again what the other announced.
    assert whole(b, NAME, digest) == digest
    assert b.get("/v2/_catalog").json == {"repositories": ["up.test/" + NAME]} == a.get("/v2/_catalog").json


def test_what_is_known_goes_on_while_it_is_away(replica, redis):
    a, b = replica(), replica()
    token = token_api.token(a, IMAGE, CONFIG)
    digest = whole(a, NAME, "1")
    assert whole(a, token.name, token.reference) == token.target
    redis.kill()
    away(a)
    assert a.get("/readyz?exclude=state").status == 200  # what load balancers ask: it has its own disk, and goes on
    for _ in range(3):
        assert whole(a, NAME, "1") == digest
        assert whole(a, token.name, token.reference) == token.target
    assert whole(b, NAME, "1") == digest  # never pulled there: from the upstream
    refused = token_api.ask(a, IMAGE, {"env": ["B=c"]})
    assert refused.status == 503 and int(refused["Retry-After"]) > 0 and "state store" in refused.json["message"]
    unknown = elsewhere(b, token).manifest()
    assert unknown.status == 503 and int(unknown["Retry-After"]) > 0
    redis.start()
    back(a)
    back(b)
    assert whole(b, token.name, token.reference) == token.target
    for p in a, b:
        wait_for(lambda p=p: token_api.ask(p, IMAGE, {"env": ["B=c"]}).status == 200, 30, "new tokens", step=0.5)


def test_paused(replica, redis):
    """Stopped, it still has its connections: nothing hangs, and it is back by itself."""
    a = replica()
    digest, token = whole(a, NAME, "1"), token_api.token(a, IMAGE, CONFIG)
    assert whole(a, token.name, token.reference) == token.target
    redis.pause()
    try:
        refused = token_api.ask(a, IMAGE, {"env": ["B=c"]})
        assert refused.status == 503 and int(refused["Retry-After"]) > 0
        assert whole(a, NAME, "1") == digest
        assert whole(a, token.name, token.reference) == token.target
    finally:
        redis.resume()
    back(a)
    wait_for(lambda: token_api.ask(a, IMAGE, {"env": ["B=c"]}).status == 200, 30, "new tokens", step=0.5)


def test_restarted_empty(replica, redis):
    a, b = replica(), replica()
    token = token_api.token(a, IMAGE, CONFIG)
    digest = whole(a, NAME, "1")
    redis.empty()
    back(a)
    back(b)
    assert whole(b, NAME, "1") == digest and whole(a, NAME, "1") == digest
    wait_for(lambda: token.manifest().status == 404, 30, "the token is gone")
    fresh = token_api.token(b, IMAGE, CONFIG)
    assert whole(a, fresh.name, fresh.reference) == fresh.target == token.target


def test_a_start_that_cannot_be(scratch, redis):
    assert redis.ask("HSET", "rac:1:meta", "schema", "99")
    done = proxy.run_once(scratch, "--listen", "127.0.0.1:0", "--data", scratch.folder("data"), "--state", redis.url)
    assert done.returncode == 1 and redis.socket in done.stderr and "newer rac-proxy" in done.stderr


def test_two_in_one_folder(scratch, replica, redis):
    a = replica()
    done = proxy.run_once(scratch, "--listen", "127.0.0.1:0", "--data", a.data, "--state", redis.url)
    assert done.returncode == 1 and a.data in done.stderr


def test_a_password(scratch, replica, redis):
    password = proxy.secret("open sesame /@:")
    assert redis.ask("ACL", "SETUSER", "rac", "on", ">" + password, "~rac:1:*", "+@read", "+@write", "+@scripting", "+@connection",
                     "+role", "+select").startswith(b"+OK")
    file = os.path.join(scratch.folder("password"), "password")
    with open(file, "w", encoding="utf-8") as f:
        f.write(password + "\n")
    os.chmod(file, 0o600)
    # As docs/redis.md says what such a user needs.
    a = replica("--state", redis.url.replace("://", "://rac@"), "--state-password-file", file)
    assert b"cmd=info" not in redis.ask("CLIENT", "LIST") and b"user=rac" in redis.ask("CLIENT", "LIST")
    token = token_api.token(a, IMAGE, CONFIG)
    assert whole(a, token.name, token.reference) == token.target
    assert a.get("/readyz").status == 200 and a.get("/v2/_catalog").json == {"repositories": ["up.test/" + NAME]}


@pytest.mark.parametrize("args,config,env,says", [
    (["--state", "http://x"], None, {}, "--state: expected redis://"),
    (["--state", "redis://rac@h"], None, {}, "a user needs a password"),
    (["--state-password-file", "/dev/null"], None, {}, "given without state"),
    (["--state", "redis://h", "--state-password-file", "/nonexistent"], None, {}, "/nonexistent"),
    ([], "state: redis://:sesame@h", {}, "a file of its own"),
    ([], None, {"RAC_STATE": "redis://:sesame%zz@h"}, "RAC_STATE: the password holds a '%'"),
    (["--state-password-file", "/dev/null"], None, {"RAC_STATE": "redis://:sesame@h"}, "there are a password and"),
])
def test_options_that_are_wrong(scratch, args, config, env, says):
    if config:
        path = os.path.join(scratch.folder("config"), "proxy.yaml")
        with open(path, "w", encoding="utf-8") as f:
            f.write(config + "\n")
        args = [*args, "--config", path]
    done = proxy.run_once(scratch, "--check-config", *args, env=env)
    assert done.returncode == 2 and says in done.stderr and "sesame" not in done.stderr + done.stdout


def test_a_password_is_not_shown(scratch):
    done = proxy.run_once(scratch, "--check-config", env={"RAC_STATE": "redis://ann:sesame@h/3"})
    assert done.returncode == 0 and "redis://ann@h/3" in done.stdout and "sesame" not in done.stdout + done.stderr


def test_there_is_nothing_to_back_up_here(scratch):
    to = os.path.join(scratch.folder("backup"), "state.db")
    done = proxy.run_once(scratch, "--state", "redis://h", "--backup", to)
    assert done.returncode == 1 and "the state is in Redis" in done.stderr and not os.path.exists(to)


def learned(p):
    """What it told Redis before, it has the answer to: this one comes behind it on the same connection."""
    assert p.get("/readyz").status == 200


def test_requests_for_tokens_are_counted_by_all_together(make, up, redis):
    up.tag(NAME, "1", images.tiny())
    a, b = (make({"up.test": up.url}, ["--tokens-rate", "6", "--state", redis.url]) for _ in range(2))
    got = []
    for p in [a, b] * 8:
        got.append(token_api.ask(p, IMAGE).status)
        learned(p)
    assert got[:6] == [200] * 6 and set(got[7:]) == {429}  # at most one more, of who has not heard of the last
    redis.kill()
    away(b)
    assert token_api.ask(b, IMAGE).status == 429  # it knows what it knew


def test_wrong_logins_are_counted_by_all_together(make, up, redis):
    config = {"accounts": [{"name": "root", "password-hash": registry.bcrypt(proxy.secret("words-of-root")), "roles": ["admin"]}],
              "access": {"anonymous": []}}
    a, b = (make({"up.test": up.url}, ["--state", redis.url], config=config) for _ in range(2))

    def guess(p):
        status = p.get("/v2/", Authorization="Bearer wrong-key").status
        learned(p)
        return status
    wait_for(lambda: guess(a) == 429, 60, "that one replica has had enough")
    assert 429 in [guess(b) for _ in range(10)]  # by itself it would take twenty
    assert a.log().count("wrong-key") == 0
    keys = redis.ask("KEYS", "rac:1:meter:*")
    assert b"login:" in keys and b"7f000001" not in keys  # whose they are is not to be read there
