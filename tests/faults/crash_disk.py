# SPDX-License-Identifier: Apache-2.0
"""The rig's side of crash_points.c: death at a chosen call, and the disk as a power cut would leave it."""
import dataclasses
import mmap
import os
import shutil
import struct

HERE = os.path.dirname(os.path.abspath(__file__))
BEFORE, AFTER, TORN, HELD = 0, 1, 2, 3
MODES = {"before": BEFORE, "after": AFTER, "torn": TORN, "held": HELD}
HEAD = struct.Struct("<II8s16sQQqqqIIII")
CONTROL = struct.Struct("<IIIII60s")
MAGIC = 0x48535243
PID = 7  # what every proxy of the rig thinks its process id is: as in a container, always the same


def build(scratch):
    """The library; None without a compiler."""
    if not shutil.which("cc"):
        return None
    path = os.path.join(scratch.folder("crash"), "points.so")
    scratch.run("cc", "-O1", "-shared", "-fPIC", "-D_GNU_SOURCE", "-o", path, os.path.join(HERE, "crash_points.c"), "-lpthread")
    return path


@dataclasses.dataclass
class Call:
    """One call that changed the disk. `folder`: of the name that is made or goes; of a sync: the first number that it
    says nothing about."""
    number: int
    op: str
    what: str
    ino: int
    folder: int
    at: int
    size: int
    len: int
    path: str
    path2: str
    data: bytes

    @property
    def point(self):
        return f"{self.op} {self.what}"


class Disk:
    """What one proxy writes to. box: the folder that is watched. Two programs may be watched at once if power is off."""

    def __init__(self, scratch, library, box):
        self.library, self.box = library, box
        self.side = scratch.folder("crash-side")
        os.mkdir(os.path.join(self.side, "links"))
        path = os.path.join(self.side, "control")
        with open(path, "wb") as f:
            f.write(bytes(4096))
        self._file = open(path, "r+b")  # pylint: disable=consider-using-with
        self._map = mmap.mmap(self._file.fileno(), 4096)
        self.power = False
        self.disarm()

    def environment(self, asan=True):
        env = {"LD_PRELOAD": self.library, "CRASH_BOX": self.box, "CRASH_SIDE": self.side}
        if asan:
            env["ASAN_OPTIONS"] = "detect_leaks=1:verify_asan_link_order=0"
        return env

    def close(self):
        self._map.close()
        self._file.close()

    # Points

    def arm(self, point, nth=1, mode=BEFORE):
        """The process that does the nth call from now on at that point ends with it."""
        self._map[20:80] = bytes(60)
        self._map[0:20] = CONTROL.pack(nth, mode, int(self.power), PID, 0, b"")[:20]
        self._map[20:80] = point.encode().ljust(60, b"\0")

    def disarm(self):
        self._map[0:80] = CONTROL.pack(0, 0, int(self.power), PID, 0, b"")

    @property
    def fired(self):
        return self._map[16] == 1

    @property
    def log_path(self):
        return os.path.join(self.side, "log")

    def log_size(self):
        return os.path.getsize(self.log_path) if os.path.exists(self.log_path) else 0

    def calls(self, begin=0):
        """What was logged from that offset on."""
        if not os.path.exists(self.log_path):
            return []
        with open(self.log_path, "rb") as f:
            f.seek(begin)
            text = f.read()
        found, at = [], 0
        while at + HEAD.size <= len(text):
            (magic, number, op, what, ino, folder, place, size, length, n1, n2, n3, _) = HEAD.unpack_from(text, at)
            assert magic == MAGIC, f"the log is damaged at {at}"
            at += HEAD.size
            if at + n1 + n2 + n3 > len(text):
                break  # cut short by the death
            path, path2 = text[at:at + n1].decode(), text[at + n1:at + n1 + n2].decode()
            data = text[at + n1 + n2:at + n1 + n2 + n3]
            at += n1 + n2 + n3
            found.append(Call(number, op.rstrip(b"\0").decode(), what.rstrip(b"\0").decode(), ino, folder, place, size,
                              length, path, path2, data))
        return found

    def forget(self):
        """From here on all is as it is: what was done before is not taken back."""
        if os.path.exists(self.log_path):
            os.unlink(self.log_path)
        for name in os.listdir(os.path.join(self.side, "links")):
            os.unlink(os.path.join(self.side, "links", name))

    def unsynced(self):
        """What was given its name as a blob or backup although its bytes were not durable; blobs whose name never became so.
        A publish that is under way is in here, too."""
        written, synced, folders, early, waiting = {}, {}, {}, [], []
        for c in self.calls():
            if c.op == "make":
                written.pop(c.ino, None)
            elif c.op in ("write", "cut"):
                written[c.ino] = c.number
            elif c.op in ("sync", "syncdir"):  # they may end in another order than they began
                which = synced if c.op == "sync" else folders
                which[c.ino] = max(which.get(c.ino, 0), c.folder)
            elif c.op == "rename" and c.what in ("blob", "backup"):
                if written.get(c.ino, 0) >= synced.get(c.ino, 1):
                    early.append(f"the bytes of {c.path}")
                if c.what == "blob":  # a backup that was killed was not said to be one
                    waiting.append(c)
        return early + [f"the name of {c.path}" for c in waiting if c.number >= folders.get(c.folder, 0)]

    # Power

    def cut_power(self, rng, all_of_it=False):
        """Takes back what was done and not synced: all of it, or what the dice say. Returns how many calls.

        Bytes: each write since the last sync of its file may be lost by itself; where a later one is kept, zeros stand
        for it. Names: made, moved and removed ones are lost from some moment on, as far as their folder was not synced
        since: file systems keep the order of these.
        """
        calls = self.calls()
        synced = {}
        for c in calls:
            if c.op in ("sync", "syncdir"):
                synced[c.ino] = max(synced.get(c.ino, 0), c.folder)
        names = [c for c in calls if c.op in ("make", "mkdir", "rename", "unlink") and c.number >= synced.get(c.folder, 0)]
        writes = [c for c in calls if c.op in ("write", "cut") and c.number >= synced.get(c.ino, 0)]
        since = 0 if all_of_it or not names else rng.choice([0, rng.choice(names).number, names[-1].number + 1])
        chance = 1.0 if all_of_it else rng.choice([0.0, 0.3, 0.7, 1.0])
        lost = {c.number for c in names if c.number >= since} | {c.number for c in writes if rng.random() < chance}
        where, kept = self._places(), set()
        for c in reversed(calls):
            if c.op in ("write", "cut") and c.number not in lost:
                kept.add(c.ino)
            elif c.number in lost:
                self._take_back(c, where, c.ino in kept)
        for name in ("state.db-shm", "records.db-shm"):
            path = os.path.join(self.box, "data", name)
            if os.path.exists(path):
                os.unlink(path)
        return len(lost)

    def _places(self):
        """{inode: path} of all files, with those that were removed."""
        found = {}
        for top in (os.path.join(self.side, "links"), self.box):
            for folder, _, names in os.walk(top):
                for name in names:
                    path = os.path.join(folder, name)
                    found[os.lstat(path).st_ino] = path
        return found

    def _take_back(self, c, where, later_kept):
        there = os.lstat(c.path).st_ino if os.path.lexists(c.path) else None
        if c.op == "make" and there == c.ino:
            os.unlink(c.path)
            where.pop(c.ino, None)
        elif c.op == "mkdir" and there == c.ino:
            shutil.rmtree(c.path)
        elif c.op == "rename" and there == c.ino and os.path.isdir(os.path.dirname(c.path2)) and not os.path.lexists(c.path2):
            os.rename(c.path, c.path2)
            where[c.ino] = c.path2
        elif c.op == "unlink" and there is None and os.path.exists(c.path2) and os.path.isdir(os.path.dirname(c.path)):
            os.link(c.path2, c.path)
            where[c.ino] = c.path
        elif c.op in ("write", "cut") and os.path.exists(where.get(c.ino, "")):
            with open(where[c.ino], "r+b") as f:
                size = os.fstat(f.fileno()).st_size
                if c.op == "write" and size > c.size and later_kept:
                    f.seek(max(c.at, c.size))
                    f.write(bytes(max(0, min(c.at + c.len, size) - max(c.at, c.size))))
                elif c.op == "write" and size > c.size:
                    f.truncate(c.size)
                f.seek(c.at)
                f.write(c.data)
