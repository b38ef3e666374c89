"""Where shards are got from: the seam, and a folder behind it (the hub is in a module of its own)."""

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from slurm_bench.effects import store
from slurm_bench.pure.shards import RECORD
from slurm_bench.words.data import Shard, ShardSet
from slurm_bench.words.errors import UsageError

_PART = 8 * 2**20
"""Bytes that are copied at once."""


def no_link(path: str, flags: int) -> int:
    """An opener for open(): a link is refused, so that nothing is written to where it leads."""
    return os.open(path, flags | os.O_NOFOLLOW, 0o666)


@dataclass(frozen=True)
class Offered:
    name: str
    size: int
    """Bytes."""
    sha256: str | None
    """As the source states it."""
    revision: str | None
    """Commit of the data set."""


@dataclass(frozen=True)
class Offer:
    origin: str
    """Endpoint or folder, for people and records."""
    kind: Literal["hub", "folder"]
    files: Mapping[str, Offered]


class Source(Protocol):
    def offer(self, names: Sequence[str], revision: str | None) -> Offer:
        """What there is of the named files.

        Args:
            revision: of the data set; None is the newest.

        Raises:
            UsageError: there is no such data set or revision.
            InfrastructureError: no answer.
        """
        ...

    def fetch(self, file: Offered, into: Path) -> None:
        """Go on with the file where `into` ends.

        Raises:
            UsageError: there is no such file, or no right to it.
            InfrastructureError: what came is kept; another call goes on with it.
        """
        ...


class Folder:
    """A folder on this machine; copied from, since a link would share its file with whoever changes it."""

    def __init__(self, folder: Path, repo: str) -> None:
        self._folder, self._repo = folder, repo

    def offer(self, names: Sequence[str], revision: str | None) -> Offer:
        if not self._folder.is_dir():
            raise UsageError(f"command.source: no folder {self._folder}, and no URL with https://")
        record = store.read_if_there(self._folder / RECORD, ShardSet)
        if record and record.repo != self._repo:
            raise UsageError(f"command.source: {self._folder} holds shards of {record.repo}, not of {self._repo}")
        there = [name for name in names if (self._folder / name).is_file()]
        files = {name: self._offered(name, record.find(name) if record else None) for name in there}
        return Offer(str(self._folder), "folder", files)

    def fetch(self, file: Offered, into: Path) -> None:
        if not into.exists() or into.stat().st_size != file.size:
            with (self._folder / file.name).open("rb") as there, open(into, "wb", opener=no_link) as stream:
                shutil.copyfileobj(there, stream, _PART)

    def _offered(self, name: str, known: Shard | None) -> Offered:
        size = (self._folder / name).stat().st_size
        return Offered(name, size, known.sha256 if known else None, known.revision if known else None)
