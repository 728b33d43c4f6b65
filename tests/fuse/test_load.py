# SPDX-License-Identifier: Apache-2.0
"""Many programs on one mount, little memory, and a server that breaks all the time. What is seen of it is what each
program's own files hold; races and overruns are for the sanitizers to see:

    RAC_BIN_DIR=build-tsan/bin python3 -m pytest tests/fuse/test_load.py --long     # cmake --preset tsan
    RAC_BIN_DIR=build-asan/bin python3 -m pytest tests/fuse/test_load.py --long
"""
import os
import threading
import time

import pytest

from rig.bucket import Bucket
from rig.s3faults import S3Faults
from test_faults import storm
from test_files import MIB
from test_model import SEED, Model

PROGRAMS, TOURISTS = 6, 2


class Crowd:
    """Each program has a folder of its own; tourists look at everything, and tolerate what vanishes."""

    def __init__(self, scratch, here, seed):
        self.here, self.problems, self.done = here, [], threading.Event()
        self.models = []
        for k in range(PROGRAMS):
            os.mkdir(f"{here}/p{k}")
            self.models.append(Model(f"{here}/p{k}", scratch.folder(f"model-{k}"), seed * 100 + k))

    def _program(self, model, count):
        try:
            for _ in range(count):
                model.step()
                if self.problems:
                    break
            model.finish()
        except (AssertionError, OSError) as e:
            self.problems.append(str(e))

    def _tourist(self):
        while not self.done.is_set():
            for folder, _, names in os.walk(self.here):
                for name in names[:4]:
                    try:
                        with open(os.path.join(folder, name), "rb", buffering=0) as f:
                            f.read(2 * MIB)
                            f.seek(-1, os.SEEK_END)
                            f.read(1)
                    except OSError:
                        pass
                if self.done.wait(0.01):
                    return

    def run(self, count):
        programs = [threading.Thread(target=self._program, args=(m, count)) for m in self.models]
        tourists = [threading.Thread(target=self._tourist) for _ in range(TOURISTS)]
        for t in programs + tourists:
            t.start()
        for t in programs:
            t.join()
        self.done.set()
        for t in tourists:
            t.join()
        assert not self.problems, "\n".join(self.problems)

    def expected(self):
        """Of the whole bucket: {key: bytes}, folders as markers."""
        found = {}
        for k, model in enumerate(self.models):
            found[f"p{k}/"] = b""
            for path, content in model.contents(1).items():
                found[f"p{k}/{path}" + ("/" if content is None else "")] = content or b""
        return found


@pytest.fixture
def faulty():
    s = S3Faults()
    yield s
    s.close()


COUNTS = [40, pytest.param(700, marks=pytest.mark.long)]


@pytest.mark.parametrize("count", COUNTS)
def test_a_crowd_in_a_storm(scratch, mounts, faulty, count):
    mount = mounts(faulty.environment(), ["--memory", "24MiB", "--cache-size", "1GiB"], buckets=["data"])
    crowd = Crowd(scratch, mount.path("data"), SEED)
    storm(faulty)
    crowd.run(count)
    faulty.rules.clear()
    time.sleep(1.1)  # what stat may show of before
    for model in crowd.models:
        assert model.contents(0) == model.contents(1), f"seed {model.seed}"
    assert mount.stop() == 0
    assert {k: o.body for k, o in faulty.objects["data"].items()} == crowd.expected()
    assert faulty.uploads == {}


@pytest.mark.parametrize("count", COUNTS)
def test_a_crowd_and_the_end_in_the_middle(scratch, mounts, gateway, bucket, count):
    """On a real server; then SIGTERM while all of them work: what S3 has then are whole files."""
    mount = mounts(gateway.environment(), ["--memory", "32MiB"], buckets=[bucket.name])
    here = mount.path(bucket.name)
    crowd = Crowd(scratch, here, SEED + 1)
    crowd.run(count)
    for model in crowd.models:
        assert model.contents(0) == model.contents(1), f"seed {model.seed}"
    stamps = {}

    def writer(k):
        try:
            for i in range(1000):
                stamps[f"w{k}-{i}"] = content = bytes([k * 16 + i % 16]) * [100, 3 * MIB, 9 * MIB][i % 3]
                with open(f"{here}/w{k}-{i}", "wb", buffering=0) as f:
                    for at in range(0, len(content), MIB):
                        f.write(content[at:at + MIB])
        except OSError:
            pass
    writers = [threading.Thread(target=writer, args=(k,)) for k in range(4)]
    for t in writers:
        t.start()
    time.sleep(1)
    mount.stop()
    for t in writers:
        t.join()
    left = Bucket(gateway.environment(), bucket.name)
    assert left.uploads() == []
    keys = left.keys("w")
    assert keys
    for key in keys:
        assert stamps[key].startswith(left.get(key)) and len(left.get(key)) % MIB in (0, 100), key
