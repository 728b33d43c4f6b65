# SPDX-License-Identifier: Apache-2.0
"""Real clients: docker, podman and containerd take an image of 300 MB."""
import os
import sys
import time

from bench import DIRECT, OURS, REGISTRY, Table
from content import REPOSITORY, manifest_path
from servers import fetch

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from rig import engines, process  # noqa: E402  (the tests' engines, each in folders of its own)


def _forget(engine):
    if engine.name == "docker":
        engine.forget()
    elif engine.name == "podman":
        engine.command("rmi", "-a", "-f", check=False)
    else:
        names = engine.command("images", "ls", "-q").stdout.split()
        engine.command("images", "rm", "--sync", *names)


def _pull(engine, server, tag):
    """Seconds; the image is gone after."""
    reference = f"{server.address}/{REPOSITORY}:{tag}"
    begin = time.monotonic()
    if engine.name == "containerd":
        engine.command("images", "pull", "--plain-http", reference)
    else:
        engine.pull(reference)
    seconds = time.monotonic() - begin
    _forget(engine)
    return seconds


def clients(bench):
    """Cold and warm, by each engine; a small image and a large one."""
    if os.geteuid() != 0:
        bench.say("clients: not root, left out\n")
        return []
    scratch, tables = process.Scratch(), []
    sizes = ("300 MB", [100 * 1000 * 1000] * 3), ("3 MB", [1000 * 1000] * 3)
    try:
        for kind in (engines.Docker, engines.Podman, engines.Containerd):
            engine = kind(scratch)
            try:
                for what, layers in sizes[1:] if bench.quick else sizes:
                    tables.append(_table(bench, engine, what, layers))
            finally:
                engine.close()
    finally:
        scratch.close()
    return tables


def _table(bench, engine, what, layers):
    tag = f"clients-{len(layers)}-{layers[0]}"
    if not os.path.exists(os.path.join(bench.content.folder, "manifests", tag)):
        bench.content.runnable(tag, layers)

    def one(name):
        # Both from an upstream that is not slow: what is left is what the client and the proxy cost.
        up = bench.servers.upstream(bench.content.folder)
        server = {OURS: lambda: bench.servers.rac(up, bench.injection), REGISTRY: lambda: bench.servers.registry(up),
                  DIRECT: lambda: up}[name]()
        result = {"cold": _pull(engine, server, tag), "wall_seconds": _pull(engine, server, tag)}
        fetch(server.url(manifest_path(tag)))
        bench.stop(*{server, up})
        return result

    title = f"{engine.name} pulls an image of {what}"
    return Table(title, bench.rounds(title, {k: (lambda k=k: one(k)) for k in (OURS, REGISTRY, DIRECT)},
                                     1 if bench.quick else 2),
                 [("seconds cold", "cold", "{:.2f}"), ("seconds warm", "wall_seconds", "{:.2f}")], [REGISTRY, DIRECT])
