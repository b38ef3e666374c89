"""On the node, around a task's command: writes down that it began and how it ended, for sites without slurmdbd.

The command has our environment, streams and signals, as if it had been queued itself.
"""

import os
import sys
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from slurm_bench.effects import node, processes, slurm_commands, store, trouble
from slurm_bench.pure import own_record
from slurm_bench.words.accounting import Attempt, JobState, OwnJob, Sighting
from slurm_bench.words.errors import SchedulerError, StorageError

_PATIENCE_S = 60.0
"""With a folder that cannot be written when the task has ended: its allocation waits with us."""


def job_record(folder: Path) -> Path:
    return folder / "job.json"


def task_records(folder: Path) -> Iterable[Path]:
    return sorted(folder.glob("task-*.json"))


def main(folder: str, separator: str, *command: str) -> int:
    """Exit code of the command, which is not started where its beginning cannot be written down."""
    assert separator == "--"
    job = store.read(job_record(Path(folder)), OwnJob)
    begun = _begun(job, os.environ)
    record = Path(folder) / f"task-{begun.attempt.raw_id}-{begun.restarts}.json"
    store.write(record, begun)
    begun = _by_the_queue(begun)
    store.write(record, begun)
    ended = processes.run_in_place(command)
    over = begun.model_copy(update={"attempt": _ended(begun.attempt, ended, job)})
    try:
        trouble.waited_out(lambda: store.write(record, over), Path(folder), trouble.Waiting(_PATIENCE_S))
    except (OSError, StorageError) as error:
        print(f"the end of this task is not written down: {error}", file=sys.stderr)
    return ended.exit_code


def _begun(job: OwnJob, environment: "os._Environ[str]") -> Sighting:
    started = datetime.fromtimestamp(int(processes.own_start()), UTC)
    attempt = Attempt(
        raw_id=environment["SLURM_JOB_ID"],
        job_id=environment["SLURM_ARRAY_JOB_ID"],
        job_name=job.name,
        task=int(environment["SLURM_ARRAY_TASK_ID"]),
        state=JobState.RUNNING,
        exit_code=0,
        elapsed_s=0,
        gpus=job.gpus,
        submitted=started,
        started=started,
        ended=None,
        node=node.name(),
    )
    return Sighting(attempt=attempt, restarts=int(environment.get("SLURM_RESTART_COUNT", "0")))


def _by_the_queue(begun: Sighting) -> Sighting:
    """The same with what only squeue knows, above all how long before us the allocation began; if it answers."""
    own = (f"--jobs={begun.attempt.raw_id}", f"--Format={own_record.QUEUE_FORMAT}")
    try:
        rows = own_record.rows(slurm_commands.ask({}, "squeue", "--noheader", "--array", *own))
    except SchedulerError as error:
        print(f"this task's start is by its own clock: {error}", file=sys.stderr)
        return begun
    return next((row for row in rows if row.key == begun.key and row.attempt.started), begun)


def _ended(begun: Attempt, ended: processes.Ended, job: OwnJob) -> Attempt:
    now = datetime.now(UTC)
    assert begun.started
    elapsed_s = round((now - begun.started).total_seconds())
    state = JobState.FAILED if ended.exit_code else JobState.COMPLETED
    if ended.by_parent:  # Slurm does not tell why it ends a job
        state = JobState.TIMEOUT if elapsed_s >= job.limit_s else JobState.CANCELLED
    return replace(begun, state=state, exit_code=ended.exit_code, elapsed_s=elapsed_s, ended=now)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
