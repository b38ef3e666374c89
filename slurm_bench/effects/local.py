"""This machine as a cluster, through submitit's local executor: no queue, no accounting database.

`parallel` lanes work through an array's tasks, and each task's usage is written down: one Attempt file when it
starts and again when it ends. A lane that died leaves a task without an end; it counts as failed, and is charged
up to now or its limit, since nobody saw when it stopped.
"""

import os
import shlex
import socket
import sys
import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import submitit

from slurm_bench.effects import processes, store
from slurm_bench.effects.cluster import Job, Queued, python_command
from slurm_bench.words.accounting import Attempt, JobState, Observation
from slurm_bench.words.config import ClusterConfig
from slurm_bench.words.errors import JobRefused, SchedulerError
from slurm_bench.words.records import Record

_LANE_START_S = 30.0
_CANCEL_GRACE_S = 5.0


class _Array(Record):
    """A queued array: written before its lanes start, so that it is never started twice."""

    name: str
    command: tuple[str, ...]
    tasks: int
    lanes: int
    gpus: int
    limit_s: int


class _Task(Record):
    attempt: Attempt


class _CommandExecutor(submitit.LocalExecutor):
    """submitit's controller around a plain command, with its output and its time limit."""

    def start(self, command: str) -> None:
        self._submit_command(command)


class LocalCluster:
    """
    Args:
        usage: folder for array, lane and attempt records, one folder a job.
    """

    accounting = "this machine's own record (cluster=local)"
    step: tuple[str, ...] = ()
    overrun_s = 0

    def __init__(self, config: ClusterConfig, usage: Path) -> None:
        self._config = config
        self._usage = usage

    def submit(self, job: Job) -> str:
        if job.after or job.begin:
            raise JobRefused(f"{job.name}: cluster=local starts every job at once, and lets none wait")
        folder = self._usage / job.name
        lanes = min(self._config.parallel, job.tasks)
        array = _Array(
            name=job.name,
            command=tuple(job.command),
            tasks=job.tasks,
            lanes=lanes,
            gpus=job.gpus,
            limit_s=job.limit_s,
        )
        store.write(_array_record(folder), array)
        for lane in range(lanes):
            executor = _CommandExecutor(job.folder)
            turns = len(_turns(array, lane))
            executor.update_parameters(timeout_min=(job.limit_minutes + 1) * turns, signal_delay_s=0)
            command = shlex.join(python_command(__name__, str(folder), str(lane)))
            with processes.outside_any_job({}), processes.shielded_children():
                executor.start(command)
        self._await_lanes(array)
        return job.name

    def _await_lanes(self, array: _Array) -> None:
        """A lane is known by what it writes itself, so that none is lost if we die here."""
        deadline = time.monotonic() + _LANE_START_S
        while len(self._lanes(array.name)) < array.lanes:
            if time.monotonic() > deadline:
                raise SchedulerError(f"{array.name}: its lanes did not start within {_LANE_START_S:g} s")
            time.sleep(0.02)

    def _array(self, name: str) -> _Array | None:
        return store.read_if_there(_array_record(self._usage / name), _Array)

    def _lanes(self, name: str) -> list[processes.ProcessIdentity]:
        records = sorted((self._usage / name).glob("lane-*.json"))
        return [store.read(record, processes.ProcessIdentity) for record in records]

    def find(self, name: str, since: datetime) -> str | None:
        array = self._array(name)
        return array.name if array else None

    def look(self, jobs: Collection[Queued]) -> Mapping[str, Observation]:
        return {job.name: self._look(job.name) for job in jobs}

    def _look(self, name: str) -> Observation:
        array = self._array(name)
        if array is None:
            return Observation(datetime.now(UTC), {}, frozenset(), ())
        # Liveness is asked first: a task that ends in between is then seen as ended, not as lost.
        alive = self._any_alive(name)
        states = dict.fromkeys(range(array.tasks), JobState.PENDING if alive else JobState.CANCELLED)
        attempts = tuple(self._attempts(name))
        states |= {attempt.task: attempt.state for attempt in attempts}
        queued = frozenset(task for task, state in states.items() if not state.is_terminal)
        return Observation(datetime.now(UTC), states, queued, attempts)

    def attempts(self, names: Iterable[str], since: datetime) -> list[Attempt]:
        return [attempt for name in sorted(set(names)) for attempt in self._attempts(name)]

    def _attempts(self, name: str) -> list[Attempt]:
        array = self._array(name)
        if array is None:
            return []
        alive = self._any_alive(name)
        records = sorted((self._usage / name).glob("task-*.json"))
        return [_up_to_now(record, alive, array.limit_s) for record in records]

    def _any_alive(self, name: str) -> bool:
        return any(processes.is_alive(lane) for lane in self._lanes(name))

    def cancel(self, name: str) -> None:
        for lane in self._lanes(name):
            if processes.is_alive(lane):
                processes.end_tree(lane.pid, grace_s=_CANCEL_GRACE_S)
        # Whoever accounts for a task was ended with it.
        array = self._array(name)
        for record in (self._usage / name).glob("task-*.json"):
            if array is not None:
                _close(record, JobState.CANCELLED, array.limit_s)


def _array_record(folder: Path) -> Path:
    return folder / "array.json"


def _task_record(folder: Path, task: int) -> Path:
    return folder / f"task-{task:02}.json"


def _turns(array: _Array, lane: int) -> range:
    return range(lane, array.tasks, array.lanes)


def _up_to_now(record: Path, alive: bool, limit_s: int) -> Attempt:
    if not alive:
        _close(record, JobState.FAILED, limit_s)
    attempt = store.read(record, _Task).attempt
    return attempt if attempt.ended else replace(attempt, elapsed_s=_elapsed_s(attempt, limit_s))


def _close(record: Path, state: JobState, limit_s: int) -> None:
    """Write down an end that nobody is left to write down; once, so that the charge stays what it was."""
    attempt = store.read(record, _Task).attempt
    if attempt.ended is None:
        ended = replace(attempt, state=state, elapsed_s=_elapsed_s(attempt, limit_s), ended=datetime.now(UTC))
        store.write(record, _Task(attempt=ended))


def _elapsed_s(attempt: Attempt, limit_s: int) -> int:
    return min(limit_s, round((datetime.now(UTC) - attempt.submitted).total_seconds()))


def main(folder: str, lane: str) -> None:
    """What a lane does: its tasks in turn, each one accounted. A failed task does not end the lane."""
    usage = Path(folder)
    store.write(usage / f"lane-{lane}.json", processes.identify(os.getpid()))
    array = store.read(_array_record(usage), _Array)
    for task in _turns(array, int(lane)):
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
            node=socket.gethostname(),
        )
        record = _task_record(usage, task)
        store.write(record, _Task(attempt=running))
        began = time.monotonic()
        state, exit_code = _run(array, task, usage / f"task-{task:02}.log")
        elapsed = max(1, round(time.monotonic() - began))
        ended = replace(running, state=state, exit_code=exit_code, elapsed_s=elapsed, ended=datetime.now(UTC))
        store.write(record, _Task(attempt=ended))


def _run(array: _Array, task: int, output: Path) -> tuple[JobState, int]:
    """State and exit code of one task, as a scheduler would tell them."""
    try:
        code = processes.run_logged([*array.command, str(task)], timeout_s=array.limit_s, output=output)
    except processes.TimedOut:
        return JobState.TIMEOUT, 0
    return (JobState.FAILED if code else JobState.COMPLETED), code


if __name__ == "__main__":
    main(*sys.argv[1:])
