"""The hub changes from one node to another in the worst moment: with a COMMIT under way, or to a node that is behind."""

import concurrent.futures
import itertools
import time

import pytest

from tests.cluster.galera import PORT
from tests.cluster.network import HOME, SECOND_HOME
from tests.lib.dbproxy import DbProxy
from tests.lib.follower import Follower
from tests.lib.hub import Hub
from tests.lib.ledger import check_agreement
from tests.lib.mariadb import Session
from tests.lib.waiting import wait_until

DB_TIMEOUT = 1


def at_commit(packet):
    return packet.sql == "COMMIT" and packet.part == 0


def at_log_entry(packet):
    """A change's; not the one by which a commit in doubt is fenced off."""
    return packet.command in ("execute", "bulk") and packet.sql.startswith("INSERT INTO change_log") and "silo-delete" not in packet.sql and packet.part == 0


@pytest.fixture
def proxy(cluster):
    """The way to the first node."""
    proxy = DbProxy(PORT, cluster.nodes[0].address, listen=(HOME, PORT))
    yield proxy
    proxy.close()


@pytest.fixture
def other_way(cluster):
    """To the third node."""
    proxy = DbProxy(PORT, cluster.nodes[2].address, listen=(SECOND_HOME, PORT))
    yield proxy
    proxy.close()


@pytest.fixture
def hub(machines, database, proxy, other_way, tmp_path):
    """Knows the first node and the third, by these two ways."""
    machine = machines["hub1"]
    settings = database.settings() | {"DB_HOST": f"{HOME},{SECOND_HOME}", "DB_TIMEOUT": f"{DB_TIMEOUT}s"}
    hub = Hub(tmp_path, database, address=machine.address, wrapper=machine.wrapper, **settings).start()
    yield hub
    hub.finish()


@pytest.fixture
def other(machines, database, cluster, hub, tmp_path):
    """Knows the second node alone."""
    machine = machines["hub2"]
    other = Hub(tmp_path, database, address=machine.address, wrapper=machine.wrapper, **database.settings(cluster.nodes[1])).start()
    yield other
    other.finish()


def at_first_node(hub, proxy, counter=itertools.count(1)):  # noqa: B008
    """Waits until a change has gone this way."""
    def went():
        proxy.passed.clear()
        n = next(counter)
        return hub.put_silo("way", {"h": f"10.3.{n >> 8}.{n & 255}"}).status in (200, 201) and any(packet.sql == "COMMIT" for packet in list(proxy.passed))

    wait_until(went, 10, "the hub at its first node")


def test_a_commit_without_an_answer_is_looked_up_at_another_node(hub, other, proxy, database):
    """Committed at the first, and nobody said so: the third knows."""
    at_first_node(hub, proxy)
    fault = proxy.arm(lambda packet: packet.sql == "COMMIT" and packet.part == 1, "before")
    answer = hub.put_silo("a", {"h": "10.0.0.1"})
    assert fault.happened.is_set() and answer.status == 201, answer
    wait_until(lambda: other.get("/silos/a").status == 200, what="the change")
    assert 'outcome of an interrupted commit is known" landed=true' in hub.log()
    check_agreement(database, hub, other)


def test_a_commit_that_arrives_late_is_not_made_after_it_was_refused(hub, other, proxy, other_way, database, cluster):
    """It is on its way to the first node while the hub asks the third, is told that nothing has landed, and begins anew; there it is held up until the
    change's time is over, and it says that nothing was changed. Then the commit arrives."""
    first = cluster.nodes[0]
    at_first_node(hub, proxy)
    aborts = int(first.status("local_bf_aborts"))
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        commit, anew = proxy.arm(at_commit, "hold"), other_way.arm(at_log_entry, "hold")
        answer = pool.submit(hub.put_silo, "late", {"h": "10.0.0.1"})
        commit.wait()
        anew.wait()
        assert 'outcome of an interrupted commit is known" landed=false' in hub.log()
        verdict = answer.result()
        commit.release()
        wait_until(lambda: any(packet.sql == "COMMIT" and packet.part == 1 for packet in list(proxy.passed)), what="the first node's answer")
        anew.release()
    assert verdict.status == 503 and verdict.json["type"] == "urn:silodns:error:unavailable", verdict
    wait_until(lambda: hub.put_silo("next", {"h": "10.0.0.1"}).status == 201, what="the next change")  # the hub takes none until it is through with the last
    assert database.sql("SELECT COUNT(*) FROM change_log WHERE subject = 'late'") == [["0"]], "refused, and then made"
    assert int(first.status("local_bf_aborts")) > aborts, "the transaction was over before the COMMIT came: this showed nothing"
    check_agreement(database, hub, other)
    database.check_same()


def test_a_node_that_is_behind_is_no_restored_backup(hub, other, proxy, database, cluster):
    """Memory is ahead of what stands in that node: the hub waits until the node has caught up, and nobody is told that history was replaced."""
    third = cluster.nodes[2]
    at_first_node(hub, proxy)
    identity = hub.get("/readyz", auth=None).json["hub"]
    with Follower(hub) as follower, Session(third, database.name) as session:
        session.sql("SET SESSION wsrep_sync_wait = 0")
        session.sql("FLUSH TABLES WITH READ LOCK")  # nothing is applied any more
        for n in range(1, 21):
            assert other.put_silo("a", {"h": f"10.0.0.{n}"}).status in (200, 201)
        wait_until(lambda: hub.revision() == other.revision(), what="the changes")
        ((behind,),) = session.sql("SELECT revision FROM hub")
        assert int(behind) < hub.revision()
        proxy.close()
        wait_until(lambda: hub.get("/readyz", auth=None).status == 503, 10, "the hub to lose its node")
        time.sleep(2 * DB_TIMEOUT)  # in which it meets the third
        assert hub.get("/silos/a").json["dnsrecords"] == [{"hostname": "h", "ip": "10.0.0.20"}]
        session.sql("UNLOCK TABLES")
        wait_until(lambda: hub.put_silo("a", {"h": "10.0.0.99"}).status == 200, 15, "a change through the third node")
        wait_until(lambda: follower.silos.get("a") == {"h": "10.0.0.99"}, what="the watcher")
        follower.check()
        assert not follower.resets and not follower.wrong
    assert "does not continue what was in memory" not in hub.log()
    assert hub.get("/readyz", auth=None).json["hub"] == identity
    check_agreement(database, hub, other)
