# SPDX-License-Identifier: Apache-2.0
"""Requests for container tokens that cannot be: each is refused with an answer that says why, and costs little."""
import base64
import concurrent.futures
import gzip
import json
import os
import time
import zlib

import pytest

from rig import images, process, proxy, token_api, upstream, wire
from rig.token_api import inline

NAME = "lib/app"
IMAGE = "up.test/lib/app:1"
SHA = "sha256:" + "0" * 64
TAR = images.tar([("foo.txt", b"bar\n", 0o644)])
GZIP = gzip.compress(TAR, mtime=0)
GOOD = inline(GZIP, TAR)


@pytest.fixture(scope="module")
def site():
    """One upstream for all cases of a module, which change nothing."""
    u = upstream.Upstream()
    u.tag(NAME, "1", images.tiny())
    u.tag(NAME, "index", images.two_platforms())
    yield u
    u.close()


@pytest.fixture(scope="module")
def px(scratch, site):
    p = proxy.Proxy(scratch, {"up.test": site.url}, ["--tokens-rate", "0", "--upstream-missing", "0s"])
    yield p
    p.close()


def body(**members):
    return json.dumps({"containerImage": IMAGE, **members}).encode()


def layers(*several, **config):
    return body(containerConfig={"layers": list(several), **config})


def but(**members):
    return layers({**GOOD, **members})


def without(name):
    return layers({k: v for k, v in GOOD.items() if k != name})


def flipped(data):
    return data[:-1] + bytes([data[-1] ^ 1])


def data(content):
    return "data:" + base64.b64encode(content).decode()


BAD = [
    # (body, words of the message)
    (b"", "no body"),
    (b"x", "not the JSON"),
    (b"{", "not the JSON"),
    (b"[]", "must be a JSON object"),
    (b"null", "not the JSON"),
    (b'"x"', "not the JSON"),
    (b"{}", "'containerImage' is missing"),
    (b'{"containerImage":"x"} {}', "not the JSON"),
    (b'{"containerImage":"x","containerImage":"y"}', "not the JSON"),
    (b'{"containerImage":"\xff"}', "not the JSON"),
    (b'{"containerImage":"a\\u0000b"}', "not the JSON"),
    (b'{"a":' * 40 + b"1" + b"}" * 40, "not the JSON"),
    (b'{"a":' * 10_000 + b"1" + b"}" * 10_000, "not the JSON"),
    (b"[" * 10_000 + b"]" * 10_000, "not the JSON"),
    (b'{"containerImage":"\xed\xa0\x80"}', "not the JSON"),
    (b'{"containerImage":"\\ud800"}', "not the JSON"),
    (b'{"containerImage":"x","a\\u0000b":1}', "not the JSON"),
    (b'\xef\xbb\xbf{"containerImage":"x"}', "not the JSON"),
    (b'{"containerImage":"x",}', "not the JSON"),
    (b'{"containerImage":"x","timestamp":NaN}', "not the JSON"),
    (b'{"containerImage":"x","timestamp":1e400}', "not the JSON"),
    (b'{"containerImage":"x","timestamp":99999999999999999999}', "not the JSON"),
    (body(containerImage=None), "'containerImage' is missing"),
    (body(containerImage=7), "'containerImage': must be a string"),
    (body(containerImage=[IMAGE]), "'containerImage': must be a string"),
    (body(containerImage=""), "'containerImage': is empty"),
    (body(containerImage="   "), "'containerImage': is empty"),
    (body(containerImage="x" * 700), "'containerImage'"),
    (body(containerImage="up.test/LIB/app:1"), "'containerImage'"),
    (body(containerImage="up.test/lib/../app:1"), "'containerImage'"),
    (body(containerImage="../../etc/passwd"), "'containerImage'"),
    (body(containerImage="up.test/lib//app"), "'containerImage'"),
    (body(containerImage="/lib/app"), "'containerImage'"),
    (body(containerImage="up.test/lib/app/"), "'containerImage'"),
    (body(containerImage="up.test/lib/app:"), "'containerImage'"),
    (body(containerImage="up.test/lib/app:a b"), "'containerImage'"),
    (body(containerImage="up.test/lib/app:" + "t" * 129), "'containerImage'"),
    (body(containerImage="up.test/lib/app@sha256:12"), "'containerImage'"),
    (body(containerImage="up.test/lib/app@md5:" + "0" * 32), "'containerImage'"),
    (body(containerImage="up.test/lib/app:1@"), "'containerImage'"),
    (body(containerImage="https://up.test/lib/app:1"), "'containerImage'"),
    (body(containerImage="up.test/lib/app:1\r\nX-Evil: 1"), "'containerImage'"),
    (body(containerImage="up.test/lib/app%2f..%2fx:1"), "'containerImage'"),
    (body(containerImage="up.test/x' OR '1'='1:1"), "'containerImage'"),
    (body(containerImage="us er:5000/x:1"), "'containerImage'"),
    (body(containerPlatform=5), "'containerPlatform' must be a string"),
    (body(containerPlatform="linux"), "'containerPlatform'"),
    (body(containerPlatform="linux/amd64/v1/x"), "'containerPlatform'"),
    (body(containerPlatform="LINUX/AMD64"), "'containerPlatform'"),
    (body(containerPlatform="linux/s390x"), "has no linux/s390x: it has linux/amd64"),
    (body(containerConfig=[]), "'containerConfig' must be an object"),
    (body(containerConfig="x"), "'containerConfig' must be an object"),
    (body(containerConfig={"env": "A=1"}), "'env' must be a list of strings"),
    (body(containerConfig={"env": ["A"]}), "'env' entry 0 must be KEY=VALUE"),
    (body(containerConfig={"env": ["=x"]}), "'env' entry 0 must be KEY=VALUE"),
    (body(containerConfig={"env": [1]}), "'env' must be a list of strings"),
    (body(containerConfig={"cmd": "sh"}), "'cmd' must be a list of strings"),
    (body(containerConfig={"entrypoint": {"a": 1}}), "'entrypoint' must be a list of strings"),
    (body(containerConfig={"workingDir": 1}), "'workingDir'"),
    (body(containerConfig={"labels": ["a"]}), "'labels' must be an object of strings"),
    (body(containerConfig={"labels": {"a": 1}}), "label 'a' must be a string"),
    (body(containerConfig={"entrypointChain": "both"}), "'entrypointChain' must be 'args' or 'env'"),
    (body(containerConfig={"user": "root"}), "'user' must be 'keep' or 'root-then-drop'"),
    (body(containerConfig={"layers": {}}), "'layers' must be a list"),
    (body(containerConfig={"layers": ["x"]}), "layers[0]: must be an object"),
    (layers(GOOD, None), "layers[1]: must be an object"),
    (layers(*[GOOD] * 65), "65 layers: the limit is 64 (tokens.max-layers)"),
    (layers(*[GOOD] * 127), "the limit is"),
    (without("location"), "'location' is missing"),
    (without("gzipDigest"), "'gzipDigest' is missing"),
    (without("gzipSize"), "'gzipSize' is missing"),
    (without("tarDigest"), "'tarDigest' is missing"),
    (but(gzipSize="12"), "'gzipSize' must be a number"),
    (but(gzipSize=0), "'gzipSize' must be a number"),
    (but(gzipSize=-1), "'gzipSize' must be a number"),
    (but(gzipSize=1.5), "'gzipSize' must be a number"),
    (but(gzipSize=2 ** 60), "'gzipSize' must be a number"),
    (but(gzipSize=2 ** 63), "not the JSON"),
    (but(gzipSize=-2 ** 63 - 1), "not the JSON"),
    (but(gzipSize=10 ** 30), "not the JSON"),
    (but(gzipDigest="sha256:zz"), "'gzipDigest'"),
    (but(tarDigest="0" * 64), "'tarDigest'"),
    (but(tarDigest=5), "'tarDigest'"),
    (but(skipHashing="no"), "'skipHashing' must be true or false"),
    (but(platform="windows"), "'platform'"),
    (but(location=""), "'location' is missing"),
    (but(location=7), "'location'"),
    (but(location="file:/etc/passwd"), "'location' must be https://, data:"),
    (but(location="file:///etc/passwd"), "'location' must be https://, data:"),
    (but(location="/etc/passwd"), "'location' must be https://, data: or gzip:"),
    (but(location="layer.tar.gz"), "'location' must be https://, data: or gzip:"),
    (but(location="image:up.test/lib/app"), "'location' must be https://, data: or gzip:"),
    (but(location="http://example.com/layer"), "plain http: use https://"),
    (but(location="ftp://example.com/layer"), "'location' must be"),
    (but(location="https://"), "names no host"),
    (but(location="https:///x"), "names no host"),
    (but(location="https://h/a b"), "a URL may not"),
    (but(location="https://h/a\r\nX: y"), "a URL may not"),
    (but(location="data:!!!"), "base64"),
    (but(location="data:A"), "base64 is cut short"),
    (but(location=GOOD["location"][:-3] + "?=="), "base64"),
    (but(location="data:"), "gzipSize"),
    (but(location="gzip:" + base64.b64encode(b"not zlib").decode()), "zlib"),
    (but(location="gzip:" + base64.b64encode(zlib.compress(GZIP)[:-4]).decode()), "zlib"),
    (but(location="gzip:" + base64.b64encode(zlib.compress(GZIP) + b"more").decode()), "behind its zlib stream"),
    (but(location=data(GZIP[:-8])), "gzip"),
    (but(location=data(GZIP + b"x")), "gzip"),
    (but(location=data(flipped(GZIP))), f"gzipDigest {GOOD['gzipDigest']} expected, found {wire.sha256(flipped(GZIP))}"),
    (but(gzipDigest=SHA), f"gzipDigest {SHA} expected, found {GOOD['gzipDigest']}"),
    (but(tarDigest=SHA), f"tarDigest {SHA} expected, found {GOOD['tarDigest']}"),
    (but(gzipSize=len(GZIP) + 1), f"gzipSize {len(GZIP) + 1} expected, found {len(GZIP)}"),
    (but(gzipSize=len(GZIP) - 1), "gzipSize"),
    (layers(inline(TAR, TAR)), "gzip"),
    (layers(inline(gzip.compress(b"no tar" * 100), b"no tar" * 100)), "tar"),
    (layers(inline(gzip.compress(TAR[:700]), TAR[:700])), "tar"),
    (layers(GOOD, {**GOOD, "tarDigest": SHA}), f"tarDigest {SHA} expected"),
    (body(containerIncludes="x"), "'containerIncludes' must be a list"),
    (body(containerIncludes=[5]), "containerIncludes[0]: must be a string"),
    (body(containerIncludes=["UPPER"]), "containerIncludes[0]"),
    (body(containerIncludes=[IMAGE] * 11), "11 images: the limit is 10 (tokens.max-includes)"),
    (body(containerIncludes=[IMAGE], containerPlatform="all"), "needs one 'containerPlatform'"),
    (body(fingerprint={"a": 1}), "'fingerprint' must be a string"),
    (body(workflowId="w" * 2000), "'workflowId' is longer than"),
    (body(towerAccessToken=7), "'towerAccessToken'"),
    (body(containerFile="RlJPTSB4"), "'containerFile' is not supported by this server"),
    (body(condaFile="x"), "'condaFile' is not supported by this server"),
    (body(spackFile="x"), "'spackFile' is not supported by this server"),
    (body(packages={"type": "CONDA", "entries": ["x"]}), "'packages' is not supported by this server"),
    (body(buildRepository="quay.io/x"), "'buildRepository' is not supported by this server"),
    (body(mirror=True), "'mirror' is not supported by this server"),
    (body(freeze=True), "'freeze' is not supported by this server"),
    (body(format="sif"), "'format' is not supported by this server"),
    (body(scanMode="required"), "'scanMode' is not supported by this server"),
]


@pytest.mark.parametrize("path", ["/container-token", "/v1alpha2/container"])
@pytest.mark.parametrize("request_body,words", BAD, ids=[words for _, words in BAD])
def test_it_is_refused_with_a_reason(px, site, path, request_body, words):
    reply = px.fetch("POST", path, body=request_body)
    assert reply.status in (400, 413), (reply.status, reply.body)
    assert reply["Content-Type"] == "application/json" and set(reply.json) == {"message"}
    assert words in reply.json["message"], reply.json["message"]
    assert "X-Evil" not in reply.headers and "/etc/passwd" not in reply.json["message"][200:]


def test_there_are_enough_of_them():
    assert len(BAD) >= 80


@pytest.mark.parametrize("members", [
    {"containerFile": None, "condaFile": "", "packages": {}, "mirror": False, "freeze": False, "format": None,
     "scanMode": "none", "buildRepository": None}, {"format": "docker"}, {"unknown": {"deep": [1, 2, {"x": None}]}},
    {"containerConfig": {"layers": [], "env": None, "unknown": 1}}, {"containerIncludes": []}, {"dryRun": True},
    {"containerPlatform": None}, {"timestamp": "now", "fingerprint": None}, {"cacheRepository": "x"}])
def test_what_asks_for_nothing_is_no_error(px, members):
    assert px.fetch("POST", "/container-token", body=body(**members)).status == 200


def test_other_methods(px):
    for method in ("GET", "PUT", "DELETE", "PATCH"):
        reply = px.fetch(method, "/container-token")
        assert reply.status == 405 and reply["Allow"] == "POST" and "message" in reply.json
    assert px.fetch("POST", "/container-token/" + "0" * 32).status == 405


@pytest.mark.parametrize("text", ["0" * 32, "x", "0" * 31, "0" * 33, "A" * 32, "'%20OR%201=1--", "..%2f..%2fetc", "%0d%0aX:1",
                                  "a/b", "../healthz"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_tokens_that_nobody_has(px, text, method):
    reply = px.fetch(method, "/container-token/" + text)
    assert reply.status in (400, 404, 429)
    if method == "GET" and reply.status == 404:
        assert "is unknown or expired" in reply.json["message"]


def test_17_mib(px):
    reply = px.fetch("POST", "/container-token", body=body(fingerprint="x" * (17 << 20)), timeout=60)
    assert reply.status == 413 and "too large" in reply.json["message"]


def test_15_mib_of_a_layer(px, scratch):
    """As large as it gets: taken, and in bounded time for others."""
    noise = images.tar([("n", images.noise(11 << 20, "n"))])
    packed = gzip.compress(noise, 1, mtime=0)
    t = token_api.Token(px, px.fetch("POST", "/container-token", body=layers(inline(packed, noise)), timeout=60))
    assert t.blob(wire.sha256(packed)).digest == wire.sha256(packed)


# Bombs

@pytest.fixture(scope="module")
def bomb():
    """A gzip of 10 GB of zeros, some 10 MB that inflate to a thousand times as much: one piece that refers to nothing before
    it, again and again. Its end is missing: nobody may get there."""
    piece = zlib.compressobj(9, zlib.DEFLATED, -15)
    zeros = piece.compress(bytes(10_000_000)) + piece.flush(zlib.Z_FULL_FLUSH)
    return b"\x1f\x8b\x08" + bytes(7) + zeros * 1000


def memory(p):
    with open(f"/proc/{p.daemon.pid}/status", encoding="ascii") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("VmRSS"))


@pytest.mark.parametrize("kind", ["data", "gzip"])
def test_a_bomb_is_refused_in_bounded_memory_and_time(make, site, bomb, kind):
    p = make({"up.test": site.url}, ["--tokens-max-unpacked-size", "256MiB"])
    text = data(bomb) if kind == "data" else "gzip:" + base64.b64encode(zlib.compress(bomb, 9)).decode()
    entry = {"location": text, "gzipDigest": wire.sha256(bomb), "gzipSize": len(bomb), "tarDigest": SHA}
    before, begin = memory(p), time.monotonic()
    reply = p.fetch("POST", "/container-token", body=layers(entry), timeout=120)
    assert reply.status == 413 and "268435456" in reply.json["message"], reply.body
    assert time.monotonic() - begin < 30
    assert memory(p) - before < 600 << 10, "kB; a sanitizer keeps what was freed"
    assert p.get("/healthz").status == 200


def test_bombs_hold_up_nobody_whose_layers_are_known(make, site, bomb):
    """Two threads check layers. Both have a bomb, and two more wait; tokens are made all the while."""
    p = make({"up.test": site.url}, ["--tokens-rate", "0", "--tokens-max-unpacked-size", "256MiB"])
    assert p.fetch("POST", "/container-token", body=layers(GOOD)).status == 200
    wrong = layers({"location": data(bomb), "gzipDigest": wire.sha256(bomb), "gzipSize": len(bomb), "tarDigest": SHA})
    meanwhile = []
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        bombs = [pool.submit(p.fetch, "POST", "/container-token", body=wrong, timeout=300) for _ in range(4)]
        while not any(b.done() for b in bombs):
            for wanted in (layers(GOOD), body()):
                meanwhile.append(p.fetch("POST", "/container-token", body=wanted, timeout=60).status)
        assert [b.result().status for b in bombs] == [413] * 4
    assert len(meanwhile) > 2 and set(meanwhile) == {200}, meanwhile


def test_a_body_that_inflates_to_more_than_it_says(px):
    """gzip: of zeros: 1 GB out of 1 MB, where gzipSize says 100 bytes."""
    zeros = zlib.compressobj(9)
    text = b"".join(zeros.compress(bytes(1 << 20)) for _ in range(1000)) + zeros.flush()
    entry = {**GOOD, "location": "gzip:" + base64.b64encode(text).decode(), "gzipSize": 100}
    begin = time.monotonic()
    reply = px.fetch("POST", "/container-token", body=layers(entry))
    assert reply.status == 413 and "inflates to more than" in reply.json["message"]
    assert time.monotonic() - begin < 30


# Limits, each named

@pytest.mark.parametrize("option,value,request_body,words", [
    ("--tokens-max-layers", 1, layers(GOOD, GOOD), "(tokens.max-layers)"),
    ("--tokens-max-includes", 1, body(containerIncludes=[IMAGE, IMAGE]), "(tokens.max-includes)"),
    ("--tokens-max-layer-size", len(GZIP) - 1, layers(GOOD), "(tokens.max-layer-size)"),
    ("--tokens-max-total-size", 2 * len(GZIP) - 1, layers(GOOD, GOOD), "(tokens.max-total-size)"),
    ("--tokens-max-layers", 1, body(containerIncludes=[IMAGE, IMAGE]), "(tokens.max-layers)")])
def test_limits_are_named(make, site, option, value, request_body, words):
    p = make({"up.test": site.url}, [option, value])
    reply = p.fetch("POST", "/container-token", body=request_body)
    assert reply.status in (400, 413) and words in reply.json["message"], reply.body


# Layers by https

@pytest.fixture(scope="module")
def files(authority):
    u = upstream.Upstream(tls=authority.server("layers"))
    u.rule("GET /layer.tar.gz", upstream.Answer(body=GZIP))
    u.rule("GET /slow", upstream.Answer(body=GZIP, length="chunked"))
    u.rule("GET /gone", upstream.Answer(404, body=b"no"))
    u.rule("GET /broken", upstream.Answer(500, body=b"no"))
    u.rule("GET /longer", upstream.Answer(body=GZIP + b"xxxx"))
    u.rule("GET /longer-chunked", upstream.Answer(body=GZIP + b"xxxx", length="chunked"))
    u.rule("GET /cut", upstream.Answer(body=GZIP, cut=50))
    u.rule("GET /other", upstream.Answer(body=flipped(GZIP)))
    u.rule("GET /elsewhere", upstream.redirect("https://169.254.169.254/latest/meta-data"))
    u.rule("GET /loopback", upstream.redirect("https://[::1]/x"))
    u.rule("GET /plain", upstream.redirect("http://127.0.0.1/x"))
    u.rule("GET /file", upstream.redirect("file:///etc/passwd"))
    u.rule("GET /loop", upstream.redirect("/loop"))
    u.rule("GET /moved", upstream.redirect("/layer.tar.gz"))
    yield u
    u.close()


@pytest.fixture(scope="module")
def hx(scratch, site, authority):
    p = proxy.Proxy(scratch, {"up.test": site.url}, ["--layers-hosts", "127.0.0.1", "--layers-ca", authority.certificate,
                                                     "--upstream-head-timeout", "2s", "--upstream-stall-timeout", "2s"])
    yield p
    p.close()


def by_https(files, path, **members):
    return but(location=files.url + path, **members)


@pytest.mark.parametrize("path", ["/layer.tar.gz", "/slow", "/moved", "/layer.tar.gz?signature=secret"])
def test_a_layer_by_https(hx, files, path):
    t = token_api.Token(hx, hx.fetch("POST", "/container-token", body=by_https(files, path)))
    assert t.blob(GOOD["gzipDigest"]).body == GZIP
    assert "signature=secret" not in hx.log() and b"location" not in t.about().body


def test_a_layer_by_https_is_fetched_once(hx, files):
    files.rule("GET /once", upstream.Answer(body=GZIP))
    for _ in range(5):
        token_api.Token(hx, hx.fetch("POST", "/container-token", body=by_https(files, "/once")))
    assert files.count("GET /once") == 1


def test_a_layer_that_is_lost_is_fetched_again(hx, files, site):
    other_tar = images.tar([("again.txt", b"again\n")])
    packed = gzip.compress(other_tar, mtime=0)
    files.rule("GET /again", upstream.Answer(body=packed))
    entry = {**inline(packed, other_tar), "location": files.url + "/again"}
    t = token_api.Token(hx, hx.fetch("POST", "/container-token", body=layers(entry)))
    hx.stop()
    os.unlink(hx.blob_file(wire.sha256(packed)))
    hx.start()
    assert t.blob(wire.sha256(packed)).body == packed
    assert files.count("GET /again") == 2


@pytest.mark.parametrize("path,status,words", [
    ("/gone", 400, "answered 404"), ("/broken", 502, "answered 500"), ("/longer", 400, f"gzipSize {len(GZIP)} expected"),
    ("/longer-chunked", 413, "gzipSize"), ("/cut", 502, "127.0.0.1"), ("/other", 400, f"gzipDigest {GOOD['gzipDigest']} expected"),
    ("/elsewhere", 403, "169.254.169.254"), ("/loopback", 403, "::1"), ("/plain", 403, "redirect refused"),
    ("/file", 403, "redirect refused"), ("/loop", 502, "redirects")])
def test_https_that_fails(hx, files, path, status, words):
    reply = hx.fetch("POST", "/container-token", body=by_https(files, path))
    assert (reply.status, words in reply.json["message"]) == (status, True), reply.body


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "169.254.169.254", "10.0.0.1", "192.168.1.1", "172.16.0.1",
                                  "0.0.0.0", "[::ffff:127.0.0.1]", "[fd00::1]", "[fe80::1]", "100.64.0.1", "127.1",
                                  "2130706433", "0x7f.1"])
def test_private_addresses_are_refused(px, files, host):
    before = files.connections
    reply = px.fetch("POST", "/container-token", body=but(location=f"https://{host}:{files.port}/layer.tar.gz"))
    assert reply.status in (400, 403, 502), reply.body
    assert files.connections == before, "it was not dialled"


def test_an_unknown_authority_is_refused(make, site, files):
    p = make({"up.test": site.url}, ["--layers-hosts", "127.0.0.1"])
    reply = p.fetch("POST", "/container-token", body=by_https(files, "/layer.tar.gz"))
    assert reply.status == 502 and "127.0.0.1" in reply.json["message"]


def test_nothing_bad_left_a_blob(px, scratch):
    """What was refused is not kept: neither as a blob, nor as a partial."""
    tar_bytes = images.tar([("never.txt", b"never\n")])
    packed = gzip.compress(tar_bytes, mtime=0)
    reply = px.fetch("POST", "/container-token", body=layers(inline(packed, tar_bytes, tarDigest=SHA)))
    assert reply.status == 400
    process.wait_for(lambda: not os.path.exists(px.partial_file(wire.sha256(packed))), what="the partial is deleted")
    assert not os.path.exists(px.blob_file(wire.sha256(packed)))
