"""A campaign's budget as a table, as CSV and as JSON."""

import csv
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from slurm_bench.pure.usage import Account, CampaignAccount, idle_share

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


def print_table(found: CampaignAccount) -> None:
    console = Console()
    console.print(table(found))
    console.print(_what_counts(found), markup=False, highlight=False)


def table(found: CampaignAccount) -> Table:
    """The budget for a terminal."""
    grid = Table(title=f"GPU time of {escape(found.name)}", caption="idle: held with no training running")
    for heading in ("kind", "day", "attempts", "GPU-seconds", "H100-hours", "idle"):
        left = heading in ("kind", "day")
        grid.add_column(heading, justify="left" if left else "right", overflow="fold", no_wrap=heading == "day")
    for account in found.accounts:
        _add_account(grid, account)
    _add_total(grid, found)
    return grid


def _add_account(grid: Table, account: Account) -> None:
    grid.add_row(escape(account.name), style="bold")
    for line in account.lines:
        kind = line.kind if line.kind in account.counts else f"({line.kind})"
        idle = _percent(idle_share([line]))
        grid.add_row(kind, line.day, str(line.attempts), str(line.gpu_seconds), f"{line.h100_hours:.4f}", idle)
    if account.rests_on:
        grid.add_row("rests on calibrations", "", "", "", f"{account.rests_on:.4f}", style="dim")
    attempts = sum(line.attempts for line in account.lines)
    grid.add_row(
        "spent", "", str(attempts), str(account.gpu_seconds), f"{account.spent:.4f}", _percent(account.idle_share)
    )
    for held in account.reserved:
        grid.add_row(f"reserved, {held.kind}", "", "", str(held.gpu_seconds), f"{held.h100_hours:.4f}", style="dim")
    grid.add_row(f"left of {account.limit:g}", "", "", "", f"{account.left:.4f}")
    grid.add_section()


def _add_total(grid: Table, found: CampaignAccount) -> None:
    lines = found.lines
    seconds, hours = sum(line.gpu_seconds for line in lines), sum(line.h100_hours for line in lines)
    attempts = sum(line.attempts for line in lines)
    grid.add_row("whole campaign", style="bold")
    grid.add_row("spent", "", str(attempts), str(seconds), f"{hours:.4f}", _percent(idle_share(lines)))
    held = [each for account in found.accounts for each in account.reserved]
    if held:
        hours_held = f"{sum(each.h100_hours for each in held):.4f}"
        grid.add_row("reserved", "", "", str(sum(each.gpu_seconds for each in held)), hours_held, style="dim")
    if found.left is not None:
        grid.add_row(f"left of {found.limit:g}", "", "", "", f"{found.left:.4f}")


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


def _rows(campaign: str, account: Account) -> Iterator[Mapping[str, object]]:
    common = {"campaign": campaign, "account": account.name, "accounting": account.accounting}
    for line in account.lines:
        yield {**common, "figure": "spent", **asdict(line), "counts": line.kind in account.counts}
    for held in account.reserved:
        yield {**common, "figure": "reserved", **asdict(held), "counts": held.kind in account.counts}
    yield {**common, "figure": "left", "h100_hours": account.left}


def print_json(found: CampaignAccount) -> None:
    content = {
        "campaign": found.name,
        "limit": found.limit,
        "left": found.left,
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
