# SPDX-License-Identifier: Apache-2.0
"""What is left of root's rights once it listens: nothing, in any thread; and what it cannot do then is said at the start."""
import os
import pwd
import re
import resource
import shutil
import socket
import stat

import pytest

from rig import images, proxy, wire
from rig.process import wait_for

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
NAME = "lib/app"
NOBODY = pwd.getpwnam("nobody")
# Leaks are looked for by tracing oneself, which the kernel forbids to who was root.
ENV = {"ASAN_OPTIONS": "detect_leaks=0:strict_string_checks=1"}


@pytest.fixture(autouse=True)
def reachable(scratch):
    """Others may pass through the session's folder, not look into it."""
    os.chmod(scratch.path, 0o711)


def status(pid):
    """What the kernel says of each thread: {name: value}."""
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/status", encoding="ascii") as f:
            yield dict(line.rstrip("\n").split(":\t", 1) for line in f if ":\t" in line)


def low_port():
    """One that only root may listen on."""
    for port in range(1023, 600, -1):
        with socket.socket() as s:
            try:
                s.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue
    pytest.skip("no port below 1024 is free")


@pytest.mark.parametrize("user", ["nobody", str(NOBODY.pw_uid), f"{NOBODY.pw_uid}:{NOBODY.pw_gid}"])
def test_nothing_is_left_of_root(make, up, scratch, user):
    image = up.tag(NAME, "1", images.random_image("app", [100_000]))
    folder = os.path.join(scratch.folder("home"), "made-by-it")
    p = make({"up.test": up.url}, ["--listen", f"127.0.0.1:{low_port()}", "--user", user], env=ENV, data=folder)
    assert p.manifest(NAME, "1").status == 200 and p.blob(NAME, image.layers[0]).status == 200
    for thread in status(p.daemon.pid):
        assert set(thread["Uid"].split()) == {str(NOBODY.pw_uid)} and set(thread["Gid"].split()) <= \
            {str(NOBODY.pw_gid), str(NOBODY.pw_uid)}, thread
        assert "0" not in thread["Groups"].split(), thread
        assert all(int(thread[f"Cap{which}"], 16) == 0 for which in ("Prm", "Eff", "Amb")), thread
    assert next(status(p.daemon.pid))["NoNewPrivs"] == "1"
    for where, folders, files in os.walk(folder):
        for name in [".", *folders, *files]:
            found = os.stat(os.path.join(where, name))
            assert found.st_uid == NOBODY.pw_uid and not found.st_mode & stat.S_IRWXO, (where, name, oct(found.st_mode))
    p.reload()
    assert p.log().count('msg="configuration reloaded"') == 1


def test_a_file_that_it_could_not_read_again_is_told_of_at_the_start(scratch):
    config = os.path.join(scratch.folder("config"), "proxy.yaml")
    with open(config, "w", encoding="ascii") as f:
        f.write("log.level: info\n")
    os.chmod(config, 0o600)
    done = proxy.run_once(scratch, "--config", config, "--listen", "127.0.0.1:0", "--data",
                          os.path.join(scratch.folder("home"), "d"), "--user", "nobody", env=ENV)
    assert done.returncode == 1 and re.search(rf"as user 'nobody': .*{config}.*Permission denied", done.stderr), done.stderr


@pytest.mark.parametrize("user,words", [("nobody-of-that-name", "there is none of that name"), ("root", "is root"), ("0:5", "is root"),
                                        ("1:two", "UID:GID is expected"), ("a b", "is not a user")])
def test_users_that_will_not_do(scratch, user, words):
    done = proxy.run_once(scratch, "--listen", "127.0.0.1:0", "--data", scratch.folder("d"), "--user", user, env=ENV)
    assert done.returncode in (1, 2) and words in done.stderr, done.stderr


def test_only_root_can_become_another(scratch):
    program = shutil.copy(proxy.binary("rac-proxy"), scratch.folder("bin"))
    folder = scratch.folder("d")
    os.chown(folder, NOBODY.pw_uid, NOBODY.pw_gid)
    done = scratch.run("setpriv", "--reuid", "nobody", "--clear-groups", program, "--listen", "127.0.0.1:0", "--data", folder,
                       "--user", "daemon", env=ENV, check=False, timeout=30)
    assert done.returncode == 1 and "only root can become another user" in done.stderr, done.stderr


def test_without_descriptors_a_blob_can_be_had_later(make, up):
    """Not a fault of the image, nor for long: 503 with Retry-After, from which clients come back; and no path of ours in it."""
    image = up.tag(NAME, "1", images.random_image("app", [100_000]))
    p = make({"up.test": up.url})
    digest = image.layers[0]
    assert p.blob(NAME, digest).status == 200
    p.restart()  # nothing is open
    assert p.manifest(NAME, "1").status == 200
    with wire.Connection(p.address) as kept:
        assert kept.request("GET", "/v2/").status == 200
        before = resource.prlimit(p.daemon.pid, resource.RLIMIT_NOFILE, (1, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
        reply = kept.request("GET", f"/v2/{NAME}/blobs/{digest}")
        assert reply.status == 503 and int(reply["Retry-After"]) > 0 and p.data not in reply.message, reply.body
        resource.prlimit(p.daemon.pid, resource.RLIMIT_NOFILE, before)
        assert wait_for(lambda: kept.request("GET", f"/v2/{NAME}/blobs/{digest}").status == 200, 20, "served again")
