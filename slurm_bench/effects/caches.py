"""Compile caches that an untrusted program has filled: packed as warily as a candidate is sealed, and unpacked.

Only what lies there under a plain name as a regular file is packed; a link, a pipe or a folder without end is refused.
"""

import hashlib
import os
import re
import shutil
import stat
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, NoReturn

from slurm_bench.effects import store
from slurm_bench.effects.folders import make
from slurm_bench.words.errors import InfrastructureError
from slurm_bench.words.trials import Caches

_NAME = re.compile(r"[A-Za-z0-9_.][A-Za-z0-9_.+=@,~-]{0,254}")
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_LATEST = 2**32
"""Seconds since 1970 that every file system takes."""
_LEVEL = 1
"""Of compression: the higher ones take longer than the node's network would."""


class RefusedCaches(Exception):
    """They are not kept; the message says why."""


@dataclass(frozen=True)
class Limits:
    """What is kept at most; a human record's caches take 2,800 files and 0.45 GB."""

    files: int = 50_000
    bytes: int = 4 * 2**30
    depth: int = 12
    """Folders within folders."""


def pack(folder: Path, archive: Path, limits: Limits = Limits()) -> Caches:
    """Write all files below a folder into an archive, in the order of their names, under its name once it is whole.

    Raises:
        RefusedCaches: too many files, too many bytes, or something else than files in folders.
    """
    try:
        return _pack(folder, archive, limits)
    except OSError as error:
        raise RefusedCaches(f"they cannot be read or kept: {error}") from None


def _pack(folder: Path, archive: Path, limits: Limits) -> Caches:
    make(archive.parent)
    for begun in archive.parent.glob(f".{archive.name}.*"):
        begun.unlink()  # by a run that was killed: an archive's name is one job's alone
    handle, name = tempfile.mkstemp(dir=archive.parent, prefix=f".{archive.name}.")
    beside = Path(name)
    try:
        with os.fdopen(handle, "wb") as stream, tarfile.open(fileobj=stream, mode="w:gz", compresslevel=_LEVEL) as tar:
            files, size = _add_all(folder, tar, limits)
        sha256 = _sha256(beside)
        beside.chmod(0o444)
        store.settle(beside, archive)
    finally:
        beside.unlink(missing_ok=True)
    return Caches(archive=str(archive), sha256=sha256, files=files, bytes=size)


def _add_all(folder: Path, tar: tarfile.TarFile, limits: Limits) -> tuple[int, int]:
    files = size = 0
    for path, parent, name in _files(folder, limits.depth):
        with os.fdopen(os.open(name, _FILE, dir_fd=parent), "rb") as stream:
            seen = os.fstat(stream.fileno())
            if not stat.S_ISREG(seen.st_mode) or seen.st_nlink != 1:
                raise RefusedCaches(f"{path} is no regular file with one name")
            files, size = files + 1, size + seen.st_size
            if files > limits.files or size > limits.bytes:
                raise RefusedCaches(f"more than {limits.files:,} files or {limits.bytes / 2**30:g} GiB")
            member = tarfile.TarInfo(path)
            member.size, member.mtime = seen.st_size, min(max(0, int(seen.st_mtime)), _LATEST)
            member.mode = 0o755 if seen.st_mode & stat.S_IXUSR else 0o644
            tar.addfile(member, stream)
    return files, size


def _files(folder: Path, deepest: int) -> Iterator[tuple[str, int, str]]:
    """Relative path of each file, its open folder, and its name there; a link to one is refused when it is opened."""
    for here, folders, files, handle in os.fwalk(folder, onerror=_stop):
        inside = here.removeprefix(str(folder)).lstrip("/")
        folders.sort()
        for name in (*folders, *files):
            if not _NAME.fullmatch(name):
                raise RefusedCaches(f"a file is called {name[:80]!r}")
        for name in folders:
            if not stat.S_ISDIR(os.stat(name, dir_fd=handle, follow_symlinks=False).st_mode):
                raise RefusedCaches(f"{inside}/{name} is a link".lstrip("/"))
        if folders and len(Path(inside).parts) >= deepest:
            raise RefusedCaches(f"folders nest deeper than {deepest}")
        for name in sorted(files):
            yield f"{inside}/{name}".lstrip("/"), handle, name


def _stop(error: OSError) -> NoReturn:
    """A folder that cannot be read is not left out: what is packed is all or nothing."""
    raise error


def unpack(caches: Caches, folder: Path) -> None:
    """Write the archive's files into an empty folder.

    Raises:
        InfrastructureError: the archive is not as it was packed.
    """
    archive = Path(caches.archive)
    if not is_whole(caches):
        raise InfrastructureError(f"the caches in {archive} are not as they were packed")
    with tarfile.open(archive, mode="r:gz") as tar:
        for member in tar:
            _write(member, tar.extractfile(member), folder / member.name)


def _write(member: tarfile.TarInfo, content: IO[bytes] | None, path: Path) -> None:
    """tarfile's own filters are in Python 3.11.4 and later; what is packed needs none."""
    if content is None:
        raise InfrastructureError(f"the caches have {member.name} in them, which is no file")
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("xb") as stream:
        shutil.copyfileobj(content, stream)
    path.chmod(member.mode)
    os.utime(path, (member.mtime, member.mtime))


def is_whole(caches: Caches) -> bool:
    """Return whether the archive is there, with the bytes that were packed."""
    try:
        return _sha256(Path(caches.archive)) == caches.sha256
    except OSError:
        return False


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
