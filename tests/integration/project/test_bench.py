"""The benchmark itself: it runs, says something of each figure, and what the load generator counts is true."""

import json
import subprocess

import pytest

from tests.lib.fakehub import FakeHub, Scripted
from tests.lib.hub import BUILD, REPO, SLOW

PROGRAMS = BUILD / "bench"

pytestmark = pytest.mark.skipif(SLOW > 1 or not (PROGRAMS / "load").exists(), reason="needs make bench-build, without a sanitizer")


def bench(*words):
    done = subprocess.run(["/usr/bin/python3", "-m", "tests.bench", "--seconds", "0.5", "--rounds", "1", *words], cwd=REPO, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, timeout=150)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout, json.loads((PROGRAMS / "result.json").read_text())


def test_each_figure_comes_with_its_ceiling_their_ratio_and_a_verdict():
    table, result = bench("get", "put", "put-one", "hosts")
    figures = {row["figure"]: row for row in result["figures"]}
    assert len(figures) >= 8
    for name, row in figures.items():
        assert name in table
        assert row["value"] > 0 and row["ceiling"] > 0 and row["ratio"] > 0, row
    assert figures["GET /silos/{id}"]["at_least"] == 0.9
    assert not result["failures"]


def test_a_figure_that_is_none_is_refused():
    done = subprocess.run(["/usr/bin/python3", "-m", "tests.bench", "nosuch"], cwd=REPO, stderr=subprocess.PIPE, text=True)
    assert done.returncode and "put-one" in done.stderr


def generator(name, hub, **options):
    words = [word for option, value in options.items() for word in (f"--{option.replace('_', '-')}", str(value))]
    return subprocess.Popen([PROGRAMS / name, "--port", str(hub.port), *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def finish(process):
    """Tells it that it is enough; its last line."""
    out, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    return json.loads(out.splitlines()[-1])


def document():
    return json.dumps({"id": "s0000000", "dnsrecords": [{"hostname": "a.example.net", "ip": "10.0.0.1"}]}, separators=(",", ":"))


def test_clients_on_a_network_tell_what_failed_from_what_was_sent_again():
    """A connection that had an answer before may be found closed, once; a new one may not."""
    with FakeHub() as hub:
        answer, closed = Scripted(body=document(), path="/silos/s0000000"), Scripted(drop=True)
        hub.script = [answer, closed, answer, closed, closed, answer, Scripted(503, body="{}"), Scripted(body=document().replace("s0000000", "s0000001"))]
        hub.rules = [answer]
        load = generator("load", hub, mode="mixed", rate=100, connections=1, patient=1, duration_ms=0, warmup_ms=0, first_change=1)
        hub.wait_for_requests(30)
        result = finish(load)
        asked = [request.method for request in hub.requests]
    later_puts = asked.count("PUT") - 1  # they are told of the first one's address
    assert later_puts >= 2
    assert (result["sent_again"], result["unexpected"]) == (2, 3 + later_puts), result
    assert "end of file" in result["first_unexpected"]
    answered = len(asked) - result["sent_again"] - 1
    assert answered - 1 <= result["answers"] <= answered  # the last answer may have come when it was enough
