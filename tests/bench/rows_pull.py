# SPDX-License-Identifier: Apache-2.0
"""What is not there yet: one client and many, slow ones among them; images that must be rewritten; what is only passed on."""
import http.client
import json
import time
import urllib.request

import measure
from bench import BYTES, CACHE, DIRECT, OURS, PLAIN, REGISTRY, REQUESTS, Table, connections
from content import INDEX_TYPE, MANIFEST_TYPE, MIB, REPOSITORY, blob_path, manifest_path
from servers import fetch

COLD = [("MB/s", "mb_per_second", "{:,.0f}"), ("first byte ms", "first_byte_ms", "{:.1f}"),
        ("seconds", "seconds", "{:.3f}"), ("CPU s per GB", "cpu_per_gb", "{:.3f}"),
        ("upstream bytes", "upstream_times", "{:.2f}×")]
LIMITS = [("no limits", 0, 0), ("50 ms and 40 MB/s", 50, 40000000)]


def counted(up):
    with urllib.request.urlopen(up.url("/count")) as answer:
        return json.load(answer)


def _with_upstream(up, size, run):
    """upstream_times: bytes that the upstream sent for each byte of what was pulled."""
    before = counted(up)
    result = run()
    # An answer counts at its end, which the upstream sees a moment after its reader.
    end = time.monotonic() + 2
    while (after := counted(up))["bytes"] - before["bytes"] < size and time.monotonic() < end:
        time.sleep(0.005)
    result["upstream_times"] = (after["bytes"] - before["bytes"]) / size
    result["upstream_requests"] = after["requests"] - before["requests"]
    return result


def cold(bench):
    """A blob that nobody has yet; each round has one of its own."""
    tables = []
    for what, latency, rate in LIMITS:
        for size in (1 * MIB, 64 * MIB):
            digest, layers = bench.content.image("cold", [size] * bench.count)
            up = bench.servers.upstream(bench.content.folder, latency, rate)
            peers = {OURS: bench.servers.rac(up, bench.injection),
                     CACHE: bench.servers.nginx(upstream=up, name="nginx cache"),
                     REGISTRY: bench.servers.registry(up), DIRECT: up}
            left = {name: list(layers) for name in peers}
            for server in peers.values():
                bench.check(server, manifest_path(digest), digest)
                fetch(server.url(manifest_path("cold")))

            def one(name):
                return _with_upstream(up, size, lambda: measure.download(peers[name], blob_path(left[name].pop()), size))

            title = f"Cold blob of {size // MIB} MiB, one connection, upstream with {what}"
            tables.append(Table(title, bench.rounds(title, {n: (lambda n=n: one(n)) for n in peers}), COLD,
                                [DIRECT, CACHE, REGISTRY]))
            for blob in layers:
                bench.check(peers[OURS], blob_path(blob), blob)
            bench.stop(*peers.values())
    return tables


def readers(bench):
    """1, 10 and 100 clients that want the same at once: a blob, and an image of four layers."""
    figures = [("seconds", "wall_seconds", "{:.3f}"), ("CPU s", "cpu_seconds", "{:.2f}"),
               ("upstream requests", "upstream_requests", "{:.0f}"), ("upstream bytes", "upstream_times", "{:.2f}×")]
    tables, count = [], 1 if bench.quick else 3
    for n in (1, 100) if bench.quick else (1, 10, 100):
        up = bench.servers.upstream(bench.content.folder)
        peers = {OURS: bench.servers.rac(up, bench.injection),
                 CACHE: bench.servers.nginx(upstream=up, name="nginx cache"), REGISTRY: bench.servers.registry(up)}
        blob, image = 16 * MIB, 4 * MIB
        for what in ("blob of 16 MiB", "image of four layers of 4 MiB"):
            left = {}
            for name, server in peers.items():
                left[name] = []
                for i in range(count):
                    tag = f"many-{n}-{name.replace(' ', '-')}-{what[0]}-{i}"
                    digest, layers = bench.content.image(tag, [blob] if what[0] == "b" else [image] * 4)
                    left[name].append((tag, digest, layers))
                    if what[0] == "b":  # the manifest is known, the blob is not
                        fetch(server.url(manifest_path(tag)))

            def one(name):
                tag, digest, layers = left[name].pop()
                server, size = peers[name], len(layers) * (blob if what[0] == "b" else image)
                paths = [blob_path(d) for d in layers]
                if what[0] == "i":
                    with open(f"{bench.content.folder}/manifests/{digest}", "rb") as f:
                        document = json.load(f)
                    paths = [manifest_path(tag), manifest_path(digest), blob_path(document["config"]["digest"]), *paths]
                listed = bench.path_list("paths", paths)
                result = _with_upstream(up, size, lambda: measure.once(bench.load, server, listed, n))
                result["wall_seconds"] = result["seconds"]
                return result

            title = f"Cold {what}, {n} client{'' if n == 1 else 's'} at once"
            tables.append(Table(title, bench.rounds(title, {k: (lambda k=k: one(k)) for k in peers}, count), figures,
                                [CACHE, REGISTRY]))
        bench.stop(*peers.values(), up)
    return tables


def slow_and_fast(bench):
    """A reader of 1 MB/s and a fast one of the same cold blob; the fast one alone."""
    tables, size = [], 64 * MIB
    for what, latency, rate in LIMITS:
        up = bench.servers.upstream(bench.content.folder, latency, rate)
        peers = {OURS: bench.servers.rac(up, bench.injection),
                 CACHE: bench.servers.nginx(upstream=up, name="nginx cache"), REGISTRY: bench.servers.registry(up)}
        count = 1 if bench.quick else 3
        left = {}
        for name, server in peers.items():
            digest, left[name] = bench.content.image(f"slow-{name.replace(' ', '-')}", [size] * (2 * count))
            fetch(server.url(manifest_path(f"slow-{name.replace(' ', '-')}")))

        def one(name):
            alone = measure.download(peers[name], blob_path(left[name].pop()), size)
            path = blob_path(left[name].pop())
            held = measure.Held(bench.hold, peers[name], path, 1, 1000000)
            beside = measure.download(peers[name], path, size)
            held.close()
            return {"alone": alone["seconds"], "beside": beside["seconds"],
                    "times": beside["seconds"] / alone["seconds"]}

        title = f"A fast reader beside one of 1 MB/s, cold blob of 64 MiB, upstream with {what}"
        tables.append(Table(title, bench.rounds(title, {k: (lambda k=k: one(k)) for k in peers}, count),
                            [("seconds alone", "alone", "{:.3f}"), ("seconds beside it", "beside", "{:.3f}"),
                             ("beside / alone", "times", "{:.2f}")]))
        bench.stop(*peers.values(), up)
    return tables


# ---- the first pull ----

class Client:
    """Pulls by one connection, as a client does: index, manifest, config, layers, each after the other."""

    def __init__(self, server):
        host, port = server.address.rsplit(":", 1)
        self.connection = http.client.HTTPConnection(host, int(port), timeout=60)

    def get(self, path):
        self.connection.request("GET", path, headers={"Accept": f"{INDEX_TYPE}, {MANIFEST_TYPE}"})
        answer = self.connection.getresponse()
        body = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{path}: {answer.status} {body[:300]}")
        return body

    def pull(self, tag):
        """Milliseconds: until the tag is answered, and until all is there."""
        begin = time.monotonic()
        document = json.loads(self.get(manifest_path(tag)))
        first = time.monotonic()
        if "manifests" in document:
            document = json.loads(self.get(manifest_path(document["manifests"][0]["digest"])))
        for digest in (document["config"]["digest"], *[layer["digest"] for layer in document["layers"]]):
            self.get(blob_path(digest))
        return {"tag_ms": (first - begin) * 1e3, "total_ms": (time.monotonic() - begin) * 1e3}


def first_pull(bench):
    """An image of 1, 10, 100 platforms that nobody pulled before: rewritten, and as it is."""
    tables = []
    for what, latency in (("no latency", 0), ("50 ms", 50)):
        for platforms in (1, 100) if bench.quick else (1, 10, 100):
            up = bench.servers.upstream(bench.content.folder, latency)
            peers = {OURS: bench.servers.rac(up, bench.injection),
                     PLAIN: bench.servers.rac(up, name="rac-proxy plain"), REGISTRY: bench.servers.registry(up)}
            for server in peers.values():  # connections are there, and the injected layer is read
                Client(server).pull("latest-small")
            clients = {name: Client(server) for name, server in peers.items()}
            tags = {name: [] for name in peers}
            for name in peers:
                for i in range(bench.count):
                    tag = f"first-{latency}-{platforms}-{name.replace(' ', '-').replace(',', '')}-{i}"
                    bench.content.index(tag, platforms, 4096)
                    tags[name].append(tag)
            title = f"First pull of an image of {platforms} platform{'' if platforms == 1 else 's'}, upstream with {what}"
            samples = bench.rounds(title, {
                name: (lambda name=name: clients[name].pull(tags[name].pop())) for name in peers})
            for r in samples.rounds:
                r[OURS]["added_ms"] = r[OURS]["total_ms"] - r[PLAIN]["total_ms"]
                r[PLAIN]["added_ms"] = 0
                r[REGISTRY]["added_ms"] = r[REGISTRY]["total_ms"] - r[PLAIN]["total_ms"]
            tables.append(Table(title, samples, [
                ("ms to the tag's answer", "tag_ms", "{:.1f}"), ("ms in all", "total_ms", "{:.1f}"),
                ("ms more than without injection", "added_ms", "{:.1f}")], [PLAIN, REGISTRY]))
            bench.stop(*peers.values(), up)
    return tables


def small(bench):
    """Small answers that are never kept: a list of tags. rac-proxy asks once for all who ask at the same moment."""
    up = bench.servers.upstream(bench.content.folder)
    peers = {OURS: bench.servers.rac(up, bench.injection),
             "nginx proxy_pass": bench.servers.nginx(upstream=up, name="nginx pass", cache=False)}
    path, tables = f"/v2/{REPOSITORY}/tags/list", []
    for n in (32,) if bench.quick else (1, 32):
        title = f"A list of tags, which nobody keeps, {connections(n)}"
        tables.append(Table(title, bench.rounds(title, {
            name: (lambda s=s: measure.requests_get(s, path, n, bench.seconds)) for name, s in peers.items()}), REQUESTS,
            ["nginx proxy_pass"]))
    bench.stop(*peers.values(), up)
    return tables
