"""A client of GET /watch: reads events in a thread of its own and keeps what it was told."""

import collections
import http.client
import json
import threading
import urllib.parse

from tests.lib.hub import ADMIN, basic
from tests.lib.waiting import wait_until

Event = collections.namedtuple("Event", "kind data id")


class Watcher:
    """One stream. `raw` has every line; `events` what was dispatched; `silos` what the events add up to."""

    def __init__(self, hub, *silos, auth=ADMIN, since=None, identity=None, headers=None, last_event=None, known=None, read=True):
        """`last_event`: a further way to say `since`, in the query. `known`: what the stream that this one continues has told."""
        query = [("silo", silo) for silo in silos]
        query += [("since", since)] if since is not None else []
        query += list((last_event or {}).items())
        query += [("hub", identity)] if identity is not None else []
        self.raw, self.events, self.silos, self.ended, self.went_back = [], [], dict(known or {}), False, []
        self.last_id, self.retry = "", None
        self.connection = hub.connect(timeout=60)
        sent = {"Authorization": auth if isinstance(auth, str) else basic(*auth)} | (headers or {})
        self.connection.request("GET", "/watch" + ("?" + urllib.parse.urlencode(query) if query else ""), headers=sent)
        self.answer = self.connection.getresponse()
        self.status, self.headers = self.answer.status, self.answer.headers
        self.thread = threading.Thread(target=self._read, daemon=True)
        if self.status == 200 and read:
            self.thread.start()

    def _read(self):
        kind, data, number = "message", [], self.last_id
        try:
            for line in self.answer:
                line = line.decode().rstrip("\n")
                self.raw.append(line)
                if line == "":
                    self.last_id = number  # not before: an event that is cut off was not received
                    if data:
                        self._dispatch(Event(kind, json.loads("\n".join(data)), self.last_id))
                    kind, data = "message", []
                elif not line.startswith(":"):
                    field, _, value = line.partition(": ")
                    if field == "id":
                        number = value
                    elif field == "event":
                        kind = value
                    elif field == "data":
                        data.append(value)
                    elif field == "retry":
                        self.retry = int(value)
        except (OSError, ValueError, AttributeError, http.client.HTTPException):
            pass
        self.ended = True

    def _dispatch(self, event):
        if event.kind == "reset":
            self.silos = {}
        if event.kind in ("silo", "deleted"):
            before = self.silos.get(event.data["id"], {}).get("revision", 0)
            if event.data["revision"] < before:
                self.went_back.append(event)
            self.silos[event.data["id"]] = event.data
        self.events.append(event)

    def told(self, kind):
        return [event.data for event in list(self.events) if event.kind == kind]

    def wait_synced(self, timeout=15):
        wait_until(lambda: self.told("synced"), timeout, f"synced; so far {self.events}")
        return self

    def wait_for(self, condition, timeout=15):
        wait_until(lambda: condition(self), timeout, f"what the watcher waits for; the last events: {self.events[-3:]}")

    def records(self, silo):
        """{hostname: ip}, or None where there is no such silo."""
        told = self.silos.get(silo)
        return {r["hostname"]: r["ip"] for r in told["dnsrecords"]} if told and "dnsrecords" in told else None

    def close(self):
        sock = self.answer.fp.raw._sock if self.answer.fp else None
        if sock:
            try:
                sock.shutdown(2)
            except OSError:
                pass
        if self.thread.is_alive():
            self.thread.join(10)
        self.connection.close()
        assert not self.went_back, f"a silo went back: {self.went_back[0]}"
