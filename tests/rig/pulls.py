# SPDX-License-Identifier: Apache-2.0
"""Pulls as the engines do them, while something happens to who answers.

What is tried again, and what is not, is Go's net/http and the engines above it: a request on a kept connection that ends
before a byte of its answer is sent again on a new one; a body that breaks off is gone on with from where it broke (docker,
containerd); whatever else goes wrong is a pull that failed, which only somebody above (the kubelet) begins anew.
"""
import http.client
import threading

from rig import wire
from rig.process import wait_for

GONE = (ConnectionError, http.client.BadStatusLine, http.client.CannotSendRequest)
RESUMES = 5


class Failed(Exception):
    pass


class Wrong(AssertionError):
    """Bytes or answers that must never be: no trying again makes up for it."""


class Session:
    """One engine during one pull: a connection that is kept as long as it works."""

    def __init__(self, address):
        self.address, self.connection = address, None

    def connect(self):
        return wire.Connection(self.address, timeout=60)

    def request(self, method, path, headers=None):
        kept = self.connection is not None
        try:
            self.connection = self.connection or self.connect()
            return self.connection.request(method, path, headers)
        except (OSError, http.client.HTTPException) as e:
            self.close()
            if kept and isinstance(e, GONE):
                return self.request(method, path, headers)
            raise Failed(f"{method} {path}: {type(e).__name__}: {e}") from None

    def blob(self, path, digest):
        have = b""
        for _ in range(RESUMES + 1):
            reply = self.request("GET", path, {"Range": f"bytes={len(have)}-"} if have else {})
            if reply.status not in (200, 206):
                raise Failed(f"{path}: {reply.status} {reply.body[:300]}")
            have = have + reply.body if reply.status == 206 else reply.body
            if not reply.broken:
                if wire.sha256(have) != digest:
                    raise Wrong(f"{path}: whole, and has other bytes")
                return
            self.close()
        raise Failed(f"{path}: broke off again and again")

    def pull(self, name, reference):
        """The digest of what was pulled: its manifest, then all that it lists."""
        path = f"/v2/{name}/manifests/"
        accept = {"Accept": wire.MANIFEST_TYPES}
        head = self.request("HEAD", path + reference, accept)
        if head.status != 200:
            raise Failed(f"HEAD {path}{reference}: {head.status}")
        digest = head["Docker-Content-Digest"]
        manifest = self.request("GET", path + digest, accept)
        if manifest.status != 200 or manifest.broken:
            raise Failed(f"{path}{digest}: {manifest.status} {manifest.broken} {manifest.body[:300]}")
        if manifest.digest != digest:
            raise Wrong(f"{path}{digest}: another manifest")
        for part in [manifest.json["config"], *manifest.json["layers"]]:
            self.blob(f"/v2/{name}/blobs/{part['digest']}", part["digest"])
        return digest

    def close(self):
        if self.connection:
            self.connection.close()
        self.connection = None

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()


def pull(address, name, reference):
    with Session(address) as s:
        return s.pull(name, reference)


class Load:
    """work(n) again and again on several threads, n counting up, as long as the `with` lasts. What it raises is kept:
    Failed in .failed, everything else is raised at the end. begun(): how many began so far; failed_from(that): those
    that failed of what began later."""

    def __init__(self, work, threads=4):
        self.work, self.done, self.failed, self.wrong = work, 0, [], []
        self._failed, self._count, self._stop, self._lock = [], 0, threading.Event(), threading.Lock()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(threads)]

    def _run(self):
        while not self._stop.is_set():
            with self._lock:
                n, self._count = self._count, self._count + 1
            try:
                self.work(n)
            except Failed as e:
                self.failed.append(str(e))
                self._failed.append((n, str(e)))
            except Exception as e:  # pylint: disable=broad-except
                self.wrong.append(e)
                return
            else:
                with self._lock:
                    self.done += 1

    def more(self, count):
        """Waits until so many more are done: what was changed has been met by that many."""
        wanted = self.done + count
        wait_for(lambda: self.done >= wanted or self.wrong, 120, f"{count} more pulls", step=0.05)

    def begun(self):
        with self._lock:
            return self._count

    def failed_from(self, begun):
        return [text for n, text in self._failed if n >= begun]

    def __enter__(self):
        for t in self._threads:
            t.start()
        return self

    def __exit__(self, *exc):
        self._stop.set()
        for t in self._threads:
            t.join(120)
        if self.wrong and not exc[0]:
            raise self.wrong[0]
