# SPDX-License-Identifier: Apache-2.0
"""What the proxy announces can be recomputed by anyone, with no proxy at hand: rac-layer inject says the same."""
import json
import os
import subprocess

import pytest

from rig import images, proxy, wire


def write_layout(folder, manifest, media_type, blobs):
    """An OCI image layout, as skopeo writes it, but with the upstream's own bytes."""
    os.makedirs(os.path.join(folder, "blobs", "sha256"))
    digest = wire.sha256(manifest)
    for name, data in {**blobs, digest: manifest}.items():
        with open(os.path.join(folder, "blobs", "sha256", name[len("sha256:"):]), "wb") as f:
            f.write(data)
    with open(os.path.join(folder, "oci-layout"), "w", encoding="ascii") as f:
        json.dump({"imageLayoutVersion": "1.0.0"}, f)
    with open(os.path.join(folder, "index.json"), "w", encoding="ascii") as f:
        json.dump({"schemaVersion": 2, "manifests": [{"mediaType": media_type, "digest": digest,
                                                      "size": len(manifest)}]}, f)


@pytest.mark.parametrize("media_type", [images.DOCKER_MANIFEST, images.OCI_MANIFEST])
def test_rac_layer_announces_the_digest_of_the_proxy(make, store, scratch, layer, media_type):
    name = "lib/offline" + ("-oci" if media_type == images.OCI_MANIFEST else "")
    image = images.random_image("offline", [1000, 2000])
    if media_type == images.OCI_MANIFEST:
        image = as_oci(image)
    image = store.push(name, "1", image)
    announced = make({"store.test": store.url}, inject=layer.path).manifest(name, "1").digest
    layout, out = os.path.join(scratch.folder("layout"), "in"), os.path.join(scratch.folder("layout"), "out")
    write_layout(layout, image.manifest, media_type, image.all_blobs())
    said = subprocess.run([proxy.binary("rac-layer"), "inject", "--layout", layout, "--injection", layer.path,
                           "--out", out, "--name", f"store.test/{name}"], check=True, capture_output=True, text=True)
    assert announced in said.stdout and announced != image.digest
    with open(os.path.join(out, "index.json"), encoding="ascii") as f:
        assert json.load(f)["manifests"][0]["digest"] == announced


def as_oci(image):
    document = json.loads(image.manifest)
    document["mediaType"] = images.OCI_MANIFEST
    document["config"]["mediaType"] = "application/vnd.oci.image.config.v1+json"
    for part in document["layers"]:
        part["mediaType"] = "application/vnd.oci.image.layer.v1.tar+gzip"
    return images.Image(document, images.OCI_MANIFEST, image.blobs)
