"""Three MariaDB servers that are one Galera cluster, each on a machine of its own and with a certificate for its address. With what Debian's galera-4 and mariadb-server-core have."""

import contextlib
import pathlib
import re
import shutil
import subprocess

from tests.lib.certificates import Authority
from tests.lib.mariadb import Database, MariaDB
from tests.lib.waiting import wait_until

PROVIDER = "/usr/lib/galera/libgalera_smm.so"
PORT = 3306
SYNCED_WITHIN = 60


class Node(MariaDB):
    def __init__(self, machine, directory, addresses, authority, data=None):
        self.machine = machine
        self.own = authority.issue(machine.name, names=f"IP:{machine.address}")
        self.cert, self.key = directory / "cert", directory / "key"
        self._copy(self.own)
        self.sst = directory.parent / "sst"
        super().__init__(
            directory, "--binlog-format=ROW", "--innodb-autoinc-lock-mode=2", "--wsrep-on=ON", f"--wsrep-provider={PROVIDER}",
            "--wsrep-cluster-name=silodns", f"--wsrep-node-address={machine.address}", f"--wsrep-node-name={machine.name}",
            f"--wsrep-cluster-address=gcomm://{','.join(addresses)}", "--wsrep-sst-method=shared",
            "--wsrep-provider-options=gcache.size=256M", f"--ssl-ca={authority.file}", f"--ssl-cert={self.cert}", f"--ssl-key={self.key}", address=machine.address, port=PORT,
            wrapper=["env", f"SST_DIRECTORY={self.sst}", *machine.wrapper], data=data, start=False)

    def start(self, *more, wait=True):
        super().start(*more, wait=wait)
        if wait:
            self.wait_synced()

    def _copy(self, pair):
        for source, target in zip(pair, (self.cert, self.key), strict=True):
            shutil.copy(source, target)

    def present(self, pair):
        """To whoever connects from now on: this certificate, and its key."""
        self._copy(pair)
        self.sql("FLUSH SSL")

    def status(self, name):
        return self.sql(f"SHOW STATUS LIKE 'wsrep_{name}'")[0][1]

    def is_synced(self):
        if self.process.poll() is not None:
            raise AssertionError((self.directory / "log").read_text()[-3000:])
        with contextlib.suppress(subprocess.CalledProcessError, IndexError):
            return self.status("local_state_comment") == "Synced" and self.status("cluster_status") == "Primary"
        return False

    def wait_synced(self):
        wait_until(self.is_synced, SYNCED_WITHIN, f"{self.machine.name} to be a synced member of the cluster")

    def position(self):
        """(identity of the cluster, number of the last transaction) of a node that was killed."""
        done = subprocess.run([*self.command(), "--wsrep-recover"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120)
        found = re.search(r"Recovered position: *([0-9a-f-]+):(\d+)", done.stdout)
        assert found, done.stdout[-2000:]
        return found[1], int(found[2])

    def restart(self):
        """A node that was killed, into a cluster that lives."""
        self.start("--wsrep-start-position={}:{}".format(*self.position()))


class Cluster:
    def __init__(self, directory, machines):
        self.directory = pathlib.Path(directory)
        (self.directory / "sst").mkdir()
        self.authority = Authority(self.directory / "ca")
        addresses = [machine.address for machine in machines]
        self.nodes = []
        for machine in machines:
            home = self.directory / machine.name
            home.mkdir()
            self.nodes.append(Node(machine, home, addresses, self.authority, data=self.nodes[0].directory / "data" if self.nodes else None))
            if len(self.nodes) == 1:  # once, so that the copies know which cluster they are of
                self.nodes[0].start("--wsrep-new-cluster")
                self.nodes[0].stop()
        self._start(self.nodes[0])

    def _start(self, first, *more):
        state = first.directory / "data/grastate.dat"
        state.write_text(re.sub(r"safe_to_bootstrap: \d", "safe_to_bootstrap: 1", state.read_text()))
        first.start("--wsrep-new-cluster", *more)
        for node in self.nodes:
            if node is not first:
                node.restart()

    def restart(self):
        """After all were killed: from the node that has most."""
        positions = {node: node.position() for node in self.nodes}
        first = max(self.nodes, key=lambda node: positions[node][1])
        self._start(first, "--wsrep-start-position={}:{}".format(*positions[first]))

    def mend(self):
        """Every node there again, whatever a test has left behind."""
        for node in self.nodes:
            if node.process.poll() is None:
                node.resume()
        if all(node.process.poll() is not None for node in self.nodes):
            self.restart()
        for node in self.nodes:
            if node.process.poll() is not None:
                node.restart()
            node.wait_synced()

    def kill(self):
        for node in self.nodes:
            node.process.kill()  # all at once
        for node in self.nodes:
            node.kill()

    def count(self, name):
        """A counter of every node's, summed up."""
        return sum(int(node.status(name)) for node in self.nodes)


class ClusterDatabase(Database):
    """Asked through whichever node is there; it waits for what was committed through the others."""

    def __init__(self, cluster):
        super().__init__(cluster.nodes[0])
        self.cluster = cluster

    def settings(self, *nodes):
        """For a hub that knows these nodes, in this order; all of them, if none is named."""
        return super().settings() | {"DB_HOST": ",".join(node.address for node in nodes or self.cluster.nodes)}

    def sql(self, statement, node=None, **more):
        node = node or next(node for node in self.cluster.nodes if node.process.poll() is None and node.is_synced())
        return node.sql(f"SET SESSION wsrep_sync_wait = 15; {statement}", self.name, **more)

    def check_same(self):
        """Every node has the same in every table."""
        tables = ", ".join(table for (table,) in self.sql("SHOW TABLES"))
        sums = [self.sql(f"CHECKSUM TABLE {tables}", node=node) for node in self.cluster.nodes]
        assert sums[0] == sums[1] == sums[2], f"the nodes differ: {sums}"
