"""What the designs of retiming and the looks at an array are worth, by simulation on the human records' real noise.

Every simulated candidate draws one record's spread and, for each run, one of the 318 real deviations. It goes through
the functions that a verdict goes through (slurm_bench.pure). All draws come from fixed seeds: two runs write the same.
"""

import csv
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from slurm_bench.pure.rules import LEVEL, PUBLISHED_TARGET_LOSS, RUNS
from slurm_bench.pure.sequential import FIRST_LOOK, level_of_attempt, loss_chance, speed_chance
from slurm_bench.pure.statistics import adjusted_p_value, mean_p_value, saved_interval, speed_p_value
from slurm_bench.words.trials import Design

REPOSITORY = Path(__file__).parents[1]

Samples = NDArray[np.float64]

OFFSETS_S = [0.0, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7]
"""Largest offset of a node, in seconds: each node's is drawn evenly between none and this."""
PROGRAM_S = 100.0
CANDIDATES = 20_000
MANY_CANDIDATES = 200_000
SESSIONS = 20_000
ATTEMPTS = 20
STOP_BELOW = 0.05
"""As in conf/retime."""
AT_ONCE = 4
"""Array tasks that run at once, where that is more than one."""


# The real noise.


@dataclass(frozen=True)
class Noise:
    """Deviations of single runs from their record's mean, and how large they are record by record."""

    deviations: Samples
    """Of all records together, each in its own record's standard deviations."""
    spreads: Samples
    """Standard deviation of each record."""
    by_record: Sequence[Samples]
    """Deviations of each record alone, of its own standard deviation."""

    def draw(self, rng: Generator, count: int, arms: int = 1) -> Samples:
        """Noise of `arms` times ten runs of so many candidates, shape (arms, count, 10); one spread a candidate."""
        spread = rng.choice(self.spreads, (1, count, 1))
        return spread * rng.choice(self.deviations, (arms, count, RUNS))

    def draw_within_records(self, rng: Generator, count: int, arms: int = 1) -> Samples:
        """The same with each candidate's runs from one record alone, of 4 to 24 different values."""
        record = rng.integers(len(self.by_record), size=count)
        noise = np.empty((arms, count, RUNS))
        for number, deviations in enumerate(self.by_record):
            here = record == number
            noise[:, here] = rng.choice(deviations, (arms, int(here.sum()), RUNS))
        return noise

    def draw_normal(self, rng: Generator, count: int, arms: int = 1) -> Samples:
        """The same with normal noise of the real spreads."""
        return rng.choice(self.spreads, (1, count, 1)) * rng.standard_normal((arms, count, RUNS))


Draw = Callable[[Generator, int, int], Samples]


def read_noise() -> tuple[Noise, Noise]:
    """Of the final losses (nats a token), and of the training times (seconds)."""
    losses, times_s = defaultdict(list), defaultdict(list)
    with (REPOSITORY / "human_baselines/human_runs.tsv").open(newline="") as stream:
        for row in csv.DictReader(stream, delimiter="\t"):
            losses[row["record"]].append(float(row["final_val_loss"]))
            times_s[row["record"]].append(float(row["final_train_time_ms"]) / 1000)
    return noise_of(losses), noise_of(times_s)


def noise_of(records: Mapping[str, Sequence[float]]) -> Noise:
    samples = [np.array(values) for values in records.values()]
    centred = [(sample - sample.mean()) / sample.std() for sample in samples]
    spreads = [sample.std(ddof=1) for sample in samples]
    return Noise(
        deviations=np.concatenate(centred),
        spreads=np.array(spreads),
        by_record=[spread * deviations for spread, deviations in zip(spreads, centred, strict=True)],
    )


# Paired or classic: the interval's width and truth for the same GPU-hours.

POOLS = {"a node for each run": None, "four nodes": 4, "one node at a time": 1}
"""How many nodes an array's runs are spread over; None for as many as there are runs."""
CALIBRATIONS = {"classic": RUNS, "classic, ten times the calibration": 10 * RUNS}
"""Incumbent's runs. Ten of them for one verdict cost what the paired design costs; for ten verdicts, a hundred do."""


@dataclass(frozen=True)
class Reach:
    """Of a design, at each of OFFSETS_S."""

    half_width_s: Sequence[float]
    """Mean half width of the 95 % interval of the seconds saved."""
    coverage: Sequence[float]
    """How often the interval holds the truth."""
    false_speed_ups: Sequence[float]
    """How often a candidate that saves nothing passes the test at LEVEL."""


def compare_designs(noise: Noise) -> dict[str, dict[str, Reach]]:
    """By pool of nodes and design."""
    return {
        pool: {
            "paired": reach(lambda rng, most: paired_times(rng, noise, most), Design.PAIRED),
            **{
                name: reach(
                    lambda rng, most, runs=runs, nodes=nodes: classic_times(rng, noise, most, runs, nodes),
                    Design.CLASSIC,
                )
                for name, runs in CALIBRATIONS.items()
            },
        }
        for pool, nodes in POOLS.items()
    }


def reach(times: Callable[[Generator, float], tuple[Samples, Samples]], design: Design) -> Reach:
    rows = []
    for number, most in enumerate(OFFSETS_S):
        candidate, incumbent = times(np.random.default_rng([4, number]), most)
        low, high = saved_interval(design, candidate, incumbent)
        passed = speed_p_value(design, candidate, incumbent) < LEVEL
        rows.append((float(np.mean(high - low) / 2), float(np.mean((low <= 0) & (high >= 0))), float(passed.mean())))
    return Reach(*zip(*rows, strict=True))


def paired_times(rng: Generator, noise: Noise, most: float) -> tuple[Samples, Samples]:
    """Ten blocks; however many nodes there are, a block is on one of them."""
    candidate, incumbent = PROGRAM_S + noise.draw(rng, CANDIDATES, 2)
    offsets = rng.uniform(0, most, (CANDIDATES, RUNS))
    return candidate + offsets, incumbent + offsets


def classic_times(
    rng: Generator, noise: Noise, most: float, calibration: int, nodes: int | None
) -> tuple[Samples, Samples]:
    """Ten runs of the candidate, and the calibration's at another time, on nodes of the same pool."""
    arms = calibration // RUNS
    candidate, *incumbent = PROGRAM_S + noise.draw(rng, CANDIDATES, 1 + arms)
    together = np.concatenate(incumbent, axis=-1)
    return candidate + node_offsets(rng, most, RUNS, nodes), together + node_offsets(rng, most, calibration, nodes)


def node_offsets(rng: Generator, most: float, runs: int, nodes: int | None) -> Samples:
    """What the nodes add to an array's runs, shape (candidates, runs); another array may get other nodes."""
    if nodes is None:
        return rng.uniform(0, most, (CANDIDATES, runs))
    of_nodes = rng.uniform(0, most, (CANDIDATES, nodes))
    return np.take_along_axis(of_nodes, rng.integers(nodes, size=(CANDIDATES, runs)), axis=-1)


# The level, for a candidate whose true mean loss is exactly the target.


def false_acceptances(noise: Noise) -> dict[str, dict[str, float]]:
    """Share of candidates at the target that pass on the loss, by noise and rule; their speed-up is never in doubt."""
    draws: dict[str, Draw] = {
        "normal noise": noise.draw_normal,
        "real runs of all records": noise.draw,
        "real runs within one record": noise.draw_within_records,
    }
    return {name: false_acceptance_rates(draw) for name, draw in draws.items()}


def false_acceptance_rates(draw: Draw) -> dict[str, float]:
    (losses,) = PUBLISHED_TARGET_LOSS + draw(np.random.default_rng(40), MANY_CANDIDATES, 1)
    losses = losses[np.ptp(losses, axis=-1) > 0]  # what does not vary is refused, not tested
    plain, adjusted = (test(losses, PUBLISHED_TARGET_LOSS) for test in (mean_p_value, adjusted_p_value))
    first = level_of_attempt(1)
    return {
        f"plain t-test at {LEVEL}, as published": rate(plain < LEVEL),
        f"plain t-test at {first}": rate(plain < first),
        f"adjusted at {LEVEL}": rate(adjusted < LEVEL),
        f"adjusted at {LEVEL}, with looks": rate((adjusted < LEVEL) & ~stopped_on_loss(losses, LEVEL)),
        f"adjusted at {first}, with looks: a session's first candidate": rate(
            (adjusted < first) & ~stopped_on_loss(losses, first)
        ),
    }


def rate(passed: NDArray[np.bool_]) -> float:
    return float(passed.mean())


def stopped_on_loss(losses: Samples, level: float) -> NDArray[np.bool_]:
    looks = [loss_chance(losses[..., :runs], PUBLISHED_TARGET_LOSS, level) < STOP_BELOW for runs in looks_after(1)]
    return np.asarray(np.any(looks, axis=0))


def false_acceptances_of_sessions(loss: Noise, time: Noise) -> dict[str, dict[str, float]]:
    """Share of sessions of ATTEMPTS candidates with at least one false acceptance, by what is false and by rule."""
    rng = np.random.default_rng(41)
    counts = defaultdict(lambda: np.zeros(SESSIONS, dtype=bool))
    for attempt in range(1, ATTEMPTS + 1):
        (losses,) = PUBLISHED_TARGET_LOSS + loss.draw(rng, SESSIONS, 1)
        candidate, incumbent = PROGRAM_S + time.draw(rng, SESSIONS, 2)
        plain, adjusted = (test(losses, PUBLISHED_TARGET_LOSS) for test in (mean_p_value, adjusted_p_value))
        speed = speed_p_value(Design.PAIRED, candidate, incumbent)
        counts["loss at the target", "published"] |= plain < LEVEL
        counts["loss at the target", "session"] |= adjusted < level_of_attempt(attempt)
        counts["nothing saved", "published"] |= speed < LEVEL
        counts["nothing saved", "session"] |= speed < level_of_attempt(attempt)
    table: dict[str, dict[str, float]] = defaultdict(dict)
    for (what, rule), wrong in counts.items():
        table[what][rule] = rate(wrong)
    return dict(table)


# What looks save.


@dataclass(frozen=True)
class Kind:
    """A kind of candidate: its true mean loss (nats a token) and the seconds that it truly saves."""

    name: str
    loss: float
    saved_s: float


KINDS = (
    Kind("hopeless loss", 3.283, 1.0),
    Kind("hopeless speed", 3.278, -0.3),
    Kind("borderline loss", 3.28, 1.0),
    Kind("borderline speed", 3.278, 0.0),
    Kind("good", 3.278, 1.0),
    Kind("very good", 3.276, 1.0),
)


@dataclass(frozen=True)
class Cost:
    accepted_of_ten: float
    """Share accepted where all ten blocks always run."""
    accepted: float
    runs_one_by_one: float
    """Blocks that run to their end on average, if each waits for the one before it."""
    runs_at_once: float
    """The same with AT_ONCE of them at once; those that begin before the next poll are cancelled soon after."""


def costs(loss: Noise, time: Noise) -> dict[str, Cost]:
    """By kind of candidate: the first of its session, in the paired design."""
    return {kind.name: cost(kind, loss, time) for kind in KINDS}


def cost(kind: Kind, loss: Noise, time: Noise) -> Cost:
    rng, level = np.random.default_rng(42), level_of_attempt(1)
    (losses,) = kind.loss + loss.draw(rng, CANDIDATES, 1)
    candidate, incumbent = PROGRAM_S + time.draw(rng, CANDIDATES, 2)
    candidate = candidate - kind.saved_s
    passed = (adjusted_p_value(losses, PUBLISHED_TARGET_LOSS) < level) & (
        speed_p_value(Design.PAIRED, candidate, incumbent) < level
    )
    hopeless = {
        runs: (loss_chance(losses[:, :runs], PUBLISHED_TARGET_LOSS, level) < STOP_BELOW)
        | (speed_chance(Design.PAIRED, candidate[:, :runs], incumbent[:, :runs], level) < STOP_BELOW)
        for runs in range(FIRST_LOOK, RUNS)
    }
    one_by_one, at_once = (runs_until_stop(hopeless, step) for step in (1, AT_ONCE))
    return Cost(
        accepted_of_ten=rate(passed),
        accepted=rate(passed & (one_by_one == RUNS)),
        runs_one_by_one=float(one_by_one.mean()),
        runs_at_once=float(at_once.mean()),
    )


def looks_after(step: int) -> range:
    """Numbers of runs that are over at the looks, where `step` of them run at once."""
    return range(max(step, FIRST_LOOK), RUNS, step)


def runs_until_stop(hopeless: Mapping[int, NDArray[np.bool_]], step: int) -> NDArray[np.int64]:
    """Runs of each candidate until its first hopeless look, ten where there is none."""
    runs = np.full(CANDIDATES, RUNS)
    for after in reversed(looks_after(step)):
        runs[hopeless[after]] = after
    return runs
