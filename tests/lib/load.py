"""What hangs on hubs under load: clients that keep a ledger, watchers, hosts keepers. What each of them has is compared at the end."""

from tests.lib.follower import Follower
from tests.lib.hostskeeper import Keeper, block
from tests.lib.hub import ADMIN
from tests.lib.waiting import wait_until

LOCAL = "127.0.0.1\tlocalhost\n"


class Load:
    """Keepers and followers are added once there is a ledger."""

    def __init__(self, directory):
        self.directory, self.ledger, self.keepers, self.followers = directory, None, [], []

    def keep(self, hub, follow, **settings):
        directory = self.directory / f"etc{len(self.keepers)}"
        directory.mkdir()
        keeper = Keeper(directory, hub, ",".join(self.ledger.silos), USER=ADMIN[0], PASSWORD=ADMIN[1], FOLLOW=follow, **settings)
        keeper.local = LOCAL
        keeper.hosts.write_text(LOCAL)
        self.keepers.append(keeper.start())

    def follow(self, hub, *silos):
        self.followers.append(Follower(hub, *silos))

    def check(self, tables, timeout):
        """Every hosts file and every watcher has what the tables have."""
        kept = block(*((silo, sorted(tables[silo])) for silo in self.ledger.silos if silo in tables))
        for keeper in self.keepers:
            keeper.wait_text(keeper.local + kept, timeout)
        expected = {silo: dict(records) for silo, records in tables.items()}
        for follower in self.followers:
            mine = {silo: records for silo, records in expected.items() if not follower.names or silo in follower.names}
            wait_until(lambda: follower.silos == mine, timeout, lambda: f"the newest state of every silo; {follower.silos} is not {mine}")  # noqa: B023
            follower.check()

    def close(self):
        for follower in self.followers:
            follower.close()
        if self.ledger:
            self.ledger.done.set()
            for thread in self.ledger.threads:
                thread.join(30)
        for keeper in self.keepers:
            keeper.stop()
