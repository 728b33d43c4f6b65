# SPDX-License-Identifier: Apache-2.0
"""What is to be reached, and whether it was: each aim is a figure of a table, against a bound."""
import statistics

from bench import CACHE, DIRECT, NGINX, OURS, PLAIN, QUIET, REGISTRY


class Aim:
    """text; the table it looks at; how the figure is taken from it; the bound. least: at least that much."""

    def __init__(self, text, table, figure, bound, least=True, unit="×"):
        self.text, self.table, self.figure, self.bound, self.least, self.unit = text, table, figure, bound, least, unit

    def line(self, tables):
        """None if the row was not run."""
        if self.table not in tables:
            return None
        value = self.figure(tables[self.table].samples)
        if value is None:
            return f"| {self.text} | – | not measured |"
        reached = value >= self.bound if self.least else value <= self.bound
        shown = f"{value:,.0f}" if value >= 100 else f"{value:.2f}"
        return f"| {self.text} | {shown}{self.unit} | {'reached' if reached else 'not reached'} |"


def ratio(key, other, ours=OURS):
    def figure(samples):
        found = samples.ratio(ours, other, key)
        return found[0] if found else None
    return figure


def value(key, who=OURS):
    return lambda samples: samples.median(who, key)


def more(key, other):
    """The difference, round by round."""
    return lambda samples: statistics.median(r[OURS][key] - r[other][key] for r in samples.rounds)


def most(key, who=OURS):
    return lambda samples: max(samples.values(who, key))


def last(key):
    """Of a row whose contestants are sizes: the largest to the smallest."""
    def figure(samples):
        names = list(samples.rounds[0])
        return samples.ratio(names[-1], names[0], key)[0]
    return figure


SLOW, FAST = "upstream with 50 ms and 40 MB/s", "upstream with no limits"
COLD = "Cold blob of 64 MiB, one connection, "
BIG = "1,000,000 blobs and tags"

AIMS = [
    *[Aim(f"warm manifest {how}, GET, c=32: req/s, at least {n} × docker-registry",
          f"Warm manifest {how}, GET, 32 connections", ratio("per_second", REGISTRY), n)
      for how, n in (("by digest", 100), ("by tag", 300))],
    *[Aim(f"warm manifest {how}, GET, c=32{note}: {what}", f"Warm manifest {how}, GET, 32 connections{title}",
          ratio(key, NGINX + other, ours), bound, least)
      for how in ("by tag", "by digest")
      for note, title, other, ours in (("", "", "", OURS),
                                       (", no access logs", ", no access logs", ", no access log", QUIET))
      for what, key, bound, least in (("req/s, at least 2 × nginx's file", "per_second", 2, True),
                                      ("CPU time, at most half of nginx's", "cpu_per_100k", 0.5, False))],
    Aim("rewritten manifest by tag, c=32: req/s of those without injection", "Warm manifest by tag, GET, 32 connections",
        ratio("per_second", PLAIN), 0.95),
    Aim("1 MiB warm, c=32: MB/s, at least nginx's", "Warm blob of 1 MiB, 32 connections",
        ratio("mb_per_second", NGINX), 1),
    Aim("1 MiB warm, c=32: CPU s per GB, at most nginx's", "Warm blob of 1 MiB, 32 connections",
        ratio("cpu_per_gb", NGINX), 1, False),
    Aim("1 GiB warm, one stream: MB/s, at least 1.2 × nginx", "Warm blob of 1 GiB, 1 connection",
        ratio("mb_per_second", NGINX), 1.2),
    Aim("1 GiB warm, one stream to curl: MB/s, at least 1.2 × nginx", "Warm blob of 1 GiB to curl, which copies it",
        ratio("mb_per_second", NGINX), 1.2),
    Aim("TLS, manifest by tag, c=32: req/s, at least nginx's", "TLS: warm manifest by tag, GET, 32 connections",
        ratio("per_second", NGINX), 1),
    Aim("TLS, 1 MiB, c=32: MB/s, at least nginx's", "TLS: warm blob of 1 MiB, 32 connections",
        ratio("mb_per_second", NGINX), 1),
    Aim("TLS, 1 GiB to curl: MB/s, at least nginx's", "TLS: warm blob of 1 GiB to curl", ratio("mb_per_second", NGINX), 1),
    Aim("cold 64 MiB, 50 ms and 40 MB/s: time, at most 1.02 × direct", COLD + SLOW, ratio("seconds", DIRECT), 1.02, False),
    *[Aim(f"cold 64 MiB, {name}: first byte, at most 2 ms after direct", COLD + limits, more("first_byte_ms", DIRECT), 2,
          False, " ms") for name, limits in (("50 ms and 40 MB/s", SLOW), ("no limits", FAST))],
    Aim("cold 64 MiB, no limits: MB/s, of nginx proxy_cache", COLD + FAST, ratio("mb_per_second", CACHE), 1),
    Aim("small answers passed on, c=32: req/s, of nginx proxy_pass",
        "A list of tags, which nobody keeps, 32 connections", ratio("per_second", "nginx proxy_pass"), 1),
    *[Aim(f"cold {what}, 100 clients: upstream bytes, exactly 1.00 ×", f"Cold {what}, 100 clients at once",
          most("upstream_times"), 1.001, False)
      for what in ("blob of 16 MiB", "image of four layers of 4 MiB")],
    *[Aim(f"first pull, {n} platform{'s' if n > 1 else ''}, 50 ms: rewriting adds at most a round trip + 5 ms",
          f"First pull of an image of {n} platform{'s' if n > 1 else ''}, upstream with 50 ms", value("added_ms"), 55, False,
          " ms") for n in (1, 10, 100)],
    Aim("idle: at most 16 MB resident", "Resident memory", lambda s: s.median(OURS, "idle_mib") * 1.048576, 16, False, " MB"),
    Aim("10,000 idle connections: at most 4 kB each", "10,000 idle connections", value("kb_each"), 4, False, " kB"),
    Aim("1,000 slow readers: at most 300 kB each", "1,000 readers of 10 kB/s each, of 64 MiB", value("kb_each"), 300, False,
        " kB"),
    *[Aim(f"p99 of warm manifests beside both, c={n}: less than 2 × alone",
          f"Warm manifest beside 10,000 idle connections and 1,000 slow readers, {n} connection{'s' if n > 1 else ''}",
          value("times"), 2, False) for n in (1, 32)],
    *[Aim(f"1,000,000 blobs, {what}: within 10 % of 10,000", f"A large store: {title}", last(key), 0.9)
      for what, title, key in (
          ("manifests", "warm manifests by 1,000 tags, 32 connections", "per_second"),
          ("small blobs", "1,000 small blobs, 32 connections", "per_second"),
          ("1 MiB blobs", "warm blob of 1 MiB, 32 connections", "mb_per_second"))],
]


def markdown(tables):
    by_title = {t.title: t for t in tables}
    lines = [line for line in (aim.line(by_title) for aim in AIMS) if line]
    if not lines:
        return ""
    return "\n".join(["## Aims", "", "Medians of the tables above; what is not reached, and why, is in "
                      "[performance.md](performance.md).", "", "| aim | figure | |", "|---|---|---|", *lines]) + "\n"
