"""A campaign's budget as a table, as CSV and as JSON."""

import csv
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from slurm_bench.pure.usage import Account, CampaignAccount, Line, idle_share
from slurm_bench.words.campaigns import describe

_COLUMNS = (
    "campaign",
    "account",
    "figure",
    "kind",
    "day",
    "attempts",
    "gpu_seconds",
    "h100_hours",
    "idle_gpu_seconds",
    "counts",
    "accounting",
)

_CAPTION = "idle: held with no training running; in brackets: does not count"


def print_table(found: CampaignAccount) -> None:
    console = Console()
    console.print(table(found))
    console.print(_what_counts(found), markup=False, highlight=False)
    if found.unreadable:
        console.print(describe(found.unreadable), markup=False, highlight=False, soft_wrap=True)


def table(found: CampaignAccount) -> Table:
    """The budget for a terminal."""
    grid = Table(title=f"GPU time of {escape(found.name)}", caption=_CAPTION)
    for heading in ("kind", "day", "attempts", "GPU-seconds", "H100-hours", "idle"):
        left = heading in ("kind", "day")
        grid.add_column(heading, justify="left" if left else "right", overflow="fold", no_wrap=heading == "day")
    for account in found.accounts:
        _add_account(grid, account)
    for hidden in found.unreadable:
        grid.add_row(escape(str(hidden)), "", "unknown", "unknown", "unknown", "unknown", style="bold")
    _add_total(grid, found)
    return grid


def _add_account(grid: Table, account: Account) -> None:
    grid.add_row(escape(account.name), style="bold")
    for line in account.lines:
        kind = line.kind if line.kind in account.counts else f"({line.kind})"
        idle = _percent(idle_share([line]))
        grid.add_row(kind, line.day, str(line.attempts), str(line.gpu_seconds), _hours(line.h100_hours), idle)
    counted = [line for line in account.lines if line.kind in account.counts]
    _add_sum(grid, counted, account.spent)
    for held in account.reserved:
        kind = held.kind if held.kind in account.counts else f"({held.kind})"
        grid.add_row(f"reserved, {kind}", "", "", str(held.gpu_seconds), _hours(held.h100_hours), style="dim")
    for what, hours in (("calibrations", account.rests_on), ("reserved, those", account.rests_on_reserved)):
        if hours:
            grid.add_row(what, "", "", "", _hours(hours), style="dim")
    grid.add_row(f"left of {account.limit:g}", "", "", "", _hours(account.left))
    grid.add_section()


def _add_sum(grid: Table, counted: Sequence[Line], spent: float) -> None:
    attempts = str(sum(line.attempts for line in counted))
    seconds = str(sum(line.gpu_seconds for line in counted))
    grid.add_row("spent", "", attempts, seconds, _hours(spent), _percent(idle_share(counted)))


def _add_total(grid: Table, found: CampaignAccount) -> None:
    counted = [line for account in found.accounts for line in account.lines if line.kind in account.counts]
    grid.add_row("readable part" if found.unreadable else "whole campaign", style="bold")
    _add_sum(grid, counted, found.spent)
    if found.held:
        grid.add_row("reserved", "", "", "", _hours(found.held), style="dim")
    if found.limit is not None:
        left = "unknown" if found.left is None else _hours(found.left)
        grid.add_row(f"left of {found.limit:g}", "", "", "", left)


def _hours(h100_hours: float) -> str:
    return f"{h100_hours:.4f}"


def _percent(share: float | None) -> str:
    return "not seen" if share is None else f"{100 * share:.0f} %"


def _what_counts(found: CampaignAccount) -> str:
    """What the figures are worth, and what they are of."""
    counts = sorted({", ".join(account.counts) for account in found.accounts})
    sources = sorted({account.accounting for account in found.accounts})
    return f"Counts against the budget: {'; '.join(counts)}. Usage by {' and '.join(sources)}."


def print_csv(found: CampaignAccount) -> None:
    writer = csv.DictWriter(sys.stdout, _COLUMNS)
    writer.writeheader()
    writer.writerows(row for account in found.accounts for row in _rows(found.name, account))
    writer.writerows(_campaign_rows(found))


def _rows(campaign: str, account: Account) -> Iterator[Mapping[str, object]]:
    common = {"campaign": campaign, "account": account.name, "accounting": account.accounting}
    for line in account.lines:
        yield {**common, "figure": "spent", **asdict(line), "counts": line.kind in account.counts}
    for held in account.reserved:
        yield {**common, "figure": "reserved", **asdict(held), "counts": held.kind in account.counts}
    yield {**common, "figure": "calibrations", "h100_hours": account.rests_on}
    yield {**common, "figure": "calibrations reserved", "h100_hours": account.rests_on_reserved}
    yield {**common, "figure": "limit", "h100_hours": account.limit}
    yield {**common, "figure": "left", "h100_hours": account.left}


def _campaign_rows(found: CampaignAccount) -> Iterator[Mapping[str, object]]:
    for hidden in found.unreadable:
        yield {"campaign": found.name, "account": hidden.name, "figure": f"unreadable, of {hidden.owner}"}
    for figure in ("spent", "held", "limit", "left"):
        name = {"held": "reserved"}.get(figure, figure)
        yield {"campaign": found.name, "figure": f"campaign {name}", "h100_hours": getattr(found, figure)}


def print_json(found: CampaignAccount) -> None:
    content = {
        "campaign": found.name,
        **{name: getattr(found, name) for name in ("spent", "held", "limit", "left")},
        "unreadable": [asdict(hidden) for hidden in found.unreadable],
        "accounts": [_content(account) for account in found.accounts],
    }
    print(json.dumps(content, indent=1))


def _content(account: Account) -> Mapping[str, object]:
    derived = ("gpu_seconds", "reserved_gpu_seconds", "spent", "held", "left", "idle_share")
    return {**asdict(account), **{name: getattr(account, name) for name in derived}}


PRINT: Mapping[str, Callable[[CampaignAccount], None]] = {
    "table": print_table,
    "csv": print_csv,
    "json": print_json,
}
