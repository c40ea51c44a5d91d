"""The HTTP contract of docs/http.md, as a black box."""

import base64
import contextlib
import re
import socket
import subprocess

import pytest

from tests.lib import needs
from tests.lib.answers import deaf, get_request, problem, raw
from tests.lib.hub import ADMIN, basic
from tests.lib.waiting import wait_until

pytestmark = pytest.mark.hub


@pytest.mark.parametrize("method", ["GET", "POST", "PUT"])
def test_ping_answers_pong_to_anyone(shared_hub, method):
    answer = shared_hub.request(method, "/ping", auth=None)
    assert (answer.status, answer.json) == (200, {"message": "PONG"})


def test_healthz_and_readyz_tell_what_they_promise(shared_hub):
    assert shared_hub.get("/healthz", auth=None).json == {"status": "ok"}
    ready = shared_hub.get("/readyz", auth=None)
    assert ready.status == 200 and ready.json["status"] == "ready" and ready.json["database"] == "up"
    assert len(ready.json["hub"]) == 32 and ready.json["revision"] >= 1


@pytest.mark.parametrize("path", ["/", "/ping", "/ip", "/healthz", "/readyz", "/openapi.json", "/silos", "/silos/head", "/silos/head/hosts", "/silos/head/history",
                                  "/silos/not-there", "/users", "/users/admin", "/users/admin/tokens", "/audit?outcome=changed"])
def test_head_works_wherever_get_does(shared_hub, path):
    shared_hub.put_silo("head", {"h": "192.0.2.1"})
    got, head = shared_hub.get(path), shared_hub.request("HEAD", path)
    assert (head.status, head.body, head.headers["Content-Length"]) == (404 if "not-there" in path else 200, b"", str(len(got.body)))
    for name in ("ETag", "Content-Type", "Cache-Control"):
        assert head.headers[name] == got.headers[name]


@pytest.mark.parametrize("path,allow", [("/ping", {"GET", "HEAD", "POST", "PUT"}), ("/silos", {"GET", "HEAD"}),
                                        ("/silos/a", {"GET", "HEAD", "PUT", "PATCH", "DELETE"}), ("/users/a", {"GET", "HEAD", "PUT", "DELETE"}),
                                        ("/users", {"GET", "HEAD"}), ("/", {"GET", "HEAD"})])
@pytest.mark.parametrize("method", ["patch", "OPTIONS", "TRACE", "BREW", "get"])
def test_a_known_path_with_another_method_is_405_with_allow(shared_hub, path, allow, method):
    answer = shared_hub.request(method, path)
    problem(answer, 405, "method")
    assert set(answer.headers["Allow"].split(", ")) == allow


@pytest.mark.parametrize("path", ["/nope", "/ping/", "/silos/", "/silos//", "/silos/a/b", "//ping", "/PING", "/silos/a/b/c/d/e",
                                  "/users/", "/ping/x"])
def test_an_unknown_path_is_404_for_everyone(shared_hub, path):
    problem(shared_hub.get(path, auth=None), 404, "not-found")


def test_an_escaped_path_is_the_same_path(shared_hub):
    assert shared_hub.get("/%70ing", auth=None).json == {"message": "PONG"}


@pytest.mark.parametrize("path", ["/silos/%", "/silos/%2", "/silos/%zz", "/%"])
def test_a_bad_escape_is_400(shared_hub, path):
    problem(shared_hub.get(path), 400, "malformed")


def test_the_absolute_form_of_a_target_is_understood(shared_hub):
    answer = raw(shared_hub, b"GET http://hub.example/ping HTTP/1.1\r\nHost: hub.example\r\nConnection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200") and answer.endswith(b'{"message":"PONG"}')


@pytest.mark.parametrize("target", [b"http://hub.example", b"HTTP://hub.example?", b"https://hub.example/"])
def test_a_target_without_a_path_is_the_root(shared_hub, target):
    answer = raw(shared_hub, b"GET " + target + b" HTTP/1.1\r\nHost: hub.example\r\nConnection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200") and b"message" in answer


@pytest.mark.parametrize("data", [b"nonsense\r\n\r\n", b"GET\r\n\r\n", b"\x00\xff\x00\r\n\r\n", b"GET /ping HTTP/9.9\r\n\r\n",
                                  b"PUT /silos/a HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
                                  b"PUT /silos/a HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n",
                                  b"PUT /silos/a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"])
def test_what_is_no_http_harms_nobody(shared_hub, data):
    answer = raw(shared_hub, data)
    assert not answer or answer.startswith((b"HTTP/1.1 4", b"HTTP/1.0 4", b"HTTP/1.1 505", b"HTTP/1.0 505")), answer[:200]
    assert shared_hub.get("/ping", auth=None).status == 200


@pytest.mark.parametrize("version,status", [(b"HTTP/1.0", 200), (b"HTTP/1.2", 200), (b"HTTP/1.9", 200), (b"HTTP/0.9", 505), (b"HTTP/2.0", 505), (b"HTTP/3.0", 505),
                                            (b"HTTP/1", 400), (b"HTTP/2", 400), (b"HTTP/1.10", 400), (b"HTTP/99.99", 400), (b"http/1.1", 400), (b"HTTQ/1.1", 400)])
def test_another_major_version_is_505_another_minor_one_is_spoken_and_what_is_none_is_400(shared_hub, version, status):
    """RFC 9110, 2.5 and 15.6.6; RFC 9112, 3."""
    assert raw(shared_hub, b"GET /ping " + version + b"\r\nHost: x\r\nConnection: close\r\n\r\n").startswith(b"HTTP/1.1 %d " % status)


@pytest.mark.parametrize("framing", [b"Content-Length: 17\r\nContent-Length: 18\r\n\r\n{\"dnsrecords\":[]} ",
                                     b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n11\r\n{\"dnsrecords\":[]}\r\n0\r\n\r\n",
                                     b"Content-Length : 17\r\n\r\n{\"dnsrecords\":[]}", b"Transfer-Encoding : chunked\r\n\r\n11\r\n{\"dnsrecords\":[]}\r\n0\r\n\r\n",
                                     b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n11\r\n{\"dnsrecords\":[]}\r\n0\r\n\r\n"])
def test_a_body_whose_end_a_proxy_may_see_elsewhere_is_refused_and_is_the_connections_last(shared_hub, framing):
    before = shared_hub.revision()
    answer = raw(shared_hub, b"PUT /silos/framing HTTP/1.1\r\nHost: x\r\nAuthorization: " + basic(*ADMIN).encode() + b"\r\n" + framing
                 + b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 400") and b"Connection: close" in answer and b"PONG" not in answer, answer
    assert shared_hub.revision() == before


@pytest.mark.parametrize("head", [b"\r\n", b"Host : x\r\n\r\n"])
def test_a_head_that_is_against_the_standard_is_refused(shared_hub, head):
    """By an answer like any other, which is counted and has the headers of all."""
    before = shared_hub.get("/metrics").body
    answer = raw(shared_hub, b"GET /ping HTTP/1.1\r\n" + head)
    assert answer.startswith(b"HTTP/1.1 400") and b"nosniff" in answer and b"no-store" in answer, answer
    counts = [int(re.search(rb'^silodns_http_errors_total{error="malformed"} (\d+)$', page, re.MULTILINE)[1]) for page in (before, shared_hub.get("/metrics").body)]
    assert counts[1] == counts[0] + 1


def test_errors_and_answers_carry_headers_that_keep_them_private(shared_hub):
    for answer in (shared_hub.get("/silos"), shared_hub.get("/silos", auth=None)):
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert "no-" in answer.headers["Cache-Control"]


@pytest.mark.parametrize("auth", [None, "Basic", "Basic ", "Basic !!!", "Basic YWRtaW4=", "Bearer x", "Digest x", "x" * 5000,
                                  (ADMIN[0], "wrong-password"), ("nobody", ADMIN[1]), ("", ""), (ADMIN[0], ""), (ADMIN[0].upper(), ADMIN[1])])
@pytest.mark.parametrize("path", ["/silos", "/silos/not-there"])
def test_missing_wrong_and_malformed_credentials_are_401(shared_hub, auth, path):
    answer = shared_hub.get(path, auth=auth)
    problem(answer, 401, "unauthorized")
    of_token = ', error="invalid_token"' if auth == "Bearer x" else ""
    assert answer.headers["WWW-Authenticate"] == f'Basic realm="silodns", charset="UTF-8", Bearer realm="silodns"{of_token}'


def test_an_unknown_user_and_a_wrong_password_look_the_same(shared_hub):
    wrong = shared_hub.get("/silos", auth=(ADMIN[0], "wrong-password"))
    unknown = shared_hub.get("/silos", auth=("nobody", "wrong-password"))
    assert wrong.body == unknown.body


@pytest.mark.parametrize("query", ["?x=1", "?limit=0", "?limit=10001", "?limit=x", "?limit=1&limit=2", "?after=%00",
                                   "?limit=99999999999999999999"])
def test_a_query_that_is_not_understood_is_refused(shared_hub, query):
    assert shared_hub.get("/silos" + query).status in (400, 422)


@pytest.mark.parametrize("text", [b"admin\0:the-admins-password", b"admin:the-admins-password\0", b"\xff\xfe:\xff", b":", b"admin",
                                  b"x" * 400 + b":y", b"admin:" + b"y" * 400])
def test_credentials_that_nobody_can_have_are_401(shared_hub, text):
    problem(shared_hub.get("/silos", auth="Basic " + base64.b64encode(text).decode()), 401, "unauthorized")


def test_two_credentials_in_one_request_are_401(shared_hub):
    good = basic(*ADMIN).encode()
    answer = raw(shared_hub, b"GET /silos HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" + (b"Authorization: " + good + b"\r\n") * 2 + b"\r\n")
    assert answer.startswith(b"HTTP/1.1 401"), answer[:200]


def test_the_scheme_of_credentials_is_read_in_any_case(shared_hub):
    assert shared_hub.get("/silos", auth=basic(*ADMIN).replace("Basic", "bAsIc")).status == 200


def test_a_body_may_come_in_chunks(shared_hub):
    pieces = [b'{"dnsrecords":[{"hostname":"chunked",', b'"ip":"192.0.2.1"}]}']
    connection = shared_hub.connect()
    connection.request("PUT", "/silos/chunked", iter(pieces), {"Authorization": basic(*ADMIN)}, encode_chunked=True)
    answer = connection.getresponse()
    assert answer.status == 201, answer.read()
    connection.close()


def test_a_client_may_wait_for_100_continue(shared_hub):
    body = b'{"dnsrecords":[]}'
    head = (f"PUT /silos/continue HTTP/1.1\r\nHost: x\r\nAuthorization: {basic(*ADMIN)}\r\nExpect: 100-continue\r\n"
            f"Content-Length: {len(body)}\r\n\r\n")
    with socket.create_connection(("127.0.0.1", shared_hub.port), 10) as s:
        s.sendall(head.encode())
        assert s.recv(4096).startswith(b"HTTP/1.1 100")
        s.sendall(body)
        assert s.recv(4096).startswith(b"HTTP/1.1 201")


def test_pipelined_requests_are_answered_in_order(shared_hub):
    answer = raw(shared_hub, b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\nGET /nope HTTP/1.1\r\nHost: x\r\n\r\n"
                             b"GET /ip HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert re.findall(rb"HTTP/1.1 (\d+)", answer) == [b"200", b"404", b"200"]


@pytest.mark.parametrize("lines", ["", "Host: a\r\nHost: b\r\n"], ids=["none", "two"])
def test_a_request_without_one_host_gets_one_head_and_the_reason(shared_hub, lines):
    answer = raw(shared_hub, f"GET /ping HTTP/1.1\r\nConnection: close\r\n{lines}\r\n".encode())
    assert answer.count(b"HTTP/1.1") == 1 and answer.startswith(b"HTTP/1.1 400 "), answer
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"Host" in body and f"Content-Length: {len(body)}\r\n".encode() in head + b"\r\n"
    assert raw(shared_hub, b"GET /ping HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.1 200 ")


def leaves_out_lengths():
    """libmicrohttpd from 0.9.77 on can; before, the length of nothing is 0."""
    version = subprocess.run(["pkg-config", "--modversion", "libmicrohttpd"], capture_output=True, text=True, check=True).stdout
    return [int(part) for part in version.split(".")] >= [0, 9, 77]


def test_no_client_waits_for_the_body_of_a_304_and_head_has_the_length_of_get(shared_hub):
    shared_hub.put_silo("tagged", {"h": "192.0.2.1"})
    silo = shared_hub.get("/silos/tagged")
    lines = f"HTTP/1.1\r\nHost: x\r\nAuthorization: {basic(*ADMIN)}\r\n"
    same = f"GET /silos/tagged {lines}If-None-Match: {silo.headers['ETag']}\r\n\r\n"
    head = f"HEAD /silos/tagged {lines}\r\n"
    last = f"GET /silos/tagged {lines}Connection: close\r\n\r\n"
    answers = raw(shared_hub, (same + head + same + last).encode()).split(b"HTTP/1.1 ")[1:]
    assert [answer[:3] for answer in answers] == [b"304", b"200", b"304", b"200"]
    assert all(answer.endswith(b"\r\n\r\n") for answer in answers[:3]), "no body"
    for answer in (answers[0], answers[2]):
        assert f"ETag: {silo.headers['ETag']}\r\n".encode() in answer
        lengths = re.findall(rb"(?im)^content-length: (\d+)|^transfer-encoding: (.*)", answer)
        assert lengths == ([] if leaves_out_lengths() else [(b"0", b"")])
    for answer in (answers[1], answers[3]):
        assert f"Content-Length: {len(silo.body)}\r\n".encode() in answer


def test_a_slow_client_is_cut_off_and_holds_nobody_up(make_hub, database):
    hub = make_hub(database, IDLE_TIMEOUT="1s", THREADS=2)
    slow = []
    for _ in range(20):
        slow.append(socket.create_connection(("127.0.0.1", hub.port), 20))
        slow[-1].sendall(b"PUT /silos/slow HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{")
    assert hub.get("/silos").status == 200
    for s in slow:
        while s.recv(4096):  # a 408 may come first
            pass
        s.close()


def test_clients_that_do_not_read_their_answers_hold_no_thread(make_hub, database):
    hub = make_hub(database, THREADS=2)
    hub.put_silo("long", {f"host-{n}.example.net": f"192.0.2.{n % 250}" for n in range(4000)})
    with contextlib.ExitStack() as stack:
        for _ in range(16):
            stack.enter_context(deaf(hub, get_request("/silos/long") * 20))
        wait_until(lambda: hub.metric("silodns_http_requests_in_progress") > 16, what="answers under way")
        for _ in range(8):  # each thread gets some of them
            assert hub.get("/silos/long").status == 200


def test_past_the_limit_of_connections_further_ones_are_closed_and_the_hub_goes_on(make_hub, database):
    hub = make_hub(database, MAX_CONNECTIONS=16, THREADS=4)
    crowd = [hub.connect() for _ in range(64)]
    served = []
    for connection in crowd:
        try:
            served.append(hub.get("/ping", auth=None, connection=connection).status)
        except OSError:
            served.append(None)
    assert 8 <= served.count(200) <= 16 and set(served) == {200, None}
    for connection in crowd:
        connection.close()
    wait_until(lambda: hub.is_listening(), what="room for new connections")


def test_a_rush_of_connections_past_the_limit_wedges_nothing(make_hub, database):
    """libmicrohttpd before 1.0 never lets go of a lock when a thread of its pool finds itself past its limit."""
    hub = make_hub(database, MAX_CONNECTIONS=16, THREADS=2)
    for _ in range(5):
        crowd = []
        for _ in range(200):
            crowd.append(socket.socket())
            crowd[-1].setblocking(False)
            crowd[-1].connect_ex(("127.0.0.1", hub.port))
        for each in crowd:
            each.close()
    wait_until(lambda: hub.is_listening(), what="room for new connections")
    for _ in range(8):  # each thread gets some of them
        assert hub.get("/ping", auth=None).status == 200


def test_a_connection_serves_many_requests(shared_hub):
    connection = shared_hub.connect()
    for _ in range(50):
        assert shared_hub.get("/ping", connection=connection).status == 200
    connection.close()


@pytest.mark.promise(8)
def test_a_body_at_the_limit_is_read_and_one_past_it_is_413(make_hub, database):
    hub = make_hub(database, MAX_BODY=2048)
    records = '{"dnsrecords":[]}'
    assert hub.put("/silos/limit", records.ljust(2048)).status == 201
    problem(hub.put("/silos/limit", records.ljust(2049)), 413, "too-large")
    problem(hub.put("/silos/limit", b"x" * 10_000_000), 413, "too-large")


@needs.ipv6
def test_peers_over_ipv6_and_mapped_ipv4_are_seen_as_they_are(make_hub, database):
    hub = make_hub(database, start=False)
    hub.settings["LISTEN"] = f"[::]:{hub.port}"
    hub.start()
    assert hub.get("/ip", auth=None, host="::1").json == {"ip": "::1"}
    assert hub.get("/ip", auth=None, host="127.0.0.1").json == {"ip": "127.0.0.1"}
    assert hub.put("/silos/own", {"dnsrecords": [{"hostname": "me"}]}, host="::1").json["dnsrecords"] == [
        {"hostname": "me", "ip": "::1"}]
