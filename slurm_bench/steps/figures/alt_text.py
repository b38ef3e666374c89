"""The progress figure in words."""

from collections.abc import Sequence
from itertools import combinations

from slurm_bench.pure.progress import Board, Curve, Step
from slurm_bench.pure.rules import CONFIDENCE
from slurm_bench.pure.score import Saved
from slurm_bench.pure.yardstick import Source, describe_yardstick

_MOST_PAIRS = 6


def description(board: Board) -> str:
    """Return what it shows, for who cannot see it.

    That is each agent's best score, or what it has accepted, and which scores differ by more than chance.
    """
    if not board.curves:
        return "No session of an agent yet."
    measure = "percent of human progress" if board.human_s else "seconds of training time saved"
    bests = [_best(agent, board) for agent in sorted(board.agents, key=lambda agent: _rank(agent, board), reverse=True)]
    marks = "a score (filled) was confirmed by fresh runs, what is only accepted (hollow) was not"
    interval = f"In {measure} with its {100 * CONFIDENCE:.0f} % interval"
    return f"{interval}; {marks}: {'; '.join(bests)}.{_overlaps(board)}"


def about_humans(board: Board) -> str:
    """Return what the figures' human records are, to stand behind another sentence; nothing where there are none."""
    if not board.yardstick:
        return ""
    rough = any(step.source is Source.LEADERBOARD for step in board.human)
    marks = " Dotted lines and open points are seconds by the leaderboard." if rough else ""
    return f" {describe_yardstick(board.yardstick)}{marks}"


def _best(agent: str, board: Board) -> str:
    sessions = _sessions(agent, board)
    scores = sum(curve.score.saved is not None for curve in sessions)
    saved, step = _score(sessions), _accepted(sessions)
    scale = 100 / board.human_s if board.human_s else 1.0
    if saved:
        seeds = f" (best of {scores} sessions)" if scores > 1 else ""
        return f"{agent}{seeds} score {_interval(scale, saved.saved_s, saved.saved_low_s, saved.saved_high_s)}"
    if step:
        accepted = _interval(scale, step.saved_s, step.low_s, step.high_s)
        return f"{agent} no score, accepted {accepted} after {step.h100_hours:.4g} H100-hours"
    return f"{agent} nothing accepted in {max(curve.h100_hours for curve in sessions):.4g} H100-hours"


def _interval(scale: float, *seconds: float) -> str:
    value, low, high = (f"{round(scale * each, 1) + 0.0:.1f}" for each in seconds)
    return f"{value} [{low}, {high}]" if any(seconds) else "0"


def _sessions(agent: str, board: Board) -> list[Curve]:
    return [curve for curve in board.curves if curve.agent == agent]


def _rank(agent: str, board: Board) -> tuple[float, float]:
    saved, step = _score(_sessions(agent, board)), _accepted(_sessions(agent, board))
    return saved.saved_s if saved else 0.0, step.saved_s if step else 0.0


def _score(sessions: Sequence[Curve]) -> Saved | None:
    scores = [curve.score.saved for curve in sessions if curve.score.saved]
    return max(scores, key=lambda saved: saved.saved_s, default=None)


def _accepted(sessions: Sequence[Curve]) -> Step | None:
    return max((curve.best for curve in sessions if curve.best), key=lambda step: step.saved_s, default=None)


def _overlaps(board: Board) -> str:
    """Of the agents' scores, in pairs; many pairs are only counted."""
    scores = [(agent, saved) for agent in board.agents if (saved := _score(_sessions(agent, board)))]
    pairs = list(combinations(scores, 2))
    close = [
        f"{one} and {other}"
        for (one, saved), (other, others) in pairs
        if not (saved.is_clear_of(others) or others.is_clear_of(saved))
    ]
    if not close:
        return " All of these scores are clear of each other." if pairs else ""
    listed = ", ".join(close) if len(close) <= _MOST_PAIRS else f"{len(close)} of {len(pairs)} pairs"
    return f" Not clear of each other: {listed}."
