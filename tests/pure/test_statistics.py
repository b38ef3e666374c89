"""Checked against values worked out by hand from the definition, not by scipy itself."""

import math

import pytest

from slurm_bench.pure.statistics import Untestable, check_spread, loss_test, off_clock_test, speed_test

LOSSES = [3.270, 3.272, 3.274, 3.276, 3.278, 3.271, 3.273, 3.275, 3.277, 3.274]


def test_loss_test_matches_student() -> None:
    test = loss_test(LOSSES, 3.28)
    mean = sum(LOSSES) / 10
    deviation = math.sqrt(sum((loss - mean) ** 2 for loss in LOSSES) / 9)
    assert test.mean == pytest.approx(mean)
    assert test.standard_deviation == pytest.approx(deviation)
    # t = -7.5 on 9 degrees of freedom: far beyond -4.297, the 0.1 % point of Student's tables.
    assert (mean - 3.28) / (deviation / math.sqrt(10)) < -4.297
    assert test.p_value < 0.001


def test_loss_at_the_tables_point() -> None:
    """t = -2.821 on 9 degrees of freedom is the 1 % point of Student's tables."""
    deviation = math.sqrt(sum((loss - sum(LOSSES) / 10) ** 2 for loss in LOSSES) / 9)
    target = sum(LOSSES) / 10 + 2.821 * deviation / math.sqrt(10)
    assert loss_test(LOSSES, target).p_value == pytest.approx(0.01, rel=1e-3)


def test_a_mean_above_the_target_does_not_pass() -> None:
    assert loss_test(LOSSES, 3.27).p_value > 0.99


@pytest.mark.parametrize(
    "losses",
    [LOSSES[:9], [*LOSSES, 3.27], [], [3.27], [*LOSSES[:9], math.nan], [*LOSSES[:9], math.inf], [3.2799] * 10],
)
def test_samples_that_carry_no_test(losses: list[float]) -> None:
    with pytest.raises(Untestable):
        loss_test(losses, 3.28)


def test_speed_test_interval_and_direction() -> None:
    incumbent = [100 + 0.1 * k for k in range(10)]
    candidate = [99 + 0.1 * k for k in range(10)]
    test = speed_test(candidate, incumbent)
    assert test.saved_s == pytest.approx(1.0)
    # Equal variances of 0.0917: standard error 0.1354, 2.101 of them on 18 degrees of freedom.
    assert test.saved_low_s == pytest.approx(1 - 2.101 * 0.1354, abs=1e-3)
    assert test.saved_high_s == pytest.approx(1 + 2.101 * 0.1354, abs=1e-3)
    assert test.p_value < 1e-6
    assert speed_test(incumbent, candidate).p_value > 0.999


def test_speed_test_wants_ten_of_each() -> None:
    with pytest.raises(Untestable):
        speed_test(LOSSES, LOSSES[:9])


OFF_CLOCK = [100 + 0.1 * k for k in range(10)]


@pytest.mark.parametrize(
    ("more_s", "saved_s", "flagged"),
    [
        (0.0, 5.0, False),
        (-20.0, 5.0, False),
        (1.0, 5.0, False),  # significant, but it takes back a fifth only
        (4.0, 5.0, True),  # what was saved on the clock came back off it
        (26.0, 100.0, True),  # more than the allowed quarter
    ],
)
def test_growth_off_the_clock(more_s: float, saved_s: float, flagged: bool) -> None:
    test = off_clock_test([seconds + more_s for seconds in OFF_CLOCK], OFF_CLOCK, saved_s, 0.25)
    assert test.flagged is flagged
    assert test.candidate_mean_s - test.incumbent_mean_s == pytest.approx(more_s)


def test_growth_that_is_noise_is_not_flagged() -> None:
    noisy = [100 + 40 * (k % 2) for k in range(10)]
    assert not off_clock_test([seconds + 4 for seconds in noisy], noisy, 5, 0.25).flagged


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_off_the_clock_without_variance() -> None:
    assert off_clock_test([1.0] * 10, [1.0] * 10, 1, 0.25).p_value is None


def test_losses_that_hardly_scatter_are_no_draws() -> None:
    incumbent = [3.27 + 0.001 * k for k in range(10)]
    check_spread([3.27 + 0.0001 * k for k in range(10)], incumbent)
    with pytest.raises(Untestable, match="must draw their seeds"):
        check_spread([3.27 + 0.00004 * k for k in range(10)], incumbent)
