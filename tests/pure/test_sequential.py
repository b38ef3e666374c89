"""Looks, against closed forms and against what they predict."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, stats

from slurm_bench.pure import sequential
from slurm_bench.pure.sequential import chance_of_passing, loss_chance, speed_chance
from slurm_bench.words.trials import Design

shares = st.floats(0.05, 0.95)
p_values = st.floats(1e-6, 1 - 1e-6)
levels = st.floats(1e-5, 0.05)


@given(p_values, shares, levels)
def test_a_p_value_at_the_level_is_even_odds_at_the_end(p_value: float, share: float, level: float) -> None:
    assert chance_of_passing(level, 1 - 1e-12, level) == pytest.approx(0.5, abs=1e-3)
    assert 0 <= chance_of_passing(p_value, share, level) <= 1


@given(p_values, p_values, shares, levels)
def test_better_runs_never_lower_the_chance(one: float, other: float, share: float, level: float) -> None:
    good, bad = sorted((one, other))
    assert chance_of_passing(good, share, level) >= chance_of_passing(bad, share, level)


@given(p_values, shares, levels, levels)
def test_a_stricter_level_never_raises_the_chance(p_value: float, share: float, one: float, other: float) -> None:
    strict, lenient = sorted((one, other))
    assert chance_of_passing(p_value, share, strict) <= chance_of_passing(p_value, share, lenient)


def test_certainty_and_ignorance() -> None:
    assert chance_of_passing(0.0, 0.3, 0.01) == 1
    assert chance_of_passing(1.0, 0.3, 0.01) == 0
    assert math.isnan(chance_of_passing(math.nan, 0.3, 0.01))


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
@pytest.mark.parametrize("p_value", [0.5, 0.1, 0.01])
def test_the_chance_is_the_mean_over_the_drift(share: float, p_value: float) -> None:
    """By quadrature: the conditional power at each drift, weighted by what the look says of the drift."""
    z, critical = stats.norm.isf(p_value), stats.norm.isf(0.01)
    drift = np.linspace(-12, 15, 200_001)
    conditional = stats.norm.sf((critical - z * math.sqrt(share) - drift * (1 - share)) / math.sqrt(1 - share))
    weight = stats.norm.pdf(drift, z / math.sqrt(share), 1 / math.sqrt(share))
    expected = integrate.trapezoid(conditional * weight, drift)
    assert chance_of_passing(p_value, share, 0.01) == pytest.approx(expected, abs=1e-6)


def test_information_of_the_designs() -> None:
    """Five of ten blocks are half of it; five runs beside ten of the incumbent are two thirds."""
    rng = np.random.default_rng(1)
    candidate, incumbent = rng.normal(100, 0.1, 5), rng.normal(100.1, 0.1, 10)
    paired = speed_chance(Design.PAIRED, candidate, incumbent[:5], 0.01)
    classic = speed_chance(Design.CLASSIC, candidate, incumbent, 0.01)
    p_paired = stats.ttest_rel(incumbent[:5], candidate, alternative="greater").pvalue
    p_classic = stats.ttest_ind(incumbent, candidate, equal_var=False, alternative="greater").pvalue
    assert paired == pytest.approx(chance_of_passing(p_paired, 1 / 2, 0.01))
    assert classic == pytest.approx(chance_of_passing(p_classic, 2 / 3, 0.01))


@pytest.mark.parametrize("runs", [3, 5, 7])
def test_the_chance_holds_for_ten_runs(runs: int) -> None:
    """Of normal samples that a look gives about 30 %, about 30 % pass at their end: the drift's prior is flat."""
    rng = np.random.default_rng(runs)
    means = rng.uniform(-4, 2, 200_000)  # in standard deviations
    sample = rng.normal(means[:, None], 1, (len(means), 10))
    chance = loss_chance(sample[:, :runs], 0, 0.01)
    passed = np.asarray(stats.ttest_1samp(sample, 0, axis=-1, alternative="less").pvalue) < 0.01
    among = (chance > 0.2) & (chance < 0.4)
    assert passed[among].mean() == pytest.approx(chance[among].mean(), abs=0.12)
    hopeless = chance < 0.05
    assert passed[hopeless].mean() < 0.05
    assert sequential.FIRST_LOOK == 3
