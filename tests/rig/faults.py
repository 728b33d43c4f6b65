# SPDX-License-Identifier: Apache-2.0
"""System calls that fail on demand in a program that runs: the tests' side of tests/faults/io_faults.h."""
import errno
import mmap
import os
import re
import struct
import subprocess

from rig import proxy

RULES = 8
FOREVER = 1 << 62
HALF = 0  # instead of an errno: a read or write that does half
_RULE = struct.Struct("<IiQQQQ128s128s256s24Q")
_SIZE = 8 + RULES * _RULE.size


def library(name):
    path = os.path.join(os.path.dirname(proxy.binary("rac-proxy")), "..", "tests", "faults", name + ".so")
    assert os.access(path, os.R_OK), f"{path} is missing: build {name}"
    return os.path.abspath(path)


class Faults:
    """env is for the program that is to fail; arm() and clear() may be called while it runs."""

    def __init__(self, scratch, memory=False):
        """memory: "malloc" can fail, too, which stands for all of its kind; leaks are not looked for then."""
        self.path = os.path.join(scratch.folder("faults"), "plan")
        with open(self.path, "wb") as f:
            f.truncate(_SIZE)
        with open(self.path, "r+b") as f:
            self.map = mmap.mmap(f.fileno(), _SIZE)
        self.env = {"LD_PRELOAD": library("memory_faults" if memory else "io_faults"), "IO_FAULTS": self.path,
                    "ASAN_OPTIONS": proxy.sanitizer_settings()["ASAN_OPTIONS"]
                    .replace("detect_leaks=1", f"detect_leaks={0 if memory else 1}")
                    + ":verify_asan_link_order=0:allocator_may_return_null=1"}

    def _at(self, rule):
        return 8 + rule * _RULE.size

    def arm(self, calls, error=HALF, match="", first=1, times=FOREVER, rule=0):
        """calls: "write pwrite". error: an errno or HALF. From the first-th call that matches on, `times` of them fail."""
        self.clear(rule)
        number = getattr(errno, error) if isinstance(error, str) else error
        names = "," + ",".join(calls.split()) + ","
        assert len(names) < 128 and len(match) < 128
        at = self._at(rule)
        packed = _RULE.pack(1, number, first, times, 0, 0, names.encode(), match.encode(), b"", *[0] * 24)
        self.map[at + 4:at + _RULE.size] = packed[4:]
        self.map[at:at + 4] = packed[:4]

    def clear(self, rule=None):
        for i in range(RULES) if rule is None else [rule]:
            self.map[self._at(i):self._at(i) + 4] = bytes(4)

    def _rule(self, rule):
        return _RULE.unpack(self.map[self._at(rule):self._at(rule) + _RULE.size])

    def seen(self, rule=0):
        """Calls that matched since it was armed."""
        return self._rule(rule)[4]

    def hit(self, rule=0):
        """Calls that failed."""
        return self._rule(rule)[5]

    def last(self, rule=0):
        """The first that failed: "pwrite /data/state.db"."""
        return self._rule(rule)[8].split(b"\0")[0].decode(errors="replace")

    def where(self, rule=0):
        """Which of our functions it was in, innermost first."""
        frames = [f"{f - 1:#x}" for f in self._rule(rule)[9:] if f]
        if not frames:
            return ""
        out = subprocess.run(["addr2line", "-sfe", proxy.binary("rac-proxy"), *frames], check=False, text=True,
                             stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout.splitlines()
        return " < ".join(f"{name} {re.sub(' .*', '', place)}" for name, place in zip(out[::2], out[1::2]) if name != "??")

    def shift_clock(self, seconds):
        """How far the program's clock on the wall is ahead of the true one."""
        self.map[:8] = struct.pack("<q", int(seconds * 10**9))
