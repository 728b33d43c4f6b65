# SPDX-License-Identifier: Apache-2.0
"""A node: a real kubelet and a real containerd, in namespaces of their own for processes and mounts, so that nothing of them is left
when they end; with the network of the machine. Pods want `hostNetwork`, since there is no network plug-in, and `nodeName`, since there is
no scheduler."""
import json
import os
import shutil

from rig import go, images
from rig.process import Daemon, wait_for
from rig.proxy import ROOT
from rig.radosgw import free_port

VERSION = " ".join(f"-X k8s.io/component-base/version.{k}={v}" for k, v in
                   (("gitVersion", "v1.34.4"), ("gitMajor", "1"), ("gitMinor", "34")))
SOURCE = os.path.join(ROOT, "tests", "kubelet")
PROGRAMS = ("containerd", "runc", "unshare")
# A kubelet sets these for the whole machine, unless they are so already: it sees files that say they are.
KERNEL = {"vm/overcommit_memory": 1, "vm/panic_on_oom": 0, "kernel/panic": 10, "kernel/panic_on_oops": 1,
          "kernel/keys/root_maxkeys": 1000000, "kernel/keys/root_maxbytes": 25000000}
# $1: a folder with settings. The two end together.
START = r"""
set -eu
mount -t proc proc /proc
for file in $(cd "$1/kernel" && find . -type f); do
    [ ! -e "/proc/sys/$file" ] || mount --bind "$1/kernel/$file" "/proc/sys/$file"
done
for folder in /run /var/lib /var/log; do mount -t tmpfs tmpfs "$folder"; done
mount --make-rshared /
containerd --config "$1/containerd.toml" &
until [ -S "$1/containerd.sock" ]; do sleep 0.1; done
"$2" --config "$1/kubelet.yaml" --kubeconfig "$3" --root-dir "$1/kubelet" --cert-dir "$1/certificates" --hostname-override "$4"
"""


def program(build=False):
    return go.program("kubelet", SOURCE, VERSION, build)


def missing(build=False):
    return [name for name in PROGRAMS if not shutil.which(name)] + ([] if program(build) else ["kubelet"])


def pause():
    """What holds the namespaces of a pod."""
    return images.image([images.busybox_layer()], {"Entrypoint": ["/bin/sleep", "2147483647"]})


class Node:
    """cluster: an ApiServer with kubelet_authority. registry: "host:port" of a plain registry with pause() as rac/pause:1. hosts is the
    folder of hosts.toml files."""

    def __init__(self, scratch, cluster, registry, name="edge-7"):
        self.cluster, self.name = cluster, name
        self.folder = scratch.folder("node")
        self.hosts = os.path.join(self.folder, "certs.d")
        os.mkdir(self.hosts)
        for path, value in KERNEL.items():
            self._write(f"kernel/{path}", f"{value}\n")
        self._write("containerd.toml", f"""
version = 2
root = "{self.folder}/root"
state = "/run/containerd"
[grpc]
  address = "{self.folder}/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{registry}/rac/pause:1"
  disable_apparmor = true
  # Who may not lower it makes no sandbox else.
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".registry]
    config_path = "{self.hosts}"
  [plugins."io.containerd.grpc.v1.cri".cni]
    conf_dir = "{self.folder}/no-network"
""")
        self._write("kubelet.yaml", json.dumps({
            "apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
            "authentication": {"anonymous": {"enabled": False}, "webhook": {"enabled": True},
                               "x509": {"clientCAFile": cluster.kubelet_authority}},
            "authorization": {"mode": "Webhook"}, "port": free_port(), "healthzPort": 0, "readOnlyPort": 0,
            "containerRuntimeEndpoint": f"unix://{self.folder}/containerd.sock", "cgroupDriver": "cgroupfs",
            # No cgroups but those of containers, no thresholds of a disk that others fill.
            "cgroupsPerQOS": False, "enforceNodeAllocatable": [], "localStorageCapacityIsolation": False,
            "evictionHard": {"memory.available": "0%", "nodefs.available": "0%", "imagefs.available": "0%", "nodefs.inodesFree": "0%",
                             "imagefs.inodesFree": "0%"},
            "imageGCHighThresholdPercent": 100, "failSwapOn": False, "makeIPTablesUtilChains": False, "resolvConf": "",
            "nodeStatusUpdateFrequency": "5s", "serializeImagePulls": False}))
        self.daemon = Daemon(scratch, "kubelet", [
            # unshare ignores SIGTERM.
            "setpriv", "--pdeathsig", "KILL", "--", "unshare", "--mount", "--pid", "--fork", "--kill-child=KILL", "sh", "-c", START, "node", self.folder, program(), cluster.config, name])
        wait_for(self._is_there, 180, f"node {name}", step=0.5)

    def _write(self, name, text):
        path = os.path.join(self.folder, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)

    def mirror(self, registry, address):
        """Where a registry is on this node."""
        self._write(f"certs.d/{registry}/hosts.toml", f'[host."http://{address}"]\n  capabilities = ["pull", "resolve"]\n')

    def _is_there(self):
        assert self.daemon.running(), self.daemon.log()[-4000:]
        return self.cluster.kubectl("get", "node", self.name, check=False).returncode == 0

    def close(self):
        """Pods first: the cgroups of their containers are of the whole machine."""
        if self.daemon.running():
            self.cluster.kubectl("delete", "pod", "--all", "--all-namespaces", "--wait", "--timeout=100s", "--grace-period=1")
        self.daemon.kill()
