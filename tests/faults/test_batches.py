"""What the database may do to one transaction of many changes: deadlock, refusal, one change that spoils it."""

import concurrent.futures
import re
import threading
import time

import pytest

from tests.faults.batches import ATTEMPTS, Change, check_answers, entries_since, send_at_once
from tests.faults.world import rounds
from tests.lib.follower import Follower
from tests.lib.hub import SLOW
from tests.lib.ledger import check_agreement
from tests.lib.mariadb import Session
from tests.lib.waiting import wait_until

pytestmark = pytest.mark.hub


@pytest.fixture
def proxied(make_hub, make_proxy, database):
    proxy = make_proxy(database)
    hub = make_hub(database, DB_PORT=proxy.port)
    yield hub, proxy
    check_agreement(database, hub)


class Rival(Session):
    """Locks silos before the hub's row, where a hub does it the other way round. Its transaction is the bigger one, so InnoDB ends the hub's."""

    def __init__(self, database):
        super().__init__(database.server, database.name)
        self.sql("CREATE TEMPORARY TABLE IF NOT EXISTS ballast (n INT PRIMARY KEY) ENGINE = InnoDB")

    def lock_silos(self):
        self.sql("START TRANSACTION; INSERT INTO ballast SELECT seq FROM seq_1_to_2000; SELECT id FROM silo FOR UPDATE")

    def meet(self, observer):
        """Waits until a hub waits for the silos, asks for the hub's row, and lets go of all: within the time that a change may take."""
        wait_until(lambda: observer.sql("SHOW GLOBAL STATUS LIKE 'Innodb_row_lock_current_waits'")[0][1] != "0", what="a hub to wait")
        self.sql("SELECT revision FROM hub FOR UPDATE")
        self.sql("ROLLBACK")


@pytest.fixture
def rival(database):
    """And a session that looks on."""
    with Rival(database) as rival, Session(database.server, database.name) as observer:
        yield rival, observer


def deadlocks(database):
    return int(database.sql("SHOW GLOBAL STATUS LIKE 'Innodb_deadlocks'")[0][1])


def last_victim(database):
    """The number of the session whose transaction was rolled back in the last deadlock."""
    text = database.sql("SHOW ENGINE INNODB STATUS")[0][2].replace("\\n", "\n")
    text = text[text.index("LATEST DETECTED DEADLOCK"):]
    number = re.search(r"WE ROLL BACK TRANSACTION \((\d+)\)", text)[1]
    return re.search(rf"\*\*\* \({number}\) TRANSACTION:.*?thread id (\d+)", text, re.DOTALL)[1]


def sessions(database):
    return {number for (number,) in database.sql(f"SELECT id FROM information_schema.processlist WHERE user = '{database.name}'")}


def test_a_deadlock_on_the_revision_row_costs_no_change(make_hub, database, rival):
    rival, observer = rival
    hub = make_hub(database)
    hub.put_silo("a", {"h": "10.0.0.1"})
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        for n in range(rounds(5, 100)):
            before = deadlocks(database)
            rival.lock_silos()
            answer = pool.submit(hub.put_silo, "a", {"h": f"10.0.1.{n + 1}"})
            rival.meet(observer)
            assert answer.result().status == 200, answer.result()
            assert deadlocks(database) == before + 1 and last_victim(database) in sessions(database), "the hub was not the victim"
            assert database.sql("SELECT ip FROM record") == [[f"10.0.1.{n + 1}"]]
    check_agreement(database, hub)


def test_deadlocks_under_load(make_world, database, rival):
    rival, observer = rival
    world = make_world(database)
    world.ledger.progress_of_all()
    victims = set()
    for _ in range(rounds(10, 200)):
        before = deadlocks(database)
        rival.lock_silos()
        rival.meet(observer)
        if deadlocks(database) > before:
            victims.add(last_victim(database))
        world.ledger.progress(10)
    assert victims & sessions(database), "no hub was a victim: this test showed nothing"
    world.check()


def at_commit(packet):
    return packet.sql == "COMMIT" and packet.part == 0


def at_write(packet):
    return packet.step is not None and packet.part == 0 and packet.command in ("execute", "bulk") and "INTO change_log" in packet.sql


def at_lock(packet):
    return packet.part == 0 and packet.command == "execute" and packet.sql.startswith("UPDATE hub SET revision")


FAILURES = [  # what, error, where, how often in a row, what becomes of the changes
    ("deadlock", 1213, at_write, 1, "made"), ("Galera: certification failed", 1213, at_commit, 1, "made"),
    ("certification fails again and again", 1213, at_commit, 5, "made"), ("and does not end", 1213, at_commit, 21, "refused"),
    ("record changed", 1020, at_lock, 1, "made"), ("lock wait time-out", 1205, at_lock, 1, "refused"), ("table full", 1114, at_write, 1, "refused"),
    ("disk full", 1021, at_commit, 1, "refused"), ("Galera: not ready", 1047, at_lock, 1, "made"), ("Galera: not ready at the end", 1047, at_commit, 1, "made"),
    ("anything else at the end", 1105, at_commit, 1, "made"),
    ("Galera: the group was lost at the end", 1180, at_commit, 1, "made"),
    ("read-only: fail-over", 1290, at_write, 1, "made"), ("shutting down", 1053, at_commit, 1, "made"), ("killed", 1927, at_write, 1, "made"),
]


@pytest.mark.parametrize("error,at,times,becomes", [failure[1:] for failure in FAILURES], ids=[failure[0] for failure in FAILURES])
def test_what_the_database_refuses_is_tried_again_or_said(proxied, database, error, at, times, becomes):
    hub, proxy = proxied
    for n in range(rounds(1, 20)):
        for attempt in range(ATTEMPTS):
            changes = [Change("PUT", f"s{i}", {"h": f"10.{i}.{n}.{attempt + 1}"}) for i in range(8)]
            since, faults = hub.revision(), []
            together = send_at_once(hub, proxy, changes, lambda: faults.append(proxy.arm(at, error, times)))  # noqa: B023
            check_answers(changes, entries_since(database, since))
            if together:
                break
        assert faults and faults[0].happened.is_set(), "the error never came"
        assert {change.verdict for change in changes} == {becomes}
        wait_until(lambda: hub.put_silo("after", {"h": f"10.9.0.{n + 1}"}).status in (200, 201), 2 * SLOW, "the next change")  # noqa: B023


def test_one_change_that_the_database_does_not_take_spoils_no_other(proxied, database):
    hub, proxy = proxied
    database.sql("ALTER TABLE change_log ADD CONSTRAINT poison CHECK (subject <> 'poison')")
    met = 0
    for n in range(rounds(3, 50)):
        good = [Change("PUT", f"s{i}", {"h": f"10.{i}.0.{n + 1}"}) for i in range(12)]
        bad = Change("PUT", "poison", {"h": f"10.9.0.{n + 1}"}, expect=(500,), headers={"X-Changes": "nothing"})
        since = hub.revision()
        together = send_at_once(hub, proxy, good[:6] + [bad] + good[6:])
        check_answers(good, entries_since(database, since))
        assert bad.answer.status in ((500,) if together else (500, 503)) and "poison" not in bad.answer.json["detail"]
        assert not together or {change.verdict for change in good} == {"made"}
        assert hub.get("/silos/poison").status == 404
        met += together
    assert met, "they never came into one batch: this test showed nothing"


def test_a_row_that_the_database_lacks_spoils_no_other_change(proxied, database):
    hub, proxy = proxied
    met = 0
    for n in range(rounds(3, 50)):
        hub.put_silo("lacking", {"h": "10.9.0.1", "i": "10.9.0.2"})
        database.sql("DELETE FROM record WHERE silo = 'lacking' AND hostname = 'h'")
        good = [Change("PUT", f"s{i}", {"h": f"10.{i}.0.{n + 1}"}) for i in range(12)]
        bad = Change("PUT", "lacking", {"i": "10.9.0.2"})
        since = hub.revision()
        together = send_at_once(hub, proxy, good[:6] + [bad] + good[6:])
        check_answers([*good, bad], entries_since(database, since))
        assert bad.verdict == "refused" and (not together or {change.verdict for change in good} == {"made"})
        database.sql("INSERT INTO record VALUES ('lacking', 'h', '10.9.0.1')")
        met += together
    assert met, "they never came into one batch: this test showed nothing"


def test_nobody_sees_a_change_that_is_not_committed(proxied, database):
    hub, proxy = proxied
    hub.put_silo("a", {"h": "10.0.0.1"})
    with Follower(hub) as follower, concurrent.futures.ThreadPoolExecutor(1) as pool:
        wait_until(lambda: follower.silos == {"a": {"h": "10.0.0.1"}}, what="the watcher")
        hold = proxy.arm(at_commit, "hold")
        answer = pool.submit(hub.put_silo, "a", {"h": "10.0.0.2"})
        hold.wait()
        assert hub.get("/silos/a").json["dnsrecords"] == [{"hostname": "h", "ip": "10.0.0.1"}]
        assert follower.silos == {"a": {"h": "10.0.0.1"}} and not answer.done()
        hold.release()
        assert answer.result().status == 200
        wait_until(lambda: follower.silos == {"a": {"h": "10.0.0.2"}}, what="the watcher")
        follower.check()


def test_a_lone_change_is_not_delayed_to_fill_a_batch(make_hub, database):
    hub = make_hub(database, POLL="10s")
    times = []
    for n in range(30):
        started = time.monotonic()
        hub.put_silo("a", {"h": f"10.0.0.{n + 1}"})
        times.append(time.monotonic() - started)
    assert sorted(times)[15] < 0.025 * SLOW, times


def test_changes_that_change_nothing_write_nothing(proxied, database):
    hub, proxy = proxied
    tag = hub.put_silo("a", {"h": "10.0.0.1"}).headers["ETag"]
    hub.add_user("same", quota=3)
    proxy.passed.clear()
    changes = [Change("PUT", "a", {"h": "10.0.0.1"}, headers={"X-Changes": "nothing"}) for _ in range(20)]
    send_at_once(hub, proxy, changes)
    assert {change.answer.headers["ETag"] for change in changes} == {tag}
    hub.put("/users/same", {"quota": 3})
    hub.delete("/silos/missing")
    statements = {packet.sql.split()[0] for packet in proxy.passed if packet.part == 0 and packet.sql}
    assert statements <= {"SELECT", "START", "ROLLBACK"}, statements


def test_changes_that_the_database_keeps_waiting_are_answered_and_do_not_pile_up(make_hub, make_proxy, database):
    proxy = make_proxy(database)
    hub = make_hub(database, DB_PORT=proxy.port, DB_TIMEOUT="60s")
    assert hub.get("/silos").status == 200  # the password is known from now on
    before, answers, hold = hub.memory_kb(), [], proxy.arm(at_lock, "hold")

    def client(n):
        for i in range(20):
            answers.append(hub.put_silo(f"s{n}", {"h": f"10.{n}.0.{i + 1}"}))

    started = time.monotonic()
    threads = [threading.Thread(target=client, args=(n,)) for n in range(100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    seconds = time.monotonic() - started
    hold.release()
    assert len(answers) == 2000 and {(answer.status, answer.json["type"]) for answer in answers} == {(503, "urn:silodns:error:unavailable")}
    assert all(int(answer.headers["Retry-After"]) >= 1 for answer in answers)
    assert seconds < 15 * SLOW and hub.memory_kb() - before < 20_000 * SLOW
    wait_until(lambda: hub.put_silo("after", {"h": "10.0.0.1"}).status == 201, 5 * SLOW, "the next change")
    assert database.sql("SELECT id FROM silo") == [["after"]]
