"""Locks between processes: one desk a session, one writer of a ledger.

By itself, so that what only reads and writes records starts without filelock.
"""

import errno
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import filelock

from slurm_bench.effects import folders
from slurm_bench.words.errors import StorageError, UsageError

_WITHOUT_LOCKS = frozenset({errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK})
"""What flock says where there is none, e.g. on Lustre or NFS as some sites mount them."""


@contextmanager
def lock(path: Path, busy: str | None = None, patience_s: float = 0) -> Iterator[None]:
    """Hold the lock file at path, as the only process; the kernel frees it when its holder dies.

    Raises:
        UsageError: with the text `busy`, if one is given and another process holds the lock for patience_s.
        StorageError: the file system has no such locks.
    """
    folders.make(path.parent)
    try:
        held = _acquired(path, -1 if busy is None else patience_s)
    except filelock.Timeout:
        raise UsageError(busy or f"{path} is locked") from None
    with held:
        yield


def is_held(path: Path) -> bool:
    """Return whether anybody, this process too, holds the lock file at path.

    Raises:
        StorageError: the file system has no locks.
    """
    try:
        with _acquired(path, 0):
            return False
    except filelock.Timeout:
        return True


def _acquired(path: Path, timeout_s: float) -> AbstractContextManager[object]:
    """A lock that is held."""
    try:
        return _file_lock(path).acquire(timeout=timeout_s)
    except OSError as error:
        if error.errno not in _WITHOUT_LOCKS:
            raise
        remedy = "take a folder that has them, or have it mounted with them (Lustre: -o flock)"
        said = f"{path.parent}: no locks between processes there (flock: {error.strerror}); {remedy}"
        raise StorageError(said) from None


def _file_lock(path: Path) -> filelock.BaseFileLock:
    """Never a file that only marks it, which a holder that is killed would leave for ever.

    In a shared folder it is the group's, whatever the umask: who takes a lock opens its file for writing.
    """
    if folders.is_shared(path.parent):
        return filelock.FileLock(path, mode=0o660, fallback_to_soft=False)
    return filelock.FileLock(path, fallback_to_soft=False)
