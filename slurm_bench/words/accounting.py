"""What the scheduler says of jobs, and what the ledger keeps of it.

Times are UTC, durations seconds, charges GPU-seconds (one GPU for one second).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from pydantic import Field

from slurm_bench.words.kinds import Kind
from slurm_bench.words.records import Record


class JobState(StrEnum):
    """Slurm's job states, as sacct and squeue spell them."""

    PENDING = "PENDING"
    CONFIGURING = "CONFIGURING"
    RUNNING = "RUNNING"
    SUSPENDED = "SUSPENDED"
    STOPPED = "STOPPED"
    COMPLETING = "COMPLETING"
    REQUEUE_HOLD = "REQUEUE_HOLD"
    SPECIAL_EXIT = "SPECIAL_EXIT"
    SIGNALING = "SIGNALING"
    STAGE_OUT = "STAGE_OUT"
    RESIZING = "RESIZING"
    RESV_DEL_HOLD = "RESV_DEL_HOLD"
    REQUEUE_FED = "REQUEUE_FED"
    EXPEDITING = "EXPEDITING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    TIMEOUT = "TIMEOUT"
    OUT_OF_MEMORY = "OUT_OF_MEMORY"
    NODE_FAIL = "NODE_FAIL"
    BOOT_FAIL = "BOOT_FAIL"
    LAUNCH_FAILED = "LAUNCH_FAILED"
    RECONFIG_FAIL = "RECONFIG_FAIL"
    DEADLINE = "DEADLINE"
    PREEMPTED = "PREEMPTED"
    REVOKED = "REVOKED"
    REQUEUED = "REQUEUED"

    @property
    def is_terminal(self) -> bool:
        """Whether this attempt is over; REQUEUED ends an attempt, never a task."""
        return self in _TERMINAL


_TERMINAL = frozenset(
    {
        JobState.COMPLETED,
        JobState.FAILED,
        JobState.CANCELLED,
        JobState.TIMEOUT,
        JobState.OUT_OF_MEMORY,
        JobState.NODE_FAIL,
        JobState.BOOT_FAIL,
        JobState.LAUNCH_FAILED,
        JobState.RECONFIG_FAIL,
        JobState.DEADLINE,
        JobState.PREEMPTED,
        JobState.REVOKED,
    }
)


@dataclass(frozen=True, slots=True)
class Attempt:
    """One accounted attempt at one array task (or at a job that is no array: task 0).

    No Record, because a site may have a hundred thousand of them.
    """

    raw_id: str
    """The scheduler's number of the task itself; with `submitted` it names an attempt, since numbers come again."""
    job_id: str
    job_name: str
    task: int
    state: JobState
    exit_code: int
    elapsed_s: int
    gpus: int
    submitted: datetime
    started: datetime | None
    ended: datetime | None
    node: str

    @property
    def key(self) -> tuple[str, datetime]:
        return self.raw_id, self.submitted

    @property
    def gpu_seconds(self) -> int:
        return self.elapsed_s * self.gpus

    @property
    def is_live(self) -> bool:
        """Whether it began, and by this account goes on."""
        return self.started is not None and self.ended is None


@dataclass(frozen=True)
class Observation:
    """What the queue and the accounting say of one job, together and at one time."""

    asked_at: datetime
    states: Mapping[int, JobState]
    """Newest state by task, of the tasks that either knows."""
    queued: frozenset[int]
    """Tasks that the queue itself lists as not over."""
    attempts: tuple[Attempt, ...]
    stuck: str = ""
    """Why none of its tasks can start, as things are, in the queue's word; empty if they can."""


class OwnJob(Record):
    """A job that we account for ourselves: what has to be known of it beforehand."""

    name: str
    gpus: int
    """Of each task, where the queue does not count them."""
    limit_s: int
    """Time limit of each task."""
    overrun_s: int
    """How long a task may outlive it."""
    queued_at: datetime
    """Just before it was queued."""


class Sighting(Record):
    """An attempt as one witness saw it: the queue, or the task itself."""

    attempt: Attempt
    restarts: int
    """Slurm starts a task again under its old number."""

    @property
    def key(self) -> tuple[str, int]:
        return self.attempt.raw_id, self.restarts


class Sightings(Record):
    """What squeue has said of a job so far."""

    attempts: tuple[Sighting, ...] = ()
    absent_since: dict[str, datetime] = Field(default_factory=dict)
    """Tasks, by their own numbers, that are not in the queue, and since when every answer has said so."""


class LedgerEntry(Record):
    """What one job may cost at worst, and, as far as is known, what it did cost."""

    job_name: str
    kind: Kind
    tasks: int
    gpus: int
    """Of each task."""
    limit_s: int
    """Time limit of each task."""
    overrun_s: int
    """How long a task may outlive it."""
    weight: float
    """H100-hours that one GPU-hour of these GPUs counts."""
    reserved_at: datetime
    job_id: str | None = None
    queued_at: datetime | None = None
    attempts: tuple[Attempt, ...] = ()
    """Oldest first."""
    absent_since: dict[int, datetime] = Field(default_factory=dict)
    """Tasks that are neither queued nor accounted as over, and since when every answer has said so."""
    ran: tuple[int, ...] = ()
    """Tasks that the queue has shown running, once for each attempt: the accounting has to say what each used."""
    settled_at: datetime | None = None
    """When every task was over; from then on it is charged more or less only if the accounting learns better."""

    @property
    def task_gpu_seconds(self) -> int:
        """A task's worst case."""
        return self.gpus * (self.limit_s + self.overrun_s)

    @property
    def reserved_gpu_seconds(self) -> int:
        return self.tasks * self.task_gpu_seconds

    @property
    def charged_gpu_seconds(self) -> int:
        return sum(attempt.gpu_seconds for attempt in self.attempts)


class RestsOn(Record):
    """The calibrations that a session's verdicts rest on, by their folders' names."""

    calibrations: tuple[str, ...]


class Activity(Record):
    """GPU-seconds of a session's own allocations in which a GPU computed, by UTC day, as its desk saw it."""

    busy_gpu_seconds: dict[str, float]


class BudgetNote(Record):
    """What an agent is told of its budget (H100-hours) and its time, in its inbox."""

    limit: float
    spent: float
    reserved: float
    left: float
    """Of it, or of the campaign's if that is less."""
    a_submission_reserves: float = 0.0
    """What must be left for one: its worst case, of which it gives back what it does not use."""
    a_submission_took: float | None = None
    """What those that were timed took, on average; None before the first."""
    ends_at: datetime
    """At the latest."""
    notice: str = ""
    """Said once, when most of it is used."""
