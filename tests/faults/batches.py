"""Changes that the hub takes into one transaction, and what must be true of each afterwards."""

import concurrent.futures
import contextlib
import json
import time

from tests.lib.waiting import wait_until

TOGETHER_WITHIN = 0.3  # seconds; a change is withdrawn after 0.9
ATTEMPTS = 20  # to have them come together
POLL = "identity"  # a word of the statement by which a hub looks for changes when nothing waits


def is_poll(packet):
    return packet.step is None and packet.part == 0 and packet.command == "execute" and POLL in packet.sql


class Change:
    """`expect`: statuses if it is made; `made` looks into the log's entries (kind, subject, document) whether it was."""

    def __init__(self, method, silo, records=None, headers=None, expect=(200, 201), user=None):
        self.method, self.silo, self.records, self.headers, self.expect = method, silo, records, headers, expect
        self.path, self.body = f"/silos/{silo}", {"dnsrecords": [{"hostname": h, "ip": ip} for h, ip in records.items()]} if records else None
        if user:
            self.path, self.body = f"/users/{silo}", user
        self.answer = self.seconds = None

    def send(self, hub):
        started = time.monotonic()
        self.answer = hub.request(self.method, self.path, self.body, headers=self.headers)
        self.seconds = time.monotonic() - started
        return self

    @property
    def verdict(self):
        if self.answer.status in self.expect:
            return "made"
        name = self.answer.json["type"].rsplit(":", 1)[1]
        assert self.answer.status == 503, self.answer
        assert name == "unknown-outcome" or int(self.answer.headers["Retry-After"]) >= 1
        return {"unavailable": "refused", "busy": "refused", "unknown-outcome": "open"}[name]


def send_at_once(hub, proxy, changes, then=lambda: None):
    """All into one transaction: the hub's thread is held at its poll until they are there, and `then` runs before it goes on. Returns whether they
    came together in time; if not, they are only sent."""
    assert hub.get("/silos").status == 200  # the password is known from now on
    hold = proxy.arm(is_poll, "hold")
    hold.wait()
    with concurrent.futures.ThreadPoolExecutor(len(changes)) as pool:
        sent = [pool.submit(change.send, hub) for change in changes]
        together = False
        with contextlib.suppress(AssertionError):
            together = wait_until(lambda: hub.metric("silodns_queue_changes") == len(changes), TOGETHER_WITHIN)
        if together:
            then()
        hold.release()
        for each in sent:
            each.result()
    return together


def entries_since(database, revision):
    """[(revision, batch, kind, subject, {hostname: ip} or None)]"""
    rows = database.sql(f"SELECT revision, batch, kind, subject, document FROM change_log WHERE revision > {revision} ORDER BY revision")
    return [(int(at), batch, kind, subject, None if document == "NULL" else {r["hostname"]: r["ip"] for r in json.loads(document)["dnsrecords"]})
            for at, batch, kind, subject, document in rows]


def check_answers(changes, entries):
    """Each answer is true of the log, and the log holds nothing else."""
    left = list(entries)
    for change in changes:
        kind = {"PUT": "silo-put", "DELETE": "silo-delete"}[change.method].replace("silo", "user" if "users" in change.path else "silo")
        found = [entry for entry in left if entry[2:4] == (kind, change.silo) and entry[4] == change.records]
        if change.verdict == "made":
            changed = change.answer.status in (200, 201, 204) and change.headers is None
            assert len(found) == changed, (change.path, change.answer, entries)
            if "ETag" in change.answer.headers and changed and kind == "silo-put":
                assert change.answer.headers["ETag"] == f'"{found[0][0]}"', (change.answer, found)
        elif change.verdict == "refused":
            assert not found, f"refused, but it stands in the log: {found}"
        for entry in found:
            left.remove(entry)
    assert not left, f"nobody asked for {left}"
