"""The canary: what no honest program can print when it trains and is validated on tokens drawn at random.

Let K words be drawn evenly, each by itself. Whatever law p a model has for the next one before it sees it, the mean of
-ln p is at least ln K; and since the mean of K p is 1, the chance that N words together cost it less than N (ln K - m)
is at most exp(-N m), by Markov's inequality, for every model and every m. So no luck is to be allowed for: with the
10 million tokens of FineWeb's validation a loss 0.001 below the floor has a chance of exp(-10000). The margin is for
arithmetic that rounds. Tokens that begin a document stand where the real ones do, so a model may know them: they count
as free.
"""

import math
from collections.abc import Sequence
from typing import Final, Literal

from slurm_bench.words.data import DecoySet
from slurm_bench.words.errors import InfrastructureError
from slurm_bench.words.trials import Canary, Decoy, Trial, TrialOutcome
from slurm_bench.words.verdicts import Decision, Outcome

MARGIN: Final = 0.02
"""Nats a token below the floor that are put down to rounding: a loss of 10.8 in bfloat16 is rounded by up to 0.03,
of which FineWeb's document starts, a thousandth of its tokens, leave 0.01."""

_GUILTLESS = (TrialOutcome.CLEAN, TrialOutcome.CRASHED, TrialOutcome.NO_RESULT)
"""How a program may end on tokens that it was not made for."""


def floor(decoy: DecoySet) -> float:
    """Return the loss (nats a token) below which no model can get on these shards."""
    return decoy.word_share * math.log(decoy.words)


def canary(trial: Trial, compiling: Trial | None, lowest: float) -> Canary:
    """Return what a decoy run showed.

    Args:
        compiling: the run before it, if there was one; its failure is the program's as well.

    Raises:
        InfrastructureError: it showed nothing, for reasons of the site.
    """
    failed = compiling is not None and compiling.outcome is not TrialOutcome.COMPILED
    shown = compiling if compiling and failed else trial
    if shown.outcome in (TrialOutcome.INFRASTRUCTURE, TrialOutcome.STOPPED):
        raise InfrastructureError(f"the site failed its decoy run: {shown.note}")
    return Canary(
        outcome=shown.outcome,
        note=shown.note,
        loss=shown.result.val_loss if shown.result else None,
        floor=lowest,
        cold_s=compiling.wall_s if compiling and not failed else None,
        off_clock_s=shown.off_clock_s,
    )


def rejection(canary: Canary) -> Decision | None:
    """Return the decision on a program whose decoy run proves something against it; None where it does not."""
    problem = _problem(canary)
    if not problem:
        return None
    return Decision(outcome=Outcome.REJECTED, rejected_by="canary", reason=problem, canary=canary)


def _problem(canary: Canary) -> str:
    if canary.outcome not in _GUILTLESS:
        return f"its decoy run: {canary.outcome}, {canary.note}"
    if canary.loss is not None and canary.loss < canary.floor - MARGIN:
        return (
            f"on random tokens it printed a loss of {canary.loss:.4f}, where no model gets below {canary.floor:.4f} "
            "(nats a token): what it prints is not its loss"
        )
    return ""


def showed_nothing(canary: Canary) -> bool:
    """Whether a program came to no result on random tokens: that is no fault, and no proof of anything."""
    return canary.loss is None


def crashed(decoy: Decoy) -> Trial | None:
    """Return the half of a decoy run that ended itself with an error; None where neither did."""
    halves = (decoy.compiling, decoy.trial)
    return next((each for each in halves if each and each.outcome is TrialOutcome.CRASHED), None)


def with_decoy(decision: Decision, decoy: Decoy | None, trials: Sequence[Trial]) -> Decision:
    """Return a decision with what its decoy run showed, and how its timed runs used the caches of it."""
    misses = tuple(each.index for each in trials if each.caches and each.caches.is_miss)
    changed = {"canary": decoy.canary if decoy else None, "caches": _began_with(trials), "cache_misses": misses}
    return decision.model_copy(update=changed)


def _began_with(trials: Sequence[Trial]) -> Literal["decoy", "empty"] | None:
    used = [each.caches for each in trials if each.caches]
    if not used:
        return None
    return "decoy" if any(each.sha256 for each in used) else "empty"
