"""GET /watch: who watches is told everything once, then what changes, in order, the newest state only."""

import contextlib
import http.client
import re
import signal
import socket
import time

import pytest

from tests.lib.answers import deaf, get_request, problem, raw
from tests.lib.dbproxy import DbProxy
from tests.lib.hub import ADMIN, SLOW, basic
from tests.lib.mariadb import Database
from tests.lib.waiting import wait_until
from tests.lib.watcher import Watcher

pytestmark = pytest.mark.hub


@pytest.fixture
def watch():
    """Makes watchers and closes them."""
    made = []

    def watch(*args, **more):
        made.append(Watcher(*args, **more))
        return made[-1]

    yield watch
    for watcher in made:
        watcher.close()


def test_everything_is_told_once_then_each_change(hub, watch):
    hub.put_silo("a", {"h": "192.0.2.1"})
    hub.put_silo("b", {"h": "192.0.2.2"})
    watcher = watch(hub).wait_synced()
    assert watcher.headers["Content-Type"] == "text/event-stream" and watcher.headers["X-Accel-Buffering"] == "no"
    assert [(e.kind, e.data.get("id"), e.id) for e in watcher.events] == [("silo", "a", ""), ("silo", "b", ""), ("synced", None, "3")]
    assert watcher.told("synced") == [{"hub": hub.get("/readyz").json["hub"], "revision": 3}]
    first = watcher.told("silo")[0]
    assert first == {"id": "a", "dnsrecords": [{"hostname": "h", "ip": "192.0.2.1"}], "revision": 2}
    assert hub.put_silo("a", {"h": "192.0.2.3"}).revision == 4
    watcher.wait_for(lambda w: w.records("a") == {"h": "192.0.2.3"})
    hub.delete("/silos/b")
    watcher.wait_for(lambda w: w.told("deleted") == [{"id": "b", "revision": 5}])
    assert watcher.last_id == "5" and watcher.retry == 2000 and len(watcher.events) == 5
    assert [(e.kind, e.data.get("id"), e.id) for e in watch(hub).wait_synced().events] == [("silo", "a", ""), ("synced", None, "5")]


def test_a_change_is_told_within_milliseconds(hub, watch):
    watcher = watch(hub, "a").wait_synced()
    times = []
    for n in range(20):
        started = time.monotonic()
        hub.put_silo("a", {"h": f"10.0.0.{n + 1}"})
        while watcher.records("a") != {"h": f"10.0.0.{n + 1}"}:
            time.sleep(0.0005)
        times.append(time.monotonic() - started)
    assert sorted(times)[10] < 0.05 * SLOW


def test_named_silos_only_whether_they_exist_or_not(hub, watch):
    hub.put_silo("a", {"h": "192.0.2.1"})
    hub.put_silo("b", {"h": "192.0.2.2"})
    watcher = watch(hub, "b", "missing", "b").wait_synced()
    assert [(e.kind, e.data.get("id")) for e in watcher.events] == [("deleted", "missing"), ("silo", "b"), ("synced", None)]
    assert watcher.told("deleted") == [{"id": "missing", "revision": 0}]
    hub.put_silo("a", {"h": "192.0.2.3"})
    hub.put_silo("missing", {"h": "192.0.2.4"})
    watcher.wait_for(lambda w: w.records("missing") == {"h": "192.0.2.4"})
    hub.delete("/silos/missing")
    watcher.wait_for(lambda w: len(w.told("deleted")) == 2)
    assert "a" not in watcher.silos


def test_it_continues_where_it_was_cut_off(hub, watch):
    for name in "abc":
        hub.put_silo(name, {"h": "192.0.2.1"})
    identity = watch(hub).wait_synced().told("synced")[0]["hub"]
    hub.put_silo("b", {"h": "192.0.2.2"})
    hub.delete("/silos/c")
    for more in ({"since": 4, "identity": identity}, {"since": 4}, {"headers": {"Last-Event-ID": "4"}}, {"since": 1, "headers": {"Last-Event-ID": "4"}},
                 {"last_event": {"lastEventId": 4}, "since": 1}, {"last_event": {"Last-Event-ID": 4}}, {"last_event": {"lastEventId": 4, "Last-Event-ID": 1}},
                 {"last_event": {"lastEventId": 1}, "headers": {"Last-Event-ID": "4"}}, {"last_event": {"lastEventId": ""}, "since": 4}):
        watcher = watch(hub, **more).wait_synced()
        assert [(e.kind, e.data.get("id"), e.id) for e in watcher.events] == [("silo", "b", "5"), ("deleted", "c", "6"), ("synced", None, "6")], more
    named = watch(hub, "a", "b", since=4).wait_synced()
    assert [(e.kind, e.data.get("id")) for e in named.events] == [("silo", "b"), ("synced", None)]
    assert [e.kind for e in watch(hub, since=6).wait_synced().events] == ["synced"]


@pytest.mark.parametrize("names", [[], ["a"]])
def test_what_cannot_be_continued_is_reset(hub, watch, names):
    hub.put_silo("a", {"h": "192.0.2.1"})
    for more in ({"since": 3}, {"since": 2, "identity": "0" * 32}, {"since": 0}):
        watcher = watch(hub, *names, **more).wait_synced()
        assert [(e.kind, e.id) for e in watcher.events] == [("reset", "0"), ("silo", "0"), ("synced", "2")], more
        assert watcher.told("reset")[0]["revision"] == 2


def test_only_the_newest_state_is_told_to_whoever_comes_late(hub, watch):
    hub.put_silo("a", {"h": "192.0.2.1"})
    for n in range(50):
        hub.put_silo("a", {"h": f"10.0.0.{n + 1}"})
    watcher = watch(hub, since=2).wait_synced()
    assert [silo["dnsrecords"][0]["ip"] for silo in watcher.told("silo")] == ["10.0.0.50"]


def test_a_big_silo_arrives_whole_among_small_ones(hub, watch):
    big = {f"host-{n}.example": f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}" for n in range(10000)}
    watcher = watch(hub).wait_synced()
    hub.put_silo("small", {"h": "192.0.2.1"})
    assert hub.put_silo("big", big).status in (200, 201)
    hub.put_silo("last", {"h": "192.0.2.1"})
    watcher.wait_for(lambda w: w.records("last"), 30)
    assert watcher.records("big") == big


def test_each_user_is_told_of_its_own_silos(hub, watch):
    alice, bob = hub.add_user("alice", quota=5), hub.add_user("bob", quota=5)
    hub.put_silo("a", {"h": "192.0.2.1"}, auth=alice)
    hub.put_silo("b", {"h": "192.0.2.2"}, auth=bob)
    mine, named = watch(hub, auth=alice).wait_synced(), watch(hub, "a", "b", auth=alice).wait_synced()
    assert set(mine.silos) == {"a"}
    assert [(e.kind, e.data.get("id")) for e in named.events] == [("silo", "a"), ("forbidden", "b"), ("synced", None)]
    hub.put_silo("b", {"h": "192.0.2.9"}, auth=bob)
    hub.put("/silos/a?owner=bob", {"dnsrecords": []})
    for watcher in (mine, named):
        watcher.wait_for(lambda w: [e["id"] for e in w.told("forbidden")][-1:] == ["a"])
    hub.put_silo("a", {"h": "192.0.2.8"}, auth=bob)
    hub.put("/silos/a?owner=alice", {"dnsrecords": []})
    for watcher in (mine, named):
        watcher.wait_for(lambda w: w.records("a") == {})
        assert not any("192.0.2.8" in line or "192.0.2.2" in line or "192.0.2.9" in line for line in watcher.raw)
    assert [e["id"] for e in named.told("forbidden")] == ["b", "a"]


def test_a_changed_or_removed_user_ends_its_streams(hub, watch):
    alice = hub.add_user("alice", quota=5)
    other = watch(hub).wait_synced()
    watcher = watch(hub, auth=alice).wait_synced()
    hub.put("/users/alice", {"password": "another-password"})
    watcher.wait_for(lambda w: w.ended)
    assert watch(hub, auth=alice).status == 401
    watcher = watch(hub, "a", auth=("alice", "another-password")).wait_synced()
    hub.delete("/users/alice")
    watcher.wait_for(lambda w: w.ended)
    assert not other.ended


def test_a_user_whose_rights_changed_meanwhile_begins_anew(hub, watch):
    alice = hub.add_user("alice", quota=5)
    hub.put_silo("a", {"h": "192.0.2.1"}, auth=alice)
    hub.put_silo("b", {"h": "192.0.2.2"})
    before = hub.revision()
    hub.put("/users/alice", {"role": "admin"})
    watcher = watch(hub, auth=alice, since=before).wait_synced()
    assert [e.kind for e in watcher.events] == ["reset", "silo", "silo", "synced"]
    named = watch(hub, "b", auth=alice, since=before).wait_synced()
    assert [e.kind for e in named.events] == ["silo", "synced"]


def test_a_sign_of_life_comes_and_carries_the_revision(hub, watch):
    watcher = watch(hub, "a").wait_synced()
    hub.put_silo("other", {"h": "192.0.2.1"})
    watcher.wait_for(lambda w: w.raw[-3:] == [":", f"id: {hub.revision()}", ""], 15)
    assert watcher.told("silo") == []


def test_changes_through_another_hub_are_told(make_hub, database, watch):
    one, two = make_hub(database), make_hub(database)
    watcher = watch(two).wait_synced()
    one.put_silo("a", {"h": "192.0.2.1"})
    watcher.wait_for(lambda w: w.records("a") == {"h": "192.0.2.1"})
    one.delete("/silos/a")
    watcher.wait_for(lambda w: w.told("deleted"))


@pytest.fixture
def proxy(database):
    proxy = DbProxy(database.server.port)
    yield proxy
    proxy.close()


@pytest.mark.parametrize("names", [(), ("a",)], ids=["all silos", "a named one"])
def test_who_comes_from_a_hub_that_was_ahead_is_told_nothing_older(make_hub, database, proxy, watch, names):
    one, behind = make_hub(database), make_hub(database, DB_PORT=proxy.port)
    one.put_silo("a", {"h": "192.0.2.1"})
    wait_until(lambda: behind.revision() == one.revision(), what="the change")
    hold = proxy.arm(lambda packet: packet.part == 0 and "FROM hub" in packet.sql, "hold", times=100)  # a connection that is tried again, too
    hold.wait()
    revision = one.put_silo("a", {"h": "192.0.2.2"}).revision
    watcher = watch(behind, *names, since=revision, identity=one.get("/readyz").json["hub"])
    watcher.wait_for(lambda w: "retry: 2000" in w.raw)
    assert behind.get("/silos/a").json["dnsrecords"] == [{"hostname": "h", "ip": "192.0.2.1"}] and not watcher.events
    hold.release()
    watcher.wait_synced()
    one.put_silo("a", {"h": "192.0.2.3"})
    watcher.wait_for(lambda w: w.records("a") == {"h": "192.0.2.3"})
    assert [e.kind for e in watcher.events] == ["synced", "silo"]


def test_a_stream_goes_on_while_the_database_is_away_and_after(own_mariadb, make_hub, watch):
    hub = make_hub(Database(own_mariadb))
    hub.put_silo("a", {"h": "192.0.2.1"})
    watcher = watch(hub).wait_synced()
    own_mariadb.kill()
    wait_until(lambda: hub.get("/readyz", auth=None).status == 503, what="the outage to be noticed")
    assert watch(hub).wait_synced().records("a") == {"h": "192.0.2.1"}
    own_mariadb.start()
    wait_until(lambda: hub.put_silo("a", {"h": "192.0.2.2"}).status == 200, 10 * SLOW, "recovery")
    watcher.wait_for(lambda w: w.records("a") == {"h": "192.0.2.2"})
    assert not watcher.ended and not watcher.told("reset")


def test_a_restarted_hub_continues_with_deletions_and_changes_of_owner(hub, watch):
    alice = hub.add_user("alice", quota=5)
    for name in "abc":
        hub.put_silo(name, {"h": "192.0.2.1"}, auth=alice)
    identity, before = hub.get("/readyz").json["hub"], hub.revision()
    hub.delete("/silos/a")
    hub.put("/silos/b?owner=admin", {"dnsrecords": []})
    hub.stop()
    hub.start()
    everything = watch(hub, since=before, identity=identity).wait_synced()
    assert [(e.kind, e.data.get("id")) for e in everything.events] == [("deleted", "a"), ("silo", "b"), ("synced", None)]
    hers = watch(hub, auth=alice, since=before, identity=identity).wait_synced()
    assert [(e.kind, e.data.get("id")) for e in hers.events] == [("deleted", "a"), ("forbidden", "b"), ("synced", None)]


def test_when_the_hub_stops_each_stream_is_told_when_to_come_back_and_ends(hub, watch):
    watchers = [watch(hub, "a").wait_synced() for _ in range(20)]
    started = time.monotonic()
    assert hub.stop() == 0
    assert time.monotonic() - started < 3 * SLOW
    for watcher in watchers:
        watcher.wait_for(lambda w: w.ended)
        assert 200 <= watcher.retry < 3200
    assert len({watcher.retry for watcher in watchers}) > 10, "all would come back at once"


def test_who_does_not_read_is_disconnected_and_costs_no_memory(make_hub, database):
    hub = make_hub(database, IDLE_TIMEOUT="2s")
    big = {f"host-{n}.example": f"10.1.{n >> 8 & 255}.{n & 255}" for n in range(5000)}
    assert hub.put_silo("big", big).status in (200, 201)
    with contextlib.ExitStack() as stack:
        for _ in range(20):
            stack.enter_context(deaf(hub, get_request("/watch")))
        wait_until(lambda: hub.metric("silodns_watchers") == 20, what="the streams")
        before = hub.memory_kb()
        for n in range(20):
            big["host-0.example"] = f"10.2.0.{n + 1}"
            assert hub.put_silo("big", big).status in (200, 201)
        grown = hub.memory_kb() - before
        wait_until(lambda: hub.metric("silodns_watchers") == 0, 20 * SLOW, "the end of the streams that nobody reads")
    assert SLOW > 1 or grown < 20_000, "each watcher must hold one state at the most"  # (a sanitizer has its own idea of memory)


def test_bad_questions_are_refused(shared_hub):
    for path, status, name in (
            ("/watch?silo=a/b", 422, "invalid"), ("/watch?silo=", 422, "invalid"), ("/watch?since=x", 422, "invalid"), ("/watch?since=-1", 422, "invalid"),
            ("/watch?since=99999999999999999999", 422, "invalid"), ("/watch?what=1", 400, "malformed"), ("/watch?since=1&since=2", 400, "malformed"),
            ("/watch?" + "&".join(f"silo=s{n}" for n in range(65)), 422, "invalid")):
        problem(shared_hub.get(path), status, name)
    problem(shared_hub.get("/watch", headers={"Last-Event-ID": "latest"}), 422, "invalid")
    assert "lastEventId" in str(problem(shared_hub.get("/watch?since=1&lastEventId=latest"), 422, "invalid"))
    problem(shared_hub.get("/watch", auth=None), 401, "unauthorized")
    problem(shared_hub.request("POST", "/watch"), 405, "method")
    answer = shared_hub.request("HEAD", "/watch")
    assert answer.status == 200 and answer.headers["Content-Type"] == "text/event-stream"


def test_many_silos_may_be_named(shared_hub, watch):
    names = [f"n{n}" for n in range(64)]
    watcher = watch(shared_hub, *names).wait_synced()
    assert len(watcher.told("deleted")) == 64
    shared_hub.put_silo("n63", {"h": "192.0.2.1"})
    watcher.wait_for(lambda w: w.records("n63"))


def test_head_is_answered_by_headers_alone(shared_hub):
    head = b"HEAD /watch HTTP/1.1\r\nHost: x\r\nAuthorization: " + basic(*ADMIN).encode() + b"\r\n\r\n"
    answer = raw(shared_hub, head + b"GET /ping HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert re.match(rb"HTTP/1.1 200 OK\r\n(.+\r\n)+\r\nHTTP/1.1 200 OK\r\n", answer) and answer.endswith(b'{"message":"PONG"}'), answer


def test_an_old_http_client_is_served_too(shared_hub):
    with socket.create_connection(("127.0.0.1", shared_hub.port), 20) as sock:
        sock.sendall(f"GET /watch?silo=old HTTP/1.0\r\nAuthorization: {basic(*ADMIN)}\r\n\r\n".encode())
        text = b""
        while b"event: synced" not in text:
            more = sock.recv(4096)
            assert more, text
            text += more
        assert b"chunked" not in text.lower()


def test_a_hub_killed_in_the_middle_is_continued_by_its_watchers(hub, watch):
    watcher = watch(hub).wait_synced()
    hub.put_silo("a", {"h": "192.0.2.1"})
    watcher.wait_for(lambda w: w.records("a"))
    hub.kill()
    watcher.wait_for(lambda w: w.ended)
    hub.start()
    hub.put_silo("b", {"h": "192.0.2.2"})
    again = watch(hub, since=watcher.last_id, identity=watcher.told("synced")[0]["hub"]).wait_synced()
    assert [(e.kind, e.data.get("id")) for e in again.events] == [("silo", "b"), ("synced", None)]
    hub.signal(signal.SIGTERM)
    with contextlib.suppress(http.client.HTTPException, OSError):
        again.wait_for(lambda w: w.ended)
