#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Many clients, and upstreams that lie: whatever is complete must be right, and whatever is not must say why.

    tests/faults/lies.py [--pulls N] [--seed S] [--one-in K]

Two proxies work side by side, one injects, one does not, in front of three liars (liar.py) and four upstreams that are
never there. What is lied, and what clients ask for, follows from the seed, which is printed; when it happens does not.
Ends with 1, and says what, if

- a complete answer was wrong: other bytes than its digest, than its tag ever was, than a proxy makes that never heard a lie;
- an error had another code or form than it should, or says what no upstream said;
- an answer did not come, credentials of one host came to another, or a forbidden address was dialled;
- memory or descriptors grew;
- or anything cannot be pulled once the upstreams are honest again.
"""
import collections
import json
import os
import random
import re
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.dont_write_bytecode = True

from faults import seeded  # noqa: E402
from faults.liar import Elsewhere, Liar  # noqa: E402
from faults.seeded import Wrong  # noqa: E402
from rig import certs, images, process, proxy, upstream, wire  # noqa: E402

CLIENTS = 16
HANG_S = 150  # a download asks six times, waits for up to 15 s between (Retry-After), and each try may stand still
ARGS = ["--upstream-connect-timeout", "2s", "--upstream-head-timeout", "1s", "--upstream-stall-timeout", "1s", "--upstream-missing", "0s",
        "--upstream-fresh", "0s", "--cache-size", "4MiB", "--cache-memory", "1MiB", "--shutdown-grace", "2s", "--log-level", "info"]
CODES = {401: {"UNAUTHORIZED"}, 403: {"DENIED"}, 404: {"MANIFEST_UNKNOWN", "BLOB_UNKNOWN", "NAME_UNKNOWN"}, 413: {"SIZE_INVALID"},
         429: {"TOOMANYREQUESTS"}, 502: {"UNAVAILABLE"}, 503: {"UNAVAILABLE"}, 504: {"UNAVAILABLE"}}
# What an upstream must have said for a client to hear this; the redirects because of where they lead.
SAID = {401: {401}, 403: {401, 403, 301, 302, 303, 307, 308}, 404: {404, 410, 301, 302, 303, 307, 308}, 429: {429}}
NAMES = ["lib/a", "lib/b", "team/c", "deep/er/d"]
DEAD = ["hole.test", "gone.test", "nowhere.test", "expired.test"]


def fill(liar, rng):
    """Images that share layers, some under several names, some in indexes."""
    sizes = [100, 3_000, 60_000, 70_000, 150_000, 400_000, 1_200_000]
    layers = [images.tar([(f"data/{i}.bin", images.noise(sizes[i % len(sizes)], f"{liar.name}{i}"))]) for i in range(14)]
    made = [images.image(rng.sample(layers, rng.randint(1, 4)), {"Labels": {"n": str(i)}}, oci=bool(i % 2), level=1) for i in range(24)]
    made += [images.index([(image, "linux/amd64") for image in rng.sample(made[:24], 3)]) for _ in range(6)]
    made += [images.index([(made[24], None), (made[1], "linux/amd64")])]
    for i, image in enumerate(made):
        for name in rng.sample(NAMES, rng.randint(1, 2)):
            liar.publish(name, f"t{i}", image)


class Client(threading.Thread):
    def __init__(self, run, seed):
        super().__init__(daemon=True)
        self.lies, self.rng = run, random.Random(seed)
        self.seen = collections.Counter()
        self.asks = ("nothing", time.monotonic())

    def run(self):
        while not self.lies.wrong and self.lies.another():
            try:
                self.pull(self.rng.choice(self.lies.proxies))
            except (OSError, wire.http.client.HTTPException) as e:
                self.lies.wrong.append(f"{self.asks[0]}: {type(e).__name__}: {e}")
            except Exception as e:  # pylint: disable=broad-except
                self.lies.wrong.append(f"{self.asks[0]}: {type(e).__name__}: {e}")
        self.asks = ("nothing", time.monotonic())

    def begin(self, what):
        self.asks = (what, time.monotonic())

    # What came, and whether it may

    def check(self, reply, liar, name, what):
        """True: complete and successful. Any other answer is checked here."""
        self.seen[reply.status] += 1
        if reply.broken:
            self.seen["broken off"] += 1
            return False
        if reply.status in (200, 206, 304):
            return True
        if reply.status not in CODES or reply.code not in CODES[reply.status]:
            raise Wrong(f"{what}: {reply.status} {reply.body[:300]}")
        # Who is limited under one name is limited under all: downloads are shared.
        told = set().union(*liar.told.copy().values()) if reply.status == 429 else liar.told[name]
        if reply.status in SAID and not told & SAID[reply.status]:
            raise Wrong(f"{what}: {reply.status}, and {liar.name} only ever said {sorted(told)}: {reply.body[:300]}")
        if (set(NAMES) - {name}) & set(re.findall(r"|".join(NAMES), reply.message)):
            raise Wrong(f"{what}: tells of another name: {reply.message}")
        if reply.status != 404 and reply.status != 413 and liar.name not in reply.message:
            raise Wrong(f"{what}: does not name {liar.name}: {reply.message}")
        if reply.status in (429, 503) and not 1 <= int(reply["Retry-After"] or 0) <= 86400:
            raise Wrong(f"{what}: Retry-After {reply['Retry-After']}")
        return False

    def manifest(self, p, liar, name, reference, headers=None):
        what = f"manifest {liar.name}/{name}:{reference}"
        self.begin(what)
        reply = p.fetch("GET", f"/v2/{liar.name}/{name}/manifests/{reference}", {"Accept": wire.MANIFEST_TYPES, **(headers or {})}, timeout=HANG_S)
        if not self.check(reply, liar, name, what) or reply.status == 304:
            return None
        if reply.digest != reply["Docker-Content-Digest"] or (":" in reference and reply.digest != reference):
            raise Wrong(f"{what}: {reply.digest} was announced as {reply['Docker-Content-Digest']}")
        if ":" not in reference:
            self.lies.saw(p, liar, name, reference, reply.digest, reply.body)
        return reply.json

    def pull(self, p):
        if self.rng.randrange(100) == 0:
            return self.dead(p)
        liar, name, tag = self.lies.choose(self.rng)
        if self.rng.randrange(10) == 0:
            self.aside(p, liar, name, tag)
        manifest = self.manifest(p, liar, name, tag)
        while manifest and "manifests" in manifest:
            manifest = self.manifest(p, liar, name, self.rng.choice(manifest["manifests"])["digest"])
        if not manifest:
            return None
        parts = [manifest["config"], *manifest["layers"]]
        whole = True
        for d in parts:
            way = self.rng.choice([self.whole] * 6 + [self.ranges, self.leave, self.slow, self.head])
            self.begin(f"{way.__name__} {liar.name}/{name}@{d['digest']}")
            whole = bool(way(p, liar, name, d)) and whole
        self.seen["whole images"] += whole
        return None

    def dead(self, p):
        name = self.rng.choice(DEAD)
        self.begin(name)
        reply = p.manifest(f"{name}/lib/a", "1", timeout=HANG_S)
        self.seen[reply.status] += 1
        if reply.status not in (502, 504) or reply.code != "UNAVAILABLE" or name not in reply.message:
            raise Wrong(f"{name}: {reply.status} {reply.body[:300]}")

    def aside(self, p, liar, name, tag):
        """What clients ask besides: a HEAD, a condition, the tags, the referrers."""
        path = f"/v2/{liar.name}/{name}"
        kind = self.rng.randrange(4)
        self.begin(f"{kind} {path}:{tag}")
        if kind == 0:
            reply = p.manifest(f"{liar.name}/{name}", tag, "HEAD", timeout=HANG_S)
            self.seen[reply.status] += 1
            if reply.status == 200:
                self.lies.saw(p, liar, name, tag, reply["Docker-Content-Digest"], None)
        elif kind == 1:
            past = self.rng.choice(sorted(liar.pasts[name, tag]))
            self.manifest(p, liar, name, tag, {"If-None-Match": f'"{past}"'})
        elif kind == 2:
            reply = p.get(f"{path}/tags/list?n=5", timeout=HANG_S)
            if self.check(reply, liar, name, path) and not set(reply.json["tags"]) <= {t for n, t in liar.pasts if n == name} | {"t" * 128}:
                raise Wrong(f"{path}/tags/list: {reply.body[:300]}")
        else:
            reply = p.get(f"{path}/referrers/{self.rng.choice(sorted(liar.pasts[name, tag]))}", timeout=HANG_S)
            if self.check(reply, liar, name, path) and reply.json["manifests"]:
                raise Wrong(f"{path}/referrers: {reply.body[:300]}")

    def whole(self, p, liar, name, d):
        reply = p.blob(f"{liar.name}/{name}", d["digest"], timeout=HANG_S)
        if not self.check(reply, liar, name, self.asks[0]):
            return False
        if reply.digest != d["digest"]:
            raise Wrong(f"{self.asks[0]}: complete, and {len(reply.body)} bytes of {reply.digest}")
        return True

    def ranges(self, p, liar, name, d):
        data = self.lies.held(liar, d["digest"])
        first = self.rng.randrange(self.rng.choice([0, max(d["size"] - 65536, 0)]), d["size"])
        last = self.rng.randrange(first, d["size"])
        reply = p.blob(f"{liar.name}/{name}", d["digest"], timeout=HANG_S, Range=f"bytes={first}-{last}")
        if not self.check(reply, liar, name, self.asks[0]):
            return False
        if (reply.status, reply["Content-Range"], len(reply.body)) != (206, f"bytes {first}-{last}/{d['size']}", last - first + 1):
            raise Wrong(f"{self.asks[0]}: part {first}-{last}: {reply.status} {reply['Content-Range']} {len(reply.body)}")
        # What lies before the last 64 KiB goes out before anybody can know whether it is right.
        held_back = max(d["size"] - 65536 - first, 0)
        if data and reply.body[held_back:] != data[first + held_back:last + 1]:
            raise Wrong(f"{self.asks[0]}: part {first}-{last}: the tail went out before it was verified")
        return True

    def head(self, p, liar, name, d):
        reply = p.fetch("HEAD", f"/v2/{liar.name}/{name}/blobs/{d['digest']}", timeout=HANG_S)
        self.seen[reply.status] += 1
        if reply.status == 200 and (reply["Content-Length"], reply["Docker-Content-Digest"]) != (str(d["size"]), d["digest"]):
            raise Wrong(f"{self.asks[0]}: {reply['Content-Length']} bytes of {reply['Docker-Content-Digest']}, it is {d['size']}")
        if reply.status != 200 and reply.status not in CODES:
            raise Wrong(f"{self.asks[0]}: {reply.status}")
        return reply.status == 200

    def raw(self, p, liar, name, d, **kwargs):
        raw = wire.Raw(p.address, timeout=HANG_S, **kwargs)
        raw.send(f"GET /v2/{liar.name}/{name}/blobs/{d['digest']} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        return raw

    def leave(self, p, liar, name, d):
        with self.raw(p, liar, name, d) as raw:
            raw.read_until(lambda data, n=self.rng.randrange(d["size"] + 200): len(data) >= n)
            self.seen["left"] += 1
        return False

    def slow(self, p, liar, name, d):
        with self.raw(p, liar, name, d, receive_buffer=8192) as raw:
            for _ in range(self.rng.randrange(4)):
                time.sleep(0.05)
                raw.read_until(lambda data, n=len(raw.data) + 20_000: len(data) >= n)
            if raw.read_until(lambda data: b"\r\n\r\n" in data) and raw.status == 200:
                reply = raw.read_reply()
                if not reply.broken and reply.digest != d["digest"]:
                    raise Wrong(f"{self.asks[0]}: complete, and wrong, at a slow reader")
                return not reply.broken
        return False


class Lies:
    def __init__(self, scratch, seed, pulls, one_in=3):
        self.rng, self.seed, self.pulls, self.left = random.Random(seed), seed, pulls, pulls
        self.lock, self.wrong, self.middle = threading.Lock(), [], None
        self.observed = collections.defaultdict(set)  # {(injects, liar, name, tag): digests}
        self.announced = {}  # {digest: manifest}
        self.elsewhere, self.forbidden = Elsewhere(), Elsewhere()
        authority = certs.Authority(scratch)
        self.liars = [Liar("bearer.test", "bearer", seed, self.elsewhere, one_in=one_in),
                      Liar("basic.test", "basic", seed, self.elsewhere, authority.server("basic"), one_in=one_in),
                      Liar("open.test", "open", seed, self.forbidden, one_in=one_in)]
        for liar in self.liars:
            fill(liar, self.rng)
        self.tags = [(liar, *key) for liar in self.liars for key in sorted(liar.pasts)]
        self.dead = [upstream.BlackHole(), upstream.Upstream(), upstream.Upstream(authority.server("expired", expired=True))]
        self.dead[1].stop()
        self.layer = proxy.Layer(scratch)
        with open(os.path.join(self.layer.folder, "layer.tar.gz"), "rb") as f:
            self.injected = {self.layer.gzip_digest: f.read()}
        hole, gone, expired = (d.url for d in self.dead)
        named = dict(zip(DEAD, (hole, gone, "http://nothing.invalid", expired)))
        config = {"upstreams": [{"name": liar.name, "url": liar.url, **({} if liar.kind == "open" else {
            "username": liar.user, "password": liar.password, "private": True}),
            **({"ca": authority.certificate} if liar.tls else {})} for liar in self.liars] + [
            {"name": name, "url": url} for name, url in named.items()]}
        # A sanitizer keeps what was freed, to find who still uses it: with less of that, growth is ours.
        env = {"ASAN_OPTIONS": proxy.sanitizer_settings()["ASAN_OPTIONS"] + ":quarantine_size_mb=8"}

        def make(inject):
            return proxy.Proxy(scratch, args=ARGS, config=config, inject=self.layer.path if inject else None, env=env, start=False)
        self.proxies, self.reference = [make(False), make(True)], make(True)

    def choose(self, rng):
        return rng.choice(self.tags)

    def held(self, liar, digest):
        return self.injected.get(digest) or liar.held.get(digest)

    def another(self):
        with self.lock:
            self.left -= 1
            return self.left >= 0

    def saw(self, p, liar, name, tag, digest, body):
        injects = p is not self.proxies[0]
        with self.lock:
            if body is not None or not injects:  # what a HEAD announced and no GET ever showed cannot be judged
                self.observed[injects, liar, name, tag].add(digest)
                self.announced[digest] = body
        if not injects and digest not in liar.pasts[name, tag]:
            raise Wrong(f"manifest {liar.name}/{name}:{tag}: {digest}, which it never was")

    # Growth

    @staticmethod
    def usage(p):
        with open(f"/proc/{p.daemon.pid}/status", encoding="ascii") as f:
            memory = next(int(line.split()[1]) for line in f if line.startswith("VmRSS"))
        return memory, len(os.listdir(f"/proc/{p.daemon.pid}/fd"))

    def quiet(self, p):
        """Nothing is under way; how much is used then."""
        process.wait_for(lambda: p.metrics().get("rac_fills_in_flight") == 0, HANG_S, "end of all downloads")
        process.wait_for(lambda: p.metrics().get("rac_requests_open") <= 1, HANG_S, "end of all requests")
        return self.usage(p)

    def work(self, pulls):
        """That many pulls by all clients, and none may wait for too long."""
        self.left = pulls
        clients = [Client(self, self.rng.random()) for _ in range(CLIENTS)]
        for c in clients:
            c.start()
        while any(c.is_alive() for c in clients):
            time.sleep(0.2)
            for c in clients:
                what, since = c.asks
                if c.is_alive() and what != "nothing" and time.monotonic() - since > HANG_S:
                    raise Wrong("\n".join([*self.wrong, f"no end after {HANG_S} s: {what}"]))
        if self.wrong:
            raise Wrong("\n".join(self.wrong))
        return sum((c.seen for c in clients), collections.Counter())

    def grew(self, before, after):
        for p, (memory, files), (memory_after, files_after) in zip(self.proxies, before, after):
            # Idle connections to upstreams come and go: 64 of each kind at most.
            if files_after > files + 150:
                raise Wrong(f"descriptors: {files}, then {files_after}")
            if memory_after > memory * 1.25 + (24 << 10):
                raise Wrong(f"memory: {memory} kB after a third, {memory_after} kB at the end; {p.data}")

    def judge(self):
        for liar in self.liars:
            if liar.leaked:
                raise Wrong("\n".join(liar.leaked[:10]))
        for s in self.elsewhere.log + self.forbidden.log:
            if s["Authorization"] or s["Cookie"]:
                raise Wrong(f"{s.target}: {s['Authorization']} came elsewhere")
        if self.forbidden.connections or self.dead[2].log:
            raise Wrong("an address was dialled that is not allowed")

    # Honest again

    def pulled(self, p, client, liar, name, tag):
        """All of an image. A machine that does other things meanwhile may cost a try, and no more than that."""
        def once():
            seen = client.seen.copy()
            manifest = client.manifest(p, liar, name, tag)
            todo = [manifest] if manifest else []
            while todo:
                one = todo.pop()
                todo += [client.manifest(p, liar, name, d["digest"]) or {} for d in one.get("manifests", [])]
                for d in [one["config"], *one["layers"]] if "layers" in one else []:
                    client.begin(f"blob {liar.name}/{name}@{d['digest']}, of an honest upstream")
                    client.whole(p, liar, name, d)
            return manifest and not {s for s in client.seen - seen if s != 200}
        process.wait_for(once, 60, f"{liar.name}/{name}:{tag} of an honest upstream: {client.seen}")

    def all_well(self):
        client = Client(self, 0)
        for liar in self.liars:
            liar.honest = True
        for p in self.proxies:
            for liar, name, tag in self.tags:
                self.pulled(p, client, liar, name, tag)

    @staticmethod
    def partly(body, source, proper):
        """An index made while its registry denied some of its manifests: these are as they were."""
        try:
            entries = [json.loads(b)["manifests"] for b in (body, source, proper)]
        except KeyError:
            return False
        return all(one in (was, made) for one, was, made in zip(*entries)) and len(set(map(len, entries))) == 1

    def rewritten_alike(self):
        """What was announced among lies is what a proxy announces that never heard one, of all that a tag ever was."""
        self.reference.start()
        for liar, name, tag in self.tags:
            seen, proper = self.observed[True, liar, name, tag].copy(), []
            now = liar.tags[name][tag]
            for past in sorted(liar.pasts[name, tag] - {now.digest}) + [now.digest]:
                liar.tag(name, tag, liar.manifests[name][past])
                reply = self.announced_by(self.reference, liar, name, tag)
                proper.append((liar.manifests[name][past].manifest, reply.body))
                seen.discard(reply.digest)
            for digest in sorted(seen):
                if not any(liar.told[name] & SAID[404] and self.partly(self.announced[digest], *pair) for pair in proper):
                    raise Wrong("\n".join([f"{liar.name}/{name}:{tag} was announced as {digest}, as an honest proxy does not:",
                                           str(self.announced[digest]), "but", *map(str, proper)]))
            process.wait_for(lambda d=reply.digest, who=(liar, name, tag): self.announced_by(self.proxies[1], *who).digest == d, 60,
                             f"{liar.name}/{name}:{tag} as an honest proxy announces it, {reply.digest}")

    @staticmethod
    def announced_by(p, liar, name, tag):
        return process.wait_for(lambda: r if (r := p.manifest(f"{liar.name}/{name}", tag)).status == 200 else None, 60,
                                f"{liar.name}/{name}:{tag}")

    def run(self):
        problems = []
        try:
            for p in self.proxies:
                p.start()
            seen = self.work(self.pulls // 3)
            before = [self.quiet(p) for p in self.proxies]
            seen += self.work(self.pulls - self.pulls // 3)
            self.all_well()
            self.grew(before, [self.quiet(p) for p in self.proxies])
            self.rewritten_alike()
            self.judge()
            self.lies = sum((liar.lies for liar in self.liars), collections.Counter())
        except (Wrong, AssertionError) as e:
            problems.append(str(e))
        finally:
            for server in [*self.liars, self.elsewhere, self.forbidden, *self.dead]:
                server.close()
            problems += seeded.stop([*self.proxies, self.reference])
        if problems:
            raise Wrong("\n".join(problems))
        return seen


def work(scratch, options):
    begin = time.monotonic()
    lies = Lies(scratch, options.seed, options.pulls, options.one_in)
    print(seeded.counted(lies.run()))
    print("lies: " + seeded.counted(lies.lies))
    print(f"{options.pulls} pulls in {time.monotonic() - begin:.0f} s")


if __name__ == "__main__":
    sys.exit(seeded.main(__doc__, work, pulls={"type": int, "default": 1000},
                         one_in={"type": int, "default": 3, "help": "one of so many answers is a lie"}))
