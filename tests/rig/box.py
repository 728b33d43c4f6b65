# SPDX-License-Identifier: Apache-2.0
"""A container without an engine: a root folder with the runtime layer in it, and namespaces around it.

What an engine does is left out on purpose: which signals are blocked, which descriptors are open and who is PID 1 is
the test's to say. The layer's driver is fuse/fake_driver.c; the command is mostly fuse/probe.c, which says how it was
started.
"""
import functools
import json
import os
import shutil
import signal
import subprocess
import tempfile

from rig import images
from rig.process import wait_for

HERE = os.path.dirname(os.path.realpath(__file__))
PROGRAMS = os.path.join(HERE, "..", "fuse")
BIN = os.environ.get("RAC_BIN_DIR") or os.path.join(HERE, "..", "..", "build-asan", "bin")
RAC_INIT = os.path.join(BIN, "rac-init")
# What makes rac-init begin its driver, and that driver mount.
BUCKETS = {"NXF_FUSION_BUCKETS": "data"}
MOUNTED = {**BUCKETS, "FAKE_DRIVER": "mount"}
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# $1 = the root; then options, "--" and what is executed there. dev, proc and the root are as an engine makes them.
SETUP = r"""
set -e
root=$1; pid=$2; shift 2
mount --make-rprivate /
mount --bind "$root" "$root"
cd "$root"
mount -t proc proc proc
mount -t tmpfs -o mode=755 tmpfs dev
for node in null zero tty fuse; do
    case " $RAC_BOX_WITHOUT " in *" $node "*) continue ;; esac
    touch dev/$node
    mount --bind /dev/$node dev/$node
done
if [ -n "$RAC_BOX_FUSE_MODE" ] && [ -e dev/fuse ]; then
    umount dev/fuse
    rm dev/fuse
    mknod -m "$RAC_BOX_FUSE_MODE" dev/fuse c 10 229
fi
mkdir -p old
pivot_root . old
umount -l /old
cd "${RAC_BOX_FOLDER:-/}"
case $pid in
1) exec "$@" ;;
2) "$@" ;;
lingers) "$@" || /bin/busybox sleep 5 ;;
esac
"""


@functools.lru_cache(None)
def compiled(name):
    """A static program of tests/fuse, as bytes."""
    with tempfile.TemporaryDirectory(prefix="rac-cc-") as folder:
        out = os.path.join(folder, name)
        subprocess.run(["cc", "-Os", "-static", "-s", "-D_GNU_SOURCE", "-Wl,--build-id=none", "-o", out,
                        os.path.join(PROGRAMS, f"{name}.c")], check=True)
        return images.read(out)


def libraries(program):
    """What a program that is not static needs, with its loader."""
    done = subprocess.run(["ldd", program], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False)
    words = done.stdout.split() if done.returncode == 0 else []
    return sorted({w for w in words if w.startswith("/")})


def is_static(program):
    return not libraries(program)


def static_program(name):
    """A program that starts in an image: of this build, of the release build, or of the layer's own; None if there is none."""
    top = os.path.join(HERE, "..", "..")
    for folder in (BIN, os.path.join(top, "build", "bin"), os.path.join(top, "build-layer", "amd64", "bin")):
        path = os.path.realpath(os.path.join(folder, name))
        if os.path.exists(path) and is_static(path):
            return path
    return None


def put(root, path, content, mode=0o755):
    full = os.path.join(root, path.lstrip("/"))
    os.makedirs(os.path.dirname(full), exist_ok=True)
    with open(full, "wb") as f:
        f.write(content)
    os.chmod(full, mode)
    return full


class Box:
    def __init__(self, scratch, driver=None):
        self.scratch = scratch
        self.root = scratch.folder("box")
        os.chmod(self.root, 0o755)
        for folder in ("proc", "dev", "tmp", "bin", "etc", "srv", "fusion/s3", "old"):
            os.makedirs(os.path.join(self.root, folder), exist_ok=True)
        os.chmod(os.path.join(self.root, "tmp"), 0o1777)
        os.chmod(os.path.join(self.root, "fusion/s3"), 0o777)
        put(self.root, "/.rac/bin/rac-init", images.read(RAC_INIT))
        put(self.root, "/.rac/bin/rac-fuse", driver or compiled("fake_driver"))
        put(self.root, "/bin/probe", compiled("probe"))
        put(self.root, "/bin/odd", compiled("odd"))
        put(self.root, "/bin/busybox", images.read(images.BUSYBOX))
        for applet in ["sh", "env", "sleep", "kill", "cat", "ps", "setsid", "test", "true", "false", "touch", "id",
                       "echo", "mount", "umount", "ls", "ln", "usleep", "stty", "tty", "["]:
            os.symlink("busybox", os.path.join(self.root, "bin", applet))
        self.file("/etc/passwd", "root:x:0:0:root:/root:/bin/sh\nworker:x:1234:1235:a worker:/srv:/bin/sh\n")
        self.file("/etc/group", "root:x:0:\nworkers:x:1235:\nextra:x:77:someone,worker\nmore:x:78:worker\n")
        for library in libraries(RAC_INIT):
            put(self.root, library, images.read(library))
        self.process = None

    def file(self, path, text, mode=0o644):
        return put(self.root, path, text.encode(), mode)

    def read(self, path):
        return images.read(os.path.join(self.root, path.lstrip("/"))).decode(errors="replace")

    def log(self):
        """What the fake driver noted, as lines."""
        try:
            return self.read("/fake.log").splitlines()
        except FileNotFoundError:
            return []

    def start(self, *command, env=None, init=True, pid=1, without=(), fuse_mode="", folder="/", before=(), **popen):
        """Starts it and returns the Popen. pid: 1, 2 (below a shell), "lingers" (and that shell stays). before: words
        in front of it all, as "/bin/odd", "state"."""
        variables = {"PATH": PATH, **(env or {})}
        words = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "/bin/sh", "-c", SETUP, "box", self.root,
                 str(pid), *before, "/bin/busybox", "env", "-i",
                 *[f"{k}={v}" for k, v in variables.items() if v is not None],
                 *(["/.rac/bin/rac-init"] if init else []), *command]
        outside = self.scratch.environment({"RAC_BOX_WITHOUT": " ".join(without), "RAC_BOX_FOLDER": folder,
                                             "RAC_BOX_FUSE_MODE": fuse_mode})
        popen = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **popen}
        self.process = subprocess.Popen(words, env=outside, **popen)  # pylint: disable=consider-using-with
        return self.process

    def run(self, *command, timeout=30, **kwargs):
        """To its end: a CompletedProcess with text."""
        p = self.start(*command, **kwargs)
        try:
            out, err = p.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            self.signal(signal.SIGKILL)  # --kill-child forgets a child that became another user
            out, err = p.communicate()
            raise AssertionError(f"{command} did not end within {timeout} s:\n{out!r}\n{err!r}") from None
        return subprocess.CompletedProcess(command, p.returncode, (out or b"").decode(errors="replace"),
                                           (err or b"").decode(errors="replace"))

    def probe(self, *args, **kwargs):
        """What the probe says, started by rac-init."""
        done = self.run("/bin/probe", *args, **kwargs)
        assert done.returncode == 0, done
        return json.loads(done.stdout)

    def pid(self):
        """PID 1 of the box, as seen from outside."""
        def child():
            pid = self.process.pid
            with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as f:
                return next(iter(f.read().split()), None)
        return int(wait_for(child, what="the box's first process"))

    def signal(self, number):
        os.kill(self.pid(), number)

    def kill_driver(self):
        found = subprocess.run(["pgrep", "-P", str(self.pid()), "rac-fuse"], stdout=subprocess.PIPE, text=True, check=True)
        os.kill(int(found.stdout), signal.SIGKILL)

    def wait_log(self, text):
        wait_for(lambda: any(text in line for line in self.log()), what=f"'{text}' in {self.log()}")

    def wait_file(self, path):
        full = os.path.join(self.root, path.lstrip("/"))
        wait_for(lambda: os.path.exists(full), what=path)

    def close(self):
        if self.process and self.process.poll() is None:
            self.signal(signal.SIGKILL)
            self.process.wait(10)
        for stream in (self.process.stdout, self.process.stderr, self.process.stdin) if self.process else ():
            if stream:
                stream.close()
        shutil.rmtree(self.root, ignore_errors=True)
