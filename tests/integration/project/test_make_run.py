"""scripts/run, which is what `make run` comes to: the whole system out of one directory."""

import contextlib
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import types

import pytest

from scripts.runlib.changes import GONE, Changes
from tests.lib import needs, processes
from tests.lib.hub import BUILD, REPO, SLOW, check_sanitizers, clean_environment
from tests.lib.mariadb import free_port
from tests.lib.waiting import wait_until

PROGRAMS = {"database": "mariadbd", "api": "silodns-api", "updater": "silodns-updater", "hostsync": "silodns-hostsync"}
NOBODY = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--"]


def children(pid):
    """{name: pid} of the programs that a scripts/run started."""
    found = {}
    for child, directory in processes.children(pid).items():
        with contextlib.suppress(OSError):  # it has just ended
            executable = os.path.basename(os.readlink(directory / "exe"))
            found |= {name: child for name, program in PROGRAMS.items() if program == executable}
    return found


def is_alive(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


class Run:
    """One scripts/run on a directory of its own."""

    def __init__(self, directory, port, wrapper=(), stdout=None, **settings):
        self.directory, self.port = directory, port
        self.output = pathlib.Path(tempfile.mkstemp(prefix=f"{directory.name}-", suffix=".out", dir=directory.parent)[1])
        environment = clean_environment(settings) | {"RUN_DIR": str(directory), "PORT": str(port), "BUILD": str(BUILD)}
        with open(self.output, "ab") as out:
            self.process = subprocess.Popen([*wrapper, REPO / "scripts" / "run"], env=environment, stdin=subprocess.DEVNULL,
                                            stdout=stdout or out, stderr=out, start_new_session=True)

    def said(self):
        return self.output.read_text()

    def wait_said(self, text, timeout=30):
        def seen():
            assert self.process.poll() is None or text in self.said(), self.said()
            return text in self.said()

        wait_until(seen, timeout * SLOW, f"\"{text}\" of scripts/run:\n{self.said()}")
        return self

    def wait_up(self):
        return self.wait_said("one line for each change")

    def shell(self, command):
        done = subprocess.run(["sh", "-c", command], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, timeout=30)
        return done.stdout.strip()

    def put(self, address, silo="silo1"):
        body = json.dumps({"dnsrecords": [{"hostname": "dbserver", "ip": address}]})
        said = self.shell(f"curl -s -K {self.directory}/curlrc -X PUT http://127.0.0.1:{self.port}/silos/{silo} -d '{body}'")
        return address in said

    def hosts_has(self, text):
        return text in (self.directory / "hosts").read_text()

    def end(self, number=signal.SIGTERM):
        """Its exit code; afterwards none of its programs is there."""
        pids = children(self.process.pid).values()
        if self.process.poll() is None:
            self.process.send_signal(number)
        code = self.process.wait(60 * SLOW)
        wait_until(lambda: not any(is_alive(pid) for pid in pids), 30 * SLOW, "the end of what scripts/run started")
        for log in (self.directory / "log").glob("*.log"):
            check_sanitizers(log.read_text(errors="replace"))
        return code


@pytest.fixture
def start():
    made = []
    # Not in pytest's own directory: the path of a Unix socket has to be short.
    base = pathlib.Path(tempfile.mkdtemp(prefix="silodns-run-"))
    base.chmod(0o755)

    def start(directory="run", port=None, **more):  # more: as Run's, settings among them
        made.append(Run(base / directory, port or free_port(), **more))
        return made[-1]

    start.base = base
    yield start
    for run in made:
        run.end(signal.SIGKILL)
    shutil.rmtree(base, ignore_errors=True)


def test_what_its_summary_says_to_try_works_and_is_told_in_one_line(start):
    run = start().wait_up()
    commands = re.findall(r"^  (curl .*)$", run.said(), re.M)
    assert len(commands) == 3
    answers = [json.loads(run.shell(command)) for command in commands]
    assert answers[0] == {"ip": "127.0.0.1"} and isinstance(answers[1], list)
    assert answers[2]["dnsrecords"] == [{"hostname": "dbserver", "ip": "192.0.2.7"}]
    wait_until(lambda: run.hosts_has("192.0.2.7\tdbserver\n"), 5 * SLOW, "the record in the hosts file")
    run.wait_said("silo1: dbserver 192.0.2.7 (revision ")
    assert re.search(r"^\d\d:\d\d:\d\d  admin from 127\.0\.0\.1: silo1: dbserver 192\.0\.2\.7 "
                     r"\(revision \d+\); in the hosts file after \d+ ms$", run.said(), re.M)
    password = re.search("SILODNS_ADMIN_PASSWORD=(.+)", (run.directory / "credentials").read_text()).group(1)
    assert run.end(signal.SIGINT) == 0
    assert password not in run.said() + "".join(log.read_text() for log in (run.directory / "log").iterdir())


def test_nobody_else_can_read_a_secret_or_reach_the_database(start):
    run = start().wait_up()
    for name, mode in (("credentials", 0o600), ("curlrc", 0o600), ("db", 0o700)):
        assert (run.directory / name).stat().st_mode & 0o777 == mode
    database = children(run.process.pid)["database"]
    listening = subprocess.run(["ss", "-Hltnp"], stdout=subprocess.PIPE, text=True, check=True).stdout
    assert f"pid={database}," not in listening


def test_data_and_credentials_stay_between_runs(start):
    run = start().wait_up()
    credentials = (run.directory / "credentials").read_text()
    assert run.put("192.0.2.8")
    run.wait_said("in the hosts file after")
    assert run.end() == 0
    run = start().wait_up()
    assert (run.directory / "credentials").read_text() == credentials
    assert "192.0.2.8" in run.shell(f"curl -s -K {run.directory}/curlrc http://127.0.0.1:{run.port}/silos/silo1")
    assert run.hosts_has("192.0.2.8\tdbserver\n")


def test_lost_credentials_are_made_anew(start):
    run = start().wait_up()
    run.end()
    (run.directory / "credentials").unlink()
    assert start().wait_up().put("192.0.2.9")


def test_a_second_run_says_what_is_in_its_way_and_how_to_go_round_it(start):
    first = start().wait_up()
    same_port = start("other", port=first.port)
    assert same_port.process.wait(20) == 1
    assert f"port {first.port} cannot be used: Address already in use" in same_port.said() and "make run PORT=" in same_port.said()
    same_directory = start()
    assert same_directory.process.wait(20) == 1
    assert "another make run uses" in same_directory.said() and "make run RUN_DIR=" in same_directory.said()
    assert first.process.poll() is None and first.put("192.0.2.7")


@pytest.mark.parametrize("port", ["0", "65536", "http", "-1", "8080 "])
def test_a_port_that_is_none_is_refused(start, port):
    run = start(port=port)
    assert run.process.wait(20) == 1
    assert "is not a port" in run.said() and "Traceback" not in run.said()


def test_a_setting_of_the_callers_reaches_its_program_and_no_other(start):
    run = start(THREADS=3, MAX_RECORDS=2, SILO="mine", HOSTNAMES="me.mine", HOSTSYNC_HOSTNAMES="dbserver", SOURCE="command:echo 9.9.9.9").wait_up()
    assert "as me.mine in the silo mine" in run.said() and "follows mine and silo1" in run.said()
    variables = {}
    for name, pid in children(run.process.pid).items():
        words = pathlib.Path(f"/proc/{pid}/environ").read_bytes().decode().split("\0")
        variables[name] = dict(word.removeprefix("SILODNS_").split("=", 1) for word in words if word.startswith("SILODNS_"))
    assert variables["api"]["THREADS"] == "3" and "THREADS" not in variables["updater"] | variables["hostsync"]
    assert variables["updater"]["HOSTNAMES"] == "me.mine" and variables["hostsync"]["HOSTNAMES"] == "dbserver"
    assert variables["database"] == {} and "HOSTNAMES" not in variables["api"]
    three = json.dumps({"dnsrecords": [{"hostname": "h", "ip": f"192.0.2.{n}"} for n in range(3)]})
    assert '"status":422' in run.shell(f"curl -s -K {run.directory}/curlrc -X PUT http://127.0.0.1:{run.port}/silos/silo1 -d '{three}'")
    assert run.put("192.0.2.7")
    wait_until(lambda: run.hosts_has("192.0.2.7\tdbserver\n"), 5 * SLOW, "the record in the hosts file")
    assert not run.hosts_has("me.mine"), "one that hostsync is not to take"


@pytest.mark.parametrize("settings,says", [
    ({"THREDS": 8}, "SILODNS_THREDS: unknown; did you mean SILODNS_THREADS?"),
    ({"XYZZY": 8}, "SILODNS_XYZZY: unknown: no program has such a setting"),
    ({"LISTEN": "[::]:80", "PASSWORD": "x"}, "SILODNS_PASSWORD: make run chooses this itself"),
    ({"THREADS": "many"}, "api refuses its settings; the end of "),
    ({"SOURCE": "nowhere"}, "updater refuses its settings; the end of "),
    ({"CONFLICT": "maybe"}, "hostsync refuses its settings; the end of "),
], ids=["misspelt", "unknown", "its own", "of the hub", "of the updater", "of hostsync"])
def test_a_setting_that_cannot_be_is_told_and_nothing_goes_on(start, settings, says):
    run = start(**settings)
    assert run.process.wait(30 * SLOW) == 1
    assert says in run.said() and "Traceback" not in run.said()
    assert all(f"SILODNS_{name}: " in run.said() for name in settings), run.said()


def test_a_program_that_dies_is_started_again(start):
    run = start().wait_up()
    for name, pid in children(run.process.pid).items():
        os.kill(pid, signal.SIGKILL)
        run.wait_said(f"{name} ended (signal 9), is started again")
    wait_until(lambda: children(run.process.pid).keys() == PROGRAMS.keys(), 20 * SLOW, "all programs")
    wait_until(lambda: run.put("192.0.2.10"), 20 * SLOW, "the hub")
    wait_until(lambda: run.hosts_has("192.0.2.10\tdbserver\n"), 20 * SLOW, "the record in the hosts file")


def test_when_it_is_killed_its_programs_end_too(start):
    run = start().wait_up()
    assert len(children(run.process.pid)) == len(PROGRAMS)
    assert run.end(signal.SIGKILL) == -signal.SIGKILL


def test_when_nobody_reads_what_it_says_it_stops_all(start):
    reader, writer = os.pipe()
    run = start(stdout=writer)
    os.close(writer)
    wait_until(lambda: b"one line for each change" in os.read(reader, 4096), 30 * SLOW, "the summary")
    pids = children(run.process.pid)
    os.close(reader)
    assert run.put("192.0.2.7")
    assert run.process.wait(30 * SLOW) == 0
    assert pids and not any(is_alive(pid) for pid in pids.values())


def test_stopped_while_it_is_still_starting_it_leaves_nothing(start):
    run = start()
    wait_until(lambda: "database" in children(run.process.pid), 30 * SLOW, "the database")
    began = time.monotonic()
    assert run.end() == 0
    assert time.monotonic() - began < 30 * SLOW  # not killed when the time to stop was over


def test_it_runs_as_an_ordinary_user(start):
    if os.geteuid() == 0:
        if subprocess.run([*NOBODY, "test", "-x", BUILD / "silodns-api"]).returncode:
            pytest.skip("an ordinary user may not read the build directory")
        home = start.base / "nobody"
        home.mkdir()
        os.chown(home, 65534, 65534)
        run = start("nobody/run", wrapper=NOBODY)
    else:
        run = start()
    assert run.wait_up().put("192.0.2.7")
    run.wait_said("in the hosts file after")
    assert run.end() == 0


NETWORK = "set -e; ip link set lo up; ip link add net0 type veth peer name peer0; ip link set net0 up; ip link set peer0 up; "


@pytest.mark.parametrize("network,says", [
    (NETWORK + "ip address add 10.1.2.3/24 dev net0; ip route add default via 10.1.2.1;", "has reported this machine's address as"),
    (NETWORK + "ip address add 10.1.2.3/24 dev net0;", "has reported this machine's address as"),
    (NETWORK, "has nothing to report, and goes on looking: "),
], ids=["a way out", "no way out", "no address"])
@needs.network
def test_the_updater_reports_what_this_machine_has(start, network, says):
    run = start(wrapper=["unshare", "-n", "sh", "-c", network + ' exec "$0"']).wait_up()
    assert says in run.said()
    if "reported" in says:
        name = socket.gethostname().split(".")[0].lower() + ".demo"
        wait_until(lambda: run.hosts_has(f"10.1.2.3\t{name}\n"), 10 * SLOW, "the updater's record in the hosts file")
        run.wait_said(f"demo: {name} 10.1.2.3 (revision ")


# ---- the lines, without programs ----


def at(second, message, **more):
    return {"time": f"2026-01-02T03:04:{second:09.6f}Z", "level": "info", "msg": message, **more}


def changed(second, revision, silo="a", records=1):
    return at(second, "silo changed", silo=silo, revision=revision, user="alice", peer="192.0.2.1", records=records)


def applied(second, revision, silo="a"):
    return at(second, "silo applied", silo=silo, revision=revision, records=1)


@pytest.fixture
def silos():
    """What the hub would answer."""
    return types.SimpleNamespace(answer=(None, {}))


@pytest.fixture
def changes(silos):
    return Changes(("a",), lambda silo: silos.answer)


def test_a_line_says_what_has_changed(changes, silos):
    for revision, names, what in ((1, {"h": ["192.0.2.1"]}, "h 192.0.2.1"), (2, {"h": ["192.0.2.2"]}, "h 192.0.2.2 (was 192.0.2.1)"),
                                  (3, {"i": ["192.0.2.3"]}, "h removed, i 192.0.2.3"), (4, {}, "no record left"),
                                  (5, {n: ["192.0.2.4"] for n in "bcdef"}, "b 192.0.2.4, c 192.0.2.4, d 192.0.2.4, and 2 more")):
        silos.answer = (revision, names)
        assert changes.hub_said(changed(5, revision)) == []
        (line,) = changes.hostsync_said(applied(5.25, revision))
        assert line.endswith(f"alice from 192.0.2.1: a: {what} (revision {revision}); in the hosts file after 250 ms")


def test_the_order_in_which_the_logs_are_read_does_not_matter(changes, silos):
    silos.answer = (1, {"h": ["192.0.2.1"]})
    assert changes.hostsync_said(applied(5.5, 1)) == []
    assert changes.hub_said(changed(5, 1))[0].endswith("in the hosts file after 500 ms")


def test_every_change_gets_its_line_also_when_the_next_comes_first(changes, silos):
    silos.answer = (2, {"h": ["192.0.2.1"]})  # read late: it is at revision 2 already
    assert changes.hub_said(changed(5, 1)) == []
    (line,) = changes.hub_said(changed(5.1, 2))
    assert line.endswith("a: 1 record (revision 1); replaced by revision 2 before the hosts file had it")
    assert changes.hostsync_said(applied(5.2, 2))[0].endswith("after 100 ms")


def test_a_change_that_does_not_arrive_is_told_without_waiting_for_ever(changes, silos):
    silos.answer = None  # the hub does not answer
    changes.hub_said(changed(5, 1))
    began = 1767323045.0  # 2026-01-02T03:04:05Z
    assert changes.overdue(began + 4.9) == []
    assert changes.overdue(began + 5.1)[0].endswith("not in the hosts file after 5 s")
    assert changes.overdue(began + 9) == []


def test_a_silo_that_nobody_follows_is_told_at_once(changes, silos):
    silos.answer = (1, {"h": ["192.0.2.1"]})
    assert "not in this hosts file, which follows a" in changes.hub_said(changed(5, 1, silo="other"))[0]


@pytest.mark.parametrize("records", [0, 2])
def test_a_deleted_silo_has_left_once_the_file_is_written(changes, silos, records):
    changes.hub_said(changed(5, 7))
    lines = changes.hostsync_said(at(5.1, GONE, silo="a", records=records))
    assert bool(lines) == (records == 0), "nothing to take out: nothing to wait for"
    lines += changes.hostsync_said(at(5.2, "hosts file written"))
    assert len(lines) == 1 and "a: deleted (revision 7); in the hosts file after" in lines[0]


def test_the_database_is_told_when_it_goes_and_when_it_is_back(changes):
    up = at(5, "database up", away_ms=3)
    away = at(6, "database away", reason="it said so") | {"level": "warn"}
    assert changes.hub_said(up) == []
    assert changes.hub_said(away)[0].endswith("hub: database away: it said so")
    assert changes.hub_said(up)[0].endswith("hub: database up again")
    assert changes.hub_said(up) == []
