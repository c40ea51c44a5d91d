"""A flag without a value counts as not given, as an empty variable does: for every setting of every program."""

import re
import subprocess

import pytest

from tests.lib.hub import BUILD, run_program
from tests.lib.waiting import wait_until

pytestmark = pytest.mark.hub


def empty_flags(program, but=()):
    table = subprocess.run([BUILD / program, "--help=markdown"], stdout=subprocess.PIPE, text=True, check=True).stdout
    flags = [f"{flag}=" for flag in re.findall(r"^\|[^|]*\| `(--[a-z0-9-]+)", table, re.MULTILINE)]
    assert len(flags) > 10
    return [flag for flag in flags if flag not in but]


def test_a_hub_with_all_flags_empty_is_a_hub_without_flags(make_hub, database):
    hub = make_hub(database, start=False)
    hub.wrapper = ["sh", "-c", f'exec "$0" serve {" ".join(empty_flags("silodns-api"))}']
    hub.start()
    assert hub.put_silo("a", {"h": "192.0.2.1"}).status == 201 and hub.get("/metrics").status == 200


def test_clients_with_all_flags_empty_are_clients_without_flags(make_hub, database, tmp_path):
    hub = make_hub(database)
    settings = {"URL": hub.url, "USER": "admin", "PASSWORD": hub.settings["ADMIN_PASSWORD"]}
    done = run_program("silodns-updater", *empty_flags("silodns-updater", but=("--once=",)), "--once",
                       settings={**settings, "SILO": "a", "HOSTNAMES": "h", "SOURCE": "command:echo 9.9.9.9"})
    assert done.returncode == 0, done.stderr
    hosts = tmp_path / "hosts"
    done = run_program("silodns-hostsync", *empty_flags("silodns-hostsync", but=("--once=",)), "--once",
                       settings={**settings, "SILOS": "a", "HOSTS_FILE": str(hosts), "STATE_DIR": str(tmp_path)})
    assert done.returncode == 0, done.stderr
    wait_until(hosts.exists, 10)
    assert "9.9.9.9" in hosts.read_text()
