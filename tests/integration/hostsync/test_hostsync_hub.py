"""silodns-hostsync and the real hub: whatever happens to the hub, the hosts file is as the hub says, milliseconds later."""

import statistics
import time

import pytest

from tests.lib.hostskeeper import Keeper, block
from tests.lib.hub import ADMIN, SLOW, check_sanitizers

LOCAL = "127.0.0.1\tlocalhost\n"
ANEW = "the hub tells everything anew"
WAIT = 10 * SLOW


@pytest.fixture
def follow(tmp_path):
    """Starts a hostsync that is not to poll."""
    made = []

    def follow(hub, silos="a,b", auth=ADMIN, **settings):
        directory = tmp_path / f"etc{len(made)}"
        directory.mkdir()
        keeper = Keeper(directory, hub, silos=silos, USER=auth[0], PASSWORD=auth[1], INTERVAL="1h", **settings)
        keeper.hosts.write_text(LOCAL)
        made.append(keeper.start())
        return keeper

    yield follow
    for keeper in made:
        assert keeper.stop() == 0, keeper.log_file.read_text()[-3000:]
        check_sanitizers(keeper.log_file.read_text())
        assert not any("polled" in Keeper.message(e) for e in keeper.events())


def text(**silos):
    return LOCAL + block(*((silo, sorted(records.items())) for silo, records in silos.items()))


def test_changes_are_in_the_file_milliseconds_later(hub, follow):
    hub.put_silo("a", {"db": "192.0.2.1"})
    keeper = follow(hub, silos="a")
    keeper.wait_text(text(a={"db": "192.0.2.1"}), WAIT)
    took = []
    for i in range(2, 52):
        began = time.monotonic()
        hub.put_silo("a", {"db": f"192.0.2.{i}"})
        keeper.wait_text(text(a={"db": f"192.0.2.{i}"}), WAIT)
        took.append((time.monotonic() - began) * 1000)
    print(f"PUT to hosts file: median {statistics.median(took):.1f} ms, longest {max(took):.1f} ms")
    assert statistics.median(took) < 1000 * SLOW, "it polls"


def test_silos_come_and_go(hub, follow):
    keeper = follow(hub)
    hub.put_silo("a", {"db": "192.0.2.1"})
    keeper.wait_text(text(a={"db": "192.0.2.1"}), WAIT)
    hub.put_silo("b", {"web": "192.0.2.2"})
    keeper.wait_text(text(a={"db": "192.0.2.1"}, b={"web": "192.0.2.2"}), WAIT)
    hub.delete("/silos/a")
    keeper.wait_text(text(b={"web": "192.0.2.2"}), WAIT)


def test_a_silo_of_ten_thousand_records_arrives_whole(hub, follow):
    many = {f"host-{i:05}.test": f"10.0.{i >> 8}.{i & 255}" for i in range(10_000)}
    keeper = follow(hub, silos="a")
    assert hub.put_silo("a", many).status == 201
    keeper.wait_text(text(a=many), 3 * WAIT)


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_it_goes_on_after_a_restart_of_the_hub_and_misses_nothing(make_hub, database, follow, how):
    hub, other = make_hub(database), make_hub(database)
    hub.put_silo("a", {"db": "192.0.2.1"})
    hub.put_silo("b", {"web": "192.0.2.2"})
    keeper = follow(hub)
    keeper.wait_text(text(a={"db": "192.0.2.1"}, b={"web": "192.0.2.2"}), WAIT)
    getattr(hub, how)()
    other.put_silo("a", {"db": "192.0.2.11"})
    other.delete("/silos/b")
    time.sleep(1)
    assert keeper.text() == text(a={"db": "192.0.2.1"}, b={"web": "192.0.2.2"})
    hub.start()
    keeper.wait_text(text(a={"db": "192.0.2.11"}), 60 * SLOW)
    assert keeper.events(ANEW) == []


def test_a_silo_that_changes_hands_keeps_its_last_good_state(hub, follow):
    alice = hub.add_user("alice", quota=5)
    hub.put_silo("a", {"db": "192.0.2.1"}, auth=alice)
    hub.put_silo("b", {"web": "192.0.2.2"}, auth=alice)
    keeper = follow(hub, auth=alice)
    keeper.wait_text(text(a={"db": "192.0.2.1"}, b={"web": "192.0.2.2"}), WAIT)
    hub.put("/silos/b?owner=admin", {"dnsrecords": []})
    keeper.wait_event("silo cannot be read, its last good state stays", timeout=WAIT)
    hub.put_silo("a", {"db": "192.0.2.3"}, auth=alice)
    keeper.wait_text(text(a={"db": "192.0.2.3"}, b={"web": "192.0.2.2"}), WAIT)
    hub.put("/silos/b?owner=alice", {"dnsrecords": [{"hostname": "web", "ip": "192.0.2.4"}]})
    keeper.wait_text(text(a={"db": "192.0.2.3"}, b={"web": "192.0.2.4"}), WAIT)


def test_a_user_who_is_locked_out_keeps_the_last_good_state_until_let_in_again(hub, follow):
    name, password = hub.add_user("alice", quota=5)
    hub.put_silo("a", {"db": "192.0.2.1"}, auth=(name, password))
    keeper = follow(hub, silos="a", auth=(name, password))
    keeper.wait_text(text(a={"db": "192.0.2.1"}), WAIT)
    hub.secrets.add("another-password")
    hub.put("/users/alice", {"password": "another-password"})
    (event,) = keeper.wait_event("watch refused, the last good state stays", timeout=2 * WAIT)
    assert event["status"] == 401
    assert keeper.text() == text(a={"db": "192.0.2.1"})
    hub.put("/users/alice", {"password": password})
    hub.put_silo("a", {"db": "192.0.2.5"})
    keeper.wait_text(text(a={"db": "192.0.2.5"}), 90 * SLOW)


def test_a_restored_backup_is_followed(hub, database, follow):
    hub.put_silo("a", {"db": "192.0.2.1"})
    hub.put_silo("b", {"web": "192.0.2.2"})
    keeper = follow(hub)
    keeper.wait_text(text(a={"db": "192.0.2.1"}, b={"web": "192.0.2.2"}), WAIT)
    database.sql("START TRANSACTION; DELETE FROM silo WHERE id = 'b'; UPDATE hub SET identity = MD5(RANDOM_BYTES(16)), "
                 "silos = (SELECT COUNT(*) FROM silo), records = (SELECT COUNT(*) FROM record); COMMIT")
    keeper.wait_event(ANEW, timeout=WAIT)
    keeper.wait_text(text(a={"db": "192.0.2.1"}), WAIT)
    hub.put_silo("b", {"web": "192.0.2.3"})
    keeper.wait_text(text(a={"db": "192.0.2.1"}, b={"web": "192.0.2.3"}), WAIT)


def test_many_silos_are_followed_by_one_stream(hub, follow):
    names = [f"silo-{i:02}" for i in range(64)]
    keeper = follow(hub, silos=",".join(names))
    for i, name in enumerate(names):
        hub.put_silo(name, {f"host-{i}": f"192.0.2.{i}"})
    wanted = text(**{name: {f"host-{i}": f"192.0.2.{i}"} for i, name in enumerate(names)})
    keeper.wait_text(wanted, 2 * WAIT)
