"""The axes of the progress figure: percent on the left, seconds on the right, broken where agents are far below."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from slurm_bench.pure.progress import Board
from slurm_bench.steps.figures.curves import beside
from slurm_bench.steps.figures.ink import INK, SIZE, ticks

_ROOM = 1.25
"""How high the axis of the agents goes, for each of their highest."""
_BREAK_BELOW = 50.0
"""Percent: where that is less, the axis is broken."""
_UPPER = (85.0, 105.0)
"""Percent, above the break."""
_BELOW_ZERO = 0.04
"""Of the axis, so that a line at 0 does not lie on its edge."""


@dataclass(frozen=True)
class Frame:
    figure: Figure
    lower: Axes
    upper: Axes | None
    """Only where the y axis is broken."""
    scale: float
    """Percent for each second saved; 1 where there is no human progress, and y is in seconds."""
    end: float
    """H100-hours, of the data and the scores beside it; labels stand to the right of it."""
    beside: Mapping[str, float]
    """H100-hours from the end of an agent's lines to their scores."""

    @property
    def panels(self) -> tuple[Axes, ...]:
        return (self.lower, self.upper) if self.upper else (self.lower,)


def make(board: Board) -> Frame:
    figure = Figure(figsize=SIZE)
    scale = 100 / board.human_s if board.human_s else 1.0
    lowest, highest = _reach(board, scale)
    reached = _ROOM * highest
    lower, upper = _panels(figure, broken=board.human_s is not None and 0 < reached < _BREAK_BELOW)
    top = reached if upper or not board.human_s else max(reached, _UPPER[1])
    if not top:
        lower.set_yticks([0])
    lower.set_ylim(1.1 * lowest - _BELOW_ZERO * (top or 1.0), top or 1.0)
    used = [curve.h100_hours for curve in board.curves] + [each.h100_hours for each in board.published]
    last = max(used, default=0.0) or 1.0
    places = beside(board, last)
    scored = [curve.h100_hours + places[curve.agent] for curve in board.curves if curve.score.saved]
    frame = Frame(figure, lower, upper, scale, max([last, *scored]), places)
    lower.set_xticks(ticks(last))
    _name_axes(frame, in_percent=board.human_s is not None)
    return frame


def _reach(board: Board, scale: float) -> tuple[float, float]:
    """The lowest and the highest that agents and published results come, with their intervals; 0 is among them."""
    steps = [step for curve in board.curves for step in curve.steps]
    scores = [curve.score.saved for curve in board.curves if curve.score.saved]
    published = [each.percent for each in board.published] if board.human_s else []
    low = [*(step.low_s for step in steps), *(saved.saved_low_s for saved in scores)]
    high = [*(step.high_s for step in steps), *(saved.saved_high_s for saved in scores)]
    return scale * min([0.0, *low]), max([0.0, *(scale * seconds for seconds in high), *published])


def _panels(figure: Figure, broken: bool) -> tuple[Axes, Axes | None]:
    place = {"left": 0.1, "right": 0.895, "bottom": 0.11, "top": 0.84, "hspace": 0.06}
    if not broken:
        return figure.subplots(gridspec_kw=place), None
    upper, lower = figure.subplots(2, sharex=True, gridspec_kw={**place, "height_ratios": (1, 4)})
    upper.set_ylim(*_UPPER)
    upper.spines["bottom"].set_visible(False)
    upper.tick_params(bottom=False)
    for panel, edge in ((upper, 0), (lower, 1)):
        panel.plot(
            [0, 1],
            [edge, edge],
            transform=panel.transAxes,
            linestyle="none",
            marker=[(-1, -0.6), (1, 0.6)],
            markersize=9,
            color=INK,
            clip_on=False,
            label="_break",
        )
    return lower, upper


def _name_axes(frame: Frame, in_percent: bool) -> None:
    frame.lower.set_xlabel("H100-hours used")
    frame.lower.set_ylabel("human progress (%)" if in_percent else "training time saved (s)")
    if frame.upper:
        frame.upper.set_yticks([90, 100])
    for panel in frame.panels if in_percent else ():
        to_seconds, to_percent = (lambda y: np.divide(y, frame.scale)), (lambda s: np.multiply(s, frame.scale))
        seconds = panel.secondary_yaxis("right", functions=(to_seconds, to_percent))
        seconds.yaxis.set_major_locator(MaxNLocator(6 if panel is frame.lower else 2, steps=[1, 2, 5, 10]))
        if panel is frame.lower:
            seconds.set_ylabel("training time saved (s)")
