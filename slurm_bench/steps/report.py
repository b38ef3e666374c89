"""`command=report`: a campaign's verdicts and budget from its records, as a page, as data and on the terminal."""

import difflib
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import jinja2
from pydantic import TypeAdapter
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from slurm_bench.effects import human_records, store
from slurm_bench.pure import human, rules
from slurm_bench.pure.human import HumanRecord, Progress
from slurm_bench.pure.usage import Account
from slurm_bench.pure.verdict import losses, training_times
from slurm_bench.steps import budget, site
from slurm_bench.words.config import Config
from slurm_bench.words.errors import SchedulerError, UsageError
from slurm_bench.words.opinions import Finding
from slurm_bench.words.paths import CampaignPaths, SessionPaths
from slurm_bench.words.records import Session
from slurm_bench.words.trials import Retiming, SpeedTest
from slurm_bench.words.verdicts import Outcome, Verdict

log = logging.getLogger(__name__)

_TEMPLATE = Path(__file__).with_name("report.html.j2")


@dataclass(frozen=True)
class Runs:
    """Final losses (nats a token) and training times (seconds), run by run."""

    losses: tuple[float, ...]
    times_s: tuple[float, ...]


@dataclass(frozen=True)
class SubmissionSummary:
    verdict: Verdict
    name: str
    runs: Runs
    incumbent_runs: Runs
    """Those beside them, in the paired design."""
    human_progress: tuple[Progress, ...]
    """Of an accepted submission, where the session started from a human record."""


@dataclass(frozen=True)
class SessionSummary:
    session: Session
    agent: str
    cluster: str
    container: str
    target_loss: float
    design: str
    where: str
    level: str
    incumbent_runs: Runs
    """The calibration's, in the classic design."""
    submissions: tuple[SubmissionSummary, ...]
    budget: Account | None
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
    environment.filters["interval"] = interval
    environment.filters["describe"] = human.describe
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
            console.print(f"{each.name}: {_repeats(each.verdict)}{each.verdict.reason}", markup=False, highlight=False)
            for share in each.human_progress:
                console.print(f"{each.name}: {human.describe(share)}", markup=False, highlight=False)
        if summary.budget:
            used = summary.budget.limit - summary.budget.left
            console.print(
                f"{used:.4f} of {summary.budget.limit:g} H100-hours spent or reserved "
                f"({summary.budget.gpu_seconds} GPU-seconds by {summary.budget.accounting}; "
                f"{', '.join(summary.budget.counts)} count)"
            )
    console.print(f"Report: {campaign.report}", soft_wrap=True, markup=False, highlight=False)


def _repeats(verdict: Verdict) -> str:
    return f"as submission {verdict.repeats}, whose bytes it has: " if verdict.repeats else ""


def verdict_table(summary: SessionSummary) -> Table:
    """A session's verdicts for a terminal."""
    table = Table(title=f"{summary.session.name} ({summary.session.state})", title_justify="left")
    for heading in ("candidate", "verdict", "mean loss", f"seconds saved, {100 * rules.CONFIDENCE:.0f} % interval"):
        table.add_column(heading)
    for each in summary.submissions:
        verdict = each.verdict
        by = f" by {verdict.rejected_by}" if verdict.rejected_by else ""
        loss = f"{verdict.loss.mean:.4f}" if verdict.loss else ""
        saved = interval(verdict.speed) if verdict.speed else ""
        table.add_row(escape(each.name), f"{verdict.outcome}{by}", loss, saved)
    return table


def interval(speed: SpeedTest) -> str:
    """Seconds saved with their interval."""
    return f"{speed.saved_s:.2f} [{speed.saved_low_s:.2f}, {speed.saved_high_s:.2f}]"


def summaries(campaign: CampaignPaths) -> list[SessionSummary]:
    """What the records of a campaign say, session by session."""
    accounts = _accounts(campaign)
    return [_summary(paths, accounts.get(paths.root.name)) for paths in campaign.sessions() if paths.session.exists()]


def _summary(paths: SessionPaths, account: Account | None) -> SessionSummary:
    config = site.load_config(paths)
    records = human_records.load()
    return SessionSummary(
        session=store.read(paths.session, Session),
        agent=config.agent.kind,
        cluster=config.cluster.kind,
        container=config.container.kind,
        target_loss=config.task.target_loss,
        design=config.retime.design,
        where=config.retime.where,
        level=config.retime.level,
        incumbent_runs=_runs(paths.calibration)[0],
        submissions=tuple(
            _submission(paths, verdict, config.task.record, records)
            for verdict in sorted(paths.submissions.glob("*/verdict.json"))
        ),
        budget=account,
    )


def _submission(paths: SessionPaths, record: Path, start: str, records: Sequence[HumanRecord]) -> SubmissionSummary:
    verdict = store.read(record, Verdict)
    runs, incumbent = _runs(paths.submission(verdict.submission).retiming.collected)
    speed = verdict.speed if verdict.outcome is Outcome.ACCEPTED else None
    return SubmissionSummary(
        verdict=verdict,
        name=_printable(Path(verdict.candidate).name),
        runs=runs,
        incumbent_runs=incumbent,
        human_progress=human.progress(records, start, speed) if speed else (),
    )


def _printable(name: str) -> str:
    """A name that the agent chose, harmless on a terminal."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in name)


def _runs(record: Path) -> tuple[Runs, Runs]:
    """A retiming's runs, and the incumbent's beside them."""
    retiming = store.read_if_there(record, Retiming)
    arms = (retiming.trials, retiming.incumbents) if retiming else ((), ())
    candidate, incumbent = (Runs(tuple(losses(arm)), tuple(training_times(arm))) for arm in arms)
    return candidate, incumbent


def _accounts(campaign: CampaignPaths) -> Mapping[str, Account]:
    """By session, with one question for all of them; none where nobody answers."""
    try:
        return {account.name: account for account in budget.of_campaign(campaign).accounts}
    except (SchedulerError, UsageError) as error:
        log.warning("no accounting: %s", error)
        return {}
