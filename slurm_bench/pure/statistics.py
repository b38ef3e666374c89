"""The tests of a verdict, by scipy. All of them refuse samples that could not carry them.

The functions that end in `_p_value` take arrays and test along the last axis, so that a study can put a hundred
thousand samples through the very code that a verdict goes through.
"""

import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from slurm_bench.pure.rules import CONFIDENCE, LEVEL, RUNS
from slurm_bench.words.records import CarryOver, Design, LossTest, OffClock, SpeedTest

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


def loss_p_value(losses: ArrayLike, target: float) -> NDArray[np.float64]:
    """p-value of Student's one-sided one-sample t-test that the mean loss is below the target (nats a token).

    Args:
        losses: shape (..., runs), at least two runs; nan where the runs do not vary.
    """
    sample = np.asarray(losses, dtype=float)
    with _quiet():
        return np.asarray(stats.ttest_1samp(sample, target, axis=-1, alternative="less").pvalue)


def guarded_loss_p_value(losses: ArrayLike, incumbent: ArrayLike, target: float) -> NDArray[np.float64]:
    """The same by the root mean square of the candidate's and the incumbent's standard deviations, where it is larger.

    Real losses are skewed to the right: a sample without one of the rare high losses has too low a mean and too
    small a deviation at once, which makes the plain test pass too often (docs/statistics.md).

    Args:
        losses, incumbent: shape (..., runs), of the same number of runs.
    """
    sample = np.asarray(losses, dtype=float)
    runs = sample.shape[-1]
    variance = sample.var(axis=-1, ddof=1)
    pooled = (variance + np.asarray(incumbent, dtype=float).var(axis=-1, ddof=1)) / 2
    error = np.sqrt(np.maximum(variance, pooled) / runs)
    return np.asarray(stats.t.cdf((sample.mean(axis=-1) - target) / error, runs - 1))


def speed_p_value(design: Design, candidate: ArrayLike, incumbent: ArrayLike) -> NDArray[np.float64]:
    """p-value of the one-sided test that the candidate's mean time is below the incumbent's.

    Classic: Welch's test of two samples. Paired: Student's test of the differences within each block.

    Args:
        candidate, incumbent: seconds, shape (..., runs); in the paired design in the same order of blocks.
    """
    ours, theirs = np.asarray(candidate, dtype=float), np.asarray(incumbent, dtype=float)
    with _quiet():
        if design is Design.PAIRED:
            return np.asarray(stats.ttest_rel(theirs, ours, axis=-1, alternative="greater").pvalue)
        return np.asarray(stats.ttest_ind(theirs, ours, axis=-1, equal_var=False, alternative="greater").pvalue)


def saved_interval(
    design: Design, candidate: ArrayLike, incumbent: ArrayLike, confidence: float = CONFIDENCE
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Ends of the two-sided confidence interval of the seconds saved, by the same test as `speed_p_value`."""
    ours, theirs = np.asarray(candidate, dtype=float), np.asarray(incumbent, dtype=float)
    if design is Design.PAIRED:
        interval = stats.ttest_rel(theirs, ours, axis=-1).confidence_interval(confidence)
    else:
        interval = stats.ttest_ind(theirs, ours, axis=-1, equal_var=False).confidence_interval(confidence)
    return np.asarray(interval.low), np.asarray(interval.high)


def loss_test(losses: Sequence[float], incumbent: Sequence[float], target: float) -> LossTest:
    """The test of a verdict: ten validation losses (nats a token) against the target.

    Args:
        incumbent: the incumbent's ten losses, for the guarded p-value.

    Raises:
        Untestable: not exactly ten of each, one not finite, or no variance.
    """
    _check(losses, "losses")
    _check(incumbent, "incumbent losses")
    _check_varies(losses, "losses")
    return LossTest(
        mean=float(np.mean(losses)),
        standard_deviation=float(np.std(losses, ddof=1)),
        target=target,
        p_value=float(loss_p_value(losses, target)),
        guarded_p_value=float(guarded_loss_p_value(losses, incumbent, target)),
    )


def speed_test(design: Design, candidate: Sequence[float], incumbent: Sequence[float]) -> SpeedTest:
    """The test of a verdict: ten candidate times (seconds) against ten of the incumbent.

    The interval on the seconds saved is two-sided, of the coverage rules.CONFIDENCE.

    Args:
        candidate, incumbent: in the paired design in the same order of blocks.

    Raises:
        Untestable: not exactly ten of each, one not finite, or no variance.
    """
    _check(candidate, "candidate times")
    _check(incumbent, "incumbent times")
    _check_varies(candidate, "candidate times")
    _check_varies(incumbent, "incumbent times")
    if design is Design.PAIRED:
        _check_varies(np.subtract(incumbent, candidate).tolist(), "differences within a block")
    low, high = saved_interval(design, candidate, incumbent)
    incumbent_mean, candidate_mean = float(np.mean(incumbent)), float(np.mean(candidate))
    return SpeedTest(
        design=design,
        incumbent_mean_s=incumbent_mean,
        candidate_mean_s=candidate_mean,
        saved_s=incumbent_mean - candidate_mean,
        saved_low_s=float(low),
        saved_high_s=float(high),
        p_value=float(speed_p_value(design, candidate, incumbent)),
    )


def _check(sample: Sequence[float], what: str) -> None:
    if len(sample) != RUNS:
        raise Untestable(f"{len(sample)} {what}, {RUNS} are needed")
    if not all(math.isfinite(value) for value in sample):
        raise Untestable(f"one of the {what} is not finite")


def _check_varies(sample: Sequence[float], what: str) -> None:
    if len(set(sample)) == 1:
        raise Untestable(f"all {what} are equal: runs must draw their seeds")


def check_spread(candidate: Sequence[float], incumbent: Sequence[float]) -> None:
    """
    Raises:
        Untestable: the candidate's losses scatter so much less than the incumbent's that runs replay one draw.
    """
    if stats.tstd(candidate) * _LEAST_SPREAD < stats.tstd(incumbent):
        raise Untestable(f"losses scatter {_LEAST_SPREAD} times less than the incumbent's: runs must draw their seeds")


def off_clock_test(
    candidate: Sequence[float], incumbent: Sequence[float], saved_s: float, allowed_growth: float
) -> OffClock:
    """Whether runs spend suspiciously more seconds off the clock than the incumbent's.

    Flagged is growth beyond the allowed share of the incumbent's; and growth of any size that is significant and
    takes back half of what was saved on the clock.
    """
    candidate_mean, incumbent_mean = float(stats.tmean(candidate)), float(stats.tmean(incumbent))
    p_value = _welch_above(candidate, incumbent)
    growth_s = candidate_mean - incumbent_mean
    moved = p_value < LEVEL and growth_s > saved_s / 2
    return OffClock(
        incumbent_mean_s=incumbent_mean,
        candidate_mean_s=candidate_mean,
        p_value=p_value if math.isfinite(p_value) else None,
        allowed_growth=allowed_growth,
        flagged=moved or growth_s > allowed_growth * incumbent_mean,
    )


def carry_over_test(candidate_first_s: Sequence[float], incumbent_first_s: Sequence[float]) -> CarryOver | None:
    """Whether a candidate saves suspiciously more in the blocks where the incumbent ran after it.

    Flagged is a significant surplus that makes up more than half of what is saved where the incumbent ran first,
    untouched by the candidate. A node that is slower at its second run makes for a surplus too, in both.

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
        flagged=p_value < LEVEL and after - before > before / 2,
    )


def _welch_above(sample: Sequence[float], other: Sequence[float]) -> float:
    """p-value that the sample's mean lies above the other's; nan where they are too small or do not vary."""
    if min(len(sample), len(other)) < 2:
        return math.nan
    with _quiet():
        return float(stats.ttest_ind(sample, other, equal_var=False, alternative="greater").pvalue)
