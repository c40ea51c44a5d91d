"""Tokens: their life, who makes and sees them, and that one that is revoked stops at once, everywhere; that no secret is kept."""

import base64
import re
import time
from contextlib import closing

import pytest

from tests.lib.answers import EMPTY, document, problem, refused
from tests.lib.hostskeeper import Keeper
from tests.lib.hub import SLOW, bearer, make_token, run_api, run_program
from tests.lib.waiting import wait_until
from tests.lib.watcher import Watcher

pytestmark = pytest.mark.hub


@pytest.fixture(scope="module")
def alice(shared_hub):
    return shared_hub.add_user("alice", quota=1000)


# ---- the life of a token ----


def test_a_token_is_made_shown_once_listed_and_revoked(shared_hub, alice):
    answer = shared_hub.put("/users/alice/tokens/laptop", {"verbs": ["update", "read"], "silos": ["b1", "a1"], "hostnames": ["H.example"],
                                                           "family": 4, "networks": ["127.0.0.0/8"], "expires": "2199-01-01T00:00:00Z", "unused": 3600}, auth=alice)
    secret = answer.json["token"]
    shared_hub.secrets.add(secret)
    assert answer.status == 201 and secret.startswith("silodns_") and len(base64.urlsafe_b64decode(secret[8:] + "=")) == 32
    shown = {"name": "laptop", "verbs": ["read", "update"], "silos": ["a1", "b1"], "hostnames": ["h.example"], "family": 4, "networks": ["127.0.0.0/8"],
             "expires": "2199-01-01T00:00:00.000000Z", "unused": 3600, "used": None, "created": answer.json["created"]}
    assert {**shown, "token": secret} == answer.json
    assert shared_hub.get("/users/alice/tokens/laptop", auth=alice).json == shown
    assert shared_hub.get("/silos", auth=bearer(secret)).status == 200
    listed = shared_hub.get("/users/alice/tokens", auth=alice)
    (entry,) = [token for token in listed.json if token["name"] == "laptop"]
    assert entry["used"] > entry["created"] and secret not in listed.body.decode()
    assert shared_hub.delete("/users/alice/tokens/laptop", auth=alice).status == 204
    refused(shared_hub.get("/silos", auth=bearer(secret)), "no such token", 401, "unauthorized")
    problem(shared_hub.get("/users/alice/tokens/laptop", auth=alice), 404, "not-found")
    problem(shared_hub.delete("/users/alice/tokens/laptop", auth=alice), 404, "not-found")


def test_what_is_stored_of_it_is_a_hash(make_hub, database):
    hub = make_hub(database)
    token = make_token(hub, "admin", "stored", verbs=["update", "read"], silos=["b", "a"], hostnames=["Z_1.example", "a"], family=6,
                       networks=["127.0.0.0/8", "2001:db8::/32"], expires="2199-01-31T12:00:00Z", unused=3600)
    shown = hub.get("/users/admin/tokens/stored").json
    secret = token.split("_")[1]
    everything = database.sql("SELECT * FROM token") + database.sql("SELECT * FROM change_log")
    assert len(database.sql("SELECT * FROM token")) == 1 and secret not in str(everything)
    assert database.sql("SELECT hub.tokens FROM hub") == [["1"]]
    hub.stop()
    hub.start()
    assert hub.get("/users/admin/tokens/stored").json == shown and shown["hostnames"] == ["a", "z_1.example"]
    assert hub.get("/silos", auth=token).status == 200, "it is there after a restart"
    assert hub.delete("/users/admin/tokens/stored").status == 204
    assert database.sql("SELECT tokens, (SELECT COUNT(*) FROM token) FROM hub") == [["0", "0"]]


def test_in_basic_it_stands_in_place_of_the_password(shared_hub, alice):
    secret = make_token(shared_hub, "alice", "device", verbs=["read"]).split()[1]
    for user in ("alice", "token", ""):
        assert shared_hub.get("/silos", auth=(user, secret)).status == 200, user
    refused(shared_hub.get("/silos", auth=("admin", secret)), "somebody else's", 401, "unauthorized")
    assert shared_hub.get("/silos", auth=alice).status == 200, "passwords go on working"
    shared_hub.delete("/users/alice/tokens/device")
    assert shared_hub.get("/silos", auth=("alice", secret)).status == 401


def test_a_stranger_is_told_nothing(shared_hub, alice):
    good = make_token(shared_hub, "alice", "guessed", verbs=["read"]).split()[1]
    texts = set()
    for secret in (good[:-1] + ("A" if good[-1] != "A" else "Q"), "silodns_" + "A" * 43):
        for auth in (bearer(secret), ("alice", secret), ("nobody", secret)):
            texts.add(problem(shared_hub.get("/silos", auth=auth), 401, "unauthorized")["detail"])
    assert len(texts) == 1 and "alice" not in str(texts)
    for auth in ("Bearer", "Bearer ", "Bearer x", bearer(good[:-1]), bearer(good + "A"), bearer(good.lower()), bearer("silodns_" + good), "Token " + good):
        problem(shared_hub.get("/silos", auth=auth), 401, "unauthorized")


def test_no_password_may_look_like_a_token(shared_hub, alice):
    secret = make_token(shared_hub, "alice", "likeness", verbs=["read"]).split()[1]
    answer = shared_hub.put("/users/lookalike", {"password": secret})
    assert problem(answer, 422, "invalid")["errors"][0]["field"] == "password" and secret not in answer.body.decode()


def test_a_token_does_not_change(shared_hub, alice):
    make_token(shared_hub, "alice", "fixed", verbs=["read"])
    before = shared_hub.revision()
    refused(shared_hub.put("/users/alice/tokens/fixed", {"verbs": ["read", "update"]}), "revoke it first", 409, "conflict")
    assert shared_hub.get("/users/alice/tokens/fixed").json["verbs"] == ["read"] and shared_hub.revision() == before


def test_tokens_go_with_their_user(make_hub, database):
    hub = make_hub(database)
    hub.add_user("passing")
    tokens = [make_token(hub, "passing", f"t{n}", verbs=["read"]) for n in range(3)]
    assert hub.delete("/users/passing").status == 204
    hub.add_user("passing", password="another-password")
    for token in tokens:
        assert hub.get("/silos", auth=token).status == 401
    assert hub.get("/users/passing/tokens").json == []
    hub.stop()
    hub.start()  # the counts of the hub's row hold
    assert hub.get("/users/passing/tokens").json == []


@pytest.mark.parametrize("scope,field", [
    ({}, "verbs"), ({"verbs": []}, "verbs"), ({"verbs": "read"}, "verbs"), ({"verbs": ["write"]}, "verbs"), ({"verbs": [1]}, "verbs"),
    ({"verbs": ["read"], "silos": []}, "silos"), ({"verbs": ["read"], "silos": ["a b"]}, "silos"), ({"verbs": ["read"], "silos": ["a", "a"]}, "silos"),
    ({"verbs": ["read"], "silos": [f"s{n}" for n in range(65)]}, "silos"), ({"verbs": ["update"], "hostnames": ["a b"]}, "hostnames"),
    ({"verbs": ["update"], "hostnames": [f"h{n}" for n in range(65)]}, "hostnames"), ({"verbs": ["update"], "family": 5}, "family"),
    ({"verbs": ["update"], "family": "4"}, "family"), ({"verbs": ["read"], "networks": ["10.0.0.1/8"]}, "networks"),
    ({"verbs": ["read"], "networks": [f"10.{n}.0.0/16" for n in range(17)]}, "networks"), *(({"verbs": ["read"], "networks": [bad]}, "networks") for bad in (
        "all", "", "/8", "10.0.0.0/", "10.0.0.0/33", "10.0.0.0/08", "10.0.0.0/-1", "10.0.0.0/8x", "::/129", "10.0.0.0/8/8", "x/8", "10.0.0.0/ 8")),
    ({"verbs": ["read"], "expires": "tomorrow"}, "expires"), ({"verbs": ["read"], "expires": "2001-01-01T00:00:00Z"}, "expires"),
    ({"verbs": ["read"], "expires": "1970-01-01T00:00:00.0000009Z"}, "expires"), ({"verbs": ["read"], "expires": "1969-12-31T23:59:59Z"}, "expires"), ({"verbs": ["read"], "expires": 5}, "expires"),
    ({"verbs": ["read"], "unused": 3599}, "unused"), ({"verbs": ["read"], "unused": 315360001}, "unused"), ({"verbs": ["read"], "unused": 3600.5}, "unused"),
    ({"verbs": ["read"], "colour": "red"}, "colour"), ({"verbs": ["admin"], "silos": ["a"]}, "verbs"), ({"verbs": ["admin"], "family": 6}, "verbs"),
    ({"verbs": ["read"], "hostnames": ["h"]}, "verbs")])
def test_a_scope_that_makes_no_sense_is_refused_with_a_sentence(shared_hub, scope, field):
    said = problem(shared_hub.put("/users/admin/tokens/senseless", scope), 422, "invalid")
    assert said["errors"][0]["field"] == field and len(said["errors"][0]["detail"]) > 10
    assert shared_hub.get("/users/admin/tokens/senseless").status == 404


def test_what_is_just_allowed_is_taken(shared_hub):
    make_token(shared_hub, "admin", "n" * 64, verbs=["read", "update"], silos=[f"s{n}" for n in range(64)], hostnames=[f"h{n}" for n in range(64)],
         networks=[f"10.{n}.0.0/16" for n in range(16)], unused=315360000)
    problem(shared_hub.put("/users/admin/tokens/" + "n" * 65, {"verbs": ["read"]}), 422, "invalid")
    assert len(shared_hub.get("/users/admin/tokens/" + "n" * 64).json["silos"]) == 64
    for body, status, name in (("{", 400, "malformed"), ('{"verbs":["read"],"verbs":["read"]}', 400, "malformed"), ("[]", 422, "invalid")):
        problem(shared_hub.put("/users/admin/tokens/body", body), status, name)


def test_a_user_has_so_many_tokens_and_not_one_more(make_hub, database):
    hub = make_hub(database, POLL="5ms")
    for n in range(256):
        make_token(hub, "admin", f"t{n}", verbs=["read"])
    refused(hub.put("/users/admin/tokens/more", {"verbs": ["read"]}), "256", 403, "quota")
    hub.delete("/users/admin/tokens/t7")
    make_token(hub, "admin", "more", verbs=["read"])


# ---- who makes and sees them ----


def test_one_user_has_nothing_to_do_with_the_tokens_of_another(shared_hub, alice):
    other = shared_hub.add_user("other")
    make_token(shared_hub, "alice", "private", verbs=["read"])
    for method, path in (("GET", "/users/alice/tokens"), ("GET", "/users/alice/tokens/private"), ("DELETE", "/users/alice/tokens/private"),
                         ("PUT", "/users/alice/tokens/foisted"), ("GET", "/users/nobody/tokens")):
        problem(shared_hub.request(method, path, {"verbs": ["read"]} if method == "PUT" else None, auth=other), 403, "forbidden")
    assert shared_hub.get("/users/alice/tokens/private").status == 200, "the admin's to see"
    problem(shared_hub.get("/users/nobody/tokens"), 404, "not-found")


def test_the_verb_admin_is_an_admins_and_ends_with_the_role(shared_hub, alice):
    refused(shared_hub.put("/users/alice/tokens/upwards", {"verbs": ["admin"]}, auth=alice), "admin", 422, "invalid")
    shared_hub.add_user("second", role="admin")
    token = make_token(shared_hub, "second", "manage", verbs=["admin"])
    assert shared_hub.get("/users", auth=token).status == 200 and shared_hub.get("/metrics", auth=token).status == 200
    assert shared_hub.put("/users/made", {"password": "a-users-password"}, auth=token).status == 201
    refused(shared_hub.get("/silos", auth=token), 'no verb "read"')
    refused(shared_hub.put("/silos/made", EMPTY, auth=token), 'no verb "update"')
    shared_hub.put("/users/second", {"role": "common"})
    refused(shared_hub.get("/users", auth=token), "no admin any more")
    refused(shared_hub.put("/users/second", {"password": "a-users-password"}, auth=token), "no admin any more")


def test_without_the_verb_admin_users_and_tokens_are_out_of_reach(shared_hub, alice):
    for token in (make_token(shared_hub, "admin", "plain", verbs=["read", "update"]), make_token(shared_hub, "alice", "plain", verbs=["read", "update"])):
        for method, path, body in (("GET", "/users", None), ("GET", "/users/alice", None), ("PUT", "/users/alice", {"password": "taken-over-now"}),
                                   ("DELETE", "/users/alice", None), ("GET", "/users/alice/tokens", None), ("PUT", "/users/alice/tokens/x", {"verbs": ["read"]}),
                                   ("GET", "/users/alice/tokens/plain", None), ("DELETE", "/users/alice/tokens/plain", None), ("GET", "/metrics", None)):
            refused(shared_hub.request(method, path, body, auth=token), 'no verb "admin"')
    token = make_token(shared_hub, "admin", "giver", verbs=["read", "update"])
    shared_hub.put("/silos/gift", EMPTY)
    refused(shared_hub.put("/silos/gift?owner=alice", EMPTY, auth=token), "owner")
    assert shared_hub.put("/silos/gift?owner=alice", EMPTY, auth=make_token(shared_hub, "admin", "giver2", verbs=["admin", "update"])).status == 200


# ---- watching ----


def test_a_token_for_some_silos_watches_these(shared_hub, alice):
    for silo in ("w1", "w2"):
        shared_hub.put(f"/silos/{silo}", EMPTY, auth=alice)
    token = make_token(shared_hub, "alice", "watcher", verbs=["read"], silos=["w1"])
    with closing(Watcher(shared_hub, auth=token)) as watcher:
        assert set(watcher.wait_synced().silos) == {"w1"}
        shared_hub.put("/silos/w2", document(("h", "192.0.2.1")), auth=alice)
        shared_hub.put("/silos/w1", document(("h", "192.0.2.1")), auth=alice)
        watcher.wait_for(lambda watcher: watcher.records("w1") == {"h": "192.0.2.1"})
        assert set(watcher.silos) == {"w1"}
    with closing(Watcher(shared_hub, "w1", "w2", "w3", auth=token)) as watcher:
        told = {event.data["id"]: event.kind for event in watcher.wait_synced().events if event.kind != "synced"}
        assert told == {"w1": "silo", "w2": "forbidden", "w3": "forbidden"}


def test_a_revoked_token_is_refused_everywhere_within_100_ms(make_hub, database):
    one, two = make_hub(database), make_hub(database)
    took = []
    for n in range(5):
        token = make_token(one, "admin", f"t{n}", verbs=["read"])
        wait_until(lambda: two.get("/silos", auth=token).status == 200, what="the token at the other hub")  # noqa: B023
        with closing(Watcher(one, auth=token)) as near, closing(Watcher(two, auth=token)) as far:
            near.wait_synced(), far.wait_synced()
            began = time.monotonic()
            assert one.delete(f"/users/admin/tokens/t{n}").status == 204
            revoked = time.monotonic()
            assert one.get("/silos", auth=token).status == 401, "here at once"
            while two.get("/silos", auth=token).status != 401:
                assert time.monotonic() - began < 10
            took.append(time.monotonic() - revoked)
            for watcher in (near, far):
                wait_until(lambda: watcher.ended, 2 * SLOW, "the end of the stream")  # noqa: B023
    print(f"refused by the other hub after {max(took) * 1000:.0f} ms at worst")
    assert sorted(took)[2] < 0.1 * SLOW, f"{took}: of five, two may have waited for a busy machine"


def test_two_hubs_know_each_others_tokens(make_hub, database):
    one, two = make_hub(database), make_hub(database)
    token = make_token(one, "admin", "both", verbs=["read", "update"], silos=["s"], hostnames=["h"])
    wait_until(lambda: two.get("/users/admin/tokens/both").status == 200, what="the token")
    one.put_silo("s", {"h": "192.0.2.1"})
    wait_until(lambda: two.put_silo("s", {"h": "192.0.2.2"}, auth=token).status == 200, what="the silo")
    refused(two.put_silo("s", {"g": "192.0.2.2"}, auth=token), '"g"')
    assert two.get("/users/admin/tokens/both").json["verbs"] == one.get("/users/admin/tokens/both").json["verbs"]


# ---- the command line ----


def test_tokens_are_managed_on_the_command_line_while_the_hub_runs(make_hub, database):
    hub = make_hub(database)
    made = run_api("token", "add", "admin", "cli", "--verbs=read,update", "--for-silos", "a b", "--for-hostnames=h", "--for-family=4",
                   "--from-networks=127.0.0.0/8", "--expires=90d", "--unused=1h", settings=database.settings())
    assert made.returncode == 0 and re.fullmatch(r"silodns_[A-Za-z0-9_-]{43}\n", made.stdout), made
    hub.secrets.add(made.stdout.strip())
    token = bearer(made.stdout.strip())
    wait_until(lambda: hub.get("/silos", auth=token).status == 200, what="the token at the hub")
    said = hub.get("/users/admin/tokens/cli").json
    assert 89.9 * 86400 < time.mktime(time.strptime(said.pop("expires")[:19], "%Y-%m-%dT%H:%M:%S")) - time.mktime(time.gmtime()) < 90.1 * 86400
    assert {k: v for k, v in said.items() if k not in ("used", "created")} == {
        "name": "cli", "verbs": ["read", "update"], "silos": ["a", "b"], "hostnames": ["h"], "family": 4, "networks": ["127.0.0.0/8"], "unused": 3600}
    listed = run_api("token", "list", settings=database.settings())
    assert re.search(r'^admin/cli +never +\{"verbs":\["read","update"\]', listed.stdout, re.M) and made.stdout.strip() not in listed.stdout
    assert run_api("token", "list", "admin", settings=database.settings()).stdout == listed.stdout
    assert run_api("token", "remove", "admin", "cli", settings=database.settings()).stdout == "token admin/cli revoked\n"
    wait_until(lambda: hub.get("/silos", auth=token).status == 401, what="the end of the token")
    assert database.sql("SELECT kind, subject, actor FROM change_log ORDER BY revision DESC LIMIT 2") == [["token-delete", "admin/cli", ""], ["token-put", "admin/cli", ""]]


# ---- the clients ----


def test_an_updaters_token_is_enough_for_it_and_for_nothing_else(make_hub, database, tmp_path):
    hub = make_hub(database)
    hub.put_silo("s", {"other": "192.0.2.1"})
    secret = make_token(hub, "admin", "up", verbs=["read", "update"], silos=["s"], hostnames=["me"]).split()[1]
    (tmp_path / "token").write_text(secret + "\n")
    settings = {"URL": hub.url, "TOKEN_FILE": tmp_path / "token", "SILO": "s", "HOSTNAMES": "me", "SOURCE": "command:echo 9.9.9.9", "ONCE": "1"}
    for change, code in (({}, 0), ({}, 0), ({"HOSTNAMES": "other"}, 4), ({"SILO": "s2"}, 4), ({"TOKEN_FILE": None, "USER": "token", "PASSWORD_FILE": tmp_path / "token"}, 0)):
        done = run_program("silodns-updater", settings=settings | change)
        assert done.returncode == code and secret not in done.stderr, done
    assert hub.get("/silos/s").json["dnsrecords"] == [{"hostname": "me", "ip": "9.9.9.9"}, {"hostname": "other", "ip": "192.0.2.1"}]
    assert [entry["added"] for entry in hub.get("/silos/s/history").json] == [[{"hostname": "me", "ip": "9.9.9.9"}], [{"hostname": "other", "ip": "192.0.2.1"}]]


@pytest.mark.parametrize("follow", ["watch", "poll"])
def test_a_hostsyncs_token_only_reads(shared_hub, alice, tmp_path, follow):
    shared_hub.put_silo("follow", {"db": "192.0.2.7"}, auth=alice)
    secret = make_token(shared_hub, "alice", f"down-{follow}", verbs=["read"], silos=["follow"]).split()[1]
    (tmp_path / "hosts").write_text("127.0.0.1 localhost\n")
    done = run_program("silodns-hostsync", "--once", settings={"URL": shared_hub.url, "TOKEN": secret, "SILOS": "follow", "FOLLOW": follow, "HOSTS_FILE": tmp_path / "hosts"})
    assert done.returncode == 0 and "192.0.2.7\tdb" in (tmp_path / "hosts").read_text() and secret not in done.stderr
    refused(shared_hub.put_silo("follow", {}, auth=bearer(secret)), "no verb")


def test_a_hostsync_whose_token_is_revoked_keeps_the_file_and_says_so(make_hub, database, tmp_path):
    hub = make_hub(database)
    hub.put_silo("a", {"db": "192.0.2.7"})
    keeper = Keeper(tmp_path, hub, TOKEN=make_token(hub, "admin", "down", verbs=["read"], silos=["a"]).split()[1])
    keeper.hosts.write_text("127.0.0.1 localhost\n")
    keeper.start()
    wait_until(lambda: "192.0.2.7\tdb" in keeper.text(), what="the record in the file")
    hub.delete("/users/admin/tokens/down")
    wait_until(lambda: "no such token" in keeper.log_file.read_text(), what="the reason in the log")
    assert "192.0.2.7\tdb" in keeper.text(), "the last good state stays"
    keeper.stop()
