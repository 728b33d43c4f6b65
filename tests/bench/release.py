# SPDX-License-Identifier: Apache-2.0
"""The programs that are measured."""
import os
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
TARGETS = ["rac-proxy", "rac-layer", "bench_upstream", "bench_load", "bench_hold", "http_hello"]


def binaries():
    """The folder of a Release build of its own, made: figures of another build mean nothing."""
    folder = os.path.join(ROOT, "build-bench")
    for command in (["cmake", "-S", ROOT, "-B", folder, "-G", "Ninja", "-DCMAKE_BUILD_TYPE=Release",
                     "-DRAC_FUSE_LAYER=OFF"],
                    ["ninja", "-C", folder, *TARGETS]):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            sys.exit(f"{' '.join(command)} failed:\n{(done.stdout + done.stderr)[-3000:]}")
    return os.path.join(folder, "bin")
