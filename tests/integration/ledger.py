"""Clients under load that remember what they were told, and a look into the change log whether it was true."""

import collections
import json
import threading

from mariadb import wait_until

ACKNOWLEDGED, REFUSED, OPEN = "acknowledged", "refused", "open"
Attempt = collections.namedtuple("Attempt", "client ip verdict revision")


class Ledger:
    """Each client writes ever new addresses into a silo of its own, through one of `hubs`, one after the other.

    acknowledged: 200 or 201, with a revision. refused: the hub said that nothing was changed. open: no answer came, or the hub said that
    it does not know.
    """

    def __init__(self, *hubs, clients=8, keep_alive=False):
        self.hubs, self.keep_alive = hubs, keep_alive
        self.done = threading.Event()
        self.attempts = [[] for _ in range(clients)]
        self.unexpected = []
        self.threads = [threading.Thread(target=self._client, args=(n,)) for n in range(clients)]
        for thread in self.threads:
            thread.start()

    def _client(self, client):
        hub = self.hubs[client % len(self.hubs)]
        connection = hub.connect() if self.keep_alive else None
        for n in range(1, 65000):
            if self.done.is_set():
                break
            ip = f"10.{client}.{n >> 8}.{n & 255}"
            try:
                answer = hub.put_silo(f"c{client}", {"h": ip}, connection=connection)
                verdict, revision = self._verdict(answer)
            except OSError:
                verdict, revision = OPEN, None
                if connection:
                    connection.close()
            self.attempts[client].append(Attempt(client, ip, verdict, revision))
            if verdict != ACKNOWLEDGED:
                self.done.wait(0.02)
        if connection:
            connection.close()

    def _verdict(self, answer):
        if answer.status in (200, 201):
            return ACKNOWLEDGED, int(answer.headers["ETag"].strip('"'))
        name = answer.json["type"].rsplit(":", 1)[1]
        if answer.status != 503 or name not in ("unavailable", "busy", "unknown-outcome"):
            self.unexpected.append(answer)
        return (OPEN if name == "unknown-outcome" else REFUSED), None

    def count(self, verdict):
        return sum(attempt.verdict == verdict for attempts in self.attempts for attempt in list(attempts))

    def progress(self, changes=50, timeout=30):
        before = self.count(ACKNOWLEDGED)
        wait_until(lambda: self.count(ACKNOWLEDGED) >= before + changes, timeout, f"{changes} acknowledged changes")

    def settle(self):
        self.done.set()
        for thread in self.threads:
            thread.join(60)
            assert not thread.is_alive(), "a client got no answer within a minute"
        assert not self.unexpected, self.unexpected[0]

    def landed(self, database):
        """{(client, ip): revision} of the changes that the log has."""
        found = {}
        for revision, silo, document in database.sql("SELECT revision, subject, document FROM change_log "
                                                     "WHERE kind = 'silo-put' ORDER BY revision"):
            (record,) = json.loads(document)["dnsrecords"]
            assert (int(silo[1:]), record["ip"]) not in found, "one change stands in the log twice"
            found[int(silo[1:]), record["ip"]] = int(revision)
        return found

    def check(self, database, hub=None):
        landed = self.landed(database)
        assert self.count(ACKNOWLEDGED) > 0
        for attempts in self.attempts:
            last = 0
            for attempt in attempts:
                revision = landed.pop((attempt.client, attempt.ip), None)
                if attempt.verdict == ACKNOWLEDGED:
                    assert revision == attempt.revision, f"acknowledged, but the log says {revision}: {attempt}"
                if attempt.verdict == REFUSED:
                    assert revision is None, f"refused, but it stands in the log at {revision}: {attempt}"
                if revision:
                    assert revision > last, f"an older change of the same client came later: {attempt}"
                    last = revision
        assert not landed, f"nobody asked for {landed}"
        assert database.sql("SELECT COUNT(*) = MAX(revision), MAX(revision) = (SELECT revision FROM hub) "
                            "FROM change_log") == [["1", "1"]], "the log has a gap"
        self.check_memory(database, hub or self.hubs[0])

    def check_memory(self, database, hub):
        tables = dict(database.sql("SELECT silo, ip FROM record"))
        wait_until(lambda: hub.revision() == int(database.sql("SELECT revision FROM hub")[0][0]), what="the newest revision")
        assert {silo["id"]: silo["dnsrecords"][0]["ip"] for silo in hub.get("/silos").json} == tables
        assert dict(database.sql("SELECT subject, JSON_VALUE(document, '$.dnsrecords[0].ip') FROM change_log WHERE revision IN "
                                 "(SELECT MAX(revision) FROM change_log WHERE kind = 'silo-put' GROUP BY subject)")) == tables
