"""Three hubs, each at a database node of its own first or all at the same, nginx in front, and all that hangs on them."""

import threading

from tests.cluster.front import Front
from tests.lib.hub import Hub, finish_all
from tests.lib.ledger import OPEN, Ledger, check_agreement
from tests.lib.load import Load

CLIENTS = 6
NO_LIMITS = {"LIMIT_REQUESTS": 0, "LIMIT_USER_REQUESTS": 0, "MAX_CONNECTIONS_PER_ADDRESS": 0}  # all clients have one address and are one user


class FrontLedger(Ledger):
    """Through nginx, which has answers of its own."""

    def _verdict(self, answer):
        if answer.status in (502, 504):
            return OPEN, None
        return super()._verdict(answer)


class Several(Load):
    def __init__(self, machines, database, directory, own_nodes=True, through_front=True, clients=CLIENTS, deletes=True, all_followed=True, program=None, **settings):
        super().__init__(directory)
        self.machines, self.database = machines, database
        nodes = database.cluster.nodes
        self.hubs = []
        for n in range(len(nodes)):
            machine = machines[f"hub{n + 1}"]
            own = {"TRUSTED_PROXIES": machines["front"].address, **NO_LIMITS, **database.settings(*(nodes[n:] + nodes[:n] if own_nodes else nodes)), **settings}
            self.hubs.append(Hub(directory, database, address=machine.address, wrapper=machine.wrapper, **own))
            self.hubs[-1].program = program or self.hubs[-1].program
        self.clients, self.deletes, self.through_front = clients, deletes, through_front
        self.all_followed = all_followed
        self.front = None

    def start(self):
        starts = [threading.Thread(target=hub.start) for hub in self.hubs]  # all at once, as a cluster does
        for start in starts:
            start.start()
        for start in starts:
            start.join()
        for hub in self.hubs:
            hub.wait_ready()
        self.front = Front(self.machines["front"], self.directory / "front", self.hubs)
        self.ledger = FrontLedger(self.front, clients=self.clients, deletes=self.deletes) if self.through_front \
            else Ledger(*self.hubs, clients=self.clients, deletes=self.deletes)
        some = self.ledger.silos[:3]
        for hub, silos in ((self.front, ()), (self.front, some), *((hub, () if self.all_followed else some) for hub in self.hubs)):
            self.follow(hub, *silos)
        for follow in ("watch", "watch", "poll"):
            self.keep(self.front, follow, INTERVAL="200ms", ALLOW_PLAIN_HTTP="true")
        return self

    def identities(self):
        return {hub.get("/readyz", auth=None).json.get("hub") for hub in self.hubs}

    def check(self):
        """No acknowledged change is missing, no refused one is there, every database node, hub, watcher and hosts file has the same."""
        for hub in self.hubs:
            hub.wait_ready(40)
        self.ledger.settle()
        tables = self.ledger.check(self.database, hub=self.hubs[0])
        check_agreement(self.database, *self.hubs)
        self.database.check_same()
        super().check(tables, 60)
        for follower in self.followers:
            assert not follower.resets, "a watcher was told to forget everything, though nothing was lost"
        for hub in self.hubs:
            assert "does not continue what was in memory" not in hub.log(), "a hub took a node that was behind for a restored backup"
        assert len(self.identities()) == 1

    def close(self):
        super().close()
        if self.front:
            self.front.close()
        finish_all(self.hubs)
