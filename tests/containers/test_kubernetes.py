"""Pods as deploy/k8s renders them, run by Docker: what is tested is what is shipped."""

import base64
import http.client
import json
import pathlib
import secrets
import time

import pytest

from engine import run, wait_until
from pods import Cluster, get

REPO = pathlib.Path(__file__).resolve().parents[2]
HOSTS = "127.0.0.1\tlocalhost\n192.0.2.200\tnode1 # the node itself"  # without a final newline: kept as it is
ANSWERING = "silodns-api.silodns.svc"


@pytest.fixture(scope="module")
def objects():
    done = run(REPO / "tests/k8s/run", "--render", "overlays/single", "hostsync-remove", check=False, timeout=900)
    if done.returncode == 3:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def cluster(objects, tmp_path_factory):
    # In 10.0.0.0/8, which the shipped SILODNS_TRUSTED_PROXIES takes for the pods' network
    name, subnet = "silodnstest" + secrets.token_hex(3), f"10.213.{secrets.randbelow(256)}.0/24"
    cluster = Cluster(objects, tmp_path_factory.mktemp("secrets"), name, subnet)
    try:
        yield cluster
    finally:
        cluster.close()


@pytest.fixture(scope="module")
def database(cluster):
    return cluster.start("StatefulSet", "silodns-mariadb", "silodns-mariadb")


@pytest.fixture(scope="module")
def api(cluster, database):
    api = cluster.start("Deployment", "silodns-api", ANSWERING)
    wait_until(lambda: api.probe("startupProbe"), 120, "the hub")
    # docs/kubernetes.md, "The user of the nodes"
    api.execute("/usr/bin/silodns-api", "user", "add", "nodes", "--quota", "10", input="client-secret")
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


NODES = ("nodes", "client-secret")


def test_the_updater_as_rendered_reports_and_ends(cluster, api):
    job = cluster.start("CronJob", "silodns-updater")
    seen = wait_until(lambda: job.address() or not job.is_running(), what="its address")
    assert job.wait() == 0, job.log()
    status, body = get(url(api, "/silos/cluster"), user=NODES)
    assert status == 200, body
    (record,) = json.loads(body)["dnsrecords"]
    assert record["hostname"] == "updater.cluster" and record["ip"].startswith("10.213.")
    assert seen in (True, record["ip"])
    assert "client-secret" not in job.log()


def test_hostsync_as_rendered_keeps_the_nodes_hosts_file_and_leaves_it_as_it_was(cluster, api, node):
    status, body = get(url(api, "/silos/cluster"), user=NODES, method="PUT", body={"dnsrecords": [
        {"hostname": "db.cluster", "ip": "192.0.2.7"}, {"hostname": "node1", "ip": "192.0.2.66"}, {"hostname": "elsewhere.example.net", "ip": "192.0.2.66"}]})
    assert status in (200, 201), body
    hosts = node / "etc/hosts"
    keeper = cluster.start("DaemonSet", "silodns-hostsync", node=node)
    wait_until(lambda: "192.0.2.7\tdb.cluster" in hosts.read_text(), what="the node's hosts file: " + keeper.log())
    wait_until(lambda: keeper.probe("readinessProbe"), what="its readiness")
    text = hosts.read_text()
    assert text.startswith(HOSTS) and "192.0.2.66" not in text, "it wrote what it may not"
    assert sorted(p.name for p in (node / "etc").iterdir()) == ["hostname", "hosts"]
    get(url(api, "/silos/cluster"), user=NODES, method="PUT", body={"dnsrecords": [{"hostname": "db.cluster", "ip": "192.0.2.8"}]})
    wait_until(lambda: "192.0.2.8\tdb.cluster" in hosts.read_text(), what="the change")
    run("docker", "stop", "-t", str(keeper.pod["terminationGracePeriodSeconds"]), keeper.id)
    assert keeper.inspect()["State"]["ExitCode"] == 0
    remove = cluster.start("DaemonSet", "silodns-hostsync-remove", container="remove", node=node)
    assert remove.wait() == 0, remove.log()
    assert hosts.read_text() == HOSTS


# ---- behind a real nginx, as the Ingress and its annotations say ----

# What ingress-nginx makes of an annotation
DIRECTIVES = {"proxy-buffering": "proxy_buffering {};", "proxy-read-timeout": "proxy_read_timeout {}s;", "proxy-send-timeout": "proxy_send_timeout {}s;",
              "proxy-connect-timeout": "proxy_connect_timeout {}s;", "proxy-body-size": "client_max_body_size {};",
              "proxy-next-upstream": "proxy_next_upstream {};", "proxy-next-upstream-tries": "proxy_next_upstream_tries {};", "ssl-redirect": ""}


def nginx_conf(ingress, upstream):
    prefix = "nginx.ingress.kubernetes.io/"
    directives = [DIRECTIVES[name.removeprefix(prefix)].format(value) for name, value in ingress["metadata"]["annotations"].items()]
    locations = []
    for path in ingress["spec"]["rules"][0]["http"]["paths"]:
        matches = [f"= {path['path']}"] + ([f"^~ {path['path']}/"] if path["pathType"] == "Prefix" else [])
        locations += [f"location {match} {{ proxy_pass http://hub; }}" for match in matches]
    return "\n".join(["events {}", "http {", f"upstream hub {{ server {upstream}:8080; keepalive 32; }}", "server { listen 8081;",
                      'proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $host;',
                      "proxy_set_header X-Forwarded-For $remote_addr;",
                      "proxy_ignore_headers X-Accel-Buffering;",  # by which the hub asks for the same as the annotation
                      *directives, *locations, "location / { return 404; }", "} }"])


@pytest.fixture(scope="module")
def ingress(cluster, api, tmp_path_factory):
    run("docker", "build", "-q", "-t", "silodnstest/nginx", REPO / "tests/containers/nginx", timeout=600)
    conf = tmp_path_factory.mktemp("nginx") / "nginx.conf"
    conf.write_text(nginx_conf(cluster.get("Ingress", "silodns"), ANSWERING))
    nginx = run("docker", "run", "-d", "--network", cluster.name, "-v", f"{conf}:/etc/nginx/nginx.conf:ro", "silodnstest/nginx").stdout.strip()
    cluster.started.append(nginx)
    (network,) = json.loads(run("docker", "inspect", nginx).stdout)[0]["NetworkSettings"]["Networks"].values()
    wait_until(lambda: get(f"http://{network['IPAddress']}:8081/ping")[0] == 200, what="nginx")
    return network


def test_the_ingress_tells_the_clients_address_and_not_what_it_claims(ingress):
    base = f"http://{ingress['IPAddress']}:8081"
    assert json.loads(get(base + "/ip", headers={"X-Forwarded-For": "198.51.100.9"})[1]) == {"ip": ingress["Gateway"]}


def test_the_ingress_has_all_paths_for_clients_and_none_for_operators(ingress):
    base = f"http://{ingress['IPAddress']}:8081"
    wanted = {"/": 200, "/ping": 200, "/openapi.json": 200, "/silos": 401, "/silos/x/history": 401, "/watch": 401, "/users/x": 401,
              "/metrics": 404, "/healthz": 404, "/readyz": 404}
    for path, status in wanted.items():
        answer, body = get(base + path)
        assert answer == status and ("nginx" in body) == (status == 404), path


def test_the_ingress_lets_an_event_through_at_once_and_the_hubs_own_limit_speak(api, ingress):
    base = f"http://{ingress['IPAddress']}:8081"
    watch = http.client.HTTPConnection(ingress["IPAddress"], 8081, timeout=10)
    token = secrets.token_hex(4)
    watch.request("GET", f"/watch?silo={token}", headers={"Authorization": "Basic " + base64.b64encode(":".join(NODES).encode()).decode()})
    stream = watch.getresponse()
    assert stream.status == 200
    while not stream.readline().startswith(b"event: synced"):
        pass
    started = time.monotonic()
    assert get(f"{base}/silos/{token}", user=NODES, method="PUT", body={"dnsrecords": []})[0] == 201
    while not stream.readline().startswith(b"event: silo"):  # (this nginx passes so little on at once with buffers, too)
        pass
    print(f"an event after {time.monotonic() - started:.3f} s")
    watch.close()
    status, body = get(f"{base}/silos/{token}", user=NODES, method="PUT", body="x" * (3 << 20))
    assert status == 413 and json.loads(body)["type"] == "urn:silodns:error:too-large"
    assert get(f"{base}/silos/{token}", user=NODES, method="DELETE")[0] == 204


def test_without_the_database_no_probe_restarts_the_hub_or_takes_it_out_of_service(database, api, ingress):
    base = f"http://{ingress['IPAddress']}:8081"
    assert database.probe("readinessProbe") and database.probe("livenessProbe")
    get(f"{base}/silos/outage", user=NODES, method="PUT", body={"dnsrecords": []})
    run("docker", "stop", "-t", str(database.pod["terminationGracePeriodSeconds"]), database.id)
    assert database.inspect()["State"]["ExitCode"] == 0
    wait_until(lambda: get(url(api, "/readyz"))[0] == 503, what="the hub to notice")
    assert api.probe("readinessProbe") and api.probe("livenessProbe")
    assert get(f"{base}/silos/outage", user=NODES)[0] == 200
    assert get(f"{base}/silos/outage", user=NODES, method="DELETE")[0] == 503
    run("docker", "start", database.id)
    wait_until(lambda: get(f"{base}/silos/outage", user=NODES, method="DELETE")[0] == 204, 90, "changes again")
    assert api.is_running() and api.inspect()["RestartCount"] == 0


def test_the_hub_ends_within_its_grace_and_no_log_has_a_secret(database, api):
    assert api.stop() == 0
    for pod in (api, database):
        assert not [word for word in ("db-secret", "root-secret", "admin-secret", "client-secret") if word in pod.log()]
