"""A flood of wrong passwords from many addresses of 127.0.0.0/8, and how many GETs others get through meanwhile."""

import json
import selectors
import socket
import subprocess
import time

from tests.lib.hub import ADMIN, REPO, basic

PROGRAM = REPO / "build/bench/flood"  # also against a hub with a sanitizer


class WrongLogins:
    """`rate` log-ins a second, each with a password of its own over a connection of its own, by turns from so many addresses."""

    def __init__(self, hub, addresses, rate):
        self.command = [PROGRAM, "--port", str(hub.port), "--addresses", str(addresses), "--rate", str(rate), "--user", ADMIN[0]]

    def __enter__(self):
        self.process = subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        return self

    def switch(self, path):
        """/ping needs no password: the same flood, but for the verifying."""
        self.process.stdin.write(path + "\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == path + "\n"

    def __exit__(self, *failure):
        out, _ = self.process.communicate("")
        told = json.loads(out)
        self.rate_reached, self.answers = told["per_second"], told["answers"]


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
