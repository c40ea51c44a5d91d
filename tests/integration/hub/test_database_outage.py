"""The database is absent, killed, paused, locked or refuses: the hub says so, answers, and comes back by itself."""

import collections
import http.client
import itertools
import json
import select
import socket
import subprocess
import threading

import pytest

from tests.lib.answers import refused, timed, unavailable
from tests.lib.hub import ADMIN, SLOW, basic
from tests.lib.ledger import Ledger
from tests.lib.mariadb import Database, paused, revision_locked
from tests.lib.waiting import wait_until

pytestmark = pytest.mark.hub
QUEUE_MAX = 1024


def not_ready(hub):
    """The reason."""
    answer = hub.get("/readyz", auth=None)
    assert answer.status == 503 and answer.json["status"] == "unavailable" and answer.json["database"] == "down"
    return answer.json["reason"]


class Reader:
    """Reads one silo without a pause; remembers the slowest answer, and every one that was not as it should be."""

    def __init__(self, hub, path):
        self.hub, self.path, self.bad, self.slowest, self.reads = hub, path, [], 0, 0
        self.done = threading.Event()
        self.thread = threading.Thread(target=self._read)
        self.thread.start()

    def _read(self):
        connection = self.hub.connect()
        while not self.done.wait(0.001):
            try:
                answer, seconds = timed(lambda: self.hub.get(self.path, connection=connection))
            except OSError as failure:
                self.bad.append(failure)
                break
            self.reads, self.slowest = self.reads + 1, max(self.slowest, seconds)
            if answer.status != 200:
                self.bad.append(answer)
        connection.close()

    def check(self):
        self.done.set()
        self.thread.join()
        assert not self.bad and self.reads > 10, (self.reads, self.bad[:3])
        assert self.slowest < 0.5 * SLOW


@pytest.mark.promise(10)
def test_without_a_database_it_starts_says_so_and_recovers_by_itself(own_mariadb, make_hub):
    database = Database(own_mariadb)
    own_mariadb.stop()
    hub = make_hub(database, wait_ready=False)
    assert hub.get("/healthz", auth=None).status == 200
    assert len(not_ready(hub)) > 5
    for call in (lambda: hub.get("/silos"), lambda: hub.put("/silos/a", {"dnsrecords": []}), lambda: hub.get("/users")):
        answer, seconds = timed(call)
        unavailable(answer)
        assert seconds < 1
    assert hub.get("/ping", auth=None).status == hub.get("/ip", auth=None).status == 200
    own_mariadb.start()
    hub.wait_ready(10 * SLOW)
    assert hub.put_silo("a", {"h": "192.0.2.1"}).status == 201


def test_a_refused_password_and_a_missing_schema_are_said_and_recovered_from(own_mariadb, make_hub):
    database = Database(own_mariadb)
    own_mariadb.sql(f"SET PASSWORD FOR {database.name}@'%' = PASSWORD('something else')")
    hub = make_hub(database, wait_ready=False)
    wait_until(lambda: "ccess denied" in not_ready(hub), what="the reason")
    assert database.password not in not_ready(hub)
    unavailable(hub.put_silo("a", {"h": "192.0.2.1"}))
    own_mariadb.sql(f"SET PASSWORD FOR {database.name}@'%' = PASSWORD('{database.password}'); DROP DATABASE {database.name}")
    wait_until(lambda: database.name in not_ready(hub), what="the next reason")
    own_mariadb.sql(f"CREATE DATABASE {database.name}")
    hub.wait_ready(10 * SLOW)
    assert hub.put_silo("a", {"h": "192.0.2.1"}).status == 201


def test_while_the_database_is_away_reads_go_on_and_changes_are_refused_at_once(own_mariadb, make_hub):
    hub = make_hub(Database(own_mariadb))
    hub.put_silo("a", {"h": "192.0.2.1"})
    reader = Reader(hub, "/silos/a")
    own_mariadb.kill()
    wait_until(lambda: hub.get("/readyz", auth=None).status == 503, what="the outage to be noticed")
    assert not_ready(hub) and hub.get("/healthz", auth=None).status == 200
    for call in (lambda: hub.put_silo("a", {"h": "192.0.2.2"}), lambda: hub.delete("/silos/a"),
                 lambda: hub.put("/users/new", {"password": "a-users-password"}), lambda: hub.delete("/users/nobody")):
        answer, seconds = timed(call)
        unavailable(answer)
        assert seconds < 0.5 * SLOW
    assert hub.get("/silos/a").json["dnsrecords"] == [{"hostname": "h", "ip": "192.0.2.1"}]
    wait_until(lambda: int(hub.get("/silos/a").headers["Age"] or 0) >= 2, what="an answer that says how old it may be")
    own_mariadb.start()
    _, seconds = timed(lambda: hub.wait_ready(10 * SLOW))
    assert seconds < 2 * SLOW
    assert hub.get("/silos/a").headers["Age"] is None
    assert hub.put_silo("a", {"h": "192.0.2.2"}).status == 200
    reader.check()


def test_a_paused_database_counts_as_away_and_a_refused_change_never_happens(own_mariadb, make_hub):
    database = Database(own_mariadb)
    hub = make_hub(database)
    hub.put_silo("a", {"h": "192.0.2.1"})
    with paused(own_mariadb):
        reader = Reader(hub, "/silos/a")
        answer, seconds = timed(lambda: hub.put_silo("a", {"h": "192.0.2.2"}))
        unavailable(answer)
        assert seconds < 1.5 * SLOW
        assert not_ready(hub)
        answer, seconds = timed(lambda: hub.put_silo("a", {"h": "192.0.2.3"}))
        unavailable(answer)
        assert seconds < 0.5 * SLOW, "known to be away: refused at once"
        reader.check()
    wait_until(lambda: hub.put_silo("a", {"h": "192.0.2.4"}).status == 200, 10 * SLOW, "recovery")
    assert [ip for (ip,) in database.sql("SELECT JSON_VALUE(document, '$.dnsrecords[0].ip') FROM change_log "
                                         "WHERE kind = 'silo-put' ORDER BY revision")] == ["192.0.2.1", "192.0.2.4"]


def test_a_database_that_is_locked_by_somebody_else_is_waited_for_no_longer_than_a_second(make_hub, database):
    hub = make_hub(database)
    hub.put_silo("a", {"h": "192.0.2.1"})
    with revision_locked(database):
        reader = Reader(hub, "/silos/a")
        answer, seconds = timed(lambda: hub.put_silo("a", {"h": "192.0.2.2"}))
        unavailable(answer)
        assert seconds < 1.5 * SLOW
        reader.check()
    wait_until(lambda: hub.put_silo("a", {"h": "192.0.2.3"}).status == 200, 10 * SLOW, "recovery")
    assert database.sql("SELECT ip FROM record") == [["192.0.2.3"]]
    assert database.sql("SELECT COUNT(*) FROM change_log WHERE document LIKE '%192.0.2.2%'") == [["0"]]


class Put:
    """A change on its way: a connection on which all but the last byte is sent."""

    def __init__(self, hub, path, document):
        body = json.dumps(document)
        request = (f"PUT {path} HTTP/1.1\r\nHost: hub\r\nAuthorization: {basic(*ADMIN)}\r\n"
                   f"Content-Length: {len(body)}\r\n\r\n{body}").encode()
        self.socket = socket.create_connection(("127.0.0.1", hub.port), 20)
        self.socket.sendall(request[:-1])
        self.last = request[-1:]

    def finish(self):
        self.socket.sendall(self.last)

    def answer(self):
        """Its status and, of a problem, its name."""
        answer = http.client.HTTPResponse(self.socket)
        answer.begin()
        body = answer.read()
        self.socket.close()
        return answer.status, json.loads(body)["type"].rsplit(":", 1)[1] if answer.status >= 400 else None

    def has_answer(self):
        return bool(select.select([self.socket], [], [], 0)[0])


def put_silo(hub, n):
    return Put(hub, f"/silos/s{n}", {"dnsrecords": [{"hostname": "h", "ip": "192.0.2.1"}]})


def put_user(hub, n):
    return Put(hub, "/users/alice", {"quota": n})


def put_token(hub, n, names=itertools.count()):  # noqa: B008
    return Put(hub, f"/users/alice/tokens/t{next(names)}", {"verbs": ["read"]})


@pytest.mark.parametrize("put", [put_silo, put_user, put_token])
def test_changes_that_wait_hold_no_thread(make_hub, database, put):
    hub = make_hub(database, THREADS="2")
    hub.put_silo("read", {"h": "192.0.2.1"})
    hub.add_user("alice")
    for _ in range(10):  # on a busy machine the changes may have been given up before the reads began
        changes = [put(hub, n) for n in range(40)]
        readers = [hub.connect() for _ in range(8)]  # on each thread some
        with revision_locked(database):
            for change in changes:
                change.finish()
            assert {hub.get("/silos/read", connection=reader).status for reader in readers} == {200}
            waiting = sum(not change.has_answer() for change in changes)
            assert {change.answer()[0] for change in changes} <= {200, 201, 503}
        for reader in readers:
            reader.close()
        if waiting > 20:
            return
    raise AssertionError("reads were answered no sooner than changes that waited")


def test_more_changes_than_may_wait_are_refused_at_once(make_hub, database):
    hub = make_hub(database)
    hub.put_silo("known", {"h": "192.0.2.1"})
    for attempt in range(5):  # on a busy machine the first may have been given up before the last are sent
        there = len(hub.get("/silos").json)
        changes = [put_silo(hub, attempt * 10_000 + n) for n in range(QUEUE_MAX + 100)]
        with revision_locked(database):
            for change in changes:
                change.finish()
            answers = [change.answer() for change in changes]
        refused = collections.Counter(name for status, name in answers if status == 503)
        # One batch is with the writer: 256 at most wait no more. Who comes once the first were given up is told that nothing goes on.
        assert refused["busy"] <= 100, refused
        assert all(status in (201, 503) for status, _ in answers)
        assert sum(status == 201 for status, _ in answers) == len(hub.get("/silos").json) - there
        # That the database did not answer is remembered until something has gone through.
        wait_until(lambda: hub.put_silo("known", {"h": f"192.0.2.{attempt + 2}"}).status == 200, what="a change that goes through")  # noqa: B023
        if refused["busy"]:
            return
    raise AssertionError(refused)


def test_a_connection_cut_by_the_database_harms_no_change(own_mariadb, make_hub):
    database = Database(own_mariadb)
    hub = make_hub(database)
    ledger = Ledger(hub)
    for _ in range(10):
        ledger.progress(20)
        for (session,) in own_mariadb.sql(f"SELECT id FROM information_schema.processlist WHERE user = '{database.name}'"):
            subprocess.run(own_mariadb.client(f"KILL {session}"), stderr=subprocess.DEVNULL, check=False)
    ledger.progress()
    ledger.settle()
    ledger.check(database)
