# SPDX-License-Identifier: Apache-2.0
"""Challenges, token servers, redirects: credentials go where they belong and nowhere else, and no address is dialled
that a stranger chose."""
import base64
import json
import threading

import pytest

from rig import images, proxy, upstream

NAME = "team/app"
USER, PASSWORD = "puller", proxy.secret("hunter2-very-secret")
BASIC = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
proxy.secret(BASIC[6:])
TOKEN = proxy.secret("token-that-nobody-may-see")


@pytest.fixture
def start(make, up):
    """A proxy that has credentials for `up`; members: further ones of the upstream."""
    def begin(password=PASSWORD, **members):
        given = {"username": USER, "password": password} if password else {}
        return make(config={"upstreams": [{"name": "up.test", "url": up.url, **given, **members}]},
                    args=["--upstream-head-timeout", "3s", "--upstream-missing", "0s", "--upstream-fresh",
                          "0s"])
    return begin


def guard(up, realm=None, token=TOKEN, **kwargs):
    """Everything below /v2/ wants the token."""
    realm = realm or f"{up.url}/token"
    up.rule("* /v2/*", lambda x: None if x["Authorization"] == f"Bearer {token}" else upstream.challenge(realm, **kwargs))


def give(server, body=None, **kwargs):
    if not isinstance(body, (str, bytes)):
        body = json.dumps({"token": TOKEN, "expires_in": 300} if body is None else body)
    server.rule("GET /token*", upstream.text(body, **kwargs))


def test_a_token_is_fetched_with_the_credentials_and_kept(start, up):
    image = up.tag(NAME, "1", images.tiny())
    guard(up)
    give(up)
    p = start()
    assert p.manifest(NAME, "1").body == image.manifest
    for digest in image.all_blobs():
        assert p.blob(NAME, digest).digest == digest
    asked = up.seen("GET /token")
    assert len(asked) == 1 and asked[0]["Authorization"] == BASIC
    assert asked[0].query == {"service": "upstream", "scope": f"repository:{NAME}:pull"}
    assert all(s["Authorization"] in (None, f"Bearer {TOKEN}") for s in up.seen("* /v2/*"))


def test_twenty_at_once_ask_for_one_token(start, up):
    image = up.tag(NAME, "1", images.tiny())
    guard(up)
    body = json.dumps({"token": TOKEN, "expires_in": 300}).encode()
    up.rule("GET /token", upstream.Answer(body=body, delay=0.3))
    p = start()
    threads = [threading.Thread(target=p.manifest, args=(NAME, image.digest if i % 2 else "1"))
               for i in range(20)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    assert up.count("GET /token") == 1


def test_basic(start, up):
    image = up.tag(NAME, "1", images.tiny())
    up.rule("* /v2/*", lambda x: None if x["Authorization"] == BASIC else upstream.challenge("here", None, scheme="Basic"))
    p = start()
    assert p.manifest(NAME, "1").body == image.manifest
    assert p.blob(NAME, image.layers[0]).status == 200
    assert len([s for s in up.log if s["Authorization"] is None]) <= 1, "known to want Basic after the first time"


def test_no_credentials_where_nobody_asks(start, up):
    up.tag(NAME, "1", images.tiny())
    assert start().manifest(NAME, "1").status == 200
    assert all(s["Authorization"] is None for s in up.log)


TOKEN_ANSWERS = {
    "token": ({"token": TOKEN}, 200),
    "access_token": ({"access_token": TOKEN}, 200),
    "both": ({"token": TOKEN, "access_token": "other"}, 200),
    "lives 0 s": ({"token": TOKEN, "expires_in": 0}, 200),
    "lives 1 s": ({"token": TOKEN, "expires_in": 1}, 200),
    "lives long": ({"token": TOKEN, "expires_in": 10 ** 18}, 200),
    "lives -1 s": ({"token": TOKEN, "expires_in": -1}, 200),
    "lives text": ({"token": TOKEN, "expires_in": "300"}, (200, 502)),
    "issued in odd form": ({"token": TOKEN, "issued_at": "yesterday"}, 200),
    "none": ({}, 502),
    "empty": ({"token": ""}, 502),
    "null": ({"token": None}, 502),
    "number": ({"token": 5}, 502),
    "line break": ({"token": "a\r\nX-Evil: 1"}, 502),
    "not JSON": ("<html>", 502),
    "a list": ("[]", 502),
    "no body": (b"", 502),
    "1 MB": ({"token": TOKEN, "x": "y" * (1 << 20)}, (200, 502)),
    "token of 1 MB": ({"token": "y" * (1 << 20)}, 502),
    "8 MB": ({"x": "y" * (8 << 20), "token": TOKEN}, 502),
}


@pytest.mark.parametrize("what", TOKEN_ANSWERS)
def test_what_token_servers_answer(start, up, what):
    image = up.tag(NAME, "1", images.tiny())
    body, status = TOKEN_ANSWERS[what]
    guard(up)
    give(up, body)
    reply = start().manifest(NAME, "1")
    assert reply.status in (status if isinstance(status, tuple) else (status,)), reply.body
    if reply.status == 200:
        assert reply.body == image.manifest
    else:
        assert reply.code == "UNAVAILABLE" and "up.test" in reply.message
    assert not any(s["X-Evil"] for s in up.log)


@pytest.mark.parametrize("status,expected", [(401, (401,)), (403, (401, 403)), (404, (502,)), (500, (502,)),
                                             (429, (429,)), (302, (502,))])
def test_token_servers_that_refuse(start, up, status, expected):
    up.tag(NAME, "1", images.tiny())
    guard(up)
    up.rule("GET /token", upstream.Answer(status, {"Retry-After": "9"} if status == 429 else {}, b"no"))
    reply = start().manifest(NAME, "1")
    assert reply.status in expected and "up.test" in reply.message
    if status == 429:
        assert reply["Retry-After"] == "9"


def test_a_token_that_is_refused_does_not_make_a_loop(start, up):
    up.tag(NAME, "1", images.tiny())
    up.rule("* /v2/*", lambda x: upstream.challenge(f"{up.url}/token"))
    give(up)
    reply = start().manifest(NAME, "1")
    assert (reply.status, reply.code) == (401, "UNAUTHORIZED") and "up.test" in reply.message
    assert len(up.log) <= 12, [f"{s.method} {s.target}" for s in up.log]


def test_a_token_that_expired_is_replaced(start, up):
    image = up.tag(NAME, "1", images.tiny())
    valid = [TOKEN]
    second = proxy.secret("the-second-token-of-all")
    up.rule("* /v2/*", lambda x: None if x["Authorization"] == f"Bearer {valid[0]}" else upstream.challenge(f"{up.url}/token"))
    up.rule("GET /token", lambda x: upstream.text(json.dumps({"token": valid[0], "expires_in": 3600})))
    p = start()
    assert p.manifest(NAME, "1").status == 200
    valid[0] = second
    assert p.blob(NAME, image.layers[0]).digest == image.layers[0]
    assert up.count("GET /token") == 2


CHALLENGES = {
    "relative realm": 'Bearer realm="/token",service="s"',
    "no realm": 'Bearer service="s"',
    "user info in realm": 'Bearer realm="http://user:pass@{address}/token"',
    "file": 'Bearer realm="file:///etc/passwd"',
    "ftp": 'Bearer realm="ftp://{address}/token"',
    "IPv6 loopback": 'Bearer realm="http://[::1]:{port}/token"',
    "metadata service": 'Bearer realm="http://169.254.169.254/token"',
    "empty": "",
    "another scheme": 'Negotiate abc',
    "unclosed quote": 'Bearer realm="{url}/token',
    "line of 60 KB": 'Bearer realm="{url}/token?' + "x" * 60_000 + '"',
    "two realms": 'Bearer realm="{url}/token",realm="http://169.254.169.254/"',
}


@pytest.mark.parametrize("what", CHALLENGES)
def test_challenges_that_are_not_followed(start, up, what):
    up.tag(NAME, "1", images.tiny())
    value = CHALLENGES[what].replace("{url}", up.url).replace("{address}", up.address)
    value = value.replace("{port}", str(up.port))
    up.rule("* /v2/*", upstream.Answer(401, {"WWW-Authenticate": value}))
    give(up)
    reply = start().manifest(NAME, "1")
    assert reply.status in (401, 403, 502) and "up.test" in reply.message
    assert not [s for s in up.seen("GET /token*") if s["Authorization"]]


def test_a_challenge_among_others(start, up):
    image = up.tag(NAME, "1", images.tiny())
    lines = ["Negotiate", f'Basic realm="x", Bearer realm="{up.url}/token", service="a \\"b\\"", error="invalid_token"']
    up.rule("* /v2/*", lambda x: None if x["Authorization"] == f"Bearer {TOKEN}" else upstream.Answer(401, {"WWW-Authenticate": lines}))
    give(up)
    assert start().manifest(NAME, "1").body == image.manifest
    assert up.seen("GET /token")[0].query["service"] == 'a "b"'


@pytest.mark.parametrize("scope", ["repository:team/app:pull,push", "repository:other/name:pull",
                                   "registry:catalog:*",
                                   "repository:team/app:pull repository:other/name:pull"])
def test_the_scope_is_never_more_than_this_repository_to_pull(start, up, scope):
    up.tag(NAME, "1", images.tiny())
    guard(up, scope=scope)
    give(up)
    start().manifest(NAME, "1")
    assert all(s.query.get("scope") == f"repository:{NAME}:pull" for s in up.seen("GET /token"))


def test_credentials_do_not_go_to_a_token_server_elsewhere(make, up, another):
    """localhost is another host than 127.0.0.1."""
    up.tag(NAME, "1", images.tiny())
    realm = another.url.replace("127.0.0.1", "localhost") + "/token"
    guard(up, realm=realm)
    give(another)
    p = make(config={"upstreams": [{"name": "up.test", "url": up.url, "username": USER, "password": PASSWORD,
                                    "private": True}]})
    p.manifest(NAME, "1")
    assert not [s for s in another.log if s["Authorization"]]


@pytest.mark.parametrize("refused_by", ["token server", "registry"])
def test_who_is_refused_for_that_is_told_so(make, up, another, refused_by):
    """Not that the credentials are wrong: nobody has seen them."""
    if refused_by == "registry":
        guard(up, realm=another.url.replace("127.0.0.1", "localhost") + "/token")
        give(another, {"token": "of-nobody"})
    else:
        up.rule("*", upstream.challenge(another.url.replace("127.0.0.1", "localhost") + "/token"))
        another.rule("GET /token*", upstream.Answer(401))
    p = make(config={"upstreams": [{"name": "up.test", "url": up.url, "username": USER, "password": PASSWORD,
                                    "private": True}]})
    reply = p.manifest(NAME, "1")
    assert (reply.status, reply.code) == (401, "UNAUTHORIZED")
    assert "not sent to localhost" in reply.message and "'realms'" in reply.message


def test_credentials_go_to_a_token_server_that_the_configuration_names(make, up, another):
    image = up.tag(NAME, "1", images.tiny())
    guard(up, realm=another.url.replace("127.0.0.1", "localhost") + "/token")
    give(another)
    p = make(config={"upstreams": [{"name": "up.test", "url": up.url, "username": USER, "password": PASSWORD,
                                    "private": True,
                                    "realms": ["localhost"]}]})
    assert p.manifest(NAME, "1").body == image.manifest
    assert another.seen("GET /token")[0]["Authorization"] == BASIC


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_to_the_same_host(start, up, status):
    image = up.tag(NAME, "1", images.tiny())
    data = image.blobs[image.layers[0]]
    up.rule("GET */blobs/*", upstream.redirect("/storage/blob?signature=abc", status))
    up.rule("GET /storage/blob", upstream.Answer(body=data))
    p = start()
    p.manifest(NAME, "1")
    assert p.blob(NAME, image.layers[0]).body == data
    assert up.seen("GET /storage/blob")[0].query == {"signature": "abc"}


def test_authorization_is_dropped_on_a_redirect_to_another_host(start, up, another):
    image = up.tag(NAME, "1", images.tiny())
    up.rule("GET */blobs/*", upstream.redirect(f"{another.url}/storage/blob"))
    guard(up)
    give(up)
    up.rule("GET */blobs/*", lambda x: upstream.redirect(f"{another.url}/storage/blob")
            if x["Authorization"] == f"Bearer {TOKEN}" else upstream.challenge(f"{up.url}/token"))
    another.rule("GET /storage/blob", upstream.Answer(body=image.blobs[image.layers[0]]))
    p = start(private=True)
    p.manifest(NAME, "1")
    assert p.blob(NAME, image.layers[0]).digest == image.layers[0]
    assert [s["Authorization"] for s in another.log] == [None]


def test_a_second_redirect_does_not_bring_the_authorization_back(start, up, another):
    image = up.tag(NAME, "1", images.tiny())
    up.rule("* /v2/*", lambda x: None if x["Authorization"] == BASIC else upstream.challenge("here", None, scheme="Basic"))
    up.rule("GET */blobs/*", lambda x: upstream.redirect(f"{another.url}/first")
            if x["Authorization"] == BASIC
            else upstream.challenge("here", None, scheme="Basic"))
    another.rule("GET /first", upstream.redirect(f"{another.url}/second"))
    another.rule("GET /second", upstream.Answer(body=image.blobs[image.layers[0]]))
    p = start(private=True)
    p.manifest(NAME, "1")
    assert p.blob(NAME, image.layers[0]).digest == image.layers[0]
    assert [s["Authorization"] for s in another.log] == [None, None]


BAD_PLACES = ["http://169.254.169.254/latest/meta-data", "http://127.0.0.1:{other}/x",
              "http://localhost:{other}/x",
              "http://[::1]:{other}/x", "http://[::ffff:127.0.0.1]:{other}/x", "http://0.0.0.0:{other}/x",
              "http://10.0.0.1/x",
              "http://100.64.0.1/x", "http://[fe80::1]/x", "http://[64:ff9b::7f00:1]/x",
              "http://2130706433:{other}/x",
              "http://0x7f.1:{other}/x", "file:///etc/passwd", "gopher://127.0.0.1/x",
              "//127.0.0.1:{other}/x", "",
              "http://user:pass@127.0.0.1:{other}/x", "http://", "javascript:x", "http://127.0.0.1:99999/"]


@pytest.mark.parametrize("place", BAD_PLACES)
def test_redirects_that_are_not_followed(start, up, another, place):
    image = up.tag(NAME, "1", images.tiny())
    up.rule("GET */blobs/*", upstream.redirect(place.replace("{other}", str(another.port))))
    another.rule("*", upstream.Answer(body=image.blobs[image.layers[0]]))
    p = start()
    p.manifest(NAME, "1")
    reply = p.blob(NAME, image.layers[0], timeout=60)
    assert reply.status in (502, 403) and "up.test" in reply.message
    assert not another.connections


@pytest.mark.parametrize("host", ["127.0.0.1:{other}", "localhost:{other}", "0.0.0.0:{other}",
                                  "169.254.169.254", "10.0.0.1",
                                  "[::1]:{other}", "[::ffff:127.0.0.1]:{other}", "2130706433:{other}"])
def test_any_public_registry_is_no_private_one(make, up, another, host):
    """upstreams.any: names choose hosts then, and still no address that is not everybody's."""
    p = make({"up.test": up.url}, ["--upstreams-any", "--upstream-connect-timeout", "2s"])
    reply = p.get(f"/v2/{NAME}/manifests/1?ns={host.replace('{other}', str(another.port))}")
    assert reply.status in (400, 403, 502) and reply.code
    assert not another.connections


def test_a_redirect_loop_ends(start, up):
    image = up.tag(NAME, "1", images.tiny())
    up.rule("GET */blobs/*", lambda x: upstream.redirect(x.target))
    p = start()
    p.manifest(NAME, "1")
    reply = p.blob(NAME, image.layers[0], timeout=60)
    assert (reply.status, reply.code) == (502, "UNAVAILABLE")
    assert up.count("GET */blobs/*") <= 40


def test_a_redirect_from_https_to_http(make, authority, another):
    tls = upstream.Upstream(tls=authority.server("redirecting"))
    try:
        image = tls.tag(NAME, "1", images.tiny())
        tls.rule("GET */blobs/*", upstream.redirect(f"{another.url}/x"))
        another.rule("*", upstream.Answer(body=image.blobs[image.layers[0]]))
        p = make(config={"upstreams": [{"name": "up.test", "url": tls.url, "ca": authority.certificate,
                                        "private": True}]})
        p.manifest(NAME, "1")
        reply = p.blob(NAME, image.layers[0], timeout=60)
        assert reply.status in (403, 502) and "http" in reply.message and not another.log
    finally:
        tls.close()


def test_a_plain_token_server_under_an_https_upstream(make, authority, another):
    tls = upstream.Upstream(tls=authority.server("guarded"))
    try:
        tls.tag(NAME, "1", images.tiny())
        tls.rule("* /v2/*", upstream.challenge(f"{another.url}/token"))
        give(another)
        p = make(config={"upstreams": [{"name": "up.test", "url": tls.url, "ca": authority.certificate,
                                        "private": True,
                                        "username": USER, "password": PASSWORD}]})
        assert p.manifest(NAME, "1").status in (401, 403, 502)
        assert not another.log
    finally:
        tls.close()


def test_a_presigned_place_that_expires_midway(start, up):
    image = up.tag(NAME, "1", images.random_image("presigned", [300_000]))
    digest = image.layers[0]
    data = image.blobs[digest]
    up.rule("GET */blobs/*", lambda x: upstream.redirect(f"/storage/{x.attempt}"))

    def storage(x):
        number = int(x.path.rsplit("/", 1)[1])
        if x.attempt:
            return upstream.Answer(403, body=b"expired")
        first = x.range_from
        return upstream.Answer(206 if first else 200,
                               {"Content-Range": f"bytes {first}-{len(data) - 1}/{len(data)}"}
                               if first else {},
                               data[first:], cut=100_000 if number == 0 else None)
    up.rule("GET /storage/*", storage)
    p = start()
    p.manifest(NAME, "1")
    reply = p.blob(NAME, digest, timeout=60)
    assert (reply.status, reply.broken, reply.digest) == (200, "", digest)
    assert up.seen("GET /storage/1")[0].range_from == 100_000
    assert up.count("GET */blobs/*") == 2


def test_two_upstreams_do_not_share_credentials(make, up, another):
    up.tag(NAME, "1", images.tiny())
    another.tag(NAME, "1", images.tiny())
    for server in (up, another):
        server.rule("* /v2/*", upstream.challenge("x", None, scheme="Basic"))
    p = make(config={"upstreams": [{"name": "one.test", "url": up.url, "username": USER,
                                    "password": PASSWORD},
                                   {"name": "two.test", "url": another.url}]})
    p.manifest(f"one.test/{NAME}", "1")
    p.manifest(f"two.test/{NAME}", "1")
    assert [s for s in up.log if s["Authorization"] == BASIC]
    assert not [s for s in another.log if s["Authorization"]]


def test_a_clients_own_credentials_do_not_travel(start, up):
    up.tag(NAME, "1", images.tiny())
    p = start(password=None)
    p.get(f"/v2/{NAME}/manifests/1", Authorization="Basic " + base64.b64encode(b"client:own").decode(),
          Cookie="a=b",
          X_Forwarded_For="1.2.3.4")
    assert up.log and not any(s[h] for s in up.log for h in ("Authorization", "Cookie", "X-Forwarded-For"))


def test_an_error_shows_no_secret(start, up):
    up.tag(NAME, "1", images.tiny())
    guard(up, realm=f"{up.url}/token")
    up.rule("GET /token", upstream.Answer(500, body=b"boom"))
    reply = start().manifest(NAME, "1")
    assert reply.status == 502 and PASSWORD.encode() not in reply.body and BASIC[6:].encode() not in reply.body


# ---- refresh tokens, which docker calls identity tokens ----

REFRESH_USER = "<token>"


@pytest.fixture
def with_refresh_token(make, token_registry):
    def begin(password):
        return make(config={"upstreams": [{"name": "up.test", "url": token_registry.url, "username": REFRESH_USER,
                                           "password": proxy.secret(password), "realms": ["127.0.0.1"], "private": True}]})
    return begin


def test_a_refresh_token_is_exchanged(with_refresh_token, token_server):
    p = with_refresh_token(token_server.refresh_token)
    before = len(token_server.requests)
    reply = p.manifest("team/private", "latest")
    assert reply.status == 200, reply.body
    for part in [reply.json["config"], *reply.json["layers"]]:
        assert p.blob("team/private", part["digest"]).digest == part["digest"]
    assert token_server.requests[before:] == [("refresh token", ["repository:team/private:pull"])]


def test_a_wrong_refresh_token_is_refused(with_refresh_token, token_server):
    p = with_refresh_token("not-the-refresh-token-of-anybody")
    before = len(token_server.requests)
    reply = p.manifest("team/private", "latest")
    assert reply.status == 401 and "up.test" in reply.json["errors"][0]["message"], reply.body
    assert {who for who, _ in token_server.requests[before:]} == {"bad form"}


def test_a_refresh_token_is_never_sent_as_basic(make, up):
    up.tag(NAME, "1", images.tiny())
    up.rule("* /v2/*", upstream.Answer(401, headers={"WWW-Authenticate": 'Basic realm="x"'}))
    p = make(config={"upstreams": [{"name": "up.test", "url": up.url, "username": REFRESH_USER,
                                    "password": proxy.secret("a-refresh-token-for-nobody")}]})
    assert p.manifest(NAME, "1").status == 401
    assert up.seen("* /v2/*") and all(s["Authorization"] is None for s in up.seen("*"))


def test_a_refresh_token_stays_on_its_site(make, up, scratch):
    up.tag(NAME, "1", images.tiny())
    guard(up, realm=up.url.replace("127.0.0.1", "localhost") + "/token")
    give(up)
    p = make(config={"upstreams": [{"name": "up.test", "url": up.url, "username": REFRESH_USER, "private": True,
                                    "password": proxy.secret("a-refresh-token-for-its-site")}]})
    p.manifest(NAME, "1")
    asked = up.seen("* /token*")
    assert asked and all(s.method == "GET" and s["Authorization"] is None for s in asked)


def test_a_refresh_token_is_validated(make, token_registry, token_server):
    p = make(config={"upstreams": [{"name": "up.test", "url": token_registry.url, "realms": ["127.0.0.1"], "private": True}]})
    ask = {"userName": REFRESH_USER, "password": token_server.refresh_token, "registry": "up.test"}
    assert p.fetch("POST", "/validate-creds", {}, json.dumps(ask).encode()).body == b"true"
    ask["password"] = "another"
    assert p.fetch("POST", "/validate-creds", {}, json.dumps(ask).encode()).body == b"false"
