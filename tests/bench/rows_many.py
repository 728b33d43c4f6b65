# SPDX-License-Identifier: Apache-2.0
"""Much at once: connections that stay, readers that are slow, a store of a million blobs."""
import hashlib
import os
import random
import re
import sqlite3
import time

import measure
from bench import BYTES, CACHE, NGINX, OURS, REGISTRY, REQUESTS, Table, connections
from content import MIB, REPOSITORY, blob_path, manifest_path
from servers import fetch

SLOW_RATE = 10000  # bytes a second


def kernel_tcp_bytes():
    """What the kernel holds in TCP buffers, everybody's: so only a difference means something."""
    with open("/proc/net/sockstat", encoding="ascii") as f:
        return int(re.search(r"TCP:.* mem (\d+)", f.read()).group(1)) * os.sysconf("SC_PAGE_SIZE")


def memory(bench):
    """Resident memory: just started, and after a load of manifests and blobs."""
    def one(begin):
        up = bench.servers.upstream(bench.content.folder)
        server = begin(up)
        idle = server.memory_bytes()
        bench.warm(server, bench.layers[1:3])
        measure.requests_get(server, manifest_path("latest"), 32, bench.seconds)
        measure.requests_load(bench.load, server, blob_path(bench.layers[1]), 32, bench.seconds)
        after = server.memory_bytes()
        bench.stop(server, up)
        return {"idle_mib": idle / MIB, "after_mib": after / MIB}

    figures = [("idle MiB", "idle_mib", "{:.1f}"), ("after load MiB", "after_mib", "{:.1f}")]
    samples = bench.rounds("memory", {
        OURS: lambda: one(lambda up: bench.servers.rac(up, bench.injection)),
        CACHE: lambda: one(lambda up: bench.servers.nginx(upstream=up, name="nginx cache")),
        REGISTRY: lambda: one(bench.servers.registry)}, 1 if bench.quick else 3)
    return [Table("Resident memory", samples, figures, [CACHE, REGISTRY])]


# ---- connections ----

def _held(bench, server, path, n, rate):
    """Resident bytes of the server, and the kernel's, for each of n connections."""
    before, kernel = server.memory_bytes(), kernel_tcp_bytes()
    held = measure.Held(bench.hold, server, path, n, rate)
    try:
        time.sleep(1)  # the readers' rate is a rate only after a while
        return {"kb_each": (server.memory_bytes() - before) / n / 1e3,
                "kernel_kb_each": max(0, kernel_tcp_bytes() - kernel) / n / 1e3,
                "resident_mb": server.memory_bytes() / 1e6}
    finally:
        ended = held.close()["ended"]
        if ended:
            raise RuntimeError(f"{server.name} ended {ended} of {n} connections")


def many(bench):
    """Idle connections and slow readers: memory of each, and what they do to others."""
    figures = [("resident kB of each", "kb_each", "{:.2f}"), ("the kernel's kB of each", "kernel_kb_each", "{:.1f}"),
               ("resident MB in all", "resident_mb", "{:.1f}")]
    big = blob_path(bench.layers[2])
    up = bench.servers.upstream(bench.content.folder)

    def fresh(name):
        server = {OURS: lambda: bench.servers.rac(up, bench.injection), NGINX: lambda: bench.servers.nginx(bench.content.www),
                  REGISTRY: lambda: bench.servers.registry(up)}[name]()
        bench.warm(server, bench.layers[2:3])
        measure.requests_get(server, manifest_path("latest"), 32, bench.seconds)
        return server

    def one(name, path, n, rate):
        server = fresh(name)
        result = _held(bench, server, path, n, rate)
        bench.stop(server)
        return result

    tables = []
    settings = [(f"{n:,} idle connections", manifest_path("latest"), n, 0) for n in (1000, 10000)]
    settings += [(f"{n:,} readers of 10 kB/s each, of 64 MiB", big, n, SLOW_RATE) for n in (100, 1000)]
    for title, path, n, rate in settings[1::2] if bench.quick else settings:
        tables.append(Table(title[0].upper() + title[1:], bench.rounds(title, {
            name: (lambda name=name: one(name, path, n, rate)) for name in (OURS, NGINX, REGISTRY)[:2 if bench.quick else 3]}, 1 if bench.quick else 2), figures))
    tables += _beside_many(bench, fresh, big)
    bench.stop(up)
    return tables


def _beside_many(bench, fresh, big):
    """Manifests, alone and beside all of them, in turn."""
    peers = {name: fresh(name) for name in (OURS, NGINX)}
    tables = []
    for n in (32,) if bench.quick else (1, 32):
        def one(name):
            server, path = peers[name], manifest_path("latest")
            alone = measure.requests_load(bench.load, server, path, n, bench.seconds)
            held = [measure.Held(bench.hold, server, path, 10000),
                    measure.Held(bench.hold, server, big, 1000, SLOW_RATE)]
            time.sleep(1)  # their coming is work, too: logged, recorded, and the kernel's buffers filled
            beside = measure.requests_load(bench.load, server, path, n, bench.seconds)
            for h in held:
                h.close()
            return {"alone_p99": alone["p99_us"], "beside_p99": beside["p99_us"], "alone": alone["per_second"],
                    "beside": beside["per_second"], "times": beside["p99_us"] / alone["p99_us"]}

        title = f"Warm manifest beside 10,000 idle connections and 1,000 slow readers, {connections(n)}"
        tables.append(Table(title, bench.rounds(title, {k: (lambda k=k: one(k)) for k in peers}, bench.few), [
            ("req/s alone", "alone", "{:,.0f}"), ("req/s beside them", "beside", "{:,.0f}"),
            ("p99 µs alone", "alone_p99", "{:,.0f}"), ("p99 µs beside them", "beside_p99", "{:,.0f}"),
            ("p99 beside / alone", "times", "{:.2f}")]))
    bench.stop(*peers.values())
    return tables


# ---- a large store ----

def _grow(data, count):
    """So many blobs more, each named by its digest, of a repository that has a tag for each: as if they had been pulled."""
    digests = []
    for i in range(256):
        os.makedirs(os.path.join(data, "blobs", "sha256", f"{i:02x}"), exist_ok=True)
    for i in range(count):
        content = b"%d" % i
        name = hashlib.sha256(content).hexdigest()
        fd = os.open(f"{data}/blobs/sha256/{name[:2]}/{name}", os.O_WRONLY | os.O_CREAT, 0o640)
        os.write(fd, content)
        os.close(fd)
        digests.append((name, len(content)))
    db = sqlite3.connect(os.path.join(data, "state.db"))
    db.execute("PRAGMA synchronous=OFF")
    repo, = db.execute("SELECT id FROM repo WHERE repository = ?", (REPOSITORY,)).fetchone()
    prefix, = db.execute("SELECT substr(digest, 1, length(digest) - 32) FROM object").fetchone()
    row = db.execute("SELECT manifest, kind, media_type FROM link WHERE repo = ? AND size = ?", (repo, 4096)).fetchone()
    first, = db.execute("SELECT max(id) FROM object").fetchone()
    now = int(time.time() * 1000)
    db.executemany("INSERT INTO object (id, digest) VALUES (?, ?)",
                   ((first + 1 + i, prefix + bytes.fromhex(d)) for i, (d, _) in enumerate(digests)))
    db.executemany("INSERT INTO link (repo, object, manifest, kind, size, media_type) VALUES (?, ?, ?, ?, ?, ?)",
                   ((repo, first + 1 + i, row[0], row[1], size, row[2]) for i, (_, size) in enumerate(digests)))
    db.executemany("INSERT INTO tag (repo, name, object, checked_ms) VALUES (?, ?, ?, ?)",
                   ((repo, f"grown-{i}", first + 1 + i, now) for i in range(count)))
    db.commit()
    db.close()
    return digests


def store(bench):
    """10,000, 100,000 and 1,000,000 blobs and tags: start-up, memory, and warm answers."""
    sizes = (10000, 100000) if bench.quick else (10000, 100000, 1000000)
    hot = [f"hot-{i}" for i in range(1000)]
    bench.content.tags("latest", hot)
    up = bench.servers.upstream(bench.content.folder)
    peers, starts, lists = {}, {}, {}
    for n in sizes:
        name, data = f"{n:,} blobs and tags", os.path.join(bench.folder, f"store-{n}")
        bench.say(f"store: {name}")
        server = bench.servers.rac(up, bench.injection, data=data)
        bench.warm(server, bench.layers[:2])
        bench.stop(server)
        digests = _grow(data, n)
        starts[name] = []
        for _ in range(3):
            server = bench.servers.rac(up, bench.injection, data=data)
            starts[name].append({"start_ms": server.start_seconds * 1e3, "idle_mib": server.memory_bytes() / MIB})
            if len(starts[name]) < 3:
                bench.stop(server)
        peers[name] = server
        bench.warm(server, bench.layers[:2])
        for tag in hot:
            fetch(server.url(manifest_path(tag)))
        random.seed(1)
        lists[name] = bench.path_list(f"blobs-{n}", [blob_path("sha256:" + d) for d, _ in random.sample(digests, 1000)])
        _counted(server, n)
    tags = bench.path_list("tags", map(manifest_path, hot))
    runs = [("Warm manifests by 1,000 tags, 32 connections", REQUESTS, lambda name: tags),
            ("1,000 small blobs, 32 connections", REQUESTS, lambda name: lists[name]),
            ("Warm blob of 1 MiB, 32 connections", BYTES, lambda name: blob_path(bench.layers[1]))]
    samples = measure.Samples()
    samples.rounds = [{name: starts[name][i] for name in peers} for i in range(3)]
    tables = [Table("A large store: start", samples, [("start ms", "start_ms", "{:.0f}"),
                                                      ("resident MiB", "idle_mib", "{:.1f}")])]
    last = list(peers)[-1]
    for title, figures, path in runs:
        title = "A large store: " + title[0].lower() + title[1:]
        tables.append(Table(title, bench.rounds(title, {
            name: (lambda name=name: measure.requests_load(bench.load, peers[name], path(name), 32, bench.seconds))
            for name in peers}), figures, [list(peers)[0]], ours=last))
    bench.stop(*peers.values(), up)
    return tables


def _counted(server, n):
    """The store has looked at all of it: what it does at the start is over."""
    end = time.monotonic() + 120
    while True:
        text = fetch(server.url("/metrics"))[0].decode()
        found = re.search(r"^rac_cache_blobs (\d+)", text, re.M)
        if found and int(found.group(1)) >= n:
            return
        if time.monotonic() > end:
            raise RuntimeError(f"{server.name} does not find {n} blobs: {found and found.group(0)}")
        time.sleep(0.1)
