# SPDX-License-Identifier: Apache-2.0
"""Replicas of rac-proxy that are one registry: a Redis that they share, and a balancer in front of them.

    c = Cluster(scratch, {"up.test": up.url}, inject=layer.path)
    c.manifest("lib/app", "1")     # of any of them, as the balancer has it
    c.replicas[0].kill()           # the balancer passes over it
    c.start(0)                     # back, on another port
"""
from rig.balancer import Balancer
from rig.process import wait_for
from rig.proxy import Asked, Proxy
from rig.redis import Redis


class Cluster(Asked):
    """args, config, inject and the like: as of each Proxy. state: the URL of a Redis that somebody else looks after."""

    def __init__(self, scratch, upstreams=None, args=(), replicas=3, state=None, **kwargs):
        self.scratch = scratch
        self.redis = None if state else Redis(scratch)
        self.balancer = Balancer()
        self.replicas = []
        self._make = lambda: Proxy(scratch, upstreams, ["--peer-address", "http://127.0.0.1", "--state", state or self.redis.url, *args],
                                   **kwargs)
        try:
            for _ in range(replicas):
                self.add()
        except BaseException:
            self.close()
            raise

    @property
    def address(self):
        return self.balancer.address

    def add(self):
        """One more, with a data folder of its own."""
        self.replicas.append(self._make())
        self._known(len(self.replicas) - 1)
        return self.replicas[-1]

    def _known(self, i):
        self.balancer.backends[i] = self.replicas[i].address

    def start(self, i):
        self.replicas[i].start()
        self._known(i)
        self.ready(i)

    def restart(self, i):
        """As a rollout does it: SIGTERM, and another one in its place."""
        self.replicas[i].stop()
        self.start(i)

    def kill(self, i):
        self.replicas[i].kill()

    def ready(self, *which):
        """Waits until they (all, if none is named) say so."""
        for i in which or range(len(self.replicas)):
            wait_for(lambda p=self.replicas[i]: p.get("/readyz").status == 200, 60, f"replica {i} is ready", step=0.1)

    def others(self, i):
        return [p for j, p in enumerate(self.replicas) if j != i]

    def close(self):
        """Stops all; what must hold of every run is checked for each."""
        problems = []
        for p in self.replicas:
            try:
                p.close()
            except AssertionError as e:
                problems.append(str(e))
        self.balancer.close()
        if self.redis:
            self.redis.close()
        assert not problems, "\n".join(problems)
