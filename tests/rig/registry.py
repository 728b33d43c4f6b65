# SPDX-License-Identifier: Apache-2.0
"""Debian's docker-registry as an upstream, and a pusher that puts images there byte for byte."""
import base64
import collections
import ctypes
import os
import re
import urllib.parse

import yaml

from rig.process import Daemon
from rig.wire import Connection


def bcrypt(password, cost=4):
    """The one kind of password hash that the registry takes, from the C library (Python's crypt module is going away)."""
    libcrypt = ctypes.CDLL("libcrypt.so.1")
    libcrypt.crypt.restype = ctypes.c_char_p
    return libcrypt.crypt(password.encode(), b"$2b$%02d$" % cost + b"rigrigrigrigrigrigrigu").decode()


class Registry:
    def __init__(self, scratch, name="registry", tokens=None, basic=None):
        """tokens: a TokenServer that guards it; basic: (user, password)."""
        self.tokens, self.basic = tokens, basic
        folder = scratch.folder(name + "-files")
        config = {"version": "0.1", "log": {"level": "info", "formatter": "text",
                                            "accesslog": {"disabled": False}},
                  "storage": {"filesystem": {"rootdirectory": os.path.join(folder, "data")},
                              "delete": {"enabled": True}},
                  "http": {"addr": "127.0.0.1:0"},
                  "validation": {"manifests": {"urls": {"allow": [".*"]}}}}
        if tokens:
            config["auth"] = {"token": {"realm": tokens.realm, "service": "rac-registry",
                                        "issuer": "rac-test",
                                        "rootcertbundle": tokens.bundle}}
        if basic:
            path = os.path.join(folder, "htpasswd")
            with open(path, "w", encoding="ascii") as f:
                f.write(f"{basic[0]}:{bcrypt(basic[1])}\n")
            config["auth"] = {"htpasswd": {"realm": "rac-registry", "path": path}}
        path = os.path.join(folder, "config.yml")
        with open(path, "w", encoding="utf-8") as f:
            yaml.safe_dump(config, f)
        self.daemon = Daemon(scratch, name, ["docker-registry", "serve", path],
                             env={"OTEL_TRACES_EXPORTER": "none"})
        port = self.daemon.wait_log(lambda log: re.search(r"listening on 127\.0\.0\.1:(\d+)", log)).group(1)
        self.address = f"127.0.0.1:{port}"
        self.url = f"http://{self.address}"
        self.pushed = set()

    def _headers(self, repository):
        if self.basic:
            return {"Authorization": "Basic " + base64.b64encode(":".join(self.basic).encode()).decode()}
        if self.tokens:
            access = [{"type": "repository", "name": repository, "actions": ["pull", "push"]}]
            return {"Authorization": "Bearer " + self.tokens.sign(access)}
        return {}

    def push(self, repository, tag, image):
        headers = self._headers(repository)
        with Connection(self.address, timeout=60) as c:
            for digest, data in image.all_blobs().items():
                if (repository, digest) in self.pushed:
                    continue
                started = c.request("POST", f"/v2/{repository}/blobs/uploads/", headers, b"")
                assert started.status == 202, (started.status, started.body)
                place = urllib.parse.urlsplit(started["Location"])
                put = c.request("PUT", f"{place.path}?{place.query}&digest={digest}",
                                {**headers, "Content-Type": "application/octet-stream"}, data)
                assert put.status == 201, (put.status, put.body)
                self.pushed.add((repository, digest))
            for child in reversed(list(image.all_manifests().values())):
                self._put(c, repository, child.digest, child, headers)
            self._put(c, repository, tag, image, headers)
        return image

    @staticmethod
    def _put(c, repository, reference, image, headers):
        put = c.request("PUT", f"/v2/{repository}/manifests/{reference}",
                        {**headers, "Content-Type": image.media_type},
                        image.manifest)
        assert put.status == 201, (put.status, put.body)
        assert put["Docker-Content-Digest"] == image.digest

    def requests(self):
        """What the registry's own access log says: [(method, path, status)]."""
        return [(m.group(1), m.group(2), int(m.group(3))) for m in
                re.finditer(r'"(GET|HEAD|PUT|POST|PATCH|DELETE) (\S+) HTTP/1\.[01]" (\d{3}) ',
                            self.daemon.log())]

    def downloads(self):
        """How often each blob was sent: {digest: count}."""
        return collections.Counter(path.rsplit("/", 1)[1] for method, path, status in self.requests()
                                   if method == "GET" and "/blobs/sha256:" in path and status in (200, 206))

    def close(self):
        self.daemon.stop()
