# SPDX-License-Identifier: Apache-2.0
"""rac-proxy itself, as a user starts it, and what must hold of every run of it."""
import json
import os
import re
import signal
import time

import yaml

from rig import wire
from rig.process import PATIENCE, Daemon

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SANITIZERS = re.compile(r"ERROR: \w+Sanitizer|runtime error: |WARNING: ThreadSanitizer|Assertion .* failed|SUMMARY: \w+Sanitizer"
                        r"|==\d+== (?:Invalid|Conditional jump|Use of uninit|Syscall param|Mismatched free|Process terminating)")
# Everything that a test hands to the proxy in confidence; no log line may hold any of it.
SECRETS = set()


def secret(value):
    SECRETS.add(value)
    return value


def binary(name):
    folder = os.environ.get("RAC_BIN_DIR") or os.path.join(ROOT, "build", "bin")
    path = os.path.join(folder, name)
    assert os.access(path, os.X_OK), f"{path} is missing: build it first, or set RAC_BIN_DIR"
    return os.path.abspath(path)


def run_under():
    """What the proxies of this run are started with, as words in RAC_RUN_UNDER: valgrind, with its options."""
    return os.environ.get("RAC_RUN_UNDER", "").split()


def patient_settings():
    """Under valgrind a handshake takes five seconds alone: what a test says nothing of has PATIENCE times its default."""
    return {"RAC_UPSTREAM_CONNECT_TIMEOUT": f"{10 * PATIENCE}s", "RAC_UPSTREAM_HEAD_TIMEOUT": f"{30 * PATIENCE}s"} if run_under() else {}


def sanitizer_settings():
    return {"ASAN_OPTIONS": "detect_leaks=1:abort_on_error=0:strict_string_checks=1",
            "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1", "TSAN_OPTIONS": "halt_on_error=0"}


class Asked:
    """What answers at .address: one proxy, or what stands in front of several."""

    def fetch(self, method, path, headers=None, body=None, timeout=30):
        return wire.fetch(self.address, method, path, headers, body, timeout)

    def get(self, path, timeout=30, **headers):
        return self.fetch("GET", path, {k.replace("_", "-"): v for k, v in headers.items()}, timeout=timeout)

    def head(self, path, **headers):
        return self.fetch("HEAD", path, {k.replace("_", "-"): v for k, v in headers.items()})

    def manifest(self, name, reference, method="GET", **kwargs):
        return self.fetch(method, f"/v2/{name}/manifests/{reference}", {"Accept": wire.MANIFEST_TYPES},
                          **kwargs)

    def blob(self, name, digest, timeout=30, **headers):
        return self.get(f"/v2/{name}/blobs/{digest}", timeout, **headers)


class Proxy(Asked):
    """args: further flags. config: what --config gets (a dict, written as YAML). data: keep it to start again on it.
    before: words in front of the command, of a program that becomes it."""

    def __init__(self, scratch, upstreams=None, args=(), config=None, env=None, data=None, start=True,
                 inject=None, before=()):
        self.scratch = scratch
        self.before = [str(word) for word in before]
        self.data = data or scratch.folder("data")
        self.args = ["--listen", "127.0.0.1:0", "--data", self.data, "--log-level", "debug"]
        for name, url in (upstreams or {}).items():
            self.args += ["--upstream", f"{name}={url}"]
        if inject:
            self.args += ["--inject", inject]
        self.config_file = None
        if config is not None:
            self.config_file = os.path.join(scratch.folder("config"), "proxy.yaml")
            self.configure(config)
            self.args += ["--config", self.config_file]
        self.args += [str(a) for a in args]
        self.env = {**sanitizer_settings(), **patient_settings(), **(env or {})}
        self.daemon = None
        self.logs = []
        self.fails_quietly = False  # a test that kills it knows why
        if start:
            self.start()

    def configure(self, config):
        with open(self.config_file, "w", encoding="utf-8") as f:
            yaml.safe_dump(config, f)

    def launch(self):
        """Started, and not waited for."""
        self.daemon = Daemon(self.scratch, "proxy", [*self.before, *run_under(), binary("rac-proxy"), *self.args], env=self.env)
        self.logs.append(self.daemon.log_path)

    def start(self):
        self.launch()
        found = self.daemon.wait_log(lambda log: re.search(r"msg=ready\b.*?\blisten=\"?([^\s\"]+)", log))
        self.addresses = found.group(1).split(",")
        self.address = self.addresses[0]
        self.url = f"http://{self.address}"
        return self

    def restart(self):
        self.stop()
        return self.start()

    def kill(self):
        """SIGKILL: what was promised before must hold after."""
        self.daemon.kill()
        self.check_log()

    def reload(self):
        """SIGHUP, and waits until it was heard; the workers take what is new at their next turn."""
        said = re.compile(r'msg="configuration (not )?reloaded')
        before = len(said.findall(self.log()))
        self.daemon.signal(signal.SIGHUP)
        self.daemon.wait_log(lambda log: len(said.findall(log)) > before, timeout=10)
        time.sleep(0.1)

    def stop(self):
        """SIGTERM; what must hold of every run is checked here."""
        code = self.daemon.stop(timeout=60)
        self.check_log()
        assert code == 0, f"rac-proxy ended with {code}:\n{self.daemon.log()[-3000:]}"

    def check_log(self):
        text = self.log()
        found = SANITIZERS.search(text)
        assert not found, text[max(0, found.start() - 200):found.start() + 5000]
        for value in SECRETS:
            assert value not in text, [line for line in text.splitlines() if value in line][:1]

    def close(self):
        if self.daemon and self.daemon.running():
            self.stop()
        elif self.daemon:
            self.check_log()
            assert self.fails_quietly or self.daemon.process.returncode in (0, -signal.SIGKILL), \
                f"rac-proxy ended on its own with {self.daemon.process.returncode}:\n{self.daemon.log()[-4000:]}"

    def log(self):
        return self.daemon.log()

    # What it is like inside

    def metrics(self):
        """{'name{labels}': value}"""
        found = {}
        for line in self.get("/metrics").body.decode().splitlines():
            if line and not line.startswith("#"):
                name, _, value = line.rpartition(" ")
                found[name] = float(value)
        return found

    def blob_file(self, digest):
        return os.path.join(self.data, "blobs", "sha256", digest[7:9], digest[7:])

    def partial_file(self, digest):
        return os.path.join(self.data, "partial", digest[7:])


def run_once(scratch, *args, env=None, check=False):
    """rac-proxy for what ends by itself: --version, --check-config, a start that must fail."""
    return scratch.run(binary("rac-proxy"), *args, env={**sanitizer_settings(), **(env or {})}, check=check,
                       timeout=30)


class Layer:
    """What is injected in the tests: a folder packed by the real rac-layer."""

    FILES = {".rac/hello.txt": "Hello injected world!\n", ".rac/README": "A layer of the tests.\n"}

    def __init__(self, scratch, files=None, args=(), **members):
        """members: further members of the injection (entrypoint=[…], env=[…], labels={…})."""
        tree, self.folder = scratch.folder("tree"), scratch.folder("layer")
        for name, content in (files or self.FILES).items():
            path = os.path.join(tree, name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "w", encoding="utf-8") as f:
                f.write(content)
            os.chmod(path, 0o644)
        scratch.run(binary("rac-layer"), "pack", tree, "-o", self.folder, *args, env=sanitizer_settings())
        self.path = os.path.join(self.folder, "layer.json")
        with open(self.path, encoding="utf-8") as f:
            self.json = json.load(f)
        if members:
            self.json.update(members)
            with open(self.path, "w", encoding="utf-8") as f:
                json.dump(self.json, f)

    @property
    def gzip_digest(self):
        return self.json["layers"][0]["gzipDigest"]

    @property
    def tar_digest(self):
        return self.json["layers"][0]["tarDigest"]
