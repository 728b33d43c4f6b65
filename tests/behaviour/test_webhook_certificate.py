# SPDX-License-Identifier: Apache-2.0
"""rac-proxy --make-webhook-certificate: what an API server believes, made without a cluster."""
import base64
import os
import re
import ssl

import pytest

from rig import proxy, wire


def make_certificate(scratch, folder, *args):
    return proxy.run_once(scratch, "--make-webhook-certificate", folder, *args)


@pytest.fixture
def folder(scratch):
    return os.path.join(scratch.folder("certificate"), "made")


def read(folder, name):
    with open(os.path.join(folder, name), encoding="ascii") as f:
        return f.read()


def text(scratch, path):
    return scratch.run("openssl", "x509", "-in", path, "-noout", "-text").stdout


def test_it_serves_with_it(scratch, make, folder):
    """Whoever believes the caBundle, and nothing else, talks to a proxy that has the certificate."""
    done = make_certificate(scratch, folder, "--names", "localhost,127.0.0.1")
    assert done.returncode == 0, done.stderr
    bundle = base64.b64decode(done.stdout, validate=False).decode()
    assert bundle == read(folder, "ca.crt") and done.stdout.count("\n") == 1
    p = make(args=["--tls-certificate", os.path.join(folder, "tls.crt"), "--tls-key", os.path.join(folder, "tls.key")])
    believing = ssl.create_default_context(cadata=bundle)
    assert wire.fetch(p.address, "GET", "/healthz", tls=believing).status == 200
    with pytest.raises(ssl.SSLCertVerificationError):
        wire.fetch(p.address, "GET", "/healthz", tls=ssl.create_default_context())


def test_who_it_is_for(scratch, folder):
    names = "rac-webhook.rac.svc,rac-webhook.rac.svc.cluster.local,*.lab.test,192.0.2.1,2001:db8::1"
    assert make_certificate(scratch, folder, "--names", names).returncode == 0
    ca, leaf = (os.path.join(folder, n) for n in ("ca.crt", "tls.crt"))
    for check in (["-verify_hostname", "rac-webhook.rac.svc"], ["-verify_hostname", "a.lab.test"], ["-verify_ip", "192.0.2.1"],
                  ["-verify_ip", "2001:db8::1"]):
        scratch.run("openssl", "verify", "-x509_strict", "-purpose", "sslserver", "-CAfile", ca, *check, leaf)
    assert scratch.run("openssl", "verify", "-CAfile", ca, "-verify_hostname", "other.rac.svc", leaf, check=False).returncode != 0
    shown = text(scratch, leaf)
    assert "TLS Web Server Authentication" in shown and "CA:FALSE" in shown and "prime256v1" in shown
    shown = text(scratch, ca)
    assert "CA:TRUE, pathlen:0" in shown and "Certificate Sign" in shown
    # Ten years from now, and for clocks that are a little late.
    assert scratch.run("openssl", "x509", "-in", leaf, "-noout", "-checkend", str(3649 * 86400)).returncode == 0
    assert scratch.run("openssl", "x509", "-in", leaf, "-noout", "-checkend", str(3651 * 86400), check=False).returncode == 1


def test_without_names_it_is_the_charts_service(scratch, folder):
    assert make_certificate(scratch, folder).returncode == 0
    assert re.search(r"DNS:rac-proxy-webhook\.rac\.svc\s", text(scratch, os.path.join(folder, "tls.crt")))


def test_the_key_is_nobody_elses(scratch, folder):
    assert make_certificate(scratch, folder).returncode == 0
    assert sorted(os.listdir(folder)) == ["ca.crt", "tls.crt", "tls.key"]
    assert [os.stat(os.path.join(folder, n)).st_mode & 0o777 for n in ("tls.key", "tls.crt", "ca.crt")] == [0o600, 0o644, 0o644]
    assert os.stat(folder).st_mode & 0o777 == 0o700
    other = folder + "-2"
    assert make_certificate(scratch, other).returncode == 0
    assert read(folder, "tls.key") != read(other, "tls.key")
    assert read(folder, "ca.crt") != read(other, "ca.crt")


def test_nothing_is_replaced(scratch, folder):
    assert make_certificate(scratch, folder).returncode == 0
    before = {n: read(folder, n) for n in os.listdir(folder)}
    again = make_certificate(scratch, folder)
    assert again.returncode == 1 and "is there already" in again.stderr and again.stdout == ""
    assert {n: read(folder, n) for n in os.listdir(folder)} == before


@pytest.mark.parametrize("names, says", [
    ("", "--names"), ("a,,b", "''"), ("UPPER.svc", "'UPPER.svc'"), ("a b", "'a b'"), ("-a.svc", "'-a.svc'"), ("a..b", "'a..b'"), ("a.*", "'a.*'"),
    ("x" * 64, "neither"), (".".join(["abc"] * 64), "neither"), (",".join(["a"] * 17), "16"), ("a,IP:1.2.3.4", "'IP:1.2.3.4'"),
])
def test_names_that_are_none(scratch, folder, names, says):
    done = make_certificate(scratch, folder, f"--names={names}")
    assert done.returncode in (1, 2) and says in done.stderr
    assert not os.path.exists(folder)


def test_options_that_do_not_go_together(scratch, folder):
    assert "is for --make-webhook-certificate" in proxy.run_once(scratch, "--names", "a", "--check-config").stderr
    assert "something else" in make_certificate(scratch, folder, "--check-config").stderr
    blocked = make_certificate(scratch, os.path.join(folder, "deep", "er"))
    assert blocked.returncode == 1 and "No such file" in blocked.stderr
