# SPDX-License-Identifier: Apache-2.0
"""What is pulled: images of random layers, as files for the upstream, and for nginx at the paths of a registry."""
import hashlib
import json
import os
import tarfile

REPOSITORY = "library/app"
MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
INDEX_TYPE = "application/vnd.oci.image.index.v1+json"
LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar+gzip"
MIB = 1 << 20


class Content:
    """folder/manifests and folder/blobs for bench_upstream; folder/www/v2/library/app/… for nginx."""

    def __init__(self, folder):
        self.folder, self.www = folder, os.path.join(folder, "www")
        base = os.path.join(self.www, "v2", REPOSITORY)
        for kind in ("manifests", "blobs"):
            os.makedirs(os.path.join(base, kind))
            os.symlink(os.path.join(base, kind), os.path.join(folder, kind))

    def _blob(self, size=0, data=None):
        sha, path = hashlib.sha256(), os.path.join(self.folder, "blobs", "new")
        with open(path, "wb") as f:
            while data is not None or size > 0:
                piece, data = data if data is not None else os.urandom(min(size, MIB)), None
                size -= len(piece)
                sha.update(piece)
                f.write(piece)
        digest = "sha256:" + sha.hexdigest()
        os.rename(path, os.path.join(self.folder, "blobs", digest))
        return {"digest": digest, "size": os.path.getsize(os.path.join(self.folder, "blobs", digest))}

    def blob(self, size):
        return self._blob(size)["digest"]

    def image(self, tag, layer_sizes):
        """Returns the digest of the manifest and the digests of the layers."""
        found = self._image([tag] if tag else [], [self._blob(size) for size in layer_sizes])
        return found["digest"], found["layers"]

    def index(self, tag, platforms, layer_size):
        """An index of so many images; returns the first's digest, its config's, its layers'."""
        images = [self._image([], [self._blob(layer_size)], i) for i in range(platforms)]
        listed = [{"mediaType": MANIFEST_TYPE, "digest": image["digest"], "size": image["size"],
                   "platform": {"os": "linux", "architecture": "amd64" if i == 0 else f"arch{i}"}}
                  for i, image in enumerate(images)]
        self._document([tag], {"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": listed})
        return images[0]

    def tags(self, tag, names):
        """More names of an image."""
        for name in names:
            os.link(os.path.join(self.folder, "manifests", tag), os.path.join(self.folder, "manifests", name))

    def _document(self, names, document):
        raw = json.dumps(document, indent=3).encode()
        digest = "sha256:" + hashlib.sha256(raw).hexdigest()
        for name in (*names, digest):
            with open(os.path.join(self.folder, "manifests", name), "wb") as f:
                f.write(raw)
        return digest, len(raw)

    def _image(self, names, layers, platform=0, layer_type=LAYER_TYPE, diff_ids=None):
        config = {"architecture": f"arch{platform}" if platform else "amd64", "os": "linux",
                  "created": "2024-01-01T00:00:00Z",
                  "config": {"Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
                             "Cmd": ["/bin/sh"]},
                  "rootfs": {"type": "layers", "diff_ids": diff_ids or [b["digest"] for b in layers]},
                  "history": [{"created": "2024-01-01T00:00:00Z", "created_by": f"layer {i}"}
                              for i in range(len(layers))]}
        config = self._blob(data=json.dumps(config).encode())
        digest, size = self._document(names, {
            "schemaVersion": 2, "mediaType": MANIFEST_TYPE,
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json", **config},
            "layers": [{"mediaType": layer_type, **b} for b in layers]})
        return {"digest": digest, "size": size, "config": config["digest"],
                "layers": [b["digest"] for b in layers]}

    def runnable(self, tag, layer_sizes):
        """An image that engines unpack: each layer a tar, not compressed, with one file of random bytes."""
        layers = []
        for i, size in enumerate(layer_sizes):
            path = os.path.join(self.folder, "layer.tar")
            with tarfile.open(path, "w") as tar, open("/dev/urandom", "rb") as random:
                entry = tarfile.TarInfo(f"file-{i}")
                entry.size = size
                tar.addfile(entry, random)
            with open(path, "rb") as f:
                digest = "sha256:" + hashlib.file_digest(f, "sha256").hexdigest()
            layers.append({"digest": digest, "size": os.path.getsize(path)})
            os.rename(path, os.path.join(self.folder, "blobs", digest))
        return self._image([tag], layers, layer_type="application/vnd.oci.image.layer.v1.tar")


def manifest_path(reference):
    return f"/v2/{REPOSITORY}/manifests/{reference}"


def blob_path(digest):
    return f"/v2/{REPOSITORY}/blobs/{digest}"
