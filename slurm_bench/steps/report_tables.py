"""Tables as files: CSV and JSON with all values, LaTeX with what people read."""

import csv
import io
import json
from collections.abc import Callable, Mapping

from tabulate import tabulate

from slurm_bench.pure.tables import Table

_A_PAGE = 40
"""Rows."""


def as_csv(table: Table) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(table.rows[0]) if table.rows else [])
    writer.writeheader()
    writer.writerows({name: _harmless(value) for name, value in row.items()} for row in table.rows)
    return text.getvalue()


def _harmless(value: object) -> object:
    """A candidate's name that a spreadsheet would take for a formula becomes text."""
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t") else value


def as_json(table: Table) -> str:
    return json.dumps([dict(row) for row in table.rows], indent=1) + "\n"


def as_latex(table: Table) -> str:
    """A booktabs tabular, or a longtable where it does not fit on a page; numbers to the right."""
    headings = [column.heading for column in table.columns]
    align = ["right" if column.sort_by else "left" for column in table.columns]
    form = "latex_longtable" if len(table.rows) > _A_PAGE else "latex_booktabs"
    return tabulate(table.texts(), headings, tablefmt=form, colalign=align, disable_numparse=True) + "\n"


FORMATS: Mapping[str, Callable[[Table], str]] = {"csv": as_csv, "json": as_json, "tex": as_latex}
