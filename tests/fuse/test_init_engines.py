# SPDX-License-Identifier: Apache-2.0
"""rac-init in containers of real engines, put into images by rac-layer; the driver is a fake. What an image does with
the layer is held against what the same engine makes of it without."""
import functools
import json
import os
import shutil
import time

import pytest

from rig import images, proxy
from rig.box import compiled, put, static_program
from rig.shop import Runner, Shop

STATIC = static_program("rac-init")
pytestmark = pytest.mark.skipif(not STATIC, reason="no static rac-init: cmake --build build --target rac-init")
BUCKETS = ["-e", "NXF_FUSION_BUCKETS=data"]
DEVICE = ["--device", "/dev/fuse"]
FUSE = [*DEVICE, "--cap-add", "SYS_ADMIN", "--security-opt", "apparmor=unconfined"]


def fake(words):
    return ["-e", f"FAKE_DRIVER={words}"]


@functools.lru_cache(None)
def probe_layer():
    return images.tar([("bin/probe", compiled("probe")), ("bin/usleep", ("->", "busybox")), ("bin/test", ("->", "busybox")),
                       ("bin/mount", ("->", "busybox")), ("bin/kill", ("->", "busybox")), ("bin/ps", ("->", "busybox")),
                       ("bin/touch", ("->", "busybox")), ("no-shebang", b"echo hello\n"),
                       ("no-interpreter", b"#!/not/there\n"), ("data.txt", b"data\n", 0o644)])


def layers():
    return [images.busybox_layer(), probe_layer()]


IMAGES = {
    "plain": lambda: images.image(layers(), {"Cmd": ["probe"], "Env": [images.PATH_ENV]}, oci=True),
    "nothing": lambda: images.image([images.tar([("show", images.show_program()), ("probe", compiled("probe"))])],
                                    {"Entrypoint": None, "Cmd": None, "Env": None}, oci=True),
    "exec": lambda: images.image(layers(), {
        "Entrypoint": ["probe", "two words", "it's \"quoted\"", "", "line\nbreak"], "Cmd": ["$HOME", "*"],
        "Env": [images.PATH_ENV], "WorkingDir": "/srv"}, oci=True),
    "shell": lambda: images.image(layers(), {"Entrypoint": ["/bin/sh", "-c", "echo \"shell says $HI\"; exec probe"],
                                             "Env": [images.PATH_ENV, "HI=hello there"]}, oci=True),
    "worker": lambda: images.image(layers(), {"User": "worker", "Cmd": ["probe"], "Env": [images.PATH_ENV],
                                              "WorkingDir": "/srv/data"}, oci=True),
}


@pytest.fixture(scope="module")
def shop(scratch):
    """With a layer of our rac-init and the fake driver."""
    tree = scratch.folder("tree")
    put(tree, "/.rac/bin/rac-init", images.read(STATIC))
    put(tree, "/.rac/bin/rac-fuse", compiled("fake_driver"))
    os.makedirs(os.path.join(tree, "fusion/s3"))
    os.chmod(os.path.join(tree, "fusion/s3"), 0o777)
    out = scratch.folder("layer")
    scratch.run(proxy.binary("rac-layer"), "pack", tree, "-o", out, "--entrypoint", "/.rac/bin/rac-init")
    return Shop(scratch, os.path.join(out, "layer.json"), IMAGES)


@pytest.fixture(scope="module", params=["docker", "podman"])
def runner(request, shop):
    return Runner(request.getfixturevalue(request.param), shop)


SAME = ["args", "env", "cwd", "uid", "gid", "groups", "umask", "limits", "SigBlk", "SigIgn", "CapEff", "CapPrm", "CapInh",
        "CapBnd", "CapAmb", "fds"]


def same(found):
    return {**{k: found[k] for k in SAME if k != "env"},
            "env": sorted(e for e in found["env"] if not e.startswith("HOSTNAME="))}


@pytest.mark.parametrize("options", [[], [*BUCKETS, *fake("mount"), *FUSE]], ids=["plain", "mounted"])
@pytest.mark.parametrize("name", ["plain", "exec", "shell", "worker-drop"])
def test_a_command_is_started_as_without_the_layer(runner, name, options):
    base, _, drop = name.partition("-")
    without, ours = same(runner.probe(f"{base}-without", options=options)), runner.probe(name, options=options)
    if drop:
        # Podman hands an added capability on to users who are not root; what was added for the mount is dropped here.
        without.update({c: "0" * 16 for c in ("CapInh", "CapPrm", "CapEff", "CapAmb")})
    assert same(ours) == without
    assert (ours["pid"] == 1) == (options == [])


@pytest.mark.parametrize("name,args", [("plain", ["probe", "a b", ""]), ("exec", ["x y", "--help"]), ("nothing", ["/probe", "x"])])
def test_arguments_of_run(runner, name, args):
    assert same(runner.probe(name, *args)) == same(runner.probe(f"{name}-without", *args))


@pytest.mark.parametrize("options", [[], [*BUCKETS, *DEVICE]], ids=["plain", "mounted"])
@pytest.mark.parametrize("command", [
    ["sh", "-c", "exit 0"], ["sh", "-c", "exit 3"], ["sh", "-c", "kill -9 $$"], ["nothing-here"], ["/nothing/here"], ["/etc"],
    ["/data.txt"], ["sh", "-c", "exit 126"]])
def test_exit_codes_are_the_engines_own(runner, command, options):
    if command[-1] == "kill -9 $$":
        assert runner.run("plain", *command, options=options).returncode in ((137,) if options else (0, 137))
        return
    without, ours = runner.run("plain-without", *command), runner.run("plain", *command, options=options)
    assert ours.returncode == without.returncode, (ours, without)


def test_nothing_to_run_in_an_image_without_a_command(runner):
    done = runner.run("nothing")
    assert done.returncode == 127 and "no command" in done.stderr


def test_the_mount_is_there(runner):
    done = runner.run("plain", "sh", "-c", "echo hello > /fusion/s3/f; cat /fusion/s3/f; mount",
                      options=[*BUCKETS, *fake("mount"), *FUSE])
    assert done.returncode == 0 and "hello" in done.stdout and "fake on /fusion/s3" in done.stdout, done


def test_no_device_says_which_flag(runner):
    done = runner.run("plain", "probe", options=BUCKETS)
    assert (done.returncode, done.stdout) == (1, "") and "--device /dev/fuse" in done.stderr


def test_a_mount_that_is_refused(runner):
    done = runner.run("plain", "probe", options=[*BUCKETS, *DEVICE, *fake("mount")])
    assert (done.returncode, done.stdout) == (1, "") and "did not mount /fusion/s3" in done.stderr, done


def test_podman_with_a_device_only(podman, shop):
    """Its seccomp profile lets a container make a user namespace; Docker's does not."""
    runner = Runner(podman, shop)
    options = [*BUCKETS, *DEVICE, *fake("mount elsewhere")]
    done = runner.run("plain", "sh", "-c", "mount; echo ---; probe", options=options)
    assert done.returncode == 0 and "fake on /fusion/s3" in done.stdout, done
    ours, without = json.loads(done.stdout.splitlines()[-1]), runner.probe("plain-without", options=options)
    for what in ("CapEff", "CapBnd", "CapPrm", "uid", "gid", "cwd", "umask"):
        assert ours[what] == without[what], what


def test_read_only(runner):
    done = runner.run("plain", "sh", "-c", "cat /fusion/s3/none; touch /x; probe > /fusion/s3/p && echo written",
                      options=[*BUCKETS, *fake("mount"), *FUSE, "--read-only"])
    assert done.returncode == 0 and "written" in done.stdout and "Read-only" in done.stderr


def test_below_the_engines_init(runner):
    options = [*BUCKETS, *DEVICE, "--init"]
    if runner.engine.name == "podman":
        # Debian's podman has none of its own installed.
        options += ["--init-path", shutil.which("docker-init") or pytest.skip("no docker-init")]
    assert runner.probe("plain", "probe", options=options)["ppid"] > 1
    assert runner.run("plain", "sh", "-c", "exit 5", options=options).returncode == 5


def test_a_user_who_is_not_root(runner):
    done = runner.run("worker", "probe", options=[*BUCKETS, *DEVICE, *fake("mount")])
    assert done.returncode == 1 and done.stdout == "" and "rac-init" in done.stderr
    found = runner.probe("worker")
    assert (found["uid"], found["pid"]) == (1234, 1)


def test_stop_is_graceful_and_flushes(runner):
    script = "trap 'echo bye; exit 9' TERM; echo up; while :; do usleep 5000; done"
    container = runner.start("plain", "sh", "-c", script, options=[*BUCKETS, *fake("mount flush=700"), *FUSE])
    try:
        runner.wait_log(container, "up")
        began = time.monotonic()
        runner.engine.command("stop", "-t", "60", container)
        assert 0.7 < time.monotonic() - began < 50
        state = json.loads(runner.engine.command("inspect", container).stdout)[0]["State"]
        assert state["ExitCode"] == 9 and "bye" in runner.engine.command("logs", container).stdout
        log = runner.engine.command("cp", f"{container}:/fake.log", "-", check=False).stdout
        assert "flushed" in log
    finally:
        runner.remove(container)


@pytest.mark.parametrize("words", ["mount", "mount elsewhere"])
def test_exec_sees_the_mount(runner, words):
    if words == "mount elsewhere" and runner.engine.name == "docker":
        pytest.skip("Docker's seccomp profile lets no container make a user namespace")
    options = [*BUCKETS, *fake(words), *(DEVICE if "elsewhere" in words else FUSE)]
    container = runner.start("plain", "sh", "-c", "echo text > /fusion/s3/f; echo up; sleep 60", options=options)
    try:
        runner.wait_log(container, "up")
        assert runner.engine.command("exec", container, "cat", "/fusion/s3/f").stdout == "text\n"
    finally:
        runner.remove(container)


def test_a_terminal(runner):
    done = runner.run("plain", "sh", "-c", "test -t 0 && test -t 1 && probe", options=["-t", *BUCKETS, *DEVICE])
    found = json.loads(done.stdout.splitlines()[-1])
    assert done.returncode == 0 and found["foreground"] == found["pgrp"] > 1
