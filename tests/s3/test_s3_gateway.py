# SPDX-License-Identifier: Apache-2.0
"""Every call against Ceph's gateway, which checks each signature: odd keys, sizes at the edges, pages, metadata."""
import errno
import hashlib
import random

import pytest

from rig import radosgw
from rig.s3tool import Tool

PART = 5 << 20
KEYS = ["plain", "with space", "plus+plus", "per%20cent%", "q?&=#;", "üñí/ćødé 日本 😀", "a/b/c", "trailing/", "//two", "'\"<>&",
        "tilde~!*()$,:@[]{}|\\^`", "\x01\x1f\x7f", "tab\tnew\nline\r", "x" * 1024, "dir/" + "ü" * 500]


@pytest.fixture(scope="module")
def rgw(scratch, gateway):
    """The tool, with a bucket "data"."""
    tool = Tool(scratch, gateway.environment())
    scratch.run("curl", "-sf", "-X", "PUT", "--aws-sigv4", "aws:amz:us-east-1:s3", "--user",
                f"{radosgw.ACCESS_KEY}:{radosgw.SECRET_KEY}", "-H", "x-amz-content-sha256: UNSIGNED-PAYLOAD",
                f"{gateway.url}/data")
    return tool


def listed(tool, prefix="", delimiter="", limit=1000):
    out = tool.ok("list", "data", prefix, delimiter, limit).text
    return [line for line in out.splitlines() if line != "page"], out.count("page\n")


@pytest.mark.parametrize("key", KEYS, ids=lambda k: repr(k)[:20])
def test_a_key_is_bytes(rgw, file, key):
    body = key.encode()
    name = "keys/" + key if len(key) < 1000 else key
    rgw.ok("put", "data", name, file(body))
    assert rgw.ok("get", "data", name, 0, 4000).out == body
    rgw.ok("copy", "data", name, "data", "copied", "keep")
    assert rgw.ok("get", "data", "copied", 0, 4000).out == body
    assert name in rgw.ok("list", "data", name, "", 10).text
    rgw.ok("delete-many", "data", name, "copied")
    assert rgw("head", "data", name).code == errno.ENOENT


@pytest.mark.parametrize("size", [0, 1, PART - 1, PART, PART + 1, 2 * PART, 3 * PART + 17])
def test_sizes(rgw, file, size):
    body = random.Random(size).randbytes(size)
    path = file(body)
    etag = rgw.ok("put", "data", "s", path).text.strip()
    assert etag == hashlib.md5(body).hexdigest()
    assert rgw.ok("get", "data", "s", 0, size + 1).out == body
    if size:
        assert rgw.ok("get", "data", "s", size - 1, 100).out == body[-1:]
        rgw.ok("upload", "data", "m", path, PART, "a=b", "type=text/x")
        assert rgw.ok("get", "data", "m", 0, size).out == body
        head = rgw.ok("head", "data", "m").text
        assert "meta a=b" in head and "type text/x" in head and "rac-upload" not in head


def test_conditions(rgw, file):
    etag = rgw.ok("put", "data", "c", file(b"one")).text.strip()
    assert rgw("put", "data", "c", file(b"two"), "new").code == errno.EEXIST
    assert rgw.ok("get", "data", "c", 0, 9, etag).out == b"one"
    rgw.ok("put", "data", "c", file(b"two"))
    assert rgw("get", "data", "c", 0, 9, etag).code == errno.ESTALE
    assert rgw("upload", "data", "c", file(b"three"), PART, "new").code == errno.EEXIST
    assert rgw("copy", "data", "c", "data", "d", "keep", RAC_TOOL_ETAG=etag).code == errno.ESTALE
    assert rgw("get", "data", "none", 0, 9).code == errno.ENOENT
    assert rgw("list", "nobucket", "", "", 9).code == errno.ENOENT
    assert rgw("check", "nobucket").code == errno.ENOENT
    assert rgw("check", "no/bucket").code == errno.EINVAL
    rgw.ok("delete", "data", "none")


def test_pages(rgw, file):
    empty = file(b"")
    for name in ["p/a", "p/b/1", "p/b/2", "p/c", "p/d/1", "p/e"]:
        rgw.ok("put", "data", name, empty)
    for limit in (1, 2, 4, 1000):
        lines, pages = listed(rgw, "p/", "/", limit)
        assert sorted(line.split(" ", 3)[-1] if not line.startswith("prefix ") else line for line in lines) == \
            ["p/a", "p/c", "p/e", "prefix p/b/", "prefix p/d/"]
        assert pages >= -(-5 // limit)
        assert len(listed(rgw, "p/", "", limit)[0]) == 6
    assert listed(rgw, "p/none", "/")[0] == []
    assert "0 not deleted" in rgw.ok("delete-many", "data", "p/a", "p/b/1", "p/b/2", "p/c", "p/d/1", "p/e", "p/never").text
    assert listed(rgw, "p/")[0] == []


def test_metadata_and_copies(rgw, file):
    rgw.ok("put", "data", "src", file(b"x" * 100), "mode=0644", "owner=1:2", "type=text/plain")
    rgw.ok("copy", "data", "src", "data", "kept", "keep")
    rgw.ok("copy", "data", "src", "data", "new", "mode=0600")
    rgw.ok("copy", "data", "src", "data", "src", "mode=0700", "type=a/b")
    assert "meta owner=1:2" in rgw.ok("head", "data", "kept").text and "text/plain" in rgw.ok("head", "data", "kept").text
    new = rgw.ok("head", "data", "new").text
    assert "meta mode=0600" in new and "owner" not in new
    assert "meta mode=0700" in rgw.ok("head", "data", "src").text and "type a/b" in rgw.ok("head", "data", "src").text


def test_copies_in_parts(rgw, file):
    body = random.Random(5).randbytes(3 * PART + 5)
    rgw.ok("put", "data", "big", file(body), "a=b")
    for to in ("parts", "big"):
        rgw.ok("copy", "data", "big", "data", to, "keep", RAC_S3_COPY_MAX="5MiB")
        assert rgw.ok("get", "data", to, 0, len(body)).out == body
        assert "meta a=b" in rgw.ok("head", "data", to).text
    rgw.ok("splice", "data", "spliced", "big", 2 * PART, file(b"end"))
    assert rgw.ok("get", "data", "spliced", 2 * PART - 2, 100).out == body[2 * PART - 2:2 * PART] + b"end"


def test_buckets(rgw):
    names = rgw.ok("buckets").text.splitlines()  # tests of the mount may have made others
    assert names == sorted(set(names)) and "data" in names
    rgw.ok("check", "data")
    rgw.ok("check", "data", "some/prefix")


def test_wrong_keys(rgw):
    for change in ({"AWS_SECRET_ACCESS_KEY": "wrong"}, {"AWS_ACCESS_KEY_ID": "UNKNOWN"}):
        done = rgw("list", "data", "", "", 1, env=change)
        assert done.code == errno.EACCES and "request_id=" in done.err
