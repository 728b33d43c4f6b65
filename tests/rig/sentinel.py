# SPDX-License-Identifier: Apache-2.0
"""A Redis primary, a replica of it, and a Sentinel that puts one in the other's place."""
import os
import re
import shutil

from rig.process import Daemon, wait_for
from rig.radosgw import free_port


class Failover:
    def __init__(self, scratch):
        self.scratch = scratch
        self.folder = scratch.folder("sentinel")
        self.daemons = {}
        self.port = free_port()
        primary, replica = free_port(), free_port()
        try:
            self._redis(primary)
            self._redis(replica, "--replicaof", "127.0.0.1", str(primary))
            self._wait(replica, "info replication", "master_link_status:up")
            config = os.path.join(self.folder, "sentinel.conf")
            with open(config, "w", encoding="ascii") as f:
                f.write(f"port {self.port}\nbind 127.0.0.1\ndir {self.folder}\nsentinel monitor main 127.0.0.1 {primary} 1\n"
                        "sentinel down-after-milliseconds main 3000\nsentinel failover-timeout main 20000\n")
            self.daemons[self.port] = Daemon(scratch, "sentinel", ["redis-sentinel", config])
            self._wait(self.port, "sentinel replicas main", f"\\b{replica}\\b")
        except BaseException:
            self.close()
            raise
        self.url = f"redis+sentinel://127.0.0.1:{self.port}/main"

    @staticmethod
    def missing():
        return not (shutil.which("redis-server") and shutil.which("redis-sentinel"))

    def _redis(self, port, *args):
        folder = os.path.join(self.folder, str(port))
        os.makedirs(folder, exist_ok=True)
        self.daemons[port] = Daemon(self.scratch, f"redis-{port}", [
            "redis-server", "--port", str(port), "--bind", "127.0.0.1", "--dir", folder, "--save", "", "--appendonly", "yes",
            "--repl-diskless-sync-delay", "0", *args])
        self._wait(port, "ping", "PONG")

    def ask(self, port, words):
        return self.scratch.run("redis-cli", "-p", str(port), *words.split(), check=False).stdout

    def _wait(self, port, words, pattern):
        wait_for(lambda: re.search(pattern, self.ask(port, words)), 60, f"redis {port}: {words}", step=0.1)

    def primary(self):
        """Its port, as Sentinel has it."""
        return int(self.ask(self.port, "sentinel get-master-addr-by-name main").split()[1])

    def kill_primary(self):
        """kill -9, and waits until another one takes writes. What was written before must have been passed on."""
        old = self.primary()
        self.daemons[old].kill()
        wait_for(lambda: self.primary() != old, 60, "another primary", step=0.1)
        self._wait(self.primary(), "info replication", "role:master")

    def in_step(self):
        """Waits until the replica has what the primary had when this was called."""
        wanted = int(re.search(r"master_repl_offset:(\d+)", self.ask(self.primary(), "info replication"))[1])
        wait_for(lambda: any(int(n) >= wanted for n in re.findall(r"state=online,offset=(\d+)",
                                                                  self.ask(self.primary(), "info replication"))),
                 60, "the replica is in step", step=0.05)

    def close(self):
        for daemon in self.daemons.values():
            if daemon.running():
                daemon.kill()
