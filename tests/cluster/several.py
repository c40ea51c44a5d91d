"""Three hubs, each at a database node of its own first or all at the same, nginx in front; clients that keep a ledger, watchers, hosts keepers. What each has is compared."""

import threading

from tests.cluster.front import Front
from tests.lib.follower import Follower
from tests.lib.hostskeeper import Keeper, block
from tests.lib.hub import ADMIN, Hub
from tests.lib.ledger import OPEN, Ledger, check_agreement
from tests.lib.waiting import wait_until

CLIENTS = 6
NO_LIMITS = {"LIMIT_REQUESTS": 0, "LIMIT_USER_REQUESTS": 0, "MAX_CONNECTIONS_PER_ADDRESS": 0}  # all clients have one address and are one user
LOCAL = "127.0.0.1\tlocalhost\n"


class FrontLedger(Ledger):
    """Through nginx, which has answers of its own."""

    def _verdict(self, answer):
        if answer.status in (502, 504):
            return OPEN, None
        return super()._verdict(answer)


class Several:
    def __init__(self, machines, database, directory, own_nodes=True, through_front=True, clients=CLIENTS, deletes=True, all_followed=True, program=None, **settings):
        self.machines, self.database, self.directory = machines, database, directory
        nodes = database.cluster.nodes
        self.hubs = []
        for n in range(len(nodes)):
            machine = machines[f"hub{n + 1}"]
            own = {"TRUSTED_PROXIES": machines["front"].address, **NO_LIMITS, **database.settings(*(nodes[n:] + nodes[:n] if own_nodes else nodes)), **settings}
            self.hubs.append(Hub(directory, database, address=machine.address, wrapper=machine.wrapper, **own))
            self.hubs[-1].program = program or self.hubs[-1].program
        self.clients, self.deletes, self.through_front = clients, deletes, through_front
        self.all_followed = all_followed
        self.front = self.ledger = None
        self.keepers, self.followers = [], []

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
        self.followers = [Follower(self.front), Follower(self.front, *some), *(Follower(hub, *([] if self.all_followed else some)) for hub in self.hubs)]
        self.keepers = [self._keeper(n, follow) for n, follow in enumerate(("watch", "watch", "poll"))]
        return self

    def _keeper(self, n, follow):
        directory = self.directory / f"etc{n}"
        directory.mkdir()
        keeper = Keeper(directory, self.front, ",".join(self.ledger.silos), USER=ADMIN[0], PASSWORD=ADMIN[1], INTERVAL="200ms", FOLLOW=follow,
                        ALLOW_PLAIN_HTTP="true")
        keeper.hosts.write_text(LOCAL)
        return keeper.start()

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
        kept = block(*((silo, sorted(tables[silo])) for silo in self.ledger.silos if silo in tables))
        for keeper in self.keepers:
            keeper.wait_text(LOCAL + kept, 60)
        expected = {silo: dict(records) for silo, records in tables.items()}
        for follower in self.followers:
            mine = {silo: records for silo, records in expected.items() if not follower.names or silo in follower.names}
            wait_until(lambda: follower.silos == mine, 60, what=f"the newest state of every silo; {follower.silos} is not {mine}")  # noqa: B023
            follower.check()
            assert not follower.resets, "a watcher was told to forget everything, though nothing was lost"
        for hub in self.hubs:
            assert "does not continue what is in memory" not in hub.log(), "a hub took a node that was behind for a restored backup"
        assert len(self.identities()) == 1

    def close(self):
        for follower in self.followers:
            follower.close()
        if self.ledger:
            self.ledger.done.set()
            for thread in self.ledger.threads:
                thread.join(30)
        for keeper in self.keepers:
            keeper.stop()
        if self.front:
            self.front.close()
        failures = []
        for hub in self.hubs:
            try:
                hub.finish()
            except AssertionError as failure:
                failures.append(failure)
        if failures:
            raise failures[0]
