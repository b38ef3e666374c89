"""What a campaign's sessions are at, by their records and by what queue and accounting say of their jobs.

Hours are hours, charges H100-hours, times of training seconds.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from slurm_bench.pure import accounts, budget
from slurm_bench.pure.budget import Balance, Terms
from slurm_bench.pure.plain import one_line
from slurm_bench.words.accounting import JobState, LedgerEntry, Observation
from slurm_bench.words.records import Session, SessionState, Submission, Working
from slurm_bench.words.trials import Block, Trial
from slurm_bench.words.verdicts import Outcome, Verdict

Seen = Mapping[str, Observation]
"""What the scheduler says of jobs, by name; of some nothing is known."""

_LONGEST_NAME = 40
_HOUR_S = 3600


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
    runs_over: int
    """Of all arms together."""
    over: tuple[Block, ...]
    """Those of which every run is over, by their index."""
    stopped: str
    """Why its rest was cancelled."""


@dataclass(frozen=True)
class SubmissionRecords:
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
    """received, sealed, judged, queued, running, ended (and not read yet), timed, or its verdict."""
    received_at: datetime
    array: ArrayView | None


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
    submission: SubmissionView | None
    """The one that the desk is at, or else the last."""
    verdicts: Mapping[str, int]
    """By outcome."""
    best: BestView | None
    """The accepted submission that saves the most seconds."""
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

    @property
    def is_over(self) -> bool:
        return all(session.is_over for session in self.sessions) and not self.calibrations


def campaign_view(records: CampaignRecords, seen: Seen, seen_at: datetime, silence: str = "") -> CampaignView:
    """
    Args:
        silence: why the scheduler says nothing.
    """
    timing = [_calibration_view(each, seen) for each in records.calibrations]
    return CampaignView(
        name=records.name,
        seen_at=seen_at,
        silence=one_line(silence),
        sessions=tuple(session_view(each, seen) for each in records.sessions),
        calibrations=tuple(each for each in timing if each),
        budget=_campaign_budget(records, seen),
    )


def session_view(records: SessionRecords, seen: Seen) -> SessionView:
    session = records.session
    entries = _up_to_date(records.entries, seen, records.grace)
    jobs = _jobs(session, entries, seen)
    state = _state(session, jobs, records.desk)
    left = records.working.deadline - records.working.seen_at if records.working else timedelta(hours=records.hours)
    left_h = max(0.0, left.total_seconds() / _HOUR_S)
    return SessionView(
        name=session.name,
        state=state,
        problem=one_line(session.problem),
        agent=records.agent,
        started=session.started,
        worked_h=max(0.0, records.hours - left_h),
        left_h=left_h,
        progressed_at=records.working.progressed_at if records.working else None,
        jobs=jobs,
        submission=_current(records.submissions, entries, seen),
        verdicts=_outcomes(records.submissions),
        best=_best(records.submissions),
        budget=_budget(budget.balance((*entries, *records.resting), records.terms.limit, records.terms.counts)),
        trace=records.trace,
        is_over=session.state is SessionState.FINISHED or not _goes_on(session, jobs, records.desk),
    )


def _up_to_date(entries: Iterable[LedgerEntry], seen: Seen, grace: timedelta) -> tuple[LedgerEntry, ...]:
    """The entries as their desk would keep them after this answer; nobody writes that down here."""
    return tuple(
        accounts.observed(entry, seen[entry.job_name], grace)
        if entry.settled_at is None and entry.job_name in seen
        else entry
        for entry in entries
    )


def _jobs(session: Session, entries: Iterable[LedgerEntry], seen: Seen) -> tuple[JobView, ...]:
    chain = sorted((each for each in entries if each.kind in ("session", "relay")), key=lambda each: each.reserved_at)
    return tuple(
        JobView(
            name=entry.job_name.removeprefix(f"slurm_bench-{session.id}-"),
            job_name=entry.job_name,
            job_id=entry.job_id,
            kind=entry.kind,
            state=_job_state(entry, seen),
            stuck=seen[entry.job_name].stuck if entry.job_name in seen else "",
        )
        for entry in chain
    )


def _job_state(entry: LedgerEntry, seen: Seen) -> str:
    if entry.settled_at is not None:
        return "over"
    running, _ = _tasks(entry, seen)
    return "running" if running else "pending"


def _tasks(entry: LedgerEntry, seen: Seen) -> tuple[int, int]:
    """Tasks of an open job that run, and that wait: by the scheduler, or else by what it said last."""
    known = (
        seen[entry.job_name].states if entry.job_name in seen else {each.task: each.state for each in entry.attempts}
    )
    over = sum(state.is_terminal for state in known.values())
    running = sum(not state.is_terminal and state is not JobState.PENDING for state in known.values())
    return running, entry.tasks - over - running


def _state(session: Session, jobs: Sequence[JobView], desk: Desk) -> str:
    """The record's word, unless what we see is newer: its writer may wait for a job, or be gone without a word."""
    links = [job for job in jobs if job.kind == "session" and job.state != "over"]
    if session.state is SessionState.FINISHED or (desk is Desk.LIVES and not links):
        return session.state
    if links:
        return "running" if links[-1].state == "running" else "queued"
    lost = session.state is SessionState.RUNNING and not _goes_on(session, jobs, desk)
    return "lost" if lost else session.state


def _goes_on(session: Session, jobs: Sequence[JobView], desk: Desk) -> bool:
    """Whether something of it runs or waits; of a desk elsewhere, without a job, its record's word is all there is."""
    has_jobs = any(job.state != "over" for job in jobs)
    said = desk is Desk.UNKNOWN and not jobs and session.state is SessionState.RUNNING
    return has_jobs or desk is Desk.LIVES or said


def _current(
    submissions: Sequence[SubmissionRecords], entries: Iterable[LedgerEntry], seen: Seen
) -> SubmissionView | None:
    unanswered = [each for each in submissions if each.verdict is None]
    newest = [*submissions[-1:], *unanswered[:1]]
    if not newest:
        return None
    current = newest[-1]
    array = _array(current.array, entries, seen) if current.array else None
    return SubmissionView(
        number=current.submission.number,
        candidate=_name(current.submission.path),
        at=_stage(current, array),
        received_at=current.submission.received_at,
        array=array,
    )


def _stage(records: SubmissionRecords, array: ArrayView | None) -> str:
    if records.verdict is not None:
        by = f" by {records.verdict.rejected_by}" if records.verdict.rejected_by else ""
        return f"{records.verdict.outcome}{by}"
    if records.is_timed:
        return "timed"
    if array is not None:
        return _stage_of_array(array)
    return "judged" if records.is_judged else "sealed" if records.is_sealed else "received"


def _stage_of_array(array: ArrayView) -> str:
    if not array.running and not array.pending:
        return "ended"
    return "running" if array.running or array.runs_over else "queued"


def _array(records: ArrayRecords, entries: Iterable[LedgerEntry], seen: Seen) -> ArrayView:
    still_open = [each for each in entries if each.job_name == records.job_name and each.settled_at is None]
    running, pending = _tasks(still_open[0], seen) if still_open else (0, 0)
    return ArrayView(
        job_name=records.job_name,
        blocks=records.blocks,
        blocks_over=len(records.over),
        runs=records.blocks * records.arms,
        runs_over=records.runs_over,
        running=running,
        pending=pending,
        stuck=seen[records.job_name].stuck if records.job_name in seen else "",
        stopped=records.stopped,
        last=tuple(map(_run, records.over)),
    )


def _run(block: Block) -> RunView:
    result, beside = block.candidate.result, _time_s(block.incumbent)
    return RunView(
        index=block.candidate.index,
        outcome=block.candidate.outcome,
        loss=result.val_loss if result else None,
        time_s=_time_s(block.candidate),
        incumbent_time_s=beside,
        node=block.candidate.node,
    )


def _time_s(trial: Trial | None) -> float | None:
    return trial.result.train_time_s if trial and trial.result else None


def _outcomes(submissions: Iterable[SubmissionRecords]) -> Mapping[str, int]:
    counted = Counter(each.verdict.outcome for each in submissions if each.verdict)
    return {outcome.value: counted[outcome] for outcome in Outcome if counted[outcome]}


def _best(submissions: Iterable[SubmissionRecords]) -> BestView | None:
    accepted = [each.verdict for each in submissions if each.verdict and each.verdict.outcome is Outcome.ACCEPTED]
    found = [
        BestView(_name(verdict.candidate), speed.saved_s, speed.saved_low_s, speed.saved_high_s)
        for verdict in accepted
        if (speed := verdict.speed)
    ]
    return max(found, key=lambda best: best.saved_s, default=None)


def _name(path: str) -> str:
    """The last part of a path that the agent chose."""
    return one_line(path.rstrip("/").rpartition("/")[2], _LONGEST_NAME)


def _budget(balance: Balance) -> BudgetView:
    return BudgetView(balance.limit if math.isfinite(balance.limit) else None, balance.spent, balance.reserved)


def _campaign_budget(records: CampaignRecords, seen: Seen) -> BudgetView:
    ledgers = [(each.entries, each.grace) for each in records.sessions]
    ledgers += [(each.entries, each.grace) for each in records.calibrations]
    entries = [entry for kept, grace in ledgers for entry in _up_to_date(kept, seen, grace)]
    limit = min((each.terms.campaign_limit for each in records.sessions), default=math.inf)
    counts = {kind for each in records.sessions for kind in each.terms.counts}
    return _budget(budget.balance(entries, limit, counts))


def _calibration_view(records: CalibrationRecords, seen: Seen) -> CalibrationView | None:
    """None if it is not being timed."""
    entries = _up_to_date(records.entries, seen, records.grace)
    if records.array is None or records.is_timed or all(entry.settled_at for entry in entries):
        return None
    return CalibrationView(one_line(records.name, _LONGEST_NAME), _array(records.array, entries, seen))
