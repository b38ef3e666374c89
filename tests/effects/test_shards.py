"""Shards on disk against their record."""

import hashlib
from datetime import UTC, datetime
from pathlib import Path

import pytest

from slurm_bench.effects import shards, store
from slurm_bench.pure.shards import VALIDATION
from slurm_bench.words.data import Shard, ShardSet
from tests.hub_server import REPO, TOKENS
from tests.hub_server import shards as small_shards

FILES = small_shards()
TRAINING = "fineweb_train_000001.bin"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data folder as command=data leaves it."""
    folder = tmp_path / "fineweb10B"
    folder.mkdir()
    record = ShardSet(repo=REPO)
    for name, body in FILES.items():
        (folder / name).write_bytes(body)
        record = record.with_shard(
            Shard(
                name=name,
                size=len(body),
                tokens=TOKENS,
                sha256=hashlib.sha256(body).hexdigest(),
                stated_by=("hub",),
                source="https://hub",
                revision="0" * 40,
                fetched_at=datetime.now(UTC),
            )
        )
    store.write(folder / "shards.json", record)
    return tmp_path


def change_a_byte(path: Path) -> None:
    body = bytearray(path.read_bytes())
    body[-100] ^= 1
    path.write_bytes(body)


def test_inspection(tmp_path: Path) -> None:
    path = tmp_path / "shard"
    path.write_bytes(FILES[TRAINING])
    found = shards.inspect(path)
    assert found.size == len(FILES[TRAINING]) and found.sha256 == hashlib.sha256(FILES[TRAINING]).hexdigest()
    assert (found.first, found.highest, found.documents) == (17, 50256, TOKENS // 1000 - 1)
    assert found.header == FILES[TRAINING][:1024]


@pytest.mark.parametrize("body", [b"", b"<html>", FILES[TRAINING][:1025]])
def test_inspection_of_what_has_no_token(tmp_path: Path, body: bytes) -> None:
    path = tmp_path / "shard"
    path.write_bytes(body)
    found = shards.inspect(path)
    assert (found.size, found.first, found.highest, found.documents) == (len(body), -1, -1, 0)
    assert found.sha256 == hashlib.sha256(body).hexdigest()


def test_a_good_folder(data: Path) -> None:
    assert shards.check(data, whole=False) == shards.check(data, whole=True) == []


def test_an_altered_file_is_found_by_its_hash_alone(data: Path) -> None:
    change_a_byte(data / "fineweb10B" / TRAINING)
    assert shards.check(data, whole=False) == []
    (problem,) = shards.check(data, whole=True)
    assert problem.startswith(f"{data}/fineweb10B/{TRAINING} was altered: its SHA-256 is ")
    assert problem.endswith("run scripts/fetch_data again")


def test_files_that_are_cut_off_or_missing(data: Path) -> None:
    folder = data / "fineweb10B"
    (folder / TRAINING).write_bytes(FILES[TRAINING][:5000])
    (folder / VALIDATION).unlink()
    cut, missing = shards.check(data, whole=False)
    assert "fineweb_train_000001.bin is cut off: 5,000 bytes instead of 121,024" in cut
    assert "fineweb_val_000000.bin is missing" in missing


def test_folders_without_a_record(tmp_path: Path) -> None:
    (problem,) = shards.check(tmp_path, whole=False)
    assert "no shards.json" in problem and "scripts/fetch_data" in problem
    (tmp_path / "fineweb10B").mkdir()
    (tmp_path / "fineweb10B" / "shards.json").write_text("{")
    (problem,) = shards.check(tmp_path, whole=False)
    assert "is no ShardSet record" in problem


def test_a_record_without_the_validation_shard(data: Path) -> None:
    folder = data / "fineweb10B"
    record = store.read(folder / "shards.json", ShardSet)
    training = tuple(shard for shard in record.shards if shard.name != VALIDATION)
    store.write(folder / "shards.json", record.model_copy(update={"shards": training}))
    (problem,) = shards.check(data, whole=False)
    assert problem.startswith("no fineweb_val_000000.bin in ")


def test_a_shard_that_nobody_recorded(data: Path) -> None:
    """A record's pattern of names takes it."""
    extra = data / "fineweb10B" / "fineweb_train_000077.bin"
    extra.write_bytes(FILES[TRAINING])
    (extra.parent / f".{TRAINING}.unstated.incomplete").touch()
    (problem,) = shards.check(data, whole=False)
    assert problem.startswith(f"{extra} is not in shards.json: move it away")


def test_shards_without_a_record_can_be_taken_in(data: Path) -> None:
    folder = data / "fineweb10B"
    (folder / "shards.json").unlink()
    (problem,) = shards.check(data, whole=False)
    assert problem.startswith(f"no shards.json in {folder}: take its shards in with scripts/fetch_data folder={data}")
    assert f" source={folder} " in problem


def test_identities(data: Path) -> None:
    """What a calibration goes by: hashes where they are known, and still true of the size."""
    folder = data / "fineweb10B"
    (folder / "fineweb_train_000009.bin").write_bytes(b"other")
    (folder / TRAINING).write_bytes(b"cut")
    known = hashlib.sha256(FILES[VALIDATION]).hexdigest()
    second = hashlib.sha256(FILES["fineweb_train_000002.bin"]).hexdigest()
    assert shards.identities(data) == [
        (TRAINING, 3),
        ("fineweb_train_000002.bin", second),
        ("fineweb_train_000009.bin", 5),
        (VALIDATION, known),
    ]
    (folder / "shards.json").unlink()
    assert shards.identities(data)[3] == (VALIDATION, len(FILES[VALIDATION]))
