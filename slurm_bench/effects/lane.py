"""A process that works through tasks of an array, one after the other, and writes down what they used.

Where the array is nested in a job, its lane ends with the desk that queued it, if it is not ended before with the job.
"""

import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

from slurm_bench.effects import node, processes, store, trouble
from slurm_bench.words.accounting import Attempt, JobState
from slurm_bench.words.records import Record

_PATIENCE_S = 3600.0
"""With a file system in which nothing can be written down: a lane costs nothing while it waits."""
_LATE_S = 0.5
"""Whoever ends a job signals its processes one after the other, and a task may have ended of it before its lane."""


class Owner(Record):
    """The job that an array is nested in."""

    job_id: str
    job_name: str
    desk: processes.ProcessIdentity
    """Who queued the array, from inside that job."""


class Array(Record):
    """A queued array: written before its lanes start, so that it is never started twice."""

    name: str
    folder: Path
    """For the tasks' output, named as on Slurm."""
    command: tuple[str, ...]
    tasks: int
    lanes: int
    gpus: int
    """That a task is charged for."""
    limit_s: int
    owner: Owner | None
    host: str = ""
    """Whose processes its lanes are; of a record without one, ours."""
    desk: processes.ProcessIdentity | None = None
    """Who queued it, and waits until its lanes work; in records of older versions nobody."""
    cancelled: bool = False
    """Written before its lanes are ended: whoever looks meanwhile must not take their tasks for failed."""

    def turns(self, lane: int) -> range:
        """The tasks of a lane."""
        return range(lane, self.tasks, self.lanes)

    @property
    def lost(self) -> JobState:
        """How a task has ended that nobody was left to write down.

        In a job of its own nothing but the task could end the lane; a job that it is nested in ends for many reasons.
        """
        return JobState.CANCELLED if self.owner or self.cancelled else JobState.FAILED


class _Task(Record):
    attempt: Attempt


class _Ended(Exception):
    """The lane is to end."""


def array_record(folder: Path) -> Path:
    return folder / "array.json"


def processes_of(folder: Path) -> list[processes.ProcessIdentity]:
    """The lanes of an array, as they wrote down themselves."""
    return [store.read(record, processes.ProcessIdentity) for record in sorted(folder.glob("lane-*.json"))]


def ticket(folder: Path, lane: int) -> Path:
    """What a lane has to take, once, before its first task. Whoever gives it up takes this instead: it never works."""
    return folder / f"ticket-{lane}"


def waiting(folder: Path) -> list[Path]:
    """The tickets that nobody has taken."""
    return sorted(folder.glob("ticket-*"))


def take(path: Path) -> bool:
    """Take a ticket; of all that try, one succeeds."""
    try:
        path.unlink()
    except FileNotFoundError:
        return False
    return True


def attempts(folder: Path, array: Array) -> list[Attempt]:
    """What is written down of tasks that have begun; those that go on up to now."""
    written = [store.read(record, _Task).attempt for record in _task_records(folder)]
    return [each if each.ended else replace(each, elapsed_s=_elapsed_s(each, array)) for each in written]


def close(folder: Path, array: Array, state: JobState) -> None:
    """Write down ends that nobody is left to write down; once, so that the charge stays what it was."""
    for record in _task_records(folder):
        attempt = store.read(record, _Task).attempt
        if attempt.ended is None:
            ended = replace(attempt, state=state, elapsed_s=_elapsed_s(attempt, array), ended=datetime.now(UTC))
            store.write(record, _Task(attempt=ended))


def _task_records(folder: Path) -> list[Path]:
    return sorted(folder.glob("task-*.json"))


def _elapsed_s(attempt: Attempt, array: Array) -> int:
    return min(array.limit_s, round((datetime.now(UTC) - attempt.submitted).total_seconds()))


def main(folder: str, lane: str) -> None:
    """What a lane does: its tasks in turn, each one accounted. A failed task does not end the lane."""
    usage = Path(folder)
    store.write(usage / f"lane-{lane}.json", processes.identify(os.getpid()))
    if not take(ticket(usage, int(lane))):
        return
    array = store.read(array_record(usage), Array)
    if array.owner is None:
        _work(usage, array, int(lane), lambda: None)
        return
    signal.signal(signal.SIGTERM, _end)
    try:
        _work(usage, array, int(lane), _watch(array.owner))
    except _Ended:
        close(usage, array, array.lost)


def _end(number: int, frame: FrameType | None) -> None:
    raise _Ended


def _watch(owner: Owner) -> Callable[[], None]:
    def watch() -> None:
        if not processes.is_alive(owner.desk):
            raise _Ended

    return watch


def _work(usage: Path, array: Array, lane: int, watch: Callable[[], None]) -> None:
    for task in array.turns(lane):
        watch()
        running = Attempt(
            raw_id=f"{os.getppid()}-{task}",
            job_id=str(os.getppid()),
            job_name=array.name,
            task=task,
            state=JobState.RUNNING,
            exit_code=0,
            elapsed_s=0,
            gpus=array.gpus,
            submitted=datetime.now(UTC),
            started=datetime.now(UTC),
            ended=None,
            node=node.name(),
        )
        record = usage / f"task-{task:02}.json"
        _write_down(record, running)
        began = time.monotonic()
        state, exit_code = _run(array, task, array.folder / f"{running.job_id}_{task}_0_log.err", watch)
        elapsed = max(1, round(time.monotonic() - began))
        ended = replace(running, state=state, exit_code=exit_code, elapsed_s=elapsed, ended=datetime.now(UTC))
        _write_down(record, ended)


def _write_down(record: Path, attempt: Attempt) -> None:
    trouble.waited_out(lambda: store.write(record, _Task(attempt=attempt)), record.parent, trouble.Waiting(_PATIENCE_S))


def _run(array: Array, task: int, output: Path, watch: Callable[[], None]) -> tuple[JobState, int]:
    """State and exit code of one task, as a scheduler would tell them."""
    argv = [*array.command, str(task)]
    try:
        code = processes.run_logged(argv, timeout_s=array.limit_s, output=output, watch=watch)
    except processes.TimedOut:
        return JobState.TIMEOUT, 0
    if code and array.owner:
        time.sleep(_LATE_S)
        watch()
    return (JobState.FAILED if code else JobState.COMPLETED), code


if __name__ == "__main__":
    main(*sys.argv[1:])
