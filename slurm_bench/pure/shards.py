"""The shards of tokenised text that the records train on: names, format, and what is known of FineWeb's.

A shard is a header of 256 int32 (magic, version, count of tokens), then the tokens as uint16, all little-endian.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from slurm_bench.pure.plain import one_line

FOLDER: Final = "fineweb10B"
RECORD: Final = "shards.json"
VALIDATION: Final = "fineweb_val_000000.bin"
HEADER_BYTES: Final = 1024
DOCUMENT_START: Final = 50256
"""GPT-2's end of text, which stands before each document, and is its highest token."""

PUBLISHED: Final[Mapping[str, Mapping[str, str]]] = {
    "kjj0/fineweb10B-gpt2": {
        "fineweb_val_000000.bin": "5b95c8e0966f0861685b307b23dc5ae42b228ef74b28cb499784ae021f201640",
        "fineweb_train_000001.bin": "771fa4a99b9fe0946ffb6e848b4ba5c6a9b0fe87860ebf03bc2c1c7e45f8178e",
    },
}
"""SHA-256 by data set and file, where projects that use it state the same, each for itself (docs/data.md)."""

_MAGIC = 20240520
_VERSION = 1
_TOKEN_BYTES = 2
_START = struct.Struct("<3i")


@dataclass(frozen=True)
class Contents:
    """A file that was read whole."""

    size: int
    sha256: str
    header: bytes
    """Its first bytes, up to HEADER_BYTES."""
    first: int
    """Token; -1 where there is none, as with the next."""
    highest: int
    documents: int
    """That start in it."""


def names(training: int) -> list[str]:
    """Of the files, in the order in which they are fetched: the validation shard last, so that it stands for all."""
    return [*(f"fineweb_train_{number:06d}.bin" for number in range(1, training + 1)), VALIDATION]


def size_of(tokens: int) -> int:
    """Bytes of a shard."""
    return HEADER_BYTES + _TOKEN_BYTES * tokens


def is_foreign(start: bytes) -> bool:
    """Whether a file that begins so cannot become a shard, however much follows."""
    wanted = struct.pack("<2i", _MAGIC, _VERSION)
    return start[: len(wanted)] != wanted[: len(start)]


def header_problem(header: bytes, size: int, tokens: int) -> str:
    """What is wrong with a file by its first bytes and its size, where it should hold so many tokens; or nothing."""
    if is_foreign(header) or not header:
        return f"is no shard of tokens: it begins with {_quoted(header)}"
    if len(header) < _START.size:
        return f"is cut off after {size} bytes"
    _, _, count = _START.unpack_from(header)
    if count != tokens:
        return f"has {count:,} tokens by its header, instead of {tokens:,}"
    if size != size_of(tokens):
        kind = "is cut off" if size < size_of(tokens) else "is too long"
        return f"{kind}: {size:,} bytes instead of {size_of(tokens):,}"
    return ""


def problem(name: str, contents: Contents, tokens: int, stated: Mapping[str, str]) -> str:
    """What is wrong with a file that was read whole; or nothing.

    Only the validation shard has to start with a document: it is the first one, and a document that does not fit a
    shard goes on in the next.

    Args:
        stated: its SHA-256 by who states it.
    """
    wrong = header_problem(contents.header, contents.size, tokens)
    if wrong:
        return wrong
    for who, sha256 in stated.items():
        if contents.sha256 != sha256:
            return f"was altered: its SHA-256 is {contents.sha256[:12]}…, where the {who} states {sha256[:12]}…"
    if contents.highest > DOCUMENT_START:
        return f"has the token {contents.highest}, which GPT-2's vocabulary lacks"
    if not contents.documents:
        return f"has no document in it (no token {DOCUMENT_START})"
    if name == VALIDATION and contents.first != DOCUMENT_START:
        return f"begins with the token {contents.first}, not with a document ({DOCUMENT_START})"
    return ""


def _quoted(header: bytes) -> str:
    if not header:
        return "nothing, being empty"
    return repr(one_line(header[:40].decode("ascii", "replace"), 24))
