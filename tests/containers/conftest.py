import json
import secrets

import pytest

from tests.containers.engine import run
from tests.containers.pods import Cluster
from tests.lib.hub import REPO


@pytest.fixture(scope="session", autouse=True)
def images():
    run("docker", "compose", "build", "-q", cwd=REPO, timeout=900)


@pytest.fixture(scope="session")
def render():
    """What kubectl apply -k would send of these directories of deploy/k8s."""
    def of(*directories):
        done = run(REPO / "tests/k8s/run", "--render", *directories, check=False, timeout=900)
        if done.returncode == 3:
            pytest.skip(done.stderr.strip())
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout)
    return of


@pytest.fixture(scope="session")
def cluster(render, tmp_path_factory):
    # In 10.0.0.0/8, which the shipped SILODNS_TRUSTED_PROXIES takes for the pods' network
    name, subnet = "silodnstest" + secrets.token_hex(3), f"10.213.{secrets.randbelow(256)}.0/24"
    cluster = Cluster(render("overlays/single", "hostsync-remove", "examples/sidecar"), tmp_path_factory.mktemp("secrets"), name, subnet)
    try:
        yield cluster
    finally:
        cluster.close()


@pytest.fixture(scope="session")
def database(cluster):
    """Under the name, too, by which the hubs of the overlay ha know their cluster."""
    return cluster.start("StatefulSet", "silodns-mariadb", "silodns-mariadb", "silodns-mariadb-primary")
