"""A candidate's files to the seal that names them."""

import hashlib
from collections.abc import Mapping

from slurm_bench.words.records import Seal, SealedFile


def describe(contents: Mapping[str, tuple[int, bytes]]) -> Seal:
    """The seal of files, by their names, modes and bytes."""
    files = tuple(
        SealedFile(path=path, mode=mode, size=len(data), sha256=hashlib.sha256(data).hexdigest())
        for path, (mode, data) in sorted(contents.items())
    )
    # Names hold no space or newline, so the lines cannot be read in two ways.
    lines = "".join(f"{file.mode:o} {file.sha256} {file.path}\n" for file in files)
    return Seal(sha256=hashlib.sha256(lines.encode()).hexdigest(), files=files)
