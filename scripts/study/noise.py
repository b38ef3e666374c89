"""The noise that the study simulates runs with: that of the human records, and other kinds for comparison.

A kind of noise is a function that draws deviations of mean 0 and variance 1. They are scaled by the spread of the
record that a simulated program descends from. So what is said of a kind holds for programs as noisy as the records.
"""

import csv
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

REPOSITORY = Path(__file__).parents[2]
NEWEST = "2026-01-19_BigramHashEmbedding"
"""The last of the 34 records that the study rests on; names begin with dates."""

Samples = NDArray[np.float64]
Records = NDArray[np.int64]
"""Numbers of the records that simulated programs descend from, shape (programs,)."""


@dataclass(frozen=True)
class Noise:
    """Runs of each record, as deviations from its mean."""

    spreads: Samples
    """Standard deviation of each record, shape (records,)."""
    of_record: Samples
    """Deviations in the record's own standard deviations, shape (records, most runs); nan where there is no run."""
    runs: NDArray[np.int64]
    """Runs of each record, shape (records,)."""

    @property
    def deviations(self) -> Samples:
        """Those of all records together, shape (runs of all,)."""
        return self.of_record[~np.isnan(self.of_record)]

    def records(self, rng: Generator, count: int) -> Records:
        return rng.integers(len(self.spreads), size=count)


Kind = Callable[[Generator, Noise, Records, int], Samples]
"""Draws deviations, shape (programs, runs), by the records of the programs."""


def noise_of(records: Mapping[str, Sequence[float]]) -> Noise:
    samples = [np.array(values) for values in records.values()]
    of_record = np.full((len(samples), max(map(len, samples))), np.nan)
    for row, sample in zip(of_record, samples, strict=True):
        row[: len(sample)] = (sample - sample.mean()) / sample.std()
    return Noise(
        spreads=np.array([sample.std(ddof=1) for sample in samples]),
        of_record=of_record,
        runs=np.array([len(sample) for sample in samples]),
    )


def read_noise() -> tuple[Noise, Noise]:
    """Return the noise of the final losses (nats a token), and of the training times (seconds)."""
    losses, times_s = read_runs("human_runs")
    return noise_of(losses), noise_of(times_s)


RERUN_KINDS = ("rerun", "20 more steps")
"""Of human_reruns.tsv, runs on eight GPUs that validate as the records do."""


def read_runs(table: str, *kinds: str) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Return losses (nats a token) and training times (seconds) of a table's runs, by record, up to the newest.

    Args:
        kinds: of human_reruns.tsv, those that are wanted.
    """
    losses, times_s = defaultdict(list), defaultdict(list)
    with (REPOSITORY / f"human_baselines/{table}.tsv").open(newline="") as stream:
        for row in csv.DictReader(stream, delimiter="\t"):
            if row["record"] <= NEWEST and (not kinds or row["kind"] in kinds):
                losses[row["record"]].append(float(row["final_val_loss"]))
                times_s[row["record"]].append(float(row["final_train_time_ms"]) / 1000)
    return losses, times_s


# The kinds.


def normal(rng: Generator, noise: Noise, records: Records, runs: int) -> Samples:
    return rng.standard_normal((len(records), runs))


def pooled(rng: Generator, noise: Noise, records: Records, runs: int) -> Samples:
    """Deviations of all records' runs together."""
    return np.asarray(rng.choice(noise.deviations, (len(records), runs)))


def within_record(rng: Generator, noise: Noise, records: Records, runs: int) -> Samples:
    """Deviations of one record's runs alone, of 4 to 24 different values."""
    places = rng.integers(noise.runs[records][:, None], size=(len(records), runs))
    return np.asarray(noise.of_record[records[:, None], places])


def heavy_tails(rng: Generator, noise: Noise, records: Records, runs: int) -> Samples:
    """Student's distribution with three degrees of freedom, whose variance is 3."""
    return np.asarray(rng.standard_t(3, (len(records), runs)) / np.sqrt(3))


def two_modes(rng: Generator, noise: Noise, records: Records, runs: int) -> Samples:
    """A third of the runs ends four deviations of a mode higher than the others."""
    return _mixture(rng, (len(records), runs), 1 / 3, 4.0)


def rare_failures(rng: Generator, noise: Noise, records: Records, runs: int) -> Samples:
    """One run in twenty ends five deviations of the others higher."""
    return _mixture(rng, (len(records), runs), 1 / 20, 5.0)


def _mixture(rng: Generator, shape: tuple[int, int], share: float, height: float) -> Samples:
    high = rng.random(shape) < share
    mean, variance = share * height, 1 + share * (1 - share) * height**2
    return np.asarray((rng.standard_normal(shape) + height * high - mean) / np.sqrt(variance))


def on_nodes(nodes: int, correlation: float) -> Kind:
    """Return the pooled noise with runs spread evenly over so many nodes, on each of which they are correlated."""

    def draw(rng: Generator, noise: Noise, records: Records, runs: int) -> Samples:
        of_nodes = rng.standard_normal((len(records), nodes))[:, np.arange(runs) % nodes]
        alone = pooled(rng, noise, records, runs)
        return np.asarray(np.sqrt(correlation) * of_nodes + np.sqrt(1 - correlation) * alone)

    return draw


def drawn_from(other: Noise) -> Kind:
    """Return the noise of other runs than the records'."""

    def draw(rng: Generator, noise: Noise, records: Records, runs: int) -> Samples:
        return np.asarray(rng.choice(other.deviations, (len(records), runs)))

    return draw
