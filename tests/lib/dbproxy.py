"""Stands between a hub and MariaDB, knows which statement is passing, and does harm at one packet of choice.

A packet of MariaDB's protocol is three bytes of length, one of sequence, and the payload; a command begins at sequence 0. The proxy keeps the
texts of prepared statements, so that every packet has a name, and counts the packets of a transaction from its beginning on.
"""

import collections
import contextlib
import re
import socket
import struct
import threading
import time
import typing

LOCKS = re.compile("^UPDATE hub (SET revision|h, silo)|FOR UPDATE$")  # a transaction of a hub's begins by it
COMMANDS = {0x03: "query", 0x16: "prepare", 0x17: "execute", 0xFA: "bulk", 0x19: "close", 0x01: "quit"}


class Packet(typing.NamedTuple):
    """`step`: the how-manieth of its transaction; None outside. `part`: 0 is the command itself, then its answer's packets."""

    step: int | None
    command: str
    sql: str
    part: int

    @property
    def name(self):
        return f"{self.command} {self.sql}" + (f", answer {self.part}" if self.part else "")


class Fault:
    """What happens to the first packets for which `at(packet)` holds, `times` of them.

    before: the connection is cut instead; half: in the middle of it; after: behind it. hole: from it on nothing passes in either direction,
    and neither end hears of it. hold: it waits for release(). An error's number: the packet is a command, which does not reach the server;
    the hub gets that error.
    """

    def __init__(self, at, how, times):
        self.at, self.how, self.left = at, how, times
        self.packet = self.when = None  # the last that it happened to, time.monotonic()
        self.happened, self.released = threading.Event(), threading.Event()

    def wait(self, timeout=30):
        assert self.happened.wait(timeout), "the packet never came"

    def release(self):
        self.released.set()


class Cut(Exception):
    pass


class Link:
    """One connection of the hub's, and the proxy's to the server."""

    def __init__(self, proxy, client):
        self.proxy, self.client = proxy, client
        self.server = socket.create_connection(proxy.target)
        for side in (self.client, self.server):
            side.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.dark = False
        self.lock = threading.Lock()  # guards all below
        self.step, self.ending = None, False
        self.command, self.sql, self.part = "handshake", "", 0
        self.prepared = {}  # statement's number: text
        self.threads = [threading.Thread(target=self._run, args=(way,), daemon=True) for way in (self._to_server, self._to_client)]
        for thread in self.threads:
            thread.start()

    def close(self):
        for side in (self.client, self.server):
            try:
                side.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def _run(self, way):
        try:
            way()
        except (OSError, Cut):
            pass
        if not self.dark:
            self.close()

    @staticmethod
    def _packets(source):
        """(sequence, payload, the bytes)"""
        with source.makefile("rb") as stream:
            while len(head := stream.read(4)) == 4:
                length = int.from_bytes(head[:3], "little")
                payload = stream.read(length)
                if len(payload) < length:
                    return
                yield head[3], payload, head + payload

    def _to_server(self):
        for sequence, payload, data in self._packets(self.client):
            with self.lock:
                if sequence == 0:
                    self._begin(payload)
                packet = self._count(0)
            self._pass(packet, data, self.server)

    def _to_client(self):
        for _, payload, data in self._packets(self.server):
            with self.lock:
                self.part += 1
                if self.command == "prepare" and self.part == 1 and payload[0] == 0:
                    self.prepared[int.from_bytes(payload[1:5], "little")] = self.sql
                packet = self._count(self.part)
            self._pass(packet, data, self.client)

    def _begin(self, payload):
        """A command's first packet."""
        if self.ending:
            self.step, self.ending = None, False
        self.command, self.part = COMMANDS.get(payload[0], f"command {payload[0]:#x}"), 0
        if self.command in ("query", "prepare"):
            self.sql = payload[1:].decode(errors="replace")
        elif self.command in ("execute", "bulk"):
            self.sql = self.prepared.get(int.from_bytes(payload[1:5], "little"), "?")
        else:
            self.sql = ""
        if self.sql == "START TRANSACTION" or self.step is None and LOCKS.search(self.sql):
            self.step = -1
        self.ending = self.sql in ("COMMIT", "ROLLBACK")

    def _count(self, part):
        if self.step is not None:
            self.step += 1
        return Packet(self.step, self.command, self.sql, part)

    def _pass(self, packet, data, out):
        fault = self.proxy.take(packet)
        how = fault.how if fault else None
        if how == "hold":
            fault.happened.set()
            fault.released.wait(60)
        if how == "hole":
            self.dark = True
        if isinstance(how, int):
            self._answer(how)
        elif not self.dark and how != "before":
            out.sendall(data[:len(data) // 2] if how == "half" else data)
        if how in ("before", "half", "after"):
            self.close()
        if fault and not fault.left:
            fault.happened.set()
        if how in ("before", "half", "after"):
            raise Cut

    def _answer(self, error):
        payload = b"\xff" + struct.pack("<H", error) + b"#HY000" + b"from the test"
        self.client.sendall(len(payload).to_bytes(3, "little") + b"\x01" + payload)


class DbProxy:
    """`port` is where the hub connects. One `fault` at a time; `passed` are the newest packets."""

    def __init__(self, port, host="127.0.0.1", listen=("127.0.0.1", 0)):
        """`port` at `host` is MariaDB's."""
        self.target = host, port
        self.lock = threading.Lock()
        self.fault = None
        self.passed = collections.deque(maxlen=5000)
        self.links = []
        self.listening = socket.create_server(listen, backlog=64)
        self.port = self.listening.getsockname()[1]
        self.thread = threading.Thread(target=self._accept, daemon=True)
        self.thread.start()

    def _accept(self):
        while True:
            try:
                client, _ = self.listening.accept()
            except OSError:
                return
            try:
                link = Link(self, client)
            except OSError:  # the server is away
                client.close()
                continue
            with self.lock:
                self.links = [link for link in self.links if any(thread.is_alive() for thread in link.threads)] + [link]

    def take(self, packet):
        """The fault that is meant for this packet."""
        with self.lock:
            self.passed.append(packet)
            fault = self.fault
            if not fault or not fault.at(packet):
                return None
            fault.packet, fault.when = packet, time.monotonic()
            fault.left -= 1
            if not fault.left:
                self.fault = None
            return fault

    def arm(self, at, how, times=1):
        with self.lock:
            self.fault = Fault(at, how, times)
            return self.fault

    def disarm(self):
        with self.lock:
            self.fault = None

    def cut_all(self):
        with self.lock:
            links = list(self.links)
        for link in links:
            link.close()

    def close(self):
        self.disarm()
        with contextlib.suppress(OSError):  # closed already
            self.listening.shutdown(socket.SHUT_RDWR)
        self.listening.close()
        self.cut_all()
