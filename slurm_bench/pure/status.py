"""What a campaign's sessions are at, by their records and by what queue and accounting say of their jobs.

Hours are hours, charges H100-hours, times of training seconds.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from slurm_bench.pure import accounts, budget, score
from slurm_bench.pure.budget import Balance
from slurm_bench.pure.plain import one_line
from slurm_bench.pure.status_facts import (
    ArrayRecords,
    ArrayView,
    BestView,
    BudgetView,
    CalibrationRecords,
    CalibrationView,
    CampaignRecords,
    CampaignView,
    Desk,
    ExperimentsView,
    JobView,
    RunView,
    SessionRecords,
    SessionView,
    SubmissionRecords,
    SubmissionView,
)
from slurm_bench.words.accounting import JobState, LedgerEntry, Observation
from slurm_bench.words.records import Session, SessionState
from slurm_bench.words.trials import Block, Trial
from slurm_bench.words.verdicts import Outcome

Seen = Mapping[str, Observation]
"""What the scheduler says of jobs, by name; of some nothing is known."""

_LONGEST_NAME = 40
_HOUR_S = 3600


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
        unreadable=records.unreadable,
    )


def session_view(records: SessionRecords, seen: Seen) -> SessionView:
    session = records.session
    entries = _up_to_date(records.entries, seen, records.grace)
    jobs = _jobs(session, entries, seen)
    state = _state(session, jobs, records.desk)
    left = records.working.deadline - records.working.seen_at if records.working else timedelta(hours=records.hours)
    left_h = max(0.0, left.total_seconds() / _HOUR_S)
    handed_in = [each for each in records.submissions if not each.submission.confirms]
    goes_on = _goes_on(session, jobs, records.desk)
    confirming = (goes_on or records.desk is Desk.UNKNOWN) and any(map(_is_to_confirm, records.submissions))
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
        experiments=_experiments(entries, seen),
        submission=_current(records.submissions, entries, seen),
        verdicts=_outcomes(handed_in),
        best=_best(handed_in),
        score=score.of(session.state, [each.verdict for each in records.submissions if each.verdict]),
        is_being_confirmed=confirming,
        budget=_budget(budget.balance((*entries, *records.resting), records.terms.limit, records.terms.counts)),
        trace=records.trace,
        is_over=(session.state is SessionState.FINISHED and not confirming) or not goes_on,
    )


def _is_to_confirm(records: SubmissionRecords) -> bool:
    return bool(records.submission.confirms) and records.verdict is None


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
            stuck=_stuck(entry, seen),
        )
        for entry in chain
    )


def _stuck(entry: LedgerEntry, seen: Seen) -> str:
    return seen[entry.job_name].stuck if entry.job_name in seen else ""


def _experiments(entries: Iterable[LedgerEntry], seen: Seen) -> ExperimentsView | None:
    asked = [entry for entry in entries if entry.kind == "experiment"]
    states = Counter(_job_state(entry, seen) for entry in asked)
    stuck = next(filter(None, (_stuck(entry, seen) for entry in asked)), "")
    return ExperimentsView(states["pending"], states["running"], states["over"], stuck) if asked else None


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
        confirms=current.submission.confirms,
    )


def _stage(records: SubmissionRecords, array: ArrayView | None) -> str:
    if records.verdict is not None:
        by = f" by {records.verdict.rejected_by}" if records.verdict.rejected_by else ""
        return f"{records.verdict.outcome}{by}"
    if records.is_timed:
        return "timed"
    if array is not None:
        stage = _stage_of_array(array)
        return f"decoy run {stage}" if records.array and records.array.is_decoy else stage
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
