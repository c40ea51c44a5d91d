"""Whose address counts, behind proxies: the forms themselves are tests/unit/api/http/test_forwarded.c's."""

import json
import re

import pytest

from tests.lib.answers import problem, raw

pytestmark = pytest.mark.hub


@pytest.fixture(scope="module")
def proxied_hub(make_shared_hub):
    """One that trusts 127.0.0.1 as a proxy, and another one behind it."""
    return make_shared_hub(TRUSTED_PROXIES="127.0.0.1,10.0.0.0/8")


def explain(hub, *headers):
    """Header lines in their order, also several of one name."""
    lines = "".join(f"{header}\r\n" for header in headers)
    answer = raw(hub, f"GET /ip?explain HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{lines}\r\n".encode("latin-1"))
    assert answer.startswith(b"HTTP/1.1 200"), answer
    told = json.loads(answer.partition(b"\r\n\r\n")[2])
    assert told["explain"]["hops"][-1]["ip"] == told["ip"] and told["explain"]["hops"][0]["ip"] == "127.0.0.1"
    assert told["explain"]["detail"].startswith(told["ip"] + " ")
    return told["ip"], told["explain"]["end"], told["explain"]


@pytest.mark.parametrize("headers,ip,end", [
    ([], "127.0.0.1", "direct"),
    (["X-Forwarded-For: 198.51.100.7"], "198.51.100.7", "untrusted"),
    (["X-Forwarded-For: 6.6.6.6", "X-Forwarded-For: 198.51.100.7"], "198.51.100.7", "untrusted"),
    (["x-forwarded-for: 198.51.100.7", "X-Forwarded-For: 6.6.6.6"], "6.6.6.6", "untrusted"),  # in any case, in order of arrival
    (["X-Forwarded-For: 6.6.6.6, 198.51.100.7", "X-Forwarded-For: 10.0.0.2"], "198.51.100.7", "untrusted"),
    (["X-Forwarded-For: 10.0.0.3, 10.0.0.2"], "10.0.0.3", "exhausted"),
    (["Forwarded: for=6.6.6.6", 'Forwarded: for="[2001:db8::7]:4711";proto=https'], "2001:db8::7", "untrusted"),
    (["Forwarded: for=_hidden"], "127.0.0.1", "unreadable"),
    (["X-Forwarded-For: 6.6.6.6, unknown"], "127.0.0.1", "unreadable"),
    (["X-Forwarded-For: 6.6.6.6, \xff\xfe"], "127.0.0.1", "unreadable"),
    (["X-Forwarded-For:"], "127.0.0.1", "unreadable"),
    (["Forwarded: for=198.51.100.7", "X-Forwarded-For: 6.6.6.6, 198.51.100.7"], "198.51.100.7", "untrusted"),
    (["Forwarded: for=198.51.100.7", "X-Forwarded-For: 6.6.6.6"], "127.0.0.1", "disagree"),
    (["X-Real-IP: 198.51.100.7"], "127.0.0.1", "direct"),  # any client can write it
    (["X-Forwarded-For: " + ", ".join(["6.6.6.6"] + ["10.0.0.2"] * 16)], "10.0.0.2", "too-many"),
])
def test_a_trusted_proxy_is_believed_from_the_right(proxied_hub, headers, ip, end):
    assert explain(proxied_hub, *headers)[:2] == (ip, end)


def test_the_hops_say_who_is_trusted_and_what_was_read(proxied_hub):
    told = explain(proxied_hub, "X-Forwarded-For: 6.6.6.6, 198.51.100.7, 10.0.0.2")[2]
    assert told["header"] == "X-Forwarded-For" and "198.51.100.7" in told["detail"]
    assert told["hops"] == [{"ip": "127.0.0.1", "trusted": True}, {"ip": "10.0.0.2", "trusted": True}, {"ip": "198.51.100.7", "trusted": False}]
    assert "6.6.6.6" not in str(told)  # what a client may have made up is not told as if it were true
    assert explain(proxied_hub, "X-Forwarded-For: un\tknown")[2]["element"] == "un?known"
    assert explain(proxied_hub)[2]["header"] is None


def test_anybody_else_is_not_believed(proxied_hub, shared_hub):
    assert proxied_hub.get("/ip", auth=None, headers={"X-Forwarded-For": "198.51.100.7"}).json == {"ip": "198.51.100.7"}
    told = shared_hub.get("/ip?explain", auth=None, headers={"X-Forwarded-For": "198.51.100.7"}).json
    assert told["ip"] == "127.0.0.1" and told["explain"]["end"] == "direct"
    problem(shared_hub.get("/ip?explain&explain", auth=None), 400, "malformed")


@pytest.mark.parametrize("chosen", ["X-Forwarded-For", "forwarded", "X-Real-IP"])
def test_when_it_is_known_which_header_the_proxy_writes_the_other_is_not_looked_at(make_hub, database, chosen):
    hub = make_hub(database, TRUSTED_PROXIES="127.0.0.1,10.0.0.0/8", PROXY_HEADER=chosen)
    lines = {"X-Forwarded-For": "X-Forwarded-For: 198.51.100.7", "forwarded": "Forwarded: for=198.51.100.8", "X-Real-IP": "X-Real-IP: 198.51.100.9"}
    own = lines.pop(chosen)
    for others in ([], lines.values()):
        assert explain(hub, own, *others)[:2] == (re.split("[ =]", own)[-1], "untrusted")
    described = hub.get("/openapi.json").json["components"]["schemas"]["PeerPath"]["properties"]["header"]["enum"]
    assert explain(hub, own)[2]["header"] in described
    ip, end, told = explain(hub, *lines.values())
    assert (ip, end, told["header"]) == ("127.0.0.1", "direct", None)
    assert explain(hub, f"{chosen}: unknown")[:2] == ("127.0.0.1", "unreadable")


@pytest.mark.parametrize("headers", [["X-Forwarded-For: 198.51.100.7"], ["Forwarded: for=198.51.100.7"], ["X-Forwarded-For: 127.0.0.1"], ["Forwarded: "], ["X-Real-IP: 198.51.100.7"]])
def test_a_proxy_that_the_hub_was_not_told_of_gives_no_record_its_address(shared_hub, headers):
    """The one that it would have is the proxy's, and would stand in every hosts file."""
    asked = {name: value for name, value in (header.split(": ") for header in headers)}
    said = problem(shared_hub.put("/silos/van", {"dnsrecords": [{"hostname": "a", "ip": "192.0.2.1"}, {"hostname": "van"}]}, headers=asked), 422, "invalid")
    assert said["errors"][0]["field"] == "dnsrecords[1].ip" and "SILODNS_TRUSTED_PROXIES" in said["detail"] and said["detail"].endswith("send no such header")
    assert shared_hub.get("/silos/van").status == 404
    assert shared_hub.put_silo("told", {"van": "192.0.2.1"}, headers=asked).status in (200, 201), "what says its address needs nobody's"
    problem(shared_hub.request("PATCH", "/silos/told", {"set": [{"hostname": "new"}]}, headers=asked), 422, "invalid")
    assert shared_hub.request("PATCH", "/silos/told", {"remove": [{"hostname": "van"}]}, headers=asked).json["dnsrecords"] == []
    assert shared_hub.put("/silos/direct", {"dnsrecords": [{"hostname": "van"}]}).json["dnsrecords"] == [{"hostname": "van", "ip": "127.0.0.1"}]


@pytest.mark.parametrize("header,ip", [("198.51.100.7", "198.51.100.7"), ("10.0.0.3, 10.0.0.2", "10.0.0.3"), ("unknown", None), (", ".join(["10.0.0.2"] * 17), None)])
def test_a_record_has_the_address_that_a_trusted_proxy_tells_or_none(proxied_hub, header, ip):
    answer = proxied_hub.put("/silos/van", {"dnsrecords": [{"hostname": "van"}]}, headers={"X-Forwarded-For": header})
    if ip:
        assert answer.json["dnsrecords"] == [{"hostname": "van", "ip": ip}]
    else:
        problem(answer, 422, "invalid")
