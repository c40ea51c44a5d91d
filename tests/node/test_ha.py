"""The overlay ha, as far as one node can tell: Kubernetes takes every object. Nothing runs mariadb-operator, whose resource is defined by an excerpt of its own definition."""

import json

import pytest

NAMESPACES = ("base/hub/namespace.yaml", "base/hostsync/namespace.yaml")


@pytest.fixture
def cluster(node, checkout):
    """With the operator's resource, and the namespaces, which a dry run does not make."""
    excerpt = json.loads((checkout.repo / "tests/k8s/mariadb-operator-26.3.json").read_text())
    kind, group = excerpt["kind"], excerpt["group"]
    schema = {"openAPIV3Schema": {"type": "object", "properties": {"spec": excerpt["spec"]}}}
    names = {"kind": kind, "listKind": f"{kind}List", "plural": f"{kind.lower()}s", "singular": kind.lower()}
    definition = {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": f"{names['plural']}.{group}"},
                  "spec": {"group": group, "names": names, "scope": "Namespaced",
                           "versions": [{"name": excerpt["version"], "served": True, "storage": True, "schema": schema}]}}
    node.kubectl("apply", "-f", "-", input=json.dumps(definition))
    node.kubectl("wait", "--for=condition=established", f"crd/{definition['metadata']['name']}")
    files = [word for name in NAMESPACES for word in ("-f", str(checkout.directory / "deploy/k8s" / name))]
    node.kubectl("apply", "--server-side", *files)
    yield node
    node.kubectl("delete", *files)
    node.kubectl("delete", "crd", definition["metadata"]["name"])


def test_kubernetes_takes_each_object_of_the_overlay_ha_and_warns_of_nothing(cluster, checkout):
    checkout.make_secrets()
    done = cluster.kubectl("apply", "--dry-run=server", "--server-side", "-k", str(checkout.directory / "deploy/k8s/overlays/ha"), check=False)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    for name in ("mariadb.k8s.mariadb.com/silodns-mariadb", "horizontalpodautoscaler.autoscaling/silodns-api", "deployment.apps/silodns-api"):
        assert f"{name} serverside-applied (server dry run)" in done.stdout, done.stdout
