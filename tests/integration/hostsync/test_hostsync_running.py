"""silodns-hostsync as it runs for years: changes, outages, others that write into the same file, and the file itself on its disk."""

import os
import shutil
import stat
import subprocess
import time

import pytest

from tests.lib import needs
from tests.lib.hostskeeper import BEGIN, Keeper, block, messages
from tests.lib.keptfile import *  # noqa: F403
from tests.lib.waiting import wait_until

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


def give_owner(path):
    if os.geteuid() != 0:
        pytest.skip("only root gives a file to somebody else")
    os.chown(path, 1234, 2345)


def give_attribute(path):
    try:
        os.setxattr(path, "user.silodns", b"kept")
    except OSError as failure:
        pytest.skip(f"no extended attributes in the test directory: {failure}")


def give_access_list(path):
    acl = shutil.which("setfacl")
    if not acl or subprocess.run([acl, "-m", "u:77:r", path], check=False).returncode:
        pytest.skip("no access control lists in the test directory")


@pytest.mark.parametrize("give", [give_owner, give_attribute, give_access_list])
def test_owner_mode_and_attributes_survive(keeper, give):
    give(keeper.hosts)
    os.chmod(keeper.hosts, 0o2640)

    def kept():
        st = os.stat(keeper.hosts)
        return st.st_uid, st.st_gid, st.st_mode, {name: os.getxattr(keeper.hosts, name) for name in os.listxattr(keeper.hosts)}

    before = kept()
    assert keeper.once().returncode == 0 and keeper.text() == LOCAL + block(("a", DB))
    assert kept() == before and keeper.leftovers() == []


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
