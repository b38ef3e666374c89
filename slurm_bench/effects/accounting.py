"""Where a Slurm cluster's usage is known from: its accounting database, or for sites without one our own record."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol

from slurm_bench.effects import folders, locking, store, task_record
from slurm_bench.effects.cluster import Job, python_command
from slurm_bench.pure import own_record, sacct, slurm_settings
from slurm_bench.words.accounting import Attempt, OwnJob, Sighting, Sightings
from slurm_bench.words.errors import UsageError

_REPEATED_HOUR = timedelta(hours=1)

Ask = Callable[..., str]
"""Output of one of Slurm's commands, its words given one by one; a SchedulerError if there is no answer."""


class Accounting(Protocol):
    name: str
    """For people."""
    programs: tuple[str, ...]
    """What has to be on the PATH for it."""

    def check(self, site: Mapping[str, str]) -> None:
        """
        Raises:
            UsageError: a site of these settings cannot be accounted for like this.
        """

    def accounted(self, job: Job) -> Sequence[str]:
        """The last command of a job's batch script, so that it is accounted for; the task's number comes after it."""

    def attempts(self, names: Sequence[str], begin: datetime) -> Iterable[Attempt]:
        """Every attempt at the jobs of these names, of which there is one, since then.

        Raises:
            SchedulerError: no answer.
        """


class Sacct:
    name = "sacct"
    programs: tuple[str, ...] = ("sacct",)

    def __init__(self, ask: Ask) -> None:
        self._ask = ask

    def check(self, site: Mapping[str, str]) -> None:
        if not slurm_settings.has_database(site):
            raise UsageError("this site has no slurmdbd: cluster.accounting=own keeps a record of its own")
        if not slurm_settings.tracks_gpus(site):
            raise UsageError("this site's accounting does not count GPUs: AccountingStorageTRES lacks gres/gpu")

    def accounted(self, job: Job) -> Sequence[str]:
        return job.command

    def attempts(self, names: Sequence[str], begin: datetime) -> Iterable[Attempt]:
        return sacct.attempts(
            self._ask(
                "sacct",
                "--allocations",
                "--allusers",
                "--duplicates",
                "--parsable2",
                f"--format={','.join(sacct.FIELDS)}",
                f"--name={','.join(names)}",
                # An hour more than is asked for: local time has one twice, when the clocks go back.
                f"--starttime={(begin - _REPEATED_HOUR).astimezone():%Y-%m-%dT%H:%M:%S}",
                "--endtime=now+1days",  # a clock of ours that is late must not hide what slurmctld queued
            )
        )


class OwnRecord:
    """One folder a job: what squeue said of it, and what its tasks wrote of themselves (`task_record`).

    Args:
        folder: on the file system that desks and nodes share.
        absent_grace_s: of the ledger; half of it makes a task lost, so that the ledger never meets one that runs
            by the accounting and is in no queue.
        overrun_s: how long a task may outlive its time limit.
    """

    name = "our own record of squeue and the tasks (no slurmdbd)"
    programs: tuple[str, ...] = ()

    def __init__(self, folder: Path, ask: Ask, absent_grace_s: float, overrun_s: Callable[[], int]) -> None:
        self._folder, self._ask, self._overrun_s = folder, ask, overrun_s
        self._grace = timedelta(seconds=absent_grace_s / 2)

    def check(self, site: Mapping[str, str]) -> None:
        """Every site has a queue."""

    def accounted(self, job: Job) -> Sequence[str]:
        folder = self._folder / job.name
        own = OwnJob(
            name=job.name,
            gpus=job.held_gpus,
            limit_s=job.limit_s,
            overrun_s=self._overrun_s(),
            queued_at=datetime.now(UTC),
        )
        store.write(task_record.job_record(folder), own)
        # In the shell's place: Slurm's SIGTERM would end the shell, and all else with it before it is written down.
        return ["exec", *python_command(task_record.__name__, str(folder), "--"), *job.command]

    def attempts(self, names: Sequence[str], begin: datetime) -> Iterable[Attempt]:
        # No older answer is written over a newer one; who may only look writes none.
        writes = folders.may_write(self._folder)
        with locking.lock(self._folder / "lock") if writes else nullcontext():
            asked_at, listed = datetime.now(UTC), ",".join(names)
            rows = own_record.rows(
                self._ask(
                    "squeue",
                    "--noheader",
                    "--array",
                    "--states=all",
                    f"--name={listed}",
                    f"--Format={own_record.QUEUE_FORMAT}",
                )
            )
            by_name: dict[str, list[Sighting]] = {}
            for row in rows:
                by_name.setdefault(row.attempt.job_name, []).append(row)
            return [attempt for name in names for attempt in self._of_job(name, by_name.get(name, []), asked_at)]

    def _of_job(self, name: str, rows: Sequence[Sighting], asked_at: datetime) -> list[Attempt]:
        folder = self._folder / name
        job = store.read_if_there(task_record.job_record(folder), OwnJob)
        if job is None:
            return []
        tasks = [store.read(path, Sighting) for path in task_record.task_records(folder)]
        before = store.read_if_there(_queue_record(folder), Sightings) or Sightings()
        seen = own_record.seen(before, rows, tasks, asked_at)
        if seen != before and folders.may_write(folder):
            store.write(_queue_record(folder), seen)
        return own_record.attempts(job, seen, tasks, asked_at, self._grace)


def _queue_record(folder: Path) -> Path:
    return folder / "queue.json"
