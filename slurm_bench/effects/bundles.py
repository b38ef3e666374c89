"""A verdict's archive: a tar that can be written in one way only, and is read as the hostile file that it may be.

Regular files in the order of their names, with fixed modes, owners and times, uncompressed; the last of them is
SHA256SUMS, which names the hash of every other. So the same content has the same bytes, and a reader who writes each
header anew finds any byte that was changed, wherever it lies. Nothing is unpacked.
"""

import hashlib
import os
import re
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from io import BufferedReader, BytesIO
from pathlib import Path
from typing import BinaryIO, Final

from slurm_bench.effects import store
from slurm_bench.pure.plain import one_line
from slurm_bench.words.errors import InfrastructureError, UsageError

SUMS: Final = "SHA256SUMS"
MOST_MEMBERS: Final = 10_000
MOST_BYTES: Final = 8 * 2**30
MOST_TEXT: Final = 64 * 2**20
"""Bytes of one file that is held in memory."""
MOST_KEPT: Final = 512 * 2**20
"""Bytes that are held in memory."""
OUTPUT: Final = (".out", ".err")
"""How what was printed ends: nothing is computed from that, and it is not held in memory."""

_BLOCK = tarfile.BLOCKSIZE
_PIECE = 2**20
_END = bytes(2 * _BLOCK)
_NAME = re.compile(r"(?:[A-Za-z0-9][A-Za-z0-9._-]*/)*[A-Za-z0-9][A-Za-z0-9._-]*")
_LONGEST_NAME = 100


@dataclass(frozen=True)
class Archive:
    hashes: Mapping[str, str]
    """SHA-256 by member, as read."""
    contents: Mapping[str, bytes]
    """By member; output is left out."""
    wrong: tuple[str, ...]
    """Members that are not what SHA256SUMS says."""


def write(path: Path, members: Mapping[str, Path | bytes]) -> None:
    """Write an archive of these members, whole or not at all.

    Raises:
        InfrastructureError: a file was changed meanwhile.
        UsageError: a name, or there is more than whoever reads it would take.
    """
    sums = {name: _sum(source) for name, source in members.items()}
    _check_room(len(sums), sum(size for _, size in sums.values()))
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
        beside = Path(folder) / path.name
        with beside.open("wb") as stream:
            for name in sorted(members):
                _append(stream, name, members[name], sums[name])
            listed = _listing({name: digest for name, (digest, _) in sums.items()})
            _append(stream, SUMS, listed, _sum(listed))
            stream.write(_END)
        beside.chmod(0o644)
        store.settle(beside, path)


def read(path: Path) -> Archive:
    """What is in an archive, by one pass over it.

    Raises:
        UsageError: there is no such file, or it is no archive that `write` could have written.
    """
    try:
        with path.open("rb") as stream:
            return _read(stream)
    except OSError as error:
        raise UsageError(f"bundle: {path} cannot be read: {error.strerror}") from None
    except _Broken as problem:
        raise UsageError(f"bundle: {path} is no bundle, or broken: {one_line(str(problem))}") from None


class _Broken(Exception):
    """Bytes that `write` would not have written."""


def _read(stream: BinaryIO) -> Archive:
    hashes: dict[str, str] = {}
    contents: dict[str, bytes] = {}
    room = MOST_KEPT
    for name, size in _headers(stream):
        if size > MOST_TEXT and not name.endswith(OUTPUT):
            raise _Broken(f"{name}: more than {MOST_TEXT // 2**20} MiB")
        room -= 0 if name.endswith(OUTPUT) else size
        if room < 0:
            raise _Broken(f"{name}: more than {MOST_KEPT // 2**20} MiB of records")
        with BytesIO() as kept:
            hashes[name] = _take(stream, size, None if name.endswith(OUTPUT) else kept)
            if not name.endswith(OUTPUT):
                contents[name] = kept.getvalue()
    if list(hashes)[-1:] != [SUMS]:
        raise _Broken(f"its last member is not {SUMS}")
    del hashes[SUMS]
    return Archive(hashes, contents, _wrong(hashes, contents.pop(SUMS)))


def _headers(stream: BinaryIO) -> Iterator[tuple[str, int]]:
    """Name and size of each member, up to the archive's end; whoever takes one reads its content before the next."""
    last, total, count = "", 0, 0
    while (block := stream.read(_BLOCK)) != _END[:_BLOCK]:
        name, size = _described(block)
        if last == SUMS or not (name == SUMS or name > last):
            raise _Broken(f"{name}: not in the order of names")
        last, total, count = name, total + size, count + 1
        try:
            _check_room(count, total)
        except UsageError as error:
            raise _Broken(str(error)) from None
        yield name, size
    if stream.read(_BLOCK + 1) != _END[_BLOCK:]:
        raise _Broken("its end is not two blocks of zeros")


def _described(block: bytes) -> tuple[str, int]:
    try:
        info = tarfile.TarInfo.frombuf(block, "ascii", "strict")
        same = _header(info.name, info.size) == block
    except (tarfile.TarError, UsageError, ValueError) as error:
        raise _Broken(f"a header cannot be read ({' '.join(str(error).split())})") from None
    if not same:
        raise _Broken(f"{info.name}: its header is not as it would be written")
    return info.name, info.size


def _take(stream: BinaryIO, size: int, kept: BytesIO | None) -> str:
    """Read one member's content and padding, and return its SHA-256."""
    digest = hashlib.sha256()
    for piece in _pieces(stream, size):
        digest.update(piece)
        if kept is not None:
            kept.write(piece)
    padding = -size % _BLOCK
    if stream.read(padding) != bytes(padding):
        raise _Broken("padding is not of zeros")
    return digest.hexdigest()


def _pieces(stream: BinaryIO, size: int) -> Iterator[bytes]:
    left = size
    while left:
        piece = stream.read(min(left, _PIECE))
        if not piece:
            raise _Broken("it ends within a file")
        left -= len(piece)
        yield piece


def _wrong(hashes: Mapping[str, str], listed: bytes) -> tuple[str, ...]:
    if listed == _listing(hashes):
        return ()
    lines = set(listed.split(b"\n"))
    wrong = tuple(name for name, digest in hashes.items() if f"{digest}  {name}".encode() not in lines)
    return wrong or (SUMS,)


def _listing(hashes: Mapping[str, str]) -> bytes:
    """As `sha256sum` writes and checks it."""
    return "".join(f"{hashes[name]}  {name}\n" for name in sorted(hashes)).encode()


def _check_room(count: int, size: int) -> None:
    if count > MOST_MEMBERS or size > MOST_BYTES:
        raise UsageError(f"a bundle has {MOST_MEMBERS} files and {MOST_BYTES // 2**30} GiB at most")


def _header(name: str, size: int) -> bytes:
    if not _NAME.fullmatch(name) or len(name) > _LONGEST_NAME:
        raise UsageError(f"{name!r} is no name for a file of a bundle")
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, 0o644
    return info.tobuf(tarfile.USTAR_FORMAT, "ascii", "strict")


def _append(stream: BinaryIO, name: str, source: Path | bytes, expected: tuple[str, int]) -> None:
    digest, size = expected
    stream.write(_header(name, size))
    written = hashlib.sha256()
    with _opened(source) as content:
        while piece := content.read(_PIECE):
            written.update(piece)
            stream.write(piece)
    if written.hexdigest() != digest:
        raise InfrastructureError(f"{source!s} was changed while it was read: ask again")
    stream.write(bytes(-size % _BLOCK))


def _sum(source: Path | bytes) -> tuple[str, int]:
    """SHA-256 and size."""
    with _opened(source) as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest(), stream.seek(0, os.SEEK_END)


def _opened(source: Path | bytes) -> BufferedReader | BytesIO:
    return BytesIO(source) if isinstance(source, bytes) else source.open("rb")
