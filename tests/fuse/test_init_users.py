# SPDX-License-Identifier: Apache-2.0
"""rac-init as another user: RAC_USER, its groups and capabilities."""
import os

import pytest

from rig.box import BUCKETS, RAC_INIT

pytestmark = pytest.mark.skipif(not os.path.exists(RAC_INIT), reason=f"{RAC_INIT} is not built")


@pytest.mark.parametrize("env", [{}, BUCKETS], ids=["plain", "mounted"])
@pytest.mark.parametrize("user,uid,gid,groups,home", [
    ("worker", 1234, 1235, [77, 78, 1235], "/srv"), ("1234", 1234, 1235, [77, 78, 1235], "/srv"),
    ("worker:extra", 1234, 77, [77], "/srv"), ("4321", 4321, 0, [0], "/"), ("4321:99", 4321, 99, [99], "/"),
    ("1234:workers", 1234, 1235, [1235], "/srv")])
def test_rac_user(box, env, user, uid, gid, groups, home):
    found = box.probe(env={**env, "RAC_USER": user, "HOME": "/root"})
    assert (found["uid"], found["gid"], sorted(found["groups"])) == (uid, gid, groups)
    assert f"HOME={home}" in found["env"]
    assert [int(found[c], 16) for c in ("CapEff", "CapPrm", "CapInh", "CapAmb")] == [0, 0, 0, 0]
    if env:
        args = " ".join(line[4:] for line in box.log() if line.startswith("arg"))
        assert f"--uid {uid} --gid {gid}" in args


def test_no_capability_stays_whichever_set_it_was_in(box):
    """Becoming another user takes most of them; the inheritable ones would stay."""
    direct = box.probe(init=False, before=["/bin/odd", "inh"])
    ours = box.probe(env={"RAC_USER": "worker"}, before=["/bin/odd", "inh"])
    assert int(direct["CapInh"], 16) and int(direct["CapAmb"], 16)
    assert [int(ours[c], 16) for c in ("CapEff", "CapPrm", "CapInh", "CapAmb")] == [0, 0, 0, 0]
    assert ours["CapBnd"] == direct["CapBnd"], "the container's own: see decision 7"


def test_a_home_of_the_images_own_stays(box):
    assert "HOME=/elsewhere" in box.probe(env={"RAC_USER": "worker", "HOME": "/elsewhere"})["env"]


@pytest.mark.parametrize("user,says", [("nobody-here", "/etc/passwd"), ("worker:nothing", "/etc/group"), ("a:b:c", "name|uid"),
                                       ("-1", "/etc/passwd"), ("99999999999", "/etc/passwd"), (":", "name|uid")])
def test_a_user_that_is_not_there(box, user, says):
    done = box.run("/bin/touch", "/ran", env={"RAC_USER": user})
    assert done.returncode == 126 and says in done.stderr, done
    assert not os.path.exists(os.path.join(box.root, "ran"))


def test_only_root_can_become_another(box):
    as_worker = ["/bin/odd", "user"]
    assert box.probe(env={"RAC_USER": "1234"}, before=as_worker)["uid"] == 1234, "nothing to do for who is it already"
    done = box.run("/bin/touch", "/tmp/ran", env={"RAC_USER": "4321"}, before=as_worker)
    assert done.returncode == 126 and "only root" in done.stderr


def test_stdio_belongs_to_the_user(box):
    script = "ln -s /proc/self/fd/1 /dev/stdout; exec /.rac/bin/rac-init /bin/sh -c 'echo again > /dev/stdout'"
    done = box.run("/bin/sh", "-c", script, init=False, env={"RAC_USER": "worker"})
    assert (done.returncode, done.stdout) == (0, "again\n"), done


def test_passwd_may_be_anything(box):
    os.remove(os.path.join(box.root, "etc/passwd"))
    assert box.probe(env={"RAC_USER": "77:88"})["uid"] == 77
    os.mkfifo(os.path.join(box.root, "etc/passwd"))
    done = box.run("/bin/true", env={"RAC_USER": "worker"}, timeout=5)
    assert done.returncode == 126 and "no file" in done.stderr
