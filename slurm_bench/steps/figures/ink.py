"""What all figures share: size, fonts, colours, and the look of an agent."""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from slurm_bench.pure.progress import Board

SIZE = (6.8, 4.6)
"""Inches: a page's width."""
FONT = 10.0
SMALL = 9.5
"""Points, both: nothing is smaller, so that a phone's width still shows it."""

INK = "#1b1c1e"
PAPER = "#ffffff"
"""A page replaces both by its own: what has one of them is not an agent's."""
QUIET = 0.65
"""Opacity of what is beside the point."""

# Like Okabe's and Ito's, for the colour-blind, but of a lightness that shows on white pages and on dark ones.
COLOURS = ("#0072b2", "#d55e00", "#008f68", "#b8609a", "#9a7200", "#3a8fc4", "#7d6bc9", "#7a7f87")
MARKERS = ("o", "s", "^", "v", "P", "X", "h", "p")
LINES: tuple[Any, ...] = ("-", (0, (6, 1.5)), (0, (4, 1.2, 1, 1.2)), (0, (1.5, 1)))

STYLE = {
    "font.family": "sans-serif",
    # The first is measured here and goes into files; a page falls back on what it has.
    "font.sans-serif": ["DejaVu Sans", "Helvetica Neue", "Helvetica", "Arial", "sans-serif"],
    "font.size": FONT,
    "axes.labelsize": FONT,
    "legend.fontsize": SMALL,
    "xtick.labelsize": SMALL,
    "ytick.labelsize": SMALL,
    "text.parse_math": False,  # a name may hold a dollar sign
    **dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), INK),
    "axes.facecolor": "none",
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "hatch.linewidth": 0.8,
    "svg.hashsalt": "slurm_bench",
    "svg.fonttype": "none",
    "pdf.fonttype": 42,
}


def drawing() -> AbstractContextManager[None]:
    """The style, whatever this machine's own settings of matplotlib are."""
    return style.context(["default", STYLE])


@dataclass(frozen=True)
class Look:
    """Of an agent: the colour repeats after eight agents, the line does not before 32."""

    colour: str
    marker: str
    line: Any


def looks(board: Board) -> dict[str, Look]:
    """By agent."""
    count = len(COLOURS)
    return {
        agent: Look(COLOURS[number % count], MARKERS[number % count], LINES[(number + number // count) % len(LINES)])
        for number, agent in enumerate(board.agents)
    }


def ticks(end: float, count: int = 6) -> list[float]:
    """Round numbers from 0 to where an axis ends."""
    return [float(tick) for tick in MaxNLocator(count, steps=[1, 2, 2.5, 5, 10]).tick_values(0, end) if tick <= end]


def shows(axes: Axes, y: float) -> bool:
    bottom, top = axes.get_ylim()
    return bottom <= y <= top


def say(axes: Axes, text: str) -> None:
    """In place of what there is not."""
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", alpha=QUIET)
