"""Folders that an untrusted program has filled: measured and removed by du and rm.

Python's own walks recurse, and a program can nest folders deeper than any recursion or path may be.
"""

import os
from pathlib import Path

from slurm_bench.effects import processes

_TIMEOUT_S = 300


class TooMuchWritten(Exception):
    """A program wrote more than it may; the message says what."""


def check_written(folder: Path, most_bytes: int, most_files: int) -> None:
    """
    Raises:
        TooMuchWritten: the folder holds more bytes on disk, or more files and folders.
    """
    if _total(folder, "--block-size=1") > most_bytes:
        raise TooMuchWritten(f"wrote more than {most_bytes / 2**30:.3g} GiB")
    if _total(folder, "--inodes") > most_files:
        raise TooMuchWritten(f"made more than {most_files} files")


def _total(folder: Path, unit: str) -> int:
    try:
        done = processes.run(["du", "--summarize", "--one-file-system", unit, str(folder)], timeout_s=_TIMEOUT_S)
    except processes.TimedOut:
        raise TooMuchWritten("made more files than can be counted") from None
    # What vanishes while it counts is an error on its way, never of the total.
    total = done.stdout.partition("\t")[0]
    return int(total) if total.isdecimal() else 0


def remove(path: Path) -> bool:
    """Remove a file or folder with all that is in it; return whether it is gone."""
    rm = ["rm", "--recursive", "--force", "--one-file-system", "--", str(path)]
    for argv in (rm, ["chmod", "--recursive", "u+rwX", "--", str(path)], rm):
        # rm follows no link; chmod would follow a first one.
        if not os.path.lexists(path) or (argv is not rm and path.is_symlink()):
            break
        try:
            processes.run(argv, timeout_s=_TIMEOUT_S)
        except processes.TimedOut:
            break
    return not os.path.lexists(path)
