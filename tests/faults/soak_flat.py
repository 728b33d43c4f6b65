# SPDX-License-Identifier: Apache-2.0
"""What a process and its folders take, over time, and whether that is flat.

Flat is: the growth from the end of the warm-up to the end of the run, by a slope that outliers and sawteeth do not move,
is within an allowance. The span is cut into 24 pieces; the median of each is one point; the slope is the median of those
through all pairs of points (Theil and Sen); growth is slope times span. A step is no slope: so growth is at least what the
median of the last third has more than that of the first. The allowances are absolute, so that a run of hours is that much
stricter for what leaks.
"""
import os
import statistics
import struct

PIECES = 24
MIB = 1 << 20
REQUESTS = "requests"  # how many were answered: not judged, but what growth is divided by
# name: (unit, what may be added over the run, and that part of the median). The first is what the noise of ten minutes gives
# (a heap that settles, a write-ahead log that finds its size), the second what the load's own ups and downs do.
ALLOWED = {
    "heap": (MIB, 1.5 * MIB, 0),
    "resident": (MIB, 4 * MIB, 0.05),
    "descriptors": (1, 6, 0.10),
    "threads": (1, 0.5, 0),
    "blobs on disk": (MIB, 1 * MIB, 0.05),
    "partial downloads": (MIB, 2 * MIB, 0),
    "state.db": (MIB, MIB // 4, 0.05),
    "records.db": (MIB, MIB // 2, 0.10),
    "write-ahead logs": (MIB, 2 * MIB, 0.05),
    "other on disk": (MIB, MIB // 8, 0),
    "log, bytes a request": (1, 20, 0.15),
}


def pieces(points, count=PIECES):
    """[(time, value)] as at most `count` medians of stretches of equal length."""
    if not points:
        return []
    first, last = points[0][0], points[-1][0]
    width = (last - first) / count or 1
    stretches = {}
    for t, v in points:
        stretches.setdefault(min(int((t - first) / width), count - 1), []).append((t, v))
    return [(statistics.fmean(t for t, _ in s), statistics.median(v for _, v in s)) for _, s in sorted(stretches.items())]


def growth(points):
    """How much more the series has at its end than at its beginning."""
    medians = pieces(points)
    slopes = [(b[1] - a[1]) / (b[0] - a[0]) for i, a in enumerate(medians) for b in medians[i + 1:]]
    if not slopes:
        return 0
    third = max(1, len(medians) // 3)
    step = statistics.median(v for _, v in medians[-third:]) - statistics.median(v for _, v in medians[:third])
    return max(statistics.median(slopes) * (points[-1][0] - points[0][0]), step)


def allowance(name, points):
    _, absolute, part = ALLOWED[name]
    return absolute + part * statistics.median(v for _, v in points)


def _size(path):
    try:
        return os.stat(path).st_blocks * 512
    except FileNotFoundError:
        return 0


def below(folder):
    """Bytes on disk of all files below a folder, whatever comes and goes meanwhile."""
    return sum(_size(os.path.join(root, name)) for root, _, names in os.walk(folder) for name in names)


def heap(path):
    """Bytes that malloc has given out, as heap_count.so says in that file."""
    with open(path, "rb") as f:
        return struct.unpack("q", f.read(8))[0]


def disk(data):
    found = {"state.db": 0, "records.db": 0, "write-ahead logs": 0, "other on disk": 0}
    for name in os.listdir(data):
        path = os.path.join(data, name)
        if os.path.isdir(path):
            known = {"blobs": "blobs on disk", "partial": "partial downloads"}.get(name, "other on disk")
            found[known] = found.get(known, 0) + below(path)
        else:
            known = name if name in found else "write-ahead logs" if name.endswith(("-wal", "-shm")) else "other on disk"
            found[known] += _size(path)
    return found


def process(pid):
    with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as f:
        status = dict(line.split(":", 1) for line in f)
    return {"resident": int(status["VmRSS"].split()[0]) * 1024, "threads": int(status["Threads"]),
            "descriptors": len(os.listdir(f"/proc/{pid}/fd"))}


class Series:
    """The samples of one proxy."""

    def __init__(self, name):
        self.name, self.points = name, {}

    def add(self, t, values):
        for name, value in values.items():
            self.points.setdefault(name, []).append((t, value))

    def rows(self, since, exempt=()):
        """(what, at the end of the warm-up, at the end, least, most, growth, allowed, flat) of all that was sampled."""
        for name in ALLOWED:
            points = [p for p in self.points.get(name, []) if p[0] >= since]
            if len(points) < 3:
                continue
            unit, medians, more = ALLOWED[name][0], pieces(points), growth(points)
            allowed = None if name in exempt else allowance(name, points)
            values = [v for _, v in points]
            numbers = [v / unit for v in (medians[0][1], medians[-1][1], min(values), max(values), more)]
            yield (name + (" (MiB)" if unit == MIB else ""), *numbers, allowed and allowed / unit,
                   allowed is None or more <= allowed)


def table(series, since, exempt):
    """(lines of text, [what is not flat])"""
    lines, wrong = [], []
    head = ("", "", "begin", "end", "least", "most", "growth", "allowed", "")
    form = "{:<8} {:<26} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9} {}".format
    lines.append(form(*head).rstrip())
    for s in series:
        for what, *numbers, allowed, flat in s.rows(since, exempt.get(s.name, ())):
            lines.append(form(s.name, what, *(f"{n:.2f}" for n in numbers), "-" if allowed is None else f"{allowed:.2f}",
                              "" if flat else "GROWS").rstrip())
            if not flat:
                wrong.append(f"{s.name}: {what} grew by {numbers[-1]:.2f}, and {allowed:.2f} is allowed")
    return lines, wrong


def leaks(series, since):
    """Of each that counted its heap: what that is a request, and from what on a leak is found."""
    for s in series:
        points, asked = ([p for p in s.points.get(name, []) if p[0] >= since] for name in ("heap", REQUESTS))
        n = asked[-1][1] - asked[0][1] if asked else 0
        if len(points) >= 3 and n:
            yield (f"{s.name}: the heap grew by {growth(points) / n:.1f} bytes a request over {n:.0f}; "
                   f"{allowance('heap', points) / n:.1f} would have been called growth")
