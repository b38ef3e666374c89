"""The format of shards, and what is refused."""

import hashlib
import struct

import pytest

from slurm_bench.pure import shards
from slurm_bench.pure.shards import PUBLISHED, VALIDATION, Contents
from slurm_bench.words.config import DataCommand

TRAINING = "fineweb_train_000003.bin"


def header(magic: int = 20240520, version: int = 1, count: int = 500) -> bytes:
    return struct.pack("<3i", magic, version, count).ljust(1024, b"\0")


def contents(
    size: int = 2024, first: int = 50256, highest: int = 50256, documents: int = 3, head: bytes | None = None
) -> Contents:
    return Contents(size, "ab" * 32, header() if head is None else head, first, highest, documents)


def test_the_names_of_the_published_task() -> None:
    found = shards.names(9)
    assert len(found) == 10
    assert found[0] == "fineweb_train_000001.bin" and found[8] == "fineweb_train_000009.bin"
    assert found[-1] == VALIDATION, "it is what a session looks for"


def test_the_published_shards_have_200_megabytes() -> None:
    assert shards.size_of(DataCommand().shard_tokens) == 200_001_024


def test_the_published_hashes_are_of_the_default_data_set() -> None:
    published = PUBLISHED[DataCommand().repo]
    assert set(published) <= set(shards.names(9))
    assert all(len(bytes.fromhex(sha256)) == hashlib.sha256().digest_size for sha256 in published.values())


@pytest.mark.parametrize(
    ("head", "size", "problem"),
    [
        (header(), 2024, ""),
        (header(magic=20240521), 2024, "is no shard of tokens: it begins with"),
        (header(version=2), 2024, "is no shard of tokens"),
        (b"<!DOCTYPE html><html>", 2024, "is no shard of tokens: it begins with '<!DOCTYPE html><html>'"),
        (b"", 0, "is no shard of tokens: it begins with nothing, being empty"),
        (header()[:10], 10, "is cut off after 10 bytes"),
        (header(count=499), 2024, "has 499 tokens by its header, instead of 500"),
        (header(count=-1), 2024, "has -1 tokens by its header"),
        (header(), 2023, "is cut off: 2,023 bytes instead of 2,024"),
        (header(), 2025, "is too long: 2,025 bytes instead of 2,024"),
    ],
)
def test_headers_and_sizes(head: bytes, size: int, problem: str) -> None:
    found = shards.header_problem(head, size, 500)
    assert found.startswith(problem) and bool(found) == bool(problem)


@pytest.mark.parametrize(
    ("name", "read", "problem"),
    [
        (VALIDATION, contents(), ""),
        (TRAINING, contents(first=17), ""),
        (VALIDATION, contents(first=17), "begins with the token 17, not with a document (50256)"),
        (TRAINING, contents(highest=50257), "has the token 50257, which GPT-2's vocabulary lacks"),
        (TRAINING, contents(documents=0), "has no document in it"),
        (TRAINING, contents(size=1500), "is cut off"),
        (TRAINING, contents(head=b"<html>"), "is no shard of tokens"),
    ],
)
def test_whole_contents(name: str, read: Contents, problem: str) -> None:
    found = shards.problem(name, read, 500, {})
    assert found.startswith(problem) and bool(found) == bool(problem)


def test_a_stated_hash() -> None:
    same, other = "ab" * 32, "cd" * 32
    assert shards.problem(TRAINING, contents(), 500, {"hub": same}) == ""
    found = shards.problem(TRAINING, contents(), 500, {"hub": same, "publication": other})
    assert found == "was altered: its SHA-256 is abababababab…, where the publication states cdcdcdcdcdcd…"


@pytest.mark.parametrize(("start", "foreign"), [(b"", False), (header()[:3], False), (header(), False), (b"<", True)])
def test_what_cannot_become_a_shard(start: bytes, foreign: bool) -> None:
    assert shards.is_foreign(start) == foreign
