# SPDX-License-Identifier: Apache-2.0
"""k8s/rac-mirror: what it writes, what it leaves alone, and what containerd makes of it."""
import os
import shutil
import time

import pytest

from rig import images, upstream
from rig.process import Daemon, wait_for
from rig.proxy import ROOT

SCRIPT = os.path.join(ROOT, "k8s", "rac-mirror")
ADDRESS = "http://127.0.0.1:9090"
NAME = "rac-proxy.internal"
SHELLS = {"sh": ["sh"], "busybox": ["busybox", "sh"]}


@pytest.fixture(params=SHELLS)
def mirror(request, scratch, tmp_path):
    """mirror("set", RAC_MIRROR_…=…): the script on a folder of its own."""
    if not shutil.which(SHELLS[request.param][0]):
        pytest.skip(f"no {request.param}")

    def run(action, check=True, **settings):
        env = {"RAC_MIRROR_DIR": str(tmp_path / "certs.d"), **settings}
        return scratch.run(*SHELLS[request.param], SCRIPT, action, check=check, env=env)
    run.folder = tmp_path / "certs.d"
    return run


def files(folder):
    return {str(p.relative_to(folder)): p.read_text() for p in sorted(folder.rglob("*")) if p.is_file()}


def settings(registries="docker.io,quay.io", **more):
    return {"RAC_MIRROR_ADDRESS": ADDRESS, "RAC_MIRROR_NAME": NAME, "RAC_MIRROR_REGISTRIES": registries,
            "RAC_MIRROR_NODE": "edge-7.lab", **more}


def test_what_is_written(mirror):
    mirror("set", **settings())
    found = files(mirror.folder)
    assert sorted(found) == ["docker.io/hosts.toml", "quay.io/hosts.toml", f"{NAME}/hosts.toml"]
    mark, rest = found["docker.io/hosts.toml"].split("\n", 1)
    assert mark.startswith("# Written by rac-mirror")
    assert rest == ('server = "https://registry-1.docker.io"\n\n[host."http://127.0.0.1:9090"]\n  capabilities = ["pull", "resolve"]\n'
                    '  [host."http://127.0.0.1:9090".header]\n    X-Rac-Node = "edge-7.lab"\n')
    assert 'server = "https://quay.io"' in found["quay.io/hosts.toml"]
    # Its own name leads nowhere else.
    assert f'server = "{ADDRESS}"' in found[f"{NAME}/hosts.toml"]
    assert all(os.stat(mirror.folder / f).st_mode & 0o777 == 0o644 for f in found)


def test_nothing_goes_round_it_if_that_is_asked(mirror):
    mirror("set", **settings(RAC_MIRROR_FALLBACK="false", RAC_MIRROR_CA="/etc/rac.pem"))
    for text in files(mirror.folder).values():
        assert f'server = "{ADDRESS}"' in text and "https://" not in text and 'ca = "/etc/rac.pem"' in text


def test_twice_is_once(mirror):
    first = mirror("set", **settings())
    assert first.stdout.count("written") == 3
    before = {f: os.stat(mirror.folder / f).st_ino for f in files(mirror.folder)}
    assert mirror("set", **settings()).stdout == ""
    assert {f: os.stat(mirror.folder / f).st_ino for f in files(mirror.folder)} == before


def test_a_change_is_taken_over(mirror):
    mirror("set", **settings())
    said = mirror("set", **settings("quay.io ghcr.io", RAC_MIRROR_NODE="edge-8.lab")).stdout
    assert "docker.io/hosts.toml removed" in said
    found = files(mirror.folder)
    assert sorted(found) == ["ghcr.io/hosts.toml", "quay.io/hosts.toml", f"{NAME}/hosts.toml"]
    assert all("edge-8.lab" in text for text in found.values())
    assert not (mirror.folder / "docker.io").exists()


def test_what_is_somebody_elses_stays(mirror):
    for name in ("docker.io", "other.test"):
        (mirror.folder / name).mkdir(parents=True)
        (mirror.folder / name / "hosts.toml").write_text('server = "https://mine"\n')
    (mirror.folder / "quay.io").mkdir()
    (mirror.folder / "quay.io" / "client.pem").write_text("key\n")
    (mirror.folder / "ghcr.io").mkdir()
    (mirror.folder / "elsewhere").write_text("x\n")
    (mirror.folder / "ghcr.io" / "hosts.toml").symlink_to(mirror.folder / "elsewhere")
    done = mirror("set", check=False, **settings("docker.io quay.io ghcr.io"))
    assert done.returncode == 1 and "docker.io/hosts.toml is somebody else's" in done.stderr and "ghcr.io" in done.stderr
    assert mirror("show").stdout.split() == [str(mirror.folder / n / "hosts.toml") for n in ("quay.io", NAME)]
    mirror("remove")
    assert files(mirror.folder) == {"docker.io/hosts.toml": 'server = "https://mine"\n', "other.test/hosts.toml": 'server = "https://mine"\n',
                                    "quay.io/client.pem": "key\n", "elsewhere": "x\n", "ghcr.io/hosts.toml": "x\n"}


def test_removing_needs_no_settings(mirror):
    assert mirror("remove").stdout == ""
    mirror("set", **settings())
    assert mirror("remove").stdout.count("removed") == 3
    assert list(mirror.folder.iterdir()) == []


@pytest.mark.parametrize("bad", [
    {"RAC_MIRROR_ADDRESS": ""}, {"RAC_MIRROR_ADDRESS": "127.0.0.1:9090"}, {"RAC_MIRROR_ADDRESS": 'http://a"]\nx'},
    {"RAC_MIRROR_NODE": 'a"\nserver = "x'}, {"RAC_MIRROR_REGISTRIES": "../../etc"}, {"RAC_MIRROR_REGISTRIES": "a/b"},
    {"RAC_MIRROR_REGISTRIES": "*"}, {"RAC_MIRROR_REGISTRIES": ".."}, {"RAC_MIRROR_NAME": "a b"}, {"RAC_MIRROR_FALLBACK": "no"},
    {"RAC_MIRROR_REGISTRIES": "", "RAC_MIRROR_NAME": ""}, {"RAC_MIRROR_CA": "/a b"},
], ids=range(12))
def test_settings_that_are_none(mirror, bad):
    done = mirror("set", check=False, **{**settings(), **bad})
    assert done.returncode == 2 and done.stderr.startswith("rac-mirror: ")
    assert not mirror.folder.exists()


def test_it_puts_right_what_was_changed_until_it_is_told_to_stop(scratch, mirror):
    shell = SHELLS["sh"]
    watching = Daemon(scratch, "rac-mirror", [*shell, SCRIPT, "watch"], env={
        "RAC_MIRROR_DIR": str(mirror.folder), "RAC_MIRROR_INTERVAL": "1", **settings("docker.io")})
    path = mirror.folder / "docker.io" / "hosts.toml"
    try:
        wait_for(path.exists, 20, "hosts.toml")
        whole = path.read_text()
        path.unlink()
        wait_for(lambda: path.exists() and path.read_text() == whole, 20, "hosts.toml again")
    finally:
        begun = time.monotonic()
        code = watching.stop()
    assert code == 0 and time.monotonic() - begun < 25
    assert path.read_text() == whole


# ---- containerd ----

class Node:
    """A containerd that trusts the upstream's authority, and the script beside it."""

    def __init__(self, scratch, containerd, authority, site):
        self.scratch, self.containerd, self.site = scratch, containerd, site
        self.env = {"SSL_CERT_FILE": authority.certificate}

    def set(self, address, node="edge-7.lab", **more):
        return self.scratch.run(SCRIPT, "set", env={
            "RAC_MIRROR_DIR": self.containerd.hosts, "RAC_MIRROR_ADDRESS": f"http://{address}", "RAC_MIRROR_NAME": NAME,
            "RAC_MIRROR_REGISTRIES": self.site.address, "RAC_MIRROR_NODE": node, **more})

    def pull(self, reference, check=True):
        done = self.scratch.run("ctr", "-a", self.containerd.socket, "images", "pull", "--hosts-dir", self.containerd.hosts, reference,
                                env=self.env, check=check, timeout=120)
        if done.returncode == 0:
            self.scratch.run("ctr", "-a", self.containerd.socket, "images", "rm", "--sync", reference)
        return done


@pytest.fixture
def site(authority):
    u = upstream.Upstream(tls=authority.server("mirrored"))
    u.tag("lib/app", "1", images.tiny("mirrored"))
    yield u
    u.close()


@pytest.fixture
def node(scratch, containerd, authority, site):
    n = Node(scratch, containerd, authority, site)
    yield n
    scratch.run(SCRIPT, "remove", env={"RAC_MIRROR_DIR": containerd.hosts})


@pytest.fixture
def px(make, authority, site):
    return make(config={"upstreams": [{"name": site.address, "url": site.url, "ca": authority.certificate},
                                      {"name": "site", "url": site.url, "ca": authority.certificate}]},
                args=["--pulls-trust-headers", "--access-anonymous", "pull,read-records", "--k8s-proxy-name", NAME])


def pulled(px):
    return [(r["repository"], r["node"]) for r in px.get("/v1/pulls?kind=pull").json["pulls"]]


def test_containerd_pulls_through_it_and_says_which_node(node, px, site):
    node.set(px.address)
    node.pull(f"{site.address}/lib/app:1")
    wait_for(lambda: pulled(px) == [("lib/app", "edge-7.lab")], 20, "the record of the pull")
    assert px.metrics()['rac_requests_total{route="manifests",status="200"}'] >= 1
    assert all("containerd" not in (x["User-Agent"] or "") for x in site.seen("GET /v2/*"))


def test_containerd_goes_to_the_registry_when_it_is_dead(node, px, site):
    node.set(px.address)
    node.pull(f"{site.address}/lib/app:1")
    px.stop()
    before = len(site.seen("* /v2/lib/app/manifests/*"))
    node.pull(f"{site.address}/lib/app:1")
    assert len(site.seen("* /v2/lib/app/manifests/*")) > before
    # … but not where nothing is to go round it.
    node.set(px.address, RAC_MIRROR_FALLBACK="false")
    before = len(site.seen("* /v2/lib/app/manifests/*"))
    assert node.pull(f"{site.address}/lib/app:1", check=False).returncode
    assert len(site.seen("* /v2/lib/app/manifests/*")) == before


def test_containerd_pulls_by_the_proxys_name(node, px, site):
    """A name that no DNS knows: what the webhook writes into pods."""
    node.set(px.address, node="edge-9.lab")
    node.pull(f"{NAME}/site/lib/app:1")
    wait_for(lambda: ("lib/app", "edge-9.lab") in pulled(px), 20, "the record of the pull")
    px.stop()
    assert node.pull(f"{NAME}/site/lib/app:1", check=False).returncode


def test_once_it_is_taken_away_containerd_asks_the_registry(scratch, node, px, site):
    node.set(px.address)
    scratch.run(SCRIPT, "remove", env={"RAC_MIRROR_DIR": node.containerd.hosts})
    before = site.connections
    # Without a file, ctr asks a registry on this machine by plain HTTP, which this one does not speak: but it is asked.
    node.pull(f"{site.address}/lib/app:1", check=False)
    assert site.connections > before and 'route="manifests"' not in px.get("/metrics").body.decode()
