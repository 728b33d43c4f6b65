# SPDX-License-Identifier: Apache-2.0
"""What is pulled: images of random layers, as files for the upstream, and for nginx at the paths of a registry."""
import hashlib
import json
import os

REPOSITORY = "library/app"
MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
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

    def image(self, tag, layer_sizes):
        """Returns the digest of the manifest and the digests of the layers."""
        layers = [self._blob(size) for size in layer_sizes]
        config = {"architecture": "amd64", "os": "linux", "created": "2024-01-01T00:00:00Z",
                  "config": {"Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
                             "Cmd": ["/bin/sh"]},
                  "rootfs": {"type": "layers", "diff_ids": [b["digest"] for b in layers]},
                  "history": [{"created": "2024-01-01T00:00:00Z", "created_by": f"layer {i}"}
                              for i in range(len(layers))]}
        config_type = "application/vnd.oci.image.config.v1+json"
        layer_type = "application/vnd.oci.image.layer.v1.tar+gzip"
        manifest = {"schemaVersion": 2, "mediaType": MANIFEST_TYPE,
                    "config": {"mediaType": config_type, **self._blob(data=json.dumps(config).encode())},
                    "layers": [{"mediaType": layer_type, **b} for b in layers]}
        raw = json.dumps(manifest, indent=3).encode()
        digest = "sha256:" + hashlib.sha256(raw).hexdigest()
        for name in (tag, digest):
            with open(os.path.join(self.folder, "manifests", name), "wb") as f:
                f.write(raw)
        return digest, [b["digest"] for b in layers]


def manifest_path(reference):
    return f"/v2/{REPOSITORY}/manifests/{reference}"


def blob_path(digest):
    return f"/v2/{REPOSITORY}/blobs/{digest}"
