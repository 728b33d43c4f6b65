# SPDX-License-Identifier: Apache-2.0
"""Three replicas, their Redis and their bucket, round after round: load while things happen, then the reckoning. See
docs/testing.md."""
import collections
import concurrent.futures
import contextlib
import datetime
import hashlib
import os
import random
import re
import threading
import time

from faults import cluster_events
from faults.cluster_world import ARGS, BIG, CONFIG, Client, Engine, Ledger, Trouble, World, kind_of, listed
from faults.seeded import Wrong
from rig import pulls
from rig.cluster import Cluster
from rig.process import wait_for
from rig.redis import Redis

REPLICAS, CLIENTS = 3, 4
QUIET_S = 60       # how long what is to come at last may take on a machine that does other things, too
UPLOADS_S = 300    # docs/blobs-in-s3.md: as long as one that failed may wait
CALM_S = 0.7


class Rig:
    def __init__(self, scratch, seed, lag=2.0):
        """lag: seconds of records that a death may take."""
        self.rng, self.lag = random.Random(seed), lag
        self.world = World(scratch, self.rng)
        self.ledger, self.counts = Ledger(), collections.Counter()
        self.troubles, self.losses, self.orphans, self.disks_lost = [], [], set(), 0
        self.had = set()       # digests of layers that were downloaded before this round
        self.events, self.cluster, self.round, self.s3_due = [], None, 0, 0
        self.down = set()      # replicas that something is done to at the moment
        self._redis_there = threading.Lock()
        self._lock = threading.Lock()
        # A program ends with the thread that started it: this one lasts as long as the rig.
        self._starter = concurrent.futures.ThreadPoolExecutor(1)
        self.redis = Redis(scratch, "--appendfsync", "everysec")
        s3 = self.world.s3
        self.cluster = Cluster(scratch, {"up.test": self.world.up.url}, [
            *ARGS, "--blobs", f"s3://data/cache?path-style=1&endpoint={s3.url}"], REPLICAS, self.redis.url, config=CONFIG,
            env=s3.environment(), inject=self.world.layer.path)
        self.all_ready()

    # What events do

    @contextlib.contextmanager
    def trouble(self, what, excuses, replica):
        t = Trouble(what, excuses, replica, time.monotonic())
        with self._lock:
            self.troubles.append(t)
            self.counts[what] += 1
            self.down |= {replica}
        yield t
        t.end = min(t.end, time.monotonic())

    @contextlib.contextmanager
    def redis_away(self):
        """Nobody starts meanwhile: a start without Redis waits, and then ends."""
        with self._redis_there:
            yield

    def lasting(self, start):
        self._starter.submit(start).result()

    def start(self, i):
        with self._redis_there:
            self.lasting(self.cluster.replicas[i].start)
        self.cluster.balancer.backends[i] = self.cluster.replicas[i].address
        self.down.discard(i)

    def all_ready(self):
        """Those that something else happens to are left alone."""
        def ready(i, p):
            try:
                return p.get("/readyz", timeout=5).status == 200
            except (OSError, pulls.http.client.HTTPException):
                return i in self.down
        for i, p in enumerate(self.cluster.replicas):
            wait_for(lambda i=i, p=p: ready(i, p), QUIET_S, f"replica {i} is ready", step=0.1)

    def upstream_was_away(self, since):
        return any(t.what == "upstream" and t.end >= since for t in self.troubles)

    def remember_shown(self, but):
        """Records that a replica tells of, other than that one, must stay."""
        there = [p for i, p in enumerate(self.cluster.replicas) if i != but]
        for p in self.rng.sample(there, len(there)):
            try:
                found = p.get("/v1/pulls?limit=300", timeout=3)
            except (OSError, pulls.http.client.HTTPException):
                continue
            with self.ledger.lock:
                self.ledger.shown.update({r["id"]: r["userAgent"] for r in found.json["pulls"]})
            return

    # A round

    def run(self, rounds, kinds=None, say=lambda text: None, least=1):
        """kinds: of events; None: all. least: how many of them a round has."""
        for p in self.cluster.replicas:
            for name, tag in list(self.world.images):
                pulls.pull(p.address, name, tag)
        self.had = set(self.begun())
        for self.round in range(1, rounds + 1):
            self.one_round(kinds, least, last=self.round == rounds)
            say(f"round {self.round}: {'; '.join(map(str, self.events)) or 'nothing'}")

    def one_round(self, kinds, least, last):
        self.began, self.began_wall = time.monotonic(), datetime.datetime.now(datetime.timezone.utc)
        self.ledger.new_round()
        self.troubles, self.losses = [], []
        self.before = self.lost_leases()
        self.world.up.log.clear()
        self.new_images()
        self.events = cluster_events.draw(self.rng, REPLICAS, kinds, least)
        clients = [Client(self, self.rng.random()) for _ in range(CLIENTS)]
        happening = [cluster_events.Happening(e, self) for e in self.events]
        for t in [*clients, *happening]:
            t.start()
        for t in happening:
            t.join(240)
        self.all_ready()
        time.sleep(CALM_S)
        for c in clients:
            c.over.set()
        for c in clients:
            c.join(240)
            if c.is_alive():
                raise Wrong("a client still waits for an answer")
        for t in [*happening, *clients]:
            if t.wrong:
                raise t.wrong
        self.judge_failures()
        self.reckon(last)

    def new_images(self):
        """What will be new to all; some of it comes slowly, so that a death finds it half done."""
        for _ in range(3):
            size = self.rng.choice([2_000, 70_000, 300_000, 800_000])
            self.world.fresh([size, 1_000], rate=self.rng.choice([None, size // 2, size // 4]) if size > 100_000 else None)
        if self.rng.random() < 0.12:
            self.world.fresh([BIG], rate=8 << 20)
        for gone in self.world.forget_old():
            self.ledger.digests.pop(gone, None)
            for t in [t for t in self.ledger.tokens.values() if t.image == gone]:
                del self.ledger.tokens[t.text]
        with self.world.s3.lock:  # as a lifecycle rule would
            for key in [k for k in self.world.s3.objects["data"] if "sha256:" + k.rpartition("/")[2] in self.had - self.world.sizes.keys()]:
                del self.world.s3.objects["data"][key]

    def judge_failures(self):
        """Each is explained by what was done to the replica that answered, at that time."""
        for begin, end, which, text in self.ledger.failures:
            kind = kind_of(text)
            good = [t for t in self.troubles if kind in t.excuses and (t.replica is None or t.replica in which or None in which)
                    and t.begin - 0.1 <= end and begin <= t.end + 0.5]
            self.counts["failed, as they may"] += 1
            if not good:
                raise Wrong(f"{begin - self.began:.2f} to {end - self.began:.2f} s, of replica {which}: {text}\n" + self.story())

    def story(self):
        lines = [f"{t.begin - self.began:7.2f} to {t.end - self.began:.2f}: {t.what} {'' if t.replica is None else t.replica}"
                 for t in self.troubles]
        return "\n".join(["what happened:", *map(str, self.events), *lines, f"failures that were explained: {self.counts['failed, as they may']}"])

    # The reckoning

    def reckon(self, last):
        self.reckon_digests()
        self.reckon_tokens()
        self.reckon_records()
        self.reckon_downloads()
        self.reckon_disks()
        if last or (self.round - self.s3_due >= 4 and not any(t.what == "s3" for t in self.troubles)):
            self.reckon_bucket()
            self.s3_due = self.round
        self.logs_are_calm()

    def reckon_digests(self):
        """All replicas give the same, to the last byte."""
        time.sleep(max(0, 1.1 - (time.monotonic() - max(h[-1][0] for h in self.world.moving.values()))))
        engines = [Engine(self, f"r{i}") for i in range(REPLICAS)]
        for i, e in enumerate(engines):
            e.address = self.cluster.replicas[i].address
        try:
            for (name, tag), image in [*self.world.images.items(), *((k, h[-1][1]) for k, h in self.world.moving.items())]:
                known = self.ledger.digests.get((name, tag))
                for e in engines:  # before the tag tells it what that is
                    if known:
                        e.pull(name, known)
                found = [e.pull(name, tag) for e in engines]
                if len({known, *found} - {None}) > 1:
                    raise Wrong(f"{name}:{tag} was {known}, and is {found}")
                if self.ledger.rewritten.setdefault(image.digest, found[0]) != found[0]:
                    raise Wrong(f"{name}:{tag}: is {found[0]}, and not what the upstream says, which is {self.ledger.rewritten[image.digest]}")
                if (name, tag) in self.world.images:
                    self.ledger.digests[name, tag] = found[0]
        except pulls.Failed as e:
            raise Wrong(f"when all is quiet: {e}") from None
        finally:
            for e in engines:
                e.close()

    def lost(self, when, what):
        return any(loss.begin <= when <= loss.end and what in loss.what for loss in self.losses)

    def reckon_tokens(self):
        for t in list(self.ledger.tokens.values()):
            def ask(t=t):
                found = []
                for p in self.cluster.replicas:
                    found.append(p.manifest(t.name, t.reference))
                    time.sleep(0.002)  # no client asks all at once: which was the last pull is told by milliseconds
                return found
            if t.state == "revoked":
                try:
                    wait_for(lambda: all(r.status == 404 for r in ask()), 20, "revocation", step=0.2)
                except AssertionError:
                    if not self.lost(t.changed, "tokens"):
                        raise Wrong(f"token {t.text}: revoked {time.monotonic() - t.changed:.1f} s ago, and still served: "
                                    f"{[r.status for r in ask()]}") from None
                del self.ledger.tokens[t.text]
                continue
            replies = ask()
            if t.state == "revoking":  # nobody was told that it is: it is, or it is not
                time.sleep(max(0, 3.5 - (time.monotonic() - t.changed)))
                states = {r.status for r in ask()}
                if len(states) > 1 and not self.lost(t.changed, "tokens"):
                    raise Wrong(f"token {t.text}: a revocation that failed was done by halves: {states}")
                del self.ledger.tokens[t.text]
                continue
            if any(r.status == 404 for r in replies) and self.lost(t.changed, "tokens"):
                self.counts["tokens that Redis lost"] += 1
                del self.ledger.tokens[t.text]
                continue
            for i, r in enumerate(replies):
                if (r.status, r.digest) != (200, t.target):
                    raise Wrong(f"token {t.text}, made {time.monotonic() - t.changed:.1f} s ago: replica {i} says {r.status} {r.body[:200]}, "
                                f"announced was {t.target}")

    def records(self, p):
        """{id: record} of this round."""
        found, cursor, since = {}, "", (self.began_wall - datetime.timedelta(seconds=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
        while cursor is not None:
            reply = p.get(f"/v1/pulls?limit=1000&since={since}{cursor and '&cursor=' + cursor}")
            if reply.status != 200:
                raise Wrong(f"records: {reply.status} {reply.body[:200]}")
            for r in reply.json["pulls"]:
                if r["id"] in found:
                    raise Wrong(f"record {r['id']} is told twice")
                found[r["id"]] = r
            cursor = reply.json.get("next")
        return found

    def reckon_records(self):
        """Each once, the same at all replicas; what was shown is there, and what was old enough when somebody died."""
        ledger = self.ledger
        wanted = {a: d for a, (when, d) in ledger.pulls.items() if not self.lost(when, "records")}
        whole = {a for a, when in ledger.whole.items() if a in wanted and not self.lost(when, "updates") and not self.lost(when, "stream")}
        checks = {n for n, when in ledger.checks.items() if not self.lost(when, "records") and not self.lost(when, "updates")}
        state = {}

        def settled():
            state["wrong"] = self.wrong_of_records([self.records(p) for p in self.cluster.replicas], wanted, whole, checks)
            return not state["wrong"]
        try:
            wait_for(settled, QUIET_S, "records", step=0.3)
        except AssertionError:
            raise Wrong(state["wrong"]) from None
        self.counts["records"] += len(wanted)
        if any("stream" in loss.what for loss in self.losses):
            return
        since = self.began_wall.strftime("%Y-%m-%dT%H:%M:%SZ")

        def demand(p):
            """{(image, location, node): what is said of it}"""
            told = p.get(f"/v1/demand?since={since}").json["demand"]
            found = {(d["image"], d["location"], None): {k: v for k, v in d.items() if k != "nodes"} for d in told}
            return found | {(d["image"], d["location"], n["node"]): n for d in told for n in d["nodes"]}
        try:
            wait_for(lambda: all(demand(p) == demand(self.cluster.replicas[0]) for p in self.cluster.replicas), QUIET_S, "demand", step=0.5)
        except AssertionError:
            a, *rest = [demand(p) for p in self.cluster.replicas]
            differ = [(i, k, a.get(k), b.get(k)) for i, b in enumerate(rest, 1) for k in {*a, *b} if a.get(k) != b.get(k)]
            raise Wrong(f"demand of replica 0 and another differ in {len(differ)} ways:\n" + "\n".join(map(str, differ[:4]))) from None

    def wrong_of_records(self, found, wanted, whole, checks):
        """A word on what is not right, or not yet."""
        ledger, out = self.ledger, []
        for i, all_of_it in enumerate(found):
            pulled = collections.Counter(r["userAgent"] for r in all_of_it.values() if r["kind"] == "pull")
            twice = [a for a, n in pulled.items() if n > 1 and a in ledger.tried]
            if twice:
                raise Wrong(f"replica {i}: recorded more than once: {twice[:5]}")
            checked = collections.Counter(r["node"] for r in all_of_it.values() if r["kind"] == "check")
            twice = [n for n, times in checked.items() if times > 1 and n in ledger.checks]
            if twice:
                raise Wrong(f"replica {i}: one question, several checks: {twice[:5]}")
            by_agent = {r["userAgent"]: r for r in all_of_it.values() if r["kind"] == "pull"}
            if gone := [(a, round(ledger.pulls[a][0] - self.began, 2)) for a in wanted if a not in by_agent and not self.elsewhere(a)]:
                out.append(f"replica {i} has no record of {len(gone)} pulls: {gone[:5]}")
            if bad := [a for a, d in wanted.items() if a in by_agent and by_agent[a]["servedDigest"] != d]:
                raise Wrong(f"replica {i}: recorded with another digest than was served: {[(by_agent[a], wanted[a]) for a in bad[:3]]}")
            origins = {served: source for source, served in ledger.rewritten.items()}
            if bad := [r for r in by_agent.values() if r["userAgent"] in ledger.tried and r["sourceDigest"] not in
                       (None, origins.get(r["servedDigest"], r["sourceDigest"]))]:
                raise Wrong(f"replica {i}: recorded as made of what it was not made of: {bad[:2]}")
            if part := [by_agent[a] for a in whole if a in by_agent and not by_agent[a]["complete"]]:
                out.append(f"replica {i}: {len(part)} pulls that were complete are not: {part[:2]}")
            if gone := [n for n in checks if n not in checked and not self.lost(ledger.checks[n], "stream")]:
                out.append(f"replica {i}: questions without a check: {[(n, round(ledger.checks[n] - self.began, 2)) for n in gone[:5]]}")
            if gone := [(n, a) for n, a in ledger.shown.items() if a in ledger.tried and n not in all_of_it and not self.elsewhere(a)]:
                out.append(f"replica {i}: records that were shown are gone: {gone[:5]}")
        if not any("stream" in loss.what for loss in self.losses):
            for i, all_of_it in enumerate(found[1:], 1):
                if other := [n for n in {*all_of_it, *found[0]} if all_of_it.get(n) != found[0].get(n)]:
                    out.append(f"replicas 0 and {i} differ in {len(other)} records: {[(found[0].get(n), all_of_it.get(n)) for n in other[:2]]}")
        return "\n".join([*out, self.story()]) if out else ""

    def elsewhere(self, agent):
        """Redis may have forgotten it before all had it; it stays with its own replica."""
        return agent not in self.ledger.pulls or self.lost(self.ledger.pulls[agent][0], "stream")

    def lost_leases(self):
        """Those that the replicas say they lost, or did not get an answer about; of those that have not died since."""
        return {id(p.daemon): sum(v for k, v in p.metrics().items() if re.match(
            r'rac_fill_(leases_total\{result="(lost|failed)|source_failures_total\{source="peer)', k)) for p in self.cluster.replicas}

    def reckon_downloads(self):
        """From its first byte, once; and once more for what may have made replicas forget who has it."""
        after = self.lost_leases()
        said = int(sum(n - self.before.get(d, 0) for d, n in after.items()))
        weight = {"redis": REPLICAS, "upstream": REPLICAS, "kill": 1, "drain": 1, "stop": 1, "cuts": 3, "s3": 0}
        allowed = said + sum(weight[t.what] for t in self.troubles)
        begun = self.begun()
        for digest, n in begun.items():
            if digest in self.world.sizes and n > allowed + (digest not in self.had):
                raise Wrong(f"{digest} was downloaded {n} times in this round, {'and' if digest in self.had else 'not'} before; "
                            f"explained are {allowed} more ({said} by what the replicas say)\n{self.story()}")
            self.counts["downloads"] += n
            self.counts["downloads again"] += digest in self.had or n > 1
        self.had |= begun.keys()

    def begun(self):
        """{digest: how often the upstream was asked for it, from its first byte}, in this round."""
        return collections.Counter(s.path.rpartition("/")[2] for s in self.world.up.seen("GET */blobs/*") if s.range_from == 0)

    def reckon_disks(self):
        ours = {d[7:] for d in self.world.injected()}
        for i, p in enumerate(self.cluster.replicas):
            try:
                wait_for(lambda p=p: p.metrics()["rac_fills_in_flight"] == 0 and set(listed(p.data, "partial")) <= ours, QUIET_S, "partial")
            except AssertionError:
                raise Wrong(f"replica {i}: left over in partial/: {listed(p.data, 'partial')}, "
                            f"{p.metrics()['rac_fills_in_flight']} in flight") from None
            odd = listed(p.data, "quarantine") + [n for n in listed(p.data, ".") if ".corrupt-" in n]
            if odd:
                raise Wrong(f"replica {i}: given up: {odd}")
            for folder, _, names in os.walk(os.path.join(p.data, "blobs")):
                for name in names:
                    path = os.path.join(folder, name)
                    if os.stat(path).st_mtime > self.began_wall.timestamp() - 1:
                        with open(path, "rb") as f:
                            if hashlib.sha256(f.read()).hexdigest() != name:
                                raise Wrong(f"replica {i}: blobs/ has {name} with other bytes")

    def reckon_bucket(self):
        """All that was downloaded is in it, with its own bytes; nothing is half there, but what a disk took with it."""
        s3 = self.world.s3
        wanted = {d for (name, tag) in self.ledger.digests for d in self.world.images[name, tag].layers}

        def there():
            with s3.lock:
                return {"sha256:" + k.rpartition("/")[2] for k in s3.objects["data"]}
        try:
            wait_for(lambda: not any(p.metrics()["rac_s3_uploads_waiting"] for p in self.cluster.replicas), UPLOADS_S, "uploads", step=0.5)
            wait_for(lambda: set(s3.uploads) <= self.orphans, QUIET_S, "parts", step=0.2)
        except AssertionError:
            raise Wrong(f"waiting for the bucket: {[p.metrics()['rac_s3_uploads_waiting'] for p in self.cluster.replicas]}, begun and "
                        f"not finished: {[u.key for n, u in s3.uploads.items() if n not in self.orphans]}") from None
        if not self.disks_lost and wanted - there():
            raise Wrong(f"downloaded, and not in the bucket: {sorted(wanted - there())[:5]}")
        with s3.lock:
            for key, o in s3.objects["data"].items():
                if "/blobs/" in key and hashlib.sha256(o.body).hexdigest() != key.rpartition("/")[2]:
                    raise Wrong(f"the bucket has {key} with other bytes")
            for name in self.orphans & s3.uploads.keys():
                del s3.uploads[name]
            if self.disks_lost:  # from here on it is known again what has to be there
                for name, tag in self.world.images:
                    self.ledger.digests.pop((name, tag), None)
        self.orphans, self.disks_lost = set(), 0

    def logs_are_calm(self):
        for i, p in enumerate(self.cluster.replicas):
            lines = [x for x in p.log().splitlines() if re.search(r"\blevel=error\b|damaged|corrupt", x)
                     and not (self.counts["s3"] and "S3 request failed" in x) and not (self.counts["redis"] and "Redis at" in x)]
            if lines:
                raise Wrong("\n".join([f"the log of replica {i} complains:", *lines[:5]]))

    def close(self):
        try:
            if self.cluster:
                self.cluster.close()
        finally:
            self.redis.close()
            self.world.close()
            self._starter.shutdown()

    def summary(self):
        return ", ".join(f"{k}: {v}" for k, v in [*sorted(self.counts.items()), *self.ledger.counts.items()])
