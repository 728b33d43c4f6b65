# SPDX-License-Identifier: Apache-2.0
"""A round of tests/faults/crash_cluster, and the long run: replicas and Redis die under load, and what was promised holds."""
import random

import pytest

from faults import cluster_events, cluster_rig, seeded
from rig.redis import Redis

pytestmark = pytest.mark.skipif(Redis.missing(), reason="not installed: redis-server")
LAG_S = 15  # of records, on a machine that does other things, too: their thread comes last


def run(scratch, rounds, kinds=None, least=1):
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")
    rig = cluster_rig.Rig(scratch, seed, LAG_S)
    try:
        rig.run(rounds, kinds, print, least)
        print(rig.summary())
    except (seeded.Wrong, AssertionError) as e:
        raise AssertionError(f"seed {seed}, round {rig.round}: {e}\n{rig.story()}") from None
    finally:
        rig.close()


@pytest.mark.long
def test_a_round(scratch):
    run(scratch, 1, [cluster_events.Kill, cluster_events.Drain, cluster_events.RedisKill, cluster_events.Bucket], 2)


@pytest.mark.long
def test_rounds(scratch):
    run(scratch, 200)
