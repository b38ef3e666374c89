"""A synthetic language with a known floor, written in the shard format of the human records.

A reader who knows the grammar pays exactly `Language.entropy_per_token` nats a token, so a loss on this
corpus can be held against the best one possible; on natural text nobody knows that number.

    python -m slurm_bench.rehearsal.corpus DIR [--preset tiny] [--seed 0]
"""

import argparse
import json
import math
import os
import shutil
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

BOS: Final = 0
MAGIC: Final = 20240520
FORMAT_VERSION: Final = 1
FOLDER: Final = "fineweb10B"
MARKER: Final = "corpus.json"
_DOCUMENTS_AT_ONCE: Final = 1 << 16

Tokens = NDArray[np.uint16]


@dataclass(frozen=True)
class Language:
    """Documents of a second-order Markov chain whose every context is equally uncertain.

    A document is BOS, a first word drawn evenly from the `vocab_size - 1` words, then words until it ends.
    After each word the document ends with probability q = 1 / mean_words. If it goes on, the last word
    names len(weights) possible successors, and the word before it (BOS included), taken modulo
    len(weights), says how far the weights are rotated over them. The last word alone thus gives away the
    candidates; only a reader that also attends to the word before knows which of them is likely.

    Attributes:
        vocab_size: tokens, BOS (0) among them.
        weights: probabilities of a word's successors, given that the document goes on; they sum to 1.
        mean_words: expected words in a document, BOS not counted.
        train_shards, train_shard_tokens, val_tokens: sizes of the corpus that `write_shards` makes.
        grammar_seed: draws the successors; the floor does not depend on it.
    """

    vocab_size: int
    weights: tuple[float, ...]
    mean_words: int
    train_shards: int
    train_shard_tokens: int
    val_tokens: int
    grammar_seed: int = 0

    def __post_init__(self) -> None:
        """Refuse a language for which the closed form would not hold."""
        if not math.isclose(sum(self.weights), 1.0, abs_tol=1e-12) or min(self.weights) <= 0:
            raise ValueError(f"weights must be positive and sum to 1: {self.weights}")
        if not len(self.weights) < self.vocab_size <= 1 << 16:
            raise ValueError(f"vocab_size {self.vocab_size} must exceed {len(self.weights)} and fit uint16")
        if self.mean_words < 2:
            raise ValueError(f"mean_words must be at least 2: {self.mean_words}")

    @classmethod
    def preset(cls, name: str) -> "Language":
        """The language that train_gpt.py's preset of the same name learns."""
        if name not in _PRESETS:
            raise ValueError(f"unknown preset {name!r}; known: {', '.join(_PRESETS)}")
        return _PRESETS[name]

    @property
    def entropy_per_token(self) -> float:
        """Entropy rate of the endless stream of documents, in nats per token: the floor of any loss.

        The stream is BOS, words, BOS, words, …, so by renewal the rate is the entropy of one document over
        its expected length. Predicting the first word costs ln(vocab_size - 1). Each of the expected
        1/q = mean_words words is followed by one more prediction: end or not, H2(q), and, with probability
        1 - q, which successor, H(weights), the same in every context because a rotation only permutes the
        weights and a word's successors are distinct. The expected length is 1 + mean_words tokens. Hence

            h = [ln(vocab_size - 1) + mean_words * (H2(q) + (1 - q) * H(weights))] / (1 + mean_words).

        Text read in unaligned windows of T tokens cannot beat h either. The best reader of such windows
        misses one word of context at each window's start and so stays within ln(len(weights)) / T of h.
        """
        end = 1 / self.mean_words
        per_word = _entropy((end, 1 - end)) + (1 - end) * _entropy(self.weights)
        return (math.log(self.vocab_size - 1) + self.mean_words * per_word) / (1 + self.mean_words)

    @cached_property
    def successors(self) -> NDArray[np.int64]:
        """Distinct possible next words of each token, (vocab_size, len(weights)); BOS's row is unused."""
        rng = np.random.default_rng(self.grammar_seed)
        words = np.tile(np.arange(1, self.vocab_size), (self.vocab_size, 1))
        return rng.permuted(words, axis=1)[:, : len(self.weights)]

    def next_probabilities(self, before: int, last: int) -> NDArray[np.float64]:
        """Law of the token after `before, last`: (vocab_size,) probabilities."""
        law = np.zeros(self.vocab_size)
        if last == BOS:
            law[1:] = 1 / (self.vocab_size - 1)
            return law
        end = 1 / self.mean_words
        law[BOS] = end
        law[self.successors[last]] = (1 - end) * np.roll(self.weights, before % len(self.weights))
        return law

    def sample(self, count: int, rng: np.random.Generator) -> Tokens:
        """The first `count` tokens of a fresh stream of documents, (count,); the last one may be cut."""
        expected = count // (1 + self.mean_words) + 1
        pieces: list[Tokens] = []
        while (missing := count - sum(map(len, pieces))) > 0:
            documents = min(expected, _DOCUMENTS_AT_ONCE)
            pieces.append(self._documents(documents, rng)[:missing])
        return np.concatenate(pieces)

    def _documents(self, count: int, rng: np.random.Generator) -> Tokens:
        """`count` whole documents end to end, all written in step, the longest first to keep them packed."""
        lengths = np.sort(rng.geometric(1 / self.mean_words, count))[::-1]
        order = rng.permutation(count)
        starts = np.empty(count, np.int64)
        starts[order] = np.cumsum(1 + lengths[order]) - lengths[order] - 1
        stream = np.full(count + lengths.sum(), BOS, np.uint16)
        before, last = np.full(count, BOS), rng.integers(1, self.vocab_size, count)
        stream[starts + 1] = last
        for word in range(2, int(lengths[0]) + 1):
            alive = int(np.searchsorted(-lengths, -word, side="right"))
            before, last = last[:alive], self._successor(before[:alive], last[:alive], rng)
            stream[starts[:alive] + word] = last
        return stream

    def _successor(
        self, before: NDArray[np.int64], last: NDArray[np.int64], rng: np.random.Generator
    ) -> NDArray[np.int64]:
        """One next word for each context (before[i], last[i]), given that the document goes on."""
        rank = np.searchsorted(np.cumsum(self.weights)[:-1], rng.random(len(last)), side="right")
        words: NDArray[np.int64] = self.successors[last, (rank + before) % len(self.weights)]
        return words


_PRESETS: Final = {
    "tiny": Language(
        vocab_size=64,
        weights=(0.8, 0.2),
        mean_words=31,
        train_shards=2,
        train_shard_tokens=250_000,
        val_tokens=40_000,
    ),
    "small": Language(
        vocab_size=1024,
        weights=(0.60, 0.20, 0.10, 0.05, 0.02, 0.01, 0.01, 0.01),
        mean_words=255,
        train_shards=2,
        train_shard_tokens=25_000_000,
        val_tokens=2_200_000,
    ),
    "medium": Language(
        vocab_size=2048,
        weights=(0.60, 0.20, 0.10, 0.05, 0.02, 0.01, 0.01, 0.01),
        mean_words=511,
        train_shards=3,
        train_shard_tokens=100_000_000,
        val_tokens=10_600_000,
    ),
}


def write_shards(directory: Path, preset: str, seed: int) -> None:
    """Write the preset's corpus to directory/fineweb10B, unless this very corpus is there already.

    The folder is filled under another name and renamed, so it is complete or absent; of several writers
    at once one wins and the others find its work.

    Raises:
        FileExistsError: the folder holds something else, which is left alone.
    """
    folder = directory / FOLDER
    identity = {"format_version": FORMAT_VERSION, "preset": preset, "seed": seed}
    language = Language.preset(preset)
    if _already_there(folder, identity):
        return
    unfinished = directory / f".{FOLDER}.{os.getpid()}.{uuid.uuid4().hex}"
    unfinished.mkdir(parents=True)
    try:
        for number, (name, count) in enumerate(_plan(language)):
            tokens = language.sample(count, np.random.default_rng([seed, number]))
            _write_shard(unfinished / name, tokens)
        (unfinished / MARKER).write_text(json.dumps(identity) + "\n")
        _rename(unfinished, folder, identity)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _plan(language: Language) -> Iterator[tuple[str, int]]:
    """File name and token count of every shard; shard 0 is the validation set, as in FineWeb's."""
    yield "fineweb_val_000000.bin", language.val_tokens
    for shard in range(1, language.train_shards + 1):
        yield f"fineweb_train_{shard:06d}.bin", language.train_shard_tokens


def _write_shard(path: Path, tokens: Tokens) -> None:
    """256 int32 of header (magic, version, token count), then the tokens as uint16, little-endian."""
    header = np.zeros(256, "<i4")
    header[:3] = MAGIC, 1, len(tokens)
    with path.open("wb") as file:
        file.write(header.tobytes())
        file.write(tokens.astype("<u2").tobytes())


def _rename(unfinished: Path, folder: Path, identity: dict[str, Any]) -> None:
    """Give the finished folder its name; a twin that came first is as good."""
    try:
        unfinished.rename(folder)
    except OSError:
        if not _already_there(folder, identity):
            raise


def _already_there(folder: Path, identity: dict[str, Any]) -> bool:
    """Whether `folder` is this corpus; False if nothing is there."""
    if not folder.exists():
        return False
    marker = folder / MARKER
    found = json.loads(marker.read_text()) if marker.is_file() else "no marker of ours"
    if found != identity:
        raise FileExistsError(f"{folder} holds {found}, not {identity}: remove it or choose another place")
    return True


def _entropy(probabilities: tuple[float, ...]) -> float:
    """Shannon entropy in nats; 0 ln 0 never occurs, `Language` sees to that."""
    return -sum(p * math.log(p) for p in probabilities)


def main() -> None:
    """Write a corpus from the command line and say what its floor is."""
    parser = argparse.ArgumentParser(description="Write a synthetic corpus with a known floor.")
    parser.add_argument("directory", type=Path)
    parser.add_argument("--preset", default="tiny", choices=sorted(_PRESETS))
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    write_shards(options.directory, options.preset, options.seed)
    floor = Language.preset(options.preset).entropy_per_token
    print(f"{options.directory / FOLDER}: {options.preset}, seed {options.seed}, floor {floor:.6f} nats")


if __name__ == "__main__":
    main()
