"""What a hub says, and what a test asks of it."""

import contextlib
import socket
import time

from tests.lib.hub import ADMIN, SLOW, basic
from tests.lib.waiting import wait_until


def records(*pairs):
    """As they stand in a document: (hostname, address) each, or one mapping of them; those with None have no address."""
    pairs = pairs[0].items() if pairs and isinstance(pairs[0], dict) else pairs
    return [{"hostname": hostname, "ip": ip} if ip else {"hostname": hostname} for hostname, ip in pairs]


def document(*pairs):
    return {"dnsrecords": records(*pairs)}


EMPTY = document()


def history(hub, silo, query="", **more):
    answer = hub.get(f"/silos/{silo}/history{query}", **more)
    assert answer.status == 200, answer
    return answer.json


def put_at_last(hub, silo, records):
    """A busy machine may refuse a change with 503."""
    wait_until(lambda: hub.put_silo(silo, records).status in (200, 201), 60 * SLOW, f"silo {silo}")


def problem(answer, status, name):
    assert answer.status == status, answer
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json["type"] == f"urn:silodns:error:{name}" and answer.json["status"] == status
    assert len(answer.json["detail"]) > 8
    return answer.json


def refused(answer, words="", status=403, name="forbidden"):
    said = problem(answer, status, name)
    assert words in said["detail"], said
    return said["detail"]


def unavailable(answer):
    problem(answer, 503, "unavailable")
    assert int(answer.headers["Retry-After"]) >= 1


def raw(hub, data, timeout=3):
    """Bytes in, bytes out, until the hub closes or says nothing more."""
    with socket.create_connection(("127.0.0.1", hub.port), timeout) as s:
        s.sendall(data)
        with contextlib.suppress(OSError):  # the hub may have refused and closed already
            s.shutdown(socket.SHUT_WR)
        answer = b""
        try:
            while chunk := s.recv(65536):
                answer += chunk
        except TimeoutError:  # the hub waits for the rest of a request, until its own time-out
            pass
        return answer


def get_request(path, lines=""):
    """The admin's GET as bytes. `lines`: further ones of its head."""
    return f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: {basic(*ADMIN)}\r\n{lines}\r\n".encode()


def deaf(hub, data):
    """A connection over which this was sent and of which nobody reads, with next to no room in the kernel."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.connect(("127.0.0.1", hub.port))
    sock.sendall(data)
    return sock


def timed(call):
    started = time.monotonic()
    answer = call()
    return answer, time.monotonic() - started
