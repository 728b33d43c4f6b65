# SPDX-License-Identifier: Apache-2.0
"""A simulated day, scaled down: what Redis is asked is what the model of docs/cluster.md says, by the costs of single actions
that are counted here and now, and by arithmetic. Counts, not times: those are tests/bench/day's."""
import os
import sys

import pytest

from rig import images, proxy
from rig.cluster import Cluster
from rig.redis import Redis

sys.path.append(os.path.join(proxy.ROOT, "tests", "bench"))
import day_costs  # noqa: E402
import day_images  # noqa: E402
import day_mix  # noqa: E402
import day_play  # noqa: E402

pytestmark = pytest.mark.skipif(Redis.missing(), reason="not installed: redis-server")


class Site:
    """What tests/bench/day has too: three replicas on one Redis, in front of an upstream with those images."""

    def __init__(self, scratch, up, layer, count):
        for number in range(count):
            manifest, blobs = day_images.image(number)
            up.tag("library/app", f"i{number}", images.Image(manifest, images.OCI_MANIFEST, blobs))
        self.cluster = Cluster(scratch, {"up.test": up.url}, ["--upstream-fresh", "0s", "--tokens-rate", "0"], inject=layer.path)
        self.socket = self.cluster.redis.socket

    def addresses(self):
        return [p.address for p in self.cluster.replicas]

    def reading(self):
        return day_costs.Reading(self.socket, [p.daemon.pid for p in self.cluster.replicas])

    def restart(self):
        for i in range(len(self.cluster.replicas)):
            self.cluster.restart(i)


@pytest.fixture
def site(scratch, up, layer):
    made = []

    def start(count):
        made.append(Site(scratch, up, layer, count))
        return made[-1]
    yield start
    for s in made:
        s.cluster.close()


@pytest.mark.parametrize("scale,images_for_costs", [(0.01, 16), pytest.param(0.05, 60, marks=pytest.mark.long)])
def test_redis_is_asked_what_the_model_says(site, scale, images_for_costs):
    mix = day_mix.Mix().scaled(scale)
    day = site(images_for_costs + mix.images)
    costs = day_costs.measure(day, images_for_costs)
    before = day.reading()
    # Of images that nobody has met: those of the costs are the first ones.
    morning, afternoon = ([(kind, images_for_costs + i, replica) for kind, i, replica in half] for half in day_mix.plan(mix, "a day"))
    day_play.play(day.addresses(), morning)
    day_costs.settled(day.socket)
    day.restart()
    day_play.play(day.addresses(), afternoon)
    day_costs.settled(day.socket)
    spent = day.reading().since(before)
    expected = day_mix.total({k: costs[k]["operations"] for k in day_mix.KINDS}, day_mix.expected(mix))
    expected += costs["idle"]["operations"] * spent["seconds"]
    assert spent["operations"] == pytest.approx(expected, rel=0.2), (spent["commands"], costs)
    assert spent["operations"] > mix.nodes * mix.checks  # it is not that nothing was counted
