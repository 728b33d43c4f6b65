# SPDX-License-Identifier: Apache-2.0
"""SIGTERM, while a layer is unpacked that takes minutes: nobody waits for the end of it."""
import concurrent.futures
import json
import os
import signal
import zlib

import pytest

from rig import images, token_api, upstream, wire
from rig.process import wait_for

NAME, UNPACKED = "lib/app", 64 << 30
SOON = 40  # seconds: half of what unpacking takes at a gigabyte a second; what ends early ends within two


@pytest.fixture(scope="module")
def endless():
    """A gzip of 64 GiB: as many members as it takes, which is one stream (RFC 1952)."""
    member = 64 << 20
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    one = b"".join(packer.compress(bytes(1 << 20)) for _ in range(member >> 20)) + packer.flush()
    return one * (UNPACKED // member)


def entry(data, location):
    return {"location": location, "gzipDigest": wire.sha256(data), "gzipSize": len(data), "tarDigest": wire.sha256(b"")}


def ends_soon(p):
    p.daemon.signal(signal.SIGTERM)
    assert p.daemon.process.wait(SOON) == 0
    p.check_log()


@pytest.fixture
def site(authority):
    u = upstream.Upstream(tls=authority.server("stop"))
    yield u
    u.close()


@pytest.mark.parametrize("client", ["waits", "has left"])
def test_a_layer_of_a_token(make, up, site, authority, endless, client):
    up.tag(NAME, "1", images.tiny())
    site.rule("GET /endless", upstream.Answer(body=endless))
    p = make({"up.test": up.url}, ["--layers-hosts", "127.0.0.1", "--layers-ca", authority.certificate, "--shutdown-grace",
                                   "1s" if client == "waits" else "60s", "--tokens-max-unpacked-size", "1TiB"])
    wish = {"containerImage": f"up.test/{NAME}:1", "containerConfig": {"layers": [entry(endless, site.url + "/endless")]}}
    with concurrent.futures.ThreadPoolExecutor(1) as pool, wire.Raw(p.address, timeout=60) as raw:
        if client == "waits":
            reply = pool.submit(p.fetch, "POST", "/container-token", body=json.dumps(wish).encode(), timeout=120)
        else:
            text = json.dumps(wish).encode()
            raw.send(b"POST /container-token HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(text) + text)
        wait_for(lambda: site.sent["/endless"] == len(endless), 200, "the layer to be fetched")
        raw.close()
        ends_soon(p)
        if client == "waits":
            assert reply.exception(60) or reply.result().status == 503
    assert not os.listdir(os.path.join(p.data, "partial"))
    p.start()
    assert token_api.token(p, f"up.test/{NAME}:1").manifest().status == 200


def configured(scratch, endless):
    folder = scratch.folder("endless")
    with open(os.path.join(folder, "layer.tar.gz"), "wb") as f:
        f.write(endless)
    path = os.path.join(folder, "layer.json")
    with open(path, "w", encoding="ascii") as f:
        json.dump({"layers": [entry(endless, "layer.tar.gz")]}, f)
    return {"inject": path, "inject.max-layer-size": "1TiB"}


def test_a_layer_of_the_configuration_at_the_start(make, scratch, endless):
    p = make(config=configured(scratch, endless), start=False)
    p.launch()

    def blocked():
        """SIGTERM waits until the program looks for it."""
        with open(f"/proc/{p.daemon.pid}/status", encoding="ascii") as f:
            mask = next(line.split()[1] for line in f if line.startswith("SigBlk:"))
        return int(mask, 16) >> (signal.SIGTERM - 1) & 1
    wait_for(blocked, 30, "its signals to be blocked")
    ends_soon(p)
    assert 'msg="ended before it was ready"' in p.log()


def test_a_layer_of_the_configuration_at_a_reload(make, scratch, endless):
    p = make(config={})
    p.configure(configured(scratch, endless))
    p.daemon.signal(signal.SIGHUP)
    ends_soon(p)
    assert 'msg="configuration not reloaded' in p.log()
