"""Waiting out a file system in trouble: a full quota, a server that is away, a handle that went stale."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from slurm_bench.effects.clock import Clock, SystemClock
from slurm_bench.pure import storage
from slurm_bench.words.errors import StorageError

T = TypeVar("T")

_WORKED_S = 600.0
"""What lasts so long has worked before it failed; a server that is away lets one wait for minutes, too."""


def waited_out(
    act: Callable[[], T], folder: Path, patience_s: float, poll_s: float = 1.0, clock: Clock | None = None
) -> T:
    """Return what an act gives that may be done again, once the file system of its folder lets it.

    Raises:
        StorageError: it did not within the patience, counted from when it last began well; caused by the last OSError.
        OSError: another one.
    """
    clock = clock or SystemClock()
    since = None
    while True:
        began = clock.now()
        try:
            return act()
        except OSError as error:
            if not storage.is_trouble(error):
                raise
            now = clock.now()
            unbroken = (now - began).total_seconds() < min(patience_s, _WORKED_S)
            since = since if since and unbroken else now
            if (now - since).total_seconds() >= patience_s:
                raise of(error, folder, patience_s) from error
        clock.sleep(poll_s)


def of(error: OSError, folder: Path, waited_s: float = 0) -> StorageError:
    """Return what a person is told of trouble that does not pass."""
    waited = f" for {waited_s / 60:.0f} minutes" if waited_s >= 120 else f" for {waited_s:.0f} s" if waited_s else ""
    said = error.strerror or str(error)
    return StorageError(f"{error.filename or folder}: {said}{waited}; make room or mend it, then the same goes on")
