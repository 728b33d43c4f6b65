# SPDX-License-Identifier: Apache-2.0
"""The load of a soak: engines as they pull, readers of records, followers of events, and an upstream with good and bad hours."""
import collections
import http.client
import itertools
import json
import os
import random
import subprocess
import threading
import time

from faults import stress
from rig import images, proxy, receiver, token_api, upstream, wire

Wrong = stress.Wrong
AGENTS = ["docker/24.0.7 go/go1.20 upstream-client(containers)", "containerd/1.7.13", "containers/5.29 (github.com/containers/image)",
          "kubelet/v1.29", "cri-o/1.29"]
VAULT_PASSWORD = proxy.secret("correct-horse-soak")


class Library:
    """A fixed set of images, some 20 MiB of blobs: more than the caches hold, so that something always goes and comes back."""

    SIZES = [100, 9_000, 70_000, 400_000, 1 << 20, 2 << 20]

    def __init__(self, up, rng):
        self.blobs, self.tags = {}, []
        layers = [images.tar([(f"data/{i}.bin", images.noise(self.SIZES[i % len(self.SIZES)], f"k{i}"))]) for i in range(30)]
        made = [images.image(rng.sample(layers, rng.randint(1, 4)), {"Labels": {"n": str(i)}}, oci=bool(i % 2), level=1)
                for i in range(20)]
        made += [images.index([(image, "linux/amd64") for image in rng.sample(made[:20], 2)]) for _ in range(4)]
        for i, image in enumerate(made):
            for name in rng.sample(["lib/a", "lib/b", "team/c", "deep/er/d"], rng.randint(1, 2)) + (["vault/x"] if i % 4 == 0 else []):
                up.tag(name, f"t{i}", image)
                self.tags.append((name, f"t{i}"))
            self.blobs.update(image.all_blobs())
        self.tags.append(("lib/moving", "now"))
        self.moving = made[:6]
        self.move(up, rng)

    def move(self, up, rng):
        up.tag("lib/moving", "now", rng.choice(self.moving))


class World:
    """The upstream: vault/* wants a token of its own, and what else happens to a request follows the hour."""

    def __init__(self, rng):
        self.rng, self.lock = rng, threading.Lock()
        self.up = upstream.Upstream()
        self.library = Library(self.up, rng)
        self.given, self.bad = set(), False
        self.faulty = stress.bad_upstream(random.Random(rng.random()), self.lock)
        self.up.rule("*", self.answer)

    def answer(self, x):
        if x.path == "/token":
            with self.lock:
                token = f"bearer-{len(self.given)}"
                self.given.add(token)
            return upstream.text(json.dumps({"token": token, "expires_in": 70}))
        if x.path.startswith("/v2/vault/") and (x["Authorization"] or "")[7:] not in self.given:
            return upstream.challenge(f"{self.up.url}/token", scope="repository:vault/x:pull")
        return self.faulty(x) if self.bad else None

    def turn(self):
        """The next stretch of time: what it is, and for how many seconds."""
        what = self.rng.choice(["good", "good", "bad", "bad", "away"])
        self.library.move(self.up, self.rng)
        self.bad = what == "bad"
        # What it was asked is kept for tests that look at it; here it would only be what grows.
        self.up.log.clear()
        self.up.sent.clear()
        return what, self.rng.uniform(2, 5) if what == "away" else self.rng.uniform(4, 12)


class Client(stress.Client):
    """One engine after the other, each with its habits. A proxy that nobody kills loses no connection."""

    def __init__(self, soak, seed):
        super().__init__(soak, seed)
        self.soak = soak

    def run(self):
        while not self.soak.over.is_set() and not self.soak.wrong:
            p = self.rng.choice(self.soak.proxies)
            try:
                self.one(p)
            except (OSError, http.client.HTTPException) as e:
                self.seen["connection lost"] += 1
                if p is not self.soak.shaken and not self.soak.over.is_set():
                    self.soak.wrong.append(f"{p.soak_name}: {type(e).__name__}: {e}")
            except Exception as e:  # pylint: disable=broad-except
                self.soak.wrong.append(f"{p.soak_name}: {type(e).__name__}: {e}")

    def one(self, p):
        habits = [self.engine] * 10 + [self.pull] * 6 + [self.token] * 3 + [self.look, self.odd, self.check_only]
        if p is self.soak.secure:
            habits += [self.multiplexed] * 3
        self.rng.choice(habits)(p)

    def raw(self, p, name, d, **kwargs):
        self.soak.count()
        name = name if not name.startswith("vault/") else f"vault.test/{name}"
        raw = wire.Raw(p.address, timeout=60, **kwargs)
        if p is self.soak.secure:
            raw.socket = self.soak.client_tls.wrap_socket(raw.socket, server_hostname="localhost")
        raw.send(f"GET /v2/{name}/blobs/{d['digest']} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        return raw

    def head(self, p, name, d):
        """As the others are checked."""
        self.soak.count()
        name = name if not name.startswith("vault/") else f"vault.test/{name}"
        reply = p.head(f"/v2/{name}/blobs/{d['digest']}")
        if self.check(reply, f"HEAD of {name}@{d['digest']} as {reply['X-Request-Id']}") and reply["Content-Length"] != str(d["size"]):
            raise Wrong(f"HEAD of {d}: {reply['Content-Length']} bytes")

    def check(self, reply, what):
        if reply.status in stress.FAULTS and not reply.body:  # of a HEAD
            self.seen[reply.status] += 1
            return False
        return super().check(reply, what)

    # An image, over connections that are kept

    def engine(self, p):
        name, tag = self.rng.choice(self.soak.library.tags)
        host = "vault.test" if name.startswith("vault/") else "up.test"
        agent, by = self.rng.choice(AGENTS), self.rng.choice(["name", "mirror"])
        path, more = (f"/v2/{host}/{name}", "") if by == "name" else (f"/v2/{name}", f"?ns={host}")
        headers = {"User-Agent": agent, "Accept": wire.MANIFEST_TYPES, "X-Rac-Node": f"node-{self.rng.randrange(40)}"}
        with p.connection() as c:
            def get(what, method="GET", **others):
                self.soak.count()
                reply = c.request(method, f"{path}/{what}{more}", {**headers, **others})
                if reply.broken:
                    c.close()  # the next one opens another
                return reply if self.check(reply, f"{method} {path}/{what}") else None
            self.soak.count()
            if agent.startswith("docker") and c.request("GET", "/v2/", headers).status != 200:
                raise Wrong("/v2/")
            found = get(f"manifests/{tag}", "GET" if agent.startswith("containers") else "HEAD")
            if found and not found.body:
                found = get(f"manifests/{found['Docker-Content-Digest']}")
            for _ in range(3):
                if not found:
                    return
                if found.digest != found["Docker-Content-Digest"]:
                    raise Wrong(f"{path}: {found.digest} was announced as {found['Docker-Content-Digest']}")
                if "manifests" not in found.json:
                    break
                found = get(f"manifests/{self.rng.choice(found.json['manifests'])['digest']}")
            for d in [found.json["config"], *found.json["layers"]]:
                self.part_or_whole(get, d)

    def part_or_whole(self, get, d):
        """As they come: whole, or from where a first try broke off."""
        begin = self.rng.randrange(d["size"]) if self.rng.random() < 0.15 else 0
        first = get(f"blobs/{d['digest']}", Range=f"bytes=0-{begin - 1}") if begin else None
        if begin and not first:
            return
        rest = get(f"blobs/{d['digest']}", **({"Range": f"bytes={begin}-"} if begin else {}))
        if not rest:
            return
        whole = (first.body if first else b"") + rest.body
        if wire.sha256(whole) != d["digest"]:
            # Of a corrupt download, a part may have gone out before the whole was verified: the client's digest tells.
            if begin and self.soak.world_was_bad():
                self.seen["parts of a bad download"] += 1
                return
            raise Wrong(f"{d}: complete, and {len(whole)} bytes of {wire.sha256(whole)}")

    def check_only(self, p):
        """imagePullPolicy: Always, on a node that has the image."""
        name, tag = self.rng.choice(self.soak.library.tags)
        self.soak.count()
        self.check(p.manifest(name if not name.startswith("vault/") else f"vault.test/{name}", tag, "HEAD"), "check")

    def multiplexed(self, p):
        """All blobs of an image at once over one connection of HTTP/2, by curl."""
        name, tag = self.rng.choice([t for t in self.soak.library.tags if not t[0].startswith("vault/")])
        manifest = self.manifest(p, name, tag)
        if not manifest or "layers" not in manifest:
            return
        parts = {d["digest"]: d for d in [manifest["config"], *manifest["layers"]]}
        folder = os.path.join(self.soak.folder, self.name)
        os.makedirs(folder, exist_ok=True)
        urls = list(itertools.chain.from_iterable(
            ("-o", os.path.join(folder, digest[7:]), f"https://localhost:{wire.split(p.address)[1]}/v2/{name}/blobs/{digest}") for digest in parts))
        self.soak.count(len(parts))
        done = subprocess.run(["curl", "-sS", "--http2", "--parallel", "--noproxy", "*", "--cacert", self.soak.authority.certificate,
                               "--max-time", "120", "-w", "%{http_version} %{http_code} %{exitcode} %{filename_effective}\n", *urls],
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, env=self.soak.scratch.environment())
        for line in done.stdout.splitlines():
            version, status, code, path = line.split(" ", 3)
            body = images.read(path) if os.path.exists(path) else b""
            if version != "2" and code == "0":
                raise Wrong(f"HTTP/{version}, not 2")
            self.check(wire.Reply(int(status), http.client.HTTPMessage(), body, "" if code == "0" else f"curl: {code}"), f"{name} over HTTP/2")
            digest = "sha256:" + os.path.basename(path)
            if (status, code) == ("200", "0") and wire.sha256(body) != digest:
                raise Wrong(f"{digest}: complete, and {len(body)} bytes of {wire.sha256(body)} over HTTP/2")
        for name in os.listdir(folder):
            os.unlink(os.path.join(folder, name))

    # What else there is to ask

    def token(self, p):
        """A token, all of its image, and sometimes its end."""
        t = self.wish(p, *self.rng.choice(self.soak.wishes))
        if t and self.rng.random() < 0.2:
            self.soak.count(2)
            if p.fetch("DELETE", f"/container-token/{t.text}", {"Authorization": f"Bearer {self.soak.key}"}).status not in (204, 404):
                raise Wrong("a token that cannot be revoked")
            if p.manifest(t.name, t.reference).status != 404:
                raise Wrong("a token that was revoked and is not")

    def wish(self, p, name, tag, layer, run):
        """The token that adds a layer and a label to an image, or None; all of the image was had."""
        image = f"{'vault.test' if name.startswith('vault/') else 'up.test'}/{name}:{tag}"
        wish = {"layers": [token_api.data_layer(layer)], "labels": {"run": str(run)}}
        self.soak.count()
        reply = token_api.ask(p, image, wish, containerPlatform="all")
        self.seen[f"token {reply.status}"] += 1
        if reply.status != 200:
            if reply.status not in stress.FAULTS or not reply.json["message"]:
                raise Wrong(f"container token of {image}: {reply.status} {reply.body[:300]}")
            return None
        t = token_api.Token(p, reply)
        manifest = self.manifest(p, t.name, t.reference)
        if manifest and "manifests" in manifest:
            manifest = self.manifest(p, t.name, manifest["manifests"][0]["digest"])
        if manifest:
            for d in [manifest["config"], *manifest["layers"]]:
                self.whole(p, t.name, d)
        return t

    def look(self, p):
        """Pages of records, demand, lists, metrics: what dashboards and controllers read."""
        self.soak.count(7)
        page = p.get("/v1/pulls?limit=200")
        ids = [r["id"] for r in page.json["pulls"]] if page.status == 200 else None
        if ids is None or len(set(ids)) != len(ids) or p.get("/v1/demand").status != 200:
            raise Wrong(f"/v1/pulls: {page.status} {page.body[:300]}")
        name = self.rng.choice(["lib/a", "lib/b", "team/c"])
        self.check(p.get(f"/v2/{name}/tags/list?n=5"), "tags")
        for path in ("/v2/_catalog", "/metrics", "/healthz", "/openapi.yaml"):
            if p.get(path).status != 200:
                raise Wrong(path)

    def odd(self, p):
        """What is refused, each in its way; and connections that say little or nothing."""
        self.soak.count(3)
        for path, status in ((f"/v2/lib/a/blobs/sha256:{'0' * 64}", (404, *stress.FAULTS)), ("/v2/Lib/a/manifests/1", (400,)),
                             (f"/v2/wt/{'0' * 32}/lib/a/manifests/1", (404,))):
            reply = p.get(path)
            if reply.status not in status:
                raise Wrong(f"{path}: {reply.status}")
        for text in (b"", b"GET / HTTP/1.1\r\nHost", b"\x16\x03\x01\x02\x00\x01\x00", b"GET /v2/ HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n"
                     b"Transfer-Encoding: chunked\r\n\r\n"):
            with wire.Raw(p.address, timeout=60) as raw:
                raw.send(text)

    def manifest(self, p, name, reference):
        self.soak.count()
        return super().manifest(p, name if not name.startswith("vault/") else f"vault.test/{name}", reference)

    def whole(self, p, name, d):
        self.soak.count()
        super().whole(p, name if not name.startswith("vault/") else f"vault.test/{name}", d)

    def ranges(self, p, name, d):
        self.soak.count()
        super().ranges(p, name if not name.startswith("vault/") else f"vault.test/{name}", d)


class Follower(threading.Thread):
    """A reader of /v1/events who comes back with Last-Event-ID: each record once, in order, whoever cut the stream."""

    def __init__(self, soak, p, seed):
        super().__init__(daemon=True)
        self.soak, self.p, self.rng = soak, p, random.Random(seed)
        self.last, self.count, self.cuts = None, 0, 0
        self.ready = threading.Event()

    def run(self):
        while not self.soak.done.is_set() and not self.soak.wrong:
            try:
                self.follow()
            except (OSError, http.client.HTTPException, ValueError) as e:
                if self.p is not self.soak.shaken and not isinstance(e, TimeoutError) and not self.soak.done.is_set():
                    self.soak.wrong.append(f"{self.p.soak_name}: events: {type(e).__name__}: {e}")
                time.sleep(0.1)

    def follow(self):
        with self.p.connection(timeout=2) as c:
            c.http.request("GET", "/v1/events", headers={"Last-Event-ID": self.last} if self.last else {})
            response = c.http.getresponse()
            if response.status != 200:
                raise OSError(f"/v1/events: {response.status}")
            self.ready.set()
            self.cuts += 1
            leave = self.rng.expovariate(1 / 3000)
            fields = {}
            for line in iter(response.readline, b""):
                name, _, value = line.decode().rstrip("\n").partition(": ")
                if name or "id" not in fields:
                    fields[name] = value
                    continue
                if self.last and fields["id"] <= self.last:
                    self.soak.wrong.append(f"{self.p.soak_name}: event {fields['id']} came after {self.last}")
                json.loads(fields["data"])
                self.last, self.count, fields = fields["id"], self.count + 1, {}
                leave -= 1
                if leave < 0:
                    return


class Hook(receiver.Receiver):
    """An endpoint that fails now and then. What came is counted and let go of; the order is checked."""

    def __init__(self, rng):
        self.rng, self.last, self.distinct, self.again = rng, "", 0, 0
        super().__init__()
        self.status = lambda n: 500 if self.rng.random() < 0.02 else 200

    def take(self):
        """Looks at what came since; an error as text, or None."""
        with self.lock:
            envelopes, self.envelopes = self.envelopes, []
        for _, document in envelopes:
            ids = [e["id"] for e in document["events"]]
            if ids != sorted(set(ids)):
                return f"webhook: events of one envelope are out of order: {ids}"
            fresh = [i for i in ids if i > self.last]
            if fresh != ids[len(ids) - len(fresh):]:
                return f"webhook: {ids} came after {self.last}"
            self.again += len(ids) - len(fresh)
            self.distinct += len(fresh)
            self.last = max(self.last, *ids)
        return None


class Counted(collections.Counter):
    """Requests that were sent, by many threads."""

    def __init__(self):
        super().__init__()
        self.lock = threading.Lock()

    def add(self, n):
        with self.lock:
            self["all"] += n
