# SPDX-License-Identifier: Apache-2.0
"""Every engine takes every image through the proxy, runs it, finds the injected file, and is told the same as without us."""
import json
import os
import re

import pytest

from rig import images, wire

HELLO = "Hello injected world!\n"
# How a file is shown from inside each image.
SHOW_FILE = {"scratch": ["/show", "cat"], "worker": ["cat"], "shell": ["/bin/cat"]}
# What is run to see entry point, arguments, environment, user and folder: nothing given where the image says it itself.
OWN_COMMAND = {"scratch": ["/show", "one two"], "worker": [], "shell": []}
COMMON_COMMAND = ["sh", "-c", "id -u; pwd; env | grep -v HOSTNAME | sort"]
NO_ZSTD = "dockerd 20.10 cannot read zstd layers, whoever serves them"
ALL = [pytest.param(name, marks=pytest.mark.replicated) if name == "worker" else name for name in images.RUNNABLE]


@pytest.fixture(scope="module")
def px(topology, store, layer):
    return topology({"store.test": store.url}, inject=layer.path)


def entrypoint(name):
    """`docker run` arguments that replace the image's entry point, to run a program of our own in it."""
    if name in ("worker", "shell"):
        return ["--entrypoint", "/show" if name == "worker" else "/bin/cat"]
    return []


@pytest.mark.parametrize("name", ALL)
def test_docker_runs_it_with_our_layer_and_as_without_us(docker, px, store, name):
    if name == "zstd":
        pytest.skip(NO_ZSTD)
    direct, through = f"{store.address}/lib/{name}:latest", f"{px.address}/lib/{name}:latest"
    docker.pull(direct)
    docker.pull(through)
    command = {"worker": ["cat", "/.rac/hello.txt"], "shell": ["/.rac/hello.txt"],
               "scratch": ["/show", "cat", "/.rac/hello.txt"]}
    inside = command.get(name, ["cat", "/.rac/hello.txt"])
    assert docker.run(through, *inside, options=entrypoint(name)) == HELLO
    own = OWN_COMMAND.get(name, COMMON_COMMAND)
    expected = docker.run(direct, *own)
    assert expected and docker.run(through, *own) == expected
    assert docker.inspect(through) == docker.inspect(direct)
    assert docker.digest(through) == {px.manifest(f"lib/{name}", "latest", "HEAD")["Docker-Content-Digest"]}
    assert docker.digest(through) != docker.digest(direct)
    files = [re.sub(r"^/+", "", f) for f in _files(docker, through)]
    assert ".rac/hello.txt" in files
    assert sorted(f for f in files if not f.startswith(".rac")) == sorted(re.sub(r"^/+", "", f)
                                                                          for f in _files(docker, direct))


def _files(docker, reference):
    """Every path in the image, by docker's own export."""
    identifier = docker.command("create", "--network", "none", reference, "x").stdout.strip()
    try:
        out = os.path.join(docker.scratch.folder("export"), "image.tar")
        docker.command("export", "-o", out, identifier)
        return [n.rstrip("/") for n in docker.scratch.run("tar", "-tf", out).stdout.splitlines()]
    finally:
        docker.command("rm", "-f", identifier)


@pytest.mark.parametrize("name", ALL)
def test_podman_runs_it_with_our_layer_and_as_without_us(podman, px, store, name):
    direct, through = f"{store.address}/lib/{name}:latest", f"{px.address}/lib/{name}:latest"
    podman.pull(direct)
    podman.pull(through)
    inside = {"worker": ["cat", "/.rac/hello.txt"], "shell": ["/.rac/hello.txt"],
              "scratch": ["/show", "cat", "/.rac/hello.txt"]}
    assert podman.run(through, *inside.get(name, ["cat", "/.rac/hello.txt"]),
                      options=entrypoint(name)) == HELLO
    own = OWN_COMMAND.get(name, COMMON_COMMAND)
    expected = settled(podman.run(direct, *own))
    assert expected and settled(podman.run(through, *own)) == expected


def settled(output):
    """podman hands the environment over in an order of its own."""
    lines = output.splitlines()
    return [x for x in lines if not x.startswith("env=")], sorted(x for x in lines if x.startswith("env="))


@pytest.mark.parametrize("name", ALL)
def test_containerd_runs_it_through_a_mirror_with_our_layer(containerd, px, store, name):
    containerd.mirror("store.test", px.address)
    reference = f"store.test/lib/{name}:latest"
    containerd.pull(reference)
    announced = px.get(f"/v2/lib/{name}/manifests/latest?ns=store.test", Accept=wire.MANIFEST_TYPES)
    assert announced["OCI-Namespace"] == "store.test"
    assert containerd.digest(reference) == announced.digest != images.RUNNABLE[name]().digest
    cat = ["/show", "cat", "/.rac/hello.txt"] if name == "scratch" else ["/bin/cat", "/.rac/hello.txt"]
    assert containerd.run(reference, *cat) == HELLO


@pytest.mark.parametrize("name", ALL)
def test_skopeo_copies_what_was_announced(skopeo, px, name):
    folder = skopeo.copy(f"{px.address}/lib/{name}:latest")
    with open(os.path.join(folder, "manifest.json"), "rb") as f:
        manifest = json.loads(f.read())
    for one in [manifest["config"], *manifest["layers"]]:
        data = images.read(os.path.join(folder, one["digest"][7:]))
        assert (wire.sha256(data), len(data)) == (one["digest"], one["size"])
    skopeo.to_layout(f"{px.address}/lib/{name}:latest")


@pytest.mark.replicated
@pytest.mark.parametrize("name", ["index", "mixed", "attested"])
def test_skopeo_copies_a_whole_index(skopeo, px, layer, name):
    folder = skopeo.copy(f"{px.address}/lib/{name}:latest", whole=True)
    manifest = json.loads(images.read(os.path.join(folder, "manifest.json")))
    kinds = [f'{m["platform"]["os"]}/{m["platform"]["architecture"]}' for m in manifest["manifests"]]
    assert kinds == (["linux/amd64"] if name == "attested" else ["linux/amd64", "linux/arm64"])
    for child in manifest["manifests"]:
        document = json.loads(images.read(os.path.join(folder, child["digest"][7:] + ".manifest.json")))
        assert document["layers"][-1]["digest"] == layer.gzip_digest


@pytest.mark.parametrize("platform,marker", [("linux/amd64", "bin/busybox"), ("linux/arm64", "arm64.txt")])
def test_each_platform_gets_its_own_content(scratch, skopeo, px, layer, platform, marker):
    folder = scratch.folder("platform")
    os_, arch = platform.split("/")
    scratch.run("skopeo", "--override-os", os_, "--override-arch", arch, "copy", "--src-tls-verify=false",
                f"docker://{px.address}/lib/index:latest", f"dir:{folder}")
    manifest = json.loads(images.read(os.path.join(folder, "manifest.json")))
    first = scratch.run("tar", "-tzf", os.path.join(folder, manifest["layers"][0]["digest"][7:])).stdout
    assert marker in first and manifest["layers"][-1]["digest"] == layer.gzip_digest


PULLERS = ["docker", "podman", "containerd", "skopeo"]


def pull(request, engine, px, name, reference):
    """Pulls by any engine and returns the digest that it says it got."""
    e = request.getfixturevalue(engine)
    if engine == "containerd":
        e.mirror("store.test", px.address)
        full = f"store.test/{name}{reference}"
        e.pull(full)
        return e.digest(full)
    full = f"{px.address}/{name}{reference}"
    if engine == "skopeo":
        return wire.sha256(images.read(os.path.join(e.copy(full), "manifest.json")))
    e.pull(full)
    return next(iter(e.digest(full))) if engine == "docker" else e.digest(full)


@pytest.mark.replicated
@pytest.mark.parametrize("engine", PULLERS)
def test_the_announced_digest_is_pulled(request, px, engine):
    announced = px.manifest("lib/oci", "latest").digest
    assert pull(request, engine, px, "lib/oci", f"@{announced}") == announced


@pytest.mark.parametrize("engine", PULLERS)
def test_the_original_digest_gets_the_original(request, px, engine):
    original = images.oci_untyped().digest
    assert pull(request, engine, px, "lib/untyped", f"@{original}") == original


def test_docker_runs_the_original_by_its_digest_without_our_layer(docker, px):
    original = images.busybox().digest
    docker.pull(f"{px.address}/lib/busybox@{original}")
    listing = docker.run(f"{px.address}/lib/busybox@{original}", "ls", "-a", "/")
    assert "bin" in listing and ".rac" not in listing


def test_docker_with_the_proxy_as_its_registry_mirror(scratch, px):
    """registry-mirrors serves docker.io only: the proxy's default upstream stands for it here."""
    from rig import engines  # pylint: disable=import-outside-toplevel
    d = engines.Docker(scratch, mirror=px.address)
    try:
        d.pull("lib/busybox")
        assert d.run("lib/busybox", "cat", "/.rac/hello.txt") == HELLO
    finally:
        d.close()


def test_podman_with_the_proxy_as_its_mirror(scratch, px):
    """A mirror of registries.conf is a prefix: the upstream's name is the first segment of the path."""
    from rig import engines  # pylint: disable=import-outside-toplevel
    p = engines.Podman(scratch, registries=f'[[registry]]\nprefix = "store.test"\nlocation = "store.test"\n'
                                           f'[[registry.mirror]]\nlocation = "{px.address}/store.test"\ninsecure = true\n')
    try:
        p.pull("store.test/lib/busybox:latest", insecure=False)
        assert p.run("store.test/lib/busybox:latest", "cat", "/.rac/hello.txt") == HELLO
    finally:
        p.close()


def test_an_image_made_by_umoci(scratch, docker, skopeo, store, px):
    """Tools that make images have habits of their own: one that none of our builders wrote."""
    folder = scratch.folder("umoci")
    layout = os.path.join(folder, "layout")
    scratch.run("umoci", "init", "--layout", layout)
    scratch.run("umoci", "new", "--image", f"{layout}:made")
    scratch.run("umoci", "insert", "--image", f"{layout}:made", images.BUSYBOX, "/bin/busybox")
    scratch.run("umoci", "config", "--image", f"{layout}:made", "--config.entrypoint", "/bin/busybox",
                "--config.cmd", "echo",
                "--config.cmd", "made by umoci", "--config.env", "A=b")
    scratch.run("skopeo", "copy", "--dest-tls-verify=false", f"oci:{layout}:made",
                f"docker://{store.address}/lib/umoci:latest")
    docker.pull(f"{px.address}/lib/umoci:latest")
    assert docker.run(f"{px.address}/lib/umoci:latest") == "made by umoci\n"
    assert docker.run(f"{px.address}/lib/umoci:latest", "cat", "/.rac/hello.txt") == HELLO
