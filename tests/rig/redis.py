# SPDX-License-Identifier: Apache-2.0
"""A real redis-server on a socket of the test's own, which may be killed, stopped, emptied and started again."""
import os
import shutil
import signal
import socket

from rig.process import Daemon, wait_for


class Redis:
    def __init__(self, scratch, *args):
        """args: further ones of redis-server."""
        self.scratch, self.args = scratch, args
        self.data = scratch.folder("redis-data")
        self.socket = os.path.join(self.data, "redis.sock")
        self.url = f"redis+unix://{self.socket}"
        self.start()

    @staticmethod
    def missing():
        return not shutil.which("redis-server")

    def start(self):
        self.daemon = Daemon(self.scratch, "redis", [
            "redis-server", "--port", "0", "--unixsocket", self.socket, "--dir", self.data, "--save", "", "--appendonly", "yes",
            *self.args])
        wait_for(self._answers, 30, "Redis")

    def _answers(self):
        try:
            return self.ask("PING") == b"+PONG\r\n"
        except OSError:
            return False

    def ask(self, *words):
        """The beginning of its answer, as it comes."""
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(10)
            s.connect(self.socket)
            s.sendall(b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w.encode()), w.encode()) for w in words))
            return s.recv(65536)

    def kill(self):
        self.daemon.kill()

    def pause(self):
        self.daemon.signal(signal.SIGSTOP)

    def resume(self):
        self.daemon.signal(signal.SIGCONT)

    def empty(self):
        """Killed, and back without anything."""
        self.kill()
        shutil.rmtree(os.path.join(self.data, "appendonlydir"))
        self.start()

    def close(self):
        if self.daemon.running():
            self.daemon.kill()
