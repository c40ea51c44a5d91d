"""A hosts file that a hostsync keeps by watching a scripted hub, for the tests: fixtures and words that they share."""

import pytest

from tests.lib.fakehub import FakeHub, Scripted
from tests.lib.hostskeeper import Keeper, block

LOCAL = "127.0.0.1\tlocalhost\n"
DB, DB2, WEB = [("db", "192.0.2.7")], [("db", "192.0.2.8")], [("web", "192.0.2.9")]
BOTH = LOCAL + block(("a", DB), ("b", WEB))
POLLED = "the hub cannot be followed by watch: it is polled"
NOT_POLLED = "the hub can be followed by watch: no more polling"
AWAY = "hub away, the last good state stays"


@pytest.fixture
def hub():
    with FakeHub({"a": DB, "b": WEB}) as hub:
        yield hub


@pytest.fixture
def keeper(tmp_path, hub):
    directory = tmp_path / "etc"
    directory.mkdir()
    with Keeper(directory, hub, silos="a,b", INTERVAL="1h") as keeper:
        keeper.hosts.write_text(LOCAL)
        yield keeper


def follow(keeper, text=BOTH, **settings):
    keeper.start(**settings)
    keeper.wait_text(text)
    return keeper


def watches(hub):
    return hub.seen(path="/watch")


def polls(hub):
    return [r for r in hub.seen() if r.path.startswith("/silos/")]


def written(keeper, count):
    """Whether the file has been written so often and no more; the log comes after the file."""
    return len(keeper.wait_event("hosts file written", count)) == count


def next_stream(hub, play):
    hub.script.append(Scripted(path="/watch", stream=play))
