# SPDX-License-Identifier: Apache-2.0
"""The Debian package, made once for all of its tests."""
import os
import shutil
import subprocess

import pytest

from rig import proxy


@pytest.fixture(scope="session")
def deb(scratch):
    """The package as packaging/deb makes it."""
    out = scratch.folder("deb")
    # HOME: the compiler's cache is the caller's.
    scratch.run(os.path.join(proxy.ROOT, "packaging", "deb"), out, timeout=900, env={"HOME": os.environ.get("HOME", "/")})
    found = [os.path.join(out, f) for f in os.listdir(out)]
    assert len(found) == 1 and found[0].endswith(".deb"), found
    return found[0]


@pytest.fixture(scope="session")
def unpacked(scratch, deb):
    """What is in it, as files."""
    folder = scratch.folder("unpacked")
    scratch.run("dpkg-deb", "-x", deb, folder)
    return folder


def needs(*programs):
    missing = [p for p in programs if not shutil.which(p)]
    return pytest.mark.skipif(bool(missing), reason=f"not installed: {' '.join(missing)}")


def output(*words, **kwargs):
    return subprocess.run([str(w) for w in words], check=True, capture_output=True, text=True, **kwargs).stdout
