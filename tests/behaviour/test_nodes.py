# SPDX-License-Identifier: Apache-2.0
"""Where a request comes from: client certificates, proxies in between, headers, networks; as records tell it."""
import base64
import http.client
import ssl
import time

import pytest

from rig import certs, images, proxy, registry, wire

NAME = "team/app"
PASSWORD = proxy.secret("correct-horse-node")
ALICE = {"Authorization": "Basic " + base64.b64encode(f"alice:{PASSWORD}".encode()).decode()}


@pytest.fixture
def start(make, up, authority):
    """A proxy with TLS, or without; anonymous may all of it."""
    up.tag(NAME, "1", images.tiny())

    def start(config=None, tls=False, args=()):
        certificate, key = authority.issue("server") if tls else (None, None)
        flags = ["--tls-certificate", certificate, "--tls-key", key] if tls else []
        return make({"up.test": up.url}, [*flags, *args],
                    config={"access.anonymous": ["pull", "read-records"], **(config or {})})
    return start


def pull(p, headers=None, source=None, tls=None):
    with wire.Connection(p.address, tls=tls) as c:
        if source:
            c.http.source_address = (source, 0)
        reply = c.request("GET", f"/v2/{NAME}/manifests/1", {"Accept": wire.MANIFEST_TYPES, **(headers or {})})
        assert reply.status == 200, reply.body
        return reply


def seen(p, tls=None, **expected):
    """The newest record of a pull, once it is written."""
    end = time.monotonic() + 10
    while True:
        found = wire.fetch(p.address, "GET", "/v1/pulls?limit=1", tls=tls).json["pulls"]
        if found and all(found[0].get(k) == v for k, v in expected.items()):
            return found[0]
        assert time.monotonic() < end, (expected, found)
        time.sleep(0.1)


def test_nothing_is_known_but_the_address(start):
    p = start()
    pull(p, source="127.0.0.7")
    r = seen(p, clientAddress="127.0.0.7", node="127.0.0.7")
    assert not r.get("location") and not r.get("subject")


LOCATIONS = [{"network": "127.0.0.0/8", "name": "everywhere"}, {"network": ["127.1.0.0/16", "127.2.0.0/16"], "name": "ward"},
             {"network": "127.1.2.3", "name": "bed"}, {"network": "::/0", "name": "six"}]


@pytest.mark.parametrize("source,location", [("127.0.0.9", "everywhere"), ("127.1.9.9", "ward"), ("127.2.0.1", "ward"),
                                             ("127.1.2.3", "bed"), ("127.1.2.4", "ward")])
def test_the_narrowest_network_is_the_location(start, source, location):
    p = start({"locations": LOCATIONS})
    pull(p, source=source)
    seen(p, clientAddress=source, location=location)


def test_locations_by_flag_and_reload(start):
    p = start({"locations": LOCATIONS}, args=["--location", "127.0.0.0/8=flag"])
    pull(p)
    seen(p, location="flag")
    q = start({"locations": LOCATIONS})
    pull(q)
    seen(q, location="everywhere")
    q.configure({"access.anonymous": ["pull", "read-records"], "locations": [{"network": "127.0.0.1", "name": "moved"}]})
    q.reload()
    pull(q)
    seen(q, location="moved")


@pytest.mark.parametrize("header", ["X-Rac-Node", "X-Meta-Rac-Node"])
def test_headers_count_if_they_are_trusted(start, header):
    p = start()
    pull(p, {header: "node-1"}, source="127.0.0.8")
    seen(p, node="127.0.0.8")
    q = start({"pulls.trust-headers": True})
    pull(q, {header: "node-1"}, source="127.0.0.8")
    seen(q, node="node-1", clientAddress="127.0.0.8")


@pytest.mark.parametrize("value", ["", " ", "a b", "x" * 254, "a\tb", "n\u00f6de"])
def test_a_header_that_names_no_node(start, value):
    p = start({"pulls.trust-headers": True})
    pull(p, {"X-Rac-Node": value.encode("utf-8"), "X-Meta-Rac-Node": "other"}, source="127.0.0.8")
    seen(p, node="other")


FORWARDED = {  # what X-Forwarded-For says -> whose address it is then; 127.0.0.1 and 10.0.0.0/8 are trusted
    "none": (None, "127.0.0.1"),
    "one": ("192.0.2.1", "192.0.2.1"),
    "a forged one in front": ("1.1.1.1, 192.0.2.1", "192.0.2.1"),
    "trusted ones behind": ("1.1.1.1, 192.0.2.1, 10.1.1.1, 127.0.0.1", "192.0.2.1"),
    "trusted ones only": ("10.0.0.1, 10.0.0.2", "10.0.0.1"),
    "several lines": (["1.1.1.1", "192.0.2.1", "10.0.0.1"], "192.0.2.1"),
    "several lines with several": (["1.1.1.1, 192.0.2.1", "10.0.0.1,10.0.0.2"], "192.0.2.1"),
    "IPv6": ("2001:db8::1", "2001:db8::1"),
    "IPv6 with port": ("[2001:db8::1]:443", "2001:db8::1"),
    "v4-mapped": ("1.1.1.1, ::ffff:192.0.2.1", "192.0.2.1"),
    "v4-mapped trusted": ("192.0.2.1, ::ffff:10.0.0.1", "192.0.2.1"),
    "with port": ("192.0.2.1:4711", "192.0.2.1"),
    "no address": ("unknown", "127.0.0.1"),
    "no address in front": ("unknown, 192.0.2.1", "192.0.2.1"),
    "no address behind": ("192.0.2.1, unknown", "127.0.0.1"),
    "no address between": ("192.0.2.1, evil, 10.0.0.1", "10.0.0.1"),
    "empty": ("", "127.0.0.1"),
    "empty between": ("192.0.2.1,,10.0.0.1", "10.0.0.1"),
    "blanks": ("  1.1.1.1 ,\t192.0.2.1  ", "192.0.2.1"),
    "a zone": ("fe80::1%eth0", "127.0.0.1"),
}


@pytest.mark.parametrize("what", FORWARDED)
def test_what_trusted_proxies_say_is_believed(start, what):
    value, address = FORWARDED[what]
    p = start({"trusted-proxies": ["127.0.0.1", "10.0.0.0/8"],
               "locations": [{"network": "192.0.2.0/24", "name": "lab"}]})
    pull(p, {"X-Forwarded-For": value} if value is not None else {})
    r = seen(p, clientAddress=address)
    assert r.get("location") == ("lab" if address == "192.0.2.1" else None)


def test_others_are_not_believed(start):
    p = start({"trusted-proxies": ["127.0.0.1"]})
    pull(p, {"X-Forwarded-For": "192.0.2.1"}, source="127.0.0.2")
    seen(p, clientAddress="127.0.0.2")
    q = start()
    pull(q, {"X-Forwarded-For": "192.0.2.1"})
    seen(q, clientAddress="127.0.0.1")


def test_guessing_is_slowed_by_the_address_behind_a_proxy(start):
    p = start({"trusted-proxies": ["127.0.0.1"], "accounts": [{"name": "alice", "password-hash": registry.bcrypt(PASSWORD)}]})

    def get(address, password):
        value = base64.b64encode(f"alice:{password}".encode()).decode()
        return p.get("/v2/", Authorization=f"Basic {value}", X_Forwarded_For=address).status
    for i in range(40):
        get("192.0.2.66", f"guess-{i}")
    assert get("192.0.2.66", PASSWORD) == 429
    assert get("192.0.2.67", PASSWORD) == 200
    # IPv6: whoever has one address has its /64.
    for i in range(40):
        get(f"2001:db8:0:1::{i:x}", f"guess-{i}")
    assert get("2001:db8:0:1:ffff::1", PASSWORD) == 429 and get("2001:db8:0:2::1", PASSWORD) == 200


def test_an_account_is_the_subject_and_the_node(start):
    p = start({"accounts": [{"name": "alice", "password-hash": registry.bcrypt(PASSWORD)}], "pulls.trust-headers": True})
    pull(p, {**ALICE, "X-Rac-Node": "node-1"})
    seen(p, node="alice", subject="alice", clientAddress="127.0.0.1")


# Certificates of clients

MTLS = {"accounts": [{"name": "alice", "password-hash": registry.bcrypt(PASSWORD)},
                     {"name": "robot", "certificate": "node-robot", "roles": ["pull"]}]}


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_certificate_names_the_node(start, authority, version):
    p = start({"pulls.trust-headers": True, **MTLS}, True, ["--tls-client-ca", authority.certificate])
    context = authority.client(authority.issue("node-7", subject="/O=lab/CN=node-7.lab"))
    context.minimum_version = context.maximum_version = version
    pull(p, {"X-Rac-Node": "liar"}, tls=context)
    r = seen(p, authority.client(), node="node-7.lab")
    assert not r.get("subject")
    pull(p, ALICE, tls=context)
    seen(p, authority.client(), node="node-7.lab", subject="alice")
    # Again over a new connection, whatever of the session the client kept.
    for _ in range(3):
        pull(p, tls=context)
        seen(p, authority.client(), node="node-7.lab")
    pull(p, tls=authority.client())
    seen(p, authority.client(), node="127.0.0.1")


def test_a_certificate_may_stand_for_an_account(start, authority):
    p = start({**MTLS, "access.anonymous": "none"}, True, ["--tls-client-ca", authority.certificate])

    def status(tls, headers=None):
        return wire.fetch(p.address, "GET", "/v2/", headers, tls=tls).status
    robot = authority.client(authority.issue("robot", subject="/CN=node-robot"))
    other = authority.client(authority.issue("other", subject="/CN=node-other"))
    assert [status(robot), status(other), status(authority.client())] == [200, 401, 401]
    assert status(other, ALICE) == 200
    assert status(robot, {"Authorization": "Basic " + base64.b64encode(b"alice:wrong").decode()}) == 401


@pytest.mark.parametrize("subject", ["/O=lab", "/CN=one/CN=two", "/CN=a\tb", "/CN=a\nb", "/CN=" + "x" * 64])
def test_names_that_are_none(start, authority, subject):
    p = start(tls=True, args=["--tls-client-ca", authority.certificate])
    pull(p, tls=authority.client(authority.issue("odd", subject=subject)))
    expected = subject[4:] if subject.endswith("xx") else "127.0.0.1"
    seen(p, authority.client(), node=expected)


def refused(p, context):
    """With TLS 1.3 a client hears of it when it reads."""
    with pytest.raises((ssl.SSLError, ConnectionError, http.client.RemoteDisconnected)):
        wire.fetch(p.address, "GET", "/v2/", tls=context)


def test_wrong_certificates_are_turned_away(start, authority, scratch):
    p = start(tls=True, args=["--tls-client-ca", authority.certificate])
    stranger = certs.Authority(scratch)
    forged = authority.client(stranger.issue("forged", subject="/CN=node-7"))
    refused(p, forged)
    refused(p, authority.client(authority.issue("expired", expired=True, subject="/CN=node-7")))
    assert wire.fetch(p.address, "GET", "/v2/", tls=authority.client()).status == 200
    # A new authority is in force with the next connection.
    with open(authority.certificate, "rb") as f, open(p.data + "/ca.pem", "wb") as to:
        to.write(f.read())
    q = start(tls=True, args=["--tls-client-ca", p.data + "/ca.pem"])
    refused(q, forged)
    with open(stranger.certificate, "rb") as f, open(p.data + "/ca.pem", "wb") as to:
        to.write(f.read())
    q.reload()
    assert wire.fetch(q.address, "GET", "/v2/", tls=forged).status == 200
    refused(q, authority.client(authority.issue("node-8", subject="/CN=node-8")))


def test_required(start, authority):
    p = start(tls=True, args=["--tls-client-ca", authority.certificate, "--tls-client-auth", "required"])
    refused(p, authority.client())
    node = authority.client(authority.issue("node-9", subject="/CN=node-9"))
    assert wire.fetch(p.address, "GET", "/v2/", tls=node).status == 200


def test_a_file_without_authorities(scratch, authority):
    certificate, key = authority.issue("server")
    done = proxy.run_once(scratch, "--listen", "127.0.0.1:0", "--data", scratch.folder("data"), "--tls-certificate",
                          certificate, "--tls-key", key, "--tls-client-ca", key)
    assert done.returncode == 1 and "authorities of client certificates" in done.stderr and key in done.stderr
