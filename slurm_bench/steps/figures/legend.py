"""What the marks of the progress figure mean, above it."""

from collections.abc import Iterator
from typing import Any

from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from slurm_bench.pure.progress import Board, bands
from slurm_bench.pure.rules import CONFIDENCE
from slurm_bench.pure.yardstick import Source
from slurm_bench.steps.figures.beside import DASHES
from slurm_bench.steps.figures.ink import INK, PAPER, QUIET


def draw_legend(figure: Figure, board: Board) -> None:
    entries = list(_entries(board))
    if entries:
        handles, texts = zip(*entries, strict=True)
        figure.legend(handles, texts, loc="upper left", bbox_to_anchor=(0.09, 1.0), ncols=2, handlelength=2.2)


def _entries(board: Board) -> Iterator[tuple[Any, str]]:
    """Of the marks that are there."""
    if any(curve.score.saved for curve in board.curves):
        yield _step(INK), f"score, confirmed afresh ({100 * CONFIDENCE:.0f} % interval)"
    if any(curve.steps for curve in board.curves):
        yield _step(PAPER), "accepted, not confirmed"
    if bands(board.curves):
        band = Patch(facecolor=INK, alpha=0.14, linewidth=0)
        yield (band, Line2D([], [], color=INK, linewidth=2.4)), "mean and range of seeds"
    sources = {step.source for step in board.human}
    if sources - {Source.LEADERBOARD}:
        yield _human(Source.PUBLISHED), "human record"
    if Source.LEADERBOARD in sources:
        yield _human(Source.LEADERBOARD), "human record, by the leaderboard"
    if board.published and board.human_s:
        yield (
            Line2D([], [], linestyle="none", marker="D", markersize=5, color=INK, markerfacecolor=PAPER),
            "published elsewhere, no interval",
        )


def _human(source: Source) -> Line2D:
    dashes: Any = (0, DASHES[source])
    return Line2D([], [], color=INK, linewidth=0.9, linestyle=dashes, alpha=QUIET)


def _step(face: str) -> tuple[Line2D, Line2D]:
    bar = Line2D([], [], linestyle="none", marker="|", markersize=10, markeredgewidth=0.9, color=INK)
    return bar, Line2D([], [], linestyle="none", marker="o", markersize=5, color=INK, markerfacecolor=face)
