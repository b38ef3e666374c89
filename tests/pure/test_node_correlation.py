"""The correlation within nodes, against one that was put in, and against the exact variance of a mean."""

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slurm_bench.pure.node_correlation import NodeCorrelation, describe, error_factor, estimate, widened_p_value
from slurm_bench.pure.statistics import adjusted_p_value, mean_p_value

RNG_SEEDS = range(200)


def campaign(
    seed: int, correlation: float, programs: int = 20, nodes: int = 4, runs: int = 3
) -> NodeCorrelation | None:
    """Estimated from programs of other means, each with so many runs on so many nodes of its array."""
    rng = np.random.default_rng(seed)
    drawn = []
    for program, node in product(range(programs), range(nodes)):
        shared = math.sqrt(correlation) * rng.standard_normal()
        alone = math.sqrt(1 - correlation) * rng.standard_normal(runs)
        drawn += [(f"program {program}", f"node {node}", 3.27 + program + 0.001 * (shared + each)) for each in alone]
    return estimate(drawn)


@pytest.mark.parametrize("correlation", [0.0, 0.1, 0.5])
def test_what_was_put_in_comes_out(correlation: float) -> None:
    found = [each for seed in RNG_SEEDS if (each := campaign(seed, correlation))]
    assert len(found) == len(RNG_SEEDS)
    assert np.mean([each.correlation for each in found]) == pytest.approx(correlation, abs=0.02)
    held = np.mean([each.low <= correlation <= each.high for each in found])
    assert held == pytest.approx(0.95, abs=0.05)


def test_unequal_numbers_of_runs() -> None:
    """Against the sums of squares, written out."""
    losses = {"a": [1.0, 2.0], "b": [2.0], "c": [3.0], "d": [1.0, 1.0], "e": [2.0, 1.0, 3.0], "f": [2.0, 2.5, 1.5]}
    found = estimate([("one", node, loss) for node, of_node in losses.items() for loss in of_node])
    assert found is not None
    mean = np.mean([loss for of_node in losses.values() for loss in of_node])
    between = sum(len(each) * (np.mean(each) - mean) ** 2 for each in losses.values()) / 5
    within = sum(np.var(each) * len(each) for each in losses.values()) / 6
    size = (12 - (4 + 1 + 1 + 4 + 9 + 9) / 12) / 5
    assert found.correlation == pytest.approx((between - within) / (between + (size - 1) * within))
    assert found.low < found.correlation < found.high
    assert found.runs == 10


def test_too_little_says_nothing() -> None:
    assert estimate([]) is None
    alone = [("one", f"node {node}", 3.28 + node / 1000) for node in range(10)]
    assert estimate(alone) is None, "no run shares a node"
    assert estimate([("one", "node", 3.28 + run / 1000) for run in range(10)]) is None, "one node"
    same = [("one", f"node {node}", 3.28 + node / 1000) for node in range(6) for _ in range(2)]
    assert estimate(same) is None, "runs of a node do not differ"


@given(st.lists(st.integers(1, 10), min_size=1, max_size=10).filter(lambda counts: sum(counts) > 1), st.floats(0, 0.9))
def test_the_factor_is_that_of_the_exact_variances(counts: list[int], correlation: float) -> None:
    node = np.repeat(np.arange(len(counts)), counts)
    covariance = np.where(node[:, None] == node, correlation, 0.0)
    np.fill_diagonal(covariance, 1)
    runs = len(node)
    of_mean = covariance.sum() / runs**2
    of_sample = (runs - covariance.sum() / runs) / (runs - 1)
    assert error_factor(correlation, counts) == pytest.approx(math.sqrt(of_mean / (of_sample / runs)))


def test_the_factor_in_figures() -> None:
    assert error_factor(0.1, [1] * 10) == 1
    assert error_factor(-0.2, [5, 5]) == 1
    assert error_factor(0.1, [10]) == pytest.approx(math.sqrt(1.9 / 0.9))
    assert error_factor(1, [10]) == math.inf


def test_the_widened_test_divides_t() -> None:
    losses = np.random.default_rng(1).normal(3.278, 0.0013, (5, 10))
    for test in (mean_p_value, adjusted_p_value):
        assert widened_p_value(losses, 3.28, 1, test) == pytest.approx(test(losses, 3.28))
        assert (widened_p_value(losses, 3.28, 1.5, test) > test(losses, 3.28)).all()
    error = losses.std(axis=-1, ddof=1) * 1.5 / math.sqrt(10)
    t = (losses.mean(axis=-1) - 3.28) / error
    scaled = np.array([-1.5, -0.5, 0.5, 1.5] + [0] * 6)  # a sample with a given t
    sample = scaled / scaled.std(ddof=1) * math.sqrt(10) + t[:, None]
    assert widened_p_value(losses, 3.28, 1.5) == pytest.approx(mean_p_value(sample, 0))


@pytest.mark.parametrize(
    ("nodes", "said"),
    [(1, "All runs were on 1 node: nothing shows"), (2, "on 2 nodes"), (9, "Too few runs share a node")],
)
def test_what_cannot_be_estimated_is_said_by_why(nodes: int, said: str) -> None:
    """With one node no estimate is possible, however many runs it had, and there the tests are wrong most often."""
    assert said in describe(None, nodes)
