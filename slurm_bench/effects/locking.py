"""Locks between processes: one desk a session, one writer of a ledger.

By itself, so that what only reads and writes records starts without filelock.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import filelock

from slurm_bench.effects import folders
from slurm_bench.words.errors import UsageError


@contextmanager
def lock(path: Path, busy: str | None = None, patience_s: float = 0) -> Iterator[None]:
    """Hold the lock file at path, as the only process; the kernel frees it when its holder dies.

    Raises:
        UsageError: with the text `busy`, if one is given and another process holds the lock for patience_s.
    """
    folders.make(path.parent)
    try:
        with _file_lock(path).acquire(timeout=-1 if busy is None else patience_s):
            yield
    except filelock.Timeout:
        raise UsageError(busy or f"{path} is locked") from None


def is_held(path: Path) -> bool:
    """Return whether anybody, this process too, holds the lock file at path."""
    try:
        with _file_lock(path).acquire(timeout=0):
            return False
    except filelock.Timeout:
        return True


def _file_lock(path: Path) -> filelock.BaseFileLock:
    """In a shared folder the group's, whatever the umask: who takes a lock opens its file for writing."""
    return filelock.FileLock(path, mode=0o660) if folders.is_shared(path.parent) else filelock.FileLock(path)
