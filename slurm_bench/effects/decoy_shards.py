"""Shards of random tokens in the form of real ones: as large, as old, with documents that begin where theirs do."""

import hashlib
import json
import logging
import os
import secrets
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from slurm_bench.effects import locking, scratch, shards, store
from slurm_bench.pure.shards import FOLDER, HEADER_BYTES, VALIDATION
from slurm_bench.words import paths
from slurm_bench.words.data import DecoySet
from slurm_bench.words.errors import UsageError
from slurm_bench.words.paths import DecoyDataPaths

log = logging.getLogger(__name__)

Tokens = NDArray[np.uint16]


def prepare(data: Path, runs: Path) -> tuple[DecoySet, Path]:
    """Return the decoys of a data folder (task.data) and the folder that takes its place, written if it is not there.

    Raises:
        UsageError: the decoys are not as they were written, or cannot be.
    """
    digest = hashlib.sha256(json.dumps(shards.identities(data)).encode()).hexdigest()
    where = paths.decoy_data(runs, digest)
    try:
        with locking.lock(where.lock):
            made = store.once(where.record, DecoySet, lambda: _make(data, digest, where))
    except (OSError, ValueError, IndexError) as error:  # of a shard without tokens, or with half of one
        raise UsageError(f"retime.caches=decoy: no decoys of {data} can be written in {where.root}: {error}") from None
    _check(made, where)
    return made, where.root


def _check(made: DecoySet, where: DecoyDataPaths) -> None:
    for name, size in made.sizes.items():
        path = where.root / FOLDER / name
        if not path.is_file() or path.stat().st_size != size:
            raise UsageError(f"{path} is not as it was written: remove {where.root} and {where.record}, and run again")


def _make(data: Path, digest: str, where: DecoyDataPaths) -> DecoySet:
    """Write all shards; a writer that was killed left some, and no record."""
    real = sorted(path for path in (data / FOLDER).iterdir() if path.is_file())
    originals = [path for path in real if path.suffix == ".bin"]
    start, highest = _alphabet(originals)
    seed = secrets.randbits(63)  # nobody can draw the same tokens
    scratch.remove_locked(where.root)
    (where.root / FOLDER).mkdir(parents=True)
    documents = {}
    for number, path in enumerate(originals):
        log.info("random tokens in the form of %s, %d of %d", path.name, number + 1, len(originals))
        rng = np.random.default_rng([seed, number])
        documents[path.name] = _write(path, where.root / FOLDER / path.name, start, highest, rng)
    for path in (*real, data / FOLDER, data):
        _finish(path, where.root / path.relative_to(data))
    return DecoySet(
        of=digest,
        seed=seed,
        words=highest,  # of highest + 1 tokens, all but that one
        word_share=1 - documents[VALIDATION] / len(_tokens(data / FOLDER / VALIDATION)),
        sizes={path.name: path.stat().st_size for path in originals},
    )


def _alphabet(originals: Sequence[Path]) -> tuple[int, int]:
    """What begins a document, as the validation shard does, and the highest token of all."""
    validation = next((path for path in originals if path.name == VALIDATION), None)
    if validation is None:
        raise UsageError(f"task.data: no {VALIDATION}, from whose documents decoys would take their form")
    return int(_tokens(validation)[0]), max(int(_tokens(path).max()) for path in originals)


def _tokens(path: Path) -> Tokens:
    return np.memmap(path, "<u2", mode="r", offset=HEADER_BYTES)


def _write(original: Path, path: Path, start: int, highest: int, rng: np.random.Generator) -> int:
    """Write one shard, and return how many documents begin in it."""
    tokens = _tokens(original)
    drawn = rng.integers(0, highest, len(tokens), dtype=np.uint16)  # all but one: what begins a document is left out
    drawn[drawn >= start] += 1
    begins = tokens == start
    drawn[begins] = start
    with path.open("wb") as stream:
        stream.write(shards.start(original))
        drawn.tofile(stream)
    return int(np.count_nonzero(begins))


def _finish(original: Path, path: Path) -> None:
    """Give a decoy what its original shows from outside; what is no shard is the original's own."""
    if not path.exists():
        shutil.copyfile(original, path)
    seen = original.stat()
    path.chmod(seen.st_mode & 0o7777)
    os.utime(path, ns=(seen.st_atime_ns, seen.st_mtime_ns))
