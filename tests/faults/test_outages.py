"""Processes die, stop or are replaced while two hubs are written to; at the end everybody has what was acknowledged, and nothing that was refused."""

import contextlib
import subprocess
import time

import pytest

from tests.faults.world import rounds
from tests.lib.answers import timed
from tests.lib.hub import SLOW
from tests.lib.ledger import OPEN, REFUSED
from tests.lib.mariadb import dump, paused
from tests.lib.waiting import wait_until

REFUSED_WITHIN = 0.05
BACK_WITHIN = 2
PAUSE_SECONDS = 10


@pytest.mark.hub
def test_a_hub_killed_under_load(make_world, database):
    world = make_world(database)
    for n in range(rounds(3, 30)):
        hub = world.hubs[n % 2]
        world.ledger.progress()
        hub.kill()
        world.ledger.progress(20)  # through the other one
        hub.start()
        world.ledger.progress_of_all()
    assert world.ledger.count(OPEN), "no kill met a change: this test showed nothing"
    world.check()
    assert all(follower.streams > 1 for follower in world.followers)


@contextlib.contextmanager
def killed(server):
    server.kill()
    yield
    server.start()


def refusals(hub, count=20):
    """Seconds of each, the database being known to be away."""
    times = []
    for n in range(count):
        answer, seconds = timed(lambda: hub.put_silo("late", {"h": f"192.0.2.{n + 1}"}))  # noqa: B023
        assert answer.status == 503 and int(answer.headers["Retry-After"]) >= 1, answer
        assert answer.json["type"] == "urn:silodns:error:unavailable", answer
        times.append(seconds)
    return sorted(times)


@pytest.mark.parametrize("away", [killed, paused], ids=["killed", "paused"])
def test_the_database_away_under_load(make_world, own_database, own_mariadb, away):
    world = make_world(own_database)
    for _ in range(rounds(1, 6)):
        world.ledger.progress_of_all()
        with away(own_mariadb):
            started = time.monotonic()
            for hub in world.hubs:
                wait_until(lambda: hub.get("/readyz", auth=None).status == 503, 5 * SLOW, "the outage to be noticed")  # noqa: B023
                times = refusals(hub)
                assert times[len(times) * 9 // 10] < REFUSED_WITHIN * SLOW, times
                assert hub.get("/silos/c0").status in (200, 404)
            time.sleep(max(PAUSE_SECONDS - (time.monotonic() - started), 0) if away is paused else 0)
        started = time.monotonic()
        for n, hub in enumerate(world.hubs):
            wait_until(lambda: hub.put_silo(f"back{n}", {"h": "192.0.2.1"}).status in (200, 201), 10 * SLOW, "recovery")  # noqa: B023
        assert time.monotonic() - started < BACK_WITHIN * SLOW
    world.ledger.progress_of_all()
    assert world.ledger.count(REFUSED), "nothing was refused: this test showed nothing"
    assert own_database.sql("SELECT COUNT(*) FROM change_log WHERE subject = 'late'") == [["0"]], "refused, but made"
    world.check()


def restore(database, backup):
    subprocess.run(["mariadb", "--no-defaults", "-uroot", f"-S{database.server.socket}", database.name], input=backup, check=True, timeout=60)


@pytest.mark.hub
@pytest.mark.parametrize("running", [True, False], ids=["hubs running", "hubs stopped"])
def test_an_older_backup_restored_under_load(make_world, database, running):
    """What was acknowledged between backup and restoration is gone, and nothing else. Clients learn of it by the hub's identity."""
    world = make_world(database)
    times = rounds(2, 10)
    for _ in range(times):
        world.ledger.progress_of_all()
        before, backup = world.ledger.mark(), dump(database)
        identities = {hub.get("/readyz", auth=None).json["hub"] for hub in world.hubs}
        world.ledger.progress_of_all()
        if not running:
            assert [hub.stop() for hub in world.hubs] == [0, 0]
        restore(database, backup)
        if not running:
            database.sql("UPDATE hub SET identity = MD5(RANDOM_BYTES(16)), revision = revision + 1000000")
            for hub in world.hubs:
                hub.start()
        wait_until(lambda: all(hub.get("/readyz", auth=None).json.get("hub") not in identities | {None} for hub in world.hubs),  # noqa: B023
                   what="another identity")
        world.ledger.forget(before, world.ledger.mark())
        world.ledger.progress_of_all()
    world.check(renewals=times)
    assert all(follower.resets for follower in world.followers), "a watcher was not told"
