"""A session's score: its best accepted candidate, timed afresh.

Whoever is chosen as the best of many was also lucky, so that the runs by which it was chosen say too much of it. Fresh
runs are neither lucky nor biased. What they confirm is the session's score (docs/statistics.md).
"""

from collections.abc import Iterable, Sequence

from slurm_bench.pure.rules import LEVEL, MOST_CONFIRMATIONS
from slurm_bench.words.verdicts import Outcome, Verdict


def level(place: int) -> float:
    """Return the level of the how manieth confirmation of a session: a half, a quarter, an eighth … of LEVEL.

    The shares add up to less than one, so that a wrong candidate gets a score at most as often as LEVEL, whatever was
    handed in (Bonferroni's inequality).

    Args:
        place: from 1.
    """
    return float(LEVEL / 2**place)


def candidate(verdicts: Iterable[Verdict]) -> Verdict | None:
    """Return the verdict of the candidate that is to be confirmed next; None where one is, or nothing is left to try.

    The accepted one that saved the most seconds comes first. A confirmation that the site failed is tried again, and
    has spent its share of the level.

    Args:
        verdicts: all of a session.
    """
    ours = list(verdicts)
    failed = {each.seal for each in ours if each.confirms and each.outcome is Outcome.REJECTED}
    if confirmed(ours) or len(failed) >= MOST_CONFIRMATIONS:
        return None
    left = [each for each in accepted(ours) if each.seal not in failed]
    return max(left, key=_saved_s, default=None)


def accepted(verdicts: Iterable[Verdict]) -> list[Verdict]:
    """Return the verdicts that accept what an agent handed in, each seal's once."""
    return [each for each in verdicts if each.outcome is Outcome.ACCEPTED and not each.confirms and not each.repeats]


def confirmed(verdicts: Sequence[Verdict]) -> Verdict | None:
    """Return the confirmation that is the session's score, if there is one."""
    fresh = (each for each in verdicts if each.confirms and each.confirmation and not each.repeats)
    return next((each for each in fresh if each.outcome is Outcome.ACCEPTED), None)


def _saved_s(verdict: Verdict) -> float:
    return verdict.speed.saved_s if verdict.speed else 0.0
