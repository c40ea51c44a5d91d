"""The overlay single, from `kubectl apply` until nothing is left of it, as docs/kubernetes.md tells. One story: each test begins where the one before it ended."""

import json
import pathlib
import subprocess
import threading
import time

import pytest

from tests.containers.engine import run
from tests.containers.pods import get
from tests.lib.waiting import wait_until
from tests.node.hubs import HUB, is_ready, restarts, service

HOSTS = pathlib.Path("/etc/hosts")  # the node's: a copy, which tests/node/inside made
BEFORE = HOSTS.read_text()


@pytest.fixture(scope="module")
def said(node, checkout):
    """What kubectl said while all of it was installed."""
    assert node.pods("default") == [] and BEFORE.endswith("# the node itself"), "this is not the node that was made for the tests"
    return checkout.follow("**Everything.**")


@pytest.fixture(scope="module")
def hub(node, checkout, said):
    return service(node, checkout)


def all_ready(node):
    pods = node.pods("silodns", "app.kubernetes.io/name in (silodns-api, silodns-mariadb)") + node.pods("silodns-nodes")
    return len(pods) == 3 and all(is_ready(pod) for pod in pods)


def test_everything_becomes_ready_and_kubernetes_warns_of_nothing(node, said):
    assert "Warning" not in said and "successfully rolled out" in said
    wait_until(lambda: all_ready(node), 120, "each pod to be ready")
    assert [restarts(pod) for pod in node.pods("silodns") + node.pods("silodns-nodes")] == [0, 0, 0]


def test_applied_again_nothing_would_change(checkout, said):
    """apply itself calls some of it configured, where Kubernetes has filled in a default."""
    done = run("kubectl", "diff", "-k", "deploy/k8s/overlays/single", cwd=checkout.directory, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_pod_security_would_let_the_hosts_keeper_into_no_restricted_namespace(node, said):
    template = node.get("daemonset", "silodns-hostsync", "-n", "silodns-nodes")["spec"]["template"]
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "keeper", "namespace": "silodns"}, "spec": template["spec"] | {"serviceAccountName": "default"}}
    done = node.kubectl("create", "--dry-run=server", "-f", "-", input=json.dumps(pod), check=False)
    # What it asks for beyond that level is the volume and the user, and no more
    reasons = done.stderr.partition('violates PodSecurity "restricted:latest": ')[2]
    assert [reason.partition(" (")[0] for reason in reasons.strip().split("), ")] == ["restricted volume types", "runAsNonRoot != true", "runAsUser=0"], done.stderr


def test_a_node_follows_as_the_document_shows(node, checkout, hub):
    forward, put, job, _ = checkout.block("**See a node follow.**")
    forwarding = subprocess.Popen(["sh", "-c", "exec " + forward.partition(" &")[0]], stdout=subprocess.DEVNULL)
    try:
        wait_until(lambda: get("http://127.0.0.1:8080/ping")[0] == 200, 60, what="the forwarded port")
        said = run("sh", "-euc", put, cwd=checkout.directory).stdout
    finally:
        forwarding.terminate()
        forwarding.wait()
    assert json.loads(said)["dnsrecords"] == [{"hostname": "db.cluster", "ip": "192.0.2.7"}], said
    wait_until(lambda: "192.0.2.7\tdb.cluster\n" in HOSTS.read_text(), 60, what="the node's hosts file")
    assert run("getent", "hosts", "db.cluster").stdout.split() == ["192.0.2.7", "db.cluster"]
    run("sh", "-euc", job)
    node.kubectl("-n", "silodns", "wait", "--for=condition=complete", "--timeout=60s", "job/look-now")
    (pod,) = node.pods("silodns", "job-name=look-now")
    assert hub.records("cluster") == {("updater.cluster", pod["status"]["podIP"]), ("db.cluster", "192.0.2.7")}
    wait_until(lambda: f"{pod['status']['podIP']}\tupdater.cluster\n" in HOSTS.read_text(), 60, what="the node's hosts file")
    assert HOSTS.read_text().startswith(BEFORE)


def test_the_nodes_hosts_file_takes_no_name_that_it_was_not_told_to(hub):
    hub.put("cluster", ("elsewhere.example.net", "192.0.2.8"), ("node1", "192.0.2.8"), ("db.cluster", "192.0.2.17"))
    wait_until(lambda: "192.0.2.17\tdb.cluster\n" in HOSTS.read_text(), 60, what="the node's hosts file")
    assert "192.0.2.8" not in HOSTS.read_text()


def test_the_examples_sidecar_reports_the_address_of_its_pod(node, checkout, hub):
    example = checkout.directory / "deploy/k8s/examples/sidecar"
    (token,) = [line.removeprefix("#") for line in (example / "kustomization.yaml").read_text().splitlines() if "token add" in line]
    run("sh", "-euc", token, cwd=example)
    said = run("sh", "-euc", "kubectl apply -k . 2>&1", cwd=example).stdout
    assert "Warning" not in said
    (pod,) = wait_until(lambda: [p for p in node.pods("web") if "podIP" in p["status"]], 60, what="the pod's address")
    wait_until(lambda: ("web.cluster", pod["status"]["podIP"]) in hub.records("cluster"), 60, what="the report")
    wait_until(lambda: f"{pod['status']['podIP']}\tweb.cluster\n" in HOSTS.read_text(), 60, what="the node's hosts file")
    run("kubectl", "delete", "-k", ".", cwd=example)


class Requests:
    """One after the other, reads and changes, each on a connection of its own, until stop()."""

    def __init__(self, hub):
        self.hub, self.done, self.failed = hub, 0, []
        self.stopped = threading.Event()
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        while not self.stopped.wait(0.05):  # within the limit of one address's requests
            number = self.done % 250
            answers = [self.hub.put("steady", ("a.cluster", f"192.0.2.{number}")), self.hub.ask("/silos/steady")[0], get(self.hub.url + "/ping")[0]]
            self.failed += [(self.done, status) for status in answers if status not in (200, 201)]
            self.done += len(answers)

    def stop(self):
        self.stopped.set()
        self.thread.join()


def test_a_restart_of_the_hub_fails_no_request(node, hub):
    (old,) = node.pods("silodns", HUB)
    requests = Requests(hub)
    try:
        wait_until(lambda: requests.done > 20, 60, what="requests")
        node.kubectl("-n", "silodns", "rollout", "restart", "deployment/silodns-api")
        node.kubectl("-n", "silodns", "rollout", "status", "deployment/silodns-api", "--timeout=120s")
        wait_until(lambda: [p["metadata"]["name"] for p in node.pods("silodns", HUB)] != [old["metadata"]["name"]] and len(node.pods("silodns", HUB)) == 1, 90,
                   "the old hub to be gone")
        after = requests.done
        wait_until(lambda: requests.done > after + 20, 60, what="requests to the new one")
    finally:
        requests.stop()
    print(f"{requests.done} requests, {len(requests.failed)} failed")
    assert requests.failed == [] and requests.done > 200
    # The keeper found the new hub, and missed nothing
    hub.put("cluster", ("db.cluster", "192.0.2.9"))
    wait_until(lambda: "192.0.2.9\tdb.cluster\n" in HOSTS.read_text(), 60, what="the node's hosts file")


def test_without_the_database_reads_go_on_and_no_pod_of_the_hub_is_restarted(node, hub):
    def hubs():
        return [(p["metadata"]["uid"], restarts(p), is_ready(p)) for p in node.pods("silodns", HUB)]

    before = hubs()
    (database,) = node.pods("silodns", "app.kubernetes.io/name=silodns-mariadb")
    node.kubectl("-n", "silodns", "delete", "pod", database["metadata"]["name"], "--wait=false")
    refused, longest, deadline = 0, 0, time.monotonic() + 120
    while not (refused and hub.put("cluster", ("db.cluster", "192.0.2.10")) == 200):
        assert hub.ask("/silos/cluster")[0] == 200
        started = time.monotonic()
        status = hub.put("cluster", ("db.cluster", f"192.0.2.{100 + refused % 100}"))
        longest = max(longest, time.monotonic() - started)
        assert status in (200, 503), f"{status} after {longest:.3f} s, {refused} refused"
        refused += status == 503
        assert started < deadline
        time.sleep(0.05)
    print(f"{refused} changes refused, the slowest answer after {longest:.3f} s")
    assert hubs() == before and before[0][1:] == (0, True)
    wait_until(lambda: "192.0.2.10\tdb.cluster\n" in HOSTS.read_text(), 60, what="the node's hosts file")


def test_a_backup_is_restored_while_everything_runs(node, checkout, hub):
    backup, restore = checkout.block("## Backup and restore")
    run("bash", "-euo", "pipefail", "-c", backup, cwd=checkout.directory)
    (file,) = checkout.directory.glob("silodns-*.sql.gz")
    hub.put("cluster", ("db.cluster", "192.0.2.11"))
    wait_until(lambda: "192.0.2.11\tdb.cluster\n" in HOSTS.read_text(), 60, what="the change after the backup")
    run("bash", "-euo", "pipefail", "-c", restore.replace("silodns-2026-11-25.sql.gz", file.name), cwd=checkout.directory)
    wait_until(lambda: ("db.cluster", "192.0.2.10") in hub.records("cluster"), 60, what="the hub to say what the backup has")
    wait_until(lambda: "192.0.2.10\tdb.cluster\n" in HOSTS.read_text(), 60, what="the node's hosts file")


def test_uninstalled_as_documented_nothing_is_left_and_the_hosts_file_is_as_it_was(node, checkout, hub):
    said = checkout.follow("## Uninstall")
    assert "Warning" not in said and "successfully rolled out" in said
    assert HOSTS.read_text() == BEFORE
    kinds = ",".join(node.kubectl("api-resources", "--verbs=list", "-o", "name").stdout.split())

    def left():
        return [f"{o['kind']} {o['metadata']['name']}" for o in node.get(kinds, "-A")["items"] if "silodns" in json.dumps(o["metadata"]) and o["kind"] != "Event"]

    wait_until(lambda: not left(), 60, what=lambda: f"the end of {left()}")
    wait_until(lambda: node.get("persistentvolume", "disk1")["status"]["phase"] == "Released", 60, what="the volume's release")
    wait_until(lambda: "silodns" not in node.ctr("containers", "list").stdout, 60, what="its containers to be gone")
