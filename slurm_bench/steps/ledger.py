"""The ledger: GPU-hours reserved before a job is queued, and charged from accounting once it is over.

One file an entry, one writer at a time in a campaign. What is reserved stays held until every task is over or
proven absent; no answer from the scheduler is never zero usage, and while there is none nothing is queued.
"""

import logging
import math
import random
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

from slurm_bench.effects import store
from slurm_bench.effects.clock import Clock, SystemClock
from slurm_bench.effects.cluster import RECOVERY, Cluster, Job, Queued
from slurm_bench.pure import accounts, budget
from slurm_bench.pure.budget import Balance, Terms
from slurm_bench.words.accounting import JobState, LedgerEntry, Observation, RestsOn
from slurm_bench.words.errors import BudgetExceeded, JobRefused, SchedulerError
from slurm_bench.words.kinds import Kind
from slurm_bench.words.paths import CalibrationPaths, TimingPaths

log = logging.getLogger(__name__)

_JITTER = 0.1


@dataclass(frozen=True)
class Patience:
    """Seconds until what the scheduler does not say is believed, or given up."""

    absent_s: float
    """How long a task may be unknown to every answer before it counts as cancelled."""
    silence_s: float
    """How long a scheduler without an answer is waited for."""


@dataclass(frozen=True)
class Shrinkable:
    """A job that takes what is left of the budget, where its whole time limit does not fit."""

    least_minutes: int
    keep: float
    """H100-hours that have to be left beside it."""


class Ledger:
    """
    Args:
        paths: of the session, or the calibration, whose jobs these are.
    """

    def __init__(
        self,
        paths: TimingPaths,
        cluster: Cluster,
        terms: Terms,
        patience: Patience,
        *,
        clock: Clock | None = None,
    ) -> None:
        self._paths = paths
        self._cluster = cluster
        self._terms = terms
        self._grace = timedelta(seconds=patience.absent_s)
        self._silence = timedelta(seconds=patience.silence_s)
        self._clock = clock or SystemClock()

    def entries(self) -> list[LedgerEntry]:
        return _entries(self._paths.ledger)

    def balance(self) -> Balance:
        """What is left for these jobs, by what was seen last: of the session's budget, or of the campaign's if less."""
        resting = store.read_if_there(self._paths.rests_on, RestsOn)
        calibrations = [self._paths.campaign.calibration(name) for name in resting.calibrations] if resting else []
        own = [entry for paths in (self._paths, *calibrations) for entry in _entries(paths.ledger)]
        folders = self._paths.campaign.ledgers() if math.isfinite(self._terms.campaign_limit) else []
        return budget.left(own, [entry for folder in folders for entry in _entries(folder)], self._terms)

    def rest_on(self, calibration: CalibrationPaths) -> None:
        """Count a calibration too: in full for every session that rests on it, once for their campaign."""
        with self._lock():
            known = store.read_if_there(self._paths.rests_on, RestsOn) or RestsOn(calibrations=())
            names = dict.fromkeys((*known.calibrations, calibration.root.name))
            store.write(self._paths.rests_on, RestsOn(calibrations=tuple(names)))

    def run_to_queue(self, kind: Kind, job: Job, shrinkable: Shrinkable | None = None) -> LedgerEntry:
        """Reserve a job's worst case and queue it, each at most once however often this is called.

        Args:
            shrinkable: how far its time limit may be cut to fit what is left; None is not at all.

        Raises:
            BudgetExceeded: the worst case does not fit; nothing is reserved or queued.
            SchedulerError: queue or accounting give no answer, or sbatch did not queue it. Where nobody knows
                whether it did, the reservation stays until the queue has not known the job for the grace.
        """
        known = self._entry(job.name)
        if known and known.job_id is not None:
            return known
        self._look_at_open(beside=known or self._worst_case(kind, job))
        self._refuse_runaways(self.entries())
        with self._lock():
            entry = self._entry(job.name) or self._reserve(self._worst_case(kind, job), shrinkable)
            if entry.job_id is not None:
                return entry
            limited = replace(job, limit_minutes=entry.limit_s // 60)
            # We may have died between sbatch and the line that keeps its answer: the name finds the job.
            found = self._find_surely(entry) if known else None
            job_id = found or self._submit(limited, entry)
            return self._keep(entry.model_copy(update={"job_id": job_id, "queued_at": self._clock.now()}))

    def _worst_case(self, kind: Kind, job: Job) -> LedgerEntry:
        return LedgerEntry(
            job_name=job.name,
            kind=kind,
            tasks=job.tasks,
            gpus=job.held_gpus,
            limit_s=job.limit_s,
            overrun_s=self._cluster.overrun_s,
            weight=self._terms.weight,
            reserved_at=self._clock.now(),
        )

    def _reserve(self, entry: LedgerEntry, shrinkable: Shrinkable | None) -> LedgerEntry:
        remaining = self.balance()
        if shrinkable and entry.gpus and entry.kind in self._terms.counts:
            entry = _shrunk(entry, shrinkable, remaining)
        budget.admit(entry, remaining, self._terms.counts)
        return self._keep(entry)

    def _submit(self, job: Job, entry: LedgerEntry) -> str:
        try:
            return self._cluster.submit(job)
        except JobRefused:
            self._path(job.name).unlink()
            raise
        except SchedulerError:
            found = self._cluster.find(job.name, entry.reserved_at)
            if found is None:
                raise
            return found

    def _find_surely(self, entry: LedgerEntry) -> str | None:
        """Id of a job that may have been queued; None only if it is not known at two times with a recovery between."""
        found = self._cluster.find(entry.job_name, entry.reserved_at)
        if found is None:
            self._clock.sleep(min(RECOVERY, self._grace).total_seconds())
            found = self._cluster.find(entry.job_name, entry.reserved_at)
        return found

    def was_queued(self, job_name: str) -> bool:
        """Whether a job of this name was queued, or may have been."""
        return self._entry(job_name) is not None

    def is_open(self, job_name: str) -> bool:
        """Whether a job of this name is reserved for and not settled."""
        entry = self._entry(job_name)
        return entry is not None and entry.settled_at is None

    def charged(self, job_name: str) -> int:
        """GPU-seconds that a job was charged so far; 0 for one that never was."""
        entry = self._entry(job_name)
        return entry.charged_gpu_seconds if entry else 0

    def settle_finished(self) -> None:
        """Bring all entries up to date, and settle what is over; also what nobody waited for.

        Raises:
            SchedulerError: no answer; everything stays reserved.
        """
        self._look_at_open()

    def wait_until_over(
        self, job_name: str, poll_s: float, watch: Callable[[Mapping[int, JobState]], None]
    ) -> LedgerEntry:
        """Return the settled entry once every task is over, or absent from every answer for the grace.

        Args:
            watch: called at each poll with the tasks' states, or with none where there is no answer.

        Raises:
            SchedulerError: no answer for too long, or one that only a person can resolve; the reservation stays.
        """
        last_answer = self._clock.now()
        while True:
            entry = store.read(self._path(job_name), LedgerEntry)
            if entry.settled_at is not None:
                return entry
            states: Mapping[int, JobState] = {}
            try:
                states = self._look_at([entry])[job_name].states
                self._refuse_runaways([store.read(self._path(job_name), LedgerEntry)])
                last_answer = self._clock.now()
            except SchedulerError as error:
                self._give_up_after_silence(last_answer, error)
            watch(states)
            if self.is_open(job_name):
                self._clock.sleep(poll_s * random.uniform(1 - _JITTER, 1 + _JITTER))

    def _give_up_after_silence(self, last_answer: datetime, error: SchedulerError) -> None:
        silent = self._clock.now() - last_answer
        if silent > self._silence:
            raise SchedulerError(f"no answer for {silent.total_seconds() / 60:.0f} minutes: {error}") from None
        log.debug("waiting for the scheduler: %s", error)

    def _look_at_open(self, beside: LedgerEntry | None = None) -> None:
        """One question about all open entries, and about a job that is to be queued next if there is one."""
        self._forget_unqueued()
        still_open = [entry for entry in self.entries() if entry.settled_at is None and entry.job_id is not None]
        self._look_at([*still_open, *([beside] if beside else [])])

    def _look_at(self, entries: list[LedgerEntry]) -> Mapping[str, Observation]:
        try:
            seen = self._cluster.look([Queued(each.job_name, each.reserved_at, each.tasks) for each in entries])
        except SchedulerError:
            self._update(entries, accounts.unanswered)
            raise
        now = self._clock.now()
        self._update(entries, lambda entry: accounts.observed(entry, seen[entry.job_name], now, self._grace))
        return seen

    def _update(self, entries: list[LedgerEntry], change: Callable[[LedgerEntry], LedgerEntry]) -> None:
        """Change what is known of open entries; one that was settled meanwhile stays as it is."""
        with self._lock():
            for name in (entry.job_name for entry in entries):
                entry = self._entry(name)
                if entry and entry.settled_at is None and (changed := change(entry)) != entry:
                    self._keep(changed)

    def _refuse_runaways(self, entries: Iterable[LedgerEntry]) -> None:
        now = self._clock.now()
        for entry in entries:
            lost = accounts.runaways(entry, now, self._grace)
            if entry.settled_at is None and lost:
                raise SchedulerError(
                    f"{entry.job_name}: by the accounting task {min(lost)} runs, but no queue knows it; "
                    "an administrator has to end it there (sacctmgr show runawayjobs)"
                )

    def _forget_unqueued(self) -> None:
        """Adopt, or release, what was reserved by somebody who died, or got no answer, before he knew of a job."""
        with self._lock():
            for entry in self.entries():
                waited = self._clock.now() - entry.reserved_at
                if entry.job_id is not None or waited <= self._grace:
                    continue
                job_id = self._find_surely(entry)
                if job_id is None:
                    self._path(entry.job_name).unlink()
                else:
                    self._keep(entry.model_copy(update={"job_id": job_id, "queued_at": self._clock.now()}))

    def _lock(self) -> AbstractContextManager[None]:
        return store.lock(self._paths.campaign.ledger_lock)

    def _entry(self, job_name: str) -> LedgerEntry | None:
        return store.read_if_there(self._path(job_name), LedgerEntry)

    def _keep(self, entry: LedgerEntry) -> LedgerEntry:
        store.write(self._path(entry.job_name), entry)
        return entry

    def _path(self, job_name: str) -> Path:
        return self._paths.ledger / f"{job_name}.json"


def _entries(folder: Path) -> list[LedgerEntry]:
    return [store.read(path, LedgerEntry) for path in sorted(folder.glob("[!.]*.json"))]


def _shrunk(entry: LedgerEntry, shrinkable: Shrinkable, remaining: Balance) -> LedgerEntry:
    """The entry with the longest limit that leaves what is to be kept.

    Raises:
        BudgetExceeded: not even the shortest one does.
    """
    minutes = min(entry.limit_s // 60, budget.affordable_minutes(entry, remaining.left - shrinkable.keep))
    least = min(shrinkable.least_minutes, entry.limit_s // 60)
    if minutes < least:
        short = entry.model_copy(update={"limit_s": 60 * least})
        needed = budget.h100_hours(short.reserved_gpu_seconds, short.weight) + shrinkable.keep
        raise BudgetExceeded(f"{entry.kind} {entry.job_name}", needed, remaining.left, remaining.limit)
    return entry.model_copy(update={"limit_s": 60 * minutes})
