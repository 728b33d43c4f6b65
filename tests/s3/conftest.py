# SPDX-License-Identifier: Apache-2.0
"""The S3 client as a program (s3tool), against a real gateway and against a server that breaks where it is told to."""
import pytest

from rig import s3faults
from rig.s3tool import Tool


@pytest.fixture
def s3():
    s = s3faults.S3Faults()
    yield s
    s.close()


@pytest.fixture
def tool(scratch, s3):
    return Tool(scratch, s3.environment())


@pytest.fixture
def file(tmp_path):
    """file(bytes) is the path of a new file that holds them."""
    count = iter(range(1000))

    def make(content):
        path = tmp_path / str(next(count))
        path.write_bytes(content)
        return path
    return make
