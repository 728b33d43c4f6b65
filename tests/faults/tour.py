# SPDX-License-Identifier: Apache-2.0
"""One walk through all that a proxy does, each answer judged: right bytes, or a clear error; never anything between.

A Tour owns a proxy, its upstream and what can fail in it (rig.faults). One case of a sweep is

    tour.case("write pwrite", "ENOSPC", first=3)

which pulls images that nobody has pulled before while that call fails, then all of it again without the fault, in the
same process, and then looks at what is stored, open and left over.
"""
import collections
import dataclasses
import hashlib
import http.client
import itertools
import os
import re
import time

from rig import faults, images, proxy, token_api, upstream, wire
from rig.process import wait_for

# What a client may be told when a call failed: never 404 or 401, which would be believed.
ERRORS = (429, 500, 502, 503, 504)
# Texts of the errors, as the log must have one of them if a client was told of an error: libc's, SQLite's, curl's.
SAYS = re.compile("|".join([
    "No space left|Input/output error|Too many open files|Read-only file system|Cannot allocate memory",
    "Resource temporarily unavailable|Connection (refused|reset|timed out)|Broken pipe|Disk quota|File too large",
    "disk I/O error|database or disk is full|unable to open database|disk image is malformed|out of memory",
    "Interrupted system call|Cannot assign|No buffer space|[Oo]ut of (file )?descriptors|Operation not permitted",
    "cannot be (read|opened)|Couldn't connect|[Ff]ailed|shorter than|Could not|Address"]))
HALF, FOREVER = faults.HALF, faults.FOREVER
ARGS = ["--upstream-connect-timeout", "2s", "--upstream-head-timeout", "2s", "--upstream-stall-timeout", "2s",
        "--upstream-missing", "0s", "--cache-size", "4MiB", "--pulls-check-window", "1s", "--access-anonymous",
        "pull,request,read-records,admin", "--tokens-rate", "0", "--tokens-guesses", "0", "--shutdown-grace", "5s",
        "--http-slow-reader-timeout", "5s", "--workers", "1"]
TIMEOUT = 40  # of a request: SQLite may wait 5 s, curl's limits are 2 s, and the machine may be busy


class Wrong(Exception):
    """Something that must never happen."""


@dataclasses.dataclass
class Seen:
    """What became of the answers of a walk."""
    right: int = 0
    errors: collections.Counter = dataclasses.field(default_factory=collections.Counter)
    broken: int = 0
    lost: int = 0  # the connection itself failed
    messages: set = dataclasses.field(default_factory=set)

    @property
    def bad(self):
        return sum(self.errors.values()) + self.broken + self.lost


class Tour:
    def __init__(self, scratch, data=None, args=(), memory=False, name="t"):
        self.scratch, self.name = scratch, name
        self.faults = faults.Faults(scratch, memory)
        self.up = upstream.Upstream()
        self.layer = proxy.Layer(scratch, {"foo.txt": "bar\n" * 50})
        self.foo = proxy.Layer(scratch, {"from-token.txt": "token\n" * 50})
        self.px = proxy.Proxy(scratch, {"up.test": self.up.url}, [*ARGS, *args], env=self.faults.env, data=data,
                              inject=self.layer.path, start=False)
        self.numbers = itertools.count()
        self.kept = []   # tokens that were answered: none may be lost
        self.base = None

    def start(self):
        self.px.start()
        self.walk(self.image())
        self.settle()
        # What is written behind the answers is through as well.
        wait_for(lambda: not self.files("partial") and not any("/partial/" in f for f in self.descriptors()), 40, "quiet")
        self.base = self.descriptors()
        return self

    def close(self):
        self.faults.clear()
        try:
            self.px.close()
        finally:
            self.up.close()

    # One walk

    def image(self):
        """One that nobody has pulled, of one small layer and one that takes several writes."""
        number = next(self.numbers)
        image = images.random_image(f"{self.name}{number}", [3000, 300_000])
        self.up.tag(f"lib/i{number}", "1", image)
        return f"lib/i{number}", image

    def ask(self, seen, what, call, good=(200, 206)):
        """The reply if it is a good one; None if it is an honest failure."""
        try:
            reply = call()
        except TimeoutError as e:
            raise Wrong(f"{what}: no answer in {TIMEOUT} s") from e
        except (OSError, http.client.HTTPException):
            seen.lost += 1
            return None
        if reply.broken:
            seen.broken += 1
            return None
        if reply.status in good:
            seen.right += 1
            return reply
        seen.errors[reply.status] += 1
        if reply.status not in ERRORS:
            raise Wrong(f"{what}: {reply.status} {reply.body[:300]}")
        document = reply.json
        message = document["errors"][0]["message"] if "errors" in document else document["message"]
        seen.messages.add(message)
        if len(message) < 10:
            raise Wrong(f"{what}: {reply.status} says {message!r}")
        return None

    def pull(self, seen, name, reference, blobs):
        """blobs: all that the image had upstream, and the layers of ours."""
        reply = self.ask(seen, f"manifest {name}:{reference}", lambda: self.px.manifest(name, reference, timeout=TIMEOUT))
        if not reply:
            return None
        if reply.digest != reply["Docker-Content-Digest"] or (":" in reference and reply.digest != reference):
            raise Wrong(f"manifest {name}:{reference}: {reply.digest}, announced as {reply['Docker-Content-Digest']}")
        manifest = reply.json
        ours = [d["digest"] for d in manifest["layers"]][-1]
        if ours not in (self.layer.gzip_digest, self.foo.gzip_digest):
            raise Wrong(f"manifest {name}:{reference} was handed out without the layer")
        for d in [manifest["config"], *manifest["layers"]]:
            blob = self.ask(seen, f"blob {name}@{d['digest']}", lambda d=d: self.px.blob(name, d["digest"], TIMEOUT))
            if blob and (blob.digest != d["digest"] or len(blob.body) != d["size"]):
                raise Wrong(f"blob {name}@{d['digest']}: complete, and {len(blob.body)} bytes of {blob.digest}")
        big = manifest["layers"][1]
        part = self.ask(seen, "a part", lambda: self.px.blob(name, big["digest"], TIMEOUT, Range="bytes=100000-100999"))
        if part and (part.status, part.body) != (206, blobs[big["digest"]][100000:101000]):
            raise Wrong(f"part of {name}@{big['digest']}: {part.status}, {len(part.body)} bytes")
        return reply.digest

    def walk(self, what):
        """Cold, warm, by digest, a token and what it stands for, the records. Raises Wrong, or says what it saw."""
        name, image = what
        seen, blobs = Seen(), image.all_blobs()
        self.pull(seen, name, "1", blobs)
        digest = self.pull(seen, name, "1", blobs)
        if digest:
            self.ask(seen, "HEAD", lambda: self.px.manifest(name, digest, "HEAD", timeout=TIMEOUT))
        config = {"layers": [token_api.data_layer(self.foo)]}
        reply = self.ask(seen, "a token", lambda: token_api.ask(self.px, f"up.test/{name}:1", config))
        if reply:
            token = token_api.Token(self.px, reply)
            self.kept.append((token.name, token.reference, token.target))
            self.pull(seen, token.name, token.reference, blobs)
            token_path = f"/container-token/{token.text}"
            self.ask(seen, "a token's facts", lambda: self.px.get(token_path, TIMEOUT))
        self.ask(seen, "the records", lambda: self.px.get("/v1/pulls", TIMEOUT))
        self.ask(seen, "the demand", lambda: self.px.get("/v1/demand", TIMEOUT))
        self.ask(seen, "readiness", lambda: self.px.get("/readyz", TIMEOUT))
        return seen

    # What must hold

    def settle(self):
        """Until nothing is under way."""
        wait_for(lambda: self.px.metrics().get("rac_fills_in_flight") == 0, 40, "end of all downloads")
        wait_for(lambda: self.px.metrics().get("rac_requests_open", 0) <= 1, 40, "end of all requests")

    def descriptors(self):
        """What is open besides blobs and sockets, which are kept open for who comes next, up to a limit."""
        found, sockets = collections.Counter(), 0
        folder = f"/proc/{self.px.daemon.pid}/fd"
        for fd in os.listdir(folder):
            try:
                target = os.readlink(f"{folder}/{fd}")
            except FileNotFoundError:
                continue
            if target.startswith("socket:"):
                sockets += 1
            elif "/blobs/" not in target:
                found[re.sub(r"\[\d+\]", "", target)] += 1
        if sockets > 60:
            raise Wrong(f"{sockets} sockets are open")
        return found

    def files(self, folder):
        return [os.path.join(at, f) for at, _, names in os.walk(os.path.join(self.px.data, folder)) for f in names]

    def check_store(self):
        for path in self.files("blobs"):
            try:
                found = hashlib.sha256(images.read(path)).hexdigest()
            except FileNotFoundError:  # evicted meanwhile
                continue
            if os.path.basename(path) != found:
                raise Wrong(f"{path} holds {os.path.getsize(path)} bytes of {found}")

    def check_leftovers(self, calls):
        # Each part was gone on with by now. What could not be removed is left to the janitor, which comes for it in a
        # day: here it is ours to remove.
        def left():
            found = self.files("partial")
            if "unlink" in calls.split():
                for path in found:
                    os.unlink(path)
            return found
        try:
            wait_for(lambda: not left(), 20, "an empty folder of parts")
        except AssertionError:
            raise Wrong(f"left over: {left()}") from None

        def same():
            return self.descriptors() == self.base
        try:
            wait_for(same, 20, "the descriptors of before")
        except AssertionError:
            now = self.descriptors()
            raise Wrong(f"descriptors: more {now - self.base}, fewer {self.base - now}") from None

    def check_tokens(self, count=3):
        for name, reference, target in self.kept[-count:]:
            reply = self.px.manifest(name, reference, timeout=TIMEOUT)
            if (reply.status, reply.digest) != (200, target):
                raise Wrong(f"the token of {name} that was given gives {reply.status} {reply.body[:200]}")

    def log_from(self, at, grave=False):
        lines = self.px.log()[at:].splitlines()
        return "\n".join(line for line in lines if not grave or not re.search(r"level=(info|debug)", line))

    def case(self, calls, error, match=None, first=1, times=faults.FOREVER, walks=1, log=True):
        """Returns (calls that failed, what was seen, which failed first)."""
        match = self.px.data if match is None else match
        begun = len(self.px.log())
        what = self.image()
        self.faults.arm(calls, error, match, first, times)
        try:
            try:
                for _ in range(walks):
                    seen = self.walk(what)
            finally:
                self.faults.clear()
            hit, last = self.faults.hit(), self.faults.last()
            healed = self.heal(what)
            if healed.bad:
                raise Wrong(f"the fault is over, and still: {healed}")
            self.settle()
            self.check_tokens()
            if log and hit and seen.bad and not SAYS.search(self.log_from(begun)):
                raise Wrong(f"{seen}, and not a word in the log")
            self.check_store()
            self.check_leftovers(calls)
        except Wrong as e:
            raise Wrong(f"{calls} {error} match={match} first={first} times={times}: failed {self.faults.hit()} calls, "
                        f"the first {self.faults.last()}\n  in {self.faults.where()}\n  {e}\n"
                        f"{self.log_from(begun, True)[-3000:]}") from None
        except AssertionError as e:
            raise Wrong(f"{calls} {error} match={match} first={first} times={times}: {self.faults.last()} in "
                        f"{self.faults.where()}: {e}\n{self.log_from(begun)[-6000:]}") from None
        return hit, seen, last

    def heal(self, what):
        """The same image again, and one that is new."""
        self.walk_right(what)
        return self.walk(self.image())

    def walk_right(self, what):
        seen = self.walk(what)
        if seen.bad:
            raise Wrong(f"the fault is over, and still: {seen}")
