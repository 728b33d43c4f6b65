# SPDX-License-Identifier: Apache-2.0
"""The S3 client of rac-fuse as a program."""
import dataclasses
import os
import pathlib
import subprocess


@dataclasses.dataclass
class Result:
    code: int
    out: bytes
    err: str

    @property
    def text(self):
        return self.out.decode("utf-8", "surrogateescape")


class Tool:
    """s3tool with the settings of one server."""

    def __init__(self, scratch, settings):
        folder = os.environ.get("RAC_BIN_DIR") or pathlib.Path(__file__).parents[2] / "build-asan" / "bin"
        self.program = os.path.join(folder, "s3tool")
        self.scratch, self.settings = scratch, settings

    def __call__(self, *args, timeout=60, env=None, **more):
        """The result, whatever it is: exit code 0 or an errno."""
        environment = self.scratch.environment({**self.settings, **(env or {}), **more})
        done = subprocess.run([self.program, *map(os.fspath, map(str_or_path, args))], env=environment,
                              stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout, check=False)
        err = done.stderr.decode(errors="replace")
        assert done.returncode >= 0 and "Sanitizer" not in err, f"{args}: ended with {done.returncode}:\n{err}"
        assert self.settings["AWS_SECRET_ACCESS_KEY"] not in err, f"a credential in a message:\n{err}"
        return Result(done.returncode, done.stdout, err)

    def ok(self, *args, **kwargs):
        result = self(*args, **kwargs)
        assert result.code == 0, f"{args}: {result.code}\n{result.err}"
        return result


def str_or_path(value):
    return value if isinstance(value, (str, bytes, os.PathLike)) else str(value)
