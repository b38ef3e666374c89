"""What an untrusted program has written, copied for whoever may read it: plain files under plain names, and no more.

Nothing is followed and nothing waited for: a link, a pipe, or a file with a second name is passed over.
"""

import os
import re
import stat
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_CHUNK = 2**20
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@dataclass(frozen=True)
class Limits:
    """What is copied at most."""

    files: int = 1000
    bytes: int = 256 * 2**20
    depth: int = 6
    """Folders within folders."""


@dataclass(frozen=True)
class Copied:
    files: int
    passed_over: int
    """Files and folders that were not copied."""


def copy(source: Path, target: Path, without: Collection[str] = (), limits: Limits = Limits()) -> Copied:
    """Copy the files below `source` to the same places below `target`, smaller files of a folder first.

    Args:
        target: a folder that is not there yet, or is empty.
        without: names directly in `source` that are no part of what was written.

    Raises:
        OSError: the source cannot be read at all, or the target not be written.
    """
    files = size = passed_over = 0

    def note_unread(_: OSError) -> None:
        nonlocal passed_over
        passed_over += 1

    target.mkdir(parents=True, exist_ok=True)
    for here, folders, names, handle in os.fwalk(source, onerror=note_unread):
        inside = Path(here).relative_to(source)
        ours = () if inside.parts else without
        theirs = [name for name in folders if name not in ours]
        folders[:] = [name for name in theirs if _NAME.fullmatch(name) and len(inside.parts) < limits.depth]
        passed_over += len(theirs) - len(folders)
        for name in sorted(set(names).difference(ours), key=lambda each: (_size(each, handle), each)):
            room = limits.bytes - size if files < limits.files else -1
            copied = _copy_file(name, handle, target / inside / name, room)
            if copied is None:
                passed_over += 1
            else:
                files, size = files + 1, size + copied
    return Copied(files, passed_over)


def _size(name: str, folder: int) -> int:
    with suppress(OSError):
        return os.stat(name, dir_fd=folder, follow_symlinks=False).st_size
    return 0


def _copy_file(name: str, folder: int, target: Path, room: int) -> int | None:
    """Return the bytes that were copied; None where it is no plain file, or larger than the room."""
    if not _NAME.fullmatch(name):
        return None
    try:
        handle = os.open(name, _FILE, dir_fd=folder)
    except OSError:
        return None
    with os.fdopen(handle, "rb") as stream:
        facts = os.fstat(handle)
        if not stat.S_ISREG(facts.st_mode) or facts.st_nlink != 1 or facts.st_size > room:
            return None
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("wb") as copy_of:
            return _copy_bytes(stream, copy_of, facts.st_size)


def _copy_bytes(stream: IO[bytes], copy_of: IO[bytes], most: int) -> int:
    """Return how many: a file that somebody still writes may end sooner, or never."""
    copied = 0
    while chunk := stream.read(min(_CHUNK, most - copied)):
        copied += copy_of.write(chunk)
    return copied
