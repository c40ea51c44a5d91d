"""What runs the programs on machines: units that are right as systemd reads them and as confined as they can be, and the cron table."""

import re
import shutil
import subprocess

import pytest

from tests.lib import needs
from tests.lib.fakehub import FakeHub
from tests.lib.hostskeeper import Keeper, block
from tests.lib.hub import ADMIN, BUILD, REPO, clean_environment

pytestmark = pytest.mark.readme
needs_systemd = pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="there is no systemd-analyze on this machine")

SYSTEMD = REPO / "deploy" / "systemd"
DROP_IN = SYSTEMD / "silodns-.service.d" / "10-hardening.conf"  # of all services, by their names' beginning (systemd.unit(5))
UNITS = sorted(path for path in SYSTEMD.iterdir() if path.is_file())
SERVICES = [unit for unit in UNITS if unit.suffix == ".service"]
EXPOSURE_MAX = 2.0


def analyze(*words, cwd):
    return subprocess.run(["systemd-analyze", *words], cwd=cwd, text=True, timeout=60, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


@pytest.fixture
def installed(tmp_path):
    """The units with programs that are there, as systemd-analyze wants it."""
    shutil.copytree(SYSTEMD, tmp_path, dirs_exist_ok=True)
    for unit in UNITS:
        (tmp_path / unit.name).write_text(unit.read_text().replace("/usr/local/bin/", f"{BUILD}/"))
    return tmp_path


@needs_systemd
def test_systemd_has_nothing_to_say_about_the_units(installed):
    done = analyze("verify", *(f"./{unit.name}" for unit in UNITS), cwd=installed)
    assert done.returncode == 0 and done.stdout == ""


@needs_systemd
@pytest.mark.parametrize("unit", SERVICES, ids=lambda unit: unit.stem)
def test_a_service_is_confined(unit, installed):
    done = analyze("security", "--offline=true", "--no-pager", f"./{unit.name}", cwd=installed)
    exposure = float(re.search(r"Overall exposure level for \S+: (\d+\.\d+)", done.stdout).group(1))
    assert exposure <= EXPOSURE_MAX, done.stdout


@pytest.mark.parametrize("program", ["updater", "hostsync"])
def test_the_units_of_a_client_take_a_token_or_a_password_and_want_neither_file_to_be_there(program):
    """A credential that cannot be loaded stops a unit, unless it is also set (systemd.exec(5), SetCredential=)."""
    for unit in (unit for unit in SERVICES if unit.name.startswith(f"silodns-{program}")):
        lines = unit.read_text().splitlines()
        for name, file in (("token", f"{program}-token"), ("password", "password")):
            assert f"LoadCredential={name}:/etc/silodns/{file}" in lines and f"SetCredential={name}:-" in lines
        assert "SILODNS_TOKEN_FILE=%d/token SILODNS_PASSWORD_FILE=%d/password" in unit.read_text()


@needs.root
@pytest.mark.parametrize("unit", ["silodns-hostsync", "silodns-hostsync-once"])
def test_root_without_its_powers_is_enough_to_keep_the_hosts_file(unit, tmp_path):
    """As the units have it: no capability, no new privileges."""
    text = (SYSTEMD / f"{unit}.service").read_text() + DROP_IN.read_text()
    assert "\nCapabilityBoundingSet=\n" in text and "\nNoNewPrivileges=yes\n" in text and "\nReadWritePaths=/etc\n" in text
    (tmp_path / "etc").mkdir()
    with FakeHub(silos={"a": [("web.test", "192.0.2.7")]}) as hub, Keeper(tmp_path / "etc", hub) as keeper:
        keeper.hosts.write_text("127.0.0.1\tlocalhost\n")
        keeper.wrapper = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs"]
        done = keeper.once()
        assert done.returncode == 0, done.stderr
        assert keeper.text() == "127.0.0.1\tlocalhost\n" + block(("a", [("web.test", "192.0.2.7")]))


def test_every_setting_that_a_unit_names_is_one_of_its_program():
    for unit in SERVICES:
        program = re.search(r"^ExecStart=/usr/local/bin/(\S+)", unit.read_text(), re.M).group(1)
        known = subprocess.run([BUILD / program, "--help=markdown"], stdout=subprocess.PIPE, text=True, check=True).stdout
        for name in re.findall(r"\bSILODNS_[A-Z_]+(?==)", unit.read_text()):
            assert f"`{name}`" in known, f"{unit.name}: {name}"


def test_a_timer_starts_the_service_of_its_name():
    timers = [unit for unit in UNITS if unit.suffix == ".timer"]
    assert len(timers) == 2
    for timer in timers:
        assert "Type=oneshot" in timer.with_suffix(".service").read_text()


def test_make_install_puts_everything_in_its_place(tmp_path):
    subprocess.run(["make", "-s", "install", f"BUILD={BUILD}", f"DESTDIR={tmp_path}", "PREFIX=/opt/x"], cwd=REPO, check=True, timeout=300,
                   env=clean_environment({}), stdout=subprocess.PIPE)
    for program in ("silodns-api", "silodns-updater", "silodns-hostsync"):
        assert (tmp_path / "opt/x/bin" / program).stat().st_mode & 0o777 == 0o755
    for unit in UNITS:
        text = (tmp_path / "opt/x/lib/systemd/system" / unit.name).read_text()
        assert "/usr/local" not in text
        assert unit.suffix == ".timer" or "ExecStart=/opt/x/bin/silodns-" in text
    installed = tmp_path / "opt/x/lib/systemd/system" / DROP_IN.relative_to(SYSTEMD)
    assert installed.read_text() == DROP_IN.read_text() and installed.stat().st_mode & 0o777 == 0o644
    for document in ("README.md", "LICENSE", "CHANGELOG.md", "SECURITY.md"):
        assert (tmp_path / "opt/x/share/doc/silodns" / document).read_text() == (REPO / document).read_text()


def test_the_lines_of_the_cron_table_do_what_they_are_for(shared_hub, tmp_path):
    (tmp_path / "password").write_text(ADMIN[1])
    hosts = tmp_path / "hosts"
    hosts.write_text("127.0.0.1\tlocalhost\n")
    common = f"SILODNS_URL={shared_hub.url}\nSILODNS_USER={ADMIN[0]}\nSILODNS_PASSWORD_FILE={tmp_path}/password\n"
    (tmp_path / "updater.env").write_text(
        common + "SILODNS_SILO=cron\nSILODNS_HOSTNAMES=up.cron\nSILODNS_SOURCE='command:echo 9.9.9.9'\n")
    (tmp_path / "hostsync.env").write_text(common + f"SILODNS_SILOS=cron\nSILODNS_HOSTS_FILE={hosts}\n")
    table = (REPO / "deploy" / "cron" / "silodns").read_text()
    commands = re.findall(r"^\*/5 \* \* \* \* root (.*)$", table, re.M)
    assert len(commands) == 2
    for command in commands:
        command = command.replace("/etc/silodns", str(tmp_path)).replace("logger", "cat # ")
        environment = clean_environment({}) | {"PATH": f"{BUILD}:/usr/bin:/bin"}
        done = subprocess.run(["sh", "-c", command], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60)
        assert done.returncode == 0 and done.stderr == "", done
    assert "9.9.9.9\tup.cron\n" in hosts.read_text()
