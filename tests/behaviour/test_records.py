# SPDX-License-Identifier: Apache-2.0
"""Pull records: what is recorded of whom, when it is a pull and when a check, and what is asked of it afterwards."""
import json
import time

import pytest

from rig import images, token_api, wire

NAME = "lib/app"
READ = ["--access-anonymous", "pull,read-records"]
WINDOW = ["--pulls-check-window", "1s", *READ]


def wait_for(ask, timeout=30):
    """The first answer that is not empty."""
    end = time.monotonic() + timeout
    while not (found := ask()) and time.monotonic() < end:
        time.sleep(0.05)
    return found


def records(p, count=1, timeout=30, **query):
    """The records that the question finds, youngest first, once there are `count` of them."""
    path = "/v1/pulls" + ("?" + "&".join(f"{k}={v}" for k, v in query.items()) if query else "")

    def ask():
        reply = p.get(path)
        assert reply.status == 200, reply.body
        found = reply.json["pulls"]
        return found if len(found) >= count else None
    return wait_for(ask, timeout) or p.get(path).json["pulls"]


def pull(p, name, reference, image, **headers):
    """As an engine that has nothing of it."""
    reply = p.fetch("GET", f"/v2/{name}/manifests/{reference}", {"Accept": wire.MANIFEST_TYPES, **headers})
    assert reply.status == 200, reply.body
    manifest = reply.json
    for part in [manifest["config"], *manifest["layers"]]:
        assert p.fetch("GET", f"/v2/{name}/blobs/{part['digest']}", headers).status == 200
    return reply


@pytest.fixture
def rec(make, up):
    return make({"up.test": up.url}, WINDOW)


@pytest.fixture
def patient(make, up):
    """Its windows are longer than any test: what follows follows, however busy the machine is."""
    return make({"up.test": up.url}, READ)


def records_at_the_end(p):
    """Of all that was asked: a proxy that stops waits for nothing that might follow."""
    p.restart()
    return records(p)


def test_a_pull_is_one_record(patient, up):
    image = up.tag(NAME, "1", images.tiny())
    reply = pull(patient, NAME, "1", image, **{"User-Agent": "engine/1.0"})
    found = wait_for(lambda: [r for r in records(patient) if r["complete"]])
    assert len(found) == 1 and len(records(patient)) == 1
    r = found[0]
    assert len(r["id"]) == 26 and r["kind"] == "pull" and r["time"].endswith("Z")
    assert (r["node"], r["clientAddress"], r["userAgent"], r["subject"]) == ("127.0.0.1", "127.0.0.1", "engine/1.0", None)
    assert (r["registry"], r["repository"], r["reference"]) == ("up.test", NAME, "1")
    assert r["sourceDigest"] == r["servedDigest"] == image.digest and r["injection"] is None
    assert r["platform"] == "linux/amd64"
    sizes = [reply.json["config"]["size"], *[layer["size"] for layer in reply.json["layers"]]]
    assert r["bytesSent"] == len(reply.body) + sum(sizes)
    assert (r["cacheHits"], r["cacheMisses"]) == (0, len(sizes))


def test_what_was_here_already_is_hits(patient, up):
    image = up.tag(NAME, "1", images.tiny())
    pull(patient, NAME, "1", image)
    assert wait_for(lambda: patient.metrics().get("rac_cache_blobs", 0) >= 3), "manifest, config and layer are put away"
    pull(patient, NAME, "1", image)
    found = wait_for(lambda: [r for r in records(patient) if r["complete"]][1:] and records(patient))
    assert [(r["cacheHits"], r["cacheMisses"]) for r in found] == [(2, 0), (0, 2)]


def test_an_injected_image_names_its_source_and_its_injection(make, up, layer):
    p = make({"up.test": up.url}, READ, inject=layer.path)
    image = up.tag(NAME, "1", images.tiny())
    reply = pull(p, NAME, "1", image)
    r = records(p)[0]
    assert r["sourceDigest"] == image.digest and r["servedDigest"] == reply["Docker-Content-Digest"] != image.digest
    assert r["injection"].startswith("sha256:") and r["platform"] == "linux/amd64"


def test_an_index_is_no_pull_and_its_child_knows_its_tag_and_platform(patient, up):
    index = up.tag(NAME, "1", images.two_platforms())
    child = json.loads(index.manifest)["manifests"][1]
    patient.manifest(NAME, "1")
    patient.manifest(NAME, child["digest"])
    found = records_at_the_end(patient)
    assert [(r["kind"], r["reference"], r["servedDigest"]) for r in found] == [("pull", "1", child["digest"])]
    assert found[0]["platform"].startswith("linux/" + child["platform"]["architecture"])


def test_head_then_get_by_digest_is_a_pull_of_the_tag(patient, up):
    image = up.tag(NAME, "1", images.tiny())
    patient.manifest(NAME, "1", "HEAD")
    pull(patient, NAME, image.digest, image)
    assert [(r["kind"], r["reference"]) for r in records_at_the_end(patient)] == [("pull", "1")]


@pytest.mark.parametrize("ask", ["head", "not modified", "index"])
def test_a_question_that_nothing_follows_is_a_check(rec, up, ask):
    image = up.tag(NAME, "1", images.two_platforms() if ask == "index" else images.tiny())
    headers = {"If-None-Match": f'"{image.digest}"'} if ask == "not modified" else {}
    before, begin = time.time(), time.monotonic()
    rec.fetch("HEAD" if ask == "head" else "GET", f"/v2/{NAME}/manifests/1", headers)
    after, early = time.time(), records(rec, timeout=0)
    assert early == [] or time.monotonic() - begin >= 1
    found = records(rec)
    assert [(r["kind"], r["reference"], r["sourceDigest"]) for r in found] == [("check", "1", image.digest)]
    at = time.mktime(time.strptime(found[0]["time"][:19], "%Y-%m-%dT%H:%M:%S")) - time.timezone
    assert int(before) <= at <= after, "the time is that of the question"


def test_a_digest_that_is_only_made_sure_of_is_no_check(rec, up):
    known, other = up.tag("lib/known", "1", images.tiny()), up.tag(NAME, "1", images.tiny("other"))
    assert rec.fetch("HEAD", f"/v2/lib/known/manifests/{known.digest}").status == 200
    assert rec.fetch("HEAD", f"/v2/{NAME}/manifests/1").status == 200
    assert [(r["repository"], r["sourceDigest"]) for r in records(rec)] == [(NAME, other.digest)], "what came later is there"


def test_a_pull_is_through_with_its_last_blob_and_not_before(make, up):
    p = make({"up.test": up.url}, ["--access-anonymous", "pull,read-records"])
    image = json.loads(up.tag(NAME, "1", images.random_image(2, [4000, 5000])).manifest)
    manifest = p.manifest(NAME, "1")
    *first, last = [image["config"], *image["layers"]]
    for part in first:
        assert p.fetch("GET", f"/v2/{NAME}/blobs/{part['digest']}").status == 200
    assert [r["complete"] for r in records(p)] == [False]
    time.sleep(0.5)  # a mistake has the time to show
    assert p.fetch("GET", f"/v2/{NAME}/blobs/{last['digest']}").status == 200
    found = wait_for(lambda: [r for r in records(p) if r["complete"]])
    assert [r["bytesSent"] for r in found] == [len(manifest.body) + sum(part["size"] for part in [*first, last])]


def test_a_question_of_one_node_is_not_followed_by_another(make, up):
    p = make({"up.test": up.url}, [*WINDOW, "--pulls-trust-headers"])
    image = up.tag(NAME, "1", images.tiny())
    p.head(f"/v2/{NAME}/manifests/1", X_Rac_Node="a")
    pull(p, NAME, image.digest, image, **{"X-Rac-Node": "b"})
    found = records(p, 2)
    assert {(r["kind"], r["node"]) for r in found} == {("check", "a"), ("pull", "b")}


def test_what_fails_is_not_recorded(patient, up):
    assert patient.manifest(NAME, "none").status == 404
    assert patient.manifest(NAME, "none", "HEAD").status == 404
    patient.restart()
    assert records(patient, timeout=0) == []


def test_a_download_that_is_cut_off_is_not_complete(rec, up):
    image = up.tag(NAME, "1", images.random_image(1, [8 << 20]))
    rec.manifest(NAME, "1")
    layer = json.loads(image.manifest)["layers"][0]
    with wire.Raw(rec.address, receive_buffer=4096) as raw:
        raw.send(f"GET /v2/{NAME}/blobs/{layer['digest']} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        raw.read_head()
    time.sleep(2.5)
    found = records(rec)
    assert [r["complete"] for r in found] == [False] and found[0]["bytesSent"] < layer["size"]


def test_a_node_that_has_it_already_is_complete_without_a_blob(make, up):
    rec = make({"up.test": up.url}, ["--pulls-check-window", "3s", *READ])
    image = up.tag(NAME, "1", images.tiny())
    rec.manifest(NAME, "1")
    time.sleep(4)
    assert [r["complete"] for r in records(rec)] == [False], "nobody knows that it has it"
    pull(rec, NAME, "1", image)
    rec.manifest(NAME, "1")
    assert wait_for(lambda: [r["complete"] for r in records(rec)] == [True, True, False]), records(rec)


def test_a_pull_through_a_container_token_names_it_and_the_tag(make, up, layer):
    """With a rule beside it, which is not for tokens."""
    up.tag(NAME, "1", images.tiny())
    p = make({"up.test": up.url}, ["--pulls-check-window", "1s", "--access-anonymous", "pull,request,read-records"],
             inject=layer.path)
    t = token_api.token(p, "up.test/lib/app:1", {"layers": [token_api.data_layer(layer)]})
    for _ in range(3):
        t.manifest()
    t.manifest(method="HEAD")
    found = records(p, 4)
    assert {(r["repository"], r["reference"], r["servedDigest"]) for r in found} == {(NAME, "1", t.target)}
    assert sorted(r["kind"] for r in found) == ["check", "pull", "pull", "pull"]
    assert {r["subject"] for r in found} == {r["node"] for r in found}
    assert found[0]["subject"].startswith("token:") and t.text not in json.dumps(found)


def test_as_containerd_pulls_an_index(patient, up):
    """HEAD of the tag, then the index and its child by digest: a pull of the tag."""
    index = up.tag(NAME, "1", images.two_platforms())
    child = json.loads(index.manifest)["manifests"][0]
    patient.manifest(NAME, "1", "HEAD")
    patient.manifest(NAME, index.digest)
    patient.manifest(NAME, child["digest"])
    assert [(r["kind"], r["reference"]) for r in records_at_the_end(patient)] == [("pull", "1")]


def test_a_pinned_index_is_what_was_asked_for(patient, up):
    index = up.add(NAME, images.two_platforms())
    child = json.loads(index.manifest)["manifests"][0]
    patient.manifest(NAME, index.digest)
    patient.manifest(NAME, child["digest"])
    found = records_at_the_end(patient)
    assert [(r["kind"], r["reference"]) for r in found] == [("pull", index.digest)]
    assert found[0]["platform"].startswith("linux/")
