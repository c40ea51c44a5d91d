"""The whole system under load: two hubs and all that hangs on them."""

import os

from tests.lib.ledger import Ledger
from tests.lib.load import Load

LONG = os.environ.get("SILODNS_FAULTS") == "long"
CLIENTS = 8


def rounds(short, long):
    return long if LONG else short


class World(Load):
    def __init__(self, directory, database, hubs, clients=CLIENTS):
        super().__init__(directory)
        self.database, self.hubs = database, hubs
        self.ledger = Ledger(*hubs, clients=clients, deletes=True)
        for n, hub in enumerate(hubs):
            self.keep(hub, ("watch", "poll")[n % 2], INTERVAL="100ms")
        for hub in hubs:
            for silos in ((), self.ledger.silos[:3]):
                self.follow(hub, *silos)

    def check(self, renewals=0):
        """No acknowledged change is missing, no refused one is there, and everybody has the same."""
        self.ledger.settle()
        super().check(self.ledger.check(self.database, renewals=renewals), 40)
