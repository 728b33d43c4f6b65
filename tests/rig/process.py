# SPDX-License-Identifier: Apache-2.0
"""Programs and folders of one test session, and the promise that none of them outlives it.

Every program that a session starts carries RIG_OF_RAC=<session> in its environment and hands it on to what it starts
itself (shims, monitors, containers' init), so that the end of the session finds all of them by looking, not by name.
"""
import ctypes
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import threading
import time

MARK = "RIG_OF_RAC"
_UNMOUNT = ctypes.CDLL(None, use_errno=True)
_MNT_DETACH = 2
# How many times longer than usual to wait for what must come: test.sh says it where valgrind or ThreadSanitizer makes the
# programs slow (tests/unit/patience.h has the same of the unit tests).
PATIENCE = max(1, int(os.environ.get("RAC_TEST_PATIENCE") or 1))


class Scratch:
    """The folder of a session; everything that is written goes below it."""

    def __init__(self):
        self.session = secrets.token_hex(8)
        # Unix sockets of the engines live below: the path must stay short (108 bytes).
        self.path = tempfile.mkdtemp(prefix="rac-", dir=os.environ.get("TMPDIR", "/tmp"))
        self.devices = network_devices()
        self._count = 0
        self._lock = threading.Lock()

    def folder(self, name):
        with self._lock:
            self._count += 1
            path = os.path.join(self.path, f"{self._count}-{name}")
        os.mkdir(path)
        return path

    def environment(self, more=None):
        env = {k: v for k, v in os.environ.items() if not k.startswith("RAC_")
               and not k.lower().endswith("_proxy")}
        env.update({MARK: self.session, "HOME": self.path, "LC_ALL": "C.UTF-8"})
        env.update(more or {})
        return env

    def run(self, *args, check=True, timeout=120, env=None, **kwargs):
        """Runs a program to its end; its output is in the error if it fails."""
        done = subprocess.run([str(a) for a in args], stdin=kwargs.pop("stdin", subprocess.DEVNULL),
                              text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=timeout * PATIENCE,
                              errors="replace",
                              env=self.environment(env), **kwargs)
        if check and done.returncode != 0:
            raise AssertionError(f"{' '.join(map(str, args))} ended with {done.returncode}:\n"
                                 f"{done.stdout[-4000:]}{done.stderr[-4000:]}")
        return done

    def survivors(self):
        """Processes of this session that still run: [(pid, command)]."""
        found = []
        needle = f"{MARK}={self.session}".encode()
        for pid in filter(str.isdigit, os.listdir("/proc")):
            if int(pid) == os.getpid():
                continue
            try:
                with open(f"/proc/{pid}/environ", "rb") as f:
                    if needle not in f.read().split(b"\0"):
                        continue
                with open(f"/proc/{pid}/cmdline", "rb") as f:
                    command = f.read().replace(b"\0", b" ").decode(errors="replace").strip()
            except OSError:
                continue
            if command:
                found.append((int(pid), command))
        return found

    def mounts(self):
        with open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as f:
            points = [line.split()[4].encode().decode("unicode_escape") for line in f]
        return [p for p in points if p == self.path or p.startswith(self.path + "/")]

    def close(self):
        """Ends what still runs, unmounts, deletes. Returns what should not have been there, as lines of text."""
        wrong = []
        deadline = time.monotonic() + 5
        while (left := self.survivors()) and time.monotonic() < deadline:
            time.sleep(0.1)  # shims and monitors end shortly after their containers
        for pid, command in left:
            wrong.append(f"still running: {pid} {command[:150]}")
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        if left:
            time.sleep(0.5)
        for point in sorted(self.mounts(), key=len, reverse=True):
            wrong.append(f"still mounted: {point}")
            _UNMOUNT.umount2(point.encode(), _MNT_DETACH)
        for device in sorted(network_devices() - self.devices):
            if device.startswith(("docker", "veth", "cni", "podman", "br-")):
                wrong.append(f"new network device: {device}")
        shutil.rmtree(self.path, ignore_errors=True)
        if os.path.exists(self.path):
            subprocess.run(["rm", "-rf", "--one-file-system", self.path], check=False)
        if os.path.exists(self.path):
            wrong.append(f"cannot be deleted: {self.path}")
        return wrong


def network_devices():
    return set(os.listdir("/sys/class/net"))


def wait_for(condition, timeout=20, what="condition", step=0.02):
    """Polls until condition() is true and returns its value."""
    timeout *= PATIENCE
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {timeout} s")
        time.sleep(step)


class Daemon:
    """A program in the background: its log goes to a file, its death with the test process is arranged for."""

    def __init__(self, scratch, name, args, env=None, cwd=None, pass_fds=()):
        self.name = name
        self.folder = scratch.folder(name)
        self.log_path = os.path.join(self.folder, "log")
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "TERM", "--", *[str(a) for a in args]], stdin=subprocess.DEVNULL,
                stdout=log, stderr=log, env=scratch.environment(env), cwd=cwd, start_new_session=True,
                pass_fds=pass_fds)

    @property
    def pid(self):
        return self.process.pid

    def log(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as f:
            return f.read()

    def running(self):
        return self.process.poll() is None

    def wait_log(self, find, timeout=30):
        """Waits until find(log text) is true; the program must stay alive meanwhile."""
        def ready():
            value = find(self.log())
            if not value and not self.running():
                value = find(self.log())
                assert value, f"{self.name} ended with {self.process.returncode}:\n{self.log()[-4000:]}"
            return value
        try:
            return wait_for(ready, timeout, f"{self.name} ready")
        except AssertionError as e:
            raise AssertionError(f"{e}\n{self.log()[-4000:]}") from None

    def signal(self, number):
        self.process.send_signal(number)

    def stop(self, timeout=20):
        """SIGTERM, and SIGKILL to the whole group if that does not help. Returns the exit code."""
        timeout *= PATIENCE
        if self.running():
            self.process.terminate()
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"{self.name} did not end within {timeout} s of SIGTERM:\n{self.log()[-3000:]}") from None

    def kill(self):
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        return self.process.wait(10)
