"""Shards on disk: read, hashed, and held against the record that lies beside them."""

import hashlib
import shlex
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from slurm_bench.effects import store
from slurm_bench.pure import shards
from slurm_bench.pure.shards import DOCUMENT_START, FOLDER, HEADER_BYTES, RECORD, Contents
from slurm_bench.words.data import Shard, ShardSet
from slurm_bench.words.errors import BenchError

_PART = 8 * 2**20
"""Bytes that are read at once."""


def start(path: Path) -> bytes:
    """The file's first bytes, up to the end of a header."""
    with path.open("rb") as stream:
        return stream.read(HEADER_BYTES)


def inspect(path: Path) -> Contents:
    """Read a file whole: its hash, and what its tokens are if it holds some."""
    digest, first, highest, documents = hashlib.sha256(), -1, -1, 0
    with path.open("rb") as stream:
        header = stream.read(HEADER_BYTES)
        digest.update(header)
        size = len(header)
        while part := stream.read(_PART):
            digest.update(part)
            size += len(part)
            tokens = np.frombuffer(part, "<u2", count=len(part) // 2)
            if tokens.size:
                first = int(tokens[0]) if first < 0 else first
                highest = max(highest, int(tokens.max()))
                documents += int(np.count_nonzero(tokens == DOCUMENT_START))
    return Contents(size, digest.hexdigest(), header, first, highest, documents)


def quick_problem(path: Path, tokens: int) -> str:
    """What is wrong with a file by its header and size; or nothing."""
    if path.is_symlink():
        return "is a link, and a container sees only what lies in task.data itself"
    return shards.header_problem(start(path), path.stat().st_size, tokens)


def recorded_problem(folder: Path, shard: Shard, whole: bool) -> str:
    """What of a file is not as it was recorded; or nothing.

    Args:
        whole: by its hash too, which takes about a second for each shard.
    """
    path = folder / shard.name
    if not path.is_file():
        return "is missing"
    wrong = quick_problem(path, shard.tokens)
    if wrong or not whole:
        return wrong
    return shards.problem(shard.name, inspect(path), shard.tokens, {"record": shard.sha256})


def check(data: Path, whole: bool) -> list[str]:
    """What is wrong with the shards of a data folder (task.data), each as one line: nothing if all is as recorded."""
    folder = data / FOLDER
    try:
        record = store.read_if_there(folder / RECORD, ShardSet)
    except BenchError as error:
        return [str(error)]
    if record is None:
        return [_how_to_begin(data, folder)]
    if folder.is_symlink():
        return [f"{folder} is a link, and a container sees only what lies in task.data itself"]
    found = [(shard, recorded_problem(folder, shard, whole)) for shard in record.shards]
    wrong = [f"{folder / shard.name} {what}: run scripts/fetch_data again" for shard, what in found if what]
    if not record.find(shards.VALIDATION):
        wrong.append(f"no {shards.VALIDATION} in {folder}: run scripts/fetch_data again")
    # A record trains on whatever its pattern of names finds.
    known = {shards.VALIDATION, *(shard.name for shard in record.shards)}
    unknown = [path for path in sorted(folder.glob("[!.]*.bin")) if path.name not in known]
    wrong += [f"{path} is not in {RECORD}: move it away, or have scripts/fetch_data take it in" for path in unknown]
    return wrong


def _how_to_begin(data: Path, folder: Path) -> str:
    if not any(folder.glob("[!.]*.bin")):
        return f"no {RECORD} in {folder}: get the shards with scripts/fetch_data"
    how = shlex.join(["scripts/fetch_data", f"folder={data}"])
    source = shlex.quote(f"source={folder}")
    return f"no {RECORD} in {folder}: take its shards in with {how}, or {how} {source} where there is no internet"


def identities(data: Path) -> Sequence[tuple[str, str | int]]:
    """Name of each shard that is there, and its SHA-256 as recorded, or its size where none is."""
    record = store.read_if_there(data / FOLDER / RECORD, ShardSet) or ShardSet(repo="")
    found = []
    for path in sorted(data.glob(f"{FOLDER}/*.bin")):
        shard, size = record.find(path.name), path.stat().st_size
        found.append((path.name, shard.sha256 if shard and shard.size == size else size))
    return found
