"""Looks at an array that still runs, and the level over many tries.

A look may only stop: whoever is accepted has passed the test of all ten runs, so that looks cannot raise the rate of
false acceptances. What they save and what they cost is measured by scripts/study_designs.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from slurm_bench.pure.rules import LEVEL, RUNS
from slurm_bench.pure.statistics import loss_p_value, speed_p_value
from slurm_bench.words.records import Design

FIRST_LOOK = 3
"""Runs before the first look: two would say next to nothing of the spread."""


def level_of_attempt(attempt: int) -> float:
    """Level at which the how manieth distinct seal of a session is tested: a half, a sixth, a twelfth … of LEVEL.

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
    z = stats.norm.isf(np.asarray(p_value, dtype=float))
    return np.asarray(stats.norm.cdf((z - stats.norm.isf(level) * np.sqrt(share)) / np.sqrt(1 - share)))


def loss_chance(losses: ArrayLike, target: float, level: float) -> NDArray[np.float64]:
    """Chance that ten runs pass the loss test, by the losses so far (nats a token, shape (..., runs))."""
    runs = np.shape(losses)[-1]
    return chance_of_passing(loss_p_value(losses, target), runs / RUNS, level)


def speed_chance(design: Design, candidate: ArrayLike, incumbent: ArrayLike, level: float) -> NDArray[np.float64]:
    """Chance that ten runs pass the speed test, by the candidate's times so far (seconds, shape (..., runs)).

    Args:
        incumbent: the classic design's ten times, or those of the same blocks.
    """
    runs = np.shape(candidate)[-1]
    share = runs / RUNS if design is Design.PAIRED else 2 * runs / (RUNS + runs)
    return chance_of_passing(speed_p_value(design, candidate, incumbent), share, level)
