"""GET /metrics: strictly in the text format of Prometheus, true, and nobody else's business."""

import concurrent.futures
import math
import re
import time

import pytest

from tests.lib.answers import problem
from tests.lib.hub import ADMIN, SLOW, basic
from tests.lib.mariadb import Database, paused
from tests.lib.waiting import wait_until

pytestmark = pytest.mark.hub

NAME, LABEL = r"[a-zA-Z_:][a-zA-Z0-9_:]*", r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"'
SUFFIXES = {"counter": {""}, "gauge": {""}, "summary": {"_sum", "_count"}, "histogram": {"_bucket", "_sum", "_count"}}


def parse(text):
    """{(name, (label, value)…): number}, by the exposition format 0.0.4, and what that leaves to convention."""
    assert text.endswith("\n") and "\r" not in text
    values, family, kind, seen = {}, None, None, set()
    for line in text[:-1].split("\n"):
        if line.startswith("# HELP "):
            family, said = re.fullmatch(rf"# HELP ({NAME}) (.+)", line).groups()
            assert family not in seen, f"{family} comes twice"
            assert said.endswith(".") and "\\" not in said
            seen.add(family)
            kind = None
        elif line.startswith("# TYPE "):
            named, kind = re.fullmatch(rf"# TYPE ({NAME}) (counter|gauge|summary|histogram)", line).groups()
            assert named == family, "TYPE follows its HELP"
            assert (kind == "counter") == family.endswith("_total")
        else:
            name, labels, number = re.fullmatch(rf"({NAME})(?:\{{(.*)\}})? (\S+)", line).groups()
            assert kind and name.startswith(family) and name[len(family):] in SUFFIXES[kind], f"{name} under {family}"
            pairs = re.findall(LABEL, labels or "")
            assert ",".join(f'{k}="{v}"' for k, v in pairs) == (labels or "")
            assert len({k for k, _ in pairs}) == len(pairs)
            assert re.fullmatch(r"-?[0-9]+(\.[0-9]+)?", number), number
            key = (name, *sorted(pairs))
            assert key not in values, f"{key} comes twice"
            values[key] = float(number)
            assert not kind == "counter" or values[key] >= 0
    check_histograms(values)
    return values


def check_histograms(values):
    for name in {key[0][:-len("_bucket")] for key in values if key[0].endswith("_bucket")}:
        buckets = [(float(dict(key[1:])["le"]), value) for key, value in values.items() if key[0] == name + "_bucket"]
        assert buckets == sorted(buckets) and [v for _, v in buckets] == sorted(v for _, v in buckets)
        assert buckets[-1] == (math.inf, values[(name + "_count",)])


def scrape(hub, **more):
    answer = hub.get("/metrics", **more)
    assert answer.status == 200 and answer.headers["Content-Type"] == "text/plain; version=0.0.4", answer
    return parse(answer.body.decode("ascii"))


def requests(values, method, code):
    return values[("silodns_http_requests_total", ("code", code), ("method", method))]


def errors(values, name):
    return values[("silodns_http_errors_total", ("error", name))]


def test_the_page_is_strictly_in_the_text_format_and_has_what_the_contract_says(shared_hub):
    values = scrape(shared_hub)
    names = {key[0] for key in values}
    for name in ("silodns_http_requests_total", "silodns_http_errors_total", "silodns_http_connections", "silodns_http_requests_in_progress",
                 "silodns_batch_changes_sum", "silodns_batch_changes_count", "silodns_queue_changes", "silodns_store_loads_total",
                 "silodns_revision", "silodns_silos", "silodns_users", "silodns_store_bytes", "silodns_database_up",
                 "silodns_database_unreachable_seconds", "silodns_password_verifications_waiting", "silodns_history_removed_total",
                 "process_resident_memory_bytes", "process_cpu_seconds_total", "process_start_time_seconds"):
        assert name in names, name
    assert values[("silodns_build_info", ("version", "0.1.0"))] == 1
    assert all(name.startswith(("silodns_", "process_")) for name in names)


def test_counters_move_as_they_should(make_hub, database):
    hub = make_hub(database)
    user = hub.add_user("counter", quota=1)
    before = scrape(hub)
    hub.put_silo("a", {"h": "192.0.2.1"}, auth=user)
    for _ in range(3):
        hub.put_silo("a", {"h": "192.0.2.1"}, auth=user)  # changes nothing
    hub.put_silo("a", {"h": "192.0.2.2"}, auth=user)
    hub.put_silo("b", {}, auth=user)
    hub.request("HEAD", "/silos/a")
    hub.get("/silos/nosuch")
    hub.get("/silos/a", auth=("counter", "a-wrong-password"))
    hub.get("/users", auth=user)
    hub.put("/silos/a", "{", auth=user)
    hub.put("/silos/a", {"dnsrecords": [{"hostname": "-", "ip": "192.0.2.1"}]})
    hub.put_silo("a", {}, headers={"If-Match": '"1"'})
    hub.delete("/silos", auth=None)
    hub.request("BREW", "/ping", auth=None)
    hub.request("POST", "/ping", auth=None)
    after = scrape(hub)
    moved = {key: after[key] - before[key] for key in after}
    assert requests(moved, "PUT", "2xx") == 5 and requests(moved, "PUT", "4xx") == 4 and requests(moved, "POST", "2xx") == 1
    assert requests(moved, "HEAD", "2xx") == 1 and requests(moved, "other", "4xx") == 1 and requests(moved, "DELETE", "4xx") == 1
    assert requests(moved, "GET", "4xx") == 3 and requests(moved, "GET", "2xx") == 1, "the page counts itself when it is sent"
    for name, count in {"quota": 1, "not-found": 1, "unauthorized": 1, "forbidden": 1, "malformed": 1, "invalid": 1, "precondition": 1,
                        "method": 2, "busy": 0, "unavailable": 0, "internal": 0}.items():
        assert errors(moved, name) == count, name
    assert moved[("silodns_batch_changes_sum",)] == 2 and moved[("silodns_revision",)] == 2 and moved[("silodns_silos",)] == 1
    assert 0 < moved[("silodns_http_request_duration_seconds_sum",)] < 20 * SLOW
    assert moved[("silodns_http_request_duration_seconds_count",)] == 17
    assert moved[("silodns_store_bytes",)] > 0 and after[("silodns_users",)] == 2
    assert after[("silodns_revision",)] == hub.revision()
    hub.delete("/silos/a")
    assert scrape(hub)[("silodns_store_bytes",)] < after[("silodns_store_bytes",)], "what is left remembers the deletion"


def test_batches_are_counted_by_their_size(make_hub, database):
    hub = make_hub(database)
    before = scrape(hub)
    with concurrent.futures.ThreadPoolExecutor(32) as pool:
        assert set(pool.map(lambda n: hub.put_silo(f"s{n}", {"h": "192.0.2.1"}).status, range(200))) == {201}
    after = scrape(hub)
    batches = after[("silodns_batch_changes_count",)] - before[("silodns_batch_changes_count",)]
    assert after[("silodns_batch_changes_sum",)] - before[("silodns_batch_changes_sum",)] == 200 and batches < 200
    singles = after[("silodns_batch_changes_bucket", ("le", "1"))] - before[("silodns_batch_changes_bucket", ("le", "1"))]
    assert singles < batches, "some were committed together"
    assert after[("silodns_queue_changes",)] == 0


def test_gauges_tell_what_is(shared_hub):
    values = scrape(shared_hub)
    assert abs(values[("process_resident_memory_bytes",)] / 1024 - shared_hub.memory_kb()) < 0.3 * shared_hub.memory_kb()
    assert 0 < time.time() - values[("process_start_time_seconds",)] < 600 * SLOW
    cpu = values[("process_cpu_seconds_total",)]
    for _ in range(50):
        shared_hub.get("/silos")
    assert scrape(shared_hub)[("process_cpu_seconds_total",)] > cpu > 0
    held = [shared_hub.connect() for _ in range(10)]
    for connection in held:
        shared_hub.get("/ping", connection=connection)
    assert scrape(shared_hub)[("silodns_http_connections",)] >= 11
    assert scrape(shared_hub)[("silodns_http_requests_in_progress",)] >= 1
    for connection in held:
        connection.close()
    wait_until(lambda: scrape(shared_hub)[("silodns_http_connections",)] < 5, what="connections to be gone")


def test_only_an_admin_reads_them_unless_the_settings_say_anyone(make_hub, database):
    hub = make_hub(database)
    user = hub.add_user("common")
    problem(hub.get("/metrics", auth=None), 401, "unauthorized")
    problem(hub.get("/metrics", auth=user), 403, "forbidden")
    assert scrape(hub)
    open_hub = make_hub(database, METRICS="anyone")
    assert scrape(open_hub, auth=None) and scrape(open_hub, auth=user) and scrape(open_hub, auth="Basic nonsense")
    head = hub.request("HEAD", "/metrics")
    assert (head.status, head.body) == (200, b"")
    problem(hub.request("POST", "/metrics", ""), 405, "method")
    problem(hub.get("/metrics?name=up"), 400, "malformed")


def test_nothing_secret_and_nothing_that_a_client_chose_stands_in_it(make_hub, database):
    hub = make_hub(database)
    user = hub.add_user("chosen-name", quota=1)
    hub.put_silo("chosen-silo", {"chosen-host": "192.0.2.123"}, auth=user)
    hub.request("CHOSEN", "/chosen-path?chosen-query=1", headers={"Chosen-Header": "chosen-value"})
    hub.get("/silos", auth=("chosen-user", "chosen-password"))
    text = hub.get("/metrics").body.decode()
    for word in ("chosen", "192.0.2.123", "argon", "admin", *ADMIN, user[1], basic(*ADMIN), database.password, database.name, "CHOSEN"):
        assert word.lower() not in text.lower(), word


def test_it_works_while_the_database_is_away_and_says_so(own_mariadb, make_hub):
    hub = make_hub(Database(own_mariadb))
    hub.put_silo("a", {"h": "192.0.2.1"})
    up = scrape(hub)
    assert up[("silodns_database_up",)] == 1 and up[("silodns_database_unreachable_seconds",)] == 0
    with paused(own_mariadb):
        assert hub.put_silo("a", {"h": "192.0.2.2"}).status == 503
        assert scrape(hub)[("silodns_database_up",)] == 0 and errors(scrape(hub), "unavailable") == 1
        wait_until(lambda: scrape(hub)[("silodns_database_unreachable_seconds",)] > 0.5, what="the pause to show")
    wait_until(lambda: scrape(hub)[("silodns_database_up",)] == 1, 15 * SLOW, "the end of the pause to show")
    own_mariadb.kill()
    wait_until(lambda: scrape(hub)[("silodns_database_up",)] == 0, what="the outage to show")
    wait_until(lambda: scrape(hub)[("silodns_database_unreachable_seconds",)] > 2, what="the time to go on")
    assert scrape(hub)[("silodns_silos",)] == 1
    own_mariadb.start()
    wait_until(lambda: scrape(hub)[("silodns_database_up",)] == 1, 15 * SLOW, "the recovery to show")
    assert scrape(hub)[("silodns_database_unreachable_seconds",)] == 0


def test_before_the_first_load_anyone_may_read_them_if_the_settings_say_so(own_mariadb, make_hub):
    database = Database(own_mariadb)
    own_mariadb.stop()
    hub = make_hub(database, wait_ready=False, METRICS="anyone")
    values = scrape(hub, auth=None)
    assert values[("silodns_database_up",)] == 0 and values[("silodns_revision",)] == 0 and values[("silodns_silos",)] == 0
    own_mariadb.start()
    hub.wait_ready(15 * SLOW)


def test_a_reload_is_counted(make_hub, database):
    hub = make_hub(database)
    hub.put_silo("a", {"h": "192.0.2.1"})
    before = scrape(hub)[("silodns_store_loads_total",)]
    database.sql("UPDATE hub SET identity = MD5(RAND())")
    wait_until(lambda: scrape(hub)[("silodns_store_loads_total",)] == before + 1, what="the reload")
