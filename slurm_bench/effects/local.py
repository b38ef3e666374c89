"""This machine as a cluster, through submitit's local executor: no queue, no accounting database.

`parallel` lanes work through an array's tasks, and each task writes its own usage: one Attempt file when it
starts and again when it ends. A lane that died leaves a task without an end; it counts as failed, and is charged
up to now or its limit, since nobody saw when it stopped.
"""

import os
import socket
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import submitit

from slurm_bench.effects import processes, store
from slurm_bench.effects.cluster import Job
from slurm_bench.words.config import ClusterConfig
from slurm_bench.words.records import Attempt, JobState, Record


class _Lanes(Record):
    """The processes that work through an array."""

    job_id: str
    tasks: int
    limit_s: int
    processes: tuple[processes.ProcessIdentity, ...]


class LocalCluster:
    """
    Args:
        usage: folder for lane and attempt records, one folder a job.
    """

    step: tuple[str, ...] = ()
    overrun_s = 0

    def __init__(self, config: ClusterConfig, usage: Path) -> None:
        self._config = config
        self._usage = usage

    def submit(self, job: Job) -> str:
        usage = self._usage / job.name
        width = min(self._config.parallel, len(job.arguments))
        lanes = []
        for lane in range(width):
            turns = [(task, job.arguments[task]) for task in range(lane, len(job.arguments), width)]
            executor = submitit.LocalExecutor(job.folder)
            executor.update_parameters(timeout_min=job.limit_minutes * len(turns), signal_delay_s=0)
            with processes.outside_any_job({}), processes.shielded_children():
                lanes.append(executor.submit(_work_through, job.name, usage, job.function, turns, job.gpus))
        job_id = str(lanes[0].job_id)
        running = tuple(processes.identify(int(lane.job_id)) for lane in lanes)
        record = _Lanes(job_id=job_id, tasks=len(job.arguments), limit_s=job.limit_s, processes=running)
        store.write(self._lanes_record(job.name), record)
        return job_id

    def _lanes_record(self, name: str) -> Path:
        return self._usage / name / "lanes.json"

    def _lanes(self, name: str) -> _Lanes | None:
        return store.read_if_there(self._lanes_record(name), _Lanes)

    def find(self, name: str) -> str | None:
        lanes = self._lanes(name)
        return lanes.job_id if lanes else None

    def states(self, name: str, since: datetime) -> Mapping[int, JobState]:
        lanes = self._lanes(name)
        if lanes is None:
            return {}
        # Liveness is asked first: a task that ends in between is then seen as ended, not as lost.
        alive = _any_alive(lanes)
        states = dict.fromkeys(range(lanes.tasks), JobState.PENDING if alive else JobState.CANCELLED)
        return states | {attempt.task: attempt.state for attempt in self._attempts(name)}

    def attempts(self, names: Iterable[str], since: datetime) -> list[Attempt]:
        return [attempt for name in sorted(set(names)) for attempt in self._attempts(name)]

    def _attempts(self, name: str) -> list[Attempt]:
        lanes = self._lanes(name)
        if lanes is None:
            return []
        alive = _any_alive(lanes)
        records = sorted((self._usage / name).glob("task-*.json"))
        return [_up_to_now(store.read(record, Attempt), alive, lanes.limit_s) for record in records]

    def cancel(self, name: str) -> None:
        lanes = self._lanes(name)
        for process in lanes.processes if lanes else ():
            if processes.is_alive(process):
                processes.end_tree(process.pid)


def _any_alive(lanes: _Lanes) -> bool:
    return any(processes.is_alive(process) for process in lanes.processes)


def _up_to_now(attempt: Attempt, alive: bool, limit_s: int) -> Attempt:
    if attempt.ended is not None or attempt.started is None:
        return attempt
    elapsed = round((datetime.now(UTC) - attempt.started).total_seconds())
    state = JobState.RUNNING if alive else JobState.FAILED
    return attempt.model_copy(update={"elapsed_s": min(elapsed, limit_s), "state": state})


def _work_through(
    name: str,
    usage: Path,
    function: Callable[..., object],
    turns: Sequence[tuple[int, tuple[str | int, ...]]],
    gpus: int,
) -> None:
    """What a lane runs: its tasks in turn, each one accounted. A failed task does not end the lane."""
    for task, arguments in turns:
        running = Attempt(
            job_id=str(os.getppid()),
            job_name=name,
            task=task,
            state=JobState.RUNNING,
            exit_code=0,
            elapsed_s=0,
            gpus=gpus,
            submitted=datetime.now(UTC),
            started=datetime.now(UTC),
            ended=None,
            node=socket.gethostname(),
        )
        record = usage / f"task-{task:02}.json"
        store.write(record, running)
        began = time.monotonic()
        try:
            function(*arguments)
            outcome: dict[str, object] = {"state": JobState.COMPLETED}
        except Exception as error:  # noqa: BLE001  whatever a task raises is that task's state, as on a cluster
            print(f"task {task}: {error!r}", flush=True)
            outcome = {"state": JobState.FAILED, "exit_code": 1}
        elapsed = max(1, round(time.monotonic() - began))
        ended = {"elapsed_s": elapsed, "ended": datetime.now(UTC)}
        store.write(record, running.model_copy(update=outcome | ended))
