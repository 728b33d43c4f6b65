# SPDX-License-Identifier: Apache-2.0
"""Who is measured: rac-fuse, s3fs and rclone, each mounted anew for every figure, and curl, which asks the server without
any file system between. And the proxy that counts what they ask for."""
import os
import re
import socket
import subprocess
import threading

from rig.process import Daemon, wait_for

TICK = os.sysconf("SC_CLK_TCK")
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


def cpu_seconds(pid):
    """utime and stime of all its threads."""
    with open(f"/proc/{pid}/stat", encoding="ascii") as f:
        fields = f.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK


class Mount:
    """A mounted bucket; files: its folder. Everything of it is gone after close()."""

    def __init__(self, program, scratch, environment, command, env, files):
        self.program, self.files = program, files
        self.root = files if program.name != "rac-fuse" else os.path.dirname(files)
        self.daemon = Daemon(scratch, program.name, command, {**environment, **env})
        try:
            wait_for(self._mounted, 20, f"{program.name} mounts", step=0.01)
        except BaseException:
            self.close()
            raise

    def _mounted(self):
        if not self.daemon.running():
            raise AssertionError(f"{self.program.name} ended:\n{self.daemon.log()[-2000:]}")
        return os.path.ismount(self.root)

    def cpu_seconds(self):
        return cpu_seconds(self.daemon.pid)

    def resident_mb(self):
        """The most that was resident."""
        with open(f"/proc/{self.daemon.pid}/status", encoding="ascii") as f:
            return int(re.search(r"VmHWM:\s+(\d+)", f.read())[1]) * 1024 / 1e6

    def close(self):
        """As a user ends it: what is unwritten is written. By its pid."""
        subprocess.run(["umount", "-l", self.root], check=False, stderr=subprocess.DEVNULL)
        try:
            self.daemon.stop(20)
        except AssertionError:
            pass  # it was killed
        finally:
            subprocess.run(["umount", "-l", self.root], check=False, stderr=subprocess.DEVNULL)


class Program:
    """One that mounts. With its defaults: what is set is where the server is, and what the program cannot do without."""

    def __init__(self, scratch, name, bucket, binary=None):
        self.name, self.scratch, self.bucket, self.binary = name, scratch, bucket, binary or name
        self.home = scratch.folder(f"home-{name}")

    def mount(self, environment):
        root = self.scratch.folder("mount")
        command, files = getattr(self, f"_{self.name.replace('-', '_')}")(root, environment)
        return Mount(self, self.scratch, environment, command, {"HOME": self.home}, files)

    def _rac_fuse(self, root, _environment):
        return [self.binary, root, "--buckets", self.bucket], os.path.join(root, self.bucket)

    def _s3fs(self, root, environment):
        password = os.path.join(self.home, "passwd")
        with open(os.open(password, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="ascii") as f:
            f.write(f"{environment['AWS_ACCESS_KEY_ID']}:{environment['AWS_SECRET_ACCESS_KEY']}")
        return ["s3fs", self.bucket, root, "-f", "-o", f"passwd_file={password}", "-o", "use_path_request_style",
                "-o", f"url={environment['AWS_ENDPOINT_URL']}"], root

    def _rclone(self, root, environment):
        config = os.path.join(self.home, "rclone.conf")
        with open(config, "w", encoding="ascii") as f:
            f.write(f"[s3]\ntype = s3\nprovider = Ceph\nregion = us-east-1\nendpoint = {environment['AWS_ENDPOINT_URL']}\n"
                    f"access_key_id = {environment['AWS_ACCESS_KEY_ID']}\n"
                    f"secret_access_key = {environment['AWS_SECRET_ACCESS_KEY']}\n")
        return ["rclone", "mount", f"s3:{self.bucket}", root, "--config", config, "--cache-dir", self.home], root


class Curl:
    """The server without a file system: what it gives, and takes, at most."""

    name = "curl"

    def __init__(self, environment, bucket):
        self.url = f"{environment['AWS_ENDPOINT_URL']}/{bucket}"
        self.user = f"{environment['AWS_ACCESS_KEY_ID']}:{environment['AWS_SECRET_ACCESS_KEY']}"

    def start(self, *requests):
        """requests: (path, further lines of a configuration), one after the other on one connection."""
        each = ["silent", "show-error", "fail", "globoff", "http1.1", 'output = "/dev/null"',
                'aws-sigv4 = "aws:amz:us-east-1:s3"', f'user = "{self.user}"']
        unsigned = 'header = "x-amz-content-sha256: UNSIGNED-PAYLOAD"'
        text = "fail-early\n" + "\nnext\n".join(
            "\n".join([*each, f'url = "{self.url}{path}"', *more, *([] if any("sha256" in m for m in more) else [unsigned])])
            for path, *more in requests)
        process = subprocess.Popen(["curl", "-K", "-"], stdin=subprocess.PIPE, text=True)
        process.stdin.write(text)
        process.stdin.close()
        return process

    def run(self, *requests):
        if self.start(*requests).wait() != 0:
            raise RuntimeError("curl failed")


class Counter:
    """A proxy before the server that counts requests by their method, and the bytes that come back (heads, too)."""

    def __init__(self, port):
        self.target, self.methods, self.received = port, {}, 0
        self.lock = threading.Lock()
        self.server = socket.create_server(("127.0.0.1", 0))
        self.port = self.server.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def reset(self):
        with self.lock:
            self.methods, self.received = {}, 0

    def _accept(self):
        while True:
            try:
                client, _ = self.server.accept()
                upstream = socket.create_connection(("127.0.0.1", self.target))
            except OSError:
                return
            for s in (client, upstream):
                s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for pump in ((client, upstream, self._requests().send), (upstream, client, self._answers)):
                threading.Thread(target=self._pump, args=pump, daemon=True).start()

    def _requests(self):
        """Follows a connection's requests, head by head, past their bodies."""
        def follow():
            waiting = b""
            while True:
                while b"\r\n\r\n" not in waiting:
                    waiting += yield
                head, _, waiting = waiting.partition(b"\r\n\r\n")
                method = head.split(b" ", 1)[0].decode("ascii", "replace")
                with self.lock:
                    self.methods[method] = self.methods.get(method, 0) + 1
                found = LENGTH.search(head)
                left = int(found[1]) if found else 0
                while left > len(waiting):
                    left -= len(waiting)
                    waiting = yield
                waiting = waiting[left:]
        f = follow()
        next(f)
        return f

    def _answers(self, data):
        with self.lock:
            self.received += len(data)

    @staticmethod
    def _pump(source, target, note):
        try:
            while data := source.recv(1 << 18):
                note(data)
                target.sendall(data)
        except OSError:
            pass
        for s in (source, target):
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def close(self):
        self.server.close()
