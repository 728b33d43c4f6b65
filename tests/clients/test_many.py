# SPDX-License-Identifier: Apache-2.0
"""Many at once, several proxies, lost bytes: what the bytes and the upstream's own access log say."""
import collections
import concurrent.futures
import hashlib
import json
import shutil
import os

import pytest

from rig import images, process, proxy, wire

CLIENTS = 50


@pytest.fixture
def fresh(make, store, layer):
    return make({"store.test": store.url}, inject=layer.path)


def at_once(work, count=CLIENTS):
    with concurrent.futures.ThreadPoolExecutor(count) as pool:
        return [f.result() for f in [pool.submit(work, i) for i in range(count)]]


def counted(store, before):
    """Downloads since `before`, which is store.downloads() as it was."""
    return {d: n for d, n in (store.downloads() - before).items() if n}


def test_fifty_clients_on_a_cold_blob_of_64_mib(store, fresh):
    data = images.noise(64 << 20, "cold blob")
    image = images.random_image("cold", [1])
    digest = wire.sha256(data)
    image.blobs[digest] = data
    document = image.json
    document["layers"].append({"mediaType": images.DOCKER_LAYER, "size": len(data), "digest": digest})
    store.push("lib/cold", "blob", images.Image(document, images.DOCKER_MANIFEST, image.blobs))
    # The original: a layer that is no archive cannot be run, but it can be pulled. By digest, so that nothing is rewritten.
    source = store_digest(store, "lib/cold", "blob")
    assert fresh.manifest("lib/cold", source).status == 200
    before = store.downloads()

    def one(_):
        reply = fresh.blob("lib/cold", digest, timeout=120)
        return reply.status, reply.broken, hashlib.sha256(reply.body).hexdigest()

    assert collections.Counter(at_once(one)) == {(200, "", digest[7:]): CLIENTS}
    assert counted(store, before) == {digest: 1}


def store_digest(store, name, tag):
    reply = wire.fetch(store.address, "HEAD", f"/v2/{name}/manifests/{tag}", {"Accept": wire.MANIFEST_TYPES})
    return reply["Docker-Content-Digest"]


def test_fifty_clients_on_a_cold_image(store, fresh, layer):
    image = store.push("lib/coldimage", "latest", images.random_image("coldimage", [1 << 20] * 4))
    before, asked = store.downloads(), len(store.requests())

    def one(_):
        with wire.Connection(fresh.address, timeout=120) as c:
            head = c.request("HEAD", "/v2/lib/coldimage/manifests/latest", {"Accept": wire.MANIFEST_TYPES})
            digest = head["Docker-Content-Digest"]
            manifest = c.request("GET", f"/v2/lib/coldimage/manifests/{digest}",
                                 {"Accept": wire.MANIFEST_TYPES})
            assert manifest.digest == digest
            for part in [manifest.json["config"], *manifest.json["layers"]]:
                blob = c.request("GET", f"/v2/lib/coldimage/blobs/{part['digest']}")
                assert (blob.status, blob.digest, len(blob.body)) == (200, part["digest"], part["size"]), part
            return digest, manifest.json["layers"][-1]["digest"]

    answers = set(at_once(one))
    assert len(answers) == 1 and next(iter(answers))[1] == layer.gzip_digest
    assert counted(store, before) == {d: 1 for d in image.all_blobs()}
    manifests = [r for r in store.requests()[asked:] if "/lib/coldimage/manifests/" in r[1] and r[2] == 200]
    assert len([r for r in manifests if r[0] == "GET"]) == 1, manifests
    assert len([r for r in manifests if r[0] == "HEAD"]) <= 1, manifests


def test_two_proxies_announce_the_same_digest(make, docker, store, layer):
    """Separate processes, separate data, one of them with the layer packed again in another folder."""
    again = proxy.Layer(docker.scratch)
    digests = []
    for path in (layer.path, again.path):
        p = make({"store.test": store.url}, inject=path)
        docker.forget()
        docker.pull(f"{p.address}/lib/worker:latest")
        digests.append(docker.digest(f"{p.address}/lib/worker:latest"))
        index = p.manifest("lib/index", "latest").digest
        digests[-1].add(index)
    assert digests[0] == digests[1] and len(digests[0]) == 2


@pytest.mark.parametrize("name", ["worker", "index", "attested"])
@pytest.mark.parametrize("restart", [False, True], ids=["running", "restarted"])
def test_the_announced_digest_is_answered_after_the_blobs_are_gone(fresh, docker, name, restart):
    announced = fresh.manifest(f"lib/{name}", "latest")
    assert announced.status == 200
    if restart:
        fresh.stop()
    blobs = os.path.join(fresh.data, "blobs", "sha256")
    process.wait_for(lambda: shutil.rmtree(blobs, ignore_errors=True) or not os.path.exists(blobs), 10, "blobs gone")
    if restart:
        fresh.start()
    again = fresh.manifest(f"lib/{name}", announced.digest)
    assert (again.status, again.body) == (200, announced.body)
    docker.forget()
    docker.pull(f"{fresh.address}/lib/{name}@{announced.digest}")
    show = {"worker": ["--entrypoint", "/bin/cat"]}.get(name, [])
    command = ["/.rac/hello.txt"] if show else ["cat", "/.rac/hello.txt"]
    assert docker.run(f"{fresh.address}/lib/{name}@{announced.digest}", *command,
                      options=show) == "Hello injected world!\n"


def private_config(scratch, url, password, as_file):
    """The documented ways to give a password: in the file, or in a file of its own. `private`: the token server is on
    another port of a loopback address."""
    member = {"password": password}
    if as_file:
        path = os.path.join(scratch.folder("secret"), "password")
        with open(path, "w", encoding="utf-8") as f:
            f.write(password + "\n")
        os.chmod(path, 0o600)
        member = {"password-file": path}
    return {"upstreams": [{"name": "private.test", "url": url, "username": "puller", "private": True,
                           **member}]}


@pytest.mark.parametrize("as_file", [True, False], ids=["password-file", "password"])
@pytest.mark.parametrize("kind", ["token_registry", "basic_registry"])
def test_docker_pulls_a_private_image(request, scratch, make, docker, layer, kind, as_file):
    upstream = request.getfixturevalue(kind)
    password = upstream.basic[1] if upstream.basic else upstream.tokens.password
    p = make(config=private_config(scratch, upstream.url, password, as_file), inject=layer.path)
    docker.forget()
    docker.pull(f"{p.address}/private.test/team/private:latest")
    assert docker.run(f"{p.address}/private.test/team/private:latest", "cat",
                      "/.rac/hello.txt") == "Hello injected world!\n"
    if upstream.tokens:
        for token in upstream.tokens.tokens:
            proxy.secret(token)
        assert upstream.tokens.requests[-1] == ("puller", ["repository:team/private:pull"])


@pytest.mark.parametrize("kind", ["token_registry", "basic_registry"])
@pytest.mark.parametrize("password", [None, "wrong-battery-staple"], ids=["none", "wrong"])
def test_a_private_image_without_the_right_password(request, scratch, make, kind, password):
    upstream = request.getfixturevalue(kind)
    config = {"upstreams": [{"name": "private.test", "url": upstream.url, "private": True}]}
    if password:
        config = private_config(scratch, upstream.url, proxy.secret(password), False)
    p = make(config=config)
    reply = p.manifest("private.test/team/private", "latest")
    assert (reply.status, reply.code) in [(401, "UNAUTHORIZED"), (403, "DENIED")]
    assert "private.test" in reply.message and "credentials" in reply.message


def test_docker_is_told_why(docker, make, token_registry):
    p = make({"private.test": token_registry.url})
    done = docker.pull(f"{p.address}/team/private:latest", check=False)
    assert done.returncode != 0 and "private.test" in done.stdout + done.stderr, json.dumps(done.stderr)


@pytest.mark.long
def test_a_debootstrap_image(scratch, docker, store, make, layer):
    """Debian as it is installed: thousands of files, owners, modes, links."""
    root = os.path.join(scratch.folder("debian"), "root")
    done = scratch.run("debootstrap", "--variant=minbase", "bookworm", root, check=False, timeout=900)
    if done.returncode != 0:
        pytest.skip("debootstrap cannot reach a Debian mirror: " + (done.stderr
                                                                    or done.stdout)[-120:].strip())
    tar = scratch.run("tar", "--numeric-owner", "--sort=name", "-C", root, "-cf", root + ".tar", ".",
                      timeout=300)
    assert tar.returncode == 0
    store.push("lib/debian", "latest", images.image([images.read(root + ".tar")],
                                                    {"Cmd": ["bash"], "Env": [images.PATH_ENV]}))
    p = make({"store.test": store.url}, inject=layer.path)
    docker.pull(f"{p.address}/lib/debian:latest")
    assert docker.run(f"{p.address}/lib/debian:latest", "cat", "/.rac/hello.txt") == "Hello injected world!\n"
    assert "bookworm" in docker.run(f"{p.address}/lib/debian:latest", "cat", "/etc/os-release")
