# SPDX-License-Identifier: Apache-2.0
"""DNS rebinding: a name means an address that is everybody's when it is looked at, and one of this site when it is dialled.

Everything here is in a network of its own, where a name server does as it is told, and where something answers at every
address, the private ones too: it would be noticed.
"""
import gzip
import itertools
import os

import pytest

from rig import faults, images, names, proxy, token_api, upstream

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="takes root: a network of its own")
PUBLIC, PUBLIC6, NOBODY = "93.184.216.34", "2606:2800:220:1::1", "93.184.216.99"
PRIVATE = ["127.0.0.1", "10.20.30.40", "169.254.169.254", "::1", "fd00::7", "::ffff:127.0.0.1", "::ffff:10.20.30.40"]
NUMBERS = itertools.count()
DNS_CACHE_S = 120  # longer than curl keeps what a name meant


def once(answer):
    """A connection for each request, so that each has to be made."""
    answer.headers = {**answer.headers, "Connection": "close"}
    return answer


class World:
    """Servers at every address, over http and https, and a proxy. ask(way, host) makes the proxy turn to that host."""

    def __init__(self, scratch, authority):
        self.names = names.NameServer()
        self.here = upstream.Upstream()  # configured by hand
        self.plain = upstream.Upstream(host="::")
        self.tls = upstream.Upstream(host="::", tls=authority.server("names", names=["*.names.example"]))
        for u in (self.plain, self.tls):
            u.rule("*", lambda x: once(x.proper()))
        self.faults, self.ahead = faults.Faults(scratch), 0
        by_hand = f"http://hand.names.example:{self.plain.port}"
        self.px = proxy.Proxy(scratch, {"here.example": self.here.url, "hand.example": by_hand},
                              ["--upstreams-any", "--upstream-missing", "0s", "--tokens-rate", "0",
                               "--upstream-connect-timeout", "30s"],
                              before=names.asking(scratch, authority), env=self.faults.env)

    def close(self):
        try:
            self.px.close()
        finally:
            for u in (self.here, self.plain, self.tls, self.names):
                u.close()

    def host(self):
        return f"h{next(NUMBERS)}.names.example"

    def forget(self):
        """Time passes, until nothing that a name meant is known any more."""
        self.ahead += DNS_CACHE_S
        self.faults.shift_clock(self.ahead)

    def dialled(self):
        return self.plain.dialled + self.tls.dialled

    def ask(self, way, host):
        """Something that was never asked for; the reply is 200 if the host was dialled."""
        repository, image = f"lib/i{next(NUMBERS)}", images.random_image(f"rebinding{next(NUMBERS)}", [1000])
        return getattr(self, "_" + way)(host, repository, image)

    def _upstream(self, host, repository, image):
        self.tls.tag(repository, "1", image)
        return self.px.get(f"/v2/{repository}/manifests/1?ns={host}:{self.tls.port}")

    def _redirect(self, host, repository, image):
        self.here.tag(repository, "1", image)
        self.here.rule(f"GET /v2/{repository}/blobs/*", upstream.redirect(f"http://{host}:{self.plain.port}/{repository}"))
        self.plain.rule(f"GET /{repository}", once(upstream.Answer(body=image.blobs[image.layers[0]])))
        assert self.px.manifest(repository, "1").status == 200
        return self.px.blob(repository, image.layers[0])

    def _realm(self, host, repository, image):
        self.here.tag(repository, "1", image)
        self.here.rule(f"* /v2/{repository}/*", lambda x: None if x["Authorization"] == "Bearer t" else
                       upstream.challenge(f"http://{host}:{self.plain.port}/token"))
        self.plain.rule("GET /token", lambda x: once(upstream.text('{"token":"t","expires_in":300}')))
        return self.px.manifest(repository, "1")

    def _layer(self, host, repository, image):
        self.here.tag(repository, "1", image)
        tar = images.tar([("here.txt", repository.encode(), 0o644)])
        packed = gzip.compress(tar, mtime=0)
        self.tls.rule(f"GET /{repository}", once(upstream.Answer(body=packed)))
        layer = token_api.inline(packed, tar, location=f"https://{host}:{self.tls.port}/{repository}")
        return token_api.ask(self.px, f"here.example/{repository}:1", {"layers": [layer]})


@pytest.fixture(scope="module")
def network(scratch):
    try:
        n = names.Network(scratch, [PUBLIC, PUBLIC6, "10.20.30.40", "169.254.169.254", "fd00::7"])
    except PermissionError:
        pytest.skip("a network of its own is not to be had here")
    if not n.has_ipv6:
        n.close()
        pytest.skip("no IPv6 here")
    yield n
    n.close()


@pytest.fixture(scope="module")
def one_world(scratch, authority, network):
    del network
    w = World(scratch, authority)
    yield w
    w.close()


@pytest.fixture
def world(one_world):
    one_world.plain.dialled.clear()
    one_world.tls.dialled.clear()
    return one_world


ways = pytest.mark.parametrize("way", ["upstream", "redirect", "realm", "layer"])


def refused(reply, address):
    """With a reason that names what was not dialled."""
    return reply.status in (403, 502) and f"address {address} of host" in reply.body.decode()


@ways
@pytest.mark.parametrize("address", PRIVATE)
def test_a_name_that_turns_private_is_not_dialled(world, way, address):
    host = world.host()
    world.names.say(host, [PUBLIC])
    assert world.ask(way, host).status == 200 and world.dialled() == [PUBLIC]
    world.names.say(host, [address])
    world.forget()
    reply = world.ask(way, host)
    assert world.names.asked(host), "it was looked up anew"
    assert refused(reply, address), (reply.status, reply.body)
    assert world.dialled() == [PUBLIC]


@ways
@pytest.mark.parametrize("address", PRIVATE)
def test_a_name_that_turns_private_between_two_look_ups(world, way, address):
    """Whoever looks at what a name means, and has it looked up once more to dial it, is led inside."""
    host = world.host()
    world.names.say(host, [PUBLIC], [address])
    assert world.ask(way, host).status == 200
    assert world.dialled() == [PUBLIC]


@ways
@pytest.mark.parametrize("address", PRIVATE)
def test_a_name_with_a_private_address_among_others(world, way, address):
    host = world.host()
    world.names.say(host, [NOBODY, address])
    reply = world.ask(way, host)
    assert reply.status in (403, 502) and host in reply.body.decode(), (reply.status, reply.body)
    assert not world.dialled()
    host = world.host()
    world.names.say(host, [PUBLIC, PUBLIC6, address])
    assert world.ask(way, host).status == 200
    assert set(world.dialled()) <= {PUBLIC, PUBLIC6}


@pytest.mark.parametrize("address", PRIVATE)
def test_what_is_configured_by_hand_may_be_private(world, address):
    """And shows that each of these addresses can be dialled here."""
    world.names.say("hand.names.example", [address])
    world.forget()
    image = world.plain.tag(f"lib/h{next(NUMBERS)}", "1", images.tiny())
    name = list(world.plain.tags)[-1]
    assert world.px.manifest(f"hand.example/{name}", "1").digest == image.digest
    assert world.dialled() == [address.removeprefix("::ffff:")]
