# SPDX-License-Identifier: Apache-2.0
"""What becomes of images that are rewritten, as a client of the API sees it."""
import base64
import gzip
import json
import os
import zlib

import pytest

from rig import images, process, proxy, upstream, wire

NAME = "lib/app"


def layers_of(reply):
    return [d["digest"] for d in reply.json["layers"]]


def config_of(p, name, reply):
    descriptor = reply.json["config"]
    blob = p.blob(name, descriptor["digest"])
    assert (blob.status, blob.digest, len(blob.body)) == (200, descriptor["digest"], descriptor["size"])
    return json.loads(blob.body)


@pytest.mark.parametrize("build,media", [
    (images.tiny, images.DOCKER_LAYER), (lambda: images.tiny(oci=True), images.OCI_LAYER),
    (lambda: images.tiny(oci=True, media_type=False), images.OCI_LAYER),
    (images.zstd_layers, images.OCI_LAYER),
    (images.foreign, images.DOCKER_LAYER)], ids=["docker", "oci", "untyped", "zstd", "foreign"])
def test_the_layer_comes_on_top_in_the_family_of_the_base(ix, up, layer, build, media):
    image = up.tag(NAME, "1", build())
    reply = ix.manifest(NAME, "1")
    assert (reply.status, reply["Docker-Content-Digest"],
            reply["Content-Type"]) == (200, reply.digest, image.media_type)
    assert reply.json["layers"][:-1] == image.json["layers"]
    assert reply.json["layers"][-1] == {"mediaType": media, "size": layer.json["layers"][0]["gzipSize"],
                                        "digest": layer.gzip_digest}
    assert ("mediaType" in reply.json) == ("mediaType" in image.json)
    config = config_of(ix, NAME, reply)
    assert config["rootfs"]["diff_ids"] == image.config["rootfs"]["diff_ids"] + [layer.tar_digest]
    assert config["history"][-1]["created_by"] == f"rac inject {layer.gzip_digest}"
    assert config["config"]["Labels"]["rac.source"] == f"up.test/{NAME}@{image.digest}"
    got = ix.blob(NAME, layer.gzip_digest)
    assert (got.status, got.digest) == (200, layer.gzip_digest)
    assert wire.sha256(gzip.decompress(got.body)) == layer.tar_digest
    if media == images.OCI_LAYER:
        assert reply.json["annotations"]["org.opencontainers.image.base.digest"] == image.digest


def test_head_and_get_and_digest_agree(ix, up):
    up.tag(NAME, "1", images.tiny())
    headed = ix.manifest(NAME, "1", "HEAD")
    got = ix.manifest(NAME, "1")
    again = ix.manifest(NAME, got.digest)
    assert headed["Docker-Content-Digest"] == got.digest == again.digest
    assert headed["Content-Length"] == str(len(got.body)) and headed["Content-Type"] == got["Content-Type"]


def test_entry_point_command_environment(make, scratch, up):
    packed = proxy.Layer(scratch, entrypoint=["/.rac/run", "--"], env=["NEW=1", "PATH=/.rac/bin:/bin"],
                         labels={"own": "label"},
                         workingDir="/work")
    p = make({"up.test": up.url}, inject=packed.path)
    image = up.tag(NAME, "1", images.worker())
    config = config_of(p, NAME, p.manifest(NAME, "1"))["config"]
    base = image.config["config"]
    assert config["Entrypoint"] == ["/.rac/run", "--", *base["Entrypoint"]] and config["Cmd"] == base["Cmd"]
    assert config["Env"] == ["PATH=/.rac/bin:/bin", *base["Env"][1:], "NEW=1"]
    assert config["WorkingDir"] == "/work" and config["User"] == base["User"]
    assert config["Labels"]["own"] == "label" and config["Labels"]["keeper"] == "yes"
    for member in ("ExposedPorts", "Volumes", "StopSignal"):
        assert config[member] == base[member]


@pytest.mark.parametrize("whole", [{"config": None}, {"history": None},
                                   {"config": {"Entrypoint": None, "Cmd": None, "Env": None}},
                                   {"unknown.member": {"a": [1, 2]}}, {"history": []}])
def test_configs_with_holes(ix, up, layer, whole):
    image = up.tag(NAME, "1", images.tiny(whole_config=whole))
    reply = ix.manifest(NAME, "1")
    assert reply.status == 200 and layers_of(reply)[-1] == layer.gzip_digest
    config = config_of(ix, NAME, reply)
    assert ("history" in config) == ("history" in image.config)
    for key, value in image.config.items():
        if key not in ("config", "rootfs", "history"):
            assert config[key] == value


@pytest.mark.parametrize("what,whole", [("no rootfs", {"rootfs": None}),
                                        ("too few diff_ids", {"rootfs": {"type": "layers", "diff_ids": []}}),
                                        ("a large number", {"big": 2 ** 60}),
                                        ("a real number", {"real": 0.1234567890123456789})])
def test_configs_that_cannot_be_rewritten_pass_unchanged(ix, up, what, whole):
    image = up.tag(NAME, "1", images.tiny(whole_config=whole))
    reply = ix.manifest(NAME, "1")
    if what == "a real number" and reply.body != image.manifest:
        assert config_of(ix, NAME, reply)["real"] == whole["real"], "rewritten, then without loss"
        return
    assert reply.body == image.manifest, what
    assert any(k.startswith("rac_injection_skipped_total{") and v >= 1 for k, v in ix.metrics().items())


def test_an_artifact_passes_unchanged(ix, up):
    config = b"{}"
    artifact = images.Image({"schemaVersion": 2, "mediaType": images.OCI_MANIFEST,
                             "artifactType": "application/x",
                             "config": {"mediaType": "application/vnd.oci.empty.v1+json",
                                        "digest": wire.sha256(config), "size": 2},
                             "layers": []}, images.OCI_MANIFEST, {wire.sha256(config): config})
    up.tag(NAME, "1", artifact)
    assert ix.manifest(NAME, "1").body == artifact.manifest


SCHEMA1 = "application/vnd.docker.distribution.manifest.v1+prettyjws"
# Of the payload, without its signatures: what registries and clients know it by.
SCHEMA1_DIGEST = "sha256:319b8d4eca0fc0367d192941f221f7fcd29a6b96996c63cbf8931dbb66e53348"


def schema1():
    return images.read(os.path.join(proxy.ROOT, "tests", "fixtures", "schema1-manifest.json"))


@pytest.mark.parametrize("said", [{}, {"Docker-Content-Digest": SCHEMA1_DIGEST}], ids=["silent", "said"])
def test_schema_1_passes_unchanged(ix, up, said):
    body = schema1()
    up.rule("* /v2/lib/app/manifests/*", upstream.Answer(headers={"Content-Type": SCHEMA1, **said}, body=body))
    for method, reference in [("GET", "1"), ("HEAD", "1"), ("GET", SCHEMA1_DIGEST), ("HEAD", SCHEMA1_DIGEST)]:
        reply = ix.manifest(NAME, reference, method)
        assert (reply.status, reply["Content-Type"]) == (200, SCHEMA1)
        assert reply["Docker-Content-Digest"] == SCHEMA1_DIGEST
        assert reply["Content-Length"] == str(len(body))
        assert reply.body == (body if method == "GET" else b"")
    asked = up.count("GET */manifests/*")
    assert asked == 1, "it is kept in memory"
    ix.restart()
    assert ix.manifest(NAME, SCHEMA1_DIGEST).body == body
    assert ix.manifest(NAME, "1").body == body
    reply = ix.blob(NAME, SCHEMA1_DIGEST)
    assert reply.status == 404, "no blob has that digest"


def test_schema_1_of_another_payload_is_refused(ix, up):
    body = schema1().replace(b'"tag": "0.11.9--0"', b'"tag": "0.11.9--1"')
    up.rule("* /v2/lib/app/manifests/*", upstream.Answer(headers={"Content-Type": SCHEMA1}, body=body))
    assert ix.manifest(NAME, SCHEMA1_DIGEST).status == 502


def test_a_real_index_with_windows_children(ix, up, layer):
    """Docker Hub's hello-world: eleven platforms; Windows stays as it is. One real child, the rest of ours."""
    folder = os.path.join(proxy.ROOT, "tests", "fixtures", "hello-world")
    listed = json.loads(images.read(os.path.join(folder, "index.json")))
    children = []
    for entry in listed["manifests"]:
        platform = "/".join(filter(None, [entry["platform"]["os"], entry["platform"]["architecture"],
                                          entry["platform"].get("variant")]))
        children.append((images.tiny(platform, platform=platform), platform))
    index = up.tag(NAME, "1", images.index(children, oci=False))
    reply = ix.manifest(NAME, "1")
    assert reply.status == 200 and len(reply.json["manifests"]) == len(children)
    for before, after in zip(index.json["manifests"], reply.json["manifests"]):
        assert after["platform"] == before["platform"]
        if before["platform"]["os"] == "windows":
            assert after == before
        else:
            child = ix.manifest(NAME, after["digest"])
            assert (child.status, len(child.body)) == (200, after["size"])
            assert layers_of(child)[-1] == layer.gzip_digest
    assert any(m["platform"]["os"] == "windows" for m in index.json["manifests"])


def test_an_attestation_of_a_rewritten_image_is_dropped(ix, up):
    image = up.tag(NAME, "1", images.attested())
    reply = ix.manifest(NAME, "1")
    assert len(image.json["manifests"]) == 2 and len(reply.json["manifests"]) == 1
    assert ix.manifest(NAME, image.digest).body == image.manifest


def test_nested_indexes(ix, up, layer):
    inner = images.index([(images.tiny("inner"), "linux/amd64")])
    up.tag(NAME, "1", images.index([(inner, None), (images.tiny("outer"), "linux/amd64")]))
    reply = ix.manifest(NAME, "1")
    child = ix.manifest(NAME, reply.json["manifests"][0]["digest"])
    grandchild = ix.manifest(NAME, child.json["manifests"][0]["digest"])
    assert layers_of(grandchild)[-1] == layer.gzip_digest


@pytest.mark.parametrize("depth,fine", [(4, True), (5, False), (30, False)])
def test_nested_indexes_have_a_limit(ix, up, depth, fine):
    image = images.tiny()
    for _ in range(depth):
        image = images.index([(image, "linux/amd64" if not image.children else None)])
    up.tag(NAME, "1", image)
    reply = ix.manifest(NAME, "1")
    assert (reply.status == 200) == fine
    if not fine:
        assert reply.code and "4" in reply.message


def test_an_index_that_names_itself(ix, up):
    """No digest can contain itself: but an upstream can answer so."""
    loop = images.index([(images.tiny(), "linux/amd64")])
    document = loop.json
    document["manifests"][0].update(mediaType=images.OCI_INDEX, digest="sha256:" + "b" * 64)
    up.rule("* /v2/lib/app/manifests/*", upstream.text(images.compact(document),
                                                       content_type=images.OCI_INDEX))
    reply = ix.manifest(NAME, "1")
    assert reply.status in (502, 404) and len(up.log) < 20


def test_a_child_that_is_missing(ix, up):
    image = up.tag(NAME, "1", images.two_platforms())
    up.manifests[NAME].pop(images.arm64().digest)
    reply = ix.manifest(NAME, "1")
    assert reply.status in (200, 404, 502)
    if reply.status == 200:
        assert reply.json["manifests"][1] == image.json["manifests"][1], "what cannot be read cannot be rewritten"
    else:
        assert reply.code


def test_a_child_that_comes_later_is_rewritten_then(ix, up, layer):
    """An index that was made without it is for the moment, not for ever."""
    image, child = up.tag(NAME, "1", images.two_platforms()), images.arm64()
    del up.manifests[NAME][child.digest]
    first = ix.manifest(NAME, "1").json["manifests"]
    assert first[0] != image.json["manifests"][0] and first[1] == image.json["manifests"][1]
    up.add(NAME, child)
    ix.restart()
    second = ix.manifest(NAME, "1").json["manifests"]
    assert second[0] == first[0] and layers_of(ix.manifest(NAME, second[1]["digest"]))[-1] == layer.gzip_digest


def test_a_config_that_is_not_what_its_digest_says(ix, up):
    image = up.tag(NAME, "1", images.tiny())
    up.blobs[NAME][image.json["config"]["digest"]] = b'{"rootfs":{"type":"layers","diff_ids":[]}}'
    reply = ix.manifest(NAME, "1")
    assert (reply.status, reply.code) == (502, "UNAVAILABLE") and "up.test" in reply.message


@pytest.mark.parametrize("count,status", [(1, 200), (125, 200), (126, None), (127, None)])
def test_many_layers(ix, up, count, status):
    """The overlay driver takes fewer than 127: a pull that could not run fails here, and says why."""
    up.tag(NAME, "1", images.image([images.tar([(f"f{i}", b"x")]) for i in range(count)], {}, level=1))
    reply = ix.manifest(NAME, "1")
    if status:
        assert reply.status == status and len(reply.json["layers"]) == count + 1
    else:
        assert (reply.status, reply.code) == (413, "SIZE_INVALID") and "126" in reply.message


def test_the_same_layer_twice(ix, up):
    data = images.tar([("f", b"x")])
    image = up.tag(NAME, "1", images.image([data, data], {}))
    reply = ix.manifest(NAME, "1")
    assert layers_of(reply)[:2] == image.layers and len(config_of(ix, NAME, reply)["rootfs"]["diff_ids"]) == 3


def test_a_pinned_original_is_served_or_refused(make, up, layer):
    image = up.tag(NAME, "1", images.tiny())
    p = make({"up.test": up.url}, inject=layer.path)
    assert p.manifest(NAME, image.digest).body == image.manifest
    strict = make({"up.test": up.url}, ["--inject-pinned", "refuse"], inject=layer.path)
    reply = strict.manifest(NAME, image.digest)
    assert (reply.status, reply.code) == (403, "DENIED")
    announced = strict.manifest(NAME, "1")
    assert announced.status == 200 and strict.manifest(NAME, announced.digest).body == announced.body


@pytest.mark.parametrize("how", ["restart", "kill"])
def test_what_was_announced_is_answered_after(ix, up, how):
    up.tag(NAME, "1", images.two_platforms())
    announced = ix.manifest(NAME, "1")
    children = [ix.manifest(NAME, m["digest"]) for m in announced.json["manifests"]]
    ix.stop() if how == "restart" else ix.kill()
    up.tag(NAME, "1", images.tiny("moved on"))
    ix.start()
    for one in [announced, *children]:
        assert ix.manifest(NAME, one.digest).body == one.body


def test_kill_9_the_moment_after_it_was_announced(make, up, layer):
    """Again and again, with no moment to breathe: the digest that a client has seen is answered, with the upstream asked if need be."""
    p = make({"up.test": up.url}, inject=layer.path)
    for i in range(8):
        up.tag(NAME, str(i), images.tiny(f"announced {i}"))
        announced = p.manifest(NAME, str(i), "HEAD")["Docker-Content-Digest"]
        p.kill()
        p.start()
        reply = p.manifest(NAME, announced)
        assert (reply.status, reply.digest) == (200, announced)


def test_the_injection_changed_but_what_was_announced_is_answered(make, scratch, up):
    old, new = proxy.Layer(scratch), proxy.Layer(scratch, files={".rac/hello.txt": "Another layer\n"})
    up.tag(NAME, "1", images.tiny())
    p = make(config={"upstreams": [{"name": "up.test", "url": up.url}], "inject": old.path})
    before = p.manifest(NAME, "1")
    p.configure({"upstreams": [{"name": "up.test", "url": up.url}], "inject": new.path})
    p.reload()
    after = p.manifest(NAME, "1")
    assert layers_of(after)[-1] == new.gzip_digest and after.digest != before.digest
    assert p.manifest(NAME, before.digest).body == before.body
    assert p.blob(NAME, old.gzip_digest).digest == old.gzip_digest


def rules_config(up, another, first, second):
    return {"upstreams": [{"name": "one.test", "url": up.url},
                          {"name": "two.test", "url": another.url, "inject": "none"}],
            "inject": [{"match": "one.test/special/*", "injection": second},
                       {"match": "one.test/plain/*", "injection": "none"},
                       {"match": "*", "injection": first}]}


def test_rules_decide_and_the_first_match_wins(make, scratch, up, another, layer):
    special = proxy.Layer(scratch, files={".rac/special": "special\n"})
    p = make(config=rules_config(up, another, layer.path, special.path))
    wanted = {"one.test/lib/app": layer.gzip_digest, "one.test/special/app": special.gzip_digest,
              "one.test/plain/app": None,
              "two.test/lib/app": None, "one.test/specially/app": layer.gzip_digest}
    for name, digest in wanted.items():
        server, _, repository = name.partition("/")
        image = (up if server == "one.test" else another).tag(repository, "1", images.tiny())
        found = layers_of(p.manifest(name, "1"))
        assert found == image.layers + ([digest] if digest else []), name


def test_no_inject_means_nothing_is_injected(make, up, layer):
    image = up.tag(NAME, "1", images.two_platforms())
    p = make({"up.test": up.url}, ["--no-inject"], inject=layer.path)
    assert p.manifest(NAME, "1").body == image.manifest


def with_location(scratch, layer, location, **members):
    """The layer of the tests, found elsewhere."""
    document = json.loads(json.dumps(layer.json))
    document["layers"][0].update({"location": location, **members})
    path = os.path.join(scratch.folder("elsewhere"), "layer.json")
    with open(path, "w", encoding="utf-8") as f:
        json.dump(document, f)
    return path


def packed_bytes(layer):
    return images.read(os.path.join(layer.folder, layer.json["layers"][0]["location"]))


@pytest.mark.parametrize("kind", ["data", "gzip", "file"])
def test_locations_of_layers(make, scratch, up, layer, kind):
    data = packed_bytes(layer)
    location = {"data": "data:" + base64.b64encode(data).decode(),
                "file": os.path.join(layer.folder, layer.json["layers"][0]["location"]),
                "gzip": "gzip:" + base64.b64encode(zlib.compress(data)).decode()}[kind]
    p = make({"up.test": up.url}, inject=with_location(scratch, layer, location))
    up.tag(NAME, "1", images.tiny())
    reply = p.manifest(NAME, "1")
    assert layers_of(reply)[-1] == layer.gzip_digest and p.blob(NAME, layer.gzip_digest).body == data


@pytest.mark.parametrize("member,value", [("gzipDigest", "sha256:" + "1" * 64),
                                          ("tarDigest", "sha256:" + "2" * 64), ("gzipSize", 12345)])
def test_a_layer_that_is_not_what_was_declared_is_never_named(make, scratch, up, layer, member, value):
    """Refused at the start or at the first pull, with what was expected and what was found."""
    path = with_location(scratch, layer, os.path.join(layer.folder, layer.json["layers"][0]["location"]),
                         **{member: value})
    up.tag(NAME, "1", images.tiny())
    p = make({"up.test": up.url}, inject=path, start=False)
    try:
        p.start()
    except AssertionError:
        assert member in p.log() and str(value) in p.log()
        p.fails_quietly = True
        return
    reply = p.manifest(NAME, "1")
    assert reply.status >= 500
    assert member in reply.message + p.log() and str(value) in reply.message + p.log()


def test_a_layer_that_is_gone_is_said(make, scratch, up, layer):
    path = with_location(scratch, layer, "/nonexistent/layer.tar.gz")
    up.tag(NAME, "1", images.tiny())
    p = make({"up.test": up.url}, inject=path, start=False)
    try:
        p.start()
    except AssertionError:
        assert "/nonexistent/layer.tar.gz" in p.log()
        p.fails_quietly = True
        return
    assert p.manifest(NAME, "1").status >= 500


def test_a_layer_for_another_platform_is_not_injected(make, scratch, up):
    only_arm = proxy.Layer(scratch, args=["--platform", "linux/arm64"])
    p = make({"up.test": up.url}, inject=only_arm.path)
    index = up.tag(NAME, "1", images.two_platforms())
    reply = p.manifest(NAME, "1")
    assert reply.json["manifests"][0] == index.json["manifests"][0]
    assert layers_of(p.manifest(NAME, reply.json["manifests"][1]["digest"]))[-1] == only_arm.gzip_digest
    plain = up.tag("lib/plain", "1", images.tiny())
    assert p.manifest("lib/plain", "1").body == plain.manifest


def test_a_cold_injected_image_costs_its_parts_once(ix, up, layer):
    image = up.tag(NAME, "1", images.random_image("cost", [200_000] * 3))
    reply = ix.manifest(NAME, "1")
    for part in [reply.json["config"], *reply.json["layers"]]:
        assert ix.blob(NAME, part["digest"]).digest == part["digest"]
    assert sorted(s.path.rsplit("/", 1)[1] for s in up.seen("GET */blobs/*")) == sorted(image.all_blobs())
    assert up.count("GET */manifests/*") == 1
    up.log.clear()
    assert ix.manifest(NAME, "1").digest == reply.digest and not up.log


def test_the_offline_tool_makes_the_same_digest(scratch, ix, up, layer):
    """Anyone can recompute what the proxy announces: rac-layer inject on a layout of the same image."""
    image = up.tag(NAME, "1", images.oci())
    announced = ix.manifest(NAME, "1").digest
    layout = scratch.folder("layout")
    scratch.run("skopeo", "copy", "--src-tls-verify=false", f"docker://{up.address}/{NAME}:1",
                f"oci:{layout}:app")
    done = scratch.run(proxy.binary("rac-layer"), "inject", "--layout", layout, "--injection", layer.path,
                       "--name", f"up.test/{NAME}",
                       env=proxy.sanitizer_settings())
    assert image.digest in done.stdout and announced in done.stdout


def test_many_at_once_on_a_cold_image_make_one_variant(ix, up):
    up.tag(NAME, "1", images.two_platforms())
    up.rule("*", lambda x: x.proper(delay=0.2))
    from concurrent.futures import ThreadPoolExecutor  # pylint: disable=import-outside-toplevel
    with ThreadPoolExecutor(20) as pool:
        digests = {r.digest for r in pool.map(lambda i: ix.manifest(NAME, "1"), range(20))}
    assert len(digests) == 1
    assert all(up.count(f"GET /v2/{NAME}/manifests/{d}") <= 1 for d in up.manifests[NAME])


def test_the_layer_file_may_go_once_it_is_stored(make, scratch, up):
    own = proxy.Layer(scratch)
    p = make({"up.test": up.url}, inject=own.path)
    up.tag(NAME, "1", images.tiny())
    first = p.manifest(NAME, "1")
    process.wait_for(lambda: os.path.exists(p.blob_file(own.gzip_digest)), 10, "layer in the store")
    os.unlink(os.path.join(own.folder, own.json["layers"][0]["location"]))
    assert p.manifest(NAME, "1").digest == first.digest
    assert p.blob(NAME, own.gzip_digest).digest == own.gzip_digest
