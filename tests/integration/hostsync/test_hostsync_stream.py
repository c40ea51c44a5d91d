"""What a watch of silodns-hostsync may meet: silence, ends, errors, no watch at all, signals. Whatever it is, the last good state stays."""

import json
import signal
import socket
import subprocess
import time

import pytest

from tests.lib import needs, processes
from tests.lib.fakehub import Scripted
from tests.lib.hostskeeper import BINARY, Keeper, block
from tests.lib.hub import SLOW
from tests.lib.waiting import wait_until
from tests.lib.watchedfile import *  # noqa: F403

# ---- silence, ends and errors ----


def test_a_silent_stream_is_given_up_and_made_anew(keeper, hub):
    hub.heartbeat = 60
    follow(keeper, WATCH_TIMEOUT="400ms")
    hub.wait_for_requests(3, path="/watch")
    assert [e["error"] for e in keeper.events("watch broke off")][:2] == ["timeout", "timeout"]
    hub.set("a", DB2)
    keeper.wait_text(LOCAL + block(("a", DB2), ("b", WEB)))
    assert polls(hub) == [] and keeper.events(AWAY) == []


def test_heartbeats_keep_a_stream(keeper, hub, tmp_path):
    hub.heartbeat = 0.05
    follow(keeper, WATCH_TIMEOUT="1s", STATE_DIR=str(tmp_path))
    time.sleep(3)
    assert len(watches(hub)) == 1
    assert keeper.run("--check", WATCH_TIMEOUT="1s", STATE_DIR=str(tmp_path)).returncode == 0


def test_after_an_end_in_due_form_it_comes_back_exactly_when_the_hub_says(keeper, hub):
    follow(keeper)
    ended = time.monotonic()
    hub.end_watches(retry=1200)
    again = hub.wait_for_requests(2, path="/watch")[1]
    assert 1.2 <= again.time - ended < 2.2
    assert keeper.events(AWAY) == []


def test_after_a_cut_many_come_back_at_different_moments(hub, tmp_path):
    hub.retry = 3000
    keepers = []
    try:
        for i in range(12):
            directory = tmp_path / f"etc{i}"
            directory.mkdir()
            keepers.append(Keeper(directory, hub, silos="a,b", INTERVAL="1h"))
            keepers[-1].hosts.write_text(LOCAL)
            keepers[-1].start()
        for keeper in keepers:
            keeper.wait_text(BOTH)
        cut = time.monotonic()
        hub.cut_watches()
        back = sorted(r.time - cut for r in hub.wait_for_requests(24, path="/watch")[12:])
        assert back[-1] < 4 and back[-1] - back[0] > 0.5, back
    finally:
        for keeper in keepers:
            keeper.stop()


def test_the_hub_says_when_to_come_back_after_a_refusal(keeper, hub):
    hub.script.append(Scripted(status=503, path="/watch", headers={"Retry-After": "2"}))
    follow(keeper)
    first, second = watches(hub)
    assert second.time - first.time >= 2
    assert len(keeper.events(AWAY)) == 1 and len(keeper.wait_event("hub is back")) == 1


def test_while_the_hub_is_away_it_tries_less_and_less_often(keeper, hub):
    follow(keeper)
    hub.rules.append(Scripted(status=503, path="/watch"))
    hub.cut_watches()
    time.sleep(4)
    assert 2 <= len(watches(hub)) <= 40  # from 100 ms on: 5 or 6 in the mean
    assert polls(hub) == [] and keeper.text() == BOTH and len(keeper.events(AWAY)) == 1


def test_refused_credentials_are_told_once_and_tried_again(keeper, hub):
    hub.user, hub.password = "reader", "right"
    hub.retry = 100
    keeper.start(USER="reader", PASSWORD="wrong")
    (event,) = keeper.wait_event("watch refused, the last good state stays")
    assert (event["error"], event["status"]) == ("unauthorized", 401)
    hub.wait_for_requests(3, path="/watch")
    assert len(keeper.events("watch refused, the last good state stays")) == 1
    hub.password = "wrong"
    keeper.wait_text(BOTH, 20)


def test_one_silo_that_makes_no_sense_does_not_hold_up_the_others(keeper, hub):
    def play(stream):
        stream.silo("a", [("-bad-name", "192.0.2.7")], 3)
        stream.silo("b", DB2, 4)
        stream.synced(4)
        stream.hang()

    follow(keeper)
    next_stream(hub, play)
    hub.cut_watches()
    keeper.wait_text(LOCAL + block(("a", DB), ("b", [])))
    (event,) = keeper.events("silo cannot be read, its last good state stays")
    assert event["silo"] == "a" and "-bad-name" in event["detail"]


@pytest.mark.parametrize("garbage,error", [
    ("event: silo\ndata: no JSON\n\n", "protocol"),
    ('event: silo\ndata: {"dnsrecords":[],"revision":5}\n\n', "protocol"),
    ('event: deleted\ndata: {"id":"a"}\n\n', "protocol"),
    ('event: synced\ndata: {"hub":"","revision":5}\n\n', "protocol"),
    ("data: " + "x" * (9 << 20), "too-large"),
    ("".join(["event: silo\n", *["data: x\n"] * (5 << 20)]), "too-large"),
], ids=["no-json", "no-id", "no-revision", "no-hub", "long-line", "many-lines"])
def test_what_makes_no_sense_or_is_too_long_ends_the_stream_and_changes_nothing(keeper, hub, garbage, error):
    def play(stream):
        stream.silo("a", DB, 1)
        stream.silo("b", WEB, 2)
        stream.synced(2)
        stream.send(garbage)
        stream.hang(10)

    next_stream(hub, play)
    follow(keeper)
    (event,) = keeper.wait_event("watch broke off")
    assert event["error"] == error
    assert hub.wait_for_requests(2, path="/watch")[1].query["since"] == ["2"]
    hub.set("a", DB2)
    keeper.wait_text(LOCAL + block(("a", DB2), ("b", WEB)))
    assert written(keeper, 2)


def test_events_of_a_newer_hub_are_ignored(keeper, hub):
    def play(stream):
        stream.event("weather", "fine")
        stream.event("silo", {"id": "a", "dnsrecords": [{"hostname": "db", "ip": "192.0.2.7"}], "revision": 1, "more": [1]})
        stream.silo("nobody-asked", DB2, 2)
        stream.silo("b", WEB, 2)
        stream.send(": a comment\nx-field: y\n\n")
        stream.synced(2)
        stream.hang()

    next_stream(hub, play)
    follow(keeper)
    assert len(watches(hub)) == 1


# ---- where there is no watch ----


def starts(stream):
    stream.send(": silodns\nretry: 100\n\n")
    stream.silo("a", DB2, 3)
    stream.hang()


@pytest.mark.parametrize("rule,error", [
    (None, "not-found"),
    (Scripted(status=404, body="<html>", headers={"Content-Type": "text/html"}), "protocol"),
    (Scripted(status=405, body={"type": "urn:silodns:error:method", "detail": "no"}), "method"),
    (Scripted(status=200, body="<html>hello", headers={"Content-Type": "text/html"}), "protocol"),
    (Scripted(status=200, body=b"", headers={"Content-Type": "application/json"}), "protocol"),
    (Scripted(status=302, headers={"Location": "/elsewhere"}), "protocol"),
    (Scripted(stream=lambda stream: stream.hang()), "timeout"),
    (Scripted(delay=20), "timeout"),
    (Scripted(stream=starts), "timeout"),
    (Scripted(stream=lambda stream: stream.send(": silodns\n\n")), "network"),
    (Scripted(stream=lambda stream: stream.end()), "unavailable"),
], ids=["an-old-hub", "404", "405", "html", "json", "redirect", "a-proxy-holds-the-body", "a-proxy-holds-all", "a-proxy-holds-the-rest",
        "always-cut", "always-ended"])
def test_without_a_watch_the_hub_is_polled(keeper, hub, rule, error):
    hub.retry = 100
    if rule:
        rule.path = "/watch"
        hub.rules.append(rule)
    hub.watches = False
    keeper.start(INTERVAL="100ms", TIMEOUT="1s")
    keeper.wait_text(BOTH, 15)
    (event,) = keeper.events(POLLED)
    assert event["error"] == error
    hub.set("a", DB2)
    keeper.wait_text(LOCAL + block(("a", DB2), ("b", WEB)))
    hub.wait_for_requests(20, path="/silos/a")
    assert len(keeper.events(POLLED)) == 1


def test_a_watch_that_becomes_possible_is_used_and_the_polling_ends(keeper, hub):
    hub.watches = False
    follow(keeper, INTERVAL="100ms")  # 30 intervals: 3 s
    hub.watches = True
    keeper.wait_event(NOT_POLLED)
    wait_until(lambda: hub.watching == 1, what="the stream")
    count = len(polls(hub))
    time.sleep(1)
    assert len(polls(hub)) - count <= 2  # a round may have been under way
    first, second = watches(hub)
    assert 2.7 <= second.time - first.time < 5
    hub.set("a", DB2)
    keeper.wait_text(LOCAL + block(("a", DB2), ("b", WEB)))
    assert written(keeper, 2)


def test_a_hub_that_comes_back_is_asked_for_a_watch_at_once(keeper, hub):
    hub.watches = False
    follow(keeper, INTERVAL="1h")
    hub.rules.append(Scripted(status=503, path="/silos/a"))
    keeper.process.send_signal(signal.SIGHUP)
    keeper.wait_event(AWAY)
    hub.watches, hub.rules = True, []
    keeper.process.send_signal(signal.SIGHUP)
    keeper.wait_event(NOT_POLLED)


def test_the_hub_is_polled_when_there_are_too_many_silos_to_name(keeper, hub):
    follow(keeper, SILOS="a,b," + ",".join(f"silo-{i}" for i in range(63)), INTERVAL="100ms")
    keeper.wait_event("too many silos to watch: the hub is polled")
    assert watches(hub) == []
    hub.set("a", DB2)
    keeper.wait_text(LOCAL + block(("a", DB2), ("b", WEB)))


def test_who_asks_for_polling_gets_it(keeper, hub):
    follow(keeper, FOLLOW="poll", INTERVAL="100ms")
    assert watches(hub) == []
    done = keeper.run(FOLLOW="listen")
    assert done.returncode == 2 and b"SILODNS_FOLLOW" in done.stderr


@pytest.mark.parametrize("flag", ["--once", "--print"])
def test_once_is_answered_by_plain_requests(keeper, hub, flag):
    assert keeper.run(flag).returncode == 0
    assert watches(hub) == [] and len(polls(hub)) == 2


# ---- signals ----


def test_sighup_asks_at_once(keeper, hub):
    hub.script.append(Scripted(status=503, path="/watch", headers={"Retry-After": "3000"}))
    keeper.start()
    keeper.wait_event(AWAY)
    keeper.process.send_signal(signal.SIGHUP)
    keeper.wait_text(BOTH)
    keeper.process.send_signal(signal.SIGHUP)
    assert hub.wait_for_requests(3, path="/watch")[2].query["since"] == [str(hub.revision)]
    hub.set("a", DB2)
    keeper.wait_text(LOCAL + block(("a", DB2), ("b", WEB)))


def ends_within(keeper, seconds):
    begin = time.monotonic()
    assert keeper.stop() == 0
    assert time.monotonic() - begin < seconds * SLOW
    return True


def test_sigterm_ends_it_in_the_midst_of_a_stream(keeper, hub):
    follow(keeper)
    assert ends_within(keeper, 2)


@pytest.fixture
def silent_port():
    """Accepts by its backlog only, and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def full_port(silent_port):
    """Nothing is accepted there any more: a connection stays half made."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as server:
        clients = []
        for _ in range(4):
            clients.append(socket.socket())
            clients[-1].setblocking(False)
            clients[-1].connect_ex(server.getsockname())
        yield server.getsockname()[1]
        for client in clients:
            client.close()


def sockets(state, port):
    said = subprocess.run(["ss", "-Htn", "state", state, f"dport = :{port}"], stdout=subprocess.PIPE, text=True, check=True)
    return said.stdout.splitlines()


def test_sigterm_ends_it_while_it_connects(keeper, full_port):
    before = len(sockets("syn-sent", full_port))
    keeper.start(URL=f"http://127.0.0.1:{full_port}", TIMEOUT="60s")
    wait_until(lambda: len(sockets("syn-sent", full_port)) > before, what="a connection that is being made")
    assert ends_within(keeper, 2)


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("way", ["watch", "poll"])
def test_sigterm_ends_it_while_the_other_side_is_silent(keeper, silent_port, scheme, way):
    keeper.start(URL=f"{scheme}://127.0.0.1:{silent_port}", TIMEOUT="60s", FOLLOW=way)
    wait_until(lambda: sockets("established", silent_port), what="a connection")
    assert ends_within(keeper, 2)


@needs.mounts
@pytest.mark.parametrize("way", ["watch", "poll"])
def test_sigterm_ends_it_while_it_looks_up_a_name(keeper, tmp_path, way):
    (tmp_path / "resolv.conf").write_text("nameserver 127.0.0.77\noptions timeout:20 attempts:5\n")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.77", 53))
        silent.settimeout(10)
        mount = f'mount --bind {tmp_path}/resolv.conf "$(readlink -f /etc/resolv.conf)" && exec "$0"'
        environment = keeper.environment(URL="http://hub.silodns-test.example", TIMEOUT="60s", FOLLOW=way)
        with open(keeper.log_file, "ab") as log:
            keeper.process = subprocess.Popen(["unshare", "-m", "--propagation", "private", "sh", "-c", mount, str(BINARY)],
                                              env=environment, stderr=log)
        silent.recv(512)
        assert ends_within(keeper, 2)


# ---- the health check ----


def test_the_health_check_is_true_while_the_hub_is_silent_refuses_or_holds_back_a_silo(keeper, hub, tmp_path):
    keeper.settings |= {"STATE_DIR": str(tmp_path / "state"), "WATCH_TIMEOUT": "1s"}
    hub.heartbeat = 0.2

    def is_well(well):
        wait_until(lambda: (keeper.run("--check").returncode == 0) == well, 20, f"health: {well}")

    follow(keeper)
    is_well(True)
    hub.forbid("a")
    is_well(False)
    hub.allow("a")
    is_well(True)
    hub.rules.append(Scripted(status=503, path="/watch"))
    hub.cut_watches()
    is_well(False)
    hub.rules.clear()
    is_well(True)
    processes.freeze(keeper.process)
    status = tmp_path / "state" / "hostsync.json"
    old = json.loads(status.read_text()) | {"time": "2020-01-01T00:00:00.000000Z"}
    status.write_text(json.dumps(old))
    assert keeper.run("--check").returncode == 1
    processes.thaw(keeper.process)
    is_well(True)
