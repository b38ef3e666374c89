"""Final losses of runs on one node may be alike, and then ten runs say less than ten.

The tests of a verdict take runs for independent draws. Where runs that share a node are correlated, the error of their
mean is larger than the test thinks, and the more so the fewer nodes there are (docs/statistics.md says by how much).
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import scipy  # its parts load when they are first used, which takes half a second
from numpy.typing import ArrayLike, NDArray

from slurm_bench.pure.rules import CONFIDENCE
from slurm_bench.pure.statistics import mean_p_value

_FEW_NODES = 2
_LEAST_DEGREES = 5
"""Of freedom, between nodes and within them: fewer would leave the correlation anywhere."""


@dataclass(frozen=True)
class NodeCorrelation:
    """Correlation of the losses of two runs of a program on the same node, with its 95 % interval."""

    correlation: float
    low: float
    high: float
    runs: int
    """That share a node with another run of their program."""


def estimate(runs: Iterable[tuple[str, str, float]]) -> NodeCorrelation | None:
    """Return the intraclass correlation of losses within nodes, by a one-way analysis of variance.

    Each program's losses are taken from its own mean, so that programs may differ. The interval is the exact one for
    normal losses and as many runs on each node (Searle 1971, Linear Models).

    Args:
        runs: program, node and final loss (nats a token) of each.

    Returns:
        None where too few runs share a node, or too few programs ran on several nodes.
    """
    samples = [list(of_nodes.values()) for of_nodes in _by_program(runs).values()]
    between = sum(len(nodes) - 1 for nodes in samples)
    within = sum(len(losses) - 1 for nodes in samples for losses in nodes)
    if min(between, within) < _LEAST_DEGREES:
        return None
    mean_within = sum(np.var(losses) * len(losses) for nodes in samples for losses in nodes) / within
    mean_between = sum(map(_squares_between, samples)) / between
    if not mean_within > 0:
        return None
    size = sum(map(_pairing, samples)) / between
    ratio = float(mean_between / mean_within)
    tail = (1 - CONFIDENCE) / 2
    low, high = (scipy.stats.f.ppf(1 - share, between, within) for share in (tail, 1 - tail))
    return NodeCorrelation(
        correlation=_of_ratio(ratio, size),
        low=_of_ratio(ratio / low, size),
        high=_of_ratio(ratio / high, size),
        runs=sum(len(losses) for nodes in samples for losses in nodes if len(losses) > 1),
    )


def describe(found: NodeCorrelation | None, nodes: int) -> str:
    """Return one line for people.

    Args:
        nodes: that the runs were on.
    """
    if found is None and nodes <= _FEW_NODES:
        return (
            f"All runs were on {nodes} {'node' if nodes == 1 else 'nodes'}: nothing shows whether final losses on one "
            "node are alike, and where they are the loss tests are wrong more often than they say (docs/statistics.md)."
        )
    if found is None:
        return "Too few runs share a node to tell whether final losses on one node are alike."
    interval = f"[{found.low:.2f}, {found.high:.2f}]"
    return (
        f"Final losses of a program on the same node correlate by {found.correlation:.2f} {interval} "
        f"({found.runs} runs); the tests take them for independent."
    )


def _by_program(runs: Iterable[tuple[str, str, float]]) -> dict[str, dict[str, list[float]]]:
    """Losses by program and node."""
    grouped: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for program, node, loss in runs:
        grouped[program][node].append(loss)
    return grouped


def _squares_between(nodes: Sequence[Sequence[float]]) -> float:
    """Sum of squares of the nodes' means about their program's mean."""
    mean = np.mean([loss for losses in nodes for loss in losses])
    return float(sum(len(losses) * (np.mean(losses) - mean) ** 2 for losses in nodes))


def _pairing(nodes: Sequence[Sequence[float]]) -> float:
    """A program's part in the mean number of runs on a node, were they spread evenly."""
    counts = np.array([len(losses) for losses in nodes])
    return float(counts.sum() - (counts**2).sum() / counts.sum())


def _of_ratio(ratio: float, size: float) -> float:
    return (ratio - 1) / (ratio + size - 1)


def error_factor(correlation: float, counts: Sequence[int]) -> float:
    """Return by what factor the standard error of a mean is larger than a test of independent runs takes it for.

    Both are wrong then: the mean scatters more, and the runs of a sample scatter less. A negative correlation counts
    as none.

    Args:
        counts: runs on each node.
    """
    runs = sum(counts)
    beside = max(correlation, 0) * (sum(count**2 for count in counts) / runs - 1)
    return math.sqrt((1 + beside) / (1 - beside / (runs - 1))) if beside < runs - 1 else math.inf


def widened_p_value(
    losses: ArrayLike,
    target: float,
    factor: float,
    test: Callable[[ArrayLike, float], NDArray[np.float64]] = mean_p_value,
) -> NDArray[np.float64]:
    """Return the p-value of a loss test whose standard error is so many times as large.

    Args:
        losses: nats a token, shape (..., runs).
        factor: as `error_factor` has it.
        test: of the losses against the target.
    """
    sample = np.asarray(losses, dtype=float)
    mean = sample.mean(axis=-1, keepdims=True)
    return test(mean + factor * (sample - mean), target)
