"""Waiting out a file system in trouble: a full quota, a server that is away, a handle that went stale."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from slurm_bench.effects.clock import Clock, SystemClock
from slurm_bench.pure import storage
from slurm_bench.words.errors import StorageError

T = TypeVar("T")


@dataclass(frozen=True)
class Waiting:
    """How long trouble is waited out."""

    patience_s: float
    poll_s: float = 1.0
    works_s: float = math.inf
    """An act that lasts so long has worked before it failed, and the patience begins anew."""


def of_waits(patience_s: float, poll_s: float) -> Waiting:
    """Return it for an act that itself mostly waits; a server that is away lets one wait for minutes, too."""
    return Waiting(patience_s, poll_s, works_s=600.0)


def waited_out(act: Callable[[], T], folder: Path, waiting: Waiting, clock: Clock | None = None) -> T:
    """Return what an act gives that may be done again, once the file system of its folder lets it.

    Raises:
        StorageError: it did not within the patience; caused by the last OSError.
        OSError: another one.
    """
    clock = clock or SystemClock()
    since: datetime | None = None
    while True:
        began = clock.now()
        try:
            return act()
        except OSError as error:
            if not storage.is_trouble(error):
                raise
            now = clock.now()
            worked = (now - began).total_seconds() >= waiting.works_s
            since = now if worked else since or began
            if (now - since).total_seconds() >= waiting.patience_s:
                raise of(error, folder, waiting.patience_s) from error
        clock.sleep(waiting.poll_s)


def of(error: OSError, folder: Path, waited_s: float = 0) -> StorageError:
    """Return what a person is told of trouble that does not pass."""
    waited = f" for {waited_s / 60:.0f} minutes" if waited_s >= 120 else f" for {waited_s:.0f} s" if waited_s else ""
    said = error.strerror or str(error)
    return StorageError(f"{error.filename or folder}: {said}{waited}; make room or mend it, then the same goes on")
