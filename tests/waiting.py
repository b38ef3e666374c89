"""Waiting for what has to come, on a machine that may be twenty times as slow as usual."""

import time
from collections.abc import Callable

LONG_S = 600.0
"""Only what hangs takes longer, however busy the machine is."""


def until(condition: Callable[[], object], poll_s: float = 0.05) -> None:
    """Return once the condition holds.

    Raises:
        AssertionError: it did not hold in time.
    """
    deadline = time.monotonic() + LONG_S
    while not condition():
        assert time.monotonic() < deadline, f"it did not come to hold in {LONG_S:.0f} s"
        time.sleep(poll_s)
