"""What the benchmark asks of a cluster: queue an array, say what became of it, account for it, end it.

`slurm.SlurmCluster`, `nested.NestingCluster` and `local.LocalCluster` keep this contract (tests/contract runs the same
tests on all of them).
"""

import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Protocol

from slurm_bench.words.accounting import Attempt, Observation

RECOVERY = timedelta(seconds=15)
"""An accounting that comes back answers for some seconds (3 to 7 were seen) without rows that it has."""


@dataclass(frozen=True)
class Job:
    """An array of tasks, each on an allocation of its own: a command, and the task's number as its last argument.

    The name is unique for all time; a job is found by it again when its id was lost.
    """

    name: str
    folder: Path
    command: Sequence[str]
    tasks: int
    gpus: int
    node_gpus: int
    exclusive: bool
    limit_minutes: int
    """Whole minutes, as Slurm counts time limits."""
    cpu_only: bool = False
    """Whether it may run where there are no GPUs."""
    after: str | None = None
    """Id of a job that has to be over before it starts, however that ends."""
    begin: datetime | None = None
    """It does not start before (UTC)."""
    nested: bool = False
    """Whether it runs in the job of whoever queues it, one task after the other, as steps beside those there."""

    @property
    def held_gpus(self) -> int:
        """GPUs that a task is charged for: an exclusive one for its whole node's, a nested one for none of its own."""
        if self.nested:
            return 0
        return self.node_gpus if self.exclusive else self.gpus

    @property
    def limit_s(self) -> int:
        return 60 * self.limit_minutes


def python_command(module: str, *arguments: str) -> list[str]:
    """Run a module of ours on a node, deaf to PYTHON* variables, the user's own packages and the working folder."""
    return [sys.executable, "-I", "-m", module, *arguments]


@dataclass(frozen=True)
class Queued:
    """A job that was, or may have been, queued."""

    name: str
    since: datetime
    """It was queued then (UTC) or later."""
    tasks: int


class Cluster(Protocol):
    @property
    def accounting(self) -> str:
        """Where usage is known from, for people."""

    @property
    def overrun_s(self) -> int:
        """Seconds that a task may hold its allocation beyond its time limit."""

    @property
    def step(self) -> tuple[str, ...]:
        """What stands before a command line to run it as a step of the allocation."""

    def step_beside(self, gpus: int) -> tuple[str, ...]:
        """The same for a step that shares with those that run there, and gets so many of the allocation's GPUs."""

    def submit(self, job: Job) -> str:
        """Queue a job and return its id.

        Raises:
            JobRefused: it was not queued, and never will be.
            SchedulerError: nobody knows whether it was.
        """

    def find(self, name: str, since: datetime) -> str | None:
        """Id of the job of this name if it was queued since then (UTC)."""

    def look(self, jobs: Collection[Queued]) -> Mapping[str, Observation]:
        """What queue and accounting say of these jobs, by name, with as few questions as can be.

        Raises:
            SchedulerError: no answer. An unanswered question is never an empty answer.
        """

    def attempts(self, names: Iterable[str], since: datetime) -> list[Attempt]:
        """Every accounted attempt of the jobs of these names that was queued since then (UTC).

        Raises:
            SchedulerError: no answer.
        """

    def expected_starts(self, names: Collection[str]) -> Mapping[str, datetime]:
        """Return when the scheduler expects those of these jobs to start that wait, as far as it says (UTC).

        Raises:
            SchedulerError: no answer.
        """

    def cancel(self, name: str) -> None:
        """End all tasks of the job of this name, queued or running; no error if there are none."""
