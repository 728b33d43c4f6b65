# SPDX-License-Identifier: Apache-2.0
"""Nodes of an estate on one machine: network namespaces with addresses of their own, on one bridge."""
import os

COUNT = iter(range(100))


class Nodes:
    """gateway: this machine's address for all of them. node(address).prefix stands in front of what is to run there."""

    def __init__(self, scratch, network="10.213"):
        self.scratch, self.network = scratch, network
        self.tag = f"{os.getpid() % 100000}x{next(COUNT)}"
        self.bridge, self.names = f"rb{self.tag}", []
        self.gateway = f"{network}.0.1"
        self.ip("link", "add", self.bridge, "type", "bridge")
        try:
            self.ip("addr", "add", f"{self.gateway}/16", "dev", self.bridge)
            self.ip("link", "set", self.bridge, "up")
        except AssertionError:
            self.close()
            raise

    def ip(self, *args, check=True):
        return self.scratch.run("ip", *args, check=check)

    def node(self, address):
        """A namespace with that address; returns the words that run something in it."""
        number = len(self.names)
        name, inner, outer = f"rac-{self.tag}-{number}", f"ri{self.tag}{number}", f"ro{self.tag}{number}"
        self.ip("netns", "add", name)
        self.names.append(name)
        self.ip("link", "add", outer, "type", "veth", "peer", "name", inner)
        self.ip("link", "set", inner, "netns", name)
        self.ip("link", "set", outer, "master", self.bridge, "up")
        for args in (["addr", "add", f"{address}/16", "dev", inner], ["link", "set", inner, "up"], ["link", "set", "lo", "up"]):
            self.ip("-n", name, *args)
        return ["nsenter", f"--net=/run/netns/{name}"]

    def close(self):
        for name in self.names:
            self.ip("netns", "del", name, check=False)
        self.ip("link", "del", self.bridge, check=False)
