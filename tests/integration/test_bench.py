"""The benchmark itself: it runs, says something of each figure, and what the load generator counts is true."""

import json
import subprocess

import pytest

from hub import BUILD, REPO, SLOW

PROGRAMS = BUILD / "bench"

pytestmark = pytest.mark.skipif(SLOW > 1 or not (PROGRAMS / "load").exists(), reason="needs make bench-build, without a sanitizer")


def bench(*words):
    done = subprocess.run([REPO / "tests/bench/run", "--seconds", "0.2", "--rounds", "1", *words], stdout=subprocess.PIPE,
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
    assert figures["GET /silos/{id}"]["at_least"] == 0.75
    assert not result["failures"]


def test_a_figure_that_is_none_is_refused():
    done = subprocess.run([REPO / "tests/bench/run", "nosuch"], stderr=subprocess.PIPE, text=True)
    assert done.returncode and "put-one" in done.stderr


def test_the_model_of_scale_comes_to_what_was_measured_and_the_document_is_what_it_says():
    done = subprocess.run([REPO / "tests/bench/scale.py", "--check"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 0, done.stderr
    document = (REPO / "docs/scale.md").read_text()
    for table in done.stdout.strip().split("\n\n"):
        assert table in document
