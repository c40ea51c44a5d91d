"""Clients under load that remember what they were told, and a look into the change log whether it was true."""

import collections
import http.client
import json
import threading

from tests.lib.waiting import wait_until

ACKNOWLEDGED, REFUSED, OPEN = "acknowledged", "refused", "open"
DELETE_EVERY = 8
Attempt = collections.namedtuple("Attempt", "client ip verdict revision")  # ip None: the silo was to be deleted; revision None: not told
RENEW_STEP = 10_000  # log_read.c: a history after a restored backup begins farther behind the lost one than this


class Ledger:
    """Each client writes ever new addresses into a silo of its own, through one of `hubs`, one after the other; with `deletes` it deletes the
    silo now and then, if its last change was acknowledged, so that no two deletions can be taken for each other.

    acknowledged: 200 or 201, with a revision, or 204. refused: the hub said that nothing was changed. open: no answer came, or the hub said that
    it does not know.
    """

    def __init__(self, *hubs, clients=8, keep_alive=False, deletes=False):
        self.hubs, self.keep_alive, self.deletes = hubs, keep_alive, deletes
        self.done = threading.Event()
        self.attempts = [[] for _ in range(clients)]
        self.unexpected = []
        self.threads = [threading.Thread(target=self._client, args=(n,), daemon=True) for n in range(clients)]
        for thread in self.threads:
            thread.start()

    @property
    def silos(self):
        return [f"c{client}" for client in range(len(self.attempts))]

    def _client(self, client):
        hub = self.hubs[client % len(self.hubs)]
        connection = hub.connect() if self.keep_alive else None
        verdict = OPEN
        for n in range(1, 65000):
            if self.done.is_set():
                break
            delete = self.deletes and n % DELETE_EVERY == 0 and verdict == ACKNOWLEDGED
            ip = None if delete else f"10.{client}.{n >> 8}.{n & 255}"
            try:
                if delete:
                    answer = hub.delete(f"/silos/c{client}", connection=connection)
                else:
                    answer = hub.put_silo(f"c{client}", {f"h{client}": ip}, connection=connection)
                verdict, revision = self._verdict(answer)
            except (OSError, http.client.HTTPException):
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
            return ACKNOWLEDGED, answer.revision
        if answer.status == 204:
            return ACKNOWLEDGED, None
        name = answer.json["type"].rsplit(":", 1)[1]
        if answer.status != 503 or name not in ("unavailable", "busy", "unknown-outcome"):
            self.unexpected.append(answer)
        elif name != "unknown-outcome" and int(answer.headers["Retry-After"] or 0) < 1:
            self.unexpected.append(answer)
        return (OPEN if name == "unknown-outcome" else REFUSED), None

    def count(self, verdict):
        return sum(attempt.verdict == verdict for attempts in self.attempts for attempt in list(attempts))

    def progress(self, changes=50, timeout=30):
        before = self.count(ACKNOWLEDGED)
        wait_until(lambda: self.count(ACKNOWLEDGED) >= before + changes, timeout, f"{changes} acknowledged changes")

    def progress_of_all(self, timeout=30):
        """Each client's next change but one: the first may have been on its way."""
        before = [sum(attempt.verdict == ACKNOWLEDGED for attempt in list(attempts)) for attempts in self.attempts]
        wait_until(lambda: all(sum(attempt.verdict == ACKNOWLEDGED for attempt in list(attempts)) >= count + 2
                               for attempts, count in zip(self.attempts, before, strict=True)), timeout, "two changes of every client")

    def mark(self):
        return [len(attempts) for attempts in self.attempts]

    def forget(self, since, until):
        """Between these two marks, history was replaced: what was acknowledged then may be gone."""
        for attempts, first, last in zip(self.attempts, since, until, strict=True):
            attempts[first:last + 1] = [attempt._replace(verdict=OPEN) for attempt in attempts[first:last + 1]]

    def settle(self):
        self.done.set()
        for thread in self.threads:
            thread.join(60)
            assert not thread.is_alive(), "a client got no answer within a minute"
        assert not self.unexpected, self.unexpected[0]

    def _entries(self, database):
        """What the log has, for each client in order: (ip or None, revision)."""
        found = [collections.deque() for _ in self.attempts]
        for revision, silo, document in database.sql("SELECT revision, subject, document FROM change_log "
                                                     "WHERE kind LIKE 'silo-%' AND subject LIKE 'c%' ORDER BY revision"):
            found[int(silo[1:])].append((json.loads(document)["dnsrecords"][0]["ip"] if document != "NULL" else None, int(revision)))
        return found

    def landed(self, database):
        """{(client, ip): revision} of the changes that the log has."""
        return {(client, ip): revision for client, entries in enumerate(self._entries(database)) for ip, revision in entries if ip}

    def check(self, database, hub=None, renewals=0):
        """`hub`: the only one whose memory is looked at; else each. `renewals`: how often a backup was restored."""
        assert self.count(ACKNOWLEDGED) > 0
        for attempts, entries in zip(self.attempts, self._entries(database), strict=True):
            for attempt in attempts:
                entry = entries[0] if entries else None
                if attempt.verdict == ACKNOWLEDGED:
                    assert entry and entry[0] == attempt.ip and attempt.revision in (None, entry[1]), f"{attempt} was acknowledged; the log says {entry}"
                if entry and entry[0] == attempt.ip and attempt.verdict != REFUSED:
                    entries.popleft()
            assert not entries, f"refused, never asked for, or twice in the log: {entries}"
        return check_agreement(database, *([hub] if hub else self.hubs), renewals=renewals)


def check_agreement(database, *hubs, renewals=0):
    """The log has no gap but where a backup was restored, the tables are what it makes of them, and every hub has that in memory. Returns {silo: {(hostname, ip)}}."""
    assert database.sql("SELECT MAX(revision) = (SELECT revision FROM hub) FROM change_log") == [["1"]]
    steps = database.sql("SELECT revision, step FROM (SELECT revision, revision - COALESCE(LAG(revision) OVER (ORDER BY revision), 0) AS step "
                         "FROM change_log) AS steps WHERE step <> 1")
    assert len(steps) <= renewals and all(int(step) > RENEW_STEP for _, step in steps), f"the log has gaps: {steps}"
    ((*counted,), (*there,)) = database.sql("SELECT accounts, silos, records, tokens FROM hub; SELECT (SELECT COUNT(*) FROM account), "
                                            "(SELECT COUNT(*) FROM silo), (SELECT COUNT(*) FROM record), (SELECT COUNT(*) FROM token)")
    assert counted == there, f"the hub's row has miscounted: {counted} accounts, silos, records and tokens are {there}"
    replayed, newest = {}, {}
    for revision, kind, silo, document in database.sql("SELECT revision, kind, subject, document FROM change_log "
                                                       "WHERE kind LIKE 'silo-%' ORDER BY revision"):
        replayed.pop(silo, None)
        if kind == "silo-put":
            replayed[silo], newest[silo] = pairs(json.loads(document)["dnsrecords"]), revision
    tables = {silo: set() for (silo,) in database.sql("SELECT id FROM silo")}
    for silo, hostname, ip in database.sql("SELECT silo, hostname, ip FROM record"):
        tables[silo].add((hostname, ip))
    assert tables == replayed, "the tables are not what the log makes of them"
    assert dict(database.sql("SELECT id, revision FROM silo")) == {silo: newest[silo] for silo in replayed}
    for hub in hubs:
        wait_until(lambda: hub.revision() == int(database.sql("SELECT revision FROM hub")[0][0]), what="the newest revision")  # noqa: B023
        assert {silo["id"]: pairs(silo["dnsrecords"]) for silo in hub.get("/silos").json} == tables, "memory is not what the tables are"
    return tables


def pairs(records):
    return {(record["hostname"], record["ip"]) for record in records}


def add_under_condition(hub, silo, n):
    """Adds the record h<n> as a well-behaved client does; returns how often somebody else was faster."""
    connection = hub.connect()
    conflicts = 0
    while True:
        read = hub.get(f"/silos/{silo}", connection=connection)
        records = read.json["dnsrecords"] + [{"hostname": f"h{n}", "ip": f"10.0.0.{n + 1}"}]
        answer = hub.put(f"/silos/{silo}", {"dnsrecords": records}, headers={"If-Match": read.headers["ETag"]}, connection=connection)
        if answer.status == 200:
            connection.close()
            return conflicts
        assert answer.status == 412, answer
        conflicts += 1


def add_log(database, count, at=1_000_000):
    """Entries that the hub has to take for changes that were made through another hub; of a silo that does not exist: they change nothing in any hub."""
    database.sql(f"START TRANSACTION; SELECT revision INTO @r FROM hub FOR UPDATE; INSERT INTO change_log (revision, batch, kind, subject, owner, former_owner, "
                 f"document, actor, peer, at) SELECT @r + seq, 1, 'silo-delete', 'nosuch', 1, 0, NULL, '', '', {at} FROM seq_1_to_{count}; "
                 f"UPDATE hub SET revision = revision + {count}; COMMIT")
