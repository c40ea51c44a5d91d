"""GET /silos/{id}/history: who changed what when, page by page, and to whom that is told."""

import concurrent.futures
import datetime
import re
import socket
import time

import pytest

from tests.lib.answers import get_request, history, problem, records, timed, unavailable
from tests.lib.hub import ADMIN, SLOW
from tests.lib.mariadb import Database, log_locked, paused
from tests.lib.waiting import wait_until

pytestmark = pytest.mark.hub


def pages(hub, path, **more):
    return [answer.json for answer in hub.pages(path, **more)]


def test_each_change_is_told_with_who_when_and_what_it_changed(shared_hub):
    owner = shared_hub.add_user("teller", quota=1)
    before = datetime.datetime.now(datetime.timezone.utc)
    first = shared_hub.put_silo("told", {"a": "192.0.2.1", "b": "192.0.2.2"}, auth=owner)
    second = shared_hub.put_silo("told", {"a": "192.0.2.9", "b": "192.0.2.2"})
    shared_hub.delete("/silos/told", auth=owner)
    after = datetime.datetime.now(datetime.timezone.utc)
    told = history(shared_hub, "told")
    times = [entry.pop("at") for entry in told]
    assert told == [
        {"revision": shared_hub.revision(), "change": "delete", "user": "teller", "peer": "127.0.0.1", "added": [],
         "removed": records({"a": "192.0.2.9", "b": "192.0.2.2"})},
        {"revision": second.revision, "change": "put", "user": "admin", "peer": "127.0.0.1", "added": records({"a": "192.0.2.9"}),
         "removed": records({"a": "192.0.2.1"})},
        {"revision": first.revision, "change": "put", "user": "teller", "peer": "127.0.0.1",
         "added": records({"a": "192.0.2.1", "b": "192.0.2.2"}), "removed": []}]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", text) for text in times)
    moments = [datetime.datetime.fromisoformat(text.replace("Z", "+00:00")) for text in times]
    assert after >= moments[0] >= moments[1] >= moments[2] >= before


def test_what_changes_nothing_is_no_entry_and_a_silo_that_comes_again_begins_anew(shared_hub):
    for _ in range(3):
        shared_hub.put_silo("again", {"a": "192.0.2.1"})
    shared_hub.delete("/silos/again")
    shared_hub.put_silo("again", {"b": "192.0.2.1"})
    assert [(e["change"], e["added"], e["removed"]) for e in history(shared_hub, "again")] == [
        ("put", records({"b": "192.0.2.1"}), []), ("delete", [], records({"a": "192.0.2.1"})), ("put", records({"a": "192.0.2.1"}), [])]


def test_pages_hold_every_change_once_and_differences_are_right_across_their_edges(shared_hub):
    count = 23
    for n in range(count):
        shared_hub.put_silo("paged", {"h": f"192.0.2.{n}"})
        shared_hub.put_silo("between", {"h": f"192.0.2.{n}"})
    for limit in (1, 5, count - 1, count, count + 1):
        got = pages(shared_hub, f"/silos/paged/history?limit={limit}")
        assert [len(page) for page in got] == [limit] * (count // limit) + ([count % limit] if count % limit else [])
        entries = [entry for page in got for entry in page]
        assert [e["added"] for e in entries] == [records({"h": f"192.0.2.{n}"}) for n in reversed(range(count))]
        assert [e["removed"] for e in entries] == [records({"h": f"192.0.2.{n - 1}"}) if n else [] for n in reversed(range(count))]
        assert [e["revision"] for e in entries] == sorted({e["revision"] for e in entries}, reverse=True)
    newest = history(shared_hub, "paged")
    assert history(shared_hub, "paged", f"?before={newest[2]['revision']}") == newest[3:]
    assert history(shared_hub, "paged", f"?before={newest[-1]['revision']}") == []
    assert history(shared_hub, "paged", "?before=999999999999999999") == newest


def test_time_bounds_choose_entries_and_differences_stay_those_of_the_log(shared_hub):
    for n in range(6):
        shared_hub.put_silo("timed", {"h": f"192.0.2.{n}"})
        time.sleep(0.002)
    everything = history(shared_hub, "timed")
    at = [entry["at"] for entry in everything]
    assert history(shared_hub, "timed", f"?from={at[3]}&until={at[1]}") == everything[2:4], "from belongs to it, until does not"
    assert history(shared_hub, "timed", f"?from={at[0]}") == everything[:1]
    assert history(shared_hub, "timed", f"?until={at[5]}") == []
    assert history(shared_hub, "timed", "?from=1970-01-01T00:00:00Z&until=9999-12-31T23:59:59.999999Z") == everything
    bounded = pages(shared_hub, f"/silos/timed/history?limit=2&from={at[4]}&until={at[0]}")
    assert [entry for page in bounded for entry in page] == everything[1:5] and [len(page) for page in bounded] == [2, 2]
    second = at[2][:19]
    assert everything[2] in history(shared_hub, "timed", f"?from={second}Z"), "a fraction may be left out"


def test_a_clock_that_was_wrong_makes_no_difference_wrong(make_hub, database):
    hub = make_hub(database)
    made = [hub.put_silo("clock", {"h": f"192.0.2.{n}"}).revision for n in range(4)]
    database.sql(f"UPDATE change_log SET at = 1000000 WHERE revision = {made[2]}")
    bounded = history(hub, "clock", "?from=2000-01-01T00:00:00Z")
    assert [(e["revision"], e["removed"]) for e in bounded] == [
        (made[3], records({"h": "192.0.2.2"})), (made[1], records({"h": "192.0.2.0"})), (made[0], [])]
    assert [e["revision"] for e in history(hub, "clock", "?until=2000-01-01T00:00:00Z")] == [made[2]]
    plan = database.sql("EXPLAIN SELECT revision FROM change_log WHERE revision < 99 AND at >= 0 AND at < 99 AND revision >= 1 "
                        "AND subject = 'clock' AND kind IN ('silo-put', 'silo-delete') ORDER BY revision DESC LIMIT 9")
    assert "Using index" in plan[0][-1] and "filesort" not in plan[0][-1], "found without reading documents"


@pytest.mark.parametrize("query,field", [
    ("limit=0", "limit"), ("limit=1001", "limit"), ("limit=-1", "limit"), ("limit=ten", "limit"), ("limit=", "limit"), ("limit=05", "limit"),
    ("before=0", "before"), ("before=1.5", "before"), ("before=99999999999999999999", "before"), ("before=x", "before"),
    ("from=yesterday", "from"), ("from=", "from"), ("from=2026-11-25", "from"), ("from=2026-11-25T14:03:07", "from"),
    ("from=2026-11-25T14:03:07%2B00:00", "from"), ("from=2026-11-25t14:03:07z", "from"), ("from=2026-02-29T00:00:00Z", "from"),
    ("from=2026-13-01T00:00:00Z", "from"), ("from=2026-11-25T24:00:00Z", "from"), ("from=2026-11-25T23:59:60Z", "from"),
    ("from=1969-12-31T23:59:59Z", "from"), ("from=2024", "from"), ("from=2024-03-01T00:00:00Z%20", "from"),
    ("from=2024-00-01T00:00:00Z", "from"), ("from=2024-03-00T00:00:00Z", "from"), ("from=2024-03-01T00:60:00Z", "from"), ("from=0000-01-01T00:00:00Z", "from"), ("until=2026-11-25T14:03:07.Z", "until"), ("until=2026-11-25T14:03:07.1234567890Z", "until"),
    ("until=2026-11-25%2014:03:07Z", "until"), ("from=2026-11-25T00:00:00Z&until=2026-11-25T00:00:00Z", "until")])
def test_a_query_that_makes_no_sense_is_refused_with_a_sentence(shared_hub, query, field):
    shared_hub.put_silo("asked", {})
    said = problem(shared_hub.get(f"/silos/asked/history?{query}"), 422, "invalid")
    assert said["errors"][0]["field"] == field


def test_a_query_that_is_not_known_is_refused(shared_hub):
    problem(shared_hub.get("/silos/asked/history?page=2"), 400, "malformed")
    problem(shared_hub.get("/silos/asked/history?limit=1&limit=2"), 400, "malformed")
    problem(shared_hub.get("/silos/-bad/history"), 422, "invalid")


def test_only_owner_and_admin_are_told_and_of_a_deleted_silo_the_admin_only(shared_hub):
    owner, other = shared_hub.add_user("keeper", quota=1), shared_hub.add_user("curious", quota=1)
    shared_hub.put_silo("kept", {"h": "192.0.2.1"}, auth=owner)
    assert history(shared_hub, "kept", auth=owner) == history(shared_hub, "kept")
    problem(shared_hub.get("/silos/kept/history", auth=other), 403, "forbidden")
    problem(shared_hub.get("/silos/kept/history", auth=None), 401, "unauthorized")
    shared_hub.delete("/silos/kept", auth=owner)
    problem(shared_hub.get("/silos/kept/history", auth=owner), 404, "not-found")
    assert len(history(shared_hub, "kept")) == 2
    assert history(shared_hub, "kept", "?before=1") == []
    for user in (owner, ADMIN):
        problem(shared_hub.get("/silos/never/history", auth=user), 404, "not-found")


def test_a_name_that_is_taken_again_tells_nothing_of_its_former_owner(shared_hub):
    first, second = shared_hub.add_user("former", quota=1), shared_hub.add_user("latter", quota=1)
    shared_hub.put_silo("name", {"secret": "192.0.2.1"}, auth=first)
    shared_hub.delete("/silos/name", auth=first)
    shared_hub.put_silo("name", {"mine": "192.0.2.2"}, auth=second)
    told = history(shared_hub, "name", auth=second)
    assert [(e["user"], e["added"], e["removed"]) for e in told] == [("latter", records({"mine": "192.0.2.2"}), [])]
    assert len(history(shared_hub, "name")) == 3, "an admin is told everything"
    shared_hub.delete("/silos/name", auth=second)
    shared_hub.put_silo("name", {"mine": "192.0.2.3"}, auth=second)
    assert len(history(shared_hub, "name", auth=second)) == 3, "what one deleted oneself is one's own still"


def test_a_silo_that_was_given_away_takes_its_history_along(shared_hub):
    heir = shared_hub.add_user("heir")
    shared_hub.put_silo("estate", {"h": "192.0.2.1"})
    shared_hub.put("/silos/estate?owner=heir", {"dnsrecords": records({"h": "192.0.2.1"})})
    told = history(shared_hub, "estate", auth=heir)
    assert [(e["change"], e["added"], e["removed"]) for e in told] == [("put", [], []), ("put", records({"h": "192.0.2.1"}), [])]


def test_a_user_with_the_name_of_a_silo_is_no_part_of_its_history(shared_hub):
    shared_hub.put_silo("both", {"h": "192.0.2.1"})
    shared_hub.add_user("both")
    shared_hub.put_silo("both", {"h": "192.0.2.2"})
    assert [e["removed"] for e in history(shared_hub, "both")] == [records({"h": "192.0.2.1"}), []]


def test_where_the_change_before_is_gone_nothing_is_said_to_have_been_removed(make_hub, database):
    hub = make_hub(database)
    for n in range(4):
        last = hub.put_silo("cut", {"h": f"192.0.2.{n}"})
    database.sql(f"DELETE FROM change_log WHERE revision < {last.revision - 1}")
    newest, oldest = history(hub, "cut")
    assert newest["removed"] == records({"h": "192.0.2.2"}) and newest["added"] == records({"h": "192.0.2.3"})
    assert "removed" not in oldest and oldest["added"] == records({"h": "192.0.2.2"})
    database.sql("DELETE FROM change_log")
    assert history(hub, "cut") == [], "the silo is there, its history is not"


def test_a_page_of_large_silos_ends_early_and_the_next_goes_on(make_hub, database):
    hub = make_hub(database)
    large = {f"host-{n:05}.a-name-of-some-length.example.net": "192.0.2.1" for n in range(9000)}
    for n in range(20):
        assert hub.put_silo("large", {**large, "changing": f"192.0.2.{n}"}).status in (200, 201)
    got = pages(hub, "/silos/large/history?limit=1000")
    assert len(got) > 1 and all(got)
    entries = [entry for page in got for entry in page]
    assert [e["added"] for e in entries[:-1]] == [records({"changing": f"192.0.2.{n}"}) for n in range(19, 0, -1)]
    assert len(entries) == 20 and len(entries[-1]["added"]) == 9001


def test_many_readers_at_once_are_told_to_come_again_until_they_are_served(shared_hub):
    users = [ADMIN, *(shared_hub.add_user(f"reader-{n}", quota=1) for n in range(8))]
    for n, user in enumerate(users):
        shared_hub.put_silo(f"crowded-{n}", {"h": f"192.0.2.{n}"}, auth=user)

    def read(n):
        for _ in range(500):
            answer = shared_hub.get(f"/silos/crowded-{n % len(users)}/history", auth=users[n % len(users)])
            if answer.status == 200:
                return answer.json
            problem(answer, 503, "busy")
            assert int(answer.headers["Retry-After"]) >= 1
            time.sleep(0.01)  # it is what the answer asks for
        raise AssertionError("never served")

    with concurrent.futures.ThreadPoolExecutor(32) as pool:
        for n, entries in enumerate(pool.map(read, range(96))):
            assert [e["added"] for e in entries] == [records({"h": f"192.0.2.{n % len(users)}"})]


def test_each_user_has_its_share_of_the_readers_and_an_admin_finds_a_place(make_hub, database):
    hub = make_hub(database)
    users = [hub.add_user(f"u{n}", quota=1) for n in range(4)]
    for n, user in enumerate(users):
        hub.put_silo(f"s{n}", {}, auth=user)
    with concurrent.futures.ThreadPoolExecutor(20) as pool:

        def read(n, count):
            return [pool.submit(hub.get, f"/silos/s{n}/history", auth=users[n]) for _ in range(count)]

        def refused(call):
            said = problem(call(), 503, "busy")
            assert "too many" in said["detail"]

        with log_locked(database):
            waiting = read(0, 5)
            hub.wait_requests(5)
            refused(lambda: hub.get("/silos/s0/history", auth=users[0]))  # one is being read, and four may wait
            waiting += read(1, 4) + read(2, 4)
            hub.wait_requests(13)
            refused(lambda: hub.get("/silos/s3/history", auth=users[3]))  # the other four places are an admin's, as is the other reader
            admins = [pool.submit(hub.get, "/audit") for _ in range(5)]
            hub.wait_requests(18)
        for answer in [future.result() for future in waiting + admins]:
            assert answer.status == 200 or "too many" not in answer.json["detail"]
        assert admins[0].result().status == 200
    assert history(hub, "s3", auth=users[3]), "there is room again"


def test_a_client_that_goes_away_while_its_history_is_read_leaves_nothing_behind(make_hub, database):
    hub = make_hub(database)
    hub.put_silo("a", {"h": "192.0.2.1"})
    with log_locked(database):
        for path in ("/audit", "/silos/a/history", "/silos/a/history"):
            client = socket.create_connection(("127.0.0.1", hub.port))
            client.sendall(get_request(path))
        hub.wait_requests(3)
        client.close()
    hub.wait_requests(0)
    assert len(history(hub, "a")) == 1


def test_while_the_database_is_away_it_says_so_at_once_and_comes_back_by_itself(own_mariadb, make_hub):
    hub = make_hub(Database(own_mariadb))
    hub.put_silo("a", {"h": "192.0.2.1"})
    assert len(history(hub, "a")) == 1
    own_mariadb.kill()
    wait_until(lambda: hub.get("/readyz", auth=None).status == 503, what="the outage to be noticed")
    for _ in range(3):
        answer, seconds = timed(lambda: hub.get("/silos/a/history"))
        unavailable(answer)
        assert seconds < 0.5 * SLOW
    own_mariadb.start()
    hub.wait_ready(10 * SLOW)
    assert len(history(hub, "a")) == 1


def latency(hub, seconds):
    """Of GETs one after the other over one connection, the slowest but for a hundredth of them."""
    connection, took, until = hub.connect(), [], time.monotonic() + seconds
    while time.monotonic() < until:
        answer, spent = timed(lambda: hub.get("/silos/s0", connection=connection))
        assert answer.status == 200
        took.append(spent)
    connection.close()
    return sorted(took)[int(len(took) * 0.99)]


def test_histories_at_a_database_that_hangs_slow_no_get(own_mariadb, make_hub):
    """Two threads and ten readers: if one held a thread, every other connection of that thread would wait for seconds."""
    hub = make_hub(Database(own_mariadb), THREADS=2)
    users = [hub.add_user(f"u{n}", quota=1) for n in range(5)]
    for n, user in enumerate(users):
        hub.put_silo(f"s{n}", {}, auth=user)
        history(hub, f"s{n}", auth=user)
    without = latency(hub, 1)
    with concurrent.futures.ThreadPoolExecutor(11) as pool:
        with paused(own_mariadb):
            readers = [pool.submit(timed, lambda n=n: hub.get(f"/silos/s{n // 2}/history", auth=users[n // 2])) for n in range(10)]
            readers.append(pool.submit(timed, lambda: hub.get("/audit")))
            beside = [latency(hub, 0.5) for _ in range(6)]  # over six connections, as each thread has its own
            assert max(beside) < max(10 * without, 0.5 * SLOW), (without, beside)
            for reader in readers:
                answer, seconds = reader.result()
                assert answer.status == 503 and int(answer.headers["Retry-After"]) >= 1 and seconds < 8 * SLOW
    wait_until(lambda: hub.get("/audit").status == 200, 15 * SLOW, "recovery")


def test_a_connection_that_the_database_closed_is_replaced_unnoticed(own_mariadb, make_hub):
    database = Database(own_mariadb)
    hub = make_hub(database)
    hub.put_silo("a", {"h": "192.0.2.1"})
    own = {row[0] for row in own_mariadb.sql(f"SELECT id FROM information_schema.processlist WHERE user = '{database.name}'")}
    history(hub, "a")
    for (session,) in own_mariadb.sql(f"SELECT id FROM information_schema.processlist WHERE user = '{database.name}'"):
        if session not in own:
            own_mariadb.sql(f"KILL {session}")
    assert len(history(hub, "a")) == 1


def test_headers_and_other_methods_are_as_everywhere(shared_hub):
    shared_hub.put_silo("ways", {"h": "192.0.2.1"})
    got = shared_hub.get("/silos/ways/history")
    assert got.headers["Content-Type"] == "application/json" and got.headers["Cache-Control"] == "no-store"
    problem(shared_hub.delete("/silos/ways/history"), 405, "method")
