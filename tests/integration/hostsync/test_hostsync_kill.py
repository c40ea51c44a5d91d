"""Promise 4: killed at any moment while it writes, hostsync leaves the old or the new hosts file, whole."""

import itertools
import os
import random
import signal
import subprocess
import threading
import time

import pytest

from tests.lib import needs
from tests.lib.fakehub import FakeHub
from tests.lib.hostskeeper import BINARY, Keeper, block
from tests.lib.hub import SLOW
from tests.lib.waiting import wait_until

KILLS = 200 if SLOW == 1 else 40  # a sanitizer looks for other faults, and a kill takes it five times as long
BIG = "".join(f"10.{i >> 16}.{i >> 8 & 255}.{i & 255}\thost-{i}\n" for i in range(100_000))


def versions(count):
    """Two contents of the silo, of different length and different in every line."""
    small = [(f"name-{i:04}", "192.0.2.1") for i in range(count)]
    large = [(f"name-{i:04}.a-longer-one.test", "192.0.2.200") for i in range(count)]
    return small, large


class Flipping(FakeHub):
    """A hub whose silo is another one at every request."""

    def __init__(self, contents):
        super().__init__({"a": contents[0]})
        self.turn = itertools.cycle(reversed(contents))

    def _take_scripted(self, method, path):
        with self.lock:
            self.set("a", next(self.turn))
        return None


def keep_asking(process, stop):
    while not stop.is_set() and process.poll() is None:
        process.send_signal(signal.SIGHUP)
        time.sleep(0.001)


def takes_signals(process):
    """Past the start: SIGHUP is blocked, so that it no longer ends the process."""
    with open(f"/proc/{process.pid}/status") as status:
        blocked = next(line for line in status if line.startswith("SigBlk:"))
    return int(blocked.split()[1], 16) & 1 << (signal.SIGHUP - 1)


def kill_while_writing(keeper, rng, is_writing):
    """Has hostsync write without a pause and kills it: half the times at any moment, else within a write."""
    stop = threading.Event()
    asking = threading.Thread(target=keep_asking, args=(keeper.process, stop))
    wait_until(lambda: takes_signals(keeper.process), what="hostsync's start")
    asking.start()
    time.sleep(rng.uniform(0.002, 0.05) * SLOW)
    if rng.random() < 0.5:
        deadline = time.monotonic() + 10
        while not is_writing() and time.monotonic() < deadline:
            pass
        time.sleep(rng.uniform(0, 0.002))
    keeper.kill()
    assert keeper.process.returncode == -signal.SIGKILL
    stop.set()
    asking.join()


@pytest.mark.promise(4)
def test_killed_many_times_the_file_is_whole_every_time(tmp_path):
    directory = tmp_path / "etc"
    directory.mkdir()
    contents = versions(500)
    rng = random.Random(4)
    with Flipping(contents) as hub, Keeper(directory, hub) as keeper:
        whole = [BIG] + [BIG + block(("a", c)) for c in contents]
        keeper.hosts.write_text(BIG)
        seen, interrupted, kills = set(), 0, 0
        while kills < KILLS or (kills < 400 and not (interrupted and {1, 2} <= seen)):
            kills += 1
            keeper.start(INTERVAL="100ms", FOLLOW="poll", LOG_LEVEL="error")
            kill_while_writing(keeper, rng, keeper.leftovers)
            text = keeper.text()
            assert text in whole, f"{len(text)} bytes, neither the old nor the new file"
            seen.add(whole.index(text))
            interrupted += bool(keeper.leftovers())
            assert len(keeper.leftovers()) <= 1, "a killed hostsync's temporary file was not removed at the next start"
        assert {1, 2} <= seen
        assert interrupted > 0, "no kill fell into a write: the test proves nothing"
        print(f"{interrupted} of {kills} kills fell into a write")
        assert keeper.once().returncode == 0
        assert keeper.leftovers() == []


@pytest.fixture
def mount_point(tmp_path):
    """A hosts file that is a mount point, in the mount namespace of a sleeping process that nsenter can join."""
    directory = tmp_path / "etc"
    directory.mkdir()
    mounted = tmp_path / "mounted"
    mounted.write_text(BIG)
    (directory / "hosts").write_text("")
    ready = tmp_path / "ready"
    script = f"mount --bind {mounted} {directory}/hosts && touch {ready} && exec sleep 600"
    holder = subprocess.Popen(["unshare", "-m", "--propagation", "private", "sh", "-c", script])
    wait_until(ready.exists, what="the mount")
    yield directory, mounted, holder.pid
    holder.kill()
    holder.wait()


@needs.mounts
def test_killed_in_place_the_next_start_makes_the_file_whole(tmp_path, mount_point):
    directory, mounted, pid = mount_point
    state = tmp_path / "state"
    saved_new = state / ".hosts.silodns-new"
    contents = versions(500)
    rng = random.Random(5)
    enter = ["nsenter", f"--mount=/proc/{pid}/ns/mnt", "--"]
    with Flipping(contents) as hub, Keeper(directory, hub, STATE_DIR=str(state)) as keeper:
        whole = [BIG] + [BIG + block(("a", c)) for c in contents]
        environment = keeper.environment(INTERVAL="100ms", FOLLOW="poll", LOG_LEVEL="error")
        pending = mixed = 0
        for _ in range(KILLS):
            # nsenter execs: the process is hostsync itself
            keeper.process = subprocess.Popen([*enter, str(BINARY)], env=environment)
            kill_while_writing(keeper, rng, saved_new.exists)
            pending += saved_new.exists()
            mixed += mounted.read_text() not in whole
            keeper.wrapper = enter
            assert keeper.once(LOG_LEVEL="error").returncode == 0
            assert mounted.read_text() in whole
            assert [p for p in os.listdir(state) if p != "hostsync.json"] == []
        assert pending > 0, "no kill fell into a write: the test proves nothing"
        print(f"{pending} of {KILLS} kills fell into a write, {mixed} of them left a mixed file until the next start")
