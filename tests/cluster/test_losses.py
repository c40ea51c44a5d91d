"""Something is lost under load and comes back: a hub, a database node, the way to one, all of the database."""

import time

import pytest

from tests.lib.ledger import ACKNOWLEDGED
from tests.lib.waiting import wait_until
from tests.lib.watcher import Watcher

WRITES_AGAIN_WITHIN = 10
CUT_OFF_WITHIN = 15  # nothing tells either side: a time-out of the hub's comes before each look at another node


class Changes:
    """Of a silo that the ledger does not know, through a hub or nginx."""

    def __init__(self, endpoint, silo):
        self.endpoint, self.silo, self.count = endpoint, silo, 0

    def make(self):
        self.count += 1
        try:
            return self.endpoint.put_silo(self.silo, {"h": f"10.200.{self.count >> 8}.{self.count & 255}"}).status
        except OSError:
            return None

    def until_made(self, timeout=WRITES_AGAIN_WITHIN):
        """Seconds that it took."""
        started = time.monotonic()
        wait_until(lambda: self.make() in (200, 201), timeout, f"a change through {self.endpoint.url}")
        return time.monotonic() - started


def test_one_hub_killed(several):
    for hub in several.hubs:
        several.ledger.progress_of_all()
        hub.kill()
        several.ledger.progress_of_all()  # through the others
        hub.start()
    several.ledger.progress_of_all()
    several.check()
    assert all(follower.streams > 1 for follower in several.followers[2:])


@pytest.mark.parametrize("number", [0, 2], ids=["that began the cluster", "that joined it"])
def test_one_database_node_killed(several, cluster, figure, number):
    """Through the hub that was at it, too, and with nothing else between hub and database than the hub's own list of hosts."""
    node, changes = cluster.nodes[number], [Changes(hub, f"own-{n}") for n, hub in enumerate(several.hubs)]
    several.ledger.progress_of_all()
    node.kill()
    killed = time.monotonic()
    for each in changes:
        each.until_made(WRITES_AGAIN_WITHIN - (time.monotonic() - killed))
    figure("a database node killed, writes through every hub again after", f"{time.monotonic() - killed:.1f} s")
    several.ledger.progress_of_all()
    node.restart()
    several.ledger.progress_of_all()
    several.check()


def test_one_database_node_cut_off(several, cluster, figure):
    """A hub that has but this node refuses changes and goes on with reads; there is no second history; a watcher that comes from another hub is
    told nothing older than it knows; afterwards all is as if nothing had been."""
    last = cluster.nodes[2]
    hub = several.hubs[2]
    hub.stop()
    hub.settings |= several.database.settings(last)
    hub.start()
    several.ledger.progress_of_all()
    others = [node.machine for node in cluster.nodes[:2]]
    lonely, elsewhere = Changes(hub, "lonely"), Changes(several.hubs[0], "elsewhere")
    lonely.until_made()
    last.machine.part_from(*others)
    try:
        parted = time.monotonic()
        elsewhere.until_made(CUT_OFF_WITHIN)
        figure("a database node cut off, writes through the others again after", f"{time.monotonic() - parted:.1f} s")
        wait_until(lambda: last.status("ready") == "OFF", 20, "the node to notice that it is alone")
        wait_until(lambda: hub.get("/readyz", auth=None).status == 503, 20, "the hub to notice")
        since = several.database.sql("SELECT revision FROM hub")[0][0]
        for _ in range(20):
            assert lonely.make() == 503
            assert hub.get("/silos/lonely").status == 200 and hub.get("/silos?limit=10").status == 200
        before = several.ledger.count(ACKNOWLEDGED)
        wait_until(lambda: several.ledger.count(ACKNOWLEDGED) > before + 20, 30, "changes through nginx")
        assert int(several.database.sql("SELECT revision FROM hub")[0][0]) > int(since)
        newest = several.hubs[0].get("/silos/elsewhere")
        watcher = Watcher(hub, "elsewhere", since=newest.headers["ETag"].strip('"'), identity=several.hubs[0].get("/readyz", auth=None).json["hub"])
        watcher.wait_for(lambda w: "retry: 2000" in w.raw)
        assert hub.get("/silos/elsewhere").headers["ETag"] != newest.headers["ETag"] and not watcher.events
        assert several.database.sql(f"SELECT COUNT(*) FROM change_log WHERE subject = 'lonely' AND revision > {since}") == [["0"]]
    finally:
        last.machine.rejoin(*others)
    lonely.until_made(60)
    assert [event.kind for event in watcher.wait_synced().events] == ["synced"]
    watcher.close()
    several.ledger.progress_of_all()
    several.check()


def test_the_whole_database_restarted(several, cluster):
    """All nodes die at once, as when the power fails. Reads go on meanwhile."""
    several.ledger.progress_of_all()
    cluster.kill()
    for hub in several.hubs:
        wait_until(lambda: hub.get("/readyz", auth=None).status == 503, 10, "the outage to be noticed")  # noqa: B023
        assert hub.get("/silos?limit=10").status == 200 and Changes(hub, "late").make() == 503
    cluster.restart()
    for n, hub in enumerate(several.hubs):
        Changes(hub, f"own-{n}").until_made()
    several.ledger.progress_of_all()
    assert several.database.sql("SELECT COUNT(*) FROM change_log WHERE subject = 'late'") == [["0"]], "refused, but made"
    several.check()
