"""SILODNS_DB_HOST with several hosts: one database that can be reached at several addresses, of which not all are of use."""

import shutil
import socket
import tempfile

import pytest

from tests.lib.hub import SLOW
from tests.lib.mariadb import MariaDB
from tests.lib.waiting import wait_until

pytestmark = pytest.mark.hub


@pytest.fixture
def twins():
    """Two servers on one port, at 127.0.0.2 and 127.0.0.3, with the same users: the second is a replica, as far as a hub can see."""
    directories = [tempfile.mkdtemp(prefix="silodns-db-") for _ in range(2)]
    first = MariaDB(directories[0], "--bind-address=127.0.0.2")
    second = MariaDB(directories[1], "--bind-address=127.0.0.3", f"--port={first.port}", "--read-only")
    for server in (first, second):
        server.sql("CREATE DATABASE hub; CREATE USER hub@'%' IDENTIFIED BY 'the-database-password'; GRANT ALL ON hub.* TO hub@'%'")
    yield first, second
    for server, directory in zip((first, second), directories, strict=True):
        server.kill()
        shutil.rmtree(directory, ignore_errors=True)


def settings(server, hosts):
    return {"DB_HOST": hosts, "DB_PORT": server.port, "DB_NAME": "hub", "DB_USER": "hub", "DB_PASSWORD": "the-database-password"}


def test_the_next_host_is_tried_and_a_read_only_one_passed_over(make_hub, twins):
    first, second = twins
    with socket.socket() as silent:  # takes connections and says nothing
        silent.bind(("127.0.0.4", first.port))
        silent.listen()
        hub = make_hub(None, **settings(first, "127.0.0.9,127.0.0.4,127.0.0.3,127.0.0.2"), DB_TIMEOUT="1s")
        assert hub.put_silo("a", {"h": "192.0.2.1"}).status == 201
    first.kill()
    wait_until(lambda: hub.put_silo("a", {"h": "192.0.2.2"}).status == 503, 5 * SLOW, "the outage to be noticed")
    reason = hub.get("/readyz", auth=None).body.decode()
    assert all(f"127.0.0.{n}:" in reason for n in (2, 3)) and "read-only" in reason
    first.start()
    wait_until(lambda: hub.put_silo("a", {"h": "192.0.2.2"}).status == 200, 5 * SLOW, "the first server again")
    assert second.sql("SHOW TABLES IN hub") == []


def test_a_single_host_may_be_read_only(make_hub, twins):
    """Reads are served from memory: better than nothing."""
    first, _ = twins
    hub = make_hub(None, **settings(first, "127.0.0.2"))
    hub.put_silo("a", {"h": "192.0.2.1"})
    hub.stop()
    first.sql("SET GLOBAL read_only = ON")
    hub.start()
    assert hub.get("/silos/a").status == 200
