# SPDX-License-Identifier: Apache-2.0
"""Two things at once, and clients that leave at the wrong moment."""
import threading

import pytest

from rig import images, process, wire

NAME = "lib/app"


def request(digest, name=NAME, method="GET"):
    return f"{method} /v2/{name}/blobs/{digest} HTTP/1.1\r\nHost: x\r\n\r\n".encode()


def test_an_injected_layer_that_is_being_downloaded_as_an_images_own(make, up, layer, scratch):
    """An upstream image has the very layer that a reload brings in while it is on its way: both go through."""
    data = images.read(layer.path.replace("layer.json", "layer.tar.gz"))
    config = images.compact({"rootfs": {"type": "layers", "diff_ids": [layer.tar_digest]}})
    image = images.Image({"schemaVersion": 2, "mediaType": images.OCI_MANIFEST,
                          "config": {"mediaType": images.OCI_CONFIG, "digest": wire.sha256(config),
                                     "size": len(config)},
                          "layers": [{"mediaType": images.OCI_LAYER, "digest": layer.gzip_digest,
                                      "size": len(data)}]},
                         images.OCI_MANIFEST, {wire.sha256(config): config, layer.gzip_digest: data})
    up.tag(NAME, "1", image)
    hold = threading.Event()
    up.rule("GET */blobs/*", lambda x: x.proper(hold=hold))
    plain = {"upstreams": [{"name": "up.test", "url": up.url}], "default-upstream": "up.test"}
    p = make(config=plain)
    try:
        assert p.manifest(NAME, "1").status == 200
        with wire.Raw(p.address, timeout=20) as raw:
            raw.send(request(layer.gzip_digest))
            process.wait_for(lambda: up.count(f"GET */blobs/{layer.gzip_digest}"))
            p.configure({**plain, "inject": [{"match": "*", "injection": layer.path}]})
            p.reload()
            hold.set()
            assert raw.read_reply().digest == layer.gzip_digest
    finally:
        hold.set()
    up.clear()
    up.tag("lib/other", "1", images.tiny())
    rewritten = p.manifest("lib/other", "1")
    assert rewritten.status == 200 and rewritten.json["layers"][-1]["digest"] == layer.gzip_digest
    assert p.blob("lib/other", layer.gzip_digest).digest == layer.gzip_digest
