"""What is known of a campaign's sessions, as it is read, and what is shown of them.

Hours are hours, charges H100-hours, times of training seconds.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from slurm_bench.pure.budget import Terms
from slurm_bench.pure.score import Score
from slurm_bench.words.accounting import LedgerEntry
from slurm_bench.words.campaigns import Unreadable
from slurm_bench.words.records import Session, Submission, Working
from slurm_bench.words.trials import Block
from slurm_bench.words.verdicts import Verdict


class Desk(StrEnum):
    """The process that serves a session, as far as this machine can know."""

    UNKNOWN = "unknown"
    """It left no record, or is a process of another host."""
    LIVES = "lives"
    GONE = "gone"


@dataclass(frozen=True)
class ArrayRecords:
    """An array of blocks that was planned."""

    job_name: str
    blocks: int
    arms: int
    is_decoy: bool
    """Whether it is a run on random tokens."""
    runs_over: int
    """Of all arms together."""
    over: tuple[Block, ...]
    """Those of which every run is over, by their index."""
    stopped: str
    """Why its rest was cancelled."""


@dataclass(frozen=True)
class SubmissionRecords:
    """What was handed in, or the confirmation of it."""

    submission: Submission
    is_sealed: bool
    is_judged: bool
    array: ArrayRecords | None
    """The one that was planned last."""
    is_timed: bool
    verdict: Verdict | None


@dataclass(frozen=True)
class SessionRecords:
    session: Session
    agent: str
    hours: float
    """That the agent may work."""
    terms: Terms
    grace: timedelta
    """How long a task must be absent before it counts as cancelled."""
    entries: tuple[LedgerEntry, ...]
    resting: tuple[LedgerEntry, ...]
    """Of the calibrations that it rests on."""
    working: Working | None
    submissions: tuple[SubmissionRecords, ...]
    """By number."""
    desk: Desk
    trace: tuple[str, ...]
    """Last lines of what the agent says."""


@dataclass(frozen=True)
class CalibrationRecords:
    name: str
    entries: tuple[LedgerEntry, ...]
    grace: timedelta
    array: ArrayRecords | None
    is_timed: bool


@dataclass(frozen=True)
class CampaignRecords:
    name: str
    sessions: tuple[SessionRecords, ...]
    calibrations: tuple[CalibrationRecords, ...]
    unreadable: tuple[Unreadable, ...] = ()


@dataclass(frozen=True)
class JobView:
    """A link or a relay."""

    name: str
    """What tells it from the session's other jobs, e.g. session2."""
    job_name: str
    """By which squeue and scancel know it."""
    job_id: str | None
    kind: str
    state: str
    """pending, running or over."""
    stuck: str
    """Why it cannot start, as things are."""


@dataclass(frozen=True)
class ExperimentsView:
    """How many jobs of its own an agent has asked for, by how they stand."""

    waiting: int
    running: int
    over: int
    stuck: str
    """Why one of them cannot start, as things are."""


@dataclass(frozen=True)
class RunView:
    """A block that is over: a run of the candidate, and in the paired design the incumbent's beside it."""

    index: int
    outcome: str
    loss: float | None
    time_s: float | None
    incumbent_time_s: float | None
    node: str


@dataclass(frozen=True)
class ArrayView:
    job_name: str
    blocks: int
    blocks_over: int
    runs: int
    runs_over: int
    running: int
    """Tasks."""
    pending: int
    stuck: str
    stopped: str
    last: tuple[RunView, ...]

    @property
    def share(self) -> float:
        """Of its runs, those that are over."""
        return self.runs_over / self.runs


@dataclass(frozen=True)
class SubmissionView:
    number: str
    candidate: str
    """Printable: agents choose names."""
    at: str
    """received, sealed, judged, queued, running, ended (and not read yet), timed, or its verdict; of a decoy run so."""
    received_at: datetime
    array: ArrayView | None
    confirms: str | None
    """The accepted submission that it times afresh."""

    @property
    def name(self) -> str:
        """The candidate, and what it is timed for."""
        return f"confirmation of {self.confirms}, {self.candidate}" if self.confirms else self.candidate


@dataclass(frozen=True)
class BestView:
    candidate: str
    saved_s: float
    saved_low_s: float
    saved_high_s: float


@dataclass(frozen=True)
class BudgetView:
    limit: float | None
    """None where there is none."""
    spent: float
    reserved: float


@dataclass(frozen=True)
class SessionView:
    name: str
    state: str
    problem: str
    agent: str
    started: datetime
    worked_h: float
    left_h: float
    progressed_at: datetime | None
    """When the agent last did something."""
    jobs: tuple[JobView, ...]
    """Links and relays, oldest first."""
    experiments: ExperimentsView | None
    """None where there are none."""
    submission: SubmissionView | None
    """The one that the desk is at, or else the last."""
    verdicts: Mapping[str, int]
    """By outcome, of what its agent handed in."""
    best: BestView | None
    """The accepted submission that saves the most seconds."""
    score: Score
    is_being_confirmed: bool
    budget: BudgetView
    trace: tuple[str, ...]
    is_over: bool
    """Whether nothing of it goes on by itself."""


@dataclass(frozen=True)
class CalibrationView:
    name: str
    array: ArrayView


@dataclass(frozen=True)
class CampaignView:
    name: str
    seen_at: datetime
    silence: str
    """Why the scheduler's word is missing; empty where it is not."""
    sessions: tuple[SessionView, ...]
    calibrations: tuple[CalibrationView, ...]
    """Those that are being timed."""
    budget: BudgetView
    """Of what can be read."""
    unreadable: tuple[Unreadable, ...] = ()
    """What else there is."""

    @property
    def is_over(self) -> bool:
        return all(session.is_over for session in self.sessions) and not self.calibrations
