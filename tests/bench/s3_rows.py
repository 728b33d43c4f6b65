# SPDX-License-Identifier: Apache-2.0
"""The rows of design/runtime-layer, "Numbers to beat": what is done on a mount that nobody has used yet, what the server
does when curl asks for the same, and what is to be reached."""
import dataclasses
import hashlib
import mmap
import os
import subprocess
import time
import typing

MIB = 1 << 20
MANY = 1000  # files of 100 bytes in one folder
CREATED = 200
RANDOM_SECONDS = 3


@dataclasses.dataclass
class Row:
    name: str
    unit: str
    aim: float
    more_is_better: bool
    peer: tuple                # (who, its figure where the aim was set): what to beat there, and so by how much
    run: typing.Callable       # (bench, folder of the mount) -> figure
    ceiling: typing.Callable   # (bench) -> figure of the server alone, or None
    useful: typing.Callable    # (bench) -> bytes that were read by that; 0: it is not about reading
    form: str = "{:.0f}"

    def better(self, ours, theirs):
        """How many times ours is better, whichever way is up."""
        return ours / theirs if self.more_is_better else theirs / ours

    def reached(self, ours):
        return self.better(ours, self.aim) >= 1


class Bench:
    """What the rows share: the sizes, the bucket's objects, curl."""

    def __init__(self, bucket, curl, source, mib):
        self.bucket, self.curl, self.source, self.mib = bucket, curl, source, mib
        self.created = 0
        self.random_read = 0

    def put_objects(self):
        with open(self.source, "rb") as f:
            content = f.read()
        self.digest = hashlib.sha256(content).hexdigest()
        for i in range(4):
            self.bucket.put(f"large-{i}", content)
        for i in range(MANY):
            self.bucket.put(f"many/f{i:03}", b"x" * 100)

    def check(self, files):
        """Nobody is measured who reads something else than was stored."""
        with open(f"{files}/large-0", "rb") as f:
            if hashlib.file_digest(f, "sha256").hexdigest() != self.digest:
                raise RuntimeError("large-0 is read wrongly")

    def new_folder(self):
        self.created += 1
        return f"new-{self.created}"


def _timed(call, *args):
    begin = time.monotonic()
    call(*args)
    return time.monotonic() - begin


def _run(*command):
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def _wait_all(processes):
    if any([p.wait() for p in processes]):
        raise RuntimeError("a reader failed")


# -- sequential ----------------------------------------------------------------------------------------------
def _dd(count, files, mib):
    readers = [subprocess.Popen(["dd", f"if={files}/large-{i}", "of=/dev/null", "bs=1M"], stderr=subprocess.PIPE, text=True)
               for i in range(count)]
    for said in [r.communicate()[1] for r in readers]:
        if f"\n{mib * MIB} bytes" not in said:
            raise RuntimeError(f"a reader did not get all: {said.strip()}")


def _read(count):
    def run(b, files):
        return count * b.mib / _timed(_dd, count, files, b.mib)
    return run


def _read_curl(count):
    def run(b):
        return count * b.mib / _timed(lambda: _wait_all([b.curl.start((f"/large-{i}",)) for i in range(count)]))
    return run


def ranges_curl(b, count=4):
    """One object by several connections."""
    step = b.mib * MIB // count
    return b.mib / _timed(lambda: _wait_all(
        [b.curl.start(("/large-0", f"range = {i * step}-{(i + 1) * step - 1}")) for i in range(count)]))


def _write(b, files):
    took = _timed(_run, "dd", f"if={b.source}", f"of={files}/written", "bs=1M", "status=none")
    if b.digest != hashlib.sha256(b.bucket.get("written")).hexdigest():
        raise RuntimeError("what was written is not what is stored")
    b.bucket.delete("written")
    return b.mib / took


def _write_curl(b):
    """Signed as all of them do it over plain HTTP, by a hash that the server compares; curl knows it already."""
    took = _timed(b.curl.run, ("/written", f'upload-file = "{b.source}"', f'header = "x-amz-content-sha256: {b.digest}"'))
    b.bucket.delete("written")
    return b.mib / took


# -- random --------------------------------------------------------------------------------------------------
def _places(b):
    at = 0
    while True:
        at = (at + 7919 * 65537) % (b.mib * 4 - 1)
        yield at * (256 << 10)


def _random(b, files):
    fd = os.open(f"{files}/large-0", os.O_RDONLY | os.O_DIRECT)
    buffer, done, begin = mmap.mmap(-1, 256 << 10), 0, time.monotonic()
    for at in _places(b):
        done += os.preadv(fd, [buffer], at)
        if time.monotonic() - begin > RANDOM_SECONDS:
            break
    took = time.monotonic() - begin
    os.close(fd)
    b.random_read = done
    return done / MIB / took


def _random_curl(b):
    places = [place for place, _ in zip(_places(b), range(200))]
    took = _timed(b.curl.run, *[("/large-0", f"range = {at}-{at + (256 << 10) - 1}") for at in places])
    return len(places) / 4 / took


# -- small ---------------------------------------------------------------------------------------------------
def _first_byte(_b, files):
    begin = time.monotonic()
    fd = os.open(f"{files}/large-1", os.O_RDONLY)
    os.read(fd, 1)
    took = time.monotonic() - begin
    os.close(fd)
    return took * 1000


def _first_byte_curl(b):
    out = subprocess.run(["curl", "-s", "-o", "/dev/null", "--aws-sigv4", "aws:amz:us-east-1:s3", "-u", b.curl.user, "-H",
                          "x-amz-content-sha256: UNSIGNED-PAYLOAD", "-r", "0-4095", "-w", "%{time_starttransfer}",
                          f"{b.curl.url}/large-1"], check=True, capture_output=True, text=True).stdout
    return float(out) * 1000


def _ls(_b, files):
    return _timed(_run, "ls", "-l", f"{files}/many")


def _ls_curl(b):
    return _timed(b.curl.run, ("?delimiter=%2F&list-type=2&prefix=many%2F",))


def _names(files):
    return [f"{files}/many/f{i:03}" for i in range(MANY)]


def _cat(_b, files):
    return _timed(_run, "cat", *_names(files))


def _cat_listed(_b, files):
    _run("ls", "-l", f"{files}/many")
    return _timed(_run, "cat", *_names(files))


def _cat_curl(connections):
    def run(b):
        requests = [(f"/many/f{i:03}",) for i in range(MANY)]
        return _timed(lambda: _wait_all([b.curl.start(*requests[i::connections]) for i in range(connections)]))
    return run


def _create(b, files):
    name = b.new_folder()
    folder = f"{files}/{name}"
    os.mkdir(folder)

    def all_of_them():
        for i in range(CREATED):
            with open(f"{folder}/{i}", "wb") as f:
                f.write(b"x\n")
    took = _timed(all_of_them)
    found = [k for k in b.bucket.keys(name + "/") if not k.endswith("/")]
    if len(found) != CREATED:
        raise RuntimeError(f"{len(found)} of {CREATED} files are stored")
    return took


def _create_curl(b):
    name, small = b.new_folder(), b.source + ".small"
    with open(small, "wb") as f:
        f.write(b"x\n")
    return _timed(b.curl.run, *[(f"/{name}/{i}", f'upload-file = "{small}"') for i in range(CREATED)])


def _nothing(*_):
    return 0


ROWS = [
    Row("read, 1 reader", "MiB/s", 480, True, ("s3fs", 404), _read(1), _read_curl(1), lambda b: b.mib * MIB),
    Row("read, 4 readers", "MiB/s", 400, True, ("s3fs", 275), _read(4), _read_curl(4), lambda b: 4 * b.mib * MIB),
    Row("random 256 KiB direct", "MiB/s", 90, True, ("rclone", 10), _random, _random_curl, lambda b: b.random_read),
    Row("write", "MiB/s", 200, True, ("s3fs", 144), _write, _write_curl, _nothing),
    Row("first byte", "ms", 5, False, ("s3fs", 89), _first_byte, _first_byte_curl, lambda b: 1, "{:.1f}"),
    Row("ls -l of 1,000, cold", "s", 0.06, False, ("s3fs", 0.8), _ls, _ls_curl, _nothing, "{:.3f}"),
    Row("cat of 1,000 × 100 B", "s", 1.5, False, ("s3fs", 4.5), _cat, _cat_curl(4), lambda b: MANY * 100, "{:.2f}"),
    Row("cat of 1,000 × 100 B, listed before", "s", 0.6, False, ("s3fs", 4.5), _cat_listed, _cat_curl(4), lambda b: MANY * 100,
        "{:.2f}"),
    Row("create 200 × 2 B", "s", 0.8, False, ("s3fs", 3.6), _create, _create_curl, _nothing, "{:.2f}"),
]
