"""TLS to MariaDB: with SILODNS_DB_TLS_CA the hub speaks to nobody but the server of that name that this authority vouches for."""

import shutil
import tempfile

import pytest

from tests.lib.answers import put_at_last
from tests.lib.certificates import Authority
from tests.lib.hub import SLOW, run_api
from tests.lib.mariadb import Database, MariaDB
from tests.lib.waiting import wait_until

pytestmark = pytest.mark.hub
DATABASE_AWAY = 3


class World:
    def __init__(self, directory, database_directory):
        self.authority, self.other = Authority(directory / "ca"), Authority(directory / "other")
        self.pairs = {"good": self.authority.issue("db"), "for another name": self.authority.issue("elsewhere", names="DNS:db.example"),
                      "by another authority": self.other.issue("db"), "expired": self.authority.issue("old", valid=(-7200, -60))}
        self.cert, self.key = directory / "cert", directory / "key"
        self.copy("good")
        self.server = MariaDB(database_directory, f"--ssl-ca={self.authority.file}", f"--ssl-cert={self.cert}", f"--ssl-key={self.key}",
                              "--require-secure-transport=ON")
        self.database = Database(self.server)

    def copy(self, which):
        for source, target in zip(self.pairs[which], (self.cert, self.key)):
            shutil.copy(source, target)

    def present(self, which):
        self.copy(which)
        self.server.sql("FLUSH SSL")

    def migrate(self, **settings):
        return run_api("migrate", settings={**self.database.settings(), "DB_TLS_CA": self.authority.file, **settings})


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    directory = tempfile.mkdtemp(prefix="silodns-db-")
    world = World(tmp_path_factory.mktemp("tls"), directory)
    yield world
    world.server.kill()
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def tls_database(world):
    world.present("good")
    return world.database


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_the_right_server_is_spoken_to(world, tls_database, host):
    done = world.migrate(DB_HOST=host)
    assert done.returncode == 0, done


@pytest.mark.parametrize("which", ["for another name", "by another authority", "expired"])
def test_another_server_is_refused_and_the_reason_told(world, tls_database, which):
    world.present(which)
    done = world.migrate()
    assert done.returncode == DATABASE_AWAY, done
    assert "TLS" in done.stderr and f"must have a certificate for 127.0.0.1 by an authority in {world.authority.file}" in done.stderr
    assert world.database.password not in done.stderr


def test_an_authority_that_cannot_be_read_is_told(world, tls_database, tmp_path):
    done = world.migrate(DB_TLS_CA=tmp_path / "nothing")
    assert done.returncode == DATABASE_AWAY and str(tmp_path / "nothing") in done.stderr


def test_a_server_without_tls_is_refused(mariadb, world):
    database = Database(mariadb)
    done = run_api("migrate", settings={**database.settings(), "DB_TLS_CA": world.authority.file})
    database.drop()
    assert done.returncode == DATABASE_AWAY and "SSL is required" in done.stderr, done


def test_a_hub_over_tls_works_and_leaves_a_server_that_changes_into_another(world, tls_database, make_hub):
    hub = make_hub(tls_database, DB_TLS_CA=world.authority.file)
    put_at_last(hub, "a", {"h": "192.0.2.1"})
    assert hub.get("/silos/a/history").status == 200
    world.present("for another name")
    for (number,) in world.server.sql(f"SELECT ID FROM information_schema.PROCESSLIST WHERE USER = '{tls_database.name}'"):
        world.server.sql(f"KILL {number}")
    wait_until(lambda: hub.get("/readyz", auth=None).status == 503, 15 * SLOW, "the database's absence")
    assert hub.put_silo("a", {"h": "192.0.2.2"}).status == 503
    wait_until(lambda: "must have a certificate" in hub.get("/readyz", auth=None).json["reason"], 15 * SLOW, "the reason")
    world.present("good")
    hub.wait_ready(30 * SLOW)
    put_at_last(hub, "a", {"h": "192.0.2.2"})
