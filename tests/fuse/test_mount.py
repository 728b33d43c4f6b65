# SPDX-License-Identifier: Apache-2.0
"""Where and how rac-fuse mounts, what it says when it cannot, and its command line."""
import os
import subprocess
import sys

import pytest

from rig import proxy
from rig.box import is_static
from rig.mount import Mount
from rig.process import Daemon, wait_for
from rig.s3faults import Fault, S3Faults


@pytest.fixture
def s3():
    s = S3Faults()
    s.put("f", b"content")
    yield s
    s.close()


def without(*capabilities):
    return ["setpriv", "--bounding-set", ",".join(f"-{c}" for c in capabilities), "--inh-caps",
            ",".join(f"-{c}" for c in capabilities)]


@pytest.fixture
def start(scratch, s3):
    made = []

    def go(*args, **kwargs):
        made.append(Mount(scratch, s3.environment(), *args, buckets=["data"], **kwargs))
        return made[-1]
    yield go
    for m in made:
        if m.daemon.running():
            assert m.stop() == 0, m.log()


def test_without_cap_sys_admin_it_mounts_in_a_namespace_of_its_own(start, s3):
    m = start(through=without("sys_admin"))
    assert m.ready == b"n", m.log()
    assert not os.path.ismount(m.root)
    inside = subprocess.run(
        ["nsenter", "-t", str(m.pid), "-U", "-m", "--preserve-credentials", "sh", "-c",
         f"id -u; cat {m.root}/data/f; stat -c %u:%g {m.root}/data/f; echo new >{m.root}/data/g; cat /proc/self/uid_map"],
        stdout=subprocess.PIPE, text=True, check=True).stdout.split()
    assert inside[:2] == ["0", "content0:0"]
    assert inside[2] == inside[3]  # all ids are what they are outside
    assert s3.objects["data"]["g"].body == b"new\n"


def test_files_show_who_the_command_runs_as(start):
    m = start(["--uid", "123", "--gid", "456", "--file-mode", "640", "--dir-mode", "750"])
    st = os.stat(m.path("data", "f"))
    assert (st.st_uid, st.st_gid, st.st_mode & 0o7777) == (123, 456, 0o640)
    assert os.stat(m.path("data")).st_mode & 0o7777 == 0o750
    # Another user may look, too: what is allowed is S3's to say.
    subprocess.run(["setpriv", "--reuid", "65534", "--clear-groups", "cat", "f"], check=True, cwd=m.path("data"),
                   stdout=subprocess.DEVNULL)


def test_a_mount_that_goes_away_ends_the_driver(start):
    m = start()
    subprocess.run(["umount", m.root], check=True)
    assert m.daemon.process.wait(60) == 0


@pytest.mark.parametrize("ended_by", ["SIGTERM", "umount"])
def test_what_it_was_mounted_over_stays(scratch, s3, ended_by):
    """A pod's volume, say: what takes the mount off takes that off and nothing else."""
    volume = scratch.folder("volume")
    subprocess.run(["mount", "-t", "tmpfs", "rac-test-volume", volume], check=True)
    try:
        os.mkdir(f"{volume}/here")
        daemon = Daemon(scratch, "rac-fuse", [proxy.binary("rac-fuse"), volume, "--buckets", "data"],
                        {**proxy.sanitizer_settings(), **s3.environment()})
        wait_for(lambda: os.listdir(volume) == ["data"], timeout=60)
        if ended_by == "umount":
            subprocess.run(["umount", "-l", volume], check=True)
            assert daemon.process.wait(60) == 0
        else:
            assert daemon.stop(60) == 0
        assert os.listdir(volume) == ["here"]
    finally:
        subprocess.run(["umount", "-l", volume], check=False)


@pytest.mark.parametrize("heard", [True, False])
def test_what_is_lost_unheard_is_in_the_exit_code(start, s3, heard):
    """A program is told by its close. When it ends with the file open, the kernel closes it, and nobody is told."""
    m = start()
    s3.rule("PUT /data/g*", Fault(status=403, code="AccessDenied"))
    end = "os.close(fd)" if heard else "os._exit(0)"
    code = f"import os; fd = os.open('{m.path('data', 'g')}', os.O_CREAT | os.O_WRONLY); os.write(fd, b'text'); {end}"
    done = subprocess.run([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode == 1 and "Permission denied" in done.stderr) if heard else done.returncode == 0
    wait_for(lambda: "AccessDenied" in m.log())
    assert m.stop() == (0 if heard else 1)
    assert ("1 files could not be stored" in m.log()) != heard


@pytest.mark.parametrize("command, said", [
    (["--no-such"], "--no-such"), (["a", "b"], "one mount point"), ([], "no mount point"), (["m", "--memory", "1"], "--memory"),
    (["m", "--memory"], "needs a value"), (["m", "--uid", "-1"], "--uid"), (["m", "--buckets", "s3://"], "--buckets"),
    (["/no/such/folder"], "no such folder"), (["m", "--log-level", "loud"], "log level")])
def test_what_is_wrong_is_said(scratch, command, said):
    done = scratch.run(proxy.binary("rac-fuse"), *command, check=False)
    assert done.returncode == 1 and said in done.stderr and done.stderr.startswith("rac-fuse: ")


@pytest.mark.parametrize("name, value", [("RAC_METADATA_TTL", "soon"), ("RAC_CACHE_SIZE", "big"), ("RAC_POSIX", "maybe")])
def test_what_is_wrong_in_the_environment_is_said(scratch, name, value):
    done = scratch.run(proxy.binary("rac-fuse"), "m", check=False, env={name: value})
    assert done.returncode == 1 and name in done.stderr


def test_help_names_every_option_and_variable(scratch):
    text = scratch.run(proxy.binary("rac-fuse"), "--help").stdout
    for word in ("--posix", "RAC_MEMORY", "RAC_S3_BUCKETS,NXF_FUSION_BUCKETS", "RAC_CACHE_DIR", "RAC_FLUSH_TIMEOUT",
                 "RAC_METADATA_TTL", "RAC_LOG_LEVEL", "AWS_ENDPOINT_URL_S3", "AWS_ACCESS_KEY_ID", "AWS_PROFILE"):
        assert word in text


def test_without_the_device_the_flag_is_named(scratch, s3):
    folder = scratch.folder("m")
    done = scratch.run("unshare", "-m", "sh", "-c", 'mount -t tmpfs none /dev && exec "$0" "$1"', proxy.binary("rac-fuse"),
                       folder, check=False, env=s3.environment())
    assert done.returncode == 1 and "--device /dev/fuse" in done.stderr


def test_it_runs_where_there_is_nothing_else(scratch, s3):
    binary = proxy.binary("rac-fuse")
    if not is_static(binary):
        pytest.skip("a build with sanitizers has no static one")
    root = scratch.folder("empty")
    for name in ("dev", "s3"):
        os.mkdir(os.path.join(root, name))
    subprocess.run(["cp", binary, f"{root}/rac-fuse"], check=True)
    log = os.path.join(scratch.folder("log"), "log")
    script = (f"touch {root}/dev/fuse && mount --bind /dev/fuse {root}/dev/fuse && "
              f"{{ chroot {root} /rac-fuse /s3 --buckets data >{log} 2>&1 & }} && pid=$! && "
              f"for i in $(seq 100); do [ -e {root}/s3/data/f ] && break; sleep 0.05; done; "
              f"cat {root}/s3/data/f; kill $pid; wait $pid; echo \" $?\"")
    done = scratch.run("unshare", "-m", "sh", "-c", script, env=s3.environment())
    assert done.stdout == "content 0\n", done.stderr
    wait_for(lambda: os.path.exists(log))
