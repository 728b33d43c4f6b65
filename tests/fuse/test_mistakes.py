# SPDX-License-Identifier: Apache-2.0
"""Every mistake of a newcomer, and what rac-fuse says to it: what is wrong, and what to do about it."""
import os
import signal
import time

import pytest

from rig import proxy
from rig.mount import Mount
from rig.process import Daemon
from rig.radosgw import free_port
from rig.s3faults import Fault, S3Faults

KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")


@pytest.fixture
def s3():
    s = S3Faults()
    yield s
    s.close()


@pytest.fixture
def said(scratch, s3):
    """said(variables, buckets) is what rac-fuse ends with, and that it ends soon and with 1."""
    def run(env=None, buckets="data"):
        folder = scratch.folder("m")
        variables = {**s3.environment(), "RAC_S3_BUCKETS": buckets, **proxy.sanitizer_settings(), **(env or {})}
        began = time.monotonic()
        done = scratch.run(proxy.binary("rac-fuse"), folder, check=False, timeout=30, env=variables)
        assert done.returncode == 1 and not os.path.ismount(folder), done
        assert time.monotonic() - began < 25
        return done.stderr.splitlines()[-1]
    return run


@pytest.mark.parametrize("name", ["s3:/data/", "https://data.s3.amazonaws.com", "data other", "da", "s3://", "d" * 64, "data/../x y,.."])
def test_what_cannot_be_a_bucket(said, s3, name):
    text = said(buckets=name)
    assert "RAC_S3_BUCKETS: '" in text and "is not [s3://]bucket[/prefix]" in text and s3.seen == []


@pytest.mark.parametrize("name", ["data", "s3://data", "s3://data/", " data , data/folder", "data/folder/", "data,"])
def test_what_can(scratch, s3, name):
    m = Mount(scratch, {**s3.environment(), "RAC_S3_BUCKETS": name})
    assert m.ready == b"1" and os.listdir(m.root) == ["data"] and m.stop() == 0


def test_a_bucket_that_is_not_there(said, s3):
    text = said(buckets="data,dtaa")
    assert text.startswith(f"rac-fuse: bucket dtaa at {s3.environment()['AWS_ENDPOINT_URL']}: ")
    assert "404 NoSuchBucket" in text and "is that the bucket's name" in text


@pytest.mark.parametrize("code, hint", [
    ("SignatureDoesNotMatch", "AWS_SECRET_ACCESS_KEY"), ("InvalidAccessKeyId", "AWS_ACCESS_KEY_ID"),
    ("AccessDenied", "s3:ListBucket"), ("ExpiredToken", "AWS_SESSION_TOKEN"), ("RequestTimeTooSkewed", "clock")])
def test_keys_that_are_refused(said, s3, code, hint):
    s3.rule("*", Fault(status=403, code=code))
    text = said()
    assert f"the server answered 403 {code}: " in text and hint in text.rpartition("; ")[2]


def test_no_keys(said):
    text = said(dict.fromkeys(KEYS, ""))
    assert all(k in text for k in KEYS) and "RAC_S3_ANONYMOUS" in text and "docker run -e" in text


def test_half_a_key(said):
    assert "only one of AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY is set" in said({"AWS_SECRET_ACCESS_KEY": ""})


def test_a_server_that_speaks_no_tls(said, s3):
    for url in (s3.environment()["AWS_ENDPOINT_URL"].replace("http:", "https:"),
                s3.environment()["AWS_ENDPOINT_URL"].replace("http://", "")):
        assert "its URL begins with http://" in said({"AWS_ENDPOINT_URL": url})


def test_a_certificate_of_nobody_we_know(scratch, authority, said):
    """And the variable that is named helps."""
    s = S3Faults(tls=authority.server("localhost"))
    try:
        assert "AWS_CA_BUNDLE" in said({"AWS_ENDPOINT_URL": s.url})
        m = Mount(scratch, {**s.environment(), "AWS_CA_BUNDLE": authority.certificate}, buckets=["data"])
        assert m.ready == b"1" and m.stop() == 0, m.log()
    finally:
        s.close()


def test_a_certificate_that_does_not_fit(scratch, authority, said):
    known = {"AWS_CA_BUNDLE": authority.certificate}
    for context, host, hint in ((authority.server("other"), "127.1", "a name that the certificate is for"),
                                (authority.server("late", expired=True), "localhost", "the certificate's time is over")):
        s = S3Faults(tls=context)
        try:
            assert hint in said({"AWS_ENDPOINT_URL": s.url.replace("localhost", host).replace("127.0.0.1", host), **known})
        finally:
            s.close()
    url = {"AWS_ENDPOINT_URL": "https://localhost:1", "AWS_CA_BUNDLE": "/no/ca.pem"}
    assert "AWS_CA_BUNDLE, /no/ca.pem: No such file" in said(url)


@pytest.mark.parametrize("region", ["eu west", "eu/west"])
def test_what_cannot_be_a_region(said, region):
    assert f"AWS_REGION: '{region}' is not the name of a region" in said({"AWS_REGION": region})


def waiting(scratch, env):
    """rac-fuse that waits for an S3 server which is not there; up to its line that says so."""
    folder = scratch.folder("m")
    d = Daemon(scratch, "rac-fuse", [proxy.binary("rac-fuse"), folder, "--buckets", "data"],
               {**proxy.sanitizer_settings(), **dict.fromkeys(KEYS, "key"), **env})
    d.wait_log(lambda log: "S3 request is tried again" in log, timeout=30)
    return d, folder


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_server_that_does_not_answer(scratch, number):
    """It says so soon, goes on trying, and can be ended: then it says why once more."""
    d, folder = waiting(scratch, {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{free_port()}"})
    assert "cannot connect: Connection refused" in d.log() and d.running()
    began = time.monotonic()
    d.signal(number)
    assert d.process.wait(30) == 1 and time.monotonic() - began < 20
    last = d.log().splitlines()[-1]
    assert "bucket data at http://127.0.0.1:" in last and "Connection refused" in last and "localhost is the container itself" in last
    assert not os.path.ismount(folder)


def test_a_server_that_comes_later(scratch, s3):
    """A pod's containers start in any order."""
    s3.rule("*", Fault(refuse=True), times=4)
    m = Mount(scratch, s3.environment(), buckets=["data"])
    assert m.ready == b"1", m.log()
    assert "S3 request is tried again" in m.log() and m.stop() == 0


def test_a_wake_of_the_check_ends_nothing_else(scratch, s3):
    """SIGUSR1, by which the check tells that it is done, is what the end of the session is told by, too."""
    m = Mount(scratch, s3.environment(), buckets=["data"])
    time.sleep(0.3)
    assert m.daemon.running() and os.listdir(m.root) == ["data"] and m.stop() == 0


def test_a_mount_that_only_it_sees(scratch, s3):
    """By hand, without the right to mount: it says how to come there, and that is how."""
    s3.put("f", b"content")
    folder = scratch.folder("m")
    d = Daemon(scratch, "rac-fuse", ["setpriv", "--bounding-set", "-sys_admin", "--inh-caps", "-sys_admin", proxy.binary("rac-fuse"),
                                     folder], {**proxy.sanitizer_settings(), **s3.environment()})
    d.wait_log(lambda log: "mounted in a namespace of its own" in log)
    enter = d.log().partition("`")[2].partition("`")[0].split()
    assert scratch.run(*enter, "cat", f"{folder}/data/f").stdout == "content" and os.listdir(folder) == []
    assert d.stop() == 0
