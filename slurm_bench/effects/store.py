"""Records on disk: written beside and renamed, so that a reader sees the old one, the new one or none."""

import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from slurm_bench.effects import folders
from slurm_bench.words.errors import BenchError
from slurm_bench.words.records import Record

R = TypeVar("R", bound=Record)


def write(path: Path, record: Record) -> None:
    write_text(path, record.model_dump_json(indent=1) + "\n")


def write_text(path: Path, text: str) -> None:
    """Durable and atomic: on disk under its name when this returns."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """The same for what is no text."""
    folders.make(path.parent)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    beside = Path(name)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        beside.chmod(0o644)
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)  # a signal may come just after it got its name
        raise
    folders.sync(path.parent)


def settle(beside: Path, path: Path) -> None:
    """Give a file that was written beside its name, as durably and atomically."""
    with beside.open("rb") as stream:
        os.fsync(stream.fileno())
    beside.replace(path)
    folders.sync(path.parent)


def write_folder(path: Path, contents: Mapping[str, tuple[int, bytes]]) -> None:
    """The same for a folder of files (mode and bytes by name); its caller is the only one that writes it."""
    folders.make(path.parent)
    for left in path.parent.glob(f".{path.name}.*"):  # by a writer that was killed
        remove(left)
    beside = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
    try:
        for name, (mode, data) in contents.items():
            with (beside / name).open("wb") as stream:
                stream.write(data)
                stream.flush()
                os.fchmod(stream.fileno(), mode)
                os.fsync(stream.fileno())
        beside.chmod(0o755)
        folders.sync(beside)
        beside.rename(path)
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise
    folders.sync(path.parent)


def remove(path: Path) -> None:
    """A folder with all that is in it, or a file or link."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def read(path: Path, kind: type[R]) -> R:
    """
    Raises:
        BenchError: there is no such record, or it is not one of this kind and version.
    """
    try:
        return kind.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise BenchError(f"no {kind.__name__} record at {path}") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise BenchError(f"{path} is no {kind.__name__} record: {where}: {first['msg']}") from None


def read_all(folder: Path, kind: type[R]) -> list[R]:
    """The records of a folder by their files' names; one that goes away meanwhile is not there.

    Raises:
        UsageError: this user may not read the folder: that is not the same as an empty one.
    """
    folders.refuse_closed(folder, str(folder))
    found = []
    for path in sorted(folder.glob("[!.]*.json")):
        try:
            found.append(read(path, kind))
        except BenchError:
            if path.exists():
                raise
    return found


def read_if_there(path: Path, kind: type[R]) -> R | None:
    return read(path, kind) if path.exists() else None


def once(path: Path, kind: type[R], make: Callable[[], R]) -> R:
    """The record at path; made and written first if there is none. What makes every step resumable."""
    record = read_if_there(path, kind)
    if record is None:
        record = make()
        write(path, record)
    return record
