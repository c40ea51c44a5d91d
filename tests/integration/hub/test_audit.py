"""The audit: every change with its old and new value, every refused attempt; no secret; bounded whatever comes."""

import http.client
import json
import re

import pytest

from tests.lib.answers import EMPTY, document, problem
from tests.lib.dbproxy import DbProxy
from tests.lib.hub import ADMIN, SLOW, bearer, make_token, run_api
from tests.lib.ledger import add_log
from tests.lib.mariadb import Database
from tests.lib.waiting import wait_until

pytestmark = pytest.mark.hub


def audit(hub, query="", **more):
    answer = hub.get(f"/audit{query}", **more)
    assert answer.status == 200, answer
    return answer.json


def refusals(hub, count=1, query="", what="refused attempts in the audit"):
    """Once there are so many entries."""
    found = []

    def are_there():
        found[:] = audit(hub, f"?outcome=refused&limit=1000{query}")
        return len(found) >= count

    wait_until(are_there, 10 * SLOW, what)
    assert len(found) == count, found
    return found


def test_every_change_is_told_with_who_by_what_and_both_values(make_hub, database):
    hub = make_hub(database)
    hub.add_user("alice", quota=3)
    token = make_token(hub, "alice", "laptop", verbs=["update"])
    hub.put("/silos/s", document(("h", "192.0.2.1")), auth=token)
    hub.put("/silos/s", document(("h", "192.0.2.2"), ("g", "2001:db8::1")), auth=("alice", "a-users-password"))
    hub.delete("/silos/s")
    hub.put("/users/alice", {"quota": 4})
    hub.put("/users/alice", {"password": "another-password"})
    hub.secrets.add("another-password")
    hub.delete("/users/alice/tokens/laptop")
    run_api("user", "set", "alice", "--quota=5", settings=database.settings())
    wait_until(lambda: hub.revision() == 10, what="the change from the command line")
    hub.delete("/users/alice")
    listed = audit(hub)
    assert [entry["revision"] for entry in listed] == list(range(11, 0, -1)) and all(entry["outcome"] == "changed" for entry in listed)
    told = [(entry["change"], entry["subject"], entry["user"], entry["token"], entry["peer"]) for entry in reversed(listed)]
    here = "127.0.0.1"
    assert told == [
        ("user-put", "admin", "", "", ""), ("user-put", "alice", "admin", "", here), ("token-put", "alice/laptop", "admin", "", here),
        ("silo-put", "s", "alice", "laptop", here), ("silo-put", "s", "alice", "", here), ("silo-delete", "s", "admin", "", here),
        ("user-put", "alice", "admin", "", here), ("user-put", "alice", "admin", "", here), ("token-delete", "alice/laptop", "admin", "", here),
        ("user-put", "alice", "", "", ""), ("user-delete", "alice", "admin", "", here)]
    one, two, both = ([{"hostname": h, "ip": ip}] for h, ip in (("h", "192.0.2.1"), ("h", "192.0.2.2"), ("g", "2001:db8::1")))
    values = [tuple(entry.get(key) for key in ("added", "removed", "old", "new")) for entry in reversed(listed)]

    def user(quota, **more):
        return {"role": "common", "quota": quota, **more}

    password = {"password": "set"}
    assert values[1:] == [
        (None, None, None, user(3, **password)), (None, None, None, {"verbs": ["update"]}), (one, [], None, None), (both + two, one, None, None),
        ([], both + two, None, None), (None, None, user(3, **password), user(4)), (None, None, user(4), user(4, **password)),
        (None, None, {"verbs": ["update"]}, None), (None, None, user(4, **password), user(5)), (None, None, user(5), None)]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", listed[0]["at"])


def test_every_refused_attempt_is_told(make_hub, database):
    hub = make_hub(database)
    alice = hub.add_user("alice", quota=1)
    hub.put("/silos/admins", EMPTY)
    token = make_token(hub, "alice", "reader", verbs=["read"], networks=["127.0.0.0/8"])
    away = make_token(hub, "alice", "away", verbs=["read"], networks=["10.0.0.0/8"])
    hub.put("/silos/first", EMPTY, auth=alice)
    hub.get("/silos/admins", auth=("alice", "wrong-password"))
    hub.get("/silos/admins", auth=alice)
    hub.put("/silos/second", EMPTY, auth=alice)
    hub.put("/silos/first", EMPTY, auth=token)
    hub.get("/silos", auth=away)
    hub.get("/users", auth=alice)
    hub.delete("/users/alice/tokens/reader", auth=token)
    for unrefused in ("/silos/nosuch", "/nosuch", "/silos/-bad", "/silos?nosuch=1"):
        hub.get(unrefused, auth=alice)
    hub.post = hub.request("POST", "/silos", auth=None)
    found = refusals(hub, 7)
    told = {(e["error"], e["user"], e["token"], e["method"], e["path"], e["subject"]) for e in found}
    assert told == {
        ("unauthorized", "alice", "", "GET", "/silos/{id}", "admins"), ("forbidden", "alice", "", "GET", "/silos/{id}", "admins"),
        ("quota", "alice", "", "PUT", "/silos/{id}", "second"), ("forbidden", "alice", "reader", "PUT", "/silos/{id}", "first"),
        ("forbidden", "alice", "away", "GET", "/silos", ""), ("forbidden", "alice", "", "GET", "/users", ""),
        ("forbidden", "alice", "reader", "DELETE", "/users/{name}/tokens/{token}", "alice/reader")}
    assert all(e["count"] == 1 and e["peer"] == "127.0.0.1" and e["at"] == e["last"] and len(e["reason"]) > 10 for e in found), found
    (why,) = [e["reason"] for e in found if e["token"] == "away"]
    assert "may not be used from 127.0.0.1" in why


def test_who_asks_too_often_is_told_once_an_hour(make_hub, database):
    hub = make_hub(database, LIMIT_EXEMPT="127.0.0.1", LIMIT_REQUESTS=1, LIMIT_REQUESTS_BURST=3)
    connection = http.client.HTTPConnection("127.0.0.1", hub.port, timeout=20, source_address=("127.0.0.9", 0))
    answers = [hub.get("/ping", auth=None, connection=connection).status for _ in range(30)]
    assert answers.count(429) >= 20
    (told,) = refusals(hub)
    assert (told["error"], told["peer"], told["user"], told["method"], told["path"]) == ("rate", "127.0.0.9", "", "", "")
    wait_until(lambda: refusals(hub)[0]["count"] == answers.count(429), what="all of them")


def test_filters_choose(make_hub, database):
    hub = make_hub(database)
    users = {name: hub.add_user(name, quota=2) for name in ("alice", "bob")}
    for name, user in users.items():
        hub.put(f"/silos/{name}s", EMPTY, auth=user)
    for name, user in users.items():
        hub.get("/users", auth=user)
        hub.get("/silos/alices" if name == "bob" else "/silos/bobs", auth=user)
    refusals(hub, 4)
    assert {e["outcome"] for e in audit(hub)} == {"changed", "refused"}
    assert {e["user"] for e in audit(hub, "?user=bob")} == {"bob"} and len(audit(hub, "?user=bob")) == 3
    assert [(e["outcome"], e["user"]) for e in audit(hub, "?silo=alices")] == [("refused", "bob"), ("changed", "alice")]
    assert [e["subject"] for e in audit(hub, "?user=bob&outcome=changed")] == ["bobs"]
    assert {e["outcome"] for e in audit(hub, "?outcome=refused")} == {"refused"}
    whole = audit(hub, "?outcome=changed")
    middle = whole[2]["at"]
    assert audit(hub, f"?outcome=changed&since={middle}") == whole[:3] and audit(hub, f"?outcome=changed&until={middle}") == whole[3:]
    assert audit(hub, "?since=2199-01-01T00:00:00Z") == [] and audit(hub, "?until=2001-01-01T00:00:00Z") == []
    assert audit(hub, "?user=nobody") == [] and audit(hub, "?silo=nosuch") == []


@pytest.mark.parametrize("limit", [1, 3, 1000])
def test_pages_hold_everything_once_and_in_order(shared_hub, limit):
    if not audit(shared_hub, "?user=pager&limit=1"):
        pager = shared_hub.add_user("pager", quota=9)
        for n in range(4):
            shared_hub.put(f"/silos/p{n}", EMPTY, auth=pager)
            shared_hub.get(f"/silos/other{n}/hosts", auth=make_token(shared_hub, "pager", f"t{n}", verbs=["update"]))
        refusals(shared_hub, 4, "&user=pager")
    found = []
    for answer in shared_hub.pages(f"/audit?user=pager&limit={limit}&since=2001-01-01T00:00:00Z&until=2199-01-01T00:00:00Z"):
        assert len(answer.json) <= limit
        found += answer.json
    assert len(found) == 8 and len({json.dumps(e) for e in found}) == 8
    assert [e["at"] for e in found] == sorted((e["at"] for e in found), reverse=True)


@pytest.mark.parametrize("limit", [1, 2, 3, 1000])
def test_of_one_silo_the_changes_of_one_user(shared_hub, limit):
    auth = ("sharer", "a-users-password") if shared_hub.get("/users/sharer").status == 200 else shared_hub.add_user("sharer", quota=9)
    for n in range(9):
        shared_hub.put(f"/silos/by-{limit}", document(("h", f"192.0.2.{n}")), auth=ADMIN if n % 3 else auth)
    found = [entry for answer in shared_hub.pages(f"/audit?silo=by-{limit}&user=sharer&limit={limit}") for entry in answer.json]
    assert [entry["added"][0]["ip"] for entry in found] == ["192.0.2.6", "192.0.2.3", "192.0.2.0"]


@pytest.mark.parametrize("query,status", [("?outcome=maybe", 422), ("?user=a%20b", 422), ("?silo=-bad", 422), ("?since=today", 422), ("?until=1", 422),
                                          ("?since=2002-01-01T00:00:00Z&until=2001-01-01T00:00:00Z", 422), ("?before=1", 422), ("?before=1.2.3", 422),
                                          ("?before=-1.1", 422), ("?before=9999999999999999999.1", 422), ("?limit=0", 422), ("?limit=1001", 422), ("?nosuch=1", 400),
                                          ("?user=a&user=b", 400)])
def test_a_question_that_makes_no_sense_is_refused(shared_hub, query, status):
    said = problem(shared_hub.get(f"/audit{query}"), status, {400: "malformed", 422: "invalid"}[status])
    if query == "?user=a%20b":
        assert said["errors"][0]["field"] == "user"


def test_it_is_the_admins(shared_hub):
    problem(shared_hub.get("/audit", auth=None), 401, "unauthorized")
    problem(shared_hub.get("/audit", auth=shared_hub.add_user("curious")), 403, "forbidden")
    problem(shared_hub.get("/audit", auth=make_token(shared_hub, "admin", "reading", verbs=["read"])), 403, "forbidden")
    assert shared_hub.get("/audit", auth=make_token(shared_hub, "admin", "auditing", verbs=["admin"])).status == 200


def test_no_secret_comes_into_it(make_hub, database):
    """A password in place of the name, a token in the path's query, a wrong password that is nearly right."""
    hub = make_hub(database)
    secret = make_token(hub, "admin", "secret", verbs=["update"]).split()[1]
    slips = ["the-admins-passwort", "hunter2-hunter2"]
    hub.get("/silos", auth=(slips[1], "admin"))
    hub.get("/silos", auth=("admin", slips[0]))
    hub.get("/silos?token=" + secret, auth=None)
    hub.get("/silos", auth=bearer(secret))
    hub.get("/silos", auth=bearer(secret[:-2]))
    refusals(hub, 3)  # nobody (folded), admin, and the token without its verb
    rows = str(database.sql("SELECT * FROM refusal") + database.sql("SELECT * FROM change_log"))
    for word in (*slips, secret[8:], ADMIN[1], "argon2"):
        assert word not in rows and word not in hub.get("/audit?limit=1000").body.decode(), word
    assert {e["user"] for e in audit(hub, "?outcome=refused")} == {"", "admin"}


def test_a_flood_is_folded_and_bounded_and_what_is_lost_is_counted(make_hub, database):
    hub = make_hub(database, TRUSTED_PROXIES="127.0.0.1")
    connection = hub.connect()

    def attempt(peer, path="/silos"):
        hub.request("GET", path, auth=None, headers={"X-Forwarded-For": peer}, connection=connection)

    for n in range(300):  # of one address, of one /64: whatever it asks for
        attempt("192.0.2.1", f"/silos/s{n}")
        attempt(f"2001:db8::{n:x}", f"/users/u{n}")
    found = refusals(hub, 2)
    wait_until(lambda: sum(e["count"] for e in audit(hub, "?outcome=refused")) == 600, 10 * SLOW, "all attempts")
    assert len(audit(hub, "?outcome=refused")) <= 4 and {e["peer"] for e in found} == {"192.0.2.1", "2001:db8::"}  # (4: a new hour)
    for n in range(1400):
        attempt(f"10.{n // 256}.{n % 256}.1")
    written = int(database.sql("SELECT SUM(count) FROM refusal")[0][0])
    lost = hub.metric("silodns_audit_lost_total")
    assert 0 < lost < 400, "1,024 wait, 100 a second are written"
    assert written + 1024 + lost >= 2000
    assert hub.stop() == 0
    assert int(database.sql("SELECT SUM(count) FROM refusal")[0][0]) == 2000 - lost, "an orderly end writes what waits"


def test_old_and_surplus_entries_go(make_hub, database):
    first = make_hub(database, HISTORY_AGE="1h")
    first.get("/silos", auth=None)
    refusals(first, 1)
    first.stop()
    row = "0, 0, 1, 'forbidden', 'x', '', '', 'GET', '/silos', '', 'r'"
    database.sql(f"INSERT INTO refusal (fold, first_at, last_at, count, error, account, credential, peer, method, path, subject, reason) "
                 f"SELECT seq, {row} FROM seq_1_to_50")
    database.sql("INSERT INTO refusal (fold, first_at, last_at, count, error, account, credential, peer, method, path, subject, reason) "
                 f"SELECT seq, {row.replace('0, 0,', '4000000000000000, 4000000000000000,', 1)} FROM seq_51_to_100100")
    second = make_hub(database, HISTORY_AGE="1h")
    wait_until(lambda: database.sql("SELECT COUNT(*), MIN(last_at) FROM refusal") == [["100000", "4000000000000000"]], 30 * SLOW, "the bounds to be kept")
    assert len(audit(second, "?limit=1000&user=x")) == 1000


def test_while_the_database_is_away_attempts_wait_and_reading_says_so(own_mariadb, make_hub):
    hub = make_hub(Database(own_mariadb))
    own_mariadb.kill()
    wait_until(lambda: hub.get("/readyz", auth=None).status == 503, what="the outage to be noticed")
    for _ in range(5):
        hub.get("/silos", auth=None)
    problem(hub.get("/audit"), 503, "unavailable")
    own_mariadb.start()
    hub.wait_ready(30 * SLOW)
    (entry,) = refusals(hub, 1)
    assert entry["count"] == 5


def test_where_the_change_before_is_not_kept_nothing_is_said_of_it(make_hub, database):
    hub = make_hub(database)
    hub.put("/silos/s", document(("h", "192.0.2.1")))
    hub.put("/silos/s", document(("h", "192.0.2.2")))
    hub.put("/users/admin", {"quota": 1})
    database.sql("DELETE FROM change_log WHERE revision <= 2")
    user, silo = audit(hub)
    assert "old" not in user and user["new"] == {"role": "admin", "quota": 1}
    assert "removed" not in silo and silo["added"] == [{"hostname": "h", "ip": "192.0.2.2"}]


def test_a_long_log_is_looked_through_in_steps(make_hub, database):
    """A filter that nothing matches does not hold a thread: the page ends, and Link goes on."""
    hub = make_hub(database)
    hub.add_user("rare", quota=1)
    hub.put("/silos/r", EMPTY, auth=("rare", "a-users-password"))
    add_log(database, 50000)
    wait_until(lambda: hub.revision() == 50003, 30 * SLOW, "what was written meanwhile to arrive")
    hub.wait_ready()  # catching up, it takes no questions to the database
    found = [entry for answer in hub.pages("/audit?user=rare") for entry in answer.json]
    assert [e["subject"] for e in found] == ["r"]


@pytest.mark.parametrize("part", [0, 1], ids=["before it arrives", "before its answer"])
def test_a_refused_attempt_whose_commit_was_cut_is_told_and_not_lost(make_hub, database, part):
    proxy = DbProxy(database.server.port)
    try:
        hub = make_hub(database, DB_PORT=proxy.port)
        fault = proxy.arm(lambda packet: packet.sql == "COMMIT" and packet.part == part, "before")
        assert hub.get("/silos", auth=None).status == 401
        fault.wait()
        (refusal,) = refusals(hub)
        assert refusal["count"] == 1 or part == 1, "what has landed may be counted twice"
        assert hub.metric("silodns_audit_lost_total") == 0
    finally:
        proxy.close()
