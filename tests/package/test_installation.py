# SPDX-License-Identifier: Apache-2.0
"""The package in a Debian 12 that has nothing else: installed, started, upgraded, removed, purged. Two minutes, most of it for making
that Debian: only with --long."""
import glob
import os
import re
import shutil

import pytest
from conftest import needs

from rig import wire
from rig.process import Daemon, wait_for

pytestmark = [pytest.mark.long, pytest.mark.skipif(os.geteuid() != 0, reason="takes root"), needs("debootstrap", "unshare", "chroot")]
# A namespace of its own: its mounts and processes are gone with it, whatever happens.
INSIDE = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--", "sh", "-c",
          'mount --make-rprivate / && mount -t proc proc "$0/proc" && exec chroot "$0" "$@"']
CONFIG = "etc/rac-proxy/config.yaml"


class Debian:
    def __init__(self, scratch, folder):
        self.scratch, self.folder = scratch, folder

    def path(self, name):
        return os.path.join(self.folder, name)

    def words(self, *words):
        return [*INSIDE, self.folder, *words]

    def run(self, *words, **kwargs):
        kwargs.setdefault("timeout", 300)
        return self.scratch.run(*self.words(*words), env={"DEBIAN_FRONTEND": "noninteractive", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}, **kwargs)

    def install(self, deb):
        shutil.copy(deb, self.path("tmp/it.deb"))
        # Where a person would be asked what to do with a file that was changed on both sides: what is offered first.
        return self.run("apt-get", "-q", "-y", "-o", "Dpkg::Options::=--force-confdef", "--no-install-recommends", "install", "/tmp/it.deb")

    def text(self, name):
        with open(self.path(name), encoding="utf-8") as f:
            return f.read()

    def owner(self, name):
        return self.run("stat", "-c", "%U:%G %a", f"/{name}").stdout.strip()


@pytest.fixture(scope="module")
def debian(scratch):
    folder = scratch.folder("debian")
    done = scratch.run("debootstrap", "--variant=minbase", "bookworm", folder, check=False, timeout=900)
    if done.returncode:
        pytest.skip("debootstrap cannot reach a Debian mirror: " + (done.stderr or done.stdout)[-120:].strip())
    d = Debian(scratch, folder)
    if glob.glob("/etc/apt/sources.list.d/debian*"):
        os.unlink(d.path("etc/apt/sources.list"))
    for name in ("etc/resolv.conf", "etc/hosts", *(f[1:] for f in glob.glob("/etc/apt/sources.list.d/debian*") + glob.glob("/etc/apt/apt.conf.d/*"))):
        if os.path.exists(f"/{name}"):
            shutil.copy(f"/{name}", d.path(name))
    d.run("apt-get", "-q", "update")
    yield d


@pytest.fixture(scope="module")
def newer(scratch, deb):
    """The next version, whose configuration file is another one too."""
    folder = scratch.folder("newer")
    scratch.run("dpkg-deb", "-R", deb, folder)
    for name, old, new in (("DEBIAN/control", r"(?m)^Version: .*", "Version: 99.1"), (CONFIG, r"\A", "# of the next version\n")):
        with open(os.path.join(folder, name), encoding="utf-8") as f:
            text = f.read()
        with open(os.path.join(folder, name), "w", encoding="utf-8") as f:
            f.write(re.sub(old, new, text, count=1))
    scratch.run("dpkg-deb", "-b", folder, folder + ".deb")
    return folder + ".deb"


def test_from_installation_to_purge(debian, deb, newer, scratch, up):
    debian.install(deb)
    assert debian.owner("etc/rac-proxy") == "root:rac-proxy 750" and debian.owner(CONFIG) == "root:rac-proxy 640"
    assert debian.owner("var/lib/rac-proxy") == "rac-proxy:rac-proxy 750"
    assert "nologin" in debian.run("getent", "passwd", "rac-proxy").stdout
    # As the unit starts it, with the configuration as it is installed, but for the port and an upstream of the tests.
    unit = debian.text("lib/systemd/system/rac-proxy.service")
    command = re.search(r"(?m)^ExecStart=(.*)", unit)[1].split()
    assert os.path.islink(debian.path("etc/systemd/system/multi-user.target.wants/rac-proxy.service"))
    checked = debian.run("setpriv", "--reuid", "rac-proxy", "--regid", "rac-proxy", "--clear-groups", *command, "--check-config").stdout
    assert "configuration is valid" in checked and "warning" not in checked and "127.0.0.1:9090" in checked, checked
    from rig import images  # pylint: disable=import-outside-toplevel
    up.tag("lib/app", "1", images.tiny())
    daemon = Daemon(scratch, "installed", debian.words("setpriv", "--reuid", "rac-proxy", "--regid", "rac-proxy", "--clear-groups", "env",
                                                       "XDG_STATE_HOME=/var/lib", *command, "--listen", "127.0.0.1:0", "--upstream",
                                                       f"up.test={up.url}"))
    try:
        ready = daemon.wait_log(lambda log: re.search(r"msg=ready listen=(\S+) .*data=/var/lib/rac-proxy .*injections=1", log))
        got = wire.fetch(ready[1], "GET", "/v2/lib/app/manifests/1", {"Accept": wire.MANIFEST_TYPES})
        assert got.status == 200 and len(got.json["layers"]) == 2, got.body
        injected = wire.fetch(ready[1], "GET", f"/v2/lib/app/blobs/{got.json['layers'][-1]['digest']}")
        assert injected.status == 200 and injected.digest == got.json["layers"][-1]["digest"]
    finally:
        daemon.kill()
    wait_for(lambda: os.path.exists(debian.path("var/lib/rac-proxy/state.db")), 5, "state kept")

    # What the administrator wrote stays as it is, and who owns what.
    with open(debian.path(CONFIG), "a", encoding="utf-8") as f:
        f.write("log.level: warn\n")
    debian.install(newer)
    assert "99.1" in debian.run("dpkg-query", "-W", "-f=${Version}", "rac-proxy").stdout
    assert "log.level: warn" in debian.text(CONFIG) and "# of the next version" not in debian.text(CONFIG)
    assert "# of the next version" in debian.text(CONFIG + ".dpkg-dist")
    assert debian.owner("etc/rac-proxy") == "root:rac-proxy 750" and debian.owner(CONFIG) == "root:rac-proxy 640"
    assert os.path.exists(debian.path("var/lib/rac-proxy/state.db"))

    debian.run("apt-get", "-q", "-y", "remove", "rac-proxy")
    assert not os.path.exists(debian.path("usr/bin/rac-proxy")) and os.path.exists(debian.path(CONFIG))
    assert os.path.exists(debian.path("var/lib/rac-proxy/state.db"))
    debian.install(newer)  # and back again
    assert "log.level: warn" in debian.text(CONFIG)
    with open(debian.path("etc/rac-proxy/docker.io.password"), "w", encoding="ascii") as f:
        f.write("secret\n")
    debian.run("apt-get", "-q", "-y", "purge", "rac-proxy")
    assert os.listdir(debian.path("etc/rac-proxy")) == ["docker.io.password"], "what is not ours stays"
    left = debian.run("find", "/etc", "/usr", "/lib", "/var/lib/rac-proxy", "/var/lib/systemd", "-xdev", "-name", "*rac-proxy*", check=False).stdout.split()
    assert left == ["/etc/rac-proxy"], left
