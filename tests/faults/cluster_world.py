# SPDX-License-Identifier: Apache-2.0
"""What the cluster's crash rig pulls, who pulls it, and what was promised to them."""
import collections
import dataclasses
import itertools
import math
import os
import random
import re
import threading
import time

from faults.crash_world import LOGIN, PASSWORD
from faults.seeded import Wrong
from rig import images, proxy, pulls, registry, s3faults, token_api, upstream, wire

FRESH_S = 1       # what a replica may say of a tag without asking
CHECK_WINDOW_S = 1
TAG_SLACK_S = 5   # a look-up under way, on a machine that does other things, too
KEPT = 24         # images that are pulled again and again; what is older is forgotten by upstream and clients
BIG = 17 << 20    # goes to the bucket in parts
LIBRARY, MOVING, TOKENS = 6, 3, 60
ARGS = ["--log-level", "info", "--log-access=false", "--workers", "2", "--tokens-rate", "0", "--tokens-guesses", "0",
        "--access-validate-rate", "0", "--pulls-check-window", f"{CHECK_WINDOW_S}s", "--pulls-trust-headers", "--upstream-missing", "0s",
        "--upstream-fresh", f"{FRESH_S}s", "--upstream-connect-timeout", "5s", "--shutdown-grace", "20s"]
CONFIG = {"accounts": [{"name": "root", "password-hash": registry.bcrypt(PASSWORD), "roles": ["admin"]}],
          "access": {"anonymous": ["pull", "request", "read-records"]}}


@dataclasses.dataclass
class Trouble:
    """Something that was done to the cluster, and how a client may have seen it."""
    what: str
    excuses: frozenset = frozenset()  # "broken", or the status of an answer
    replica: int = None               # None: whichever
    begin: float = 0
    end: float = math.inf


class World:
    """An upstream, a bucket, and what is in them."""

    def __init__(self, scratch, rng):
        self.rng = rng
        self.up, self.s3, self.layer = upstream.Upstream(), s3faults.S3Faults(), proxy.Layer(scratch)
        self.added = proxy.Layer(scratch, {"added.txt": "by a token\n"})
        self.images = collections.OrderedDict()  # {(name, tag): Image} of what stays as it is
        self.moving = {}                         # {(name, tag): [(when, Image)]}
        self.by_layers, self.sizes = {}, {}      # Image by its layers; {digest: bytes of a layer}
        self.rates, self.cuts = {}, 0            # {digest: bytes a second}; answers that will break off
        self.lock = threading.Lock()
        self._numbers = itertools.count(1)
        self.up.rule("GET */blobs/*", self._blob)
        for i in range(LIBRARY):
            self.fresh([3_000, 90_000], name=f"lib/{'abc'[i % 3]}")
        for i in range(MOVING):
            self.move(f"lib/m{i}", "now")

    def number(self):
        return next(self._numbers)

    def _blob(self, seen):
        digest = seen.path.rpartition("/")[2]
        with self.lock:
            cut = self.cuts > 0 and self.sizes.get(digest, 0) > 50_000
            self.cuts -= cut
        proper = seen.proper(rate=self.rates.get(digest))
        return dataclasses.replace(proper, reset=self.rng.randrange(1000, 50_000)) if cut and proper.status < 300 else proper

    def _image(self, sizes):
        n = self.number()
        image = images.random_image(f"cluster {n}", sizes, oci=bool(n % 2))
        self.by_layers[frozenset(image.layers)] = image
        self.sizes.update({d: len(image.blobs[d]) for d in image.layers})
        return n, image

    def fresh(self, sizes, name="lib/fresh", rate=None):
        """(name, tag, image) that nobody has pulled yet."""
        n, image = self._image(sizes)
        self.rates.update({d: rate for d in image.layers if rate})
        self.up.tag(name, f"t{n}", image)
        with self.lock:
            self.images[name, f"t{n}"] = image
        return name, f"t{n}", image

    def move(self, name, tag):
        _, image = self._image([2_000])
        with self.lock:
            self.moving.setdefault((name, tag), []).append((time.monotonic(), image))
            self.up.tag(name, tag, image)

    def forget_old(self):
        """What is gone for good, upstream, too: the names, for the ledger."""
        gone = []
        while len(self.images) > KEPT:
            (name, tag), image = next(iter(self.images.items()))
            del self.images[name, tag], self.up.tags[name][tag], self.by_layers[frozenset(image.layers)]
            self.up.manifests[name].pop(image.digest)
            for digest in image.blobs:
                self.up.blobs[name].pop(digest, None)
                self.sizes.pop(digest, None)
            gone.append((name, tag))
        for history in self.moving.values():
            del history[:-20]
        return gone

    def injected(self):
        return {self.layer.gzip_digest, self.added.gzip_digest}

    def image_of(self, manifest):
        """Whose layers these are, without what was injected."""
        return self.by_layers.get(frozenset(d["digest"] for d in manifest["layers"]) - self.injected())

    def close(self):
        self.up.close()
        self.s3.close()


class Token:
    def __init__(self, reply, image):
        made, self.image = token_api.Token(None, reply), image
        self.text, self.target, self.name, self.reference = made.text, made.target, made.name, made.reference
        self.state = "live"    # "revoking": asked for, not answered; "revoked"; "lost": Redis may have forgotten it, and has
        self.changed = time.monotonic()
        self.owner = None


class Ledger:
    """What was answered, and so must hold."""

    def __init__(self):
        self.lock = threading.Lock()
        self.tokens = {}
        self.digests = {}    # {(name, tag): digest it is served with}
        self.rewritten = {}  # {an image's digest: what it became}
        self.tried = set()   # user agents of all that was asked for in this round
        self.pulls = {}      # {user agent: (when it was answered, digest)}
        self.whole = {}      # {user agent: when the last blob of an undisturbed pull was there}
        self.checks = {}     # {node: when it was answered}
        self.shown = {}      # {id: user agent} of records that a replica told of
        self.counts = collections.Counter()
        self.failures = []   # (begin, end, replicas, text)

    def new_round(self):
        self.tried, self.pulls, self.whole, self.checks, self.shown = set(), {}, {}, {}, {}
        self.failures = []


class Engine(pulls.Session):
    """A client behind the balancer, that knows afterwards which replica it had to do with."""

    def __init__(self, rig, node):
        super().__init__(rig.cluster.address)
        self.rig, self.world, self.ledger, self.node = rig, rig.world, rig.ledger, node
        self.locals, self.agent, self.said = [], None, None

    def connect(self):
        connection = super().connect()
        connection.http.connect()
        self.locals.append(connection.http.sock.getsockname())
        return connection

    def request(self, method, path, headers=None):
        headers = {**(headers or {}), "X-Rac-Node": self.node}
        agent = None
        if method == "GET" and "/manifests/" in path:
            agent = self.agent = headers["User-Agent"] = f"p{self.world.number()}"
            self.ledger.tried.add(agent)
        reply = super().request(method, path, headers)
        if method == "HEAD" and reply.status != 200:  # what it would have said
            self.said = super().request("GET", path, {**headers, "User-Agent": "why"})
        if agent and agent == self.agent and reply.status == 200 and not reply.broken:
            self.ledger.pulls[agent] = time.monotonic(), reply["Docker-Content-Digest"]
        return reply

    def once(self, method, path, headers=None, body=None):
        """What is not tried again."""
        self.close()
        try:
            self.connection = self.connect()
            reply = self.connection.request(method, path, headers, body)
        except (OSError, pulls.http.client.HTTPException) as e:
            self.close()
            raise pulls.Failed(f"{method} {path}: {type(e).__name__}: {e}") from None
        if reply.broken:
            raise pulls.Failed(f"{method} {path}: {reply.broken}")
        return reply

    def trying(self, work):
        """Twice, as somebody above would; what failed is judged once it is known what happened meanwhile. None: failed."""
        for _ in range(2):
            self.locals, begin = self.locals[-1:] if self.connection else [], time.monotonic()
            try:
                result = work()
                self.ledger.counts["answers"] += 1
                return result
            except pulls.Failed as e:
                self.close()
                which = {self.rig.cluster.balancer.routes.get(x) for x in self.locals}
                with self.ledger.lock:
                    why = self.said and f" ({self.said.status} {self.said.body[:300]})" or ""
                    self.ledger.failures.append((begin, time.monotonic(), which, str(e) + why))
                self.said = None
        return None

    # What it does. Each raises Wrong, or pulls.Failed.

    def is_rightly(self, name, tag, digest, since):
        """What a name was answered with is what it is, or was a moment before."""
        reply = self.request("GET", f"/v2/{name}/manifests/{digest}", {"Accept": wire.MANIFEST_TYPES})
        if reply.status != 200 or reply.broken:
            raise pulls.Failed(f"{name}@{digest}: {reply.status} {reply.broken} {reply.body[:200]}")
        image = self.world.image_of(reply.json)
        if image is None:
            raise Wrong(f"{name}:{tag} is {digest}, whose layers are of no image")
        history = self.world.moving.get((name, tag))
        if history is None:
            good = [self.world.images.get((name, tag), image)]
        else:
            ends = [when for when, _ in history[1:]] + [math.inf]
            good = [one for (_, one), end in zip(list(history), ends) if end > since - FRESH_S - TAG_SLACK_S]
            if self.rig.upstream_was_away(since - FRESH_S - TAG_SLACK_S):
                good = [one for _, one in history]
        if image not in good:
            raise Wrong(f"{name}:{tag} is answered with what it was {len(history) if history else 0} moves ago")
        if self.ledger.rewritten.setdefault(image.digest, digest) != digest:
            raise Wrong(f"{name}:{tag}: {image.digest} was {self.ledger.rewritten[image.digest]}, and is now {digest}")

    def pull_one(self, name, tag, by_digest=False):
        begin = time.monotonic()
        known = self.ledger.digests.get((name, tag))
        connections = len(self.locals)
        digest = self.pull(name, known if by_digest and known else tag)
        agent = self.agent
        # A pull that nothing is heard of for pulls.check-window is closed as it is; then more of it may have come.
        if len(self.locals) <= max(1, connections) and time.monotonic() - begin < 0.8 * CHECK_WINDOW_S:
            self.ledger.whole[agent] = time.monotonic()
        if (name, tag) not in self.world.moving:
            if self.ledger.digests.setdefault((name, tag), digest) != digest:
                raise Wrong(f"{name}:{tag} was {self.ledger.digests[name, tag]}, and is {digest}")
        if not by_digest:
            self.is_rightly(name, tag, digest, begin)
        return digest

    def part(self, name, tag):
        """Of a layer, by what the client knows of it."""
        if (name, tag) not in self.ledger.digests:
            return
        image = self.world.images[name, tag]
        digest = image.layers[-1]
        size = len(image.blobs[digest])
        first = random.randrange(size)
        reply = self.request("GET", f"/v2/{name}/blobs/{digest}", {"Range": f"bytes={first}-{first + 999}"})
        if reply.status != 206:
            raise pulls.Failed(f"part of {digest}: {reply.status} {reply.body[:200]}")
        if not reply.broken and reply.body != image.blobs[digest][first:first + 1000]:
            raise Wrong(f"part {first}- of {name}@{digest}: wrong bytes")

    def ask_again(self, name, tag):
        """HEAD, as a kubelet that has the image; a node of its own, so that it is a check of its own."""
        node, self.node = self.node, f"c{self.world.number()}"
        try:
            reply = self.request("HEAD", f"/v2/{name}/manifests/{tag}", {"Accept": wire.MANIFEST_TYPES})
            if reply.status != 200:
                raise pulls.Failed(f"HEAD {name}:{tag}: {reply.status}")
            self.ledger.checks[self.node] = time.monotonic()
        finally:
            self.node = node

    def make_token(self, name, tag):
        n = self.world.number()
        config = {"env": [f"N={n}"], **({"layers": [token_api.data_layer(self.world.added)]} if n % 2 else {})}
        reply = token_api.ask(Asking(self), f"up.test/{name}:{tag}", config)
        if reply.status != 200:
            raise pulls.Failed(f"token: {reply.status} {reply.body[:300]}")
        token = Token(reply, (name, tag))
        with self.ledger.lock:
            self.ledger.tokens[token.text] = token

    def pull_token(self, token):
        digest = self.pull(token.name, token.reference)
        if digest != token.target:
            raise Wrong(f"token {token.text}: is {digest}, announced as {token.target}")

    def revoke(self, token):
        token.state, token.changed = "revoking", time.monotonic()
        reply = self.once("DELETE", f"/container-token/{token.text}", LOGIN)
        if reply.status not in (204, 404):
            raise pulls.Failed(f"revoke: {reply.status} {reply.body[:200]}")
        token.state, token.changed = "revoked", time.monotonic()


class Asking:
    """An Engine, as rig.token_api wants to see it."""

    def __init__(self, engine):
        self.engine = engine

    def fetch(self, method, path, headers=None, body=None):
        return self.engine.once(method, path, headers, body)


class Client(threading.Thread):
    """Does what comes to its mind until it is told to stop."""

    def __init__(self, rig, seed):
        super().__init__(daemon=True)
        self.rig, self.rng, self.over, self.wrong = rig, random.Random(seed), threading.Event(), None
        self.engine = Engine(rig, f"n{rig.world.number()}")

    def run(self):
        try:
            while not self.over.is_set():
                self.one()
        except Exception as e:  # pylint: disable=broad-except
            self.wrong = e
        finally:
            self.engine.close()

    def one(self):
        e, world, ledger, rng = self.engine, self.rig.world, self.rig.ledger, self.rng
        if rng.random() < 0.3:
            e.close()  # the next one goes to another replica
        with world.lock:
            name, tag = rng.choice(list(world.images))
        what = rng.choices(["pull", "digest", "newest", "moving", "part", "check", "token", "token pull", "revoke", "move"],
                           [3, 2, 6, 3, 2, 2, 2, 3, 1, 0.5])[0]
        if what == "newest":
            with world.lock:
                name, tag = rng.choice(list(world.images)[-3:])
        if what in ("pull", "newest", "digest"):
            e.trying(lambda: e.pull_one(name, tag, what == "digest"))
        elif what == "moving":
            e.trying(lambda: e.pull_one(*rng.choice(list(world.moving))))
        elif what == "move":
            world.move(*rng.choice(list(world.moving)))
        elif what == "part":
            e.trying(lambda: e.part(name, tag))
        elif what == "check":
            e.trying(lambda: e.ask_again(name, tag))
        elif what == "token":
            if len(ledger.tokens) < TOKENS:
                e.trying(lambda: e.make_token(name, tag))
        else:
            self.with_token(what)

    def with_token(self, what):
        e, ledger = self.engine, self.rig.ledger
        with ledger.lock:
            mine = [t for t in ledger.tokens.values() if t.state == "live" and t.owner is None]
            if not mine:
                return
            t = self.rng.choice(mine)
            t.owner = self  # one at a time, so that each answer has one right value
        if what == "token pull" or len(mine) < 5:
            e.trying(lambda: e.pull_token(t))
        else:
            e.trying(lambda: e.revoke(t))
        t.owner = None


def listed(data, folder):
    path = os.path.join(data, folder)
    return sorted(os.listdir(path)) if os.path.isdir(path) else []


def kind_of(text):
    """How a failure looked: the status that was answered, or "broken"."""
    found = re.search(r": (\d{3})\b", text)
    return found[1] if found else "broken"
