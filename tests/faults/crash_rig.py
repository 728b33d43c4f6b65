# SPDX-License-Identifier: Apache-2.0
"""Kills rac-proxy, at chosen calls and at any moment, and holds it to what it promised before. See docs/testing.md."""
import collections
import dataclasses
import itertools
import os
import random
import signal
import sqlite3
import statistics
import threading
import time

from faults import crash_disk
from faults.crash_world import GONE, Life, World, Wrong, listed
from rig import proxy

DEATHS_A_LIFE = 25
START_MAX_S = 20  # with sanitizers, on a machine that does other things, too
CLIENTS = 4


@dataclasses.dataclass
class Case:
    """What is under way when it dies. act: may fail as it likes. also: images to pull in the reckoning."""
    act: object
    also: tuple = ()
    quiet: float = 0.4     # seconds without a call that say that it is over
    after: object = None   # once it is dead, before it starts again
    tool: bool = False     # another program dies: the proxy goes on
    may_break: bool = False


# What the short run dies at: each kind of call once, where it is sure to be reached.
SHORT = [
    ("blob", "make partial", "write partial", "sync partial", "make put", "write put", "sync put", "rename blob",
     "syncdir blob", "write state-wal", "write records-wal"),
    ("token", "write state-wal"), ("revoke", "write state-wal"), ("record", "write records-wal"),
    ("shutdown", "sync state-wal", "write state", "sync state", "unlink state-wal", "syncdir data"),
    ("start", "make check", "unlink check"), ("evictions", "unlink blob"),
    ("first_start", "mkdir blob", "make state", "write state-wal", "make records"), ("migration", "write state-wal"),
    ("quarantine", "rename quarantine"), ("scrub", "rename quarantine"), ("backup", "write backup", "rename backup")]


# The things that are done. Each takes a Life whose proxy runs and returns a Case.

def blob(life):
    name, tag, _ = life.world.fresh()
    return Case(lambda: life.client.pull(name, tag), ((name, tag),))


def half_a_blob(life):
    """The upstream stops in the middle: what is there is kept, and gone on with."""
    name, tag, image = life.world.fresh((200_000,))
    layer = image.layers[0]
    life.world.up.rule(f"GET */blobs/{layer}", lambda x: x.proper(reset=100_000), times=7)
    return Case(lambda: life.client.pull(name, tag), ((name, tag),), quiet=1.0, may_break=True,
                after=lambda: life.world.up.rule(f"GET */blobs/{layer}", lambda x: None))


def evictions(life):
    fresh = [life.world.fresh((120_000, 120_000)) for _ in range(5)]
    return Case(lambda: [life.client.pull(name, tag) for name, tag, _ in fresh], [f[:2] for f in fresh])


def token(life):
    return Case(lambda: life.client.make_token("lib/a", "t0"))


def revoke(life):
    t = life.client.make_token("lib/b", "t1")
    return Case(lambda: life.client.revoke(t))


def token_pull(life):
    """Its count is saved in the background."""
    t = life.client.make_token("lib/c", "t2")
    return Case(lambda: life.client.pull_token(t), quiet=1.5)


def roll(life):
    """Enough in the state's log for a checkpoint."""
    return Case(lambda: [life.client.make_token("lib/a", "t3", big=300_000) for _ in range(15)])


def record(life):
    life.client.pull("lib/a", "t0")
    return Case(lambda: [life.client.manifest("lib/a", "t0") for _ in range(3)])


def check(life):
    return Case(lambda: life.client.ask_again("lib/b", "t1"), quiet=1.8)


def shutdown(life):
    def act():
        life.p.daemon.signal(signal.SIGTERM)
        life.wait_death(30)
    return Case(act)


def start(life):
    """On what the death before left."""
    life.end()
    life.after_death()
    return Case(lambda: restart(life))


def restart(life):
    try:
        life.p.start()
    except AssertionError:  # it died before it was ready
        if life.p.daemon.running():
            raise


def migration(life):
    """The state of the first version: without tokens."""
    life.p.stop()
    with sqlite3.connect(os.path.join(life.data, "state.db")) as db:
        db.executescript("DROP TABLE token; DROP TABLE passing; PRAGMA user_version = 1")
    db.close()
    life.forget_tokens()
    return Case(lambda: restart(life))


def first_start(life):
    """In a folder that is empty."""
    life.new_folder()
    return Case(lambda: restart(life))


def damage(life):
    """Cuts a byte off a layer that is stored; the image that has it. With a small store it may be gone again by the time."""
    for name, tag in itertools.islice(itertools.cycle(life.world.images), 200):
        image = life.world.images[name, tag]
        life.client.pull(name, tag)
        try:
            with open(life.p.blob_file(image.layers[0]), "r+b") as f:
                f.truncate(os.fstat(f.fileno()).st_size - 1)
            life.damaged = True
            return name, tag
        except FileNotFoundError:
            pass
    raise Wrong("nothing that is pulled is stored")


def quarantine(life):
    name, tag = damage(life)
    life.end()
    life.start()
    return Case(lambda: life.client.pull(name, tag))


def scrub(life):
    """While no proxy runs."""
    damage(life)
    life.end()
    return Case(lambda: tool(life, "--scrub"), after=lambda: tool(life, "--scrub"))


def backup(life):
    t = life.client.make_token("lib/a", "t0")
    path = os.path.join(life.disk.box, "backup", f"{life.world.number()}.db")

    def again():
        if not os.path.exists(path):
            done = tool(life, "--backup", path)
            if done.returncode != 0:
                raise Wrong(f"no backup after one that was killed: {done.stderr[-500:]}")
        with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as db:
            answer = db.execute("PRAGMA integrity_check").fetchall(), db.execute("SELECT count(*) FROM token").fetchone()
        db.close()
        if answer[0] != [("ok",)] or answer[1][0] < 1:
            raise Wrong(f"the backup under its name is none: {answer}")
        if listed(life.disk.box, "backup") != [os.path.basename(path)]:
            raise Wrong(f"left over beside the backup: {listed(life.disk.box, 'backup')}")
        os.unlink(path)
        life.client.pull_token(t)
    return Case(lambda: tool(life, "--backup", path), tool=True, after=again)


def tool(life, *args):
    return proxy.run_once(life.world.scratch, "--data", life.data, *args, env=life.disk.environment())


ALL = [blob, half_a_blob, evictions, token, revoke, token_pull, roll, record, check, shutdown, start, quarantine, scrub,
       backup, migration, first_start]
WITHOUT_POWER = (scrub, backup)  # two programs at once, or one that is not the proxy


def modes_of(point):
    return ["before", "after", "held", *(["torn"] if point.startswith("write") else [])]


class Client(threading.Thread):
    """Does what comes to its mind until the proxy is gone."""

    def __init__(self, life, seed):
        super().__init__(daemon=True)
        self.life, self.rng, self.client = life, random.Random(seed), life.new_client()
        self.over, self.wrong = threading.Event(), None

    def run(self):
        try:
            while not self.over.is_set():
                self.one()
        except GONE as e:
            if not self.life.dying:
                self.wrong = Wrong(f"an answer was broken off by a proxy that goes on: {e!r}")
        except Exception as e:  # pylint: disable=broad-except
            self.wrong = e

    def one(self):
        c, rng, life = self.client, self.rng, self.life
        name, tag = rng.choice(list(life.world.images))
        what = rng.choices(["pull", "digest", "part", "token", "big", "token pull", "revoke", "check", "fresh"],
                           [4, 2, 2, 2, 1, 2, 1, 2, 2])[0]
        if what in ("pull", "digest"):
            c.pull(name, tag, what == "digest")
        elif what == "part":
            d = rng.choice(life.world.images[name, tag].json["layers"])
            first = rng.randrange(d["size"])
            c.manifest(name, tag)
            c.blob(name, d, (first, rng.randrange(first, d["size"])))
        elif what in ("token", "big"):
            c.make_token(name, tag, 100_000 if what == "big" else 0)
        elif what in ("token pull", "revoke"):
            with life.ledger.lock:
                mine = [t for t in life.ledger.tokens.values() if t.state == "live" and t.owner is None]
                if not mine:
                    return
                t = rng.choice(mine)
                t.owner = self  # one at a time, so that each answer has one right value
            if what == "revoke" and len(mine) > 3:
                c.revoke(t)
            else:
                c.pull_token(t)
            t.owner = None
        elif what == "check":
            c.ask_again(name, tag)
        else:
            c.pull(*life.fresh_one())


class Rig:
    def __init__(self, scratch, seed, say=lambda text: None, lag=None):
        """lag: seconds of records that a death may take at most; None: only records that were shown are held to."""
        self.scratch, self.rng, self.say, self.lag = scratch, random.Random(seed), say, lag
        self.library = crash_disk.build(scratch)
        self.world = World(scratch, self.rng)
        self.started, self.counts, self.points, self.missed = [], collections.Counter(), collections.Counter(), 0
        self.answers = collections.Counter()
        self.life = self.other = None
        self.history = collections.deque(["begin"], 5)  # what was done last

    @property
    def doing(self):
        return ", then ".join(self.history)

    @doing.setter
    def doing(self, text):
        self.history.append(text)

    @property
    def kills(self):
        return self.counts["kills"]

    # Lives

    def begin(self, power=False):
        box = self.scratch.folder("box")
        os.mkdir(os.path.join(box, "backup"))
        disk = crash_disk.Disk(self.scratch, self.library, box)
        disk.power = power
        disk.disarm()
        self.life = Life(self.world, disk)
        self.life.start()
        for name, tag in self.world.images:
            self.life.client.pull(name, tag)
        return self.life

    def finish(self, settle=True):
        life, self.life = self.life, None
        if not life:
            return
        try:
            if settle:
                life.settle()
            life.close()
        finally:
            if life.p.daemon and life.p.daemon.running():
                life.p.daemon.kill()
            self.started += life.started
            self.answers += life.ledger.counts
            life.disk.close()

    def close(self):
        for self.life in (self.life, self.other):
            try:
                self.finish(settle=False)
            except (AssertionError, Wrong, *GONE):
                pass  # what was wrong is known already
        self.world.close()

    def a_life(self, power=False):
        """One that is not too old. That which comes to know power cuts knows them for good, so there are two at a time."""
        if self.life and self.life.disk.power != power:
            self.life, self.other = self.other, self.life
        if self.life and self.life.deaths >= DEATHS_A_LIFE:
            self.doing = "end of a folder"
            self.finish()
        return self.life or self.begin(power)

    # Deaths

    def rehearse(self, make):
        """{point: how many times} while nobody dies."""
        life = self.life
        case = make(life)
        before = life.disk.log_size()
        self.act(case)
        self.wait_quiet(case)
        found = collections.Counter(c.point for c in life.disk.calls(before) if not case.tool or c.what == "backup")
        if not case.tool:
            life.end()
        self.back_to_life(case)
        self.reckon(case.also)
        return found

    def act(self, case):
        try:
            case.act()
        except GONE as e:
            if not case.may_break and not self.life.wait_death(5):
                raise Wrong(f"an answer was broken off by a proxy that goes on: {e!r}") from None

    def wait_quiet(self, case):
        """Until nothing is written any more, or it is dead."""
        life = self.life
        size, since, end = life.disk.log_size(), time.monotonic(), time.monotonic() + 20
        while time.monotonic() - since < case.quiet and time.monotonic() < end:
            if life.disk.fired or not life.p.daemon.running():
                return
            time.sleep(0.01)
            if life.disk.log_size() != size:
                size, since = life.disk.log_size(), time.monotonic()

    def back_to_life(self, case):
        life = self.life
        life.disk.disarm()
        if case.tool:
            if case.after:
                case.after()
            return
        self.cut_power()
        life.after_death()
        if case.after:
            case.after()
        life.start()

    def cut_power(self):
        life = self.life
        if life.disk.power:
            self.counts["calls lost to power cuts"] += life.disk.cut_power(self.rng, self.rng.random() < 0.5)
            self.counts["power cuts"] += 1
            life.power_cuts += 1

    def die_at(self, make, point, nth, mode):
        """One death at that point; False: it never came there."""
        life = self.life
        case = make(life)
        life.disk.arm(point, nth, crash_disk.MODES[mode])
        self.act(case)
        self.wait_quiet(case)
        fired = life.disk.fired
        if not case.tool:
            if fired:
                life.wait_death(10)
            life.end()
        self.counts["kills"] += fired or not case.tool
        self.missed += not fired
        self.points[point] += fired
        self.back_to_life(case)
        self.reckon(case.also)
        return fired

    def die_any_time(self):
        """Load, and SIGKILL from outside."""
        life = self.life
        clients = [Client(life, self.rng.random()) for _ in range(CLIENTS)]
        delay = self.rng.choice([self.rng.uniform(0.01, 0.1), self.rng.uniform(0.1, 1.5)])
        for c in clients:
            c.start()
        time.sleep(delay)
        wrong = [c.wrong for c in clients if c.wrong]
        life.end()
        for c in clients:
            c.over.set()
            c.join(60)
            if c.is_alive():
                raise Wrong("a client still waits for an answer of a dead proxy")
        wrong += [c.wrong for c in clients if c.wrong]
        if wrong:
            raise wrong[0]
        for t in life.ledger.tokens.values():
            t.owner = None
        self.counts["kills"] += 1
        self.counts["kills under load"] += 1
        self.back_to_life(Case(None))
        also, life.fresh = life.fresh, []
        self.reckon(also)

    def reckon(self, also):
        life = self.life
        power = life.power_cuts > 0
        life.reckon(also, None if power else self.lag, power)
        for name, tag in also:
            self.world.forget(name, tag)
            life.ledger.served.pop((name, tag), None)
        life.repaired()
        if life.started[-1] > START_MAX_S:
            raise Wrong(f"the start took {life.started[-1]:.1f} s")

    # Runs

    def plan(self, makes, most):
        """Every death of these cases: [(case, point, nth, mode)]; of a point that comes often, `most` of its times."""
        found = []
        for make in makes:
            for point, count in sorted(self.rehearse(make).items()):
                times = range(1, count + 1) if count <= most else sorted(self.rng.sample(range(1, count + 1), most))
                modes = modes_of(point)
                found += [(make, point, nth, mode) for nth in times for mode in modes]
        return found

    def run(self, kills, power=0.25, only=None, tell=lambda: None):
        """That many, half of them under load; every planned one once before any comes again."""
        makes = [m for m in ALL if not only or m.__name__ in only]
        told = time.monotonic()
        self.begin()
        plan = self.plan(makes, 12)
        self.rng.shuffle(plan)
        chosen = itertools.cycle(plan)
        while self.kills < kills:
            cut = self.rng.random() < power
            if plan and (only and "load" not in only or self.rng.random() < 0.5):
                make, point, nth, mode = next(chosen)
                self.a_life(cut and make not in WITHOUT_POWER)
                self.doing = f"{make.__name__}: {mode} {point} {nth}"
                self.die_at(make, point, nth, mode)
            else:
                self.a_life(cut)
                self.doing = "under load"
                self.die_any_time()
            if time.monotonic() - told > 30:
                told = time.monotonic()
                tell()
        for self.life in (self.life, self.other):
            self.finish()

    def short_run(self):
        """Each of SHORT once, a death under load, a power cut under load."""
        deaths = [(globals()[name], point) for name, *points in SHORT for point in points]
        self.rng.shuffle(deaths)
        self.begin()
        for make, point in deaths:
            mode = self.rng.choice(modes_of(point))
            self.doing = f"{make.__name__}: {mode} {point}"
            if not self.die_at(make, point, 1, mode):
                self.die_at(make, point, 1, mode)  # somebody else was faster: a background thread, an eviction
        self.doing = "under load"
        self.die_any_time()
        self.finish()
        self.doing = "power cut under load"
        self.begin(power=True)
        self.die_any_time()
        self.finish()

    def summary(self):
        ms = sorted(1000 * s for s in self.started) or [0]
        return (f"{self.kills} kills: {self.counts['kills under load']} under load, {sum(self.points.values())} at chosen calls of "
                f"{len(self.points)} kinds ({self.missed} were not reached); {self.counts['power cuts']} power cuts that took "
                f"{self.counts['calls lost to power cuts']} calls back; {sum(self.answers.values())} answers checked; "
                f"start {statistics.median(ms):.0f} ms, at most {ms[-1]:.0f} ms")
