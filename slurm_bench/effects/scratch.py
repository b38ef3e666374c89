"""Folders that an untrusted program has filled: measured and removed by du and rm.

Python's own walks recurse, and a program can nest folders deeper than any recursion or path may be.
"""

import os
from contextlib import suppress
from pathlib import Path

from slurm_bench.effects import processes
from slurm_bench.words.errors import InfrastructureError

_COUNT_S = 20.0
_REMOVE_S = 300.0


def folder(configured: str) -> Path:
    """The node's folder that `cluster.scratch` names, with the job's variables in it.

    Raises:
        InfrastructureError: a variable that this job lacks.
    """
    named = os.path.expandvars(configured)
    if "$" in named:
        raise InfrastructureError(f"cluster.scratch: this job lacks a variable of {configured}")
    return Path(named)


class TooMuchWritten(Exception):
    """A program wrote more than it may, or hides what it writes; the message says what."""


class Quota:
    """What may be written into a folder while a program runs.

    Args:
        alone: whether nobody else writes to this file system, so that what vanishes of its free space counts too:
            a file that was removed while it is open is in no folder.
    """

    def __init__(self, folder: Path, most_bytes: int, most_files: int, alone: bool) -> None:
        self._folder = folder
        self._most_bytes = most_bytes
        self._most_files = most_files
        self._least_free = _free(folder) - most_bytes if alone else 0

    def check(self) -> None:
        """
        Raises:
            TooMuchWritten: more bytes, or more files and folders, than the quota allows.
        """
        if _total(self._folder, "--block-size=1") > self._most_bytes or _free(self._folder) < self._least_free:
            raise TooMuchWritten(f"wrote more than {self._most_bytes / 2**30:.3g} GiB")
        if _total(self._folder, "--inodes") > self._most_files:
            raise TooMuchWritten(f"made more than {self._most_files} files")


def files_in(folder: Path) -> int:
    """Return how many files and folders there are in a folder that a program has filled.

    Raises:
        TooMuchWritten: they cannot be counted.
    """
    return max(0, _total(folder, "--inodes") - 1)


def _free(folder: Path) -> int:
    facts = os.statvfs(folder)
    return facts.f_bavail * facts.f_frsize


def _total(folder: Path, unit: str) -> int:
    argv = ["env", "LC_ALL=C", "du", "--summarize", "--one-file-system", unit, str(folder)]
    try:
        done = processes.run(argv, timeout_s=_COUNT_S)
    except processes.TimedOut:
        raise TooMuchWritten("made more files than can be counted") from None
    if "Permission denied" in done.stderr:
        raise TooMuchWritten("wrote into folders that nobody may read")
    # What vanishes while du counts is an error on its way, never of the total.
    total = done.stdout.partition("\t")[0]
    return int(total) if total.isdecimal() else 0


def remove(path: Path, longest_s: float = _REMOVE_S) -> bool:
    """Remove a file, link or folder with all that is in it, following no link; return whether it is gone."""
    with suppress(OSError):
        path.unlink()
    if os.path.lexists(path):
        _run("rm", "--recursive", "--force", "--one-file-system", "--", str(path), longest_s=longest_s)
    return not os.path.lexists(path)


def remove_locked(folder: Path) -> None:
    """Remove a folder of ours in which nobody works any more, whatever permissions were left in it."""
    if not remove(folder):
        _run("chmod", "--recursive", "u+rwX", "--", str(folder))
        remove(folder)


def _run(*argv: str, longest_s: float = _REMOVE_S) -> None:
    with suppress(processes.TimedOut):
        processes.run(argv, timeout_s=longest_s)
