"""The pages of the study: docs/study_designs.md and .svg, from the simulations in scripts/study."""

import argparse
import io
import multiprocessing
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import matplotlib as mpl

from slurm_bench.pure.rules import CONFIRMATION_RUNS, LEVEL, RUNS
from study import errors, power, runs
from study.looks import AT_ONCE, KINDS, Cost, costs
from study.nodes import OFFSETS_S, Reach, compare_designs
from study.noise import REPOSITORY
from study.page import Lines, heading, percent, table
from study.simulations import LEVELS, STOP_BELOW, World, confirmation_at, human_world

mpl.use("svg")
from matplotlib import pyplot as plt

TABLES = REPOSITORY / "docs/study_designs.md"
FIGURE = REPOSITORY / "docs/study_designs.svg"
HEAD = ["# The study behind the rules", "", "Written by `scripts/study_designs`; read with statistics.md.", ""]
SHOWN_S = [0.0, 0.1, 0.2, 0.4, 0.7, 1.5]
"""Offsets in the table."""


def results() -> Iterator[tuple[Path, str]]:
    with ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn")) as pool:
        sections = pool.map(lines_of, SECTIONS)
        designs = compare_designs(human_world().time)
        lines = [*HEAD, *(line for section in sections for line in section), *paired_or_classic(designs)]
    yield TABLES, "\n".join(lines)
    yield FIGURE, figure(designs)


def lines_of(section: Callable[[World], Lines]) -> list[str]:
    return list(section(human_world()))


def looks_at_verdicts(world: World) -> Lines:
    return looks(costs(world), f"a verdict of {RUNS} blocks at {LEVEL:g}")


def looks_at_confirmations(world: World) -> Lines:
    found = costs(world, confirmation_at(LEVELS[0]))
    return looks(found, f"a confirmation of {CONFIRMATION_RUNS} blocks at {LEVELS[0]:g}")


def looks(found: Mapping[str, Cost], of_what: str) -> Lines:
    yield from heading(
        f"What looks save of {of_what}",
        "Blocks that run to their end, on average. Loss and seconds saved are the true ones. A look stops below a",
        f"chance of {STOP_BELOW}.",
    )
    rows = []
    for kind in KINDS:
        cost = found[kind.name]
        blocks = [f"{blocks:.1f}" for blocks in (cost.runs_one_by_one, cost.runs_at_once)]
        passed = map(percent, (cost.passed, cost.passed_of_all))
        rows.append([kind.name, f"{kind.loss:g}", f"{kind.saved_s:g} s", *blocks, *passed])
    yield from table(
        ["candidate", "loss", "saved", "one by one", f"{AT_ONCE} at once", "passes", "without looks"], *rows
    )


def paired_or_classic(designs: Mapping[str, Mapping[str, Reach]]) -> Lines:
    yield from heading(
        "Paired or classic",
        "Half width of the 95 % interval, how often it holds the truth, and how often a candidate that saves nothing",
        f"passes at {LEVEL}; by the largest offset of a node.",
    )
    rows = [
        [pool, design, *(reach_cell(values, OFFSETS_S.index(most)) for most in SHOWN_S)]
        for pool, reaches in designs.items()
        for design, values in reaches.items()
    ]
    yield from table(["nodes", "design", *(f"{most:g} s" for most in SHOWN_S)], *rows)


def reach_cell(values: Reach, number: int) -> str:
    width, coverage, wrong = values.half_width_s[number], values.coverage[number], values.false_speed_ups[number]
    return f"±{width:.3f} s, {percent(coverage, 0)}, {percent(wrong, 1)}"


STYLES = {
    "paired": ("#0b6e4f", "-", "paired"),
    "classic": ("#b3541e", "--", "classic: ten runs against ten"),
    "classic, ten times the calibration": ("#4a5a8a", ":", "classic: ten runs against a hundred"),
}


def figure(designs: Mapping[str, Mapping[str, Reach]]) -> str:
    """Widths and false speed-ups over the largest node offset, a column for each pool, as SVG text."""
    with mpl.rc_context(
        {"svg.hashsalt": "slurm_bench", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False}
    ):
        drawn, axes = plt.subplots(2, len(designs), figsize=(9, 5), sharex=True, sharey="row", layout="constrained")
        for column, (pool, reaches) in enumerate(designs.items()):
            for design, values in reaches.items():
                colour, line, label = STYLES[design]
                axes[0, column].plot(OFFSETS_S, values.half_width_s, line, color=colour, label=label)
                axes[1, column].plot(OFFSETS_S, [100 * share for share in values.false_speed_ups], line, color=colour)
            axes[0, column].set_title(pool)
            axes[1, column].axhline(100 * LEVEL, color="#888888", linewidth=0.8)
            axes[1, column].set_xlabel("largest node offset (s)")
        axes[0, 0].set_ylabel("half width of the\n95 % interval (s)")
        axes[1, 0].set_ylabel("identical candidates\ncalled faster (%)")
        axes[0, 0].set_ylim(0)
        axes[1, 0].set_ylim(0)
        axes[0, 0].legend(frameon=False)
        text = io.StringIO()
        drawn.savefig(text, format="svg", metadata={"Date": None})
        plt.close(drawn)
    return text.getvalue()


SECTIONS = (
    runs.what_runs_show,
    errors.losses_at_the_target,
    errors.nothing_saved,
    errors.widened,
    power.gains,
    power.sessions_with_one_gain,
    power.luck,
    power.blocks_of_a_confirmation,
    power.splits,
    power.stages,
    looks_at_verdicts,
    looks_at_confirmations,
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare with what is committed, and write nothing")
    check = parser.parse_args().check
    differing = []
    for path, text in results():
        if check and path.read_text() != text:
            differing.append(path.name)
        elif not check:
            path.write_text(text)
            print(f"wrote {path}")
    if differing:
        print(f"study_designs: {' and '.join(differing)} would be written otherwise", file=sys.stderr)
    elif check:
        print("study_designs: the committed tables and figure came out again")
    return int(bool(differing))


if __name__ == "__main__":
    sys.exit(main())
