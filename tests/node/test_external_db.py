"""The overlay external-db: three hubs, and a MariaDB of the node's own network with TLS."""

import shutil
import tempfile

import pytest

from tests.lib.certificates import Authority
from tests.lib.mariadb import Database, MariaDB
from tests.lib.waiting import wait_until
from tests.node.hubs import HUB, is_ready, service
from tests.node.node import ADDRESS


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    authority = Authority(tmp_path_factory.mktemp("ca"))
    certificate, key = authority.issue("database", names=f"IP:{ADDRESS}")
    directory = tempfile.mkdtemp(prefix="silodns-db-")
    server = MariaDB(directory, f"--ssl-ca={authority.file}", f"--ssl-cert={certificate}", f"--ssl-key={key}", "--require-secure-transport=ON", address=ADDRESS, port=3306)
    try:
        yield Database(server), authority.file
    finally:
        server.kill()
        shutil.rmtree(directory)


def describe(checkout, database, authority):
    """As the document says: database.env, network.env, ca.pem, and the password."""
    settings = database.settings()
    for name in ("HOST", "PORT", "NAME", "USER"):
        checkout.set("overlays/external-db/database.env", f"SILODNS_DB_{name}", settings[f"DB_{name}"])
    checkout.set("overlays/external-db/network.env", "cidr", f"{ADDRESS}/32")
    shutil.copy(authority, checkout.directory / "deploy/k8s/overlays/external-db/ca.pem")
    (checkout.directory / "deploy/k8s/components/values/secrets/db-password").write_text(settings["DB_PASSWORD"])


@pytest.fixture(scope="module")
def said(checkout, database):
    checkout.make_secrets()
    describe(checkout, *database)
    yield checkout.follow("**Everything.**", overlay="external-db")
    checkout.follow("## Uninstall", overlay="external-db")


def test_three_hubs_on_a_database_of_others(node, checkout, said):
    assert "Warning" not in said
    # The HorizontalPodAutoscaler sets their number, where nothing measures them, too
    wait_until(lambda: [is_ready(pod) for pod in node.pods("silodns", HUB)] == [True] * 3, 120, "three hubs")
    hub = service(node, checkout)
    assert hub.put("cluster", ("db.cluster", "192.0.2.21")) in (200, 201)
    for pod in node.pods("silodns", HUB):
        wait_until(lambda: ("db.cluster", "192.0.2.21") in hub.at(pod["status"]["podIP"]).records("cluster"), 60, what=pod["metadata"]["name"])
    assert "silodns-mariadb" not in node.kubectl("get", "all,secrets", "-n", "silodns").stdout
