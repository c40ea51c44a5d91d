"""GET /watch of the fake hub: the Watch part of docs/http.md, and scripts of misbehaviour.

    hub.heartbeat, hub.retry             seconds between two comment lines; milliseconds that `retry:` says
    hub.forbid("a"), hub.allow("a")      the caller may not read it any more, or again
    hub.forget_deletions()               what was deleted so far cannot be told any more: older revisions get a reset
    hub.end_watches(retry=50)            all streams end in due form, each with a last `retry:`
    hub.cut_watches()                    all streams break
    hub.watching                         how many streams there are
    hub.watches = False                  an old hub, without /watch
    Scripted(path="/watch", stream=f)    the next stream is f's, which is called with a Stream; when it returns, the connection breaks
"""

import json
import threading


class Stream:
    """An answer that is sent piece by piece, chunked."""

    def __init__(self, handler, headers=None, status=200):
        self.handler, self.hub, self.over, self.last_retry = handler, handler.hub, threading.Event(), None
        handler.seen.status = status
        handler.send_response(status)
        for name, value in ({"Content-Type": "text/event-stream", "Cache-Control": "no-store"} | (headers or {})).items():
            handler.send_header(name, value)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        handler.close_connection = True

    def send(self, data):
        data = data.encode() if isinstance(data, str) else data
        if data:
            self.handler.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
            self.handler.wfile.flush()

    def event(self, kind, value, id=None):
        id_line = f"id: {id}\n" if id is not None else ""
        self.send(f"{id_line}event: {kind}\ndata: {value if isinstance(value, str) else json.dumps(value)}\n\n")

    def silo(self, silo_id, records, revision):
        records = [{"hostname": name, "ip": ip} for name, ip in records]
        self.event("silo", {"id": silo_id, "dnsrecords": records, "revision": revision}, revision)

    def synced(self, revision, hub="identity-1"):
        self.event("synced", {"hub": hub, "revision": revision}, revision)

    def end(self):
        self.handler.wfile.write(b"0\r\n\r\n")
        self.handler.wfile.flush()

    def hang(self, seconds=60):
        """Says nothing until the client goes."""
        self.handler.connection.settimeout(seconds)
        try:
            self.handler.connection.recv(1)
        except OSError:
            pass


class Watches:
    """What the fake hub has of it."""

    def __init__(self):
        self.identity, self.heartbeat, self.retry = "identity-1", 15, 100
        self.gone = {}  # id -> revision at which it was deleted
        self.forbidden = {}  # id -> revision
        self.watches = True
        self.oldest = 0  # revisions before this one cannot be continued from
        self.streams = set()

    @property
    def watching(self):
        with self.lock:
            return len(self.streams)

    def _bump(self):
        self.revision += 1
        self.lock.notify_all()
        return self.revision

    def forbid(self, silo_id):
        with self.lock:
            self.forbidden[silo_id] = self._bump()

    def allow(self, silo_id):
        with self.lock:
            del self.forbidden[silo_id]
            self.silos[silo_id] = (self._bump(), self.silos[silo_id][1])

    def forget_deletions(self):
        with self.lock:
            self.oldest, self.gone = self.revision, {}

    def end_watches(self, retry=None):
        with self.lock:
            for stream in self.streams:
                stream.last_retry = retry
                stream.over.set()
            self.lock.notify_all()

    def cut_watches(self):
        self._server.cut_connections()

    # ---- one stream ----

    def _now(self, silo_id):
        """(revision, event, value) of a silo, as it is."""
        if silo_id in self.forbidden:
            return self.forbidden[silo_id], "forbidden", {"id": silo_id}
        if silo_id in self.silos:
            revision, records = self.silos[silo_id]
            return revision, "silo", {"id": silo_id, "dnsrecords": records}
        return self.gone.get(silo_id, 0), "deleted", {"id": silo_id}

    def _newer(self, names, since):
        names = names or sorted(self.silos.keys() | self.gone.keys())
        return sorted((self._now(name) for name in names if self._now(name)[0] > since), key=lambda row: row[0])

    def watch(self, handler, query):
        stream = Stream(handler)
        with self.lock:
            self.streams.add(stream)
        try:
            self._tell(stream, query.get("silo"), query.get("since", [None])[0], query.get("hub", [""])[0])
        except OSError:
            pass
        finally:
            with self.lock:
                self.streams.discard(stream)

    def _tell(self, stream, names, since, identity):
        stream.send(f": silodns\nretry: {self.retry}\n\n")
        with self.lock:
            revision = self.revision
            known = since is not None and identity in ("", self.identity) and max(self.oldest, 1) <= int(since) <= revision
            events = self._newer(names, int(since) if known else 0)
            if not known:  # what was named and never was
                events += [(revision, "deleted", {"id": n}) for n in names or [] if self._now(n)[0] == 0]
        if since is not None and not known:
            stream.event("reset", {"hub": self.identity, "revision": revision}, 0)
        for at, kind, value in events:
            stream.event(kind, {"revision": at} | value, at if known else None)
        stream.synced(revision, self.identity)
        while not stream.over.is_set():
            with self.lock:
                if self.revision == revision:
                    self.lock.wait(self.heartbeat)
                events, before, revision = self._newer(names, revision), revision, self.revision
            for at, kind, value in events:
                stream.event(kind, {"revision": at} | value, at)
            if not events and not stream.over.is_set():
                stream.send(":\n" + (f"id: {revision}\n\n" if revision > before else ""))
        if stream.last_retry is not None:
            stream.send(f"retry: {stream.last_retry}\n\n")
        stream.end()
