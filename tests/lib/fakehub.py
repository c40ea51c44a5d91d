"""A tiny hub for tests of the clients: the silo part of docs/http.md, plus a script of misbehaviour.

    with FakeHub({"a": [{"hostname": "db", "ip": "192.0.2.7"}]}, user="u", password="p") as hub:
        hub.set("a", [...])                     # a new revision
        hub.delete("a")                         # 404 from now on
        hub.script.append(Scripted(status=503, headers={"Retry-After": "1"}))   # the next request gets this
        hub.rules.append(Scripted(status=403, path="/silos/a"))                 # every matching request gets this
        hub.requests                            # every request seen: .method .path .headers .body .status
        hub.wait_for_requests(3)

Scripted fields: status, body (bytes, str or object for JSON), headers, delay (seconds before the answer), drop (close
the connection without an answer), truncate (announce the body's length + n, then close), method and path (None = any),
before (called with the hub before the answer: change a silo between a client's read and its write), serve (True: after
delay and before, answer as usual), stream (an answer piece by piece: fakewatch.py, which also has /watch).
"""

import base64
import contextlib
import dataclasses
import http.server
import json
import re
import socket
import ssl
import threading
import time
import urllib.parse

from tests.lib.fakewatch import Stream, Watches


@dataclasses.dataclass
class Scripted:
    status: int = 200
    body: object = b""
    headers: dict = dataclasses.field(default_factory=dict)
    delay: float = 0
    drop: bool = False
    truncate: int = 0
    method: str | None = None
    path: str | None = None
    before: object = None
    serve: bool = False
    stream: object = None

    def matches(self, method, path):
        return self.method in (None, method) and self.path in (None, path)


@dataclasses.dataclass
class Request:
    method: str
    path: str
    headers: dict  # names in lower case
    body: bytes
    time: float
    status: int = 0  # 0: no answer was given
    query: dict = dataclasses.field(default_factory=dict)  # name -> [value, …]


def canonical(records):
    def key(record):
        address = record["ip"]
        return record["hostname"].lower(), ":" in address, address

    return sorted(({"hostname": r["hostname"].lower(), "ip": r["ip"]} for r in records), key=key)


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, *args):
        super().__init__(*args)
        self.open_sockets = set()

    def process_request(self, request, client_address):
        self.open_sockets.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request):
        self.open_sockets.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request, client_address):
        pass  # a client that went away is part of the tests

    def cut_connections(self):
        for connection in list(self.open_sockets):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


class FakeHub(Watches):
    def __init__(self, silos=None, user=None, password=None, token=None, my_ip=None, port=0):
        super().__init__()
        self.user, self.password, self.token, self.my_ip = user, password, token, my_ip
        self.revision = 0
        self.silos = {}  # id -> (revision, records)
        self.script, self.rules, self.requests = [], [], []
        self.lock = threading.Condition(threading.RLock())
        self._port = port
        self._server = None
        self.tls = None  # (certificate, key): files of a hub that speaks TLS
        for silo_id, records in (silos or {}).items():
            self.set(silo_id, records)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *exc):
        self.stop()

    def start(self):
        handler = type("Handler", (_Handler,), {"hub": self})
        self._server = _Server(("127.0.0.1", self._port), handler)
        if self.tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*self.tls)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self._port = self._server.server_address[1]  # the same one after stop() and start()
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def stop(self):
        if self._server:
            self._server.shutdown()
            self._server.server_close()
            self._server.cut_connections()  # else a kept-alive connection would still be served
            self._server = None

    @property
    def port(self):
        return self._port

    @property
    def url(self):
        return f"http{'s' * bool(self.tls)}://127.0.0.1:{self._port}"

    def set(self, silo_id, records):
        """Replaces the silo's records (list of {"hostname", "ip"} or (hostname, ip)); returns the revision."""
        with self.lock:
            records = [r if isinstance(r, dict) else {"hostname": r[0], "ip": r[1]} for r in records]
            self.silos[silo_id] = (self._bump(), canonical(records))
            self.gone.pop(silo_id, None)
            return self.revision

    def get(self, silo_id):
        with self.lock:
            return self.silos[silo_id][1]

    def delete(self, silo_id):
        with self.lock:
            self.gone[silo_id] = self._bump()
            del self.silos[silo_id]

    def seen(self, method=None, path=None):
        with self.lock:
            return [r for r in self.requests if method in (None, r.method) and path in (None, r.path)]

    def wait_for_requests(self, count, timeout=10, method=None, path=None):
        deadline = time.monotonic() + timeout
        with self.lock:
            while len(self.seen(method, path)) < count:
                left = deadline - time.monotonic()
                if left <= 0:
                    raise AssertionError(f"{len(self.seen(method, path))} requests of {count} within {timeout} s")
                self.lock.wait(left)
            return self.seen(method, path)

    def _take_scripted(self, method, path):
        with self.lock:
            for i, scripted in enumerate(self.script):
                if scripted.matches(method, path):
                    return self.script.pop(i)
            return next((rule for rule in self.rules if rule.matches(method, path)), None)

    def _authorized(self, headers):
        header = headers.get("authorization", "")
        if self.user is None and self.token is None:
            return True
        basic = f"{self.user}:{self.password}".encode()
        return (self.user is not None and header == "Basic " + base64.b64encode(basic).decode()) or (
            self.token is not None and header == "Bearer " + self.token
        )


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    hub: FakeHub

    def log_message(self, *args):
        pass

    def __getattr__(self, name):
        if name.startswith("do_"):
            return self._serve
        raise AttributeError(name)

    def _serve(self):
        hub, url = self.hub, urllib.parse.urlsplit(self.path)
        path, query = urllib.parse.unquote(url.path), urllib.parse.parse_qs(url.query)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {k.lower(): v for k, v in self.headers.items()}
        self.seen = Request(self.command, path, headers, body, time.monotonic(), query=query)
        with hub.lock:
            hub.requests.append(self.seen)
            hub.lock.notify_all()
        scripted = hub._take_scripted(self.command, path)
        if scripted:
            time.sleep(scripted.delay)
            if scripted.before:
                scripted.before(hub)
            if not scripted.serve:
                return self._scripted(scripted)
        if path == "/watch" and hub.watches and hub._authorized(headers):
            return hub.watch(self, query)
        with hub.lock:
            answer = self._answer(path, body)
        self._send(*answer)

    def _scripted(self, scripted):
        if scripted.drop:
            self.close_connection = True
            return
        if scripted.stream:
            with contextlib.suppress(OSError):
                scripted.stream(Stream(self, scripted.headers, scripted.status))
            return
        body = scripted.body
        if isinstance(body, str):
            body = body.encode()
        elif not isinstance(body, bytes):
            body = json.dumps(body).encode()
        self._send(scripted.status, body, {"Content-Type": "application/json"} | scripted.headers, scripted.truncate)

    def _send(self, status, body=b"", headers=None, truncate=0):
        self.seen.status = status
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        if status not in (204, 304):
            self.send_header("Content-Length", str(len(body) + truncate))
        self.end_headers()
        if status not in (204, 304):
            self.wfile.write(body)
        if truncate:
            self.close_connection = True

    def _json(self, status, value, headers=None):
        return status, json.dumps(value).encode(), {"Content-Type": "application/json"} | (headers or {})

    def _problem(self, status, name, detail, headers=None):
        value = {"type": "urn:silodns:error:" + name, "title": name, "status": status, "detail": detail}
        return status, json.dumps(value).encode(), {"Content-Type": "application/problem+json"} | (headers or {})

    def _answer(self, path, body):
        hub = self.hub
        if path == "/ip":
            return self._json(200, {"ip": hub.my_ip or self.client_address[0]})
        if not hub._authorized(self.seen.headers):
            challenge = {"WWW-Authenticate": 'Basic realm="silodns", charset="UTF-8"'}
            return self._problem(401, "unauthorized", "credentials missing or wrong", challenge)
        match = re.fullmatch(r"/silos/([A-Za-z0-9][A-Za-z0-9._-]{0,63})", path)
        if not match:
            return self._problem(404, "not-found", f"there is no {path}")
        methods = {"GET": self._get, "PUT": self._put}
        if self.command not in methods:
            return self._problem(405, "method", "no such method here", {"Allow": ", ".join(methods)})
        return methods[self.command](match[1], body)

    def _silo(self, status, silo_id):
        revision, records = self.hub.silos[silo_id]
        return self._json(status, {"id": silo_id, "dnsrecords": records}, {"ETag": f'"{revision}"'})

    def _get(self, silo_id, _body):
        if silo_id not in self.hub.silos:
            return self._problem(404, "not-found", f'there is no silo "{silo_id}"')
        tag = f'"{self.hub.silos[silo_id][0]}"'
        if self.seen.headers.get("if-none-match") == tag:
            return 304, b"", {"ETag": tag}
        return self._silo(200, silo_id)

    def _refused_condition(self, silo_id):
        known = self.hub.silos.get(silo_id)
        tag = f'"{known[0]}"' if known else None
        if_match, if_none_match = self.seen.headers.get("if-match"), self.seen.headers.get("if-none-match")
        if (if_match and if_match != tag and not (if_match == "*" and known)) or (if_none_match == "*" and known):
            return self._problem(412, "precondition", "the silo is another one", {"ETag": tag} if tag else {})
        return None

    def _put(self, silo_id, body):
        hub = self.hub
        refused = self._refused_condition(silo_id)
        if refused:
            return refused
        try:
            document = json.loads(body)
            records = document["dnsrecords"]
            records = [{"hostname": r["hostname"], "ip": r.get("ip", self.client_address[0])} for r in records]
        except (ValueError, KeyError, TypeError) as error:
            return self._problem(400, "malformed", str(error))
        if document.get("id", silo_id) != silo_id:
            return self._problem(422, "invalid", "id: not the path's")
        created = silo_id not in hub.silos
        if created or hub.silos[silo_id][1] != canonical(records):
            hub.set(silo_id, records)
        return self._silo(201 if created else 200, silo_id)
