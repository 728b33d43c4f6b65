# SPDX-License-Identifier: Apache-2.0
"""The rows, in the order in which they are run: each starts what it compares, checks that all of them serve the same bytes,
measures, returns tables."""
import rows_many
import rows_pull
import rows_warm


def clients(bench):
    import rows_clients  # pylint: disable=import-outside-toplevel  # not all have the engines
    return rows_clients.clients(bench)


ROWS = {"upstream": rows_warm.upstream, "manifests": rows_warm.manifests, "blobs": rows_warm.blobs,
        "ranges": rows_warm.ranges, "tls": rows_warm.tls, "cold": rows_pull.cold, "readers": rows_pull.readers,
        "slow": rows_pull.slow_and_fast, "first": rows_pull.first_pull, "small": rows_pull.small,
        "memory": rows_many.memory, "connections": rows_many.many, "clients": clients,
        "store": rows_many.store}  # last: its million files keep the disk busy for a while

# Seconds that each takes with five rounds on two quiet cores, for who has only so many minutes.
SECONDS = {"upstream": 15, "manifests": 180, "blobs": 150, "ranges": 55, "tls": 110, "cold": 60, "readers": 60, "slow": 57,
           "first": 30, "small": 22, "memory": 30, "connections": 150, "clients": 150, "store": 150}


def rounds_left(names, wanted, seconds_left):
    """As many rounds of the first of these rows as leave time for the others; two at least."""
    return max(2, min(wanted, int(wanted * seconds_left / sum(SECONDS[name] for name in names))))
