"""The pages of the study: docs/study_designs.md and .svg, from the simulations beside this file."""

import argparse
import io
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import matplotlib as mpl

from slurm_bench.pure.rules import LEVEL
from study_simulations import (
    AT_ONCE,
    ATTEMPTS,
    KINDS,
    OFFSETS_S,
    REPOSITORY,
    STOP_BELOW,
    Cost,
    Reach,
    compare_designs,
    costs,
    false_acceptances,
    false_acceptances_of_sessions,
    read_noise,
)

mpl.use("svg")
from matplotlib import pyplot as plt

TABLES = REPOSITORY / "docs/study_designs.md"
FIGURE = REPOSITORY / "docs/study_designs.svg"


def tables(
    designs: Mapping[str, Mapping[str, Reach]],
    single: Mapping[str, Mapping[str, float]],
    sessions: Mapping[str, Mapping[str, float]],
    looks: Mapping[str, Cost],
) -> str:
    lines = ["# The study behind the retiming", "", "Written by `scripts/study_designs`; read with statistics.md.", ""]
    lines += [
        "## Paired or classic",
        "",
        "Half width of the 95 % interval, how often it holds the truth, and how often",
    ]
    lines += [f"a candidate that saves nothing passes at {LEVEL}; by the largest offset of a node.", ""]
    shown = [0.0, 0.1, 0.2, 0.4, 0.7]
    columns = [f"{most:g} s" for most in shown]
    lines += row("nodes", "design", *columns) + row("---", "---", *["---"] * len(shown))
    for pool, reaches in designs.items():
        for design, values in reaches.items():
            cells = [reach_cell(values, OFFSETS_S.index(most)) for most in shown]
            lines += row(pool, design, *cells)
    lines += ["", "## A true mean loss of exactly 3.28", "", "Share of candidates that pass on the loss.", ""]
    noises = list(single)
    lines += row("rule", *noises) + row("---", *["---"] * len(noises))
    for rule in single[noises[0]]:
        lines += row(rule, *[f"{100 * single[noise][rule]:.2f} %" for noise in noises])
    lines += ["", f"## Sessions of {ATTEMPTS} wrong candidates", "", "Share with at least one false acceptance.", ""]
    lines += row("wrong", "published: each at 0.01", "session: 0.01 over all") + row("---", "---", "---")
    for what, rates in sessions.items():
        lines += row(what, *[f"{100 * rates[rule]:.2f} %" for rule in ("published", "session")])
    lines += [
        "",
        "## What looks save",
        "",
        "Blocks that run to their end, on average of ten; the first candidate of a session.",
    ]
    lines += [f"Loss and seconds saved are the true ones; a look stops below a chance of {STOP_BELOW}.", ""]
    lines += row("candidate", "loss", "saved", "one by one", f"{AT_ONCE} at once", "accepted", "without looks")
    lines += row(*["---"] * 7)
    for kind in KINDS:
        cost = looks[kind.name]
        accepted = [f"{100 * share:.2f} %" for share in (cost.accepted, cost.accepted_of_ten)]
        runs = [f"{runs:.1f}" for runs in (cost.runs_one_by_one, cost.runs_at_once)]
        lines += row(kind.name, f"{kind.loss:g}", f"{kind.saved_s:g} s", *runs, *accepted)
    return "\n".join(lines) + "\n"


def row(*cells: str) -> list[str]:
    return [f"| {' | '.join(cells)} |"]


def reach_cell(values: Reach, number: int) -> str:
    width, coverage, wrong = values.half_width_s[number], values.coverage[number], values.false_speed_ups[number]
    return f"±{width:.3f} s, {100 * coverage:.0f} %, {100 * wrong:.1f} %"


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


def results() -> Iterator[tuple[Path, str]]:
    loss, time = read_noise()
    designs = compare_designs(time)
    single, sessions = false_acceptances(loss), false_acceptances_of_sessions(loss, time)
    yield TABLES, tables(designs, single, sessions, costs(loss, time))
    yield FIGURE, figure(designs)


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
