from tests.lib.fixtures import *  # noqa: F403
