# SPDX-License-Identifier: Apache-2.0
"""The model of docs/cluster.md: what so many nodes cost a cluster, from what single actions cost in this build (day_costs.py)."""
import dataclasses
import json
import os

from day_mix import KINDS, expected, total

CONSTANTS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "day_constants.json")
DAY_S = 86400
FIGURES = ("operations", "redis_cpu", "proxy_cpu")
# What a day of requests does not say, and stands in the text beside the table.
PULL_BYTES = 60e6          # that a node has not yet, of an image
PEAK = 10                  # the busiest minute to the mean of the day
TOKEN_DAYS = 1.5 + 30 / DAY_S
RECORDS = 100_000          # that the stream keeps
MEGA = 1e6


@dataclasses.dataclass
class Day:
    operations: float
    redis_cpu: float
    proxy_cpu: float
    redis_bytes: float
    client_requests: float
    client_bytes: float
    upstream_bytes: float


def load():
    with open(CONSTANTS, encoding="utf-8") as f:
        return json.load(f)


def save(constants):
    with open(CONSTANTS, "w", encoding="utf-8") as f:
        json.dump(constants, f, indent=2, sort_keys=True)
        f.write("\n")


def spent(costs, mix, figure, seconds):
    """A figure of a day that is played in so many seconds: what idle replicas ask goes on as long."""
    return total({k: costs[k][figure] for k in KINDS}, expected(mix)) + costs["idle"][figure] * seconds


def day(costs, mix):
    count = expected(mix)
    pulls = mix.nodes * (mix.pulls + mix.tokens)
    memory = mix.images * costs["check_new"]["redis_memory"] + mix.nodes * mix.tokens * TOKEN_DAYS * costs["token"]["redis_memory"]
    memory += min(RECORDS, pulls) * costs["pull_again"]["redis_memory"]
    requests = mix.nodes * mix.checks + pulls * 6 + mix.nodes * mix.tokens
    return Day(*(spent(costs, mix, f, DAY_S) for f in FIGURES), redis_bytes=memory, client_requests=requests,
               client_bytes=pulls * PULL_BYTES, upstream_bytes=count["check_new"] * PULL_BYTES)


def row(costs, mix):
    d = day(costs, mix)
    return (f"| {mix.nodes:,} | {mix.images:,} | {d.client_requests / DAY_S * PEAK:,.0f} | {d.operations / MEGA:,.1f} million | "
            f"{d.operations / DAY_S * PEAK:,.0f} | {d.redis_cpu / DAY_S * PEAK:.1%} | {d.redis_bytes / MEGA:,.0f} MB | "
            f"{d.proxy_cpu / DAY_S * PEAK:.1%} | {d.client_bytes * 8 / DAY_S * PEAK / 1e9:,.2f} Gbit/s | {d.upstream_bytes / 1e9:,.0f} GB |")


def table(costs, mixes):
    return "\n".join([
        "| nodes | images in use | requests a second, peak | Redis operations a day | a second, peak | Redis' CPU, peak | Redis' memory | "
        "replicas' CPU, peak | to nodes, peak | from upstreams a day |",
        "|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|", *(row(costs, m) for m in mixes)])


def costs_table(costs):
    says = {"check_new": "check or pull of a tag that nobody in the cluster has met",
            "check_met": "the same, met by another replica", "check_again": "the same, met by this replica",
            "check_restart": "the same, met before this replica was restarted", "pull_first": "pull: the first here",
            "pull_again": "pull: again", "pull_restart": "pull: again, after a restart", "token": "container token, and its pull at another replica"}
    lines = ["| what | Redis operations | Redis' CPU | Redis' memory | replica's CPU |", "|---|---:|---:|---:|---:|"]
    for kind, text in says.items():
        c = costs[kind]
        lines.append(f"| {text} | {c['operations']:.1f} | {c['redis_cpu'] * MEGA:,.0f} µs | {c['redis_memory']:,.0f} B | "
                     f"{c['proxy_cpu'] * MEGA:,.0f} µs |")
    c = costs["idle"]
    lines.append(f"| three idle replicas, a second | {c['operations']:.1f} | {c['redis_cpu'] * MEGA:,.0f} µs | | {c['proxy_cpu'] * MEGA:,.0f} µs |")
    return "\n".join(lines)
