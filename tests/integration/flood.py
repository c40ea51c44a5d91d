"""A flood of wrong passwords from many addresses of 127.0.0.0/8, and how many GETs others get through meanwhile."""

import collections
import selectors
import socket
import subprocess
import sys
import threading
import time

from hub import ADMIN, basic

FIRST_ADDRESS = 0x7F640000  # 127.100.0.0


def address(n):
    return socket.inet_ntoa((FIRST_ADDRESS + n).to_bytes(4, "big"))


class WrongLogins:
    """`rate` log-ins a second, each with a password of its own over a connection of its own, by turns from so many addresses, in a process
    of its own: Python's threads share one lock."""

    def __init__(self, hub, addresses, rate):
        self.command = [sys.executable, __file__, "flood", str(hub.port), str(addresses), str(rate)]

    def __enter__(self):
        self.process = subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.switch("/silos")
        return self

    def switch(self, path):
        """/ping needs no password: the same flood, but for the verifying."""
        self.process.stdin.write(path + "\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == path + "\n"

    def __exit__(self, *failure):
        out, _ = self.process.communicate("")
        words = out.split()
        self.rate_reached = float(words[0])
        self.answers = dict(word.split(":") for word in words[1:])


class Flood:
    def __init__(self, port, addresses):
        self.port, self.addresses = port, addresses
        self.path, self.sent, self.began = None, 0, time.monotonic()
        self.selector, self.answers = selectors.DefaultSelector(), collections.Counter()

    def listen(self):
        for line in sys.stdin:
            self.path = line.strip()
            print(self.path, flush=True)
        self.path = ""

    def send(self):
        sock = socket.socket()
        sock.bind((address(self.sent % self.addresses), 0))
        self.sent += 1
        credentials = basic(ADMIN[0], f"wrong-{self.sent}-{self.began}")
        try:
            sock.connect(("127.0.0.1", self.port))
            sock.sendall(f"GET {self.path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: {credentials}\r\n\r\n".encode())
        except OSError:  # the hub stops
            self.answers["none"] += 1
            sock.close()
            return
        sock.setblocking(False)
        self.selector.register(sock, selectors.EVENT_READ)

    def receive(self):
        for key, _ in self.selector.select(0.005):
            try:
                answer = key.fileobj.recv(4096)
            except OSError:
                answer = b""
            self.answers[answer[9:12].decode() or "none"] += 1
            self.selector.unregister(key.fileobj)
            key.fileobj.close()

    def run(self, rate):
        threading.Thread(target=self.listen, daemon=True).start()
        while self.path != "":
            while self.path and self.sent < (time.monotonic() - self.began) * rate and len(self.selector.get_map()) < 4000:
                self.send()
            self.receive()
        print(self.sent / (time.monotonic() - self.began), *(f"{status}:{count}" for status, count in self.answers.items()))


def get_rate(hub, seconds, connections=16, path="/silos/rate", auth=ADMIN):
    """Authenticated GETs a second over so many connections, each of which asks again as soon as it is answered."""
    request = f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: {basic(*auth)}\r\n\r\n".encode()
    selector = selectors.DefaultSelector()
    for _ in range(connections):
        sock = socket.create_connection(("127.0.0.1", hub.port), 20)
        sock.sendall(request)
        selector.register(sock, selectors.EVENT_READ)
    count, began = 0, time.monotonic()
    while time.monotonic() - began < seconds:
        for key, _ in selector.select(1):
            answer = key.fileobj.recv(65536)
            assert answer.startswith(b"HTTP/1.1 200"), answer[:200]
            count += 1
            key.fileobj.sendall(request)
    took = time.monotonic() - began
    for key in list(selector.get_map().values()):
        key.fileobj.close()
    return count / took


if __name__ == "__main__":
    Flood(*map(int, sys.argv[2:4])).run(int(sys.argv[4]))
