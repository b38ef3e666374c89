"""Shards of random tokens, beside the real ones whose form they take."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from slurm_bench.effects import decoy_shards, shards, store
from slurm_bench.pure.shards import FOLDER, VALIDATION
from slurm_bench.words.data import DecoySet
from slurm_bench.words.errors import UsageError
from tests.hub_server import shard

TRAINING = "fineweb_train_000001.bin"
TOKENS = 50_000
HIGHEST = 50
"""A small alphabet, of whose words each comes a thousand times."""


def tokens(path: Path) -> NDArray[np.uint16]:
    return np.fromfile(path, "<u2", offset=1024)


def small(seed: int, start: int, begins_document: bool) -> bytes:
    """A shard in which some words are rare, and documents start now and then."""
    words = np.random.default_rng(seed).integers(0, HIGHEST + 1, TOKENS) ** 2 // HIGHEST
    text = np.where(words == start, (start + 1) % HIGHEST, words).astype("<u2")
    text[17] = HIGHEST
    text[::700] = start
    text[0] = start if begins_document else 7
    return shard(0, TOKENS)[:1024] + text.tobytes()


def lay_out(root: Path, start: int = HIGHEST) -> Path:
    """A data folder with two shards, and a file that is none."""
    folder = root / "data" / FOLDER
    folder.mkdir(parents=True)
    (folder / VALIDATION).write_bytes(small(1, start, True))
    (folder / TRAINING).write_bytes(small(2, start, False))
    (folder / "README").write_text("about the shards\n")
    (folder / TRAINING).chmod(0o640)
    for number, path in enumerate(sorted(folder.iterdir())):
        stamp = 1_700_000_000_000_000_000 + number * 1_000_000_007
        path.touch()
        os.utime(path, ns=(stamp, stamp + 5))
    return root / "data"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return lay_out(tmp_path)


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    return tmp_path / "runs"


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_they_look_like_the_real_ones(data: Path, runs: Path) -> None:
    """Names, sizes, headers, times, modes and the places where documents start; what is no shard is the same."""
    made, folder = decoy_shards.prepare(data, runs)
    assert names(folder) == [FOLDER]
    assert names(folder / FOLDER) == names(data / FOLDER) == ["README", TRAINING, VALIDATION]
    for name in names(data / FOLDER):
        ours, theirs = (folder / FOLDER / name).stat(), (data / FOLDER / name).stat()
        assert (ours.st_size, ours.st_mode, ours.st_mtime_ns) == (theirs.st_size, theirs.st_mode, theirs.st_mtime_ns)
    assert (folder / FOLDER / "README").read_text() == "about the shards\n"
    for name in (TRAINING, VALIDATION):
        real, drawn = data / FOLDER / name, folder / FOLDER / name
        assert shards.start(drawn) == shards.start(real)
        assert np.array_equal(tokens(drawn) == HIGHEST, tokens(real) == HIGHEST)
    assert made.sizes == {name: (data / FOLDER / name).stat().st_size for name in (TRAINING, VALIDATION)}
    assert "decoy" not in str(folder.relative_to(runs)), "a program could read it"


def test_a_container_may_read_them(data: Path, runs: Path) -> None:
    _, folder = decoy_shards.prepare(data, runs)
    assert folder.stat().st_mode & 0o777 == 0o755
    assert (folder / FOLDER).stat().st_mode & 0o555 == 0o555


@pytest.mark.parametrize("start", [0, 20, HIGHEST])
def test_each_word_is_as_likely(tmp_path: Path, runs: Path, start: int) -> None:
    """All but what begins a document, wherever that stands in the alphabet, and whatever the real shares are."""
    data = lay_out(tmp_path, start)
    made, folder = decoy_shards.prepare(data, runs)
    assert made.words == HIGHEST
    begins = tokens(data / FOLDER / VALIDATION) == start
    assert made.word_share == pytest.approx(1 - begins.mean(), abs=1e-12)
    for name in (TRAINING, VALIDATION):
        real, drawn = tokens(data / FOLDER / name), tokens(folder / FOLDER / name)
        words = [word for word in range(HIGHEST + 1) if word != start]
        counts = np.bincount(drawn[real != start], minlength=HIGHEST + 1)
        assert counts[start] == 0 and len(counts) == HIGHEST + 1
        assert stats.chisquare(counts[words]).pvalue > 1e-9
        assert stats.chisquare(np.bincount(real, minlength=HIGHEST + 1)[words]).pvalue < 1e-9, "the real ones are not"


def test_no_word_tells_of_its_neighbour_or_of_the_real_one(data: Path, runs: Path) -> None:
    _, folder = decoy_shards.prepare(data, runs)
    drawn, other = (tokens(folder / FOLDER / name).astype(int) for name in (VALIDATION, TRAINING))
    real = tokens(data / FOLDER / VALIDATION).astype(int)
    free = (real != HIGHEST) & (np.roll(real, 1) != HIGHEST) & (tokens(data / FOLDER / TRAINING) != HIGHEST)
    for beside in (np.roll(drawn, 1), other, real):
        pairs = np.histogram2d(drawn[free], beside[free], bins=(10, 10))[0]
        assert stats.chi2_contingency(pairs[:, pairs.sum(axis=0) > 0]).pvalue > 1e-9


def test_nobody_can_draw_them_again(data: Path, runs: Path) -> None:
    """Two folders have different seeds, and different tokens, in which no more agree than by chance."""
    first, ours = decoy_shards.prepare(data, runs)
    second, theirs = decoy_shards.prepare(data, runs.with_name("others"))
    assert first.seed != second.seed and first.of == second.of
    same = tokens(ours / FOLDER / VALIDATION) == tokens(theirs / FOLDER / VALIDATION)
    assert same.mean() < 2 / HIGHEST


def test_they_are_made_once(data: Path, runs: Path) -> None:
    made, folder = decoy_shards.prepare(data, runs)
    before = {name: (folder / FOLDER / name).read_bytes() for name in names(folder / FOLDER)}
    assert decoy_shards.prepare(data, runs) == (made, folder)
    assert {name: (folder / FOLDER / name).read_bytes() for name in names(folder / FOLDER)} == before


def test_other_shards_have_other_decoys(data: Path, runs: Path) -> None:
    made, folder = decoy_shards.prepare(data, runs)
    with (data / FOLDER / TRAINING).open("ab") as stream:
        stream.write(b"\1\0")
    again, another = decoy_shards.prepare(data, runs)
    assert again.of != made.of and another != folder
    assert again.sizes[TRAINING] == made.sizes[TRAINING] + 2
    assert folder.is_dir(), "those of before stay"


def shorten(folder: Path) -> None:
    os.truncate(folder / FOLDER / TRAINING, 2000)


def take_away(folder: Path) -> None:
    (folder / FOLDER / VALIDATION).unlink()


@pytest.mark.parametrize(("spoil", "name"), [(shorten, TRAINING), (take_away, VALIDATION), (shutil.rmtree, TRAINING)])
def test_what_is_not_as_it_was_written(data: Path, runs: Path, spoil: Callable[[Path], None], name: str) -> None:
    """It is refused in one line that says what to remove; and that helps."""
    _, folder = decoy_shards.prepare(data, runs)
    spoil(folder)
    with pytest.raises(
        UsageError, match=rf"{name} is not as it was written: remove {folder} and {folder}.json"
    ) as told:
        decoy_shards.prepare(data, runs)
    assert "\n" not in str(told.value)
    shutil.rmtree(folder, ignore_errors=True)
    folder.with_name(f"{folder.name}.json").unlink()
    made, again = decoy_shards.prepare(data, runs)
    assert again == folder and (folder / FOLDER / name).stat().st_size == made.sizes[name]


def test_without_a_validation_shard(data: Path, runs: Path) -> None:
    (data / FOLDER / VALIDATION).unlink()
    with pytest.raises(UsageError, match=f"task.data: no {VALIDATION}"):
        decoy_shards.prepare(data, runs)


@pytest.mark.parametrize("size", [0, 1000, 1024, 1025])
def test_a_shard_without_whole_tokens(data: Path, runs: Path, size: int) -> None:
    os.truncate(data / FOLDER / VALIDATION, size)
    with pytest.raises(UsageError, match=r"no decoys of .* can be written"):
        decoy_shards.prepare(data, runs)


def test_a_place_where_nothing_can_be_written(data: Path, runs: Path) -> None:
    runs.write_text("a file")
    with pytest.raises(UsageError, match=r"retime.caches=decoy: no decoys of .* can be written in"):
        decoy_shards.prepare(data, runs)


def test_what_a_killed_writer_left_does_no_harm(data: Path, runs: Path) -> None:
    """Killed while it wrote, or between the folder's name and the record."""
    made, folder = decoy_shards.prepare(data, runs)
    record = folder.with_name(f"{folder.name}.json")
    record.unlink()
    (folder / FOLDER / VALIDATION).write_bytes(b"half")
    beside = folder.with_name(f".{folder.name}.abcdefgh")
    beside.mkdir()
    (beside / "part").write_bytes(b"half")
    again, there = decoy_shards.prepare(data, runs)
    assert there == folder and again.seed != made.seed
    assert store.read(record, DecoySet) == again
    assert (folder / FOLDER / VALIDATION).stat().st_size == made.sizes[VALIDATION]


def one_set(runs: Path) -> DecoySet:
    """The only set below runs, whole, with nothing of another writer beside it."""
    (record,) = (runs / "shards").glob("[!.]*.json")
    made = store.read(record, DecoySet)
    assert [path for path in (runs / "shards").iterdir() if path.is_dir()] == [record.with_suffix("")]
    for number, name in enumerate(sorted(made.sizes)):
        path = record.with_suffix("") / FOLDER / name
        drawn = np.random.default_rng([made.seed, number]).integers(0, made.words, TOKENS, dtype=np.uint16)
        seen = tokens(path)
        assert np.array_equal(seen[seen != HIGHEST], drawn[seen != HIGHEST]), "record and shards are of one writer"
    return made


def test_threads_that_write_at_once_end_with_one_set(data: Path, runs: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: decoy_shards.prepare(data, runs)[0], range(8)))
    assert {each.seed for each in found} == {one_set(runs).seed}


def test_processes_that_write_at_once_end_with_one_set(data: Path, runs: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from slurm_bench.effects import decoy_shards; "
        "print(decoy_shards.prepare(Path(sys.argv[1]), Path(sys.argv[2]))[0].seed)"
    )
    argv = [sys.executable, "-c", program, str(data), str(runs)]
    writers = [subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    seeds = {int(writer.communicate()[0]) for writer in writers}
    assert all(writer.returncode == 0 for writer in writers)
    assert seeds == {one_set(runs).seed}
