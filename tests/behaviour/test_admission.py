# SPDX-License-Identifier: Apache-2.0
"""POST /k8s/mutate: what an API server asks about pods, and the patch it gets. Each file of fixtures/admission is one
AdmissionReview, with what must have changed once the patch is applied, and nothing else."""
import base64
import copy
import glob
import json
import os

import pytest

from rig import images, proxy, wire
from rig.proxy import ROOT

FOLDER = os.path.join(ROOT, "tests", "fixtures", "admission")
CASES = sorted(os.path.basename(f)[:-5] for f in glob.glob(os.path.join(FOLDER, "*.json")))
NAME = "registry.lab:9090"
# None of these is asked for anything: names are all that is needed.
UPSTREAMS = {"lab": "http://registry.lab:5000", "depot": "https://depot.test"}
CREATE = "image-short"


def fixture(name):
    with open(os.path.join(FOLDER, name + ".json"), encoding="utf-8") as f:
        return json.load(f)


def ask(p, review, query="?timeout=10s", **kwargs):
    body = review if isinstance(review, bytes) else json.dumps(review).encode()
    return p.fetch("POST", "/k8s/mutate" + query, {"Content-Type": "application/json"}, body, **kwargs)


# RFC 6902, as far as the two operations go that may come. Strict: what is not there cannot be replaced.
def step(at, token):
    token = token.replace("~1", "/").replace("~0", "~")
    return int(token) if isinstance(at, list) else token


def applied(document, patch):
    made = copy.deepcopy(document)
    for operation in patch:
        assert set(operation) == {"op", "path", "value"}
        *way, last = operation["path"].split("/")[1:]
        at = made
        for token in way:
            at = at[step(at, token)]
        if operation["op"] == "add" and isinstance(at, list):
            at.insert(len(at) if last == "-" else step(at, last), operation["value"])
            continue
        key = step(at, last)
        assert operation["op"] == "add" or (operation["op"] == "replace" and key in at), operation
        at[key] = operation["value"]
    return made


def expected(pod, changed):
    """The pod with these members set, appended to where the path ends with -."""
    made = copy.deepcopy(pod)
    for path, value in changed.items():
        *way, last = path.split("/")[1:]
        at = made
        for token in way:
            at = at[step(at, token)]
        if last == "-":
            at.append(value)
        else:
            at[step(at, last)] = value
    return made


def patch_of(reply):
    """The patch of an answer that is as the API server wants it; [] if there is none."""
    assert (reply.status, reply["Content-Type"]) == (200, "application/json"), reply.body
    answer = reply.json
    assert (answer["apiVersion"], answer["kind"], answer["response"]["allowed"]) == ("admission.k8s.io/v1", "AdmissionReview", True)
    assert set(answer) == {"apiVersion", "kind", "response"}
    if "patch" not in answer["response"]:
        assert set(answer["response"]) == {"uid", "allowed"}
        return []
    assert set(answer["response"]) == {"uid", "allowed", "patch", "patchType"}
    assert answer["response"]["patchType"] == "JSONPatch"
    return json.loads(base64.b64decode(answer["response"]["patch"], validate=True))


@pytest.fixture(scope="module")
def proxies(scratch):
    """By the word that a fixture says: what is injected, and how."""
    def write(name, document):
        path = os.path.join(scratch.folder("injection"), name)
        with open(path, "w", encoding="utf-8") as f:
            json.dump(document, f)
        return path
    entry = {"entrypoint": ["/.rac/bin/wrapper", "--"]}
    plain = {"match": "quay.io/plain/*", "injection": "none"}
    arm = proxy.Layer(scratch, args=["--platform", "linux/arm64"], **entry)
    rules = {
        "plain": [], "any": [], "always": [],
        "inject": [plain, {"match": "*", "injection": write("args.json", entry)}],
        "chain": [{"match": "*", "injection": write("chain.json", {"entrypoint": ["/.rac/bin/wrapper"], "entrypointChain": "env"})}],
        "arm": [{"match": "*", "injection": arm.path}],
    }
    more = {"any": ["--upstreams-any"], "always": ["--k8s-pull-policy", "always", "--k8s-exempt-namespaces", "quiet,calm"],
            "arm": ["--k8s-architectures", "amd64,arm64"]}
    running = {}

    def get(word):
        if word not in running:
            running[word] = proxy.Proxy(scratch, UPSTREAMS, ["--k8s-proxy-name", NAME, "--workers", "1", *more.get(word, [])],
                                        config={"inject": rules[word], "default-upstream": "docker.io"})
        return running[word]
    yield get
    for p in running.values():
        p.close()


@pytest.mark.parametrize("name", CASES)
def test_a_review(proxies, name):
    case = fixture(name)
    p = proxies(case["proxy"])
    reply = ask(p, case["review"])
    if case["status"] != 200:
        assert reply.status == case["status"], reply.body
        assert case["says"] in reply.json["message"]
        return
    request = case["review"]["request"]
    assert reply.json["response"]["uid"] == request["uid"]
    patch = patch_of(reply)
    assert bool(patch) == bool(case["changed"])
    if not patch:
        return
    pod = applied(request["object"], patch)
    assert pod == expected(request["object"], case["changed"])
    # Asked again about the pod as it is now, as an API server does after other webhooks: nothing is left to do.
    assert patch_of(ask(p, {**case["review"], "request": {**request, "object": pod}})) == []


def test_there_are_enough(proxies):
    """An empty folder would pass every test; and each kind of proxy is one that some fixture needs."""
    words = {fixture(name)["proxy"] for name in CASES}
    assert len(CASES) >= 90
    for word in words:
        assert proxies(word)


@pytest.mark.parametrize("body, says", [
    (b"", "empty"), (b"{", "JSON"), (b"null", ""), (b'{"kind":"AdmissionReview","kind":"x"}', "duplicate"),
    (b'{"kind":"Admission\\u0000Review"}', ""), (b"\xff\xfe", ""), (b"[" * 5000, ""), (b"5", "JSON"), (b'"AdmissionReview"', "JSON"),
], ids=range(9))
def test_no_document_at_all(proxies, body, says):
    reply = ask(proxies("plain"), body)
    assert reply.status == 400 and says in reply.json["message"]


def padded(size):
    """A pod with an annotation that makes the body that large."""
    review = fixture(CREATE)["review"]
    review["request"]["object"]["metadata"]["annotations"] = {"a": ""}
    missing = size - len(json.dumps(review).encode())
    review["request"]["object"]["metadata"]["annotations"]["a"] = "x" * missing
    return json.dumps(review).encode()


def test_the_largest_body(proxies):
    p = proxies("plain")
    assert len(patch_of(ask(p, padded(8 << 20)))) == 1
    reply = ask(p, padded((8 << 20) + 1))
    assert reply.status == 413 and reply.json["message"]


def crowd(count):
    """A pod of so many containers that reading it takes a while."""
    review = fixture(CREATE)["review"]
    review["request"]["object"]["spec"]["containers"] = [{"name": f"c{i}", "image": "busybox"} for i in range(count)]
    return json.dumps(review).encode()


def time_of_threads(p):
    """(nanoseconds on a processor of the thread that serves, of all threads)."""
    served = total = 0
    folder = f"/proc/{p.daemon.pid}/task"
    for thread in os.listdir(folder):
        with open(f"{folder}/{thread}/schedstat", encoding="ascii") as f:
            spent = int(f.read().split()[0])
        with open(f"{folder}/{thread}/comm", encoding="ascii") as f:
            served += spent if f.read().startswith("http-") else 0
        total += spent
    return served, total


def test_a_large_review_does_not_hold_up_the_loop(make):
    """It is read on another thread: the one that serves has the body and the answer to move, and no more."""
    p = make(UPSTREAMS, ["--k8s-proxy-name", NAME, "--workers", "1"])
    before = time_of_threads(p)
    for _ in range(3):
        assert len(patch_of(ask(p, crowd(20000), timeout=120))) == 20000
    served, total = (after - was for after, was in zip(time_of_threads(p), before))
    assert 0 < served < total / 2, f"{served / 1e9:.3f} s of {total / 1e9:.3f} s"


def test_a_client_that_leaves_is_no_loss(make):
    """… while its review is read on another thread."""
    p = make(UPSTREAMS, ["--k8s-proxy-name", NAME])
    body = padded(8 << 20)
    for _ in range(3):
        raw = wire.Raw(p.address)
        raw.send(b"POST /k8s/mutate HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        raw.close()
    assert len(patch_of(ask(p, body, timeout=120))) == 1


def test_many_containers(proxies):
    review = fixture(CREATE)["review"]
    one = review["request"]["object"]["spec"]["containers"][0]
    review["request"]["object"]["spec"]["containers"] = [{**one, "name": f"c{i}"} for i in range(3000)]
    patch = patch_of(ask(proxies("plain"), review))
    assert [op["path"] for op in patch] == [f"/spec/containers/{i}/image" for i in range(3000)]


def test_it_is_off_without_a_name(make):
    p = make(UPSTREAMS)
    reply = ask(p, fixture(CREATE)["review"])
    assert reply.status == 404 and "k8s.proxy-name" in reply.json["message"]
    assert p.get("/k8s/mutate").status == 405


def test_the_public_host_is_a_name_too(make):
    p = make(UPSTREAMS, ["--public-host", "images.lab"])
    assert patch_of(ask(p, fixture(CREATE)["review"]))[0]["value"] == "images.lab/docker.io/library/busybox:latest"


def test_the_name_is_one_that_can_be_pulled(make, up):
    """What a pod gets is what the proxy answers to."""
    up.tag("library/busybox", "latest", images.tiny())
    p = make({"docker.io": up.url})
    name = p.address
    p.stop()
    p.args += ["--k8s-proxy-name", name, "--listen", name]
    p.args = [a for i, a in enumerate(p.args) if a != "127.0.0.1:0" and not (a == "--listen" and p.args[i + 1] == "127.0.0.1:0")]
    p.start()
    image = patch_of(ask(p, fixture(CREATE)["review"]))[0]["value"]
    host, _, path = image.partition("/")
    assert host == p.address
    assert p.manifest(*path.rsplit(":", 1)).status == 200


@pytest.mark.parametrize("flag", ["--k8s-proxy-name", "--public-host"])
def test_containerd_names_it_by_ns(make, up, flag):
    """A node that has the proxy's name from a hosts.toml says whom it means: us, and the path has the upstream."""
    up.tag("library/busybox", "latest", images.tiny())
    p = make({"docker.io": up.url}, [flag, "images.lab:9090"])
    for name in ("docker.io/library/busybox", "library/busybox"):
        for ns in ("images.lab:9090", "Images.LAB:9090", "docker.io"):
            path = f"/v2/{name}/manifests/latest?ns={ns}"
            assert p.get(path).status == (404 if ns == "docker.io" and name.startswith("docker.io") else 200), path
    digest = json.loads(images.tiny().manifest)["config"]["digest"]
    assert p.get(f"/v2/docker.io/library/busybox/blobs/{digest}?ns=images.lab:9090").status == 200
    assert p.get("/v2/library/busybox/manifests/latest?ns=images.lab").status == 403
    assert p.get("/v2/docker.io/library/busybox/tags/list?ns=images.lab:9090").status == 200


def test_figures_and_log(make):
    p = make(UPSTREAMS, ["--k8s-proxy-name", NAME])
    ask(p, fixture("containers-some")["review"])
    ask(p, fixture("exempt-annotation")["review"])
    ask(p, fixture("other-delete")["review"])
    ask(p, b"{")
    m = p.metrics()
    assert [m[f'rac_admissions_total{{result="{r}"}}'] for r in ("patched", "exempt", "other", "malformed")] == [1, 1, 1, 1]
    assert m['rac_admission_images_total{result="renamed"}'] == 1
    assert m['rac_admission_images_total{result="kept"}'] == 2
    p.daemon.wait_log(lambda log: "pod=shop/demo" in log)


def test_no_account_is_needed(make):
    """An API server has no credentials for it; the certificate is what there is."""
    hashed = "$2y$05$abcdefghijklmnopqrstuuAyLDH6qTlq5X0ZkVvC0eVcQY0yU9bvu"
    p = make(UPSTREAMS, ["--k8s-proxy-name", NAME], config={"accounts": [{"name": "ann", "password-hash": hashed, "roles": ["pull"]}],
                                                            "access": {"anonymous": "none"}})
    assert p.get("/v2/").status == 401
    assert len(patch_of(ask(p, fixture(CREATE)["review"]))) == 1


def test_over_tls_by_certificate(make, authority):
    """k8s.clients: the API server's certificate opens it, and no other; probes need none."""
    certificate, key = authority.issue("webhook")
    p = make(UPSTREAMS, ["--k8s-proxy-name", NAME, "--tls-certificate", certificate, "--tls-key", key, "--tls-client-ca",
                         authority.certificate, "--k8s-clients", "other,kube-apiserver"])
    shown = {name: authority.issue(name, subject=f"/CN={name}") for name in ("kube-apiserver", "somebody", "kube-apiserver-2")}

    def call(certificate_of, path="/k8s/mutate", method="POST"):
        return wire.fetch(p.address, method, path, {"Content-Type": "application/json"},
                          json.dumps(fixture(CREATE)["review"]).encode() if method == "POST" else None,
                          tls=authority.client(certificate_of))
    assert len(patch_of(call(shown["kube-apiserver"]))) == 1
    for name in ("somebody", "kube-apiserver-2"):
        refused = call(shown[name])
        assert refused.status == 403 and "k8s.clients" in refused.json["message"]
    refused = call(None)
    assert refused.status == 403 and "client certificate" in refused.json["message"]
    assert call(None, "/healthz", "GET").status == 200
    labels = 'rac_admissions_total{result="refused"} 3'
    assert labels in call(None, "/metrics", "GET").body.decode()
