"""`command=budget`: GPU-seconds by session, kind of job and day, asked afresh from the scheduler's accounting."""

import csv
import json
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from slurm_bench.pure.budget import h100_hours
from slurm_bench.steps import guard, site
from slurm_bench.words.config import BudgetCommand, Config
from slurm_bench.words.errors import UsageError
from slurm_bench.words.paths import CampaignPaths, TimingPaths


@dataclass(frozen=True)
class Line:
    """Usage of one kind of job of one session on one day (UTC, by the attempts' start)."""

    session: str
    kind: str
    day: str
    attempts: int
    gpu_seconds: int
    h100_hours: float


@dataclass(frozen=True)
class SessionBudget:
    session: str
    lines: tuple[Line, ...]
    gpu_seconds: int
    """Charged: the sum of the lines."""
    reserved_gpu_seconds: int
    reserved_h100_hours: float
    """Held for jobs that are not settled yet, beyond what they are charged."""
    h100_hours: float
    limit_h100_hours: float


def perform(config: Config) -> None:
    """
    Raises:
        UsageError: the campaign has no sessions.
        SchedulerError: the accounting does not answer; nothing is guessed.
    """
    assert isinstance(config.command, BudgetCommand)
    if config.command.guard:
        guard.perform(config)
        return
    campaign = CampaignPaths(Path(config.runs) / config.campaign)
    budgets = [of_folder(paths) for paths in (*campaign.sessions(), *campaign.calibrations())]
    if not budgets:
        raise UsageError(f"no sessions in {campaign.root}; name another with campaign=")
    {"table": _print_table, "csv": _print_csv, "json": _print_json}[config.command.format](budgets)


def of_folder(paths: TimingPaths) -> SessionBudget:
    """What the accounting says now of a session's jobs, or of a calibration's.

    Raises:
        SchedulerError: the accounting does not answer.
    """
    config = site.load_config(paths)
    cluster = site.cluster_of(config)
    ledger = site.ledger_of(config, paths, cluster)
    ledger.settle_finished()
    entries = {entry.job_name: entry for entry in ledger.entries()}
    since = min((entry.reserved_at for entry in entries.values()), default=None)
    attempts = cluster.attempts(entries, since) if since else []
    seconds, counts, by_job = Counter[tuple[str, str]](), Counter[tuple[str, str]](), Counter[str]()
    for attempt in attempts:
        key = entries[attempt.job_name].kind, f"{attempt.started or attempt.submitted:%Y-%m-%d}"
        seconds[key] += attempt.gpu_seconds
        counts[key] += 1
        by_job[attempt.job_name] += attempt.gpu_seconds
    weight = config.h100_weight
    reserved = sum(
        max(0, entry.reserved_gpu_seconds - by_job[name]) for name, entry in entries.items() if entry.settled_at is None
    )
    return SessionBudget(
        session=paths.root.name,
        lines=tuple(
            Line(paths.root.name, kind, day, counts[kind, day], total, round(h100_hours(total, weight), 6))
            for (kind, day), total in sorted(seconds.items())
        ),
        gpu_seconds=seconds.total(),
        reserved_gpu_seconds=reserved,
        reserved_h100_hours=round(h100_hours(reserved, weight), 6),
        h100_hours=round(h100_hours(seconds.total(), weight), 6),
        limit_h100_hours=config.budget.h100_hours,
    )


def table(budgets: Iterable[SessionBudget]) -> Table:
    """The budgets for a terminal."""
    grid = Table(title="GPU time by session", caption="reserved: held for jobs that are not over yet")
    for heading in ("kind", "day", "attempts", "GPU-seconds", "H100-hours"):
        grid.add_column(
            heading,
            justify="left" if heading in ("kind", "day") else "right",
            overflow="fold",
            no_wrap=heading == "day",
        )
    for budget in budgets:
        grid.add_row(escape(budget.session), style="bold")
        for line in budget.lines:
            grid.add_row(line.kind, line.day, str(line.attempts), str(line.gpu_seconds), f"{line.h100_hours:.4f}")
        attempts = sum(line.attempts for line in budget.lines)
        used = f"{budget.h100_hours:.4f} of {budget.limit_h100_hours:g}"
        grid.add_row("all", "", str(attempts), str(budget.gpu_seconds), used)
        if budget.reserved_gpu_seconds:
            reserved = f"{budget.reserved_h100_hours:.4f}"
            grid.add_row("reserved", "", "", str(budget.reserved_gpu_seconds), reserved, style="dim")
        grid.add_section()
    return grid


def _print_table(budgets: list[SessionBudget]) -> None:
    Console().print(table(budgets))


def _print_csv(budgets: list[SessionBudget]) -> None:
    writer = csv.DictWriter(sys.stdout, list(Line.__dataclass_fields__))
    writer.writeheader()
    writer.writerows(asdict(line) for budget in budgets for line in budget.lines)


def _print_json(budgets: list[SessionBudget]) -> None:
    print(json.dumps([asdict(budget) for budget in budgets], indent=1))
