"""The two tests of a verdict, by scipy. Both refuse samples that could not carry them."""

import math
from collections.abc import Sequence

from scipy import stats

from slurm_bench.pure.rules import CONFIDENCE, LEVEL, RUNS
from slurm_bench.words.records import LossTest, OffClock, SpeedTest

_LEAST_SPREAD = 20
"""Ten draws each of the same noise differ by such a factor once in a billion times."""


class Untestable(Exception):
    """The sample carries no test; the message says why."""


def _check(sample: Sequence[float], what: str) -> None:
    if len(sample) != RUNS:
        raise Untestable(f"{len(sample)} {what}, {RUNS} are needed")
    if not all(math.isfinite(value) for value in sample):
        raise Untestable(f"a {what} is not finite")
    if len(set(sample)) == 1:
        raise Untestable(f"all {what} are equal: runs must draw their seeds")


def check_spread(candidate: Sequence[float], incumbent: Sequence[float]) -> None:
    """
    Raises:
        Untestable: the candidate's losses scatter so much less than the incumbent's that runs replay one draw.
    """
    if stats.tstd(candidate) * _LEAST_SPREAD < stats.tstd(incumbent):
        raise Untestable(f"losses scatter {_LEAST_SPREAD} times less than the incumbent's: runs must draw their seeds")


def loss_test(losses: Sequence[float], target: float) -> LossTest:
    """One-sided one-sample t-test that the mean of ten validation losses (nats a token) is below target.

    Raises:
        Untestable: not exactly ten, one not finite, or no variance.
    """
    _check(losses, "losses")
    test = stats.ttest_1samp(losses, target, alternative="less")
    return LossTest(
        mean=float(stats.tmean(losses)),
        standard_deviation=float(stats.tstd(losses)),
        target=target,
        p_value=float(test.pvalue),
    )


def speed_test(candidate: Sequence[float], incumbent: Sequence[float]) -> SpeedTest:
    """Welch's one-sided test that ten candidate times (seconds) lie below ten incumbent times.

    The interval on the seconds saved is two-sided, of the coverage rules.CONFIDENCE.

    Raises:
        Untestable: not exactly ten of each, one not finite, or no variance.
    """
    _check(candidate, "candidate times")
    _check(incumbent, "incumbent times")
    interval = stats.ttest_ind(incumbent, candidate, equal_var=False).confidence_interval(CONFIDENCE)
    test = stats.ttest_ind(incumbent, candidate, equal_var=False, alternative="greater")
    incumbent_mean, candidate_mean = float(stats.tmean(incumbent)), float(stats.tmean(candidate))
    return SpeedTest(
        incumbent_mean_s=incumbent_mean,
        candidate_mean_s=candidate_mean,
        saved_s=incumbent_mean - candidate_mean,
        saved_low_s=float(interval.low),
        saved_high_s=float(interval.high),
        p_value=float(test.pvalue),
    )


def off_clock_test(
    candidate: Sequence[float], incumbent: Sequence[float], saved_s: float, allowed_growth: float
) -> OffClock:
    """Whether runs spend suspiciously more seconds off the clock than the incumbent's.

    Flagged is growth beyond the allowed share of the incumbent's; and growth of any size that is significant and
    takes back half of what was saved on the clock.
    """
    candidate_mean, incumbent_mean = float(stats.tmean(candidate)), float(stats.tmean(incumbent))
    p_value = float(stats.ttest_ind(candidate, incumbent, equal_var=False, alternative="greater").pvalue)
    growth_s = candidate_mean - incumbent_mean
    moved = p_value < LEVEL and growth_s > saved_s / 2
    return OffClock(
        incumbent_mean_s=incumbent_mean,
        candidate_mean_s=candidate_mean,
        p_value=p_value if math.isfinite(p_value) else None,
        allowed_growth=allowed_growth,
        flagged=moved or growth_s > allowed_growth * incumbent_mean,
    )
