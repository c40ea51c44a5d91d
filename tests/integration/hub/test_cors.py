"""SILODNS_CORS_ORIGINS: which pages of other origins may read the hub."""

import pytest

from tests.lib.answers import problem
from tests.lib.hub import make_token, run_api
from tests.lib.watcher import Watcher

pytestmark = pytest.mark.hub

ORIGIN, OTHER = "https://dash.example.net", "http://localhost:3000"
STRANGERS = ["https://evil.example", "https://dash.example.net.evil.example", "http://dash.example.net", "https://dash.example.net:8443",
             "https://DASH.example.net", "null", f"{ORIGIN}, {OTHER}", f"{ORIGIN}/", ""]


@pytest.fixture(scope="module")
def cors_hub(make_shared_hub):
    return make_shared_hub(CORS_ORIGINS=f"{ORIGIN},{OTHER}")


def granted(answer):
    """What the answer grants, {} if nothing. It never depends on what a browser keeps, and caches are always told what it depends on."""
    assert answer.headers.get_all("Vary") == ["Origin"]
    names = {name: value for name, value in answer.headers.items() if name.startswith("Access-Control-")}
    assert "Access-Control-Allow-Credentials" not in names
    return names


def preflight(hub, path="/silos/a", method="GET", origin=ORIGIN, **more):
    return hub.request("OPTIONS", path, auth=None, headers={"Origin": origin, "Access-Control-Request-Method": method}, **more)


def reading(origin=ORIGIN):
    return {"Access-Control-Allow-Origin": origin, "Access-Control-Expose-Headers": "ETag, Link, Retry-After, Age"}


@pytest.mark.parametrize("origin", [ORIGIN, OTHER])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("path", ["/silos/a", "/watch", "/users/nobody", "/no/such/path"])
def test_a_preflight_of_a_listed_origin_is_answered(cors_hub, origin, method, path):
    answer = preflight(cors_hub, path, method, origin)
    assert (answer.status, answer.body, answer.headers["Content-Type"]) == (204, b"", None)
    assert granted(answer) == {"Access-Control-Allow-Origin": origin, "Access-Control-Allow-Methods": "GET, HEAD", "Access-Control-Max-Age": "7200",
                               "Access-Control-Allow-Headers": "Authorization, If-None-Match, If-Match, Last-Event-ID"}


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "POST", "get", ""])
def test_nothing_but_reading_is_granted(cors_hub, method):
    answer = preflight(cors_hub, method=method)
    problem(answer, 405, "method")
    assert granted(answer) == {}
    if method.isupper():
        assert granted(cors_hub.request(method, "/silos/a", "{}", headers={"Origin": ORIGIN})) == {}


@pytest.mark.parametrize("origin", STRANGERS)
def test_another_origin_is_granted_nothing(cors_hub, origin):
    answer = preflight(cors_hub, origin=origin)
    problem(answer, 405, "method")
    assert granted(answer) == {}
    assert granted(cors_hub.get("/silos", headers={"Origin": origin})) == {}
    assert granted(cors_hub.get("/silos")) == {}


def test_whatever_is_answered_to_a_read_can_be_read(cors_hub):
    cors_hub.put_silo("seen", {"h": "192.0.2.1"})
    token = make_token(cors_hub, "admin", "page", verbs=["read"])

    def ask(path, status, auth=token, method="GET", **headers):
        answer = cors_hub.request(method, path, auth=auth, headers={"Origin": ORIGIN} | {k.replace("_", "-"): v for k, v in headers.items()})
        assert answer.status == status and granted(answer) == reading(), answer
        return answer

    tag = ask("/silos/seen", 200).headers["ETag"]
    ask("/silos/seen", 200, method="HEAD")
    ask("/silos/seen", 304, If_None_Match=tag)
    ask("/silos/seen", 412, If_Match='"1"')
    ask("/silos?limit=1", 200)
    ask("/silos/seen", 401, auth="Bearer silodns_nonsense")
    ask("/silos/seen", 401, auth=None)
    ask("/audit", 403)
    ask("/silos/none", 404)
    ask("/silos/seen?nonsense=1", 400)
    ask("/ip", 200, auth=None)
    ask("/audit", 200, auth=("admin", cors_hub.settings["ADMIN_PASSWORD"]))  # waits for the database, and goes on


def test_a_watch_can_be_read(cors_hub):
    watcher = Watcher(cors_hub, headers={"Origin": OTHER}).wait_synced()
    try:
        assert granted(watcher) == reading(OTHER)
    finally:
        watcher.close()


def test_without_the_setting_nobody_hears_of_it(shared_hub):
    answers = [preflight(shared_hub), shared_hub.get("/silos", headers={"Origin": ORIGIN})]
    assert [answer.status for answer in answers] == [405, 200]
    for answer in answers:
        assert answer.headers["Vary"] is None and not [name for name in answer.headers if name.startswith("Access-Control-")]


def test_limits_hold_for_preflights_and_can_be_read(make_hub, database):
    hub = make_hub(database, CORS_ORIGINS=ORIGIN, LIMIT_EXEMPT="none", LIMIT_REQUESTS=1, LIMIT_REQUESTS_BURST=5)
    answers = [preflight(hub) for _ in range(6)]
    assert {answer.status for answer in answers[:3]} == {204}
    problem(answers[-1], 429, "rate")
    assert {"Retry-After", "RateLimit", "RateLimit-Policy", "Access-Control-Allow-Origin"} <= set(answers[-1].headers)
    read = hub.get("/silos", headers={"Origin": ORIGIN})
    assert read.status == 429 and granted(read) == reading()


@pytest.mark.parametrize("wrong,advice", [("*", "write each origin"), ("null", "https://"), ("dash.example.net", "https://"),
                                          (f"{ORIGIN}/", f"write {ORIGIN}\n"), (f"{ORIGIN}/page?x#y", f"write {ORIGIN}\n"),
                                          ("HTTPS://Dash.example.net", f"write {ORIGIN}\n"), (f"{ORIGIN}:443", f"write {ORIGIN}\n"),
                                          ("http://[2001:DB8::1]:80", "write http://[2001:db8::1]\n"), ("ftp://dash.example.net", "https://"),
                                          ("https://*.example.net", "write each origin"), ("https://bücher.example", "xn--"),
                                          ("https://somebody:secret@dash.example.net", "credentials"), ("https://", "https://")])
def test_what_is_no_origin_is_refused_with_what_to_write(wrong, advice):
    done = run_api("check", settings={"CORS_ORIGINS": f"{OTHER} {wrong}"})
    assert done.returncode == 2 and "SILODNS_CORS_ORIGINS" in done.stderr and advice in done.stderr, done.stderr
