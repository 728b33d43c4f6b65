# SPDX-License-Identifier: Apache-2.0
"""The runtime layer as fuse-layer/build makes it, and the image that rac-layer makes of it."""
import gzip
import io
import json
import os
import shutil
import subprocess
import tarfile

import pytest

from rig import images, proxy
from rig.wire import sha256

GATE = 3 << 20  # bytes, gzipped, for each architecture
PLATFORMS = ["amd64", "arm64"]
MACHINE = {"amd64": 0x3E, "arm64": 0xB7}  # ELF's numbers
TOP = proxy.ROOT
NEEDS = {"x86_64-linux-gnu-gcc": "gcc", "aarch64-linux-gnu-gcc": "gcc-aarch64-linux-gnu",
         "/usr/lib/x86_64-linux-gnu/libfuse3.a": "libfuse3-dev"}
MISSING = [package for name, package in NEEDS.items()
           if not (os.path.exists(name) if name.startswith("/") else shutil.which(name))]
pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"not installed: {' '.join(MISSING)}")


def build(scratch, top, out, *architectures):
    return scratch.run(os.path.join(top, "fuse-layer", "build"), out, *architectures, timeout=600,
                       env={"RAC_LAYER": proxy.binary("rac-layer")})


@pytest.fixture(scope="module")
def made(scratch):
    """The folder with layer.json."""
    out = scratch.folder("layer")
    build(scratch, TOP, out)
    return out


def read_json(path):
    with open(path, encoding="utf-8") as f:
        return json.load(f)


@pytest.fixture(scope="module")
def injection(made):
    return read_json(os.path.join(made, "layer.json"))


def entries(made, platform):
    packed = images.read(os.path.join(made, f"layer-linux-{platform}.tar.gz"))
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(packed))) as t:
        return [(m, t.extractfile(m).read() if m.isfile() else None) for m in t.getmembers()]


def test_the_injection(made, injection):
    assert injection["entrypoint"] == ["/.rac/bin/rac-init"]
    assert [x["platform"] for x in injection["layers"]] == [f"linux/{p}" for p in PLATFORMS]
    for x in injection["layers"]:
        packed = images.read(os.path.join(made, x["location"]))
        assert (sha256(packed), len(packed), sha256(gzip.decompress(packed))) == (
            x["gzipDigest"], x["gzipSize"], x["tarDigest"])


def test_its_size(injection, capsys):
    sizes = {x["platform"]: x["gzipSize"] for x in injection["layers"]}
    with capsys.disabled():
        for platform, size in sizes.items():
            print(f"\n{platform}: {size} bytes of at most {GATE}, {100 * size / GATE:.0f} %", end=" ")
    assert all(size <= GATE for size in sizes.values()), sizes


@pytest.mark.parametrize("platform", PLATFORMS)
def test_two_folders_and_nothing_else(made, platform):
    found = {m.name: oct(m.mode) for m, _ in entries(made, platform)}
    assert found == {
        ".rac": "0o755", ".rac/README": "0o644", ".rac/bin": "0o755", ".rac/bin/rac-fuse": "0o755",
        ".rac/bin/rac-init": "0o755", ".rac/etc": "0o755", ".rac/etc/ca-certificates.crt": "0o644",
        ".rac/hello.txt": "0o644", "fusion": "0o755", "fusion/s3": "0o777"}
    for member, _ in entries(made, platform):
        assert (member.uid, member.gid, member.uname, member.mtime) == (0, 0, "", 0)
        assert member.isdir() or member.isfile()
        assert not any(key.startswith("SCHILY.xattr") for key in member.pax_headers)
    names = [m.name for m, _ in entries(made, platform)]
    assert names == sorted(names, key=str.encode)


@pytest.mark.parametrize("platform", PLATFORMS)
@pytest.mark.parametrize("program", ["rac-init", "rac-fuse"])
def test_programs_are_static_stripped_and_of_their_architecture(made, platform, program, scratch):
    content = dict((m.name, c) for m, c in entries(made, platform))[f".rac/bin/{program}"]
    assert content[:4] == b"\x7fELF" and int.from_bytes(content[18:20], "little") == MACHINE[platform]
    path = os.path.join(scratch.folder("program"), program)
    with open(path, "wb") as f:
        f.write(content)
    told = scratch.run("readelf", "-W", "-l", "-S", path).stdout
    assert "INTERP" not in told and ".symtab" not in told and ".debug" not in told
    for of_this_machine in (TOP, "/tmp/", os.path.expanduser("~") + "/"):
        if len(of_this_machine) > 5:
            assert of_this_machine.encode() + b"/" not in content


@pytest.mark.parametrize("program,args,says", [
    ("rac-init", ["--version"], "rac-init "), ("rac-init", ["/bin/echo", "hello"], "hello"),
    ("rac-fuse", ["--version"], "rac-fuse"), ("rac-fuse", ["--help"], "MOUNTPOINT")])
@pytest.mark.parametrize("platform", PLATFORMS)
def test_programs_start(made, platform, program, args, says, scratch):
    """arm64's in an emulator, where it executes a program of this machine's last."""
    emulator = {"amd64": [], "arm64": ["qemu-aarch64"]}[platform]
    if emulator and not shutil.which(emulator[0]):
        pytest.skip("not installed: qemu-user")
    path = os.path.join(scratch.folder("start"), program)
    with open(path, "wb") as f:
        f.write(dict((m.name, c) for m, c in entries(made, platform))[f".rac/bin/{program}"])
    os.chmod(path, 0o755)
    assert says in scratch.run(*emulator, path, *args).stdout


@pytest.mark.parametrize("platform", PLATFORMS)
def test_certificates(made, platform, scratch):
    bundle = os.path.join(scratch.folder("ca"), "bundle.pem")
    with open(bundle, "wb") as f:
        f.write(dict((m.name, c) for m, c in entries(made, platform))[".rac/etc/ca-certificates.crt"])
    found = images.read(bundle).decode().count("BEGIN CERTIFICATE")
    read = scratch.run("openssl", "storeutl", "-noout", "-certs", bundle).stdout
    assert found > 100 and f"Total found: {found}" in read


def test_elsewhere_the_same_bytes(scratch, made):
    """The sources in another folder, copied with other times and another umask."""
    there = os.path.join(scratch.folder("a copy somewhere else"), "sources")
    os.mkdir(there)
    listed = subprocess.run(["git", "-C", TOP, "ls-files", "-z", "CMakeLists.txt", "cmake", "common", "s3", "fuse-layer"],
                            stdout=subprocess.PIPE, check=False).stdout.decode().split("\0")
    if not any(listed):
        listed = [os.path.relpath(os.path.join(folder, name), TOP) for part in ("cmake", "common", "s3", "fuse-layer")
                  for folder, _, names in os.walk(os.path.join(TOP, part)) for name in names] + ["CMakeLists.txt"]
    for name in filter(None, listed):
        target = os.path.join(there, name)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        shutil.copyfile(os.path.join(TOP, name), target)
        os.chmod(target, 0o700 if os.access(os.path.join(TOP, name), os.X_OK) else 0o600)
    # Debian's packages are the same ones: nothing is gained by fetching them twice.
    shutil.copytree(os.path.join(TOP, "build-layer", "sysroot-arm64"), os.path.join(there, "build-layer", "sysroot-arm64"),
                    symlinks=True)
    out = scratch.folder("layer")
    old = os.umask(0o077)
    try:
        build(scratch, there, out)
    finally:
        os.umask(old)
    for name in ("layer.json", *(f"layer-linux-{p}.tar.gz" for p in PLATFORMS)):
        assert images.read(os.path.join(out, name)) == images.read(os.path.join(made, name)), name


def test_what_is_up_to_date_is_not_made_again(scratch):
    out = scratch.folder("layer")

    def files():
        return {name: os.stat(os.path.join(out, name)).st_ino for name in os.listdir(out)}
    build(scratch, TOP, out)
    first = files()
    assert build(scratch, TOP, out).stdout == "" and files() == first
    os.unlink(os.path.join(out, "layer-linux-amd64.tar.gz"))
    build(scratch, TOP, out)
    assert files().keys() == first.keys()


def test_one_architecture_leaves_nothing_of_the_other(scratch, made):
    out = scratch.folder("layer")
    build(scratch, TOP, out)
    build(scratch, TOP, out, "arm64")
    assert sorted(os.listdir(out)) == [".made-of", "layer-linux-arm64.tar.gz", "layer.json"]
    assert [x["platform"] for x in read_json(os.path.join(out, "layer.json"))["layers"]] == ["linux/arm64"]
    assert images.read(os.path.join(out, "layer-linux-arm64.tar.gz")) == images.read(
        os.path.join(made, "layer-linux-arm64.tar.gz"))
    done = scratch.run(os.path.join(TOP, "fuse-layer", "build"), out, "s390x", check=False,
                       env={"RAC_LAYER": proxy.binary("rac-layer")})
    assert done.returncode == 1 and "no such architecture" in done.stderr


def test_a_mirror_that_does_not_answer_leaves_the_sysroot_as_it_was(scratch):
    """Also one of another version: what is linked with it is old, but there."""
    programs = scratch.folder("programs")
    with open(os.path.join(programs, "apt-get"), "w", encoding="ascii") as f:
        f.write("#!/bin/sh\necho E: no route >&2\nexit 100\n")
    os.chmod(os.path.join(programs, "apt-get"), 0o755)
    where = os.path.join(scratch.folder("where"), "sysroot")
    sysroot = [os.path.join(TOP, "fuse-layer", "sysroot"), "arm64", where]
    unreachable = {"PATH": f"{programs}:{os.environ['PATH']}"}
    done = scratch.run(*sysroot, env=unreachable, check=False)
    assert done.returncode != 0 and "no route" in done.stderr and os.listdir(os.path.dirname(where)) == []
    os.mkdir(where)
    with open(os.path.join(where, "packages"), "w", encoding="ascii") as f:
        f.write("libc6-dev amd64 of another time\n")
    done = scratch.run(*sysroot, env=unreachable, check=False)
    assert done.returncode != 0 and os.listdir(os.path.dirname(where)) == ["sysroot"] and os.listdir(where) == ["packages"]


# rac-layer merge

def pack(scratch, name, platform=None, more=()):
    tree = scratch.folder("tree")
    with open(os.path.join(tree, "file"), "w", encoding="utf-8") as f:
        f.write(name)
    out = scratch.folder("packed")
    scratch.run(proxy.binary("rac-layer"), "pack", tree, "-o", out, "--name", name,
                *(["--platform", platform] if platform else []), *more)
    return os.path.join(out, "layer.json")


def test_merge_keeps_what_they_agree_on_and_verifies(scratch):
    more = ["--entrypoint", "/.rac/run", "--env", "A=b"]
    parts = [pack(scratch, "one", "linux/amd64", more), pack(scratch, "two", "arm64/v8", more),
             pack(scratch, "three", "linux/arm/v7", more), pack(scratch, "four", None, more)]
    out = os.path.join(scratch.folder("merged"), "new", "folder")
    scratch.run(proxy.binary("rac-layer"), "merge", *parts, "-o", out)
    assert sorted(os.listdir(out)) == ["layer-4.tar.gz", "layer-linux-amd64.tar.gz", "layer-linux-arm-v7.tar.gz",
                                       "layer-linux-arm64.tar.gz", "layer.json"]
    merged = read_json(os.path.join(out, "layer.json"))
    assert (merged["entrypoint"], merged["env"]) == (["/.rac/run"], ["A=b"])
    assert [x["name"] for x in merged["layers"]] == ["one", "two", "three", "four"]
    assert "4 layers, all as declared" in scratch.run(proxy.binary("rac-layer"), "verify",
                                                      os.path.join(out, "layer.json")).stdout


def test_merge_refuses_what_disagrees(scratch):
    one, two = pack(scratch, "one", "amd64", ["--env", "A=b"]), pack(scratch, "two", "arm64")
    out = scratch.folder("merged")
    done = scratch.run(proxy.binary("rac-layer"), "merge", one, two, "-o", out, check=False)
    assert done.returncode == 1 and "more than its layers" in done.stderr
    done = scratch.run(proxy.binary("rac-layer"), "merge", two, two, "-o", out, check=False)
    assert done.returncode == 1 and "one platform, one layer" in done.stderr
    assert not os.path.exists(os.path.join(out, "layer.json"))


def test_merge_refuses_a_layer_that_is_not_what_it_says(scratch):
    one = pack(scratch, "one", "amd64")
    with open(os.path.join(os.path.dirname(one), "layer.tar.gz"), "ab") as f:
        f.write(b"more")
    done = scratch.run(proxy.binary("rac-layer"), "merge", one, "-o", scratch.folder("merged"), check=False)
    assert done.returncode == 1 and "layers[0]" in done.stderr


# rac-layer image

@pytest.fixture(scope="module", params=["folder", "archive"])
def image(request, scratch, made):
    """What skopeo calls it."""
    out = os.path.join(scratch.folder("image"), "layout" if request.param == "folder" else "layout.tar")
    scratch.run(proxy.binary("rac-layer"), "image", os.path.join(made, "layer.json"), "-o", out, "--tag", "it")
    return f"oci:{out}:it" if request.param == "folder" else f"oci-archive:{out}:it"


def test_an_index_of_both_platforms(scratch, image, injection):
    index = json.loads(scratch.run("skopeo", "inspect", "--raw", image).stdout)
    assert index["mediaType"] == images.OCI_INDEX
    assert [m["platform"] for m in index["manifests"]] == [{"architecture": p, "os": "linux"} for p in PLATFORMS]
    for architecture, layer in zip(PLATFORMS, injection["layers"]):
        told = json.loads(scratch.run("skopeo", "--override-arch", architecture, "inspect", "--config", image).stdout)
        assert told["rootfs"]["diff_ids"] == [layer["tarDigest"]] and told["architecture"] == architecture
        assert not told["config"].get("Entrypoint") and not told["config"].get("Env")


def test_it_goes_to_a_registry_and_comes_back(scratch, image, store, injection):
    there = f"docker://{store.address}/lib/runtime:latest"
    scratch.run("skopeo", "copy", "--all", "--dest-tls-verify=false", image, there)
    back = scratch.folder("back")
    scratch.run("skopeo", "copy", "--all", "--src-tls-verify=false", there, f"dir:{back}")
    for layer in injection["layers"]:
        assert sha256(images.read(os.path.join(back, layer["gzipDigest"].partition(":")[2]))) == layer["gzipDigest"]


def test_a_folder_and_an_archive_hold_the_same(scratch, made):
    outs = [os.path.join(scratch.folder("image"), name) for name in ("a", "b.tar", "c", "d.tar")]
    for out in outs:
        scratch.run(proxy.binary("rac-layer"), "image", os.path.join(made, "layer.json"), "-o", out)
    with tarfile.open(outs[1]) as t:
        archived = {m.name: t.extractfile(m).read() for m in t.getmembers()}
    for folder in (outs[0], outs[2]):
        assert archived == {os.path.relpath(os.path.join(at, name), folder): images.read(os.path.join(at, name))
                            for at, _, names in os.walk(folder) for name in names}
    assert images.read(outs[1]) == images.read(outs[3])


def test_podman_takes_it_for_copy_from(scratch, podman, made):
    """COPY --from: a build that takes the programs out of it. It cannot be run: there is nothing to run in it."""
    out = os.path.join(scratch.folder("image"), "it.tar")
    scratch.run(proxy.binary("rac-layer"), "image", os.path.join(made, "layer.json"), "-o", out)
    loaded = podman.command("load", "-i", out).stdout
    name = loaded.strip().rpartition(" ")[2]
    container = podman.command("create", "--network", "none", name, "/none").stdout.strip()
    try:
        folder = scratch.folder("taken")
        podman.command("cp", f"{container}:/.rac/bin/rac-init", folder)
        taken = images.read(os.path.join(folder, "rac-init"))
        assert taken == dict((m.name, c) for m, c in entries(made, "amd64"))[".rac/bin/rac-init"]
    finally:
        podman.command("rm", "-f", container)


def test_without_a_platform_one_is_asked_for(scratch):
    one = pack(scratch, "one")
    out = os.path.join(scratch.folder("image"), "it")
    done = scratch.run(proxy.binary("rac-layer"), "image", one, "-o", out, check=False)
    assert done.returncode == 1 and "--platform" in done.stderr and not os.path.exists(out)
    scratch.run(proxy.binary("rac-layer"), "image", one, "-o", out, "--platform", "s390x", "--platform", "linux/amd64")
    index = json.loads(scratch.run("skopeo", "inspect", "--raw", f"oci:{out}:latest").stdout)
    assert [m["platform"]["architecture"] for m in index["manifests"]] == ["s390x", "amd64"]


def test_a_platform_without_a_layer_is_refused(scratch):
    one = pack(scratch, "one", "arm64")
    done = scratch.run(proxy.binary("rac-layer"), "image", one, "-o", os.path.join(scratch.folder("image"), "it.tar"),
                       "--platform", "linux/amd64", check=False)
    assert done.returncode == 1 and "no layer is for linux/amd64" in done.stderr
