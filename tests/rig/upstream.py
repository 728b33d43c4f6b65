# SPDX-License-Identifier: Apache-2.0
"""An upstream that does what it is told: by default a proper registry from memory, and wherever a rule says so, a broken
one. Raw sockets, a thread a connection, every request written down.

    up.tag("lib/x", "1", images.busybox())
    up.rule("GET */blobs/*", lambda x: x.proper(cut=1000))          # every time
    up.rule("GET */blobs/*", lambda x: x.proper(reset=0), times=1)  # the first time only, then the rule above

The last rule that matches and is not used up decides. A rule answers with an Answer; None means the proper one.
"""
import collections
import dataclasses
import fnmatch
import json
import re
import socket
import ssl
import struct
import threading
import time
import urllib.parse

from rig.wire import sha256

LINGER_RESET = struct.pack("ii", 1, 0)


@dataclasses.dataclass
class Answer:
    status: int = 200
    headers: dict = dataclasses.field(default_factory=dict)  # a value may be a list: several lines
    body: bytes = b""
    length: object = "true"   # "true", "none" (until the connection closes), "chunked", or a number to lie with
    cut: int = None           # the connection is closed after that many bytes of the body
    reset: int = None         # … is reset after that many; -1: in the head; -2: before the head; negative below: from the end
    stall: int = None         # silence, for ever, after that many bytes of the body; -1: before the head
    drip: float = None        # one byte, then that many seconds
    rate: int = None          # bytes a second
    extra: bytes = b""        # sent behind the body
    delay: float = 0          # seconds before the head
    hold: threading.Event = None  # waits for it in the middle of the body
    raw: bytes = None         # sent as it is in place of head and body; then the connection is closed


@dataclasses.dataclass
class Seen:
    """One request as it came."""
    method: str
    target: str
    headers: list
    time: float
    upstream: object = dataclasses.field(repr=False, default=None)
    attempt: int = 0  # how many requests of this method and target came before

    @property
    def path(self):
        return self.target.partition("?")[0]

    @property
    def query(self):
        return dict(urllib.parse.parse_qsl(self.target.partition("?")[2]))

    def __getitem__(self, name):
        return next((v for k, v in self.headers if k.lower() == name.lower()), None)

    @property
    def range_from(self):
        found = re.fullmatch(r"bytes=(\d+)-", self["Range"] or "")
        return int(found.group(1)) if found else 0

    def proper(self, **but):
        return dataclasses.replace(self.upstream.proper(self), **but)


class Upstream:
    def __init__(self, tls=None, host="127.0.0.1"):
        """tls: an ssl.SSLContext. host: "::" is every address of this machine, of both kinds."""
        self.tls = tls
        self.tags = {}                             # {repository: {tag: Image}}
        self.manifests = {}                        # {repository: {digest: Image}}
        self.blobs = collections.defaultdict(dict)  # {repository: {digest: bytes}}
        self.referrers = None                      # {digest: [descriptors]}; None: no such API
        self.log = []
        self.connections = 0                       # accepted, whether a request came over them or not
        self.dialled = []                          # the addresses of this machine that they came to
        self.sent = collections.Counter()          # body bytes by target
        self._rules = []
        self._attempts = collections.Counter()
        self._lock = threading.Lock()
        self._sockets = set()
        self._closed = threading.Event()
        self.host, self.port = host, 0
        self.start_again()
        self.address = f"127.0.0.1:{self.port}"
        self.url = f"{'https' if tls else 'http'}://{self.address}"

    # What it holds

    def tag(self, repository, tag, image):
        self.tags.setdefault(repository, {})[tag] = image
        self.add(repository, image)
        return image

    def add(self, repository, image):
        self.manifests.setdefault(repository, {}).update(image.all_manifests())
        self.blobs[repository].update(image.all_blobs())
        return image

    def blob(self, repository, data):
        self.blobs[repository][sha256(data)] = data
        return sha256(data)

    def remove(self, repository):
        for store in (self.tags, self.manifests, self.blobs):
            store.pop(repository, None)

    # What it does

    def rule(self, match, answer, times=None):
        """match: "METHOD path" with wildcards, the query not included. answer: function of Seen, or an Answer."""
        with self._lock:
            self._rules.append([match, answer if callable(answer) else lambda x: answer, times])

    def clear(self):
        with self._lock:
            self._rules.clear()
            self.log.clear()
            self.sent.clear()
            self._attempts.clear()

    def stop(self):
        """Nothing listens here any more: connections are refused."""
        try:
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread in accept(), which holds the socket open
        except OSError:
            pass
        self._listener.close()
        self._drop()

    def start_again(self):
        family = {"family": socket.AF_INET6, "dualstack_ipv6": True} if ":" in self.host else {}
        self._listener = socket.create_server((self.host, self.port), backlog=256, **family)
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def close(self):
        self._closed.set()
        self.stop()

    # What it was asked

    def seen(self, match="*"):
        with self._lock:
            return [s for s in self.log if fnmatch.fnmatchcase(f"{s.method} {s.path}", match)]

    def count(self, match):
        return len(self.seen(match))

    # Inside

    def _drop(self):
        with self._lock:
            sockets = list(self._sockets)
        for s in sockets:
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def _accept(self, listener):
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with self._lock:
                self.connections += 1
                self.dialled.append(connection.getsockname()[0].removeprefix("::ffff:"))
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.settimeout(120)
            if self.tls:
                connection = self.tls.wrap_socket(connection, server_side=True)
            with self._lock:
                self._sockets.add(connection)
            with connection.makefile("rb") as stream:
                while (seen := self._read(stream)) is not None and self._answer(connection, seen):
                    pass
        except (OSError, ssl.SSLError, ValueError):
            pass
        finally:
            with self._lock:
                self._sockets.discard(connection)
            connection.close()

    def _read(self, stream):
        line = stream.readline(65536).decode("latin-1").split()
        if len(line) != 3:
            return None
        headers = []
        while (header := stream.readline(65536).decode("latin-1").rstrip("\r\n")):
            name, _, value = header.partition(":")
            headers.append((name, value.strip()))
        seen = Seen(line[0], line[1], headers, time.monotonic(), self)
        if seen["Content-Length"]:
            stream.read(int(seen["Content-Length"]))
        with self._lock:
            seen.attempt = self._attempts[seen.method, seen.target]
            self._attempts[seen.method, seen.target] += 1
            self.log.append(seen)
        return seen

    def _choose(self, seen):
        with self._lock:
            for rule in reversed(self._rules):
                match, answer, times = rule
                if times != 0 and fnmatch.fnmatchcase(f"{seen.method} {seen.path}", match):
                    if times is not None:
                        rule[2] -= 1
                    break
            else:
                answer = None
        chosen = answer(seen) if answer else None
        return chosen if chosen is not None else self.proper(seen)

    def _sleep(self, seconds):
        self._closed.wait(seconds)

    @staticmethod
    def _reset(connection):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_RESET)
        return False

    def _answer(self, connection, seen):
        """Sends the chosen answer. True: the connection goes on."""
        answer = self._choose(seen)
        self._sleep(answer.delay)
        if answer.reset == -2:
            return self._reset(connection)
        if answer.stall == -1:
            self._sleep(600)
            return False
        if answer.raw is not None:
            connection.sendall(answer.raw)
            return False
        body = answer.body
        headers = dict(answer.headers)
        if answer.length == "chunked":
            headers["Transfer-Encoding"] = "chunked"
        elif answer.length == "none":
            headers["Connection"] = "close"
        elif answer.status not in (204, 304):
            headers.setdefault("Content-Length", len(body) if answer.length == "true" else answer.length)
        head = f"HTTP/1.1 {answer.status} X\r\n" + "".join(
            f"{k}: {one}\r\n" for k, v in headers.items()
            for one in (v if isinstance(v, list) else [v])) + "\r\n"
        if answer.reset == -1:
            connection.sendall(head.encode("latin-1")[:20])
            time.sleep(0.05)
            return self._reset(connection)
        connection.sendall(head.encode("latin-1"))
        if seen.method == "HEAD" or answer.status in (204, 304):
            return answer.length != "none"
        return self._send_body(connection, seen, answer, body)

    def _send_body(self, connection, seen, answer, body):
        ends = [n for n in (answer.cut, answer.reset, answer.stall) if n is not None]
        end = min(ends) if ends else len(body)
        if end < 0:
            end += len(body)
        piece = 1 if answer.drip else 65536
        middle = end // 2 if answer.hold else None
        sent, begin = 0, time.monotonic()
        while sent < end:
            stop = min(end, sent + piece)
            if middle is not None and sent < middle <= stop:
                stop = middle
            data = body[sent:stop]
            if answer.length == "chunked":
                data = b"%x\r\n%s\r\n" % (len(data), data)
            connection.sendall(data)
            sent = stop
            with self._lock:
                self.sent[seen.target] += len(data)
            if sent == middle:
                answer.hold.wait(60)
            if answer.drip:
                self._sleep(answer.drip)
            if answer.rate:
                self._sleep(max(0, begin + sent / answer.rate - time.monotonic()))
            if self._closed.is_set():
                return False
        if answer.reset is not None:
            time.sleep(0.2)  # a reset throws away what the other side has not read yet
            return self._reset(connection)
        if answer.stall is not None:
            self._sleep(600)
            return False
        if answer.cut is not None:
            return False
        if answer.length == "chunked":
            connection.sendall(b"0\r\n\r\n")
        connection.sendall(answer.extra)
        return answer.length != "none" and not answer.extra and answer.headers.get("Connection") != "close"

    # The proper registry

    def proper(self, seen):
        path = seen.path
        if path == "/v2/":
            return Answer(body=b"{}", headers={"Content-Type": "application/json"})
        found = re.fullmatch(r"/v2/(.+)/(manifests|blobs|tags|referrers)/([^/]+)", path)
        if not found:
            return missing("NAME_UNKNOWN")
        repository, kind, reference = found.groups()
        if kind == "manifests":
            return self._manifest(seen, repository, reference)
        if kind == "blobs":
            return self._blob(seen, repository, reference)
        if kind == "tags":
            return self._tags(seen, repository)
        if self.referrers is None:
            return missing("NOT_FOUND")
        body = json.dumps({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json",
                           "manifests": self.referrers.get(reference, [])}).encode()
        return Answer(body=body, headers={"Content-Type": "application/vnd.oci.image.index.v1+json"})

    def _manifest(self, seen, repository, reference):
        image = (self.manifests.get(repository, {}).get(reference) if ":" in reference
                 else self.tags.get(repository, {}).get(reference))
        if image is None:
            return missing("MANIFEST_UNKNOWN")
        headers = {"Content-Type": image.media_type, "Docker-Content-Digest": image.digest,
                   "ETag": f'"{image.digest}"'}
        if seen["If-None-Match"] == headers["ETag"]:
            return Answer(304, headers)
        return Answer(body=image.manifest, headers=headers)

    def _blob(self, seen, repository, digest):
        data = self.blobs.get(repository, {}).get(digest)
        if data is None:
            return missing("BLOB_UNKNOWN")
        headers = {"Content-Type": "application/octet-stream", "Docker-Content-Digest": digest,
                   "Accept-Ranges": "bytes"}
        if seen.range_from:
            first = seen.range_from
            if first >= len(data):
                return Answer(416, {"Content-Range": f"bytes */{len(data)}"})
            return Answer(206, {**headers, "Content-Range": f"bytes {first}-{len(data) - 1}/{len(data)}"},
                          data[first:])
        return Answer(body=data, headers=headers)

    def _tags(self, seen, repository):
        if repository not in self.tags:
            return missing("NAME_UNKNOWN")
        names = sorted(self.tags[repository])
        last, count = seen.query.get("last", ""), int(seen.query.get("n", "1000"))
        rest = [n for n in names if n > last]
        headers = {"Content-Type": "application/json"}
        if len(rest) > count:
            headers["Link"] = f'</v2/{repository}/tags/list?n={count}&last={rest[count - 1]}>; rel="next"'
        return Answer(body=json.dumps({"name": repository, "tags": rest[:count]}).encode(), headers=headers)


def missing(code):
    return Answer(404, {"Content-Type": "application/json"},
                  json.dumps({"errors": [{"code": code, "message": "not here", "detail": None}]}).encode())


def redirect(place, status=307):
    return Answer(status, {"Location": place})


def challenge(realm, service="upstream", scope=None, scheme="Bearer"):
    parts = [f'realm="{realm}"'] + ([f'service="{service}"']
                                    if service else []) + ([f'scope="{scope}"'] if scope else [])
    return Answer(401, {"WWW-Authenticate": f"{scheme} {','.join(parts)}",
                        "Content-Type": "application/json"},
                  b'{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}')


def text(body, status=200, content_type="application/json", **headers):
    return Answer(status, {"Content-Type": content_type, **headers}, body
                  if isinstance(body, bytes) else body.encode())


class BlackHole:
    """Listens and never accepts: once its backlog is full, a connection is neither made nor refused."""

    def __init__(self):
        self.listener = socket.socket()
        self.listener.bind(("127.0.0.1", 0))
        self.listener.listen(0)
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        self.filled = []
        for _ in range(4):
            s = socket.socket()
            s.setblocking(False)
            s.connect_ex(self.listener.getsockname())
            self.filled.append(s)

    def close(self):
        for s in [*self.filled, self.listener]:
            s.close()
