"""The connection to the database breaks in the middle of COMMIT: the hub finds out what happened before it answers."""

import concurrent.futures

import pytest

from tests.integration.hub.test_audit import refusals
from tests.lib.dbproxy import DbProxy
from tests.lib.waiting import wait_until

pytestmark = pytest.mark.hub


def commit(packet):
    return packet.sql == "COMMIT" and packet.part == 0


def outcome(packet):
    """MariaDB's answer: it has committed."""
    return packet.sql == "COMMIT" and packet.part == 1


WHERE = {"before": commit, "after": outcome}


@pytest.fixture
def proxied(make_hub, database):
    proxy = DbProxy(database.server.port)
    hub = make_hub(database, DB_PORT=proxy.port)
    yield hub, proxy
    proxy.close()


@pytest.mark.parametrize("how", ["before", "after"])
def test_a_change_whose_commit_was_cut_is_answered_by_what_really_happened(proxied, database, how):
    hub, proxy = proxied
    hub.put_silo("a", {"h": "10.0.0.1"})
    for n in range(2, 7):
        start = hub.revision()
        fault = proxy.arm(WHERE[how], "before")
        answer = hub.put_silo("a", {"h": f"10.0.0.{n}"})
        fault.wait()
        assert answer.status == 200, answer
        assert answer.headers["ETag"] == f'"{start + 1}"'
        assert database.sql("SELECT ip FROM record WHERE silo = 'a'") == [[f"10.0.0.{n}"]]
        assert database.sql("SELECT MAX(revision), COUNT(*) FROM change_log") == [[str(start + 1)] * 2], "happened once"
        wait_until(lambda: hub.get("/silos/a").json["dnsrecords"][0]["ip"] == f"10.0.0.{n}", what="the change in memory")  # noqa: B023
    landed = [line for line in hub.log().splitlines() if "the outcome of an interrupted commit is known" in line]
    assert len(landed) == 5 and all(f"landed={'true' if how == 'after' else 'false'}" in line for line in landed)


@pytest.mark.parametrize("how", ["before", "after"])
def test_a_whole_batch_is_settled_together(proxied, database, how):
    hub, proxy = proxied
    faults = []

    def write(n):
        connection = hub.connect()
        for i in range(30):
            if n == 0 and i % 5 == 4:
                faults.append(proxy.arm(WHERE[how], "before"))
            answer = hub.put_silo(f"s{n}", {"h": f"10.{n}.0.{i + 1}"}, connection=connection)
            assert answer.status in (200, 201), answer
        connection.close()

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(8)))
    assert sum(fault.happened.is_set() for fault in faults) >= 3
    for n in range(8):
        assert database.sql(f"SELECT ip FROM record WHERE silo = 's{n}'") == [[f"10.{n}.0.30"]]
        assert hub.get(f"/silos/s{n}").json["dnsrecords"] == [{"hostname": "h", "ip": f"10.{n}.0.30"}]
    assert database.sql("SELECT COUNT(*) = MAX(revision) FROM change_log") == [["1"]]
    assert database.sql("SELECT COUNT(*) FROM change_log WHERE kind = 'silo-put'") == [[str(8 * 30)]]


@pytest.mark.parametrize("how", ["before", "after"])
def test_a_refused_attempt_whose_commit_was_cut_is_in_the_audit_and_not_lost(proxied, how):
    hub, proxy = proxied
    fault = proxy.arm(WHERE[how], "before")
    assert hub.get("/silos", auth=None).status == 401
    fault.wait()
    (refusal,) = refusals(hub)
    assert refusal["count"] == 1 or how == "after", "what has landed may be counted twice"
    assert hub.metric("silodns_audit_lost_total") == 0
