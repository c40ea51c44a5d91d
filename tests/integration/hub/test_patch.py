"""PATCH /silos/{id}: single records of a silo, in one step."""

import concurrent.futures

import pytest

from tests.lib.answers import problem, records, refused
from tests.lib.hub import make_token
from tests.lib.watcher import Watcher

pytestmark = pytest.mark.hub


def patch(hub, silo, body=None, set=(), remove=(), **more):
    if body is None:
        body = {"set": records(*set), "remove": records(*remove)}
    return hub.request("PATCH", f"/silos/{silo}", body, **more)


def held(answer):
    assert answer.status == 200, answer
    return [(record["hostname"], record["ip"]) for record in answer.json["dnsrecords"]]


A, A6, B, B2, C = ("a", "192.0.2.1"), ("a", "2001:db8::1"), ("b", "192.0.2.2"), ("b", "192.0.2.3"), ("c", "192.0.2.4")


@pytest.mark.parametrize("set,remove,after", [
    ([("c", "192.0.2.4")], [], [A, A6, B, B2, C]),
    ([("a", "192.0.2.9")], [], [("a", "192.0.2.9"), A6, B, B2]),  # the other family stays
    ([("B", "2001:DB8::2")], [], [A, A6, B, B2, ("b", "2001:db8::2")]),
    ([("b", "192.0.2.5"), B], [], [A, A6, B, ("b", "192.0.2.5")]),  # all that it says of one family
    ([], [("A", None)], [B, B2]),
    ([], [A6, B], [A, B2]),
    ([], [("a", "192.0.2.77"), ("nosuch", None)], [A, A6, B, B2]),
    ([("c", "192.0.2.4")], [("a", None), ("b", None)], [C]),
    ([("a", "192.0.2.9")], [("a", None)], [("a", "192.0.2.9"), B, B2]),  # first goes, then comes
    ([A], [A], [A, A6, B, B2]),
    ([], [A, ("a", None), B, B2], []),
])
def test_what_it_names_is_different_and_nothing_else(shared_hub, set, remove, after):
    shared_hub.put("/silos/patched", {"dnsrecords": records(A, A6, B, B2)})
    answer = patch(shared_hub, "patched", set=set, remove=remove)
    assert held(answer) == after and answer.json["id"] == "patched"
    stored = shared_hub.get("/silos/patched")
    assert (stored.body, stored.headers["ETag"]) == (answer.body, answer.headers["ETag"])
    whole = shared_hub.put("/silos/patched", {"dnsrecords": records(*after)})
    assert (whole.body, whole.headers["ETag"]) == (answer.body, answer.headers["ETag"]), "the same document as a PUT would have left"


@pytest.mark.parametrize("body", [{"set": []}, {"remove": []}, {"set": [], "remove": []}, {"set": records(A)}, {"remove": records(C)}])
def test_what_comes_to_the_same_changes_nothing(shared_hub, body):
    tag = shared_hub.put("/silos/same", {"dnsrecords": records(A, B)}).headers["ETag"]
    before = shared_hub.revision()
    answer = patch(shared_hub, "same", body)
    assert held(answer) == [A, B] and answer.headers["ETag"] == tag and shared_hub.revision() == before


def test_a_record_without_ip_gets_the_callers_address_and_none_of_a_proxy(shared_hub):
    shared_hub.put("/silos/me", {"dnsrecords": records(A, A6)})
    said = problem(patch(shared_hub, "me", set=[B, ("a", None)], headers={"X-Forwarded-For": "198.51.100.7"}), 422, "invalid")
    assert said["errors"][0]["field"] == "set[1].ip" and "SILODNS_TRUSTED_PROXIES" in said["detail"]
    assert held(patch(shared_hub, "me", set=[("a", None)])) == [("a", "127.0.0.1"), A6]


@pytest.mark.parametrize("body,status,field", [
    ("", 400, None), ("{", 400, None), ('{"set":[],"set":[]}', 400, None), ("[]", 422, None), ("null", 422, None), ("{}", 422, None), ({"dnsrecords": []}, 422, None),
    ({"set": [], "ttl": 60}, 422, None), ({"set": {}}, 422, "set"), ({"set": None}, 422, "set"), ({"remove": "a"}, 422, "remove"), ({"set": ["a"]}, 422, "set[0]"),
    ({"set": records(A), "remove": [{}]}, 422, "remove[0].hostname"), ({"set": [{"hostname": "a", "ttl": 60}]}, 422, "set[0]"),
    ({"set": records(A, ("-", "192.0.2.1"))}, 422, "set[1].hostname"), ({"set": records(("a", "nonsense"))}, 422, "set[0].ip"),
    ({"remove": records(("a", "nonsense"))}, 422, "remove[0].ip"), ({"remove": [{"hostname": "a", "ip": None}]}, 422, "remove[0].ip"),
    ({"set": records(A, B, A)}, 422, "set[2]"), ({"set": records(("a", None), ("A", "127.0.0.1"))}, 422, "set[1]"),
    ({"remove": records(A, A)}, 422, "remove[1]"), ({"remove": records(("a", None), ("A", None))}, 422, "remove[1]"),
    ({"set": records(*[("a", f"10.0.{n >> 8}.{n & 255}") for n in range(1, 10002)])}, 422, "set"), pytest.param(b" " * (2 << 20), 413, None, id="2 MiB")])
def test_a_bad_patch_is_refused_whole(shared_hub, body, status, field):
    shared_hub.put("/silos/whole", {"dnsrecords": records(A, B)})
    before = shared_hub.revision()
    said = problem(patch(shared_hub, "whole", body), status, {400: "malformed", 413: "too-large", 422: "invalid"}[status])
    assert not field or said["errors"][0]["field"] == field
    assert held(shared_hub.get("/silos/whole")) == [A, B] and shared_hub.revision() == before


def test_there_must_be_a_silo_and_put_makes_one(shared_hub):
    for headers in ({}, {"If-None-Match": "*"}):
        assert "PUT" in problem(patch(shared_hub, "none", set=[A], headers=headers), 404, "not-found")["detail"]
    problem(patch(shared_hub, "none", set=[A], headers={"If-Match": "*"}), 412, "precondition")
    problem(patch(shared_hub, "-bad", set=[A]), 422, "invalid")
    assert shared_hub.get("/silos/none").status == 404
    shared_hub.put("/silos/here", {"dnsrecords": []})
    for query in ("?owner=admin", "?nosuch=1"):
        problem(patch(shared_hub, "here" + query, set=[A]), 400, "malformed")


def test_conditions_guard_it(shared_hub):
    first = shared_hub.put("/silos/guarded", {"dnsrecords": records(A)}).headers["ETag"]
    second = patch(shared_hub, "guarded", set=[B], headers={"If-Match": first})
    assert held(second) == [A, B]
    for headers in ({"If-Match": first}, {"If-Match": '"x"'}, {"If-None-Match": "*"}, {"If-None-Match": second.headers["ETag"]}):
        answer = patch(shared_hub, "guarded", set=[C], headers=headers)
        problem(answer, 412, "precondition")
        assert answer.headers["ETag"] == second.headers["ETag"]
    problem(patch(shared_hub, "guarded", set=[C], headers={"If-Match": "1"}), 400, "malformed")
    assert held(shared_hub.get("/silos/guarded")) == [A, B]
    assert held(patch(shared_hub, "guarded", set=[C], headers={"If-None-Match": first})) == [A, B, C]


def test_it_is_the_owners_and_the_admins(shared_hub):
    owner, other = shared_hub.add_user("patcher", quota=1), shared_hub.add_user("passer-by", quota=1)
    shared_hub.put("/silos/owned", {"dnsrecords": records(A)}, auth=owner)
    problem(patch(shared_hub, "owned", set=[B], auth=other), 403, "forbidden")
    problem(patch(shared_hub, "owned", set=[B], auth=None), 401, "unauthorized")
    assert held(patch(shared_hub, "owned", set=[B], auth=owner)) == [A, B], "also with its quota used up"
    assert held(patch(shared_hub, "owned", set=[C])) == [A, B, C]
    assert shared_hub.get("/silos/owned", auth=owner).status == 200, "an admin's patch leaves the owner"


def test_a_token_patches_what_its_scope_names(shared_hub):
    shared_hub.put("/silos/scoped", {"dnsrecords": records(A, A6, B)})
    before = shared_hub.revision()
    for scope, words in (({"verbs": ["read"]}, "no verb"), ({"verbs": ["update"], "silos": ["other"]}, "not for silo"),
                         ({"verbs": ["update"], "hostnames": ["b"]}, "its own hostnames"), ({"verbs": ["update"], "family": 6}, '"a"')):
        token = make_token(shared_hub, "admin", "never", **scope)
        refused(patch(shared_hub, "scoped", set=[("a", "192.0.2.9")], auth=token), words)
        refused(patch(shared_hub, "scoped", remove=[("a", None)], auth=token), words)
        shared_hub.delete("/users/admin/tokens/never")
    assert held(shared_hub.get("/silos/scoped")) == [A, A6, B] and shared_hub.revision() == before + 8
    token = make_token(shared_hub, "admin", "own", verbs=["read", "update"], silos=["scoped", "nosuch"], hostnames=["a", "new"], family=4)
    assert held(patch(shared_hub, "scoped", set=[("a", "192.0.2.9"), ("new", "192.0.2.10")], auth=token)) == [("a", "192.0.2.9"), A6, B, ("new", "192.0.2.10")]
    assert held(patch(shared_hub, "scoped", set=[B], remove=[("new", None)], auth=token)) == [("a", "192.0.2.9"), A6, B], "what stays as it is, is no change"
    refused(patch(shared_hub, "scoped", set=[("a", "192.0.2.11")], remove=[("b", None)], auth=token), '"b"')
    problem(patch(shared_hub, "nosuch", set=[A], auth=token), 404, "not-found")
    assert held(shared_hub.get("/silos/scoped")) == [("a", "192.0.2.9"), A6, B]


def test_a_token_that_may_not_read_is_not_told_what_else_the_silo_holds(shared_hub):
    shared_hub.put("/silos/unread", {"dnsrecords": records(A, B)})
    token = make_token(shared_hub, "admin", "writer", verbs=["update"], silos=["unread"])
    for change in ([A], [C]):  # nothing new, something new
        answer = patch(shared_hub, "unread", set=change, auth=token)
        assert (answer.status, answer.body) == (204, b"") and answer.headers["ETag"] == shared_hub.get("/silos/unread").headers["ETag"]
    assert held(shared_hub.get("/silos/unread")) == [A, B, C]
    own = make_token(shared_hub, "admin", "own-writer", verbs=["update"], silos=["unread"], hostnames=["own"])
    said = problem(shared_hub.put("/silos/unread", {"dnsrecords": []}, auth=own), 403, "forbidden")["detail"]
    assert '"others"' in said and '"a"' not in said


def test_the_limit_of_records_is_the_silos(make_hub, database):
    hub = make_hub(database, MAX_RECORDS=3)
    hub.put("/silos/small", {"dnsrecords": records(A, B)})
    said = problem(patch(hub, "small", set=[C, ("d", "192.0.2.5")]), 422, "invalid")
    assert said["errors"][0]["field"] == "set" and "3" in said["detail"]
    assert held(hub.get("/silos/small")) == [A, B]
    assert held(patch(hub, "small", set=[C, ("d", "192.0.2.5")], remove=[("a", None)])) == [B, C, ("d", "192.0.2.5")]
    hub.stop()
    fewer = make_hub(database, MAX_RECORDS=1)  # one that is over a limit that came later can be made smaller
    assert held(patch(fewer, "small", remove=[("d", None)])) == [B, C]
    problem(patch(fewer, "small", set=[("e", "192.0.2.6")]), 422, "invalid")


def test_patches_of_one_silo_at_once_lose_nothing(make_hub, database):
    hub = make_hub(database)
    hub.put("/silos/busy", {"dnsrecords": records(("kept", "192.0.2.1"))})

    def client(n):
        connection = hub.connect()
        for i in range(100):
            answer = patch(hub, "busy", set=[(f"h{n}", f"10.{n}.0.{i + 1}"), (f"n{n}-{i}", f"10.{n}.1.{i + 1}")], remove=[(f"n{n}-{i - 2}", None)], connection=connection)
            assert (f"h{n}", f"10.{n}.0.{i + 1}") in held(answer)
        connection.close()

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        list(pool.map(client, range(2)))
    assert held(hub.get("/silos/busy")) == sorted([("kept", "192.0.2.1"), *[(f"h{n}", f"10.{n}.0.100") for n in range(2)],
                                                   *[(f"n{n}-{i}", f"10.{n}.1.{i + 1}") for n in range(2) for i in (98, 99)]])
    assert len(hub.get("/silos/busy/history?limit=1000").json) == 201
    hub.check_memory()


def test_history_audit_and_watchers_are_told(shared_hub):
    shared_hub.put("/silos/told", {"dnsrecords": records(A, B)})
    watcher = Watcher(shared_hub, "told").wait_synced()
    answer = patch(shared_hub, "told", set=[("a", "192.0.2.9")], remove=[("b", None)])
    watcher.wait_for(lambda told: told.silos["told"]["dnsrecords"] == answer.json["dnsrecords"])
    watcher.close()
    (entry,) = shared_hub.get("/silos/told/history?limit=1").json
    assert (entry["change"], entry["added"], entry["removed"]) == ("put", records(("a", "192.0.2.9")), records(A, B))
    (entry,) = shared_hub.get("/audit?outcome=changed&silo=told&limit=1").json
    assert (entry["change"], entry["added"], entry["removed"]) == ("silo-put", records(("a", "192.0.2.9")), records(A, B))
