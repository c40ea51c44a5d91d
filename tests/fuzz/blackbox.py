"""Sends malformed HTTP to a running hub: a grammar of requests that are nearly right, broken in one to four ways.

    python3 -m tests.fuzz.blackbox [--requests N] [--seed SEED] [--only NUMBER]        (make fuzz-http builds, and runs it under ASan)

Each request depends on the seed and its number alone: --seed S --only N sends that one again, and prints it. For every request: the hub
lives, closes the connection, and answers with no 5xx (but 505 to another major version of HTTP). In the end it is well, what is in memory is what is
in the database, it has not grown, and the sanitizer has nothing to say, leaks included.
"""

import argparse
import collections
import os
import random
import re
import secrets
import socket
import struct
import sys
import tempfile
import threading
import time

from tests.lib.hub import ADMIN, BUILD, SLOW, Hub, basic
from tests.lib.mariadb import Database, MariaDB
from tests.lib.waiting import wait_until

THREADS = 48  # many requests are incomplete, and wait for the hub's patience to end
IDLE_TIMEOUT = "1s"
SETTLED_SECONDS = 2
PATIENCE_SECONDS = 0.05
QUIET_SECONDS = 20 * SLOW  # nothing comes for so long, and the connection stays open: it hangs
# So few that the tables that remember clients (docs/limits.md) and the threads' stacks are as full as they get before the last third.
ADDRESSES, HUB_THREADS = 128, 4
# What memory may grow by in the last third; what it is made of: docs/testing.md.
FLAT_KB = (4 << 10) if BUILD.name == "asan" else (1 << 10)
FLAT_REQUESTS = 20_000  # in a shorter run ASan's quarantine and stacks and the threads' arenas still fill: by so much between the first third and the end
SHORT_KB = (160 << 10) if BUILD.name == "asan" else (32 << 10)
# What has been freed is kept for others, not in a quarantine, a second stack or a cache of each thread: so growth is growth.
ALLOCATORS = {"ASAN_OPTIONS": "quarantine_size_mb=8:thread_local_quarantine_size_kb=64:allocator_release_to_os_interval_ms=500:detect_stack_use_after_return=0:abort_on_error=0",
              "GLIBC_TUNABLES": "glibc.malloc.tcache_count=0:glibc.malloc.mxfast=0:glibc.malloc.arena_max=4:glibc.malloc.trim_threshold=131072"}
STATUS = re.compile(rb"HTTP/1\.[01] (\d{3}) ")
# Valid credentials stand in no request until all bytes are broken: a guess would cost the hub an Argon2 each.
AUTH = b"@the-admins-credentials@"

METHODS = ["GET"] * 6 + ["PUT"] * 5 + ["PATCH"] * 2 + ["DELETE", "POST", "HEAD", "OPTIONS", "TRACE", "CONNECT", "get", "PRI", "G", "G" * 300, "GET\0", "", "\xc3\xa4"]
PATHS = ["/", "/ping", "/ip", "/healthz", "/readyz", "/metrics", "/openapi.json", "/silos", "/silos/f1", "/silos/f2", "/silos/none", "/silos/f1/history",
         "/silos/f1/hosts", "/watch", "/users", "/users/admin", "/users/nobody", "/silos/", "//silos", "/silos/../users", "/silos/%66%31", "/silos/%00", "/silos/%",
         "/silos/%zz", "/silos/" + "x" * 300, "/silos%2ff1", "/%c3%a4", "*", "http://h/silos/f1", "https://h", "http://", "/silos/f1/history/x/y", "/\x7f", "/a b",
         "/silos/f1#x", "/silos/f1;v=1", "", "?", "/" + "a/" * 500, "/silos/" + "%41" * 2000]
QUERIES = ["", "", "", "?", "?limit=1", "?limit=0", "?limit=99999999999999999999", "?limit=1&limit=2", "?after=f1&limit=1", "?silo=f1&silo=f2", "?silo=-",
           "?since=1&hub=x", "?since=-1", "?before=1&from=2026-01-01T00:00:00Z", "?until=x", "?%00=1", "?owner=admin", "?owner=%ff", "?x=y", "?=", "?&&&",
           "?" + "&".join(["a=b"] * 100), "?a=" + "b" * 5000]
VERSIONS = ["HTTP/1.1"] * 12 + ["HTTP/1.0", "HTTP/0.9", "HTTP/2.0", "HTTP/1.2", "HTTP/1.1 x", "http/1.1", "HTTP/", "", "HTTP/1.1\0", "HTTP/99.99", "HTTP/1"]
GOOD_BODIES = ['{"dnsrecords":[]}', '{"dnsrecords":[{"hostname":"h","ip":"192.0.2.7"}]}', '{"dnsrecords":[{"hostname":"h"},{"hostname":"i","ip":"2001:db8::7"}]}',
               '{"id":"f1","dnsrecords":[{"hostname":"a","ip":"192.0.2.1"},{"hostname":"b","ip":"192.0.2.2"}]}',
               '{"set":[{"hostname":"h"},{"hostname":"c","ip":"192.0.2.3"}],"remove":[{"hostname":"i"}]}']
BAD_BODIES = ["", "{", "[]", "null", '{"dnsrecords":1}', '{"dnsrecords":[{"hostname":"-","ip":"x"}]}', '{"quota":5}', '{"role":"common","password":"short"}',
              '{"a":' * 500, "[" * 5000, '{"dnsrecords":[' + '{"hostname":"h"},' * 300, "9" * 4000, '{"id":"\\ud800","dnsrecords":[]}', '{"id":"\\u0000"}',
              '{"dnsrecords":[],"dnsrecords":[]}', "\xff\xfe", "x" * 20000, '{"hostname":"' + "\\u00e4" * 1000 + '"}', " " * 70000, "\0" * 100]
ODD_HEADERS = ["Authorization: Basic", "Authorization: Basic !!!", "Authorization: Basic " + "QUFB" * 500, "Authorization: Bearer x", "Authorization: Basic Og",
               "Authorization: Digest username=x", "authorization: ", "Authorization: \0", "Transfer-Encoding: chunked", "Transfer-Encoding: chunked, chunked",
               "Transfer-Encoding: gzip, chunked", "Transfer-Encoding: identity", "Transfer-Encoding: \x0bchunked", "Transfer-Encoding : chunked", "Content-Length: 5",
               "Content-Length: 5, 5", "Content-Length: -1", "Content-Length: +5", "Content-Length: 0x5", "Content-Length: 18446744073709551616", "Content-Length: ",
               "Content-Length: 99999999", "Content-Length: 5 5", "Expect: 100-continue", "Expect: x", "Connection: close", "Connection: keep-alive, Upgrade",
               "Connection: \0", "Upgrade: h2c", "Upgrade: websocket", "HTTP2-Settings: AAMAAABkAAQAAP__", "Host: a", "Host: ", "Host: a\0b", "Host:h:99999", "Range: bytes=0-1",
               "Range: bytes=-1", "If-Match: *", 'If-Match: "1"', 'If-Match: "', "If-Match: " + '"1",' * 50, 'If-None-Match: W/"1", "2"', "If-None-Match: *", "If-None-Match: ,",
               "X-Forwarded-For: 1.2.3.4", "X-Forwarded-For: " + "1.2.3.4, " * 200, "Forwarded: for=\"[::1]:x\";", "Forwarded: " + '"' * 99, "Last-Event-ID: 5",
               "Last-Event-ID: x", "Accept: text/event-stream", "Accept-Encoding: gzip;q=0, *", "Cookie: a=b; c", "Content-Type: multipart/form-data; boundary=x",
               "Content-Type: application/x-www-form-urlencoded", "X: " + "y" * 9000, "X" * 9000 + ": y", ": x", "novalue", " folded: x", "\tfold", "a b: c", "a\0: c", "X: \r",
               "X: a\r\n continued", "\xff: \xfe", "Trailer: X", "TE: trailers", "Date: x", "X:" + " " * 4000 + "y", "%s%n: %s%n%s%n"]
RAW = [b"", b"\r\n", b"\r\n\r\n", b"\0" * 64, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0", b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03" + b"r" * 500, b"GET", b"GET /",
       b"GET / HTTP/1.1", b"GET / HTTP/1.1\r\n", b"GET / HTTP/1.1\r\nHost: h", b"\x80\x2e\x01\x03\x01", b"A" * 20000, b"\r\n" * 5000, b"GET / HTTP/1.1\nHost: h\n\n",
       b"GET / HTTP/1.1\rHost: h\r\r", b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n", b"\xef\xbb\xbfGET / HTTP/1.1\r\nHost: h\r\n\r\n",
       b"SSH-2.0-OpenSSH_9\r\n", b"*1\r\n$4\r\nPING\r\n", b"GET / HTTP/1.1\r\nHost: h\r\n" + b"a: b\r\n" * 2000 + b"\r\n"]
PIECES = [b"\0", b"\r\n", b"\n", b"\r", b":", b" ", b"%", b"\xff", b"HTTP/1.1", b"/", b"?", b"\"", b"0\r\n\r\n", b"Content-Length: 7\r\n", b"\t", b"{", b"A" * 600]


def chunked(rng, body):
    out = b""
    while body:
        size = rng.randint(1, max(1, min(len(body), 4000)))
        length = rng.choice([f"{size:x}", f"{size:X}", f"{size:x};ext=\"a\"", f"0{size:x}"])
        if rng.random() < 0.06:
            length = rng.choice(["", "-1", "zz", "f" * 20, "0x5", f"{size + 1:x}", f"{size:x} ", "0", "\0"])
        out += length.encode() + b"\r\n" + body[:size] + (b"\r\n" if rng.random() < 0.97 else b"")
        body = body[size:]
    return out + rng.choice([b"0\r\n\r\n"] * 8 + [b"", b"0\r\n", b"0\r\nX: y\r\n\r\n", b"0\r\n" + b"X: y\r\n" * 900 + b"\r\n", b"00000\r\n\r\n"])


def one_request(rng):
    """One that is right more often than not in each of its parts."""
    def mostly(right, other, rate=0.8):
        return right if rng.random() < rate else rng.choice(other)

    method = rng.choice(METHODS)
    target = rng.choice(PATHS) + mostly("", QUERIES)
    if method in ("PUT", "PATCH", "DELETE") and rng.random() < 0.7:
        target = rng.choice(["/silos/f1", "/silos/f2", "/users/nobody"])
    body = mostly(rng.choice(GOOD_BODIES), BAD_BODIES, 0.6).encode("latin-1") if method in ("PUT", "POST", "PATCH") or rng.random() < 0.1 else b""
    headers = [mostly("Host: h", ["Host: h:1", "host:h", "X: y"], 0.95)]
    if rng.random() < 0.8:
        headers.append("Authorization: " + AUTH.decode())
    if body and rng.random() < 0.75:
        headers.append(f"Content-Length: {mostly(len(body), [len(body) + 1, max(0, len(body) - 1), 0, 10**9], 0.9)}")
    elif body and rng.random() < 0.8:
        headers.append("Transfer-Encoding: chunked")
        body = chunked(rng, body)
    for _ in range(rng.choice([0, 0, 0, 1, 1, 2, 3, 5])):
        headers.append(rng.choice(ODD_HEADERS))
    rng.shuffle(headers)
    end = mostly("\r\n", ["\n", "\r", "\r\n\r\n", "\r\r\n", "\0"], 0.97)
    lines = [f"{method} {target} {rng.choice(VERSIONS)}".rstrip(" "), *headers]
    return mostly("", ["\r\n", "\n", " ", "\r\n\r\n"], 0.97).encode() + (end.join(lines) + end + end).encode("latin-1") + body


def break_bytes(rng, text):
    for _ in range(rng.choice([0, 0, 0, 1, 1, 2, 4])):
        at = rng.randrange(len(text) + 1)
        how = rng.randrange(6)
        if how == 0:
            text = text[:at]
        elif how == 1:
            text = text[:at] + rng.choice(PIECES) + text[at:]
        elif how == 2:
            text = text[:at] + text[at + rng.randint(1, 40):]
        elif how == 3:
            text = text[:at] + bytes([rng.randrange(256)]) + text[at + 1:]
        elif how == 4:
            text = text[:at] + text[max(0, at - rng.randint(1, 200)):]
        else:
            text = text[:at] + rng.randbytes(rng.randint(1, 60)) + text[at:]
    return text


def make_request(seed, number):
    """(bytes to send, cut into these pieces; whether to break the connection off)"""
    rng = random.Random(f"{seed} {number}")
    if rng.random() < 0.03:
        text = rng.choice(RAW)
    else:
        text = b"".join(break_bytes(rng, one_request(rng)) for _ in range(rng.choice([1] * 12 + [2, 3, 8])))
    text = text.replace(AUTH, basic(*ADMIN).encode())
    cuts = sorted(rng.randrange(len(text) + 1) for _ in range(rng.choice([0] * 8 + [1, 3])))
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)])]
    return pieces, rng.random() < 0.03


def is_other_version(text):
    """Does a line end as a request line of HTTP, but of another major version than 1? That is 505 (RFC 9110, 15.6.6), and the only one."""
    return re.search(rb"HTTP/[02-9]\.[0-9]", text) is not None


def first_of(peer):
    """The beginning of an answer, if it comes soon: a hub that is told first that nothing follows need not answer a request with a body."""
    peer.settimeout(PATIENCE_SECONDS)
    try:
        return peer.recv(65536)
    except TimeoutError:
        return b""


class Attack:
    def __init__(self, hub, seed):
        self.hub, self.seed = hub, seed
        self.statuses = collections.Counter()
        self.findings = []
        self.sent_bytes = 0
        self.lock = threading.Lock()  # of all above

    def finding(self, number, what, text):
        with self.lock:
            self.findings.append(f"request {number} of seed {self.seed}: {what}\n  {text[:1500]!r}")

    def send(self, number):
        pieces, breaks_off = make_request(self.seed, number)
        text = b"".join(pieces)
        answer = b""
        source = random.Random(number % ADDRESSES)  # of many, so that no limit on one of them is what is met
        with socket.socket() as peer:
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            peer.settimeout(QUIET_SECONDS)
            peer.bind((f"127.{source.randint(1, 254)}.{source.randint(0, 255)}.{source.randint(1, 254)}", 0))
            peer.connect(("127.0.0.1", self.hub.port))
            try:
                for piece in pieces:
                    peer.sendall(piece)
                if breaks_off:
                    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    return text, b""
                answer = first_of(peer)
                peer.shutdown(socket.SHUT_WR)
                peer.settimeout(QUIET_SECONDS)
                while b"text/event-stream" not in answer and (more := peer.recv(65536)):  # (a stream has no end)
                    answer += more
            except TimeoutError:
                self.finding(number, f"nothing for {QUIET_SECONDS} s, and the connection stays open", text)
            except OSError:  # closed by the hub, with bytes unread
                pass
        return text, answer

    def check(self, number, text, answer):
        statuses = [int(status) for status in STATUS.findall(answer)]
        with self.lock:
            self.sent_bytes += len(text)
            self.statuses.update(statuses or ["closed"])
        for status in statuses:
            if status >= 500 and not (status == 505 and is_other_version(text)):
                self.finding(number, f"status {status}: {answer[:600]!r}", text)
        if answer and not answer.startswith((b"HTTP/1.1 ", b"HTTP/1.0 ")):
            self.finding(number, f"no answer of HTTP: {answer[:300]!r}", text)

    def run(self, numbers):
        left = iter(numbers)

        def work():
            for number in iter(lambda: self.next_of(left), None):
                try:
                    self.check(number, *self.send(number))
                except OSError as failure:
                    self.finding(number, f"{failure}; the hub's exit code: {self.hub.process.poll()}", b"".join(make_request(self.seed, number)[0]))

        threads = [threading.Thread(target=work, daemon=True) for _ in range(THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def next_of(self, left):
        with self.lock:
            return next(left, None) if len(self.findings) < 20 else None


def assert_well(hub, canary):
    assert hub.process.poll() is None, f"the hub has ended with {hub.process.returncode}"
    assert hub.get("/healthz", auth=None).status == 200
    assert hub.get("/silos/canary").body == canary
    assert hub.put_silo("after", {"h": "192.0.2.1"}).status in (200, 201)
    hub.check_memory()
    # every request that has begun has ended, but for this one
    wait_until(lambda: hub.metric("silodns_http_requests_in_progress") == 1, 20 * SLOW, "the end of all requests")


def settled_memory_kb(hub):
    """When no request is under way, and what is free has been given back: it comes down no further. ASan gives back what it has of a size when some of
    that size is freed: a body is kept in memory of each size on its way to its own."""
    lowest, since = hub.memory_kb(), time.monotonic()
    while time.monotonic() - since < SETTLED_SECONDS:
        assert hub.put("/silos/f1", " " * 70000).status == 400
        time.sleep(0.05)
        now = hub.memory_kb()
        if now < lowest - 256:
            lowest, since = now, time.monotonic()
    return lowest


def attack(hub, seed, requests, say=lambda text: None):
    """Raises AssertionError for whatever is found; else the counts."""
    canary = hub.put_silo("canary", {"bird": "192.0.2.99"}).body
    attacker = Attack(hub, seed)
    started, third = time.monotonic(), requests // 3
    memory = []  # kB, after each third
    for first, end in ((0, third), (third, 2 * third), (2 * third, requests)):
        attacker.run(range(first, end))
        assert not attacker.findings, "\n".join(attacker.findings)
        memory.append(settled_memory_kb(hub))
        say(f"{end} requests, {time.monotonic() - started:.0f} s, the hub has {memory[-1]} kB")
    took = time.monotonic() - started
    assert_well(hub, canary)
    is_short = requests < FLAT_REQUESTS
    growth = memory[2] - memory[0 if is_short else 1]
    assert growth < (SHORT_KB if is_short else FLAT_KB), f"the hub has grown from {memory} kB: seed {seed}"
    answers = ", ".join(f"{count} {status}" for status, count in sorted(attacker.statuses.items(), key=str))
    return f"{requests} requests, {attacker.sent_bytes >> 20} MiB, {took:.0f} s; memory after each third {memory} kB; answers: {answers}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--seed", default=secrets.token_hex(4))
    parser.add_argument("--only", type=int, metavar="NUMBER", help="send this request alone, and show the answer")
    args = parser.parse_args()
    os.environ.update(ALLOCATORS)
    print(f"seed {args.seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="silodns-fuzz-") as directory, tempfile.TemporaryDirectory(prefix="silodns-db-") as data:
        server = MariaDB(data)
        try:
            database = Database(server)
            hub = Hub(directory, database, LOG_LEVEL="info", IDLE_TIMEOUT=IDLE_TIMEOUT, THREADS=HUB_THREADS).start()
            try:
                if args.only is not None:
                    attacker = Attack(hub, args.seed)
                    text, answer = attacker.send(args.only)
                    print(f"{text!r}\n---\n{answer!r}", *attacker.findings, sep="\n")
                else:
                    print(attack(hub, args.seed, args.requests, lambda text: print(text, flush=True)))
                hub.finish()
            except AssertionError as failure:
                sys.exit(f"found: {failure}\n{hub.log()[-3000:]}")
            finally:
                hub.stop()
        finally:
            server.stop()


if __name__ == "__main__":
    main()
