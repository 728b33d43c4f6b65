# SPDX-License-Identifier: Apache-2.0
"""Pods that run: the manifests of k8s/ on a real API server, a real kubelet and a real containerd: proxy, mirror set-up and webhook as pods
of one node, and pods of users beside them. What a cluster has besides is done here by hand: a DaemonSet's pod is made of its template, a
service has an address that leads to the node, and pods are on the node's network. With --long, where there is etcd, kubectl, containerd,
a kube-apiserver and a kubelet (RAC_APISERVER, RAC_KUBELET, or Go to build those of tests/apiserver and tests/kubelet)."""
import json
import os
import re
import shutil
import subprocess

import pytest
import yaml

from rig import apiserver, images, kubelet, proxy, redis, upstream, wire
from rig.process import wait_for
from rig.proxy import ROOT
from rig.radosgw import free_port

pytestmark = pytest.mark.long
MANIFESTS = os.path.join(ROOT, "k8s", "manifests")
P = "rac-proxy.internal"
WEBHOOK = "127.96.9.44"
HELLO = "Hello injected world!\n"


def whole_busybox():
    """With every program of it: that of the tests has the few that they use."""
    names = subprocess.run([images.BUSYBOX, "--list"], check=True, capture_output=True, text=True).stdout.split()
    return images.image([images.tar([("bin", None), ("bin/busybox", images.read(images.BUSYBOX)),
                                     *[(f"bin/{name}", ("->", "busybox")) for name in names if name != "busybox"]])],
                        {"Cmd": ["sh"], "Env": [images.PATH_ENV]})


@pytest.fixture(scope="module")
def hub():
    """docker.io of this world."""
    u = upstream.Upstream()
    u.tag("library/busybox", "1.37.0", whole_busybox())
    u.tag("library/busybox", "latest", images.busybox())
    u.tag("library/other", "latest", images.shell_form())
    u.tag("rac/pause", "1", kubelet.pause())
    yield u
    u.close()


class Edge:
    """A cluster of one node with the plain manifests in it."""

    def __init__(self, scratch, authority, hub):
        self.scratch, self.hub = scratch, hub
        self.port, self.webhook_port = free_port(), free_port()
        self.cluster = apiserver.ApiServer(scratch, authority=authority)
        self.kubectl = self.cluster.kubectl
        self.node = kubelet.Node(scratch, self.cluster, hub.address)
        archive = os.path.join(scratch.folder("image"), "rac-proxy.tar")
        scratch.run(os.path.join(ROOT, "packaging", "image"), archive)
        scratch.run("ctr", "-a", os.path.join(self.node.folder, "containerd.sock"), "-n", "k8s.io", "images", "import", archive)
        self.node.mirror("docker.io", hub.address)
        self.data = scratch.folder("cache")

    def manifests(self, folder):
        """As kustomize makes them, but for what is of this machine: ports, folders, and where docker.io is."""
        copy = os.path.join(self.scratch.folder("manifests"), "m")
        shutil.copytree(MANIFESTS, copy)
        if folder == "webhook":
            made = proxy.run_once(self.scratch, "--make-webhook-certificate", os.path.join(copy, "webhook", "certificate"))
            assert made.returncode == 0, made.stderr
        text = self.scratch.run("kubectl", "kustomize", os.path.join(copy, folder)).stdout
        here = {"9090": str(self.port), "9443": str(self.webhook_port), "path: /var/lib/rac-proxy": f"path: {self.data}",
                "path: /etc/containerd/certs.d": f"path: {self.node.hosts}"}
        # At one go: a free port may have the digits of another in it.
        text = re.sub("|".join(map(re.escape, here)), lambda found: here[found[0]], text)
        for m in yaml.safe_load_all(text):
            if m["kind"] == "ConfigMap" and m["metadata"]["name"] == "rac-proxy":
                config = yaml.safe_load(m["data"]["config.yaml"])
                assert config.pop("open") is True
                config.update({"access.anonymous": "pull,read-records", "upstreams": [{"name": "docker.io", "url": self.hub.url}]})
                m["data"]["config.yaml"] = yaml.safe_dump(config)
            if m["kind"] == "Service" and folder == "webhook":
                m["spec"]["clusterIP"] = WEBHOOK
                m["spec"]["ports"][0]["port"] = self.webhook_port
            for w in m.get("webhooks", []):
                w["clientConfig"]["service"]["port"] = self.webhook_port
                w["timeoutSeconds"] = 30
            yield m

    def install(self, folder):
        for m in self.manifests(folder):
            self.kubectl("apply", "-f", "-", document=m)
            if m["kind"] in ("DaemonSet", "Deployment"):
                self.pod(m)

    def pod(self, workload):
        template = workload["spec"]["template"]
        spec = {**template["spec"], "nodeName": self.node.name, "hostNetwork": True}
        self.kubectl("apply", "-f", "-", document={"apiVersion": "v1", "kind": "Pod", "spec": spec, "metadata": {
            **template["metadata"], "name": workload["metadata"]["name"], "namespace": "rac"}})

    def ready(self, name, namespace="rac"):
        pod = self.cluster.get("pod", name, "-n", namespace)
        return any(c["type"] == "Ready" and c["status"] == "True" for c in pod["status"].get("conditions", []))

    def wait_ready(self, name):
        try:
            wait_for(lambda: self.ready(name), 300, f"pod {name}", step=0.5)
        except AssertionError as e:
            said = self.kubectl("logs", name, "-n", "rac", "--all-containers", check=False)
            events = self.kubectl("get", "event", "-n", "rac", check=False)
            raise AssertionError(f"{e}\n{said.stdout[-2000:]}{said.stderr[-500:]}{events.stdout[-3000:]}") from None

    def run(self, name, image, *command, options=(), namespace="default"):
        """kubectl run, to its end: what it printed."""
        here = json.dumps({"spec": {"nodeName": self.node.name, "hostNetwork": True}})
        self.kubectl("run", name, "--image", image, "--restart", "Never", "-n", namespace, "--overrides", here, *options, "--", *command)
        self.over(name, namespace)
        return self.kubectl("logs", name, "-n", namespace).stdout

    def over(self, name, namespace="default"):
        def phase():
            return self.cluster.get("pod", name, "-n", namespace)["status"]["phase"]
        wait_for(lambda: phase() in ("Succeeded", "Failed"), 300, f"the end of pod {name}", step=0.5)
        said = self.kubectl("logs", name, "-n", namespace, check=False).stdout
        assert phase() == "Succeeded", said

    def waits(self, name):
        """Why its container does not start; empty if it does."""
        for status in self.cluster.get("pod", name)["status"].get("containerStatuses", []):
            return status["state"].get("waiting", {}).get("reason", "")
        return ""

    def close(self):
        self.node.close()
        self.cluster.close()


@pytest.fixture(scope="module")
def edge(scratch, authority, hub):
    absent = apiserver.missing(build=True) + kubelet.missing(build=True)
    if absent:
        pytest.skip(f"not there: {' '.join(absent)}")
    if not os.path.exists(os.path.join(ROOT, "build", "layer", "layer.json")):
        pytest.skip("not built: ./run.sh --build-only")
    e = Edge(scratch, authority, hub)
    try:
        e.install(".")
        for name in ("rac-proxy", "rac-proxy-mirror"):
            e.wait_ready(name)
        wait_for(lambda: os.path.exists(os.path.join(e.node.hosts, P, "hosts.toml")), 60, "hosts.toml")
        e.install("webhook")
        e.wait_ready("rac-proxy-webhook")
        e.kubectl("create", "namespace", "shop")
        e.kubectl("label", "namespace", "shop", "rac-proxy/rewrite=enabled")
        wait_for(lambda: e.kubectl("run", "probe", "--image", "busybox", "-n", "shop", "--dry-run=server", "-o",
                                   "jsonpath={.spec.containers[0].image}").stdout.startswith(P), 60, "the webhook", step=0.5)
        yield e
    finally:
        e.close()


class Replicas:
    """Two pods of the manifests for replicas, as one could be: each on a port of its own, since they share the node's network."""

    def __init__(self, edge, redis):
        password, place = proxy.secret("the-word-for-redis-of-test-kubelet"), free_port()
        for setting in (("bind", "127.0.0.1"), ("port", str(place)), ("requirepass", password)):
            assert redis.ask("CONFIG", "SET", *setting) == b"+OK\r\n", setting
        self.redis = redis
        edge.kubectl("create", "secret", "generic", "rac-redis", "-n", "rac", f"--from-literal=password={password}")
        # Its service account is the edge's already, its configuration and its pods have other names.
        found = [m for m in edge.manifests("replicas") if (m["kind"], m["metadata"]["name"]) in (("ConfigMap", "rac-proxy"), ("Deployment", "rac-proxy"))]
        config, workload = sorted(found, key=lambda m: m["kind"])
        self.addresses = {}
        for name in ("one", "two"):
            port = free_port()
            self.addresses[name] = f"127.0.0.1:{port}"
            text = re.sub(rf"\b{edge.port}\b", str(port), json.dumps([config, workload])).replace("redis://redis:6379", f"redis://127.0.0.1:{place}")
            mine, pod = json.loads(text)
            mine["metadata"]["name"] = pod["metadata"]["name"] = f"replica-{name}"
            spec = pod["spec"]["template"]["spec"]
            for volume in spec["volumes"]:
                if volume["name"] == "config":
                    volume["configMap"]["name"] = f"replica-{name}"
                if "ephemeral" in volume:  # nobody makes volumes of claims here
                    volume["emptyDir"] = {}
                    del volume["ephemeral"]
            edge.kubectl("apply", "-f", "-", document=mine)
            edge.pod(pod)
        for name in self.addresses:
            edge.wait_ready(f"replica-{name}")


@pytest.fixture
def replicas(edge, scratch):
    if redis.Redis.missing():
        pytest.skip("no redis-server")
    r = redis.Redis(scratch)
    yield Replicas(edge, r)
    r.close()


def test_replicas_stay_in_service_while_redis_is_away(edge, replicas, hub):
    """With the probes, the Secret and the peer addresses that the manifests give them: one download for both, a state that is one, and
    a Redis that dies takes neither out of service."""
    image = images.random_image("replicas", [300000])
    hub.tag("lib/wide", "1", image)
    one, two = replicas.addresses.values()

    def whole(address):
        got = wire.fetch(address, "GET", "/v2/lib/wide/manifests/1", {"Accept": wire.MANIFEST_TYPES})
        assert got.status == 200, got.body
        layer = got.json["layers"][0]["digest"]
        blob = wire.fetch(address, "GET", f"/v2/lib/wide/blobs/{layer}")
        assert (blob.status, blob.digest) == (200, layer)
        return got.digest

    def probes(address):
        figures = wire.fetch(address, "GET", "/metrics").body.decode()
        return int(re.search(r'^rac_requests_total\{route="readyz",status="200"\} (\d+)', figures, re.M)[1])
    assert whole(one) == whole(two)
    assert hub.count(f"GET /v2/lib/wide/blobs/{image.layers[0]}") == 1
    replicas.redis.kill()
    wait_for(lambda: wire.fetch(one, "GET", "/readyz").status == 503, 60, "that Redis is gone is seen")
    before = {address: probes(address) for address in (one, two)}
    # Three that fail take a pod out.
    wait_for(lambda: all(probes(a) >= before[a] + 4 for a in before), 120, "four more probes of each", step=0.5)
    for name in replicas.addresses:
        assert edge.ready(f"replica-{name}")
    assert whole(one) == whole(two)


def test_an_image_by_the_proxys_name(edge):
    """The seed's line."""
    here = json.dumps({"spec": {"nodeName": edge.node.name, "hostNetwork": True}})
    said = edge.kubectl("run", "busybox", "--image", f"{P}/library/busybox", "--image-pull-policy", "Always", "--restart", "Never",
                        "--attach=true", "--pod-running-timeout=110s", "--overrides", here, "--", "cat", "/.rac/hello.txt")
    assert HELLO in said.stdout, said


def test_a_pod_that_says_nothing_of_it(edge):
    """Renamed by the webhook, pulled by the kubelet, recorded under the node's name."""
    assert edge.run("plain", "other", namespace="shop", options=["--env", "GREETING=good day"]).startswith("shell says good day")
    pod = edge.cluster.get("pod", "plain", "-n", "shop")
    assert pod["spec"]["containers"][0]["image"] == f"{P}/docker.io/library/other:latest"

    def pulled():
        answer = wire.fetch(f"127.0.0.1:{edge.port}", "GET", "/v1/pulls?kind=pull")
        assert answer.status == 200, answer.body
        return [(r["repository"], r["node"]) for r in answer.json["pulls"]]
    wait_for(lambda: ("library/other", edge.node.name) in pulled(), 30, "the record")


def test_a_command_of_its_own_has_the_entry_point_in_front(edge):
    said = edge.run("own", "busybox", "sh", "-c", "cat /.rac/hello.txt; tr '\\0' ' ' </proc/1/cmdline", options=["--command"], namespace="shop")
    pod = edge.cluster.get("pod", "own", "-n", "shop")
    assert pod["spec"]["containers"][0]["command"][:2] == ["/.rac/bin/rac-init", "sh"]
    assert said.startswith(HELLO), said


def test_s3_in_a_privileged_pod(edge, gateway, bucket):
    bucket.put("folder/hello.txt", b"hello from S3\n")
    variables = {**gateway.environment(), "NXF_FUSION_BUCKETS": bucket.name}
    said = edge.run("s3", f"{P}/library/busybox", "cat", f"/fusion/s3/{bucket.name}/folder/hello.txt",
                    options=["--privileged", *(word for k, v in variables.items() for word in ("--env", f"{k}={v}"))])
    assert said == "hello from S3\n"


def test_the_proxys_pod_dies_and_comes_back(edge):
    """It drains in its time; a pod that needs it waits, and runs once it is there again."""
    edge.kubectl("delete", "pod", "rac-proxy", "-n", "rac", "--wait", "--timeout=100s")
    here = json.dumps({"spec": {"nodeName": edge.node.name, "hostNetwork": True}})
    edge.kubectl("run", "patient", "--image", f"{P}/library/busybox", "--image-pull-policy", "Always", "--restart", "Never", "--overrides", here,
                 "--", "cat", "/.rac/hello.txt")
    wait_for(lambda: edge.waits("patient") in ("ErrImagePull", "ImagePullBackOff"), 60, "that it cannot be pulled", step=0.5)
    edge.pod(next(m for m in edge.manifests(".") if m["kind"] == "DaemonSet" and m["metadata"]["name"] == "rac-proxy"))
    edge.wait_ready("rac-proxy")
    edge.over("patient")
    assert edge.kubectl("logs", "patient").stdout == HELLO
