# SPDX-License-Identifier: Apache-2.0
"""The walk of a container token with real engines: pack a layer, ask for a token, pull and run what it stands for."""
import pytest

from rig import images, proxy, token_api, upstream
from rig.token_api import data_layer, token

FOO = "bar of the token\n"


@pytest.fixture(scope="module")
def foo(scratch):
    return proxy.Layer(scratch, {"foo.txt": FOO})


@pytest.fixture(scope="module")
def files(authority):
    u = upstream.Upstream(tls=authority.server("token-layers"))
    yield u
    u.close()


@pytest.fixture(scope="module")
def px(topology, store, basic_registry, token_registry, authority):
    for name, build in {"index": images.two_platforms, "worker": images.worker}.items():
        store.push(f"tok/{name}", "latest", build())
    store.push("tools/one", "1", images.image([images.tar([("one.txt", b"one\n", 0o644)])]))
    store.push("tools/two", "1", images.image([images.tar([("two.txt", b"two\n", 0o644)])], oci=True))
    store.push("tok/single", "1", images.image([images.busybox_layer(), images.tar([("show", images.show_program())])],
                                               {"Entrypoint": ["/show"], "Cmd": ["its own"], "Env": [images.PATH_ENV]}))
    config = {"upstreams": [
        {"name": "basic.test", "url": basic_registry.url, "username": "puller", "password": "correct-horse-basic"},
        {"name": "private.test", "url": token_registry.url, "username": "puller", "password": "correct-horse-token",
         "realms": ["127.0.0.1"], "private": True}]}
    return topology({"store.test": store.url}, ["--layers-hosts", "127.0.0.1", "--layers-ca", authority.certificate],
                    config=config)


@pytest.fixture(params=["docker", "podman", "containerd"])
def engine(request):
    return request.getfixturevalue(request.param)


def target(t):
    return t.json["targetImage"]


def pull(engine, t, **kwargs):
    """Pulls; what the engine has is what was announced."""
    engine.pull(target(t), **kwargs)
    return target(t)


def cat(engine, image, path):
    return engine.run(image, "cat", path)


@pytest.mark.replicated
def test_foo_by_data(engine, px, foo):
    t = token(px, "store.test/lib/busybox", {"layers": [data_layer(foo)]})
    image = pull(engine, t)
    assert cat(engine, image, "/foo.txt") == FOO
    assert t.target in engine.digest(image) or engine.digest(image) == t.target


def test_foo_by_https(engine, px, foo, files):
    files.rule("GET /layer.tar.gz", upstream.Answer(body=token_api.packed(foo)))
    layer = data_layer(foo, location=files.url + "/layer.tar.gz", name=f"for {engine.name}")
    t = token(px, "store.test/lib/busybox", {"layers": [layer]})
    assert cat(engine, pull(engine, t), "/foo.txt") == FOO


@pytest.mark.parametrize("name", ["basic.test/team/private:latest", "private.test/team/private:latest"])
def test_a_private_image(engine, px, foo, name):
    """The proxy has the credentials; the engine needs none."""
    t = token(px, name, {"layers": [data_layer(foo)]})
    assert cat(engine, pull(engine, t), "/foo.txt") == FOO


def test_an_index(engine, px, foo):
    t = token(px, "store.test/tok/index", {"layers": [data_layer(foo)]})
    image = pull(engine, t)
    assert cat(engine, image, "/foo.txt") == FOO


@pytest.mark.replicated
def test_a_pinned_digest(engine, px, foo):
    source = px.manifest("store.test/lib/busybox", "latest", "HEAD")["Docker-Content-Digest"]
    t = token(px, f"store.test/lib/busybox@{source}", {"layers": [data_layer(foo)]})
    assert target(t).endswith("@" + t.target)
    assert cat(engine, pull(engine, t), "/foo.txt") == FOO


def lines(text, prefix):
    return [line[len(prefix):] for line in text.splitlines() if line.startswith(prefix)]


def test_entry_point_command_environment_and_folder(docker, podman, px):
    t = token(px, "store.test/tok/worker", {"entrypoint": ["/show", "ours"], "cmd": ["a b", "$HOME"],
                                            "env": ["PLAIN=2", "NEW=it's new"], "workingDir": "/srv"})
    for engine in (docker, podman):
        out = engine.run(pull(engine, t))
        assert lines(out, "arg=") == ["/show", "ours", "a b", "$HOME"]
        assert "PLAIN=2" in lines(out, "env=") and "NEW=it's new" in lines(out, "env=")
        assert out.splitlines()[0] == "cwd=/srv uid=1234 gid=1234"
        chain = next(e for e in lines(out, "env=") if e.startswith("WAVE_ENTRY_CHAIN="))
        assert chain == 'WAVE_ENTRY_CHAIN=["/show","--first arg","it\'s \\"quoted\\"",""]'


def test_a_chain_of_one_element(docker, podman, px):
    t = token(px, "store.test/tok/single:1", {"entrypoint": ["/show", "ours"]})
    for engine in (docker, podman):
        out = engine.run(pull(engine, t))
        assert lines(out, "arg=") == ["/show", "ours", "its own"] and "WAVE_ENTRY_CHAIN=/show" in lines(out, "env=")


def test_a_chain_by_arguments(docker, podman, px):
    t = token(px, "store.test/tok/single:1", {"entrypoint": ["/show", "ours"], "entrypointChain": "args"})
    for engine in (docker, podman):
        out = engine.run(pull(engine, t))
        assert lines(out, "arg=") == ["/show", "ours", "/show", "its own"] and "WAVE_ENTRY" not in out


def test_arm64_is_pulled(docker, podman, containerd, px, foo):
    t = token(px, "store.test/tok/index", {"layers": [data_layer(foo)]}, containerPlatform="linux/arm64")
    for engine in (docker, podman, containerd):
        pull(engine, t, platform="linux/arm64")
    found = podman.command("image", "inspect", target(t), "--format", "{{.Architecture}} {{len .RootFS.Layers}}").stdout
    assert found.split() == ["arm64", "2"]


def test_includes_of_two_images(engine, px, foo):
    t = token(px, "store.test/lib/busybox", {"layers": [data_layer(foo)]},
              containerIncludes=["store.test/tools/one:1", "store.test/tools/two:1"])
    image = pull(engine, t)
    assert [cat(engine, image, f) for f in ("/foo.txt", "/one.txt", "/two.txt")] == [FOO, "one\n", "two\n"]


def test_skopeo_copies_it_whole(skopeo, px, foo):
    t = token(px, "store.test/tok/index", {"layers": [data_layer(foo)]}, containerPlatform="all")
    skopeo.copy(target(t), whole=True)
