"""Everything that is written down, as frozen and versioned pydantic models: one JSON file each.

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


class Finding(Record):
    """A rule that a judge holds broken, with the two places that show it."""

    rule: str
    message: str
    file: str
    line: int | None = None
    baseline: str = ""
    candidate: str = ""


class Turn(Record):
    """A submission's place among the arrays of its session, taken before its own is queued."""

    number: int


class Opinion(Record):
    """What a judge says of a seal. A judge may only reject."""

    judge: str
    seal: str
    notes: tuple[str, ...] = ()
    """What the judge was told besides the seal: suspicions that it may weigh."""
    findings: tuple[Finding, ...] = ()

    @property
    def rejects(self) -> bool:
        return bool(self.findings)


class Arm(Record):
    """One of the programs that are timed in turn on the same node, and where its trials are written down."""

    seal: Seal
    seal_dir: str
    trials_dir: str
    declared_steps: tuple[int, ...]
    """Training steps that the seal's program declares; empty where that cannot be read."""


class TrialPlan(Record):
    """All that the trial runner on a node needs to know; it asks nobody else."""

    job_name: str
    arms: tuple[Arm, ...]
    """What is timed; in the paired design the incumbent after it."""
    data_dir: str
    scratch_dir: str
    indices: tuple[int, ...]
    """Blocks by array task: all of them, or those whose first run was void."""
    timeout_s: int
    """Of one trial."""
    scratch_bytes: int
    """What a trial may write on its node."""
    environment: dict[str, str]
    container: Literal["none", "apptainer"]
    image: str | None
    image_sha256: str | None
    gpus: int
    """GPUs that must be seen inside the container; 0 where none are handed in."""
    foreign_cores: float | None
    """CPU cores that processes of others may use before a trial starts; None where the node is shared."""
    step: tuple[str, ...]


class Calibration(Record):
    """A program that is timed outside any session."""

    id: str
    program: str
    arms: tuple[Seal, ...]
    """It, and the incumbent if that runs beside it in each block."""


class TrialOutcome(StrEnum):
    BEGUN = "begun"
    """Written before the candidate starts; where nothing else follows, it took its runner down."""
    CLEAN = "clean"
    CRASHED = "crashed"
    TIMED_OUT = "timed out"
    NO_RESULT = "no result"
    IMPLAUSIBLE = "implausible"
    LEFT_BEHIND = "left processes behind"
    INFRASTRUCTURE = "infrastructure"
    """The site's failure: such a trial is void, and run once more."""
    STOPPED = "stopped"
    """Not run, or not to its end, because a run before it had decided."""


class TrainResult(Record):
    """The final line of a training log."""

    steps: int
    val_loss: float
    train_time_s: float


class Gpu(Record):
    """A GPU as nvidia-smi names it."""

    uuid: str
    name: str
    driver: str


class Trial(Record):
    """One timed training run, as its runner saw it."""

    index: int
    outcome: TrialOutcome
    note: str
    exit_code: int | None = None
    result: TrainResult | None = None
    wall_s: float = 0.0
    """By the runner's own clock, from before the container's start to after its end."""
    started: datetime | None = None
    ended: datetime | None = None
    node: str = ""
    job: str = ""
    """The scheduler's name of the array task."""
    gpus: tuple[Gpu, ...] = ()
    """Seen inside the container."""
    seal: str
    image_sha256: str | None
    first_run_void: str = ""
    """Why the first run of this trial did not count; empty if this is the first."""
    first_run_loss: float | None = None
    """Final loss of that first run if it was clean itself: of two draws the higher loss counts."""

    @property
    def off_clock_s(self) -> float | None:
        """Seconds that the candidate did not claim: start, compilation, warm-up, validation."""
        return self.wall_s - self.result.train_time_s if self.result else None


class Block(Record):
    """What one array task ran: a trial of the candidate, and in the paired design one of the incumbent."""

    candidate: Trial
    incumbent: Trial | None = None


class EarlyStop(Record):
    """Why the rest of an array was cancelled."""

    by: Literal["loss", "speed"]
    seen: tuple[int, ...]
    """The trials that it rests on: all that were clean, or the one that failed by itself."""
    chance: float
    """That all ten would have passed, by the runs seen; 0 where one failed by itself."""
    reason: str


class Retiming(Record):
    """The blocks of an array that is over."""

    blocks: tuple[Block, ...]
    stopped: EarlyStop | None = None

    @property
    def trials(self) -> tuple[Trial, ...]:
        """The candidate's."""
        return tuple(block.candidate for block in self.blocks)

    @property
    def incumbents(self) -> tuple[Trial, ...]:
        """The incumbent's, in the paired design."""
        return tuple(block.incumbent for block in self.blocks if block.incumbent)


class Design(StrEnum):
    """How the incumbent's times come about that a candidate's are compared with."""

    CLASSIC = "classic"
    """Ten runs at another time, once for a whole campaign."""
    PAIRED = "paired"
    """One run beside each of the candidate's, on the same node."""


class LossTest(Record):
    """One-sided one-sample t-test that the mean validation loss (nats a token) lies below the target."""

    mean: float
    standard_deviation: float
    target: float
    p_value: float
    """As published: as if losses were normal."""
    adjusted_p_value: float
    """As losses are, skewed."""


class SpeedTest(Record):
    """One-sided test that the candidate trains faster than the incumbent, in seconds of training time."""

    design: Design = Design.CLASSIC
    incumbent_mean_s: float
    candidate_mean_s: float
    saved_s: float
    saved_low_s: float
    saved_high_s: float
    p_value: float


class OffClock(Record):
    """Seconds that runs took and did not claim as training time, candidate beside incumbent."""

    incumbent_mean_s: float
    candidate_mean_s: float
    p_value: float | None
    """Welch's one-sided test that the candidate's are more; None where there are too few runs."""
    allowed_growth: float
    """As a share of the incumbent's."""
    flagged: bool


class CarryOver(Record):
    """Seconds saved by who ran first in a block: a candidate could slow down what runs after it on its node."""

    candidate_first_s: float
    incumbent_first_s: float
    p_value: float | None
    """Welch's one-sided test that more is saved where the candidate ran first; None where there are too few blocks."""
    flagged: bool


class Outcome(StrEnum):
    ACCEPTED = "accepted"
    REJECTED = "rejected"
    INVALID = "invalid"
    UNDECIDED = "undecided"
    OVER_BUDGET = "over budget"

    @property
    def exit_code(self) -> int:
        """What `submit` exits with."""
        return list(Outcome).index(self)


class Decision(Record):
    """An outcome with its reason and what it rests on."""

    outcome: Outcome
    reason: str
    rejected_by: Literal["judge", "loss", "speed"] | None = None
    findings: tuple[Finding, ...] = ()
    loss: LossTest | None = None
    speed: SpeedTest | None = None
    level: float | None = None
    """What the p-values had to stay below."""
    attempt: int | None = None
    """The how manieth array of its session this was, where the level is spent over all of them."""
    stopped: EarlyStop | None = None
    off_clock: OffClock | None = None
    carry_over: CarryOver | None = None
    """In the paired design."""
    rerun: tuple[int, ...] = ()
    """Trials whose first run was void."""


class Verdict(Decision):
    """The last word on a submission."""

    submission: str
    request: str
    candidate: str
    exit_code: int
    seal: str | None
    gpu_seconds: int
    repeats: str | None
    """The earlier submission of the same seal whose decision this is; nothing was timed again."""
    decided_at: datetime


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
