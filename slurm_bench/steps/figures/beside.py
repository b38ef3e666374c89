"""What stands beside the agents in the progress figure: the human records, and results that others published."""

from collections.abc import Iterable

from matplotlib.axes import Axes

from slurm_bench.pure.progress import Board
from slurm_bench.steps.figures.frame import Frame
from slurm_bench.steps.figures.ink import INK, PAPER, QUIET
from slurm_bench.steps.figures.labels import Label, draw_where_free, name_of, shortened


def names_beside(board: Board) -> list[str]:
    return [name_of(step.name) for step in board.human]


def draw_human(board: Board, frame: Frame, panel: Axes, taken: Iterable[float]) -> None:
    """A dashed line a record, thinner where its name has no room."""
    labels = [Label(name_of(step.name), frame.end, frame.scale * step.saved_s) for step in reversed(board.human)]
    named = draw_where_free(panel, labels, taken)
    bottom, top = panel.get_ylim()
    for label in (each for each in labels if bottom <= each.y <= top):
        width, alpha = (0.9, QUIET) if label in named else (0.5, 0.4)
        panel.plot(
            [0, frame.end],
            [label.y, label.y],
            linestyle=(0, (4, 3)),
            linewidth=width,
            color=INK,
            alpha=alpha,
            zorder=1,
            label=f"human {label.text}",
        )


def published_labels(board: Board, frame: Frame) -> list[Label]:
    if not board.human_s:
        return []
    return [
        Label(f"{shortened(each.agent, 16)}, published {each.percent:g} %", each.h100_hours, each.percent)
        for each in board.published
    ]


def draw_published(board: Board, frame: Frame) -> None:
    for each in board.published if board.human_s else ():
        for panel in frame.panels:
            panel.plot(
                [each.h100_hours],
                [each.percent],
                linestyle="none",
                marker="D",
                markersize=5,
                color=INK,
                markerfacecolor=PAPER,
                zorder=4,
                label=f"published {each.agent}",
            )
