"""The last word on a submission, as Records."""

from datetime import datetime
from enum import StrEnum
from typing import Literal

from slurm_bench.words.opinions import Finding
from slurm_bench.words.records import Record
from slurm_bench.words.trials import Canary, CarryOver, EarlyStop, LossTest, OffClock, SpeedTest


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


class Shortfall(Record):
    """H100-hours that a submission needs at worst, and what is left of the limit that it does not fit."""

    needed: float
    left: float
    limit: float


class Decision(Record):
    """An outcome with its reason and what it rests on."""

    outcome: Outcome
    reason: str
    rejected_by: Literal["judge", "canary", "loss", "speed"] | None = None
    findings: tuple[Finding, ...] = ()
    suspicions: tuple[str, ...] = ()
    """What the static checker could not prove, or a minority of models found."""
    loss: LossTest | None = None
    speed: SpeedTest | None = None
    level: float | None = None
    """What the p-values had to stay below."""
    confirmation: int | None = None
    """The how manieth confirmation of its session this is; None for what an agent handed in."""
    stopped: EarlyStop | None = None
    off_clock: OffClock | None = None
    carry_over: CarryOver | None = None
    """In the paired design."""
    canary: Canary | None = None
    """What its decoy run showed; None where there was none."""
    caches: Literal["decoy", "empty"] | None = None
    """What its timed runs began with; None where it was not timed."""
    cache_misses: tuple[int, ...] = ()
    """Timed runs of it that began with caches and had to compile anew."""
    shortfall: Shortfall | None = None
    """Where it is over budget."""
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
    """That its runs were charged: none of their own where they ran in the session's job, which is charged for all."""
    repeats: str | None
    """The earlier submission of the same seal whose decision this is; nothing was timed again."""
    confirms: str | None = None
    """The accepted submission that was timed afresh."""
    left_out: tuple[str, ...] = ()
    """Files and folders of the candidate's that are no part of it, e.g. logs of its runs."""
    decided_at: datetime
