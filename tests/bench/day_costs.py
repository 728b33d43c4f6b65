# SPDX-License-Identifier: Apache-2.0
"""What an action costs: Redis' commands, its CPU time and memory, the CPU time of the replicas. Each kind of action is played
by itself, many times, on replicas that are in the state that the kind is about."""
import os
import re
import socket
import time

from day_mix import KINDS
from day_play import play

TICKS = os.sysconf("SC_CLK_TCK")


def redis_info(path, section):
    """INFO, as {name: text}."""
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(30)
        s.connect(path)
        s.sendall(f"INFO {section}\r\n".encode())
        data = b""
        while b"\r\n" not in data or len(data) < int(data[1:data.index(b"\r\n")]) + data.index(b"\r\n") + 4:
            data += s.recv(65536)
    return dict(re.findall(r"^([^#:\r\n]+):([^\r\n]*)", data.decode(), re.M))


def redis_commands(path):
    """{command: how often}, those within scripts included; ours is not."""
    found = {}
    for name, text in redis_info(path, "commandstats").items():
        if name.startswith("cmdstat_") and not name.startswith("cmdstat_info"):
            found[name[8:]] = int(re.search(r"calls=(\d+)", text)[1])
    return found


def cpu_seconds(pids):
    ticks = 0
    for pid in pids:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as f:
            fields = f.read().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / TICKS


class Reading:
    """Where the counters stand. pids: of the replicas, with those that have ended since in `before`."""

    def __init__(self, socket_path, pids, ended=0.0):
        cpu = redis_info(socket_path, "cpu")
        self.at = time.monotonic()
        self.commands = redis_commands(socket_path)
        self.values = {"operations": sum(self.commands.values()),
                       "redis_cpu": float(cpu["used_cpu_user"]) + float(cpu["used_cpu_sys"]),
                       "redis_memory": int(redis_info(socket_path, "memory")["used_memory"]),
                       "proxy_cpu": cpu_seconds(pids) + ended}

    def since(self, before):
        found = {k: v - before.values[k] for k, v in self.values.items()}
        found["seconds"] = self.at - before.at
        found["commands"] = {k: v - before.commands.get(k, 0) for k, v in self.commands.items()
                             if v != before.commands.get(k, 0)}
        return found


def settled(socket_path, timeout=20):
    """Waits until what was begun is over: idle replicas ask Redis for something now and then, so it is over when as much is
    asked in a moment as in the one before it, or next to nothing."""
    end, last, before = time.monotonic() + timeout, sum(redis_commands(socket_path).values()), None
    while time.monotonic() < end:
        time.sleep(0.6)
        now = sum(redis_commands(socket_path).values())
        if before is not None and abs(now - last - before) <= 5 + 0.2 * before:
            return
        last, before = now, now - last


def phases(images, replicas):
    """(kind, actions), in an order in which each finds what it is about; None is a restart of all replicas."""
    here, next_ = (lambda i: i % replicas), (lambda i: (i + 1) % replicas)
    every = range(images)
    yield "check_new", [("check", i, here(i)) for i in every]
    yield "check_met", [("check", i, next_(i)) for i in every]
    yield "check_again", [("check", i, at(i)) for _ in range(5) for i in every for at in (here, next_)]
    yield "pull_first", [("pull", i, at(i)) for i in every for at in (here, next_)]
    yield "pull_again", [("pull", i, at(i)) for i in every for at in (here, next_)]
    yield "token", [("token", i, here(i)) for i in every]
    yield None, []
    yield "check_restart", [("check", i, here(i)) for i in every]
    yield "pull_restart", [("pull", i, next_(i)) for i in every]


def measure(site, images, say=lambda text: None):
    """site: socket, addresses(), reading(), restart(). -> {"idle": a second's, kind: an action's}"""
    settled(site.socket)
    before = site.reading()
    time.sleep(2)
    idle = site.reading().since(before)
    figures = ("operations", "redis_cpu", "redis_memory", "proxy_cpu")
    costs = {"idle": {k: idle[k] / idle["seconds"] for k in figures}}
    for kind, actions in phases(images, len(site.addresses())):
        if kind is None:
            site.restart()
            settled(site.socket)
            continue
        say(f"{kind}: {len(actions)} times")
        before = site.reading()
        play(site.addresses(), actions)
        settled(site.socket)
        spent = site.reading().since(before)
        costs[kind] = {k: max(0.0, (spent[k] - costs["idle"][k] * spent["seconds"]) / len(actions)) for k in figures}
        costs[kind]["commands"] = {c: n / len(actions) for c, n in sorted(spent["commands"].items()) if n / len(actions) >= 0.05}
    assert set(costs) == {"idle", *KINDS}
    return costs
