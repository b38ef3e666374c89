"""The synthetic language: its floor, its samples, and the shards written of it."""

import json
import math
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from slurm_bench.rehearsal.corpus import BOS, Language, Tokens, write_shards

TARGET = 0.82
"""The loss that the rehearsal's task asks for."""


def toy(vocab_size: int = 5, weights: tuple[float, ...] = (0.7, 0.3), mean_words: int = 3) -> Language:
    return Language(vocab_size, weights, mean_words, train_shards=1, train_shard_tokens=100, val_tokens=100)


def read_shard(path: Path) -> tuple[list[int], Tokens]:
    """Header words and tokens, read without the writer's help."""
    raw = path.read_bytes()
    header = [int.from_bytes(raw[i : i + 4], "little", signed=True) for i in range(0, 1024, 4)]
    return header, np.frombuffer(raw[1024:], "<u2")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("tiny")
    write_shards(directory, "tiny", seed=0)
    return directory / "fineweb10B"


# The floor


def chain_entropy(language: Language) -> float:
    """Entropy rate by brute force: the stationary law of pairs of tokens, then each pair's next token."""
    size = language.vocab_size
    step = np.zeros((size * size, size * size))
    for before in range(size):
        for last in range(size):
            law = language.next_probabilities(before, last)
            step[before * size + last, last * size : (last + 1) * size] = law
    stationary = np.full(size * size, 1 / size**2)
    for _ in range(3000):
        stationary = stationary @ step
    surprise = -np.log(step, out=np.zeros_like(step), where=step > 0)
    return float(stationary @ (step * surprise).sum(axis=1))


@pytest.mark.parametrize(
    "language", [toy(), toy(7, (0.5, 0.3, 0.2), 2), toy(6, (0.25, 0.25, 0.25, 0.25), 9), toy(4, (1.0,), 5)]
)
def test_closed_form_equals_the_chains_entropy_rate(language: Language) -> None:
    assert language.entropy_per_token == pytest.approx(chain_entropy(language), abs=1e-12)


@pytest.fixture(scope="module")
def stream() -> Tokens:
    return Language.preset("tiny").sample(2_000_000, np.random.default_rng(7))


@pytest.mark.parametrize("language", [Language.preset("tiny"), toy(9, (0.5, 0.3, 0.2), 6)])
def test_a_reader_who_knows_the_grammar_pays_the_floor(language: Language) -> None:
    stream = language.sample(2_000_000, np.random.default_rng(8))
    size = range(language.vocab_size)
    laws = np.array([[language.next_probabilities(before, last) for last in size] for before in size])
    probabilities = laws[stream[:-2], stream[1:-1], stream[2:]]
    assert probabilities.min() > 0, "the sampler wrote what the grammar forbids"
    surprise = -np.log(probabilities)
    standard_error = surprise.std() / math.sqrt(len(surprise))
    assert standard_error < 1e-3
    assert surprise.mean() == pytest.approx(language.entropy_per_token, abs=5 * standard_error)


def test_a_reader_of_the_last_word_alone_misses_the_target(stream: Tokens) -> None:
    language = Language.preset("tiny")
    counts = np.zeros((language.vocab_size, language.vocab_size))
    np.add.at(counts, (stream[:-1], stream[1:]), 1)
    law = counts / counts.sum(axis=1, keepdims=True)
    bigram = -np.log(law[stream[:-1], stream[1:]]).mean()
    assert language.entropy_per_token + 0.08 < TARGET < bigram - 0.005


def test_documents_have_the_promised_length(stream: Tokens) -> None:
    lengths = np.diff(np.flatnonzero(stream == BOS)) - 1
    assert lengths.min() == 1
    assert lengths.mean() == pytest.approx(Language.preset("tiny").mean_words, rel=0.02)


def test_laws_are_laws() -> None:
    language = Language.preset("tiny")
    for before, last in [(0, 0), (1, 0), (0, 1), (1, 1), (2, 63)]:
        assert language.next_probabilities(before, last).sum() == pytest.approx(1)
    assert all(len(set(row)) == len(row) and BOS not in row for row in language.successors.tolist())


@pytest.mark.parametrize(
    ("vocab_size", "weights", "mean_words"),
    [(5, (0.7, 0.2), 3), (5, (1.2, -0.2), 3), (2, (0.5, 0.5), 3), (70_000, (1.0,), 3), (5, (1.0,), 1)],
)
def test_a_language_without_a_closed_form_is_refused(
    vocab_size: int, weights: tuple[float, ...], mean_words: int
) -> None:
    with pytest.raises(ValueError, match="must"):
        toy(vocab_size, weights, mean_words)


def test_an_unknown_preset_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"huge.*tiny, small, medium"):
        Language.preset("huge")


# The shards


def test_shard_format(tiny: Path) -> None:
    language = Language.preset("tiny")
    names = {path.name for path in tiny.glob("*.bin")}
    assert names == {"fineweb_val_000000.bin", "fineweb_train_000001.bin", "fineweb_train_000002.bin"}
    for name in names:
        header, tokens = read_shard(tiny / name)
        count = language.val_tokens if "val" in name else language.train_shard_tokens
        assert header == [20240520, 1, count] + [0] * 253
        assert len(tokens) == count
        assert tokens[0] == BOS
        assert tokens.max() < language.vocab_size


def test_shards_follow_the_seed_and_differ_among_themselves(tiny: Path, tmp_path: Path) -> None:
    write_shards(tmp_path / "again", "tiny", seed=0)
    write_shards(tmp_path / "other", "tiny", seed=1)
    texts = []
    for path in sorted(tiny.glob("*.bin")):
        assert (tmp_path / "again/fineweb10B" / path.name).read_bytes() == path.read_bytes()
        texts += [path.read_bytes()[1024:9024], (tmp_path / "other/fineweb10B" / path.name).read_bytes()[1024:9024]]
    assert len(set(texts)) == len(texts) == 6


def test_what_is_there_is_not_written_again(tmp_path: Path) -> None:
    write_shards(tmp_path, "tiny", seed=3)
    before = {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in tmp_path.rglob("*")}
    write_shards(tmp_path, "tiny", seed=3)
    assert {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in tmp_path.rglob("*")} == before


@pytest.mark.parametrize("marker", [None, {"format_version": 1, "preset": "tiny", "seed": 0}])
def test_another_corpus_is_left_alone(tmp_path: Path, marker: dict[str, object] | None) -> None:
    folder = tmp_path / "fineweb10B"
    folder.mkdir()
    (folder / "fineweb_train_000001.bin").write_text("precious")
    if marker:
        (folder / "corpus.json").write_text(json.dumps(marker))
    with pytest.raises(FileExistsError, match="holds"):
        write_shards(tmp_path, "tiny", seed=5)
    assert (folder / "fineweb_train_000001.bin").read_text() == "precious"
    assert list(tmp_path.iterdir()) == [folder]


def test_a_writer_that_runs_out_of_space_leaves_nothing(tmp_path: Path) -> None:
    # The validation shard fits under the file size limit (in KiB), the training shards do not.
    command = f"ulimit -f 200; exec '{sys.executable}' -m slurm_bench.rehearsal.corpus '{tmp_path}'"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert "File too large" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_writers_at_once_agree(tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(write_shards, tmp_path, "tiny", 2) for _ in range(4)]:
            done.result()
    assert [path.name for path in tmp_path.iterdir()] == ["fineweb10B"]
    assert len(list((tmp_path / "fineweb10B").iterdir())) == 4


def test_tiny_is_small(tmp_path: Path) -> None:
    write_shards(tmp_path, "tiny", seed=0)
    assert sum(path.stat().st_size for path in (tmp_path / "fineweb10B").iterdir()) < 2_000_000


def test_command_line_names_the_floor(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "slurm_bench.rehearsal.corpus", str(tmp_path), "--seed", "4"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert f"floor {Language.preset('tiny').entropy_per_token:.6f} nats" in done.stdout
    assert json.loads((tmp_path / "fineweb10B/corpus.json").read_text())["seed"] == 4
