import pathlib
import sys

import pytest

REPO = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(REPO / "tests" / part) for part in ("node", "containers", "integration")]

from install import Checkout  # noqa: E402
from node import Node  # noqa: E402


@pytest.fixture(scope="session")
def node():
    return Node(REPO / "build/node")


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """What a newcomer has: deploy/k8s, and the certificate for the host."""
    return Checkout(tmp_path_factory.mktemp("checkout"), REPO)
