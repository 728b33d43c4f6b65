#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Plays actions (day_mix.py) against replicas, as fast as they go: standard input has
{"addresses": [...], "actions": [[kind, image, replica, number], ...]}, standard output what came of it. `play` is for everybody
else: it starts several of these at once."""
import hashlib
import json
import os
import socket
import subprocess
import sys

ACCEPT = ("Accept: application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json, "
          "application/vnd.oci.image.index.v1+json, application/vnd.docker.distribution.manifest.list.v2+json\r\n")
PROCESSES = 4


class Client:
    """An engine for the length of an action: one connection."""

    def __init__(self, address):
        host, port = address.rsplit(":", 1)
        self.host = address
        self.socket = socket.create_connection((host, int(port)), 60)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.data, self.requests, self.bytes = b"", 0, 0

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.socket.close()

    def _more(self):
        piece = self.socket.recv(262144)
        if not piece:
            raise RuntimeError("the connection ended early")
        self.data += piece

    def ask(self, method, path, body=b""):
        length = f"Content-Length: {len(body)}\r\n" if body else ""
        self.socket.sendall(f"{method} {path} HTTP/1.1\r\nHost: {self.host}\r\n{ACCEPT}{length}\r\n".encode() + body)
        while (end := self.data.find(b"\r\n\r\n")) < 0:
            self._more()
        lines = self.data[:end].decode("latin-1").split("\r\n")
        headers = {n.lower(): v.strip() for n, _, v in (line.partition(":") for line in lines[1:])}
        status, self.data = int(lines[0].split()[1]), self.data[end + 4:]
        size = 0 if method == "HEAD" else int(headers.get("content-length", "0"))
        while len(self.data) < size:
            self._more()
        answer, self.data = self.data[:size], self.data[size:]
        self.requests += 1
        self.bytes += size
        if status != 200:
            raise RuntimeError(f"{method} {path}: {status} {answer[:300]}")
        return headers, answer

    def check(self, name, tag):
        return self.ask("HEAD", f"/v2/{name}/manifests/{tag}")[0]["docker-content-digest"]

    def pull(self, name, tag):
        digest = self.check(name, tag)
        parts, manifest = [digest], self.ask("GET", f"/v2/{name}/manifests/{digest}")[1]
        bodies = [manifest]
        document = json.loads(manifest)
        for part in [document["config"], *document["layers"]]:
            parts.append(part["digest"])
            bodies.append(self.ask("GET", f"/v2/{name}/blobs/{part['digest']}")[1])
        for part, body in zip(parts, bodies):
            if "sha256:" + hashlib.sha256(body).hexdigest() != part:
                raise RuntimeError(f"{name}:{tag}: {part} has other bytes")
        return digest


def act(addresses, kind, image, replica, number):
    """(requests, bytes)"""
    name, tag = "library/app", f"i{image}"
    with Client(addresses[replica]) as c:
        if kind == "check":
            c.check(name, tag)
        elif kind == "pull":
            c.pull(name, tag)
        else:
            wish = json.dumps({"containerImage": f"{name}:{tag}", "containerConfig": {"env": [f"TASK={number}"]}}).encode()
            reply = json.loads(c.ask("POST", "/container-token", wish)[1])
            made, rest = c, reply["targetImage"].partition("/wt/")[2]
            with Client(addresses[(replica + 1) % len(addresses)]) as c:  # another one serves it
                name, _, tag = rest.rpartition(":")
                if c.pull("wt/" + name, tag) != reply["targetDigest"]:
                    raise RuntimeError(f"{rest}: not what was announced")
                return c.requests + made.requests, c.bytes + made.bytes
        return c.requests, c.bytes


def play(addresses, actions, processes=PROCESSES):
    """Sum of requests and bytes; a wrong answer, or none, ends it."""
    numbered = [[*a, n] for n, a in enumerate(actions)]
    players = []
    for k in range(processes):
        p = subprocess.Popen([sys.executable, os.path.abspath(__file__)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE, text=True)
        players.append((p, json.dumps({"addresses": addresses, "actions": numbered[k::processes]})))
    for p, text in players:
        p.stdin.write(text)
        p.stdin.close()
        p.stdin = None
    sums, wrong = {"requests": 0, "bytes": 0}, []
    for p, _ in players:
        out, err = p.communicate()
        if p.returncode != 0:
            wrong.append(err.strip()[-1000:])
            continue
        for key, value in json.loads(out).items():
            sums[key] += value
    if wrong:
        raise RuntimeError(wrong[0])
    return sums


def main():
    work = json.load(sys.stdin)
    requests, size = 0, 0
    for action in work["actions"]:
        one = act(work["addresses"], *action)
        requests, size = requests + one[0], size + one[1]
    print(json.dumps({"requests": requests, "bytes": size}))


if __name__ == "__main__":
    main()
