"""hostsync and updater without memory: each allocation fails in turn, of a whole run and of a round among many. The hosts file is the old one or
the new one, the record is right or as it was; what went wrong is said, and the next round is a good one."""

import signal
import subprocess

import pytest

from tests.lib import nomem
from tests.lib.fakehub import FakeHub, Scripted
from tests.lib.hostskeeper import Keeper, block
from tests.lib.hub import ADMIN, SLOW, check_sanitizers, clean_environment
from tests.lib.waiting import wait_until

LOCAL = "127.0.0.1\tlocalhost\n"
ALLOCATIONS_MAX = 2000  # more would be a fault of the test
STEP = 1 if SLOW == 1 else 4  # where each turn is a start: under a sanitizer one of four
NAMES = ("db", "a-name-longer-than-a-buffer", "a-name-longer-than-a-buffer-at-first.and-longer-still")


def records(n):
    return [(name, f"192.0.2.{n % 250 + 1}") for name in sorted(NAMES)]


def hosts(n):
    return LOCAL + block(("a", records(n)))


@pytest.fixture
def hub():
    with FakeHub({"a": records(0)}, user=ADMIN[0], password=ADMIN[1], my_ip="9.9.9.0") as hub:
        yield hub


@pytest.fixture
def memory(tmp_path, request):
    return nomem.Memory(tmp_path / "control", getattr(request, "param", nomem.OWN))


BY_LIBRARY = pytest.mark.parametrize("memory", [nomem.OWN, ("libcurl", "libc.so")], ids=["own", "libcurl"], indirect=True)


@pytest.fixture
def keeper(tmp_path, hub, memory):
    directory = tmp_path / "etc"
    directory.mkdir()
    with Keeper(directory, hub, INTERVAL="1h", USER=ADMIN[0], PASSWORD=ADMIN[1], STATE_DIR=str(tmp_path / "state")) as keeper:
        keeper.program, keeper.wrapper = nomem.program("silodns-hostsync"), memory.wrapper
        keeper.hosts.write_text(LOCAL)
        yield keeper


def turns(memory, step=1):
    """The allocation that fails in this turn, until one comes in which none did."""
    for until in range(1, ALLOCATIONS_MAX, step):
        failed = memory.failed()
        yield until
        memory.fail(0)
        if memory.failed() == failed:
            assert until > 20, "there are allocations, and all have had their turn"
            return
    raise AssertionError("no end of allocations")


# ---- hostsync ----


@pytest.mark.seconds(240)
def test_hostsync_once_leaves_the_old_file_or_the_new_one(keeper, hub, memory):
    before = LOCAL
    for n in turns(memory, STEP):
        hub.set("a", records(n))
        memory.fail(n)
        done = keeper.once()
        assert done.returncode >= 0, done.stderr
        check_sanitizers(done.stderr.decode())
        assert keeper.text() == hosts(n) or (done.returncode and keeper.text() == before), f"allocation {n}: {done.returncode}, {keeper.text()}"
        assert done.returncode == 0 or done.stderr, "a failure has a reason"
        assert keeper.leftovers() == []
        before = keeper.text()
    assert done.returncode == 0 and before == hosts(n)


def wait_whole(keeper, old, new):
    """For the new file; what is there is whole at every moment until then."""
    def is_new():
        text = keeper.text()
        assert text in (old, new), text
        assert keeper.process.poll() is None, keeper.log_file.read_text()[-3000:]
        return text == new

    wait_until(is_new, 10 * SLOW, "the new file")


@pytest.mark.seconds(240)
@BY_LIBRARY
def test_a_round_of_polling_without_memory_is_made_good_by_the_next(keeper, hub, memory):
    keeper.start(FOLLOW="poll")
    keeper.wait_text(hosts(0))
    turn = 0

    def starve(_hub):
        memory.fail(turn)
        keeper.process.send_signal(signal.SIGHUP)  # the next round begins where this one ends

    for turn in turns(memory):
        failed = memory.failed()
        hub.set("a", records(turn))
        hub.script = [Scripted(path="/silos/a", before=starve, serve=True), Scripted(path="/silos/a", before=lambda _hub: memory.fail(0), serve=True)]
        keeper.process.send_signal(signal.SIGHUP)
        wait_until(lambda: memory.failed() > failed or not hub.script, 10 * SLOW, "the end of the round")
        memory.fail(0)
        keeper.process.send_signal(signal.SIGHUP)
        wait_whole(keeper, hosts(turn - 1), hosts(turn))
    assert keeper.stop() == 0
    said = {(keeper.message(event), event["error"]) for event in keeper.events() if event.get("level") in ("warn", "error")}
    assert ("silo cannot be read, its last good state stays", "out-of-memory") in said
    allowed = {"silo cannot be read, its last good state stays", "hosts file left as it is"}
    assert said <= {(text, "out-of-memory") for text in allowed} | {("hub away, the last good state stays", "network")}, said


@pytest.mark.seconds(240)
def test_an_event_without_memory_is_made_good_by_the_next_stream(keeper, hub, memory):
    keeper.start(FOLLOW="watch")
    keeper.wait_text(hosts(0))
    for n in turns(memory):
        failed = memory.failed()
        memory.fail(n)
        revision = hub.set("a", records(n))
        wait_until(lambda: memory.failed() > failed or any(e["revision"] == revision for e in keeper.events("silo applied")[-1:]), 10 * SLOW, "the event")
        memory.fail(0)
        if memory.failed() > failed:
            keeper.process.send_signal(signal.SIGHUP)
        wait_whole(keeper, hosts(n - 1), hosts(n))
    assert keeper.stop() == 0


# ---- updater ----


def updater_settings(hub, **more):
    return {"URL": hub.url, "USER": ADMIN[0], "PASSWORD": ADMIN[1], "SILO": "s", "HOSTNAMES": "me.example.com,an-alias-of-this-machine", "TIMEOUT": "10s",
            "INTERVAL": "1h", **more}


def is_at(hub, address):
    """Whether both names have this address, and nothing else has changed."""
    wanted = {("me.example.com", address), ("an-alias-of-this-machine", address), ("somebody-elses-machine", "192.0.2.3")}
    return {(r["hostname"], r["ip"]) for r in hub.get("s")} == wanted


def publish(hub, address):
    hub.set("s", [("me.example.com", address), ("an-alias-of-this-machine", address), ("somebody-elses-machine", "192.0.2.3")])


@pytest.mark.seconds(240)
@pytest.mark.parametrize("source", ["server", "url:{url}/address command:echo {address}"])
def test_updater_once_publishes_the_right_address_or_nothing(hub, memory, source):
    before = "9.9.9.0"
    publish(hub, before)
    for n in turns(memory, STEP):
        now = hub.my_ip = f"9.9.9.{n % 250 + 1}"
        hub.rules = [Scripted(path="/address", body=f"your address is {now}")]
        settings = updater_settings(hub, SOURCE=source.format(url=hub.url, address=now))
        memory.fail(n)
        done = subprocess.run([*memory.wrapper, nomem.program("silodns-updater"), "--once"], env=clean_environment(settings), timeout=60 * SLOW,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        memory.fail(0)
        assert done.returncode >= 0, done.stderr
        check_sanitizers(done.stderr)
        assert is_at(hub, now) or (done.returncode and is_at(hub, before)), f"allocation {n}: {done.returncode}, {hub.get('s')}, {done.stderr}"
        assert done.returncode == 0 or done.stderr, f"allocation {n}: a failure has a reason"
        before = now if is_at(hub, now) else before
    assert done.returncode == 0 and is_at(hub, now)


@pytest.mark.seconds(240)
@BY_LIBRARY
def test_a_round_of_the_updater_without_memory_is_made_good_by_the_next(hub, memory, tmp_path):
    publish(hub, "9.9.9.0")
    log = tmp_path / "updater.log"
    after = {}
    with open(log, "wb") as out:
        process = subprocess.Popen([*memory.wrapper, nomem.program("silodns-updater")], env=clean_environment(updater_settings(hub)), stderr=out)

    def starve(_hub):
        memory.fail(after["n"])
        process.send_signal(signal.SIGHUP)  # the next round begins where this one ends

    def feed(hub):
        memory.fail(0)
        after["published"], after["log"] = is_at(hub, hub.my_ip), len(log.read_text())

    def round_tells(n, attempt):
        """Whether a round without memory has published the address, or said why not; the next one publishes it."""
        before, now = hub.my_ip, f"9.9.{9 + attempt}.{n % 250 + 1}"
        logged, after["n"], hub.my_ip = len(log.read_text()), n, now
        hub.script = [Scripted(path="/ip", before=starve, serve=True), Scripted(path="/ip", before=feed, serve=True)]
        process.send_signal(signal.SIGHUP)

        def is_published():
            assert process.poll() is None, log.read_text()[-3000:]
            assert is_at(hub, before) or is_at(hub, now), hub.get("s")
            return is_at(hub, now) and not hub.script

        wait_until(is_published, 20 * SLOW, f"the address after allocation {n}")
        said = log.read_text()[logged:after["log"]]
        return after["published"] or "level=warn" in said or "level=error" in said

    try:
        hub.wait_for_requests(1, 30 * SLOW, "GET", "/silos/s")
        for n in turns(memory):
            # libcurl asks a second time by itself when a kept connection breaks: then the round that is looked at has not ended.
            tells = any(round_tells(n, attempt) for attempt in range(3))
            assert tells, f"allocation {n}: nothing was said"
        process.send_signal(signal.SIGTERM)
        assert process.wait(20 * SLOW) == 0
    finally:
        process.kill()
        process.wait()
    check_sanitizers(log.read_text())
