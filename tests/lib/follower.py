"""A client of GET /watch that comes back whenever its stream ends, and watches over the order of what it is told."""

import http.client
import threading
import time

from tests.lib.watcher import Watcher

RETRY_SECONDS = 0.05  # the hub asks for more; a test has no time


class Follower:
    """`silos` is {silo: {hostname: ip}}, as told. `wrong` is what no client must ever see; `streams`, `resets` and `away` (seconds, the longest time
    between two streams) say what it has been through. `patient`: comes back when the hub says."""

    def __init__(self, hub, *names, patient=False):
        self.hub, self.names, self.patient = hub, names, patient
        self.wrong, self.streams, self.resets, self.away = [], 0, 0, 0
        self.lost = None
        self.newest = {}  # (identity, silo): revision
        self.since = self.identity = None
        self.stream = None
        self.done = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        known = {}
        while not self.done.is_set():
            try:
                self.stream = Watcher(self.hub, *self.names, since=self.since, identity=self.identity, known=known)
            except (OSError, http.client.HTTPException):
                self.done.wait(RETRY_SECONDS)
                continue
            if self.stream.status == 200:
                self.streams += 1
                while self.stream.thread.is_alive() and not self.done.is_set():
                    self.stream.thread.join(RETRY_SECONDS)
                    if self.lost and self.stream.told("synced"):
                        self.away, self.lost = max(self.away, time.monotonic() - self.lost), None
                self.lost = self.lost or time.monotonic()
                if self.patient:
                    self.done.wait((self.stream.retry or 0) / 1000)
            else:
                self.done.wait(RETRY_SECONDS)
            self._end(self.stream)
            known = self.stream.silos if self.since else {}

    def _end(self, stream):
        try:
            stream.close()
        except AssertionError as failure:
            self.wrong.append(str(failure))
        for event in stream.events:
            if event.kind == "reset":
                self.resets += 1
            if event.kind in ("reset", "synced"):
                self.identity = event.data["hub"]
            if event.kind in ("silo", "deleted"):
                key = self.identity, event.data["id"]
                if event.data["revision"] < self.newest.get(key, 0):
                    self.wrong.append(f"{event} after {self.newest[key]}")
                self.newest[key] = event.data["revision"]
        self.since = stream.last_id or self.since
        if not self.since:  # the next one tells everything
            self.newest = {key: revision for key, revision in self.newest.items() if key[0]}

    @property
    def silos(self):
        stream = self.stream
        told = dict(stream.silos) if stream else {}
        return {silo: {r["hostname"]: r["ip"] for r in document["dnsrecords"]} for silo, document in told.items() if "dnsrecords" in document}

    def close(self):
        self.done.set()
        self.thread.join(30)
        assert not self.thread.is_alive()

    def check(self):
        """At the end: what was told was in order."""
        self.close()
        assert not self.wrong, self.wrong[0]

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()
