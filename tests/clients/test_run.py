# SPDX-License-Identifier: Apache-2.0
"""./run.sh as in the README: it says when it is ready and what to try, and what it says works, in docker and podman, with the
runtime layer that it injects and a real S3 server. RAC_BIN_DIR is not asked: run.sh builds what it starts."""
import json
import os
import re

import pytest

from rig import proxy
from rig.engines import LIMITS
from rig.process import Daemon
from rig.radosgw import free_port

pytestmark = pytest.mark.skipif(not os.access(os.path.join(proxy.ROOT, "build", "bin", "rac-proxy"), os.X_OK),
                                reason="not built: ./run.sh --build-only")
FUSE = ["--cap-add", "SYS_ADMIN", "--device", "/dev/fuse", "--security-opt", "apparmor=unconfined"]


class Run:
    """run.sh in front of the registry of the tests. What it says in its ready message is .says."""

    def __init__(self, scratch, store):
        self.data = scratch.folder("data")
        self.address = f"127.0.0.1:{free_port()}"
        self.daemon = Daemon(scratch, "run", [os.path.join(proxy.ROOT, "run.sh"), "--listen", self.address, "--upstream",
                                              f"store.test={store.url}"], {"RAC_DATA": self.data, "HOME": os.environ["HOME"]})
        self.daemon.wait_log(lambda log: "msg=ready" in log, timeout=300)
        self.says = re.search(r"\nReady\. .*", self.daemon.log(), re.S)[0]


@pytest.fixture(scope="module")
def run(scratch, store):
    r = Run(scratch, store)
    yield r
    assert r.daemon.stop() == 0, r.daemon.log()[-3000:]


@pytest.fixture(params=["docker", "podman"])
def engine(request):
    return request.getfixturevalue(request.param)


def start(engine, run, name, *command, options=()):
    """What the container printed."""
    reference = f"{run.address}/lib/{name}:latest"
    engine.pull(reference)
    limits = LIMITS if engine.name == "podman" else []
    return engine.command("run", "--rm", "--network", "host", *limits, *options, reference, *command, check=False)


def test_it_says_what_to_try(run):
    port = run.address.rpartition(":")[2]
    for line in (f"docker pull localhost:{port}/library/busybox", "cat /.rac/hello.txt", "NXF_FUSION_BUCKETS=", "--cap-add SYS_ADMIN",
                 "--device /dev/fuse", f"localhost:{port}/library/busybox ls -la /fusion/s3/"):
        assert line in run.says, run.says
    assert os.path.exists(os.path.join(run.data, "state.db"))


@pytest.mark.parametrize("name,show", [("busybox", ["cat"]), ("scratch", ["/show", "cat"])])
def test_the_layer_is_in_the_image(run, engine, name, show):
    done = start(engine, run, name, *show, "/.rac/hello.txt")
    assert (done.returncode, done.stdout) == (0, "Hello injected world!\n"), done


@pytest.mark.parametrize("name,show", [("busybox", ["cat"]), ("scratch", ["/show", "cat"])])
def test_s3_is_there_as_files(run, engine, gateway, bucket, name, show):
    """The line of the ready message, with another engine, image and command."""
    bucket.put("folder/hello.txt", b"hello from S3\n")
    variables = {**gateway.environment(), "NXF_FUSION_BUCKETS": bucket.name}
    options = [word for k, v in variables.items() for word in ("-e", f"{k}={v}")]
    done = start(engine, run, name, *show, f"/fusion/s3/{bucket.name}/folder/hello.txt", options=[*options, *FUSE])
    assert (done.returncode, done.stdout) == (0, "hello from S3\n"), done
    if name == "busybox":
        done = start(engine, run, name, "ls", "-la", f"/fusion/s3/{bucket.name}", options=[*options, *FUSE])
        assert done.returncode == 0 and " folder\n" in done.stdout, done


def test_images_of_both_architectures_get_it(run, skopeo):
    """Each has the layer with its own programs on top."""
    layers = {}
    for architecture in ("amd64", "arm64"):
        told = skopeo.scratch.run("skopeo", "--override-arch", architecture, "inspect", "--tls-verify=false",
                                  f"docker://{run.address}/lib/index:latest")
        layers[f"linux/{architecture}"] = json.loads(told.stdout)["Layers"][-1]
    with open(os.path.join(proxy.ROOT, "build", "layer", "layer.json"), encoding="utf-8") as f:
        assert layers == {x["platform"]: x["gzipDigest"] for x in json.load(f)["layers"]}
