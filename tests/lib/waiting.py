"""For what takes its time: never a sleep."""

import time


def wait_until(condition, timeout=15, what="the condition"):
    """What is true in the end. `what`: words for the error, or a function that says them then."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        result = condition()
        if result:
            return result
        time.sleep(0.01)
    raise AssertionError(f"{what() if callable(what) else what} did not come true within {timeout} s")
