"""Runs a program as a user without rights, from where that user can reach it."""

import os
import pathlib
import shutil
import tempfile

import pytest

from tests.lib.hub import BUILD

NOBODY = 65534


class Nobody:
    def __init__(self):
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="silodns-nobody-"))
        self.directory.chmod(0o755)
        self.user = NOBODY if os.geteuid() == 0 else os.geteuid()

    def command(self, program, *words):
        copy = self.directory / program
        if not copy.exists():
            shutil.copy(BUILD / program, copy)
            copy.chmod(0o755)
        become = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"] if os.geteuid() == 0 else []
        return [*become, str(copy), *words]


@pytest.fixture
def nobody():
    made = Nobody()
    yield made
    shutil.rmtree(made.directory)
