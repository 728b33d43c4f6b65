# SPDX-License-Identifier: Apache-2.0
"""The long run of tests/faults/crash_cluster."""
import random

import pytest

from faults import cluster_rig, seeded
from rig.redis import Redis

pytestmark = pytest.mark.skipif(Redis.missing(), reason="not installed: redis-server")
LAG_S = 15  # of records, on a machine that does other things, too: their thread comes last


@pytest.mark.long
def test_rounds(scratch):
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")
    rig = cluster_rig.Rig(scratch, seed, LAG_S)
    try:
        rig.run(200, say=print)
        print(rig.summary())
    except (seeded.Wrong, AssertionError) as e:
        raise AssertionError(f"seed {seed}, round {rig.round}: {e}\n{rig.story()}") from None
    finally:
        rig.close()
