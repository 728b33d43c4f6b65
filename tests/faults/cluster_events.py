# SPDX-License-Identifier: Apache-2.0
"""What happens to the cluster of the crash rig: each is drawn with all its numbers, then done in a thread of its own."""
import dataclasses
import shutil
import signal
import threading
import time

from faults.cluster_world import Trouble
from rig.s3faults import Fault

LEASE_S = 6  # docs/redis.md: of a download without a renewal
BROKEN, UNAVAILABLE = frozenset(["broken"]), frozenset(["503"])
NO_UPSTREAM = frozenset(["502", "503", "504", "broken"])


@dataclasses.dataclass
class Loss:
    """Between these moments what was answered may be gone: what, of "records", "updates", "tokens", "stream"."""
    begin: float
    end: float
    what: frozenset


class Event:
    """room: what no other event of the round may have to do with: "redis", "s3", "upstream", or a replica's number."""
    kind = ""

    def __init__(self, rng, room, delay):
        self.rng, self.room, self.delay = rng, room, delay
        self.draw(rng)

    def draw(self, rng):
        pass

    def __str__(self):
        numbers = {k: round(v, 2) if isinstance(v, float) else v for k, v in vars(self).items() if k not in ("rng", "room", "delay")}
        return f"{self.delay:.2f} s: {self.kind} {self.room} {numbers or ''}"

    def run(self, rig):
        raise NotImplementedError


def lost_with(rig, i, since, disk):
    """What a replica takes with it that is killed now, and has done nothing since then."""
    begin = since - rig.lag
    if disk:  # of what the others were not told, all of it
        begin = min([begin] + [t.begin - rig.lag for t in rig.troubles if t.what == "redis"] + [since - 2 * rig.lag])
    rig.losses.append(Loss(begin, time.monotonic(), frozenset(["records"])))
    rig.losses.append(Loss(begin - 2, time.monotonic(), frozenset(["updates"])))
    if disk:
        shutil.rmtree(rig.cluster.replicas[i].data)


class Kill(Event):
    """SIGKILL, and back after a while; disk: with an empty one. stopped: SIGSTOP first, that many seconds before."""
    kind = "kill"

    def draw(self, rng):
        self.away = rng.choice([0.0, rng.uniform(0, 2.5)])
        self.disk = rng.random() < 0.3
        self.stopped = rng.uniform(0.1, 4) if rng.random() < 0.2 else 0.0

    def run(self, rig):
        p, since = rig.cluster.replicas[self.room], time.monotonic()
        rig.remember_shown(self.room if self.disk else None)
        with rig.trouble("kill", BROKEN, self.room) as trouble:
            since = time.monotonic()
            if self.stopped:
                p.daemon.signal(signal.SIGSTOP)
                since = time.monotonic()
                time.sleep(self.stopped)
            rig.orphans |= set(rig.world.s3.uploads) if self.disk else set()
            rig.cluster.kill(self.room)
            lost_with(rig, self.room, since, self.disk)
            rig.disks_lost += self.disk
            trouble.end = time.monotonic()
        time.sleep(self.away)
        rig.start(self.room)


class Drain(Event):
    """SIGTERM, and another one in its place: nobody notices."""
    kind = "drain"

    def run(self, rig):
        rig.remember_shown(None)
        with rig.trouble("drain", frozenset(), self.room):
            rig.cluster.replicas[self.room].stop()
        rig.start(self.room)


class Stop(Event):
    """SIGSTOP, longer than its leases hold, and SIGCONT. Whoever looks after the balancer takes it out meanwhile."""
    kind = "stop"

    def draw(self, rng):
        self.seconds = rng.choice([rng.uniform(0.5, 3), rng.uniform(LEASE_S + 1, LEASE_S + 3)])

    def run(self, rig):
        p = rig.cluster.replicas[self.room]
        with rig.trouble("stop", frozenset(), self.room):
            p.daemon.signal(signal.SIGSTOP)
            try:
                time.sleep(min(self.seconds, 1))
                rig.cluster.balancer.drain(self.room)
                time.sleep(max(0, self.seconds - 1))
            finally:
                p.daemon.signal(signal.SIGCONT)
                rig.down.discard(self.room)
                rig.cluster.balancer.fill(self.room)


class RedisKill(Event):
    """SIGKILL, and back on its file. With `appendfsync everysec` a sync that is under way makes Redis answer before it
    writes, for two seconds at most; with `always` what was answered is in the file."""
    kind = "redis killed"

    def draw(self, rng):
        self.away = rng.uniform(0, 3)
        self.fsync = rng.choice(["everysec", "always"])

    def run(self, rig):
        rig.redis.ask("CONFIG", "SET", "appendfsync", self.fsync)
        with rig.trouble("redis", UNAVAILABLE, None), rig.redis_away():
            rig.redis.kill()
            if self.fsync == "everysec":
                rig.losses.append(Loss(time.monotonic() - 3, time.monotonic() + 0.1, frozenset(["tokens"])))
                rig.losses.append(Loss(time.monotonic() - 3 - rig.lag, time.monotonic() + 0.1, frozenset(["stream"])))
            time.sleep(self.away)
            rig.lasting(rig.redis.start)
            rig.all_ready()


class RedisPause(Event):
    """It holds its connections and says nothing."""
    kind = "redis paused"

    def draw(self, rng):
        self.seconds = rng.choice([rng.uniform(0.3, 2), rng.uniform(3.5, 5)])

    def run(self, rig):
        with rig.trouble("redis", UNAVAILABLE, None), rig.redis_away():
            rig.redis.pause()
            try:
                time.sleep(self.seconds)
            finally:
                rig.redis.resume()
            rig.all_ready()


class Bucket(Event):
    """Whatever it does, nobody notices."""
    kind = "bucket"
    FAULTS = {"away": Fault(refuse=True), "503": Fault(status=503, code="SlowDown"), "slow": Fault(delay=2),
              "answers lost": Fault(lose=True), "bodies cut": Fault(cut_after=700)}

    def draw(self, rng):
        self.fault = rng.choice(list(self.FAULTS))
        self.seconds = rng.uniform(0.5, 4)

    def run(self, rig):
        s3 = rig.world.s3
        with rig.trouble("s3", frozenset(), None):
            s3.rule("*", self.FAULTS[self.fault], every=1 if self.fault in ("away", "503") else 2)
            time.sleep(self.seconds)
            with s3.lock:
                s3.rules.clear()


class Cuts(Event):
    """Some downloads break off; each is gone on with."""
    kind = "cuts"

    def draw(self, rng):
        self.times = rng.randint(1, 3)

    def run(self, rig):
        with rig.trouble("cuts", frozenset(), None):
            with rig.world.lock:
                rig.world.cuts = self.times
            time.sleep(2)


class UpstreamAway(Event):
    kind = "upstream away"

    def draw(self, rng):
        self.seconds = rng.uniform(0.2, 2)

    def run(self, rig):
        with rig.trouble("upstream", NO_UPSTREAM, None):
            rig.world.up.stop()
            time.sleep(self.seconds)
            rig.world.up.start_again()
            time.sleep(1)  # what was refused is told a moment later, and tried again after a pause


REPLICA, OTHERS = [Kill, Kill, Kill, Drain, Stop], [RedisKill, RedisPause, Bucket, Bucket, Cuts, UpstreamAway]
ROOMS = {RedisKill: "redis", RedisPause: "redis", Bucket: "s3", Cuts: "upstream", UpstreamAway: "upstream"}


def draw(rng, replicas, kinds=None, least=1):
    """What happens in one round: to two replicas at most, and to each other part at most one thing."""
    found, rooms = [], set()
    for _ in range(max(least, rng.choice([1, 1, 2, 2, 3, 4]))):
        kind = rng.choice([k for k in REPLICA + OTHERS if not kinds or k in kinds])
        room = ROOMS[kind] if kind in ROOMS else rng.randrange(replicas)
        if room in rooms or (isinstance(room, int) and sum(isinstance(r, int) for r in rooms) == replicas - 1):
            continue
        rooms.add(room)
        found.append(kind(rng, room, rng.uniform(0.2, 2)))
    return sorted(found, key=lambda e: e.delay)


class Happening(threading.Thread):
    """An event, in its time."""

    def __init__(self, event, rig):
        super().__init__(daemon=True)
        self.event, self.rig, self.wrong = event, rig, None

    def run(self):
        try:
            time.sleep(self.event.delay)
            self.event.run(self.rig)
        except Exception as e:  # pylint: disable=broad-except
            self.wrong = e
