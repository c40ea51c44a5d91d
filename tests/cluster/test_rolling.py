"""Every hub is replaced, one after the other, under load: no request fails, every watcher is back soon, nobody sees anything go back."""

import contextlib
import json
import pathlib
import subprocess
import sys
import time

import pytest
from hub import ADMIN, BUILD, REPO, basic
from mariadb import wait_until

SWARM = pathlib.Path(__file__).with_name("swarm.py")
# Two cores that carry the databases and the swarm, too, come to some 500 requests a second.
WATCHERS, RATE, SILOS = 3000, 300, 50
BACK_WITHIN = 5
PRE_STOP = 2  # seconds from being taken out of nginx to the end


class Clients:
    """The swarm's two kinds, through nginx."""

    def __init__(self, front, rate=RATE, watchers=WATCHERS):
        for n in range(SILOS):
            wait_until(lambda: front.put_silo(f"load{n}", {"h": "10.0.0.1"}).status in (200, 201), what="a silo")  # noqa: B023
        self.watch = self._start("watch", front, watchers)
        started = json.loads(self.watch.stdout.readline())
        assert started["synced"] == watchers
        self.load = self._start("load", front, rate)

    @staticmethod
    def _start(kind, front, number):
        return subprocess.Popen([sys.executable, SWARM, kind, front.address, str(front.port), str(number), str(SILOS), basic(*ADMIN)],
                                stdout=subprocess.PIPE, text=True)

    def finish(self):
        """What the load and the watchers have seen."""
        seen = []
        for process in (self.load, self.watch):
            process.terminate()
            seen.append(json.loads(process.stdout.read()))
            process.wait(30)
        return seen

    def close(self):
        for process in (self.load, self.watch):
            with contextlib.suppress(OSError):
                process.kill()
            process.wait(30)
            process.stdout.close()


def roll(several, change=lambda hub: None):
    for hub in several.hubs:
        several.front.route([other for other in several.hubs if other is not hub])
        time.sleep(PRE_STOP)  # what nginx has accepted before
        assert hub.stop() == 0
        change(hub)
        hub.start()
        several.front.route(several.hubs)
        several.ledger.progress(10)


def check(several, clients, figure, what):
    several.ledger.progress_of_all()
    time.sleep(BACK_WITHIN)  # those of the last hub
    load, watch = clients.finish()
    figure(f"{what}, requests", load)
    figure(f"{what}, watchers", watch)
    failed = [asked for asked in several.front.asked() if asked[1] >= 500]
    assert not load["failed"] and not failed, f"{len(failed)} requests failed: {load['first_failures']} {failed[:5]}"
    assert watch["came_back"] >= watch["watchers"] and watch["there"] == watch["watchers"]
    assert watch["longest_s"] <= BACK_WITHIN
    assert not watch["wrong"] and not watch["resets"]
    several.check()


def test_a_rolling_restart(make_several, figure):
    several = make_several(own_nodes=False)
    assert several.front.get("/ip", auth=None).json == {"ip": "10.77.0.1"}, "the hubs see nginx, not who asks"
    clients = Clients(several.front)
    try:
        several.ledger.progress_of_all()
        roll(several)
        check(several, clients, figure, "rolling restart")
    finally:
        clients.close()


@pytest.fixture
def next_program(tmp_path):
    """The hub as it will be with one more migration: the same objects, with another list of migrations."""
    migrations = sorted((REPO / "db/migrations").glob("*.sql"))
    migration = tmp_path / f"{len(migrations) + 1:04}_for_this_test.sql"
    migration.write_text("ALTER TABLE silo ADD COLUMN IF NOT EXISTS note VARCHAR(16) NOT NULL DEFAULT '';\n"
                         "CREATE INDEX IF NOT EXISTS actor ON change_log (actor);\n")
    source, program = tmp_path / "migrations.c", tmp_path / "silodns-api-next"
    with open(source, "wb") as out:
        subprocess.run([REPO / "scripts/embed-migrations", *migrations, migration], stdout=out, check=True)
    packages = subprocess.run(["make", "-s", "-C", REPO, "--eval=packages: ; @echo $(PACKAGES_api)", "packages"], stdout=subprocess.PIPE, text=True,
                              check=True).stdout.split()
    libraries = subprocess.run(["pkg-config", "--libs", *packages], stdout=subprocess.PIPE, text=True, check=True).stdout.split()
    subprocess.run(["cc", "-std=c17", "-fPIE", "-pie", "-pthread", "-I", REPO / "services", "-I", REPO / "services/common", "-o", program,
                    BUILD / "obj/services/api/main.o", source, BUILD / "libapi.a", BUILD / "libsilodns.a", *libraries], check=True)
    return program


def test_a_rolling_upgrade_with_a_migration(make_several, next_program, figure):
    """The new version changes the tables while the old one still runs."""
    several = make_several(own_nodes=False)
    clients = Clients(several.front, rate=100, watchers=300)
    try:
        several.ledger.progress_of_all()
        roll(several, lambda hub: setattr(hub, "program", next_program))
        check(several, clients, figure, "rolling upgrade")
    finally:
        clients.close()
    assert several.database.sql("SELECT MAX(number) FROM schema_migration") == [[str(len(list((REPO / "db/migrations").glob("*.sql"))) + 1)]]
    assert len([True for hub in several.hubs if "_for_this_test" in hub.log()]) == 1
