"""Thousands of clients that behave badly: those that behave well are served meanwhile, memory is bounded, and afterwards all is as before."""

import contextlib
import time

import pytest

from tests.faults.crowd import Crowd, crowd_elsewhere, slow_request
from tests.faults.world import rounds
from tests.lib import needs
from tests.lib.follower import Follower
from tests.lib.answers import deaf, get_request
from tests.lib.hub import SLOW
from tests.lib.ledger import REFUSED
from tests.lib.waiting import wait_until

SLOW_CLIENTS = 5000
CONNECTIONS, WATCHERS = "silodns_http_connections", "silodns_watchers"
ANSWERED_WITHIN = 0.5
MANY_SLOW_CLIENTS, GET_P99 = 10_000, 0.05
KB_PER_CONNECTION = 20  # 16 KiB that a connection may have, and what the libraries and the allocator add


def test_thousands_that_send_one_byte_a_second(make_world, database):
    needs.descriptors(SLOW_CLIENTS + 1000)
    world = make_world(database, settings=({"REQUEST_TIMEOUT": "1h"}, {}))
    hub = world.hubs[0]
    world.ledger.progress_of_all()
    before = hub.memory_kb()
    crowd = Crowd(hub, SLOW_CLIENTS, slow_request)
    try:
        wait_until(lambda: hub.metric(CONNECTIONS) >= SLOW_CLIENTS, 60, "the crowd")
        times, until = [], crowd.rounds + rounds(5, 60)
        while crowd.rounds < until:
            started = time.monotonic()
            assert hub.get("/silos").status == 200
            times.append(time.monotonic() - started)
        times.sort()
        assert times[len(times) * 9 // 10] < ANSWERED_WITHIN * SLOW and times[-1] < 4 * ANSWERED_WITHIN * SLOW, times[-5:]
        grown = hub.memory_kb() - before
        assert grown < SLOW_CLIENTS * KB_PER_CONNECTION, f"{grown} kB for {SLOW_CLIENTS} connections"
        world.ledger.progress_of_all()
        assert crowd.closed == crowd.answered == 0
    finally:
        crowd.close()
    wait_until(lambda: hub.metric(CONNECTIONS) < 100, 30 * SLOW, "the end of the crowd's connections")
    assert world.ledger.count(REFUSED) == 0
    world.check()


@pytest.mark.skipif(SLOW > 1, reason="a sanitizer's speed says nothing")
def test_ten_thousand_that_send_one_byte_a_second_do_not_slow_a_get(make_hub, database):
    needs.descriptors(MANY_SLOW_CLIENTS + 1000)
    hub = make_hub(database, LOG_LEVEL="info")
    hub.put_silo("a", {"h": "192.0.2.1"})
    connection = hub.connect()
    with crowd_elsewhere(hub, MANY_SLOW_CLIENTS, slow_request):
        wait_until(lambda: hub.metric(CONNECTIONS) >= MANY_SLOW_CLIENTS, 60, "the crowd")
        p99s = []
        while not p99s or (p99s[-1] > GET_P99 and len(p99s) < 5):  # a machine may be busy with something else
            times, until = [], time.monotonic() + 2
            while time.monotonic() < until:
                began = time.monotonic()
                assert hub.get("/silos/a", connection=connection).status == 200
                times.append(time.monotonic() - began)
            p99s.append(sorted(times)[len(times) * 99 // 100])
        print(f"p99 of a GET beside {MANY_SLOW_CLIENTS} slow connections: {', '.join(f'{p99 * 1000:.1f}' for p99 in p99s)} ms")
        assert p99s[-1] < GET_P99
    connection.close()
    wait_until(lambda: hub.metric(CONNECTIONS) < 100, 30, "the end of the crowd's connections")


@pytest.mark.hub
def test_watchers_that_never_read(make_world, database):
    world = make_world(database, settings=({"IDLE_TIMEOUT": "2s"}, {}))
    hub = world.hubs[0]
    big = {f"host-{n}.example": f"10.100.{n >> 8}.{n & 255}" for n in range(2000)}
    world.ledger.progress_of_all()
    reading = 3  # two followers and a hosts keeper
    wait_until(lambda: hub.metric(WATCHERS) == reading, what="those that do read")
    with contextlib.ExitStack() as stack:
        count = rounds(100, 1000)
        for n in range(64):  # each of the hub's threads has seen so much once
            hub.put_silo("big", big | {"host-0.example": f"10.150.0.{n + 1}"})
        before = hub.memory_kb()
        for _ in range(count):
            stack.callback(deaf(hub, get_request("/watch")).close)
        wait_until(lambda: hub.metric(WATCHERS) >= reading + count, what="the streams")
        most, n = 0, 0
        while (left := hub.metric(WATCHERS)) > reading:
            n += 1
            hub.put_silo("big", big | {"host-0.example": f"10.200.{n >> 8}.{n & 255}"})
            most = max(most, hub.memory_kb() - before)
            assert n < 300, f"{left - reading:.0f} are not disconnected"
        print(f"{most} kB for {count} watchers, {n} changes")
        assert SLOW > 1 or most < 20_000 + count * 2 * KB_PER_CONNECTION, f"{most} kB for {count} watchers"  # a sanitizer needs its own
    hub.delete("/silos/big")
    with Follower(hub, "c0") as follower:
        world.ledger.progress_of_all()
        wait_until(lambda: "c0" in follower.silos, what="a watcher that reads")
    world.check()
