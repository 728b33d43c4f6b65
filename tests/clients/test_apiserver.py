# SPDX-License-Identifier: Apache-2.0
"""A real API server takes the manifests, asks the webhook, and stores what comes of it. With --long, where there is etcd, kubectl and a
kube-apiserver (RAC_APISERVER, or Go to build the one of tests/apiserver)."""
import json
import os
import shutil

import pytest
import yaml

from rig import apiserver, proxy
from rig.process import wait_for
from rig.proxy import ROOT

pytestmark = pytest.mark.long
MANIFESTS = os.path.join(ROOT, "k8s", "manifests")
HELM = os.environ.get("RAC_HELM") or shutil.which("helm")
P = "rac-proxy.internal/"
WEBHOOK = "127.96.9.43"  # its service's address, where rac-proxy listens itself


@pytest.fixture(scope="module")
def cluster(scratch):
    absent = apiserver.missing(build=True)
    if absent:
        pytest.skip(f"not there: {' '.join(absent)}")
    a = apiserver.ApiServer(scratch)
    a.kubectl("apply", "-f", os.path.join(MANIFESTS, "namespace.yaml"))
    yield a
    a.close()


def documents(path):
    with open(path, encoding="utf-8") as f:
        return [d for d in yaml.safe_load_all(f) if d]


class Webhook:
    """rac-proxy with the webhook's own configuration, at the address of its service."""

    def __init__(self, scratch, cluster):
        self.scratch, self.cluster = scratch, cluster
        self.folder = scratch.folder("webhook")
        self.manifests = os.path.join(self.folder, "m")
        shutil.copytree(MANIFESTS, self.manifests)
        self.certificate = os.path.join(self.manifests, "webhook", "certificate")
        made = proxy.run_once(scratch, "--make-webhook-certificate", self.certificate)
        assert made.returncode == 0, made.stderr
        config = next(d for d in documents(os.path.join(MANIFESTS, "webhook", "webhook.yaml")) if d["kind"] == "ConfigMap")["data"]["config.yaml"]
        config = config.replace("/etc/rac-tls", self.certificate).replace("/var/lib/rac-proxy", os.path.join(self.folder, "data"))
        config = config.replace("/usr/share/rac/layer/layer.json", os.path.join(self.folder, "layer.json"))
        with open(os.path.join(self.folder, "layer.json"), "w", encoding="utf-8") as f:
            json.dump({"entrypoint": ["/.rac/bin/rac-init"]}, f)
        self.config = os.path.join(self.folder, "config.yaml")
        with open(self.config, "w", encoding="utf-8") as f:
            f.write(config)
        self.port = None
        self.start()

    def start(self):
        # A flag is over the file: the port is one that is free, and then it stays.
        self.proxy = proxy.Proxy(self.scratch, start=False)
        self.proxy.args = ["--config", self.config, "--listen", f"{WEBHOOK}:{self.port or 0}"]
        self.proxy.start()
        self.port = int(self.proxy.address.rsplit(":", 1)[1])

    def install(self):
        """As kustomize makes it; but for the port, which is 443 where nobody else has it."""
        made = self.scratch.run("kubectl", "kustomize", os.path.join(self.manifests, "webhook")).stdout
        for d in yaml.safe_load_all(made):
            if d["kind"] == "Service":
                d["spec"]["clusterIP"] = WEBHOOK
                d["spec"]["ports"][0]["port"] = self.port
            for w in d.get("webhooks", []):
                w["clientConfig"]["service"]["port"] = self.port
                w["timeoutSeconds"] = 30  # a machine under load is no reason to fail
            self.cluster.kubectl("apply", "-f", "-", document=d)


@pytest.fixture(scope="module")
def webhook(scratch, cluster):
    w = Webhook(scratch, cluster)
    w.install()
    for name, labels in (("shop", {"rac-proxy/rewrite": "enabled"}), ("plain", {}), ("quiet", {"rac-proxy/rewrite": "disabled"})):
        cluster.kubectl("apply", "-f", "-", document={"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
    # The API server learns of a webhook when it does.
    wait_for(lambda: image(make(cluster, "shop", "probe", dry=True)) == P + "docker.io/library/busybox:1", 60, "the webhook", step=0.5)
    yield w
    w.proxy.close()


def make(cluster, namespace, name, container=None, dry=False, check=True, metadata=None, **spec):
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": namespace, **(metadata or {})},
           "spec": {"containers": [{"name": "app", "image": "busybox:1", **(container or {})}], **spec}}
    done = cluster.kubectl("create", "-f", "-", "-o", "json", *(["--dry-run=server"] if dry else []), document=pod, check=check)
    return json.loads(done.stdout) if check else done


def image(pod):
    return pod["spec"]["containers"][0]["image"]


@pytest.mark.parametrize("name", ["rac.yaml", "cluster/rac.yaml", "replicas/rac.yaml"])
def test_it_takes_the_manifests(cluster, name):
    """All of them, strictly, and says nothing about any."""
    done = cluster.kubectl("apply", "--validate=strict", "--dry-run=server", "-f", os.path.join(MANIFESTS, name))
    assert len(done.stdout.splitlines()) == len(documents(os.path.join(MANIFESTS, name)))
    assert "Warning" not in done.stderr, done.stderr


def test_a_pod_comes_out_renamed(cluster, webhook):
    pod = make(cluster, "shop", "one", {"command": ["sh", "-c", "true"]}, initContainers=[{"name": "first", "image": "quay.io/nextflow/bash:1"}])
    assert image(pod) == P + "docker.io/library/busybox:1"
    assert pod["spec"]["initContainers"][0]["image"] == P + "quay.io/nextflow/bash:1"
    assert pod["spec"]["containers"][0]["command"] == ["/.rac/bin/rac-init", "sh", "-c", "true"]
    assert cluster.get("pod", "one", "-n", "shop")["spec"] == pod["spec"]


def test_a_dry_run_keeps_nothing(cluster, webhook):
    assert image(make(cluster, "shop", "dry", dry=True)) == P + "docker.io/library/busybox:1"
    assert cluster.kubectl("get", "pod", "dry", "-n", "shop", check=False).returncode


@pytest.mark.parametrize("namespace, metadata, renamed", [
    ("plain", {}, False), ("plain", {"labels": {"rac-proxy/rewrite": "enabled"}}, True), ("quiet", {}, False),
    ("quiet", {"labels": {"rac-proxy/rewrite": "enabled"}}, True), ("shop", {"labels": {"rac-proxy/rewrite": "disabled"}}, False),
    ("shop", {"annotations": {"rac-proxy/rewrite": "disabled"}}, False), ("kube-system", {"labels": {"rac-proxy/rewrite": "enabled"}}, False),
    ("rac", {"labels": {"rac-proxy/rewrite": "enabled"}}, False),
])
def test_who_is_asked_for(cluster, webhook, namespace, metadata, renamed):
    pod = make(cluster, namespace, "selected", metadata=metadata, dry=True)
    assert image(pod).startswith(P) == renamed


def test_a_pod_that_is_there_already(cluster, webhook):
    """A label changes nothing else; a new image is renamed; the same manifest applied again comes to the same."""
    before = make(cluster, "plain", "old")
    assert image(before) == "busybox:1"
    cluster.kubectl("label", "pod", "old", "-n", "plain", "rac-proxy/rewrite=enabled")
    assert cluster.get("pod", "old", "-n", "plain")["spec"] == before["spec"]
    cluster.kubectl("set", "image", "pod/old", "-n", "plain", "app=busybox:2")
    assert image(cluster.get("pod", "old", "-n", "plain")) == P + "docker.io/library/busybox:2"


def test_kubectl_apply_twice(cluster, webhook):
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "applied", "namespace": "shop"},
           "spec": {"containers": [{"name": "app", "image": "busybox:1"}]}}
    cluster.kubectl("apply", "-f", "-", document=pod)
    first = cluster.get("pod", "applied", "-n", "shop")
    cluster.kubectl("apply", "-f", "-", document=pod)
    assert cluster.get("pod", "applied", "-n", "shop")["spec"] == first["spec"]


def test_a_container_to_debug_with(cluster, webhook):
    make(cluster, "shop", "debugged")
    patch = {"spec": {"ephemeralContainers": [{"name": "dbg", "image": "alpine:3", "command": ["sh"]}]}}
    cluster.kubectl("patch", "pod", "debugged", "-n", "shop", "--subresource", "ephemeralcontainers", "-p", json.dumps(patch))
    added, = cluster.get("pod", "debugged", "-n", "shop")["spec"]["ephemeralContainers"]
    assert (added["image"], added["command"]) == (P + "docker.io/library/alpine:3", ["/.rac/bin/rac-init", "sh"])


def test_a_dead_webhook_stops_nobody(cluster, webhook):
    webhook.proxy.stop()
    try:
        assert image(make(cluster, "shop", "lucky", dry=True)) == "busybox:1"
    finally:
        webhook.start()
    wait_for(lambda: image(make(cluster, "shop", "again", dry=True)).startswith(P), 60, "the webhook again", step=0.5)


@pytest.mark.parametrize("name", ["redis.yaml", "s3.yaml", "app.yaml"])
def test_it_takes_the_development_cluster(cluster, name):
    for namespace in ("rac-dev", "demo"):  # where a dry run puts the rest
        cluster.kubectl("apply", "-f", "-", document={"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
    path = os.path.join(ROOT, "k8s", "dev", name)
    done = cluster.kubectl("apply", "--validate=strict", "--dry-run=server", "-f", path)
    assert len(done.stdout.splitlines()) == len(documents(path))
    assert "unknown field" not in done.stderr, done.stderr


@pytest.mark.skipif(not HELM, reason="no helm")
def test_helm_installs_replicas(scratch, cluster):
    """All that a deployment can have: installed, scaled by hand and by an autoscaler, and away again without a trace."""
    def helm(*args, check=True):
        return scratch.run(HELM, "--kubeconfig", cluster.config, "--namespace", "wide", *args, env={"HOME": scratch.folder("helm")}, check=check)
    chart = os.path.join(ROOT, "k8s", "chart", "rac")
    values = ["--set", "mode=deployment,mirror.enabled=false,webhook.enabled=false,deployment.replicas=3,service.type=LoadBalancer,"
                       "service.externalTrafficPolicy=Local,state.redis.url=redis+sentinel://s1.lab\\,s2.lab/main,state.redis.password=word,"
                       "ingress.enabled=true,ingress.host=images.lab,deployment.spread=DoNotSchedule",
              "--set-string", "blobs.s3.url=s3://rac?endpoint=http://s3.lab:9000,blobs.s3.accessKeyId=a,blobs.s3.secretAccessKey=b"]
    refused = helm("install", "wide", chart, "--create-namespace", "--set", "mode=deployment,mirror.enabled=false,deployment.replicas=3", check=False)
    assert refused.returncode and "state.redis.url names the Redis" in refused.stderr
    helm("install", "wide", chart, "--create-namespace", *values)
    made = cluster.get("deployment", "wide-proxy", "-n", "wide")["spec"]
    assert (made["replicas"], made["strategy"]["type"]) == (3, "RollingUpdate")
    container = made["template"]["spec"]["containers"][0]
    assert container["readinessProbe"]["httpGet"]["path"] == "/readyz?exclude=state"
    assert container["lifecycle"]["preStop"] == {"sleep": {"seconds": 5}}  # this API knows it
    assert cluster.get("pdb", "wide-proxy", "-n", "wide")["spec"]["maxUnavailable"] == 1
    policy = cluster.get("networkpolicy", "wide-proxy", "-n", "wide")["spec"]
    assert {p["port"] for r in policy["egress"] for p in r["ports"]} == {53, 80, 443, 9000, 9090, 6379, 26379}
    helm("upgrade", "wide", chart, "--reuse-values", "--set", "deployment.autoscaling.enabled=true,deployment.autoscaling.minReplicas=3")
    scaler = cluster.get("hpa", "wide-proxy", "-n", "wide")["spec"]
    assert (scaler["minReplicas"], scaler["maxReplicas"], scaler["scaleTargetRef"]["name"]) == (3, 6, "wide-proxy")
    account = cluster.kubectl("auth", "can-i", "--list", "--as=system:serviceaccount:wide:wide-proxy", "-n", "wide").stdout
    assert "secrets" not in account and "pods" not in account and "*.*" not in account, account
    helm("uninstall", "wide")
    left = cluster.get("all,configmap,secret,networkpolicy,pdb,hpa,ingress,pvc,serviceaccount", "-n", "wide")["items"]
    assert [i["metadata"]["name"] for i in left if i["metadata"]["name"].startswith("wide-")] == []


@pytest.mark.skipif(not HELM, reason="no helm")
def test_helm_installs_it_and_keeps_its_certificate(scratch, cluster):
    def helm(*args):
        return scratch.run(HELM, "--kubeconfig", cluster.config, "--namespace", "edge", *args, env={"HOME": scratch.folder("helm")})
    chart = os.path.join(ROOT, "k8s", "chart", "rac")
    helm("install", "edge", chart, "--create-namespace")
    secret = cluster.get("secret", "edge-proxy-webhook-certificate", "-n", "edge")["data"]
    helm("upgrade", "edge", chart, "--set", "webhook.pullPolicy=always,mirror.remove=true")
    assert cluster.get("secret", "edge-proxy-webhook-certificate", "-n", "edge")["data"] == secret
    made = cluster.get("mutatingwebhookconfiguration", "edge-proxy-webhook")
    assert {w["clientConfig"]["caBundle"] for w in made["webhooks"]} == {secret["ca.crt"]}
    helm("uninstall", "edge")
    left = cluster.get("all,configmap,secret,networkpolicy,pdb,serviceaccount", "-n", "edge")["items"]
    assert [i["metadata"]["name"] for i in left if i["metadata"]["name"].startswith("edge-")] == []
