"""Malformed HTTP, a few thousand requests of another seed each time; make fuzz-http sends a hundred thousand."""

import pathlib
import secrets
import sys

from hub import BUILD

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "fuzz"))

import blackbox  # noqa: E402

REQUESTS = 1500 if BUILD.name == "asan" else 800


def test_malformed_requests_are_refused_and_the_hub_stays_well(make_hub, database):
    seed = secrets.token_hex(4)
    print(f"seed {seed}: tests/fuzz/blackbox.py --seed {seed} --only NUMBER")
    hub = make_hub(database, LOG_LEVEL="info", IDLE_TIMEOUT=blackbox.IDLE_TIMEOUT)
    print(blackbox.attack(hub, seed, REQUESTS))
