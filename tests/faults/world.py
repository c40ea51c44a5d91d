"""The whole system under load: two hubs, clients that keep a ledger, watchers, hosts keepers. What each of them has is compared at the end."""

import os

from tests.lib.follower import Follower
from tests.lib.hostskeeper import Keeper, block
from tests.lib.hub import ADMIN
from tests.lib.ledger import Ledger
from tests.lib.waiting import wait_until

LONG = os.environ.get("SILODNS_FAULTS") == "long"
CLIENTS = 8
LOCAL = "127.0.0.1\tlocalhost\n"


def rounds(short, long):
    return long if LONG else short


class World:
    def __init__(self, directory, database, hubs, clients=CLIENTS):
        self.database, self.hubs = database, hubs
        self.ledger = Ledger(*hubs, clients=clients, deletes=True)
        self.keepers = [self._keeper(directory / f"etc{n}", hub, ("watch", "poll")[n % 2]) for n, hub in enumerate(hubs)]
        some = self.ledger.silos[:3]
        self.followers = [Follower(hub, *names) for hub in hubs for names in ((), some)]

    def _keeper(self, directory, hub, follow):
        directory.mkdir()
        keeper = Keeper(directory, hub, ",".join(self.ledger.silos), USER=ADMIN[0], PASSWORD=ADMIN[1], INTERVAL="100ms", FOLLOW=follow)
        keeper.local = LOCAL
        keeper.hosts.write_text(LOCAL)
        return keeper.start()

    def check(self, renewals=0):
        """No acknowledged change is missing, no refused one is there, and everybody has the same."""
        self.ledger.settle()
        tables = self.ledger.check(self.database, renewals=renewals)
        kept = block(*((silo, sorted(tables[silo])) for silo in self.ledger.silos if silo in tables))
        for keeper in self.keepers:
            keeper.wait_text(keeper.local + kept, 40)
        expected = {silo: dict(records) for silo, records in tables.items()}
        for follower in self.followers:
            mine = {silo: records for silo, records in expected.items() if not follower.names or silo in follower.names}
            wait_until(lambda: follower.silos == mine, what=f"the newest state of every silo; {follower.silos} is not {mine}")  # noqa: B023
            follower.check()

    def close(self):
        for follower in self.followers:
            follower.close()
        self.ledger.done.set()
        for thread in self.ledger.threads:
            thread.join(30)
        for keeper in self.keepers:
            keeper.stop()
