"""A session's best so far: a step line, and a mark at each step, filled where it is clear of the best before."""

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes

from slurm_bench.steps.figures.ink import PAPER, Look

Points = Sequence[tuple[float, float]]


def draw_line(axes: Axes, steps: Points, end: float, look: Look, **line: Any) -> None:
    """From 0 through the steps, and on to where the session ends (x)."""
    last = steps[-1][1] if steps else 0.0
    x, y = zip((0.0, 0.0), *steps, (end, last), strict=True)
    axes.plot(x, y, drawstyle="steps-post", color=look.colour, **line)


def draw_marks(axes: Axes, steps: Points, clear: Sequence[bool], look: Look, size: float) -> None:
    for wanted, face, label in ((True, look.colour, "clear"), (False, PAPER, "not clear")):
        shown = [step for step, is_clear in zip(steps, clear, strict=True) if is_clear == wanted]
        axes.plot(
            [x for x, _ in shown],
            [y for _, y in shown],
            linestyle="none",
            marker=look.marker,
            markersize=size,
            color=look.colour,
            markerfacecolor=face,
            markeredgewidth=0.9,
            zorder=3,
            label=label,
        )
