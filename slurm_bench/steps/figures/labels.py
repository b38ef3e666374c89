"""Names beside the ends of lines, in one column, so that none lies on another."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.text import Text
from matplotlib.textpath import TextPath

from slurm_bench.pure.spacing import fitting, spread
from slurm_bench.steps.figures.ink import INK, QUIET, SMALL, shows

ROW = 1.3 * SMALL
"""Points from one line of text to the next."""
_LONGEST = 28
"""Characters."""
_MOST = 16
"""Names in a column."""
_LEAD = 16
"""Points between the column and the lines that end there."""
_WIDEST = 0.5
"""Of the axes."""


@dataclass(frozen=True)
class Label:
    text: str
    x: float
    """Where the line ends that it names."""
    y: float
    colour: str = INK
    dashes: tuple[float, float] = (4, 3)
    """Of a human record's line: lengths of a dash and of the gap after it."""


def shortened(text: str, most: int = _LONGEST) -> str:
    return text if len(text) <= most else text[: most - 1].rstrip() + "…"


def name_of(record: str) -> str:
    """A human record's, without its date, which `_` or `-` ends."""
    return shortened(re.sub(r"\A\d{4}-\d\d-\d\d[-_]", "", record), 22)


def leave_room(axes: Axes, end: float, texts: Iterable[str]) -> None:
    """An x axis from 0 whose data ends at `end`, with room for a column to the right of it."""
    widest = max((_width(text) for text in texts), default=0.0)
    share = (1.04 * widest + 1.5 * _LEAD) / _points(axes)[0]
    axes.set_xlim(0, end / (1 - min(share, _WIDEST)))


def draw_column(axes: Axes, labels: Iterable[Label], end: float) -> list[float]:
    """Labels of what ends within these axes, each with a line to what it names; as many as fit.

    Returns:
        Where they stand (y).
    """
    bottom, top = axes.get_ylim()
    gap, rows = row_of(axes), min(_MOST, int(_points(axes)[1] / ROW))
    shown = _as_many_as(rows, [each for each in labels if shows(axes, each.y)])
    places = spread([each.y for each in shown], gap, bottom + gap / 2, top - gap / 2)
    column = end + _lead(axes)
    for each, place in zip(shown, places, strict=True):
        room = column - end
        lead = [each.x, end, column - 0.6 * room]
        axes.plot(lead, [each.y, each.y, place], color=each.colour, linewidth=0.6, alpha=QUIET, label="_lead")
        handle = [column - 0.6 * room, column - 0.2 * room]
        axes.plot(handle, [place, place], color=each.colour, linewidth=3, label="_handle")
        _write(axes, each, column, place)
    return places


def _as_many_as(rows: int, labels: Sequence[Label]) -> list[Label]:
    """The highest; below them, how many more there are."""
    ranked = sorted(labels, key=lambda each: -each.y)
    if len(ranked) <= rows:
        return ranked
    rest = ranked[rows - 1 :]
    return [*ranked[: rows - 1], Label(f"and {len(rest)} more", rest[0].x, rest[0].y)]


def draw_where_free(axes: Axes, labels: Iterable[Label], taken: Iterable[float]) -> list[Label]:
    """Those labels that have room at their own height, first come first served.

    Returns:
        Those drawn.
    """
    inside = [each for each in labels if shows(axes, each.y)]
    free = fitting([each.y for each in inside], taken, row_of(axes))
    shown = [each for each in inside if each.y in free]
    for each in shown:
        _write(axes, each, each.x + _lead(axes), each.y).set_alpha(QUIET)
    return shown


def _write(axes: Axes, label: Label, x: float, y: float) -> Text:
    # In ink: text needs more contrast than its line, which has the colour.
    return axes.text(x, y, label.text, color=INK, va="center_baseline", fontsize=SMALL)


def row_of(axes: Axes) -> float:
    """A row of text, in units of y."""
    bottom, top = axes.get_ylim()
    return (top - bottom) * ROW / _points(axes)[1]


def _lead(axes: Axes) -> float:
    left, right = axes.get_xlim()
    return (right - left) * _LEAD / _points(axes)[0]


def _points(axes: Axes) -> tuple[float, float]:
    """Width and height of axes that have no automatic layout."""
    figure = axes.get_figure(root=True)
    assert figure is not None
    width, height = figure.get_size_inches() * 72
    return float(axes.get_position().width * width), float(axes.get_position().height * height)


def _width(text: str) -> float:
    """Points. Outlines of letters have a point wherever they are widest, so that no curve need be solved."""
    if not text.strip():
        return 0.0
    outline = TextPath((0, 0), text, size=SMALL)
    return float(np.ptp(outline.vertices[outline.codes != TextPath.CLOSEPOLY, 0]))
