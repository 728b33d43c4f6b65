# SPDX-License-Identifier: Apache-2.0
"""What the crash rig pulls, what was promised to it, and the reckoning after each death."""
import base64
import collections
import hashlib
import http.client
import itertools
import os
import re
import shutil
import sqlite3
import subprocess
import threading
import time

from rig import images, proxy, registry, token_api, upstream, wire
from rig.process import wait_for

PASSWORD = proxy.secret("words-of-the-one-who-revokes")
LOGIN = {"Authorization": "Basic " + base64.b64encode(f"root:{PASSWORD}".encode()).decode()}
ARGS = ["--log-level", "info", "--log-access=false", "--cache-size", "1MiB", "--workers", "2", "--tokens-rate", "0",
        "--tokens-guesses", "0", "--pulls-check-window", "1s", "--pulls-trust-headers", "--upstream-missing", "0s",
        "--shutdown-grace", "2s"]
GONE = (OSError, http.client.HTTPException)  # what a client sees of a proxy that dies


LAG_MAX_S = 30  # of records, where time is not what is looked at


class Wrong(Exception):
    """Something that must never happen."""


class World:
    """An upstream that is always proper, and what is injected. Outlives any number of data folders."""

    def __init__(self, scratch, rng):
        self.scratch, self.rng = scratch, rng
        self.up = upstream.Upstream()
        self.layer = proxy.Layer(scratch)
        self.added = proxy.Layer(scratch, {"added.txt": "by a token\n"})
        self.config = {"accounts": [{"name": "root", "password-hash": registry.bcrypt(PASSWORD), "roles": ["admin"]}],
                       "access": {"anonymous": ["pull", "request", "read-records"]}}
        self.images = {}  # {(name, tag): Image}
        self._numbers = itertools.count(1)
        layers = [images.tar([(f"data/{i}.bin", images.noise(rng.choice([100, 5_000, 70_000, 200_000]), f"c{i}"))])
                  for i in range(8)]
        for i in range(8):
            image = images.image(rng.sample(layers, rng.randint(1, 3)), {"Labels": {"n": str(i)}}, oci=bool(i % 2), level=1)
            self.add(f"lib/{'abc'[i % 3]}", f"t{i}", image)
        self.blobs = {}
        for image in self.images.values():
            self.blobs.update(image.all_blobs())

    def add(self, name, tag, image):
        self.up.tag(name, tag, image)
        self.images[name, tag] = image

    def number(self):
        return next(self._numbers)

    def fresh(self, sizes=(3_000, 150_000)):
        """An image that nobody has pulled yet."""
        n = self.number()
        image = images.random_image(f"fresh {n}", sizes)
        self.up.tag("lib/fresh", f"f{n}", image)
        return "lib/fresh", f"f{n}", image

    def forget(self, name, tag):
        image = self.up.tags[name].pop(tag)
        self.up.manifests[name].pop(image.digest)
        for digest in image.all_blobs():
            self.up.blobs[name].pop(digest, None)
        self.up.log.clear()

    def close(self):
        self.up.close()


class Token:
    def __init__(self, reply):
        self.text, self.target = reply.json["containerToken"], reply.json["targetDigest"]
        name = "wt/" + reply.json["targetImage"].partition("/wt/")[2]
        self.name, _, self.reference = name.rpartition(":")
        self.state = "live"  # "revoking": asked for and not answered; "revoked"; "lost": by a power cut
        self.pulls = 0       # that were tried
        self.owner = None    # the client that has to do with it at the moment


class Ledger:
    """What was answered, and so must hold."""

    def __init__(self):
        self.lock = threading.Lock()
        self.tokens = {}
        self.served = {}     # {(name, tag): digest of the rewritten manifest}
        self.pulls = {}      # {user agent: (when it was answered, the digest)}
        self.tried = set()   # user agents of all that were asked for
        self.checks = {}     # {node: when it was answered}
        self.seen = {}       # {user agent: id of its record}, once it was shown
        self.counts = collections.Counter()


class Client:
    """Asks one proxy for things and judges each answer by itself."""

    def __init__(self, life):
        self.life, self.world, self.ledger = life, life.world, life.ledger
        self.node = f"n{self.world.number()}"

    @property
    def p(self):
        return self.life.p

    def check(self, reply, what, *good):
        if reply.broken:
            raise http.client.IncompleteRead(b"")
        with self.ledger.lock:
            self.ledger.counts[what.split()[0]] += 1
        if reply.status not in (good or (200,)):
            said = [x for x in self.p.log().splitlines() if reply["X-Request-Id"] in x or "level=error" in x]
            raise Wrong("\n".join([f"{what}: {reply.status} {reply.body[:300]}", *said[-5:]]))
        return reply

    def manifest(self, name, reference, want=None):
        agent = f"p{self.world.number()}"
        with self.ledger.lock:
            self.ledger.tried.add(agent)
        reply = self.p.fetch("GET", f"/v2/{name}/manifests/{reference}",
                             {"Accept": wire.MANIFEST_TYPES, "User-Agent": agent, "X-Rac-Node": self.node})
        self.check(reply, f"manifest {name}:{reference}")
        if reply.digest != reply["Docker-Content-Digest"] or (want and reply.digest != want):
            raise Wrong(f"manifest {name}:{reference}: is {reply.digest}, announced {reply['Docker-Content-Digest']}, wanted {want}")
        with self.ledger.lock:
            self.ledger.pulls[agent] = time.monotonic(), reply.digest
        return reply

    def blob(self, name, descriptor, part=None):
        digest, size = descriptor["digest"], descriptor["size"]
        headers = {"X-Rac-Node": self.node}
        if not part:
            reply = self.check(self.p.fetch("GET", f"/v2/{name}/blobs/{digest}", headers), f"blob {name}@{digest}")
            if reply.digest != digest:
                raise Wrong(f"blob {name}@{digest}: complete, and {len(reply.body)} bytes of {reply.digest}")
            return
        first, last = part
        headers["Range"] = f"bytes={first}-{last}"
        reply = self.check(self.p.fetch("GET", f"/v2/{name}/blobs/{digest}", headers), f"part {name}@{digest}", 206)
        data = self.world.blobs.get(digest)
        if reply["Content-Range"] != f"bytes {first}-{last}/{size}" or (data and reply.body != data[first:last + 1]):
            raise Wrong(f"part {first}-{last} of {name}@{digest}: wrong bytes")

    def pull(self, name, tag, by_digest=False):
        want = self.ledger.served.get((name, tag))
        reply = self.manifest(name, want if by_digest and want else tag, want)
        with self.ledger.lock:
            self.ledger.served.setdefault((name, tag), reply.digest)
        for d in [reply.json["config"], *reply.json["layers"]]:
            self.blob(name, d)
        return reply

    def ask_again(self, name, tag):
        """HEAD, as a kubelet that has the image; a node of its own, so that it is a check of its own."""
        node = f"c{self.world.number()}"
        reply = self.p.fetch("HEAD", f"/v2/{name}/manifests/{tag}", {"Accept": wire.MANIFEST_TYPES, "X-Rac-Node": node})
        self.check(reply, f"check {name}:{tag}")
        with self.ledger.lock:
            self.ledger.checks[node] = time.monotonic()

    def make_token(self, name, tag, big=0):
        n = self.world.number()
        config = {"env": [f"N={n}", *([f"BIG={'x' * big}"] if big else [])]}
        if n % 2:
            config["layers"] = [token_api.data_layer(self.world.added)]
        reply = self.check(token_api.ask(self.p, f"up.test/{name}:{tag}", config), f"token {name}:{tag}")
        token = Token(reply)
        with self.ledger.lock:
            self.ledger.tokens[token.text] = token
        return token

    def pull_token(self, token, blobs=True):
        token.pulls += 1
        reply = self.p.manifest(token.name, token.reference)
        if reply.status == 404 and token.state != "live":
            return None
        self.check(reply, f"token's manifest {token.name}")
        if token.state == "revoked":
            raise Wrong(f"token {token.text}: revoked, and still served")
        if reply.digest != token.target:
            raise Wrong(f"token {token.text}: is {reply.digest}, announced as {token.target}")
        for d in [reply.json["config"], *reply.json["layers"]] if blobs else []:
            got = self.check(self.p.blob(token.name, d["digest"]), f"token's blob {d['digest']}")
            if got.digest != d["digest"]:
                raise Wrong(f"token {token.text}: blob {d['digest']} is {got.digest}")
        return reply

    def revoke(self, token):
        token.state = "revoking"
        self.check(self.p.fetch("DELETE", f"/container-token/{token.text}", LOGIN), f"revoke {token.text}", 204, 404)
        token.state = "revoked"


def records(p):
    """All of them."""
    found, cursor = [], ""
    while cursor is not None:
        reply = p.get(f"/v1/pulls?limit=1000{cursor and '&cursor=' + cursor}")
        if reply.status != 200:
            raise Wrong(f"records: {reply.status} {reply.body[:200]}")
        found += reply.json["pulls"]
        cursor = reply.json.get("next")
    return found


def stored(data):
    """(files, bytes) below blobs/; every name must say what its bytes are."""
    files = size = 0
    for folder, _, names in os.walk(os.path.join(data, "blobs")):
        for name in names:
            with open(os.path.join(folder, name), "rb") as f:
                body = f.read()
            if hashlib.sha256(body).hexdigest() != name:
                raise Wrong(f"blobs/ has {name} with {len(body)} bytes of another digest")
            files, size = files + 1, size + len(body)
    return files, size


def used(data):
    """(files, bytes) below blobs/, without reading them."""
    files = size = 0
    for folder, _, names in os.walk(os.path.join(data, "blobs")):
        for name in names:
            try:
                size += os.lstat(os.path.join(folder, name)).st_size
                files += 1
            except FileNotFoundError:  # evicted meanwhile
                pass
    return files, size


def listed(data, folder):
    path = os.path.join(data, folder)
    return sorted(os.listdir(path)) if os.path.isdir(path) else []


class Life:
    """One data folder and the proxy on it, through any number of deaths."""

    def __init__(self, world, disk):
        self.world, self.disk, self.ledger = world, disk, Ledger()
        self.data = os.path.join(disk.box, "data")
        self.p = proxy.Proxy(world.scratch, {"up.test": world.up.url}, ARGS, config=world.config, data=self.data,
                             env=disk.environment(), start=False, inject=world.layer.path)
        self.client = Client(self)
        self.power_cuts = self.deaths = 0
        self.died = 0.0
        self.asked_before = set()
        self.dying = False
        self.fresh = []
        self.started = []  # seconds from start to ready
        self.damaged = False  # on purpose: quarantine is not empty then
        self.forgiven = 0     # characters of the log that told of it

    def start(self):
        self.disk.forget()
        self.dying, self.forgiven = False, 0
        self.asked_before = {*self.ledger.pulls, *self.ledger.checks}
        begin = time.monotonic()
        try:
            self.p.start()
        except AssertionError as e:
            raise Wrong(f"it does not start: {e}") from None
        self.started.append(time.monotonic() - begin)

    def wait_death(self, timeout):
        """True: it died by itself within that time."""
        try:
            self.p.daemon.process.wait(timeout)
        except subprocess.TimeoutExpired:
            return False
        self.died = time.monotonic()
        return True

    def end(self):
        """Whatever state it is in, it is dead now."""
        self.dying = True
        if self.p.daemon.running():
            self.died = time.monotonic()
            self.p.kill()
        else:
            self.p.check_log()
        self.deaths += 1
        self.disk.disarm()

    def new_client(self):
        return Client(self)

    def new_folder(self):
        """As if it were the first day."""
        self.p.stop()
        shutil.rmtree(self.data)
        self.ledger, self.fresh, counts = Ledger(), [], self.ledger.counts
        self.ledger.counts = counts
        self.client = Client(self)
        self.power_cuts = 0
        self.disk.forget()

    def forget_tokens(self):
        """Their table is gone, and what they were served under."""
        self.ledger.tokens.clear()
        self.disk.forget()

    def fresh_one(self):
        """One of a few images that nobody has pulled before the last death."""
        with self.ledger.lock:
            if len(self.fresh) < 8:
                self.fresh.append(self.world.fresh((self.world.rng.choice([500, 40_000, 90_000]),))[:2])
            return self.world.rng.choice(self.fresh)

    def repaired(self):
        """What was damaged on purpose is in quarantine, and told of."""
        for name in listed(self.data, "quarantine"):
            os.unlink(os.path.join(self.data, "quarantine", name))
        if self.damaged:
            self.damaged, self.forgiven = False, len(self.p.log())

    # The reckoning

    def after_death(self):
        """What must hold of a folder that nobody has touched since."""
        if not self.damaged:
            stored(self.data)
        self.quarantined()
        odd = [n for n in listed(self.data, ".") if ".corrupt-" in n]
        if odd:
            raise Wrong(f"a store was given up: {odd}")

    def quarantined(self):
        if listed(self.data, "quarantine") and not self.damaged:
            raise Wrong(f"in quarantine: {listed(self.data, 'quarantine')}")

    def log_is_calm(self):
        lines = [x for x in self.p.log()[self.forgiven:].splitlines() if re.search(r"\blevel=error\b|damaged|corrupt", x)]
        if lines and not self.damaged:
            kept = [f"{n}: {os.path.getsize(os.path.join(self.data, 'quarantine', n))} bytes"
                    for n in listed(self.data, "quarantine")]
            raise Wrong("\n".join(["the log complains:", *lines[:5], *kept]))

    def reckon(self, also=(), lag=None, power=False):
        """also: (name, tag) to pull besides the library. lag: seconds of records that a death may take."""
        c = self.client
        if not power:
            for (name, tag), digest in list(self.ledger.served.items()):
                c.manifest(name, digest, digest)
        for name, tag in [*self.world.images, *also]:
            c.pull(name, tag)
        self.reckon_tokens(power)
        self.reckon_records(lag, power)
        self.reckon_disk()
        self.log_is_calm()

    def reckon_tokens(self, power):
        if power:
            for t in self.ledger.tokens.values():
                reply = self.p.manifest(t.name, t.reference)
                if reply.status == 404:
                    t.state = "lost"
                elif reply.status != 200 or reply.digest != t.target:
                    raise Wrong(f"token {t.text} after a power cut: {reply.status} {reply.digest}")
                elif t.state != "live":
                    t.state = "live"  # what was revoked last may come back, as what was made last may go
            return
        for i, t in enumerate(list(self.ledger.tokens.values())[::-1]):
            if t.state == "lost":
                continue
            got = self.client.pull_token(t, blobs=i < 3)
            if t.state == "revoking":
                t.state = "live" if got else "revoked"
            elif t.state == "live":
                about = self.p.get(f"/container-token/{t.text}")
                if about.status != 200 or about.json["pulls"] > t.pulls:
                    raise Wrong(f"token {t.text}: {about.status}, {about.json.get('pulls')} pulls of {t.pulls}")

    def reckon_records(self, lag, power):
        """Each once and right; all that were shown before; all that were old enough when it died."""
        found = records(self.p)
        if len({r["id"] for r in found}) != len(found):
            raise Wrong("two records with one id")
        times = collections.Counter(r["userAgent"] if r["kind"] == "pull" else r["node"] for r in found)
        twice = [k for k, n in times.items() if n > 1 and (k in self.ledger.tried or k in self.ledger.checks)]
        if twice:
            raise Wrong(f"recorded more than once: {twice[:5]}")
        ids = {r["userAgent"]: r["id"] for r in found if r["kind"] == "pull" and r["userAgent"] in self.ledger.tried}
        for r in found:
            when = self.ledger.pulls.get(r["userAgent"]) if r["kind"] == "pull" else None
            if when and r["servedDigest"] != when[1]:
                raise Wrong(f"record {r['id']}: {r['servedDigest']} was served as {when[1]}")
        if not power:
            lost = {a: i for a, i in self.ledger.seen.items() if ids.get(a) != i}
            if lost:
                raise Wrong(f"records that were shown are gone or have another id: {sorted(lost.items())[:5]}")
            if lag is not None:
                late = [a for a, (when, _) in self.ledger.pulls.items() if when < self.died - lag and a not in ids]
                if late:
                    raise Wrong(f"pulls answered {lag} s before the death have no record: {[(a, round(self.died - self.ledger.pulls[a][0], 2)) for a in late[:5]]}")
        self.ledger.seen = ids
        # What this death took, it may: nothing is known of it from here on.
        self.ledger.pulls = {a: v for a, v in self.ledger.pulls.items() if a in ids or a not in self.asked_before}
        taken = self.died - (LAG_MAX_S if lag is None else lag)
        self.ledger.checks = {n: when for n, when in self.ledger.checks.items()
                              if n not in self.asked_before or (when < taken and not power)}

    def reckon_disk(self):
        def agree():
            m = self.p.metrics()
            return (m["rac_cache_blobs"], m["rac_cache_bytes"]) == used(self.data) and m["rac_fills_in_flight"] == 0
        try:
            wait_for(agree, 60, "the accounts and the disk")
        except AssertionError:
            m = self.p.metrics()
            raise Wrong(f"accounts: {m['rac_cache_blobs']} blobs of {m['rac_cache_bytes']} bytes, on disk {used(self.data)}") from None
        try:
            wait_for(lambda: not self.disk.unsynced(), 60, "syncs", step=0.1)
        except AssertionError:
            raise Wrong(f"published and not synced: {self.disk.unsynced()[:3]}") from None
        # A layer of ours may be stored again by now, and what was left of it go with the next hour's tidying.
        ours = {self.world.layer.gzip_digest[7:], self.world.added.gzip_digest[7:]}
        try:
            wait_for(lambda: set(listed(self.data, "partial")) <= ours, 60, "partial")
        except AssertionError:
            raise Wrong(f"left over in partial/: {sorted(set(listed(self.data, 'partial')) - ours)}") from None
        self.quarantined()
        for name in ("state.db", "records.db"):
            with sqlite3.connect(f"file:{self.data}/{name}?mode=ro", uri=True) as db:
                answer = db.execute("PRAGMA integrity_check").fetchall()
            db.close()
            if answer != [("ok",)]:
                raise Wrong(f"{name}: {answer[:3]}")

    def settle(self):
        """At the end of it: every check that was answered is recorded, once."""
        def all_there():
            nodes = {r["node"] for r in records(self.p) if r["kind"] == "check"}
            return self.ledger.checks.keys() <= nodes
        try:
            wait_for(all_there, 60, "checks", step=0.2)
        except AssertionError:
            nodes = {r["node"] for r in records(self.p) if r["kind"] == "check"}
            raise Wrong(f"checks that were never recorded: {sorted(self.ledger.checks.keys() - nodes)[:5]}") from None

    def close(self):
        self.p.close()
        self.log_is_calm()

