"""The score of a session: the seconds that its confirmation saved, zero, or none yet (docs/statistics.md)."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import hypot

from slurm_bench.pure import confirmation
from slurm_bench.pure.rules import CONFIRMATION_RUNS
from slurm_bench.words.records import SessionState
from slurm_bench.words.verdicts import Verdict


class ScoreState(StrEnum):
    """Whether a session has a score, and if not, why."""

    SCORED = "scored"
    RUNNING = "not over"
    """The session is not over."""
    NOT_CONFIRMED = "not confirmed"
    """It is over, and what it accepted is left to be confirmed."""


@dataclass(frozen=True)
class Saved:
    """Seconds of training time saved, with the ends of their interval."""

    saved_s: float
    saved_low_s: float
    saved_high_s: float

    def is_clear_of(self, other: "Saved") -> bool:
        """Whether it is more than another by more than chance.

        The interval of the difference is taken from both intervals as if they were independent, as fresh blocks are.
        """
        return self.saved_s - other.saved_s > hypot(self._half_width_s, other._half_width_s)

    @property
    def _half_width_s(self) -> float:
        return (self.saved_high_s - self.saved_low_s) / 2


NOTHING_SAVED = Saved(0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Score:
    """What a session is worth, as far as that is known."""

    state: ScoreState
    saved: Saved | None
    """None where there is no score."""
    submission: str = ""
    """The accepted submission whose score it is; where there is no score, the one that is to be confirmed next."""
    confirmation: str = ""
    """The submission that confirms it."""
    why: str = ""
    """Why a score is zero."""


def of(state: SessionState, verdicts: Sequence[Verdict]) -> Score:
    """Return the score of a session.

    Args:
        verdicts: all of it, confirmations too.
    """
    confirmed = confirmation.confirmed(verdicts)
    if confirmed and confirmed.speed:
        speed, number = confirmed.speed, confirmed.confirms or ""
        saved = Saved(speed.saved_s, speed.saved_low_s, speed.saved_high_s)
        return Score(ScoreState.SCORED, saved, number, confirmed.submission)
    left = confirmation.candidate(verdicts)
    next_one = left.submission if left else ""
    if state is not SessionState.FINISHED:
        return Score(ScoreState.RUNNING, None, next_one)
    if left:
        return Score(ScoreState.NOT_CONFIRMED, None, next_one)
    return Score(ScoreState.SCORED, NOTHING_SAVED, why=_why_zero(verdicts))


def _why_zero(verdicts: Sequence[Verdict]) -> str:
    if not confirmation.accepted(verdicts):
        return "nothing was accepted"
    return "none of its accepted candidates that were timed afresh was confirmed"


def describe(score: Score) -> str:
    """Return one line for people."""
    if score.saved and score.why:
        return f"score: 0, {score.why}"
    if score.saved:
        interval = f"[{score.saved.saved_low_s:.2f}, {score.saved.saved_high_s:.2f}]"
        return f"score: {score.saved.saved_s:.2f} s {interval} saved, confirmed by {CONFIRMATION_RUNS} fresh blocks"
    left = (
        f"; submission {score.submission} is accepted, and left to be confirmed (command=confirm)"
        if score.submission
        else ""
    )
    return f"no score yet: {score.state}{left}"
