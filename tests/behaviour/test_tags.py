# SPDX-License-Identifier: Apache-2.0
"""What a tag means, how long it is believed, and what is said when nobody can be asked."""
import concurrent.futures
import time

import pytest

from rig import images, upstream, wire

NAME = "lib/app"
TAG = f"/v2/{NAME}/manifests/1"


def at_once(work, count):
    with concurrent.futures.ThreadPoolExecutor(count) as pool:
        return [f.result() for f in [pool.submit(work) for _ in range(count)]]


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_many_who_ask_for_a_cold_tag_are_one_question(px, up, method):
    image = up.tag(NAME, "1", images.tiny())
    up.rule("*", lambda x: x.proper(delay=0.3))
    replies = at_once(lambda: px.manifest(NAME, "1", method), 30)
    assert {(r.status, r["Docker-Content-Digest"]) for r in replies} == {(200, image.digest)}
    assert up.count(f"GET /v2/{NAME}/*") <= 1 and up.count(f"HEAD /v2/{NAME}/*") <= 1
    assert len(up.seen(f"* {TAG}")) == 1


def test_many_who_ask_for_what_is_not_there_are_one_question(px, up):
    up.rule("*", lambda x: x.proper(delay=0.3))
    assert {r.status for r in at_once(lambda: px.manifest(NAME, "none"), 30)} == {404}
    assert len(up.log) <= 2


def test_a_fresh_tag_asks_nobody(px, up):
    image = up.tag(NAME, "1", images.tiny())
    px.manifest(NAME, "1")
    asked = len(up.log)
    for method in ("GET", "HEAD") * 5:
        assert px.manifest(NAME, "1", method)["Docker-Content-Digest"] == image.digest
    assert px.manifest(NAME, image.digest).status == 200
    assert len(up.log) == asked


def test_a_manifest_by_digest_is_asked_for_once_for_ever(make, up):
    p = make({"up.test": up.url}, ["--upstream-fresh", "0s"])
    image = up.add(NAME, images.tiny())
    for _ in range(5):
        assert p.manifest(NAME, image.digest).body == image.manifest
    assert len(up.log) == 1


def test_a_tag_is_looked_up_again_by_one_conditional_head(make, up):
    p = make({"up.test": up.url}, ["--upstream-fresh", "0s"])
    image = up.tag(NAME, "1", images.tiny())
    p.manifest(NAME, "1")
    up.log.clear()
    assert p.manifest(NAME, "1").body == image.manifest
    assert [s.method for s in up.log] == ["HEAD"]
    assert image.digest in (up.log[0]["If-None-Match"] or "")


def is_over(begin, seconds):
    """This machine was too busy to see what is true for so long."""
    return time.monotonic() - begin > seconds


def test_a_tag_that_moved_is_seen_when_the_time_is_over(make, up):
    p = make({"up.test": up.url}, ["--upstream-fresh", "1s"])
    first, begin = up.tag(NAME, "1", images.tiny("first")), time.monotonic()
    assert p.manifest(NAME, "1").body == first.manifest
    second = up.tag(NAME, "1", images.tiny("second"))
    assert p.manifest(NAME, "1").body == first.manifest or is_over(begin, 1)
    time.sleep(1.2)
    assert p.manifest(NAME, "1").body == second.manifest
    assert p.manifest(NAME, first.digest).body == first.manifest


def test_stale_while_revalidate(make, up):
    p = make({"up.test": up.url}, ["--upstream-fresh", "0s", "--upstream-stale-while-revalidate"])
    first = up.tag(NAME, "1", images.tiny("first"))
    p.manifest(NAME, "1")
    second = up.tag(NAME, "1", images.tiny("second"))
    up.rule("* " + TAG, lambda x: x.proper(delay=4))
    begin = time.monotonic()
    assert p.manifest(NAME, "1").body == first.manifest and time.monotonic() - begin < 3.5
    deadline = time.monotonic() + 30
    while p.manifest(NAME, "1").body != second.manifest:
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_each_upstream_may_have_its_own_freshness(make, up):
    p = make(config={"upstreams": [{"name": "up.test", "url": up.url, "fresh": "0s"}]})
    up.tag(NAME, "1", images.tiny())
    for _ in range(3):
        p.manifest(NAME, "1")
    assert len(up.seen("* " + TAG)) >= 3


def test_what_is_missing_is_remembered_for_a_short_time(make, up):
    p = make({"up.test": up.url}, ["--upstream-missing", "1s"])
    begin = time.monotonic()
    for _ in range(5):
        assert p.manifest(NAME, "1").status == 404
    assert (len(up.seen("GET " + TAG)) <= 1 and len(up.log) <= 2) or is_over(begin, 1)
    image = up.tag(NAME, "1", images.tiny())
    assert p.manifest(NAME, "1").status == 404 or is_over(begin, 1)
    time.sleep(1.2)
    assert p.manifest(NAME, "1").body == image.manifest


def test_a_missing_blob_is_remembered_too(make, up):
    p = make({"up.test": up.url}, ["--upstream-missing", "1s"])
    image = images.random_image("missing blob", [1000])
    begin = time.monotonic()
    for method in ("GET", "GET", "HEAD", "GET"):
        assert p.fetch(method, f"/v2/{NAME}/blobs/{image.layers[0]}").status == 404
    assert len(up.log) <= 2 or is_over(begin, 1)
    up.add(NAME, image)
    time.sleep(1.2)
    assert p.blob(NAME, image.layers[0]).digest == image.layers[0]


def test_a_missing_digest_is_remembered_too(make, up):
    p = make({"up.test": up.url}, ["--upstream-missing", "1s"])
    image, begin = images.tiny(), time.monotonic()
    for _ in range(5):
        assert p.manifest(NAME, image.digest).status == 404
    assert len(up.log) <= 2 or is_over(begin, 1)
    up.add(NAME, image)
    time.sleep(1.2)
    assert p.manifest(NAME, image.digest).body == image.manifest


OUTAGES = {
    "down": None,
    "500": upstream.Answer(500),
    "503": upstream.Answer(503),
    "429": upstream.Answer(429, {"Retry-After": "5"}),
    "reset": upstream.Answer(reset=-2),
    "silence": upstream.Answer(stall=-1),
    "a web page": upstream.text("<html>", content_type="text/html"),
}


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("what", OUTAGES)
def test_in_an_outage_the_last_known_answer_is_given_with_a_warning(make, up, what, method):
    p = make({"up.test": up.url}, ["--upstream-fresh", "0s", "--upstream-head-timeout", "3s"])
    image = up.tag(NAME, "1", images.tiny())
    assert p.manifest(NAME, "1")["Warning"] is None
    if OUTAGES[what]:
        up.rule("*", OUTAGES[what])
    else:
        up.stop()
    reply = p.manifest(NAME, "1", method)
    assert (reply.status, reply["Docker-Content-Digest"]) == (200, image.digest)
    assert (reply["Warning"] or "").startswith("110 ")
    if method == "GET":
        assert reply.body == image.manifest


def test_an_answer_that_is_too_old_is_not_given(make, up):
    p = make({"up.test": up.url}, ["--upstream-fresh", "0s", "--upstream-offline", "1s"])
    up.tag(NAME, "1", images.tiny())
    begin = time.monotonic()
    p.manifest(NAME, "1")
    up.stop()
    assert p.manifest(NAME, "1").status == 200 or is_over(begin, 1)
    time.sleep(1.3)
    reply = p.manifest(NAME, "1")
    assert (reply.status, reply.code) == (502, "UNAVAILABLE")


def test_the_outage_is_over_when_it_is_over(make, up):
    p = make({"up.test": up.url}, ["--upstream-fresh", "0s", "--upstream-missing", "0s"])
    up.tag(NAME, "1", images.tiny("first"))
    p.manifest(NAME, "1")
    up.stop()
    assert p.manifest(NAME, "1")["Warning"]
    second = up.tag(NAME, "1", images.tiny("second"))
    up.start_again()
    reply = p.manifest(NAME, "1")
    assert reply.body == second.manifest and reply["Warning"] is None


@pytest.mark.parametrize("status,expected", [(404, (404,)), (401, (401,)), (403, (403,))])
def test_a_revoked_tag_is_gone(make, up, status, expected):
    """The truth is passed on, and the cached answer is dropped: an outage afterwards does not bring it back."""
    p = make({"up.test": up.url}, ["--upstream-fresh", "0s", "--upstream-missing", "0s"])
    up.tag(NAME, "1", images.tiny())
    assert p.manifest(NAME, "1").status == 200
    up.rule("*", upstream.Answer(status))
    assert p.manifest(NAME, "1").status in expected
    up.stop()
    assert p.manifest(NAME, "1").status in (502, *expected)


@pytest.mark.parametrize("restart", ["stop", "kill"])
def test_a_restart_without_an_upstream_serves_what_was_cached(make, up, restart):
    p = make({"up.test": up.url}, ["--upstream-fresh", "0s"])
    image = up.tag(NAME, "1", images.two_platforms())
    child = image.children[0]
    for reference in ("1", child.digest):
        assert p.manifest(NAME, reference).status == 200
    for digest in child.all_blobs():
        assert p.blob(NAME, digest).status == 200
    time.sleep(1.5)  # kill -9 may lose what the last second brought of what can be asked for again
    p.stop() if restart == "stop" else p.kill()
    up.stop()
    p.start()
    tagged = p.manifest(NAME, "1")
    assert (tagged.status, tagged.body) == (200, image.manifest) and tagged["Warning"].startswith("110 ")
    assert p.manifest(NAME, child.digest).body == child.manifest
    for digest in child.all_blobs():
        assert p.blob(NAME, digest).digest == digest
    missing = p.manifest(NAME, "2")
    assert (missing.status, missing.code) == (502, "UNAVAILABLE")


def test_it_starts_with_no_upstream_reachable(make, up):
    up.stop()
    p = make({"up.test": up.url, "other.test": "http://nothing.invalid"})
    assert p.get("/v2/").status == 200 and p.get("/readyz").status == 200


def test_one_upstream_out_of_order_does_not_hold_up_another(make, up, another):
    p = make({"one.test": up.url, "two.test": another.url}, ["--upstream-head-timeout", "5s"])
    up.rule("*", upstream.Answer(stall=-1))
    image = another.tag(NAME, "1", images.tiny())
    with concurrent.futures.ThreadPoolExecutor(40) as pool:
        stuck = [pool.submit(p.manifest, f"one.test/{NAME}", str(i)) for i in range(40)]
        time.sleep(0.3)
        begin = time.monotonic()
        assert p.manifest(f"two.test/{NAME}", "1").body == image.manifest
        assert time.monotonic() - begin < 4
        assert {f.result().status for f in stuck} == {504}


@pytest.mark.parametrize("path,expected", [
    ("lib/app", "lib/app"), ("up.test/lib/app", "lib/app"), ("app", "app"), ("lib/app?ns=up.test", "lib/app"),
    ("up.test/app", "app"), ("second.test/x/y", None)])
def test_names_and_upstreams(make, up, another, path, expected):
    p = make({"up.test": up.url, "second.test": another.url})
    server = up if expected else another
    image = server.tag(expected or "x/y", "1", images.tiny())
    name, _, query = path.partition("?")
    reply = p.get(f"/v2/{name}/manifests/1{'?' + query if query else ''}")
    assert (reply.status, reply.body) == (200, image.manifest)
    assert reply["OCI-Namespace"] == ("up.test" if query else None)
    assert not (another if expected else up).log


def test_docker_io_has_three_names_and_a_library(make, up):
    p = make({"docker.io": up.url})
    image = up.tag("library/busybox", "1", images.tiny())
    for path in ("busybox/manifests/1", "library/busybox/manifests/1",
                 "docker.io/library/busybox/manifests/1", "docker.io/busybox/manifests/1",
                 "index.docker.io/library/busybox/manifests/1", "registry-1.docker.io/busybox/manifests/1",
                 "library/busybox/manifests/1?ns=docker.io",
                 "library/busybox/manifests/1?ns=registry-1.docker.io"):
        assert p.get(f"/v2/{path}").body == image.manifest, path
    assert all("/library/busybox/" in s.path for s in up.log)
    assert len(up.seen("* /v2/library/busybox/manifests/1")) == 1


def test_an_upstream_with_a_path_prefix(make, up):
    p = make({"up.test": up.url + "/mirror"})
    image = images.tiny()
    up.rule("* /mirror/v2/lib/app/manifests/*", upstream.Answer(headers={"Content-Type": image.media_type},
                                                                body=image.manifest))
    assert p.manifest(NAME, "1").body == image.manifest


def test_the_default_upstream_can_be_named(make, up, another):
    p = make({"one.test": up.url, "two.test": another.url}, ["--default-upstream", "two.test"])
    image = another.tag(NAME, "1", images.tiny())
    assert p.manifest(NAME, "1").body == image.manifest
