# SPDX-License-Identifier: Apache-2.0
"""A world of its own: a network that holds this thread, what it starts and nothing else, and a name server in it that
changes its mind."""
import ctypes
import ipaddress
import os
import socket
import struct
import threading

_LIBC = ctypes.CDLL(None, use_errno=True)
_NEWNET = 0x40000000
A, AAAA = 1, 28


class Network:
    """From its making to close(), sockets of this thread, and of what it starts, belong to a new network, with these
    addresses. What listened before listens where it did."""

    def __init__(self, scratch, addresses):
        self.before = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        self._checked(_LIBC.unshare(_NEWNET))
        try:
            scratch.run("ip", "link", "set", "lo", "up")
            with open("/proc/thread-self/net/if_inet6", encoding="ascii") as f:
                self.has_ipv6 = bool(f.read())
            for address in addresses:
                if self.has_ipv6 or ":" not in address:
                    scratch.run("ip", "addr", "add", address, "dev", "lo")
        except (AssertionError, OSError):
            self.close()
            raise

    @staticmethod
    def _checked(rc):
        if rc:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))

    def close(self):
        self._checked(_LIBC.setns(self.before, _NEWNET))
        os.close(self.before)


class NameServer:
    """At 127.0.0.1, where resolv.conf can say that it is: for a Network."""

    def __init__(self):
        self._answers, self._next, self._given = {}, {}, {}
        self._lock = threading.Lock()
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 53))
        threading.Thread(target=self._run, daemon=True).start()

    def say(self, name, *answers):
        """To the first look-up from now on the first of them, a list of addresses; the last one for good."""
        with self._lock:
            self._answers[name] = [[ipaddress.ip_address(a) for a in answer] for answer in answers]
            self._next[name, A] = self._next[name, AAAA] = 0

    def asked(self, name):
        """Look-ups since say()."""
        with self._lock:
            return max(self._next[name, A], self._next[name, AAAA])

    def close(self):
        self._socket.sendto(b"", self._socket.getsockname())

    def _run(self):
        with self._socket:
            while True:
                question, sender = self._socket.recvfrom(2000)
                if len(question) < 17:
                    return
                self._socket.sendto(self._answer(question, sender), sender)

    def _answer(self, question, sender):
        labels, at = [], 12
        while question[at]:
            labels.append(question[at + 1:at + 1 + question[at]].decode())
            at += 1 + question[at]
        name, kind = ".".join(labels).lower(), struct.unpack("!H", question[at + 1:at + 3])[0]
        records = self._records(name, kind, (sender, question[:2]))
        # Answer, authoritative, recursion as it was asked for; 3: no such name.
        flags = 0x8580 | (3 if records is None else 0)
        packed = b"".join(struct.pack("!HHHIH", 0xc00c, kind, 1, 0, len(r.packed)) + r.packed for r in records or [])
        return question[:2] + struct.pack("!HHHHH", flags, 1, len(records or []), 0, 0) + question[12:at + 5] + packed

    def _records(self, name, kind, who):
        with self._lock:
            if name not in self._answers:
                return None
            if (name, kind, who) not in self._given:  # else it is the same question once more
                turn = self._next[name, kind] = self._next.get((name, kind), 0) + 1
                self._given[name, kind, who] = self._answers[name][min(turn, len(self._answers[name])) - 1]
            version = {A: 4, AAAA: 6}.get(kind)
            return [a for a in self._given[name, kind, who] if a.version == version]


def asking(scratch, authority):
    """The words in front of a command that resolves by the NameServer alone, and trusts that authority alone."""
    folder = scratch.folder("names")
    files = {"/etc/resolv.conf": "nameserver 127.0.0.1\noptions timeout:20 attempts:2\n", "/etc/nsswitch.conf": "hosts: dns\n"}
    mounts = [f"mount --bind '{authority.certificate}' /etc/ssl/certs/ca-certificates.crt"]
    for path, text in files.items():
        ours = os.path.join(folder, os.path.basename(path))
        with open(ours, "w", encoding="ascii") as f:
            f.write(text)
        mounts.append(f"mount --bind '{ours}' {path}")
    return ["unshare", "--mount", "sh", "-c", " && ".join([*mounts, 'exec "$@"']), "sh"]
