# SPDX-License-Identifier: Apache-2.0
"""What is there already: manifests, blobs, ranges; over plaintext and TLS."""
import time
import urllib.request

import measure
from bench import (BYTES, CACHE, GIB, NGINX, OURS, PLAIN, QUIET, REGISTRY, REQUESTS, Table, connections, size_name)
from content import MIB, blob_path, manifest_path
from servers import fetch


def upstream(bench):
    """What everything hangs on, alone."""
    up = bench.servers.upstream(bench.content.folder)
    bench.check(up, manifest_path("latest"), bench.digest)
    small = bench.rounds("upstream", {"upstream": lambda: measure.requests_get(
        up, manifest_path("latest"), 32, bench.seconds)})
    large = bench.rounds("upstream", {"upstream": lambda: measure.download(
        up, blob_path(bench.layers[2]), 64 * MIB, 4 if bench.quick else 10)})
    bench.stop(up)
    return [Table("The upstream alone: manifest, 32 connections", small, REQUESTS),
            Table("The upstream alone: 64 MiB, one connection", large, BYTES)]


# ---- manifests ----

def _manifest_table(bench, title, paths, servers, method, n, against, ours=OURS, count=0):
    def one(name):
        if method == "GET":
            return measure.requests_get(servers[name], paths[name], n, bench.seconds)
        return measure.requests_load(bench.load, servers[name], paths[name], n, bench.seconds, "-m", method)

    return Table(title, bench.rounds(title, {name: (lambda name=name: one(name)) for name in servers}, count), REQUESTS,
                 [a for a in against if a in servers], ours=ours)


def manifests(bench):
    """Warm manifests, by tag and by digest, GET and HEAD, rewritten and plain."""
    start, up = bench.servers, bench.servers.upstream(bench.content.folder)
    peers = {OURS: start.rac(up, bench.injection), PLAIN: start.rac(up, name="rac-proxy plain"),
             NGINX: start.nginx(bench.content.www), REGISTRY: start.registry(up)}
    quiet = {QUIET: start.rac(up, bench.injection, log=False, name="rac-proxy quiet"),
             "nginx, no access log": start.nginx(bench.content.www, log=False, name="nginx quiet")}
    bare = {"bare HTTP server": start.bare()}
    by_tag, by_digest = {"bare HTTP server": "/"}, {"bare HTTP server": "/"}
    for name, server in {**peers, **quiet}.items():
        by_tag[name] = manifest_path("latest")
        bench.check(server, by_tag[name], None if name in (OURS, QUIET) else bench.digest)
        # By digest: what is announced by tag, which is what clients ask for next.
        announced = fetch(server.url(by_tag[name]))[1].get("Docker-Content-Digest", bench.digest)
        by_digest[name] = manifest_path(announced)
        bench.check(server, by_digest[name], announced)
    against = [NGINX, PLAIN, "bare HTTP server", REGISTRY]
    tables = []
    for what, paths in (("by tag", by_tag), ("by digest", by_digest)):
        for method in ("GET",) if bench.quick else ("GET", "HEAD"):
            title = f"Warm manifest {what}, {method}, 32 connections"
            tables.append(_manifest_table(bench, title, paths, {**peers, **bare}, method, 32, against))
        title = f"Warm manifest {what}, GET, 32 connections, no access logs"
        tables.append(_manifest_table(bench, title, paths, quiet, "GET", 32, ["nginx, no access log"], QUIET))
        for n in () if bench.quick else (1, 256):
            title = f"Warm manifest {what}, GET, {connections(n)}"
            tables.append(_manifest_table(bench, title, paths, peers, "GET", n, against, count=bench.few))
            if what == "by tag":
                title = f"Warm manifest {what}, HEAD, {connections(n)}"
                few = {k: peers[k] for k in (OURS, NGINX)}
                tables.append(_manifest_table(bench, title, paths, few, "HEAD", n, against, count=bench.few))
    bench.stop(*peers.values(), *quiet.values(), *bare.values(), up)
    return tables


# ---- blobs ----

def blobs(bench):
    """Warm blobs of 4 KiB, 1 MiB, 64 MiB, 1 GiB to 1, 8, 32 readers."""
    start, up = bench.servers, bench.servers.upstream(bench.content.folder)
    peers = {OURS: start.rac(up, bench.injection), NGINX: start.nginx(bench.content.www),
             CACHE: start.nginx(upstream=up, name="nginx cache"), REGISTRY: start.registry(up)}
    for server in peers.values():
        bench.warm(server, [d for d in bench.layers if bench.sizes[d] < GIB])
        if not bench.quick:  # hashed once: a GiB takes its time
            measure.download(server, blob_path(bench.layers[3]), GIB)
    tables = []
    for digest in bench.layers:
        size = bench.sizes[digest]
        main = 1 if size >= 64 * MIB else 32
        for n in (main,) if bench.quick else (1, 8, 32):
            everybody = n == main
            few = peers if everybody else {k: peers[k] for k in (OURS, NGINX)}
            title = f"Warm blob of {size_name(size)}, {connections(n)}"
            figures = (REQUESTS if size < MIB else []) + BYTES[:1] + (BYTES[1:] if size >= MIB else [])
            tables.append(Table(title, bench.rounds(title, {
                name: (lambda s=s: measure.requests_load(bench.load, s, blob_path(digest), n, bench.seconds))
                for name, s in few.items()}, 0 if everybody else bench.few), figures, [k for k in (NGINX, CACHE, REGISTRY) if k in few]))
    for digest in bench.layers[2:]:
        size = bench.sizes[digest]
        title = f"Warm blob of {size_name(size)} to curl, which copies it"
        tables.append(Table(title, bench.rounds(title, {
            name: (lambda s=s: measure.download(s, blob_path(digest), size, 1 if size >= GIB else 8))
            for name, s in peers.items() if name != REGISTRY or size < GIB}), BYTES,
            [k for k in (NGINX, CACHE, REGISTRY) if k != REGISTRY or size < GIB]))
    bench.stop(*peers.values(), up)
    return tables


def wait_for_ranges(server, path):
    """docker-registry answers with the whole until it has taken a blob into its store, some time after its reader had it."""
    end = time.monotonic() + 60
    while True:
        request = urllib.request.Request(server.url(path), headers={"Range": "bytes=0-0"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            if answer.status == 206:
                return
        if time.monotonic() > end:
            raise RuntimeError(f"{server.name} does not answer with a range")
        time.sleep(0.2)


def ranges(bench):
    """64 KiB anywhere in a large blob: one, and eight at a time."""
    start, up = bench.servers, bench.servers.upstream(bench.content.folder)
    digest = bench.layers[-1]
    peers = {OURS: start.rac(up, bench.injection), NGINX: start.nginx(bench.content.www), REGISTRY: start.registry(up)}
    for server in peers.values():
        bench.warm(server)
        measure.download(server, blob_path(digest), bench.sizes[digest])
        wait_for_ranges(server, blob_path(digest))
    tables = []
    for k, n in ((1, 32), (8, 32)) if bench.quick else ((1, 1), (1, 32), (8, 1), (8, 32)):
        what = "64 KiB" if k == 1 else f"{k} × 64 KiB in one request"
        title = f"Ranges: {what} of {size_name(bench.sizes[digest])}, {connections(n)}"
        tables.append(Table(title, bench.rounds(title, {
            name: (lambda s=s: measure.requests_load(bench.load, s, blob_path(digest), n, bench.seconds,
                                                     "-r", "65536", "-k", str(k)))
            for name, s in peers.items()}, 0 if n == 32 else bench.few), REQUESTS, [NGINX, REGISTRY]))
    bench.stop(*peers.values(), up)
    return tables


def tls(bench):
    """Manifests and blobs over TLS 1.3, the same certificate for all; and new connections."""
    start, up = bench.servers, bench.servers.upstream(bench.content.folder)
    peers = {OURS: start.rac(up, bench.injection, tls=True), NGINX: start.nginx(bench.content.www, tls=True),
             REGISTRY: start.registry(up, tls=True)}
    large = bench.layers[-1]
    for server in peers.values():
        bench.warm(server, bench.layers[:3])
        measure.download(server, blob_path(large), bench.sizes[large])
    tables = []
    for n in (32,) if bench.quick else (1, 32):
        title = f"TLS: warm manifest by tag, GET, {connections(n)}"
        tables.append(Table(title, bench.rounds(title, {
            name: (lambda s=s: measure.requests_get(s, manifest_path("latest"), n, bench.seconds))
            for name, s in peers.items()}), REQUESTS, [NGINX, REGISTRY]))
    for digest, n in ((bench.layers[1], 32), (bench.layers[1], 8), (bench.layers[2], 8))[:1 if bench.quick else 3]:
        title = f"TLS: warm blob of {size_name(bench.sizes[digest])}, {connections(n)}"
        tables.append(Table(title, bench.rounds(title, {
            name: (lambda s=s: measure.requests_get(s, blob_path(digest), n, bench.seconds))
            for name, s in peers.items()}), BYTES, [NGINX, REGISTRY]))
    title = f"TLS: warm blob of {size_name(bench.sizes[large])} to curl"
    tables.append(Table(title, bench.rounds(title, {
        name: (lambda s=s: measure.download(s, blob_path(large), bench.sizes[large]))
        for name, s in peers.items()}), BYTES, [NGINX, REGISTRY]))
    title = "TLS: a new connection for each request, 8 connections"
    tables.append(Table(title, bench.rounds(title, {
        name: (lambda s=s: measure.requests_get(s, manifest_path("latest"), 8, bench.seconds, close=True))
        for name, s in peers.items()}), REQUESTS, [NGINX, REGISTRY]))
    bench.stop(*peers.values(), up)
    return tables
