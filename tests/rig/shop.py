# SPDX-License-Identifier: Apache-2.0
"""Images with and without an injection, put together by rac-layer, in the engines of the session."""
import functools
import json
import os
import time

from rig import proxy
from rig.engines import LIMITS
from rig.terminal import Terminal


def write_layout(folder, image):
    blobs = os.path.join(folder, "blobs", "sha256")
    os.makedirs(blobs)
    for digest, content in {**image.all_blobs(), **{d: i.manifest for d, i in image.all_manifests().items()}}.items():
        with open(os.path.join(blobs, digest.partition(":")[2]), "wb") as f:
            f.write(content)
    top = {"schemaVersion": 2, "manifests": [image.descriptor(
        annotations={"org.opencontainers.image.ref.name": "it"})]}
    for name, document in (("oci-layout", {"imageLayoutVersion": "1.0.0"}), ("index.json", top)):
        with open(os.path.join(folder, name), "w", encoding="utf-8") as f:
            json.dump(document, f)


class Shop:
    """build: {name: function that makes an Image}. Every image as docker-archive:, with the injection (`<name>`), without
    it (`<name>-without`), and with one that starts as root and drops (`<name>-drop`)."""

    def __init__(self, scratch, injection, build):
        self.scratch = scratch
        self.build = build
        self.folder = scratch.folder("shop")
        self.injections = {"": injection, "drop": os.path.join(os.path.dirname(injection), "drop.json")}
        with open(injection, encoding="utf-8") as f:
            dropping = {**json.load(f), "user": "root-then-drop"}
        with open(self.injections["drop"], "w", encoding="utf-8") as f:
            json.dump(dropping, f)

    @functools.lru_cache(None)
    def archive(self, name):
        """The path of a docker-archive; its image is called test.local/<name>:it."""
        base, _, kind = name.partition("-")
        layout = os.path.join(self.folder, name)
        write_layout(layout, self.build[base]())
        if kind != "without":
            self.scratch.run(proxy.binary("rac-layer"), "inject", "--layout", layout, "--injection", self.injections[kind])
        out = os.path.join(self.folder, f"{name}.tar")
        self.scratch.run("skopeo", "copy", f"oci:{layout}:it", f"docker-archive:{out}:test.local/{name}:it")
        return out


class Runner:
    """Images of a shop in an engine."""

    def __init__(self, engine, shop, network="none"):
        self.engine = engine
        self.shop = shop
        self.loaded = set()
        self.options = ["--network", network]
        if engine.name == "podman":
            self.options += ["--pull=never", *LIMITS]

    def image(self, name):
        if name not in self.loaded:
            self.engine.command("load", "-i", self.shop.archive(name))
            self.loaded.add(name)
        return f"test.local/{name}:it"

    def run(self, name, *args, options=()):
        return self.engine.command("run", "--rm", *self.options, *options, self.image(name), *args, check=False)

    def terminal(self, name, *args, options=()):
        """On a terminal of its own, as -it has it: a rig.terminal.Terminal, with its process."""
        return Terminal(self.engine.words("run", "--rm", "-it", *self.options, *options, self.image(name), *args),
                        self.engine.scratch.environment(self.engine.environment))

    def probe(self, name, *args, options=()):
        done = self.run(name, *args, options=options)
        assert done.returncode == 0, done
        return json.loads(done.stdout.splitlines()[-1])

    def start(self, name, *args, options=()):
        return self.engine.command("run", "-d", *self.options, *options, self.image(name), *args).stdout.strip()

    def wait_log(self, container, text):
        deadline = time.monotonic() + 20
        while text not in (seen := self.engine.command("logs", container).stdout):
            assert time.monotonic() < deadline, seen
            time.sleep(0.1)

    def remove(self, container):
        self.engine.command("rm", "-f", container)


class Counter(Runner):
    """Images as they are pulled through a proxy with the layer: `<name>`, `<name>-without`, `<name>-drop` as in a shop."""

    FOLDERS = {"": "library", "without": "plain", "drop": "drop"}

    @classmethod
    def rules(cls, injection, dropping):
        """What the proxy's configuration says."""
        return [{"match": f"*/{cls.FOLDERS['without']}/*", "injection": "none"},
                {"match": f"*/{cls.FOLDERS['drop']}/*", "injection": dropping}, {"match": "*", "injection": injection}]

    def __init__(self, engine, address, network="none"):
        super().__init__(engine, None, network)
        self.port = address.rpartition(":")[2]

    def image(self, name):
        base, _, kind = name.partition("-")
        reference = f"localhost:{self.port}/{self.FOLDERS[kind]}/{base}"
        if name not in self.loaded:
            self.engine.pull(reference)
            self.loaded.add(name)
        return reference
