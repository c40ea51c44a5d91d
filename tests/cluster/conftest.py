import shutil
import tempfile

import pytest

from tests.cluster.galera import Cluster, ClusterDatabase
from tests.cluster.network import Network
from tests.cluster.several import Several
from tests.lib.fixtures import *  # noqa: F403

NODES = HUBS = 3
FIGURES = []


def pytest_terminal_summary(terminalreporter):
    for line in FIGURES:
        terminalreporter.write_line(line)


@pytest.fixture
def figure(record_property):
    """Something measured: for the end of the output, and for the results."""
    def say(what, value):
        FIGURES.append(f"{what}: {value}")
        record_property(what, value)

    return say


@pytest.fixture(autouse=True)
def no_process_is_left_behind():
    """The whole process namespace ends with these tests; their database nodes are started again by one and stay for the next."""


@pytest.fixture(scope="session")
def network():
    return Network()


@pytest.fixture(scope="session")
def machines(network):
    """{name: machine}: db1 …, hub1 …, front"""
    made = {f"db{n}": network.machine(f"db{n}", 10 + n) for n in range(1, NODES + 1)}
    made |= {f"hub{n}": network.machine(f"hub{n}", 20 + n) for n in range(1, HUBS + 1)}
    return made | {"front": network.machine("front", 30)}


@pytest.fixture(scope="session")
def running_cluster(machines):
    directory = tempfile.mkdtemp(prefix="silodns-db-")
    cluster = Cluster(directory, [machines[f"db{n}"] for n in range(1, NODES + 1)])
    yield cluster
    cluster.kill()
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def cluster(running_cluster):
    running_cluster.mend()
    return running_cluster


@pytest.fixture
def database(cluster):
    made = ClusterDatabase(cluster)
    yield made
    cluster.mend()
    made.drop()


@pytest.fixture
def make_several(machines, database, tmp_path):
    """Starts three hubs, nginx, and all that hangs on them."""
    made = []

    def make(**more):
        made.append(Several(machines, database, tmp_path, **more))
        return made[-1].start()

    yield make
    for several in made:
        several.close()


@pytest.fixture
def several(make_several):
    return make_several()
