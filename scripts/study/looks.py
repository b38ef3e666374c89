"""What looks at an array save, and what a second stage would: both are about the blocks that a verdict takes."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import scipy
from numpy.random import Generator
from numpy.typing import ArrayLike

from slurm_bench.pure.rules import LEVEL, PUBLISHED_TARGET_LOSS, RUNS
from study.noise import Samples
from study.simulations import ACCEPTANCE, Candidates, Mask, Rule, World, rate, stops, timed

CANDIDATES = 12_000
AT_ONCE = 4
"""Array tasks that run at once, where that is more than one."""


@dataclass(frozen=True)
class Kind:
    """A kind of candidate: its true mean loss (nats a token) and the seconds that it truly saves."""

    name: str
    loss: float
    saved_s: float


KINDS = (
    Kind("hopeless loss", 3.283, 1.0),
    Kind("hopeless speed", 3.278, -0.3),
    Kind("borderline loss", 3.28, 1.0),
    Kind("borderline speed", 3.278, 0.0),
    Kind("good", 3.278, 1.0),
    Kind("very good", 3.276, 1.0),
)


@dataclass(frozen=True)
class Cost:
    passed_of_all: float
    """Share that passes where all blocks always run."""
    passed: float
    runs_one_by_one: float
    """Blocks that run to their end on average, if each waits for the one before it."""
    runs_at_once: float
    """The same with AT_ONCE of them at once; those that begin before the next poll are cancelled soon after."""


def costs(world: World, rule: Rule = ACCEPTANCE) -> dict[str, Cost]:
    """By kind of candidate."""
    return {kind.name: cost(kind, world, rule) for kind in KINDS}


def cost(kind: Kind, world: World, rule: Rule) -> Cost:
    rng = np.random.default_rng(42)
    some = of_kind(kind, world, rng)
    losses, times = world.losses(rng, some, rule.runs), world.times(rng, some, rule.runs)
    passed = rule.passes(losses, times)
    one_by_one, at_once = (stops(losses, times, rule.level, step) for step in (1, AT_ONCE))
    return Cost(
        passed_of_all=rate(passed),
        passed=rate(passed & (one_by_one == rule.runs)),
        runs_one_by_one=float(one_by_one.mean()),
        runs_at_once=float(at_once.mean()),
    )


def of_kind(kind: Kind, world: World, rng: Generator) -> Candidates:
    record = world.records(rng, CANDIDATES)
    margin = (PUBLISHED_TARGET_LOSS - kind.loss) / world.loss.spreads[record]
    return Candidates(record, margin, np.full(CANDIDATES, kind.saved_s))


# Ten more runs for a candidate that is promising after ten.

PROMISING = 0.1
"""Greatest p-value, on loss and speed each, with which a candidate goes on to its second stage."""


@dataclass(frozen=True)
class Plan:
    """A way to accept candidates."""

    name: str
    accept: Callable[[Generator, World, Candidates], tuple[Mask, Samples]]
    """Whether each is accepted, and the blocks that it takes."""


def one_stage(blocks: int, rng: Generator, world: World, some: Candidates) -> tuple[Mask, Samples]:
    rule = replace(ACCEPTANCE, runs=blocks)
    return rule.passes(world.losses(rng, some, blocks), world.times(rng, some, blocks)), np.full(
        len(some), float(blocks)
    )


def two_stages(rng: Generator, world: World, some: Candidates) -> tuple[Mask, Samples]:
    """Half of the level is spent on ten blocks, the rest on all twenty of those who are promising then."""
    losses, times = world.losses(rng, some, 2 * RUNS), world.times(rng, some, 2 * RUNS)
    early = losses[:, :RUNS], (times[0][:, :RUNS], times[1][:, :RUNS])
    accepted, promising = (replace(ACCEPTANCE, level=level).passes(*early) for level in (LEVEL / 2, PROMISING))
    goes_on = promising & ~accepted
    late = replace(ACCEPTANCE, level=second_level()).passes(losses, times)
    return accepted | (goes_on & late), np.where(goes_on, 2.0 * RUNS, RUNS)


def handed_in_again(rng: Generator, world: World, some: Candidates) -> tuple[Mask, Samples]:
    """What is not accepted is handed in once more, with a comment changed."""
    first, second = (timed(rng, world, some, ACCEPTANCE).passed for _ in range(2))
    return first | second, np.where(first, float(RUNS), 2.0 * RUNS)


def second_level() -> float:
    """Return the level of the second stage, which with half of LEVEL on the first makes LEVEL on normal noise."""
    together = scipy.stats.multivariate_normal(cov=[[1, np.sqrt(0.5)], [np.sqrt(0.5), 1]])
    first = scipy.stats.norm.isf(LEVEL / 2)

    def excess(second: ArrayLike) -> float:
        return float(1 - together.cdf([first, second]) - LEVEL)

    return float(scipy.stats.norm.sf(scipy.optimize.brentq(excess, 2, 4)))


PLANS = (
    Plan("ten blocks at 0.01, as it is", partial(one_stage, RUNS)),
    Plan("twelve blocks at 0.01", partial(one_stage, 12)),
    Plan("fourteen blocks at 0.01", partial(one_stage, 14)),
    Plan("two stages", two_stages),
    Plan("ten blocks, and handed in again", handed_in_again),
)
