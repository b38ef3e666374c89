"""A session's best accepted so far as a step line with hollow marks, and its score as a filled mark beside the end."""

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes

from slurm_bench.pure.progress import Board, Curve
from slurm_bench.steps.figures.ink import PAPER, Look

Points = Sequence[tuple[float, float]]

_SCORE_SIZE = 4.8
"""Points."""
_GAP, _WIDEST = 0.02, 0.25
"""Between the scores of two agents, and of all agents' scores together: shares of the data's width."""


def draw_line(axes: Axes, steps: Points, end: float, look: Look, **line: Any) -> None:
    """From 0 through the steps, and on to where the session ends (x)."""
    last = steps[-1][1] if steps else 0.0
    x, y = zip((0.0, 0.0), *steps, (end, last), strict=True)
    axes.plot(x, y, drawstyle="steps-post", color=look.colour, **line)


def draw_accepted(axes: Axes, steps: Points, look: Look, size: float) -> None:
    """Draw a hollow mark at each step."""
    x, y = [x for x, _ in steps], [y for _, y in steps]
    axes.plot(x, y, zorder=3, label="accepted", **_mark(look, PAPER, size))


def beside(board: Board, end: float) -> dict[str, float]:
    """Return by agent how far right of its sessions' ends their scores stand: ends meet where budgets are used up.

    Args:
        end: of the last session, in the units of x that are returned.
    """
    gap = min(_GAP, _WIDEST / max(1, len(board.agents))) * end
    return {agent: gap * place for place, agent in enumerate(board.agents, 1)}


def draw_score(axes: Axes, curve: Curve, ends: tuple[float, float], look: Look, scale: float = 1.0) -> None:
    """Draw a filled mark with its interval, and a dotted line from the session's best accepted to it.

    Args:
        ends: of the session's line, and beside it where the mark stands (x).
        scale: units of y for each second saved.
    """
    saved, accepted_s = curve.score.saved, curve.best.saved_s if curve.best else 0.0
    if saved is None:
        return
    at, score, interval = ends[1], scale * saved.saved_s, [scale * saved.saved_low_s, scale * saved.saved_high_s]
    dotted: dict[str, Any] = {"color": look.colour, "linewidth": 0.9, "linestyle": (0, (1, 1.5))}
    axes.plot(ends, [scale * accepted_s, score], zorder=2, label="_to its score", **dotted)
    axes.plot([at, at], interval, color=look.colour, linewidth=1.4, zorder=4, label="interval of a score")
    mark = _mark(look, look.colour, _SCORE_SIZE) | {"markeredgecolor": PAPER, "markeredgewidth": 0.5}
    axes.plot([at], [score], zorder=5, label="score", **mark)


def _mark(look: Look, face: str, size: float) -> dict[str, Any]:
    colours = {"color": look.colour, "markerfacecolor": face, "markeredgewidth": 0.9}
    return {"linestyle": "none", "marker": look.marker, "markersize": size, **colours}
