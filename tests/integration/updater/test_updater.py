"""silodns-updater, the real program, against the real hub; where a hub has to misbehave, against a scripted one."""

import http.server
import json
import os
import re
import signal
import subprocess
import threading

import pytest

from tests.lib import needs
from tests.lib.fakehub import FakeHub, Scripted
from tests.lib.hub import ADMIN, BUILD, clean_environment
from tests.lib.waiting import wait_until

UPDATER = BUILD / "silodns-updater"
DONE, SETTINGS, HUB_AWAY, CREDENTIALS, REFUSED, NOTHING, DOUBTFUL, PARTIAL, CONFLICT = 0, 2, 3, 4, 5, 10, 11, 12, 13
ADDRESS = "9.9.9.9"  # a global one; nothing is sent to it


def settings(url, **more):
    return {"URL": url, "USER": ADMIN[0], "PASSWORD": ADMIN[1], "SILO": "s", "HOSTNAMES": "me", "LOG_FORMAT": "json",
            "SOURCE": f"command:echo {ADDRESS}", "TIMEOUT": "5s", **more}


def once(url, wrapper=(), **more):
    done = subprocess.run([*wrapper, UPDATER, "--once"], env=clean_environment(settings(url, **more)), timeout=60,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    for word in ("Sanitizer", "runtime error"):
        assert word not in done.stderr, done.stderr
    assert ADMIN[1] not in done.stderr + done.stdout
    return done


def records(hub, silo="s"):
    return {(r["hostname"], r["ip"]) for r in hub.get(f"/silos/{silo}").json["dnsrecords"]}


@pytest.fixture
def fresh(shared_hub):
    shared_hub.delete("/silos/s")
    return shared_hub


# ---- publishing ----


def test_a_first_report_creates_the_silo_and_a_second_changes_nothing(fresh):
    done = once(fresh.url)
    assert done.returncode == DONE, done.stderr
    assert records(fresh) == {("me", ADDRESS)}
    (line,) = [json.loads(x) for x in done.stderr.splitlines() if "address published" in x]
    assert (line["silo"], line["hostname"], line["ip"]) == ("s", "me", ADDRESS) and line["revision"] == fresh.revision()
    before = fresh.revision()
    assert once(fresh.url).returncode == DONE
    assert fresh.revision() == before


def test_only_its_own_hostnames_and_families_change(fresh):
    fresh.put("/silos/s", {"dnsrecords": [{"hostname": "me", "ip": "192.0.2.1"}, {"hostname": "me", "ip": "192.0.2.2"},
                                          {"hostname": "me", "ip": "2001:db8::1"}, {"hostname": "other", "ip": "192.0.2.3"}]})
    assert once(fresh.url).returncode == DONE
    assert records(fresh) == {("me", ADDRESS), ("me", "2001:db8::1"), ("other", "192.0.2.3")}
    assert once(fresh.url, SOURCE="off", SOURCE_IPV6="command:echo 2606:4700::9", HOSTNAMES="ME,also").returncode == DONE
    assert records(fresh) == {("me", ADDRESS), ("me", "2606:4700::9"), ("also", "2606:4700::9"), ("other", "192.0.2.3")}


def test_drift_on_the_hub_is_repaired(fresh):
    once(fresh.url)
    fresh.put_silo("s", {"me": "192.0.2.66"})
    assert once(fresh.url).returncode == DONE
    assert records(fresh) == {("me", ADDRESS)}


@pytest.mark.promise(6)
def test_two_updaters_on_one_silo_erase_nothing_of_each_other(fresh):
    for round_ in range(8):
        running = [subprocess.Popen([UPDATER, "--once"], stderr=subprocess.DEVNULL, env=clean_environment(settings(
            fresh.url, HOSTNAMES=f"m{n}", SOURCE=f"command:echo 9.9.{round_}.{n + 1}"))) for n in range(6)]
        assert [p.wait(60) for p in running] == [DONE] * 6
        assert records(fresh) == {(f"m{n}", f"9.9.{round_}.{n + 1}") for n in range(6)}


def test_a_conflict_is_resolved_by_reading_again():
    with FakeHub({"s": [("other", "192.0.2.3")]}, user=ADMIN[0], password=ADMIN[1]) as hub:
        hub.script = [Scripted(method="PUT", status=412), Scripted(method="PUT", status=412)]
        assert once(hub.url).returncode == DONE
        assert sum(r.method == "GET" for r in hub.requests) == 3


@pytest.mark.parametrize("status,code", [(401, CREDENTIALS), (403, CREDENTIALS), (422, REFUSED), (503, HUB_AWAY), (429, HUB_AWAY)])
def test_each_refusal_has_its_exit_code(status, code):
    with FakeHub({"s": []}, user=ADMIN[0], password=ADMIN[1]) as hub:
        hub.script = [Scripted(method="PUT", status=status)] * 30
        assert once(hub.url).returncode == code


def test_wrong_credentials_and_an_absent_hub(fresh):
    assert once(fresh.url, PASSWORD="wrong-password").returncode == CREDENTIALS
    assert once("http://127.0.0.1:1").returncode == HUB_AWAY


@pytest.mark.parametrize("change", [{"SILO": None}, {"HOSTNAMES": None}, {"URL": "ftp://x"}, {"SOURCE": "dice"},
                                    {"SOURCE": "interface:"}, {"SOURCE": "url:"}, {"SOURCE": "command:"}, {"SOURCE": "off"},
                                    *({"SOURCE": bad} for bad in ("server:x", "interface:a/b", "interface:0123456789abcdef", "url:ftp://a", "url:a.example", "server nonsense", "off server")),
                                    {"HOSTNAMES": "-a"}, {"INTERVAL": "0"}, {"SORCE": "server"},
                                    {"URL": "http://hub.example.net"}, {"TOKEN": "beside-user-and-password"}])
def test_bad_settings_are_refused_with_a_reason(fresh, change):
    done = once(fresh.url, **change)
    assert done.returncode == SETTINGS
    assert len(done.stderr) > 20


# ---- detecting ----


@pytest.mark.promise(5)
@pytest.mark.parametrize("said,code", [
    ("", NOTHING), ("nothing here", NOTHING), ("2606:4700::1", NOTHING), ("127.0.0.1", DOUBTFUL), ("0.0.0.0", DOUBTFUL),
    ("224.0.0.1", DOUBTFUL), ("192.0.2.1", DOUBTFUL), ("169.254.1.1", DOUBTFUL), ("10.1.2.3", DOUBTFUL),
    ("100.64.1.1", DOUBTFUL), ("255.255.255.255", DOUBTFUL), ("9.9.9.9 8.8.8.8", DOUBTFUL), ("999.1.1.1", NOTHING)])
def test_a_failed_or_doubtful_detection_changes_nothing(fresh, said, code):
    fresh.put_silo("s", {"me": "9.9.9.1", "other": "9.9.9.2"})
    before = fresh.revision()
    done = once(fresh.url, SOURCE=f"command:echo '{said}'")
    assert done.returncode == code, done.stderr
    assert fresh.revision() == before and records(fresh) == {("me", "9.9.9.1"), ("other", "9.9.9.2")}


def test_private_and_carrier_nat_addresses_need_permission(fresh):
    for ip in ("10.1.2.3", "100.64.1.1"):
        assert once(fresh.url, SOURCE=f"command:echo {ip}", ALLOW_PRIVATE="true").returncode == DONE
        assert records(fresh) == {("me", ip)}


def test_one_family_is_published_when_the_other_fails(fresh):
    fresh.put("/silos/s", {"dnsrecords": [{"hostname": "me", "ip": "2001:db8::1"}]})
    assert once(fresh.url, SOURCE_IPV6="command:false").returncode == PARTIAL
    assert records(fresh) == {("me", ADDRESS), ("me", "2001:db8::1")}


@needs.network
def test_sources_must_agree(fresh):
    other = "interface:lo url:http://127.0.0.1:1"
    assert once(fresh.url, SOURCE=f"interface:nosuch0 command:echo {ADDRESS}").returncode == DONE  # one failed, one answered
    done = once(fresh.url, SOURCE=f"{other} command:echo 8.8.8.8", wrapper=["unshare", "-n", "sh", "-c",
                "ip link set lo up; ip addr add 9.9.9.1/32 dev lo; exec \"$@\"", "sh"])
    assert done.returncode == DOUBTFUL and "disagree" in done.stderr


@pytest.mark.parametrize("command", ["exit 3", "sleep 60", "echo 9.9.9.9; kill -9 $$", "yes 9.9.9.9", "sleep 60 & echo 9.9.9.9; wait",
                                     "echo 9.9.9.9; exec >&-; sleep 60"])
def test_a_command_that_fails_hangs_or_floods_is_given_up(fresh, command):
    before = fresh.revision()
    assert once(fresh.url, SOURCE=f"command:{command}", TIMEOUT="500ms").returncode == NOTHING
    assert fresh.revision() == before


def test_a_command_leaves_nothing_behind_and_knows_no_secret(fresh, tmp_path):
    seen = tmp_path / "env"
    assert once(fresh.url, SOURCE=f"command:env >{seen}; sleep 77.5 & echo {ADDRESS}", TIMEOUT="1s").returncode == NOTHING
    assert ADMIN[1] not in seen.read_text()
    assert subprocess.run(["pgrep", "-f", "sleep 77.5"], stdout=subprocess.DEVNULL).returncode == 1


def test_a_pipeline_in_a_command_ends_as_it_does_at_a_prompt(fresh, tmp_path):
    said = tmp_path / "said"
    source = f"command:(while echo {ADDRESS}; do :; done; echo went on) 2>{said} | head -n 1"
    assert once(fresh.url, SOURCE=source, TIMEOUT="5s").returncode == DONE
    assert said.read_text() == ""


class Web(http.server.BaseHTTPRequestHandler):
    pages = {"/text": b"9.9.9.9\n", "/json": b'{"origin": "9.9.9.9", "time": "12:30"}', "/html": b"<body>Your IP: 9.9.9.9.</body>",
             "/two": b'{"a": "9.9.9.9", "b": ["8.8.8.8"]}', "/none": b"sorry", "/big": b"9.9.9.9 " * 100000}

    def do_GET(self):
        body = self.pages.get(self.path)
        self.send_response(200 if body else 500)
        self.end_headers()
        self.wfile.write(body or b"9.9.9.9")

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def web():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Web)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.mark.parametrize("pages,code", [(["/text"], DONE), (["/json"], DONE), (["/html"], DONE), (["/error", "/text"], DONE),
                                        (["/none", "/json"], DONE), (["/two", "/text"], DOUBTFUL), (["/error"], NOTHING),
                                        (["/big"], NOTHING), (["/none"], NOTHING)])
def test_web_services_are_tried_in_turn_and_read_as_text_or_json(fresh, web, pages, code):
    done = once(fresh.url, SOURCE="url:" + " ".join(web + page for page in pages))
    assert done.returncode == code, done.stderr


@pytest.mark.parametrize("level", ["debug", "info"])
def test_the_key_in_an_address_services_query_is_not_logged(fresh, web, level):
    done = once(fresh.url, SOURCE=f"url:http://127.0.0.1:1/?hush {web}/none?key=hush {web}/error?key=hush", LOG_LEVEL=level)
    assert done.returncode == NOTHING and "/error answered with status" in done.stderr and "hush" not in done.stderr


def test_credentials_do_not_go_over_plain_http_to_another_machine():
    for more in ({}, {"PLAIN_HTTP_HOST": "192.0.2.2"}):
        done = once("http://192.0.2.1:9", TIMEOUT="500ms", **more)
        assert done.returncode == SETTINGS and "SILODNS_ALLOW_PLAIN_HTTP" in done.stderr, done
    for more in ({"PLAIN_HTTP_HOST": "192.0.2.1"}, {"ALLOW_PLAIN_HTTP": "true"}):
        assert once("http://192.0.2.1:9", TIMEOUT="500ms", **more).returncode == HUB_AWAY


def test_the_hubs_view_over_loopback_is_doubtful_and_says_why(fresh):
    done = once(fresh.url, SOURCE="server")
    assert done.returncode == DOUBTFUL and "on this machine" in done.stderr


# ---- a network namespace of its own, with interfaces made for it ----

NETWORK = r"""
set -e
ip link set lo up
ip link add eth0 type veth peer name peer0; ip link set eth0 up; ip link set peer0 up
ip link add wan type veth peer name peer1; ip link set wan up; ip link set peer1 up
ip addr add 10.0.0.5/24 dev eth0
ip addr add 9.9.9.5/24 dev eth0
ip addr add 9.9.9.6/24 dev eth0
ip addr add 2606:4700::bad/64 dev eth0 nodad preferred_lft 0
ip addr add fd00::5/64 dev eth0 nodad
ip addr add 2606:4700::5/64 dev eth0 nodad
ip addr add 2606:4700::4/64 dev eth0 nodad valid_lft 4000 preferred_lft 2000
ip addr add 100.64.0.9/32 dev wan
ip addr add fd00::9/64 dev wan nodad
ip route add 192.0.2.0/24 dev eth0 src 9.9.9.6
exec "$@"
"""

HUB = """
import json, subprocess, sys
from tests.lib.fakehub import FakeHub
with FakeHub(port=8080) as hub:
    code = subprocess.run(sys.argv[1:]).returncode
    print(json.dumps(sorted(record["ip"] for _, records in hub.silos.values() for record in records)))
sys.exit(code)
"""


def in_namespace(before="", **more):
    """Runs the updater in the network above, against a hub inside it; its exit code and what that hub has then."""
    done = once("http://127.0.0.1:8080", wrapper=["unshare", "-n", "-m", "--propagation", "private", "sh", "-c", before + NETWORK, "sh", "/usr/bin/python3", "-c", HUB], **more)
    return done.returncode, json.loads(done.stdout or "[]"), done.stderr


@pytest.mark.parametrize("more,code,ips", [
    ({"SOURCE": "interface:eth0"}, DONE, ["9.9.9.5"]),  # the first global one, not the private, not the secondary
    ({"SOURCE": "off", "SOURCE_IPV6": "interface:eth0"}, DONE, ["2606:4700::5"]),  # set by hand, not deprecated
    ({"SOURCE": "interface:wan"}, DOUBTFUL, []),
    ({"SOURCE": "interface:wan", "ALLOW_PRIVATE": "1"}, DONE, ["100.64.0.9"]),
    ({"SOURCE": "off", "SOURCE_IPV6": "interface:wan"}, DOUBTFUL, []),
    ({"SOURCE": "off", "SOURCE_IPV6": "interface:wan", "ALLOW_PRIVATE": "1"}, DONE, ["fd00::9"]),
    ({"SOURCE": "interface:eth7"}, NOTHING, []),
    ({"SOURCE": "interface:lo"}, NOTHING, []),
    ({"SOURCE": "interface:eth0", "SOURCE_IPV6": "interface:lo"}, PARTIAL, ["9.9.9.5"]),
])
@needs.network
def test_an_interfaces_address_is_chosen_sensibly(more, code, ips):
    assert in_namespace(**more)[:2] == (code, ips)


@needs.network
@needs.mounts
def test_an_interfaces_addresses_are_seen_where_proc_shows_processes_only():
    """As under the systemd units (ProcSubset=pid)."""
    hide = "mount -t proc -o subset=pid proc /proc || exit 77\n"
    code, ips, said = in_namespace(before=hide, SOURCE="interface:eth0", SOURCE_IPV6="interface:eth0")
    if code == 77:
        pytest.skip("this kernel has no subset=pid, or /proc may not be mounted here")
    assert (code, ips) == (DONE, ["2606:4700::5", "9.9.9.5"]), said


# ---- for ever ----


def follow(hub_url, tmp_path, **more):
    log = open(tmp_path / "updater.log", "ab")
    process = subprocess.Popen([UPDATER], env=clean_environment(settings(hub_url, **{"INTERVAL": "1s", **more})), stderr=log)
    log.close()
    return process


def test_it_follows_the_address_and_survives_an_absent_hub(make_hub, database, tmp_path):
    address = tmp_path / "address"
    address.write_text("9.9.9.1")
    hub = make_hub(database, start=False)
    process = follow(hub.url, tmp_path, SOURCE=f"command:cat {address}", STATE_DIR=str(tmp_path / "state"))
    check = lambda: subprocess.run([UPDATER, "--check"], stderr=subprocess.DEVNULL, env=clean_environment(  # noqa: E731
        settings(hub.url, INTERVAL="1s", STATE_DIR=str(tmp_path / "state")))).returncode
    try:
        wait_until(lambda: "not published" in (tmp_path / "updater.log").read_text(), what="a failed attempt")
        wait_until(lambda: check() == 1, what="an ill health check")
        hub.start()
        wait_until(lambda: hub.get("/silos/s").status == 200 and records(hub) == {("me", "9.9.9.1")}, 20, "the first report")
        wait_until(lambda: check() == 0, what="a good health check")
        address.write_text("9.9.9.2")
        wait_until(lambda: records(hub) == {("me", "9.9.9.2")}, 10, "the change")
        address.write_text("")
        wait_until(lambda: check() == 1, what="an ill health check")
        assert records(hub) == {("me", "9.9.9.2")}
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
    log = (tmp_path / "updater.log").read_text()
    assert ADMIN[1] not in log and "Sanitizer" not in log
    assert len(re.findall("not published", log)) <= 2, "a failure that goes on is to be logged once"


def test_sighup_makes_it_look_at_once(fresh, tmp_path):
    address = tmp_path / "address"
    address.write_text("9.9.9.1")
    process = follow(fresh.url, tmp_path, SOURCE=f"command:cat {address}", INTERVAL="1h")
    try:
        wait_until(lambda: fresh.get("/silos/s").status == 200, what="the first report")
        address.write_text("9.9.9.2")
        process.send_signal(signal.SIGHUP)
        wait_until(lambda: records(fresh) == {("me", "9.9.9.2")}, what="the second report")
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0


def test_sigterm_ends_it_while_a_command_runs(fresh, tmp_path):
    running, command = tmp_path / "running", f"sleep 78.{os.getpid()}"  # no other run's
    process = follow(fresh.url, tmp_path, SOURCE=f"command:exec >&-; touch {running}; {command}", TIMEOUT="1m")
    try:
        wait_until(running.exists, what="the command")
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
    assert subprocess.run(["pgrep", "-f", command], stdout=subprocess.DEVNULL).returncode == 1
