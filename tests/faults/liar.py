# SPDX-License-Identifier: Apache-2.0
"""Upstreams that lie: most answers are true, and each of the others is one of the lies below.

Which lie the n-th answer to a question is follows from the seed, the question and n, and from nothing else: whatever
the threads do, the same seed tells the same lies. What was said is written down (Liar.told), so that whoever hears of
it can be asked where it comes from.
"""
import base64
import collections
import email.utils
import gzip
import json
import random
import re
import secrets
import threading
import time

from rig import images, proxy, upstream
from rig.upstream import Answer, challenge, missing, redirect

HUGE = b'{"schemaVersion":2,"x":"' + b"y" * ((4 << 20) + 1 - 26) + b'"}'
HEX = "sha256:" + "a" * 64
ENTRY = {"mediaType": images.DOCKER_LAYER, "size": 5, "digest": HEX}
CONFIG = {"mediaType": images.DOCKER_CONFIG, "size": 5, "digest": HEX}


def document(**members):
    return json.dumps({"schemaVersion": 2, "mediaType": images.DOCKER_MANIFEST, **members}).encode()


NO_MANIFESTS = [b"", b"{", b"[]", b"12", b"null", b"<html>log in</html>", b"{} {}", b"\xff\xfe{}", b"{}",
                document(config=CONFIG, layers=[ENTRY], manifests=[]), document(config=CONFIG, layers=[ENTRY], Layers=[]),
                document(config=CONFIG, layers=[{**ENTRY, "size": -1}]), document(config=CONFIG, layers={}),
                document(config=CONFIG, layers=[{**ENTRY, "size": 1 << 70}]),
                document(config=CONFIG, layers=[{**ENTRY, "digest": "sha256:../../../etc/passwd"}]),
                b'{"schemaVersion":2,"a":' + b"[" * 10_000 + b"]" * 10_000 + b"}",
                b'{"schemaVersion":2,"mediaType":"\xff","layers":[]}', HUGE,
                document(config=CONFIG, layers=[ENTRY] * 20_000)]
NO_HEADS = [b"", b"garbage\r\n\r\n", b"HTTP/1.1 abc X\r\n\r\n", b"HTTP/1.1 200 X\r\nContent-Length: -5\r\n\r\nhello",
            b"HTTP/1.1 200 X\r\nContent-Length: 99999999999999999999\r\n\r\n", b"HTTP/9.9 200 X\r\n\r\n", b"\0" * 100,
            b"HTTP/1.1 200 X\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
            b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n0\r\n\r\n",
            b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\nhello",
            b"HTTP/1.1 200 X\r\nX-Much: " + b"y" * 300_000 + b"\r\n\r\n", b"HTTP/1.1 100 Continue\r\n\r\n" * 50,
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n", b"HTTP/1.1 200 X\r\n" + b"A: b\r\n" * 2000 + b"\r\n"]
NO_TOKENS = [b"", b"<html>", b"[]", b"{}", b'{"token":""}', b'{"token":null}', b'{"token":5}', b'{"token":"a\\r\\nX-Evil: 1"}',
             b'{"token":"' + b"y" * (1 << 20) + b'"}', b'{"token":"a b"}']
REALMS = ['Bearer realm="/token"', 'Bearer service="s"', 'Bearer realm="http://u:p@{address}/token"',
          'Bearer realm="file:///etc/passwd"', 'Bearer realm="http://[::1]:{port}/token"', "", "Negotiate abc",
          'Bearer realm="http://169.254.169.254/token"', 'Bearer realm="{url}/token', 'Bearer realm="{elsewhere}/token"',
          'Basic realm="x"', 'Bearer realm="{url}/token?' + "x" * 20_000 + '"']
PLACES = ["http://169.254.169.254/latest", "file:///etc/passwd", "gopher://{address}/x", "", "//", "http://", "javascript:x",
          "http://u:p@{address}/x", "http://[::ffff:10.0.0.1]/x", "http://127.0.0.1:99999/", "/\r\n\tx", "/" + "x" * 9000]


class Elsewhere(upstream.Upstream):
    """Where redirects and realms lead: it must never see a credential. It has the blobs of all who redirect to it."""

    def __init__(self):
        super().__init__()
        self.url = self.url.replace("127.0.0.1", "localhost")  # another port alone is the same site
        self.rule("*", lambda x: upstream.text(json.dumps({"token": "of-nobody"})) if x.path == "/token" else missing("X"))

    def lend(self, liar):
        def stored(x):
            _, _, number, digest = x.path.split("/")[:4]
            data = liar.held.get(digest)
            if data is None or number == "expired" or (number == "once" and x.attempt):
                return Answer(403, body=b"expired")
            first = x.range_from
            head = {"Content-Range": f"bytes {first}-{len(data) - 1}/{len(data)}"} if first else {}
            return Answer(206 if first else 200, head, data[first:],
                          cut=len(data) // 3 if number == "once" else None)
        self.rule(f"GET /{liar.name}/*", stored)


class Liar(upstream.Upstream):
    """kind: "open", "basic" or "bearer", how it wants to be asked. one_in: of so many answers one is a lie."""

    def __init__(self, name, kind, seed, elsewhere, tls=None, one_in=3):
        super().__init__(tls)
        self.name, self.kind, self.seed, self.elsewhere, self.one_in = name, kind, seed, elsewhere, one_in
        self.user, self.password = f"user-of-{name}", proxy.secret(f"{secrets.token_hex(16)}-of-{name}")
        self.basic = "Basic " + base64.b64encode(f"{self.user}:{self.password}".encode()).decode()
        self.tokens = {}                                # {token: its scope}
        self.held = {}                                  # {digest: bytes}
        self.pasts = collections.defaultdict(set)       # {(repository, tag): digests that it ever was}
        self.told = collections.defaultdict(set)        # {repository: statuses that were said about it}
        self.lies = collections.Counter()
        self.leaked = []
        self.honest = False
        self._taken = threading.Lock()
        elsewhere.lend(self)
        self.rule("*", self.reply)

    def publish(self, repository, tag, image):
        self.tag(repository, tag, image)
        self.held.update(image.all_blobs())
        self.pasts[repository, tag].add(image.digest)

    # How it lets others in

    def reply(self, x):
        if x.path == "/token":
            return self.token(x)
        wanted = self.wanted(x)
        if wanted is not None:
            return self.note(x, wanted)
        return self.note(x, self.choose(x))

    def wanted(self, x):
        """None: whoever asks may. Notes whose credentials come here that are not ours, or for something else."""
        given = x["Authorization"]
        if given is None:
            return None if self.kind == "open" else challenge(
                f"{self.url}/token", scheme="Bearer" if self.kind == "bearer" else "Basic")
        repository = self.repository(x)
        if given == self.basic and self.kind in ("basic", "bearer"):
            return None
        if given in ("Bearer of-nobody", "Bearer never-valid"):  # of a token server elsewhere, and of ours when it lied
            return challenge(f"{self.url}/token")
        scope = self.tokens.get(given[7:]) if given.startswith("Bearer ") else None
        if scope is None or scope not in (f"repository:{repository}:pull", ""):
            self.leaked.append(f"{self.name} saw {given[:20]}… (of {scope!r}) for {x.target}")
        return None

    @staticmethod
    def repository(x):
        found = re.fullmatch(r"/v2/(.+)/(manifests|blobs|tags|referrers)/[^/]+", x.path)
        return found.group(1) if found else ""

    def note(self, x, answer):
        said = answer if answer is not None else self.proper(x)
        self.told[self.repository(x)].add(said.status)
        return said

    def rng(self, x):
        return random.Random(f"{self.seed}/{self.name}/{x.method}/{x.target}/{x['Range']}/{x.attempt}")

    # The lies

    def token(self, x):
        if x["Authorization"] not in (None, self.basic):
            self.leaked.append(f"the token server of {self.name} saw {x['Authorization'][:20]}…")
        rng, scope = self.rng(x), x.query.get("scope", "")
        token = proxy.secret(f"{secrets.token_hex(16)}-{self.name}")
        with self._taken:
            self.tokens[token] = scope
        repository = scope.split(":")[1] if scope.count(":") == 2 else ""
        good = {"token": token, "expires_in": rng.choice([1, 1, 300])}  # soon asked for again: more to lie about
        if self.honest or rng.randrange(self.one_in):
            return upstream.text(json.dumps(good))
        lie = rng.choice([
            lambda: upstream.text(json.dumps({"access_token": token})),
            lambda: upstream.text(json.dumps({**good, "expires_in": rng.choice([0, 1, -1, 10 ** 18, 1e300, "300", None])})),
            lambda: upstream.text(json.dumps({**good, "issued_at": "yesterday"})),
            lambda: upstream.text(json.dumps({**good, "x": "y" * rng.choice([1000, 1 << 20, 3 << 20])})),
            lambda: upstream.text(rng.choice(NO_TOKENS)),
            lambda: Answer(rng.choice([401, 403, 404, 500, 503]), body=b"no"),
            lambda: self.limited(rng),
            lambda: Answer(raw=rng.choice(NO_HEADS)),
            lambda: redirect(f"{self.elsewhere.url}/token"),
            lambda: Answer(reset=rng.choice([-1, -2])),
            lambda: Answer(stall=-1),
            lambda: upstream.text(json.dumps({"token": "never-valid"}))])
        with self._taken:
            self.lies["token"] += 1
        answer = lie()
        self.told[repository].add(answer.status)
        return answer

    @staticmethod
    def limited(rng):
        soon = email.utils.formatdate(time.time() + 1, usegmt=True)
        value = rng.choice([None, "1", "0", soon, "Wed, 01 Jan 2020 00:00:00 GMT", "soon", "-5"] * 4 + ["99999999999999"])
        return Answer(429, {} if value is None else {"Retry-After": value}, b"slow down")

    def choose(self, x):
        rng = self.rng(x)
        if self.honest or rng.randrange(self.one_in):
            return None
        proper = self.proper(x)
        kind = "blob" if "/blobs/" in x.path else "manifest" if "/manifests/" in x.path else "list"
        found = [self.refuses, self.breaks, self.sends_away]
        if proper.status < 300 and x.method == "GET":
            found += [self.cuts] * 2 + [{"blob": self.other_blob, "manifest": self.other_manifest, "list": self.other_list}[kind]] * 4
            found += [self.denies] * (kind == "manifest" and ":" in x.path)
        elif proper.status < 300 and kind == "manifest":
            found += [self.other_head] * 2
        lie = rng.choice(found)
        with self._taken:
            self.lies[lie.__name__] += 1
        return lie(x, proper, rng)

    def refuses(self, x, proper, rng):
        realm = rng.choice(REALMS).format(address=self.address, port=self.port, url=self.url, elsewhere=self.elsewhere.url)
        return rng.choice([
            lambda: Answer(401, {"WWW-Authenticate": realm}), lambda: Answer(401, {"WWW-Authenticate": realm}),
            lambda: challenge(f"{self.url}/token"), lambda: Answer(403, body=b"no"), lambda: missing("BLOB_UNKNOWN"),
            lambda: self.limited(rng), lambda: self.limited(rng),
            lambda: Answer(rng.choice([500, 502, 503, 504, 400, 405, 408, 410, 418, 451]), body=b"<html>oops</html>"),
            lambda: Answer(rng.choice([201, 202, 204, 205, 206, 226, 300, 304, 305, 599, 700]), proper.headers, proper.body)])()

    def denies(self, x, proper, rng):
        return missing("MANIFEST_UNKNOWN")

    def breaks(self, x, proper, rng):
        return rng.choice([lambda: Answer(reset=-1), lambda: Answer(reset=-2), lambda: Answer(raw=rng.choice(NO_HEADS)),
                           lambda: Answer(raw=rng.choice(NO_HEADS)), lambda: Answer(stall=-1) if rng.random() < 0.3 else None])()

    def sends_away(self, x, proper, rng):
        digest = x.path.rsplit("/", 1)[1]
        places = [f"{self.elsewhere.url}/{self.name}/{how}/{digest}" for how in ("whole", "whole", "whole", "once", "expired")]
        places += [x.target, f"{self.url}{x.target}", self.elsewhere.url + "/nothing"]
        places.append(rng.choice(PLACES).format(address=self.address))
        return redirect(rng.choice(places), rng.choice([301, 302, 303, 307, 308]))

    def cuts(self, x, proper, rng):
        size = len(proper.body)
        at = rng.choice([0, 1, size - 1, rng.randrange(size + 1), rng.randrange(size + 1)]) if size else 0
        more = {"length": rng.choice(["true", "true", "none", "chunked"])}
        return rng.choice([lambda: x.proper(cut=at, **more), lambda: x.proper(reset=max(at, 0), **more),
                           lambda: x.proper(length=size + 10), lambda: x.proper(length=max(size - 10, 0)),
                           lambda: x.proper(stall=at, **more) if rng.random() < 0.2 else x.proper(**more),
                           lambda: x.proper(rate=max(size, 1) * 2), lambda: x.proper(extra=b"HTTP/1.1 200 OK\r\n\r\nevil")])()

    def digest_header(self, proper, rng):
        return {**proper.headers, "Docker-Content-Digest": rng.choice([HEX, "sha256:xyz", "", "md5:" + "0" * 32, "sha512:" + "0" * 128])}

    def other_blob(self, x, proper, rng):
        data, first = proper.body, x.range_from
        whole = self.blobs[self.repository(x)].get(x.path.rsplit("/", 1)[1], data)
        flipped = bytearray(data)
        if flipped:
            flipped[rng.choice([0, -1, rng.randrange(len(flipped))])] ^= 1 << rng.randrange(8)

        def ranged(a, b, total, body):
            return Answer(206, {"Content-Range": f"bytes {a}-{b}/{total}"}, body)
        end = len(whole)
        return rng.choice([
            lambda: Answer(proper.status, proper.headers, bytes(flipped)),
            lambda: Answer(proper.status, proper.headers, bytes(flipped), rate=max(len(data), 1) * 2), lambda: Answer(body=images.noise(50, "x")),
            lambda: Answer(proper.status, proper.headers, data[:-10]), lambda: Answer(proper.status, proper.headers, data + b"more"),
            lambda: Answer(proper.status, proper.headers, images.noise(len(data), "wrong")), lambda: Answer(),
            lambda: upstream.text("<html>log in</html>", content_type="text/html"),
            lambda: Answer(headers={"Content-Encoding": "gzip"}, body=gzip.compress(data, 1)),
            lambda: x.proper(headers={**proper.headers, "Content-Encoding": "gzip"}),
            lambda: x.proper(headers=self.digest_header(proper, rng)),
            lambda: Answer(length="chunked", body=bytes(2 << 20)), lambda: x.proper(length=rng.choice(["chunked", "none"])),
            lambda: Answer(body=whole), lambda: Answer(416, {"Content-Range": f"bytes */{end}"}),
            lambda: ranged(0, end - 1, end, whole), lambda: ranged(first + 1, end - 1, end, whole[first + 1:]),
            lambda: ranged(first, end - 1, end * 2, data), lambda: ranged(first, end, "*", data),
            lambda: ranged(first, first, end, data[:1]), lambda: Answer(206, body=data)])()

    def other_manifest(self, x, proper, rng):
        """What is one, and another than was asked for by digest, is a lie; by tag it would be the truth."""
        others = [i for i in self.manifests[self.repository(x)].values() if i.manifest != proper.body]
        other = rng.choice(others) if others and ":" in x.path else None
        return rng.choice([
            lambda: Answer(headers=proper.headers, body=rng.choice(NO_MANIFESTS)),
            lambda: Answer(headers={"Content-Type": images.DOCKER_MANIFEST}, body=rng.choice(NO_MANIFESTS)),
            lambda: upstream.text("<html>log in</html>", content_type="text/html"),
            lambda: Answer(headers=proper.headers, body=other.manifest) if other else None,
            lambda: x.proper(headers=self.digest_header(proper, rng)), lambda: x.proper(headers={"Content-Type": proper.headers["Content-Type"]}),
            lambda: x.proper(headers={**proper.headers, "Content-Type": rng.choice(["text/html", "application/json", "", "x" * 5000])}),
            lambda: x.proper(headers={**proper.headers, "Content-Encoding": "gzip"}, body=gzip.compress(proper.body)),
            lambda: x.proper(headers={**proper.headers, "ETag": rng.choice(['"x"', "x", '"' + "y" * 3000 + '"', ""])}),
            lambda: self.moves(x), lambda: self.moves(x)])()

    def other_head(self, x, proper, rng):
        return rng.choice([lambda: x.proper(headers=self.digest_header(proper, rng)), lambda: x.proper(headers={}),
                           lambda: missing("MANIFEST_UNKNOWN"), lambda: Answer(405), lambda: x.proper(length=5), lambda: self.moves(x)])()

    def moves(self, x):
        """From now on the tag is another image, and this answer is still of the old one."""
        repository, tag = self.repository(x), x.path.rsplit("/", 1)[1]
        answer = x.proper()
        if ":" not in tag:
            with self._taken:
                rng = self.rng(x)
                self.publish(repository, tag, rng.choice(sorted(self.manifests[repository].values(), key=lambda i: i.digest)))
        return answer

    def other_list(self, x, proper, rng):
        return rng.choice([
            lambda: upstream.text(rng.choice(["", "[]", "{", '{"tags":5}', '{"name":"x","tags":[5]}', "<html>", '{"tags":["../x"]}',
                                              '{"name":"\\u0000","tags":["\\u0000"]}', "[" * 10_000])),
            lambda: x.proper(headers={**proper.headers, "Link": f"<{self.elsewhere.url}/v2/x/tags/list?n=1&last=a>; rel=\"next\""}),
            lambda: upstream.text(json.dumps({"name": "x", "tags": ["t" * 128] * 40_000}))])()
