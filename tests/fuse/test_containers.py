# SPDX-License-Identifier: Apache-2.0
"""The runtime layer as it is, in containers of real engines, on a real S3 server."""
import os
import time

import pytest

from rig import images, proxy
from rig.shop import Runner, Shop
from test_layer import MISSING, build  # the same layer, the same needs

pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"not installed: {' '.join(MISSING)}")
DEVICE = ["--device", "/dev/fuse"]
FUSE = [*DEVICE, "--cap-add", "SYS_ADMIN", "--security-opt", "apparmor=unconfined"]


def busybox(**config):
    extra = images.tar([(f"bin/{a}", ("->", "busybox")) for a in ("touch", "test", "kill", "dd", "usleep", "cmp")])
    return images.image([images.busybox_layer(), extra], {"Cmd": ["sh"], "Env": [images.PATH_ENV], **config}, oci=True)


IMAGES = {
    "busybox": busybox,
    "nothing": lambda: images.image([images.tar([("show", images.show_program())])],
                                    {"Entrypoint": None, "Cmd": ["/show"], "Env": None}, oci=True),
    "worker": lambda: busybox(User="worker", WorkingDir="/srv/data"),
}


@pytest.fixture(scope="module")
def shop(scratch):
    out = scratch.folder("layer")
    build(scratch, proxy.ROOT, out)
    return Shop(scratch, os.path.join(out, "layer.json"), IMAGES)


@pytest.fixture(scope="module", params=["docker", "podman"])
def runner(request, shop):
    return Runner(request.getfixturevalue(request.param), shop, network="host")


@pytest.fixture
def s3(gateway, bucket):
    """Options of run for the test's bucket."""
    variables = {**gateway.environment(), "NXF_FUSION_BUCKETS": bucket.name}
    return [x for k, v in variables.items() for x in ("-e", f"{k}={v}")]


@pytest.mark.parametrize("name,command", [("busybox", ["cat"]), ("nothing", ["/show", "cat"])])
def test_an_image_that_never_heard_of_s3_reads_it(runner, s3, bucket, name, command):
    bucket.put("folder/hello.txt", b"hello from S3\n")
    done = runner.run(name, *command, f"/fusion/s3/{bucket.name}/folder/hello.txt", options=[*s3, *FUSE])
    assert (done.returncode, done.stdout) == (0, "hello from S3\n"), done


def test_and_writes_it(runner, s3, bucket):
    script = f"cd /fusion/s3/{bucket.name} && echo text > new.txt && cat new.txt && ls"
    done = runner.run("busybox", "sh", "-c", script, options=[*s3, *FUSE])
    assert (done.returncode, done.stdout) == (0, "text\nnew.txt\n"), done
    assert bucket.get("new.txt") == b"text\n"


def test_podman_needs_the_device_only(podman, shop, s3, bucket):
    bucket.put("hello.txt", b"hello\n")
    runner = Runner(podman, shop, network="host")
    done = runner.run("busybox", "cat", f"/fusion/s3/{bucket.name}/hello.txt", options=[*s3, *DEVICE])
    assert (done.returncode, done.stdout) == (0, "hello\n"), done


def test_podman_needs_the_device_only_for_a_user_too(podman, shop, s3, bucket):
    """The mount is made in a user namespace as root, and the command becomes its user in there."""
    runner = Runner(podman, shop, network="host")
    done = runner.run("worker-drop", "sh", "-c", f"id -u; echo text > /fusion/s3/{bucket.name}/f", options=[*s3, *DEVICE])
    assert (done.returncode, done.stdout) == (0, "1234\n"), done
    assert bucket.get("f") == b"text\n"


def test_docker_without_the_capability_says_so(docker, shop, s3):
    done = Runner(docker, shop, network="host").run("busybox", "true", options=[*s3, *DEVICE])
    assert done.returncode == 1 and "--cap-add SYS_ADMIN" in done.stderr, done


def test_read_only_root(runner, s3, bucket):
    bucket.put("hello.txt", b"hello\n")
    done = runner.run("busybox", "sh", "-c", f"cd /fusion/s3/{bucket.name} && cat hello.txt > copy.txt",
                      options=[*s3, *FUSE, "--read-only"])
    assert done.returncode == 0 and bucket.get("copy.txt") == b"hello\n", done


def test_a_user_who_is_not_root(runner, s3, bucket):
    """root-then-drop: mounted as root, used as the image's own user, whose the files are."""
    bucket.put("hello.txt", b"hello\n")
    script = f"id -u; cd /fusion/s3/{bucket.name} && cat hello.txt > copy.txt && stat -c %u:%g copy.txt"
    done = runner.run("worker-drop", "sh", "-c", script, options=[*s3, *FUSE])
    assert (done.returncode, done.stdout) == (0, "1234\n1234:1234\n"), done
    assert bucket.get("copy.txt") == b"hello\n"


def test_stop_completes_a_file_that_is_open(runner, s3, bucket):
    script = f"exec 3>/fusion/s3/{bucket.name}/open.txt; echo first >&3; echo up; " \
             "trap 'echo last >&3; exit 3' TERM; while :; do usleep 5000; done"
    container = runner.start("busybox", "sh", "-c", script, options=[*s3, *FUSE])
    try:
        runner.wait_log(container, "up")
        assert bucket.get("open.txt") is None
        began = time.monotonic()
        runner.engine.command("stop", container)
        assert time.monotonic() - began < 9
        assert bucket.get("open.txt") == b"first\nlast\n"
        assert runner.engine.command("inspect", "--format", "{{.State.ExitCode}}", container).stdout.strip() == "3"
    finally:
        runner.remove(container)


def test_a_driver_that_is_killed(runner, s3, bucket):
    script = f"cd /fusion/s3/{bucket.name} && echo before > a; for p in /proc/[0-9]*; do " \
             "[ $(cat $p/comm) = rac-fuse ] && kill -9 ${p#/proc/}; done; usleep 200000; cat a; exit 0"
    done = runner.run("busybox", "sh", "-c", script, options=[*s3, *FUSE])
    assert done.returncode == 174, done
    assert "not connected" in done.stderr and bucket.get("a") == b"before\n"


def test_exec_in_a_running_container(runner, s3, bucket):
    bucket.put("hello.txt", b"hello\n")
    container = runner.start("busybox", "sh", "-c", "echo up; while :; do usleep 5000; done", options=[*s3, *FUSE])
    try:
        runner.wait_log(container, "up")
        seen = runner.engine.command("exec", container, "cat", f"/fusion/s3/{bucket.name}/hello.txt").stdout
        assert seen == "hello\n"
    finally:
        runner.remove(container)


def test_a_bucket_that_is_not_there(runner, gateway):
    variables = {**gateway.environment(), "NXF_FUSION_BUCKETS": "no-such-bucket"}
    done = runner.run("busybox", "true", options=[*(x for k, v in variables.items() for x in ("-e", f"{k}={v}")), *FUSE])
    assert done.returncode == 1 and "no-such-bucket" in done.stderr, done
