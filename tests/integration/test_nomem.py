"""Each allocation of a request fails in turn: an error, never a crash or a leak, and the hub goes on as if nothing had been.

Those of the program's own code and of jansson, that is (tests/nomem/nomem.c). What Ulfius and libmicrohttpd allocate is theirs to survive.
"""

import http.client
import mmap
import os
import socket
import struct

import pytest
from hub import ADMIN, BUILD, SLOW, Hub, basic
from mariadb import Database, wait_until

ALLOCATIONS_MAX = 600  # of one request: more would be a fault of the test


class Memory:
    """The hub's side is in tests/nomem/nomem.c."""

    def __init__(self, path):
        path.write_bytes(bytes(16))
        with open(path, "r+b") as file:
            self.numbers = mmap.mmap(file.fileno(), 16)

    def fail(self, until):
        """The allocation after so many from now; none from now on, if it is 0."""
        struct.pack_into("q", self.numbers, 0, until)

    def failed(self):
        return struct.unpack_from("q", self.numbers, 8)[0]


@pytest.fixture(scope="module")
def starved(mariadb, tmp_path_factory):
    program = BUILD / "tests/nomem/silodns-api"
    assert program.exists(), "make nomem-build"
    directory = tmp_path_factory.mktemp("nomem")
    os.environ["NOMEM_CONTROL"] = str(directory / "control")
    database = Database(mariadb)
    hub = Hub(directory, database, POLL="1s", THREADS=2, LOG_LEVEL="info")
    hub.program = program
    hub.memory = Memory(directory / "control")
    hub.start()
    hub.put_silo("a", {"h1": "192.0.2.1", "h2": "2001:db8::2"})
    hub.put_silo("b", {"h3": "192.0.2.3"})
    hub.add_user("u")
    yield hub
    hub.finish()
    database.drop()
    del os.environ["NOMEM_CONTROL"]


def ask(hub, method, path, body=None):
    """The status; None if the hub closed the connection."""
    try:
        return hub.request(method, path, body).status
    except (http.client.RemoteDisconnected, ConnectionResetError, http.client.IncompleteRead):
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
        except ConnectionResetError:
            return None
        return int(answer.split()[1])


def put_next(hub):
    """Another address each time, so that there is something to do."""
    hub.count = getattr(hub, "count", 0) + 1
    return ask(hub, "PUT", "/silos/a", {"dnsrecords": [{"hostname": "h1", "ip": f"192.0.2.{hub.count % 250 + 1}"}, {"hostname": "h9"}]})


def set_quota(hub):
    hub.count = getattr(hub, "count", 0) + 1
    return ask(hub, "PUT", "/users/u", {"quota": hub.count})


def make_and_delete(hub):
    """Only the deletion is starved."""
    until, failed = hub.pending, hub.memory.failed()
    hub.memory.fail(0)
    wait_until(lambda: hub.put_silo("gone", {"x": "192.0.2.7"}).status in (200, 201), 20 * SLOW, "a silo to delete")
    hub.memory.fail(until)
    assert hub.memory.failed() == failed
    return ask(hub, "DELETE", "/silos/gone")


REQUESTS = {  # name: (what is asked, the status of success)
    "get": (lambda hub: ask(hub, "GET", "/silos/a"), 200),
    "get what is not there": (lambda hub: ask(hub, "GET", "/silos/none"), 404),
    "list": (lambda hub: ask(hub, "GET", "/silos?limit=1"), 200),
    "put": (put_next, 200),
    "put what is no silo": (lambda hub: ask(hub, "PUT", "/silos/a", '{"dnsrecords":[{"hostname":"-"}]}'), 422),
    "delete": (make_and_delete, 204),
    "watch": (lambda hub: watch(hub, "/watch"), 200),
    "watch by name": (lambda hub: watch(hub, "/watch?silo=a&silo=none"), 200),
    "history": (lambda hub: ask(hub, "GET", "/silos/a/history?limit=2"), 200),
    "hosts": (lambda hub: ask(hub, "GET", "/silos/a/hosts"), 200),
    "users": (lambda hub: ask(hub, "GET", "/users"), 200),
    "user": (lambda hub: ask(hub, "GET", "/users/admin"), 200),
    "user put": (set_quota, 200),
    "metrics": (lambda hub: ask(hub, "GET", "/metrics"), 200),
}


@pytest.mark.seconds(120)
@pytest.mark.parametrize("name", REQUESTS)
def test_a_request_without_memory_is_refused_and_nothing_else_happens(starved, name):
    hub, (send, success) = starved, REQUESTS[name]
    wait_until(lambda: send_well(hub, send) in (success, 201), 20 * SLOW, name)
    seen = set()
    for until in range(1, ALLOCATIONS_MAX):
        failed = hub.memory.failed()
        hub.pending = until
        hub.memory.fail(until)
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
    assert seen & {None, 500, 503}, "some of them have been needed"
    hub.check_memory()


def send_well(hub, send):
    hub.pending = 0
    return send(hub)
