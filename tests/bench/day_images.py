# SPDX-License-Identifier: Apache-2.0
"""The images of a simulated day: a config and two small layers of their own each. Requests are what is simulated, not bytes."""
import hashlib
import json
import os
import random

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"


def digest(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def image(number):
    """(manifest, {digest: bytes} of the rest)"""
    layers = [random.Random(f"{number}/{i}").randbytes(1500) for i in range(2)]
    config = json.dumps({"architecture": "amd64", "os": "linux", "config": {"Env": ["PATH=/usr/bin:/bin"], "Cmd": ["/bin/sh"]},
                         "rootfs": {"type": "layers", "diff_ids": [digest(b"tar of " + x) for x in layers]},
                         "history": [{"created_by": f"layer {i} of {number}"} for i in range(2)]}).encode()
    manifest = json.dumps({"schemaVersion": 2, "mediaType": MANIFEST,
                           "config": {"mediaType": CONFIG, "digest": digest(config), "size": len(config)},
                           "layers": [{"mediaType": LAYER, "digest": digest(x), "size": len(x)} for x in layers]}).encode()
    return manifest, {digest(x): x for x in (config, *layers)}


def folder(path, count):
    """As bench_upstream serves them."""
    for kind in ("manifests", "blobs"):
        os.makedirs(os.path.join(path, kind))
    for number in range(count):
        manifest, blobs = image(number)
        for name in (f"i{number}", digest(manifest)):
            with open(os.path.join(path, "manifests", name), "wb") as f:
                f.write(manifest)
        for name, data in blobs.items():
            with open(os.path.join(path, "blobs", name), "wb") as f:
                f.write(data)
