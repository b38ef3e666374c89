"""The ledger: GPU-hours reserved before a job is queued, and charged from accounting once it is over.

One file an entry. What is reserved stays held until every task is terminal or proven absent; no answer from the
scheduler is never zero usage.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path

from slurm_bench.effects import store
from slurm_bench.effects.cluster import Cluster, Job
from slurm_bench.pure import budget
from slurm_bench.words.errors import SchedulerError
from slurm_bench.words.records import JobState, LedgerEntry


class Ledger:
    """
    Args:
        folder: the session's ledger.
        limit: H100-hours of the session.
        weight: H100-hours that a GPU-hour on this cluster counts.
        grace_s: how long a task may be unknown to the scheduler before it counts as cancelled.
    """

    def __init__(self, folder: Path, cluster: Cluster, limit: float, weight: float, grace_s: float) -> None:
        self._folder = folder
        self._cluster = cluster
        self._limit = limit
        self._weight = weight
        self._grace_s = grace_s

    def entries(self) -> list[LedgerEntry]:
        return [store.read(path, LedgerEntry) for path in sorted(self._folder.glob("*.json"))]

    def run_to_queue(self, kind: str, job: Job) -> LedgerEntry:
        """Reserve a job's worst case and queue it, each at most once however often this is called.

        Raises:
            BudgetExceeded: the worst case does not fit; nothing is reserved or queued.
            SchedulerError: it could not be queued; nothing stays reserved.
        """
        with store.lock(self._folder / "lock"):
            entry = self._reserve(kind, job)
            if entry.job_id is not None:
                return entry
            # We may have died between sbatch and the line that keeps its answer: the name finds the job.
            job_id = self._cluster.find(job.name, entry.reserved_at)
            if job_id is None:
                job_id = self._submit(job, entry.reserved_at)
            return self._keep(entry.model_copy(update={"job_id": job_id, "queued_at": datetime.now(UTC)}))

    def _reserve(self, kind: str, job: Job) -> LedgerEntry:
        known = store.read_if_there(self._path(job.name), LedgerEntry)
        if known is not None:
            return known
        entry = LedgerEntry.model_validate(
            {
                "job_name": job.name,
                "kind": kind,
                "tasks": job.tasks,
                "gpus": job.held_gpus,
                "worst_case_s": job.limit_s + self._cluster.overrun_s,
                "reserved_at": datetime.now(UTC),
            }
        )
        budget.admit(self.entries(), entry, self._limit, self._weight)
        return self._keep(entry)

    def _submit(self, job: Job, since: datetime) -> str:
        try:
            return self._cluster.submit(job)
        except SchedulerError:
            # sbatch can fail after it queued: only a job that is nowhere gives its reservation back.
            found = self._cluster.find(job.name, since)
            if found is None:
                self._path(job.name).unlink()
                raise
            return found

    def knows(self, job_name: str) -> bool:
        """Whether a job of this name holds or held a reservation: one that was never queued gives its own back."""
        return self._path(job_name).exists()

    def is_open(self, job_name: str) -> bool:
        """Whether a job of this name is reserved for and not settled."""
        entry = store.read_if_there(self._path(job_name), LedgerEntry)
        return entry is not None and entry.settled_at is None

    def charged(self, job_name: str) -> int:
        """GPU-seconds that a settled job was charged; 0 for any other."""
        entry = store.read_if_there(self._path(job_name), LedgerEntry)
        return entry.charged_gpu_seconds if entry else 0

    def settle(self, job_name: str) -> LedgerEntry:
        """Charge what a job that is over did use, and release the rest of its reservation."""
        entry = store.read(self._path(job_name), LedgerEntry)
        if entry.settled_at is not None:
            return entry
        attempts = tuple(self._cluster.attempts([job_name], entry.reserved_at))
        return self._keep(entry.model_copy(update={"attempts": attempts, "settled_at": datetime.now(UTC)}))

    def settle_finished(self) -> None:
        """Settle whatever is over, e.g. after a desk that died or a session that nobody followed."""
        for entry in self.entries():
            waited = (datetime.now(UTC) - (entry.queued_at or entry.reserved_at)).total_seconds()
            if entry.settled_at is not None or (entry.queued_at is None and waited <= self._grace_s):
                continue
            if entry.queued_at is None and self._cluster.find(entry.job_name, entry.reserved_at) is None:
                self._path(entry.job_name).unlink()  # its sbatch failed while nobody could say so
                continue
            absent = range(entry.tasks) if waited > self._grace_s else ()
            if _is_over(self._states(entry), absent, entry.tasks):
                self.settle(entry.job_name)

    def wait_until_over(
        self, job_name: str, poll_s: float, watch: Callable[[Mapping[int, JobState]], None]
    ) -> LedgerEntry:
        """Return the settled entry once every task is terminal, or unknown to the scheduler for the grace.

        Args:
            watch: called at each poll with the tasks' states, or with none where there is no answer.

        Raises:
            SchedulerError: no answer for as long as the grace; the reservation stays.
        """
        entry = store.read(self._path(job_name), LedgerEntry)
        if entry.settled_at is not None:
            return entry
        last_seen = dict.fromkeys(range(entry.tasks), time.monotonic())
        last_answer = time.monotonic()
        while True:
            try:
                states = self._states(entry)
                last_answer = time.monotonic()
            except SchedulerError:
                if time.monotonic() - last_answer > self._grace_s:
                    raise
                watch({})
                time.sleep(poll_s)
                continue
            last_seen |= dict.fromkeys(states, time.monotonic())
            absent = {task for task, seen in last_seen.items() if time.monotonic() - seen > self._grace_s}
            watch(states)
            if _is_over(states, absent, entry.tasks):
                return self.settle(job_name)
            time.sleep(poll_s)

    def _states(self, entry: LedgerEntry) -> Mapping[int, JobState]:
        return self._cluster.states(entry.job_name, entry.reserved_at, entry.tasks)

    def _keep(self, entry: LedgerEntry) -> LedgerEntry:
        store.write(self._path(entry.job_name), entry)
        return entry

    def _path(self, job_name: str) -> Path:
        return self._folder / f"{job_name}.json"


def _is_over(states: Mapping[int, JobState], absent: Iterable[int], tasks: int) -> bool:
    """Whether every task is terminal; an absent one without a state was cancelled before it left a trace."""
    known = dict.fromkeys(absent, JobState.CANCELLED) | dict(states)
    return len(known) == tasks and all(state.is_terminal for state in known.values())
