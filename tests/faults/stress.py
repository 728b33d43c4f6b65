#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Many clients, a bad upstream, and a proxy that is killed now and then: whatever is complete must be right.

    tests/faults/stress.py [--seconds N] [--seed S]

What each client and the upstream do follows from the seed, which is printed; when it happens does not. Two proxies
work side by side: one injects, one does not. Ends with 1, and says what, if an answer that looked complete was wrong,
if a status came that no fault explains, or if anything is left behind when it is quiet again.
"""
import collections
import os
import random
import signal
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.dont_write_bytecode = True

from faults import seeded  # noqa: E402
from faults.seeded import Wrong  # noqa: E402
from rig import images, process, proxy, upstream, wire  # noqa: E402

CLIENTS = 12
FAULTS = (429, 502, 503, 504)  # what a client may be told when the upstream is at fault
ARGS = ["--upstream-connect-timeout", "2s", "--upstream-head-timeout", "2s", "--upstream-stall-timeout", "2s",
        "--upstream-missing", "0s", "--upstream-fresh", "1s", "--cache-size", "4MiB",
        "--http-slow-reader-timeout", "5s", "--shutdown-grace", "1s"]


class Library:
    """What the upstream has: images that share layers, some under several names, some in indexes."""

    def __init__(self, up, rng):
        self.blobs, self.tags = {}, []
        layers = [images.tar([(f"data/{i}.bin", images.noise(rng.choice([100, 70_000, 400_000, 3 << 20]), f"s{i}"))])
                  for i in range(8)]
        made = []
        for i in range(10):
            kwargs = {"oci": bool(i % 2), "level": 1}
            made.append(images.image(rng.sample(layers, rng.randint(1, 3)), {"Labels": {"n": str(i)}}, **kwargs))
        for i in range(3):
            made.append(images.index([(image, "linux/amd64") for image in rng.sample(made[:10], 2)]))
        for i, image in enumerate(made):
            for name in rng.sample(["lib/a", "lib/b", "team/c", "deep/er/d"], rng.randint(1, 2)):
                up.tag(name, f"t{i}", image)
                self.tags.append((name, f"t{i}"))
            self.blobs.update(image.all_blobs())


def bad_upstream(rng, lock):
    """A rule for everything: mostly proper, else one of many faults."""
    def answer(x):
        proper = x.proper()
        with lock:
            kind, part, one_in = rng.randrange(24), rng.random(), rng.randrange(8)
        if proper.status >= 300 or x.method == "HEAD" and kind in (0, 1, 2, 6, 7, 8, 9):
            return proper
        size = len(proper.body)
        faults = {
            0: lambda: x.proper(cut=int(size * part)),
            1: lambda: x.proper(reset=int(size * part)),
            2: lambda: x.proper(stall=int(size * part)) if one_in == 0 else None,
            3: lambda: x.proper(reset=-2),
            4: lambda: upstream.Answer(429, {"Retry-After": "1"}),
            5: lambda: upstream.Answer(503),
            6: lambda: x.proper(rate=1 << 20) if size > 10_000 else None,
            7: lambda: upstream.Answer(proper.status, proper.headers, proper.body[:-1] + b"?") if size else None,
            8: lambda: x.proper(length="chunked"),
            9: lambda: upstream.Answer(body=images.noise(50, "x")),
        }
        return faults[kind]() if kind in faults else None
    return answer


class Client(threading.Thread):
    def __init__(self, stress, seed):
        super().__init__(daemon=True)
        self.stress, self.rng = stress, random.Random(seed)
        self.seen = collections.Counter()

    def run(self):
        while not self.stress.over.is_set() and not self.stress.wrong:
            try:
                self.pull(self.rng.choice(self.stress.proxies))
            except (OSError, wire.http.client.HTTPException):
                self.seen["connection lost"] += 1
            except Exception as e:  # pylint: disable=broad-except
                self.stress.wrong.append(f"{type(e).__name__}: {e}")

    def check(self, reply, what):
        self.seen[reply.status] += 1
        if reply.broken:
            self.seen["broken off"] += 1
            return False
        if reply.status in FAULTS:
            if reply.status != 429 and not reply.message:
                raise Wrong(f"{what}: {reply.status} without a message")
            return False
        if reply.status not in (200, 206, 304):
            raise Wrong(f"{what}: {reply.status} {reply.body[:300]}")
        return True

    def manifest(self, p, name, reference):
        reply = p.manifest(name, reference)
        if not self.check(reply, f"manifest {name}:{reference}"):
            return None
        if reply.digest != reply["Docker-Content-Digest"] or (":" in reference and reply.digest != reference):
            raise Wrong(f"manifest {name}:{reference}: {reply.digest} was announced as {reply['Docker-Content-Digest']}")
        return reply.json

    def pull(self, p):
        name, tag = self.rng.choice(self.stress.library.tags)
        manifest = self.manifest(p, name, tag)
        if manifest and "manifests" in manifest:
            manifest = self.manifest(p, name, self.rng.choice(manifest["manifests"])["digest"])
        if not manifest:
            return
        parts = [manifest["config"], *manifest["layers"]]
        for d in self.rng.sample(parts, self.rng.randint(1, len(parts))):
            self.rng.choice([self.whole, self.whole, self.ranges, self.leave, self.slow, self.head])(p, name, d)

    def whole(self, p, name, d):
        reply = p.blob(name, d["digest"], timeout=60)
        if self.check(reply, f"blob {name}@{d['digest']}") and reply.digest != d["digest"]:
            raise Wrong(f"blob {name}@{d['digest']}: complete, and {len(reply.body)} bytes of {reply.digest}")

    def ranges(self, p, name, d):
        data = self.stress.library.blobs.get(d["digest"])
        first = self.rng.randrange(d["size"])
        last = self.rng.randrange(first, d["size"])
        reply = p.blob(name, d["digest"], timeout=60, Range=f"bytes={first}-{last}")
        # A part cannot be checked by anybody before the whole is: of a corrupt download it may be wrong, and
        # then it is the client's digest that tells. Its place and length hold in any case.
        if self.check(reply, f"part of {name}@{d['digest']}"):
            if (reply.status, reply["Content-Range"]) != (206, f"bytes {first}-{last}/{d['size']}") or \
                    len(reply.body) != last - first + 1:
                raise Wrong(f"part {first}-{last} of {d}: {reply.status} {reply['Content-Range']} {len(reply.body)}")
            if last >= d["size"] - 65536 and data and reply.body[-1:] != data[last:last + 1]:
                raise Wrong(f"part {first}-{last} of {d}: the tail went out before it was verified")

    def head(self, p, name, d):
        reply = p.head(f"/v2/{name}/blobs/{d['digest']}")
        self.seen[reply.status] += 1
        if reply.status == 200 and reply["Content-Length"] != str(d["size"]):
            raise Wrong(f"HEAD of {d}: {reply['Content-Length']} bytes")

    def raw(self, p, name, d, **kwargs):
        raw = wire.Raw(p.address, timeout=30, **kwargs)
        raw.send(f"GET /v2/{name}/blobs/{d['digest']} HTTP/1.1\r\nHost: x\r\n"
                 "Connection: close\r\n\r\n".encode())
        return raw

    def leave(self, p, name, d):
        with self.raw(p, name, d) as raw:
            raw.read_until(lambda data, n=self.rng.randrange(d["size"] + 200): len(data) >= n)
            self.seen["left"] += 1

    def slow(self, p, name, d):
        with self.raw(p, name, d, receive_buffer=8192) as raw:
            for _ in range(self.rng.randrange(5)):
                time.sleep(0.1)
                raw.read_until(lambda data, n=len(raw.data) + 20_000: len(data) >= n)
            if self.rng.random() < 0.5:
                return
            if raw.read_until(lambda data: b"\r\n\r\n" in data) and raw.status == 200:
                reply = raw.read_reply()
                if not reply.broken and reply.digest != d["digest"]:
                    raise Wrong(f"blob {name}@{d['digest']}: complete, and wrong, at a slow reader")


class Stress:
    def __init__(self, scratch, seed, seconds):
        self.rng, self.seconds = random.Random(seed), seconds
        self.over, self.wrong = threading.Event(), []
        self.up = upstream.Upstream()
        self.library = Library(self.up, self.rng)
        layer = proxy.Layer(scratch)
        with open(os.path.join(layer.folder, "layer.tar.gz"), "rb") as f:
            self.library.blobs[layer.gzip_digest] = f.read()
        config = {"upstreams": [{"name": "up.test", "url": self.up.url}], "default-upstream": "up.test"}
        self.proxies = [proxy.Proxy(scratch, args=ARGS, config=config, start=False),
                        proxy.Proxy(scratch, args=ARGS, config=config, inject=layer.path, start=False)]

    def disturb(self, p):
        """One thing that happens to a proxy in its life."""
        what = self.rng.choice(["kill", "kill", "hangup", "restart"])
        if what == "kill":
            p.kill()
            p.start()
        elif what == "hangup":
            p.daemon.signal(signal.SIGHUP)
        else:
            p.restart()

    def work(self):
        self.up.rule("*", bad_upstream(random.Random(self.rng.random()), threading.Lock()))
        for p in self.proxies:
            p.start()
        clients = [Client(self, self.rng.random()) for _ in range(CLIENTS)]
        for c in clients:
            c.start()
        end = time.monotonic() + self.seconds
        while time.monotonic() < end and not self.wrong:
            time.sleep(min(self.rng.uniform(1, 4), max(0, end - time.monotonic())))
            if time.monotonic() < end:
                self.disturb(self.rng.choice(self.proxies))
        self.over.set()
        for c in clients:
            c.join(90)
            if c.is_alive():
                self.wrong.append("a client still waits for an answer")
        return sum((c.seen for c in clients), collections.Counter())

    def all_well(self, p):
        """With a proper upstream everything is had, whatever was before; and nothing is left open."""
        client = Client(self, 0)
        for name, tag in self.library.tags:
            manifest = client.manifest(p, name, tag)
            for part in manifest.get("manifests", []) or [None]:
                one = client.manifest(p, name, part["digest"]) if part else manifest
                for d in [one["config"], *one["layers"]]:
                    client.whole(p, name, d)
        bad = {s for s in client.seen if s != 200}
        if bad:
            raise Wrong(f"with a proper upstream: {client.seen}")
        process.wait_for(lambda: p.metrics().get("rac_fills_in_flight") == 0, 30, "end of all downloads")
        process.wait_for(lambda: p.metrics().get("rac_requests_open") <= 1, 30, "end of all requests")

    def run(self):
        try:
            seen = self.work()
            self.up.clear()
            time.sleep(1.1)
            for p in self.proxies:
                if not self.wrong:
                    self.all_well(p)
            if self.wrong:
                raise Wrong("\n".join(self.wrong))
            return seen
        finally:
            self.over.set()
            self.up.close()
            problems = seeded.stop(self.proxies)
            if problems:
                raise Wrong("\n".join([*self.wrong, *problems]))


def work(scratch, options):
    print(seeded.counted(Stress(scratch, options.seed, options.seconds).run()))


if __name__ == "__main__":
    sys.exit(seeded.main(__doc__, work, seconds={"type": float, "default": 20}))
