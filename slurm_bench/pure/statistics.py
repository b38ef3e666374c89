"""The tests of a verdict, by scipy. All of them refuse samples that could not carry them.

The functions that end in `_p_value` take arrays and test along the last axis, so that a study can put a hundred
thousand samples through the very code that a verdict goes through.
"""

import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import numpy as np
import scipy  # its parts load when they are first used, which takes half a second
from numpy.typing import ArrayLike, NDArray

from slurm_bench.pure.rules import CONFIDENCE, LEVEL, LOSS_SKEW, RUNS
from slurm_bench.words.trials import CarryOver, Design, LossTest, OffClock, SpeedTest

_LEAST_SPREAD = 20
"""Ten draws each of the same noise differ by such a factor once in a billion times."""


class Untestable(Exception):
    """The sample carries no test; the message says why."""


@contextmanager
def _quiet() -> Iterator[None]:
    """Runs that do not vary have no p-value, which whoever asks for one looks at; scipy would warn of each."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        yield


def mean_p_value(sample: ArrayLike, bound: float) -> NDArray[np.float64]:
    """p-value of Student's one-sided one-sample t-test that the mean is below a bound (in the sample's unit).

    Args:
        sample: shape (..., runs), at least two runs that are not all equal.
    """
    values = np.asarray(sample, dtype=float)
    with _quiet():
        return np.asarray(scipy.stats.ttest_1samp(values, bound, axis=-1, alternative="less").pvalue)


def adjusted_p_value(losses: ArrayLike, target: float) -> NDArray[np.float64]:
    """The same for losses (nats a token) that are skewed to the right by LOSS_SKEW, as real ones are.

    A sample without one of the rare high losses has too low a mean and too small a deviation at once, so that the
    plain test passes too often (docs/statistics.md). t is transformed before its p-value is taken, so that the skew's
    part in it is gone (Hall 1992, On the removal of skewness by transformation), by a skew that is given: ten runs
    could not tell theirs.

    Args:
        losses: shape (..., runs), at least two runs that are not all equal.
    """
    sample = np.asarray(losses, dtype=float)
    runs = sample.shape[-1]
    error = sample.std(axis=-1, ddof=1) / math.sqrt(runs)
    with np.errstate(divide="ignore", invalid="ignore"):
        t = _without_skew((sample.mean(axis=-1) - target) / error, runs)
    return np.asarray(scipy.stats.t.cdf(t, runs - 1))


def _without_skew(t: NDArray[np.float64], runs: int) -> NDArray[np.float64]:
    """Hall's transformation; it rises with t everywhere, so that it is the plain test at another level."""
    share = LOSS_SKEW / math.sqrt(runs)
    return t + share * t**2 / 3 + share**2 * t**3 / 27 + share / 6


def speed_p_value(
    design: Design, candidate: ArrayLike, incumbent: ArrayLike, candidate_first: ArrayLike | None = None
) -> NDArray[np.float64]:
    """p-value of the one-sided test that the candidate's mean time is below the incumbent's.

    Classic: Welch's test of two samples. Paired: Student's test of the differences within blocks, as a crossover: the
    mean of the blocks that the candidate began and of those that the incumbent began, so that what a second run on a
    node takes longer is no part of it, nor of its spread.

    Args:
        candidate, incumbent: seconds, shape (..., runs); in the paired design in the same order of blocks.
        candidate_first: which blocks the candidate began, shape (runs,); every other one where it is not said.
    """
    ours, theirs = np.asarray(candidate, dtype=float), np.asarray(incumbent, dtype=float)
    with _quiet():
        return np.asarray(_speed_test(design, ours, theirs, candidate_first, "greater").pvalue)


def saved_interval(
    design: Design,
    candidate: ArrayLike,
    incumbent: ArrayLike,
    candidate_first: ArrayLike | None = None,
    confidence: float = CONFIDENCE,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Ends of the two-sided confidence interval of the seconds saved, by the same test as `speed_p_value`."""
    ours, theirs = np.asarray(candidate, dtype=float), np.asarray(incumbent, dtype=float)
    with _quiet():
        interval = _speed_test(design, ours, theirs, candidate_first, "two-sided").confidence_interval(confidence)
    # The crossover's statistic is the sum of its two halves' means.
    scale = 0.5 if design is Design.PAIRED else 1.0
    return np.asarray(interval.low) * scale, np.asarray(interval.high) * scale


def _speed_test(
    design: Design,
    candidate: NDArray[np.float64],
    incumbent: NDArray[np.float64],
    candidate_first: ArrayLike | None,
    alternative: Literal["greater", "two-sided"],
) -> Any:
    """scipy's result for the seconds saved, in the paired design for twice as many."""
    if design is Design.CLASSIC:
        return scipy.stats.ttest_ind(incumbent, candidate, axis=-1, equal_var=False, alternative=alternative)
    runs = candidate.shape[-1]
    first = np.arange(runs) % 2 == 0 if candidate_first is None else np.asarray(candidate_first, dtype=bool)
    saved = incumbent - candidate
    return scipy.stats.ttest_ind(
        saved[..., first], -saved[..., ~first], axis=-1, equal_var=True, alternative=alternative
    )


def loss_test(losses: Sequence[float], target: float, runs: int = RUNS) -> LossTest:
    """The test of a verdict: the validation losses (nats a token) of so many runs against the target.

    Raises:
        Untestable: not exactly as many, one not finite, or no variance.
    """
    check(losses, "losses", runs)
    return LossTest(
        mean=float(np.mean(losses)),
        standard_deviation=float(np.std(losses, ddof=1)),
        target=target,
        p_value=float(mean_p_value(losses, target)),
        adjusted_p_value=float(adjusted_p_value(losses, target)),
    )


def speed_test(
    design: Design,
    candidate: Sequence[float],
    incumbent: Sequence[float],
    candidate_first: Sequence[bool] | None = None,
    runs: int = RUNS,
) -> SpeedTest:
    """The test of a verdict: so many candidate times (seconds) against as many of the incumbent.

    The interval on the seconds saved is two-sided, of the coverage rules.CONFIDENCE.

    Args:
        candidate, incumbent: in the paired design in the same order of blocks.
        candidate_first: which blocks the candidate began, half of them; every other one where it is not said.

    Raises:
        Untestable: not exactly as many of each, one not finite, or no variance.
    """
    check(candidate, "candidate times", runs)
    check(incumbent, "incumbent times", runs)
    if design is Design.PAIRED:
        check(np.subtract(incumbent, candidate).tolist(), "differences within a block", runs)
    low, high = saved_interval(design, candidate, incumbent, candidate_first)
    incumbent_mean, candidate_mean = float(np.mean(incumbent)), float(np.mean(candidate))
    return SpeedTest(
        design=design,
        incumbent_mean_s=incumbent_mean,
        candidate_mean_s=candidate_mean,
        saved_s=incumbent_mean - candidate_mean,
        saved_low_s=float(low),
        saved_high_s=float(high),
        p_value=float(speed_p_value(design, candidate, incumbent, candidate_first)),
    )


def check(sample: Sequence[float], what: str, runs: int = RUNS) -> None:
    """See that a sample could carry a test.

    Raises:
        Untestable: not exactly so many values, one not finite, or all of them equal.
    """
    if len(sample) != runs:
        raise Untestable(f"{len(sample)} {what}, {runs} are needed")
    if not all(math.isfinite(value) for value in sample):
        raise Untestable(f"one of the {what} is not finite")
    if len(set(sample)) == 1:
        raise Untestable(f"all {what} are equal: runs must draw their seeds")


def check_spread(candidate: Sequence[float], incumbent: Sequence[float]) -> None:
    """See that the final losses (nats a token) of so many runs are as many draws.

    Raises:
        Untestable: the candidate's losses scatter so much less than the incumbent's that runs replay one draw.
    """
    if scipy.stats.tstd(candidate) * _LEAST_SPREAD < scipy.stats.tstd(incumbent):
        raise Untestable(f"losses scatter {_LEAST_SPREAD} times less than the incumbent's: runs must draw their seeds")


_LEAST_HIDDEN_S = 0.5
_MORE_SCATTER = 4.0
"""Of ten runs each, chance alone makes one scatter so much more than the other once in ten thousand times."""


def off_clock_test(
    candidate: Sequence[float],
    incumbent: Sequence[float],
    candidate_first: Sequence[bool] | None,
    saved_s: float,
    allowed_growth: float,
) -> OffClock:
    """Whether runs spend suspiciously more seconds off the clock than the incumbent's; block by block if paired.

    Flagged is growth beyond the allowed share of the incumbent's; and growth that takes back half of what was saved on
    the clock, where it is significant or hides in a scatter that the incumbent has not.

    Args:
        candidate, incumbent: seconds of each run, in the paired design in the same order of blocks.
        candidate_first: which blocks the candidate began; None in the classic design.
        saved_s: seconds saved on the clock.
    """
    candidate_mean, incumbent_mean = float(scipy.stats.tmean(candidate)), float(scipy.stats.tmean(incumbent))
    design = Design.CLASSIC if candidate_first is None else Design.PAIRED
    # More seconds off the clock, by the test that asks for fewer on it.
    p_value = float(speed_p_value(design, incumbent, candidate, candidate_first))
    growth_s = candidate_mean - incumbent_mean
    hidden = growth_s > _LEAST_HIDDEN_S and float(np.std(candidate)) > _MORE_SCATTER * float(np.std(incumbent))
    moved = growth_s > saved_s / 2 and (p_value < LEVEL or hidden)
    return OffClock(
        incumbent_mean_s=incumbent_mean,
        candidate_mean_s=candidate_mean,
        p_value=p_value if math.isfinite(p_value) else None,
        allowed_growth=allowed_growth,
        flagged=moved or growth_s > allowed_growth * incumbent_mean,
    )


def carry_over_test(candidate_first_s: Sequence[float], incumbent_first_s: Sequence[float]) -> CarryOver | None:
    """Whether a candidate saves suspiciously more in the blocks where the incumbent ran after it.

    Flagged is a significant surplus of more than a fifth of what is saved where the incumbent ran first, untouched by
    the candidate. A node that is slower at its second run makes for a surplus too, and for no less saved.

    Args:
        candidate_first_s, incumbent_first_s: seconds saved in each of those blocks.

    Returns:
        None where one of the two orders does not occur.
    """
    if not candidate_first_s or not incumbent_first_s:
        return None
    after, before = float(np.mean(candidate_first_s)), float(np.mean(incumbent_first_s))
    p_value = _welch_above(candidate_first_s, incumbent_first_s)
    return CarryOver(
        candidate_first_s=after,
        incumbent_first_s=before,
        p_value=p_value if math.isfinite(p_value) else None,
        flagged=p_value < LEVEL and after - before > before / 5,
    )


def _welch_above(sample: Sequence[float], other: Sequence[float]) -> float:
    """p-value that the sample's mean lies above the other's; nan where they are too small or do not vary."""
    if min(len(sample), len(other)) < 2:
        return math.nan
    with _quiet():
        return float(scipy.stats.ttest_ind(sample, other, equal_var=False, alternative="greater").pvalue)
