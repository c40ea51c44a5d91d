"""Pods as deploy/k8s renders them, run by Docker: what is tested is what is shipped."""

import base64
import http.client
import json
import secrets
import threading
import time

import pytest

from tests.containers.engine import run
from tests.containers.ingress import IMPATIENT_PORT, IMPATIENT_S, PORT, Impostor, Nginx, annotations
from tests.containers.pods import get
from tests.lib.waiting import wait_until

HOSTS = "127.0.0.1\tlocalhost\n192.0.2.200\tnode1 # the node itself"  # without a final newline: kept as it is
ANSWERING = "silodns-api.silodns.svc"


@pytest.fixture(scope="module")
def api(cluster, database):
    api = cluster.start("Deployment", "silodns-api", ANSWERING)
    wait_until(lambda: api.probe("startupProbe"), 120, "the hub")
    for name in ("updater-token", "hostsync-token"):
        wait_until(lambda: get(url(api, "/silos"), user=("token", cluster.secrets()[name]))[0] == 200, 60, what=name)  # noqa: B023
    return api


@pytest.fixture(scope="module")
def node(tmp_path_factory):
    root = tmp_path_factory.mktemp("node")
    (root / "etc").mkdir()
    (root / "etc/hosts").write_text(HOSTS)
    (root / "etc/hostname").write_text("node1\n")
    return root


def url(api, path):
    return f"http://{api.address()}:8080{path}"


ADMIN = ("admin", "admin-secret")


@pytest.fixture(scope="module")
def silent(cluster):
    """A server that takes a request and says nothing."""
    with Impostor(cluster.gateway, lambda *_: threading.Event().wait()) as silent:
        yield silent


@pytest.fixture(scope="module")
def ingress(cluster, api, silent, tmp_path_factory):
    return Nginx(cluster, cluster.get("Ingress", "silodns"), tmp_path_factory.mktemp("nginx"), [f"{ANSWERING}:8080"], silent.upstream)


class Quiet(threading.Thread):
    """Reads an answer as long as it goes on, through the nginx that gives up after IMPATIENT_S."""

    def __init__(self, ingress, path):
        super().__init__(daemon=True)
        self.connection = http.client.HTTPConnection(ingress.address, IMPATIENT_PORT, timeout=60)
        self.path, self.status, self.seconds = path, None, None
        self.start()

    def run(self):
        started = time.monotonic()
        self.connection.request("GET", self.path, headers={"Authorization": "Basic " + base64.b64encode(":".join(ADMIN).encode()).decode()})
        answer = self.connection.getresponse()
        self.status = answer.status
        while answer.readline():
            pass
        self.seconds = time.monotonic() - started


@pytest.fixture(scope="module")
def quiet(ingress):
    """Begins with the first test here, so that the last one need not wait for it."""
    return time.monotonic(), Quiet(ingress, "/watch?silo=nothing-ever-happens"), Quiet(ingress, "/other")


def test_the_updater_as_rendered_reports_and_ends(cluster, api, quiet):
    """With nothing done by hand: its token is in a Secret of its own, and the hub has made it of the same secret."""
    job = cluster.start("CronJob", "silodns-updater")
    seen = wait_until(lambda: job.address() or not job.is_running(), 60, what="its address")
    assert job.wait() == 0, job.log()
    token = "token", cluster.secrets()["updater-token"]
    status, body = get(url(api, "/silos/cluster"), user=token)
    assert status == 200, body
    (record,) = json.loads(body)["dnsrecords"]
    assert record["hostname"] == "updater.cluster" and record["ip"].startswith("10.213.")
    assert seen in (True, record["ip"])
    body = {"dnsrecords": [record, {"hostname": "db.cluster", "ip": "192.0.2.66"}]}
    assert get(url(api, "/silos/cluster"), user=token, method="PUT", body=body)[0] == 403, "only its own hostnames"
    assert get(url(api, "/silos/updater"), user=token, method="PUT", body={"dnsrecords": []})[0] == 403, "only its own silo"


def test_hostsync_as_rendered_keeps_the_nodes_hosts_file_and_leaves_it_as_it_was(cluster, api, node):
    status, body = get(url(api, "/silos/cluster"), user=ADMIN, method="PUT", body={"dnsrecords": [
        {"hostname": "db.cluster", "ip": "192.0.2.7"}, {"hostname": "node1", "ip": "192.0.2.66"}, {"hostname": "elsewhere.example.net", "ip": "192.0.2.66"}]})
    assert status in (200, 201), body
    hosts = node / "etc/hosts"
    keeper = cluster.start("DaemonSet", "silodns-hostsync", node=node)
    token = "token", cluster.secrets()["hostsync-token"]
    assert get(url(api, "/silos/cluster"), user=token)[0] == 200
    assert get(url(api, "/silos/cluster"), user=token, method="PUT", body={"dnsrecords": []})[0] == 403, "it reads"
    wait_until(lambda: "192.0.2.7\tdb.cluster" in hosts.read_text(), 60, what="the node's hosts file: " + keeper.log())
    wait_until(lambda: keeper.probe("readinessProbe"), 60, what="its readiness")
    text = hosts.read_text()
    assert text.startswith(HOSTS) and "192.0.2.66" not in text, "it wrote what it may not"
    assert sorted(p.name for p in (node / "etc").iterdir()) == ["hostname", "hosts"]
    get(url(api, "/silos/cluster"), user=ADMIN, method="PUT", body={"dnsrecords": [{"hostname": "db.cluster", "ip": "192.0.2.8"}]})
    wait_until(lambda: "192.0.2.8\tdb.cluster" in hosts.read_text(), 60, what="the change")
    run("docker", "stop", "-t", str(keeper.pod["terminationGracePeriodSeconds"]), keeper.id)
    assert keeper.inspect()["State"]["ExitCode"] == 0
    remove = cluster.start("DaemonSet", "silodns-hostsync-remove", container="remove", node=node)
    assert remove.wait() == 0, remove.log()
    assert hosts.read_text() == HOSTS


# ---- behind a real nginx, as the Ingress and its annotations say ----


def test_the_ingress_tells_the_clients_address_and_not_what_it_claims(ingress):
    for claim in ({"X-Forwarded-For": "198.51.100.9"}, {"Forwarded": "for=198.51.100.9"}):
        assert json.loads(get(ingress.url("/ip"), headers=claim)[1]) == {"ip": ingress.gateway}


def test_the_ingress_has_all_paths_for_clients_and_none_for_operators(ingress):
    wanted = {"/": 200, "/ping": 200, "/openapi.json": 200, "/silos": 401, "/silos/x/history": 401, "/watch": 401, "/users/x": 401,
              "/metrics": 404, "/healthz": 404, "/readyz": 404}
    for path, status in wanted.items():
        answer, body = get(ingress.url(path))
        assert answer == status and ("nginx" in body) == (status == 404), path


def test_the_ingress_lets_an_event_through_at_once(ingress):
    watch = http.client.HTTPConnection(ingress.address, PORT, timeout=10)
    silo = secrets.token_hex(4)
    watch.request("GET", f"/watch?silo={silo}", headers={"Authorization": "Basic " + base64.b64encode(":".join(ADMIN).encode()).decode()})
    stream = watch.getresponse()
    assert stream.status == 200
    while not stream.readline().startswith(b"event: synced"):
        pass
    started = time.monotonic()
    assert get(ingress.url(f"/silos/{silo}"), user=ADMIN, method="PUT", body={"dnsrecords": []})[0] == 201
    while not stream.readline().startswith(b"event: silo"):  # (this nginx passes so little on at once with buffers, too)
        pass
    print(f"an event after {time.monotonic() - started:.3f} s")
    watch.close()


def test_a_body_has_the_hubs_limit_which_the_hub_tells_and_far_beyond_it_the_ingresss(ingress):
    def put(size):
        body = b'{"dnsrecords":[]}'
        return get(ingress.url("/silos/body"), user=ADMIN, method="PUT", body=body + b" " * (size - len(body)))

    assert put(1 << 20)[0] == 201
    for size in (1 + (1 << 20), 16 << 20):  # the most that SILODNS_MAX_BODY can be
        status, body = put(size)
        assert status == 413 and json.loads(body)["type"] == "urn:silodns:error:too-large"
    status, body = put(18 << 20)
    assert status == 413 and "nginx" in body
    assert get(ingress.url("/silos/body"), user=ADMIN, method="DELETE")[0] == 204


def test_a_watch_with_nothing_to_say_goes_on_by_the_hubs_signs_of_life(ingress, quiet):
    """And only by them: a server that says nothing is given up. The Ingress waits much longer than the 15 s that clients are promised."""
    started, watch, silence = quiet
    wait_until(lambda: time.monotonic() - started > IMPATIENT_S + 3, 60, what="time")
    assert (watch.status, watch.seconds) == (200, None), "the stream has ended"
    assert silence.status == 504 and IMPATIENT_S <= silence.seconds < IMPATIENT_S + 2
    assert int(annotations(ingress.ingress)["proxy-read-timeout"]) >= 4 * 15


def test_the_hub_ends_within_its_grace_and_no_log_has_a_secret(cluster, api):
    assert api.stop() == 0
    logs = list(cluster.logs())
    assert len(logs) >= 5
    for log in logs:
        assert not [name for name, secret in cluster.secrets().items() if secret in log]
