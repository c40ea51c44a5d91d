import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "integration"))
sys.path.insert(0, str(pathlib.Path(__file__).parent))

from dbproxy import DbProxy  # noqa: E402
from fixtures import *  # noqa: E402, F403
from mariadb import Database  # noqa: E402
from world import LONG, World  # noqa: E402

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
