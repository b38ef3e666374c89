"""Progress against GPU time: percent of human progress over H100-hours used, one step line a session."""

from dataclasses import replace
from typing import Any

from matplotlib.figure import Figure

from slurm_bench.pure.progress import Band, Board, Curve, bands
from slurm_bench.steps.figures.beside import draw_human, draw_published, human_labels, published_labels
from slurm_bench.steps.figures.curves import draw_accepted, draw_line, draw_score
from slurm_bench.steps.figures.frame import Frame, make
from slurm_bench.steps.figures.ink import Look, drawing, looks, say
from slurm_bench.steps.figures.labels import Label, draw_column, leave_room, shortened
from slurm_bench.steps.figures.legend import draw_legend

_MANY = 12
"""Sessions, from which on their lines get thinner."""


def progress(board: Board) -> Figure:
    """The y axis is broken where the agents' best is far below the humans' best."""
    with drawing():
        frame = make(board)
        human, published = human_labels(board, frame), published_labels(board)
        labels = [*_labels(board, frame), *published, *human[:1]]
        leave_room(frame.lower, frame.end, [label.text for label in (*labels, *human)])
        _draw_agents(board, frame)
        for panel in frame.panels:
            draw_published(panel, published)
            taken = draw_column(panel, labels, frame.end)
            draw_human(frame, panel, human, taken)
        draw_legend(frame.figure, board)
        if not board.curves:
            frame.lower.set_xticks([])
            say(frame.lower, "no session of an agent yet")
        return frame.figure


def _labels(board: Board, frame: Frame) -> list[Label]:
    """An agent's name stands at the mean of its seeds' ends; those that run are in it only where no other is."""
    look = looks(board)
    found = []
    for agent in board.agents:
        all_seeds = [curve for curve in board.curves if curve.agent == agent]
        seeds = [curve for curve in all_seeds if curve.is_over] or all_seeds
        ends = [curve.best.saved_s if curve.best else 0.0 for curve in seeds]
        at = max(curve.h100_hours for curve in seeds)
        found.append(Label(shortened(agent), at, frame.scale * sum(ends) / len(ends), look[agent].colour))
    return found


def _draw_agents(board: Board, frame: Frame) -> None:
    """One of several seeds is thinner than their mean, and all are where there are many."""
    look, means = looks(board), bands(board.curves)
    crowd = min(1.0, (_MANY / max(1, len(board.curves))) ** 0.5)
    for band in means:
        _draw_band(band, frame, look[band.agent])
    for curve in board.curves:
        own = look[curve.agent]
        if curve.agent in {band.agent for band in means}:
            _draw_curve(curve, frame, replace(own, line="-"), 0.5 * crowd)
        else:
            _draw_curve(curve, frame, own, crowd)


def _draw_band(band: Band, frame: Frame, look: Look) -> None:
    mean, low, high = ([frame.scale * s for s in each] for each in (band.mean_s, band.low_s, band.high_s))
    area: dict[str, Any] = {"color": look.colour, "alpha": 0.14, "linewidth": 0, "label": f"range of {band.agent}"}
    frame.lower.fill_between(band.at, low, high, step="post", **area)
    line: dict[str, Any] = {"linestyle": look.line, "linewidth": 2.4, "label": f"mean of {band.agent}"}
    frame.lower.plot(band.at, mean, drawstyle="steps-post", color=look.colour, **line)


def _draw_curve(curve: Curve, frame: Frame, look: Look, weight: float) -> None:
    """The less weight, the thinner and lighter."""
    steps = [(step.h100_hours, frame.scale * step.saved_s) for step in curve.steps]
    line: dict[str, Any] = {"linestyle": look.line, "linewidth": 1.8 * weight, "alpha": _alpha(weight)}
    draw_line(frame.lower, steps, curve.h100_hours, look, label=f"best of {curve.session}", **line)
    at = [step.h100_hours for step in curve.steps]
    low, high = ([frame.scale * getattr(step, end) for step in curve.steps] for end in ("low_s", "high_s"))
    bars = frame.lower.vlines(at, low, high, colors=look.colour, linewidth=0.9, alpha=_alpha(weight))
    bars.set_label(f"intervals of {curve.session}")
    draw_accepted(frame.lower, steps, look, 2.4 + 2.6 * weight)
    ends = curve.h100_hours, curve.h100_hours + frame.beside[curve.agent]
    draw_score(frame.lower, curve, ends, look, frame.scale)


def _alpha(weight: float) -> float:
    return min(1.0, 0.3 + weight)
