"""TLS from a hub to the cluster: whichever node it changes to has to prove that it is that node."""

import pytest

from tests.lib.hub import Hub
from tests.lib.waiting import wait_until


@pytest.fixture
def tls_database(database, cluster):
    """Nobody speaks to it in plain."""
    database.server.sql(f"ALTER USER {database.name}@'%' REQUIRE SSL")
    yield database
    for node in cluster.nodes:
        node.present(node.own)


@pytest.fixture
def hub(machines, tls_database, cluster, tmp_path):
    machine = machines["hub1"]
    hub = Hub(tmp_path, tls_database, address=machine.address, wrapper=machine.wrapper, DB_TLS_CA=cluster.authority.file, **tls_database.settings()).start()
    yield hub
    hub.finish()


def test_each_node_that_a_hub_changes_to_is_verified(hub, tls_database, cluster):
    """Each node in turn is the only one with its own certificate, the others present that of the node beside them."""
    nodes, rows = cluster.nodes, f"SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE USER = '{tls_database.name}'"

    def at():
        return [node for node in nodes if node.sql(rows) != [["0"]]]

    def cut_off():
        for node in nodes:
            node.sql(f"KILL USER '{tls_database.name}'")

    for n, honest in enumerate(nodes[2:] + nodes[:2]):
        for node, neighbour in zip(nodes, nodes[1:] + nodes[:1], strict=True):
            node.present(node.own if node is honest else neighbour.own)
        cut_off()
        wait_until(lambda: hub.put_silo("a", {"h": f"10.0.0.{n + 1}"}).status in (200, 201), what=f"a change through {honest.machine.name}")  # noqa: B023
        assert at() == [honest]
    honest.present(nodes[0].own if honest is not nodes[0] else nodes[1].own)
    cut_off()
    wait_until(lambda: "must have a certificate" in (hub.get("/readyz", auth=None).json.get("reason") or ""), what="the reason")
    assert hub.put_silo("a", {"h": "10.0.0.9"}).status == 503 and not at()
    assert hub.get("/silos/a").json["dnsrecords"] == [{"hostname": "h", "ip": "10.0.0.3"}]
    honest.present(honest.own)
    hub.wait_ready()
    assert hub.put_silo("a", {"h": "10.0.0.9"}).status == 200 and at() == [honest]
