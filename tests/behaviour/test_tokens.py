# SPDX-License-Identifier: Apache-2.0
"""Container tokens: what they stand for, for how long, and for whom. What is refused is in test_tokens_bad.py, what is
forgotten in test_tokens_sweep.py."""
import base64
import gzip
import json
import os
import re
import time

import pytest

from rig import images, proxy, token_api, upstream, wire
from rig.token_api import ask, data_layer, gzip_layer, token

NAME = "lib/app"
IMAGE = "up.test/lib/app:1"


@pytest.fixture(scope="module")
def foo(scratch):
    return proxy.Layer(scratch, {"foo.txt": "bar\n"})


@pytest.fixture
def tx(make, up):
    up.tag(NAME, "1", images.tiny())
    return make({"up.test": up.url}, ["--upstream-connect-timeout", "2s", "--upstream-missing", "0s"])


# What an answer holds

@pytest.mark.parametrize("path", ["/container-token", "/v1alpha2/container"])
@pytest.mark.parametrize("entry", [data_layer, gzip_layer])
def test_an_image_with_a_layer(tx, up, foo, path, entry):
    image = up.tags[NAME]["1"]
    reply = ask(tx, IMAGE, {"layers": [entry(foo)]}, path)
    t = token_api.Token(tx, reply)
    assert t.json == {"requestId": reply["X-Request-Id"], "containerToken": t.text,
                      "targetImage": f"{tx.address}/wt/{t.text}/lib/app:1", "containerImage": IMAGE,
                      "expiration": t.json["expiration"], "sourceDigest": image.digest, "targetDigest": t.target,
                      "cached": False, "freeze": False, "mirror": False, "succeeded": True}
    assert re.fullmatch(r"[0-9a-f]{32}", t.text)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", t.json["expiration"])
    assert reply["Content-Type"] == "application/json" and reply["Cache-Control"] == "no-store"
    got = t.manifest()
    assert (got.status, got.digest, got["Docker-Content-Digest"]) == (200, t.target, t.target)
    assert got["Content-Type"] == image.media_type
    assert [d["digest"] for d in got.json["layers"]] == [*image.layers, foo.gzip_digest]
    config = t.config(got)
    assert config["rootfs"]["diff_ids"][-1] == foo.tar_digest
    assert config["config"]["Labels"]["rac.source"] == f"up.test/{NAME}@{image.digest}"
    blob = t.blob(foo.gzip_digest)
    assert (blob.status, blob.digest) == (200, foo.gzip_digest)
    assert wire.sha256(gzip.decompress(blob.body)) == foo.tar_digest
    for digest in image.layers:
        assert t.blob(digest).digest == digest


def test_each_token_is_another_and_means_the_same(tx, foo):
    config = {"layers": [data_layer(foo)]}
    several = [token(tx, IMAGE, config) for _ in range(5)]
    assert len({t.text for t in several}) == 5 and len({t.target for t in several}) == 1
    other = token(tx, IMAGE, {"layers": [data_layer(foo)], "env": ["A=b"]})
    assert other.target != several[0].target


def test_head_range_and_conditions(tx, foo):
    t = token(tx, IMAGE, {"layers": [data_layer(foo)]})
    headed = t.manifest(method="HEAD")
    assert (headed.status, headed.body) == (200, b"") and headed["Docker-Content-Digest"] == t.target
    assert headed["Content-Length"] == str(len(t.manifest().body))
    assert tx.get(f"/v2/{t.name}/manifests/1", If_None_Match=f'"{t.target}"').status == 304
    whole = t.blob(foo.gzip_digest).body
    part = t.blob(foo.gzip_digest, Range="bytes=3-9")
    assert (part.status, part.body) == (206, whole[3:10])
    assert t.blob(foo.gzip_digest, Range="bytes=99999-").status == 416
    assert t.blob(foo.gzip_digest, If_None_Match=f'"{foo.gzip_digest}"').status == 304
    assert tx.head(f"/v2/{t.name}/blobs/{foo.gzip_digest}")["Content-Length"] == str(len(whole))


def test_a_plain_token_gives_the_original(tx, up):
    image = up.tags[NAME]["1"]
    for config in (None, {}, {"layers": None, "env": [], "cmd": None}):
        t = token(tx, IMAGE, config)
        assert t.target == t.json["sourceDigest"] == image.digest
        assert t.manifest().body == image.manifest
        assert t.blob(image.layers[0]).digest == image.layers[0]


def test_the_rules_of_the_configuration_are_not_for_it(make, up, foo, layer):
    up.tag(NAME, "1", images.tiny())
    p = make({"up.test": up.url}, inject=layer.path)
    t = token(p, IMAGE, {"layers": [data_layer(foo)]})
    layers = [d["digest"] for d in t.manifest().json["layers"]]
    assert layers[-1] == foo.gzip_digest and layer.gzip_digest not in layers
    assert token(p, IMAGE).manifest().body == up.tags[NAME]["1"].manifest
    assert p.manifest(NAME, "1").json["layers"][-1]["digest"] == layer.gzip_digest


def test_pinned_images_are_answered_pinned(tx, up, foo):
    image = up.tags[NAME]["1"]
    for name in (f"up.test/{NAME}@{image.digest}", f"up.test/{NAME}:ignored@{image.digest}"):
        t = token(tx, name, {"layers": [data_layer(foo)]})
        assert t.json["targetImage"].endswith(f"/{NAME}@{t.target}") and t.json["sourceDigest"] == image.digest
        assert t.target != image.digest and t.manifest().digest == t.target
        assert t.manifest("1").status == 404
        assert tx.get(f"/v2/{t.name}/tags/list").json["tags"] == []


def test_entry_point_command_environment_folder(tx, up):
    image = up.tag(NAME, "w", images.worker())
    base = image.config["config"]
    t = token(tx, f"up.test/{NAME}:w", {"entrypoint": ["/opt/run"], "cmd": ["a", "b"], "env": ["PLAIN=2", "NEW=x"],
                                        "workingDir": "/w", "labels": {"own": "1"}})
    got = t.config()["config"]
    assert (got["Entrypoint"], got["Cmd"], got["WorkingDir"]) == (["/opt/run"], ["a", "b"], "/w")
    assert json.loads(next(e for e in got["Env"] if e.startswith("WAVE_ENTRY_CHAIN="))[17:]) == base["Entrypoint"]
    assert "PLAIN=2" in got["Env"] and "NEW=x" in got["Env"] and "PLAIN=1" not in got["Env"]
    assert got["Labels"]["own"] == "1" and got["Labels"]["keeper"] == "yes" and got["User"] == base["User"]
    t = token(tx, f"up.test/{NAME}:w", {"entrypoint": ["/opt/run"], "entrypointChain": "args"})
    got = t.config()["config"]
    assert got["Entrypoint"] == ["/opt/run", *base["Entrypoint"]] and got["Cmd"] == base["Cmd"]
    assert not [e for e in got["Env"] if e.startswith("WAVE_")]


def test_a_chain_of_one_element_is_the_plain_word(tx, up):
    up.tag(NAME, "one", images.image([images.tar([("x", b"x")])], {"Entrypoint": ["/only one"], "Env": ["A=1"]}))
    got = token(tx, f"up.test/{NAME}:one", {"entrypoint": ["/opt/run"]}).config()["config"]
    assert got["Entrypoint"] == ["/opt/run"] and got["Env"] == ["A=1", "WAVE_ENTRY_CHAIN=/only one"]


# Platforms

def children(reply):
    return {(d.get("platform") or {}).get("architecture"): d["digest"] for d in reply.json["manifests"]}


@pytest.mark.parametrize("asked,changed", [
    (None, {"amd64"}), ("linux/amd64", {"amd64"}), ("x86_64", {"amd64"}), ("amd64", {"amd64"}), ("", {"amd64"}),
    ("linux/arm64", {"arm64"}), ("aarch64", {"arm64"}), ("arm64v8", {"arm64"}), ("linux/arm64/v8", {"arm64"}),
    ("all", {"amd64", "arm64"})])
def test_the_index_is_rewritten_for_its_platform_only(tx, up, foo, asked, changed):
    index = up.tag(NAME, "index", images.two_platforms())
    t = token(tx, f"up.test/{NAME}:index", {"layers": [data_layer(foo)]},
              **({} if asked is None else {"containerPlatform": asked}))
    got = t.manifest()
    assert got.digest == t.target and t.json["sourceDigest"] == index.digest
    before, after = {(d["platform"])["architecture"]: d["digest"] for d in index.json["manifests"]}, children(got)
    assert {a for a in before if before[a] != after[a]} == changed
    for digest in after.values():
        child = t.manifest(digest)
        assert (child.status, child.digest) == (200, digest)
        for blob in [child.json["config"], *child.json["layers"]]:
            assert t.blob(blob["digest"]).digest == blob["digest"]


def test_a_platform_that_the_image_has_not(tx, up):
    up.tag(NAME, "index", images.two_platforms())
    reply = ask(tx, f"up.test/{NAME}:index", containerPlatform="linux/s390x")
    assert reply.status == 400
    assert reply.json["message"] == f"up.test/{NAME}:index has no linux/s390x: it has linux/amd64, linux/arm64/v8"
    reply = ask(tx, IMAGE, containerPlatform="arm64")
    assert reply.status == 400 and reply.json["message"].endswith("has no linux/arm64: it has linux/amd64")


# Includes

def test_layers_of_other_images_are_appended(tx, up, foo):
    one = up.tag("tools/one", "1", images.image([images.tar([("one.txt", b"1")]), images.tar([("two.txt", b"2")])]))
    index = up.tag("tools/both", "latest", images.index([
        (images.image([images.tar([("amd.txt", b"a")])], oci=True), "linux/amd64"),
        (images.image([images.tar([("arm.txt", b"b")])], oci=True, platform="linux/arm64"), "linux/arm64")]))
    t = token(tx, IMAGE, {"layers": [data_layer(foo)]}, containerIncludes=["up.test/tools/one:1", "up.test/tools/both"])
    got = t.manifest()
    amd = index.children[0]
    expected = [*up.tags[NAME]["1"].layers, foo.gzip_digest, *one.layers, *amd.layers]
    assert [d["digest"] for d in got.json["layers"]] == expected
    assert len({d["mediaType"] for d in got.json["layers"]}) == 1, "the family of the base"
    ids = t.config(got)["rootfs"]["diff_ids"]
    assert ids[-3:] == [*one.config["rootfs"]["diff_ids"], *amd.config["rootfs"]["diff_ids"]]
    for digest in expected:
        assert t.blob(digest).digest == digest
    arm = token(tx, "up.test/tools/both", {}, containerIncludes=["up.test/tools/both"], containerPlatform="arm64")
    child = arm.manifest(children(arm.manifest())["arm64"]).json
    assert [d["digest"] for d in child["layers"]] == index.children[1].layers * 2


def test_included_layers_come_back_when_the_store_loses_them(tx, up):
    one = up.tag("tools/one", "1", images.image([images.tar([("one.txt", b"1")])]))
    t = token(tx, IMAGE, {}, containerIncludes=["up.test/tools/one:1"])
    tx.stop()
    os.unlink(tx.blob_file(one.layers[0]))
    tx.start()
    assert t.manifest().digest == t.target
    assert t.blob(one.layers[0]).digest == one.layers[0]


@pytest.mark.parametrize("build,message", [
    (images.zstd_layers, "only gzip layers can be included"), (images.foreign, "only gzip layers can be included"),
    (images.arm64, "has no linux/amd64")])
def test_includes_that_cannot_be(tx, up, build, message):
    up.tag("tools/odd", "1", build())
    reply = ask(tx, IMAGE, {}, containerIncludes=["up.test/tools/odd:1"])
    assert reply.status == 400 and message in reply.json["message"], reply.body
    assert reply.json["message"].startswith("containerIncludes[0]: ")


def test_an_include_whose_layers_are_not_what_its_config_says(tx, up):
    good = images.image([images.tar([("x", b"x")])])
    wrong = images.image([images.tar([("x", b"x")])],
                         whole_config={"rootfs": {"type": "layers", "diff_ids": ["sha256:" + "1" * 64]}})
    up.tag("tools/wrong", "1", wrong)
    reply = ask(tx, IMAGE, {}, containerIncludes=["up.test/tools/wrong:1"])
    assert reply.status == 502 and "tarDigest" in reply.json["message"], reply.body
    assert good.config["rootfs"]["diff_ids"][0] in reply.json["message"]


# A token is a right to one image, and to nothing else

def test_only_what_belongs_to_the_image(tx, up, foo):
    other = up.tag(NAME, "2", images.tiny("other"))
    assert tx.manifest(NAME, "2").status == 200 and tx.blob(NAME, other.layers[0]).status == 200
    t = token(tx, IMAGE, {"layers": [data_layer(foo)]})
    assert t.manifest("2").status == 404 and f"is for {NAME}:1 only" in t.manifest("2").message
    assert (t.manifest(other.digest).status, t.manifest(other.digest).code) == (404, "MANIFEST_UNKNOWN")
    assert (t.blob(other.layers[0]).status, t.blob(other.layers[0]).code) == (404, "BLOB_UNKNOWN")
    original = up.tags[NAME]["1"]
    assert t.manifest(original.digest).status == 404, "the original is another image"
    assert tx.get(f"/v2/{t.name}/tags/list").json == {"name": t.name, "tags": ["1"]}
    assert tx.fetch("PUT", f"/v2/{t.name}/manifests/1", body=b"{}").status == 405
    assert tx.get(f"/v2/{t.name}/referrers/{t.target}").status == 200


def test_another_name_is_told_the_right_one_and_a_wrong_token_nothing(tx):
    t = token(tx, IMAGE)
    for name in ("lib/other", "app", "up.test/lib/app", "lib/app/x"):
        reply = tx.manifest(f"wt/{t.text}/{name}", "1")
        assert (reply.status, reply.code) == (404, "NAME_UNKNOWN") and "is for lib/app," in reply.message
    for wrong in (t.text[:-1] + ("0" if t.text[-1] != "0" else "1"), t.text[:-1] + "A", t.text + "0", t.text[:31], "x",
                  "%2e%2e", "0" * 32):
        for path in (f"/v2/wt/{wrong}/lib/app/manifests/1", f"/v2/wt/{wrong}/lib/other/manifests/1",
                     f"/v2/wt/{wrong}/lib/app/blobs/sha256:{'0' * 64}", f"/v2/wt/{wrong}/lib/app/tags/list"):
            reply = tx.get(path)
            assert (reply.status, reply.code) == (404, "NAME_UNKNOWN"), path
            assert "is unknown or expired: request a new one" in reply.message and "lib/app" not in reply.message
            assert len(wrong) <= 6 or wrong not in reply.message


def test_a_digest_is_no_right_to_its_bytes(tx, up, scratch):
    """The bytes of a blob that others pulled are in the store: naming its digests must not bring them out."""
    secret = up.tag("private/x", "1", images.tiny("secret words"))
    assert tx.manifest("private/x", "1").status == 200 and tx.blob("private/x", secret.layers[0]).status == 200
    tar_digest, size = secret.config["rootfs"]["diff_ids"][0], secret.json["layers"][0]["size"]
    wrong = proxy.Layer(scratch, {"other.txt": "x"})
    claimed = {"gzipDigest": secret.layers[0], "gzipSize": size, "tarDigest": tar_digest}
    for location in (data_layer(wrong)["location"], "data:" + "A" * size):
        reply = ask(tx, IMAGE, {"layers": [{**claimed, "location": location}]})
        assert reply.status in (400, 413), reply.body
    # Who has them proves it.
    text = base64.b64encode(secret.blobs[secret.layers[0]]).decode()
    t = token(tx, IMAGE, {"layers": [{**claimed, "location": "data:" + text}]})
    assert t.blob(secret.layers[0]).status == 200


def test_a_layer_that_was_proven_must_be_proven_by_each_location(tx, foo, scratch):
    token(tx, IMAGE, {"layers": [data_layer(foo)]})
    other = proxy.Layer(scratch, {"o.txt": "x"})
    reply = ask(tx, IMAGE, {"layers": [data_layer(foo, location=data_layer(other)["location"])]})
    assert reply.status in (400, 413), reply.body


# How long

def test_a_token_expires_and_a_pull_does_not_renew_it(make, up):
    up.tag(NAME, "1", images.tiny())
    p = make({"up.test": up.url}, ["--tokens-ttl", "2s"])
    begin = time.monotonic()
    t = token(p, IMAGE)
    end = time.monotonic() + 2
    while time.monotonic() < begin + 1.5:
        assert t.manifest().status == 200 or time.monotonic() >= begin + 2
        time.sleep(0.2)
    time.sleep(max(0, end - time.monotonic()) + 0.2)
    reply = t.manifest()
    assert (reply.status, reply.code) == (404, "NAME_UNKNOWN")
    assert reply.message == f"container token {t.text[:6]}… is unknown or expired: request a new one"
    assert t.blob(up.tags[NAME]["1"].layers[0]).status == 404 and t.about().status == 404


def test_tokens_survive_kill_9_and_what_they_hold_is_made_again(tx, up, foo):
    tokens = [token(tx, IMAGE, {"layers": [data_layer(foo)], "env": [f"N={n}"]}) for n in range(20)]
    tx.kill()
    for t in tokens:
        path = tx.blob_file(t.target)
        if os.path.exists(path):
            os.unlink(path)
    if os.path.exists(tx.blob_file(foo.gzip_digest)):
        os.unlink(tx.blob_file(foo.gzip_digest))
    tx.start()
    for n, t in enumerate(tokens):
        got = t.manifest()
        assert (got.status, got.digest) == (200, t.target)
        assert f"N={n}" in t.config(got)["config"]["Env"]
    assert tokens[0].blob(foo.gzip_digest).digest == foo.gzip_digest
    assert tokens[-1].blob(up.tags[NAME]["1"].layers[0]).status == 200


def test_the_tag_means_what_was_announced(tx, up, foo):
    """It may move upstream, and the upstream may be away: the token stays what it was."""
    t = token(tx, IMAGE, {"layers": [data_layer(foo)]})
    before = up.tags[NAME]["1"]
    for digest in [d["digest"] for d in t.manifest().json["layers"]]:
        t.blob(digest)
    up.tag(NAME, "1", images.tiny("moved"))
    tx.restart()
    up.stop()
    assert t.manifest().digest == t.target and t.config()["config"]["Labels"]["rac.source"].endswith(before.digest)
    assert t.blob(before.layers[0]).status == 200


def test_the_store_holds_no_token(tx, foo):
    t = token(tx, IMAGE, {"layers": [data_layer(foo)]}, towerAccessToken=proxy.secret("tower-access-secret-71"))
    t.manifest()
    tx.stop()
    kept = b"".join(images.read(os.path.join(tx.data, f)) for f in os.listdir(tx.data)
                    if os.path.isfile(os.path.join(tx.data, f)))
    assert t.text.encode() not in kept and bytes.fromhex(t.text) not in kept
    assert b"tower-access-secret-71" not in kept
    assert t.text not in tx.log()
    assert f"token={t.text[:6]}" in tx.log() and f"/v2/wt/{t.text[:6]}…/lib/app/manifests/1" in tx.log()
    assert f"subject=token:{t.text[:6]}" in tx.log()


# Told of, revoked

def test_a_token_is_described_without_its_layers_bytes(tx, foo):
    t = token(tx, IMAGE, {"layers": [data_layer(foo, name="foo layer")], "env": ["A=1"]}, containerPlatform="x86_64",
              fingerprint="fp-1", workflowId="wf-1", towerWorkspaceId=42, towerEndpoint="https://tower.example",
              timestamp="2026-01-01T00:00:00Z", unheardOf={"a": [1, None]})
    for n in range(3):
        t.manifest()
        assert t.about().json["pulls"] == n + 1
    t.manifest(method="HEAD")
    about = t.about()
    assert about.status == 200 and b"data:" not in about.body
    layer = {k: v for k, v in foo.json["layers"][0].items() if k != "location"}
    assert about.json == {
        "containerImage": IMAGE, "targetImage": t.json["targetImage"], "sourceImage": f"up.test/{NAME}",
        "sourceDigest": t.json["sourceDigest"], "targetDigest": t.target, "containerPlatform": "linux/amd64",
        "containerConfig": {"layers": [{**layer, "name": "foo layer"}], "env": ["A=1"], "user": "keep",
                            "entrypointChain": "env"},
        "fingerprint": "fp-1", "workflowId": "wf-1", "towerWorkspaceId": 42, "towerEndpoint": "https://tower.example",
        "timestamp": "2026-01-01T00:00:00Z", "requestTime": about.json["requestTime"],
        "expiration": t.json["expiration"], "pulls": 3}
    time.sleep(1.5)
    tx.kill()
    tx.start()
    assert t.about().json["pulls"] == 3


def test_who_has_no_account_cannot_revoke(tx):
    t = token(tx, IMAGE)
    reply = tx.fetch("DELETE", f"/container-token/{t.text}")
    assert reply.status == 401 and "needs an account" in reply.json["message"]
    assert t.manifest().status == 200


# Guessing, and asking too often

def test_guessing_is_slowed_and_counted(make, up):
    up.tag(NAME, "1", images.tiny())
    p = make({"up.test": up.url}, ["--tokens-guesses", "50"])
    t = token(p, IMAGE)
    cold = token(p, IMAGE)
    p.restart()
    assert t.manifest().status == 200
    statuses = []
    with wire.Connection(p.address) as c:
        for n in range(10000):
            statuses.append(c.request("GET", f"/v2/wt/{n:032x}/lib/app/manifests/1").status)
        assert statuses == [404] * 50 + [429] * 9950
        limited = c.request("GET", "/v2/wt/" + "a" * 32 + "/lib/app/manifests/1")
    assert limited.code == "TOOMANYREQUESTS" and 0 < int(limited["Retry-After"]) <= 60
    assert "tokens.guesses" in limited.message
    assert p.get("/container-token/" + "b" * 32).status == 429
    assert t.manifest().status == 200 and cold.manifest().status == 200, "tokens that exist go on"
    metrics = p.metrics()
    assert metrics['rac_token_guesses_total{result="unknown"}'] == 50
    assert metrics['rac_token_guesses_total{result="limited"}'] == 9952


def test_requests_are_limited_by_address_and_minute(make, up):
    up.tag(NAME, "1", images.tiny())
    p = make({"up.test": up.url}, ["--tokens-rate", "5"])
    assert [ask(p, IMAGE).status for _ in range(8)] == [200] * 5 + [429] * 3
    reply = ask(p, IMAGE)
    assert 0 < int(reply["Retry-After"]) <= 60 and "tokens.rate" in reply.json["message"]
    assert p.metrics()['rac_tokens_total{event="limited"}'] == 4


# Where targetImage points to

def test_the_public_host(make, tx, up):
    def asked_by(p, host):
        body = json.dumps({"containerImage": IMAGE}).encode()
        status, data, _ = wire.exchange(p.address, b"POST /container-token HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\n"
                                        b"Connection: close\r\n\r\n%s" % (host, len(body), body))
        return status, data.partition(b"\r\n\r\n")[2]
    status, body = asked_by(tx, b"pull.example:8443")
    assert status == 200 and json.loads(body)["targetImage"].startswith("pull.example:8443/wt/")
    for host in (b"", b"a b", b'x"y', b"x/y", b"user@host", b"x" * 300):
        assert asked_by(tx, host)[0] == 400, host
    p = make({"up.test": up.url}, ["--public-host", "Edge.Example:5000"])
    assert token(p, IMAGE).host == "edge.example:5000"


# Upstream's truth

@pytest.mark.parametrize("answer,status", [
    (upstream.missing("MANIFEST_UNKNOWN"), 404), (upstream.text("{}", 401), 401), (upstream.text("{}", 403), 403),
    (upstream.text("{}", 500), 502), (upstream.Answer(429, {"Retry-After": "7"}), 429)])
def test_what_the_upstream_says_is_passed_on(tx, up, answer, status):
    up.rule("* /v2/lib/gone/*", answer)
    for reference in (":1", "@sha256:" + "1" * 64):
        reply = ask(tx, f"up.test/lib/gone{reference}")
        assert reply.status == status and "lib/gone" in reply.json["message"], (reference, reply.body)
    if status == 429:
        assert reply["Retry-After"] == "7"


def test_an_upstream_that_is_away(tx, up):
    up.stop()
    reply = ask(tx, IMAGE)
    assert reply.status == 502 and "up.test" in reply.json["message"]


def test_an_upstream_that_is_not_known(tx):
    reply = ask(tx, "nowhere.example/x:1")
    assert reply.status == 403 and "nowhere.example" in reply.json["message"]


# Metrics

def test_what_is_counted(tx, foo):
    t = token(tx, IMAGE, {"layers": [data_layer(foo)]})
    ask(tx, "up.test/lib/none:1")
    t.manifest()
    t.manifest(method="HEAD")
    metrics = tx.metrics()
    assert metrics['rac_tokens_total{event="made"}'] == 1 and metrics['rac_tokens_total{event="refused"}'] == 1
    assert metrics["rac_token_pulls_total"] == 1
    assert metrics['rac_requests_total{route="container-token",status="200"}'] == 1


# A backup

def test_a_backup_while_it_runs_holds_what_was_answered(tx, up, foo, scratch, make):
    config = {"layers": [data_layer(foo)]}
    tokens = [token(tx, IMAGE, config) for _ in range(5)]
    there = scratch.folder("backup")
    copy = os.path.join(there, "state.db")
    done = proxy.run_once(scratch, "--data", tx.data, "--backup", copy)
    assert done.returncode == 0 and copy in done.stdout, done
    later = token(tx, IMAGE, config)
    again = proxy.run_once(scratch, "--data", tx.data, "--backup", copy)
    assert again.returncode == 1 and "is there already" in again.stderr
    assert os.stat(copy).st_mode & 0o007 == 0 and os.listdir(there) == ["state.db"]
    p = make({"up.test": up.url}, data=there)
    for t in tokens:
        got = p.manifest(t.name, "1")
        assert (got.status, got.digest) == (200, t.target)
    assert p.manifest(later.name, "1").status == 404


@pytest.mark.parametrize("args,words", [
    (["--backup"], "--backup needs a value"), (["--data", "/nonexistent", "--backup", "/nonexistent/x"], "/nonexistent/state.db"),
    (["--backup", "x", "--scrub"], "another option says")])
def test_a_backup_that_cannot_be(scratch, args, words):
    done = proxy.run_once(scratch, *args)
    assert done.returncode in (1, 2) and words in done.stderr, done
