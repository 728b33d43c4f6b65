# SPDX-License-Identifier: Apache-2.0
"""k8s/: the chart, and the plain manifests made from it. Rendered where there is a helm (in PATH, or named by RAC_HELM); what is
committed is checked in any case, against the schemas of the API and by rac-proxy itself."""
import base64
import copy
import functools
import json
import os
import shutil
import subprocess

import jsonschema
import pytest
import yaml

from rig import proxy
from rig.proxy import ROOT

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
K8S = os.path.join(ROOT, "k8s")
CHART = os.path.join(K8S, "chart", "rac")
HELM = os.environ.get("RAC_HELM") or shutil.which("helm")
with open(os.path.join(ROOT, "tests", "fixtures", "kubernetes", "schema-1.32.json"), encoding="utf-8") as _f:
    SCHEMA = json.load(_f)
# Of operators, whose schemas are theirs.
FOREIGN = {"monitoring.coreos.com/v1 ServiceMonitor", "cert-manager.io/v1 Issuer", "cert-manager.io/v1 Certificate"}
PLAIN = ["namespace.yaml", "rac.yaml", "cluster/namespace.yaml", "cluster/rac.yaml", "replicas/namespace.yaml", "replicas/rac.yaml",
         "webhook/webhook.yaml"]
REPLICAS = "mode=deployment,mirror.enabled=false,deployment.replicas=3,state.redis.url=redis://rac@redis.lab:6380/1"
WITH_HELM = {
    "default": [],
    "cluster": ["--set", "mode=deployment,service.type=NodePort,service.nodePort=30909"],
    "ingress": ["--set", "mode=deployment,mirror.enabled=false,ingress.enabled=true,ingress.host=images.lab,ingress.className=nginx,"
                         "ingress.tlsSecretName=t,deployment.existingClaim=mine,networkPolicy.enabled=false"],
    "all": ["--set", "tls.secretName=tls,secretName=passwords,serviceMonitor.enabled=true,webhook.failurePolicy=Fail,"
                     "webhook.pullPolicy=always,mirror.registries={docker.io,quay.io},priorityClassName=system-node-critical,"
                     "daemonset.hostIP=,imagePullSecrets[0].name=pull,webhook.architectures={amd64,arm64},webhook.clients={kube-apiserver},"
                     "webhook.clientCASecretName=ca,nodeSelector.a=b,service.loadBalancerSourceRanges={10.0.0.0/8}",
            "--set-json", 'upstreams=[{"name":"lab","url":"http://registry.lab:5000","username":"u","password-file":"/etc/rac-secrets/lab"}]',
            "--set-json", 'networkPolicy.from=[{"ipBlock":{"cidr":"10.0.0.0/8"}}]',
            "--set-json", 'extraVolumes=[{"name":"more","configMap":{"name":"more"}}]',
            "--set-json", 'extraVolumeMounts=[{"name":"more","mountPath":"/etc/rac-more"}]'],
    "cert-manager": ["--set", "webhook.certificate.from=cert-manager"],
    "issuer": ["--set", "webhook.certificate.from=cert-manager,webhook.certificate.issuer.kind=ClusterIssuer,webhook.certificate.issuer.name=ca"],
    "replicas": ["--set", f"{REPLICAS},state.redis.secretName=redis,state.redis.secretKey=key,service.type=LoadBalancer,"
                          "service.externalTrafficPolicy=Local,deployment.spread=DoNotSchedule",
                 "--set-json", 'affinity={"nodeAffinity":{"requiredDuringSchedulingIgnoredDuringExecution":{"nodeSelectorTerms":'
                               '[{"matchExpressions":[{"key":"a","operator":"Exists"}]}]}}}'],
    "autoscaling": ["--set", "mode=deployment,mirror.enabled=false,deployment.autoscaling.enabled=true,deployment.volume=emptyDir,deployment.size=20Gi,"
                             "state.redis.url=redis+sentinel://s1.lab\\,s2.lab:26380/main,state.redis.password=only-in-the-secret",
                    "--set-json", 'config={"cache.size":"16GiB","open":true}'],
    "replicas for some": ["--set", f"{REPLICAS},state.redis.secretName=redis", "--set-json", 'networkPolicy.from=[{"ipBlock":{"cidr":"10.0.0.0/8"}}]'],
    "edge with redis": ["--set", "state.redis.url=redis://redis.lab"],
    "s3": ["--set-string", "blobs.s3.url=s3://rac/edge?endpoint=http://s3.lab:9000&path-style=1,blobs.s3.accessKeyId=AKIA,"
                           "blobs.s3.secretAccessKey=only-in-the-secret"],
    "s3 by a role": ["--set-string", "blobs.s3.url=s3://rac/edge?region=eu-central-1,"
                                     r"serviceAccount.annotations.eks\.amazonaws\.com/role-arn=arn:aws:iam::1:role/rac"],
    "dev": ["--values", os.path.join(K8S, "dev", "values.yaml")],
    "small": ["--set", "webhook.enabled=false,mirror.enabled=false"],
    "removed": ["--set", "mirror.remove=true"],
}
needs_helm = pytest.mark.skipif(not HELM, reason="no helm: the plain manifests are checked all the same")


def helm(*args, check=True):
    return subprocess.run([HELM, *args], capture_output=True, text=True, check=check, timeout=60)


def template(words, check=True):
    return helm("template", "rac", CHART, "--namespace", "rac", "--kube-version", "1.32.0", *words, check=check)


@functools.lru_cache(None)
def rendered(name):
    return list(yaml.load_all(template(WITH_HELM[name]).stdout, Loader=LOADER))


@functools.lru_cache(None)
def plain(name):
    with open(os.path.join(K8S, "manifests", name), encoding="utf-8") as f:
        return list(yaml.load_all(f, Loader=LOADER))


@pytest.fixture(params=[f"plain/{n}" for n in PLAIN] + [pytest.param(f"helm/{n}", marks=needs_helm) for n in WITH_HELM])
def manifests(request):
    where, _, name = request.param.partition("/")
    found = [m for m in (plain(name) if where == "plain" else rendered(name)) if m]
    assert found
    return found


def validate(manifest):
    kind = f"{manifest['apiVersion']} {manifest['kind']}"
    if kind not in FOREIGN:
        schema = {"$ref": "#/definitions/" + SCHEMA["kinds"][kind], "definitions": SCHEMA["definitions"]}
        jsonschema.Draft7Validator(schema).validate(manifest)


def of(manifests, kind):
    return [m for m in manifests if m["kind"] == kind]


def workloads(manifests):
    return of(manifests, "Deployment") + of(manifests, "DaemonSet")


def pods(manifests):
    return [m["spec"]["template"] for m in workloads(manifests)]


def containers(pod):
    return pod["spec"].get("initContainers", []) + pod["spec"]["containers"]


def test_the_api_would_take_them(manifests):
    names = [(m["kind"], m["metadata"]["name"]) for m in manifests]
    assert len(names) == len(set(names))
    for manifest in manifests:
        validate(manifest)


@pytest.mark.parametrize("name", ["redis.yaml", "s3.yaml", "app.yaml"])
def test_the_api_would_take_those_of_the_development_cluster(name):
    with open(os.path.join(K8S, "dev", name), encoding="utf-8") as f:
        for manifest in yaml.load_all(f, Loader=LOADER):
            validate(manifest)


def test_the_schema_can_refuse():
    good = of(plain("rac.yaml"), "DaemonSet")[0]
    validate(good)
    for change in ({"spec": {**good["spec"], "replicas": 2}}, {"spec": {"selector": {}}}, {"speck": {}},
                   {"spec": {**good["spec"], "minReadySeconds": "5"}}):
        with pytest.raises(jsonschema.ValidationError):
            validate({**copy.deepcopy(good), **change})


def test_no_more_rights_than_needed(manifests):
    """No role at all, no token, no capability but the one that the folder of a node needs, nothing writable that need not be."""
    assert not {m["kind"] for m in manifests} & {"Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding"}
    for account in of(manifests, "ServiceAccount"):
        assert account["automountServiceAccountToken"] is False
    for pod in pods(manifests):
        spec = pod["spec"]
        assert spec["automountServiceAccountToken"] is False and spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec)
        for c in containers(pod):
            security = c["securityContext"]
            assert security["allowPrivilegeEscalation"] is False and security["readOnlyRootFilesystem"] is True
            assert "privileged" not in security
            wanted = {"drop": ["ALL"], "add": ["CHOWN"]} if c["name"] == "folder" else {"drop": ["ALL"]}
            assert security["capabilities"] == wanted
            assert c["resources"]["limits"]["memory"]
            if c["name"] in ("proxy", "webhook"):
                assert spec["securityContext"]["runAsNonRoot"] is True and spec["securityContext"]["runAsUser"] == 65532
                assert {"startupProbe", "livenessProbe", "readinessProbe"} <= set(c)
        writable = {v["hostPath"]["path"] for v in spec["volumes"] if "hostPath" in v}
        assert writable <= {"/var/lib/rac-proxy", "/etc/containerd/certs.d"}


def test_names_meet(manifests):
    """Every selector finds a pod, every volume is there, every port that is named has a number."""
    for w in workloads(manifests):
        pod = w["spec"]["template"]
        assert w["spec"]["selector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
        volumes = {v["name"] for v in pod["spec"]["volumes"]}
        for c in containers(pod):
            assert {m["name"] for m in c.get("volumeMounts", [])} <= volumes
            assert len({m["mountPath"] for m in c["volumeMounts"]}) == len(c["volumeMounts"])
        for v in pod["spec"]["volumes"]:
            if v.get("configMap", {}).get("name", "").startswith("rac-"):
                assert v["configMap"]["name"] in [m["metadata"]["name"] for m in of(manifests, "ConfigMap")]
    labels = [p["metadata"]["labels"] for p in pods(manifests)]
    ports = {p["name"] for pod in pods(manifests) for c in containers(pod) for p in c.get("ports", [])}
    for s in of(manifests, "Service"):
        assert any(s["spec"]["selector"].items() <= have.items() for have in labels)
        assert {p["targetPort"] for p in s["spec"]["ports"]} <= ports
    for m in of(manifests, "NetworkPolicy") + of(manifests, "PodDisruptionBudget"):
        key = "podSelector" if m["kind"] == "NetworkPolicy" else "selector"
        assert any(m["spec"][key]["matchLabels"].items() <= have.items() for have in labels), m["metadata"]["name"]
    # None of our own pods comes back to us.
    assert all(have["rac-proxy/rewrite"] == "disabled" for have in labels)


def test_the_webhook_never_asks_about_what_it_stands_on(manifests):
    for m in of(manifests, "MutatingWebhookConfiguration"):
        assert {w["name"] for w in m["webhooks"]} == {"namespaces.rac-proxy.internal", "pods.rac-proxy.internal"}
        for w in m["webhooks"]:
            exempt = w["namespaceSelector"]["matchExpressions"][0]
            assert exempt["operator"] == "NotIn" and {"kube-system", "rac"} <= set(exempt["values"])
            service = w["clientConfig"]["service"]
            assert service["name"] in [s["metadata"]["name"] for s in of(manifests, "Service")]
            assert (service["path"], w["sideEffects"], w["admissionReviewVersions"]) == ("/k8s/mutate", "None", ["v1"])


def test_rac_proxy_takes_the_configuration(manifests, scratch):
    """What a ConfigMap says is valid, once the files that it names are those of this machine."""
    folder = scratch.folder("chart")
    scratch.run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", f"{folder}/tls.key", "-out", f"{folder}/tls.crt",
                "-subj", "/CN=a")
    for name, content in (("layer.json", '{"env":["A=1"]}'), ("lab", "secret\n"), ("password", "secret\n")):
        with open(os.path.join(folder, name), "w", encoding="utf-8") as f:
            f.write(content)
    shutil.copy(f"{folder}/tls.crt", f"{folder}/ca.crt")
    for m in of(manifests, "ConfigMap"):
        if "config.yaml" not in m["data"]:
            continue
        text = m["data"]["config.yaml"]
        assert yaml.safe_load(text)["data"] == "/var/lib/rac-proxy"
        if "webhook" in m["metadata"]["name"]:
            assert "password" not in text and "username" not in text
        for there in ("/etc/rac-redis", "/etc/rac-tls", "/etc/rac-client-ca", "/usr/share/rac/layer", "/etc/rac-secrets"):
            text = text.replace(there, folder)
        path = os.path.join(folder, "config.yaml")
        with open(path, "w", encoding="utf-8") as f:
            f.write(text.replace("/var/lib/rac-proxy", f"{folder}/data"))
        done = proxy.run_once(scratch, "--config", path, "--check-config")
        assert done.returncode == 0, done.stderr


def test_a_pod_has_the_time_to_end(manifests):
    """What the kubelet gives a proxy is more than it takes: while it waits to be forgotten, and while it drains."""
    graces = {m["metadata"]["name"]: yaml.safe_load(m["data"]["config.yaml"]).get("shutdown.grace", "30s")
              for m in of(manifests, "ConfigMap") if "config.yaml" in m["data"]}
    for w in workloads(manifests):
        if w["metadata"]["name"] in graces:
            spec = w["spec"]["template"]["spec"]
            before = spec["containers"][0].get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
            grace = int(graces[w["metadata"]["name"]].removesuffix("s"))
            assert spec.get("terminationGracePeriodSeconds", 30) > before + grace, w["metadata"]["name"]
            # Behind a service it is asked until all have heard that it ends.
            assert bool(before) == (w["kind"] == "Deployment"), w["metadata"]["name"]


def test_replicas(manifests):
    """Several proxies: a state that they share, a disk of its own for each, and never all of them away because of one thing."""
    config = next((yaml.safe_load(m["data"]["config.yaml"]) for m in of(manifests, "ConfigMap") if m["metadata"]["name"] == "rac-proxy"), {})
    proxies = [w for w in workloads(manifests) if w["metadata"]["name"] == "rac-proxy"]
    for w in proxies:
        container = w["spec"]["template"]["spec"]["containers"][0]
        ready = container["readinessProbe"]["httpGet"]["path"]
        if "state" not in config:
            assert ready == "/readyz"
            if w["kind"] == "Deployment":
                assert (w["spec"]["replicas"], w["spec"]["strategy"]) == (1, {"type": "Recreate"})
            continue
        assert ready == "/readyz?exclude=state"
        if w["kind"] == "DaemonSet":
            continue
        assert w["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
        assert container["lifecycle"]["preStop"]["sleep"]["seconds"] > 0
        data, = [v for v in w["spec"]["template"]["spec"]["volumes"] if v["name"] == "data"]
        assert {"ephemeral", "emptyDir"} & set(data) and not of(manifests, "PersistentVolumeClaim")
        budget, = [b for b in of(manifests, "PodDisruptionBudget") if b["metadata"]["name"] == "rac-proxy"]
        assert budget["spec"]["maxUnavailable"] == 1
        spread = w["spec"]["template"]["spec"]["topologySpreadConstraints"]
        assert [s["topologyKey"] for s in spread] == ["kubernetes.io/hostname", "topology.kubernetes.io/zone"]
        scaled = of(manifests, "HorizontalPodAutoscaler")
        # Who says how many there are is one of the two.
        assert ("replicas" in w["spec"]) != bool(scaled)
        for h in scaled:
            assert h["spec"]["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": "Deployment", "name": w["metadata"]["name"]}


def ports(rules):
    return {p["port"] for r in rules for p in r.get("ports", [])}


@needs_helm
@pytest.mark.parametrize("name, wanted", [("default", set()), ("replicas", {6380}), ("autoscaling", {26379, 26380, 6379}),
                                          ("edge with redis", {6379})])
def test_the_way_to_redis_is_open(name, wanted):
    policy, = [p for p in of(rendered(name), "NetworkPolicy") if p["metadata"]["name"] == "rac-proxy"]
    assert ports(policy["spec"]["egress"]) == {53, 443, 80} | wanted | ({9090} if wanted else set())


@needs_helm
@pytest.mark.parametrize("url, wanted", [
    ("s3://rac/edge?endpoint=http://s3.lab:9000&path-style=1", {9000}), ("s3://rac?region=a&endpoint=https://10.0.0.7:8443", {8443}),
    ("s3://rac?endpoint=http%3A%2F%2Fs3.lab%3A9000%2Fdeep&path-style=1", {9000}), ("s3://rac?endpoint=http://s3.lab/x:1", set()),
    ("s3://rac?region=eu-central-1", set()), ("s3://rac/e:7?endpoint=https://s3.lab", set()),
])
def test_the_way_to_s3_is_open(url, wanted):
    made = list(yaml.load_all(template(["--set-string", f"blobs.s3.url={url}"]).stdout, Loader=LOADER))
    policy, = [p for p in of(made, "NetworkPolicy") if p["metadata"]["name"] == "rac-proxy"]
    assert ports(policy["spec"]["egress"]) == {53, 443, 80} | wanted


@needs_helm
def test_the_keys_of_the_bucket_are_in_a_secret_alone():
    made = rendered("s3")
    secret, = [s for s in of(made, "Secret") if s["metadata"]["name"] == "rac-proxy-s3"]
    assert {k: base64.b64decode(v).decode() for k, v in secret["data"].items()} == {"AWS_ACCESS_KEY_ID": "AKIA",
                                                                                   "AWS_SECRET_ACCESS_KEY": "only-in-the-secret"}
    assert "only-in-the-secret" not in json.dumps([m for m in made if m["kind"] != "Secret"])
    for w in workloads(made):
        for c in containers(w["spec"]["template"]):
            refs = {e["name"]: e["valueFrom"]["secretKeyRef"] for e in c.get("env", []) if "secretKeyRef" in e.get("valueFrom", {})}
            assert set(refs) == ({"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"} if c["name"] == "proxy" else set())
            assert all((r["name"], r["key"], r["optional"]) == ("rac-proxy-s3", name, name == "AWS_SESSION_TOKEN") for name, r in refs.items())
    account, = of(rendered("s3 by a role"), "ServiceAccount")
    assert account["metadata"]["annotations"] == {"eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/rac"}


@needs_helm
@pytest.mark.parametrize("name, from_proxies, from_others", [
    ("default", False, False), ("cluster", False, True), ("edge with redis", True, False), ("all", False, True), ("replicas for some", True, True),
    ("replicas", False, True),  # everybody: nodes are no pods
])
def test_replicas_reach_each_other(name, from_proxies, from_others):
    made = rendered(name)
    policy, = [p for p in of(made, "NetworkPolicy") if p["metadata"]["name"] == "rac-proxy"]
    proxies = {"matchLabels": policy["spec"]["podSelector"]["matchLabels"]}
    rules = [r.get("from") for r in policy["spec"]["ingress"]]
    assert ([{"podSelector": proxies}] in rules, any(r != [{"podSelector": proxies}] for r in rules)) == (from_proxies, from_others)
    w, = [w for w in workloads(made) if w["metadata"]["name"] == "rac-proxy"]
    env = {e["name"]: e.get("value") for e in w["spec"]["template"]["spec"]["containers"][0].get("env", [])}
    shared = "redis" in name or "replicas" in name
    assert list(env.items()) == ([("POD_IP", None), ("RAC_PEER_ADDRESS", "http://$(POD_IP):9090")] if shared else [])
    to = [r["to"] for r in policy["spec"]["egress"] if r["ports"] == [{"protocol": "TCP", "port": 9090}]]
    assert to == ([[{"podSelector": proxies}]] if shared else [])


@needs_helm
def test_with_tls_replicas_do_not_ask_each_other():
    made = list(yaml.load_all(template(["--set", f"{REPLICAS},state.redis.secretName=redis,tls.secretName=tls"]).stdout, Loader=LOADER))
    w, = [w for w in workloads(made) if w["metadata"]["name"] == "rac-proxy"]
    assert "env" not in w["spec"]["template"]["spec"]["containers"][0]


@needs_helm
def test_the_password_of_redis_is_in_a_secret_alone():
    made = rendered("autoscaling")
    secret, = [s for s in of(made, "Secret") if s["metadata"]["name"] == "rac-proxy-redis"]
    assert secret["data"] == {"password": base64.b64encode(b"only-in-the-secret").decode()}
    assert "only-in-the-secret" not in json.dumps([m for m in made if m["kind"] != "Secret"])
    spec = of(made, "Deployment")[0]["spec"]["template"]["spec"]
    volume, = [v["secret"] for v in spec["volumes"] if v["name"] == "redis"]
    assert (volume["secretName"], volume["items"]) == ("rac-proxy-redis", [{"key": "password", "path": "password"}])
    theirs, = [v["secret"] for m in of(rendered("replicas"), "Deployment") for v in m["spec"]["template"]["spec"]["volumes"]
               if v["name"] == "redis"]
    assert (theirs["secretName"], theirs["items"]) == ("redis", [{"key": "key", "path": "password"}])


@needs_helm
def test_an_older_kubernetes_gets_what_it_knows():
    """A pause before the end came with 1.30: an API server before it would refuse the pod."""
    done = helm("template", "rac", CHART, "--kube-version", "1.29.0", *WITH_HELM["replicas"])
    assert "preStop" not in done.stdout


def test_the_mirror_set_up_is_the_script(manifests):
    with open(os.path.join(CHART, "files", "rac-mirror"), encoding="utf-8") as f:
        script = f.read()
    for m in of(manifests, "ConfigMap"):
        if m["metadata"]["name"].endswith("-mirror"):
            assert m["data"]["rac-mirror"].strip() == script.strip()


@needs_helm
def test_the_plain_manifests_are_the_charts(tmp_path):
    subprocess.run([os.path.join(K8S, "generate"), HELM, str(tmp_path)], check=True, timeout=60)
    for name in ("rac.yaml", "cluster/rac.yaml", "replicas/rac.yaml", "webhook/webhook.yaml"):
        with open(os.path.join(K8S, "manifests", name), encoding="utf-8") as f:
            assert f.read() == (tmp_path / name).read_text(encoding="utf-8"), f"{name}: run k8s/generate"


@needs_helm
def test_helm_finds_nothing_wrong():
    assert "0 chart(s) failed" in helm("lint", "--strict", CHART).stdout


@needs_helm
@pytest.mark.parametrize("words, says", [
    (["--set", "mode=both"], "mode"), (["--set", "replicas=3"], "replicas"), (["--set", "proxyName=https://a"], "proxyName"),
    (["--set", "mode=deployment"], "mirror.address"), (["--set", "config.listen={a}"], "config"),
    (["--set", "webhook.certificate.from=secret"], "webhook.certificate"), (["--set", "webhook.clients={a}"], "webhook.clientCASecretName"),
    (["--set", "mirror.registries={a b}"], "registries"),
    (["--set", "mode=deployment,mirror.enabled=false,ingress.enabled=true"], "ingress.host"),
    (["--set", "mode=deployment,mirror.enabled=false,deployment.replicas=2"], "state.redis.url"),
    (["--set", "mode=deployment,mirror.enabled=false,deployment.autoscaling.enabled=true"], "state.redis.url"),
    (["--set", f"{REPLICAS},state.redis.secretName=s,deployment.autoscaling.enabled=true,resources.requests.cpu=null"], "resources.requests.cpu"),
    (["--set", f"{REPLICAS},state.redis.secretName=s,deployment.autoscaling.enabled=true,deployment.autoscaling.minReplicas=9"], "minReplicas"),
    (["--set", f"{REPLICAS},state.redis.secretName=s,deployment.existingClaim=mine"], "deployment.existingClaim"),
    (["--set", f"{REPLICAS},state.redis.secretName=s,deployment.volume=emptyDir"], "cache.size"),
    (["--set", "mode=deployment,mirror.enabled=false,deployment.volume=emptyDir"], "deployment.volume"),
    (["--set", f"{REPLICAS},state.redis.password=a,state.redis.secretName=b"], "either password or secretName"),
    (["--set", "state.redis.secretName=b"], "state.redis.url"), (["--set", REPLICAS], "a user needs a password"),
    (["--set", "state.redis.url=redis://rac:password@redis.lab"], "url"),
    (["--set", "state.redis.url=http://redis.lab"], "url"),
    (["--set", "config.state=redis://redis.lab"], "config"), (["--set", "config.shutdown.grace=1m"], "config"),
    (["--set", "config.blobs=s3://a"], "config"), (["--set", "blobs.s3.url=http://a"], "url"), (["--set", "blobs.s3.secretName=a"], "blobs.s3.url"),
    (["--set", "blobs.s3.url=s3://a,blobs.s3.accessKeyId=a"], "go together"),
    (["--set", "blobs.s3.url=s3://a,blobs.s3.accessKeyId=a,blobs.s3.secretAccessKey=b,blobs.s3.secretName=c"], "either accessKeyId"),
    (["--set", "config.peer-address=http://a"], "config"), (["--set", "state.peerAddress=10.0.0.1"], "peerAddress"),
])
def test_values_that_cannot_work(words, says):
    done = template(words, check=False)
    assert done.returncode and says in done.stderr, done.stderr


@needs_helm
def test_the_certificate_that_helm_makes(scratch):
    made = rendered("default")
    secret, = of(made, "Secret")
    folder = scratch.folder("certificate")
    for name, text in secret["data"].items():
        with open(os.path.join(folder, name), "wb") as f:
            f.write(base64.b64decode(text))
    scratch.run("openssl", "verify", "-CAfile", f"{folder}/ca.crt", "-purpose", "sslserver", "-verify_hostname",
                "rac-proxy-webhook.rac.svc", f"{folder}/tls.crt")
    bundle = {w["clientConfig"]["caBundle"] for w in of(made, "MutatingWebhookConfiguration")[0]["webhooks"]}
    assert bundle == {secret["data"]["ca.crt"]}


def test_what_kustomize_makes(scratch, tmp_path):
    """The certificate's authority comes to both webhooks."""
    if not shutil.which("kubectl"):
        pytest.skip("no kubectl")
    shutil.copytree(os.path.join(K8S, "manifests"), tmp_path / "m")
    made = proxy.run_once(scratch, "--make-webhook-certificate", str(tmp_path / "m" / "webhook" / "certificate"))
    assert made.returncode == 0, made.stderr

    def kustomized(folder):
        done = scratch.run("kubectl", "kustomize", str(tmp_path / "m" / folder))
        return list(yaml.safe_load_all(done.stdout))
    for folder in (".", "cluster", "replicas", "webhook"):
        for m in kustomized(folder):
            validate(m)
    webhook = of(kustomized("webhook"), "MutatingWebhookConfiguration")[0]
    assert {"".join(w["clientConfig"]["caBundle"].split()) for w in webhook["webhooks"]} == {made.stdout.strip()}
