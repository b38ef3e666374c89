"""Waiting for a condition, by a deadline that a hang misses and a busy machine does not."""

import time
from collections.abc import Callable

LONGEST_S = 600.0
Condition = Callable[[], bool]


def until(condition: Condition, longest_s: float = LONGEST_S, every_s: float = 0.1) -> None:
    """Return once the condition holds.

    Raises:
        AssertionError: it did not hold in time.
    """
    deadline = time.monotonic() + longest_s
    while not condition():
        assert time.monotonic() < deadline, f"this did not come in {longest_s:.0f} s"
        time.sleep(every_s)
