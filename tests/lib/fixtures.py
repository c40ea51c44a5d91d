"""What the suites in which the real programs run have in common: each conftest.py takes all of it."""

import contextlib
import ctypes
import os
import shutil
import signal
import tempfile

import pytest

from tests.lib import leaks, processes
from tests.lib.hub import SLOW, Hub, finish_all
from tests.lib.mariadb import Database, MariaDB

PR_SET_CHILD_SUBREAPER = 36
TEST_SECONDS = 180 * SLOW  # one test that hangs must not take the others with it


def pytest_configure(config):
    # Whatever a test leaves behind becomes a child of this process, even if its own parent has gone.
    signal.signal(signal.SIGALRM, too_late)
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def too_late(signum, frame):
    raise AssertionError("no end within the test's time")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_call(item):
    marker = item.get_closest_marker("seconds")
    signal.alarm(marker.args[0] * SLOW if marker else TEST_SECONDS)
    yield
    signal.alarm(0)


def command_lines_of_children():
    """{pid: command line} of this process."""
    commands = {}
    for pid, directory in processes.children(os.getpid()).items():
        with contextlib.suppress(OSError):  # it has just ended
            commands[pid] = (directory / "cmdline").read_bytes().replace(b"\0", b" ").decode()
    return commands


@pytest.fixture(autouse=True)
def no_process_is_left_behind():
    before = command_lines_of_children()
    yield
    left = {pid: command for pid, command in command_lines_of_children().items() if pid not in before}
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert not left, f"still running after the test: {left}"


@pytest.fixture(scope="session", autouse=True)
def no_secret_of_any_test_stands_in_any_log(tmp_path_factory):
    """Each hub's log is checked against its own secrets when it ends; here all logs that are left against those of all."""
    yield
    leaks.check_logs(tmp_path_factory.getbasetemp())


@pytest.fixture(scope="session")
def mariadb():
    # Not in pytest's own directory: the path of a Unix socket has to be short.
    directory = tempfile.mkdtemp(prefix="silodns-db-")
    server = MariaDB(directory)
    yield server
    server.stop()
    leaks.check_logs(directory, "log")
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def own_mariadb():
    """A server that a test may stop, kill or pause."""
    directory = tempfile.mkdtemp(prefix="silodns-db-")
    server = MariaDB(directory)
    yield server
    server.kill()
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def database(mariadb):
    made = Database(mariadb)
    yield made
    made.drop()


@pytest.fixture
def make_hub(tmp_path):
    """Starts hubs; ends them and looks through their logs."""
    made = []

    def make(database, start=True, wait_ready=True, **settings):
        hub = Hub(tmp_path, database, **settings)
        made.append(hub)
        return hub.start(wait_ready) if start else hub

    yield make
    finish_all(made)


@pytest.fixture
def hub(make_hub, database):
    return make_hub(database)


@pytest.fixture(scope="module")
def make_shared_hub(mariadb, tmp_path_factory):
    """Starts hubs for all tests of a file."""
    made = []

    def make(start=True, **settings):
        made.append(Hub(tmp_path_factory.mktemp("hub"), Database(mariadb), **settings))
        return made[-1].start() if start else made[-1]

    yield make
    finish_all(made)
    for hub in made:
        hub.database.drop()


@pytest.fixture(scope="module")
def shared_hub(make_shared_hub):
    """One hub for all tests of a file that do not stop it; each uses names of its own."""
    return make_shared_hub()
