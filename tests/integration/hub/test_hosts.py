"""GET /silos/{id}/hosts: a silo as lines of a hosts file, for what can read no JSON."""

import pytest

from tests.lib.answers import problem

pytestmark = pytest.mark.hub


def test_the_lines_are_those_of_a_hosts_file(shared_hub):
    put = shared_hub.put("/silos/lines", {"dnsrecords": [
        {"hostname": "web", "ip": "2001:db8::1"}, {"hostname": "db", "ip": "192.0.2.10"}, {"hostname": "db", "ip": "192.0.2.9"},
        {"hostname": "WEB", "ip": "192.0.2.1"}]})
    answer = shared_hub.get("/silos/lines/hosts")
    assert answer.status == 200 and answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert answer.body == b"192.0.2.9\tdb\n192.0.2.10\tdb\n192.0.2.1\tweb\n2001:db8::1\tweb\n"
    assert answer.headers["ETag"] == put.headers["ETag"] and answer.headers["Cache-Control"] == "no-cache"


def test_a_silo_without_records_has_no_lines(shared_hub):
    shared_hub.put("/silos/bare", {"dnsrecords": []})
    answer = shared_hub.get("/silos/bare/hosts")
    assert (answer.status, answer.body, answer.headers["Content-Length"]) == (200, b"", "0")


def test_the_largest_silo_comes_whole(shared_hub):
    records = [{"hostname": f"h{n:05}", "ip": f"2001:db8::{n + 1:x}"} for n in range(10000)]
    assert shared_hub.put_silo("large", {r["hostname"]: r["ip"] for r in records}).status in (200, 201)
    assert shared_hub.get("/silos/large/hosts").body.decode().splitlines() == [f"{r['ip']}\t{r['hostname']}" for r in records]


def test_only_owner_and_admin_may_read_the_lines(shared_hub):
    owner, other = shared_hub.add_user("owner", quota=1), shared_hub.add_user("other", quota=1)
    shared_hub.put_silo("owned", {"h": "192.0.2.1"}, auth=owner)
    assert shared_hub.get("/silos/owned/hosts", auth=owner).status == shared_hub.get("/silos/owned/hosts").status == 200
    problem(shared_hub.get("/silos/owned/hosts", auth=other), 403, "forbidden")
    problem(shared_hub.get("/silos/owned/hosts", auth=None), 401, "unauthorized")
    problem(shared_hub.get("/silos/nosuch/hosts", auth=owner), 404, "not-found")


def test_other_methods_and_other_paths_are_as_everywhere(shared_hub):
    shared_hub.put_silo("ways", {"h": "192.0.2.1"})
    refused = shared_hub.put("/silos/ways/hosts", "192.0.2.1 h")
    problem(refused, 405, "method")
    assert refused.headers["Allow"] == "GET, HEAD"
    for path in ("/silos/ways/hosts/", "/silos/ways/host", "/silos//hosts", "/silos/ways/hosts/more"):
        problem(shared_hub.get(path), 404, "not-found")
    problem(shared_hub.get("/silos/.bad/hosts"), 422, "invalid")
    problem(shared_hub.get("/silos/ways/hosts?limit=1"), 400, "malformed")
