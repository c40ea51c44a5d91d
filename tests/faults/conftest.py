
import pytest

from tests.faults.world import LONG, World
from tests.lib.dbproxy import DbProxy
from tests.lib.fixtures import *  # noqa: F403
from tests.lib.mariadb import Database

LONG_SECONDS = 900


def pytest_collection_modifyitems(items):
    for item in items:
        if LONG:
            item.add_marker(pytest.mark.seconds(LONG_SECONDS))


@pytest.fixture
def make_proxy():
    made = []

    def make(database):
        made.append(DbProxy(database.server.port))
        return made[-1]

    yield make
    for proxy in made:
        proxy.close()


@pytest.fixture
def own_database(own_mariadb):
    return Database(own_mariadb)


@pytest.fixture
def make_world(make_hub, tmp_path):
    """Starts two hubs, and all that hangs on them."""
    made = []

    def make(database, settings=({}, {}), **more):
        made.append(World(tmp_path, database, [make_hub(database, **each) for each in settings], **more))
        return made[-1]

    yield make
    for world in made:
        world.close()
