"""Bad input: each gets the right 4xx with a sentence, changes nothing, and never a 500."""

import gzip
import json

import pytest

from tests.lib.answers import problem

pytestmark = pytest.mark.hub


def record(hostname="h", ip="192.0.2.1"):
    return json.dumps({"dnsrecords": [{"hostname": hostname, "ip": ip}]})


def canonical(**more):
    """As the updater writes it: the hub reads it without a JSON library."""
    return json.dumps({"id": "bad", **json.loads(record(**more))}, separators=(",", ":"))


DEEP = 100_000

BODIES = {  # name: (body, status, field or None)
    "empty": (b"", 400, None),
    "white space": (b"  \n", 400, None),
    "cut": (b'{"dnsrecords":[', 400, None),
    "trailing": (record().encode() + b"x", 400, None),
    "two documents": (record().encode() * 2, 400, None),
    "member twice": (b'{"dnsrecords":[],"dnsrecords":[]}', 400, None),
    "member twice in a record": (b'{"dnsrecords":[{"hostname":"a","hostname":"b","ip":"192.0.2.1"}]}', 400, None),
    "not UTF-8": (b'{"dnsrecords":[{"hostname":"\xff","ip":"192.0.2.1"}]}', 400, None),
    "lone surrogate": (b'{"dnsrecords":[{"hostname":"\\ud800","ip":"192.0.2.1"}]}', 400, None),
    "escaped NUL": (b'{"dnsrecords":[{"hostname":"a\\u0000b","ip":"192.0.2.1"}]}', 400, None),
    "raw NUL": (b'{"dnsrecords":[{"hostname":"a\x00b","ip":"192.0.2.1"}]}', 400, None),
    "only NULs": (b"\x00" * 100, 400, None),
    "BOM in the middle": (b'{\xef\xbb\xbf"dnsrecords":[]}', 400, None),
    "UTF-16": (record().encode("utf-16"), 400, None),
    "comment": (b'{"dnsrecords":[]/* none */}', 400, None),
    "single quotes": (b"{'dnsrecords':[]}", 400, None),
    "huge number": (b'{"dnsrecords":' + b"9" * 400 + b"}", 400, None),
    "deep array": (b"[" * DEEP + b"]" * DEEP, 400, None),
    "deep object": (b'{"a":' * DEEP + b"1" + b"}" * DEEP, 400, None),
    "deep in a record": (b'{"dnsrecords":' + b"[" * DEEP + b"]" * DEEP + b"}", 400, None),
    "array": (b"[]", 422, None),
    "string": (b'"x"', 422, None),
    "null": (b"null", 422, None),
    "overlong UTF-8": (b'{"dnsrecords":[{"hostname":"\xc0\xaf","ip":"192.0.2.1"}]}', 400, None),
    "not a number": (b'{"dnsrecords":NaN}', 400, None),
    "infinite number": (b'{"dnsrecords":1e999}', 400, None),
    "final comma": (b'{"dnsrecords":[],}', 400, None),
    "no records": (b"{}", 422, "dnsrecords"),
    "records null": (b'{"dnsrecords":null}', 422, "dnsrecords"),
    "records object": (b'{"dnsrecords":{}}', 422, "dnsrecords"),
    "records string": (b'{"dnsrecords":"x"}', 422, "dnsrecords"),
    "record string": (b'{"dnsrecords":["x"]}', 422, "dnsrecords[0]"),
    "record null": (b'{"dnsrecords":[null]}', 422, "dnsrecords[0]"),
    "hostname missing": (b'{"dnsrecords":[{"ip":"192.0.2.1"}]}', 422, "dnsrecords[0].hostname"),
    "hostname number": (b'{"dnsrecords":[{"hostname":1,"ip":"192.0.2.1"}]}', 422, "dnsrecords[0].hostname"),
    "ip number": (b'{"dnsrecords":[{"hostname":"a","ip":1}]}', 422, "dnsrecords[0].ip"),
    "ip null": (b'{"dnsrecords":[{"hostname":"a","ip":null}]}', 422, "dnsrecords[0].ip"),
    "ip list": (b'{"dnsrecords":[{"hostname":"a","ip":["192.0.2.1"]}]}', 422, "dnsrecords[0].ip"),
    "hostname null": (b'{"dnsrecords":[{"hostname":null,"ip":"192.0.2.1"}]}', 422, "dnsrecords[0].hostname"),
    "ip true": (b'{"dnsrecords":[{"hostname":"a","ip":true}]}', 422, "dnsrecords[0].ip"),
    "id null": (b'{"id":null,"dnsrecords":[]}', 422, "id"),
    "record list": (b'{"dnsrecords":[["a","192.0.2.1"]]}', 422, "dnsrecords[0]"),
    "unknown member": (b'{"dnsrecords":[],"ttl":60}', 422, None),
    "unknown member with a line break": (b'{"dnsrecords":[],"evil\\nlevel=error":1}', 422, None),
    "unknown member in a record": (b'{"dnsrecords":[{"hostname":"a","ip":"192.0.2.1","ttl":60}]}', 422, "dnsrecords[0]"),
    "id number": (b'{"id":1,"dnsrecords":[]}', 422, "id"),
    "another id": (b'{"id":"other","dnsrecords":[]}', 422, "id"),
    "same record twice": (b'{"dnsrecords":[{"hostname":"a","ip":"192.0.2.1"},{"hostname":"b","ip":"192.0.2.1"},'
                          b'{"hostname":"A","ip":"192.0.2.1"}]}', 422, "dnsrecords[2]"),
    "same address in two forms": (b'{"dnsrecords":[{"hostname":"a","ip":"2001:db8::1"},{"hostname":"a","ip":"2001:DB8:0::1"}]}', 422, "dnsrecords[1]"),
    "twice the caller": (b'{"dnsrecords":[{"hostname":"a"},{"hostname":"a","ip":"127.0.0.1"}]}', 422, "dnsrecords[1]"),
    "one bad of many": (b'{"dnsrecords":[{"hostname":"a","ip":"192.0.2.1"},{"hostname":"b","ip":"nonsense"}]}', 422, "dnsrecords[1].ip"),
    "10 MB": (b'{"dnsrecords":[' + b" " * 10_000_000 + b"]}", 413, None),
    "form": (b"hostname=a&ip=192.0.2.1", 400, None),
}

HOSTNAMES = ["", " ", "a b", " a", "a ", "a/b", "a\nb", "a\tb", "a\x7f", "a\r\n127.0.0.1 evil", "a.", "a.b.", ".", ".a", "a..b", "-a", "a-",
             "a.-b", "-_", "a_-.b", "a_b.1", "*.a", "a#b", "ä", "日本", "x" * 64, "a." + "x" * 64 + ".b", ".".join(["x" * 49] * 5) + ".info",
             "127.0.0.1", "1.2.3.4", "123", "a.1", "0x7f", "::1", "a:80", "http://a", "xn--\u00e4"]

GOOD_HOSTNAMES = {"a": "a", "A.Example": "a.example", "x" * 63: "x" * 63, "xn--bcher-kva.example": "xn--bcher-kva.example", "1a": "1a",
                  "a1.b2": "a1.b2", "3com": "3com", "a--b": "a--b", "Project_DB_1": "project_db_1", "_http._TCP.a": "_http._tcp.a", "a_": "a_", "_": "_", "a.1_2": "a.1_2",
                  ".".join(["x" * 49] * 5) + ".com": ".".join(["x" * 49] * 5) + ".com"}

ADDRESSES = {  # what the reason says: addresses
    "missing": [""], "leading zero": ["01.2.3.4", "1.2.3.04"], "write 1.2.3.4": ["::ffff:1.2.3.4", "::FFFF:1.2.3.4"], "zone": ["fe80::1%eth0"],
    "prefix": ["1.2.3.4/24", "2001:db8::/32"],
    "not an IPv4": [" ", "1.2.3", "1.2.3.4.5", "256.1.1.1", "1.2.3.-4", "0x1.2.3.4", "1.2.3.4 ", " 1.2.3.4", "1.2.3.4\n", "1.2.3.4:80", "[::1]", "2001:db8:::1",
                    "1:2:3:4:5:6:7", "1:2:3:4:5:6:7:8:9", "12345::1", "g::1", "localhost", "x" * 5000],
    "": ["0.0.0.0", "::", "224.0.0.1", "ff02::1", "255.255.255.255"]}

IDS = ["a%20b", "a%2Fb", "%2e%2e", "a%0a", "%c3%a4", "-a", ".a", "_a", "a%25", "a%3Fb", "x" * 65, "x" * 300, "%ff"]


def refused(hub, body, status, path="/silos/bad"):
    before = hub.revision()
    answer = hub.put(path, body)
    said = problem(answer, status, {400: "malformed", 413: "too-large", 422: "invalid"}[status])
    assert hub.revision() == before and hub.get("/silos/bad").status == 404
    assert said["detail"].isprintable()
    return said


@pytest.mark.parametrize("name", BODIES)
def test_a_bad_body_is_refused(shared_hub, name):
    body, status, field = BODIES[name]
    said = refused(shared_hub, body, status)
    if field:
        assert said["errors"][0]["field"] == field


@pytest.mark.parametrize("path,body", [("/silos/marked", record()), ("/users/marked", '{"password":"long enough"}'),
                                       ("/users/admin/tokens/marked", '{"verbs":["read"]}')])
def test_a_body_with_a_byte_order_mark_is_read_and_utf16_is_named(shared_hub, path, body):
    for encoding in ("utf-16", "utf-16-le"):
        assert "UTF-16" in problem(shared_hub.put(path, body.encode(encoding)), 400, "malformed")["detail"]
    assert shared_hub.put(path, body.encode("utf-8-sig")).status == 201


@pytest.mark.parametrize("hostname", HOSTNAMES)
def test_a_bad_hostname_is_refused(shared_hub, hostname):
    for body in (record(hostname=hostname), canonical(hostname=hostname)):
        assert refused(shared_hub, body, 422)["errors"][0]["field"] == "dnsrecords[0].hostname"


@pytest.mark.parametrize("given", GOOD_HOSTNAMES)
def test_a_good_hostname_is_kept_in_lower_case(shared_hub, given):
    answer = shared_hub.put("/silos/goodname", record(hostname=given))
    assert answer.status in (200, 201) and answer.json["dnsrecords"][0]["hostname"] == GOOD_HOSTNAMES[given]


@pytest.mark.parametrize("address,reason", [(address, reason) for reason in ADDRESSES for address in ADDRESSES[reason]])
def test_a_bad_address_is_refused(shared_hub, address, reason):
    for body in (record(ip=address), canonical(ip=address)):
        said = refused(shared_hub, body, 422)
        assert said["errors"][0]["field"] == "dnsrecords[0].ip" and reason in said["detail"]


@pytest.mark.parametrize("given,canonical", [("2001:DB8:0:0:1:0:0:1", "2001:db8::1:0:0:1"), ("2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1"),
                                             ("FE80::0001", "fe80::1"), ("1:0:0:2:0:0:0:3", "1:0:0:2::3"), ("64:ff9b::1.2.3.4", "64:ff9b::102:304"), ("192.0.2.1", "192.0.2.1"), ("10.0.0.0", "10.0.0.0"), ("::1", "::1")])
def test_a_good_address_is_kept_in_canonical_form(shared_hub, given, canonical):
    answer = shared_hub.put("/silos/goodaddress", record(ip=given))
    assert answer.status in (200, 201) and answer.json["dnsrecords"][0]["ip"] == canonical


def test_a_refused_change_leaves_what_was_there(shared_hub):
    tag = shared_hub.put_silo("kept", {"h": "192.0.2.1"}).headers["ETag"]
    for body in (b"", b"{}", record("a b"), record(ip="1.2.3"), b'{"id":"other","dnsrecords":[]}'):
        assert shared_hub.put("/silos/kept", body).status in (400, 422)
        kept = shared_hub.get("/silos/kept")
        assert kept.headers["ETag"] == tag and kept.json["dnsrecords"] == [{"hostname": "h", "ip": "192.0.2.1"}]


@pytest.mark.parametrize("silo", ["a", "0", "x" * 64, "A.b_c-d", "a..b", "a-", "1.2.3.4"])
def test_a_good_id_is_taken(shared_hub, silo):
    assert shared_hub.put(f"/silos/{silo}", record()).json["id"] == silo
    assert shared_hub.delete(f"/silos/{silo}").status == 204


@pytest.mark.parametrize("silo", IDS)
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_a_bad_id_is_refused(shared_hub, silo, method):
    before = shared_hub.revision()
    answer = shared_hub.request(method, f"/silos/{silo}", record() if method == "PUT" else None)
    problem(answer, 422, "invalid")
    assert shared_hub.revision() == before


@pytest.mark.parametrize("path", ["/silos/a%00", "/silos/%00", "/ping%00", "/%00/a", "/users/a%00b", "/silos?after=%00"])
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_a_nul_in_the_target_is_400(shared_hub, path, method):
    if method == "GET" or "?" not in path:
        problem(shared_hub.request(method, path, record() if method == "PUT" else None), 400, "malformed")


@pytest.mark.parametrize("coding", ["gzip", "br", "identity, gzip"])
def test_a_compressed_body_is_415_with_what_to_do(shared_hub, coding):
    refused = shared_hub.put("/silos/packed", gzip.compress(record().encode()), headers={"Content-Encoding": coding})
    assert problem(refused, 415, "unsupported-encoding")["errors"][0]["field"] == "Content-Encoding"
    assert f'"{coding}"' in refused.json["detail"] and refused.headers["Accept-Encoding"] == "identity"
    assert shared_hub.get("/silos/packed").status == 404
    assert shared_hub.put("/silos/unpacked", record(), headers={"Content-Encoding": "Identity"}).status == 201
    assert shared_hub.put("/silos/unpacked", record(), headers={"Content-Encoding": ""}).status == 200
    assert shared_hub.delete("/silos/unpacked", headers={"Content-Encoding": "gzip"}).status == 204  # of no body
