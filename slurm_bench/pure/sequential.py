"""Looks at an array that still runs.

A look may only stop: whoever is accepted has passed the test of all runs, so that looks cannot raise the rate of
false acceptances. What they save and what they cost is measured by scripts/study_designs.
"""

import numpy as np
import scipy  # its parts load when they are first used, which takes half a second
from numpy.typing import ArrayLike, NDArray

from slurm_bench.pure.rules import RUNS
from slurm_bench.pure.statistics import mean_p_value, speed_p_value
from slurm_bench.words.trials import Design

FIRST_LOOK = 3
"""Runs before the first look: two would say next to nothing of the spread."""


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


def loss_chance(losses: ArrayLike, target: float, level: float, runs: int = RUNS) -> NDArray[np.float64]:
    """Chance that `runs` runs pass the plain loss test, by the losses so far (nats a token, shape (..., seen)).

    nan where they are all equal, e.g. because a log rounds them.
    """
    seen = np.shape(losses)[-1]
    return _if_varied(losses, chance_of_passing(mean_p_value(losses, target), seen / runs, level))


def speed_chance(
    design: Design, candidate: ArrayLike, incumbent: ArrayLike, level: float, runs: int = RUNS
) -> NDArray[np.float64]:
    """Chance that `runs` runs pass the speed test, by the candidate's times so far (seconds, shape (..., seen)).

    In the paired design without regard to who began: three blocks could not tell that too. nan where times are equal.

    Args:
        incumbent: the classic design's ten times, or those of the same blocks.
    """
    seen = np.shape(candidate)[-1]
    if design is Design.PAIRED:
        saved = np.subtract(incumbent, candidate)
        return _if_varied(saved, chance_of_passing(mean_p_value(-saved, 0.0), seen / runs, level))
    p_value = speed_p_value(design, candidate, incumbent)
    return _if_varied(candidate, chance_of_passing(p_value, 2 * seen / (runs + seen), level))


def _if_varied(sample: ArrayLike, chance: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(np.ptp(sample, axis=-1) > 0, chance, np.nan)
