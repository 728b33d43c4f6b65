# SPDX-License-Identifier: Apache-2.0
"""rac-proxy does all of its work in the sandbox of its systemd unit: the unit is read, and put around it without systemd."""
import os
import pwd
import re
import signal

import pytest
from conftest import needs

from rig import images, proxy, sandbox
from rig.process import Daemon

pytestmark = [pytest.mark.skipif(os.geteuid() != 0 or sandbox.seccomp is None, reason="takes root and python3-seccomp"),
              needs("bwrap", "systemd-analyze", "setpriv")]
NOBODY = pwd.getpwnam("nobody")
# What the sandbox is to keep away; each line says "name: ok" if it does not.
TRY = r"""
import ctypes, mmap, os, socket
libc = ctypes.CDLL(None, use_errno=True)
def attempt(name, call):
    try:
        call()
        print(name + ": ok")
    except OSError as e:
        print(name + ": " + os.strerror(e.errno))
def checked(call):
    if call() < 0:
        raise OSError(ctypes.get_errno(), "")
attempt("plain", lambda: open(os.environ["DATA"] + "/x", "w").close())
attempt("usr", lambda: open("/usr/x", "w").close())
attempt("chroot", lambda: os.chroot("/"))
attempt("nice", lambda: os.setpriority(os.PRIO_PROCESS, 0, 5))
attempt("packet", lambda: socket.socket(17, socket.SOCK_RAW))
attempt("unix", lambda: socket.socket(socket.AF_UNIX).close())
attempt("wx", lambda: mmap.mmap(-1, 4096, prot=7))
attempt("unshare", lambda: checked(lambda: libc.unshare(0x10000000)))
attempt("ptrace", lambda: checked(lambda: libc.ptrace(0, 0, 0, 0)))
attempt("setuid-bit", lambda: os.chmod(os.environ["DATA"] + "/x", 0o4755))
"""


@pytest.fixture
def box(scratch, unpacked):
    os.chmod(scratch.path, 0o711)
    b = sandbox.Sandbox(scratch, os.path.join(unpacked, "lib/systemd/system/rac-proxy.service"), NOBODY.pw_uid, NOBODY.pw_gid)
    yield b
    b.close()


@pytest.fixture
def data(scratch):
    folder = scratch.folder("data")
    os.chown(folder, NOBODY.pw_uid, NOBODY.pw_gid)
    return folder


def test_it_is_a_sandbox(scratch, box, data):
    done = scratch.run(*box.around([data]), "/usr/bin/python3", "-c", TRY, pass_fds=box.pass_fds(), env={"DATA": data})
    said = dict(line.split(": ", 1) for line in done.stdout.splitlines())
    assert {name for name, result in said.items() if result == "ok"} == {"plain", "unix"}, said
    assert said["usr"] == "Read-only file system" and said["packet"] == "Address family not supported by protocol", said


def test_the_proxy_works_in_it(scratch, box, data, unpacked, up, layer):
    """Pulls with and without a rewrite, names that are looked up, a blob that is downloaded, one from the disk, reload, scrub, the end."""
    image = up.tag("lib/app", "1", images.random_image("app", [3_000_000]))
    program = os.path.join(unpacked, "usr/bin/rac-proxy")
    url = re.sub(r"//[\d.]+:", "//localhost:", up.url)
    around = box.around([data], [os.path.dirname(program), layer.folder])
    daemon = Daemon(scratch, "sandboxed", [*around, program, "--listen", "127.0.0.1:0", "--data", data, "--upstream", f"up.test={url}",
                                           "--inject", layer.path], pass_fds=box.pass_fds())
    try:
        address = daemon.wait_log(lambda log: re.search(r"msg=ready listen=(\S+)", log))[1]
        p = proxy.Proxy(scratch, start=False, data=data)
        p.address, p.daemon = address, daemon
        assert p.get("/readyz").status == 200 and p.get("/metrics").status == 200
        manifest = p.manifest("lib/app", "1").json
        assert layer.gzip_digest in [one["digest"] for one in manifest["layers"]]
        for digest in (image.layers[0], layer.gzip_digest, manifest["config"]["digest"], image.layers[0]):
            assert p.blob("lib/app", digest).digest == digest
        assert p.get("/v2/lib/app/tags/list").json["tags"] == ["1"]
        inside = sandbox.innermost(daemon.pid)
        os.kill(inside, signal.SIGHUP)
        daemon.wait_log(lambda text: 'msg="configuration reloaded"' in text)
        os.kill(inside, signal.SIGTERM)
        code = daemon.process.wait(60)
    finally:
        daemon.stop()
    log = daemon.log()
    assert code == 0 and "msg=drained" in log, log[-2000:]
    assert not re.search(r"not permitted|level=error|Read-only file system|not supported", log), log[-3000:]
    done = scratch.run(*box.around([data], [os.path.dirname(program)]), program, "--scrub", "--data", data, pass_fds=box.pass_fds())
    assert re.search(r"^[1-9]\d* blobs, .* 0 damaged", done.stdout), done.stdout
