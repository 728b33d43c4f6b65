# SPDX-License-Identifier: Apache-2.0
"""Possession of bytes is not permission: a blob is served under a name only if that name refers to it."""
import base64
import concurrent.futures
import threading

import pytest

from rig import images, process, proxy, upstream, wire

BASIC = "Basic " + base64.b64encode(b"tenant:" + proxy.secret("tenant-password-1").encode()).decode()
proxy.secret(BASIC[6:])


@pytest.fixture
def private(up):
    """An image under team/private; nothing else has any of its blobs."""
    return up.tag("team/private", "1", images.random_image("private", [100_000]))


@pytest.fixture
def filled(px, private):
    px.manifest("team/private", "1")
    for digest in private.all_blobs():
        assert px.blob("team/private", digest).status == 200
    return px


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_cached_blob_is_not_readable_under_another_name(filled, up, private, method):
    up.tag("team/other", "1", images.tiny())
    filled.manifest("team/other", "1")
    for name in ("team/other", "nobody/knows"):
        reply = filled.fetch(method, f"/v2/{name}/blobs/{private.layers[0]}")
        assert reply.status == 404 and private.blobs[private.layers[0]] not in reply.body


@pytest.mark.parametrize("headers", [{"Range": "bytes=0-9"}, {"If-None-Match": "*"}])
def test_nor_by_parts(filled, private, headers):
    reply = filled.fetch("GET", f"/v2/nobody/knows/blobs/{private.layers[0]}", headers)
    assert reply.status == 404


def test_a_cached_manifest_is_not_readable_under_another_name(filled, private):
    for method in ("GET", "HEAD"):
        assert filled.manifest("nobody/knows", private.digest, method).status == 404


def test_an_announced_manifest_is_not_readable_under_another_name(ix, up, layer):
    up.tag("team/private", "1", images.random_image("private", [1000]))
    announced = ix.manifest("team/private", "1").digest
    assert ix.manifest("nobody/knows", announced).status == 404
    assert ix.blob("nobody/knows", layer.gzip_digest).status == 404
    assert ix.blob("team/private", layer.gzip_digest).status == 200


def test_nor_if_it_was_whole_when_the_process_died(px, up, private):
    """All bytes are there, and not published: nobody was asked yet whether this name may have them."""
    digest = private.layers[0]
    px.stop()
    with open(px.partial_file(digest), "wb") as f:
        f.write(private.blobs[digest])
    px.start()
    assert px.blob("nobody/knows", digest).status == 404
    px.manifest("team/private", "1")
    assert px.blob("team/private", digest).digest == digest


def test_it_is_readable_under_a_name_that_refers_to_it_with_no_second_download(filled, up, private):
    up.tag("team/copy", "7", private)
    assert filled.manifest("team/copy", "7").status == 200
    assert filled.blob("team/copy", private.layers[0]).digest == private.layers[0]
    assert up.count(f"GET */blobs/{private.layers[0]}") == 1


def test_it_is_readable_where_the_upstream_says_so(filled, up, private):
    """A blob without its manifest: the upstream is asked, and only asked."""
    up.blob("team/mounted", private.blobs[private.layers[0]])
    assert filled.blob("team/mounted", private.layers[0]).digest == private.layers[0]
    asked = up.seen(f"* /v2/team/mounted/blobs/{private.layers[0]}")
    assert asked, "permission was not asked for"


def test_many_at_once_are_one_question(filled, up, private):
    up.blob("team/mounted", private.blobs[private.layers[0]])
    path = f"/v2/team/mounted/blobs/{private.layers[0]}"
    up.rule(f"HEAD {path}", lambda x: x.proper(delay=0.5))
    with concurrent.futures.ThreadPoolExecutor(30) as pool:
        replies = list(pool.map(lambda i: filled.get(path), range(30)))
    assert {(r.status, r.digest) for r in replies} == {(200, private.layers[0])}
    assert [s.method for s in up.seen(f"* {path}")] == ["HEAD"]


def test_the_same_name_with_other_credentials_is_another_name(make, up, private, scratch):
    """The credentials are taken away by a reload: what they opened is closed."""
    up.rule("*", lambda x: None if x["Authorization"] == BASIC else upstream.challenge("here", None, scheme="Basic"))
    given = {"name": "up.test", "url": up.url, "username": "tenant", "password": "tenant-password-1"}
    p = make(config={"upstreams": [given]})
    assert p.manifest("team/private", "1").status == 200
    assert p.blob("team/private", private.layers[0]).status == 200
    p.configure({"upstreams": [{"name": "up.test", "url": up.url}]})
    p.reload()
    assert p.manifest("team/private", "1").status == 401
    assert p.manifest("team/private", private.digest).status in (401, 404)
    assert p.blob("team/private", private.layers[0]).status in (401, 404)
    p.configure({"upstreams": [given]})
    p.reload()
    assert p.blob("team/private", private.layers[0]).status == 200
    assert up.count(f"GET */blobs/{private.layers[0]}") <= 3


def test_two_upstreams_with_the_same_repository_are_two(make, up, another, private):
    p = make({"one.test": up.url, "two.test": another.url})
    p.manifest("one.test/team/private", "1")
    assert p.blob("one.test/team/private", private.layers[0]).status == 200
    assert p.blob("two.test/team/private", private.layers[0]).status == 404
    assert p.manifest("two.test/team/private", private.digest).status == 404


def test_a_withdrawn_manifest_takes_its_blobs_with_it(make, up, private):
    p = make({"up.test": up.url}, ["--upstream-fresh", "0s", "--upstream-missing", "0s"])
    assert p.manifest("team/private", "1").status == 200
    assert p.blob("team/private", private.layers[0]).status == 200
    up.rule("*", upstream.Answer(403))
    assert p.manifest("team/private", "1").status == 403
    assert p.blob("team/private", private.layers[0]).status in (403, 404)


def test_a_withdrawn_manifest_takes_a_blob_with_it_that_is_still_coming_in(make, up, private):
    p = make({"up.test": up.url}, ["--upstream-fresh", "0s", "--upstream-missing", "0s"])
    hold, path = threading.Event(), f"/v2/team/private/blobs/{private.layers[0]}"
    up.rule("GET */blobs/*", lambda x: x.proper(hold=hold), times=1)
    assert p.manifest("team/private", "1").status == 200
    with wire.Raw(p.address) as first:
        try:
            first.send(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            assert first.read_head() == 200
            up.rule("*", upstream.Answer(403))
            assert p.manifest("team/private", "1").status == 403
            assert p.get(path, timeout=5).status in (403, 404)
        finally:
            hold.set()


def test_a_withdrawn_original_takes_what_was_made_of_it(make, up, layer):
    """… and when it comes back, all of it is there again."""
    p = make({"up.test": up.url}, ["--upstream-fresh", "0s", "--upstream-missing", "0s"], inject=layer.path)
    image = images.random_image("private", [100_000])
    up.tag("team/private", "1", images.index([(image, "linux/amd64")]))
    index = p.manifest("team/private", "1")
    child = p.manifest("team/private", index.json["manifests"][0]["digest"])
    blobs = [d["digest"] for d in [*child.json["layers"], child.json["config"]]]

    def statuses():
        return ([p.manifest("team/private", d).status for d in (index.digest, child.digest)]
                + [p.blob("team/private", d).status for d in blobs])
    assert set(statuses()) == {200}
    up.rule("*", upstream.Answer(403))
    assert p.manifest("team/private", "1").status == 403
    assert set(statuses()) <= {403, 404}
    up.clear()
    assert p.manifest("team/private", "1").digest == index.digest
    assert set(statuses()) == {200}
    p.restart()
    assert set(statuses()) == {200}


def test_an_index_under_new_credentials_is_whole(make, up, layer):
    """All of it is in memory, from what others pulled; the new scope must come to know each part of it."""
    up.rule("*", lambda x: None if x["Authorization"] == BASIC else upstream.challenge("here", None, scheme="Basic"))
    tenant = {"name": "up.test", "url": up.url, "username": "tenant", "password": "tenant-password-1"}
    p = make(config={"upstreams": [tenant], "inject": [{"match": "*", "injection": layer.path}]})
    up.tag("team/private", "1", images.index([(images.random_image("private", [1000]), "linux/amd64")]))

    def pull():
        index = p.manifest("team/private", "1")
        child = p.manifest("team/private", index.json["manifests"][0]["digest"])
        return [index.status, child.status] + [p.blob("team/private", d["digest"]).status
                                               for d in [*child.json["layers"], child.json["config"]]]
    assert set(pull()) == {200}
    up.clear()
    p.configure({"upstreams": [{"name": "up.test", "url": up.url}],
                 "inject": [{"match": "*", "injection": layer.path}]})
    p.reload()
    assert set(pull()) == {200}


@pytest.mark.parametrize("status,expected", [(429, 429), (500, 502), (401, 200), (404, 200)])
@pytest.mark.parametrize("elsewhere", [False, True], ids=["one-upstream", "two-upstreams"])
def test_a_download_that_fails_for_others_tells_nothing_of_them(make, up, another, private, status, expected, elsewhere):
    """It is shared while it lasts. Its end is not: whose name it was, and what was wrong there, is theirs."""
    p = make({"up.test": up.url, "two.test": another.url}, ["--upstream-missing", "0s"])
    name, server = ("two.test/lib/app", another) if elsewhere else ("lib/app", up)
    server.tag("lib/app", "1", private)
    digest = private.layers[0]
    assert {p.manifest("team/private", "1").status, p.manifest(name, "1").status} == {200}
    joined = threading.Event()
    up.rule(f"GET /v2/team/private/blobs/{digest}", lambda x: joined.wait(20) and upstream.Answer(status))
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        theirs = pool.submit(p.blob, "team/private", digest)
        process.wait_for(lambda: up.seen("GET /v2/team/private/blobs/*"))
        asked = pool.submit(p.blob, name, digest)
        process.wait_for(lambda: p.metrics().get("rac_fill_readers_joined_total") == 1)
        joined.set()
        ours = asked.result()
        assert theirs.result().status in (401, 404, 429, 502)
    assert ours.status == (200 if elsewhere else expected)
    if ours.status == 200:
        assert ours.digest == digest
    else:
        assert "lib/app" in ours.message and "up.test" in ours.message and "private" not in ours.message
