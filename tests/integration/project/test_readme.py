"""Nothing in README.md is untested: its examples are run against a real hub, its tables compared with the programs, its links followed."""

import os
import re
import subprocess

import pytest

from tests.lib.hub import ADMIN, REPO, clean_environment
from tests.lib.readme import BUILD, README, examples, pattern, with_generated

pytestmark = pytest.mark.readme


def test_every_example_gives_the_answer_that_stands_below_it(make_hub, database, tmp_path):
    # setting up the admin is revision 1, as in make run
    hub = make_hub(database)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "curlrc").write_text(f'user = "{":".join(ADMIN)}"\nwrite-out = "\\n"\n')
    environment = clean_environment(database.settings()) | {"PATH": f"{BUILD}:{os.environ['PATH']}"}
    found = examples(README.read_text())
    assert len(found) > 20
    for example in found:
        command = example.command.replace("127.0.0.1:8080", f"127.0.0.1:{hub.port}")
        done = subprocess.run(["bash", "-c", command], cwd=tmp_path, env=environment, timeout=60, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        said = "\n".join(line.rstrip() for line in done.stdout.splitlines()).rstrip()
        assert re.fullmatch(pattern(example.answer), said), f"README.md:{example.line}: {command}\n{said}\n{done.stderr}"


def test_every_endpoint_of_the_contract_has_an_example():
    text = (REPO / "docs" / "http.md").read_text()
    commands = [example.command for example in examples(README.read_text())]
    for path, methods in re.findall(r"^\| `(/[^`]*)` \| ([A-Z ]+) \|", text, re.M):
        address = r"127\.0\.0\.1:8080" + re.sub(r"\\{\w+\\}", r"[a-z0-9]+", re.escape(path)) + r"(?=[\s'?]|$)"
        matching = [command for command in commands if re.search(address, command)]
        assert matching, f"no example of {path}"
        for method in methods.split():
            if path != "/ping":  # its methods do the same
                shown = [c for c in matching if (f"-X {method}" in c) or (method == "GET" and "-X" not in c)]
                assert shown, f"no example of {method} {path}"


def test_the_tables_of_settings_and_exit_codes_are_those_of_the_programs():
    text = README.read_text()
    assert text == with_generated(text), "run python3 -m tests.lib.readme"
    assert text.count("| `SILODNS_") > 50


def places_of(document):
    """What a link into it may name behind the #."""
    return {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in re.findall(r"^#+ (.*)$", document.read_text(), re.M)}


def test_every_file_and_place_that_the_documents_name_exists():
    for document in (README, *sorted((REPO / "docs").glob("*.md"))):
        for target in re.findall(r"\]\(([^)]+)\)", document.read_text()):
            if not target.startswith("https://"):
                name, _, place = target.partition("#")
                file = document.parent / name if name else document
                assert file.exists(), f"{document.name}: {target}"
                assert not place or place in places_of(file), f"{document.name}: {target}"


COMPOSE = {"SILODNS_HOSTS_DIR", "SILODNS_HOSTSYNC_HOSTNAMES", "SILODNS_HOSTSYNC_INTERVAL", "SILODNS_PORT"}  # variables of docker-compose.yml alone


def test_every_setting_that_is_named_is_one():
    """In the README, the compose file, the cron table."""
    known = set(re.findall(r"`(SILODNS_[A-Z_]+)`", README.read_text().split("## Settings")[1].split("## When things fail")[0]))
    for name in re.findall(r"\bSILODNS_[A-Z_]+\b(?=[=`])", README.read_text()):
        assert name in known | COMPOSE, name


def test_compose_hands_every_setting_to_its_container():
    """By the variable of the same name, or hostsync's own where the updater has one of that name."""
    text = (REPO / "docker-compose.yml").read_text()
    parts = re.split(r"^(?:  |x-)([a-z-]+):", text, flags=re.M)
    given = {name: set(re.findall(r"^ +SILODNS_(\w+):(?=$| \$\{SILODNS_(?:HOSTSYNC_)?\1\b)", part, re.M)) for name, part in zip(parts[1::2], parts[2::2])}
    for program in ("api", "updater", "hostsync"):
        said = subprocess.run([BUILD / f"silodns-{program}", "--help=markdown"], stdout=subprocess.PIPE, text=True, check=True).stdout
        rows = [line for line in said.splitlines() if not re.search(r"\| For (user|token|secrets)\b[^|]*:? [^|]*\|$", line)]  # of a command
        settings = set(re.findall(r"`SILODNS_(\w+)`", "\n".join(rows))) - {"ONCE", "CHECK", "PRINT", "REMOVE"}  # flags of `docker compose run`
        has = given[program] | (given["client"] if program != "api" else set())
        assert settings == has, f"{program}: {sorted(settings ^ has)}"
    for name in re.findall(r"^ENV (SILODNS_\w+)", (REPO / "Dockerfile").read_text(), re.M):
        assert f" {name}:\n" not in text, f"{name}: a name without a value would take away the image's own"


def test_each_program_tolerates_the_settings_of_the_others():
    (names,) = re.findall(r"all_names\[\] = \{(.*?)\}", (REPO / "services/common/conf/conf_names.c").read_text(), re.S)
    known = set(re.findall(r'"([A-Z0-9_]+)"', names))
    for program in ("silodns-api", "silodns-updater", "silodns-hostsync"):
        said = subprocess.run([BUILD / program, "--help=markdown"], stdout=subprocess.PIPE, text=True).stdout
        assert set(re.findall(r"`SILODNS_([A-Z0-9_]+)`", said)) <= known
