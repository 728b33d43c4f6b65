# SPDX-License-Identifier: Apache-2.0
"""Who may ask: accounts, keys, roles; what is said to whom; how guessing is slowed."""
import base64
import concurrent.futures
import hashlib
import os
import re
import time

import pytest

from rig import images, proxy, registry, wire

PASSWORD = proxy.secret("correct-horse-access")
HASH = registry.bcrypt(PASSWORD)
KEY = proxy.secret("rack_" + hashlib.sha256(b"the key of the tests").hexdigest())
KEY_DIGEST = "sha256:" + hashlib.sha256(KEY.encode()).hexdigest()
NAME = "team/app"


def basic(name, password):
    value = base64.b64encode(f"{name}:{password}".encode()).decode()
    if password:
        proxy.secret(value)
    return {"Authorization": f"Basic {value}"}


def bearer(key):
    return {"Authorization": f"Bearer {key}"}


ALICE = basic("alice", PASSWORD)
ACCOUNTS = [
    {"name": "alice", "password-hash": HASH, "roles": ["pull", "request"]},
    {"name": "robot", "keys": [KEY_DIGEST], "roles": ["pull"]},
    {"name": "auditor", "password-hash": HASH, "roles": ["read-records"]},
    {"name": "root", "password-hash": HASH, "roles": ["admin"]},
]


@pytest.fixture
def guarded(make, up):
    """A proxy that lets nobody in without credentials."""
    up.tag(NAME, "1", images.tiny())

    def start(accounts=ACCOUNTS, anonymous="none", args=(), **more):
        return make({"up.test": up.url}, args,
                    config={"accounts": accounts, "access": {"anonymous": anonymous}, **more})
    return start


def get(p, headers=None, path="/v2/"):
    return p.fetch("GET", path, headers)


def challenged(reply):
    return (reply.status, reply["WWW-Authenticate"]) == (401, 'Basic realm="rac-proxy"')


@pytest.mark.parametrize("path", ["/v2/", "/v2", f"/v2/{NAME}/manifests/1", f"/v2/{NAME}/blobs/sha256:" + "0" * 64,
                                  f"/v2/{NAME}/tags/list", f"/v2/{NAME}/referrers/sha256:" + "0" * 64, "/v2/_catalog",
                                  "/v2/nothing", f"/v2/{NAME}/blobs/uploads/", f"/v2/{NAME}/manifests/1?ns=up.test"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
def test_nobody_pulls_unasked(guarded, up, path, method):
    reply = guarded().fetch(method, path, body=b"" if method == "POST" else None)
    assert challenged(reply)
    assert method == "HEAD" or (reply.code, reply["Docker-Distribution-Api-Version"]) == ("UNAUTHORIZED", "registry/2.0")
    assert not up.log


@pytest.mark.parametrize("headers", [ALICE, bearer(KEY), basic("robot", KEY), basic("root", PASSWORD)],
                         ids=["password", "bearer", "key as password", "admin"])
def test_an_account_pulls(guarded, up, headers):
    p = guarded()
    image = images.tiny()
    assert get(p, headers).status == 200
    for _ in range(2):
        assert p.fetch("GET", f"/v2/{NAME}/manifests/1", {**headers, "Accept": wire.MANIFEST_TYPES}).body == image.manifest
    assert p.fetch("GET", f"/v2/{NAME}/blobs/{image.layers[0]}", headers).digest == image.layers[0]
    assert not any(s["Authorization"] for s in up.log)


WRONG = {
    "password": basic("alice", "wrong-horse"),
    "name": basic("alicf", PASSWORD),
    "case of the name": basic("Alice", PASSWORD),
    "empty password": basic("alice", ""),
    "name only": {"Authorization": "Basic " + base64.b64encode(b"alice").decode()},
    "no name": {"Authorization": "Basic " + base64.b64encode(f":{PASSWORD}".encode()).decode()},
    "password and more": basic("alice", PASSWORD + "x"),
    "password and NUL": {"Authorization": "Basic " + base64.b64encode(f"alice:{PASSWORD}\0".encode()).decode()},
    "password and 72 bytes": basic("alice", PASSWORD + "x" * 72),
    "account without a password": basic("robot", PASSWORD),
    "account without a password, empty": basic("robot", ""),
    "hash as password": basic("alice", HASH),
    "digest as key": bearer(KEY_DIGEST),
    "key of another account": basic("alice", KEY),
    "key in upper case": bearer("rack_" + KEY[5:].upper()),
    "key cut": bearer(KEY[:-1]),
    "key and more": bearer(KEY + "0"),
    "key prefix only": bearer("rack_"),
    "password as token": bearer(PASSWORD),
    "empty": {"Authorization": ""},
    "scheme only": {"Authorization": "Basic"},
    "scheme and space": {"Authorization": "Bearer "},
    "another scheme": {"Authorization": "Digest username=alice"},
    "Negotiate": {"Authorization": "Negotiate abc"},
    "no base64": {"Authorization": "Basic alice:" + PASSWORD},
    "base64 without padding": {"Authorization": ALICE["Authorization"].rstrip("=")[:-1]},
    "base64 with a line end": {"Authorization": ALICE["Authorization"] + "\t!"},
    "two headers": {"Authorization": [ALICE["Authorization"], bearer("rack_x")["Authorization"]]},
    "two in one": {"Authorization": ALICE["Authorization"] + ", " + ALICE["Authorization"]},
    "8 kB": {"Authorization": "Basic " + "QUFB" * 2000},
    "60 kB": {"Authorization": "Bearer rack_" + "0" * 60_000},
}


@pytest.mark.parametrize("what", WRONG)
def test_wrong_credentials_never_pass(guarded, what):
    """Nor silently as anonymous, who may do all of it at the second one."""
    for anonymous in ("none", ["pull", "request", "read-records", "admin"]):
        p = guarded(anonymous=anonymous)
        for path in ("/v2/", "/metrics", "/healthz", "/nothing", "/v2/wt/0123456789abcdef/x/manifests/1"):
            reply = get(p, WRONG[what], path)
            assert challenged(reply), (path, reply.status, reply.body)
            assert b"alice" not in reply.body and PASSWORD.encode() not in reply.body


def test_empty_credentials_are_none(guarded):
    """What skopeo and podman send if nobody logged in."""
    nobody = {"Authorization": "Basic " + base64.b64encode(b":").decode()}
    assert challenged(get(guarded(), nobody))
    assert get(guarded(anonymous=["pull"]), nobody).status == 200
    assert challenged(get(guarded(anonymous=["pull"]), {"Authorization": [nobody["Authorization"]] * 2}))


def test_what_is_wrong_is_not_said(guarded):
    """A wrong name and a wrong password are one answer."""
    p = guarded()
    assert get(p, basic("alice", "x")).body == get(p, basic("nobody", "x")).body == get(p, basic("robot", "x")).body


def test_a_long_password_is_not_cut(guarded):
    """bcrypt looks at 72 bytes: what is longer must be refused, not cut."""
    long = "x" * 72
    p = guarded([{"name": "long", "password-hash": registry.bcrypt(long)}])
    assert get(p, basic("long", long)).status == 200
    assert get(p, basic("long", long + "y")).status == 401


@pytest.mark.parametrize("prefix", ["$2a$", "$2b$", "$2y$"])
def test_hashes_of_other_programs(guarded, prefix):
    p = guarded([{"name": "alice", "password-hash": prefix + HASH[4:]}])
    assert get(p, ALICE).status == 200
    assert get(p, basic("alice", "wrong")).status == 401


ROLES = {"/v2/": "pull", "/v2/_catalog": "pull"}


@pytest.mark.parametrize("roles", [[], ["pull"], ["request"], ["read-records"], ["admin"], ["request", "read-records"]])
def test_an_account_may_what_its_roles_say(guarded, roles):
    p = guarded([{"name": "alice", "password-hash": HASH, "roles": roles or "none"}])
    for path, role in ROLES.items():
        reply = get(p, ALICE, path)
        allowed = role in roles or "admin" in roles
        assert (reply.status == 200) == allowed
        if not allowed:
            assert (reply.status, reply.code) == (403, "DENIED") and not reply["WWW-Authenticate"]
    for path in ("/", "/healthz", "/readyz", "/metrics", "/service-info"):
        assert get(p, ALICE, path).status == 200 == get(p, None, path).status


def test_roles_default_to_pull(guarded):
    p = guarded([{"name": "alice", "password-hash": HASH}])
    assert get(p, ALICE).status == 200


def test_without_accounts_authorization_is_not_looked_at(px, up):
    """There is nobody it could be right for: what clients send to every registry does no harm."""
    up.tag(NAME, "1", images.tiny())
    assert px.fetch("GET", f"/v2/{NAME}/manifests/1", {**ALICE, "Accept": wire.MANIFEST_TYPES}).status == 200


def test_anonymous_pulls_beside_accounts_on_loopback(make, up):
    up.tag(NAME, "1", images.tiny())
    p = make({"up.test": up.url}, config={"accounts": ACCOUNTS})
    assert get(p).status == get(p, ALICE).status == 200
    assert "access.anonymous: there are accounts" in p.log()


# Starting

@pytest.mark.parametrize("listen", [":0", "0.0.0.0:0", "[::]:0"])
def test_who_is_reached_by_others_must_say_who_may_come(scratch, listen):
    done = proxy.run_once(scratch, "--listen", listen, "--data", scratch.folder("data"))
    assert done.returncode == 2
    for part in ("accounts", "--open", "--hash-password", listen):
        assert part in done.stderr, done.stderr


def test_open_is_said_loudly(make, up):
    up.tag(NAME, "1", images.tiny())
    p = make({"up.test": up.url}, ["--listen", "0.0.0.0:0", "--open"])
    assert p.manifest(NAME, "1").status == 200
    assert re.search(r"level=warn .*without saying who they are", p.log())


def test_accounts_by_flag_and_environment(make, up):
    p = make({"up.test": up.url}, ["--access-anonymous", "none", "--account", f"alice:{HASH}"],
             env={"RAC_ACCOUNT": f"alice:{registry.bcrypt('other')},robot:{KEY_DIGEST}"})
    assert get(p, ALICE).status == get(p, bearer(KEY)).status == 200
    assert get(p, basic("alice", "other")).status == 401 and challenged(get(p))


def test_a_reload_takes_accounts_over(guarded):
    p = guarded()
    assert get(p, ALICE).status == get(p, bearer(KEY)).status == 200
    config = {"upstreams": [], "accounts": [{"name": "alice", "password-hash": registry.bcrypt("new")}],
              "access": {"anonymous": "none"}}
    p.configure(config)
    p.reload()
    assert [get(p, h).status for h in (ALICE, bearer(KEY), basic("alice", "new"))] == [401, 401, 200]
    p.configure({**config, "accounts": [{"name": "alice", "password-hash": "broken"}]})
    p.reload()
    assert get(p, basic("alice", "new")).status == 200
    p.configure({**config, "access": {"anonymous": ["pull"]}})
    p.reload()
    assert get(p).status == 200 and get(p, ALICE).status == 401


def test_a_reload_goes_by_the_addresses_that_are_listened_on(make, up):
    """The file says loopback by now, the sockets are what they were: nobody is let in by that."""
    p = make(config={"accounts": ACCOUNTS, "listen": "0.0.0.0:0"}, start=False)
    p.args.remove("--listen"), p.args.remove("127.0.0.1:0")
    p.start()
    assert challenged(get(p))
    p.configure({"accounts": ACCOUNTS, "listen": "127.0.0.1:0"})
    p.reload()
    assert challenged(get(p)) and get(p, ALICE).status == 200


# Cost

def logins(p):
    return {re.search(r'result="(\w+)"', k)[1]: v for k, v in p.metrics().items() if k.startswith("rac_logins_total")}


def on_cpu(pid):
    """Seconds that all threads of a process ran: what others do on the machine is no part of it."""
    total = 0
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/schedstat", encoding="ascii") as f:
            total += int(f.read().split()[0])
    return total / 1e9


def test_a_password_is_hashed_once(guarded):
    p = guarded()
    for _ in range(10):
        assert get(p, ALICE).status == 200
    assert logins(p) == {"password": 1, "remembered": 9}


def test_twenty_at_once_are_one_hash(guarded):
    p = guarded([{"name": "alice", "password-hash": registry.bcrypt(PASSWORD, cost=12)}])

    def timed(work):
        began = on_cpu(p.daemon.pid)
        work()
        return on_cpu(p.daemon.pid) - began
    ones = [timed(lambda: get(p, basic("alice", "wrong")))]
    with concurrent.futures.ThreadPoolExecutor(20) as pool:
        took = timed(lambda: list(pool.map(lambda _: get(p, ALICE), range(20))))
    ones.append(timed(lambda: get(p, basic("alice", "wrong too"))))
    found = logins(p)
    assert found["password"] + found.get("remembered", 0) == 20
    assert took < 5 * max(ones), (took, ones)


def test_requests_that_leave_before_the_answer(guarded, slow_hash):
    p = guarded([{"name": "alice", "password-hash": slow_hash}])
    for i in range(10):
        with wire.Raw(p.address) as raw:
            header = basic("alice", f"guess-{i}")["Authorization"]
            raw.send(f"GET /v2/ HTTP/1.1\r\nHost: x\r\nAuthorization: {header}\r\n\r\n".encode())
    assert get(p, ALICE).status == 200
    p.stop()  # while some are still being checked


@pytest.fixture(scope="module")
def slow_hash(scratch):
    """As --hash-password makes it, which takes its time."""
    done = scratch.run(proxy.binary("rac-proxy"), "--hash-password", stdin=None, input=PASSWORD + "\n",
                       env=proxy.sanitizer_settings())
    return done.stdout.strip()


def test_an_unknown_name_takes_as_long(guarded, slow_hash):
    p = guarded([{"name": "alice", "password-hash": slow_hash}, {"name": "robot", "keys": [KEY_DIGEST]}])
    took = {"alice": [], "nobody": [], "robot": []}
    for i in range(6):
        for name, list_ in took.items():
            began = on_cpu(p.daemon.pid)
            assert get(p, basic(name, f"guess-{i}")).status == 401
            list_.append(on_cpu(p.daemon.pid) - began)
    least = {name: min(t) for name, t in took.items()}
    assert max(least.values()) < 1.5 * min(least.values()), least
    assert min(least.values()) > 0.01, least


# Guessing

def test_guessing_is_slowed(guarded):
    p = guarded()
    statuses = [get(p, basic("alice", f"guess-{i}")).status for i in range(200)]
    assert set(statuses) == {401, 429} and statuses.count(401) < 30
    last = get(p, basic("alice", "guess"))
    assert (last.status, last.code) == (429, "TOOMANYREQUESTS") and 1 <= int(last["Retry-After"]) <= 60
    found = logins(p)
    assert found["wrong"] < 30 and found["throttled"] > 170
    # The right password too: it would be the answer to a guess.
    assert get(p, ALICE).status == 429
    # Not who sends none, nor a key, which nobody comes to by guessing.
    assert challenged(get(p)) and get(p, bearer(KEY)).status == 200
    assert get(p, basic("alice", "guess"), "/metrics").status == 429
    assert p.fetch("GET", "/healthz", basic("alice", "guess")).json["message"]


def test_keys_are_not_guessed_for_ever_either(guarded):
    p = guarded()
    statuses = [get(p, bearer(f"rack_{i:064x}")).status for i in range(100)]
    assert statuses.count(401) < 30 and statuses.count(429) > 70
    assert get(p, bearer(KEY)).status == 200


def from_address(p, source, headers=None, path="/v2/"):
    """A request from another of our addresses: all of 127.0.0.0/8 is."""
    with wire.Connection(p.address) as c:
        c.http.source_address = (source, 0)
        return c.request("GET", path, headers)


def test_a_guesser_does_not_lock_others_out(guarded):
    p = guarded()
    for i in range(60):
        from_address(p, "127.0.0.66", basic("alice", f"guess-{i}"))
    assert from_address(p, "127.0.0.66", ALICE).status == 429
    assert from_address(p, "127.0.0.2", ALICE).status == 200
    assert from_address(p, "127.0.0.2", basic("alice", "guess")).status == 401


def test_many_addresses_guess_one_name_no_faster(guarded):
    """… and its owner stays in, where he was, and anywhere with a key."""
    key = "rack_" + "1" * 64
    p = guarded([{"name": "alice", "password-hash": HASH, "keys": ["sha256:" + hashlib.sha256(key.encode()).hexdigest()]}])
    assert from_address(p, "127.0.0.2", ALICE).status == 200
    statuses = [from_address(p, f"127.0.{i // 10}.{100 + i % 10}", basic("alice", f"guess-{i}")).status
                for i in range(300)]
    assert 90 <= statuses.count(401) <= 200 and statuses.count(429) >= 100
    assert from_address(p, "127.0.0.2", ALICE).status == 200
    assert from_address(p, "127.9.9.9", basic("alice", key)).status == 200
    assert from_address(p, "127.9.9.9", ALICE).status == 429
    assert from_address(p, "127.9.9.9", basic("robot", "x")).status == 401


def test_success_is_no_failure(guarded):
    p = guarded()
    for i in range(200):
        assert from_address(p, f"127.0.0.{10 + i}", ALICE).status == 200
    for i in range(60):
        assert from_address(p, "127.0.0.2", ALICE).status == 200
    assert logins(p)["password"] == 201


def test_what_is_remembered_is_not_for_another_address(guarded):
    """Else it would tell in a microsecond whether a guess is right."""
    p = guarded()
    assert from_address(p, "127.0.0.2", ALICE).status == 200
    for i in range(60):
        from_address(p, "127.0.0.66", basic("alice", f"guess-{i}"))
    assert from_address(p, "127.0.0.66", ALICE).status == 429


# Logs

def test_the_log_says_who_and_no_secret(guarded):
    p = guarded()
    get(p, ALICE), get(p, bearer(KEY)), get(p, basic("nobody", proxy.secret("typed-by-mistake")))
    p.stop()  # the last lines are written by then
    log = p.log()
    assert re.search(r"msg=request .*account=alice", log) and re.search(r"msg=request .*account=robot", log)
    for secret in (PASSWORD, HASH, KEY, KEY_DIGEST[7:], ALICE["Authorization"][6:], "typed-by-mistake"):
        assert secret not in log


def test_check_config_shows_no_hash(scratch, guarded):
    p = guarded()
    done = proxy.run_once(scratch, "--check-config", "--config", p.config_file)
    assert done.returncode == 0 and "account alice" in done.stdout and "pull,request, password set" in done.stdout
    assert HASH not in done.stdout + done.stderr and KEY_DIGEST[7:] not in done.stdout + done.stderr


# Making them

def test_make_key(scratch, make, up):
    done = proxy.run_once(scratch, "--make-key")
    key, digest = done.stdout.split()
    assert re.fullmatch(r"rack_[0-9a-f]{64}", key)
    assert digest == "sha256:" + hashlib.sha256(key.encode()).hexdigest()
    assert proxy.run_once(scratch, "--make-key").stdout.split()[0] != key
    p = make({"up.test": up.url}, ["--access-anonymous", "none", "--account", f"x:{digest}"])
    assert get(p, bearer(proxy.secret(key))).status == 200


@pytest.mark.parametrize("text,good", [("a", True), ("x" * 72, True), ("pass word:\u00e4", True), ("x" * 73, False),
                                       ("", False), ("a\tb", False), ("y" * 5000, False)])
def test_hash_password(scratch, make, up, text, good):
    done = scratch.run(proxy.binary("rac-proxy"), "--hash-password", stdin=None, input=text + "\n", check=False,
                       env=proxy.sanitizer_settings())
    assert (done.returncode == 0) == good, done.stderr
    if good:
        p = make({"up.test": up.url}, ["--access-anonymous", "none", "--account", f"x:{done.stdout.strip()}"])
        assert get(p, basic("x", text)).status == 200
    else:
        assert "password" in done.stderr and not done.stdout
