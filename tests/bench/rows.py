# SPDX-License-Identifier: Apache-2.0
"""The rows: each starts what it compares, checks that all of them serve the same bytes, measures, returns tables."""
import hashlib
import os
import subprocess

import measure
from content import MIB, Content, blob_path, manifest_path
from servers import fetch

OURS = "rac-proxy"
PLAIN, QUIET = "rac-proxy, no injection", "rac-proxy, no access log"


class Table:
    """figures: [(title, key, format)]; against: whom `OURS` is divided by."""

    def __init__(self, title, samples, figures, against, ours=OURS):
        self.title, self.samples, self.figures, self.against, self.ours = title, samples, figures, against, ours


REQUESTS = [("req/s", "per_second", "{:,.0f}"), ("p50 µs", "p50_us", "{:,.0f}"), ("p99 µs", "p99_us", "{:,.0f}"),
            ("CPU s per 100,000", "cpu_per_100k", "{:.2f}")]
BYTES = [("MB/s", "mb_per_second", "{:,.0f}"), ("CPU s per GB", "cpu_per_gb", "{:.3f}")]
# Those of which the tables show ours to theirs; of CPU time and memory less is better.
COMPARED = ("per_second", "mb_per_second", "cpu_per_100k", "cpu_per_gb", "after_mib")
COLD = [("MB/s", "mb_per_second", "{:,.0f}"), ("first byte ms", "first_byte_ms", "{:.1f}"),
        ("seconds", "seconds", "{:.3f}"), ("CPU s per GB", "cpu_per_gb", "{:.3f}")]


class Bench:
    def __init__(self, servers, folder, quick, say):
        self.servers, self.folder, self.quick, self.say = servers, folder, quick, say
        self.count = 5
        self.seconds = 1 if quick else 2
        self.content = Content(os.path.join(folder, "content"))
        say("making the content")
        self.digest, self.layers = self.content.image("latest", [4096, MIB, 64 * MIB])
        self.injection = self._pack()
        self.load = servers.binary("bench_load")

    def _pack(self):
        tree, out = os.path.join(self.folder, "tree"), os.path.join(self.folder, "layer")
        os.makedirs(os.path.join(tree, ".rac"))
        with open(os.path.join(tree, ".rac", "hello.txt"), "w", encoding="ascii") as f:
            f.write("Hello injected world!\n")
        subprocess.run([self.servers.binary("rac-layer"), "pack", tree, "-o", out], check=True,
                       stdout=subprocess.DEVNULL)
        return os.path.join(out, "layer.json")

    def rounds(self, row, contestants):
        return measure.rounds(self.count, contestants, lambda what: self.say(f"{row}: {what}"))

    def check(self, server, path, digest=None):
        """Also warms it up. What is served must be what is named: a fast wrong answer is no figure."""
        for _ in range(2):
            body, headers = fetch(server.url(path))
            wanted = digest or headers["Docker-Content-Digest"]
            if "sha256:" + hashlib.sha256(body).hexdigest() != wanted:
                raise RuntimeError(f"{server.name}: {path} is not {wanted}")
        return wanted

    # ---- rows ----

    def upstream(self):
        """What everything below hangs on, alone."""
        up = self.servers.upstream(self.content.folder)
        self.check(up, manifest_path("latest"), self.digest)
        size = 64 * MIB
        small = self.rounds("upstream", {"upstream": lambda: measure.requests_get(
            up, manifest_path("latest"), 32, self.seconds)})
        large = self.rounds("upstream", {"upstream": lambda: measure.download(
            up, blob_path(self.layers[2]), size, 4 if self.quick else 10)})
        self.servers.stop(up)
        return [Table("The upstream alone: manifest, 32 connections", small, REQUESTS, []),
                Table("The upstream alone: 64 MiB, one connection", large, BYTES, [])]

    def manifests(self):
        """Warm manifests, by tag and by digest, GET and HEAD, rewritten and plain."""
        start, up = self.servers, self.servers.upstream(self.content.folder)
        peers = {OURS: start.rac(up, self.injection), PLAIN: start.rac(up, name="rac-proxy plain"),
                 "nginx": start.nginx(self.content.www), "docker-registry": start.registry(up)}
        quiet = {QUIET: start.rac(up, self.injection, log=False, name="rac-proxy quiet"),
                 "nginx, no access log": start.nginx(self.content.www, log=False, name="nginx quiet")}
        for name, server in {**peers, **quiet}.items():
            self.check(server, manifest_path(self.digest), self.digest)
            self.check(server, manifest_path("latest"), None if name in (OURS, QUIET) else self.digest)
        # By digest: what is announced by tag, which is what clients ask for next.
        announced = {name: manifest_path(fetch(s.url(manifest_path("latest")))[1].get(
            "Docker-Content-Digest", self.digest)) for name, s in {**peers, **quiet}.items()}
        for name, server in {**peers, **quiet}.items():
            self.check(server, announced[name], announced[name].rpartition("/")[2])
        bare = {"bare HTTP server": start.bare()}
        announced["bare HTTP server"] = "/"
        tables = []
        for what, path in (("by tag", None), ("by digest", announced)):
            for method in ("GET", "HEAD"):
                tables += self._manifest_tables({**peers, **bare}, quiet, what, path, method, 32)
        for connections in () if self.quick else (1, 256):
            tables += self._manifest_tables(peers, quiet, "by tag", None, "GET", connections)
        for server in [*peers.values(), *quiet.values(), *bare.values(), up]:
            self.servers.stop(server)
        return tables

    def _manifest_tables(self, peers, quiet, what, paths, method, connections):
        def one(name, server):
            path = paths[name] if paths else manifest_path("latest")
            if method == "GET":
                return measure.requests_get(server, path, connections, self.seconds)
            return measure.requests_load(self.load, server, path, connections, self.seconds, method)

        def all_of(servers):
            return {name: (lambda name=name, server=server: one(name, server))
                    for name, server in servers.items()}

        title = f"Warm manifest {what}, {method}, {connections} connection{'' if connections == 1 else 's'}"
        tables = [Table(title, self.rounds(title, all_of(peers)), REQUESTS,
                        ["nginx", PLAIN, "bare HTTP server", "docker-registry"])]
        if connections == 32 and method == "GET":
            tables.append(Table(title + ", no access logs", self.rounds(title, all_of(quiet)), REQUESTS,
                                ["nginx, no access log"], ours=QUIET))
        return tables

    def blobs(self):
        """Warm blobs: 1 MiB to 32 readers, 64 MiB to one."""
        start, up = self.servers, self.servers.upstream(self.content.folder)
        peers = {OURS: start.rac(up, self.injection), "nginx": start.nginx(self.content.www),
                 "nginx proxy_cache": start.nginx(upstream=up, name="nginx cache"),
                 "docker-registry": start.registry(up)}
        against = ["nginx", "nginx proxy_cache", "docker-registry"]
        for server in peers.values():
            fetch(server.url(manifest_path("latest")))
            for digest in self.layers[1:]:
                self.check(server, blob_path(digest), digest)
        tables = []
        title = "Warm blob of 1 MiB, 32 connections"
        tables.append(Table(title, self.rounds(title, {
            name: (lambda s=s: measure.requests_load(self.load, s, blob_path(self.layers[1]), 32, self.seconds))
            for name, s in peers.items()}), BYTES, against))
        title = "Warm blob of 64 MiB, one connection"
        tables.append(Table(title, self.rounds(title, {
            name: (lambda s=s: measure.download(s, blob_path(self.layers[2]), 64 * MIB, 4 if self.quick else 10))
            for name, s in peers.items()}), BYTES, against))
        for server in [*peers.values(), up]:
            self.servers.stop(server)
        return tables

    def cold(self):
        """A blob of 64 MiB that nobody has yet; each round has one of its own."""
        tables = []
        settings = [("no limits", 0, 0)] + ([] if self.quick else [("50 ms and 40 MB/s", 50, 40000000)])
        for what, latency, rate in settings:
            digest, layers = self.content.image("cold", [64 * MIB] * self.count)
            up = self.servers.upstream(self.content.folder, latency, rate)
            peers = {OURS: self.servers.rac(up, self.injection),
                     "nginx proxy_cache": self.servers.nginx(upstream=up, name="nginx cache"),
                     "docker-registry": self.servers.registry(up), "direct": up}
            left = {name: list(layers) for name in peers}
            for server in peers.values():
                self.check(server, manifest_path(digest), digest)
                fetch(server.url(manifest_path("cold")))

            def one(name):
                return measure.download(peers[name], blob_path(left[name].pop()), 64 * MIB)

            title = f"Cold blob of 64 MiB, one connection, upstream with {what}"
            tables.append(Table(title, self.rounds(title, {n: (lambda n=n: one(n)) for n in peers}), COLD,
                                ["direct", "nginx proxy_cache", "docker-registry"]))
            for name in (OURS,):
                for blob in layers:
                    self.check(peers[name], blob_path(blob), blob)
            for server in peers.values():
                self.servers.stop(server)
        return tables

    def memory(self):
        """Resident memory: just started, and after a load of manifests and blobs."""
        def one(begin):
            up = self.servers.upstream(self.content.folder)
            server = begin(up)
            idle = server.memory_bytes()
            self.check(server, manifest_path("latest"))
            self.check(server, blob_path(self.layers[2]), self.layers[2])
            self.check(server, blob_path(self.layers[1]), self.layers[1])
            measure.requests_get(server, manifest_path("latest"), 32, self.seconds)
            measure.requests_load(self.load, server, blob_path(self.layers[1]), 32, self.seconds)
            after = server.memory_bytes()
            self.servers.stop(server)
            self.servers.stop(up)
            return {"idle_mib": idle / MIB, "after_mib": after / MIB}

        figures = [("idle MiB", "idle_mib", "{:.1f}"), ("after load MiB", "after_mib", "{:.1f}")]
        samples = self.rounds("memory", {
            OURS: lambda: one(lambda up: self.servers.rac(up, self.injection)),
            "nginx proxy_cache": lambda: one(lambda up: self.servers.nginx(upstream=up, name="nginx cache")),
            "docker-registry": lambda: one(self.servers.registry)})
        return [Table("Resident memory", samples, figures, ["nginx proxy_cache", "docker-registry"])]


ROWS = ("upstream", "manifests", "blobs", "cold", "memory")
