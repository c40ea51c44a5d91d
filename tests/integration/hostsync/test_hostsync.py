"""silodns-hostsync, the real program, against a scripted hub: the hosts file is as the silos say, and nothing else changes."""

import os
import stat

import pytest

from tests.lib.fakehub import Scripted
from tests.lib.hostskeeper import BEGIN, END, Keeper, block, messages
from tests.lib.keptfile import *  # noqa: F403

# ---- once ----


def test_the_block_is_written_and_nothing_is_written_when_nothing_changed(keeper, hub):
    hub.set("a", [("web", "192.0.2.9"), ("db", "2001:db8::7"), ("db", "192.0.2.7")])
    done = keeper.once()
    assert done.returncode == 0, done.stderr
    text = LOCAL + block(("a", [("db", "192.0.2.7"), ("db", "2001:db8::7"), ("web", "192.0.2.9")]))
    assert keeper.text() == text
    (written,) = [e for e in done.events if Keeper.message(e) == "hosts file written"]
    assert (written["revision"], written["records"], written["changed"]) == (2, 3, 3)
    before = identity(keeper.hosts)
    done = keeper.once()
    assert done.returncode == 0 and "hosts file written" not in messages(done)
    assert identity(keeper.hosts) == before
    hub.set("a", [("web", "192.0.2.10"), ("db", "192.0.2.7")])
    (written,) = [e for e in keeper.once().events if Keeper.message(e) == "hosts file written"]
    assert (written["revision"], written["records"], written["changed"]) == (3, 2, 3)
    assert keeper.leftovers() == []


@pytest.mark.parametrize(
    "original",
    [
        b"",
        b"\n",
        b"127.0.0.1 localhost",
        b"127.0.0.1 localhost\r\n::1\tlocalhost\r\n",
        b"127.0.0.1 localhost\r\n\r\n  \t",
        b"#\n\n\n  \t\n",
        b"\r\r\r",
        b"\0",
        b"nul\0in\0it\n\0\0\n\xff\xfe\n# comment, no newline at the end",
        b"# BEGIN silodns2\n# END silodnsx\n #  BEGIN silodns\n#BEGIN silodns\n",
        b"10.0.0.1 " + b"x" * 1_000_000 + b"\n10.0.0.2 y",
        b"".join(b"10.%d.%d.%d host-%d\n" % (i >> 16, i >> 8 & 255, i & 255, i) for i in range(100_000)),
    ],
    ids=["empty", "break", "no-newline", "crlf", "white", "blank", "cr", "nul", "nuls", "no-marker", "long-line", "100000-lines"],
)
def test_every_byte_outside_the_block_is_kept(keeper, hub, original):
    keeper.hosts.write_bytes(original)
    for record in (b"192.0.2.7\tdb", b"192.0.2.8\tother"):
        ip, name = record.decode().split("\t")
        hub.set("a", [(name, ip)])
        assert keeper.once().returncode == 0
        written = keeper.hosts.read_bytes()
        assert written.startswith(original) and written[len(original):].splitlines()[-2] == record
    assert keeper.run("--remove").returncode == 0
    assert keeper.hosts.read_bytes() == original


def test_the_block_stays_where_it_stands(keeper):
    keeper.hosts.write_text(LOCAL + BEGIN + END + "10.0.0.9 mine")
    assert keeper.once().returncode == 0
    assert keeper.text() == LOCAL + block(("a", DB)) + "10.0.0.9 mine"
    keeper.hosts.write_text(block(("a", DB)) + "10.0.0.9 mine")
    assert keeper.run("--remove").returncode == 0 and keeper.text() == "10.0.0.9 mine"


@pytest.mark.parametrize(
    "text,says",
    [
        (LOCAL + BEGIN + "192.0.2.1\tx\n", "line 2"),
        (LOCAL + END, "line 2"),
        (END + BEGIN, "line 1"),
        (LOCAL + BEGIN + END + LOCAL + BEGIN + END, "line 5"),
    ],
)
def test_broken_markers_are_refused(keeper, text, says):
    keeper.hosts.write_text(text)
    before = identity(keeper.hosts)
    for flags in (["--once"], ["--remove"], ["--print"]):
        done = keeper.run(*flags)
        assert done.returncode == 10
        assert says in done.stderr.decode()
    assert identity(keeper.hosts) == before and keeper.text() == text


def test_a_hosts_file_of_more_than_64_mib_is_left_alone(keeper):
    most = "#" * ((64 << 20) - 1) + "\n"
    keeper.hosts.write_text(most)
    assert keeper.once().returncode == 0
    assert keeper.text() == most + block(("a", DB))
    keeper.hosts.write_text("#" + most)
    before = identity(keeper.hosts)
    done = keeper.once()
    assert done.returncode == 11 and "is longer than 67108864 bytes" in done.stderr.decode()
    assert identity(keeper.hosts) == before


def test_print_shows_the_file_and_writes_nothing(keeper):
    before = identity(keeper.hosts)
    done = keeper.run("--print")
    assert done.returncode == 0
    assert done.stdout.decode() == LOCAL + block(("a", DB))
    assert identity(keeper.hosts) == before and os.listdir(keeper.directory) == ["hosts"]


def test_remove_needs_no_hub_and_is_done_once(keeper):
    keeper.once()
    done = keeper.run("--remove", URL=None, SILOS=None)
    assert done.returncode == 0 and keeper.text() == LOCAL
    before = identity(keeper.hosts)
    assert keeper.run("--remove", URL=None, SILOS=None).returncode == 0
    assert identity(keeper.hosts) == before


def test_a_missing_hosts_file_is_made_and_a_missing_directory_is_an_error(keeper, tmp_path):
    keeper.hosts.unlink()
    assert keeper.once().returncode == 0
    assert keeper.text() == block(("a", DB))
    assert stat.S_IMODE(os.stat(keeper.hosts).st_mode) == 0o644
    done = keeper.once(HOSTS_FILE=str(tmp_path / "no" / "hosts"))
    assert done.returncode == 11 and "No such file" in done.stderr.decode()


@pytest.mark.parametrize(
    "settings,names",
    [
        ({"URL": None}, ["SILODNS_URL"]),
        ({"SILOS": None, "URL": None}, ["SILODNS_URL", "SILODNS_SILOS"]),
        ({"CONFLICT": "win"}, ["CONFLICT"]),
        ({"SILOS": "a b/c"}, ["SILOS"]),
        ({"INTERVAL": "50ms"}, ["INTERVAL"]),
        ({"NONSENSE": "1"}, ["NONSENSE"]),
        ({"USER": "u"}, ["PASSWORD"]),
        ({"PRINT": "1", "REMOVE": "1"}, ["PRINT", "REMOVE"]),
        ({"TOKEN": "t", "USER": "u", "PASSWORD": "p"}, ["TOKEN", "USER", "PASSWORD"]),
        ({"TOKEN": "t", "PASSWORD": "p"}, ["TOKEN", "PASSWORD"]),
    ],
)
def test_bad_settings_are_named(keeper, settings, names):
    done = keeper.once(**settings)
    assert done.returncode == 2
    for name in names:
        assert name in done.stderr.decode()
    assert keeper.text() == LOCAL


def test_settings_of_the_other_programs_are_tolerated(keeper):
    done = keeper.once(SILO="x", SOURCE="server", DB_HOST="db", ADMIN_PASSWORD_FILE="/x", LISTEN="[::]:1")
    assert done.returncode == 0


def test_help_names_the_exit_codes(keeper):
    done = keeper.run("--help")
    assert done.returncode == 0
    for line in ("hub not reachable", "markers", "--allow-suffixes"):
        assert line in done.stdout.decode()


# ---- which names ----


def test_several_silos_the_first_in_the_configured_order_wins(keeper, hub):
    hub.set("a", [("db", "192.0.2.7"), ("db", "2001:db8::7")])
    hub.set("b", [("db", "192.0.2.8"), ("web", "192.0.2.9")])
    done = keeper.once(SILOS="b,a")
    assert keeper.text() == LOCAL + block(("b", [("db", "192.0.2.8"), ("web", "192.0.2.9")]), ("a", []))
    (event,) = [e for e in done.events if Keeper.message(e) == "hostname not set"]
    assert (event["silo"], event["hostname"]) == ("a", "db")


OWN = os.uname().nodename.lower()


@pytest.mark.promise(9)
@pytest.mark.parametrize("settings,bad,good", [
    ({"CONFLICT": "replace"}, [OWN, "localhost", "localhost.localdomain", "ip6-localhost", "ip6-loopback", "ip6-allnodes", "ip6-allrouters", "broadcasthost", "x.localhost"],
     ["home", f"{OWN}.elsewhere.test"]),
    ({"DENY": "Bank.example,.intern"}, ["bank.example", "www.bank.example", "db.intern"], ["notbank.example"]),
    ({"ALLOW_SUFFIXES": "test lan localhost"}, ["localhost", "dblan", "bank.example"], ["db.lan", "db.test"]),
])
def test_names_of_the_machine_denied_ones_and_other_suffixes_are_refused(keeper, hub, settings, bad, good):
    hub.set("a", [(name, "192.0.2.66") for name in bad + good])
    done = keeper.once(**settings)
    assert done.returncode == 0
    assert keeper.text() == LOCAL + block(("a", [(name, "192.0.2.66") for name in sorted(good)]))
    assert {e["hostname"] for e in done.events if Keeper.message(e) == "hostname not set"} == set(bad)


def test_the_hostname_beside_the_file_is_the_machines_own(keeper, hub):
    (keeper.directory / "hostname").write_text("real_host.example.org\n")
    hub.set("a", [("real_host", "192.0.2.66"), ("real_host.example.org", "192.0.2.66"), ("other", "192.0.2.66")])
    keeper.once()
    assert keeper.text() == LOCAL + block(("a", [("other", "192.0.2.66")]))


def test_only_the_wanted_hostnames(keeper, hub):
    hub.set("a", [("db", "192.0.2.7"), ("web", "192.0.2.8"), ("localhost", "192.0.2.8")])
    assert "hostname not set" not in messages(keeper.once(HOSTNAMES="DB,other"))
    assert keeper.text() == LOCAL + block(("a", DB))


def test_a_name_outside_the_block_is_kept_by_default(keeper, hub):
    hub.set("a", [("db", "192.0.2.7"), ("db", "2001:db8::7"), ("web", "192.0.2.8")])
    outside = LOCAL + "10.0.0.1 x DB # mine\n10.0.0.2 db\n# 10.0.0.1 web\nnonsense web\n"
    keeper.hosts.write_text(outside)
    done = keeper.once()
    assert keeper.text() == outside + block(("a", [("web", "192.0.2.8")]))
    (event,) = [e for e in done.events if Keeper.message(e) == "hostname not set"]
    assert event["line"] == 2


def test_replace_takes_the_name_out_of_its_line_and_keeps_the_others(keeper):
    keeper.hosts.write_text(LOCAL + "10.0.0.1 x DB # mine\n10.0.0.2 db\n")
    assert keeper.once(CONFLICT="replace").returncode == 0
    assert keeper.text() == LOCAL + "10.0.0.1 x # mine\n" + block(("a", DB))
    before = identity(keeper.hosts)
    keeper.once(CONFLICT="replace")
    assert identity(keeper.hosts) == before


# ---- when the hub fails ----


@pytest.mark.parametrize(
    "scripted,code",
    [
        (Scripted(status=503, headers={"Retry-After": "1"}), 3),
        (Scripted(status=502, body="<html>"), 3),
        (Scripted(drop=True), 3),
        (Scripted(status=401), 4),
        (Scripted(status=403), 4),
        (Scripted(status=200, body="not json"), 5),
        (Scripted(status=200, body={"id": "a"}, headers={"ETag": '"9"'}), 5),
        (Scripted(status=200, body={"id": "other", "dnsrecords": []}, headers={"ETag": '"9"'}), 5),
        (Scripted(status=200, body={"id": "a", "dnsrecords": [{"hostname": "x\ny", "ip": "1.1.1.1"}]}), 5),
        (Scripted(status=200, body='{"id":"a","dnsrecords":[]}', truncate=10), 3),
        (Scripted(status=404, body="<html>no such page</html>", headers={"Content-Type": "text/html"}), 5),
    ],
    ids=["503", "502", "drop", "401", "403", "no-json", "no-silo", "another", "bad-name", "cut", "a-proxys-404"],
)
def test_a_failure_keeps_the_last_good_state(keeper, hub, scripted, code):
    keeper.once()
    before = identity(keeper.hosts)
    hub.rules.append(scripted)
    done = keeper.once()
    assert done.returncode == code, done.stderr
    assert identity(keeper.hosts) == before
    assert keeper.text() == LOCAL + block(("a", DB))


@pytest.mark.promise(10)
def test_a_hub_that_is_away_at_the_first_start_changes_nothing(keeper, hub):
    hub.stop()
    done = keeper.once()
    assert done.returncode == 3
    assert keeper.text() == LOCAL


def test_one_failing_silo_does_not_hold_up_the_others(keeper, hub):
    hub.set("b", [("web", "192.0.2.8")])
    keeper.once(SILOS="a,b")
    hub.rules.append(Scripted(status=403, path="/silos/a"))
    hub.set("b", [("web", "192.0.2.88")])
    done = keeper.once(SILOS="a,b")
    assert done.returncode == 4
    assert keeper.text() == LOCAL + block(("a", DB), ("b", [("web", "192.0.2.88")]))


def test_an_empty_silo_empties_its_part_and_a_deleted_one_loses_it(keeper, hub):
    hub.set("b", [("web", "192.0.2.8")])
    keeper.once(SILOS="a,b")
    hub.set("a", [])
    assert keeper.once(SILOS="a,b").returncode == 0
    assert keeper.text() == LOCAL + block(("a", []), ("b", [("web", "192.0.2.8")]))
    hub.delete("b")
    done = keeper.once(SILOS="a,b")
    assert done.returncode == 5
    assert keeper.text() == LOCAL + block(("a", []))
    (event,) = [e for e in done.events if "no such silo" in Keeper.message(e)]
    assert event["silo"] == "b"


def test_credentials_are_sent_and_never_logged(keeper, hub):
    hub.user, hub.password = "reader", "pa:ss wörd-hush"
    assert keeper.once(USER="reader", PASSWORD="pa:ss wörd-hush").returncode == 0
    done = keeper.once(USER="reader", PASSWORD="other-hush", LOG_LEVEL="debug")
    assert done.returncode == 4
    assert b"hush" not in done.stderr + done.stdout


def test_credentials_do_not_go_over_plain_http_to_another_machine(keeper):
    done = keeper.once(URL="http://192.0.2.1:9", USER="u", PASSWORD="hush", TIMEOUT="500ms")
    assert done.returncode == 2 and b"hush" not in done.stderr
