"""The connection to the database breaks, or goes silent, at every single packet of a transaction: each answer is true, and the hub is back at once."""

import time

import pytest

from tests.faults.batches import ATTEMPTS, Change, check_answers, entries_since, send_at_once
from tests.faults.world import LONG
from tests.lib.follower import Follower
from tests.lib.hub import SLOW
from tests.lib.ledger import check_agreement
from tests.lib.waiting import wait_until

pytestmark = pytest.mark.hub

BACK_WITHIN = 2
DB_TIMEOUT = 1
# MariaDB drops a silent hub's transaction after 2 s; the attempt that waits for it may just have timed out, and is made again a quarter of a second later.
SILENT_WITHIN = 2 + DB_TIMEOUT + 0.25
OLD, NEW = "10.0.0.1", "10.0.0."


def many(n, address):
    """Silos made, changed and deleted, one that is as it should be already, one whose condition does not hold."""
    records = {"h": address, "stays": OLD, "comes": OLD}
    return [Change("PUT", f"made-a-{n}", records), Change("PUT", f"made-b-{n}", records),
            Change("PUT", f"changed-a-{n}", records), Change("PUT", f"changed-b-{n}", records),
            Change("DELETE", f"deleted-a-{n}", expect=(204,)), Change("DELETE", f"deleted-b-{n}", expect=(204,)),
            Change("PUT", "same", {"h": OLD}, headers={"X-Changes": "nothing"}),
            Change("PUT", "same", {"h": address}, headers={"If-None-Match": "*"}, expect=(412,))]


def one(n, address):
    return [Change("PUT", f"changed-a-{n}", {"h": address, "stays": OLD})]


def user(n, address):
    return [Change("PUT", f"user-{n}", user={"password": "a-users-password", "quota": n})]


class Rounds:
    """Round after round the same transaction, with other values. What it needs is made through another hub, which nothing disturbs."""

    def __init__(self, hub, proxy, other, database):
        self.hub, self.proxy, self.other, self.database = hub, proxy, other, database
        self.number = 0
        self.changes = many
        self.new_connection = False  # for each round: statements are prepared within the transaction
        other.put_silo("same", {"h": OLD})
        self.follower = Follower(hub)

    def finish(self):
        tables = check_agreement(self.database, self.hub, self.other)
        wait_until(lambda: self.follower.silos == {silo: dict(records) for silo, records in tables.items()}, what="the watcher's newest state")
        self.follower.check()
        assert not self.follower.resets, "for the hub's clients nothing has happened"

    def prepare(self):
        self.number += 1
        n = self.number
        for silo in (f"changed-a-{n}", f"changed-b-{n}", f"deleted-a-{n}", f"deleted-b-{n}"):
            assert self.other.put_silo(silo, {"h": OLD, "stays": OLD}).status == 201
        if self.new_connection:
            self.proxy.cut_all()
        wait_until(lambda: self.hub.get("/readyz", auth=None).status == 200 and self.hub.revision() == self.other.revision(), what="the same revision")
        return self.changes(n, f"10.1.{n >> 8}.{n & 255}")

    def record(self):
        """The packets of a whole transaction."""
        for _ in range(ATTEMPTS):
            changes = self.prepare()
            since = self.other.revision()
            self.proxy.passed.clear()
            send_at_once(self.hub, self.proxy, changes)
            entries = entries_since(self.database, since)
            check_answers(changes, entries)
            if len({batch for _, batch, *_ in entries}) == 1:
                packets = [packet for packet in self.proxy.passed if packet.step is not None]
                return packets[[packet.step for packet in packets].index(0):]
        raise AssertionError("they never came into one transaction")

    def harm(self, packet, how):
        """A round in which that happened at this packet; when it did."""
        for _ in range(ATTEMPTS):
            changes = self.prepare()
            since = self.other.revision()
            faults = []
            send_at_once(self.hub, self.proxy, changes, lambda: faults.append(self.proxy.arm(packet.__eq__, how)))  # noqa: B023
            self.proxy.disarm()
            if faults and faults[0].happened.is_set():
                return changes, since, faults[0].when
            check_answers(changes, entries_since(self.database, since))
        raise AssertionError(f"the packet did not come again: {packet}")

    def check(self, changes, since, until, what):
        """The hub takes changes again before `until`, and what it has answered is true."""
        wait_until(lambda: self.hub.put_silo("after", {"h": f"10.2.{self.number >> 8}.{self.number & 255}"}).status in (200, 201),
                   until - time.monotonic(), f"a change after {what}")
        entries = entries_since(self.database, since)
        check_answers(changes, [entry for entry in entries if entry[3] != "after"])


@pytest.fixture
def rounds(make_hub, make_proxy, database):
    proxy = make_proxy(database)
    rounds = Rounds(make_hub(database, DB_PORT=proxy.port, DB_TIMEOUT=f"{DB_TIMEOUT}s"), proxy, make_hub(database), database)
    yield rounds
    rounds.follower.close()


@pytest.mark.parametrize("changes,new_connection", [(many, False), (many, True), (one, False), *([(one, True), (user, False), (user, True)] if LONG else [])],
                         ids=lambda value: value if isinstance(value, bool) else value.__name__)
def test_cut_at_every_packet_of_a_transaction(rounds, changes, new_connection):
    rounds.changes = changes
    rounds.record()  # from now on all statements are prepared
    rounds.new_connection = new_connection
    packets = rounds.record()
    for packet in packets:
        for how in ("before", "half", "after") if LONG or packet.sql == "COMMIT" else ("before",):
            changes, since, when = rounds.harm(packet, how)
            what = f"{how} {packet.name}"
            assert [change.verdict for change in changes] == ["made"] * len(changes), what
            assert max(change.seconds for change in changes) < BACK_WITHIN * SLOW, what
            rounds.check(changes, since, when + BACK_WITHIN * SLOW, what)
    rounds.finish()


def is_telling(packet):
    """Of a transaction's packets those that the short form takes: the lock is got, something is written, the end is asked for, it has come."""
    return (packet.part, packet.command) in ((0, "bulk"), (0, "query"), (1, "query")) and packet.sql.startswith(("INSERT INTO change_log", "COMMIT")) \
        or packet.part == 1 and packet.sql.startswith("UPDATE hub SET revision")


def test_silence_from_every_command_of_a_transaction_on(rounds):
    """The hub cannot know whether MariaDB has got the command, and MariaDB does not hear that the hub has given up."""
    rounds.record()
    packets = [packet for packet in rounds.record() if packet.part < 2 and (LONG or is_telling(packet))]
    assert len(packets) >= 4
    for packet in packets:
        changes, since, when = rounds.harm(packet, "hole")
        assert len({change.verdict for change in changes}) == 1, packet
        rounds.check(changes, since, when + SILENT_WITHIN * SLOW, f"silence from {packet.name} on")
    rounds.finish()
