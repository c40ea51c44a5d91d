"""silodns-api on the command line: users, secrets, settings, health check."""

import concurrent.futures
import json
import os
import pty
import re
import select
import stat
import subprocess
import termios

import pytest

from tests.lib import needs
from tests.lib.hub import ADMIN, API, BUILD, SLOW, Hub, clean_environment, run_api
from tests.lib.mariadb import Database
from tests.lib.waiting import wait_until

pytestmark = pytest.mark.hub


@pytest.fixture
def settings(database):
    return {**database.settings(), "LOG_LEVEL": "warn"}


def works(hub, *auth):
    return hub.get("/silos", auth=auth).status == 200


# ---- users ----


def test_users_are_managed_on_the_command_line_while_the_hub_runs(make_hub, database, settings, tmp_path):
    file = tmp_path / "password"
    file.write_text("from-a-file-1\n")
    hub = make_hub(database)
    done = run_api("user", "add", "zoe", "--quota=3", f"--new-password-file={file}", settings=settings)
    assert done.returncode == 0, done.stderr
    wait_until(lambda: works(hub, "zoe", "from-a-file-1"), what="the user on the running hub")
    assert hub.get("/users/zoe").json == {"name": "zoe", "role": "common", "quota": 3, "silos": 0}
    assert run_api("user", "add", "zoe", settings=settings, stdin="whatever-1\n").returncode == 1
    assert run_api("user", "passwd", "zoe", settings=settings, stdin="from-stdin-1\n").returncode == 0
    wait_until(lambda: works(hub, "zoe", "from-stdin-1"), what="the new password")
    assert run_api("user", "set", "zoe", "--role=admin", settings=settings).returncode == 0
    listing = run_api("user", "list", settings=settings).stdout
    assert [line.split()[:2] for line in listing.splitlines()[1:]] == [["admin", "admin"], ["zoe", "admin"]]
    assert run_api("user", "remove", "zoe", settings=settings).returncode == 0
    wait_until(lambda: not works(hub, "zoe", "from-stdin-1"), what="the removal")


def test_the_last_admin_stays_on_the_command_line_too(make_hub, database, settings):
    hub = make_hub(database)
    for words in (("user", "remove", "admin"), ("user", "set", "admin", "--role=common")):
        done = run_api(*words, settings=settings)
        assert done.returncode == 1 and "last admin" in done.stderr
    assert works(hub, *ADMIN)


def test_users_can_be_made_before_the_hub_has_ever_run(make_hub, database, settings):
    assert run_api("user", "add", "first", "--role=admin", settings=settings, stdin="first-password\n").returncode == 0
    hub = make_hub(database)
    assert works(hub, "first", "first-password") and not works(hub, *ADMIN), "there was an admin: none is made"


@pytest.mark.parametrize("words,code", [(["user"], 2), (["user", "add"], 2), (["user", "add", "a b"], 2), (["user", "add", "a", "b"], 2),
                                        (["nonsense"], 2), (["user", "nonsense", "a"], 2), (["user", "remove", "nobody"], 1),
                                        (["user", "passwd", "nobody"], 1), (["user", "set", "nobody", "--quota=1"], 1), (["--nonsense"], 2),
                                        (["user", "set", "admin"], 2), (["user", "remove", "admin"], 1), (["serve", "x"], 2), (["secrets"], 2),
                                        (["user", "add", "zoe", "--role=root"], 2), (["user", "add", "zoe", "--quota=-5"], 2),
                                        (["user", "add", "zoe"], 1), (["user", "add", "zoe", "--new-password-file=/nonexistent"], 2),
                                        (["token"], 2), (["token", "add"], 2), (["token", "add", "admin"], 2), (["token", "add", "admin", "t"], 2),
                                        (["token", "add", "admin", "a b", "--verbs=read"], 2), (["token", "add", "nobody", "t", "--verbs=read"], 1),
                                        (["token", "add", "admin", "t", "--verbs=fly"], 2), (["token", "add", "admin", "t", "--verbs=admin", "--for-silos=a"], 2),
                                        (["token", "add", "admin", "t", "--verbs=update", "--for-family=5"], 2), (["token", "add", "admin", "t", "--verbs=read", "--unused=59m"], 2),
                                        (["token", "remove", "admin"], 2), (["token", "remove", "admin", "t"], 1), (["token", "list", "nobody"], 1),
                                        (["token", "list", "a", "b"], 2)])
def test_wrong_use_has_its_exit_code_and_a_sentence(shared_hub, words, code):
    before = shared_hub.database.sql("SELECT revision FROM hub")
    done = run_api(*words, settings=shared_hub.database.settings() | {"LOG_LEVEL": "warn"}, stdin="")
    assert done.returncode == code and len(done.stderr) > 10 and done.stdout == ""
    assert shared_hub.database.sql("SELECT revision FROM hub") == before


@pytest.mark.parametrize("password", ["short", "x" * 257, "with\ttab-inside"])
def test_a_bad_password_is_refused_and_not_repeated(settings, password):
    done = run_api("user", "add", "zoe", settings=settings, stdin=password + "\n")
    assert done.returncode == 1 and password not in done.stderr and len(done.stderr) > 10


def test_a_password_is_never_taken_from_the_command_line(settings):
    done = run_api("user", "add", "zoe", "--new-password=on-the-command-line", settings=settings)
    assert done.returncode == 2 and "on-the-command-line" not in done.stderr


class Terminal:
    """A terminal on which one subcommand runs."""

    def __init__(self, *words, settings):
        self.master, slave = pty.openpty()
        self.process = subprocess.Popen([API, *words], env=clean_environment(settings), stdin=slave, stdout=slave, stderr=slave)
        os.close(slave)
        self.seen = ""

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.process.kill()
        self.process.wait()
        os.close(self.master)

    def expect(self, text):
        while text not in self.seen:
            ready, _, _ = select.select([self.master], [], [], 20 * SLOW)
            try:
                chunk = os.read(self.master, 4096) if ready else b""
            except OSError:  # the other side is closed
                chunk = b""
            assert chunk, f"{text!r} did not come: {self.seen!r}"
            self.seen += chunk.decode()

    def answer(self, prompt, text):
        """As a person does, not before the echo is off."""
        self.expect(prompt)
        wait_until(lambda: not termios.tcgetattr(self.master)[3] & termios.ECHO, what="a terminal without echo")
        os.write(self.master, text.encode() + b"\n")

    def end(self):
        return self.process.wait(30 * SLOW)


def test_on_a_terminal_a_password_is_asked_for_twice_without_echo(make_hub, database, settings):
    hub = make_hub(database)
    with Terminal("user", "passwd", "admin", settings=settings) as terminal:
        terminal.answer("password: ", "typed-password")
        terminal.answer("more: ", "typed-password")
        terminal.expect("changed")
        assert terminal.end() == 0 and "typed" not in terminal.seen
    wait_until(lambda: works(hub, "admin", "typed-password"), what="the new password")
    with Terminal("user", "passwd", "admin", settings=settings) as terminal:
        terminal.answer("password: ", "typed-once")
        terminal.answer("more: ", "typed-otherwise")
        terminal.expect("not the same")
        assert terminal.end() == 1 and works(hub, "admin", "typed-password")


def test_an_unreachable_database_has_its_exit_code(settings):
    for words in (["migrate"], ["user", "list"]):
        assert run_api(*words, settings={**settings, "DB_PORT": 1}).returncode == 3


# ---- secrets ----


def read_all(directory):
    return {path.name: path.read_text() for path in directory.iterdir()}


def test_secrets_are_made_once_and_for_their_owner_only(tmp_path):
    done = run_api("secrets", str(tmp_path), settings={})
    assert done.returncode == 0
    made = read_all(tmp_path)
    assert set(made) == {"db-password", "admin-password"} and len(set(made.values())) == 2
    for path in tmp_path.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o400
        assert len(made[path.name].strip()) == 32 and made[path.name].strip() not in done.stdout and str(path) in done.stdout
    assert run_api("secrets", str(tmp_path), settings={}).stdout == ""
    assert read_all(tmp_path) == made
    (tmp_path / "db-password").unlink()
    assert run_api("secrets", str(tmp_path), settings={}).returncode == 0
    assert read_all(tmp_path)["admin-password"] == made["admin-password"]


def test_secrets_made_at_once_are_whole_and_agree(tmp_path):
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        done = list(pool.map(lambda _: run_api("secrets", str(tmp_path), settings={}), range(8)))
    made = read_all(tmp_path)
    assert set(made) == {"db-password", "admin-password"} and all(len(text) == 33 for text in made.values())
    assert [each.returncode for each in done] == [0] * 8, [each.stderr for each in done]


def test_secrets_may_be_named(tmp_path):
    assert run_api("secrets", str(tmp_path), "db-root-password", "x", settings={}).returncode == 0
    assert set(read_all(tmp_path)) == {"db-root-password", "x"}
    for name in ("../x", ".x", "a/b/c", "/a", "a/", "a/.b", "A", "", "x" * 41, "x/" + "x" * 41):
        done = run_api("secrets", str(tmp_path), "fine", name, settings={})
        assert done.returncode == 2 and "cannot be a secret's name" in done.stderr, done
    assert set(read_all(tmp_path)) == {"db-root-password", "x"}


@needs.mounts
def test_a_full_disk_leaves_no_half_secret_and_no_temporary_file(tmp_path):
    """The room is found out by trying: none at all, then so much that a file fits, but not what is in it."""
    script = f"mount -t tmpfs -o size=8k tmpfs {tmp_path} && cd {tmp_path} && dd if=/dev/zero of=ballast bs=4k count=$1 status=none; {BUILD}/silodns-api secrets .; echo $?; ls -A"
    for blocks in ("2", "1"):
        done = subprocess.run(["unshare", "-m", "--propagation", "private", "sh", "-c", script, "sh", blocks], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              text=True, timeout=60, env=clean_environment({}))
        assert "No space left on device" in done.stderr, done
        left = [name for name in done.stdout.splitlines() if name.startswith(".") and len(name) > 1]
        assert left == [] and "1" in done.stdout.splitlines(), done
        assert ("db-password" in done.stdout.splitlines()) == (blocks == "1")


def test_secrets_may_be_tokens_and_in_directories_below(tmp_path):
    (tmp_path / "updater").mkdir()
    assert run_api("secrets", str(tmp_path), "updater/token", "hostsync-token", "db-password", settings={}).returncode == 0
    tokens = [(tmp_path / name).read_text() for name in ("updater/token", "hostsync-token")]
    assert all(re.fullmatch(r"silodns_[A-Za-z0-9_-]{43}\n", token) for token in tokens) and len({*tokens}) == 2
    assert re.fullmatch(r"[a-z0-9]{32}\n", (tmp_path / "db-password").read_text())
    assert run_api("secrets", str(tmp_path), "elsewhere/token", settings={}).returncode == 1


def test_secrets_take_a_mode_and_a_directory_that_is_there(tmp_path):
    assert run_api("secrets", str(tmp_path), "--mode=0444", settings={}).returncode == 0
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o444}
    assert run_api("secrets", str(tmp_path / "nowhere"), settings={}).returncode == 1


def test_made_secrets_are_what_the_hub_takes(make_hub, database, tmp_path):
    run_api("secrets", str(tmp_path), settings={})
    password = (tmp_path / "admin-password").read_text().strip()
    (tmp_path / "db").write_text(database.password + "\n")
    hub = make_hub(database, start=False, ADMIN_PASSWORD=None, ADMIN_PASSWORD_FILE=tmp_path / "admin-password", DB_PASSWORD=None,
                   DB_PASSWORD_FILE=tmp_path / "db")
    hub.secrets.add(password)
    hub.start()
    assert works(hub, "admin", password)


# ---- settings ----


def test_settings_that_are_wrong_are_all_named_at_once(settings):
    wrong = {"THREADS": "many", "MAX_BODY": 1, "TRUSTED_PROXIES": "10.0.0.1/8", "PORTT": "1", "POLL": "fast", "LOG_LEVEL": "loud",
             "LOG_FORMAT": "xml", "ADMIN_PASSWORD": "short", "DB_PASSWORD_FILE": "/nonexistent"}
    done = run_api("--nonsense", settings={**settings, **wrong})
    assert done.returncode == 2
    for word in (*wrong, "nonsense", "10.0.0.0/8"):
        assert word in done.stderr, word
    assert settings["DB_PASSWORD"] not in done.stderr and "short" not in done.stderr.replace("shorter", "")


@pytest.mark.parametrize("listen", ["8080", "127.0.0.1", "127.0.0.1:0", "127.0.0.1:65536", "127.0.0.1:x", "::1:8080", "999.1.1.1:8080"])
def test_an_address_to_listen_on_that_is_none_is_said(settings, listen):
    done = run_api(settings={**settings, "LISTEN": listen})
    assert done.returncode in (1, 2) and listen in done.stderr


def test_a_busy_port_is_said_with_the_way_out(make_hub, database):
    hub = make_hub(database)
    done = run_api(settings=hub.settings)
    assert done.returncode == 1 and "in use" in done.stderr and str(hub.port) in done.stderr


@needs.ipv6
def test_several_addresses_are_listened_on(make_hub, database):
    hub, other = make_hub(database, start=False), Hub("/nonexistent", None)
    hub.settings["LISTEN"] = f"127.0.0.1:{hub.port},[::1]:{hub.port} 127.0.0.1:{other.port}"
    hub.start()
    assert hub.get("/ip", auth=None, host="::1").json == {"ip": "::1"}
    assert other.get("/ip", auth=None).json == {"ip": "127.0.0.1"}


def test_settings_of_the_other_programs_are_tolerated(make_hub, database):
    make_hub(database, URL="http://127.0.0.1:1", SILO="a", HOSTS_FILE="/nonexistent")


@pytest.mark.parametrize("program", ["silodns-api", "silodns-updater", "silodns-hostsync"])
def test_help_and_version_are_answered_without_settings(program):
    for flag, word in (("--help", "SILODNS_"), ("--version", program)):
        done = subprocess.run([BUILD / program, flag], env=clean_environment({}), stdout=subprocess.PIPE, text=True, timeout=30, check=False)
        assert done.returncode == 0 and word in done.stdout


def test_check_tells_whether_the_hub_is_ready(own_mariadb, make_hub):
    hub = make_hub(Database(own_mariadb))
    assert run_api("check", settings=hub.settings).returncode == 0
    for everywhere in (f"[::]:{hub.port}", f"0.0.0.0:{hub.port}", f"*:{hub.port}"):
        assert run_api("check", settings={"LISTEN": everywhere}).returncode == 0
    own_mariadb.kill()
    wait_until(lambda: run_api("check", settings=hub.settings).returncode == 3, what="an ill health check")
    hub.stop()
    assert run_api("check", settings=hub.settings).returncode == 3


# ---- what it says and takes ----


def test_logs_are_json_when_asked_for(make_hub, database):
    hub = make_hub(database, LOG_FORMAT="json", LOG_LEVEL="info")
    hub.put_silo("logged", {"h": "192.0.2.1"})
    lines = [json.loads(line) for line in hub.log().splitlines()]
    (line,) = [entry for entry in lines if entry["msg"] == "silo changed"]
    assert (line["silo"], line["user"], line["peer"], line["revision"]) == ("logged", "admin", "127.0.0.1", hub.revision())


def test_a_request_cannot_forge_a_line_of_the_log(make_hub, database):
    hub = make_hub(database, LOG_FORMAT="json")
    for path in ("/silos/a%0A%7B%22msg%22%3A%22forged%22%7D", "/silos/%1b%5b31m", "/%0aforged"):
        hub.get(path)
    hub.get("/silos", auth=("x\n{\"msg\":\"forged\"}", "y"))
    for line in hub.log().splitlines():
        assert json.loads(line)["msg"] != "forged"
    assert "\x1b" not in hub.log()


def test_a_database_that_does_not_sync_is_complained_of_loudly(own_mariadb, make_hub):
    own_mariadb.sql("SET GLOBAL innodb_flush_log_at_trx_commit = 2")
    hub = make_hub(Database(own_mariadb))
    assert "innodb_flush_log_at_trx_commit=1" in hub.log()


@pytest.mark.skipif(BUILD.name in ("asan", "tsan"), reason="a sanitizer has its own idea of memory")
def test_resident_memory_is_small(make_hub, database):
    assert make_hub(database).memory_kb() < 20 * 1024


def test_the_usage_names_every_subcommand_of_the_documentation():
    usage = run_api("--help", settings={}).stdout
    for word in ("serve", "migrate", "user list", "user add", "user set", "user passwd", "user remove", "token list", "token add", "token remove", "secrets", "check"):
        assert word in usage, word
