"""What each scope of a token allows, at its limit and one past it."""

import json
import time

import pytest

from tests.lib.answers import EMPTY, document, problem, refused
from tests.lib.hub import SLOW, make_token
from tests.lib.needs import ipv6
from tests.lib.waiting import wait_until

pytestmark = pytest.mark.hub


@pytest.fixture(scope="module")
def alice(shared_hub):
    return shared_hub.add_user("alice", quota=1000)


def test_read_reads_and_update_updates(shared_hub, alice):
    shared_hub.put("/silos/verbs", document(("h", "192.0.2.1")), auth=alice)
    read, update = make_token(shared_hub, "alice", "r", verbs=["read"]), make_token(shared_hub, "alice", "u", verbs=["update"])
    for path in ("/silos", "/silos/verbs", "/silos/verbs/hosts", "/silos/verbs/history", "/watch"):
        if path != "/watch":
            assert shared_hub.get(path, auth=read).status == 200
        refused(shared_hub.get(path, auth=update), 'no verb "read"')
    for method, body in (("PUT", EMPTY), ("DELETE", None)):
        before = shared_hub.revision()
        refused(shared_hub.request(method, "/silos/verbs", body, auth=read), 'no verb "update"')
        assert shared_hub.revision() == before
    assert shared_hub.put("/silos/verbs", EMPTY, auth=update).status == 200
    assert shared_hub.delete("/silos/verbs", auth=update).status == 204
    assert shared_hub.put("/silos/verbs", EMPTY, auth=update).status == 201


def test_a_token_for_some_silos_sees_and_changes_these(shared_hub, alice):
    for silo in ("in1", "in2", "out"):
        shared_hub.put(f"/silos/{silo}", document((silo, "192.0.2.1")), auth=alice)
    token = make_token(shared_hub, "alice", "some", verbs=["read", "update"], silos=["in2", "in1", "in0"])
    assert [silo["id"] for silo in shared_hub.get("/silos", auth=token).json] == ["in1", "in2"]
    page = shared_hub.get("/silos?limit=1", auth=token)
    assert [silo["id"] for silo in page.json] == ["in1"] and "after=in1" in page.headers["Link"]
    last = shared_hub.get("/silos?limit=1&after=in1", auth=token)
    assert [silo["id"] for silo in last.json] == ["in2"] and "Link" not in last.headers
    assert shared_hub.get("/silos/in1", auth=token).status == 200
    for path in ("/silos/out", "/silos/out/hosts", "/silos/out/history", "/silos/never"):
        refused(shared_hub.get(path, auth=token), "not for silo")
    for method in ("PUT", "DELETE"):
        refused(shared_hub.request(method, "/silos/out", EMPTY, auth=token), "not for silo")
        refused(shared_hub.request(method, "/silos/never", EMPTY, auth=token), "not for silo")
    assert shared_hub.put("/silos/in0", EMPTY, auth=token).status == 201, "it may make one of its own"
    assert shared_hub.delete("/silos/in0", auth=token).status == 204


def test_a_token_never_does_more_than_its_owner(shared_hub, alice):
    shared_hub.put("/silos/admins", EMPTY)
    token = make_token(shared_hub, "alice", "beyond", verbs=["read", "update"], silos=["admins"])
    for method, body in (("GET", None), ("PUT", document(("h", "192.0.2.1"))), ("DELETE", None)):
        refused(shared_hub.request(method, "/silos/admins", body, auth=token), "somebody else")
    assert shared_hub.get("/silos", auth=token).json == []


def test_a_token_for_hostnames_changes_these_and_nothing_beside(shared_hub, alice):
    rest = [("other", "192.0.2.9"), ("zone", "2001:db8::9")]
    shared_hub.put("/silos/shared", document(("own", "192.0.2.1"), *rest), auth=alice)
    token = make_token(shared_hub, "alice", "upstream", verbs=["read", "update"], silos=["shared"], hostnames=["own", "mine"])
    tag = shared_hub.get("/silos/shared", auth=token).headers["ETag"]
    assert shared_hub.put("/silos/shared", document(("own", "192.0.2.2"), ("own", "2001:db8::2"), *rest), auth=token, headers={"If-Match": tag}).status == 200
    assert shared_hub.put("/silos/shared", document(("mine", "192.0.2.2"), *rest), auth=token).status == 200, "one comes, one goes"
    present = shared_hub.get("/silos/shared").body
    for body, name in ((document(("mine", "192.0.2.3"), *rest, ("third", "192.0.2.3")), "third"), (document(("mine", "192.0.2.3"), rest[1]), "other"),
                       (document(("mine", "192.0.2.3"), ("other", "192.0.2.10"), rest[1]), "other"), (EMPTY, "other"),
                       (document(("mine", "192.0.2.2"), *rest, ("a.mine", "192.0.2.2")), "a.mine")):
        before = shared_hub.revision()
        refused(shared_hub.put("/silos/shared", body, auth=token), f'"{name}"')
        assert shared_hub.get("/silos/shared").body == present and shared_hub.revision() == before
    refused(shared_hub.delete("/silos/shared", auth=token), "may not delete")
    problem(shared_hub.put("/silos/shared", EMPTY, auth=token, headers={"If-Match": '"1"'}), 412, "precondition")
    shared_hub.delete("/silos/shared", auth=alice)
    refused(shared_hub.put("/silos/shared", document(("own", "192.0.2.2")), auth=token), "may not make")


def test_a_token_for_one_family_leaves_the_other_alone(shared_hub, alice):
    shared_hub.put("/silos/dual", document(("h", "192.0.2.1"), ("h", "2001:db8::1")), auth=alice)
    four, six = (make_token(shared_hub, "alice", f"v{family}", verbs=["update"], silos=["dual"], family=family) for family in (4, 6))
    assert shared_hub.put("/silos/dual", document(("h", "192.0.2.2"), ("h", "2001:db8::1")), auth=four).status == 200
    refused(shared_hub.put("/silos/dual", document(("h", "192.0.2.2"), ("h", "2001:db8::2")), auth=four), "IPv6 address of \"h\"")
    refused(shared_hub.put("/silos/dual", document(("h", "192.0.2.2")), auth=four), "may not remove")
    assert shared_hub.put("/silos/dual", document(("h", "192.0.2.2"), ("h", "2001:db8::2")), auth=six).status == 200
    refused(shared_hub.put("/silos/dual", document(("h", "192.0.2.3"), ("h", "2001:db8::2")), auth=six), "IPv4 address of \"h\"")


def test_a_token_for_some_networks_is_refused_from_elsewhere(shared_hub, alice):
    near = make_token(shared_hub, "alice", "near", verbs=["read"], networks=["10.0.0.0/8", "127.0.0.1/32"])
    far = make_token(shared_hub, "alice", "far", verbs=["read"], networks=["10.0.0.0/8", "127.0.0.2/31", "127.0.0.0/32", "::/0"])
    assert shared_hub.get("/silos", auth=near).status == 200
    refused(shared_hub.get("/silos", auth=far), "may not be used from 127.0.0.1")


@ipv6
def test_networks_are_compared_with_the_clients_own_address(make_hub, database):
    hub = make_hub(database, start=False, TRUSTED_PROXIES="127.0.0.1")
    hub.settings["LISTEN"] = f"[::]:{hub.port}"
    hub.start()
    token = make_token(hub, "admin", "six", verbs=["read"], networks=["2001:db8::/32", "::1"])
    assert hub.get("/silos", auth=token, host="::1").status == 200
    assert hub.get("/silos", auth=token, headers={"X-Forwarded-For": "2001:db8::7"}).status == 200
    refused(hub.get("/silos", auth=token, headers={"X-Forwarded-For": "2001:db9::7"}), "2001:db9::7")
    refused(hub.get("/silos", auth=token), "127.0.0.1")


def test_a_token_ends_when_it_expires_and_when_nobody_uses_it(make_hub, database):
    hub = make_hub(database)
    ends = [make_token(hub, "admin", f"e{n}", verbs=["read"], expires="2199-01-01T00:00:00Z") for n in range(2)]
    idle = [make_token(hub, "admin", f"i{n}", verbs=["read"], unused=3600) for n in range(3)]
    used = hub.get("/silos", auth=idle[2]).status
    assert hub.stop() == 0 and used == 200
    now = int(time.time())
    when = [time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now + seconds)) for seconds in (100 * SLOW, 0)]
    for n in range(2):
        database.sql(f"""UPDATE token SET scope = '{json.dumps({"verbs": ["read"], "expires": when[n]})}' WHERE name = 'e{n}'""")
    for name, age in (("i0", 3600 - 100 * SLOW), ("i1", 3600), ("i2", 100000)):
        database.sql(f"UPDATE token SET created = {(now - age) * 1000000} WHERE name = '{name}'")
    hub.start()
    assert hub.get("/silos", auth=ends[0]).status == 200
    refused(hub.get("/silos", auth=ends[1]), "expired at", 401, "unauthorized")
    assert hub.get("/silos", auth=idle[0]).status == 200
    refused(hub.get("/silos", auth=idle[1]), "not used since", 401, "unauthorized")
    assert hub.get("/silos", auth=idle[2]).status == 200, "it was used: an orderly end of the hub keeps that"


def test_a_use_in_the_future_by_a_clock_that_was_ahead_does_not_keep_a_token_alive(make_hub, database):
    hub = make_hub(database)
    token = make_token(hub, "admin", "t", verbs=["read"], unused=3600)
    assert hub.get("/silos", auth=token).status == 200 and hub.stop() == 0
    database.sql("UPDATE token_use SET used = used + 10 * 365 * 86400 * 1000000")
    hub.start()

    def last_use_is_past():
        return int(database.sql("SELECT used FROM token_use")[0][0]) < (time.time() + 60) * 1000000

    wait_until(last_use_is_past, 10 * SLOW, "the table to be corrected")
    this_year = time.strftime("%Y", time.gmtime())
    wait_until(lambda: hub.get("/users/admin/tokens").json[0]["used"].startswith(this_year), what="the memory to be corrected")


def test_a_scope_that_nobody_can_read_allows_nothing(make_hub, database):
    hub = make_hub(database)
    token = make_token(hub, "admin", "odd", verbs=["read"])
    hub.stop()
    database.sql("""UPDATE token SET scope = '{"verbs":["read"],"phase":"of the moon"}'""")
    hub.start()
    refused(hub.get("/silos", auth=token), "no verb")
