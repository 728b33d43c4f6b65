# SPDX-License-Identifier: Apache-2.0
"""A short run of tests/faults/crash: each kind of call that changes the disk is the last one once, and what was promised holds."""
import random
import shutil

import pytest

from faults import crash_rig

pytestmark = pytest.mark.skipif(not shutil.which("cc"), reason="no C compiler for the library that dies")
# Kinds of calls that a run must have died at: if one is never reached, the rig looks at the wrong calls, or the proxy
# leaves out a step.
PUBLISH = {"make put", "write put", "sync put", "make partial", "write partial", "sync partial", "rename blob", "syncdir blob"}
STORES = {"write state-wal", "write records-wal", "sync state-wal", "write state", "sync state", "syncdir data"}


def test_kinds_of_calls(scratch):
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")
    rig = crash_rig.Rig(scratch, seed)
    try:
        rig.short_run()
        assert PUBLISH | STORES <= rig.points.keys(), sorted((PUBLISH | STORES) - rig.points.keys())
        print(rig.summary())
    except crash_rig.Wrong as e:
        raise AssertionError(f"seed {seed}: {rig.doing}: {e}") from None
    finally:
        rig.close()
