
import pytest

from tests.lib.hub import REPO
from tests.node.install import Checkout
from tests.node.node import Node


@pytest.fixture(scope="session")
def node():
    return Node(REPO / "build/node")


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """What a newcomer has: deploy/k8s, and the certificate for the host."""
    return Checkout(tmp_path_factory.mktemp("checkout"), REPO)
