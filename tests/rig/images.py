# SPDX-License-Identifier: Apache-2.0
"""Images made by hand: each byte is chosen here, so that a test can say what must come out.

An Image is a manifest with all that it refers to. Everything is deterministic; the builders are cached for the session.
"""
import functools
import gzip
import io
import json
import os
import random
import subprocess
import tarfile
import tempfile

from rig.wire import sha256

DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"
DOCKER_FOREIGN = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
OCI_ZSTD = "application/vnd.oci.image.layer.v1.tar+zstd"
PATH_ENV = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
APPLETS = ["sh", "cat", "echo", "env", "id", "ls", "pwd", "sleep", "printf", "sha256sum", "stat", "find",
           "wc"]
BUSYBOX = "/bin/busybox"


def noise(size, seed):
    """Bytes that do not compress, the same for the same seed."""
    return random.Random(seed).randbytes(size)


class Image:
    """manifest: exact bytes. blobs: {digest: bytes} of config and layers. children: of an index."""

    def __init__(self, manifest, media_type, blobs=None, children=()):
        self.manifest = manifest if isinstance(manifest, bytes) else compact(manifest)
        self.media_type = media_type
        self.blobs = blobs or {}
        self.children = list(children)

    @property
    def digest(self):
        return sha256(self.manifest)

    @property
    def json(self):
        return json.loads(self.manifest)

    @property
    def config(self):
        return json.loads(self.blobs[self.json["config"]["digest"]])

    @property
    def layers(self):
        return [d["digest"] for d in self.json["layers"]]

    def descriptor(self, **more):
        return {"mediaType": self.media_type, "size": len(self.manifest), "digest": self.digest, **more}

    def all_blobs(self):
        found = dict(self.blobs)
        for child in self.children:
            found.update(child.all_blobs())
        return found

    def all_manifests(self):
        found = {self.digest: self}
        for child in self.children:
            found.update(child.all_manifests())
        return found


def compact(document):
    return json.dumps(document, separators=(",", ":")).encode()


def tar(entries):
    """entries: (name, content) with content bytes (file), None (folder), ("->", target) or ("=", hard link target);
    a third member is the mode, a fourth (uid, gid)."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as t:
        for name, content, *rest in entries:
            info = tarfile.TarInfo(name)
            info.mode = rest[0] if rest else 0o755
            info.uid, info.gid = rest[1] if len(rest) > 1 else (0, 0)
            if content is None:
                info.type = tarfile.DIRTYPE
                t.addfile(info)
            elif isinstance(content, tuple):
                info.type = tarfile.SYMTYPE if content[0] == "->" else tarfile.LNKTYPE
                info.linkname = content[1]
                t.addfile(info)
            else:
                info.size = len(content)
                t.addfile(info, io.BytesIO(content))
    return out.getvalue()


def zstd(data):
    return subprocess.run(["zstd", "-q", "-3", "-c"], input=data, stdout=subprocess.PIPE, check=True).stdout


def image(layers, config=None, oci=False, compress="gzip", platform="linux/amd64", media_type=True, level=6,
          whole_config=None, manifest_more=None, layer_types=None):
    """layers: uncompressed tars. config: the `config` object. whole_config: members of the config blob (None drops)."""
    blobs, descriptors, diff_ids = {}, [], []
    for i, data in enumerate(layers):
        packed = zstd(data) if compress == "zstd" else gzip.compress(data, level, mtime=0)
        usual = OCI_ZSTD if compress == "zstd" else OCI_LAYER if oci else DOCKER_LAYER
        kind = (layer_types or {}).get(i, usual)
        blobs[sha256(packed)] = packed
        descriptors.append({"mediaType": kind, "size": len(packed), "digest": sha256(packed)})
        diff_ids.append(sha256(data))
    os_, arch, *variant = platform.split("/")
    document = {"created": "2024-01-02T03:04:05.678901234Z", "architecture": arch, "os": os_,
                **({"variant": variant[0]} if variant else {}),
                "config": config if config is not None else {},
                "rootfs": {"type": "layers", "diff_ids": diff_ids},
                "history": [{"created": "2024-01-02T03:04:05.678901234Z", "created_by": f"layer {i}"}
                            for i in range(len(layers))]}
    for key, value in (whole_config or {}).items():
        if value is None:
            document.pop(key, None)
        else:
            document[key] = value
    blob = compact(document)
    blobs[sha256(blob)] = blob
    kind = OCI_MANIFEST if oci else DOCKER_MANIFEST
    manifest = {"schemaVersion": 2, **({"mediaType": kind} if media_type else {}),
                "config": {"mediaType": OCI_CONFIG if oci else DOCKER_CONFIG, "size": len(blob),
                           "digest": sha256(blob)},
                "layers": descriptors, **(manifest_more or {})}
    return Image(manifest, kind, blobs)


def index(children, oci=True, media_type=True, **more):
    """children: (image, "os/arch[/variant]" or None, further descriptor members)."""
    entries = []
    for child, platform, *rest in children:
        extra = dict(rest[0]) if rest else {}
        if platform:
            os_, arch, *variant = platform.split("/")
            extra["platform"] = {"architecture": arch, "os": os_,
                                 **({"variant": variant[0]} if variant else {})}
        entries.append(child.descriptor(**extra))
    kind = OCI_INDEX if oci else DOCKER_LIST
    return Image({"schemaVersion": 2, **({"mediaType": kind} if media_type else {}), "manifests": entries,
                  **more}, kind,
                 children=[c[0] for c in children])


def tiny(text="tiny", **kwargs):
    """The smallest thing that is an image: one file, no program."""
    return image([tar([("text.txt", text.encode(), 0o644)])], {"Cmd": ["/nothing"], "Env": [PATH_ENV]},
                 **kwargs)


def random_image(seed, sizes, **kwargs):
    """Layers of given sizes (their gzip is a little larger) that do not compress."""
    layers = [tar([(f"data/{seed}-{i}.bin", noise(size, f"{seed}/{i}"), 0o644)])
              for i, size in enumerate(sizes)]
    return image(layers, {"Cmd": ["sh"], "Env": [PATH_ENV]}, level=1, **kwargs)


def read(path):
    with open(path, "rb") as f:
        return f.read()


@functools.lru_cache(None)
def busybox_layer():
    return tar([("bin", None), ("bin/busybox", read(BUSYBOX)),
                *[(f"bin/{a}", ("->", "busybox")) for a in APPLETS],
                ("etc", None), ("etc/passwd", b"root:x:0:0::/root:/bin/sh\nworker:x:1234:1234::/srv:/bin/sh\n", 0o644),
                ("etc/group", b"root:x:0:\nworker:x:1234:\n", 0o644), ("tmp", None, 0o1777),
                ("srv", None), ("srv/data", None, 0o755, (1234, 1234)),
                ("srv/data/mine.txt", b"mine\n", 0o600, (1234, 1234))])


SHOW_C = r"""
#include <stdio.h>
#include <string.h>
#include <unistd.h>
extern char **environ;
int main(int argc, char **argv)
{
    if (argc == 3 && !strcmp(argv[1], "cat")) {
        FILE *f = fopen(argv[2], "r");
        if (!f)
            return perror(argv[2]), 1;
        for (int c; (c = getc(f)) != EOF;)
            putchar(c);
        return 0;
    }
    char cwd[4096];
    printf("cwd=%s uid=%d gid=%d\n", getcwd(cwd, sizeof cwd), (int)getuid(), (int)getgid());
    for (int i = 0; i < argc; i++)
        printf("arg=%s\n", argv[i]);
    for (char **e = environ; *e; e++)
        if (strncmp(*e, "HOSTNAME=", 9) && strncmp(*e, "HOME=", 5) && strncmp(*e, "container=", 10))
            printf("env=%s\n", *e);
    return 0;
}
"""


@functools.lru_cache(None)
def show_program():
    """A static program that says how it was started."""
    with tempfile.TemporaryDirectory(prefix="rac-show-") as folder:
        with open(os.path.join(folder, "show.c"), "w", encoding="utf-8") as f:
            f.write(SHOW_C)
        subprocess.run(["cc", "-Os", "-static", "-s", "-Wl,--build-id=none", "-o", "show", "show.c"],
                       cwd=folder, check=True)
        return read(os.path.join(folder, "show"))


@functools.lru_cache(None)
def busybox():
    return image([busybox_layer()], {"Cmd": ["sh"], "Env": [PATH_ENV]})


@functools.lru_cache(None)
def scratch():
    return image([tar([("show", show_program())])],
                 {"Entrypoint": None, "Cmd": None, "Env": None, "Labels": None, "Volumes": None,
                  "WorkingDir": "", "User": ""})


@functools.lru_cache(None)
def worker():
    """Not root, arguments that a shell would break, an environment with all sorts of characters."""
    return image([busybox_layer(), tar([("show", show_program())])], {
        "User": "1234:1234", "WorkingDir": "/srv/data",
        "Env": [PATH_ENV, "PLAIN=1", "SPACED=two words", "QUOTED=it's \"so\"", "EQUALS=a=b=c", "EMPTY=",
                "DOLLAR=$HOME `x`"],
        "Entrypoint": ["/show", "--first arg", "it's \"quoted\"", ""], "Cmd": ["one two", "$HOME", "*"],
        "Labels": {"keeper": "yes"}, "StopSignal": "SIGUSR1", "ExposedPorts": {"80/tcp": {}},
        "Volumes": {"/srv/volume": {}}})


@functools.lru_cache(None)
def shell_form():
    return image([busybox_layer()], {"Entrypoint": ["/bin/sh", "-c", "echo \"shell says $GREETING\"; id -u"],
                                     "Env": [PATH_ENV, "GREETING=hello there"]})


@functools.lru_cache(None)
def oci():
    return image([busybox_layer()], {"Cmd": ["sh"], "Env": [PATH_ENV]}, oci=True,
                 manifest_more={"annotations": {"org.example.kept": "yes"}})


@functools.lru_cache(None)
def oci_untyped():
    return image([busybox_layer(), tar([("untyped.txt", b"no mediaType here\n", 0o644)])],
                 {"Cmd": ["sh"], "Env": [PATH_ENV]}, oci=True, media_type=False)


@functools.lru_cache(None)
def zstd_layers():
    return image([busybox_layer(), tar([("zstd.txt", b"zstd\n" * 1000, 0o644)])],
                 {"Cmd": ["sh"], "Env": [PATH_ENV]}, oci=True, compress="zstd")


@functools.lru_cache(None)
def arm64():
    return image([tar([("arm64.txt", b"other content\n", 0o644)])], {"Cmd": ["/none"]}, oci=True,
                 platform="linux/arm64/v8")


@functools.lru_cache(None)
def two_platforms():
    return index([(oci(), "linux/amd64"), (arm64(), "linux/arm64/v8")],
                 annotations={"org.example.index": "kept"})


@functools.lru_cache(None)
def mixed_list():
    """A Docker list with OCI children, as some builders push them."""
    return index([(oci(), "linux/amd64"), (arm64(), "linux/arm64/v8")], oci=False)


@functools.lru_cache(None)
def attested():
    statement = compact({"_type": "https://in-toto.io/Statement/v0.1",
                         "predicateType": "https://slsa.dev/provenance/v0.2"})
    config = compact({"architecture": "unknown", "os": "unknown", "config": {},
                      "rootfs": {"type": "layers", "diff_ids": [sha256(statement)]}})
    attestation = Image({"schemaVersion": 2, "mediaType": OCI_MANIFEST,
                         "config": {"mediaType": OCI_CONFIG, "digest": sha256(config), "size": len(config)},
                         "layers": [{"mediaType": "application/vnd.in-toto+json", "digest": sha256(statement),
                                     "size": len(statement),
                                     "annotations": {"in-toto.io/predicate-type": "https://slsa.dev/provenance/v0.2"}}]},
                        OCI_MANIFEST, {sha256(statement): statement, sha256(config): config})
    return index([(oci(), "linux/amd64"),
                  (attestation, "unknown/unknown",
                   {"annotations": {"vnd.docker.reference.type": "attestation-manifest",
                                                                    "vnd.docker.reference.digest": oci().digest}})])


@functools.lru_cache(None)
def foreign():
    """The first layer is one that is to be fetched from elsewhere."""
    base = image([busybox_layer(), tar([("own.txt", b"own\n", 0o644)])], {"Cmd": ["sh"], "Env": [PATH_ENV]},
                 layer_types={0: DOCKER_FOREIGN})
    manifest = base.json
    manifest["layers"][0]["urls"] = ["https://example.com/layer.tar.gz"]
    return Image(manifest, DOCKER_MANIFEST, base.blobs)


def _machine_files(folder, limit):
    """Files, links and folders below a folder of this machine, sorted, up to a number of bytes."""
    entries, total, seen = [], 0, set()

    def parents(path):
        parts = path.split("/")
        for i in range(1, len(parts)):
            up = "/".join(parts[:i])
            if up not in seen:
                seen.add(up)
                entries.append((up, None))

    for root, folders, files in os.walk(folder):
        folders.sort()
        for name in sorted(files):
            path = os.path.join(root, name)
            inside = path.lstrip("/")
            if os.path.islink(path):
                parents(inside)
                entries.append((inside, ("->", os.readlink(path))))
            elif os.path.isfile(path) and total + os.path.getsize(path) <= limit:
                parents(inside)
                entries.append((inside, read(path), os.stat(path).st_mode & 0o777))
                total += os.path.getsize(path)
    return entries


@functools.lru_cache(None)
def big():
    """Several layers with some 100 MB in all kinds of files, as a distribution's image has them."""
    pieces = [("/usr/lib/x86_64-linux-gnu", 60 << 20), ("/usr/share/zoneinfo", 20 << 20),
              ("/usr/share/perl", 20 << 20),
              ("/usr/share/doc", 10 << 20)]
    layers = [busybox_layer()] + [tar(_machine_files(folder, limit)) for folder, limit in pieces]
    layers.append(tar([("opt", None), ("opt/noise", noise(16 << 20, "big"), 0o644),
                       ("opt/again", ("=", "opt/noise")),
                       ("usr/share/doc/.wh.gcc", b"", 0o644)]))
    return image(layers, {"Cmd": ["sh"], "Env": [PATH_ENV]}, level=1)


RUNNABLE = {"busybox": busybox, "scratch": scratch, "worker": worker, "shell": shell_form, "oci": oci,
            "untyped": oci_untyped, "zstd": zstd_layers, "index": two_platforms, "mixed": mixed_list,
            "attested": attested, "big": big}
