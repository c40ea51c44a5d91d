"""Limits of connections and of heads: each at its edge and one past it."""

import concurrent.futures
import contextlib
import http.client
import select
import socket
import subprocess
import sys
import time

import pytest

from tests.lib import needs
from tests.lib.answers import raw
from tests.lib.hub import ADMIN, SLOW, basic
from tests.lib.mariadb import free_port
from tests.lib.waiting import wait_until
from tests.lib.watcher import Watcher

pytestmark = pytest.mark.hub

# --- time -----------------------------------------------------------------------------------------------------------


HEAD = b"PUT /silos/slow HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n"
PING = b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\n"


def send_slowly(hub, seconds, start, end=b"", step=0.2):
    """`start`, then more of the same, byte by byte. None: it was cut off meanwhile; else the answer after `end`."""
    with socket.create_connection(("127.0.0.1", hub.port), 20) as sock:
        sock.sendall(start)
        while start.startswith(PING) and not sock.recv(4096).endswith(b'"PONG"}'):
            pass
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            try:
                sock.sendall(b"x")
            except OSError:
                return None
            if select.select([sock], [], [], step)[0]:
                return None
        sock.sendall(end)
        return sock.recv(4096)


@pytest.mark.parametrize("start", [b"GET /", HEAD + b"X: ", HEAD + b"\r\n", PING + b"GET /"], ids=["target", "header", "body", "second"])
def test_a_request_that_never_ends_is_cut_off_though_bytes_of_it_come(make_hub, database, start):
    hub = make_hub(database, IDLE_TIMEOUT="1s", REQUEST_TIMEOUT="1s")
    connection = hub.connect()
    with contextlib.closing(Watcher(hub)) as watcher, concurrent.futures.ThreadPoolExecutor(1) as pool:
        watcher.wait_synced()
        slow = pool.submit(send_slowly, hub, 20, start)
        while not slow.done():  # a connection on which requests do arrive goes on, however old it is, and so does a stream
            assert hub.get("/silos", connection=connection).status == 200
            time.sleep(0.1)
        assert slow.result() is None, "20 s, and bytes still come"
        hub.put_silo("a", {"h": "192.0.2.1"})
        watcher.wait_for(lambda watcher: "a" in watcher.silos)
        assert not watcher.ended


def test_a_request_that_takes_its_time_is_answered(make_hub, database):
    hub = make_hub(database, IDLE_TIMEOUT="1s", REQUEST_TIMEOUT="1h")
    assert send_slowly(hub, 4, HEAD + b"X: ", b"\r\n\r\n" + b"x" * 100).startswith(b"HTTP/1.1 401")


# --- connections ------------------------------------------------------------------------------------------------------


def served(hub, source, count, stack):
    """How many of so many connections are served."""
    answers = []
    for _ in range(count):
        connection = http.client.HTTPConnection("127.0.0.1", hub.port, timeout=20, source_address=(source, 0))
        stack.callback(connection.close)
        try:
            answers.append(hub.get("/ping", auth=None, connection=connection).status)
        except OSError:
            answers.append(None)
    return answers


def test_an_address_may_have_so_many_connections_and_one_more_is_closed_but_a_proxy_any_number(make_hub, database):
    hub = make_hub(database, MAX_CONNECTIONS_PER_ADDRESS=5, LIMIT_EXEMPT="127.0.0.1", TRUSTED_PROXIES="127.0.7.7")
    with contextlib.ExitStack() as stack:
        assert served(hub, "127.0.0.9", 7, stack) == [200] * 5 + [None] * 2
        assert served(hub, "127.0.0.10", 6, stack) == [200] * 5 + [None]
        assert served(hub, "127.0.7.7", 20, stack) == [200] * 20
        assert served(hub, "127.0.0.1", 20, stack) == [200] * 20
    with contextlib.ExitStack() as stack:
        wait_until(lambda: served(hub, "127.0.0.9", 1, stack) == [200], what="room again")


WATCH = """
import socket, sys
s = socket.create_connection((sys.argv[1], int(sys.argv[2])), 20)
s.sendall(f"GET /watch HTTP/1.1\\r\\nHost: x\\r\\nAuthorization: {sys.argv[3]}\\r\\n\\r\\n".encode())
while b"synced" not in s.recv(65536):
    pass
print("synced", flush=True)
sys.stdin.read()
"""


@needs.network
def test_a_watcher_that_has_vanished_without_a_word_is_gone_in_bounded_time(make_hub, database):
    ns, link = f"silodns-{free_port()}", f"sd{free_port()}"
    hub = make_hub(database, start=False, IDLE_TIMEOUT="1s")
    hub.settings["LISTEN"] = f"0.0.0.0:{hub.port}"

    def ip(*words):
        subprocess.run(["ip", *words], check=True)

    with contextlib.ExitStack() as stack:
        ip("netns", "add", ns)
        stack.callback(ip, "netns", "del", ns)
        ip("link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", ns)
        ip("addr", "add", "198.18.77.1/30", "dev", link)
        ip("link", "set", link, "up")
        ip("-n", ns, "addr", "add", "198.18.77.2/30", "dev", "eth0")
        ip("-n", ns, "link", "set", "eth0", "up")
        hub.start()
        client = subprocess.Popen(["ip", "netns", "exec", ns, sys.executable, "-c", WATCH, "198.18.77.1", str(hub.port), basic(*ADMIN)],
                                  stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        stack.callback(client.wait, 20)
        stack.callback(client.kill)
        assert client.stdout.readline() == "synced\n"
        assert hub.metric("silodns_watchers") == 1
        ip("-n", ns, "addr", "flush", "dev", "eth0")  # packets to it are lost from here on
        change = iter(range(1, 10_000))

        def is_gone():
            hub.put_silo("a", {"h": f"192.0.{(n := next(change)) >> 8}.{n & 255}"})
            return hub.metric("silodns_watchers") == 0

        wait_until(is_gone, 12 * SLOW, "the end of the watcher")


# --- heads ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", [b"/ping\0", b"/pi\0ng", b"/ping?\0", b"/\0"])
def test_a_raw_nul_in_the_target_is_400(shared_hub, target):
    answer = raw(shared_hub, b"GET " + target + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert answer.startswith((b"HTTP/1.1 400", b"HTTP/1.0 400")), answer[:200]


@pytest.mark.parametrize("count,status", [(72, 200), (73, 400)])
def test_a_query_has_so_many_parameters_and_no_more(shared_hub, count, status):
    query = "&".join(f"n{n}" for n in range(count - 1))
    assert shared_hub.get(f"/ip?explain&{query}", auth=None).status == status


@pytest.mark.parametrize("count,status", [(8, 412), (9, 400)])
def test_a_condition_names_so_many_tags_and_no_more(shared_hub, count, status):
    tags = ", ".join(f'"{n}"' for n in range(1_000_000, 1_000_000 + count))
    assert shared_hub.put_silo("tags", {"h": "192.0.2.1"}, headers={"If-Match": tags}).status == status


@pytest.mark.parametrize("most", [4096, 8192, 65536])
@pytest.mark.parametrize("name,status", [("X-Long", b"431"), ("target", b"414")])
def test_a_head_that_fits_is_read_and_one_that_does_not_is_refused(make_hub, database, name, status, most):
    hub = make_hub(database, MAX_HEADERS=most)
    for size, expected in ((most - 1192, b"200"), (most - 358, b""), (most, status), (10 * most, status)):
        target, header = ("/ip?x=" + "x" * size, "") if name == "target" else ("/ip", f"{name}: {'x' * size}\r\n")
        answer = raw(hub, f"GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{header}\r\n".encode())
        assert answer[9:12] == expected, answer[:200]
