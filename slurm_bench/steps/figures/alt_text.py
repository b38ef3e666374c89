"""The progress figure in words."""

from collections.abc import Sequence
from itertools import combinations

from slurm_bench.pure.progress import Board, Curve, Step
from slurm_bench.pure.rules import CONFIDENCE

_MOST_PAIRS = 6


def description(board: Board) -> str:
    """For who cannot see it: each agent's best, after what, and which of these differ by more than chance."""
    if not board.curves:
        return "No session of an agent yet."
    measure = "percent of human progress" if board.human_s else "seconds of training time saved"
    bests = [_best(agent, board) for agent in sorted(board.agents, key=lambda agent: -_best_s(agent, board))]
    return (
        f"Best so far, in {measure} with its {100 * CONFIDENCE:.0f} % interval: {'; '.join(bests)}.{_overlaps(board)}"
    )


def _best(agent: str, board: Board) -> str:
    sessions = [curve for curve in board.curves if curve.agent == agent]
    seeds = f" (best of {len(sessions)} sessions)" if len(sessions) > 1 else ""
    step = _best_of(sessions)
    if step is None:
        used = max(curve.h100_hours for curve in sessions)
        return f"{agent}{seeds} nothing accepted in {used:.4g} H100-hours"
    scale = 100 / board.human_s if board.human_s else 1.0
    value, low, high = (f"{round(scale * seconds, 1) + 0.0:.1f}" for seconds in (step.saved_s, step.low_s, step.high_s))
    return f"{agent}{seeds} {value} [{low}, {high}] after {step.h100_hours:.4g} H100-hours"


def _best_s(agent: str, board: Board) -> float:
    step = _best_of([curve for curve in board.curves if curve.agent == agent])
    return step.saved_s if step else 0.0


def _best_of(sessions: Sequence[Curve]) -> Step | None:
    return max((curve.best for curve in sessions if curve.best), key=lambda step: step.saved_s, default=None)


def _overlaps(board: Board) -> str:
    """Of the agents' bests, in pairs; many pairs are only counted."""
    bests = {agent: _best_of([curve for curve in board.curves if curve.agent == agent]) for agent in board.agents}
    pairs = list(combinations([(agent, step) for agent, step in bests.items() if step], 2))
    close = [
        f"{one} and {other}"
        for (one, step), (other, others) in pairs
        if not (step.is_clear_of(others) or others.is_clear_of(step))
    ]
    if not close:
        return " All of these are clear of each other." if pairs else ""
    listed = ", ".join(close) if len(close) <= _MOST_PAIRS else f"{len(close)} of {len(pairs)} pairs"
    return f" Not clear of each other: {listed}."
