# SPDX-License-Identifier: Apache-2.0
"""k8s/dev's job that makes the buckets, run by a shell here against a real S3 server. With --long."""
import os
import shutil

import pytest
import yaml

from rig.bucket import Bucket
from rig.proxy import ROOT

pytestmark = [pytest.mark.long, pytest.mark.skipif(not shutil.which("curl"), reason="no curl")]


def test_the_job_makes_what_the_rest_wants(scratch, gateway):
    with open(os.path.join(ROOT, "k8s", "dev", "s3.yaml"), encoding="utf-8") as f:
        job, = [m for m in yaml.safe_load_all(f) if m["kind"] == "Job"]
    command = job["spec"]["template"]["spec"]["containers"][0]["command"]
    here = gateway.environment()
    words = [word.replace("http://s3:9000", here["AWS_ENDPOINT_URL"]) for word in command]
    keys = {k: here[k] for k in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")}
    for _ in range(2):  # it may be run again
        scratch.run(*words, env=keys)
    assert Bucket(here, "data").get("hello.txt") == b"hello from S3"
    Bucket(here, "rac").put("is-there", b"x")
    wrong = scratch.run(*words, env={**keys, "AWS_SECRET_ACCESS_KEY": "another"}, check=False)
    assert wrong.returncode and "bucket data: 403" in wrong.stdout
    for name, key in (("data", "hello.txt"), ("rac", "is-there")):
        Bucket(here, name).request("DELETE", key)
