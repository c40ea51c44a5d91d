"""Malformed HTTP, a few thousand requests of another seed each time; make fuzz-http sends a hundred thousand."""

import secrets

from tests.fuzz import blackbox
from tests.lib.hub import BUILD

REQUESTS = 1500 if BUILD.name == "asan" else 800


def test_malformed_requests_are_refused_and_the_hub_stays_well(make_hub, database):
    seed = secrets.token_hex(4)
    print(f"seed {seed}: python3 -m tests.fuzz.blackbox --seed {seed} --only NUMBER")
    hub = make_hub(database, LOG_LEVEL="info", IDLE_TIMEOUT=blackbox.IDLE_TIMEOUT)
    print(blackbox.attack(hub, seed, REQUESTS))
