"""Silos over HTTP: documents, conditions, ownership, paging, order of revisions."""

import concurrent.futures
import json
import threading

import pytest

from tests.lib.answers import problem, refused
from tests.lib.hub import ADMIN
from tests.lib.waiting import wait_until

pytestmark = pytest.mark.hub

ONE = {"dnsrecords": [{"hostname": "db", "ip": "192.0.2.7"}]}


def test_a_silo_is_created_read_replaced_and_deleted(shared_hub):
    created = shared_hub.put("/silos/life", {"id": "life", **ONE})
    assert created.status == 201 and created.json == {"id": "life", **ONE}
    read = shared_hub.get("/silos/life")
    assert (read.status, read.json, read.headers["ETag"]) == (200, created.json, created.headers["ETag"])
    replaced = shared_hub.put("/silos/life", {"dnsrecords": []})
    assert replaced.status == 200 and replaced.json == {"id": "life", "dnsrecords": []}
    assert replaced.revision > created.revision
    gone = shared_hub.delete("/silos/life")
    assert (gone.status, gone.body) == (204, b"")
    problem(shared_hub.get("/silos/life"), 404, "not-found")
    problem(shared_hub.delete("/silos/life"), 404, "not-found")


def test_records_come_back_in_canonical_order_and_form(shared_hub):
    answer = shared_hub.put("/silos/order", {"dnsrecords": [
        {"hostname": "WEB.Example", "ip": "2001:DB8:0:0::1"}, {"hostname": "db", "ip": "192.0.2.10"},
        {"hostname": "db", "ip": "192.0.2.9"}, {"hostname": "web.example", "ip": "192.0.2.1"}]})
    assert [(r["hostname"], r["ip"]) for r in answer.json["dnsrecords"]] == [
        ("db", "192.0.2.9"), ("db", "192.0.2.10"), ("web.example", "192.0.2.1"), ("web.example", "2001:db8::1")]


def test_putting_the_same_again_changes_nothing(shared_hub):
    first = shared_hub.put("/silos/same", ONE)
    before = shared_hub.revision()
    again = shared_hub.put("/silos/same", ONE)
    assert again.status == 200 and again.headers["ETag"] == first.headers["ETag"]
    assert shared_hub.revision() == before


def test_the_body_is_json_whatever_its_content_type(shared_hub):
    shared_hub.put("/silos/type", ONE)
    for content_type in ("application/x-www-form-urlencoded", "text/plain", "multipart/form-data; boundary=x", "image/png", "application/json-patch+json"):
        for method, body in (("PUT", ONE), ("PATCH", {"set": ONE["dnsrecords"]})):
            assert shared_hub.request(method, "/silos/type", body, headers={"Content-Type": content_type}).status == 200, content_type


def test_an_id_may_be_escaped_and_case_matters(shared_hub):
    shared_hub.put("/silos/%45sc", ONE)
    assert shared_hub.get("/silos/Esc").json["id"] == "Esc"
    assert shared_hub.get("/silos/esc").status == 404


@pytest.mark.parametrize("path", ["/silos/cond", "/silos/cond/hosts"])
def test_if_none_match_answers_304_without_a_body(shared_hub, path):
    tag = shared_hub.put("/silos/cond", ONE).headers["ETag"]
    for given in (tag, "W/" + tag, '"0", ' + tag, "*"):
        answer = shared_hub.get(path, headers={"If-None-Match": given})
        assert (answer.status, answer.body, answer.headers["ETag"]) == (304, b"", tag)
    assert shared_hub.get(path, headers={"If-None-Match": '"0"'}).status == 200
    shared_hub.put("/silos/cond", {"dnsrecords": []})
    changed = shared_hub.get(path, headers={"If-None-Match": tag})
    assert changed.status == 200 and changed.headers["ETag"] != tag and b"192.0.2.7" not in changed.body


def test_if_match_and_if_none_match_guard_a_change(shared_hub):
    tag = shared_hub.put("/silos/guard", ONE, headers={"If-None-Match": "*"}).headers["ETag"]
    refused = shared_hub.put("/silos/guard", ONE, headers={"If-None-Match": "*"})
    problem(refused, 412, "precondition")
    assert refused.headers["ETag"] == tag
    for given in ('"0"', '"x"', 'W/"0"', '"0-gzip"'):
        problem(shared_hub.put("/silos/guard", {"dnsrecords": []}, headers={"If-Match": given}), 412, "precondition")
        problem(shared_hub.delete("/silos/guard", headers={"If-Match": given}), 412, "precondition")
    assert shared_hub.get("/silos/guard").json["dnsrecords"] == ONE["dnsrecords"]
    assert shared_hub.put("/silos/guard", {"dnsrecords": []}, headers={"If-Match": f'"0", {tag}'}).status == 200
    assert shared_hub.delete("/silos/guard", headers={"If-Match": "*"}).status == 204
    problem(shared_hub.put("/silos/guard", ONE, headers={"If-Match": "*"}), 412, "precondition")


@pytest.mark.parametrize("made", ["W/{}".format, lambda tag: tag[:-1] + '-gzip"'], ids=["weak", "suffix"])
def test_the_tag_that_a_compressing_proxy_makes_of_a_revision_guards_a_change_still(shared_hub, made):
    """nginx and HAProxy make "7" W/"7", Apache and Caddy "7-gzip": the client has no other to give back."""
    tag = shared_hub.put("/silos/squeezed", {"dnsrecords": []}).headers["ETag"]
    tag = shared_hub.put("/silos/squeezed", ONE, headers={"If-Match": made(tag)}).headers["ETag"]
    assert shared_hub.get("/silos/squeezed", headers={"If-None-Match": made(tag)}).status == 304
    assert shared_hub.delete("/silos/squeezed", headers={"If-Match": made(tag)}).status == 204


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("path", ["/silos/matched", "/silos/matched/hosts"])
def test_a_read_whose_if_match_fails_is_412(shared_hub, method, path):
    """RFC 9110, 13.1.1"""
    tag = shared_hub.put("/silos/matched", ONE).headers["ETag"]

    def ask(**headers):
        return shared_hub.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})

    failed = ask(If_Match='"0", "x"')
    assert (failed.status, failed.headers["ETag"]) == (412, tag)
    assert ask(If_Match='"0"', If_None_Match=tag).status == 412, "If-Match comes first (13.2.2)"
    assert ask(If_Match=tag, If_None_Match=tag).status == 304
    assert [ask(If_Match=given).status for given in (tag, "W/" + tag, "*", "7")] == [200, 200, 200, 400]


@pytest.mark.parametrize("value", ["12", '"12', "x, y", '"1" "2"', ", ".join(f'"{n}"' for n in range(9))])
def test_a_malformed_condition_is_400(shared_hub, value):
    problem(shared_hub.put("/silos/malformed", ONE, headers={"If-Match": value}), 400, "malformed")
    assert shared_hub.get("/silos/malformed").status == 404


def test_a_common_user_sees_and_changes_only_its_own(shared_hub):
    alice, bob = shared_hub.add_user("alice", quota=1), shared_hub.add_user("bob", quota=5)
    assert shared_hub.put("/silos/alices", ONE, auth=alice).status == 201
    problem(shared_hub.put("/silos/alices2", ONE, auth=alice), 403, "quota")
    assert shared_hub.get("/silos", auth=alice).json == [{"id": "alices", **ONE}]
    assert shared_hub.get("/silos", auth=bob).json == []
    for answer in (shared_hub.get("/silos/alices", auth=bob), shared_hub.put("/silos/alices", ONE, auth=bob),
                   shared_hub.delete("/silos/alices", auth=bob)):
        problem(answer, 403, "forbidden")
    problem(shared_hub.put("/silos/bobs?owner=alice", ONE, auth=bob), 403, "forbidden")
    assert any(s["id"] == "alices" for s in shared_hub.get("/silos").json)
    assert shared_hub.get("/users/alice", auth=alice).json == {"name": "alice", "role": "common", "quota": 1, "silos": 1}


def test_an_admin_gives_a_silo_to_somebody_else(shared_hub):
    carol = shared_hub.add_user("carol")
    assert [shared_hub.put(f"/silos/gift{query}", ONE).status for query in ("", "?owner=carol")] == [201, 200]
    assert shared_hub.get("/silos/gift", auth=carol).status == 200 and shared_hub.get("/users/carol").json["silos"] == 1
    assert shared_hub.put("/silos/gift", {"dnsrecords": []}).status == 200  # without owner: it stays carol's
    assert shared_hub.get("/silos/gift", auth=carol).json["dnsrecords"] == []
    assert problem(shared_hub.put("/silos/gift?owner=nobody", ONE), 422, "invalid")["errors"][0]["field"] == "owner"


def test_a_listing_pages_without_gap_or_repetition(make_hub, database):
    hub = make_hub(database)
    ids = [f"p{n:02}" for n in range(25)]
    for silo in reversed(ids):
        hub.put(f"/silos/{silo}", ONE)
    seen = [silo["id"] for page in hub.pages("/silos?limit=10") for silo in page.json]
    assert seen == ids
    whole = hub.get("/silos")
    assert [silo["id"] for silo in whole.json] == ids and "Link" not in whole.headers


def test_a_common_users_listing_pages_through_its_own(make_hub, database):
    hub = make_hub(database)
    user = hub.add_user("pages", quota=10)
    for n in range(7):
        hub.put(f"/silos/mine{n}", ONE, auth=user)
        hub.put(f"/silos/mine{n}-not", ONE)
    page = hub.get("/silos?limit=4", auth=user)
    assert [silo["id"] for silo in page.json] == [f"mine{n}" for n in range(4)]
    assert page.headers["Link"] == '<?limit=4&after=mine3>; rel="next"', "relative: a proxy may have the hub below a path"
    page = hub.get("/silos?limit=4&after=mine3", auth=user)
    assert [silo["id"] for silo in page.json] == ["mine4", "mine5", "mine6"] and "Link" not in page.headers
    assert hub.get("/silos?after=zzz", auth=user).json == []
    assert len(hub.get("/silos?after=mine2x&limit=1", auth=user).json) == 1, "`after` need not exist"


def test_a_page_of_a_listing_ends_at_8_mib(make_hub, database):
    hub = make_hub(database)
    records = {f"{n:04}-{'x' * 58}": "192.0.2.1" for n in range(10_000)}  # 1,000,000 bytes
    for n in range(9):
        assert hub.put_silo(f"s{n}", records).status == 201
    first, second = hub.pages("/silos")
    assert 7 << 20 < len(first.body) <= 8 << 20
    assert [silo["id"] for page in (first, second) for silo in page.json] == [f"s{n}" for n in range(9)]


def test_a_silo_that_comes_back_has_a_new_tag(shared_hub):
    first = shared_hub.put("/silos/again", ONE).headers["ETag"]
    shared_hub.delete("/silos/again")
    second = shared_hub.put("/silos/again", ONE)
    assert second.status == 201 and second.revision == int(first.strip('"')) + 2
    problem(shared_hub.put("/silos/again", {"dnsrecords": []}, headers={"If-Match": first}), 412, "precondition")


def test_if_match_and_if_none_match_together_are_refused(shared_hub):
    problem(shared_hub.put("/silos/both", ONE, headers={"If-Match": '"1"', "If-None-Match": "*"}), 400, "malformed")


@pytest.mark.parametrize("query,status", [("?owner=", 422), ("?owner=a%20b", 422), ("?owner=admin&owner=admin", 400), ("?other=1", 400),
                                          ("?owner=%zz", 400), ("?owner=%00", 400)])
def test_a_bad_query_of_a_change_is_refused(shared_hub, query, status):
    before = shared_hub.revision()
    assert shared_hub.put("/silos/query" + query, ONE).status == status
    assert shared_hub.revision() == before


@pytest.mark.promise(2)
def test_revisions_of_concurrent_changes_are_unique_and_without_gaps(make_hub, database):
    hub = make_hub(database)
    start = hub.revision()

    def client(n):
        connection = hub.connect()
        tags = []
        for i in range(25):
            silo = f"s{n}" if i % 2 else "common"
            answer = hub.put_silo(silo, {f"h{n}": f"10.{n}.0.{i + 1}"}, connection=connection)
            assert answer.status in (200, 201), answer
            tags.append(answer.revision)
        connection.close()
        return tags

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        tags = [tag for each in pool.map(client, range(16)) for tag in each]
    assert sorted(tags) == list(range(start + 1, start + 1 + len(tags)))
    assert database.sql("SELECT COUNT(*), MAX(revision) - MIN(revision) + 1 FROM change_log") == [
        [str(hub.revision())] * 2]
    for silo in hub.get("/silos").json:  # memory and tables say the same
        rows = database.sql(f"SELECT hostname, ip FROM record WHERE silo = '{silo['id']}'")
        assert sorted(rows) == sorted([r["hostname"], r["ip"]] for r in silo["dnsrecords"])


@pytest.mark.promise(3)
def test_a_reader_never_sees_half_of_a_change(shared_hub):
    done = threading.Event()
    torn = []

    def read():
        connection = shared_hub.connect()
        while not done.is_set():
            answer = shared_hub.get("/silos/whole", connection=connection)
            if answer.status == 200 and len({r["ip"] for r in json.loads(answer.body)["dnsrecords"]}) != 1:
                torn.append(answer.body)
        connection.close()

    shared_hub.put_silo("whole", {f"h{i}": "10.0.0.1" for i in range(20)})
    reader = threading.Thread(target=read)
    reader.start()
    for n in range(2, 100):
        assert shared_hub.put_silo("whole", {f"h{i}": f"10.0.0.{n}" for i in range(20)}).status == 200
    done.set()
    reader.join()
    assert not torn


def test_ten_thousand_records_fit_and_one_more_does_not(make_hub, database):
    hub = make_hub(database)
    records = [{"hostname": f"h{i}", "ip": f"10.{i >> 16}.{i >> 8 & 255}.{i & 255}"} for i in range(1, 10001)]
    assert hub.put("/silos/big", {"dnsrecords": records}).status == 201
    assert len(hub.get("/silos/big").json["dnsrecords"]) == 10000
    refused = problem(hub.put("/silos/big", {"dnsrecords": records + [{"hostname": "more", "ip": "10.9.9.9"}]}), 422, "invalid")
    assert refused["errors"][0]["field"] == "dnsrecords" and "10000" in refused["detail"]
    records[77]["ip"] = "10.99.99.99"
    assert hub.put("/silos/big", {"dnsrecords": records}).status == 200
    assert database.sql("SELECT COUNT(*) FROM record WHERE silo = 'big'") == [["10000"]]


def test_the_operator_may_allow_fewer_records(make_hub, database):
    hub = make_hub(database, MAX_RECORDS=3)
    names = {f"h{n}": f"192.0.2.{n}" for n in range(1, 4)}
    assert hub.put_silo("some", names).status == 201
    refused = problem(hub.put_silo("some", names | {"h4": "192.0.2.4"}), 422, "invalid")
    assert refused["errors"][0]["field"] == "dnsrecords" and "at most 3 records" in refused["detail"]
    assert len(hub.get("/silos/some").json["dnsrecords"]) == 3


def test_two_machines_that_fight_over_a_name_are_noticed_by_every_hub(make_hub, database):
    """As when a cloned machine goes on reporting as its original: said once, whichever hub they report to."""
    hub, second_hub = make_hub(database), make_hub(database)
    assert hub.get("/silos/quiet?explain").status == 404
    hub.put_silo("quiet", {"h": "192.0.2.1"})
    assert hub.get("/silos/quiet?explain").json == {**hub.get("/silos/quiet").json, "flapping": []}
    for n in range(6):
        answer = (hub, second_hub)[n % 2].put_silo("cloned", {"a": "203.0.113.1", "db": f"192.0.2.{1 + n % 2}"})
        assert answer.status in (200, 201)
    assert "flapping" not in hub.get("/silos/cloned").json
    for each in (hub, second_hub):
        wait_until(lambda: each.get("/silos/cloned?explain").json["flapping"][0]["changes"] == 5)
        explained = each.get("/silos/cloned?explain")
        (fight,) = explained.json["flapping"]
        assert "ETag" not in explained.headers and explained.headers["Cache-Control"] == "no-store"
        assert fight["hostname"] == "db" and [side["ip"] for side in fight["addresses"]] == ["192.0.2.1", "192.0.2.2"]
        assert [(side["user"], side["peer"]) for side in fight["addresses"]] == [(ADMIN[0], "127.0.0.1")] * 2
        assert b"\nsilodns_flapping_names 1\n" in each.get("/metrics").body
        warnings = [line for line in each.log().splitlines() if "goes back and forth" in line]
        assert len(warnings) == 1 and "level=warn" in warnings[0] and "silo=cloned hostname=db ip=192.0.2.1" in warnings[0]
        assert each.get("/silos/quiet?explain").json["flapping"] == []
