# SPDX-License-Identifier: Apache-2.0
"""Blobs in S3 behind the disk: what one replica had from upstream the others have from the bucket; nothing there is trusted,
and nothing there is needed."""
import os
import shutil
import time

import pytest

from conftest import IMPATIENT
from rig import images, process, proxy, wire
from rig.redis import Redis
from rig.s3faults import Fault, S3Faults

NAME = "lib/shared"
SECRET = proxy.secret("never-to-be-shown")


def key(digest, prefix="cache"):
    return f"{prefix}/blobs/sha256/{digest[7:9]}/{digest[7:]}"


@pytest.fixture
def s3():
    s = S3Faults()
    yield s
    s.close()


def replica(make, up, s3, *args, env=None, **kwargs):
    return make({"up.test": up.url}, [*IMPATIENT, "--blobs", f"s3://data/cache?path-style=1&endpoint={s3.url}", *args],
                env=env or s3.environment(), **kwargs)


def has(s3, digest):
    return key(digest) in s3.objects["data"]


def bucket_has(s3, *digests):
    process.wait_for(lambda: all(has(s3, d) for d in digests), 60, "blobs in the bucket")


def config_of(image):
    return image.json["config"]["digest"]


def all_of(image):
    return [image.digest, config_of(image), *image.layers]


def forget_blobs(p):
    """As on a replica that has nothing yet, but knows what names refer to."""
    p.stop()
    shutil.rmtree(os.path.join(p.data, "blobs"))
    p.start()


def lookups(p, result):
    return p.metrics().get(f'rac_s3_lookups_total{{result="{result}"}}', 0)


def pull(p, image):
    assert p.manifest(NAME, image.digest).status == 200
    for digest in (config_of(image), *image.layers):
        reply = p.blob(NAME, digest, timeout=60)
        assert (reply.status, reply.broken, reply.digest) == (200, "", digest)


@pytest.fixture
def app(up):
    return up.tag(NAME, "1", images.random_image("s3", [300_000, 1_000]))


def test_what_comes_from_upstream_goes_to_the_bucket(make, up, s3, app):
    p = replica(make, up, s3)
    pull(p, app)
    bucket_has(s3, *all_of(app))
    for digest in all_of(app):
        assert wire.sha256(s3.objects["data"][key(digest)].body) == digest
    process.wait_for(lambda: p.metrics()["rac_s3_uploads_waiting"] == 0, 60, "nothing waits")
    assert os.listdir(os.path.join(p.data, "upload")) == []
    assert SECRET not in str(os.listdir(p.data))
    assert all(s.headers["user-agent"].startswith("rac-proxy/") for s in s3.seen)


def test_what_the_bucket_has_needs_no_upstream(make, up, s3, app):
    p = replica(make, up, s3)
    pull(p, app)
    bucket_has(s3, *all_of(app))
    up.clear()
    forget_blobs(p)
    pull(p, app)
    assert [(s.method, s.target) for s in up.log] == []
    assert lookups(p, "hit") >= len(all_of(app))
    process.wait_for(lambda: p.metrics()["rac_s3_uploads_waiting"] == 0, 60, "nothing waits")
    assert s3.count("PUT /data/*") == len(all_of(app)), "what came from there is not sent again"


@pytest.mark.skipif(Redis.missing(), reason="no redis-server")
def test_another_replica_needs_no_upstream_either(make, up, s3, app, layer, scratch):
    """They share a state and a bucket, no disk; the upstream is gone by the time the second is asked."""
    redis = Redis(scratch)
    try:
        a = replica(make, up, s3, "--state", redis.url, inject=layer.path)
        first = a.manifest(NAME, "1")
        assert first.status == 200
        parts = [first.json["config"]["digest"], *(d["digest"] for d in first.json["layers"])]
        for digest in parts:
            assert a.blob(NAME, digest).digest == digest
        bucket_has(s3, first.digest, *parts)
        a.stop()
        up.stop()
        b = replica(make, up, s3, "--state", redis.url, inject=layer.path)
        assert b.manifest(NAME, first.digest).body == first.body
        for digest in parts:
            assert b.blob(NAME, digest).digest == digest
        b.stop()
    finally:
        redis.close()


def test_a_range_of_what_the_bucket_has(make, up, s3, app):
    p = replica(make, up, s3)
    pull(p, app)
    bucket_has(s3, *all_of(app))
    forget_blobs(p)
    digest = app.layers[0]
    reply = p.blob(NAME, digest, Range="bytes=1000-1999")
    assert reply.status == 206 and reply.body == app.blobs[digest][1000:2000]


@pytest.mark.parametrize("layer", [0, 1])
def test_wrong_bytes_are_not_served_and_do_not_stay(make, up, s3, app, layer):
    p = replica(make, up, s3)
    pull(p, app)
    bucket_has(s3, *all_of(app))
    forget_blobs(p)
    digest = app.layers[layer]
    right = app.blobs[digest]
    with s3.lock:
        s3.put(key(digest), bytes(len(right)))
    first = p.blob(NAME, digest, timeout=60)
    assert first.broken or first.digest == digest
    assert p.blob(NAME, digest, timeout=60).digest == digest
    assert lookups(p, "wrong") >= 1
    process.wait_for(lambda: has(s3, digest) and s3.objects["data"][key(digest)].body == right, 60,
                     "the right bytes in the bucket")


def test_a_wrong_manifest_is_not_served(make, up, s3, app):
    p = replica(make, up, s3)
    pull(p, app)
    bucket_has(s3, *all_of(app))
    forget_blobs(p)
    with s3.lock:
        s3.put(key(app.digest), b'{"schemaVersion": 2}')
    assert p.manifest(NAME, app.digest).digest == app.digest
    process.wait_for(lambda: has(s3, app.digest) and
                     wire.sha256(s3.objects["data"][key(app.digest)].body) == app.digest, 60, "the right manifest")


@pytest.mark.parametrize("fault", [
    Fault(status=503, code="SlowDown"), Fault(status=500), Fault(refuse=True), Fault(status=403, code="AccessDenied"),
    Fault(cut_after=1000), Fault(reset_after=1000)], ids=["503", "500", "reset", "403", "cut", "reset-midway"])
def test_a_bucket_that_fails_costs_no_pull(make, up, s3, app, fault):
    p = replica(make, up, s3)
    pull(p, app)
    bucket_has(s3, *all_of(app))
    forget_blobs(p)
    s3.rule("GET *", fault)
    pull(p, app)
    assert lookups(p, "failed") >= 1


def test_a_bucket_that_failed_is_not_asked_for_each_blob(make, up, s3):
    image = up.tag(NAME, "1", images.random_image("s3 many", [2_000] * 12))
    p = replica(make, up, s3)
    pull(p, image)
    bucket_has(s3, *all_of(image))
    forget_blobs(p)
    s3.rule("GET *", Fault(status=503, code="SlowDown"))
    pull(p, image)
    assert lookups(p, "skipped") >= 1 and lookups(p, "hit") == 0


def test_an_object_far_too_long_for_a_manifest_does_not_shut_the_bucket_out(make, up, s3, app):
    """It would take longer than an answer may."""
    p = replica(make, up, s3)
    pull(p, app)
    bucket_has(s3, *all_of(app))
    forget_blobs(p)
    s3.put(key(app.digest), bytes(6 << 20))
    s3.rule(f"GET *{app.digest[7:]}*", Fault(stall_after=5 << 20, stall=6))
    pull(p, app)
    assert lookups(p, "failed") == lookups(p, "skipped") == 0 and lookups(p, "hit") >= 1 + len(app.layers)


def test_a_bucket_that_says_nothing_holds_up_a_pull_for_a_moment_only(make, up, s3, app):
    p = replica(make, up, s3)
    pull(p, app)
    bucket_has(s3, *all_of(app))
    forget_blobs(p)
    s3.rule("GET *", Fault(delay=300))
    begin = time.monotonic()
    pull(p, app)
    assert time.monotonic() - begin < 120, "far from what the bucket takes"
    assert lookups(p, "failed") >= 1 and lookups(p, "hit") == 0


def test_what_could_not_be_sent_is_sent_later(make, up, s3, app):
    s3.rule("*", Fault(status=503, code="SlowDown"))
    p = replica(make, up, s3)
    pull(p, app)
    process.wait_for(lambda: p.metrics().get('rac_s3_uploads_total{result="failed"}', 0) >= 1, 60, "a failed upload")
    assert not s3.objects["data"]
    p.stop()
    assert len(os.listdir(os.path.join(p.data, "upload"))) == len(all_of(app))
    s3.rules.clear()
    p.start()
    bucket_has(s3, *all_of(app))
    process.wait_for(lambda: os.listdir(os.path.join(p.data, "upload")) == [], 60, "nothing is left to be sent")


def test_an_upload_goes_on_after_a_restart(make, up, s3):
    image = up.tag(NAME, "1", images.random_image("s3 parts", [44 << 20]))
    digest = image.layers[0]
    s3.rule("PUT *partNumber=4&*", Fault(status=503, code="SlowDown"))
    p = replica(make, up, s3)
    pull(p, image)
    process.wait_for(lambda: any(len(u.parts) >= 3 for u in s3.uploads.values()), 60, "three parts in the bucket")
    p.kill()
    assert not has(s3, digest), "never partly there"
    s3.rules.clear()
    p.start()
    bucket_has(s3, digest)
    assert wire.sha256(s3.objects["data"][key(digest)].body) == digest
    for number in ("1", "2", "3"):
        assert sum(s.method == "PUT" and s.query.get("partNumber") == number for s in s3.seen) == 1
    process.wait_for(lambda: not s3.uploads, 60, "no upload is left")


def test_an_upload_that_another_was_faster_with_leaves_no_parts(make, up, s3):
    image = up.tag(NAME, "1", images.random_image("s3 faster", [20 << 20]))
    digest = image.layers[0]
    s3.rule("PUT *partNumber=2&*", Fault(status=503, code="SlowDown"))
    p = replica(make, up, s3)
    pull(p, image)
    process.wait_for(lambda: any(u.parts for u in s3.uploads.values()), 60, "a part in the bucket")
    p.kill()
    s3.rules.clear()
    s3.put(key(digest), image.blobs[digest])
    p.start()
    process.wait_for(lambda: not s3.uploads, 60, "no upload is left")
    assert has(s3, digest)


def test_what_is_there_already_is_not_sent(make, up, s3, app):
    for digest in app.layers:
        s3.put(key(digest), app.blobs[digest])
    p = replica(make, up, s3)
    pull(p, app)
    bucket_has(s3, *all_of(app))
    process.wait_for(lambda: p.metrics()["rac_s3_uploads_waiting"] == 0, 60, "nothing waits")
    assert all(s.method != "PUT" or not s.path.endswith(app.layers[0][7:]) for s in s3.seen)


def test_what_is_read_from_the_bucket_does_not_grow_old(make, up, s3, app):
    """Whoever cleans up goes by age."""
    p = replica(make, up, s3)
    pull(p, app)
    bucket_has(s3, *all_of(app))
    process.wait_for(lambda: p.metrics()["rac_s3_uploads_waiting"] == 0, 60, "nothing waits")
    for digest in all_of(app):
        s3.objects["data"][key(digest)].mtime -= 2 * 86400
    forget_blobs(p)
    pull(p, app)
    process.wait_for(lambda: all(time.time() - s3.objects["data"][key(d)].mtime < 86400 for d in all_of(app)), 60,
                     "objects that are young again")
    for digest in all_of(app):
        assert wire.sha256(s3.objects["data"][key(digest)].body) == digest


def test_redirects_to_what_the_bucket_has(make, up, s3, app):
    p = replica(make, up, s3, "--blobs-redirect", "100KiB")
    large, small = app.layers
    pull(p, app)
    bucket_has(s3, *all_of(app))
    reply = process.wait_for(lambda: (lambda r: r if r.status == 307 else None)(p.blob(NAME, large)), 60, "a redirect")
    assert reply.body == b"" and reply["content-length"] == "0" and reply["cache-control"] == "no-store"
    assert reply["docker-content-digest"] == large
    place = reply["location"]
    assert place.startswith(f"{s3.url}/data/{key(large)}?X-Amz-Algorithm=AWS4-HMAC-SHA256&") and "X-Amz-Expires=900" in place
    assert wire.fetch(place.split("/")[2], "GET", "/" + place.split("/", 3)[3]).digest == large
    assert p.fetch("HEAD", f"/v2/{NAME}/blobs/{large}").status == 200
    assert p.blob(NAME, small).digest == small
    assert p.metrics()["rac_s3_redirects_total"] >= 1
    assert p.blob("lib/another", large).status == 404, "only for a name that may have it"


def test_nothing_is_redirected_unless_asked_for(make, up, s3, app):
    p = replica(make, up, s3)
    pull(p, app)
    bucket_has(s3, *all_of(app))
    assert p.blob(NAME, app.layers[0]).status == 200


def test_credentials_of_a_profile_file(make, up, s3, app, scratch):
    path = os.path.join(scratch.folder("aws"), "credentials")
    with open(path, "w", encoding="ascii") as f:
        f.write(f"[rac]\naws_access_key_id = profile-key\naws_secret_access_key = {SECRET}\n")
    env = {k: v for k, v in s3.environment().items() if "KEY" not in k}
    replica(make, up, s3, env={**env, "AWS_PROFILE": "rac", "AWS_SHARED_CREDENTIALS_FILE": path}).manifest(NAME, app.digest)
    bucket_has(s3, app.digest)
    assert any("Credential=profile-key/" in s.headers.get("authorization", "") for s in s3.seen)


def test_without_credentials_all_goes_on(make, up, s3, app):
    env = {"AWS_EC2_METADATA_DISABLED": "true", "HOME": "/nonexistent"}
    p = replica(make, up, s3, env=env)
    pull(p, app)
    assert not s3.objects["data"]
    p.daemon.wait_log(lambda log: "no credentials for S3" in log)


def test_readyz_does_not_depend_on_the_bucket(make, up, s3, app):
    s3.rule("*", Fault(status=503))
    p = replica(make, up, s3)
    pull(p, app)
    assert p.get("/readyz").status == 200


def collect(scratch, s3, *args):
    return proxy.run_once(scratch, "--gc-s3", "--blobs", f"s3://data/cache?path-style=1&endpoint={s3.url}", *args,
                          env=s3.environment())


def test_what_is_old_is_deleted(scratch, s3):
    old, young = wire.sha256(b"old"), wire.sha256(b"young")
    for name, body in ((key(old), b"old"), (key(young), b"young"), ("cache/blobs/notes.txt", b"x"),
                       (key(old, "other"), b"old")):
        s3.put(name, body)
        s3.objects["data"][name].mtime -= 0 if name == key(young) else 40 * 86400
    done = collect(scratch, s3, "--older-than", "30d", "--dry-run")
    assert done.returncode == 0 and "would delete 1, 3 B" in done.stdout and has(s3, old)
    done = collect(scratch, s3, "--older-than", "30d")
    assert done.returncode == 0 and "deleted 1, 3 B" in done.stdout and "1 other objects left alone" in done.stdout
    assert sorted(s3.objects["data"]) == sorted(["cache/blobs/notes.txt", key(young), key(old, "other")])


@pytest.mark.parametrize("date", [None, "Thu, 01 Jan 2026 00:00:00 GMT"], ids=["none", "another"])
def test_what_has_no_date_is_not_old(scratch, s3, date):
    digest = wire.sha256(b"undated")
    s3.put(key(digest), b"undated")

    def listing(root, entry, name, more):
        text = f"<{name}>{date}</{name}>" if date else ""
        return Fault(status=200, body=f"<{root}><{entry}><Key>{key(digest)}</Key>{text}{more}</{entry}></{root}>".encode())
    s3.rule("GET *list-type*", listing("ListBucketResult", "Contents", "LastModified", "<Size>7</Size>"))
    s3.rule("GET *uploads*", listing("ListMultipartUploadsResult", "Upload", "Initiated", "<UploadId>1</UploadId>"))
    done = collect(scratch, s3, "--older-than", "1d")
    assert done.returncode == 0 and "deleted 0, 0 B" in done.stdout and "0 unfinished" in done.stdout, done.stdout
    assert has(s3, digest) and not s3.count("DELETE *")


def test_unfinished_uploads_are_aborted(scratch, up, make, s3):
    image = up.tag(NAME, "1", images.random_image("s3 unfinished", [20 << 20]))
    s3.rule("PUT *partNumber=2&*", Fault(status=503, code="SlowDown"))
    p = replica(make, up, s3)
    pull(p, image)
    process.wait_for(lambda: s3.uploads, 60, "an upload")
    p.kill()
    assert "1 unfinished" in collect(scratch, s3, "--older-than", "0s", "--dry-run").stdout and s3.uploads
    assert "0 unfinished" in collect(scratch, s3, "--older-than", "1d").stdout and s3.uploads
    assert "1 unfinished" in collect(scratch, s3, "--older-than", "0s").stdout and not s3.uploads


def test_a_bucket_that_cannot_be_asked_is_said(scratch, s3):
    s3.rule("*", Fault(status=403, code="AccessDenied"))
    done = collect(scratch, s3, "--older-than", "30d")
    assert done.returncode == 1 and "AccessDenied" in done.stderr


@pytest.mark.parametrize("args,says", [
    (["--blobs", "http://x/y"], "s3://BUCKET/PREFIX is expected"),
    (["--blobs", "s3://"], "cannot be the name of a bucket"),
    (["--blobs", "s3://data/../x?a"], "has no value"),
    (["--blobs", "s3://data//x"], "single slashes"),
    (["--blobs", "s3://data?endpoint=ftp://x"], "endpoint"),
    (["--blobs", "s3://data?region=a/b"], "region"),
    (["--blobs", "s3://data?path-style=maybe"], "0 or 1"),
    (["--blobs", "s3://data?secret=x"], "none of endpoint"),
    (["--blobs-redirect", "1MiB"], "given without blobs"),
    (["--gc-s3", "--older-than", "30d"], "say which bucket"),
    (["--gc-s3", "--blobs", "s3://data"], "say how old"),
    (["--gc-s3", "--blobs", "s3://data", "--older-than", "soon"], "is not an age"),
    (["--dry-run"], "is for --gc-s3"),
    (["--older-than", "30d"], "is for --gc-s3")])
def test_what_is_said_wrong_is_told(scratch, args, says):
    done = proxy.run_once(scratch, *args, "--data", scratch.folder("data"), "--listen", "127.0.0.1:0")
    assert done.returncode == 2 and says in done.stderr, done.stderr


# ---- a real server, which checks every signature


def at_gateway(gateway, bucket, prefix="cache"):
    return f"s3://{bucket.name}/{prefix}?path-style=1&region=us-east-1&endpoint={gateway.url}"


@pytest.mark.long
def test_a_real_bucket(make, up, gateway, bucket, skopeo, scratch):
    """In one PUT and in parts, found again, redirected to, cleaned up: by a server that trusts no signature."""
    image = up.tag(NAME, "1", images.random_image("real s3", [20 << 20, 100_000]))
    proxy.SECRETS.add(gateway.environment()["AWS_SECRET_ACCESS_KEY"])
    p = make({"up.test": up.url}, [*IMPATIENT, "--blobs", at_gateway(gateway, bucket), "--blobs-redirect", "1MiB"],
             env=gateway.environment())
    pull(p, image)
    wanted = sorted(key(d) for d in all_of(image))
    process.wait_for(lambda: bucket.keys() == wanted, 60, "all of the image in the bucket")
    process.wait_for(lambda: p.metrics()["rac_s3_uploads_waiting"] == 0, 60, "nothing waits")
    up.clear()
    forget_blobs(p)
    pull(p, image)
    assert [(s.method, s.target) for s in up.log] == []
    process.wait_for(lambda: p.blob(NAME, image.layers[0]).status == 307, 60, "a redirect")
    place = skopeo.copy(f"{p.address}/{NAME}:1")
    with open(os.path.join(place, image.layers[0][7:]), "rb") as f:
        assert wire.sha256(f.read()) == image.layers[0]
    done = proxy.run_once(scratch, "--gc-s3", "--blobs", at_gateway(gateway, bucket), "--older-than", "0s",
                          env=gateway.environment())
    assert done.returncode == 0 and bucket.keys() == [], done.stderr
