"""Every hub is replaced, one after the other, under load: no request fails, every watcher is back soon, nobody sees anything go back."""

import contextlib
import json
import os
import subprocess
import time

import pytest

from tests.lib.follower import Follower
from tests.lib.hub import ADMIN, API, BUILD, REPO, Hub
from tests.lib.ledger import check_agreement
from tests.lib.waiting import wait_until

WATCHERS, RATE, SILOS = 200, 2000, 100  # each change, a tenth of the requests, is told to two watchers
AT_LEAST = 0.5  # of the rate, which a quiet machine keeps to: two cores carry databases, hubs, nginx and clients, and perhaps other work
CONNECTIONS = 150  # at most: further requests wait, which counts. nginx ends each behind its answer, so each request has one of its own
BACK_WITHIN = 5
PRE_STOP = 2  # seconds from being taken out of nginx to the end


class Clients:
    """Requests at a rate, a tenth of them changes, by tests/bench/load.c; and watchers that come back when they are told to: all through nginx."""

    def __init__(self, front, rate=RATE, watchers=WATCHERS):
        self.front = front
        for n in range(SILOS):
            records = {"a.example.net": "10.0.0.0", "b.example.net": "192.0.2.7"}
            wait_until(lambda: front.put_silo(f"s{n:07}", records).status in (200, 201), what="a silo")  # noqa: B023
        self.watchers = [Follower(front, f"s{n % SILOS:07}", patient=True) for n in range(watchers)]
        wait_until(lambda: all(watcher.silos for watcher in self.watchers), 60, what="all watchers")
        options = {"address": front.address, "port": front.port, "user": ADMIN[0], "silos": SILOS, "mode": "mixed", "rate": rate, "connections": CONNECTIONS,
                   "patient": 1, "duration-ms": 0, "first-change": 1}
        command = [BUILD / "bench/load", *(word for name, value in options.items() for word in (f"--{name}", str(value)))]
        self.load = subprocess.Popen(command, env=os.environ | {"BENCH_PASSWORD": ADMIN[1]}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def finish(self):
        """What the load has seen; the watchers have heard of what it has made, in order, and were back soon."""
        load, _ = self.load.communicate(timeout=60)
        newest = {f"s{n:07}": self.front.get(f"/silos/s{n:07}").revision for n in range(SILOS)}
        for watcher in self.watchers:
            (silo,) = watcher.names
            wait_until(lambda: watcher.stream.silos.get(silo, {}).get("revision") == newest[silo], 60, what=f"the newest state of {silo}")  # noqa: B023
        self.dismiss()
        for watcher in self.watchers:
            watcher.check()
            assert watcher.streams > 1 and not watcher.resets
        return json.loads(load), max(watcher.away for watcher in self.watchers)

    def dismiss(self):
        for watcher in self.watchers:
            watcher.done.set()

    def close(self):
        self.dismiss()
        with contextlib.suppress(OSError):
            self.load.kill()
        self.load.wait(30)
        self.load.stdout.close()


def roll(several, change=lambda hub: None):
    for hub in several.hubs:
        several.front.route([other for other in several.hubs if other is not hub])
        time.sleep(PRE_STOP)  # what nginx has accepted before
        assert hub.stop() == 0
        change(hub)
        hub.start()
        several.front.route(several.hubs)
        several.ledger.progress(10)


FEW = {"clients": 1, "all_followed": False, "LOG_LEVEL": "info"}  # what knows the truth is not to be the load


def milliseconds(latencies):
    return ", ".join(f"{name} {latencies[name] / 1000:.1f} ms" for name in ("p50", "p99", "max"))


def check(several, clients, figure, what, rate=RATE):
    several.ledger.progress_of_all()
    time.sleep(BACK_WITHIN)  # those of the last hub
    load, away = clients.finish()
    figure(f"{what}, requests", f"{load['answers']}, {load['per_second']:.0f}/s, {load['unexpected']} failed, {load['sent_again']} sent again; "
           + milliseconds(load["latency_us"]))
    figure(f"{what}, watchers", f"away {away:.1f} s at most")
    failed = [asked for asked in several.front.asked() if asked[1] >= 500]
    assert not load["unexpected"] and not failed, f"{load['unexpected']} requests failed: {load['first_unexpected']} {failed[:5]}"
    assert set(load["statuses"]) == {"200"} and not load["sent_again"]
    assert load["per_second"] >= rate * AT_LEAST
    assert away <= BACK_WITHIN
    several.check()


def test_a_rolling_restart(make_several, figure):
    several = make_several(own_nodes=False, **FEW)
    assert several.front.get("/ip", auth=None).json == {"ip": "10.77.0.1"}, "the hubs see nginx, not who asks"
    clients = Clients(several.front)
    try:
        several.ledger.progress_of_all()
        roll(several)
        check(several, clients, figure, "rolling restart")
    finally:
        clients.close()


MIGRATIONS = sorted((REPO / "db/migrations").glob("*.sql"))


def git(*words):
    done = subprocess.run(["git", "-C", REPO, *words], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    return done.stdout.split() if done.returncode == 0 else []


def newest_older_commit():
    """In whose tree the newest migration is not yet, but the one before it."""
    newest, previous = (f"db/migrations/{path.name}" for path in reversed(MIGRATIONS[-2:]))
    for commit in git("rev-list", "HEAD"):
        there = git("ls-tree", "--name-only", commit, "db/migrations/")
        if newest not in there and previous in there:
            return commit
    return None


@pytest.fixture(scope="session")
def older_program(tmp_path_factory):
    """The hub as it was before its newest migration, built from the history."""
    commit = newest_older_commit()
    if not commit:
        pytest.skip("the history of this directory does not go back to the version before the newest migration: it is no git repository, or a shallow clone")
    tree = tmp_path_factory.mktemp("older")
    archive = subprocess.Popen(["git", "-C", REPO, "archive", commit], stdout=subprocess.PIPE)
    subprocess.run(["tar", "-x", "-C", tree], stdin=archive.stdout, check=True)
    assert archive.wait() == 0
    program = tree / "build/silodns-api"
    subprocess.run(["make", "-s", f"-j{os.cpu_count()}", f"BUILD={program.parent}", program], cwd=tree, check=True, stdout=subprocess.DEVNULL)
    return program


def schema(database):
    return int(database.sql("SELECT MAX(number) FROM schema_migration")[0][0])


def roll_under_load(several, program, figure, what):
    """All hubs become that program."""
    clients = Clients(several.front, rate=500, watchers=100)
    try:
        several.ledger.progress_of_all()
        roll(several, lambda hub: setattr(hub, "program", program))
        check(several, clients, figure, what, rate=500)
    finally:
        clients.close()


def test_a_rolling_upgrade_from_the_version_before(make_several, older_program, cluster, figure):
    """Older hubs go on while the first new one changes the tables, and serve beside new ones."""
    several = make_several(own_nodes=False, program=older_program, DB_HOST=cluster.nodes[0].address, **FEW)
    assert schema(several.database) == len(MIGRATIONS) - 1
    roll_under_load(several, API, figure, "rolling upgrade from the version before")
    assert schema(several.database) == len(MIGRATIONS)


def test_an_older_hub_beside_a_newer_one(machines, database, cluster, older_program, tmp_path):
    """What each makes is the other's, too, as long as the older one knows of it; and the older one does not start again."""
    settings = database.settings(cluster.nodes[0])
    older, newer = (Hub(tmp_path, database, address=machines[name].address, wrapper=machines[name].wrapper, **settings) for name in ("hub1", "hub2"))
    older.program = older_program
    older.start()
    try:
        older.put_silo("a", {"h": "10.0.0.1"})
        newer.start()
        assert schema(database) == len(MIGRATIONS)
        for n, (hub, other) in enumerate(((older, newer), (newer, older))):
            user = hub.add_user(f"user{n}", quota=5)
            assert hub.put_silo(f"of-{n}", {"h": "10.0.0.1"}, auth=user).status == 201
            wait_until(lambda: other.get(f"/silos/of-{n}", auth=user).status == 200, what="the silo")  # noqa: B023
            assert other.put_silo(f"of-{n}", {"h": "10.0.0.2"}, auth=user).status == 200
            assert other.delete("/silos/a").status == 204
            wait_until(lambda: hub.get("/silos/a").status == 404, what="the deletion")  # noqa: B023
            assert hub.put_silo("a", {"h": "10.0.0.3"}).status == 201
        check_agreement(database, older, newer)
        assert older.stop() == 0
        older.start(wait_ready=False)
        wait_until(lambda: "newer than this program" in older.log(), what="the reason")
        assert older.get("/readyz", auth=None).status == 503
    finally:
        for hub in (older, newer):
            hub.finish()


@pytest.fixture
def next_program(tmp_path):
    """The hub as it will be with one more migration: the same objects, with another list of migrations."""
    migration = tmp_path / f"{len(MIGRATIONS) + 1:04}_for_this_test.sql"
    migration.write_text("ALTER TABLE silo ADD COLUMN IF NOT EXISTS note VARCHAR(16) NOT NULL DEFAULT '';\n"
                         "CREATE INDEX IF NOT EXISTS actor ON change_log (actor);\n")
    source, program = tmp_path / "migrations.c", tmp_path / "silodns-api-next"
    with open(source, "wb") as out:
        subprocess.run([REPO / "scripts/embed-migrations", *MIGRATIONS, migration], stdout=out, check=True)
    packages = subprocess.run(["make", "-s", "-C", REPO, "--eval=packages: ; @echo $(PACKAGES_api)", "packages"], stdout=subprocess.PIPE, text=True,
                              check=True).stdout.split()
    libraries = subprocess.run(["pkg-config", "--libs", *packages], stdout=subprocess.PIPE, text=True, check=True).stdout.split()
    subprocess.run(["cc", "-std=c17", "-fPIE", "-pie", "-pthread", "-I", REPO / "services", "-I", REPO / "services/common", "-o", program,
                    BUILD / "obj/services/api/main.o", source, BUILD / "libapi.a", BUILD / "libsilodns.a", *libraries], check=True)
    return program


def test_a_rolling_upgrade_with_a_migration(make_several, next_program, figure):
    """The new version changes the tables while the old one still runs."""
    several = make_several(own_nodes=False, **FEW)
    roll_under_load(several, next_program, figure, "rolling upgrade")
    assert schema(several.database) == len(MIGRATIONS) + 1
    assert len([True for hub in several.hubs if "_for_this_test" in hub.log()]) == 1
