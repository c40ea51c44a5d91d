"""A backup that comes back under a running hub, table by table: the hub tells of what was, and then of what the backup has, and of nothing in between."""

import contextlib
import itertools
import re

import pytest

from tests.lib import processes
from tests.lib.follower import Follower
from tests.lib.hub import REPO, SLOW, run_api
from tests.lib.mariadb import Database, dump
from tests.lib.waiting import wait_until
from tests.lib.watcher import Watcher


@pytest.fixture
def database(own_mariadb):  # of which the hub's questions are counted
    return Database(own_mariadb)


def looks(database):
    """Returns when a hub has looked at the database twice, from beginning to end, whether it liked what it saw or not."""
    def asked():
        return int(database.sql("SHOW GLOBAL STATUS LIKE 'Com_stmt_execute'")[0][1])
    before = asked()
    wait_until(lambda: asked() >= before + 20, what="the hub to look")


def steps(backup):
    """{table: what makes it anew, and what fills it}"""
    tables = re.findall(r"^(DROP TABLE IF EXISTS `(\w+)`;.*?)^LOCK TABLES .*?;$(.*?)^UNLOCK TABLES;$", backup.decode(), flags=re.MULTILINE | re.DOTALL)
    return {table: (made, filled) for made, table, filled in tables}


def step(database, statements):
    database.sql("SET foreign_key_checks = 0;\n" + statements)


def restore(hub, database, backup):
    """The whole; returns the newest revision that is lost by it."""
    last = hub.revision()
    step(database, "".join(made + filled for made, filled in backup.values()))
    wait_until(lambda: hub.revision() > last and hub.get("/readyz").status == 200, 10 * SLOW, "the restored state")
    return last


def told(hub):
    """The identity, and all that the hub says under it."""
    while True:
        before, *rest = (hub.get(path).json for path in ("/readyz", "/silos", "/users/u", "/readyz"))
        if rest.pop()["hub"] == before["hub"]:
            return before["hub"], rest


def change_address(hub):
    hub.put_silo("a", {"h": "192.0.2.2"})


def change_user(hub):
    hub.put("/users/u", {"quota": 7})


def change_all(hub):
    change_address(hub)
    change_user(hub)
    hub.delete("/silos/b")
    hub.put_silo("c", {"h": "192.0.2.1"})


@pytest.mark.parametrize("change, order", [(change_all, ("account", "change_log", "hub", "record", "silo", "token")),  # as a dump has them
                                           (change_all, ("token", "silo", "record", "hub", "change_log", "account")),
                                           (change_user, ("hub", "silo", "account", "token", "record", "change_log")),
                                           (change_address, ("hub", "silo", "account", "change_log", "token", "record")),
                                           (change_address, ("record", "silo", "account", "token", "change_log", "hub"))])
def test_half_a_backup_is_never_taken_for_the_hub(make_hub, database, change, order):
    hub = make_hub(database, POLL="10ms")
    hub.add_user("u", quota=5)
    for silo in "ab":
        hub.put_silo(silo, {"h": "192.0.2.1"})
    identity, then = told(hub)
    backup = steps(dump(database))
    change(hub)
    last, (_, now) = hub.revision(), told(hub)
    with Follower(hub) as everything, Follower(hub, "a", "b", "c") as named:
        for table, statements in itertools.product(order, (0, 1)):
            step(database, backup[table][statements])
            looks(database)
            name, said = told(hub)
            assert said == (now if name == identity else then), f"at {table}"
        wait_until(lambda: hub.get("/readyz").status == 200 and hub.revision() > last, 10 * SLOW, "the restored state")
        assert told(hub)[0] != identity and told(hub)[1] == then
        hub.check_memory()
        for follower in (everything, named):
            wait_until(lambda: "c" not in follower.silos and follower.silos.get("a") == {"h": "192.0.2.1"} and "b" in follower.silos)  # noqa: B023
            follower.check()


@pytest.mark.hub
def test_a_log_that_is_being_restored_is_not_one_with_old_entries_removed(make_hub, database):
    """Of two hubs one is behind when the log is made anew: what it misses is nowhere, and its watchers must not begin anew with half of a hub."""
    one, two = make_hub(database, POLL="10ms"), make_hub(database, POLL="10ms")
    one.put_silo("a", {"h": "192.0.2.1"})
    backup = steps(dump(database))
    one.put_silo("b", {"h": "192.0.2.1"})
    one.delete("/silos/b")
    identity, last = one.get("/readyz").json["hub"], one.revision()
    with Follower(two, "a", "b") as follower:
        wait_until(lambda: follower.silos.get("a") and two.revision() == last)
        processes.freeze(two.process)
        one.put_silo("a", {"h": "192.0.2.2"})
        step(database, backup["change_log"][0])
        processes.thaw(two.process)
        wait_until(lambda: two.get("/readyz").status == 503 or follower.stream.told("reset"), what="the gap to be noticed")
        assert "is a backup being restored?" in two.get("/readyz").json["reason"] and not follower.stream.told("reset")
        restore(two, database, backup)
        assert two.get("/readyz").json["hub"] != identity and told(two)[1][0] == [{"id": "a", "dnsrecords": [{"hostname": "h", "ip": "192.0.2.1"}]}]
        wait_until(lambda: follower.stream.told("reset") and follower.silos.get("a") == {"h": "192.0.2.1"})
        follower.check()


@pytest.mark.hub
def test_a_revision_that_a_restored_backup_has_lost_continues_nothing_though_nobody_says_whose_it_is(make_hub, database):
    hub = make_hub(database)
    hub.put_silo("a", {"h": "192.0.2.1"})
    backup = steps(dump(database))
    lost, begun = [hub.revision()], []
    for n in range(2):  # the second time, the backup is of a history that was replaced before
        hub.put_silo("a", {"h": f"192.0.2.{n + 2}"})
        lost.append(restore(hub, database, backup))
        begun.append(hub.revision())
        hub.put_silo("b", {"h": "192.0.2.1"})
        for _ in range(2):
            for more in [{"since": since} for since in lost] + [{"headers": {"Last-Event-ID": str(lost[-1])}}]:
                with contextlib.closing(Watcher(hub, **more)) as watcher:
                    assert [event.kind for event in watcher.wait_synced().events] == ["reset", "silo", "silo", "synced"], more
            with contextlib.closing(Watcher(hub, since=begun[-1])) as watcher:
                assert [event.kind for event in watcher.wait_synced().events] == ["silo", "synced"]
            hub.stop()
            hub.start()
    assert begun[0] > lost[1] and begun[1] > lost[2]


DOCUMENTED = next(line.strip() for line in (REPO / "docs/database.md").read_text().splitlines() if line.startswith("    UPDATE hub SET identity"))


@pytest.mark.hub
def test_a_history_far_ahead_of_its_log_is_taken(make_hub, database):
    """Where a history was replaced, or said to be another one by hand, the log's newest entry may be a million revisions back."""
    hub = make_hub(database, POLL="10ms")
    hub.put_silo("a", {"h": "192.0.2.1"})
    backup = steps(dump(database))
    hub.stop()
    database.sql(DOCUMENTED)
    hub.start()
    hub.put_silo("a", {"h": "192.0.2.2"})
    restore(hub, database, backup)
    assert hub.get("/silos/a").json["dnsrecords"][0]["ip"] == "192.0.2.1"
    identity, last = hub.get("/readyz").json["hub"], hub.revision()
    database.sql(DOCUMENTED)
    wait_until(lambda: hub.get("/readyz").json.get("hub", identity) != identity and hub.revision() > last, 10 * SLOW, "the step of docs/database.md")
    hub.put_silo("a", {"h": "192.0.2.3"})
    assert hub.log().count("does not continue what was in memory") == 2, "once for each history that is lost"
    hub.check_memory()


@pytest.mark.hub
def test_a_log_that_was_emptied_by_hand_keeps_no_hub_away(make_hub, database):
    one, two = make_hub(database, POLL="10ms"), make_hub(database, POLL="10ms")
    one.put_silo("a", {"h": "192.0.2.1"})
    wait_until(lambda: two.revision() == one.revision())
    with Follower(two) as follower:
        processes.freeze(two.process)
        one.put_silo("b", {"h": "192.0.2.1"})
        database.sql("DELETE FROM change_log")
        processes.thaw(two.process)
        wait_until(lambda: two.revision() == one.revision() and two.get("/readyz").status == 200, 20 * SLOW, "the hub that was behind")
        wait_until(lambda: "b" in follower.silos)
        identity = one.get("/readyz").json["hub"]
        database.sql("UPDATE hub SET identity = MD5(RANDOM_BYTES(16))")
        for hub in (one, two):
            wait_until(lambda: hub.get("/readyz").json.get("hub", identity) != identity, 20 * SLOW, "the other identity")  # noqa: B023
            hub.check_memory()
        assert one.put_silo("c", {"h": "192.0.2.1"}).status == 201
        wait_until(lambda: "c" in follower.silos)
        follower.check()


@pytest.mark.hub
def test_the_backup_of_an_empty_hub_is_taken(make_hub, database):
    run_api("migrate", settings=database.settings())
    backup = steps(dump(database))
    hub = make_hub(database, POLL="10ms")
    hub.put_silo("a", {"h": "192.0.2.1"})
    identity = hub.get("/readyz").json["hub"]
    for made, _ in backup.values():  # all tables are empty for a while, and the hub's row is not there
        step(database, made)
        looks(database)
    assert hub.get("/readyz", auth=None).status == 503
    for _, filled in backup.values():
        step(database, filled)
    wait_until(lambda: hub.get("/readyz", auth=None).json.get("hub", identity) != identity, 10 * SLOW, "the restored state")
    assert database.sql("SELECT revision > 10000, accounts FROM hub") == [["1", "0"]] and hub.get("/silos").status == 401


@pytest.mark.hub
def test_a_row_that_was_put_back_by_hand_is_said(make_hub, database):
    hub = make_hub(database, POLL="10ms")
    hub.put_silo("a", {"h": "192.0.2.1"})
    hub.put_silo("a", {"h": "192.0.2.2"})
    database.sql("UPDATE silo SET revision = revision - 1; " + DOCUMENTED)
    wait_until(lambda: "the row of a is not what the log says" in hub.get("/readyz").json.get("reason", ""), what="the reason")
    hub.stop()
    hub.start()
    assert 'subject=a' in hub.log() and hub.get("/silos/a").status == 200
    database.sql(DOCUMENTED)
    wait_until(lambda: hub.get("/readyz").status == 503, what="the doubt")
    database.sql("UPDATE silo SET revision = (SELECT revision FROM hub)")
    wait_until(lambda: hub.get("/readyz").status == 200, 10 * SLOW)
    hub.check_memory()
