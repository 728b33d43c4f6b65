# SPDX-License-Identifier: Apache-2.0
"""What becomes of a call when the server or the network breaks: either the right bytes, or an error that says what it is;
never wrong bytes, never a hang, no upload left behind."""
import errno
import hashlib
import http.server
import json
import random
import threading
import time

import pytest

from rig.s3faults import Fault, S3Faults, Upload, crc32c
from rig.s3tool import Tool

PART = 5 << 20


def blob(size, seed=1):
    return random.Random(seed).randbytes(size)


# -- reading -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("fault", [
    Fault(status=503, code="SlowDown"), Fault(status=500), Fault(status=502, body=b"<html>"), Fault(refuse=True),
    Fault(lose=True), Fault(reset_after=70000), Fault(cut_after=70000), Fault(reset_after=0), Fault(cut_after=1),
    Fault(shift_range=1), Fault(shift_range=-1), Fault(short_by=1), Fault(stall_after=50000, stall=30)],
    ids=lambda f: str({k: v for k, v in vars(f).items() if v and k not in ("code", "stall")})[:50])
def test_a_broken_read_goes_on(s3, tool, fault):
    body = blob(200000)
    s3.put("x", body)
    s3.rule("GET /data/x*", fault, times=2)
    done = tool.ok("get", "data", "x", 3, 190000, RAC_S3_STALL_TIMEOUT="300ms")
    assert done.out == body[3:190003]
    assert s3.count("GET /data/x") == 3


def test_a_broken_read_asks_only_for_what_is_missing(s3, tool):
    body = blob(300000)
    s3.put("x", body)
    s3.rule("GET *", Fault(reset_after=100000), times=1)
    assert tool.ok("get", "data", "x", 0, 300000).out == body
    second = s3.seen[-1].headers
    assert second["range"] == "bytes=100000-299999"
    assert second["if-match"] == f'"{hashlib.md5(body).hexdigest()}"'


def test_versions_are_not_mixed(s3, tool):
    """The object is replaced while it is read: an error, not half of each."""
    s3.put("x", b"a" * 300000)
    s3.rule("GET *", Fault(reset_after=100000, then=lambda s: s.put("x", b"b" * 300000)), times=1)
    done = tool("get", "data", "x", 0, 300000)
    assert done.code == errno.ESTALE and done.out == b""


def test_a_cache_that_ignores_conditions_is_noticed(s3, tool):
    s3.put("x", b"a" * 1000)
    s3.rule("GET *", Fault(etag="0123456789abcdef0123456789abcdef"))
    etag = hashlib.md5(b"a" * 1000).hexdigest()
    assert tool("get", "data", "x", 0, 1000, etag).code == errno.ESTALE


def test_wrong_ranges_are_never_taken(s3, tool):
    s3.put("x", blob(1000))
    s3.rule("GET *", Fault(shift_range=7))
    done = tool("get", "data", "x", 0, 100, RAC_S3_TRIES="3")
    assert done.code == errno.EIO and done.out == b"" and "another range" in done.err
    assert s3.count("GET *") == 3


def test_a_server_without_ranges(s3, tool):
    body = blob(5000)
    s3.put("x", body)
    s3.rule("GET *", Fault(ignore_range=True))
    assert tool.ok("get", "data", "x", 0, 100).out == body[:100]
    assert tool.ok("get", "data", "x", 0, 9000).out == body
    assert tool("get", "data", "x", 5, 100, RAC_S3_TRIES="2").code == errno.EIO


def test_chunked_bodies(s3, tool):
    body = blob(100000)
    s3.put("x", body)
    s3.rule("*", Fault(chunked=True))
    assert tool.ok("get", "data", "x", 1, 99999).out == body[1:]
    assert "100000" in tool.ok("list", "data", "", "", 10).text


def test_past_the_end(s3, tool):
    s3.put("x", b"12345")
    s3.put("empty", b"")
    done = tool.ok("get", "data", "x", 5, 10)
    assert done.out == b"" and "0 of 5" in done.err
    assert "0 of 0" in tool.ok("get", "data", "empty", 0, 10).err
    assert tool.ok("get", "data", "x", 3, 10).out == b"45"


# -- errors ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("fault, wanted", [
    (Fault(status=403, code="AccessDenied"), errno.EACCES), (Fault(status=404, code="NoSuchKey"), errno.ENOENT),
    (Fault(status=503, code="SlowDown"), errno.EBUSY), (Fault(status=412, code="PreconditionFailed"), errno.ESTALE),
    (Fault(status=400, code="InvalidArgument"), errno.EINVAL), (Fault(status=403, code="QuotaExceeded"), errno.EREMOTEIO),
    (Fault(status=418, code="Teapot"), errno.EREMOTEIO), (Fault(status=500), errno.EIO), (Fault(refuse=True), errno.EIO),
    (Fault(delay=3), errno.ETIMEDOUT)], ids=lambda v: errno.errorcode.get(v) if isinstance(v, int) else "")
def test_errno(s3, tool, fault, wanted):
    s3.put("x", b"1")
    s3.rule("*", fault)
    assert tool("get", "data", "x", 0, 1, RAC_S3_TRIES="2", RAC_S3_ANSWER_TIMEOUT="200ms").code == wanted


def test_one_log_line_says_all(s3, tool):
    s3.rule("*", Fault(status=403, code="AccessDenied"))
    err = tool("get", "data", "a key", 0, 1).err
    lines = [line for line in err.splitlines() if "level=error" in line]
    assert len(lines) == 1
    for part in ("bucket=data", 'key="a key"', "status=403", "code=AccessDenied", "request_id=REQ1"):
        assert part in lines[0]


def test_no_credentials(s3, tool):
    done = tool("get", "data", "x", 0, 1, env={"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""})
    assert done.code == errno.EACCES and "no AWS credentials" in done.err and s3.seen == []


def test_nobody_there(s3, tool):
    s3.close()
    done = tool("get", "data", "x", 0, 1, RAC_S3_TRIES="2")
    assert done.code == errno.EIO and "cannot connect" in done.err


def test_retry_after_is_kept(s3, tool):
    s3.put("x", b"1")
    s3.rule("*", Fault(status=503, code="SlowDown", headers={"Retry-After": "1"}), times=1)
    begin = time.monotonic()
    tool.ok("get", "data", "x", 0, 1)
    assert time.monotonic() - begin >= 1


def test_one_in_three_fails(s3, tool, file):
    """All kinds of calls, with a third of all answers a 503."""
    body = blob(2 * PART + 1)
    path = file(body)
    s3.rule("*", Fault(status=503, code="SlowDown"), every=3)
    tool.ok("put", "data", "a", path)
    tool.ok("upload", "data", "b", path, PART)
    tool.ok("copy", "data", "b", "data", "c", "keep")
    assert tool.ok("get", "data", "c", 0, len(body)).out == body
    tool.ok("delete-many", "data", "a", "b")
    assert list(s3.objects["data"]) == ["c"] and not s3.uploads


def test_a_closed_idle_connection_is_no_failure(s3, tool):
    """Between two pages the server closes what it kept alive: the second page comes on a new connection, and no try is
    counted for it."""
    for i in range(4):
        s3.put(f"k{i}", b"")
    s3.rule("*max-keys=2*", Fault(then=lambda s: s.drop_connections()))
    done = tool.ok("list", "data", "", "", 2, RAC_S3_TRIES="1")
    assert done.text.count("page") == 2 and "k3" in done.text


# -- where and who -----------------------------------------------------------------------------------------
@pytest.mark.parametrize("how", [400, 301])
@pytest.mark.parametrize("command", [("get", "data", "x", 0, 9), ("head", "data", "x"), ("list", "data", "", "", 9)],
                         ids=lambda c: c[0])
def test_the_region_is_learned(s3, tool, how, command):
    s3.put("x", b"123")
    s3.region, s3.redirect = "eu-south-2", how
    tool.ok(*command, RAC_S3_TRIES="1")
    assert "/eu-south-2/s3/" in s3.seen[-1].headers["authorization"]


def test_a_redirect_without_a_region_ends(s3, tool):
    s3.rule("*", Fault(status=307, code="TemporaryRedirect", headers={"Location": "http://127.0.0.1:1/"}))
    done = tool("get", "data", "x", 0, 9)
    assert done.code == errno.EREMOTEIO and "AWS_REGION" in done.err and len(s3.seen) == 1


def test_expired_credentials_are_renewed(s3, tool):
    """The container's service gives others the second time."""
    given = []

    class Service(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            given.append(1)
            body = json.dumps({"AccessKeyId": f"K{len(given)}", "SecretAccessKey": "S", "Token": f"T{len(given)}",
                               "Expiration": "2099-01-01T00:00:00Z"}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            pass
    service = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Service)
    threading.Thread(target=service.serve_forever, args=(0.05,), daemon=True).start()
    try:
        s3.put("x", b"123")
        s3.known_tokens = {"T2"}
        env = {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "",
               "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"http://127.0.0.1:{service.server_address[1]}/c"}
        assert tool.ok("get", "data", "x", 0, 9, env=env).out == b"123"
        given.clear()
        tool.ok("head", "data", "x", env=env)
        assert len(given) == 2
        given.clear()
        s3.known_tokens = set()
        assert tool("get", "data", "x", 0, 9, env=env).code == errno.EACCES
        assert len(given) == 2
    finally:
        service.shutdown()
        service.server_close()


def test_a_wrong_clock_is_set_right(s3, tool):
    s3.put("x", b"123")
    s3.rule("*", Fault(status=403, code="RequestTimeTooSkewed", headers={"Date": "Fri, 24 May 2013 00:00:00 GMT"}), times=1)
    tool.ok("get", "data", "x", 0, 9)
    assert s3.seen[-1].headers["x-amz-date"].startswith("20130524T0000")


def test_a_wrong_clock_is_set_right_by_an_answer_without_a_body(s3, tool):
    """HEAD is refused without a word why, but with the server's time."""
    s3.put("x", b"123")
    s3.rule("HEAD *", Fault(status=403, headers={"Date": "Fri, 24 May 2013 00:00:00 GMT"}), times=1)
    tool.ok("head", "data", "x")
    assert s3.seen[-1].headers["x-amz-date"].startswith("20130524T0000")
    s3.rules.clear()
    s3.seen.clear()
    s3.rule("HEAD *", Fault(status=403))
    assert tool("head", "data", "x").code == errno.EACCES and len(s3.seen) == 1


# -- writing -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("fault", [Fault(lose=True), Fault(refuse=True), Fault(status=503), Fault(status=400, code="BadDigest"),
                                   Fault(late_status=500), Fault(late_status=504)],
                         ids=["lost", "refused", "503", "damaged", "done and 500", "done and 504"])
def test_exclusive_creation_is_exactly_once(s3, tool, file, fault):
    s3.rule("PUT *", fault, times=1)
    path = file(b"mine")
    tool.ok("put", "data", "lock", path, "new")
    assert s3.objects["data"]["lock"].body == b"mine"
    assert tool("put", "data", "lock", path, "new").code == errno.EEXIST


def test_somebody_elses_object_is_not_taken_for_ours(s3, tool, file):
    """Our request is lost before it is done; meanwhile another client creates the same object with the same bytes."""
    s3.rule("PUT *", Fault(status=500, then=lambda s: s.put("lock", b"mine")), times=1)
    assert tool("put", "data", "lock", file(b"mine"), "new").code == errno.EEXIST


@pytest.mark.parametrize("where", ["POST *?uploads=", "PUT *partNumber=2*", "POST *?uploadId=*", "DELETE *"])
@pytest.mark.parametrize("fault", [Fault(lose=True), Fault(refuse=True), Fault(status=500), Fault(late_status=504)],
                         ids=["lost", "refused", "500", "done and 504"])
def test_uploads_survive_and_leave_nothing(s3, tool, file, where, fault):
    body = blob(2 * PART + 12345)
    s3.rule(where, fault, times=1)
    tool.ok("upload", "data", "x", file(body), PART, "a=b")
    o = s3.objects["data"]["x"]
    assert o.body == body and o.meta["x-amz-meta-a"] == "b" and not s3.uploads
    # What marks our own object is not seen as metadata.
    assert "rac-upload" not in tool.ok("head", "data", "x").text


def test_leave_to_send_that_comes_late(s3, tool, file):
    """The server says 100 Continue when the body is on its way already, and reads on only then: that is no answer."""
    s3.continue_after = 1.3
    body = blob(32 << 20)
    tool.ok("put", "data", "x", file(body), RAC_S3_TRIES="1", RAC_S3_ANSWER_TIMEOUT="30s")
    assert s3.objects["data"]["x"].body == body and s3.count("PUT /data/x") == 1


def test_completion_says_200_and_means_an_error(s3, tool, file):
    body = blob(PART + 1)
    s3.rule("POST *?uploadId=*", Fault(error_in_200="InternalError"), times=2)
    tool.ok("upload", "data", "x", file(body), PART)
    assert s3.objects["data"]["x"].body == body
    s3.rule("POST *?uploadId=*", Fault(error_in_200="InvalidPart"))
    assert tool("upload", "data", "y", file(body), PART, RAC_S3_TRIES="2").code != 0
    assert "y" not in s3.objects["data"] and not s3.uploads


def test_a_failed_upload_is_aborted(s3, tool, file):
    s3.rule("PUT *partNumber=2*", Fault(status=403, code="AccessDenied"))
    assert tool("upload", "data", "x", file(blob(2 * PART)), PART).code == errno.EACCES
    assert not s3.uploads and not s3.objects["data"]


def test_anothers_upload_is_left_alone(s3, tool, file):
    """The answer to our creation is lost, and somebody else's upload of the same key is under way: none is aborted."""
    s3.uploads["theirs"] = Upload("data", "x", {}, time.time())
    s3.rule("POST *?uploads=", Fault(lose=True), times=1)
    tool.ok("upload", "data", "x", file(blob(100)), PART)
    assert "theirs" in s3.uploads


def test_exclusive_upload(s3, tool, file):
    path = file(blob(PART + 1))
    s3.rule("POST *?uploadId=*", Fault(lose=True), times=1)
    tool.ok("upload", "data", "x", path, PART, "new")
    assert tool("upload", "data", "x", path, PART, "new").code == errno.EEXIST
    assert not s3.uploads


def test_copies_of_a_changed_source(s3, tool):
    s3.put("x", b"123")
    assert tool("copy", "data", "x", "data", "y", "keep", RAC_TOOL_ETAG="0123").code == errno.ESTALE
    assert "y" not in s3.objects["data"]
    s3.rule("PUT /data/y*", Fault(error_in_200="InternalError"), times=1)
    tool.ok("copy", "data", "x", "data", "y", "keep")
    assert s3.objects["data"]["y"].body == b"123"


def test_parts_carry_a_checksum(s3, tool, file):
    body = blob(PART + 1000)
    tool.ok("upload", "data", "x", file(body), PART)
    parts = [s for s in s3.seen if s.query.get("partNumber") == "2"]
    assert parts[0].headers["x-amz-checksum-crc32c"] == crc32c(body[PART:])
    begun = [s for s in s3.seen if "uploads" in s.query]
    assert begun[0].headers["x-amz-checksum-algorithm"] == "CRC32C"


def test_headers_of_what_is_written(s3, tool, file):
    tool.ok("put", "data", "w/.command.run", file(b""), FUSION_AWS_SERVER_SIDE_ENCRYPTION="aws:kms",
            FUSION_AWS_SSEKMS_KEY_ID="key/1", RAC_S3_STORAGE_CLASS="STANDARD_IA", RAC_S3_REQUESTER_PAYS="true",
            FUSION_TAGS="[.command.*](a/b=true),[*](c=d)")
    sent = s3.seen[-1].headers
    assert sent["x-amz-server-side-encryption"] == "aws:kms"
    assert sent["x-amz-server-side-encryption-aws-kms-key-id"] == "key/1"
    assert sent["x-amz-storage-class"] == "STANDARD_IA" and sent["x-amz-request-payer"] == "requester"
    assert sent["x-amz-tagging"] == "a%2Fb=true"


# -- cancelling --------------------------------------------------------------------------------------------
@pytest.mark.parametrize("fault", [Fault(delay=20), Fault(stall_after=100, stall=20), Fault(rate=2000),
                                   Fault(status=503, headers={"Retry-After": "20"})],
                         ids=["no answer", "stalled", "slow", "pausing"])
def test_cancel(s3, tool, fault):
    s3.put("x", blob(100000))
    s3.rule("*", fault)
    begin = time.monotonic()
    assert tool("get", "data", "x", 0, 100000, RAC_TOOL_CANCEL_MS="300").code == errno.EINTR
    assert time.monotonic() - begin < 15


def test_a_cancelled_upload_leaves_nothing(s3, tool, file):
    s3.rule("PUT *partNumber=*", Fault(delay=5))
    path = file(blob(2 * PART))
    assert tool("upload", "data", "x", path, PART, RAC_TOOL_CANCEL_MS="500").code == errno.EINTR
    assert not s3.uploads and not s3.objects["data"]
    s3.rule("POST *?uploads=", Fault(delay=1))
    assert tool("upload", "data", "x", path, PART, RAC_TOOL_CANCEL_MS="300").code == errno.EINTR
    assert not s3.uploads


# -- TLS ---------------------------------------------------------------------------------------------------
@pytest.fixture
def tls(authority):
    server = S3Faults(tls=authority.server("s3"))
    yield server
    server.close()


def test_tls(scratch, authority, tls, file):
    tool = Tool(scratch, tls.environment(AWS_CA_BUNDLE=authority.certificate))
    body = blob(2 * PART + 7)
    tool.ok("upload", "data", "x", file(body), PART)
    assert tls.objects["data"]["x"].body == body
    assert tool.ok("get", "data", "x", 5, len(body)).out == body[5:]
    assert tls.seen[-1].headers["x-amz-content-sha256"] == "UNSIGNED-PAYLOAD"


def test_tls_of_a_stranger(scratch, tls, s3):
    done = Tool(scratch, tls.environment())("get", "data", "x", 0, 1)
    assert done.code == errno.EINVAL and "certificate" in done.err and not tls.seen
    done = Tool(scratch, tls.environment(AWS_CA_BUNDLE="/nonexistent.pem"))("get", "data", "x", 0, 1)
    assert done.code == errno.EINVAL and "/nonexistent.pem" in done.err and not tls.seen


def test_certificates_are_for_tls_alone(s3, tool):
    s3.put("x", b"1")
    assert tool.ok("get", "data", "x", 0, 1, AWS_CA_BUNDLE="/nonexistent.pem").out == b"1"
