import pathlib

import pytest

from engine import run


@pytest.fixture(scope="session", autouse=True)
def images():
    run("docker", "compose", "build", "-q", cwd=pathlib.Path(__file__).resolve().parents[2], timeout=900)
