"""The disk under a hosts file is full while silos change: the file stays as it was, whole, and is brought up to date when there is room."""

import pathlib
import subprocess

import pytest

from tests.faults.world import rounds
from tests.lib import needs
from tests.lib.hostskeeper import Keeper
from tests.lib.hub import ADMIN
from tests.lib.load import LOCAL
from tests.lib.waiting import wait_until

DISK_KB = 1024


@pytest.fixture
def small_disk(tmp_path):
    """A directory on a disk of its own, in the mount namespace of a process that sleeps, with which it goes. The directory, as hostsync sees it
    and from outside, and the command that enters."""
    inside, ready = tmp_path / "small", tmp_path / "ready"
    inside.mkdir()
    script = f"mount -t tmpfs -o size={DISK_KB}k tmpfs {inside} && touch {ready} && exec sleep 3600"
    holder = subprocess.Popen(["unshare", "-m", "--propagation", "private", "sh", "-c", script])
    wait_until(ready.exists, what="the mount")
    yield inside, pathlib.Path(f"/proc/{holder.pid}/root{inside}"), ["nsenter", f"--mount=/proc/{holder.pid}/ns/mnt", "--"]
    holder.kill()
    holder.wait()


def fill(directory):
    """To the last block."""
    with open(directory / "ballast", "ab", buffering=0) as ballast:
        for size in (65536, 4096, 1):
            try:
                while ballast.write(b"x" * size):
                    pass
            except OSError:
                pass


def failures(keeper):
    return sum(event["level"] == "error" for event in keeper.events())


@needs.mounts
def test_a_full_disk_under_a_hosts_file(make_world, database, small_disk):
    world = make_world(database)
    inside, outside, enter = small_disk
    with Keeper(inside, world.hubs[0], ",".join(world.ledger.silos), USER=ADMIN[0], PASSWORD=ADMIN[1], INTERVAL="100ms") as keeper:
        keeper.wrapper, keeper.directory, keeper.hosts = enter, outside, outside / "hosts"
        keeper.local = LOCAL + "".join(f"10.50.{n >> 8}.{n & 255}\tlocal-{n}\n" for n in range(4000))
        keeper.hosts.write_text(keeper.local)
        world.keepers.append(keeper.start())
        for _ in range(rounds(3, 30)):
            world.ledger.progress_of_all()
            keeper.wait_event("hosts file written", len(keeper.events("hosts file written")) + 1)
            before = failures(keeper)
            # Again and again: a temporary file that was being written makes room when it goes.
            wait_until(lambda: fill(outside) or failures(keeper) > before, what="an error in the log")  # noqa: B023
            fill(outside)
            full = keeper.text()
            assert full.startswith(keeper.local) and full.endswith("# END silodns\n")
            world.ledger.progress_of_all()
            assert keeper.text() == full
            (outside / "ballast").unlink()
        world.check()
        assert keeper.leftovers() == []
