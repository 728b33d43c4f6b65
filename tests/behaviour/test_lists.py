# SPDX-License-Identifier: Apache-2.0
"""Lists: tags, referrers, and the catalog of what was pulled here."""
import concurrent.futures
import json
import re
import threading

import pytest

from rig import images, process, upstream

NAME = "lib/app"


@pytest.fixture
def tags(up):
    names = [f"v{i:03}" for i in range(25)]
    for name in names:
        up.tag(NAME, name, images.tiny())
    return names


def test_tags_as_the_upstream_has_them(px, tags):
    reply = px.get(f"/v2/{NAME}/tags/list")
    assert reply.status == 200 and reply.json == {"name": NAME, "tags": tags} and reply["Link"] is None
    assert reply["Content-Type"].startswith("application/json")


@pytest.mark.parametrize("status", [200, 404, 500])
def test_who_asks_meanwhile_has_the_same_answer(px, up, tags, status):
    """And one who asks for another page, or after it, has an answer of their own."""
    path, go = f"/v2/{NAME}/tags/list", threading.Event()
    up.rule(f"GET {path}", lambda x: go.wait(60) and (x.proper() if status == 200 else upstream.Answer(status)))
    with concurrent.futures.ThreadPoolExecutor(11) as pool:
        same = [pool.submit(px.get, path) for _ in range(10)]
        other = pool.submit(px.get, f"{path}?n=3")
        # The one that asks for the metrics is open, too.
        process.wait_for(lambda: px.metrics()["rac_requests_open"] == 12 and len(up.seen("GET *")) == 2)
        go.set()
        replies = [f.result() for f in same]
        assert other.result().status == replies[0].status == {200: 200, 404: 404, 500: 502}[status]
    assert len({(r.status, r.body) for r in replies}) == 1
    if status == 200:
        assert replies[0].json["tags"] == tags and other.result().json["tags"] == tags[:3]
    assert len(up.seen(f"GET {path}*")) == 2
    px.get(path)
    assert len(up.seen(f"GET {path}*")) == 3


@pytest.mark.parametrize("prefix", ["", "up.test/"])
def test_pages_of_tags_by_their_links(px, tags, prefix):
    path, found, pages = f"/v2/{prefix}{NAME}/tags/list?n=10", [], 0
    while path:
        reply = px.get(path)
        assert reply.status == 200 and reply.json["name"] == f"{prefix}{NAME}"
        found += reply.json["tags"]
        pages += 1
        link = re.fullmatch(r'<(/v2/[^>]+)>; *rel="?next"?', reply["Link"]) if reply["Link"] else None
        assert not link or link.group(1).startswith(f"/v2/{prefix}{NAME}/tags/list?"), reply["Link"]
        path = link.group(1) if link else None
    assert (found, pages) == (tags, 3)


@pytest.mark.parametrize("link", ["<http://evil.example/v2/x/tags/list?n=1&last=a>; rel=\"next\"",
                                  "<//evil.example/x>; rel=next",
                                  "<javascript:x>; rel=next",
                                  "</v2/other/name/tags/list?last=v000&n=1>; rel=\"next\"", "nonsense",
                                  "<tags/list?n=1&last=v000>; rel=\"next\"",
                                  "<?n=1&last=v000>; rel=\"next\""])
def test_a_link_never_leads_away(px, up, tags, link):
    up.rule("GET */tags/list", lambda x: upstream.text('{"name":"lib/app","tags":["v000"]}', Link=link))
    reply = px.get(f"/v2/{NAME}/tags/list?n=1")
    assert reply.status == 200
    assert reply["Link"] is None or reply["Link"].startswith(f"</v2/{NAME}/tags/list?"), reply["Link"]


@pytest.mark.parametrize("body", ["", "[]", "{", '{"tags":5}', '{"name":"x","tags":[5]}', "<html>",
                                  '{"tags":["../x"]}', '{"tags":["ok",""]}', '{"tags":["a\\u0000b"]}', '{"tags":["%s"]}' % ("t" * 129),
                                  '{"tags":["a b"]}', '{"tags":["a/b"]}'])
def test_lists_that_are_none(px, up, body):
    up.rule("GET */tags/list", upstream.text(body))
    reply = px.get(f"/v2/{NAME}/tags/list")
    assert (reply.status, reply.code) == (502, "UNAVAILABLE") and "up.test" in reply.message


def test_tags_null_is_an_empty_list(px, up):
    up.rule("GET */tags/list", upstream.text('{"name":"lib/app","tags":null}'))
    reply = px.get(f"/v2/{NAME}/tags/list")
    assert reply.status == 200 and reply.json["tags"] in ([], None)


@pytest.mark.parametrize("status,expected", [(404, (404, "NAME_UNKNOWN")), (401, (401, "UNAUTHORIZED")),
                                             (403, (403, "DENIED")),
                                             (429, (429, "TOOMANYREQUESTS")), (500, (502, "UNAVAILABLE"))])
def test_lists_that_are_refused(px, up, status, expected):
    up.rule("GET */tags/list", upstream.Answer(status, body=b"no"))
    reply = px.get(f"/v2/{NAME}/tags/list")
    assert (reply.status, reply.code) == expected


SUBJECT = "sha256:" + "5" * 64
ONE = {"mediaType": images.OCI_MANIFEST, "size": 10, "digest": "sha256:" + "6" * 64,
       "artifactType": "application/one"}
TWO = {**ONE, "digest": "sha256:" + "7" * 64, "artifactType": "application/two"}


def check_index(reply, digests):
    assert reply.status == 200 and reply["Content-Type"] == images.OCI_INDEX
    assert reply.json["schemaVersion"] == 2 and reply.json["mediaType"] == images.OCI_INDEX
    assert [m["digest"] for m in reply.json["manifests"]] == digests


def test_referrers_of_the_upstream(px, up):
    up.referrers = {SUBJECT: [ONE, TWO]}
    check_index(px.get(f"/v2/{NAME}/referrers/{SUBJECT}"), [ONE["digest"], TWO["digest"]])
    check_index(px.get(f"/v2/{NAME}/referrers/sha256:{'8' * 64}"), [])


@pytest.mark.parametrize("api", [True, False], ids=["api", "tag-schema"])
def test_referrers_of_one_kind(px, up, api):
    if api:
        up.referrers = {SUBJECT: [ONE, TWO]}
    else:
        up.tag(NAME, SUBJECT.replace(":", "-"), images.Image({"schemaVersion": 2,
                                                              "mediaType": images.OCI_INDEX,
                                                              "manifests": [ONE, TWO]},
                                                             images.OCI_INDEX))
    reply = px.get(f"/v2/{NAME}/referrers/{SUBJECT}?artifactType=application/two")
    check_index(reply, [TWO["digest"]])
    assert reply["OCI-Filters-Applied"] == "artifactType"


def test_referrers_by_the_tag_schema(px, up):
    up.tag(NAME, SUBJECT.replace(":", "-"), images.Image({"schemaVersion": 2, "mediaType": images.OCI_INDEX,
                                                          "manifests": [ONE]},
                                                         images.OCI_INDEX))
    check_index(px.get(f"/v2/{NAME}/referrers/{SUBJECT}"), [ONE["digest"]])


def test_referrers_by_the_tag_schema_of_sha512(px, up):
    """The hex is cut to 64 digits: with all of them it would be no tag."""
    index = images.Image({"schemaVersion": 2, "mediaType": images.OCI_INDEX, "manifests": [ONE]},
                         images.OCI_INDEX)
    up.tag(NAME, f"sha512-{'5' * 64}", index)
    check_index(px.get(f"/v2/{NAME}/referrers/sha512:{'5' * 128}"), [ONE["digest"]])


@pytest.mark.parametrize("query", ["", "artifactType=application/one&", "ns=up.test&"])
def test_pages_of_referrers(px, up, query):
    """Two of one kind, two pages: their links lead here, with what the upstream wants to see again."""
    pages = {None: (ONE, "second"), "second": ({**ONE, "digest": TWO["digest"]}, None)}

    def page(x):
        one, after = pages[x.query.get("token")]
        link = {"Link": f'<{up.url}{x.path}?token={after}>; rel="next"'} if after else {}
        return upstream.text(json.dumps({"schemaVersion": 2, "mediaType": images.OCI_INDEX,
                                         "manifests": [one]}), content_type=images.OCI_INDEX, **link)
    up.rule("GET */referrers/*", page)
    path, found = f"/v2/{NAME}/referrers/{SUBJECT}?{query}n=1", []
    while path and len(found) < 9:
        reply = px.get(path)
        found += [m["digest"] for m in reply.json["manifests"]]
        link = re.fullmatch(r'<(/v2/[^>]+)>; rel="next"', reply["Link"]) if reply["Link"] else None
        path = link.group(1) if link else None
        assert not path or ("ns=up.test" in path) == ("ns=up.test" in query)
    assert found == [ONE["digest"], TWO["digest"]]
    assert all("ns" not in s.query for s in up.seen("GET */referrers/*"))


def test_no_referrers_are_an_empty_index_at_once(px, up):
    check_index(px.get(f"/v2/{NAME}/referrers/{SUBJECT}"), [])


def test_referrers_of_a_malformed_digest(px, up):
    reply = px.get(f"/v2/{NAME}/referrers/sha256:xyz")
    assert (reply.status, reply.code) == (400, "DIGEST_INVALID") and not up.log


def test_the_catalog_has_what_was_pulled(px, up):
    assert px.get("/v2/_catalog").json == {"repositories": []}
    for name in ("b/two", "a/one", "c/three"):
        up.tag(name, "1", images.tiny())
        assert px.manifest(name, "1").status == 200
    px.manifest("never/was", "1")

    def names(query=""):
        reply = px.get(f"/v2/_catalog{query}")
        assert reply.status == 200
        return reply.json["repositories"], reply["Link"]
    from rig.process import wait_for  # pylint: disable=import-outside-toplevel
    wait_for(lambda: len(names()[0]) == 3, 5, "three names in the catalog")
    whole, link = names()
    assert [n.split("up.test/")[-1] for n in whole] == ["a/one", "b/two", "c/three"] and link is None
    first, link = names("?n=2")
    assert first == whole[:2]
    place = re.fullmatch(r'<(/v2/_catalog\?[^>]+)>; *rel="?next"?', link).group(1)
    assert names(place.removeprefix("/v2/_catalog"))[0] == whole[2:]
    px.restart()
    assert names()[0] == whole


def test_pages_that_an_upstream_links_in_its_own_way(px, up):
    """quay.io's links have a token, and no `last`: it must come back as it was."""
    pages = {"": ("a", "gAAAA-x_1=="), "gAAAA-x_1==": ("b", "%2Btoken%26"), "+token&": ("c", None)}

    def page(x):
        tag, after = pages[x.query.get("next_page", "")]
        link = {"Link": f'</v2/{NAME}/tags/list?n=1&next_page={after}>; rel="next"'} if after else {}
        return upstream.text('{"name":"lib/app","tags":["%s"]}' % tag, **link)
    up.rule("GET */tags/list", page)
    path, found = f"/v2/{NAME}/tags/list?n=1&ns=up.test", []
    while path and len(found) < 9:
        reply = px.get(path)
        found += reply.json["tags"]
        link = re.fullmatch(r'<(/v2/[^>]+)>; *rel="?next"?', reply["Link"]) if reply["Link"] else None
        path = link.group(1) if link else None
    assert found == ["a", "b", "c"]
    assert all("ns" not in s.query for s in up.seen("GET */tags/list"))


def test_a_link_keeps_the_namespace_whatever_the_upstreams_own_query_is_called(px, up):
    up.rule("GET */tags/list", lambda x: upstream.text('{"name":"lib/app","tags":["a"]}',
                                                       Link=f'<{x.path}?tokens=1>; rel="next"'))
    reply = px.get(f"/v2/{NAME}/tags/list?n=1&ns=up.test")
    assert reply["Link"] == f'</v2/{NAME}/tags/list?tokens=1&ns=up.test>; rel="next"'


@pytest.mark.parametrize("query", ["last=a%23b", "last=%22%3E%3C", "x=%0d%0aEvil:%201", "last=a%20b&n=2", "&&&", "=&=",
                                   "n=1&n=2", "ns=up.test"])
def test_queries_of_all_sorts(px, tags, query):
    reply = px.get(f"/v2/{NAME}/tags/list?{query}")
    assert reply.status == 200 and reply["Evil"] is None
