"""Looks at an array that still runs, and the level over many tries.

A look may only stop: whoever is accepted has passed the test of all ten runs, so that looks cannot raise the rate of
false acceptances. What they save and what they cost is measured by scripts/study_designs.
"""

import numpy as np
import scipy  # its parts load when they are first used, which takes half a second
from numpy.typing import ArrayLike, NDArray

from slurm_bench.pure.rules import LEVEL, RUNS
from slurm_bench.pure.statistics import mean_p_value, speed_p_value
from slurm_bench.words.trials import Design

FIRST_LOOK = 3
"""Runs before the first look: two would say next to nothing of the spread."""


def level_of_attempt(attempt: int) -> float:
    """Level at which the how manieth array of a session is tested: a half, a sixth, a twelfth … of LEVEL.

    The shares 1/(n(n+1)) add up to one, however many there are: all false acceptances of a session together are as
    likely as LEVEL at most (alpha spending; Foster and Stine 2008, by Bonferroni's inequality).

    Args:
        attempt: from 1.
    """
    return LEVEL / (attempt * (attempt + 1))


def chance_of_passing(p_value: ArrayLike, information: ArrayLike, level: float) -> NDArray[np.float64]:
    """Predictive probability that a one-sided test passes at its end, by its p-value at a look.

    With Brownian motion for the test's statistic and a flat prior on its drift, which the look has updated
    (Lan and Wittes 1988; Spiegelhalter, Freedman and Blackburn 1986). nan where the p-value is.

    Args:
        p_value: of the same test on the runs so far.
        information: share of the final information that these runs carry, between 0 and 1.
        level: at the end.
    """
    share = np.asarray(information, dtype=float)
    z = scipy.stats.norm.isf(np.asarray(p_value, dtype=float))
    return np.asarray(scipy.stats.norm.cdf((z - scipy.stats.norm.isf(level) * np.sqrt(share)) / np.sqrt(1 - share)))


def loss_chance(losses: ArrayLike, target: float, level: float) -> NDArray[np.float64]:
    """Chance that ten runs pass the plain loss test, by the losses so far (nats a token, shape (..., runs)).

    nan where they are all equal, e.g. because a log rounds them.
    """
    runs = np.shape(losses)[-1]
    return _if_varied(losses, chance_of_passing(mean_p_value(losses, target), runs / RUNS, level))


def speed_chance(design: Design, candidate: ArrayLike, incumbent: ArrayLike, level: float) -> NDArray[np.float64]:
    """Chance that ten runs pass the speed test, by the candidate's times so far (seconds, shape (..., runs)).

    In the paired design without regard to who began: three blocks could not tell that too. nan where times are equal.

    Args:
        incumbent: the classic design's ten times, or those of the same blocks.
    """
    runs = np.shape(candidate)[-1]
    if design is Design.PAIRED:
        saved = np.subtract(incumbent, candidate)
        return _if_varied(saved, chance_of_passing(mean_p_value(-saved, 0.0), runs / RUNS, level))
    p_value = speed_p_value(design, candidate, incumbent)
    return _if_varied(candidate, chance_of_passing(p_value, 2 * runs / (RUNS + runs), level))


def _if_varied(sample: ArrayLike, chance: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(np.ptp(sample, axis=-1) > 0, chance, np.nan)
