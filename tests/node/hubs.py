"""The hub through its Service, and what Kubernetes says of its pods."""

import json

from tests.containers.pods import get

HUB = "app.kubernetes.io/name=silodns-api"


class Hub:
    def __init__(self, address, password):
        self.url, self.admin = f"http://{address}:8080", ("admin", password)

    def at(self, address):
        """One of them, not by the Service."""
        return Hub(address, self.admin[1])

    def ask(self, path, method="GET", **more):
        # A change whose commit was cut off by the loss of the database has its answer after ten seconds
        return get(self.url + path, timeout=15, user=self.admin, method=method, **more)

    def put(self, silo, *records):
        return self.ask(f"/silos/{silo}", "PUT", body={"dnsrecords": [{"hostname": name, "ip": ip} for name, ip in records]})[0]

    def records(self, silo):
        return {(r["hostname"], r["ip"]) for r in json.loads(self.ask(f"/silos/{silo}")[1])["dnsrecords"]}


def service(node, checkout):
    return Hub(node.get("service", "silodns-api", "-n", "silodns")["spec"]["clusterIP"], checkout.secret("admin-password"))


def is_ready(pod):
    return all(c["ready"] for c in pod["status"].get("containerStatuses", [{"ready": False}]))


def restarts(pod):
    return sum(c["restartCount"] for c in pod["status"]["containerStatuses"])
