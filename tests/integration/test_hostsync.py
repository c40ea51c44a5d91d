"""silodns-hostsync, the real program, against a scripted hub: the hosts file follows the silos and nothing else."""

import os
import shutil
import signal
import stat
import subprocess
import time

import needs
import pytest
from fakehub import FakeHub, Scripted
from hostskeeper import BEGIN, END, Keeper, block, messages, wait_until

LOCAL = "127.0.0.1\tlocalhost\n"
DB = [("db", "192.0.2.7")]


@pytest.fixture
def hub():
    with FakeHub({"a": DB}) as hub:
        yield hub


@pytest.fixture
def keeper(tmp_path, hub):
    directory = tmp_path / "etc"
    directory.mkdir()
    with Keeper(directory, hub) as keeper:
        keeper.hosts.write_text(LOCAL)
        yield keeper


def identity(path):
    st = os.stat(path)
    return st.st_ino, st.st_mtime_ns, st.st_ctime_ns


def namespace(keeper):
    """Mounts made by shell_before stay in a mount namespace of their own."""
    keeper.wrapper = ["unshare", "-m", "--propagation", "private"]


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
        b"127.0.0.1 localhost",
        b"127.0.0.1 localhost\r\n::1\tlocalhost\r\n",
        b"#\n\n\n  \t\n",
        b"nul\0in\0it\n\xff\xfe\n",
        b"10.0.0.1 " + b"x" * 1_000_000 + b"\n10.0.0.2 y",
        b"".join(b"10.%d.%d.%d host-%d\n" % (i >> 16, i >> 8 & 255, i & 255, i) for i in range(100_000)),
    ],
    ids=["empty", "no-newline", "crlf", "blank", "nul", "long-line", "100000-lines"],
)
def test_every_byte_outside_the_block_is_kept(keeper, original):
    keeper.hosts.write_bytes(original)
    assert keeper.once().returncode == 0
    assert keeper.hosts.read_bytes().startswith(original) and b"192.0.2.7\tdb\n" in keeper.hosts.read_bytes()
    assert keeper.run("--remove").returncode == 0
    assert keeper.hosts.read_bytes() == original


def test_the_block_stays_where_it_stands(keeper):
    keeper.hosts.write_text(LOCAL + BEGIN + END + "10.0.0.9 mine")
    assert keeper.once().returncode == 0
    assert keeper.text() == LOCAL + block(("a", DB)) + "10.0.0.9 mine"


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
    hub.set("b", [("db", "192.0.2.8"), ("web", "192.0.2.9")])
    done = keeper.once(SILOS="b,a")
    assert keeper.text() == LOCAL + block(("b", [("db", "192.0.2.8"), ("web", "192.0.2.9")]), ("a", []))
    (event,) = [e for e in done.events if Keeper.message(e) == "hostname not set"]
    assert (event["silo"], event["hostname"]) == ("a", "db")


def test_names_of_the_machine_denied_ones_and_other_suffixes_are_refused(keeper, hub):
    own = os.uname().nodename.lower()
    names = ["localhost", "ip6-loopback", own, "bank.example", "www.bank.example", "x.lan", "db.test"]
    hub.set("a", [(name, "192.0.2.66") for name in names])
    done = keeper.once(DENY="Bank.example", ALLOW_SUFFIXES="test bank.example localhost")
    assert done.returncode == 0
    assert keeper.text() == LOCAL + block(("a", [("db.test", "192.0.2.66")]))
    refused = {e["hostname"] for e in done.events if Keeper.message(e) == "hostname not set"}
    assert refused == set(names) - {"db.test"}


def test_the_hostname_beside_the_file_is_the_machines_own(keeper, hub):
    (keeper.directory / "hostname").write_text("realhost.example.org\n")
    hub.set("a", [("realhost", "192.0.2.66"), ("realhost.example.org", "192.0.2.66"), ("other", "192.0.2.66")])
    keeper.once()
    assert keeper.text() == LOCAL + block(("a", [("other", "192.0.2.66")]))


def test_only_the_wanted_hostnames(keeper, hub):
    hub.set("a", [("db", "192.0.2.7"), ("web", "192.0.2.8")])
    keeper.once(HOSTNAMES="DB,other")
    assert keeper.text() == LOCAL + block(("a", DB))


def test_a_name_outside_the_block_is_kept_by_default(keeper, hub):
    hub.set("a", [("db", "192.0.2.7"), ("web", "192.0.2.8")])
    keeper.hosts.write_text(LOCAL + "10.0.0.1 x DB # mine\n")
    done = keeper.once()
    assert keeper.text() == LOCAL + "10.0.0.1 x DB # mine\n" + block(("a", [("web", "192.0.2.8")]))
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


# ---- for ever ----


def test_changes_are_followed_and_the_etag_is_used(keeper, hub):
    keeper.start(INTERVAL="100ms", FOLLOW="poll")
    keeper.wait_text(LOCAL + block(("a", DB)))
    revision = hub.set("a", [("db", "192.0.2.8")])
    keeper.wait_text(LOCAL + block(("a", [("db", "192.0.2.8")])))
    keeper.wait_event("silo applied", 2)
    assert keeper.events("silo applied")[-1]["revision"] == revision
    wait_until(lambda: [r for r in hub.requests if r.status == 304], what="a 304")
    assert keeper.stop() == 0
    assert len(keeper.events("hosts file written")) == 2
    assert keeper.text() == LOCAL + block(("a", [("db", "192.0.2.8")]))


def test_sighup_asks_at_once(keeper, hub):
    keeper.start(INTERVAL="1h", FOLLOW="poll")
    keeper.wait_text(LOCAL + block(("a", DB)))
    hub.set("a", [("db", "192.0.2.8")])
    keeper.process.send_signal(signal.SIGHUP)
    keeper.wait_text(LOCAL + block(("a", [("db", "192.0.2.8")])))


@pytest.mark.parametrize("follow", ["watch", "poll"])
def test_an_outage_is_outlived_and_told_once(keeper, hub, follow):
    keeper.start(INTERVAL="100ms", FOLLOW=follow)
    keeper.wait_text(LOCAL + block(("a", DB)))
    hub.stop()
    keeper.wait_event("hub away, the last good state stays")
    time.sleep(1)
    assert len(keeper.events("hub away, the last good state stays")) == 1
    assert keeper.text() == LOCAL + block(("a", DB))
    hub.set("a", [("db", "192.0.2.8")])
    hub.start()
    keeper.wait_text(LOCAL + block(("a", [("db", "192.0.2.8")])), 20)
    keeper.wait_event("hub is back")


@pytest.mark.parametrize("follow", ["watch", "poll"])
def test_sigterm_ends_it_while_the_hub_does_not_answer(keeper, hub, follow):
    hub.rules.append(Scripted(delay=30))
    keeper.start(INTERVAL="1h", TIMEOUT="30s", FOLLOW=follow)
    hub.wait_for_requests(1)
    begin = time.monotonic()
    assert keeper.stop() == 0
    assert time.monotonic() - begin < 5


def test_a_damaged_block_is_put_back_at_once(keeper):
    keeper.start(INTERVAL="1h")
    keeper.wait_text(LOCAL + block(("a", DB)))
    keeper.hosts.write_text("10.0.0.1 other\n")  # in place
    keeper.wait_text("10.0.0.1 other\n" + block(("a", DB)))
    other = keeper.directory / "other"
    other.write_text(LOCAL)
    other.rename(keeper.hosts)  # replaced
    keeper.wait_text(LOCAL + block(("a", DB)))
    assert len(keeper.wait_event("another program had changed the block, it has been put back", 2)) == 2


def test_a_war_over_the_block_is_slowed_down_but_the_hubs_changes_are_not(keeper, hub):
    keeper.start(INTERVAL="100ms")
    keeper.wait_text(LOCAL + block(("a", DB)))
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        if keeper.text() != LOCAL:
            keeper.hosts.write_text(LOCAL)
        time.sleep(0.02)
    keeper.wait_event("another program keeps changing the block: slowing down")
    assert len(keeper.events("hosts file written")) <= 7
    keeper.hosts.write_text(LOCAL)
    hub.set("a", [("db", "192.0.2.8")])
    keeper.wait_text(LOCAL + block(("a", [("db", "192.0.2.8")])), 3)


def test_lines_that_others_add_are_left_alone(keeper):
    keeper.start(INTERVAL="100ms")
    keeper.wait_text(LOCAL + block(("a", DB)))
    with open(keeper.hosts, "a") as file:
        file.write("10.0.0.1 more\n")
    time.sleep(0.5)
    assert keeper.text() == LOCAL + block(("a", DB)) + "10.0.0.1 more\n"
    assert len(keeper.events("hosts file written")) == 1


def test_a_name_that_the_owner_adds_wins_and_gives_way_again(keeper):
    keeper.start(INTERVAL="1h")
    keeper.wait_text(LOCAL + block(("a", DB)))
    keeper.hosts.write_text("10.0.0.1 db\n" + block(("a", DB)))
    keeper.wait_text("10.0.0.1 db\n" + block(("a", [])))
    keeper.hosts.write_text(LOCAL + block(("a", [])))
    keeper.wait_text(LOCAL + block(("a", DB)))


def test_broken_markers_stop_the_writing_until_they_are_mended(keeper, hub):
    keeper.start(INTERVAL="100ms")
    keeper.wait_text(LOCAL + block(("a", DB)))
    keeper.hosts.write_text(LOCAL + BEGIN)
    keeper.wait_event("hosts file left as it is")
    time.sleep(0.5)
    assert keeper.text() == LOCAL + BEGIN
    assert len(keeper.events("hosts file left as it is")) == 1
    keeper.hosts.write_text(LOCAL)
    keeper.wait_text(LOCAL + block(("a", DB)))


@pytest.mark.parametrize("follow", ["watch", "poll"])
def test_the_health_check_tells_the_truth(keeper, hub, tmp_path, follow):
    keeper.settings["FOLLOW"] = follow
    keeper.settings["STATE_DIR"] = str(tmp_path / "state")
    keeper.settings["INTERVAL"] = "100ms"
    assert keeper.run("--check").returncode == 1
    keeper.start()
    wait_until(lambda: keeper.run("--check").returncode == 0, what="health")
    hub.stop()
    wait_until(lambda: keeper.run("--check").returncode == 1, what="ill health while the hub is away")
    hub.start()
    wait_until(lambda: keeper.run("--check").returncode == 0, 20, what="health again")
    keeper.hosts.write_text(BEGIN)
    done = wait_until(lambda: (d := keeper.run("--check")).returncode == 1 and d, what="ill health with broken markers")
    assert b"line 1" in done.stderr


# ---- the file ----


@needs.root
def test_owner_mode_and_attributes_survive(keeper):
    os.chown(keeper.hosts, 1234, 2345)
    os.chmod(keeper.hosts, 0o640)
    try:
        os.setxattr(keeper.hosts, "user.silodns", b"kept")
    except OSError:
        pytest.skip("the file system of the test directory has no extended attributes")
    acl = shutil.which("setfacl")
    if acl:
        subprocess.run([acl, "-m", "u:77:r", keeper.hosts], check=True)
    assert keeper.once().returncode == 0
    st = os.stat(keeper.hosts)
    assert (st.st_uid, st.st_gid, stat.S_IMODE(st.st_mode)) == (1234, 2345, 0o640)
    assert os.getxattr(keeper.hosts, "user.silodns") == b"kept"
    if acl:
        assert os.getxattr(keeper.hosts, "system.posix_acl_access")


def test_the_directorys_default_acl_gives_nobody_a_right_to_the_file(keeper):
    acl = shutil.which("setfacl")
    if not acl or subprocess.run([acl, "-d", "-m", "u:77:rw", keeper.directory], check=False).returncode:
        pytest.skip("no access control lists in the test directory")
    assert keeper.once().returncode == 0 and keeper.text() == LOCAL + block(("a", DB))
    assert "system.posix_acl_access" not in os.listxattr(keeper.hosts)


def test_a_symbolic_link_stays_one(keeper, tmp_path):
    real = tmp_path / "real"
    real.mkdir()
    keeper.hosts.rename(real / "hosts")
    keeper.hosts.symlink_to(real / "hosts")
    assert keeper.once().returncode == 0
    assert keeper.hosts.is_symlink() and (real / "hosts").read_text() == LOCAL + block(("a", DB))


def test_what_a_killed_hostsync_left_is_cleaned_up(keeper):
    (keeper.directory / ".hosts.silodns-tmp-abcdef").write_text("half a fi")
    assert keeper.once().returncode == 0
    assert keeper.leftovers() == []


@needs.mounts
def test_a_full_disk_leaves_the_file_alone(keeper, hub):
    namespace(keeper)
    hub.set("a", [(f"host-{i}", "192.0.2.7") for i in range(9000)])
    done = keeper.once(
        shell_before=f"mount -t tmpfs -o size=64k tmpfs {keeper.directory}\n"
        f"printf '127.0.0.1 localhost\\n' >{keeper.hosts}",
        shell_after=f"cat {keeper.hosts}; ls -A {keeper.directory}",
    )
    assert done.returncode == 11 and b"No space left" in done.stderr
    assert done.stdout == b"127.0.0.1 localhost\nhosts\n"


@needs.mounts
def test_a_read_only_directory_leaves_the_file_alone(keeper):
    namespace(keeper)
    done = keeper.once(
        shell_before=f"mount --bind {keeper.directory} {keeper.directory}; mount -o remount,ro,bind {keeper.directory}"
    )
    assert done.returncode == 11 and b"Read-only" in done.stderr
    assert keeper.text() == LOCAL


@needs.root
def test_without_the_right_to_write_the_file_is_left_alone(keeper):
    keeper.directory.parent.chmod(0o755)
    for parent in list(keeper.directory.parents)[:-1]:
        if not stat.S_IMODE(parent.stat().st_mode) & 0o001:
            parent.chmod(parent.stat().st_mode | 0o011)
    keeper.wrapper = ["setpriv", "--reuid=12345", "--regid=12345", "--clear-groups"]
    done = keeper.once()
    assert done.returncode == 11 and b"Permission denied" in done.stderr
    keeper.directory.chmod(0o777)  # may replace, but not keep the owner
    done = keeper.once()
    assert done.returncode == 11 and b"owner" in done.stderr
    assert keeper.text() == LOCAL and keeper.leftovers() == []


def bind(keeper, tmp_path):
    """The hosts file becomes a mount point, as in a container; what is really written is `mounted`."""
    namespace(keeper)
    mounted = tmp_path / "mounted"
    mounted.write_text(LOCAL)
    return mounted, f"mount --bind {mounted} {keeper.hosts}"


@needs.mounts
def test_a_mount_point_is_written_in_place(keeper, tmp_path):
    mounted, mount = bind(keeper, tmp_path)
    inode = os.stat(mounted).st_ino
    done = keeper.once(shell_before=mount, STATE_DIR=str(tmp_path / "state"))
    assert done.returncode == 0, done.stderr
    assert mounted.read_text() == LOCAL + block(("a", DB)) and os.stat(mounted).st_ino == inode
    assert [e["way"] for e in done.events if Keeper.message(e) == "hosts file written"] == ["in place"]
    assert keeper.leftovers() == [] and os.listdir(tmp_path / "state") == ["hostsync.json"]
    assert keeper.run("--remove", shell_before=mount).returncode == 0
    assert mounted.read_text() == LOCAL and os.stat(mounted).st_ino == inode


@needs.mounts
def test_a_mount_point_without_a_place_for_the_copy_is_left_alone(keeper, tmp_path):
    mounted, mount = bind(keeper, tmp_path)
    etc = keeper.directory
    done = keeper.once(shell_before=f"{mount}\nmount --bind {etc} {etc} && mount -o remount,ro,bind {etc}\n{mount}")
    assert done.returncode == 11 and b"SILODNS_STATE_DIR" in done.stderr
    assert mounted.read_text() == LOCAL


@needs.mounts
def test_a_full_disk_leaves_a_mount_point_alone(keeper, hub, tmp_path):
    namespace(keeper)
    hub.set("a", [(f"host-{i}", "192.0.2.7") for i in range(9000)])
    small = tmp_path / "small"
    small.mkdir()
    done = keeper.once(
        STATE_DIR=str(tmp_path / "state"),
        shell_before=f"mount -t tmpfs -o size=64k tmpfs {small}\nprintf '127.0.0.1 localhost\\n' >{small}/hosts\n"
        f"mount --bind {small}/hosts {keeper.hosts}",
        shell_after=f"cat {small}/hosts",
    )
    assert done.returncode == 11 and b"No space left" in done.stderr
    assert done.stdout == b"127.0.0.1 localhost\n"
    assert os.listdir(tmp_path / "state") == ["hostsync.json"]


def test_an_interrupted_write_in_place_is_finished_at_the_next_start(keeper, tmp_path):
    new = LOCAL + block(("a", DB))
    keeper.hosts.write_text(new[:40])
    (keeper.directory / ".hosts.silodns-old").write_text(LOCAL)
    (keeper.directory / ".hosts.silodns-new").write_text(new)
    done = keeper.once()
    assert done.returncode == 0 and "interrupted write finished" in messages(done)
    assert keeper.text() == new and keeper.leftovers() == []


def test_a_half_written_file_that_cannot_be_finished_yet_is_not_taken_for_the_owners(keeper):
    new = LOCAL + block(("a", DB))
    half = new[:40]
    keeper.hosts.write_text(half)
    (keeper.directory / ".hosts.silodns-old").write_text(LOCAL)
    os.mkfifo(keeper.directory / ".hosts.silodns-new")  # cannot be read
    assert keeper.once().returncode == 11 and keeper.text() == half
    keeper.start(INTERVAL="100ms")
    keeper.wait_event("hosts file left as it is")
    (keeper.directory / "complete").write_text(new)
    (keeper.directory / "complete").rename(keeper.directory / ".hosts.silodns-new")
    keeper.wait_event("hosts file can be kept again")
    assert keeper.stop() == 0
    assert keeper.text() == new and keeper.leftovers() == [] and len(keeper.events("hosts file left as it is")) == 1
