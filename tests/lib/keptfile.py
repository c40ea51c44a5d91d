"""A hosts file that a hostsync keeps, of a scripted hub, for the tests: fixtures and words that they share."""

import os

import pytest

from tests.lib.fakehub import FakeHub
from tests.lib.hostskeeper import Keeper

LOCAL = "127.0.0.1\tlocalhost\n"
DB = [("db", "192.0.2.7")]


@pytest.fixture
def hub():
    with FakeHub({"a": DB}) as hub:
        yield hub


@pytest.fixture
def keeper(tmp_path, hub):
    directory = tmp_path / "etc"
    directory.mkdir()
    with Keeper(directory, hub) as keeper:
        keeper.hosts.write_text(LOCAL)
        yield keeper


def identity(path):
    st = os.stat(path)
    return st.st_ino, st.st_mtime_ns, st.st_ctime_ns


def namespace(keeper):
    """Mounts made by shell_before stay in a mount namespace of their own."""
    keeper.wrapper = ["unshare", "-m", "--propagation", "private"]
