# SPDX-License-Identifier: Apache-2.0
"""Programs of Kubernetes, which the long tests build."""
import os
import shutil
import subprocess

from rig.proxy import ROOT


def program(name, source, version, build=False):
    """The path of kube-x: that of RAC_X, else the one in build/x, which Go makes of the folder `source` if asked. None if there is
    none. version: flags of the linker that say which."""
    short = name.replace("kube-", "")
    given = os.environ.get(f"RAC_{short.upper()}")
    if given:
        return given
    path = os.path.join(ROOT, "build", short, name)
    if not os.path.exists(path) and build and shutil.which("go"):
        subprocess.run(["go", "build", "-trimpath", "-ldflags", f"-s -w {version}", "-o", path, "."], cwd=source, check=False,
                       env={**os.environ, "CGO_ENABLED": "0"}, timeout=3600)
    return path if os.path.exists(path) else None
