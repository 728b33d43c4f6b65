# SPDX-License-Identifier: Apache-2.0
"""What all rows share: the content, the injection, who is compared, and what a table is."""
import hashlib
import os
import subprocess

import measure
from content import MIB, Content, blob_path, manifest_path
from servers import fetch

OURS, NGINX, CACHE, REGISTRY, DIRECT = "rac-proxy", "nginx", "nginx proxy_cache", "docker-registry", "direct"
PLAIN, QUIET = "rac-proxy, no injection", "rac-proxy, no access log"
GIB = 1 << 30

REQUESTS = [("req/s", "per_second", "{:,.0f}"), ("p50 µs", "p50_us", "{:,.0f}"), ("p99 µs", "p99_us", "{:,.0f}"),
            ("p99.9 µs", "p999_us", "{:,.0f}"), ("CPU s per 100,000", "cpu_per_100k", "{:.2f}")]
BYTES = [("MB/s", "mb_per_second", "{:,.0f}"), ("CPU s per GB", "cpu_per_gb", "{:.3f}")]
# Those of which the tables show ours to theirs; of CPU time, seconds and memory less is better.
COMPARED = ("per_second", "mb_per_second", "cpu_per_100k", "cpu_per_gb", "after_mib", "total_ms", "wall_seconds")


class Table:
    """figures: [(title, key, format)]; against: whom `ours` is divided by; note: what stands below it."""

    def __init__(self, title, samples, figures, against=(), ours=OURS, note=""):
        self.title, self.samples, self.figures, self.against = title, samples, figures, against
        self.ours, self.note = ours, note


class Bench:
    def __init__(self, servers, folder, quick, count, say):
        self.servers, self.folder, self.quick, self.say = servers, folder, quick, say
        self.seconds = 1
        self.set_rounds(count)
        self.content = Content(os.path.join(folder, "content"))
        say("making the content")
        sizes = [4096, MIB, 64 * MIB] + ([] if quick else [GIB])
        self.digest, self.layers = self.content.image("latest", sizes)
        self.content.image("latest-small", [4096])
        self.sizes = dict(zip(self.layers, sizes))
        self.injection = self._pack()
        self.load, self.hold = servers.binary("bench_load"), servers.binary("bench_hold")

    def set_rounds(self, count):
        self.count = count
        self.few = max(1, count * 3 // 5)  # rounds of what is there to show how a figure grows

    def _pack(self):
        tree, out = os.path.join(self.folder, "tree"), os.path.join(self.folder, "layer")
        os.makedirs(os.path.join(tree, ".rac"))
        with open(os.path.join(tree, ".rac", "hello.txt"), "w", encoding="ascii") as f:
            f.write("Hello injected world!\n")
        subprocess.run([self.servers.binary("rac-layer"), "pack", tree, "-o", out], check=True,
                       stdout=subprocess.DEVNULL)
        return os.path.join(out, "layer.json")

    def rounds(self, row, contestants, count=0):
        return measure.rounds(count or self.count, contestants, lambda what: self.say(f"{row}: {what}"))

    def check(self, server, path, digest=None):
        """Also warms it up. What is served must be what is named: a fast wrong answer is no figure."""
        for _ in range(2):
            body, headers = fetch(server.url(path))
            wanted = digest or headers["Docker-Content-Digest"]
            if "sha256:" + hashlib.sha256(body).hexdigest() != wanted:
                raise RuntimeError(f"{server.name}: {path} is not {wanted}")
        return wanted

    def warm(self, server, layers=()):
        """The image, as far as a row needs it."""
        fetch(server.url(manifest_path("latest")))
        for digest in layers:
            self.check(server, blob_path(digest), digest)

    def stop(self, *servers):
        for server in servers:
            self.servers.stop(server)

    def path_list(self, name, paths):
        """For bench_load."""
        path = os.path.join(self.folder, name)
        with open(path, "w", encoding="ascii") as f:
            f.writelines(p + "\n" for p in paths)
        return "@" + path


def connections(n):
    return f"{n:,} connection{'' if n == 1 else 's'}"


def size_name(size):
    return f"{size // GIB} GiB" if size >= GIB else f"{size // MIB} MiB" if size >= MIB else f"{size >> 10} KiB"
