"""Machines with addresses of their own: network namespaces on one bridge. The test's own namespace is one of them (see run)."""

import subprocess

BRIDGE = "br-silodns"
HOME = "10.77.0.1"  # of the test itself
SECOND_HOME = "10.77.0.2"  # as well: two ways through the test may have the same port
NICENESS = -10
NOBODY = "02:00:00:00:00:01"  # a link-layer address that no machine has


def ip(*words):
    subprocess.run(["ip", *words], check=True)


class Network:
    def __init__(self):
        ip("link", "add", BRIDGE, "type", "bridge")
        for home in (HOME, SECOND_HOME):
            ip("address", "add", f"{home}/24", "dev", BRIDGE)
        ip("link", "set", BRIDGE, "up")

    def machine(self, name, number):
        return Machine(name, f"10.77.0.{number}")


class Machine:
    def __init__(self, name, address):
        self.name, self.address = name, address
        # Before the clients, which would have machines of their own, and before what else this one does. Where it is not allowed, nice says so and goes on.
        self.wrapper = ["nice", "-n", str(NICENESS), "ip", "netns", "exec", name]
        ip("netns", "add", name)
        ip("link", "add", f"to-{name}", "type", "veth", "peer", "name", "eth0", "netns", name)
        ip("link", "set", f"to-{name}", "master", BRIDGE, "up")
        ip("-n", name, "address", "add", f"{address}/24", "dev", "eth0")
        ip("-n", name, "link", "set", "eth0", "up")
        ip("-n", name, "link", "set", "lo", "up")

    def part_from(self, *others):
        """Nothing gets from one to the other any more, and neither is told: what they send goes to nobody."""
        for other in others:
            for here, there in ((self, other), (other, self)):
                ip("-n", here.name, "neighbour", "replace", there.address, "lladdr", NOBODY, "dev", "eth0", "nud", "permanent")

    def rejoin(self, *others):
        for other in others:
            for here, there in ((self, other), (other, self)):
                ip("-n", here.name, "neighbour", "del", there.address, "dev", "eth0")
