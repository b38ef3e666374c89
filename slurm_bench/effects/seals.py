"""Freezing a candidate: a walk by file descriptors that follows no link, into a store named by hash.

The candidate's folder belongs to the agent, who may change it at any moment and point names anywhere. So every
part of the path is opened relative to the one before with O_NOFOLLOW, without blocking on a pipe, and what was
read through the descriptor is what is hashed and stored.
"""

import os
import re
import shutil
import stat
import tempfile
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from slurm_bench.effects import folders
from slurm_bench.pure.plain import odd_line
from slurm_bench.pure.rules import (
    LAUNCHER,
    MAX_ALL_PROGRAMS_BYTES,
    MAX_BYTES,
    MAX_DEPTH,
    MAX_FILES,
    MAX_PROGRAM_BYTES,
    PROGRAM,
    SUFFIXES,
    is_left_out,
)
from slurm_bench.pure.sealing import describe
from slurm_bench.words.errors import InfrastructureError, InvalidCandidate
from slurm_bench.words.records import Seal

REQUIRED = (LAUNCHER, PROGRAM)
RESERVED = ("sitecustomize.py", "usercustomize.py")
"""Names of what Python would run unasked."""
_MOST_LISTED = 20

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}")
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def seal(root: Path, candidate: PurePosixPath, store: Path, required: Collection[str] = REQUIRED) -> Seal:
    """Copy `root/candidate` into `store/<sha256>/`, read-only, and return what was sealed.

    What a run leaves behind is no part of it (rules.is_left_out).

    Args:
        root: a folder that only we can replace (the workspace).
        candidate: relative path below root, each part a plain name.
        store: folder of seals, outside every mount of the agent.
        required: files without which it is nothing.

    Raises:
        InvalidCandidate: naming the file and what is wrong with it.
    """
    contents = _read(root, candidate, _Room(leaves_out=is_left_out))
    _check(candidate, contents, required)
    sealed = describe(contents)
    _keep(store, sealed, contents)
    return sealed


def left_out(root: Path, candidate: PurePosixPath) -> tuple[str, ...]:
    """Return what of `root/candidate` is there and is no part of it, at most so many names; () if it cannot be read."""
    room = _Room(leaves_out=is_left_out)
    with suppress(OSError, InvalidCandidate):
        _read(root, candidate, room)
    return tuple(sorted(room.passed_over)[:_MOST_LISTED])


def _check(candidate: PurePosixPath, contents: dict[str, tuple[int, bytes]], required: Collection[str]) -> None:
    taken = sorted({PurePosixPath(name).parts[0] for name in contents} & set(RESERVED))
    if taken:
        raise InvalidCandidate(f"{candidate}: {' and '.join(taken)} may not be brought along")
    large = [name for name, (_, data) in contents.items() if name.endswith(".py") and len(data) > MAX_PROGRAM_BYTES]
    if large:
        raise InvalidCandidate(f"{large[0]}: a Python file may have {MAX_PROGRAM_BYTES // 2**10} KiB")
    programs = sum(len(data) for name, (_, data) in contents.items() if name.endswith(".py"))
    if programs > MAX_ALL_PROGRAMS_BYTES:
        raise InvalidCandidate(f"{candidate}: Python files may have {MAX_ALL_PROGRAMS_BYTES // 2**10} KiB together")
    missing = [name for name in required if name not in contents]
    if missing:
        raise InvalidCandidate(f"{candidate}: {' and '.join(missing)} missing")
    for name, (_, data) in contents.items():
        _check_text(name, data)


def _check_text(name: str, data: bytes) -> None:
    try:
        line = odd_line(data.decode())
    except UnicodeDecodeError:
        raise InvalidCandidate(f"{name}: not UTF-8; save it as that") from None
    if line:
        raise InvalidCandidate(f"{name}, line {line}: a control character or one that shows nothing; take it out")


def read_tree(root: Path, candidate: PurePosixPath) -> dict[str, tuple[int, bytes]]:
    """Mode and bytes of every file below `root/candidate` by relative name, without __pycache__, which is made anew."""
    return _read(root, candidate, _Room())


def _read(root: Path, candidate: PurePosixPath, room: "_Room") -> dict[str, tuple[int, bytes]]:
    for part in candidate.parts:
        _check_name(part, str(candidate))
    with _opened_folder(root, candidate) as folder:
        return {name: (mode, data) for name, mode, data in _walk(folder, PurePosixPath(), room)}


def load(store: Path, sealed: Seal) -> dict[str, str]:
    """Return the sealed files' text by name, line ends as they are; bytes that are no UTF-8 are replaced."""
    folder = store / sealed.sha256
    return {file.path: (folder / file.path).read_bytes().decode("utf-8", "replace") for file in sealed.files}


def verify(folder: Path, sealed: Seal) -> None:
    """
    Raises:
        InfrastructureError: the stored bytes are not what was sealed.
    """
    try:
        contents = read_tree(folder.parent, PurePosixPath(folder.name))
    except (OSError, InvalidCandidate) as error:
        raise InfrastructureError(f"seal {sealed.sha256[:12]} cannot be read: {error}") from None
    if describe(contents).sha256 != sealed.sha256:
        raise InfrastructureError(f"seal {sealed.sha256[:12]} in {folder} was changed after it was taken")


@contextmanager
def _opened_folder(root: Path, candidate: PurePosixPath) -> Iterator[int]:
    handle = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for part in candidate.parts:
            try:
                inner = os.open(part, _FOLDER, dir_fd=handle)
            except OSError:
                raise InvalidCandidate(f"{candidate}: {part} is not a folder here (or is a link)") from None
            os.close(handle)
            handle = inner
        yield handle
    finally:
        os.close(handle)


@dataclass
class _Room:
    """What may still be read of a candidate, and what is passed over."""

    entries: int = MAX_FILES
    bytes: int = MAX_BYTES
    leaves_out: Callable[[str], bool] = lambda path: path.rpartition("/")[2] == "__pycache__"
    passed_over: list[str] = field(default_factory=list)


def _walk(folder: int, prefix: PurePosixPath, room: _Room) -> Iterator[tuple[str, int, bytes]]:
    """Files below an open folder, depth first."""
    if len(prefix.parts) > MAX_DEPTH:
        raise InvalidCandidate(f"{prefix}: folders nest deeper than {MAX_DEPTH}")
    names = _names(folder, prefix, room)
    if not names:
        raise InvalidCandidate(f"{prefix if prefix.parts else 'the folder'} is empty")
    for name in names:
        path = prefix / name
        _check_name(name, str(path))
        if _is_folder(name, folder, path):
            inner = _open(name, _FOLDER, folder, path)
            try:
                yield from _walk(inner, path, room)
            finally:
                os.close(inner)
        else:
            handle = _open(name, _FILE, folder, path)
            try:
                yield str(path), *_read_file(handle, path, room)
            finally:
                os.close(handle)


def _names(folder: int, prefix: PurePosixPath, room: _Room) -> list[str]:
    names = []
    with os.scandir(folder) as entries:
        for entry in entries:
            room.entries -= 1
            if room.entries < 0:
                raise InvalidCandidate(f"{prefix}: the candidate has more than {MAX_FILES} files and folders")
            if room.leaves_out(str(prefix / entry.name)):
                room.passed_over.append(str(prefix / entry.name))
            else:
                names.append(entry.name)
    return sorted(names)


def _is_folder(name: str, folder: int, path: PurePosixPath) -> bool:
    try:
        return stat.S_ISDIR(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode)
    except OSError:
        raise InvalidCandidate(f"{path}: the file went away while it was read") from None


def _open(name: str, flags: int, folder: int, path: PurePosixPath) -> int:
    try:
        return os.open(name, flags, dir_fd=folder)
    except OSError:
        raise InvalidCandidate(f"{path}: links and special files are not allowed; copy what it leads to") from None


def _read_file(handle: int, path: PurePosixPath, room: _Room) -> tuple[int, bytes]:
    facts = os.fstat(handle)
    if not stat.S_ISREG(facts.st_mode) or facts.st_nlink != 1:
        raise InvalidCandidate(f"{path}: not a regular file with one name")
    if path.suffix not in SUFFIXES:
        raise InvalidCandidate(f"{path}: files may end in {' '.join(SUFFIXES)}")
    if facts.st_size > room.bytes:
        raise InvalidCandidate(f"{path}: the candidate is larger than {MAX_BYTES // 2**20} MiB")
    with os.fdopen(os.dup(handle), "rb") as stream:
        data = stream.read(room.bytes + 1)
    room.bytes -= len(data)
    if room.bytes < 0:
        raise InvalidCandidate(f"{path}: the file grew while it was read")
    return (0o755 if facts.st_mode & stat.S_IXUSR else 0o644), data


def _check_name(name: str, path: str) -> None:
    if not _NAME.fullmatch(name):
        raise InvalidCandidate(f"{path!r}: names are letters, digits, '.', '_' and '-', and no hidden files")


def _keep(store: Path, sealed: Seal, contents: dict[str, tuple[int, bytes]]) -> None:
    """Write it beside and rename it, all of it on disk when this returns: a record will name it."""
    target = store / sealed.sha256
    if target.exists():
        return
    folders.make(store)
    beside = Path(tempfile.mkdtemp(dir=store, prefix=".new-"))
    try:
        for path, (mode, data) in contents.items():
            file = beside / path
            file.parent.mkdir(parents=True, exist_ok=True)
            with file.open("wb") as stream:
                stream.write(data)
                stream.flush()
                os.fchmod(stream.fileno(), mode & 0o555)
                os.fsync(stream.fileno())
        for folder in (beside, *(path for path in beside.rglob("*") if path.is_dir())):
            folder.chmod(0o555)
            folders.sync(folder)
        _rename_unless_there(beside, target)
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise
    folders.sync(store)


def _rename_unless_there(beside: Path, target: Path) -> None:
    """Another process may have sealed the same bytes meanwhile: its folder is as good."""
    try:
        beside.rename(target)
    except OSError:
        if not target.exists():
            raise
        shutil.rmtree(beside, ignore_errors=True)
