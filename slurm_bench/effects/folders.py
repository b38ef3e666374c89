"""Folders of several users: how they are made, who owns what, and what one of them may do there.

A folder whose owner made it group-writable with setgid (`chmod g+ws`) is shared: what is made in it is made the same
way, whatever the maker's umask. In any other folder the umask alone decides, so that a session that its user began with
umask 077 stays his.
"""

import os
import pwd
import stat
from collections.abc import Iterable
from contextlib import suppress
from itertools import takewhile
from pathlib import Path

from slurm_bench.words.campaigns import REMEDY
from slurm_bench.words.errors import UsageError

_SHARED = stat.S_ISGID | stat.S_IWGRP


def make(folder: Path) -> None:
    """Make a folder and those above it where they are missing, on disk, and each shared if the one above it is."""
    missing = list(takewhile(lambda each: not os.path.lexists(each), (folder, *folder.parents)))
    for each in reversed(missing):
        with suppress(FileExistsError):
            each.mkdir()
            if is_shared(each.parent):
                each.chmod(stat.S_IMODE(each.stat().st_mode) | stat.S_ISGID | stat.S_IRWXG)
            sync(each.parent)


def sync(folder: Path) -> None:
    """Put the names in a folder on disk."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def make_own(folder: Path) -> None:
    """Make a folder in which nobody else writes, also where the one above it is shared."""
    make(folder.parent)
    folder.mkdir(mode=0o755, exist_ok=True)


def is_shared(folder: Path) -> bool:
    """Return whether all of a folder's group make files in it, which are the group's too."""
    return folder.stat().st_mode & _SHARED == _SHARED


def owner(path: Path) -> str:
    """Return the name of the user that a file or folder belongs to, or his number where he has none."""
    number = path.stat().st_uid
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"user {number}"


def is_ours(path: Path) -> bool:
    """Return whether a file or folder is this user's own, who may end what belongs to it; root may end everything."""
    return os.geteuid() in (0, path.stat().st_uid)


def may_read(path: Path) -> bool:
    """Return whether this user may read a file, or list and enter a folder; what is not there hides nothing."""
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return True
    except PermissionError:
        return False
    return os.access(path, os.R_OK | os.X_OK if stat.S_ISDIR(mode) else os.R_OK)


def may_write(folder: Path) -> bool:
    """Return whether this user may make files in a folder, or it where it is missing."""
    return os.access(_there(folder), os.W_OK | os.X_OK)


def refuse_unwritable(folder: Path, what: str) -> None:
    """
    Args:
        what: names the folder, for people.

    Raises:
        UsageError: this user may not make files in it; whom he has to ask for what.
    """
    if not may_write(folder):
        whose = owner(there := _there(folder))
        raise UsageError(
            f"{what}: {there} is {whose}'s, and you may not write there: ask {whose} for chmod g+ws {there}"
        )


def _there(folder: Path) -> Path:
    """The folder, or the nearest one above it that this user can see."""
    return next(each for each in (folder, *folder.parents) if os.path.lexists(each))


def closed(paths: Iterable[Path]) -> Path | None:
    """Return what keeps this user from reading one of these: a folder above it that he may not enter, or itself."""
    for path in paths:
        if not may_read(path):
            return next((each for each in reversed(path.parents) if not os.access(each, os.X_OK)), path)
    return None


def refuse_closed(path: Path, what: str) -> None:
    """
    Args:
        what: lies there, for people.

    Raises:
        UsageError: this user may not read it; whom he has to ask for what.
    """
    if by := closed([path]):
        raise UsageError(f"{what} may not be read by you: {by} is {owner(by)}'s; ask {owner(by)} for {REMEDY} {by}")
