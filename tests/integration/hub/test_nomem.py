"""Each allocation of a request fails in turn, alone or with all that follow: an error, never a crash or a leak, and the hub goes on as if nothing had been.

Those of the program's own code and of jansson (docs/testing.md).
"""

import contextlib
import http.client
import socket

import pytest

from tests.lib import nomem
from tests.lib.hub import ADMIN, SLOW, Hub, basic
from tests.lib.mariadb import Database
from tests.lib.waiting import wait_until

ALLOCATIONS_MAX = 600  # of one request: more would be a fault of the test


@contextlib.contextmanager
def running(mariadb, directory, **settings):
    database = Database(mariadb)
    memory = nomem.Memory(directory / "control")
    hub = Hub(directory, database, wrapper=memory.wrapper, POLL="1s", THREADS=2, LOG_LEVEL="info", **settings)
    hub.program, hub.memory = nomem.program("silodns-api"), memory
    hub.start()
    hub.put_silo("a", {"h1": "192.0.2.1", "h2": "2001:db8::2"})
    hub.put_silo("b", {"h3": "192.0.2.3"})
    hub.add_user("u")
    yield hub
    hub.finish()
    database.drop()


@pytest.fixture(scope="module")
def starved(mariadb, tmp_path_factory):
    with running(mariadb, tmp_path_factory.mktemp("nomem")) as hub:
        yield hub


def ask(hub, method, path, body=None):
    """The status; None if the hub closed the connection."""
    try:
        return hub.request(method, path, body).status
    except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError, http.client.IncompleteRead):
        return None


def watch(hub, path):
    """The status of a watch that tells everything; None if it ends before."""
    with socket.create_connection(("127.0.0.1", hub.port), timeout=20 * SLOW) as peer:
        peer.sendall(f"GET {path} HTTP/1.1\r\nHost: h\r\nAuthorization: {basic(*ADMIN)}\r\n\r\n".encode())
        answer = b""
        try:
            while b"event: synced" not in answer and not answer.startswith(b"HTTP/1.1 5"):
                more = peer.recv(65536)
                if not more:
                    return None
                answer += more
        except (ConnectionResetError, BrokenPipeError):
            return None
        return int(answer.split()[1])


def put_next(hub):
    """Another address each time, so that there is something to do; what was told to be there is there, to the letter."""
    hub.count = getattr(hub, "count", 0) + 1
    records = [{"hostname": "a-name-longer-than-a-buffer", "ip": f"192.0.2.{hub.count % 250 + 1}"},
               {"hostname": "a-name-longer-than-a-buffer-at-first.and-longer-still", "ip": "2001:db8:1234:5678:9abc:def0:1234:5678"}]
    status = ask(hub, "PUT", "/silos/a", {"dnsrecords": [*records, {"hostname": "h9"}]})
    hub.memory.fail(0)
    if status == 200:
        assert hub.get("/silos/a").json["dnsrecords"] == [*records, {"hostname": "h9", "ip": "127.0.0.1"}]
    return status


def patch_next(hub):
    hub.count = getattr(hub, "count", 0) + 1
    record = {"hostname": "a-name-that-is-patched", "ip": f"192.0.2.{hub.count % 250 + 1}"}
    status = ask(hub, "PATCH", "/silos/a", {"set": [record], "remove": [{"hostname": "none"}]})
    hub.memory.fail(0)
    if status == 200:
        assert record in hub.get("/silos/a").json["dnsrecords"]
    return status


def set_quota(hub):
    hub.count = getattr(hub, "count", 0) + 1
    return ask(hub, "PUT", "/users/u", {"quota": hub.count})


SCOPE = {"verbs": ["read", "update"], "silos": ["a", "b"], "hostnames": ["h1"], "family": 4, "networks": ["10.0.0.0/8", "127.0.0.0/8"],
         "expires": "2099-01-01T00:00:00.000000Z"}


def put_token(hub):
    """What was told to be there has every limit that was asked for."""
    unstarved(hub, lambda: hub.delete("/users/u/tokens/t").status in (204, 404))
    status = ask(hub, "PUT", "/users/u/tokens/t", SCOPE)
    hub.memory.fail(0)
    if status == 201:
        told = hub.get("/users/u/tokens/t").json
        assert {name: told.get(name) for name in SCOPE} == SCOPE, told
    return status


def unstarved(hub, prepare):
    """What a request needs before it is starved."""
    pending, failed = hub.pending, hub.memory.failed()
    hub.memory.fail(0)
    wait_until(prepare, 20 * SLOW, "what the request needs")
    hub.memory.fail(*pending)
    assert hub.memory.failed() == failed


def make_and_delete(hub):
    unstarved(hub, lambda: hub.put_silo("gone", {"x": "192.0.2.7"}).status in (200, 201))
    return ask(hub, "DELETE", "/silos/gone")


REQUESTS = {  # name: (what is asked, the status of success)
    "get": (lambda hub: ask(hub, "GET", "/silos/a"), 200),
    "get what is not there": (lambda hub: ask(hub, "GET", "/silos/none"), 404),
    "list": (lambda hub: ask(hub, "GET", "/silos?limit=1"), 200),
    "put": (put_next, 200),
    "put what is no silo": (lambda hub: ask(hub, "PUT", "/silos/a", '{"dnsrecords":[{"hostname":"-"}]}'), 422),
    "patch": (patch_next, 200),
    "delete": (make_and_delete, 204),
    "watch": (lambda hub: watch(hub, "/watch"), 200),
    "watch by name": (lambda hub: watch(hub, "/watch?silo=a&silo=none"), 200),
    "history": (lambda hub: ask(hub, "GET", "/silos/a/history?limit=2"), 200),
    "hosts": (lambda hub: ask(hub, "GET", "/silos/a/hosts"), 200),
    "users": (lambda hub: ask(hub, "GET", "/users"), 200),
    "user": (lambda hub: ask(hub, "GET", "/users/admin"), 200),
    "user put": (set_quota, 200),
    "token put": (put_token, 201),
    "tokens": (lambda hub: ask(hub, "GET", "/users/u/tokens"), 200),
    "audit": (lambda hub: ask(hub, "GET", "/audit?limit=4"), 200),
    "readyz": (lambda hub: ask(hub, "GET", "/readyz"), 200),
    "address": (lambda hub: ask(hub, "GET", "/ip?explain"), 200),
    "metrics": (lambda hub: ask(hub, "GET", "/metrics"), 200),
}


def starve_each(hub, name, lasting):
    """All statuses that came of it; how many allocations the request has."""
    send, success = REQUESTS[name]
    wait_until(lambda: send_well(hub, send) in (success, 201), 20 * SLOW, name)
    seen = set()
    for until in range(1, ALLOCATIONS_MAX):
        failed = hub.memory.failed()
        hub.pending = until, lasting
        hub.memory.fail(until, lasting)
        status = send(hub)
        hub.memory.fail(0)
        assert hub.process.poll() is None, f"allocation {until}: {hub.log()[-3000:]}"
        starved_now = hub.memory.failed() > failed
        assert status in (success, 201) or (starved_now and status in (None, 500, 503)), f"allocation {until}: {status}\n{hub.log()[-1500:]}"
        seen.add(status)
        if not starved_now:
            break
        wait_until(lambda: send_well(hub, send) in (success, 201), 20 * SLOW, f"{name} after allocation {until}")
    assert until > 1 and not starved_now, "it has allocations, and all have had their turn"
    hub.check_memory()
    wait_until(lambda: hub.metric("silodns_http_requests_in_progress") - hub.metric("silodns_watchers") == 1, 20 * SLOW, "the end of all requests")
    return seen


def send_well(hub, send):
    hub.pending = 0, False
    return send(hub)


@pytest.mark.seconds(120)
@pytest.mark.parametrize("name,lasting", [*((name, False) for name in REQUESTS), *((name, True) for name in ("put", "delete", "watch", "history", "tokens"))])
def test_a_request_without_memory_is_refused_and_nothing_else_happens(starved, name, lasting):
    starved.memory.of(*nomem.OWN)
    assert starve_each(starved, name, lasting) & {None, 500, 503}, "some of them have been needed"


def test_connections_for_whose_buffer_there_is_no_memory_do_not_count_for_ever(mariadb, tmp_path):
    """libmicrohttpd has said yes to them by then. One of its first allocations for a connection is the buffer's."""
    limits = {"MAX_CONNECTIONS": 16, "MAX_CONNECTIONS_PER_ADDRESS": 8, "LIMIT_EXEMPT": "none", "LIMIT_REQUESTS": 0}
    with running(mariadb, tmp_path, **limits) as hub:
        hub.memory.of("libmicrohttpd")
        for until in range(1, 6):
            for _ in range(16):
                failed = hub.memory.failed()
                hub.memory.fail(until)
                ask(hub, "GET", "/ping")
                hub.memory.fail(0)
                assert until > 3 or hub.memory.failed() > failed, f"allocation {until} of a connection"
        wait_until(hub.is_listening, what="room for another connection")
        assert ask(hub, "GET", "/silos/a") == 200
