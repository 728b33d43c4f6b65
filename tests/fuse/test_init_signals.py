# SPDX-License-Identifier: Apache-2.0
"""rac-init between the command and whoever signals it: kill, other processes, a terminal."""
import os
import pty
import re
import select
import signal
import subprocess
import time

import pytest

from rig.box import BUCKETS, MOUNTED, RAC_INIT
from rig.process import wait_for

pytestmark = pytest.mark.skipif(not os.path.exists(RAC_INIT), reason=f"{RAC_INIT} is not built")


def test_every_signal_reaches_the_command(box):
    numbers = [n for n in range(1, 65) if n not in (signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD, 32, 33)]
    traps = "".join(f"trap 'echo {n} >> /got' {n};" for n in numbers)
    script = f"{traps} touch /up; while [ ! -e /go ]; do usleep 5000; done"
    box.file("/got", "")
    box.start("/bin/sh", "-c", script, env=BUCKETS)
    box.wait_file("/up")
    for n in numbers:
        box.signal(n)
        wait_for(lambda n=n: str(n) in box.read("/got").split(), what=f"signal {n}")
    box.file("/go", "")
    assert box.process.wait(30) == 0


def test_a_message_that_nobody_reads_is_no_signal_for_the_command(box):
    script = "trap 'touch /hit' PIPE; touch /up; while [ ! -e /go ]; do usleep 5000; done; exit 3"
    box.start("/bin/sh", "-c", script, env=MOUNTED)
    box.wait_file("/up")
    box.process.stderr.close()
    box.process.stderr = None
    box.kill_driver()
    time.sleep(0.3)
    box.file("/go", "")
    assert box.process.wait(30) == 3 and not os.path.exists(os.path.join(box.root, "hit"))


def test_what_the_command_closes_is_closed(box):
    """Its peers see the end, though rac-init and the driver go on."""
    fifos = [os.path.join(box.root, name) for name in ("out", "seven")]
    for fifo in fifos:
        os.mkfifo(fifo)
    readers = [os.open(fifo, os.O_RDONLY | os.O_NONBLOCK) for fifo in fifos]

    def ended(fd):
        try:
            return os.read(fd, 1) == b""
        except BlockingIOError:
            return False  # somebody could still write
    try:
        command = "exec >&- 7>&-; touch /up; while [ ! -e /go ]; do usleep 5000; done"
        box.start("/bin/sh", "-c", f"exec >/out 7>/seven; exec /.rac/bin/rac-init /bin/sh -c '{command}'", init=False,
                  env=MOUNTED)
        box.wait_file("/up")
        for fd in readers:
            wait_for(lambda fd=fd: ended(fd), timeout=20, what="the end of what the command closed")
    finally:
        for fd in readers:
            os.close(fd)
    assert box.process.poll() is None
    box.file("/go", "")
    assert box.process.wait(30) == 0


def test_sigterm_ends_command_and_flush_follows(box):
    box.start("/bin/sh", "-c", "trap 'echo bye; exit 9' TERM; touch /up; while :; do usleep 5000; done", env=MOUNTED)
    box.wait_file("/up")
    box.signal(signal.SIGTERM)
    out, _ = box.process.communicate(timeout=30)
    assert (box.process.returncode, out) == (9, b"bye\n") and box.log()[-1] == "flushed"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_told_to_end_while_the_mount_is_waited_for(box, number):
    box.start("/bin/touch", "/ran", env={**BUCKETS, "FAKE_DRIVER": "silent"})
    box.wait_log("fd 2")
    began = time.monotonic()
    box.signal(number)
    assert box.process.wait(30) == 128 + number and time.monotonic() - began < 25
    assert not os.path.exists(os.path.join(box.root, "ran"))


def test_other_signals_wait_for_the_command(box):
    """A fake that gets ready only after a while: what comes before is for the command."""
    box.file("/slow", "#!/bin/sh\necho waiting >> /fake.log\nwhile [ ! -e /go ]; do usleep 5000; done\nexec /real \"$@\"\n", 0o755)
    os.rename(os.path.join(box.root, ".rac/bin/rac-fuse"), os.path.join(box.root, "real"))
    os.rename(os.path.join(box.root, "slow"), os.path.join(box.root, ".rac/bin/rac-fuse"))
    box.start("/bin/sleep", "30", env=BUCKETS)
    box.wait_log("waiting")
    box.signal(signal.SIGUSR1)
    box.file("/go", "")
    assert box.process.wait(30) == 128 + signal.SIGUSR1


# Children

def test_orphans_are_reaped_while_the_command_runs(box):
    script = "for i in 1 2 3 4 5 6 7 8; do sh -c 'sleep 0.1 & exit' & done; sleep 1; ps -o pid,stat,args"
    done = box.run("/bin/sh", "-c", script, env=BUCKETS)
    lines = [line for line in done.stdout.splitlines() if re.search(r"\bZ", line)]
    assert done.returncode == 0 and "PID" in done.stdout and not lines, done.stdout


def test_what_the_command_left_gets_a_sigterm_before_the_driver(box):
    script = "sh -c 'trap \"echo orphan ended >> /fake.log; exit\" TERM; touch /up; while :; do usleep 5000; done' & " \
             "while [ ! -e /up ]; do usleep 5000; done; exit 4"
    began = time.monotonic()
    assert box.run("/bin/sh", "-c", script, env=MOUNTED).returncode == 4
    assert box.log()[-3:] == ["orphan ended", "signal 15", "flushed"] and time.monotonic() - began < 25


def test_what_does_not_end_is_killed_after_a_grace(box):
    script = "sh -c 'trap : TERM; touch /up; while :; do sleep 1; done' & while [ ! -e /up ]; do usleep 5000; done; exit 4"
    began = time.monotonic()
    assert box.run("/bin/sh", "-c", script, env=MOUNTED).returncode == 4
    assert 2 <= time.monotonic() - began < 25 and box.log()[-1] == "flushed"


@pytest.mark.parametrize("group", ["kill -TERM 0", "kill -TERM -1"])
def test_the_commands_own_kill_spares_nobody_it_should_not(box, group):
    """kill 0 is the command's own group; kill -1 is everybody but PID 1, as ever, and so the driver."""
    done = box.run("/bin/sh", "-c", f"trap '' TERM; {group}; exit 0", env=MOUNTED)
    assert done.returncode == 0, done
    assert box.log().count("signal 15") == 1


def test_below_another_init_it_is_the_subreaper(box):
    script = "sh -c 'sleep 20 & echo $! > /orphan'; usleep 200000; cat /proc/$(cat /orphan)/status"
    done = box.run("/bin/sh", "-c", script, env=BUCKETS, pid=2)
    supervisor = int(re.search(r"^pid (\d+)", "\n".join(box.log()), re.M)[1]) - 1
    assert done.returncode == 0 and int(re.search(r"^PPid:\s+(\d+)", done.stdout, re.M)[1]) == supervisor > 1


def test_the_driver_ends_if_rac_init_is_killed(box):
    box.start("/bin/sh", "-c", "touch /up; sleep 30", env=MOUNTED, pid="lingers")
    box.wait_file("/up")
    found = subprocess.run(["pgrep", "-P", str(box.pid()), "rac-init"], stdout=subprocess.PIPE, text=True, check=True)
    os.kill(int(found.stdout), signal.SIGKILL)
    box.wait_log("flushed")


# Terminals

class Terminal:
    def __init__(self, box, *command, **kwargs):
        self.master, slave = pty.openpty()
        try:
            box.start(*command, stdin=slave, stdout=slave, stderr=slave, before=["/bin/setsid", "-c"], **kwargs)
        finally:
            os.close(slave)
        self.text = ""

    def type(self, text):
        os.write(self.master, text.encode())

    def wait(self, pattern, timeout=60):
        deadline = time.monotonic() + timeout
        while not re.search(pattern, self.text):
            assert time.monotonic() < deadline, f"'{pattern}' did not come:\n{self.text}"
            if select.select([self.master], [], [], 0.1)[0]:
                try:
                    self.text += os.read(self.master, 4096).decode(errors="replace")
                except OSError:
                    assert re.search(pattern, self.text), f"'{pattern}' did not come:\n{self.text}"
        found, self.text = self.text, ""
        return found

    def close(self):
        os.close(self.master)


@pytest.fixture
def terminal(box):
    made = []

    def start(*command, **kwargs):
        made.append(Terminal(box, *command, **kwargs))
        return made[-1]
    yield start
    for t in made:
        t.close()


def test_a_shell_on_a_terminal_has_job_control(box, terminal):
    t = terminal("/bin/sh", env={**MOUNTED, "PS1": "ready> "})
    t.wait("ready> ")
    t.type("sh -c 'echo job $((40 + 2)); exec sleep 50'\n")
    t.wait("job 42")
    t.type("\x1a")
    t.wait("Stopped")
    t.type("fg\n")
    t.wait("exec sleep 50")
    time.sleep(0.3)
    t.type("\x03")
    t.wait("ready> ")
    t.type("echo code $?\n")
    t.wait("code 130")
    t.type("exit 6\n")
    assert box.process.wait(30) == 6


def test_ctrl_c_is_for_the_command_alone(box, terminal):
    t = terminal("/bin/sh", "-c", "trap 'echo caught; exit 8' INT; echo up; while :; do usleep 5000; done", env=MOUNTED)
    t.wait("up")
    t.type("\x03")
    t.wait("caught")
    assert box.process.wait(30) == 8
    assert [line for line in box.log() if line.startswith("signal")] == ["signal 15"]


def test_ctrl_z_stops_nothing_where_nobody_could_go_on(box, terminal):
    t = terminal("/bin/sh", "-c", "i=0; while [ $i -lt 40 ]; do echo tick$i; usleep 50000; i=$((i+1)); done", env=MOUNTED)
    t.wait("tick2")
    t.type("\x1a")
    t.wait("tick39")
    assert box.process.wait(30) == 0


def in_front(t):
    """The first word of who leads the terminal's foreground."""
    try:
        with open(f"/proc/{os.tcgetpgrp(t.master)}/cmdline", encoding="utf-8", errors="replace") as f:
            return f.read().split("\0")[0]
    except OSError:
        return None


def test_below_a_shell_it_goes_on_in_the_background(box, terminal):
    """The shell keeps the terminal then, until it fetches the job back; and the command has it again."""
    t = terminal("/bin/sh", init=False, env={**MOUNTED, "PS1": "ready> "})
    t.wait("ready> ")
    t.type("/.rac/bin/rac-init sh -c 'while :; do echo tick; usleep 100000; done'\n")
    t.wait("\ntick")
    wait_for(lambda: in_front(t) == "sh")
    t.type("\x1a")
    t.wait("Stopped")
    t.type("bg\n")
    t.wait("\ntick")
    t.type("echo here $((40 + 2))\n")
    t.wait("here 42")
    t.type("fg\n")
    wait_for(lambda: in_front(t) == "sh")
    t.type("\x03")
    t.wait("ready> ")
    t.type("echo code $?\n")
    t.wait("code 130")
    t.type("exit\n")
    box.process.wait(60)


def test_below_a_shell_it_is_a_job_like_its_command(box, terminal):
    t = terminal("/bin/sh", init=False, env={**MOUNTED, "PS1": "ready> "})
    t.wait("ready> ")
    t.type("/.rac/bin/rac-init sleep 50\n")
    box.wait_log("fd 2")
    time.sleep(0.3)
    t.type("\x1a")
    t.wait("Stopped")
    t.type("fg\n")
    t.wait("rac-init sleep 50")
    time.sleep(0.3)
    t.type("\x03")
    t.wait("ready> ")
    t.type("echo code $?\n")
    t.wait("code 130")
    t.type("exit\n")
    box.process.wait(30)
