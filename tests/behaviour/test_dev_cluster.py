# SPDX-License-Identifier: Apache-2.0
"""k8s/dev: what the script would do, and what it would install. That it does is for a machine with kind or k3d."""
import os
import shlex
import shutil

import pytest
import yaml

from rig.proxy import ROOT

DEV = os.path.join(ROOT, "k8s", "dev")
UP, DOWN = os.path.join(DEV, "up"), os.path.join(DEV, "down")
HELM = os.environ.get("RAC_HELM") or shutil.which("helm")


def documents(name):
    with open(os.path.join(DEV, name), encoding="utf-8") as f:
        return list(yaml.safe_load_all(f))


def find(found, kind, name):
    one, = [m for m in found if (m["kind"], m["metadata"]["name"]) == (kind, name)]
    return one


@pytest.fixture
def few(tmp_path):
    """A PATH without anything that makes clusters: few("docker") adds these, which are never called."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for program in ("bash", "dirname", "env", "cat"):
        (folder / program).symlink_to(shutil.which(program))

    def path(*programs):
        for program in programs:
            (folder / program).symlink_to(shutil.which("false"))
        return {"PATH": str(folder)}
    return path


def commands(scratch, few, *words):
    said = scratch.run(UP, "--dry-run", *words, env=few()).stdout
    return [shlex.split(line) for line in said.splitlines()]


@pytest.mark.parametrize("words, begins, context", [
    (["--with", "kind"], ["kind", "create", "cluster", "--name", "rac"], "kind-rac"), ([], ["kind", "create", "cluster"], "kind-rac"),
    (["--with", "k3d", "--name", "lab-2"], ["k3d", "cluster", "create", "lab-2"], "k3d-lab-2"),
])
def test_what_it_would_do(scratch, few, words, begins, context):
    found = commands(scratch, few, *words)
    assert found[0][:len(begins)] == begins
    programs = [c[0] for c in found]
    assert programs.index("docker") < programs.index("kubectl") < programs.index("helm")
    for c in found:
        assert c[0] in ("docker", "helm", "kubectl", begins[0])
        if c[0] == "kubectl":
            assert c[1:3] == ["--context", context]
        if c[0] == "helm":
            assert c[1:3] == ["--kube-context", context]
        for word in c:
            assert not word.startswith("/") or word.startswith(("/fusion/", "/.rac/", "/api/")) or os.path.exists(word), c
    # What the seed promises, as in the documentation.
    assert ["run", "hello", "--image", "rac-proxy.internal/library/busybox", "--image-pull-policy", "Always"] in [c[3:9] for c in found]
    tagged = next(c for c in found if c[:2] == ["docker", "build"])
    assert f"{tagged[3]}" == "rac-proxy:dev" and any(tagged[3] in c for c in found if c[0] == begins[0] and c != found[0])
    if begins[0] == "k3d":
        assert any("k3s" in word for c in found if c[0] == "helm" for word in c)


def test_every_manifest_is_applied(scratch, few):
    applied = {os.path.basename(word) for c in commands(scratch, few) for word in c if word.endswith(".yaml")}
    assert applied == {name for name in os.listdir(DEV) if name.endswith(".yaml")}


@pytest.mark.parametrize("there, missing", [((), ("docker", "kubectl", "helm", "kind")), (("docker", "kubectl", "helm"), ("kind",)),
                                            (("kubectl", "k3d"), ("docker", "helm"))])
def test_it_says_what_is_missing_and_where_that_is(scratch, few, there, missing):
    done = scratch.run(UP, env=few(*there), check=False)
    assert done.returncode == 1 and not done.stdout
    lines = done.stderr.splitlines()
    assert len(lines) == len(missing)
    for line, program in zip(lines, missing):
        assert line.startswith(f"k8s/dev/up: {program} is missing: ") and "https://" in line


def test_it_says_that_docker_does_not_answer(scratch, few):
    done = scratch.run(UP, env=few("docker", "kubectl", "helm", "kind"), check=False)
    assert done.returncode == 1 and "docker does not answer" in done.stderr


@pytest.mark.parametrize("script, words", [(UP, ["--with", "minikube"]), (UP, ["--with"]), (UP, ["--name", "A b"]), (UP, ["more"]),
                                           (DOWN, ["more"]), (DOWN, ["--name"]), (DOWN, [])])
def test_options_that_are_wrong(scratch, few, script, words):
    done = scratch.run(script, *words, env=few(), check=False)
    assert done.returncode == 1 and not done.stdout and f"k8s/dev/{os.path.basename(script)}: " in done.stderr


def test_its_parts_fit():
    """Redis is where the chart is told, with the password it is told; the app's namespace is asked for, and its pods are not."""
    values, redis, app = documents("values.yaml")[0], documents("redis.yaml"), documents("app.yaml")
    told = values["state"]["redis"]
    service = find(redis, "Service", "redis")
    assert told["url"] == f"redis://{service['metadata']['name']}.{service['metadata']['namespace']}.svc:{service['spec']['ports'][0]['port']}/0"
    container = find(redis, "Deployment", "redis")["spec"]["template"]["spec"]["containers"][0]
    arguments = container["args"]
    assert arguments[arguments.index("--requirepass") + 1] == told["password"]
    assert arguments[arguments.index("--maxmemory-policy") + 1] == "noeviction" and "--appendonly" in arguments
    bucket, s3 = values["blobs"]["s3"], documents("s3.yaml")
    service = find(s3, "Service", "s3")
    name, port = f"{service['metadata']['name']}.{service['metadata']['namespace']}.svc", service["spec"]["ports"][0]["port"]
    assert bucket["url"].startswith(f"s3://rac/blobs?endpoint=http://{name}:{port}&")
    assert find(s3, "Secret", "s3-keys")["stringData"] == {"AWS_ACCESS_KEY_ID": bucket["accessKeyId"], "AWS_SECRET_ACCESS_KEY": bucket["secretAccessKey"]}
    assert find(app, "Namespace", "demo")["metadata"]["labels"] == {"rac-proxy/rewrite": "enabled"}
    assert not find(app, "Deployment", "app")["spec"]["template"]["metadata"]["labels"].keys() & {"rac-proxy/rewrite"}
    for found in redis, documents("s3.yaml"), app:
        for m in found:
            if m["kind"] == "Service":
                workload = find(found, "Deployment", m["metadata"]["name"])
                assert m["spec"]["selector"] == workload["spec"]["template"]["metadata"]["labels"]


@pytest.mark.skipif(not HELM, reason="no helm: the parts are checked all the same")
def test_what_it_renders(scratch, few, tmp_path):
    folder = few()["PATH"]
    os.symlink(HELM, os.path.join(folder, "helm"))
    made = [m for m in yaml.safe_load_all(scratch.run(UP, "--render", "--with", "kind", env={"PATH": folder}).stdout) if m]
    names = {(m["kind"], m["metadata"]["name"]) for m in made}
    assert {("Deployment", "redis"), ("Job", "buckets"), ("Namespace", "demo"), ("MutatingWebhookConfiguration", "rac-proxy-webhook")} <= names
    proxy, = [m for m in made if (m["kind"], m["metadata"]["name"]) == ("Deployment", "rac-proxy")]
    assert proxy["spec"]["replicas"] == 2
    assert proxy["spec"]["template"]["spec"]["containers"][0]["image"] == "rac-proxy:dev"
