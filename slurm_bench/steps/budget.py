"""`command=budget`: GPU-hours of a campaign by session, kind of job and day, asked afresh from the accounting."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from slurm_bench.effects import campaigns, store
from slurm_bench.effects.cluster import Cluster
from slurm_bench.pure import budget, usage
from slurm_bench.pure.sacct import merged
from slurm_bench.pure.usage import Account, CampaignAccount
from slurm_bench.steps import books, budget_formats, guard, site
from slurm_bench.steps.books import Book
from slurm_bench.words.accounting import Activity, Attempt
from slurm_bench.words.config import BudgetCommand, Config
from slurm_bench.words.kinds import Kind
from slurm_bench.words.paths import CampaignPaths, RetimingPaths, SessionPaths
from slurm_bench.words.records import Submission
from slurm_bench.words.trials import Trial


def perform(config: Config) -> None:
    """
    Raises:
        UsageError: the campaign has no sessions, or none that this user may read.
        SchedulerError: the accounting does not answer; nothing is guessed.
    """
    assert isinstance(config.command, BudgetCommand)
    if config.command.guard:
        guard.perform(config)
        return
    campaign = CampaignPaths(Path(config.runs) / config.campaign)
    campaigns.refuse_empty(campaigns.members(campaign), campaign)
    found = of_campaign(campaign)
    budget_formats.PRINT[config.command.format](found)


def of_campaign(campaign: CampaignPaths) -> CampaignAccount:
    """What the accounting says now of all jobs of a campaign.

    Raises:
        SchedulerError: it does not answer.
    """
    found = campaigns.members(campaign)
    opened = books.open_all(found.readable)
    limits = [book.config.budget.campaign_h100_hours for book in opened]
    limit = min((each for each in limits if each is not None), default=None)
    return CampaignAccount(campaign.root.name, limit, _accounts(opened), found.unreadable)


def _accounts(opened: Sequence[Book]) -> tuple[Account, ...]:
    fresh: dict[str, list[Attempt]] = {}
    for cluster, ours in books.by_cluster(opened).items():
        fresh |= _bring_up_to_date(ours, cluster)
    return tuple(_account(book, fresh) for book in opened)


def _bring_up_to_date(ours: Sequence[Book], cluster: Cluster) -> dict[str, list[Attempt]]:
    """Settle what is over, and ask for every attempt at the jobs of these ledgers: a question each for all of them."""
    books.settle(ours)
    entries = [entry for book in ours for entry in book.ledger.entries()]
    fresh: dict[str, list[Attempt]] = {}
    if entries:
        names = [entry.job_name for entry in entries]
        for attempt in cluster.attempts(names, min(entry.reserved_at for entry in entries)):
            fresh.setdefault(attempt.job_name, []).append(attempt)
    for book in ours:
        if book.is_kept_here:
            book.ledger.correct(fresh)
    return fresh


def _account(book: Book, fresh: dict[str, list[Attempt]]) -> Account:
    """What the ledger keeps, and of jobs that are not settled what the accounting says now."""
    entries = [
        entry.model_copy(update={"attempts": tuple(merged(entry.attempts, fresh.get(entry.job_name, ())))})
        for entry in book.ledger.entries()
    ]
    terms = site.terms(book.config)
    rests_on = budget.balance(book.ledger.calibrations(), terms.limit, terms.counts)
    return Account(
        name=book.paths.root.name,
        accounting=book.cluster.accounting,
        counts=tuple(sorted(terms.counts)),
        lines=usage.lines(entries, _busy(book)),
        reserved=usage.reserved(entries),
        rests_on=rests_on.spent,
        rests_on_reserved=rests_on.reserved,
        limit=terms.limit,
    )


def _busy(book: Book) -> dict[Kind, dict[str, float]]:
    """GPU-seconds that training ran, by kind of job and day."""
    timing: Kind = "retiming" if isinstance(book.paths, SessionPaths) else "calibration"
    arrays: dict[Kind, list[RetimingPaths]] = {timing: [], "decoy": [], "confirmation": []}
    for each in book.paths.timed():
        confirms = each.submission.exists() and store.read(each.submission, Submission).confirms
        arrays["confirmation" if confirms else timing] += each.retimings()
        arrays["confirmation" if confirms else "decoy"] += each.decoy_runs()
    gpus = book.config.cluster.trial_gpus
    busy = {kind: _in_trials(found, gpus) for kind, found in arrays.items()}
    if isinstance(book.paths, SessionPaths):
        seen = store.read_if_there(book.paths.activity, Activity)
        if seen is not None:
            busy["session"] = seen.busy_gpu_seconds
    return busy


def _in_trials(arrays: Iterable[RetimingPaths], gpus: int) -> dict[str, float]:
    busy: dict[str, float] = {}
    for array in arrays:
        for trial in (store.read(record, Trial) for record in array.records()):
            if trial.started is not None:
                for day, seconds in usage.split(trial.started, trial.wall_s).items():
                    busy[day] = busy.get(day, 0) + gpus * seconds
    return busy
