# SPDX-License-Identifier: Apache-2.0
"""POST /validate-creds: would a registry take them? Bare true or false, and never a word of the password."""
import base64
import gzip
import json
import time

import pytest

from rig import images, proxy, registry, upstream, wire

PASSWORD = "correct-horse-basic"
WRONG = proxy.secret("wrong-horse-of-the-validation")


def ask(p, body, path="/validate-creds", headers=None, timeout=30):
    if not isinstance(body, bytes):
        body = json.dumps(body).encode()
    return p.fetch("POST", path, {"Content-Type": "application/json", **(headers or {})}, body, timeout)


def wish(host="up.test", user="puller", password=PASSWORD, **more):
    return {"userName": user, "password": password, "registry": host, **more}


@pytest.fixture
def basic(make, basic_registry):
    return make({"up.test": basic_registry.url})


@pytest.mark.parametrize("path", ["/validate-creds", "/v1alpha2/validate-creds"])
@pytest.mark.parametrize("wrapped", [False, True])
def test_a_registry_with_basic(basic, path, wrapped):
    for password, expected in ((PASSWORD, b"true"), (WRONG, b"false"), (PASSWORD + "x", b"false")):
        body = {"request": wish(password=password)} if wrapped else wish(password=password)
        reply = ask(basic, body, path)
        assert (reply.status, reply.body, reply["Content-Type"]) == (200, expected, "application/json")
    assert ask(basic, wish(user="nobody")).body == b"false"


def test_a_registry_with_tokens(make, token_registry):
    p = make(config={"upstreams": [{"name": "up.test", "url": token_registry.url, "private": True}]})
    for password, expected in (("correct-horse-token", b"true"), (WRONG, b"false"), ("correct-horse-token", b"true")):
        assert ask(p, wish(password=password)).body == expected


def test_a_registry_that_asks_nobody(make, store):
    """docker login is fine with it, too."""
    assert ask(make({"up.test": store.url}), wish()).body == b"true"


@pytest.mark.parametrize("host", ["up.test", "UP.test", "https://up.test", "http://up.test/", "https://up.test/v1/",
                                  "up.test/team/app", "  up.test  "])
def test_how_a_registry_may_be_written(basic, host):
    assert ask(basic, wish(host)).body == b"true"


@pytest.mark.parametrize("host", ["docker.io", "index.docker.io", "registry-1.docker.io", "https://index.docker.io/v1/"])
def test_docker_hub_has_many_names(make, basic_registry, host):
    p = make(config={"upstreams": [{"name": "docker.io", "url": basic_registry.url}]})
    assert ask(p, wish(host)).body == b"true"


def test_the_proxys_own_credentials_are_not_used(make, up):
    """… in place of those that were sent, nor those that were sent for a pull."""
    sent = "Basic " + base64.b64encode(f"puller:{WRONG}".encode()).decode()
    own = "Basic " + base64.b64encode(b"own:" + proxy.secret("own-password-of-the-proxy").encode()).decode()
    up.tag("team/app", "1", images.tiny())
    up.rule("*", lambda x: None if x["Authorization"] == own else upstream.challenge("here", None, scheme="Basic"))
    p = make(config={"upstreams": [{"name": "up.test", "url": up.url, "username": "own",
                                    "password": "own-password-of-the-proxy"}]})
    assert p.manifest("team/app", "1").status == 200
    assert ask(p, wish(password=WRONG)).body == b"false"
    assert p.manifest("team/app", "1").status == 200
    assert [s["Authorization"] for s in up.seen("GET /v2/")] == [None, sent]


def test_a_token_is_not_kept(make, up):
    """Each is asked for anew: what was right a moment ago may be withdrawn."""
    up.rule("* /v2/*", lambda x: None if x["Authorization"] == "Bearer t" else upstream.challenge(f"{up.url}/token"))
    up.rule("GET /v2/", lambda x: upstream.text("{}") if x["Authorization"] == "Bearer t"
            else upstream.challenge(f"{up.url}/token"))
    up.rule("GET /token*", upstream.text(json.dumps({"token": "t", "expires_in": 3600})))
    p = make({"up.test": up.url})
    assert [ask(p, wish()).body for _ in range(3)] == [b"true"] * 3
    assert up.count("GET /token*") == 3
    up.rule("GET /token*", upstream.Answer(401))
    assert ask(p, wish()).body == b"false"
    assert all("scope" not in s.query for s in up.seen("GET /token*"))


def test_a_token_server_that_must_not_see_them(make, up, another):
    """What it gives to nobody in particular is no yes."""
    realm = another.url.replace("127.0.0.1", "localhost") + "/token"
    up.rule("GET /v2/", lambda x: upstream.text("{}") if x["Authorization"] else upstream.challenge(realm))
    another.rule("GET /token*", upstream.text(json.dumps({"token": "t"})))
    p = make(config={"upstreams": [{"name": "up.test", "url": up.url, "private": True}]})
    reply = ask(p, wish())
    assert reply.status == 502 and "realms" in reply.json["message"]
    assert not any(s["Authorization"] for s in another.log)


@pytest.mark.parametrize("status,expected", [(200, 200), (401, 200), (403, 200), (404, 502), (429, 429), (500, 502),
                                             (503, 502), (301, 502)])
def test_what_a_registry_may_answer(make, up, status, expected):
    up.rule("*", upstream.Answer(status, {"Retry-After": "7"} if status == 429 else {}, b"x"))
    reply = ask(make({"up.test": up.url}), wish())
    assert reply.status == expected
    if expected == 200:
        assert reply.json is (status == 200)
    else:
        assert "up.test" in reply.json["message"] and PASSWORD not in reply.json["message"]
    assert expected != 429 or reply["Retry-After"] == "7"


def test_a_registry_that_is_away(make, up, another):
    p = make({"up.test": up.url, "slow.test": another.url}, ["--upstream-head-timeout", "500ms"])
    up.stop()
    reply = ask(p, wish())
    assert reply.status == 502 and "up.test" in reply.json["message"]
    another.rule("*", upstream.Answer(delay=3))
    reply = ask(p, wish("slow.test"))
    assert reply.status == 502 and "slow.test" in reply.json["message"]


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1:{port}", "localhost:{port}", "169.254.169.254",
                                  "[::1]:{port}", "up.test.evil.example", "up.test@evil.example", "wt", "x" * 300, "up.test evil.example",
                                  "up.test\r\nX-Evil: 1", "https://https://", ":443", "file:///etc/passwd", "ftp://up.test", "../up.test",
                                  "up.test\\@evil.example", "user:pass@up.test", "' OR '1'='1", "*", "up.test%2eevil.example", "up.test:1"])
def test_only_upstreams_are_asked(shared, nobody, another, host):
    reply = ask(shared, wish(host.replace("{port}", str(another.port))))
    assert reply.status == 403 and reply.json["message"] and "X-Evil" not in reply.headers
    assert not another.connections and not nobody.connections


@pytest.mark.parametrize("host", ["127.0.0.1:{port}", "localhost:{port}", "[::ffff:127.0.0.1]:{port}", "10.0.0.1"])
def test_nor_private_addresses_where_any_is_asked(make, up, another, host):
    p = make({"up.test": up.url}, ["--upstreams-any", "--upstream-connect-timeout", "2s"])
    reply = ask(p, wish(host.replace("{port}", str(another.port))))
    assert reply.status in (403, 502) and not another.connections


BAD = {
    "nothing": b"",
    "not JSON": b"userName=a&password=b",
    "half": b'{"userName": "a"',
    "a list": b"[]",
    "a string": b'"a"',
    "null": b"null",
    "a number": b"1",
    "trailing data": json.dumps(wish()).encode() + b"x",
    "two documents": json.dumps(wish()).encode() * 2,
    "a member twice": b'{"userName":"a","userName":"b","password":"c","registry":"up.test"}',
    "no members": {},
    "no userName": {"password": "b", "registry": "up.test"},
    "no password": {"userName": "a", "registry": "up.test"},
    "no registry": {"userName": "a", "password": "b"},
    "userName null": wish(user=None),
    "password null": wish(password=None),
    "registry null": wish(None),
    "userName empty": wish(user=""),
    "password empty": wish(password=""),
    "registry empty": wish(""),
    "userName blank": wish(user="   "),
    "password blank": wish(password="   "),
    "registry blank": wish("  "),
    "userName a number": wish(user=1),
    "password a list": wish(password=["x"]),
    "registry an object": wish({}),
    "password true": wish(password=True),
    "userName with a colon": wish(user="a:b"),
    "userName with a line end": wish(user="a\r\nX-Evil: 1"),
    "password with a line end": wish(password="a\r\nX-Evil: 1"),
    "password with NUL": wish(password="a\0b"),
    "userName of 20 kB": wish(user="a" * 20_000),
    "password of 20 kB": wish(password="a" * 20_000),
    "registry is a scheme": wish("https://"),
    "registry is a slash": wish("/"),
    "request null": {"request": None},
    "request a list": {"request": []},
    "request a string": {"request": "x"},
    "request empty": {"request": {}},
    "request in request": {"request": {"request": wish()}},
    "no UTF-8": b'{"userName":"\xff","password":"b","registry":"up.test"}',
    "deep": b'{"a":' * 50 + b"1" + b"}" * 50,
    "comment": b"/* */ {}",
    "deep, 10,000": b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
    "lists, 10,000 deep": b"[" * 10_000 + b"]" * 10_000,
    "a comma too many": b'{"userName":"a","password":"b","registry":"up.test",}',
    "single quotes": b"{'userName':'a','password':'b','registry':'up.test'}",
    "names without quotes": b"{userName:1}",
    "a byte order mark": b"\xef\xbb\xbf" + json.dumps(wish()).encode(),
    "UTF-16": json.dumps(wish()).encode("utf-16"),
    "half a surrogate": b'{"userName":"\\ud800","password":"b","registry":"up.test"}',
    "a surrogate in UTF-8": b'{"userName":"\xed\xa0\x80","password":"b","registry":"up.test"}',
    "overlong UTF-8": b'{"userName":"\xc0\xaf","password":"b","registry":"up.test"}',
    "a line end in a string": b'{"userName":"a\nb","password":"b","registry":"up.test"}',
    "an escape that is none": b'{"userName":"\\x41","password":"b","registry":"up.test"}',
    "NUL in a name": b'{"userName":"a","password":"b","registry":"up.test","x\\u0000y":1}',
    "NaN": b'{"userName":"a","password":"b","registry":"up.test","x":NaN}',
    "a number past 2^63": b'{"userName":"a","password":"b","registry":"up.test","x":9223372036854775808}',
    "a number past every number": b'{"userName":"a","password":"b","registry":"up.test","x":1e400}',
    "gzip": gzip.compress(json.dumps(wish()).encode()),
    "a form": b"userName=a&password=b&registry=up.test",
    "a multipart form": b'--x\r\nContent-Disposition: form-data; name="userName"\r\n\r\na\r\n--x--\r\n',
    "XML": b"<request><userName>a</userName></request>",
    "NUL alone": b"\0",
    "password twice": b'{"userName":"a","password":"b","password":"c","registry":"up.test"}',
    "registry twice": b'{"userName":"a","password":"c","registry":"up.test","registry":"evil.example"}',
    "request twice": b'{"request":{},"request":{"userName":"a","password":"c","registry":"up.test"}}',
    "other spelling of userName": {"username": "a", "password": "b", "registry": "up.test"},
    "other spelling of password": {"userName": "a", "Password": "b", "registry": "up.test"},
    "another's names": {"user": "a", "pass": "b", "server": "up.test"},
    "userName a list": wish(user=["a"]),
    "userName an object": wish(user={"a": 1}),
    "userName false": wish(user=False),
    "userName 1e400": b'{"userName":1e400,"password":"b","registry":"up.test"}',
    "password a number": wish(password=7),
    "password an object": wish(password={}),
    "registry a number": wish(1),
    "registry a list": wish(["up.test"]),
    "registry true": wish(True),
    "userName with NUL": wish(user="a\0b"),
    "userName with a line feed": wish(user="a\nb"),
    "userName with a carriage return": wish(user="a\rb"),
    "password with a line feed": wish(password="a\nX-Evil: 1"),
    "password with a carriage return": wish(password="a\rX-Evil: 1"),
    "registry with NUL": wish("up.test\0.evil.example"),
    "request a number": {"request": 1},
    "request true": {"request": True},
    "request with no userName": {"request": {"password": "b", "registry": "up.test"}},
    "request with a password null": {"request": wish(password=None)},
    "request with a registry blank": {"request": wish(" ")},
    "request with a userName with a colon": {"request": wish(user="a:b")},
}


@pytest.fixture(scope="module")
def nobody():
    """An upstream that nobody may ask for what is no request."""
    u = upstream.Upstream()
    yield u
    u.close()


@pytest.fixture(scope="module")
def shared(scratch, nobody):
    p = proxy.Proxy(scratch, {"up.test": nobody.url}, ["--access-validate-rate", "0"])
    yield p
    p.close()


def test_there_are_enough_of_them():
    assert len(BAD) >= 80


@pytest.mark.parametrize("path", ["/validate-creds", "/v1alpha2/validate-creds"])
@pytest.mark.parametrize("what", BAD)
def test_bad_input(shared, nobody, path, what):
    reply = ask(shared, BAD[what], path)
    assert reply.status == 400 and set(reply.json) == {"message"} and reply["Content-Type"] == "application/json"
    for member in ("userName", "password", "registry"):
        if what.startswith(member) and "line end" not in what and "NUL" not in what and "kB" not in what:
            assert member in reply.json["message"], reply.body
    assert not nobody.connections
    # It is said what is wrong, not what was sent.
    assert b"X-Evil" not in reply.body


def test_a_broken_body_is_not_shown(make, up):
    p = make({"up.test": up.url})
    for body in (f'{{"userName":"a","password":"{WRONG}","registry":}}', f'{{"password": "{WRONG}',
                 f'{{"userName":"a","password":{WRONG}}}'):
        reply = ask(p, body.encode())
        assert reply.status == 400 and WRONG.encode() not in reply.body and WRONG[:5].encode() not in reply.body


def test_a_large_body(make, up):
    p = make({"up.test": up.url})
    assert ask(p, wish(more="x" * 60_000)).status in (200, 502)
    reply = ask(p, wish(more="x" * 70_000))
    assert reply.status == 413 and reply.json["message"]


def test_other_members_are_no_error(basic):
    assert ask(basic, wish(more=[1, 2], towerEndpoint=None)).body == b"true"
    assert ask(basic, {"request": wish(), "x": 1}).body == b"true"


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE"])
def test_other_methods(basic, method):
    reply = basic.fetch(method, "/validate-creds", body=b"{}" if method == "PUT" else None)
    assert (reply.status, reply["Allow"]) == (405, "POST")


def test_who_may_ask(make, basic_registry):
    accounts = [{"name": name, "password-hash": registry.bcrypt(name), "roles": roles}
                for name, roles in (("asks", ["request"]), ("pulls", ["pull"]), ("all", ["admin"]))]
    p = make({"up.test": basic_registry.url}, config={"accounts": accounts, "access": {"anonymous": "none"}})

    def status(name):
        value = base64.b64encode(f"{name}:{name}".encode()).decode()
        return ask(p, wish(), headers={"Authorization": f"Basic {value}"} if name else None).status
    assert [status(n) for n in (None, "asks", "pulls", "all")] == [401, 200, 403, 200]


def test_it_is_no_way_to_guess_fast(make, basic_registry):
    p = make({"up.test": basic_registry.url}, ["--access-validate-rate", "5"])
    statuses = [ask(p, wish(password=f"guess-{i}")).status for i in range(8)]
    assert statuses == [200] * 5 + [429] * 3
    assert 1 <= int(ask(p, wish())["Retry-After"]) <= 60


def test_a_client_that_leaves(make, up):
    p = make({"up.test": up.url})
    up.rule("*", upstream.Answer(delay=0.5))
    body = json.dumps(wish()).encode()
    with wire.Raw(p.address) as raw:
        raw.send(b"POST /validate-creds HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        time.sleep(0.1)
    assert ask(p, wish()).body == b"true"
    assert p.metrics()['rac_validations_total{result="true"}'] >= 1


def test_nothing_of_it_is_logged_or_written(basic):
    other = proxy.secret("right-or-wrong-nobody-reads-it")
    ask(basic, wish(password=other))
    ask(basic, wish(password=PASSWORD))
    basic.stop()
    assert other not in basic.log() and PASSWORD not in basic.log()
    found = basic.scratch.run("grep", "-rl", "-e", other, "-e", PASSWORD, basic.data, check=False)
    assert not found.stdout
