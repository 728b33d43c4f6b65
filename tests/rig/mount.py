# SPDX-License-Identifier: Apache-2.0
"""rac-fuse on a folder of the session, as a user starts it."""
import ctypes
import os
import re
import select

from rig import proxy
from rig.process import Daemon

_LIBC = ctypes.CDLL(None, use_errno=True)
MNT_DETACH = 2


class Mount:
    """args: further flags; through: a program that starts it. environment: of the S3 server. Files are below .path(bucket)."""

    def __init__(self, scratch, environment, args=(), env=None, buckets=(), through=()):
        self.folder = scratch.folder("mount")
        self.root = os.path.join(self.folder, "s3")
        os.mkdir(self.root)
        self.cache = os.path.join(self.folder, "cache")
        os.mkdir(self.cache)
        ready, tell = os.pipe()
        command = [*through, proxy.binary("rac-fuse"), self.root, "--ready-fd", str(tell), "--cache-dir", self.cache, "--log-level",
                   "info", *args]
        if buckets:
            command += ["--buckets", ",".join(buckets)]
        settings = {**proxy.sanitizer_settings(), **environment, **(env or {})}
        self.daemon = Daemon(scratch, "rac-fuse", command, settings, pass_fds=(tell,))
        os.close(tell)
        self.ready = None
        if select.select([ready], [], [], 30)[0]:
            self.ready = os.read(ready, 1)
        os.close(ready)

    def path(self, *parts):
        return os.path.join(self.root, *parts)

    @property
    def pid(self):
        return self.daemon.pid

    def memory(self):
        """Most bytes that were resident."""
        with open(f"/proc/{self.pid}/status", encoding="ascii") as f:
            return int(re.search(r"VmHWM:\s+(\d+) kB", f.read())[1]) * 1024

    def log(self):
        return self.daemon.log()

    def stop(self, timeout=60):
        """SIGTERM; returns the exit code."""
        try:
            code = self.daemon.stop(timeout)
        finally:
            _LIBC.umount2(self.root.encode(), MNT_DETACH)
        problems = proxy.SANITIZERS.search(self.log())
        assert not problems, self.log()[-6000:]
        for secret in proxy.SECRETS:
            assert secret not in self.log(), "a secret in the log"
        return code

    def kill(self):
        self.daemon.kill()
        _LIBC.umount2(self.root.encode(), MNT_DETACH)
