# SPDX-License-Identifier: Apache-2.0
"""The container engines people have, each with folders, sockets and settings of its own."""
import json
import os
import re

from rig.process import Daemon

PODMAN_RUN = ["--runtime", "/usr/sbin/runc", "--cgroup-manager=cgroupfs"]
LIMITS = ["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"]
# What the runtime says of an image, as far as an engine acts by it.
CONFIG_MEMBERS = ["Entrypoint", "Cmd", "Env", "User", "WorkingDir", "ExposedPorts", "Volumes", "StopSignal",
                  "Healthcheck"]


class Engine:
    """pull(reference) takes it; run(reference, *args) prints what the container printed; digest(reference) names it."""

    def __init__(self, scratch, prefix=()):
        """prefix: stands in front of what talks to registries, as rig.nodes makes it."""
        self.scratch = scratch
        self.prefix = list(prefix)

    def close(self):
        pass


class Docker(Engine):
    name = "docker"
    environment = {}

    def __init__(self, scratch, mirror=None, insecure=(), prefix=()):
        super().__init__(scratch, prefix)
        folder = scratch.folder("d")
        self.socket = os.path.join(folder, "s")
        self.config = os.path.join(folder, "config")
        os.mkdir(self.config)
        settings = os.path.join(folder, "daemon.json")
        with open(settings, "w", encoding="utf-8") as f:
            json.dump({**({"registry-mirrors": [f"http://{mirror}"]} if mirror else {}),
                       **({"insecure-registries": list(insecure)} if insecure else {})}, f)
        self.daemon = Daemon(scratch, "dockerd", [
            *self.prefix, "/usr/sbin/dockerd", "--config-file", settings, "--data-root", os.path.join(folder, "data"),
            "--exec-root",
            os.path.join(folder, "x"), "-H", f"unix://{self.socket}", "--pidfile",
            os.path.join(folder, "pid"), "--bridge",
            "none", "--iptables=false", "--ip6tables=false"])
        try:
            self.daemon.wait_log(lambda log: "API listen on" in log, timeout=60)
        except AssertionError:
            self.close()
            raise

    def words(self, *args):
        """What a user types, as a list."""
        return ["/usr/bin/docker", "--config", self.config, "-H", f"unix://{self.socket}", *args]

    def command(self, *args, check=True, timeout=180):
        return self.scratch.run(*self.words(*args), check=check, timeout=timeout)

    def pull(self, reference, check=True, platform=None):
        return self.command("pull", *(["--platform", platform] if platform else []), reference, check=check)

    def run(self, reference, *args, options=()):
        return self.command("run", "--rm", "--network", "none", *options, reference, *args).stdout

    def inspect(self, reference):
        config = json.loads(self.command("image", "inspect", reference).stdout)[0]["Config"]
        return {k: config.get(k) for k in CONFIG_MEMBERS}

    def digest(self, reference):
        found = json.loads(self.command("image", "inspect", reference).stdout)[0]["RepoDigests"]
        return {d.rpartition("@")[2] for d in found}

    def forget(self):
        """Removes every image, so that the next pull is a whole one."""
        ids = self.command("images", "-aq", "--no-trunc").stdout.split()
        if ids:
            self.command("rmi", "-f", *sorted(set(ids)), check=False)

    def close(self):
        self.daemon.stop(timeout=40)
        # dockerd leaves this one after containers with --network host.
        self.scratch.run("umount", "-q", os.path.join(os.path.dirname(self.socket), "x", "netns", "default"), check=False)


class Podman(Engine):
    name = "podman"

    def __init__(self, scratch, registries=None, prefix=()):
        """registries: the text of a registries.conf."""
        super().__init__(scratch, prefix)
        folder = scratch.folder("p")
        self.environment = {"XDG_RUNTIME_DIR": folder, "TMPDIR": folder}
        if registries:
            path = os.path.join(folder, "registries.conf")
            with open(path, "w", encoding="utf-8") as f:
                f.write(registries)
            self.environment["CONTAINERS_REGISTRIES_CONF"] = path
        self.options = ["--root", os.path.join(folder, "root"), "--runroot", os.path.join(folder, "run"),
                        "--tmpdir",
                        os.path.join(folder, "tmp"), "--events-backend=none", "--storage-driver=overlay",
                        *PODMAN_RUN]

    def words(self, *args):
        return [*self.prefix, "podman", *self.options, *args]

    def command(self, *args, check=True, timeout=180):
        return self.scratch.run(*self.words(*args), check=check, timeout=timeout, env=self.environment)

    def pull(self, reference, check=True, platform=None, insecure=True):
        return self.command("pull", *(["--tls-verify=false"] if insecure else []),
                            *(["--platform", platform] if platform else []), reference, check=check)

    def run(self, reference, *args, options=()):
        return self.command("run", "--rm", "--pull=never", "--network", "none", *LIMITS, *options, reference,
                            *args).stdout

    def digest(self, reference):
        return json.loads(self.command("image", "inspect", reference).stdout)[0]["Digest"]

    def forget(self):
        self.command("rmi", "-a", "-f", check=False)

    def close(self):
        self.forget()


class Skopeo(Engine):
    name = "skopeo"

    def copy(self, reference, whole=False, credentials=None):
        """Copies to a folder; returns it. The manifest lies there as manifest.json, each blob under its hex."""
        folder = self.scratch.folder("skopeo")
        self.scratch.run("skopeo", "copy", "--src-tls-verify=false", *(["--all"] if whole else []),
                         *(["--src-creds", credentials] if credentials else []), f"docker://{reference}",
                         f"dir:{folder}")
        return folder

    def to_layout(self, reference):
        folder = self.scratch.folder("layout")
        self.scratch.run("skopeo", "copy", "--src-tls-verify=false", f"docker://{reference}",
                         f"oci:{folder}:image")
        return folder


class Containerd(Engine):
    """containerd by ctr, with a hosts.toml for each registry: what the documentation calls a mirror."""
    name = "containerd"

    def __init__(self, scratch, prefix=()):
        super().__init__(scratch, prefix)
        self.count = 0
        self.folder = scratch.folder("c")
        self.socket = os.path.join(self.folder, "s")
        self.hosts = os.path.join(self.folder, "certs.d")
        os.mkdir(self.hosts)
        settings = os.path.join(self.folder, "config.toml")
        with open(settings, "w", encoding="utf-8") as f:
            f.write(f'version = 2\nroot = "{self.folder}/root"\nstate = "{self.folder}/state"\n'
                    f'disabled_plugins = ["io.containerd.grpc.v1.cri"]\n[grpc]\naddress = "{self.socket}"\n')
        self.daemon = Daemon(scratch, "containerd", ["containerd", "--config", settings])
        self.daemon.wait_log(lambda log: "containerd successfully booted" in log, timeout=60)

    def command(self, *args, check=True, timeout=180):
        return self.scratch.run(*self.prefix, "ctr", "-a", self.socket, *args, check=check, timeout=timeout)

    def mirror(self, registry, address, **headers):
        """Requests for `registry` go to `address`, with ?ns=<registry> and the headers."""
        folder = os.path.join(self.hosts, registry)
        os.makedirs(folder, exist_ok=True)
        with open(os.path.join(folder, "hosts.toml"), "w", encoding="utf-8") as f:
            f.write(f'server = "https://{registry}"\n\n[host."http://{address}"]\n'
                    f'  capabilities = ["pull", "resolve"]\n  skip_verify = true\n')
            if headers:
                f.write(f'  [host."http://{address}".header]\n')
                f.writelines(f'    {name.replace("_", "-")} = "{value}"\n' for name, value in headers.items())

    def pull(self, reference, check=True, platform=None):
        options = ["--platform", platform] if platform else []
        return self.command("images", "pull", "--hosts-dir", self.hosts, *options, reference, check=check)

    def run(self, reference, *args):
        """Its output goes to a file: what ctr itself hands on it may drop when a short program ends on a busy machine."""
        self.count += 1
        output = os.path.join(self.folder, f"output-{self.count}")
        self.command("run", "--rm", "--log-uri", f"file://{output}", reference, f"rac-{os.getpid()}-{self.count}", *args)
        with open(output, encoding="utf-8") as f:
            return f.read()

    def digest(self, reference):
        listed = self.command("images", "ls", f"name=={reference}").stdout
        found = re.search(r"sha256:[0-9a-f]{64}", listed)
        return found.group(0) if found else None

    def forget(self):
        names = self.command("images", "ls", "-q").stdout.split()
        if names:
            self.command("images", "rm", "--sync", *names, check=False)

    def close(self):
        self.forget()
        self.daemon.stop(timeout=30)
