"""Secrets stay where they belong: in files, and in the memory of the process that needs them. (What every test's logs are searched for: leaks.py.)"""

import pathlib
import subprocess

import pytest

from tests.lib import leaks
from tests.lib.hub import clean_environment, run_program
from tests.lib.mariadb import free_port
from tests.lib.nobody import nobody  # noqa: F401

SECRET = "hush-hush-hush"
AWAY = {"URL": "http://127.0.0.1:1", "USER": "alice", "PASSWORD": SECRET}
PROGRAMS = {
    "silodns-api": {"DB_PORT": 1, "DB_PASSWORD": SECRET, "ADMIN_PASSWORD": SECRET, "LISTEN": "127.0.0.1:{port}"},
    "silodns-updater": {**AWAY, "SILO": "s", "HOSTNAMES": "h", "SOURCE": "command:echo 9.9.9.9"},
    "silodns-hostsync": {**AWAY, "SILOS": "s", "HOSTS_FILE": "{directory}/hosts"},
}


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_process_leaves_no_core_dump_and_its_user_cannot_look_into_it(program, nobody):  # noqa: F811
    (nobody.directory / "d").mkdir()
    (nobody.directory / "d").chmod(0o777)
    settings = {k: str(v).format(port=free_port(), directory=nobody.directory / "d") for k, v in PROGRAMS[program].items()}
    process = subprocess.Popen(nobody.command(program), env=clean_environment(settings), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        process.stderr.readline()  # it is past its start
        of_process = pathlib.Path(f"/proc/{process.pid}")
        assert (of_process / "mem").stat().st_uid == 0 != nobody.user, "the memory of a process that may be dumped is its user's"
        (core,) = [line.split()[4:6] for line in (of_process / "limits").read_text().splitlines() if line.startswith("Max core file size")]
        assert core == ["0", "0"]
        leaks.check_command_line(process, [SECRET])
    finally:
        process.terminate()
        process.wait(30)
    assert SECRET.encode() not in process.stderr.read()


@pytest.mark.promise(7)
@pytest.mark.parametrize("program", PROGRAMS)
def test_a_secret_in_the_wrong_place_is_not_repeated(program):
    for words in ([f"--password={SECRET}"], ["--password", SECRET], [f"--token={SECRET}"], [f"--admin-password={SECRET}"], [f"--db-password={SECRET}"]):
        done = run_program(program, *words, settings={})
        assert done.returncode == 2 and SECRET not in done.stderr + done.stdout, done
    done = run_program(program, settings={"URL": f"https://alice:{SECRET}@hub.example", "PASSWORDD": SECRET})
    assert done.returncode == 2 and SECRET not in done.stderr + done.stdout, done


def test_the_check_of_the_logs_finds_a_secret(tmp_path):
    leaks.note("a-secret-of-this-test")
    leaks.check_logs(tmp_path)
    (tmp_path / "x.log").write_text("level=info user=alice password=a-secret-of-this-test\n")
    with pytest.raises(AssertionError, match="x.log"):
        leaks.check_logs(tmp_path)
    (tmp_path / "x.log").unlink()
