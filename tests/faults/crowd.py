"""Thousands of connections that send one byte a second, or read nothing."""

import contextlib
import json
import multiprocessing
import selectors
import socket
import threading
import time

from tests.lib.hub import ADMIN, basic

CONNECT_STEP = 200  # connections at a time: not more than the kernel's backlog takes


class Crowd:
    """Keeps `count` connections; the n-th sends `text(n)`, one byte a second, for ever: what the hub closes is opened again.

    `answered` counts bytes that came back, `closed` the connections that the hub ended.
    """

    def __init__(self, hub, count, text):
        self.address, self.text = ("127.0.0.1", hub.port), text
        self.selector = selectors.DefaultSelector()
        self.sockets = {}  # socket: [number, bytes sent]
        self.closed = self.answered = self.rounds = 0
        self.done = threading.Event()
        for first in range(0, count, CONNECT_STEP):
            for number in range(first, min(first + CONNECT_STEP, count)):
                self._open(number)
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _open(self, number):
        sock = socket.create_connection(self.address, 20)
        sock.setblocking(False)
        self.sockets[sock] = [number, 0]
        self.selector.register(sock, selectors.EVENT_READ)

    def _drop(self, sock):
        self.selector.unregister(sock)
        number, _ = self.sockets.pop(sock)
        sock.close()
        self.closed += 1
        if not self.done.is_set():
            self._open(number)

    def _run(self):
        while not self.done.is_set():
            began = time.monotonic()
            for sock, state in list(self.sockets.items()):
                number, sent = state
                text = self.text(number)
                try:
                    sock.send(text[sent % len(text):][:1])
                    state[1] += 1
                except OSError:
                    self._drop(sock)
            self.rounds += 1
            while (left := began + 1 - time.monotonic()) > 0 and not self.done.is_set():
                for key, _ in self.selector.select(min(left, 0.1)):
                    try:
                        data = key.fileobj.recv(4096)
                    except OSError:
                        data = b""
                    self.answered += len(data)
                    if not data:
                        self._drop(key.fileobj)

    def close(self):
        self.done.set()
        self.thread.join(60)
        for sock in self.sockets:
            sock.close()
        self.selector.close()


def slow_request(number):
    """Of a request line, of headers without an end, of a body: by turns."""
    body = json.dumps({"dnsrecords": [{"hostname": "h", "ip": "192.0.2.1"}]}) + " " * 10_000
    head = f"PUT /silos/slow HTTP/1.1\r\nHost: h\r\nAuthorization: {basic(*ADMIN)}\r\n"
    return (f"GET /{'x' * 100_000}", head + "X-Slow: " + "x" * 100_000, head + f"Content-Length: {len(body)}\r\n\r\n{body}")[number % 3].encode()


def _keep_crowd(hub, count, text, come, go):
    crowd = Crowd(hub, count, text)
    come.set()
    go.wait()
    crowd.close()


@contextlib.contextmanager
def crowd_elsewhere(hub, count, text):
    """In a process of its own, so that it does not slow the clients that are looked at."""
    kind = multiprocessing.get_context("fork")
    come, go = kind.Event(), kind.Event()
    process = kind.Process(target=_keep_crowd, args=(hub, count, text, come, go))
    process.start()
    try:
        assert come.wait(60)
        yield
    finally:
        go.set()
        process.join(60)
        assert process.exitcode == 0
