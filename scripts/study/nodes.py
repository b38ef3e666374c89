"""Paired or classic: the interval's width and truth for the same GPU-hours, on nodes that are not equally fast."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.random import Generator

from slurm_bench.pure.rules import LEVEL, RUNS
from slurm_bench.pure.statistics import saved_interval, speed_p_value
from slurm_bench.words.trials import Design
from study.noise import Noise, Records, Samples, pooled
from study.simulations import PROGRAM_S, Times

OFFSETS_S = [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 1.0, 1.5]
"""Largest offset of a node, in seconds: each node's is drawn evenly between none and this."""
CANDIDATES = 12_000
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
            "paired": reach(partial(paired_times, noise=noise), Design.PAIRED),
            **{
                name: reach(partial(classic_times, noise=noise, calibration=runs, nodes=nodes), Design.CLASSIC)
                for name, runs in CALIBRATIONS.items()
            },
        }
        for pool, nodes in POOLS.items()
    }


def reach(times: Callable[[Generator, float], Times], design: Design) -> Reach:
    rows = []
    for number, most in enumerate(OFFSETS_S):
        candidate, incumbent = times(np.random.default_rng([4, number]), most)
        low, high = saved_interval(design, candidate, incumbent)
        passed = speed_p_value(design, candidate, incumbent) < LEVEL
        rows.append((float(np.mean(high - low) / 2), float(np.mean((low <= 0) & (high >= 0))), float(passed.mean())))
    return Reach(*zip(*rows, strict=True))


def paired_times(rng: Generator, most: float, noise: Noise, blocks: int = RUNS) -> Times:
    """However many nodes there are, a block is on one of them."""
    records = noise.records(rng, CANDIDATES)
    offsets = rng.uniform(0, most, (CANDIDATES, blocks))
    return _times(rng, noise, records, blocks) + offsets, _times(rng, noise, records, blocks) + offsets


def classic_times(rng: Generator, most: float, noise: Noise, calibration: int, nodes: int | None) -> Times:
    """Ten runs of the candidate, and the calibration's at another time, on nodes of the same pool."""
    records = noise.records(rng, CANDIDATES)
    candidate, incumbent = (
        _times(rng, noise, records, runs) + node_offsets(rng, most, runs, nodes) for runs in (RUNS, calibration)
    )
    return candidate, incumbent


def _times(rng: Generator, noise: Noise, records: Records, runs: int) -> Samples:
    return PROGRAM_S + noise.spreads[records][:, None] * pooled(rng, noise, records, runs)


def node_offsets(rng: Generator, most: float, runs: int, nodes: int | None) -> Samples:
    """What the nodes add to an array's runs, shape (candidates, runs); another array may get other nodes."""
    if nodes is None:
        return rng.uniform(0, most, (CANDIDATES, runs))
    of_nodes = rng.uniform(0, most, (CANDIDATES, nodes))
    return np.take_along_axis(of_nodes, rng.integers(nodes, size=(CANDIDATES, runs)), axis=-1)
