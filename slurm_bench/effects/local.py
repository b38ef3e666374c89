"""This machine as a cluster, through submitit's local executor: no queue, no accounting database.

Lanes work through an array's tasks, and each task's usage is written down: one Attempt file when it starts and again
when it ends. A lane that died leaves a task without an end, which is charged up to now or its limit, since nobody saw
when it stopped.
"""

import os
import shlex
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime
from pathlib import Path

import submitit
from submitit.local.local import LocalJob

from slurm_bench.effects import folders, lane, processes, store
from slurm_bench.effects.cluster import Job, Queued, python_command
from slurm_bench.effects.lane import Array, Owner
from slurm_bench.words.accounting import Attempt, JobState, Observation
from slurm_bench.words.campaigns import REMEDY
from slurm_bench.words.config import ClusterConfig
from slurm_bench.words.errors import JobRefused, SchedulerError

_CANCEL_GRACE_S = 5.0
_LATE_S = 600.0
"""Of two hosts' clocks, and of a lane that is ended: after its time and this it is over, wherever it was."""
_GPUS = "CUDA_VISIBLE_DEVICES"


class _CommandExecutor(submitit.LocalExecutor):
    """submitit's controller around a plain command, with its output and its time limit."""

    def start(self, command: str) -> "LocalJob[object]":
        return self._submit_command(command)


class LocalCluster:
    """
    Args:
        usage: folder for array, lane and attempt records, one folder a job.
        goes_on: whether a job of another host goes on, that arrays are nested in.
    """

    accounting = "this machine's own record (cluster=local)"
    step: tuple[str, ...] = ()
    overrun_s = 0

    def __init__(
        self, config: ClusterConfig, usage: Path, goes_on: Callable[[Owner], bool] = lambda owner: False
    ) -> None:
        self._config = config
        self._usage = usage
        self._goes_on = goes_on

    def step_beside(self, gpus: int) -> tuple[str, ...]:
        return self.step

    def submit(self, job: Job, owner: Owner | None = None) -> str:
        """
        Args:
            owner: the job that we are in, and that it is nested in; its tasks run one by one then.
        """
        if job.after or job.begin:
            raise JobRefused(f"{job.name}: cluster=local starts every job at once, and lets none wait")
        folder = self._usage / job.name
        array = Array(
            name=job.name,
            folder=job.folder,
            command=tuple(job.command),
            tasks=job.tasks,
            lanes=1 if owner else min(self._config.parallel, job.tasks),
            gpus=job.held_gpus,
            limit_s=job.limit_s,
            owner=owner,
            host=processes.host(),
            desk=processes.identify(os.getpid()),
        )
        for number in range(array.lanes):
            store.write_text(lane.ticket(folder, number), "")
        store.write(lane.array_record(folder), array)
        gpus = _visible_gpus(job.gpus if owner else None)
        starting = {}
        for number in range(array.lanes):
            executor = _CommandExecutor(job.folder)
            executor.update_parameters(timeout_min=_minutes(array, number), signal_delay_s=0)
            command = shlex.join([*gpus, *python_command(lane.__name__, str(folder), str(number))])
            with _surroundings(owner), processes.shielded_children():
                starting[lane.ticket(folder, number)] = executor.start(command)
        _await_lanes(job.name, starting)
        return job.name

    def knows(self, name: str) -> bool:
        """Whether an array of this name was ever queued."""
        return self._array(name) is not None

    def _array(self, name: str) -> Array | None:
        if by := folders.closed([self._usage / name]):
            raise SchedulerError(f"{by} is {folders.owner(by)}'s, and may not be read by you: {REMEDY} {by}")
        return store.read_if_there(lane.array_record(self._usage / name), Array)

    def _lanes(self, array: Array) -> list[processes.ProcessIdentity]:
        return lane.processes_of(self._usage / array.name)

    def find(self, name: str, since: datetime) -> str | None:
        return name if self.knows(name) else None

    def look(self, jobs: Collection[Queued]) -> Mapping[str, Observation]:
        return {job.name: self._look(job.name) for job in jobs}

    def _look(self, name: str) -> Observation:
        array = self._array(name)
        if array is None:
            return Observation(datetime.now(UTC), {}, frozenset(), ())
        self._refuse_of_another_host(array)
        # Liveness is asked first: a task that ends in between is then seen as ended, not as lost.
        alive = self._is_alive(array)
        states = dict.fromkeys(range(array.tasks), JobState.PENDING if alive else JobState.CANCELLED)
        attempts = tuple(self._attempts(array, alive))
        states |= {attempt.task: attempt.state for attempt in attempts}
        queued = frozenset(task for task, state in states.items() if not state.is_terminal)
        return Observation(datetime.now(UTC), states, queued, attempts)

    def attempts(self, names: Iterable[str], since: datetime) -> list[Attempt]:
        arrays = [array for name in sorted(set(names)) if (array := self._array(name))]
        return [attempt for array in arrays for attempt in self._attempts(array, self._is_alive(array))]

    def _attempts(self, array: Array, alive: bool) -> list[Attempt]:
        folder = self._usage / array.name
        if not alive and folders.is_ours(folder):
            lane.close(folder, array, array.lost)
        return lane.attempts(folder, array)

    def _is_alive(self, array: Array) -> bool:
        """Whether any of its tasks runs or may yet run; a lane that nobody waits for any more is given up here."""
        owner = array.owner
        if owner is None and self._may_run_elsewhere(array):
            return True
        if owner and not owner.desk.is_of_this_host:
            return self._goes_on(owner)
        tickets = lane.waiting(self._usage / array.name)
        begins = bool(tickets and array.desk and processes.is_alive(array.desk))
        if begins or any(map(processes.is_alive, self._lanes(array))):
            return True
        given_up = list(map(lane.take, tickets))
        # A lane that has taken its ticket meanwhile is known by now: it writes down who it is before.
        return not all(given_up) and any(map(processes.is_alive, self._lanes(array)))

    def _may_run_elsewhere(self, array: Array) -> bool:
        """Whether another host alone can tell: the numbers of its processes are those of others here."""
        if array.owner or array.host in ("", processes.host()):
            return False
        folder = self._usage / array.name
        written = lane.attempts(folder, array)
        if all(each.ended for each in written) and (array.cancelled or len(written) == array.tasks):
            return False
        queued = lane.array_record(folder).stat().st_mtime
        return time.time() < queued + 60 * _minutes(array) + _LATE_S

    def _refuse_of_another_host(self, array: Array) -> None:
        if self._may_run_elsewhere(array):
            where = f"{array.name} runs on {array.host}, and only there can be seen how it goes on"
            otherwise = f"if that host is gone, its time is over {_minutes(array)} minutes after it was queued"
            raise SchedulerError(f"{where}: give the command there; {otherwise}")

    def expected_starts(self, names: Collection[str]) -> Mapping[str, datetime]:
        return {}

    def cancel(self, name: str) -> None:
        array = self._array(name)
        if array is None:
            return
        self._refuse_of_another_host(array)
        store.write(lane.array_record(self._usage / name), array.model_copy(update={"cancelled": True}))
        for ticket in lane.waiting(self._usage / name):
            lane.take(ticket)
        for each in self._lanes(array):
            if processes.is_alive(each):
                processes.end_tree(each.pid, grace_s=_CANCEL_GRACE_S)
        # Whoever accounts for a task was ended with it.
        lane.close(self._usage / name, array, JobState.CANCELLED)


def _minutes(array: Array, number: int = 0) -> int:
    """How long a lane may take; the first one takes longest."""
    return (array.limit_s // 60 + 1) * len(array.turns(number))


def _await_lanes(name: str, starting: Mapping[Path, "LocalJob[object]"]) -> None:
    """Return once every lane has begun, however long a busy machine takes; what died before it began is given up.

    Args:
        starting: what starts each lane, by its ticket.

    Raises:
        SchedulerError: none has begun.
    """
    given_up = set()
    while waiting := [each for each in starting if each.exists()]:
        given_up |= {each for each in waiting if starting[each].done() and lane.take(each)}
        time.sleep(0.02)
    if len(given_up) == len(starting):
        raise SchedulerError(f"{name}: what starts its tasks has ended before any began")


def _surroundings(owner: Owner | None) -> AbstractContextManager[None]:
    """What a lane inherits: nothing of a job around us, unless it is nested there."""
    return nullcontext() if owner else processes.outside_any_job()


def _visible_gpus(most: int | None) -> Sequence[str]:
    """Words before a command so that it sees the GPUs that we see, or the first of them: submitit would hide them."""
    if _GPUS not in os.environ:
        return ("env", f"--unset={_GPUS}")
    return ("env", f"{_GPUS}={','.join(os.environ[_GPUS].split(',')[:most])}")
