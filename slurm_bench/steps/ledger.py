"""The ledger: GPU-hours reserved before a job is queued, and charged from accounting once it is over.

One file an entry, one writer at a time in a campaign. What is reserved stays held until every task is over or
proven absent; no answer from the scheduler is never zero usage, and while there is none nothing is queued.
"""

import logging
import math
import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

from slurm_bench.effects import campaigns, locking, store, trouble
from slurm_bench.effects.clock import Clock, SystemClock
from slurm_bench.effects.cluster import RECOVERY, Cluster, Job, Queued
from slurm_bench.pure import accounts, budget
from slurm_bench.pure.budget import Balances, Terms
from slurm_bench.pure.sacct import merged
from slurm_bench.words.accounting import Attempt, JobState, LedgerEntry, Observation, RestsOn
from slurm_bench.words.campaigns import describe
from slurm_bench.words.errors import InfrastructureError, JobRefused, SchedulerError
from slurm_bench.words.kinds import Kind
from slurm_bench.words.paths import CalibrationPaths, CampaignPaths, TimingPaths

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
        self._queues = False

    @property
    def overrun_s(self) -> int:
        """How long a task may outlive its time limit."""
        return self._cluster.overrun_s

    @property
    def campaign(self) -> CampaignPaths:
        return self._paths.campaign

    def entries(self) -> list[LedgerEntry]:
        return store.read_all(self._paths.ledger, LedgerEntry)

    def balances(self) -> Balances:
        """What is left for these jobs, by what was seen last, and can be read of the campaign."""
        own = [*self.entries(), *self.calibrations()]
        folders = campaigns.members(self.campaign).ledgers if math.isfinite(self._terms.campaign_limit) else ()
        return budget.balances(own, [entry for folder in folders for entry in _entries(folder)], self._terms)

    def refuse_unknown(self) -> None:
        """Let nothing more be spent of a campaign's limit while somebody's part of it cannot be read.

        Raises:
            InfrastructureError: which session or calibration that is, and whom to ask.
        """
        unreadable = campaigns.members(self.campaign).unreadable if math.isfinite(self._terms.campaign_limit) else ()
        if unreadable:
            limit = f"nobody knows what is left of the campaign's {self._terms.campaign_limit:g} H100-hours"
            raise InfrastructureError(f"{limit}: {describe(unreadable)}")

    def held_h100_hours(self) -> float:
        """What these jobs hold by themselves, whether it counts or not."""
        return sum(budget.h100_hours(budget.held_gpu_seconds(entry), entry.weight) for entry in self.entries())

    def calibrations(self) -> list[LedgerEntry]:
        """The entries of the calibrations that this session's verdicts rest on."""
        resting = store.read_if_there(self._paths.rests_on, RestsOn)
        folders = [self._paths.campaign.calibration(name).ledger for name in resting.calibrations] if resting else []
        return [entry for folder in folders for entry in _entries(folder)]

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
            InfrastructureError: the campaign has a limit, and what others spent of it cannot be read.
            SchedulerError: queue or accounting give no answer, or sbatch did not queue it. Where nobody knows
                whether it did, the reservation stays until the queue has not known the job for the grace.
        """
        known = self._entry(job.name)
        if known and known.job_id is not None:
            return known
        with self._queueing():
            known = self._entry(job.name)
            self._look_at_open(beside=known or self._worst_case(kind, job))
            self._refuse_runaways(self.entries())
            # We may have died between sbatch and the line that keeps its answer: the name finds the job.
            found = self._find_surely(known) if known else None
            with self._lock():
                entry = self._entry(job.name) or self._reserve(self._worst_case(kind, job), shrinkable)
                if found and entry.job_id is None:
                    entry = self._keep(_adopted(entry, found))
            return entry if entry.job_id is not None else self._queue(job, entry)

    def _queue(self, job: Job, entry: LedgerEntry) -> LedgerEntry:
        """Call sbatch for a job that is reserved for; a scheduler that takes its time keeps nobody waiting."""
        job_id = self._submit(replace(job, limit_minutes=entry.limit_s // 60), entry)
        queued = {"job_id": job_id, "queued_at": self._clock.now(), "absent_since": {}}
        with self._lock():
            known = self._entry(job.name) or entry  # another desk may have found the job meanwhile
            return known if known.job_id is not None else self._keep(known.model_copy(update=queued))

    def could_afford(self, kind: Kind, job: Job, shrinkable: Shrinkable) -> bool:
        """Whether a job that takes what is left could be paid if nothing of what is reserved came to be used."""
        entry = self._worst_case(kind, job)
        if not self._is_shrinkable(entry):
            return True
        error = self.balances().exceeded(job.name, _least_h100_hours(entry, shrinkable))
        return error is None or not error.for_good

    def _is_shrinkable(self, entry: LedgerEntry) -> bool:
        """Whether it takes anything of the budget at all."""
        return entry.gpus > 0 and entry.kind in self._terms.counts

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
        if self._is_shrinkable(entry):
            self.refuse_unknown()
        remaining = self.balances()
        if shrinkable and self._is_shrinkable(entry):
            entry = _shrunk(entry, shrinkable, remaining)
        budget.admit(entry, remaining, self._terms.counts)
        return self._keep(entry)

    def _submit(self, job: Job, entry: LedgerEntry) -> str:
        """Id of the queued job; what sbatch says is believed only where the queue does not say otherwise."""
        try:
            return self._cluster.submit(job)
        except SchedulerError as error:
            found = self._cluster.find(job.name, entry.reserved_at)
            if found is not None:
                return found
            if isinstance(error, JobRefused):
                with self._lock():
                    self._path(job.name).unlink()
            raise

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

    def entry(self, job_name: str) -> LedgerEntry | None:
        """Return what is known of the job of this name; None where none was reserved for."""
        return self._entry(job_name)

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

    def correct(self, accounts_of: Mapping[str, Iterable[Attempt]]) -> None:
        """Take over what the accounting says, by job name, of jobs that are settled: it may have learnt more since."""
        with self._lock():
            for entry in self.entries():
                attempts = tuple(merged(entry.attempts, accounts_of.get(entry.job_name, ())))
                if entry.settled_at is not None and attempts != entry.attempts:
                    self._keep(entry.model_copy(update={"attempts": attempts}))

    def wait_until_over(
        self, job_name: str, poll_s: float, watch: Callable[[Mapping[int, JobState]], None]
    ) -> LedgerEntry:
        """Return the settled entry once every task is over, or absent from every answer for the grace.

        Args:
            watch: called at each poll with the tasks' states, or with none where there is no answer.

        Raises:
            SchedulerError: no answer for too long, or one that only a person can resolve; the reservation stays.
            StorageError: the files of the ledger, or of watch, stay out of reach for as long; nothing is changed by it.
            InfrastructureError: it did not start for a reason that does not pass, and was cancelled.
        """

        def wait() -> LedgerEntry:
            return self._wait_until_over(job_name, poll_s, watch)

        waiting = trouble.of_waits(self._silence.total_seconds(), poll_s)
        return trouble.waited_out(wait, self._paths.ledger, waiting, self._clock)

    def _wait_until_over(
        self, job_name: str, poll_s: float, watch: Callable[[Mapping[int, JobState]], None]
    ) -> LedgerEntry:
        last_answer = last_hope = self._clock.now()
        while True:
            entry = self._entry(job_name)
            if entry is None:
                raise SchedulerError(f"{job_name} was never queued, as far as can be known")
            if entry.settled_at is not None:
                return entry
            states: Mapping[int, JobState] = {}
            try:
                seen = self._look_at([entry])[job_name]
                states = seen.states
                self._refuse_runaways(filter(None, [self._entry(job_name)]))
                last_answer = self._clock.now()
                last_hope = last_hope if seen.stuck else last_answer
                self._end_if_stuck(job_name, seen, last_hope)
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

    def _end_if_stuck(self, job_name: str, seen: Observation, last_hope: datetime) -> None:
        """Cancel what nobody knows to start by itself, after a while: some reasons pass all the same."""
        if seen.stuck and self._clock.now() - last_hope > self._silence:
            self._cluster.cancel(job_name)
            waited = f"it waited for {self._silence.total_seconds() / 60:.0f} minutes for {seen.stuck} (squeue)"
            raise InfrastructureError(f"{job_name} was cancelled: {waited}, which does not pass by itself")

    def _look_at_open(self, beside: LedgerEntry | None = None) -> None:
        """One question about all open entries, and about a job that is to be queued next if there is one."""
        still_open = {entry.job_name: entry for entry in self.entries() if entry.settled_at is None}
        if beside is not None:
            still_open.setdefault(beside.job_name, beside)
        self._look_at(list(still_open.values()))

    def _look_at(self, entries: list[LedgerEntry]) -> Mapping[str, Observation]:
        try:
            seen = self._cluster.look([Queued(each.job_name, each.reserved_at, each.tasks) for each in entries])
        except SchedulerError:
            self._update(entries, accounts.unanswered)
            raise
        unqueued = [entry for entry in entries if entry.job_id is None]
        found = {each.job_name: self._id_of(each, seen[each.job_name]) for each in unqueued}
        self._update(entries, lambda entry: accounts.observed(entry, seen[entry.job_name], self._grace), found)
        return seen

    def _id_of(self, entry: LedgerEntry, seen: Observation) -> str | None:
        if seen.attempts:
            return seen.attempts[0].job_id
        return self._cluster.find(entry.job_name, entry.reserved_at) if seen.states else None

    def _update(
        self,
        entries: list[LedgerEntry],
        change: Callable[[LedgerEntry], LedgerEntry],
        found: Mapping[str, str | None] | None = None,
    ) -> None:
        """Change what is known of open entries; one that was settled meanwhile stays as it is.

        Args:
            found: ids, by name, of jobs whose writer died, or got no answer, before he knew of them. One that every
                answer of the grace did not know is released instead: it was never queued.
        """
        with self._lock():
            for name in (entry.job_name for entry in entries):
                entry = self._entry(name)
                if entry is None or entry.settled_at is not None:
                    continue
                job_id = (found or {}).get(name)
                if entry.job_id is None and job_id is not None:
                    entry = self._keep(_adopted(entry, job_id))
                changed = change(entry)
                if changed.job_id is None and changed.settled_at is not None:
                    if not self._is_being_queued():
                        self._path(name).unlink()
                elif changed != entry:
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
            unknown = accounts.unaccounted(entry, now, self._grace)
            if entry.settled_at is None and unknown:
                raise SchedulerError(
                    f"{entry.job_name}: the queue has shown task {min(unknown)} running, and the accounting does not "
                    "know of that; what it may have used stays reserved until it does (sacct, slurmdbd)"
                )

    @contextmanager
    def _queueing(self) -> Iterator[None]:
        """Be the only one who queues jobs of this session, or calibration."""
        with locking.lock(self._paths.queue_lock):
            self._queues = True
            try:
                yield
            finally:
                self._queues = False

    def _is_being_queued(self) -> bool:
        """Whether somebody else may be waiting for sbatch, so that a job of which nobody knows may yet appear."""
        return not self._queues and locking.is_held(self._paths.queue_lock)

    def _lock(self) -> AbstractContextManager[None]:
        return locking.lock(self._paths.campaign.ledger_lock)

    def _entry(self, job_name: str) -> LedgerEntry | None:
        return store.read_if_there(self._path(job_name), LedgerEntry)

    def _keep(self, entry: LedgerEntry) -> LedgerEntry:
        store.write(self._path(entry.job_name), entry)
        return entry

    def _path(self, job_name: str) -> Path:
        return self._paths.ledger / f"{job_name}.json"


def _entries(folder: Path) -> list[LedgerEntry]:
    return store.read_all(folder, LedgerEntry)


def _adopted(entry: LedgerEntry, job_id: str) -> LedgerEntry:
    """An entry whose job was found again; it was queued some time after it was reserved for."""
    return entry.model_copy(update={"job_id": job_id, "queued_at": entry.reserved_at, "absent_since": {}})


def _shrunk(entry: LedgerEntry, shrinkable: Shrinkable, remaining: Balances) -> LedgerEntry:
    """The entry with the longest limit that leaves what is to be kept.

    Raises:
        BudgetExceeded: not even the shortest one does.
    """
    needed = _least_h100_hours(entry, shrinkable)
    error = remaining.exceeded(f"{entry.kind} {entry.job_name}", needed)
    if error:
        raise error
    minutes = budget.affordable_minutes(entry, remaining.tightest.left - shrinkable.keep)
    return entry.model_copy(update={"limit_s": min(entry.limit_s, 60 * minutes)})


def _least_h100_hours(entry: LedgerEntry, shrinkable: Shrinkable) -> float:
    """What a job takes with its shortest time limit, and what has to be left beside it."""
    short = entry.model_copy(update={"limit_s": min(60 * shrinkable.least_minutes, entry.limit_s)})
    return budget.h100_hours(short.reserved_gpu_seconds, short.weight) + shrinkable.keep
