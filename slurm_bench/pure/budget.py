"""Budget arithmetic, in GPU-seconds inside and H100-hours towards people."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from slurm_bench.words.accounting import JobState, LedgerEntry
from slurm_bench.words.errors import BudgetExceeded
from slurm_bench.words.kinds import KINDS, Kind

SECONDS_PER_HOUR = 3600
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Terms:
    """What a session may spend, in H100-hours, and what counts."""

    limit: float
    weight: float
    """H100-hours that a GPU-hour on its cluster counts."""
    campaign_limit: float = math.inf
    """Of all sessions and calibrations of the campaign together."""
    counts: frozenset[Kind] = frozenset(KINDS)


@dataclass(frozen=True)
class Balance:
    """H100-hours of the kinds of jobs that count."""

    limit: float
    spent: float
    """Charged so far, also for jobs that run."""
    reserved: float
    """Held beyond that, for jobs that are not settled."""

    @property
    def left(self) -> float:
        return self.limit - self.spent - self.reserved


def h100_hours(gpu_seconds: float, weight: float) -> float:
    """H100-hours of GPU-seconds on a GPU type that counts `weight` H100s."""
    return gpu_seconds * weight / SECONDS_PER_HOUR


def held_gpu_seconds(entry: LedgerEntry) -> int:
    """What counts against the budget: what was charged, once settled; until then the worst that can still come.

    Of a task's newest attempt that is its worst case, or its charge if that is more; an attempt that was requeued
    counts beside it, also while the next one has no row yet.
    """
    if entry.settled_at is not None:
        return entry.charged_gpu_seconds
    newest = {attempt.task: attempt for attempt in entry.attempts}
    last = [attempt.gpu_seconds for attempt in newest.values() if attempt.state is not JobState.REQUEUED]
    beyond = sum(max(0, gpu_seconds - entry.task_gpu_seconds) for gpu_seconds in last)
    requeued = entry.charged_gpu_seconds - sum(last)
    return entry.reserved_gpu_seconds + beyond + requeued


def balance(entries: Iterable[LedgerEntry], limit: float, counts: Iterable[Kind]) -> Balance:
    """What is left of a limit (H100-hours) by these entries."""
    counted = [entry for entry in entries if entry.kind in set(counts)]
    held = sum(h100_hours(held_gpu_seconds(entry), entry.weight) for entry in counted)
    spent = sum(h100_hours(entry.charged_gpu_seconds, entry.weight) for entry in counted)
    return Balance(limit, spent, held - spent)


@dataclass(frozen=True)
class Balances:
    """A session's own balance, and its campaign's: both have to hold."""

    own: Balance
    campaign: Balance

    @property
    def tightest(self) -> Balance:
        return min(self.own, self.campaign, key=lambda each: each.left)

    @property
    def share(self) -> float:
        """Of the limit that is closer to its end what is spent, at most 1."""
        return min(1.0, max(each.spent / each.limit for each in (self.own, self.campaign)))

    def exceeded(self, what: str, needed: float) -> BudgetExceeded | None:
        """The error for what needs so many H100-hours, if they are not left; of two the one that lasts."""
        errors = [
            BudgetExceeded(what, needed, each.left, each.limit, spent=each.spent)
            for each in (self.own, self.campaign)
            if needed > each.left + _ROUNDING
        ]
        return max(errors, key=lambda error: (error.for_good, -error.left), default=None)


def balances(own: Iterable[LedgerEntry], campaign: Iterable[LedgerEntry], terms: Terms) -> Balances:
    """
    Args:
        own: of the session, and of the calibrations that it rests on.
        campaign: of all sessions and calibrations; needed only where the campaign has a limit.
    """
    return Balances(balance(own, terms.limit, terms.counts), balance(campaign, terms.campaign_limit, terms.counts))


def admit(new: LedgerEntry, remaining: Balances, counts: Iterable[Kind]) -> None:
    """Let `new` pass only if its worst case fits what is left.

    Raises:
        BudgetExceeded: it does not fit.
    """
    worst_case = h100_hours(new.reserved_gpu_seconds, new.weight)
    error = remaining.exceeded(f"{new.kind} {new.job_name}", worst_case) if new.kind in set(counts) else None
    if error:
        raise error


def affordable_minutes(entry: LedgerEntry, left: float) -> int:
    """The longest time limit, in whole minutes, with which a job's worst case fits what is left (H100-hours)."""
    seconds = (left + _ROUNDING) * SECONDS_PER_HOUR / entry.weight / (entry.gpus * entry.tasks)
    return math.floor((seconds - entry.overrun_s) / 60)
