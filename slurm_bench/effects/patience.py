"""Waiting out a file system in trouble: a full quota, a server that is away, a handle that went stale."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from slurm_bench.effects.clock import Clock, SystemClock
from slurm_bench.pure import storage
from slurm_bench.words.errors import StorageError

T = TypeVar("T")


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
            since = since if since and (now - began).total_seconds() < patience_s else now
            if (now - since).total_seconds() >= patience_s:
                raise gives_up(folder, patience_s, error) from error
        clock.sleep(poll_s)


def gives_up(folder: Path, waited_s: float, error: OSError) -> StorageError:
    """Return what a person is told of trouble that did not pass."""
    waited = f"{waited_s:.0f} s" if waited_s < 120 else f"{waited_s / 60:.0f} minutes"
    said = error.strerror or str(error)
    return StorageError(f"{error.filename or folder}: {said} for {waited}; make room or mend it, and start again")
