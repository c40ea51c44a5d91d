"""Three hubs as the overlay ha renders them, behind nginx as their Ingress says: one fails, one loses an answer."""

import http.client
import json
import time

import pytest

from tests.containers.engine import run
from tests.containers.ingress import Impostor, Nginx
from tests.containers.pods import get
from tests.lib.waiting import wait_until

ADMIN = ("admin", "admin-secret")


@pytest.fixture(scope="module")
def replicas(cluster, database, render):
    return cluster.with_objects(render("overlays/ha"))


def start_hub(replicas):
    hub = replicas.start("Deployment", "silodns-api")
    hub.upstream = f"{hub.address()}:8080"
    return hub


def wait_for(hub):
    wait_until(lambda: hub.probe("startupProbe") and hub.probe("readinessProbe"), 120, "a hub")


@pytest.fixture(scope="module")
def hubs(replicas):
    hubs = [start_hub(replicas) for _ in range(3)]
    for hub in hubs:
        wait_for(hub)
    yield hubs
    run("docker", "stop", "-t", "5", *(hub.id for hub in hubs))


@pytest.fixture(scope="module")
def front(replicas, hubs, tmp_path_factory):
    return Nginx(replicas, replicas.get("Ingress", "silodns"), tmp_path_factory.mktemp("nginx"), [hub.upstream for hub in hubs])


def ask(front, path, method="GET", body=None, headers=None):
    return get(front.url(path), user=ADMIN, method=method, body=body, headers=headers)


def silo(*addresses):
    return {"dnsrecords": [{"hostname": "h", "ip": address} for address in addresses]}


def test_a_hub_that_is_gone_costs_no_request(front, hubs):
    """Its machine does not even refuse, and nothing has told nginx yet."""
    assert ask(front, "/silos/gone", "PUT", silo("192.0.2.1"))[0] == 201
    run("docker", "kill", hubs[0].id)
    try:
        front.route([hubs[0].upstream, f"{hubs[1].upstream} backup"])
        for method, body in (("GET", None), ("PUT", silo("192.0.2.2"))):
            started = time.monotonic()
            assert ask(front, "/silos/gone", method, body)[0] == 200
            assert time.monotonic() - started < 3
        assert [addresses for *_, addresses, _ in front.tries()][-2:] == [[hubs[0].upstream, hubs[1].upstream]] * 2
    finally:
        run("docker", "start", hubs[0].id)
        hubs[0].upstream = f"{hubs[0].address()}:8080"
        wait_for(hubs[0])
        front.route([hub.upstream for hub in hubs])


def pass_on(hub, handler, body):
    to = http.client.HTTPConnection(hub.address(), 8080, timeout=10)
    to.request(handler.command, handler.path, body, dict(handler.headers))
    return to.getresponse()


@pytest.fixture
def loses_answers(front, hubs):
    """A hub that does what it is told, and is gone before it answers, is asked first."""
    with Impostor(front.gateway, lambda handler, body: pass_on(hubs[0], handler, body).read()) as impostor:
        front.route([impostor.upstream, f"{hubs[1].upstream} backup"])
        yield impostor
    front.route([hub.upstream for hub in hubs])


def history(front, name):
    return [change["change"] for change in json.loads(ask(front, f"/silos/{name}/history")[1])]


def test_a_change_whose_answer_is_lost_is_asked_again_too_which_conditions_make_harmless(front, loses_answers):
    """nginx takes PUT and DELETE for repeatable. What a client is told then is what docs/kubernetes.md says."""
    assert ask(front, "/silos/lost", "PUT", silo("192.0.2.1"), {"If-None-Match": "*"})[0] == 412, "it is there, by the first time"
    assert ask(front, "/silos/lost", "PUT", silo("192.0.2.2"))[0] == 200, "as it is already"
    etag = json.loads(ask(front, "/silos/lost/history")[1])[0]["revision"]
    assert ask(front, "/silos/lost", "PUT", silo("192.0.2.3"), {"If-Match": f'"{etag}"'})[0] == 412
    assert ask(front, "/silos/lost", "DELETE")[0] == 404
    assert history(front, "lost") == ["delete", "put", "put", "put"], "each once"
    assert {tuple(addresses)[0] for _, _, path, addresses, _ in front.tries() if path == "/silos/lost"} == {loses_answers.upstream}


def test_the_updater_that_is_told_no_after_all_looks_and_finds_its_record(replicas, front, hubs, loses_answers):
    settings = {"URL": front.url(""), "USER": ADMIN[0], "PASSWORD": ADMIN[1], "SILO": "updated", "HOSTNAMES": "up", "ALLOW_PRIVATE": "true", "ALLOW_PLAIN_HTTP": "true"}
    for address in (front.gateway + "98", front.gateway + "99"):  # 10.213.n.198, 10.213.n.199
        done = run("docker", "run", "--rm", "--network", replicas.name, "--ip", address, *(word for name, value in settings.items() for word in ("-e", f"SILODNS_{name}={value}")),
                   "silodns/updater", "--once", check=False)
        assert done.returncode == 0, done.stderr
        wait_until(lambda: json.loads(get(f"http://{hubs[2].upstream}/silos/updated", user=ADMIN)[1])["dnsrecords"] == [{"hostname": "up", "ip": address}], 5)  # noqa: B023
    assert history(front, "updated") == ["put", "put"], "each once"
    statuses = [statuses for _, method, path, _, statuses in front.tries() if (method, path) == ("PUT", "/silos/updated")]
    assert statuses == [["502", "412"]] * 2, statuses


def test_a_hub_that_says_503_has_changed_nothing_and_another_one_is_asked(front, hubs):
    def refuse(handler, _):
        handler.send_response(503)
        handler.send_header("Retry-After", "1")
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    with Impostor(front.gateway, refuse) as impostor:
        front.route([impostor.upstream, f"{hubs[1].upstream} backup"])
        assert ask(front, "/silos/refused", "PUT", silo("192.0.2.1"))[0] == 201
        front.route([impostor.upstream, f"{impostor.upstream} backup"])
        assert ask(front, "/silos/refused", "DELETE")[0] == 503
    front.route([hub.upstream for hub in hubs])
