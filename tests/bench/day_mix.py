# SPDX-License-Identifier: Apache-2.0
"""A day of many nodes: what they ask for, and how much of it is new to whom.

An *action* is what an engine does over a connection of its own: a check (HEAD of a tag, which is what `imagePullPolicy: Always`
costs a node that has the image), a pull (the same, then the manifest and all that it lists), a container token (asked for at
one replica, pulled at the next). What it costs depends on what the replica has met before:

    new      nobody in the cluster has met the image
    met      another replica has: this one finds it in Redis
    again    this replica has
    restart  it has, before it was restarted
    first    of a pull: this replica has the manifest, and not yet the layers

`plan` draws a day by lot; `expected` says how many actions of each kind that will be, by arithmetic only.
"""
import dataclasses
import itertools
import random

KINDS = ("check_new", "check_met", "check_again", "check_restart", "pull_first", "pull_again", "pull_restart", "token")


@dataclasses.dataclass
class Mix:
    nodes: int = 1000
    images: int = 10000        # that are in use that day
    pulls: int = 40            # a node
    checks: int = 300          # a node: containers that start with imagePullPolicy: Always and need no pull
    tokens: int = 4            # a node: container tokens, each pulled once
    replicas: int = 3          # each is restarted once, at noon

    def scaled(self, by):
        return dataclasses.replace(self, nodes=max(1, round(self.nodes * by)), images=max(1, round(self.images * by)))

    def popularity(self):
        """Of each image: what part of all that is asked for is asked of it. The first are a hundred times as wanted as the last."""
        weight = [1 / (i + self.images / 100) for i in range(self.images)]
        total = sum(weight)
        return [w / total for w in weight]


def plan(mix, seed):
    """Two halves of a day: [(kind, image, replica)], kind being "check", "pull" or "token"."""
    lot = random.Random(seed)
    cumulative = list(itertools.accumulate(mix.popularity()))
    kinds = ["check"] * (mix.nodes * mix.checks) + ["pull"] * (mix.nodes * mix.pulls) + ["token"] * (mix.nodes * mix.tokens)
    lot.shuffle(kinds)
    picked = lot.choices(range(mix.images), cum_weights=cumulative, k=len(kinds))
    # A balancer's turn is everybody's: which replica a client comes to is by lot, too.
    actions = [(k, i, lot.randrange(mix.replicas)) for k, i in zip(kinds, picked)]
    return actions[:len(actions) // 2], actions[len(actions) // 2:]


def expected(mix):
    """{kind: how many}. A token's request and its pull meet their replicas like a check and a pull."""
    replicas, found = mix.replicas, dict.fromkeys(KINDS, 0.0)
    pulls, checks, tokens = (mix.nodes * n for n in (mix.pulls, mix.checks, mix.tokens))
    every = pulls + checks + 2 * tokens
    for p in mix.popularity():
        there = replicas * (1 - (1 - p / replicas) ** every)      # replicas that meet it that day
        half = 1 - (1 - p / replicas) ** (every / 2)              # ... a given one does within half a day
        new = 1 - (1 - p) ** every
        found["check_new"] += new
        found["check_met"] += there - new
        found["check_restart"] += replicas * half ** 2
        with_layers = pulls + tokens
        half = 1 - (1 - p / replicas) ** (with_layers / 2)
        found["pull_first"] += replicas * (1 - (1 - p / replicas) ** with_layers)
        found["pull_restart"] += replicas * half ** 2
    found["pull_again"] = max(0.0, pulls + tokens - found["pull_first"] - found["pull_restart"])
    found["check_again"] = every - found["check_new"] - found["check_met"] - found["check_restart"]
    found["token"] = tokens
    return found


def total(costs, count):
    """What a day costs: `costs` by kind, as measured. A pull was measured with its HEAD, and a token with a whole pull of what
    its replica had already: what they have in common is there once only."""
    again = costs["check_again"]
    sum_ = sum(count[k] * costs[k] for k in ("check_new", "check_met", "check_again", "check_restart"))
    for kind in ("pull_first", "pull_again"):
        sum_ += count[kind] * (costs[kind] - again)
    sum_ += count["pull_restart"] * (costs["pull_restart"] - costs["check_restart"])
    return sum_ + count["token"] * (costs["token"] - again - costs["pull_again"])
