"""Schema, start and several hubs on one database."""

import concurrent.futures
import subprocess

import pytest

from tests.lib.answers import timed
from tests.lib.hub import ADMIN, REPO, SLOW, run_api
from tests.lib.ledger import Ledger, add_under_condition
from tests.lib.mariadb import Session, dump
from tests.lib.waiting import wait_until

pytestmark = pytest.mark.hub

MIGRATIONS = len(list((REPO / "db/migrations").glob("*.sql")))


def migrate(database):
    return run_api("migrate", settings=database.settings())


def schema(database):
    tables = [table for (table,) in database.sql("SHOW TABLES") if table != "schema_migration"]
    return {table: database.sql(f"SHOW CREATE TABLE {table}") for table in tables}


def test_migrate_brings_the_schema_up_to_date_once(database):
    first, second = migrate(database), migrate(database)
    assert (first.returncode, second.returncode) == (0, 0)
    assert first.stdout.startswith(f"{MIGRATIONS} migration") and second.stdout.startswith("0 migrations applied")


def test_migrations_run_at_once_are_applied_once(database):
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        done = list(pool.map(lambda _: migrate(database), range(6)))
    assert [each.returncode for each in done] == [0] * 6, [each.stderr for each in done]
    assert sum(int(each.stdout.split()[0]) for each in done) == MIGRATIONS
    assert database.sql("SELECT COUNT(*), COUNT(DISTINCT number) FROM schema_migration") == [[str(MIGRATIONS)] * 2]


def test_a_hub_that_waits_for_another_ones_migration_stops_at_once(make_hub, database):
    with Session(database.server, database.name) as other:
        other.sql(f"DO GET_LOCK('silodns.migrate.{database.name}', 0)")
        hub = make_hub(database, wait_ready=False)
        wait_until(lambda: database.sql(f"SELECT COUNT(*) FROM information_schema.processlist WHERE user = '{database.name}' AND info LIKE '%GET_LOCK%'") == [["1"]],
                   what="the wait")
        code, seconds = timed(hub.stop)
        assert code == 0 and seconds < 5 * SLOW


def test_a_migration_that_was_cut_off_is_simply_run_again(database):
    migrate(database)
    whole, identity = schema(database), database.sql("SELECT identity FROM hub")
    for tables in (["change_log"], ["record", "silo", "change_log"], ["record", "silo", "token", "account", "change_log"]):
        database.sql("DELETE FROM schema_migration; " + "; ".join(f"DROP TABLE {table}" for table in tables))
        assert migrate(database).returncode == 0
        assert schema(database) == whole and database.sql("SELECT identity FROM hub") == identity


def test_a_schema_of_a_newer_version_is_left_alone_and_said(make_hub, database):
    migrate(database)
    database.sql("INSERT INTO schema_migration (number, name) VALUES (9999, 'from_the_future')")
    done = migrate(database)
    assert done.returncode == 1 and "newer" in done.stderr
    hub = make_hub(database, wait_ready=False)
    wait_until(lambda: "newer" in hub.get("/readyz", auth=None).json["reason"], what="the reason")
    assert hub.put_silo("a", {"h": "192.0.2.1"}).status == 503
    assert database.sql("SELECT revision FROM hub") == [["0"]]


def test_what_an_earlier_version_wrote_is_kept(make_hub, database):
    first = (REPO / "db/migrations/0001_initial.sql").read_text()
    database.sql("CREATE TABLE schema_migration (number INT UNSIGNED NOT NULL PRIMARY KEY, name VARCHAR(128) CHARACTER SET ascii COLLATE ascii_bin NOT NULL, "
                 "applied TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP) ENGINE = InnoDB; INSERT INTO schema_migration (number, name) VALUES (1, '0001_initial'); " + first)
    database.sql("""INSERT INTO account VALUES (1, 'old', 'admin', 0, 'x', 1); INSERT INTO silo VALUES ('s', 1, 2); INSERT INTO record VALUES ('s', 'h', '192.0.2.1');
                 INSERT INTO change_log VALUES (1, 1, 'user-put', 'old', 1, 0, NULL, '', '', 1), (2, 2, 'silo-put', 's', 1, 0,
                 '{"id":"s","dnsrecords":[{"hostname":"h","ip":"192.0.2.1"}]}', 'old', '192.0.2.9', 2);
                 UPDATE hub SET revision = 2, accounts = 1, silos = 1, records = 1""")
    hub = make_hub(database)
    done = run_api("user", "add", "new", "--role=admin", settings={**database.settings(), "NEW_PASSWORD": ADMIN[1]})
    assert done.returncode == 0, done.stderr
    new = ("new", ADMIN[1])
    wait_until(lambda: hub.get("/silos", auth=new).status == 200, what="the new admin")
    assert hub.get("/silos/s", auth=new).json["dnsrecords"] == [{"hostname": "h", "ip": "192.0.2.1"}]
    assert [(entry["user"], entry["peer"]) for entry in hub.get("/silos/s/history", auth=new).json] == [("old", "192.0.2.9")]
    assert [(entry["change"], entry["new"] if "new" in entry else entry["added"]) for entry in hub.get("/audit?outcome=changed", auth=new).json[1:]] == [
        ("silo-put", [{"hostname": "h", "ip": "192.0.2.1"}]), ("user-put", None)], "of users it did not say what they were"


def test_hubs_that_start_at_once_on_an_empty_database_agree(make_hub, database):
    hubs = [make_hub(database, start=False) for _ in range(6)]
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda hub: hub.start(), hubs))
    assert len({hub.get("/readyz", auth=None).json["hub"] for hub in hubs}) == 1
    assert database.sql("SELECT COUNT(*) FROM schema_migration") == [[str(MIGRATIONS)]]
    assert database.sql("SELECT name, role FROM account") == [["admin", "admin"]]
    assert database.sql("SELECT kind, revision FROM change_log") == [["user-put", "1"]]


def test_the_admin_setting_makes_the_first_admin_only(make_hub, database):
    hub = make_hub(database)
    hub.stop()
    hub.settings["ADMIN_PASSWORD"] = "another-password"
    hub.secrets.add("another-password")
    hub.start()
    assert hub.get("/silos", auth=ADMIN).status == 200
    assert hub.get("/silos", auth=("admin", "another-password")).status == 401


def test_what_was_there_is_there_after_a_restart(make_hub, database):
    hub = make_hub(database)
    user = hub.add_user("stays", quota=1)
    hub.put_silo("a", {"h": "192.0.2.1", "g": "2001:db8::1"}, auth=user)
    before = [hub.get(path).body for path in ("/silos", "/users", "/readyz")], hub.get("/silos/a", auth=user).headers["ETag"]
    assert hub.stop() == 0
    hub.start()
    assert ([hub.get(path).body for path in ("/silos", "/users", "/readyz")], hub.get("/silos/a", auth=user).headers["ETag"]) == before


# ---- two hubs ----


@pytest.fixture
def two_hubs(make_hub, database):
    return make_hub(database), make_hub(database)


def test_a_change_through_one_hub_reaches_the_other_within_a_second(two_hubs):
    one, two = two_hubs
    for n in range(20):
        tag = one.put_silo("a", {"h": f"10.0.0.{n + 1}"}).headers["ETag"]
        _, seconds = timed(lambda: wait_until(lambda: two.get("/silos/a").headers["ETag"] == tag, what="the change"))  # noqa: B023
        assert seconds < 1 * SLOW
        one, two = two, one
    one.delete("/silos/a")
    wait_until(lambda: two.get("/silos/a").status == 404, what="the deletion")


def test_a_right_that_ends_on_one_hub_ends_on_the_other(two_hubs):
    one, two = two_hubs
    user = one.add_user("follows", quota=1)
    wait_until(lambda: two.get("/silos", auth=user).status == 200, what="the user")
    assert two.put_silo("f", {"h": "192.0.2.1"}, auth=user).status == 201
    one.put("/users/follows", {"password": "changed-password"})
    wait_until(lambda: two.get("/silos", auth=user).status == 401, what="the changed password")
    user = ("follows", "changed-password")
    one.put_silo("f", {"h": "192.0.2.1"}, auth=user)
    one.put("/silos/f?owner=admin", {"dnsrecords": []})
    wait_until(lambda: two.get("/silos/f", auth=user).status == 403, what="the new owner")
    one.delete("/users/follows")
    wait_until(lambda: two.get("/silos", auth=user).status == 401, what="the removal")


def test_a_write_sees_what_the_other_hub_has_committed_without_waiting_for_a_poll(make_hub, database):
    one, two = make_hub(database), make_hub(database, POLL="60s")
    for n in range(5):
        assert one.put_silo("a", {"h": f"10.0.0.{n + 1}"}, headers={"If-None-Match": "*"}).status == 201
        assert two.put_silo("a", {"h": "10.9.9.9"}, headers={"If-None-Match": "*"}).status == 412
        assert two.delete("/silos/a").status == 204


def test_writers_through_two_hubs_share_one_order(two_hubs, database):
    ledger = Ledger(*two_hubs)
    ledger.progress(400)
    ledger.settle()
    for hub in two_hubs:
        ledger.check(database, hub)


def test_writers_with_conditions_through_two_hubs_erase_nothing_of_each_other(two_hubs):
    two_hubs[0].put("/silos/shared", {"dnsrecords": []})
    wait_until(lambda: two_hubs[1].get("/silos/shared").status == 200, what="the silo")
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        conflicts = sum(pool.map(lambda n: add_under_condition(two_hubs[n % 2], "shared", n), range(40)))
    wait_until(lambda: two_hubs[0].revision() == two_hubs[1].revision(), what="the same revision")
    assert two_hubs[0].get("/silos/shared").body == two_hubs[1].get("/silos/shared").body
    assert {r["hostname"] for r in two_hubs[0].get("/silos/shared").json["dnsrecords"]} == {f"h{n}" for n in range(40)}
    assert conflicts, "the writers never met: this test showed nothing"


def notices(hub, before):
    """Whether the hub has seen that the database is another one. It need not, if nothing is wrong at that point."""
    try:
        wait_until(lambda: hub.get("/readyz", auth=None).body != before, 0.5 * SLOW)
        return True
    except AssertionError:
        return False


# A dump is restored table by table, in this order, and the hub polls all the time: wherever it looks, it must come to the whole.
@pytest.mark.parametrize("table", ["account", "change_log", "hub", "record", "schema_migration", "silo"])
@pytest.mark.parametrize("later", ["changed", "deleted", "users"])
def test_a_restored_backup_is_followed_to_its_end(two_hubs, database, table, later):
    one, two = two_hubs
    one.put_silo("a", {"h": "192.0.2.1"})
    identity = one.get("/readyz", auth=None).json["hub"]
    backup = dump(database)
    cut = backup.index(f"LOCK TABLES `{table}` WRITE".encode())  # the table is there, but empty
    if later == "changed":
        one.put_silo("a", {"h": "192.0.2.2"})
        one.put_silo("b", {"h": "192.0.2.3"})
    elif later == "deleted":
        one.delete("/silos/a")
    late = one.add_user("late")
    before, last = one.get("/readyz", auth=None).body, one.revision()
    restore = subprocess.Popen(["mariadb", "--no-defaults", "-uroot", f"-S{database.server.socket}", database.name], stdin=subprocess.PIPE)
    restore.stdin.write(backup[:cut])
    restore.stdin.flush()
    notices(one, before)
    restore.communicate(backup[cut:], 60)
    assert restore.returncode == 0
    for hub in (one, two):
        wait_until(lambda: hub.get("/readyz", auth=None).status == 200 and hub.revision() > last, what="the restored state")  # noqa: B023
        assert hub.get("/silos").json == [{"id": "a", "dnsrecords": [{"hostname": "h", "ip": "192.0.2.1"}]}]
        assert hub.get("/silos", auth=late).status == 401
        assert hub.get("/readyz", auth=None).json["hub"] != identity, "clients could not know that history was replaced"
    assert one.get("/readyz", auth=None).json["hub"] == two.get("/readyz", auth=None).json["hub"]
    # What names a state of the lost history names none of this one.
    assert one.put_silo("c", {"h": "192.0.2.4"}).revision > last
    assert database.sql("SELECT COUNT(*) FROM change_log WHERE revision > (SELECT revision FROM hub)") == [["0"]]


def test_after_a_restored_backup_changes_are_followed_by_the_log_again(make_hub, database):
    """The hub that has begun the new history holds no lock on it any more."""
    one = make_hub(database)
    one.put_silo("a", {"h": "192.0.2.1"})
    backup = dump(database)
    one.put_silo("a", {"h": "192.0.2.2"})
    last = one.revision()
    subprocess.run(["mariadb", "--no-defaults", "-uroot", f"-S{database.server.socket}", database.name], input=backup, check=True, timeout=60)
    wait_until(lambda: one.revision() > last, what="the restored state")
    two = make_hub(database)
    loads = []
    for n in range(3):
        tag = two.put_silo("a", {"h": f"192.0.2.{n + 3}"}).headers["ETag"]
        wait_until(lambda: one.get("/silos/a").headers["ETag"] == tag, what="the change")  # noqa: B023
        loads.append(one.log().count("state loaded"))
    assert loads[-1] == loads[0], "it loads everything for each change"


def test_a_new_user_has_the_id_that_the_database_gave_it(make_hub, database):
    database.sql("SET GLOBAL auto_increment_increment = 10, GLOBAL auto_increment_offset = 5")  # as a node of a cluster does
    try:
        hub = make_hub(database)
        users = {name: hub.add_user(name, quota=1) for name in ("first", "second")}
        for name, user in users.items():
            assert hub.put(f"/silos/of-{name}", {"dnsrecords": []}, auth=user).status == 201
    finally:
        database.sql("SET GLOBAL auto_increment_increment = DEFAULT, GLOBAL auto_increment_offset = DEFAULT")
    ids = dict(database.sql("SELECT name, id FROM account"))
    assert ids["second"] == str(int(ids["first"]) + 10)
    assert dict(database.sql("SELECT id, owner FROM silo")) == {f"of-{name}": ids[name] for name in users}
    assert dict(database.sql("SELECT subject, owner FROM change_log WHERE kind = 'user-put'")) == {name: ids[name] for name in ids}


def test_a_change_of_what_somebody_has_removed_is_refused(make_hub, database):
    hub = make_hub(database)
    hub.put_silo("a", {"h": "192.0.2.1", "i": "192.0.2.2"})
    hub.put_silo("b", {"h": "192.0.2.1"})
    database.sql("DELETE FROM record WHERE silo = 'a' AND hostname = 'h'; DELETE FROM silo WHERE id = 'b'")
    before = hub.get("/silos/a").json
    for records in ({"h": "192.0.2.3", "i": "192.0.2.2"}, {"h": "192.0.2.3", "i": "192.0.2.4"}, {"i": "192.0.2.2"}):  # one row, several, one to be deleted
        assert hub.put_silo("a", records).status == 503
    assert hub.delete("/silos/b").status == 503 and hub.get("/silos/b").status == 200
    assert hub.get("/silos/a").json == before
    assert database.sql("SELECT hostname, ip FROM record") == [["i", "192.0.2.2"]]
    database.sql("INSERT INTO record VALUES ('a', 'h', '192.0.2.1'); INSERT INTO silo SELECT 'b', owner, 1 FROM silo")
    assert hub.put_silo("a", {"h": "192.0.2.3", "i": "192.0.2.4"}).status == 200 and hub.delete("/silos/b").status == 204
    hub.check_memory()


def test_tables_changed_by_hand_are_refused_until_the_hubs_row_agrees(make_hub, database):
    hub = make_hub(database)
    hub.put_silo("a", {"h": "192.0.2.1", "i": "192.0.2.2"})
    hub.put_silo("b", {"h": "192.0.2.1"})
    hub.delete("/silos/b")
    assert database.sql("SELECT accounts, silos, records FROM hub") == [["1", "1", "2"]]
    hub.stop()
    database.sql("DELETE FROM record LIMIT 1")
    hub.start(wait_ready=False)
    wait_until(lambda: "Restoring a backup" in hub.get("/readyz", auth=None).json.get("reason", ""), what="the reason")
    statement = next(line.strip() for line in (REPO / "docs/database.md").read_text().splitlines() if line.startswith("    UPDATE hub SET accounts"))
    database.sql(statement)
    hub.wait_ready()
    assert len(hub.get("/silos/a").json["dnsrecords"]) == 1
