"""GPU time by UTC day and kind of job, and what of it was idle."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Any

from matplotlib.axes import Axes
from matplotlib.dates import DAILY, AutoDateLocator, ConciseDateFormatter, date2num
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from slurm_bench.pure.progress import Board
from slurm_bench.pure.usage import Line, idle_share
from slurm_bench.steps.figures.ink import COLOURS, INK, SIZE, drawing, say
from slurm_bench.words.kinds import KINDS, Kind

_LEAST_DAYS = 7
"""Of the axis, so that one day's bar is no wall."""
_ROOM = 6
"""Entries of the legend that have room above the axes; for more these begin further down."""
_WIDTH = 0.8
"""Of a bar, in days."""
# Without a face: SVG would draw a face's opacity over the hatch too.
_IDLE: Mapping[str, Any] = {"facecolor": "none", "hatch": "////", "linewidth": 0.8}

Hours = Mapping[float, float]
"""H100-hours by day, as matplotlib counts days."""


def budget(board: Board) -> Figure:
    """Stacked bars; a kind that nobody watched is drawn as if it was never idle, and its legend says so."""
    with drawing():
        figure = Figure(figsize=SIZE)
        patches = _legend(board.budget)
        top = 0.84 if len(patches) <= _ROOM else 0.8
        axes = figure.subplots(gridspec_kw={"left": 0.09, "right": 0.985, "bottom": 0.12, "top": top})
        axes.set_ylabel("H100-hours a day (UTC)")
        if board.budget:
            _draw_bars(axes, board.budget)
            _draw_dates(axes, board.budget)
            look = {"ncols": 2, "handlelength": 1.6, "columnspacing": 1.2}
            figure.legend(handles=patches, loc="upper left", bbox_to_anchor=(0.08, 1.0), **look)
        else:
            axes.set(xticks=[], yticks=[])
            say(axes, "no GPU time charged yet")
        return figure


def _draw_bars(axes: Axes, lines: Sequence[Line]) -> None:
    floor: dict[float, float] = {}
    for kind, colour in zip(KINDS, COLOURS, strict=False):
        idle = _by_day((line, _idle_hours(line)) for line in lines if line.kind == kind)
        held = _by_day((line, line.h100_hours) for line in lines if line.kind == kind)
        busy = {day: hours - idle[day] for day, hours in held.items()}
        _stack(axes, busy, floor, facecolor=colour, label=kind)
        _stack(axes, idle, floor, edgecolor=colour, label=f"{kind}, idle", **_IDLE)
    axes.set_ylim(0, 1.05 * max(floor.values(), default=0.0) or 1.0)


def _stack(axes: Axes, hours: Hours, floor: dict[float, float], **look: Any) -> None:
    """Bars on those that are there, up to `floor`, which they raise."""
    shown = {day: height for day, height in hours.items() if height > 0}
    bottom = [floor.get(day, 0.0) for day in shown]
    axes.bar(list(shown), list(shown.values()), _WIDTH, bottom, **look)
    for day, height in shown.items():
        floor[day] = floor.get(day, 0.0) + height


def _by_day(parts: Iterable[tuple[Line, float]]) -> Hours:
    total: dict[float, float] = {}
    for line, hours in parts:
        total[_day(line)] = total.get(_day(line), 0.0) + hours
    return total


def _idle_hours(line: Line) -> float:
    return line.h100_hours * (line.idle_gpu_seconds or 0) / line.gpu_seconds if line.gpu_seconds else 0.0


def _day(line: Line) -> float:
    return float(date2num(date.fromisoformat(line.day)))


def _draw_dates(axes: Axes, lines: Sequence[Line]) -> None:
    first, last = min(map(_day, lines)), max(map(_day, lines))
    beside = max(0.0, _LEAST_DAYS - (last - first + 1)) / 2
    axes.set_xlim(first - beside - 0.6, last + beside + 0.6)
    locator = AutoDateLocator(minticks=3, maxticks=8)
    locator.intervald[DAILY] = [1, 2, 7, 14]
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))


def _legend(lines: Sequence[Line]) -> list[Patch]:
    patches = [
        Patch(facecolor=colour, label=_describe(kind, [line for line in lines if line.kind == kind]))
        for kind, colour in zip(KINDS, COLOURS, strict=False)
        if any(line.kind == kind and line.gpu_seconds for line in lines)
    ]
    if any(line.idle_gpu_seconds for line in lines):
        patches.append(Patch(edgecolor=INK, label="idle", **_IDLE))
    return patches


def _describe(kind: Kind, lines: Sequence[Line]) -> str:
    hours, share = sum(line.h100_hours for line in lines), idle_share(lines)
    idle = "idle not seen" if share is None else f"{100 * share:.0f} % idle"
    return f"{kind}: {hours:,.{0 if hours >= 100 else 1}f} H100-hours, {idle}"
