"""Checked against tables, closed forms and exact arithmetic that share no code with scipy."""

import csv
import math
import statistics
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from slurm_bench.pure.statistics import (
    Untestable,
    adjusted_p_value,
    carry_over_test,
    check_spread,
    loss_test,
    mean_p_value,
    off_clock_test,
    saved_interval,
    speed_p_value,
    speed_test,
)
from slurm_bench.words.trials import Design
from tests.conftest import REPOSITORY
from tests.pure.student import lower_tail

LOSSES = [3.270, 3.272, 3.274, 3.276, 3.278, 3.271, 3.273, 3.275, 3.277, 3.274]
TIMES = [100 + 0.1 * k for k in range(10)]
DESIGNS = list(Design)

# Steps of a log's precision, so that a sample's spread is either none or far above rounding.
losses = st.lists(st.integers(30_000, 36_000).map(lambda units: units / 10_000), min_size=10, max_size=10)
seconds = st.lists(st.integers(90_000, 170_000).map(lambda units: units / 1000), min_size=10, max_size=10)


def vary(*samples: Sequence[float]) -> bool:
    return all(len(set(sample)) > 1 for sample in samples)


def student(sample: Sequence[float], against: float) -> float:
    """Lower-tail p-value of the one-sample test, by the definition."""
    error = statistics.stdev(sample) / math.sqrt(len(sample))
    return lower_tail((statistics.fmean(sample) - against) / error, len(sample) - 1)


def test_the_closed_form_agrees_with_tables() -> None:
    """The 1 % and 0.1 % points of Student's tables."""
    for degrees, one, tenth in ((3, 4.541, 10.215), (8, 2.896, 4.501), (9, 2.821, 4.297), (18, 2.552, 3.610)):
        assert lower_tail(-one, degrees) == pytest.approx(0.01, rel=2e-3)
        assert lower_tail(-tenth, degrees) == pytest.approx(0.001, rel=2e-3)
        assert lower_tail(one, degrees) == pytest.approx(0.99, rel=1e-4)


def test_loss_test_matches_student() -> None:
    test = loss_test(LOSSES, 3.28)
    assert test.mean == pytest.approx(statistics.fmean(LOSSES))
    assert test.standard_deviation == pytest.approx(statistics.stdev(LOSSES))
    assert test.p_value == pytest.approx(student(LOSSES, 3.28), rel=1e-9)


def test_loss_at_the_tables_point() -> None:
    """t = -2.821 on 9 degrees of freedom is the 1 % point of Student's tables."""
    target = statistics.fmean(LOSSES) + 2.821 * statistics.stdev(LOSSES) / math.sqrt(10)
    assert loss_test(LOSSES, target).p_value == pytest.approx(0.01, rel=1e-3)


def test_a_mean_above_the_target_does_not_pass() -> None:
    assert loss_test(LOSSES, 3.27).p_value > 0.99


def human_runs() -> dict[str, list[float]]:
    """Final losses of upstream's single runs, by record."""
    found = defaultdict(list)
    with (REPOSITORY / "human_baselines/human_runs.tsv").open(newline="") as stream:
        for row in csv.DictReader(stream, delimiter="\t"):
            found[row["record"]].append(float(row["final_val_loss"]))
    return dict(found)


@pytest.mark.parametrize("record", [record for record, losses in human_runs().items() if len(losses) > 1])
def test_the_human_records_recomputed(record: str) -> None:
    """All t-tests against 3.28 that are possible, of 3 to 24 runs each, beside the closed form."""
    sample = human_runs()[record]
    assert mean_p_value(sample, 3.28) == pytest.approx(student(sample, 3.28), rel=1e-6, abs=1e-12)


def test_there_are_59_human_records_with_runs() -> None:
    assert len(human_runs()) == 34 + 25
    assert sum(map(len, human_runs().values())) == 318 + 211


@given(losses, st.floats(3.0, 3.6))
def test_the_loss_test_by_the_closed_form(sample: list[float], target: float) -> None:
    assume(vary(sample))
    assert loss_test(sample, target).p_value == pytest.approx(student(sample, target), rel=1e-6, abs=1e-9)


@given(losses, st.floats(3.0, 3.6))
def test_the_adjusted_test_by_its_definition(sample: list[float], target: float) -> None:
    assume(vary(sample))
    t = (statistics.fmean(sample) - target) / (statistics.stdev(sample) / math.sqrt(10))
    assume(abs(t) < 1e4)
    skew = 0.4
    turned = t + skew * t**2 / (3 * 10**0.5) + skew**2 * t**3 / (27 * 10) + skew / (6 * 10**0.5)
    assert loss_test(sample, target).adjusted_p_value == pytest.approx(lower_tail(turned, 9), rel=1e-6, abs=1e-9)


@given(st.floats(-60, 60), st.floats(-60, 60))
def test_the_adjusted_test_is_the_plain_one_at_another_level(one: float, other: float) -> None:
    """It keeps the order of samples, and where it passes at 1 % the plain test does."""
    shape = np.array([-1.5, -0.9, -0.6, -0.2, 0.0, 0.1, 0.3, 0.6, 0.9, 1.3])
    low, high = sorted((one, other))
    plain, adjusted = (test([shape + low, shape + high], 0.0) for test in (mean_p_value, adjusted_p_value))
    assert adjusted[0] <= adjusted[1] * (1 + 1e-12)
    assert not np.any((adjusted < 0.01) & (plain > 0.01))


def crossover(candidate: Sequence[float], incumbent: Sequence[float]) -> tuple[float, float]:
    """Seconds saved and their standard error, from the two halves of blocks by who began."""
    saved = [theirs - ours for ours, theirs in zip(candidate, incumbent, strict=True)]
    halves = saved[0::2], saved[1::2]
    pooled = sum(statistics.variance(half) for half in halves) / 2
    return sum(statistics.fmean(half) for half in halves) / 2, math.sqrt(pooled / 10)


@given(seconds, seconds)
def test_the_paired_test_is_a_crossovers(candidate: list[float], incumbent: list[float]) -> None:
    saved_s, error = crossover(candidate, incumbent)
    assume(error > 1e-3 and vary(candidate, incumbent))
    test = speed_test(Design.PAIRED, candidate, incumbent)
    assert test.p_value == pytest.approx(lower_tail(-saved_s / error, 8), rel=1e-6, abs=1e-9)
    assert test.saved_s == pytest.approx(saved_s, abs=1e-9)
    half = 2.3060041352 * error  # the 97.5 % point on 8 degrees of freedom
    assert (test.saved_low_s, test.saved_high_s) == pytest.approx((saved_s - half, saved_s + half))


@given(seconds, seconds, st.integers(-9, 9))
def test_what_a_second_run_on_a_node_takes_longer_is_no_part_of_it(
    candidate: list[float], incumbent: list[float], longer_s: int
) -> None:
    assume(crossover(candidate, incumbent)[1] > 1e-3)
    warm_candidate = [time + longer_s * (k % 2) for k, time in enumerate(candidate)]
    warm_incumbent = [time + longer_s * (1 - k % 2) for k, time in enumerate(incumbent)]
    plain, warm = (
        saved_interval(Design.PAIRED, *times) for times in ((candidate, incumbent), (warm_candidate, warm_incumbent))
    )
    assert plain == pytest.approx(warm, abs=1e-6)


def test_who_began_is_not_always_every_other_one() -> None:
    saved = [1.0, 1.1, 0.9, 1.0, 1.05, 2.0, 2.1, 1.9, 2.0, 2.05]
    incumbent = [time + more for time, more in zip(TIMES, saved, strict=True)]
    first = [k < 5 for k in range(10)]
    assert speed_test(Design.PAIRED, TIMES, incumbent, first).p_value < 1e-8
    assert speed_test(Design.PAIRED, TIMES, incumbent).p_value > 1e-7


@given(seconds, seconds)
def test_the_classic_test_is_welchs(candidate: list[float], incumbent: list[float]) -> None:
    assume(vary(candidate, incumbent))
    test = speed_test(Design.CLASSIC, candidate, incumbent)
    ours, theirs = statistics.variance(candidate) / 10, statistics.variance(incumbent) / 10
    degrees = (ours + theirs) ** 2 / (ours**2 / 9 + theirs**2 / 9)
    t = -test.saved_s / math.sqrt(ours + theirs)
    below, above = sorted((lower_tail(t, math.floor(degrees)), lower_tail(t, math.ceil(degrees))))
    assert below - 1e-9 <= test.p_value <= above + 1e-9
    assert test.p_value == pytest.approx(stats.ttest_ind(candidate, incumbent, equal_var=False, alternative="less")[1])


@pytest.mark.parametrize("design", DESIGNS)
@given(candidate=seconds, incumbent=seconds, shift=st.integers(-50, 50), order=st.permutations(range(10)))
def test_what_does_not_matter(
    design: Design, candidate: list[float], incumbent: list[float], shift: int, order: list[int]
) -> None:
    """The order of runs, or of blocks; and a constant that both take longer."""
    assume(vary(candidate, incumbent) and crossover(candidate, incumbent)[1] > 1e-3)
    test = speed_test(design, candidate, incumbent)
    turned = [candidate[k] + shift for k in order], [incumbent[k] + shift for k in order]
    shuffled = speed_test(design, *turned, [k % 2 == 0 for k in order])
    assert shuffled.p_value == pytest.approx(test.p_value, rel=1e-6, abs=1e-9)
    assert shuffled.saved_low_s == pytest.approx(test.saved_low_s, abs=1e-6)


@pytest.mark.parametrize("design", DESIGNS)
@given(candidate=seconds, incumbent=seconds)
def test_test_and_interval_say_the_same(design: Design, candidate: list[float], incumbent: list[float]) -> None:
    """The 98 % interval lies above zero exactly where the one-sided test passes at 1 %; reversed, the signs change."""
    assume(vary(candidate, incumbent) and crossover(candidate, incumbent)[1] > 1e-3)
    p_value = float(speed_p_value(design, candidate, incumbent))
    assume(abs(p_value - 0.01) > 1e-6)
    low, high = saved_interval(design, candidate, incumbent, confidence=0.98)
    assert (low > 0) == (p_value < 0.01)
    reversed_low, reversed_high = saved_interval(design, incumbent, candidate, confidence=0.98)
    assert (reversed_low, reversed_high) == pytest.approx((-high, -low))


def test_node_offsets_cancel_within_blocks() -> None:
    """What a node adds to both runs of a block changes nothing in the paired design, and hides all in the classic."""
    offsets = [5.0 * (k % 3) for k in range(10)]
    candidate = [time - 1 + 0.01 * (k % 2) for k, time in enumerate(TIMES)]
    shifted = [time + offset for time, offset in zip(candidate, offsets, strict=True)]
    incumbent = [time + offset for time, offset in zip(TIMES, offsets, strict=True)]
    paired = speed_test(Design.PAIRED, shifted, incumbent)
    assert paired.p_value == pytest.approx(speed_test(Design.PAIRED, candidate, TIMES).p_value)
    assert paired.p_value < 1e-9
    assert speed_test(Design.CLASSIC, shifted, incumbent).p_value > 0.1


def test_arrays_are_tested_along_their_last_axis() -> None:
    """What a study computes for many samples is what a verdict computes for each."""
    rng = np.random.default_rng(0)
    sample, beside = rng.normal(3.279, 0.001, (2, 3, 10)), rng.normal(3.279, 0.002, (2, 3, 10))
    p_values = mean_p_value(sample, 3.28)
    assert p_values.shape == (2, 3)
    single = loss_test(sample[1, 2].tolist(), 3.28)
    assert p_values[1, 2] == pytest.approx(single.p_value)
    assert adjusted_p_value(sample, 3.28)[1, 2] == pytest.approx(single.adjusted_p_value)
    for design in DESIGNS:
        one = speed_test(design, sample[0, 1].tolist(), beside[0, 1].tolist())
        assert speed_p_value(design, sample, beside)[0, 1] == pytest.approx(one.p_value)
        assert saved_interval(design, sample, beside)[0][0, 1] == pytest.approx(one.saved_low_s)


SPOILT = [LOSSES[:9], [*LOSSES, 3.27], [], [3.27], [*LOSSES[:9], math.nan], [*LOSSES[:9], math.inf], [3.2799] * 10]


@pytest.mark.parametrize("spoilt", SPOILT)
def test_samples_that_carry_no_test(spoilt: list[float]) -> None:
    with pytest.raises(Untestable):
        loss_test(spoilt, 3.28)
    for design in DESIGNS:
        with pytest.raises(Untestable):
            speed_test(design, spoilt, TIMES)
        with pytest.raises(Untestable):
            speed_test(design, TIMES, spoilt)


def test_blocks_that_do_not_vary_carry_no_test() -> None:
    with pytest.raises(Untestable, match="differences within a block are equal"):
        speed_test(Design.PAIRED, [time - 1 for time in (1.0, 2.0, 3.0, 4.0, 5.0) * 2], [1.0, 2.0, 3.0, 4.0, 5.0] * 2)


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
    test = off_clock_test([seconds + more_s for seconds in OFF_CLOCK], OFF_CLOCK, None, saved_s, 0.25)
    assert test.flagged is flagged
    assert test.candidate_mean_s - test.incumbent_mean_s == pytest.approx(more_s)


def test_growth_that_is_noise_is_not_flagged() -> None:
    noisy = [100 + 40 * (k % 2) for k in range(10)]
    assert not off_clock_test([seconds + 4 for seconds in noisy], noisy, None, 5, 0.25).flagged


def test_growth_off_the_clock_is_seen_within_blocks_of_unlike_nodes() -> None:
    """Nodes whose start-up differs by many seconds hide from Welch what a block shows."""
    nodes = [100 + 7.0 * (3 * k % 10) for k in range(10)]
    moved = [seconds + 3 + 0.01 * (k % 3) for k, seconds in enumerate(nodes)]
    assert off_clock_test(moved, nodes, [True, False] * 5, 3, 0.25).flagged
    assert not off_clock_test(moved, nodes, None, 3, 0.25).flagged


def test_off_the_clock_without_variance() -> None:
    assert off_clock_test([1.0] * 10, [1.0] * 10, None, 1, 0.25).p_value is None


@pytest.mark.parametrize(
    ("candidate_first", "incumbent_first", "flagged"),
    [
        ([1.0, 1.1, 0.9, 1.0, 1.05], [1.0, 0.9, 1.1, 1.0, 0.95], False),
        ([1.15, 1.17, 1.13, 1.15, 1.16], [1.0, 0.98, 1.02, 1.0, 0.99], False),  # significant, but less than a fifth
        ([1.8, 1.9, 1.7, 1.8, 1.85], [1.0, 0.9, 1.1, 1.0, 0.95], True),
        ([0.5, 0.6, 0.4, 0.5, 0.55], [0.0, 0.1, -0.1, 0.0, 0.05], True),  # nothing is saved without it
        ([1.0, 1.1, 0.9, 1.0, 1.05], [1.8, 1.9, 1.7, 1.8, 1.85], False),
        ([5.0, -2.0, 4.0, -3.0, 6.0], [1.0, 0.9, 1.1, 1.0, 0.95], False),  # noise
    ],
)
def test_carry_over(candidate_first: list[float], incumbent_first: list[float], flagged: bool) -> None:
    test = carry_over_test(candidate_first, incumbent_first)
    assert test is not None and test.flagged is flagged


def test_carry_over_of_too_few_blocks() -> None:
    assert carry_over_test([], [1.0]) is None
    single = carry_over_test([9.0], [1.0, 1.1])
    assert single is not None and (single.p_value, single.flagged) == (None, False)


def test_losses_that_hardly_scatter_are_no_draws() -> None:
    incumbent = [3.27 + 0.001 * k for k in range(10)]
    check_spread([3.27 + 0.0001 * k for k in range(10)], incumbent)
    with pytest.raises(Untestable, match="must draw their seeds"):
        check_spread([3.27 + 0.00004 * k for k in range(10)], incumbent)
