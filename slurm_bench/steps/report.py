"""`command=report`: a campaign's verdicts and budget from its records, as a page, as data and on the terminal."""

import difflib
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import jinja2
from pydantic import TypeAdapter
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from slurm_bench.effects import store
from slurm_bench.pure import rules
from slurm_bench.pure.verdict import losses, training_times
from slurm_bench.steps import budget, site
from slurm_bench.steps.budget import SessionBudget
from slurm_bench.words.config import Config
from slurm_bench.words.errors import SchedulerError, UsageError
from slurm_bench.words.paths import CampaignPaths, RetimingPaths, SessionPaths
from slurm_bench.words.records import Finding, Outcome, Session, Trial, Trials, Verdict

log = logging.getLogger(__name__)

_TEMPLATE = Path(__file__).with_name("report.html.j2")


@dataclass(frozen=True)
class SubmissionSummary:
    verdict: Verdict
    name: str
    losses: tuple[float, ...]
    training_times_s: tuple[float, ...]


@dataclass(frozen=True)
class SessionSummary:
    session: Session
    agent: str
    cluster: str
    container: str
    target_loss: float
    incumbent_losses: tuple[float, ...]
    incumbent_times_s: tuple[float, ...]
    submissions: tuple[SubmissionSummary, ...]
    budget: SessionBudget | None
    """None where the scheduler's accounting gave no answer."""

    @property
    def best(self) -> SubmissionSummary | None:
        """The accepted submission that saves the most seconds."""
        accepted = [each for each in self.submissions if each.verdict.outcome is Outcome.ACCEPTED]
        return max(accepted, key=lambda each: each.verdict.speed.saved_s if each.verdict.speed else 0, default=None)


def perform(config: Config) -> None:
    """
    Raises:
        UsageError: the campaign has no sessions.
    """
    campaign = CampaignPaths(Path(config.runs).absolute() / config.campaign)
    if not campaign.sessions():
        raise UsageError(f"no sessions in {campaign.root}; name another with campaign=")
    show(campaign, write(campaign))


def write(campaign: CampaignPaths) -> list[SessionSummary]:
    """Write report.html, self-contained, and report.json with the same content; return that content."""
    sessions = summaries(campaign)
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters["evidence"] = _evidence
    template = environment.from_string(_TEMPLATE.read_text())
    page = template.render(
        campaign=campaign.root.name, sessions=sessions, rules=rules, written=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
    )
    store.write_text(campaign.report, page)
    data = TypeAdapter(list[SessionSummary]).dump_json(sessions, indent=1)
    store.write_text(campaign.report_data, data.decode() + "\n")
    return sessions


def _evidence(finding: Finding) -> list[str]:
    """The lines of a finding's two snippets that differ, with one line around them."""
    pair = finding.baseline.splitlines(), finding.candidate.splitlines()
    return [line for line in difflib.unified_diff(*pair, n=1, lineterm="") if not line.startswith(("---", "+++", "@@"))]


def show(campaign: CampaignPaths, sessions: Iterable[SessionSummary]) -> None:
    """Print the verdicts of sessions, and where the campaign's report lies."""
    console = Console()
    for summary in sessions:
        console.print(verdict_table(summary))
        for each in summary.submissions:
            console.print(f"{each.name}: {each.verdict.reason}", markup=False, highlight=False)
        if summary.budget:
            console.print(
                f"{summary.budget.h100_hours:.4f} of {summary.budget.limit_h100_hours:g} H100-hours used "
                f"({summary.budget.gpu_seconds} GPU-seconds)"
            )
    console.print(f"Report: {campaign.report}", soft_wrap=True, markup=False, highlight=False)


def verdict_table(summary: SessionSummary) -> Table:
    """A session's verdicts for a terminal."""
    table = Table(title=f"{summary.session.name} ({summary.session.state})", title_justify="left")
    for heading in ("candidate", "verdict", "mean loss", "saved"):
        table.add_column(heading)
    for each in summary.submissions:
        verdict = each.verdict
        by = f" by {verdict.rejected_by}" if verdict.rejected_by else ""
        loss = f"{verdict.loss.mean:.4f}" if verdict.loss else ""
        saved = f"{verdict.speed.saved_s:.2f} s" if verdict.speed else ""
        table.add_row(escape(each.name), f"{verdict.outcome}{by}", loss, saved)
    return table


def summaries(campaign: CampaignPaths) -> list[SessionSummary]:
    """What the records of a campaign say, session by session."""
    return [_summary(paths) for paths in campaign.sessions() if paths.session.exists()]


def _summary(paths: SessionPaths) -> SessionSummary:
    config = site.load_config(paths)
    incumbent = _trials(paths.incumbent.retiming)
    return SessionSummary(
        session=store.read(paths.session, Session),
        agent=config.agent.kind,
        cluster=config.cluster.kind,
        container=config.container.kind,
        target_loss=config.task.target_loss,
        incumbent_losses=tuple(losses(incumbent)),
        incumbent_times_s=tuple(training_times(incumbent)),
        submissions=tuple(_submission(paths, record) for record in sorted(paths.submissions.glob("*/verdict.json"))),
        budget=_budget(paths),
    )


def _submission(paths: SessionPaths, record: Path) -> SubmissionSummary:
    verdict = store.read(record, Verdict)
    trials = _trials(paths.submission(verdict.submission).retiming)
    return SubmissionSummary(
        verdict=verdict,
        name=_printable(Path(verdict.candidate).name),
        losses=tuple(losses(trials)),
        training_times_s=tuple(training_times(trials)),
    )


def _printable(name: str) -> str:
    """A name that the agent chose, harmless on a terminal."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in name)


def _trials(where: RetimingPaths) -> Sequence[Trial]:
    collected = store.read_if_there(where.collected, Trials)
    return collected.trials if collected else ()


def _budget(paths: SessionPaths) -> SessionBudget | None:
    try:
        return budget.of_session(paths)
    except (SchedulerError, UsageError) as error:
        log.warning("no accounting for %s: %s", paths.root.name, error)
        return None
