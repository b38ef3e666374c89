"""What stands beside the agents in the progress figure: the human records, and results that others published."""

from collections.abc import Iterable, Sequence
from typing import Any

from matplotlib.axes import Axes

from slurm_bench.pure.progress import Board
from slurm_bench.pure.yardstick import Source
from slurm_bench.steps.figures.frame import Frame
from slurm_bench.steps.figures.ink import INK, PAPER, QUIET, shows
from slurm_bench.steps.figures.labels import Label, draw_where_free, name_of, shortened

DASHES = {Source.HERE: (4.0, 3.0), Source.PUBLISHED: (4.0, 3.0), Source.LEADERBOARD: (1.0, 2.0)}
"""Of human records' lines: a dash and the gap after it."""


def human_labels(board: Board, frame: Frame) -> list[Label]:
    """The one that is 100 % first, then the best."""
    whole = board.yardstick.whole if board.yardstick else None
    ranked = sorted(board.human, key=lambda step: (step != whole, -step.saved_s))
    return [
        Label(name_of(step.name), frame.end, frame.scale * step.saved_s, dashes=DASHES[step.source]) for step in ranked
    ]


def draw_human(frame: Frame, panel: Axes, labels: Sequence[Label], taken: Iterable[float]) -> None:
    """A dashed line a record, thinner where its name has no room; the best one is named already."""
    named = [*labels[:1], *draw_where_free(panel, labels[1:], taken)]
    for label in (each for each in labels if shows(panel, each.y)):
        width, alpha = (0.9, QUIET) if label in named else (0.5, 0.4)
        line: dict[str, Any] = {"linestyle": (0, label.dashes), "linewidth": width, "color": INK, "alpha": alpha}
        panel.plot([0, frame.end], [label.y, label.y], zorder=1, label=f"human {label.text}", **line)


def published_labels(board: Board) -> list[Label]:
    return [
        Label(f"{shortened(each.agent, 16)}, published {each.percent:g} %", each.h100_hours, each.percent)
        for each in board.published
        if board.human_s
    ]


def draw_published(panel: Axes, labels: Iterable[Label]) -> None:
    shown = [label for label in labels if shows(panel, label.y)]
    mark: dict[str, Any] = {"marker": "D", "markersize": 5, "color": INK, "markerfacecolor": PAPER}
    at, percents = [label.x for label in shown], [label.y for label in shown]
    panel.plot(at, percents, linestyle="none", zorder=4, label="published", **mark)
