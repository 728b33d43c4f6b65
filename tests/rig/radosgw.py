# SPDX-License-Identifier: Apache-2.0
"""A real S3 server: Ceph's RADOS Gateway over one monitor and one object store in memory, on loopback, for one test
session. It checks every signature, and has every multipart call. Debian: radosgw ceph-mon ceph-osd ceph-common.

    gateway = Radosgw(scratch)        # about 15 s
    gateway.environment()             # what a client needs to know
    gateway.close()
"""
import http.client
import os
import shutil
import socket
import uuid

from rig.process import Daemon, wait_for

PROGRAMS = ("radosgw", "ceph-mon", "ceph-osd", "ceph", "monmaptool", "radosgw-admin")
ACCESS_KEY = "RACTESTS000000000001"
SECRET_KEY = "rac-tests-secret-key-of-forty-characters"

# Traps: clients do not know the monitor's fsid at first, and are now and then refused for it (-1, "wrong fsid"): they are
# asked, or started, again; it refuses (-13) clients that ask for secure mode without keys, hence crc; and without
# tcp_nodelay each small request takes 40 ms. Deleted objects stay for two hours, in memory here, unless it is told otherwise.
SETTINGS = """
[global]
fsid = {fsid}
mon host = [v1:127.0.0.1:{mon}]
mon initial members = a
auth cluster required = none
auth service required = none
auth client required = none
ms bind msgr2 = false
ms mon client mode = crc
ms bind ipv4 = true
public addr = 127.0.0.1
cluster addr = 127.0.0.1
run dir = {folder}
admin socket = {folder}/$name.asok
log file = {folder}/$name.log
pid file = {folder}/$name.pid
mon data = {folder}/mon
mon allow pool size one = true
mon max pg per osd = 1000
mon data avail warn = 1
mon data avail crit = 0
osd data = {folder}/osd
osd objectstore = memstore
memstore device bytes = {bytes}
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 4
osd pool default pgp num = 4
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
[client.rgw]
rgw data = {folder}/rgw
rgw frontends = beast endpoint=127.0.0.1:{port} tcp_nodelay=1
rgw enable usage log = false
rgw gc max objs = 7
rgw gc obj min wait = 1
rgw gc processor period = 2
rgw max put size = 10737418240
"""


def missing():
    """The programs that are not installed."""
    return [p for p in PROGRAMS if not shutil.which(p)]


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Radosgw:
    def __init__(self, scratch, size=8 << 30):
        self.scratch = scratch
        self.daemons = []
        # Ports are free when they are chosen, and may be taken a moment later: another try has others.
        for attempt in (1, 2, 3):
            try:
                self._start(size)
                return
            except BaseException as e:
                self.close()
                if attempt == 3 or not isinstance(e, AssertionError):
                    raise

    def _write_settings(self, size, fsid, mon):
        self.folder = self.scratch.folder("radosgw")
        self.port = free_port()
        self.settings = os.path.join(self.folder, "ceph.conf")
        for name in ("mon", "osd", "rgw"):
            os.mkdir(os.path.join(self.folder, name))
        with open(self.settings, "w", encoding="ascii") as f:
            f.write(SETTINGS.format(fsid=fsid, mon=mon, folder=self.folder, port=self.port, bytes=size))

    def _run(self, program, *args, check=True, timeout=60):
        return self.scratch.run(program, "-c", self.settings, *args, check=check, timeout=timeout)

    def _ask(self, *args):
        """The monitor's answer: right after its start it refuses now and then."""
        def answer():
            done = self._run("ceph", *args, check=False)
            return done if done.returncode == 0 else None
        return wait_for(answer, 60, f"ceph {' '.join(args)}", step=0.3).stdout.strip()

    def _daemon(self, name, *args):
        self.daemons.append(Daemon(self.scratch, name, [args[0], "-c", self.settings, *args[1:], "-f"]))

    def _start_store(self, osd):
        self._ask("osd", "crush", "add", f"osd.{osd}", "1", "root=default", "host=localhost")
        for _ in range(5):
            self._daemon("ceph-osd", "ceph-osd", "-i", osd)
            daemon = self.daemons[-1]
            wait_for(lambda: not daemon.running() or "wrong fsid" in daemon.log() or "1 up" in self._ask("osd", "stat"),
                     60, "ceph-osd")
            if daemon.running() and "wrong fsid" not in daemon.log():
                return
            daemon.kill()
            self.daemons.remove(daemon)
        raise AssertionError("ceph-osd: refused by the monitor, five times")

    def _start(self, size):
        mon, fsid = free_port(), str(uuid.uuid4())
        self._write_settings(size, fsid, mon)
        monmap = os.path.join(self.folder, "monmap")
        self.scratch.run("monmaptool", "--create", "--clobber", "--fsid", fsid, "--addv", "a", f"[v1:127.0.0.1:{mon}]",
                         monmap)
        self._run("ceph-mon", "-i", "a", "--mkfs", "--monmap", monmap)
        self._daemon("ceph-mon", "ceph-mon", "-i", "a")
        wait_for(lambda: self._run("ceph", "--connect-timeout", "5", "-s", check=False).returncode == 0, 40, "ceph-mon")
        osd = self._ask("osd", "create")
        self._run("ceph-osd", "-i", osd, "--mkfs")
        self._start_store(osd)
        self._daemon("radosgw", "radosgw", "-n", "client.rgw")
        wait_for(self._answers, 90, "radosgw")
        self._run("radosgw-admin", "-n", "client.rgw", "user", "create", "--uid=test", "--display-name=test",
                  f"--access-key={ACCESS_KEY}", f"--secret-key={SECRET_KEY}")

    def _answers(self):
        try:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
            connection.request("GET", "/")
            return connection.getresponse().status == 200
        except OSError:
            return False

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def environment(self, **more):
        return {"AWS_ENDPOINT_URL": self.url, "AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
                "AWS_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true", **more}

    def close(self):
        """The gateway first: without it nobody waits for the others. They hold nothing worth a slow end."""
        for daemon in reversed(self.daemons):
            daemon.kill()
        self.daemons = []
