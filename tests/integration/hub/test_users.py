"""Users over HTTP: what they are, who may change them, and that a right that ends, ends at once."""

import concurrent.futures
import ctypes
import ctypes.util
import http.client

import pytest

from tests.lib.answers import EMPTY, problem, unavailable
from tests.lib.hub import ADMIN, SLOW, basic, make_token
from tests.lib.waiting import wait_until

pytestmark = pytest.mark.hub

PASSWORD = "a-users-password"


def test_users_are_created_changed_and_removed(shared_hub):
    created = shared_hub.put("/users/eve", {"password": "eves-password"})
    assert created.status == 201 and created.json == {"name": "eve", "role": "common", "quota": 0, "silos": 0}
    changed = shared_hub.put("/users/eve", {"quota": 2, "role": "common"})
    assert changed.status == 200 and changed.json == {"name": "eve", "role": "common", "quota": 2, "silos": 0}
    assert shared_hub.get("/users/eve", auth=("eve", "eves-password")).json == changed.json, "the password stays"
    assert changed.json in shared_hub.get("/users").json
    assert [user["name"] for user in shared_hub.get("/users").json] == sorted(user["name"] for user in shared_hub.get("/users").json)
    gone = shared_hub.delete("/users/eve")
    assert (gone.status, gone.body) == (204, b"")
    problem(shared_hub.get("/users/eve"), 404, "not-found")
    problem(shared_hub.delete("/users/eve"), 404, "not-found")


def test_no_answer_tells_a_password_or_its_hash(shared_hub):
    shared_hub.add_user("secretive")
    for answer in (shared_hub.get("/users"), shared_hub.get("/users/secretive")):
        assert PASSWORD not in answer.body.decode() and "argon" not in answer.body.decode()


def test_passwords_are_stored_as_argon2id(make_hub, database):
    make_hub(database).add_user("hashed")
    hashes = database.sql("SELECT password_hash FROM account")
    assert len(hashes) == 2 and all(h.startswith("$argon2id$") for (h,) in hashes)


def test_names_may_be_escaped_and_case_matters(shared_hub):
    assert shared_hub.put("/users/a.b_c-d%40example", {"password": PASSWORD}).json["name"] == "a.b_c-d@example"
    assert shared_hub.get("/users/a.b_c-d@example", auth=("a.b_c-d@example", PASSWORD)).status == 200
    shared_hub.add_user("Case")
    problem(shared_hub.get("/users/case"), 404, "not-found")
    problem(shared_hub.get("/silos", auth=("case", PASSWORD)), 401, "unauthorized")


def test_putting_what_is_there_already_changes_nothing(shared_hub):
    shared_hub.add_user("idle", quota=3)
    before = shared_hub.revision()
    assert shared_hub.put("/users/idle", {"role": "common", "quota": 3}).status == 200
    assert shared_hub.put("/users/idle", {}).status == 200
    assert shared_hub.revision() == before


@pytest.mark.parametrize("password", ["x" * 8, "x" * 256, "ä" * 128, "with spaces  ", "col:on:s", "\u00e9\u4e2d\U0001f511-key"])
def test_a_password_within_its_limits_works(shared_hub, password):
    shared_hub.put("/users/limits", {"password": password})
    assert shared_hub.get("/silos", auth=("limits", password)).status == 200
    problem(shared_hub.get("/silos", auth=("limits", password + "x")), 401, "unauthorized")
    problem(shared_hub.get("/silos", auth=("limits", password[:-1])), 401, "unauthorized")


@pytest.mark.parametrize("password", ["", "x" * 7, "x" * 257, "ä" * 129, "tab\tinside", "new\nline..", "\x7fdelete..", None, 12345678, ["x" * 8]])
def test_a_password_past_its_limits_is_refused_and_not_repeated(shared_hub, password):
    before = shared_hub.revision()
    answer = shared_hub.put("/users/refused", {"password": password})
    assert problem(answer, 422, "invalid")["errors"][0]["field"] == "password"
    assert not password or str(password) not in answer.body.decode()
    assert shared_hub.revision() == before and shared_hub.get("/users/refused").status == 404


@pytest.mark.parametrize("body,status,field", [
    ({}, 422, "password"), ({"role": "admin"}, 422, "password"), ({"quota": 1}, 422, "password"),  # a new one needs one
    ("", 400, None), ("{", 400, None), ("[]", 422, None), ("null", 422, None), (b'{"password":"\xff\xff\xff\xff\xff\xff\xff\xff"}', 400, None),
    ('{"password":"long enough","password":"long enough"}', 400, None), ({"password": "long enough", "role": "root"}, 422, "role"),
    ({"password": "long enough", "role": None}, 422, "role"), ({"password": "long enough", "role": "Admin"}, 422, "role"),
    ({"password": "long enough", "quota": -1}, 422, "quota"), ({"password": "long enough", "quota": 1.5}, 422, "quota"),
    ({"password": "long enough", "quota": "5"}, 422, "quota"), ({"password": "long enough", "quota": True}, 422, "quota"),
    ({"password": "long enough", "quota": 1000001}, 422, "quota"), ('{"password":"long enough","quota":99999999999999999999}', 400, None),
    ({"password": "long enough", "shoe": 44}, 422, "shoe"), ({"password": "long enough", "name": "refused"}, 422, "name")])
def test_a_bad_user_is_refused(shared_hub, body, status, field):
    before = shared_hub.revision()
    answer = shared_hub.put("/users/refused", body)
    said = problem(answer, status, {400: "malformed", 422: "invalid"}[status])
    assert not field or said["errors"][0]["field"] == field
    assert "long enough" not in answer.body.decode()
    assert shared_hub.revision() == before and shared_hub.get("/users/refused").status == 404


def test_a_name_has_64_characters_at_most(shared_hub):
    assert shared_hub.get("/silos", auth=shared_hub.add_user("x" * 64)).status == 200


@pytest.mark.parametrize("name", ["a%20b", "-a", ".a", "_a", "@a", "a%3Ab", "a%2Fb", "%c3%a4", "x" * 65, "a%0Ab", "%ff"])
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_a_bad_name_is_refused(shared_hub, name, method):
    before = shared_hub.revision()
    problem(shared_hub.request(method, f"/users/{name}", {"password": PASSWORD} if method == "PUT" else None), 422, "invalid")
    assert shared_hub.revision() == before


def test_a_common_user_sees_and_changes_itself_only_and_of_that_the_password_only(shared_hub):
    own = shared_hub.add_user("own")
    shared_hub.add_user("other")
    assert shared_hub.get("/users/own", auth=own).status == 200
    for method, path, body in (("GET", "/users", None), ("GET", "/users/admin", None), ("GET", "/users/nobody", None),
                               ("PUT", "/users/other", {"password": PASSWORD}), ("PUT", "/users/fresh", {"password": PASSWORD}),
                               ("PUT", "/users/own", {"role": "admin"}), ("PUT", "/users/own", {"quota": 9}),
                               ("PUT", "/users/own", {"password": PASSWORD, "quota": 9}), ("DELETE", "/users/own", None),
                               ("DELETE", "/users/other", None)):
        before = shared_hub.revision()
        problem(shared_hub.request(method, path, body, auth=own), 403, "forbidden")
        assert shared_hub.revision() == before, (method, path)


def test_a_changed_password_counts_at_once(shared_hub):
    old = shared_hub.add_user("change")
    assert shared_hub.get("/users/change", auth=old).status == 200
    assert shared_hub.put("/users/change", {"password": "another-password"}, auth=old).status == 200
    problem(shared_hub.get("/users/change", auth=old), 401, "unauthorized")
    assert shared_hub.get("/users/change", auth=("change", "another-password")).status == 200


def test_a_role_that_ends_ends_at_once(shared_hub):
    deputy = shared_hub.add_user("deputy", role="admin")
    assert shared_hub.get("/users", auth=deputy).status == 200
    assert shared_hub.put("/silos/deputys", EMPTY, auth=deputy).status == 201, "an admin needs no quota"
    assert shared_hub.put("/users/deputy", {"role": "common"}, auth=deputy).status == 200
    problem(shared_hub.get("/users", auth=deputy), 403, "forbidden")
    problem(shared_hub.put("/silos/deputys2", EMPTY, auth=deputy), 403, "quota")
    assert shared_hub.put("/silos/deputys", {"dnsrecords": [{"hostname": "h"}]}, auth=deputy).status == 200, "what it owns stays its own"


def test_a_removed_user_is_unknown_at_once_and_one_of_the_same_name_inherits_nothing(shared_hub):
    first = shared_hub.add_user("twice", quota=1)
    assert shared_hub.put("/silos/twices", EMPTY, auth=first).status == 201
    problem(shared_hub.delete("/users/twice"), 409, "conflict")
    shared_hub.put("/silos/twices?owner=admin", EMPTY)
    assert shared_hub.delete("/users/twice").status == 204
    problem(shared_hub.get("/silos", auth=first), 401, "unauthorized")
    second = shared_hub.add_user("twice", password="the-second-one", quota=1)
    problem(shared_hub.get("/silos", auth=first), 401, "unauthorized")
    assert shared_hub.get("/silos", auth=second).json == []
    problem(shared_hub.get("/silos/twices", auth=second), 403, "forbidden")


def test_quota_is_given_back_by_deletion_and_may_be_lowered_below_what_is_owned(shared_hub):
    user = shared_hub.add_user("quota", quota=2)
    for silo in ("q1", "q2"):
        assert shared_hub.put(f"/silos/{silo}", EMPTY, auth=user).status == 201
    said = problem(shared_hub.put("/silos/q3", EMPTY, auth=user), 403, "quota")
    assert "2" in said["detail"]
    assert shared_hub.delete("/silos/q1", auth=user).status == 204
    assert shared_hub.put("/silos/q3", EMPTY, auth=user).status == 201
    assert shared_hub.put("/users/quota", {"quota": 1}).json == {"name": "quota", "role": "common", "quota": 1, "silos": 2}
    assert shared_hub.put("/silos/q3", {"dnsrecords": [{"hostname": "h"}]}, auth=user).status == 200
    shared_hub.delete("/silos/q2", auth=user)
    problem(shared_hub.put("/silos/q4", EMPTY, auth=user), 403, "quota")


def test_quota_holds_when_many_ask_at_once(make_hub, database):
    hub = make_hub(database)
    user = hub.add_user("greedy", quota=3)
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        statuses = list(pool.map(lambda n: hub.put(f"/silos/g{n}", EMPTY, auth=user).status, range(32)))
    assert sorted(set(statuses)) == [201, 403] and statuses.count(201) == 3
    assert hub.get("/users/greedy").json["silos"] == 3


def test_the_last_admin_stays(make_hub, database):
    hub = make_hub(database)
    problem(hub.delete("/users/admin"), 409, "conflict")
    problem(hub.put("/users/admin", {"role": "common"}), 409, "conflict")
    second = hub.add_user("second", role="admin")
    assert hub.put("/users/admin", {"role": "common"}).status == 200
    problem(hub.delete("/users/second", auth=second), 409, "conflict")
    problem(hub.get("/users", auth=ADMIN), 403, "forbidden")


def test_admins_who_remove_each_other_at_once_do_not_both_succeed(make_hub, database):
    hub = make_hub(database)
    for n in range(10):
        rivals = [hub.add_user(f"rival{n}{side}", role="admin") for side in "ab"]
        for user in rivals:
            hub.get("/silos", auth=user)  # so that the verification does not put them in a row
        hub.put("/users/admin", {"role": "common"})
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            statuses = list(pool.map(lambda n: hub.delete(f"/users/{rivals[1 - n][0]}", auth=rivals[n]).status, (0, 1)))  # noqa: B023
        assert statuses.count(204) == 1, statuses
        winner = rivals[statuses.index(204)]
        assert hub.put("/users/admin", {"role": "admin"}, auth=winner).status == 200
        hub.delete(f"/users/{winner[0]}")


# ---- how passwords are kept ----


def hash_of(password, passes, memory):
    """By Argon2id with these parameters, as crypto_pwhash_str() writes it."""
    sodium = ctypes.CDLL(ctypes.util.find_library("sodium"))
    assert sodium.sodium_init() >= 0
    text = ctypes.create_string_buffer(128)
    assert sodium.crypto_pwhash_str_alg(text, password.encode(), ctypes.c_ulonglong(len(password)), ctypes.c_ulonglong(passes), ctypes.c_size_t(memory), 2) == 0
    return text.value.decode()


def stored(database, name):
    return database.sql(f"SELECT password_hash FROM account WHERE name = '{name}'")[0][0]


TODAY = "$argon2id$v=19$m=19456,t=2,p=1$"


def test_a_password_of_former_parameters_is_hashed_anew_when_it_is_used(make_hub, database):
    hub = make_hub(database)
    user, wrong = hub.add_user("old", quota=1), ("old", "not-her-password")
    assert stored(database, "old").startswith(TODAY)
    hub.stop()
    former = hash_of(user[1], 1, 8 << 20)
    assert not former.startswith(TODAY)
    database.sql(f"UPDATE account SET password_hash = '{former}' WHERE name = 'old'")
    hub.start()
    before = hub.revision()
    assert hub.get("/silos", auth=wrong).status == 401
    assert stored(database, "old") == former and hub.revision() == before, "a wrong password changes nothing"
    assert hub.put("/silos/olds", EMPTY, auth=user).status == 201
    wait_until(lambda: stored(database, "old").startswith(TODAY), 15 * SLOW, "the new hash")
    assert hub.get("/silos", auth=user).status == 200 and hub.get("/silos", auth=wrong).status == 401
    wait_until(lambda: hub.revision() == before + 2, what="the revision of it")
    assert [(e["user"], e["new"]) for e in hub.get("/audit?outcome=changed&user=old").json if e["change"] == "user-put"] == [
        ("old", {"role": "common", "quota": 1, "password": "rehashed"})]
    anew = stored(database, "old")
    hub.stop()
    hub.start()
    assert hub.get("/silos", auth=user).status == 200 and stored(database, "old") == anew, "once is enough"


def test_a_user_that_does_not_exist_costs_the_same_verification(make_hub, database):
    """Not measured by a clock: each costs one verification, of a hash with the same parameters."""
    hub = make_hub(database)
    real = hub.add_user("real")

    def cost(auth, status):
        before = hub.metric("silodns_password_verifications_total")
        assert hub.get("/silos", auth=auth).status == status
        return hub.metric("silodns_password_verifications_total") - before

    hub.get("/metrics")
    for n in range(3):
        assert cost(("real", f"wrong-password-{n}"), 401) == cost(("nobody", f"wrong-password-{n}"), 401) == 1
    assert cost(real, 200) == 1 and cost(real, 200) == 0, "one that was right is remembered"
    for scheme in ("bAsIc", "Basic   "):
        assert cost(basic(*real).replace("Basic", scheme), 200) == 0, "however its header is written"


def test_many_with_the_same_credentials_at_once_cost_one_verification(make_hub, database):
    hub = make_hub(database)
    alice = hub.add_user("alice")
    for auth, status in ((alice, 200), (("alice", "a-wrong-password"), 401)):
        before = hub.metric("silodns_password_verifications_total")
        with concurrent.futures.ThreadPoolExecutor(100) as pool:  # more than may wait to be verified
            assert [answer.status for answer in pool.map(lambda _: hub.get("/silos", auth=auth), range(100))] == [status] * 100  # noqa: B023
        assert hub.metric("silodns_password_verifications_total") == before + 1


def test_what_another_hub_made_a_moment_ago_is_known_here_at_once(make_hub, database):
    """A user, a token, and a user that was removed and made again: no 401 until the next look at the database."""
    one, two = make_hub(database, POLL="400ms"), make_hub(database)
    for n in range(3):
        two.add_user("new", f"password-no-{n}")
        one.secrets.add(f"password-no-{n}")
        assert one.get("/silos", auth=("new", f"password-no-{n}")).status == 200
        token = make_token(two, "new", f"t{n}", verbs=["read"])
        assert one.get("/silos", auth=token).status == 200
        assert two.delete("/users/new").status == 204
    for auth in (token, ("new", "password-no-2")):
        wait_until(lambda: one.get("/silos", auth=auth).status == 401, what="the end of both here, too")  # noqa: B023


@pytest.mark.parametrize("by_token", [False, True])
def test_a_user_made_again_through_another_hub_is_asked_to_try_again(make_hub, database, by_token):
    """Not refused: this hub learns of it by the attempt, and the next one finds out whether the credentials are still good."""
    one, two = make_hub(database, POLL="60s"), make_hub(database)
    new = one.add_user("new", quota=1)
    auth = make_token(one, "new", "t", verbs=["update"]) if by_token else new
    assert one.put_silo("here", {}, auth=auth).status == 201 and one.delete("/silos/here", auth=auth).status == 204
    wait_until(lambda: two.revision() == one.revision(), what="the other hub's memory")
    assert two.delete("/users/new").status == 204
    two.add_user("new", quota=1)
    unavailable(one.put_silo("here", {}, auth=auth))
    assert one.put_silo("here", {}, auth=auth).status == (401 if by_token else 201)


def test_passwords_that_are_being_set_hold_no_thread(make_hub, database):
    """Each takes its time, one after the other: who asks for something else meanwhile does not wait for them."""
    hub = make_hub(database, THREADS=2)
    hub.add_user("alice")
    reader = hub.connect()
    with concurrent.futures.ThreadPoolExecutor(40) as pool:
        changes = [pool.submit(hub.put, "/users/alice", {"password": f"password-no-{n}"}) for n in range(40)]
        hub.secrets.update(f"password-no-{n}" for n in range(40))
        wait_until(lambda: hub.metric("silodns_password_verifications_waiting") > 10, what="passwords that wait")
        assert hub.get("/silos", connection=reader).status == 200
        waiting = sum(not change.done() for change in changes)
        assert {change.result().status for change in changes} == {200}
    assert waiting > 5, "read no sooner than the passwords were set"
    assert sum(hub.get("/silos", auth=("alice", f"password-no-{n}")).status == 200 for n in range(40)) == 1


def test_a_hub_stops_while_passwords_are_being_set(make_hub, database):
    hub = make_hub(database, DRAIN_TIMEOUT="0ms")
    hub.add_user("alice")
    with concurrent.futures.ThreadPoolExecutor(20) as pool:
        changes = [pool.submit(hub.put, "/users/alice", {"password": f"password-no-{n}"}) for n in range(20)]
        hub.secrets.update(f"password-no-{n}" for n in range(20))
        wait_until(lambda: hub.metric("silodns_password_verifications_waiting") > 5, what="passwords that wait")
        assert hub.stop() == 0
        answers = []
        for change in changes:
            try:
                answers.append(change.result().status)
            except (OSError, http.client.HTTPException):
                answers.append(None)
    assert set(answers) <= {200, 503, None} and (503 in answers or None in answers), answers
