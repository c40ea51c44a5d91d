"""The real docker-compose.yml and the real images, on this machine's Docker engine."""

import concurrent.futures
import contextlib
import json
import os
import pathlib
import re
import secrets
import shutil
import textwrap
import time

import pytest

from tests.containers.engine import IMAGES, run
from tests.containers.pods import get
from tests.lib.hub import REPO
from tests.lib.mariadb import free_port
from tests.lib.waiting import wait_until


class Compose:
    def __init__(self, **settings):
        self.project = "silodnstest" + secrets.token_hex(3)
        self.port = free_port()
        keep = {k: v for k, v in os.environ.items() if not k.startswith("SILODNS_")}
        self.environment = keep | {"SILODNS_PORT": str(self.port)} | settings
        self.directory = REPO
        self.extra = []  # containers of a test's own

    def __call__(self, *words, **more):
        return run("docker", "compose", "-p", self.project, "--profile", "demo", *words, cwd=self.directory, env=self.environment, **more)

    def up(self, *services):
        self("up", "-d", *services)

    def container(self, service):
        return self("ps", "-a", "-q", service).stdout.strip()

    def inspect(self, service, template):
        return run("docker", "inspect", "-f", template, self.container(service)).stdout.strip()

    def health(self, service):
        return self.inspect(service, "{{.State.Health.Status}}")

    def logs(self, service):
        done = self("logs", "--no-color", service)
        return done.stdout + done.stderr

    def admin_password(self):
        """As the README says."""
        return self("exec", "-T", "db", "cat", "/secrets/admin-password").stdout.strip()

    def secret(self, volume, name):
        return run("docker", "run", "--rm", "-v", f"{self.project}_{volume}:/v:ro", "debian:trixie-slim", "cat", f"/v/{name}").stdout.strip()

    def request(self, method, path, body=None, password=None, user="admin"):
        return get(f"http://127.0.0.1:{self.port}{path}", method=method, body=body, user=password and (user, password))

    def ready(self):
        return self.request("GET", "/readyz")[0] == 200

    def network(self):
        return f"{self.project}_default"

    def run_container(self, *words):
        done = run("docker", "run", "-d", *words)
        self.extra.append(done.stdout.strip())
        return self.extra[-1]

    def down(self):
        if self.extra:
            run("docker", "rm", "-f", *self.extra, check=False)
        self("down", "-v", "--remove-orphans", "-t", "5", check=False)


@contextlib.contextmanager
def composed(**settings):
    compose = Compose(**settings)
    try:
        yield compose
    finally:
        compose.down()


@pytest.fixture(scope="module")
def system():
    """The default: docker compose up, no setting, no file."""
    with composed() as compose:
        started = time.monotonic()
        compose.up()
        wait_until(compose.ready, 120, "the hub")
        print(f"up after {time.monotonic() - started:.1f} s")
        yield compose


# ---- the file ----


def test_an_image_is_built_by_one_service_and_never_asked_of_a_registry():
    """Nor taken from this machine: what stands under the name may be anybody's."""
    with composed() as compose:
        services = json.loads(compose("config", "--format", "json").stdout)["services"]
        ours = {name: service for name, service in services.items() if service["image"].startswith("silodns/")}
        assert sorted(service["image"] for service in ours.values() if "build" in service) == sorted(IMAGES)
        assert {name: service["pull_policy"] for name, service in ours.items()} == {name: "build" if "build" in service else "never" for name, service in ours.items()}
        run("docker", "tag", "debian:trixie-slim", "silodns/updater")
        assert "\nsilodns-updater 0.1.0\n" in compose("run", "--rm", "--no-deps", "-T", "updater", "--version", timeout=900).stdout


# ---- .env ----


def test_the_readmes_env_file_works_as_it_stands(tmp_path):
    (block,) = re.findall(r"In `\.env`, mode 0600:\n\n((?:    .*\n)+)", (REPO / "README.md").read_text())
    (tmp_path / "env").write_text(textwrap.dedent(block))
    services = json.loads(Compose()("--env-file", str(tmp_path / "env"), "config", "--format", "json").stdout)["services"]
    for name, settings in (("updater", {"SILO": "silo1", "HOSTNAMES": "dbserver"}), ("hostsync", {"SILOS": "silo1", "HOSTNAMES": ""})):
        settings |= {"URL": "https://hub.example.net", "TOKEN": "silodns_…", "TOKEN_FILE": "", "USER": None, "PASSWORD": None}
        assert {key: services[name]["environment"][f"SILODNS_{key}"] for key in settings} == settings
    assert ("/etc", "/hosts") in {(volume["source"], volume["target"]) for volume in services["hostsync"]["volumes"]}


@pytest.mark.parametrize("service", ["api", "updater", "hostsync"])
def test_what_is_misspelt_in_the_env_file_is_told_before_anything_starts(service, tmp_path):
    for name in ("docker-compose.yml", "Dockerfile", ".dockerignore", "Makefile", "scripts", "db", "services"):
        (shutil.copytree if (REPO / name).is_dir() else shutil.copy)(REPO / name, tmp_path / name)
    (tmp_path / ".env").write_text("SILODNS_THREDS=8\n")
    with composed() as compose:
        compose.directory = tmp_path
        done = compose("up", "-d", service, check=False, timeout=900)
        assert done.returncode != 0 and "SILODNS_THREDS: unknown; did you mean SILODNS_THREADS?" in compose.logs("secrets")
        assert services(compose) == set()


# ---- the default system ----


def test_a_fresh_start_needs_no_edit_and_serves_its_admin(system):
    password = system.admin_password()
    assert len(password) == 32
    assert system.request("GET", "/silos", password=password)[0] == 200
    wait_until(lambda: system.health("api") == "healthy", 60, what="the hub's health")
    wait_until(lambda: system.health("hostsync") == "healthy", 60, what="hostsync's health")
    wait_until(lambda: system.health("updater") == "healthy", 60, what="the updater's health")


def test_the_default_updater_and_hostsync_work_end_to_end(system):
    password = system.admin_password()
    wait_until(lambda: system.request("GET", "/silos/silo1", password=password)[0] == 200, 60, what="the updater's silo")
    volume = f"{system.project}_hosts"

    def hosts():
        return run("docker", "run", "--rm", "-v", f"{volume}:/hosts:ro", "debian:trixie-slim", "cat", "/hosts/hosts", check=False).stdout

    wait_until(lambda: "updater.silo1" in hosts(), 60, what="the hosts file")


def test_a_client_holds_a_token_of_its_own_that_does_no_more_than_it_needs(system):
    wait_until(lambda: system.request("GET", "/silos/silo1", password=system.secret("updater-token", "token"), user="token")[0] == 200, 60, what="the updater's token")
    for client in ("updater", "hostsync"):
        for service in (client, f"demo-{client}"):
            config = json.loads(system("config", "--format", "json").stdout)["services"][service]
            assert [v["source"] for v in config["volumes"] if v["target"] == "/secrets"] == [f"{client}-token"]
            assert not {v["source"] for v in config["volumes"]} & {"secrets", "data"}
        token = system.secret(f"{client}-token", "token")
        changes = {"updater.silo1": 403, "other.silo1": 403} if client == "hostsync" else {"other.silo1": 403}
        (records,) = [silo["dnsrecords"] for silo in json.loads(system.request("GET", "/silos", password=token, user="token")[1])]
        for name, status in changes.items():
            body = {"dnsrecords": [*records, {"hostname": name, "ip": "192.0.2.66"}]}
            assert system.request("PUT", "/silos/silo1", body, password=token, user="token")[0] == status
        assert system.request("GET", "/users", password=token, user="token")[0] == 403
        assert system.request("PUT", "/silos/other", {"dnsrecords": []}, password=token, user="token")[0] == 403


ROOT = {"secrets", "hostsync", "demo-hostsync"}  # the volumes and the hosts file belong to root
WRITABLE = {"demo-hostsync"}  # Docker would make /etc/hosts read-only, too
CAPABILITIES = {}  # service: those that it has beside none, each with its reason in docker-compose.yml


def test_services_are_confined(system):
    """All that run, the demo's among them, as the engine has them and as the kernel has them."""
    started = set(system("ps", "-a", "--services").stdout.split())
    assert started == set(json.loads(system("config", "--format", "json").stdout)["services"]) >= {"secrets", "db", "api", "updater", "hostsync"}
    for service in started:
        inspected = json.loads(run("docker", "inspect", system.container(service)).stdout)[0]
        host = inspected["HostConfig"]
        assert host["ReadonlyRootfs"] == (service not in WRITABLE) and host["CapDrop"] == ["ALL"] and (host["CapAdd"] or []) == CAPABILITIES.get(service, []), service
        assert host["SecurityOpt"] == ["no-new-privileges:true"], f"{service}: and with it the default seccomp profile"
        assert 0 < host["PidsLimit"] <= 512 and 0 < host["Memory"] <= 1 << 30, service
        assert not host["Privileged"] and not host["Devices"] and host["PidMode"] != "host" and host["NetworkMode"] != "host" and host["IpcMode"] != "host"
        assert not [m for m in inspected["Mounts"] if m["Type"] != "volume"], service
        assert (inspected["Config"]["User"] in ("0:0", "root", "")) == (service in ROOT), service
        if inspected["State"]["Running"]:
            status = dict(line.split(":\t", 1) for line in pathlib.Path(f"/proc/{inspected['State']['Pid']}/status").read_text().splitlines() if ":\t" in line)
            assert int(status["CapEff"], 16) == 0 == int(status["CapBnd"], 16) and status["NoNewPrivs"] == "1" and status["Seccomp"] == "2", service
            assert (status["Uid"].split()[0] == "0") == (service in ROOT), service


def test_services_stay_far_from_their_limits(system):
    for service in ("db", "api", "updater", "hostsync"):
        done = run("docker", "stats", "--no-stream", "--format", "{{.MemPerc}} {{.PIDs}} {{.MemUsage}}", system.container(service))
        memory, processes, usage = done.stdout.split(maxsplit=2)
        limit = int(system.inspect(service, "{{.HostConfig.PidsLimit}}"))
        print(f"{service}: {usage.strip()}, {processes} threads of {limit}")
        assert float(memory.rstrip("%")) < 50 and int(processes) < limit / 2, service


def test_no_secret_stands_in_a_log_a_layer_or_a_list_of_processes(system, tmp_path):
    secrets_made = [system.secret("secrets", name) for name in ("admin-password", "db-password", "db-root-password")]
    assert all(len(secret) == 32 for secret in secrets_made)
    secrets_made += [system.secret(f"{client}-token", "token") for client in ("updater", "hostsync")]
    for service in ("secrets", "db", "api", "updater", "hostsync"):
        inspected = run("docker", "inspect", system.container(service)).stdout
        log = system.logs(service)
        for secret in secrets_made:
            assert secret not in log and secret not in inspected, service
    for service in ("db", "api", "updater", "hostsync"):
        processes = run("docker", "top", system.container(service), "-eo", "pid,args").stdout
        assert not [secret for secret in secrets_made if secret in processes], service
    for image in IMAGES:
        run("docker", "save", "-o", str(tmp_path / "image.tar"), image)
        everything = (tmp_path / "image.tar").read_bytes() + run("docker", "history", "--no-trunc", image).stdout.encode()
        assert not [secret for secret in secrets_made if secret.encode() in everything], image


# ---- two upstream and two downstream machines ----


GREETER = ("$SIG{TERM} = sub { exit }; my $s = IO::Socket::INET->new(LocalPort => 8000, Listen => 5, ReuseAddr => 1) or die;"
           "while (my $c = $s->accept) { print $c 'I am ', $c->sockhost; close $c }")


class Machines:
    def __init__(self, system):
        self.system, self.password = system, system.admin_password()
        client = ["-v", f"{system.project}_secrets:/secrets:ro", "--cap-drop", "ALL", "-e", "SILODNS_URL=http://api:8080", "-e", "SILODNS_USER=admin",
                  "-e", "SILODNS_PASSWORD_FILE=/secrets/admin-password", "-e", "SILODNS_ALLOW_PLAIN_HTTP=true"]
        network = ["--network", system.network(), "--init"]
        self.upstream = [system.run_container(*network, "debian:trixie-slim", "perl", "-MIO::Socket::INET", "-e", GREETER) for _ in range(2)]
        for n, container in enumerate(self.upstream):
            system.run_container(*client, "--network", f"container:{container}", "--read-only", "--tmpfs", "/state", "--restart", "always",
                                 "-e", "SILODNS_SILO=machines", "-e", f"SILODNS_HOSTNAMES=up{n}.machines", "-e", "SILODNS_SOURCE=socket",
                                 "-e", "SILODNS_ALLOW_PRIVATE=true", "-e", "SILODNS_INTERVAL=1s", "silodns/updater")
        self.downstream = [system.run_container(*network, "debian:trixie-slim", "sleep", "infinity") for _ in range(2)]
        for container in self.downstream:
            system.run_container(*client, "--network", f"container:{container}", "--tmpfs", "/state",
                                 "-e", "SILODNS_SILOS=machines", "-e", "SILODNS_INTERVAL=1s", "silodns/hostsync")

    @staticmethod
    def address(container):
        return run("docker", "inspect", "-f", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", container).stdout.strip()

    def reach(self, downstream, name):
        return run("docker", "exec", downstream, "bash", "-c", f"exec 3<>/dev/tcp/{name}/8000 && cat <&3", check=False).stdout

    def all_reach_all(self):
        wanted = [(f"up{n}.machines", f"I am {self.address(c)}") for n, c in enumerate(self.upstream)]
        return all(self.reach(d, name) == greeting for d in self.downstream for name, greeting in wanted)

    def change_address(self, container):
        before = self.address(container)
        run("docker", "network", "disconnect", self.system.network(), container)
        self.system.run_container("--network", self.system.network(), "debian:trixie-slim", "sleep", "600")  # takes the old address
        run("docker", "network", "connect", self.system.network(), container)
        assert self.address(container) != before


def test_downstream_machines_reach_upstream_machines_by_name_through_changes_and_failures(system):
    machines = Machines(system)
    wait_until(machines.all_reach_all, 60, what="all to reach all")
    started = time.monotonic()
    machines.change_address(machines.upstream[0])
    wait_until(machines.all_reach_all, 60, what="the new address")
    print(f"new address reached by all after {time.monotonic() - started:.1f} s")

    # the database is restarted in the middle: nothing acknowledged is lost
    acknowledged, stop = {}, []

    def write(n):
        i = 0
        while not stop:
            i += 1
            body = {"dnsrecords": [{"hostname": "h", "ip": f"10.{n}.{i >> 8 & 255}.{i & 255}"}]}
            if system.request("PUT", f"/silos/ledger{n}", body, machines.password)[0] in (200, 201):
                acknowledged[n] = i

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        writers = [pool.submit(write, n) for n in range(4)]
        wait_until(lambda: len(acknowledged) == 4, 60, what="acknowledged changes")
        system("restart", "-t", "10", "db")
        wait_until(system.ready, 60, what="the hub after the database's restart")
        seen = dict(acknowledged)
        wait_until(lambda: all(acknowledged[n] > seen[n] for n in seen), 60, what="changes after the restart")
        stop.append(True)
        for writer in writers:
            writer.result(30)
    for n, i in acknowledged.items():
        (record,) = json.loads(system.request("GET", f"/silos/ledger{n}", password=machines.password)[1])["dnsrecords"]
        a, b = (int(part) for part in record["ip"].split(".")[2:])
        assert a * 256 + b >= i % 65536, "an acknowledged change is missing"

    # the hub is killed, and comes back by its restart policy; an address changes while it is away
    # (through the kernel: the engine takes `docker kill` for the operator's wish and would not start it again)
    os.kill(int(system.inspect("api", "{{.State.Pid}}")), 9)
    machines.change_address(machines.upstream[1])
    wait_until(system.ready, 60, what="the hub after SIGKILL")
    wait_until(machines.all_reach_all, 60, what="all to reach all again")
    for n in acknowledged:
        assert system.request("GET", f"/silos/ledger{n}", password=machines.password)[0] == 200


def test_health_tells_the_truth_when_the_database_goes_and_comes(system):
    wait_until(lambda: system.health("api") == "healthy", 60, what="health")
    system("stop", "-t", "10", "db")
    wait_until(lambda: system.health("api") == "unhealthy", 90, "ill health")
    assert system.request("GET", "/healthz")[0] == 200
    system("start", "db")
    wait_until(lambda: system.health("api") == "healthy", 90, "health again")


# ---- each service alone ----


def services(compose):
    return set(compose("ps", "--services").stdout.split())


def test_the_hub_starts_without_the_clients(tmp_path):
    with composed() as compose:
        compose.up("db", "api")
        wait_until(compose.ready, 120, "the hub")
        assert services(compose) == {"db", "api"}


@pytest.mark.parametrize("service", ["updater", "hostsync"])
def test_a_client_starts_alone_and_goes_on_trying(service):
    with composed(SILODNS_URL="https://192.0.2.1:9", SILODNS_PASSWORD="a-users-password", SILODNS_PASSWORD_FILE="", SILODNS_USER="alice") as compose:
        compose.up(service)
        assert services(compose) == {service}
        wait_until(lambda: compose.health(service) == "unhealthy", 120, "ill health without a hub")
        assert compose.inspect(service, "{{.State.Running}} {{.RestartCount}}") == "true 0"
        assert "a-users-password" not in compose.logs(service)
        assert "SILODNS_ALLOW_PLAIN_HTTP=true" not in compose.inspect(service, "{{.Config.Env}}")


@pytest.mark.parametrize("service", ["updater", "hostsync"])
@pytest.mark.parametrize("credentials", [{"SILODNS_PASSWORD": "a-users-password", "SILODNS_PASSWORD_FILE": "", "SILODNS_USER": "alice"},
                                         {"SILODNS_TOKEN": "silodns_a", "SILODNS_TOKEN_FILE": ""}], ids=["password", "token"])
def test_a_client_sends_no_password_in_clear_to_another_machine(service, credentials):
    with composed(SILODNS_URL="http://192.0.2.1:9", **credentials) as compose:
        done = compose("run", "--rm", "--no-deps", "-T", service, "--once", check=False)
        assert done.returncode == 2 and "credentials are not sent to 192.0.2.1 over plain http" in done.stdout + done.stderr


# ---- the demo ----


def test_the_demo_shows_a_changing_address_reached_by_name_and_leaves_nothing():
    """Whatever settings its caller has."""
    with composed(SILODNS_URL="https://192.0.2.1:9", SILODNS_SILO="mine") as compose:
        environment = compose.environment | {"COMPOSE_PROJECT_NAME": compose.project}
        done = run("deploy/demo.sh", cwd=REPO, env=environment, timeout=200)
        assert done.stdout.count("downstream reaches upstream.demo: hello from") == 2
        run("deploy/demo.sh", "down", cwd=REPO, env=environment)
        for what in (["ps", "-a"], ["volume", "ls"], ["network", "ls"]):
            assert run("docker", *what, "-q", "--filter", f"label=com.docker.compose.project={compose.project}").stdout == ""
