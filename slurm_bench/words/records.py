"""What is written down, as frozen and versioned pydantic models: one JSON file each (more in trials and verdicts).

Times are UTC, durations seconds, charges GPU-seconds (one GPU for one second) unless a name says otherwise.
"""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, StringConstraints


class Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")

    version: Literal[1] = 1


# What the scheduler says.


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


class Attempt(Record):
    """One accounted attempt at one array task (or at a job that is no array: task 0)."""

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
    def gpu_seconds(self) -> int:
        return self.elapsed_s * self.gpus


class LedgerEntry(Record):
    """What one job may cost at worst, and, once every task of it is over, what it did cost."""

    job_name: str
    kind: Literal["session", "calibration", "retiming"]
    tasks: int
    gpus: int
    worst_case_s: int
    reserved_at: datetime
    job_id: str | None = None
    queued_at: datetime | None = None
    attempts: tuple[Attempt, ...] = ()
    settled_at: datetime | None = None

    @property
    def reserved_gpu_seconds(self) -> int:
        return self.tasks * self.gpus * self.worst_case_s

    @property
    def charged_gpu_seconds(self) -> int:
        return sum(attempt.gpu_seconds for attempt in self.attempts)

    @property
    def held_gpu_seconds(self) -> int:
        """What counts against the budget: the worst case until settled, the charge afterwards."""
        if self.settled_at is not None:
            return self.charged_gpu_seconds
        return max(self.reserved_gpu_seconds, self.charged_gpu_seconds)


# The way of a submission.


class Request(Record):
    """What the submit shim writes into the outbox. Written by the agent's side: never trusted."""

    id: Annotated[str, StringConstraints(pattern=r"^[0-9a-zA-Z]{1,64}$")]
    path: str


class Submission(Record):
    """A request that the desk has taken up."""

    number: str
    request: str
    path: str
    received_at: datetime


class SealedFile(Record):
    path: str
    mode: int
    size: int
    sha256: str


class Seal(Record):
    """The frozen copy of a candidate, named by the hash of its files' names, modes and bytes."""

    sha256: str
    files: tuple[SealedFile, ...]


class Turn(Record):
    """A submission's place among the arrays of its session, taken before its own is queued."""

    number: int


class SessionState(StrEnum):
    RUNNING = "running"
    INTERRUPTED = "interrupted"
    FINISHED = "finished"


class Session(Record):
    """One agent's whole run."""

    id: str
    name: str
    campaign: str
    revision: str
    state: SessionState
    started: datetime
    ended: datetime | None = None
    agent_exit_code: int | None = None
    problem: str = ""
    """Why the last start of the session ended before its agent did."""
    problem_exit_code: int = 0
