"""SECURITY.md names the tests that prove it: they exist, and every row has one."""

import re

import pytest

from tests.lib.hub import REPO

pytestmark = pytest.mark.readme
TEXT = (REPO / "SECURITY.md").read_text()
NAMED_TEST = re.compile(r"`([\w/]+\.py)::(\w+)`")
NAMED = NAMED_TEST.findall(TEXT)


def rows(heading):
    """The cells of the table below a heading, without its two lines of head."""
    part = TEXT[TEXT.index(f"\n## {heading}\n"):].split("\n## ")[1]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in part.splitlines() if line.startswith("|")][2:]


def test_every_test_that_is_named_exists():
    assert len(NAMED) > 40
    for file, name in NAMED:
        assert re.search(rf"^def {name}\(", (REPO / "tests" / file).read_text(), re.M), f"{file}::{name}"


def test_every_test_file_that_the_limits_name_exists():
    named = set(re.findall(r"test_\w+\.(?:py|c)\b", (REPO / "docs/limits.md").read_text()))
    assert len(named) > 10 and named <= {path.name for path in (REPO / "tests").rglob("test_*.*")}


def test_make_check_runs_a_test_of_each_promise():
    for number, _, tests in rows("Promises"):
        sources = [(REPO / "tests" / file).read_text() for file, _ in NAMED_TEST.findall(tests)]
        marked = {name for source in sources for name in re.findall(rf"^@pytest\.mark\.promise\({number}\)\n(?:[@ \])].*\n)*def (\w+)\(", source, re.M)}
        assert marked & {name for _, name in NAMED_TEST.findall(tests)}, f"promise {number}: none of its tests is marked promise({number})"


def test_every_row_of_the_threat_model_and_every_promise_names_its_test():
    model, promises = rows("Who is trusted with what"), rows("Promises")
    assert len(model) >= 15 and [int(row[0]) for row in promises] == list(range(1, 11))
    for row in model + promises:
        assert re.search(r"`[\w/]+\.py::test_\w+`", row[-1]), row
    named = " ".join(row[0] for row in model)
    for who in ("stranger", "admin", "user", "updater", "hostsync", "hub", "proxy", "database"):
        assert who in named
