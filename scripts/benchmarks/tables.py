"""Figures as tables: on the terminal, as docs/bench.md and as docs/bench.json."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict

from rich.table import Table

from benchmarks.catalogue import BY_NAME
from benchmarks.figures import Figure
from benchmarks.machine import Machine

Measured = Mapping[str, Sequence[Figure]]
"""Figures by the name of their benchmark."""

_COLUMNS = ("figure", "measured", "limit", "note", "command")


def on_terminal(measured: Measured, machine: Machine) -> Table:
    table = Table(*_COLUMNS, title=f"{machine.date}: {machine.line}")
    for name, figures in measured.items():
        for figure in figures:
            table.add_row(*cells(name, figure), style="red" if figure.missed else "")
    return table


def as_markdown(measured: Measured, machine: Machine) -> str:
    lines = ["# The benchmark of the benchmark", ""]
    lines += ["Written by `scripts/bench --write`, in one run on one machine; not edited by hand. The command beside a"]
    lines += ["figure measures it again. A limit is the most that it may be; a figure above its limit is marked.", ""]
    lines += [f"{machine.date}: {machine.line}.", ""]
    lines += [row(_COLUMNS), row(["---"] * len(_COLUMNS))]
    for name, figures in measured.items():
        lines += [row(marked(name, figure)) for figure in figures]
    return "\n".join(lines) + "\n"


def marked(name: str, figure: Figure) -> list[str]:
    """The cells of a row in Markdown."""
    what, value, limit, note, command = cells(name, figure)
    return [what, f"**{value}, missed**" if figure.missed else value, limit, note, f"`{command}`"]


def row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def cells(name: str, figure: Figure) -> list[str]:
    return [figure.what, figure.text, figure.limit_text, figure.note, BY_NAME[name].command]


def as_json(measured: Measured, machine: Machine) -> str:
    figures = [
        {"name": name, **asdict(figure), "command": BY_NAME[name].command}
        for name, figures in measured.items()
        for figure in figures
    ]
    return json.dumps({"version": 1, "machine": asdict(machine), "figures": figures}, indent=1) + "\n"
