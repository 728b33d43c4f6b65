# SPDX-License-Identifier: Apache-2.0
"""Random operations on the mount and on a local folder, compared after each: results, errors, contents. What failed is
found again by its seed: RAC_MODEL_SEED=N."""
import errno
import os
import random
import shutil
import stat

import pytest

MIB = 1 << 20
# Sizes on both sides of what makes a difference: a page, a request, a part.
SIZES = [0, 1, 10, 4095, 4096, 4097, 100_000, MIB, 3 * MIB, 8 * MIB - 1, 8 * MIB, 8 * MIB + 1, 17 * MIB]
WEIGHTS = [2, 4, 6, 4, 4, 4, 6, 3, 1, 1, 1, 1, 1]
NAMES = ["a", "b", "c", "d", "name with spaces", "%2F+", "\u00e4"]
SEED = int(os.environ.get("RAC_MODEL_SEED", "20261122"))


class Model:
    def __init__(self, ours, local, seed):
        self.tops = ours, local
        self.seed, self.rng = seed, random.Random(seed)
        self.handles = []  # [(ours, local, path)]
        self.trail = []

    def path(self):
        """Mostly of something that is there."""
        known = [os.path.relpath(os.path.join(folder, name), self.tops[1])
                 for folder, folders, names in os.walk(self.tops[1]) for name in folders + names]
        if known and self.rng.random() < 0.7:
            return self.rng.choice(sorted(known))
        folders = [""] + sorted(p for p in known if os.path.isdir(os.path.join(self.tops[1], p)))
        return os.path.join(self.rng.choice(folders), self.rng.choice(NAMES))

    def size(self):
        return self.rng.choices(SIZES, WEIGHTS)[0]

    def both(self, what, call, same=lambda a: a):
        """Runs it on both sides; results or errors must be the same."""
        self.trail.append(what)
        results = []
        for side in (0, 1):
            try:
                results.append(("result", same(call(side))))
            except OSError as e:
                results.append(("error", errno.errorcode[e.errno]))
        assert results[0] == results[1], f"seed {self.seed}, last: {self.trail[-8:]}: {results}"[:3000]
        return results[0]

    def at(self, side, path):
        return os.path.join(self.tops[side], path)

    def let_go(self, path):
        """A deleted object cannot be read any more, by handles either (docs/s3.md): none is left open."""
        try:
            inode = os.stat(self.at(1, path)).st_ino
        except OSError:
            return
        for h in [h for h in self.handles if os.fstat(h[0][1]).st_ino == inode]:
            self.handles.remove(h)
            self.both(f"close {h[2]!r}", lambda side: os.close(h[0][side]))

    # -- operations
    def write_new(self):
        path, content, exclusive = self.path(), self.rng.randbytes(self.size()), self.rng.random() < 0.2
        step = self.rng.choice([MIB, 100_000, max(1, len(content))])

        def call(side):
            with open(self.at(side, path), "xb" if exclusive else "wb", buffering=0) as f:
                for i in range(0, len(content), step):
                    f.write(content[i:i + step])
        self.both(f"write {path!r} {len(content)}{' excl' if exclusive else ''}", call)

    def append(self):
        path, content = self.path(), self.rng.randbytes(self.size())

        def call(side):
            with open(self.at(side, path), "ab", buffering=0) as f:
                f.write(content)
        self.both(f"append {path!r} {len(content)}", call)

    def patch(self):
        path, content, where = self.path(), self.rng.randbytes(self.size() % (2 * MIB)), self.rng.random()

        def call(side):
            fd = os.open(self.at(side, path), os.O_RDWR)
            try:
                at = int(os.fstat(fd).st_size * where * 1.1)
                return os.pwrite(fd, content, at), os.pread(fd, 5000, max(0, at - 1000))
            finally:
                os.close(fd)
        self.both(f"patch {path!r} {len(content)} at {where:.3f}", call)

    def truncate(self):
        path, size = self.path(), self.size()
        self.both(f"truncate {path!r} {size}", lambda side: os.truncate(self.at(side, path), size))

    def read(self):
        path, where, n = self.path(), self.rng.random(), self.size()

        def call(side):
            with open(self.at(side, path), "rb", buffering=0) as f:
                f.seek(int(os.fstat(f.fileno()).st_size * where))
                return f.read(n)
        self.both(f"read {path!r} {n} at {where:.3f}", call)

    def stat(self):
        path = self.path()
        self.both(f"stat {path!r}", lambda side: os.stat(self.at(side, path)),
                  lambda st: (stat.S_IFMT(st.st_mode), st.st_size if stat.S_ISREG(st.st_mode) else 0))

    def listdir(self):
        path = os.path.dirname(self.path())
        self.both(f"list {path!r}", lambda side: sorted(os.listdir(self.at(side, path))))

    def mkdir(self):
        path = self.path()
        self.both(f"mkdir {path!r}", lambda side: os.mkdir(self.at(side, path)))

    def rmdir(self):
        path = self.path()
        self.both(f"rmdir {path!r}", lambda side: os.rmdir(self.at(side, path)))

    def unlink(self):
        path = self.path()
        if not os.path.isdir(self.at(1, path)):  # of folders, file systems say EISDIR or EPERM
            self.let_go(path)
            self.both(f"unlink {path!r}", lambda side: os.unlink(self.at(side, path)))

    def rename(self):
        old, new = self.path(), self.path()
        if not os.path.isdir(self.at(1, old)):
            self.let_go(new)
        self.both(f"rename {old!r} {new!r}", lambda side: os.rename(self.at(side, old), self.at(side, new)))

    # -- files that stay open over other operations
    def open_handle(self):
        path, mode = self.path(), self.rng.choice([os.O_RDWR, os.O_RDWR | os.O_CREAT, os.O_RDONLY])
        if len(self.handles) == 6:
            self.close_handle()
        fds = []

        def call(side):
            fds.append(os.open(self.at(side, path), mode))
        if not os.path.isdir(self.at(1, path)) and self.both(f"open {path!r} {mode}", call)[0] == "result":
            self.handles.append((fds, mode, path))

    def use_handle(self):
        if not self.handles:
            return
        fds, mode, path = self.rng.choice(self.handles)
        at, content = self.size(), self.rng.randbytes(self.rng.choice([1, 5000, 200_000]))
        if mode == os.O_RDONLY or self.rng.random() < 0.4:
            self.both(f"pread {path!r} at {at}", lambda side: os.pread(fds[side], 300_000, at))
        else:
            self.both(f"pwrite {path!r} {len(content)} at {at}", lambda side: os.pwrite(fds[side], content, at))
            if self.rng.random() < 0.2:
                self.both(f"fsync {path!r}", lambda side: os.fsync(fds[side]))

    def close_handle(self):
        if self.handles:
            fds, _, path = self.handles.pop(self.rng.randrange(len(self.handles)))
            self.both(f"close {path!r}", lambda side: os.close(fds[side]))

    def step(self):
        operations = [self.write_new, self.append, self.patch, self.truncate, self.read, self.stat, self.listdir, self.mkdir,
                      self.rmdir, self.unlink, self.rename, self.open_handle, self.use_handle, self.close_handle]
        self.rng.choices(operations, [8, 5, 5, 3, 12, 8, 6, 4, 3, 4, 5, 3, 8, 3])[0]()

    def finish(self):
        while self.handles:
            self.close_handle()

    def contents(self, side):
        found = {}
        for folder, folders, names in os.walk(self.tops[side]):
            for name in folders:
                found[os.path.relpath(os.path.join(folder, name), self.tops[side])] = None
            for name in names:
                with open(os.path.join(folder, name), "rb") as f:
                    found[os.path.relpath(os.path.join(folder, name), self.tops[side])] = f.read()
        return found


@pytest.mark.parametrize("count", [1000, pytest.param(10000, marks=pytest.mark.long)])
def test_random_operations(scratch, here, bucket, count):
    local = scratch.folder("model")
    model = Model(here, local, SEED + count)
    for _ in range(count):
        model.step()
    model.finish()
    expected = model.contents(1)
    assert model.contents(0) == expected, model.trail[-8:]
    # And so it is in S3, where folders are markers.
    assert bucket.keys() == sorted(p if c is not None else p + "/" for p, c in expected.items())
    for path, content in expected.items():
        if content is not None:
            assert bucket.get(path) == content, path
    shutil.rmtree(local)
