# SPDX-License-Identifier: Apache-2.0
"""People log in with what they have: docker, podman, skopeo, containerd against a proxy that asks who is there."""
import base64
import hashlib
import json
import os

import pytest

from rig import proxy, registry

PASSWORD = proxy.secret("correct-horse-login")
KEY = proxy.secret("rack_" + hashlib.sha256(b"the key of the login tests").hexdigest())
WRONG = "wrong-horse-login"
BASIC = proxy.secret(base64.b64encode(f"alice:{PASSWORD}".encode()).decode())
IMAGE = "store.test/lib/busybox"


@pytest.fixture
def guarded(make, store, layer):
    accounts = [{"name": "alice", "password-hash": registry.bcrypt(PASSWORD), "roles": ["pull", "request"],
                 "keys": ["sha256:" + hashlib.sha256(KEY.encode()).hexdigest()]},
                {"name": "auditor", "password-hash": registry.bcrypt(PASSWORD), "roles": ["read-records"]}]
    return make({"store.test": store.url}, inject=layer.path,
                config={"accounts": accounts, "access": {"anonymous": "none"}})


def docker_login(docker, p, user, password):
    return docker.scratch.run("/usr/bin/docker", "--config", docker.config, "-H", f"unix://{docker.socket}", "login",
                              "-u", user, "--password-stdin", p.address, stdin=None, input=password, check=False)


@pytest.mark.parametrize("secret", [PASSWORD, KEY], ids=["password", "key"])
def test_docker(docker, guarded, secret):
    refused = docker.pull(f"{guarded.address}/{IMAGE}", check=False)
    assert refused.returncode and "no basic auth credentials" in refused.stderr
    wrong = docker_login(docker, guarded, "alice", WRONG)
    assert wrong.returncode and "401 Unauthorized" in wrong.stderr
    done = docker_login(docker, guarded, "alice", secret)
    assert "Login Succeeded" in done.stdout, done.stderr
    try:
        docker.pull(f"{guarded.address}/{IMAGE}")
        assert docker.run(f"{guarded.address}/{IMAGE}", "cat", "/.rac/hello.txt") == "Hello injected world!\n"
    finally:
        docker.command("logout", guarded.address)
        docker.forget()
    # An account that may not pull is told at the pull, not at the login's expense.
    assert docker_login(docker, guarded, "auditor", PASSWORD).returncode


def test_podman(podman, guarded, scratch):
    auth = os.path.join(scratch.folder("auth"), "auth.json")
    reference = f"{guarded.address}/{IMAGE}"
    assert podman.pull(reference, check=False).returncode

    def login(password):
        return scratch.run(*podman.words("login", "--tls-verify=false", "--authfile", auth, "-u", "alice",
                                         "--password-stdin", guarded.address), stdin=None, input=password, check=False,
                           env=podman.environment)
    assert login(WRONG).returncode
    done = login(PASSWORD)
    assert "Login Succeeded" in done.stdout, done.stderr
    podman.command("pull", "--tls-verify=false", "--authfile", auth, reference)
    assert podman.run(reference, "cat", "/.rac/hello.txt") == "Hello injected world!\n"


@pytest.mark.parametrize("secret", [PASSWORD, KEY], ids=["password", "key"])
def test_skopeo(skopeo, guarded, secret):
    with pytest.raises(AssertionError, match="authentication|unauthorized|log in"):
        skopeo.copy(f"{guarded.address}/{IMAGE}")
    with pytest.raises(AssertionError, match="authentication|unauthorized|wrong"):
        skopeo.copy(f"{guarded.address}/{IMAGE}", credentials=f"alice:{WRONG}")
    assert os.path.exists(os.path.join(skopeo.copy(f"{guarded.address}/{IMAGE}", credentials=f"alice:{secret}"),
                                       "manifest.json"))


@pytest.mark.parametrize("value", [f"Basic {BASIC}", f"Bearer {KEY}"], ids=["password", "key"])
def test_containerd_as_a_mirror(containerd, guarded, value):
    """hosts.toml sends the header with each request to the mirror, and to no other host."""
    reference = "store.test/lib/busybox:latest"
    containerd.mirror("store.test", guarded.address)
    path = os.path.join(containerd.hosts, "store.test", "hosts.toml")
    assert containerd.pull(reference, check=False).returncode
    with open(path, "a", encoding="utf-8") as f:
        f.write(f'  [host."http://{guarded.address}".header]\n    Authorization = "{value}"\n')
    try:
        containerd.pull(reference)
        assert containerd.run(reference, "cat", "/.rac/hello.txt") == "Hello injected world!\n"
    finally:
        containerd.command("images", "rm", "--sync", reference, check=False)


def test_containerd_by_name(containerd, guarded):
    """ctr pull --user, which answers the challenge."""
    reference = f"{guarded.address}/{IMAGE}:latest"
    assert containerd.command("images", "pull", "--plain-http", reference, check=False).returncode
    assert containerd.command("images", "pull", "--plain-http", "--user", f"alice:{WRONG}", reference, check=False).returncode
    containerd.command("images", "pull", "--plain-http", "--user", f"alice:{PASSWORD}", reference)
    containerd.command("images", "rm", "--sync", reference, check=False)


def test_a_container_token_needs_no_login(docker, podman, skopeo, containerd, guarded):
    """But docker asks /v2/ first, whatever it pulls, and gives up where that wants a login."""
    body = json.dumps({"containerImage": f"{IMAGE}:latest", "containerConfig": {"env": ["A=B"]}}).encode()
    made = guarded.fetch("POST", "/container-token", {"Authorization": f"Bearer {KEY}"}, body)
    assert made.status == 200, made.body
    reference = made.json["targetImage"]
    assert reference.startswith(guarded.address)
    skopeo.copy(reference)
    podman.pull(reference)
    containerd.command("images", "pull", "--plain-http", reference)
    containerd.command("images", "rm", "--sync", reference, check=False)
    assert "no basic auth credentials" in docker.pull(reference, check=False).stderr
    assert docker_login(docker, guarded, "alice", PASSWORD).returncode == 0
    try:
        docker.pull(reference)
    finally:
        docker.command("logout", guarded.address)
        docker.forget()
