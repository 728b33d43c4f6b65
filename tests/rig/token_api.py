# SPDX-License-Identifier: Apache-2.0
"""Container tokens as a client asks for them."""
import base64
import hashlib
import json
import os
import zlib

from rig import images


def sha(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def packed(layer):
    """The gzip tar of a rig.proxy.Layer."""
    return images.read(os.path.join(layer.folder, layer.json["layers"][0]["location"]))


def data_layer(layer, **but):
    """Its entry in containerConfig.layers, with the bytes in it."""
    return {**layer.json["layers"][0], "location": "data:" + base64.b64encode(packed(layer)).decode(), **but}


def gzip_layer(layer, **but):
    return data_layer(layer, location="gzip:" + base64.b64encode(zlib.compress(packed(layer))).decode(), **but)


def inline(gzip_bytes, tar_bytes, **but):
    return {"location": "data:" + base64.b64encode(gzip_bytes).decode(), "gzipDigest": sha(gzip_bytes),
            "gzipSize": len(gzip_bytes), "tarDigest": sha(tar_bytes), **but}


def ask(p, image, config=None, path="/container-token", headers=None, **members):
    body = {"containerImage": image, **({"containerConfig": config} if config is not None else {}), **members}
    return p.fetch("POST", path, headers, json.dumps(body).encode())


class Token:
    """A token that was got, and what it gives."""

    def __init__(self, p, reply):
        assert reply.status == 200, (reply.status, reply.body[:1000])
        self.p, self.json = p, reply.json
        self.text = self.json["containerToken"]
        host, _, rest = self.json["targetImage"].partition("/wt/")
        assert rest.startswith(self.text + "/"), self.json
        self.host, self.target = host, self.json["targetDigest"]
        path = "wt/" + rest
        if "@" in path:
            self.name, self.reference = path.split("@")
        else:
            self.name, _, self.reference = path.rpartition(":")

    def manifest(self, reference=None, method="GET"):
        return self.p.manifest(self.name, reference or self.reference, method)

    def blob(self, digest, **headers):
        return self.p.blob(self.name, digest, **headers)

    def config(self, manifest=None):
        manifest = manifest or self.manifest()
        blob = self.blob(manifest.json["config"]["digest"])
        assert (blob.status, blob.digest) == (200, manifest.json["config"]["digest"])
        return json.loads(blob.body)

    def about(self):
        return self.p.get(f"/container-token/{self.text}")


def token(p, image, config=None, **members):
    return Token(p, ask(p, image, config, **members))
