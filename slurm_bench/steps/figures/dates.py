"""Progress over time: humans by date, and beside them, on the same scale, agents by hours of their sessions."""

from itertools import accumulate
from typing import Any

from matplotlib.axes import Axes
from matplotlib.dates import DAILY, MONTHLY, AutoDateLocator, ConciseDateFormatter, date2num
from matplotlib.figure import Figure

from slurm_bench.pure.progress import Board, Curve
from slurm_bench.pure.spacing import fitting
from slurm_bench.pure.yardstick import Source
from slurm_bench.steps.figures.curves import beside, draw_accepted, draw_line, draw_score
from slurm_bench.steps.figures.ink import INK, PAPER, QUIET, SIZE, SMALL, Look, drawing, looks, say, ticks
from slurm_bench.steps.figures.labels import Label, draw_column, leave_room, name_of, row_of, shortened


def trajectory(board: Board) -> Figure:
    """Only the agents where there is no human progress."""
    with drawing():
        figure = Figure(figsize=SIZE)
        place = {"left": 0.09, "right": 0.985, "bottom": 0.11, "top": 0.93, "wspace": 0.06}
        widths = (4, 5) if board.human else (1,)
        panels = figure.subplots(1, len(widths), sharey=True, squeeze=False, width_ratios=widths, gridspec_kw=place)
        *humans, agents = panels[0]
        steps = [step for curve in board.curves for step in curve.steps]
        scores = [curve.score.saved.saved_s for curve in board.curves if curve.score.saved]
        reached = [step.saved_s for step in steps] + [step.saved_s for step in board.human] + scores
        top = max(reached, default=0.0) or 1.0
        agents.set_ylim(-0.04 * top, 1.08 * top)
        for axes in humans:
            _draw_humans(axes, board)
        _draw_agents(agents, board)
        (humans or [agents])[0].set_ylabel("training time saved (s)")
        return figure


def _draw_humans(axes: Axes, board: Board) -> None:
    days = [float(date2num(step.date)) for step in board.human]
    saved = [step.saved_s for step in board.human]
    best = list(accumulate(saved, max))
    axes.plot(days, best, drawstyle="steps-post", color=INK, linewidth=1.4, label="human best so far")
    _draw_records(axes, board)
    around = max(7.0, 0.05 * (days[-1] - days[0]))
    axes.set_xlim(days[0] - around, days[-1] + around)
    locator = AutoDateLocator(minticks=3, maxticks={DAILY: 5, MONTHLY: 7})
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator, show_offset=False))
    axes.set_title("humans", fontsize="medium")
    years = sorted({str(step.date.year) for step in board.human})
    axes.set_xlabel(f"date of the record ({' and '.join(years)})")
    _name_records(axes, board)


def _draw_records(axes: Axes, board: Board) -> None:
    """Open where the seconds are the leaderboard's."""
    for sources, face in (((Source.PUBLISHED, Source.HERE), INK), ((Source.LEADERBOARD,), PAPER)):
        steps = [step for step in board.human if step.source in sources]
        at = [float(date2num(step.date)) for step in steps], [step.saved_s for step in steps]
        mark: dict[str, Any] = {"marker": "o", "markersize": 3.6, "color": INK, "markerfacecolor": face}
        axes.plot(*at, linestyle="none", label="human records", **mark)


def _name_records(axes: Axes, board: Board) -> None:
    """Late ones above the line, to the left; early ones below it, to the right: there is room."""
    first, last = (float(date2num(board.human[index].date)) for index in (0, -1))
    shown = fitting([step.saved_s for step in reversed(board.human)], (), 1.6 * row_of(axes))
    for step in (each for each in board.human if each.saved_s in shown):
        is_late = date2num(step.date) > (first + last) / 2
        axes.annotate(
            name_of(step.name),
            (float(date2num(step.date)), step.saved_s),
            xytext=(-6, 3) if is_late else (6, -3),
            textcoords="offset points",
            ha="right" if is_late else "left",
            va="bottom" if is_late else "top",
            alpha=QUIET,
            fontsize=SMALL,
        )


def _draw_agents(axes: Axes, board: Board) -> None:
    look = looks(board)
    last = max((curve.hours for curve in board.curves), default=0.0) or 1.0
    places = beside(board, last)
    end = max([last, *(curve.hours + places[curve.agent] for curve in board.curves if curve.score.saved)])
    labels = [_label(board, agent, look[agent]) for agent in board.agents]
    leave_room(axes, end, [label.text for label in labels])
    for curve in board.curves:
        _draw_curve(axes, curve, look[curve.agent])
        draw_score(axes, curve, (curve.hours, curve.hours + places[curve.agent]), look[curve.agent])
    draw_column(axes, labels, end)
    axes.set_xticks(ticks(last, 5))
    axes.set_title("agents", fontsize="medium")
    axes.set_xlabel("hours since the session's start")
    if not board.curves:
        axes.set_xticks([])
        say(axes, "no session of an agent yet")


def _label(board: Board, agent: str, look: Look) -> Label:
    """At its best session's end."""
    sessions = [curve for curve in board.curves if curve.agent == agent]
    best = max(sessions, key=lambda curve: curve.best.saved_s if curve.best else 0.0)
    return Label(shortened(agent, 20), best.hours, best.best.saved_s if best.best else 0.0, look.colour)


def _draw_curve(axes: Axes, curve: Curve, look: Look) -> None:
    steps = [(step.hours, step.saved_s) for step in curve.steps]
    draw_line(axes, steps, curve.hours, look, linewidth=1.0, label=f"best of {curve.session}")
    draw_accepted(axes, steps, look, 3.4)
