# SPDX-License-Identifier: Apache-2.0
"""rac-init as PID 1 and below another, in namespaces of the tests' own; the driver is a fake that does what it is told."""
import json
import os
import re
import signal
import subprocess
import time

import pytest

from rig.box import BUCKETS, MOUNTED, PATH, RAC_INIT, is_static

pytestmark = pytest.mark.skipif(not os.path.exists(RAC_INIT), reason=f"{RAC_INIT} is not built")


def test_without_buckets_it_becomes_the_command(box):
    assert box.probe("an argument", "", "*")["pid"] == 1
    assert box.log() == []


@pytest.mark.parametrize("value", ["", " ", ",", " , ,"])
def test_a_list_that_names_no_bucket_is_none(box, value):
    assert box.probe(env={"NXF_FUSION_BUCKETS": value, "RAC_S3_BUCKETS": value})["pid"] == 1


@pytest.mark.parametrize("name", ["NXF_FUSION_BUCKETS", "RAC_S3_BUCKETS"])
def test_with_buckets_it_stays_pid_1(box, name):
    found = box.probe(env={name: "s3://data/prefix"})
    assert found["pid"] > 1 and found["ppid"] == 1
    assert box.log()[-2:] == ["signal 15", "flushed"]


STATE = ["/bin/odd", "state"]


@pytest.mark.parametrize("buckets", [{}, MOUNTED], ids=["plain", "mounted"])
def test_the_command_finds_all_as_without_it(box, buckets):
    reader, writer = os.pipe()
    try:
        os.set_inheritable(writer, True)
        same = {"env": {"A": "b=c", "SPACED": "two words\nand a line", "EMPTY": "", **buckets}, "folder": "/srv",
                "before": STATE, "pass_fds": (writer,)}
        args = ("an argument", "it's \"quoted\"", "", "line\nbreak", "*")
        direct = box.probe(*args, init=False, **same)
        ours = box.probe(*args, **same)
    finally:
        os.close(reader)
        os.close(writer)
    for changed in ("pid", "ppid", "pgrp"):
        direct.pop(changed)
        ours.pop(changed)
    assert writer in direct["fds"] and direct["umask"] == 0o137 and int(direct["SigIgn"], 16) & 1
    assert int(direct["SigBlk"], 16) == 1 << 9 | 1 << 14 | 1 << (signal.SIGRTMIN + 3 - 1)
    assert ["123", "456"] in direct["limits"]
    assert ours == direct


@pytest.mark.parametrize("closed,left", [("<&-", [1, 2]), (">&-", [0, 2]), ("2>&-", [0, 1]), ("<&- >&-", [2]),
                                         ("<&- >&- 2>&-", [])])
@pytest.mark.parametrize("env", [{}, BUCKETS], ids=["plain", "mounted"])
def test_closed_stdio_stays_closed(box, env, closed, left):
    box.file("/t.sh", f"exec /.rac/bin/rac-init /bin/probe {closed}\n")
    assert box.run("/bin/sh", "/t.sh", init=False, env={**env, "PROBE_OUT": "/seen"}).returncode == 0
    assert json.loads(box.read("/seen"))["fds"] == left


def test_an_ignored_sigchld_stays_ignored_and_harms_nothing(box):
    chld = ["/bin/odd", "chld"]
    assert box.run("/bin/sh", "-c", "exit 7", env=MOUNTED, before=chld).returncode == 7
    assert int(box.probe(env=MOUNTED, before=chld)["SigIgn"], 16) >> 16 & 1


# Exit codes

@pytest.mark.parametrize("env", [{}, BUCKETS], ids=["plain", "mounted"])
@pytest.mark.parametrize("script,code", [("exit 0", 0), ("exit 1", 1), ("exit 3", 3), ("exit 255", 255)])
def test_exit_code_of_the_command(box, env, script, code):
    assert box.run("/bin/sh", "-c", script, env=env).returncode == code


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGSEGV, signal.SIGRTMIN + 1])
def test_a_command_ended_by_a_signal_is_128_and_the_signal(box, number):
    assert box.run("/bin/sh", "-c", f"kill -{int(number)} $$", env=BUCKETS).returncode == 128 + number


@pytest.mark.parametrize("env", [{}, BUCKETS], ids=["plain", "mounted"])
@pytest.mark.parametrize("command,code,says", [
    ("nothing-here", 127, "not found in PATH"), ("/nothing/here", 127, "No such file"), ("", 127, "not found"),
    ("/etc", 126, "Is a directory"), ("/etc/passwd", 126, "Permission denied"), ("passwd", 127, "not found in PATH"),
    ("/etc/passwd/x", 126, "Not a directory"), ("/no-shebang", 126, "without #!"),
    ("/no-interpreter", 127, "asks for"),
    ("other-processor", 126, "another processor")])
def test_a_command_that_cannot_be(box, env, command, code, says):
    box.file("/no-shebang", "echo hello\n", 0o755)
    box.file("/no-interpreter", "#!/not/there\n", 0o755)
    box.file("/bin/other-processor", "\x7fELF\x02\x01\x01" + "\0" * 100, 0o755)
    done = box.run(command, env={**env, "PATH": "/etc:/bin"})
    assert (done.returncode, done.stdout) == (code, "") and says in done.stderr, done
    assert done.stderr.count("\n") == 1


def test_path_is_searched_as_the_runtime_does(box):
    box.file("/one/tool", "not executable\n", 0o644)
    os.makedirs(os.path.join(box.root, "two/tool"))
    box.file("/three/tool", "#!/bin/sh\necho three\n", 0o755)
    box.file("/usr/local/bin/tool", "#!/bin/sh\necho default\n", 0o755)
    box.file("/srv/tool", "#!/bin/sh\necho here\n", 0o755)
    assert box.run("tool", env={"PATH": "/none:/one:/two:/three"}).stdout == "three\n"
    assert box.run("tool", env={"PATH": None}).stdout == "default\n"
    assert box.run("tool", env={"PATH": "/none:"}, folder="/srv").stdout == "here\n"
    assert box.run("./tool", env={"PATH": ""}, folder="/srv").stdout == "here\n"
    assert box.run("tool", env={"PATH": ""}, folder="/srv").returncode == 127


def test_no_command_at_all(box):
    done = box.run()
    assert done.returncode == 127 and "no command" in done.stderr


# The entry chain

@pytest.mark.parametrize("chain,args", [
    ("/bin/probe", ["/bin/probe", "a b"]),
    ('["/bin/probe"]', ["/bin/probe", "a b"]),
    ('[ "/bin/probe" , "it\'s \\"so\\"", "", "line\\nbreak \\u00e9\\ud83d\\ude00" ]',
     ["/bin/probe", "it's \"so\"", "", "line\nbreak é😀", "a b"]),
])
@pytest.mark.parametrize("env", [{}, BUCKETS], ids=["plain", "mounted"])
def test_the_chain_stands_in_front(box, env, chain, args):
    done = box.run("a b", env={**env, "WAVE_ENTRY_CHAIN": chain})
    assert done.returncode == 0, done
    assert json.loads(done.stdout)["args"] == args


@pytest.mark.parametrize("chain", ['["a"', '["a",]', '["a" "b"]', '["\\u0000"]', '["\\ud800"]', '["a"]x', '["\\x"]', '["a", 1]'])
def test_a_chain_that_is_broken_is_said_and_nothing_runs(box, chain):
    done = box.run("/bin/touch", "/ran", env={"WAVE_ENTRY_CHAIN": chain})
    assert done.returncode == 126 and "WAVE_ENTRY_CHAIN" in done.stderr
    assert not os.path.exists(os.path.join(box.root, "ran"))


def test_a_chain_through_ourselves_ends(box):
    """An image that was injected twice: what was in front of its entry point is rac-init."""
    found = box.probe(env={"WAVE_ENTRY_CHAIN": "/.rac/bin/rac-init", "RAC_USER": "1234"})
    assert found["uid"] == 1234 and not [e for e in found["env"] if e.startswith(("WAVE_", "RAC_USER"))]


@pytest.mark.parametrize("flag", ["--help", "--version"])
def test_flags_are_ours_only_when_they_cannot_be_the_commands(box, flag):
    ours = box.run(flag)
    assert ours.returncode == 0 and "rac-init" in ours.stdout
    found = box.run(flag, env={"WAVE_ENTRY_CHAIN": "/bin/probe"})
    assert json.loads(found.stdout)["args"] == ["/bin/probe", flag]


# The driver

def test_how_the_driver_is_started(box):
    reader, writer = os.pipe()
    try:
        os.set_inheritable(writer, True)
        found = box.probe(env=MOUNTED, pass_fds=(writer,))
    finally:
        os.close(reader)
        os.close(writer)
    log = box.log()
    pid = re.match(r"pid (\d+) sid (\d+)", log[0])
    assert pid[1] == pid[2], "a session of its own"
    assert [line for line in log if line.startswith("arg")][:2] == ["arg /fusion/s3", "arg --ready-fd"]
    fds = [line for line in log if line.startswith("fd")]
    assert [f for f in fds if "ready" not in f] == ["fd 0", "fd 1", "fd 2"] and len(fds) == 4
    assert writer in found["fds"]


def test_the_mount_is_there_when_the_command_starts(box):
    script = "echo text > /fusion/s3/f && cat /fusion/s3/f && ls -d /fusion/s3 && mount"
    done = box.run("/bin/sh", "-c", script, env=MOUNTED)
    assert done.returncode == 0 and "fake on /fusion/s3 type tmpfs" in done.stdout, done
    assert not os.listdir(os.path.join(box.root, "fusion/s3"))


def test_a_mount_in_a_namespace_of_the_driver_is_entered(box):
    env = {**BUCKETS, "FAKE_DRIVER": "mount elsewhere"}
    direct = box.probe(init=False, env=env, folder="/srv")
    ours = box.probe(env=env, folder="/srv")
    assert ours["cwd"] == "/srv"
    # A user namespace hands out all capabilities in it; the command gets those that the container has.
    for same in ("CapBnd", "CapEff", "CapPrm", "CapInh", "CapAmb", "uid", "gid", "env", "umask", "SigBlk", "SigIgn"):
        assert ours[same] == direct[same], same
    done = box.run("/bin/sh", "-c", "mount; cat /proc/self/uid_map", env=env)
    assert "fake on /fusion/s3" in done.stdout and done.returncode == 0, done


def test_fewer_capabilities_stay_fewer_in_that_namespace(box):
    env, few = {**BUCKETS, "FAKE_DRIVER": "mount elsewhere"}, ["/bin/odd", "caps"]
    direct, ours = box.probe(init=False, env=env, before=few), box.probe(env=env, before=few)
    assert bin(int(direct["CapBnd"], 16)).count("1") == 11
    assert (ours["CapBnd"], ours["CapEff"]) == (direct["CapBnd"], direct["CapEff"])


def test_who_enters_the_container_later_sees_that_mount(box):
    box.start("/bin/sh", "-c", "touch /up; sleep 30", env={**BUCKETS, "FAKE_DRIVER": "mount elsewhere"})
    box.wait_file("/up")
    done = subprocess.run(["nsenter", "-t", str(box.pid()), "-m", "-p", "/bin/busybox", "mount"], check=True, text=True,
                          stdout=subprocess.PIPE)
    assert "fake on /fusion/s3" in done.stdout


def test_a_user_who_is_not_root_in_that_namespace(box):
    user = {"before": ["/bin/odd", "user"], "fuse_mode": "666", "folder": "/srv",
            "env": {**BUCKETS, "FAKE_DRIVER": "mount elsewhere"}}
    box.file("/fake.log", "", 0o666)
    direct, ours = box.probe(init=False, **user), box.probe(**user)
    for what in ("uid", "gid", "groups", "cwd", "CapEff", "CapPrm", "CapInh", "CapBnd", "CapAmb", "umask", "env"):
        assert ours[what] == direct[what], what
    done = box.run("/bin/sh", "-c", "mount; echo x > /fusion/s3/f && ls -ln /fusion/s3", **user)
    assert done.returncode == 0 and "fake on /fusion/s3" in done.stdout and "1234     1235" in done.stdout, done


def test_a_device_that_is_for_root_only(box):
    done = box.run("/bin/touch", "/tmp/ran", env=BUCKETS, before=["/bin/odd", "user"], fuse_mode="600")
    assert done.returncode == 1 and "user 1234 may not open /dev/fuse" in done.stderr
    assert "chmod 666 /dev/fuse" in done.stderr and "root-then-drop" in done.stderr


@pytest.mark.parametrize("mode", ["required", None, "optional"])
@pytest.mark.parametrize("what,says", [
    ("fuse", "--device /dev/fuse"), ("driver", "/.rac/bin/rac-fuse"), ("folder", "/fusion/s3"), ("fail=3", "exit code 3"),
    ("silent", "RAC_MOUNT_TIMEOUT")])
def test_without_a_mount(box, mode, what, says):
    env = {**BUCKETS, "RAC_MOUNT": mode, "FAKE_DRIVER": what, "RAC_MOUNT_TIMEOUT": "300ms"}
    if what == "driver":
        os.remove(os.path.join(box.root, ".rac/bin/rac-fuse"))
    if what == "folder":
        os.rmdir(os.path.join(box.root, "fusion/s3"))
    began = time.monotonic()
    done = box.run("/bin/probe", env=env, without=["fuse"] if what == "fuse" else [])
    assert time.monotonic() - began < 20
    assert says in done.stderr, done
    if mode == "optional":
        assert done.returncode == 0 and json.loads(done.stdout)["pid"] == 1
    else:
        assert (done.returncode, done.stdout) == (1, "") and "RAC_MOUNT=optional" in done.stderr


def test_optional_leaves_no_trace_of_the_attempt(box):
    env = {**BUCKETS, "RAC_MOUNT": "optional", "FAKE_DRIVER": "fail=1"}
    direct = box.probe(init=False, env=env, before=STATE)
    assert box.probe(env=env, before=STATE) == direct


@pytest.mark.parametrize("name,value", [("RAC_MOUNT", "maybe"), ("RAC_MOUNT_TIMEOUT", "soon"), ("RAC_FLUSH_TIMEOUT", "-1"),
                                        ("RAC_MOUNT_TIMEOUT", "2h"), ("RAC_LOG_LEVEL", "loud")])
def test_a_wrong_option_is_named(box, name, value):
    done = box.run("/bin/true", env={**BUCKETS, name: value})
    assert done.returncode == 1 and name in done.stderr and value in done.stderr


# The end

@pytest.mark.parametrize("driver", ["exit=1", "mount exit=7"])
def test_174_if_the_command_succeeded_and_the_flush_did_not(box, driver):
    done = box.run("/bin/true", env={**BUCKETS, "FAKE_DRIVER": driver})
    assert done.returncode == 174 and "not everything is stored" in done.stderr


def test_the_commands_own_failure_comes_first(box):
    done = box.run("/bin/sh", "-c", "exit 5", env={**BUCKETS, "FAKE_DRIVER": "exit=1"})
    assert done.returncode == 5 and "not everything is stored" in done.stderr


def test_a_driver_that_does_not_end_is_killed_in_time(box):
    began = time.monotonic()
    done = box.run("/bin/true", env={**BUCKETS, "FAKE_DRIVER": "deaf", "RAC_FLUSH_TIMEOUT": "200ms"})
    assert done.returncode == 174 and "RAC_FLUSH_TIMEOUT" in done.stderr
    assert 1 < time.monotonic() - began < 20


def test_the_flush_is_waited_for(box):
    began = time.monotonic()
    assert box.run("/bin/true", env={**BUCKETS, "FAKE_DRIVER": "flush=1500"}).returncode == 0
    assert time.monotonic() - began > 1.5 and box.log()[-1] == "flushed"


def test_a_driver_that_is_killed(box):
    box.start("/bin/sh", "-c", "touch /up; while [ ! -e /go ]; do usleep 20000; done", env=MOUNTED)
    box.wait_file("/up")
    box.kill_driver()
    time.sleep(0.2)
    assert box.process.poll() is None, "the command goes on"
    box.file("/go", "")
    _, err = box.process.communicate(timeout=10)
    assert box.process.returncode == 174 and b"signal 9" in err


def test_without_buckets_it_costs_less_than_a_millisecond(box):
    if not is_static(RAC_INIT):
        pytest.skip("measured with the static program, not with sanitizers")
    true = os.path.join(box.root, "bin/probe")
    env = {"PATH": PATH}

    def once(*words):
        began = time.perf_counter()
        pid = os.posix_spawn(words[0], words, env, file_actions=[(os.POSIX_SPAWN_OPEN, 1, "/dev/null", os.O_WRONLY, 0)])
        os.waitpid(pid, 0)
        return time.perf_counter() - began
    plain, ours = [], []
    for _ in range(300):
        plain.append(once(true))
        ours.append(once(RAC_INIT, true))
    difference = (sorted(ours)[150] - sorted(plain)[150]) * 1000
    print(f"start-up cost: {difference:.3f} ms")
    assert difference < 1, f"{difference:.3f} ms"
