# SPDX-License-Identifier: Apache-2.0
"""A terminal with somebody in front of it who types and reads."""
import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time


class Terminal:
    def __init__(self, command, env, size=(40, 120)):
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", *size, 0, 0))
        self.process = subprocess.Popen(command, env=env, stdin=slave, stdout=slave, stderr=slave,  # pylint: disable=consider-using-with
                                        start_new_session=True,
                                        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))
        os.close(slave)
        self.text = ""

    def type(self, text):
        os.write(self.master, text.encode())

    def wait(self, pattern, timeout=20):
        """Reads on until the pattern is there; returns what came up to its end, and what follows is for the next wait."""
        deadline = time.monotonic() + timeout
        while not (found := re.search(pattern, self.text)):
            assert time.monotonic() < deadline, f"'{pattern}' did not come:\n{self.text}"
            if select.select([self.master], [], [], 0.1)[0]:
                try:
                    self.text += os.read(self.master, 4096).decode(errors="replace")
                except OSError:  # the other end is closed
                    assert re.search(pattern, self.text), f"'{pattern}' did not come:\n{self.text}"
        seen, self.text = self.text[:found.end()], self.text[found.end():]
        return seen

    def ends(self, timeout=30):
        """The exit code. What is written meanwhile is read, or the writer would wait."""
        deadline = time.monotonic() + timeout
        while self.process.poll() is None:
            assert time.monotonic() < deadline, f"it goes on:\n{self.text}"
            if select.select([self.master], [], [], 0.05)[0]:
                try:
                    self.text += os.read(self.master, 4096).decode(errors="replace")
                except OSError:
                    time.sleep(0.05)
        return self.process.returncode

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(10)
        os.close(self.master)
