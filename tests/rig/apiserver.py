# SPDX-License-Identifier: Apache-2.0
"""A real kube-apiserver on a real etcd, without nodes: what it takes, what it asks webhooks, what comes out."""
import json
import os
import shutil
import subprocess

from rig import go
from rig.process import Daemon, wait_for
from rig.proxy import ROOT
from rig.radosgw import free_port

TOKEN = "of-the-administrator"
# A published kube-apiserver is told its version by the linker; clients (helm) want to know it.
VERSION = " ".join(f"-X k8s.io/component-base/version.{k}={v}" for k, v in
                   (("gitVersion", "v1.37.2"), ("gitMajor", "1"), ("gitMinor", "37")))
SOURCE = os.path.join(ROOT, "tests", "apiserver")


def program(build=False):
    return go.program("kube-apiserver", SOURCE, VERSION, build)


def missing(build=False):
    return [name for name, there in (("etcd", shutil.which("etcd")), ("kubectl", shutil.which("kubectl")),
                                     ("kube-apiserver", program(build))) if not there]


class ApiServer:
    """services: the network of cluster addresses; of the loopback, since nobody is there to lead them elsewhere. authority: a
    certs.Authority, by which it shows kubelets who it is."""

    def __init__(self, scratch, services="127.96.0.0/16", authority=None):
        self.scratch = scratch
        self.kubelet_authority = authority and authority.certificate
        to_kubelets = []
        if authority:
            certificate, mine = authority.issue("apiserver", subject="/O=system:masters/CN=apiserver")
            to_kubelets = [f"--kubelet-client-certificate={certificate}", f"--kubelet-client-key={mine}",
                           "--kubelet-preferred-address-types=InternalIP"]
        folder = scratch.folder("apiserver-files")
        stores, peers, self.port = free_port(), free_port(), free_port()
        key = os.path.join(folder, "accounts.key")
        scratch.run("openssl", "genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", key)
        tokens = os.path.join(folder, "tokens.csv")
        with open(tokens, "w", encoding="ascii") as f:
            f.write(f"{TOKEN},admin,1,system:masters\n")
        self.etcd = Daemon(scratch, "etcd", [
            "etcd", "--data-dir", os.path.join(folder, "etcd"), "--listen-client-urls", f"http://127.0.0.1:{stores}",
            "--advertise-client-urls", f"http://127.0.0.1:{stores}", "--listen-peer-urls", f"http://127.0.0.1:{peers}",
            "--initial-advertise-peer-urls", f"http://127.0.0.1:{peers}", "--initial-cluster", f"default=http://127.0.0.1:{peers}",
            "--unsafe-no-fsync"])
        self.daemon = Daemon(scratch, "kube-apiserver", [
            program(), f"--etcd-servers=http://127.0.0.1:{stores}", "--bind-address=127.0.0.1", f"--secure-port={self.port}",
            f"--cert-dir={folder}", f"--service-cluster-ip-range={services}", "--advertise-address=127.0.0.1",
            "--service-account-issuer=https://kubernetes.default.svc", f"--service-account-key-file={key}",
            f"--service-account-signing-key-file={key}", f"--token-auth-file={tokens}", "--authorization-mode=RBAC",
            # Nobody makes service accounts and their tokens here: controllers would.
            "--disable-admission-plugins=ServiceAccount", "--allow-privileged=true", "--endpoint-reconciler-type=none", *to_kubelets])
        self.config = os.path.join(folder, "kubeconfig")
        with open(self.config, "w", encoding="utf-8") as f:
            json.dump({"apiVersion": "v1", "kind": "Config", "current-context": "c",
                       "clusters": [{"name": "c", "cluster": {"server": f"https://127.0.0.1:{self.port}", "insecure-skip-tls-verify": True}}],
                       "users": [{"name": "u", "user": {"token": TOKEN}}],
                       "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}]}, f)
        os.chmod(self.config, 0o600)
        wait_for(self._is_ready, 180, "kube-apiserver", step=0.5)

    def _is_ready(self):
        assert self.daemon.running(), self.daemon.log()[-4000:]
        return self.kubectl("get", "--raw", "/readyz", check=False).stdout == "ok" and \
            self.kubectl("get", "namespace", "default", check=False).returncode == 0

    def kubectl(self, *args, check=True, document=None):
        """document: what -f - reads."""
        done = subprocess.run(["kubectl", "--kubeconfig", self.config, *args], text=True, capture_output=True, timeout=120, check=False,
                              input=json.dumps(document) if document is not None else "", env=self.scratch.environment({"HOME": self.scratch.path}))
        assert not check or done.returncode == 0, f"kubectl {' '.join(args)}: {done.stdout}{done.stderr}"
        return done

    def get(self, *args):
        return json.loads(self.kubectl("get", *args, "-o", "json").stdout)

    def version(self):
        return json.loads(self.kubectl("get", "--raw", "/version").stdout)["gitVersion"]

    def close(self):
        self.daemon.stop(timeout=60)
        self.etcd.stop(timeout=30)
