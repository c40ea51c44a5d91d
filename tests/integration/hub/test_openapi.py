"""GET /openapi.json describes the interface that there is: every route, and real answers."""

import json
import re

import jsonschema
import pytest

from tests.lib.hub import ADMIN, REPO, make_token
from tests.lib.mariadb import Database
from tests.lib.waiting import wait_until
from tests.lib.watcher import Watcher

pytestmark = pytest.mark.hub

DOCUMENT = json.loads((REPO / "services/api/openapi.json").read_text())
METHODS = ("get", "put", "post", "patch", "delete")
GZIP = {"Content-Encoding": "gzip"}
LONG = b" " * (2 << 20)


def operations():
    """{(path, METHOD): operation}"""
    return {(path, method.upper()): item[method] for path, item in DOCUMENT["paths"].items() for method in METHODS if method in item}


def walk(node):
    yield node
    for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from walk(child)


def resolve(node):
    while "$ref" in node:
        place = DOCUMENT
        for step in node["$ref"].removeprefix("#/").split("/"):
            place = place[step]
        node = place
    return node


def closed(node):
    """The same schemas without room for members that they do not name."""
    if isinstance(node, list):
        return [closed(child) for child in node]
    if not isinstance(node, dict):
        return node
    done = {key: closed(value) for key, value in node.items()}
    if done.get("type") == "object" and "properties" in done:
        done.setdefault("additionalProperties", False)
    return done


def check_schema(schema, value):
    validator = jsonschema.Draft202012Validator({**closed(schema), "components": closed(DOCUMENT["components"])})
    failures = [f"{failure.json_path}: {failure.message}" for failure in validator.iter_errors(value)]
    assert not failures, (failures, value)


def test_it_is_what_the_hub_answers_to_anyone(shared_hub):
    answer = shared_hub.get("/openapi.json", auth=None)
    assert answer.status == 200 and answer.headers["Content-Type"] == "application/json"
    assert answer.body == (REPO / "services/api/openapi.json").read_bytes() and answer.json == DOCUMENT


def test_it_is_whole():
    assert DOCUMENT["openapi"].startswith("3.1.")
    assert DOCUMENT["info"]["version"] == re.search(r"^VERSION := (\S+)", (REPO / "Makefile").read_text(), re.M)[1]
    ids = [operation["operationId"] for operation in operations().values()]
    assert len(set(ids)) == len(ids)
    refs = {node["$ref"] for node in walk(DOCUMENT) if isinstance(node, dict) and "$ref" in node}
    assert all(resolve({"$ref": ref}) for ref in refs)
    for kind in ("schemas", "parameters", "headers", "responses"):
        for name, component in DOCUMENT["components"][kind].items():
            told = f"#/components/{kind}/{name}" in refs or re.search(rf"\b{name}\b", DOCUMENT["paths"]["/watch"]["get"]["responses"]["200"]["description"])
            assert told, f"{kind} {name} is used nowhere"
            if kind == "schemas":
                jsonschema.Draft202012Validator.check_schema(component)
    tags = {tag["name"] for tag in DOCUMENT["tags"]}
    for (path, method), operation in operations().items():
        given = [resolve(p) for p in DOCUMENT["paths"][path].get("parameters", []) + operation.get("parameters", [])]
        assert {p["name"] for p in given if p["in"] == "path"} == set(re.findall(r"\{(\w+)\}", path)), path
        assert set(operation["tags"]) <= tags and "default" in operation["responses"]
        assert ("requestBody" in operation) == (method in ("PUT", "PATCH") and path != "/ping")


def test_it_has_every_route_and_no_other_with_who_may():
    routes = re.findall(r'^\t\{"(/[^"]*)", "([A-Z]+)", (\w+), handle_\w+,\s+(?:(?:ANY|NO)_QUERY|QUERY\((.*)\))\},$',
                        (REPO / "services/api/routes/routes.c").read_text(), re.M)
    assert {(path, method) for path, method, _, _ in routes} == set(operations())
    for path, method, who, query in routes:
        parameters = [resolve(p) for p in DOCUMENT["paths"][path].get("parameters", []) + operations()[path, method].get("parameters", [])]
        told = {p["name"] for p in parameters if p["in"] == "query"}
        assert told == set(re.findall(r'"([^"]+)"', query)) or who == "ANYONE", (path, method)
        wanted = {"ANYONE": [], "ADMIN_OR_ANYONE": [{"basic": []}, {"bearer": []}, {}]}.get(who, [{"basic": []}, {"bearer": []}])
        assert operations()[path, method].get("security", DOCUMENT["security"]) == wanted, (path, method)


def test_the_contract_in_words_has_the_same_paths_and_methods():
    rows = re.findall(r"^\| `(/[^`]*)` \| ([A-Z ]+) \|", (REPO / "docs/http.md").read_text(), re.M)
    assert {(path, method) for path, methods in rows for method in methods.split()} == set(operations())


def test_its_examples_are_valid():
    found = 0
    for node in walk(DOCUMENT["paths"]):
        if isinstance(node, dict) and "schema" in node and "example" in node:
            check_schema(node["schema"], node["example"])
            found += 1
    assert found > 5


class Recorder:
    """Sends requests; holds every answer against the document, and remembers which of its answers came."""

    def __init__(self, hub):
        self.hub, self.seen = hub, set()

    def __call__(self, method, template, *names, query="", body=None, **more):
        path = re.sub(r"\{\w+\}", lambda _, left=list(names): left.pop(0), template) + query
        answer = self.hub.request(method, path, body, **more)
        self.check(method, template, answer)
        return answer

    def check(self, method, template, answer):
        documented = operations()[template, method]["responses"]
        status = str(answer.status)
        response = resolve(documented.get(status) or documented["default"])
        self.seen.add((status, method, template))
        for name, header in response.get("headers", {}).items():
            if name in answer.headers:
                check_schema(resolve(header)["schema"], answer.headers[name])
            else:
                assert name == "Link", f"{name} is missing: {answer}"
        content = response.get("content")
        if not content:
            assert answer.body == b"", answer
            return
        ((kind, media),) = content.items()
        assert answer.headers["Content-Type"] == kind, answer
        check_schema(media["schema"], answer.json if kind.endswith("json") else answer.body.decode())


def ask_about_silos(ask, user):
    silo, records = "/silos/{id}", {"dnsrecords": [{"hostname": "h", "ip": "192.0.2.7"}, {"hostname": "h", "ip": "2001:db8::1"}]}
    made = ask("PUT", silo, "a", body=records)
    ask("PUT", silo, "a", body=records)
    ask("PUT", silo, "b", body={"dnsrecords": []})
    ask("PUT", silo, "c", body={"dnsrecords": []}, auth=user)
    for name, body, more in (("a", "{", {}), ("a", {"dnsrecords": [{"hostname": "-"}]}, {}), ("a", records, {"auth": user}), ("d", records, {"auth": user}),  # d: over its quota
                             ("a", records, {"headers": {"If-Match": '"1"'}}), ("a", LONG, {}), ("a", records, {"headers": GZIP})):
        ask("PUT", silo, name, body=body, **more)
    patch = {"set": [{"hostname": "h", "ip": "192.0.2.7"}], "remove": [{"hostname": "nosuch"}]}
    for name, body, more in (("a", patch, {}), ("nosuch", patch, {}), ("a", "{", {}), ("a", {}, {}), ("a", patch, {"auth": user}), ("a", LONG, {}),
                             ("a", patch, {"headers": {"If-None-Match": "*"}}), ("a", patch, {"headers": GZIP})):
        ask("PATCH", silo, name, body=body, **more)
    ask("PATCH", silo, "a", body=patch, auth=make_token(ask.hub, "admin", "writer", verbs=["update"]))
    for path in (silo, "/silos/{id}/hosts"):
        ask("GET", path, "a", headers={"If-None-Match": made.headers["ETag"]})
        ask("GET", path, "a", headers={"If-Match": '"1"'})
    for path in (silo, "/silos/{id}/hosts", "/silos/{id}/history"):
        ask("GET", path, "a")
        ask("GET", path, "a", auth=user)
        ask("GET", path, "nosuch")
        ask("GET", path, "-bad")
        ask("GET", path, "a", query="?nosuch=1")
    for query in ("", "?limit=1", "?limit=0", "?nosuch=1"):
        ask("GET", "/silos", query=query)
    for name, more in (("a", {"query": "?nosuch=1"}), ("a", {"headers": {"If-Match": '"1"'}}), ("a", {"auth": user}), ("-bad", {}), ("a", {}), ("a", {})):
        ask("DELETE", silo, name, **more)
    assert {entry["change"] for entry in ask("GET", "/silos/{id}/history", "a", query="?limit=1000").json} == {"put", "delete"}


def ask_about_users(ask, user):
    path = "/users/{name}"
    for name, body, more in (("new", {"password": "long enough"}, {}), ("new", {"quota": 3}, {}), ("new", "{", {}), ("new", {"quota": -1}, {}), ("admin", {"role": "common"}, {}),
                             ("new", {"quota": 3}, {"auth": user}), ("new", LONG, {}), ("new", {"quota": 3}, {"headers": GZIP})):
        ask("PUT", path, name, body=body, **more)
    ask("DELETE", path, "new", query="?nosuch=1")
    for query, auth in (("", ADMIN), ("", user), ("?nosuch=1", ADMIN)):
        ask("GET", "/users", query=query, auth=auth)
        ask("GET", path, "new", query=query, auth=auth)
    for name in ("nosuch", "-bad"):
        ask("GET", path, name)
        ask("DELETE", path, name)
    ask("DELETE", path, "new", auth=user)
    ask("DELETE", path, "admin")
    ask("DELETE", path, "new")


def ask_about_audit(ask, user):
    wait_until(lambda: ask.hub.get("/audit?outcome=refused").json, what="a refusal in the audit")
    for query in ("", "?limit=1", "?outcome=nosuch", "?nosuch=1"):
        ask("GET", "/audit", query=query)
    ask("GET", "/audit", auth=user)


def ask_about_tokens(ask, user):
    path = "/users/{name}/tokens/{token}"
    scope = {"verbs": ["read", "update"], "silos": ["b"], "hostnames": ["h"], "family": 4, "networks": ["127.0.0.0/8"], "expires": "2199-01-01T00:00:00Z", "unused": 3600}
    made = ask("PUT", path, "admin", "t", body=scope)
    ask.hub.secrets.add(made.json["token"])
    for names, body, more in ((("admin", "t"), scope, {}), (("admin", "u"), "{", {}), (("admin", "u"), {"verbs": []}, {}), (("admin", "u"), scope, {"auth": user}),
                              (("nosuch", "u"), scope, {}), (("admin", "u"), LONG, {}), (("admin", "u"), scope, {"headers": GZIP})):
        ask("PUT", path, *names, body=body, **more)
    ask("GET", "/silos", auth="Bearer " + made.json["token"])
    for template, names in (("/users/{name}/tokens", ()), (path, ("t",))):
        ask("GET", template, "admin", *names)
        ask("GET", template, "admin", *names, query="?nosuch=1")
        ask("GET", template, "admin", *names, auth=user)
        ask("GET", template, "nosuch", *names)
        ask("GET", template, "-bad", *names)
    for name, more in (("t", {"query": "?nosuch=1"}), ("t", {"auth": user}), ("-bad", {}), ("t", {}), ("t", {})):
        ask("DELETE", path, "admin", name, **more)


def test_real_answers_are_as_it_says_and_it_says_no_answer_that_does_not_come(own_mariadb, make_hub):
    hub = make_hub(Database(own_mariadb))
    user = hub.add_user("someone", quota=1)
    ask = Recorder(hub)
    for path, method in operations():
        if "{" not in path and path != "/watch":
            ask(method, path)
        if operations()[path, method].get("security") != []:
            ask(method, path, "a", "a", auth=None)
    ask_about_silos(ask, user)
    ask_about_users(ask, user)
    ask_about_tokens(ask, user)
    ask_about_audit(ask, user)
    ask("GET", "/metrics", auth=user)
    for query in ("?nosuch=1", "?silo=-bad"):
        ask("GET", "/watch", query=query)
    watcher = Watcher(hub, "b", "c", "nosuch", auth=user, since=0, identity="0" * 32).wait_synced()
    ask.seen.add((str(watcher.status), "GET", "/watch"))
    assert watcher.headers["Content-Type"] == "text/event-stream"
    for event in watcher.events:
        check_schema({"$ref": "#/components/schemas/" + {"silo": "SiloEvent", "deleted": "GoneEvent", "forbidden": "GoneEvent"}.get(
            event.kind, "HubEvent")}, event.data)
    assert {event.kind for event in watcher.events} == {"silo", "deleted", "forbidden", "reset", "synced"}
    watcher.close()
    own_mariadb.kill()
    wait_until(lambda: hub.get("/readyz", auth=None).status == 503, what="the outage to be noticed")
    ask("GET", "/readyz")
    ask("GET", "/silos/{id}/history", "b")
    ask("GET", "/audit")
    for path, names, bodies in (("/silos/{id}", ("b",), {"PUT": {"dnsrecords": [{"hostname": "h"}]}, "PATCH": {"set": [{"hostname": "h"}]}}), ("/users/{name}", ("someone",), {"PUT": {"quota": 9}}),
                                ("/users/{name}/tokens/{token}", ("someone", "t"), {"PUT": {"verbs": ["read"]}})):
        for method, body in (bodies | {"DELETE": None}).items():
            ask(method, path, *names, body=body)
    documented = {(status, method, path) for (path, method), operation in operations().items() for status in operation["responses"]}
    missing = {key for key in documented - ask.seen if key[0] != "default"}
    reads = {key for key in missing if key[0] == "503" and key[1] == "GET"}  # while nothing is loaded: below
    assert not missing - reads, missing - reads


def test_before_the_first_load_answers_are_as_it_says(own_mariadb, make_hub):
    database = Database(own_mariadb)
    own_mariadb.stop()
    ask = Recorder(make_hub(database, wait_ready=False))
    for path, method in operations():
        if method == "GET":
            assert ask(method, path, "a", "a").status == (503 if operations()[path, method].get("security") != [] or path == "/readyz" else 200)
