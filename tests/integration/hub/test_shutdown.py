"""The hub's end: orderly by SIGTERM, at once by SIGKILL; no answer and no acknowledged change is lost."""

import concurrent.futures
import http.client
import json
import signal
import socket
import threading
import time

import pytest

from tests.lib.hub import ADMIN, SLOW, basic, make_token
from tests.lib.ledger import ACKNOWLEDGED, OPEN, Ledger
from tests.lib.mariadb import Database, log_locked, paused, revision_locked
from tests.lib.waiting import wait_until

pytestmark = pytest.mark.hub


def listens(hub):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", hub.port)) == 0


def half_sent(hub, silo):
    """A socket with a PUT on it whose body is not complete, and the rest of that."""
    body = json.dumps({"dnsrecords": [{"hostname": "h", "ip": "192.0.2.1"}]}).encode()
    sock = socket.create_connection(("127.0.0.1", hub.port), 20)
    head = f"PUT /silos/{silo} HTTP/1.1\r\nHost: x\r\nAuthorization: {basic(*ADMIN)}\r\nContent-Length: {len(body)}\r\n\r\n"
    sock.sendall(head.encode() + body[:10])
    return sock, body[10:]


def timed_stop(hub):
    started = time.monotonic()
    assert hub.stop() == 0, hub.log()[-2000:]
    return time.monotonic() - started


@pytest.mark.parametrize("keep_alive", [False, True], ids=["connection-each", "keep-alive"])
def test_sigterm_under_load_answers_every_change_that_it_makes(make_hub, database, keep_alive):
    hub = make_hub(database)
    ledger = Ledger(hub, clients=16, keep_alive=keep_alive)
    for _ in range(3):
        ledger.progress(300)
        assert hub.stop() == 0
        made = ledger.landed(database)
        hub.start()
        unanswered = [a for attempts in ledger.attempts for a in list(attempts) if a.verdict == OPEN and (a.client, a.ip) in made]
        assert not unanswered, "made, but never answered"
    ledger.settle()
    ledger.check(database)


def test_clients_that_keep_their_connection_are_told_that_it_ends(make_hub, database):
    hub = make_hub(database)
    lost, answered = [], []

    def client(n):
        connection = hub.connect()
        try:
            for i in range(60000):
                answer = hub.put_silo(f"t{n}", {"h": f"10.{n}.{i >> 8}.{i & 255}"}, connection=connection)
                answered.append(answer.status)
                if answer.headers.get("Connection") == "close":
                    return
        except OSError as failure:
            lost.append((n, failure))
        finally:
            connection.close()

    threads = [threading.Thread(target=client, args=(n,)) for n in range(16)]
    for thread in threads:
        thread.start()
    wait_until(lambda: len(answered) > 300, what="load")
    assert hub.stop() == 0
    for thread in threads:
        thread.join(20)
    assert not lost and set(answered) <= {200, 201, 503}


def test_a_request_that_is_half_sent_at_sigterm_is_answered(make_hub, database):
    hub = make_hub(database)
    sock, rest = half_sent(hub, "half")
    hub.signal(signal.SIGTERM)
    wait_until(lambda: not listens(hub), what="the port to be closed")
    assert hub.process.poll() is None
    sock.sendall(rest)
    answer = http.client.HTTPResponse(sock, method="PUT")
    answer.begin()
    assert answer.status == 201 and answer.headers["Connection"] == "close"
    answer.read()
    sock.close()
    assert hub.stop() == 0
    assert database.sql("SELECT silo, ip FROM record") == [["half", "192.0.2.1"]]


def test_a_change_that_waits_for_the_database_at_sigterm_is_answered(make_hub, database):
    hub = make_hub(database)
    answers = []
    with revision_locked(database):
        change = threading.Thread(target=lambda: answers.append(hub.put_silo("a", {"h": "192.0.2.1"})))
        change.start()
        wait_until(lambda: database.sql("SELECT COUNT(*) FROM information_schema.processlist WHERE db = DATABASE() AND "
                                        "id <> CONNECTION_ID() AND info LIKE 'UPDATE hub SET revision%'") != [["0"]], what="the wait")
        hub.signal(signal.SIGTERM)
        change.join(20)
    assert hub.stop() == 0
    assert [answer.status for answer in answers] == [503]
    assert database.sql("SELECT COUNT(*) FROM silo") == [["0"]]


def test_histories_that_wait_for_the_database_at_sigterm_are_answered(make_hub, database):
    hub = make_hub(database)
    hub.put_silo("a", {})
    with concurrent.futures.ThreadPoolExecutor(4) as pool, log_locked(database):
        answers = [pool.submit(hub.get, path) for path in ("/audit", "/silos/a/history", "/audit", "/silos/a/history")]
        hub.wait_requests(4)
        assert timed_stop(hub) < 10 * SLOW
        assert [answer.result().status for answer in answers] == [503] * 4


def test_a_client_that_never_finishes_holds_the_end_up_for_the_drain_time_only(make_hub, database):
    hub = make_hub(database, DRAIN_TIMEOUT="1s")
    sock, _ = half_sent(hub, "never")
    wait_until(lambda: hub.get("/ping", auth=None).status == 200)
    assert timed_stop(hub) < 4 * SLOW
    sock.close()


def test_connections_without_a_request_do_not_hold_the_end_up(make_hub, database):
    hub = make_hub(database)
    idle = [hub.connect() for _ in range(20)]
    for connection in idle[:10]:
        assert hub.get("/ping", auth=None, connection=connection).status == 200
    for connection in idle[10:]:
        connection.connect()
    assert timed_stop(hub) < 2 * SLOW
    for connection in idle:
        connection.close()


def test_sigint_is_an_orderly_end_too(make_hub, database):
    hub = make_hub(database)
    hub.signal(signal.SIGINT)
    assert hub.process.wait(20) == 0


def test_it_ends_soon_while_the_database_is_absent(own_mariadb, make_hub):
    database = Database(own_mariadb)
    own_mariadb.stop()
    hub = make_hub(database, wait_ready=False)
    assert timed_stop(hub) < 2 * SLOW


@pytest.mark.parametrize("used", [False, True], ids=["nothing-waits", "something-waits"])
def test_it_ends_soon_while_the_database_does_not_answer(own_mariadb, make_hub, used):
    hub = make_hub(Database(own_mariadb))
    # A time of use and a refused attempt, to be written at the end
    token = make_token(hub, "admin", "reader", verbs=["read"]) if used else None
    with paused(own_mariadb):
        hub.put_silo("a", {"h": "192.0.2.1"})
        for auth in (token, None) if used else ():
            hub.get("/silos", auth=auth)
        assert timed_stop(hub) < 5 * SLOW


def test_it_ends_soon_if_the_database_has_never_answered(own_mariadb, make_hub):
    database = Database(own_mariadb)
    with paused(own_mariadb):
        hub = make_hub(database, wait_ready=False, DB_TIMEOUT="1s")
        wait_until(lambda: "database away" in hub.log(), 30, "the first failure")
        assert timed_stop(hub) < 10


@pytest.mark.promise(1)
def test_a_hub_killed_under_load_loses_nothing_acknowledged(make_hub, database):
    hub = make_hub(database)
    ledger = Ledger(hub)
    for _ in range(4):
        ledger.progress()
        hub.kill()
        hub.start()
    ledger.progress()
    ledger.settle()
    assert ledger.count(ACKNOWLEDGED) > 200
    ledger.check(database)
