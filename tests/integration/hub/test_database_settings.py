"""What a server's configuration says otherwise: limits that the hub must know, and settings that it must not depend on."""

import threading

import pytest

from tests.lib.dbproxy import DbProxy
from tests.lib.mariadb import Database
from tests.lib.processes import freeze, thaw
from tests.lib.waiting import wait_until

pytestmark = pytest.mark.hub

STRANGE = ("sql_select_limit = 1", "autocommit = 0", "sql_mode = 'ANSI_QUOTES,PAD_CHAR_TO_FULL_LENGTH'", "completion_type = 'CHAIN'",
           "tx_isolation = 'SERIALIZABLE'", "tx_read_only = 1", "max_statement_time = 0.000001", "sql_safe_updates = 1", "sql_auto_is_null = 1",
           "time_zone = '+11:00'", "character_set_client = 'latin1'", "character_set_connection = 'latin1'")


def test_no_default_of_the_server_makes_a_difference(own_mariadb, make_hub):
    database = Database(own_mariadb)
    for setting in STRANGE:
        own_mariadb.sql(f"SET GLOBAL {setting}")
    hub, other = make_hub(database), make_hub(database)
    for n in range(3):
        assert hub.put_silo(f"s{n}", {"h": "192.0.2.1", "i": "192.0.2.2"}).status == 201
    assert hub.put_silo("s0", {"h": "192.0.2.3"}).status == 200
    assert hub.delete("/silos/s1").status == 204
    assert other.put_silo("s2", {"h": "192.0.2.4"}).status == 200
    assert [len(made.get("/silos").json) for made in (hub, other, make_hub(database))] == [2, 2, 2]
    assert [entry["revision"] for entry in other.get("/silos/s0/history").json] == [5, 2]


def test_a_hub_that_is_slow_to_take_what_the_server_has_sent_loads_at_the_first_try(make_hub, database):
    other = make_hub(database)
    other.put_silo("a", {"h": "192.0.2.1"})
    assert other.stop() == 0
    proxy = DbProxy(database.server.port)
    try:
        hold = proxy.arm(lambda packet: packet.part == 1 and packet.sql.startswith("SELECT silo, hostname"), "hold")
        hub = make_hub(database, wait_ready=False, DB_PORT=proxy.port)
        hold.wait()
        [[connection]] = database.server.sql("SELECT trx_mysql_thread_id FROM information_schema.innodb_trx")  # cached: asked for once
        idle = f"SELECT COUNT(*) FROM information_schema.processlist WHERE id = {connection} AND command = 'Sleep' AND time >= 3"
        freeze(hub.process)
        hold.release()
        wait_until(lambda: database.server.sql(idle) == [["1"]], what="a transaction that is idle for longer than one that changes something may be")
        thaw(hub.process)
        hub.wait_ready()
        assert hub.get("/silos/a").json["dnsrecords"] and "database away" not in hub.log()
    finally:
        proxy.close()


def records(count):
    return {"dnsrecords": [{"hostname": f"h{n}." + ".".join(["a" * 60] * 3), "ip": f"2001:db8::{n:x}"} for n in range(1, count + 1)]}


def test_a_change_that_the_server_can_never_take_is_refused_by_the_settings_name(own_mariadb, make_hub):
    own_mariadb.sql("SET GLOBAL max_allowed_packet = 1048576")
    hub = make_hub(Database(own_mariadb), MAX_BODY=4 << 20)
    others = []
    small = threading.Thread(target=lambda: others.extend(hub.put_silo(f"s{n}", {"h": "192.0.2.1"}).status for n in range(20)))
    small.start()
    answer = hub.put("/silos/large", records(9000))
    small.join()
    assert answer.status == 413 and "max_allowed_packet" in answer.json["detail"], answer
    assert others == [201] * 20
    assert hub.log().count("connection lost") == 0 and hub.log().count("refused by the database") == 1
    assert hub.put("/silos/large", records(3000)).status == 201  # more than a packet in records, and less in the log
    own_mariadb.sql("SET GLOBAL max_allowed_packet = 16777216")
    assert hub.put("/silos/large", records(9000)).status == 413
    assert hub.put("/silos/large", records(9000)).status == 200, "the limit is looked at again"
