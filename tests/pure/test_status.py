"""What sessions are at, from records alone."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from slurm_bench.pure.budget import Terms
from slurm_bench.pure.score import ScoreState
from slurm_bench.pure.status import campaign_view, session_view
from slurm_bench.pure.status_facts import (
    ArrayRecords,
    CalibrationRecords,
    CampaignRecords,
    Desk,
    ExperimentsView,
    SessionRecords,
    SubmissionRecords,
)
from slurm_bench.words.accounting import Attempt, JobState, LedgerEntry, Observation
from slurm_bench.words.kinds import Kind
from slurm_bench.words.records import Session, SessionState, Submission, Working
from slurm_bench.words.trials import Block, SpeedTest, TrainResult, Trial, TrialOutcome
from slurm_bench.words.verdicts import Outcome, Verdict

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
ID = "slurm_bench-id-"


def entry(name: str, kind: Kind, *, tasks: int = 1, gpus: int = 1, settled: bool = False) -> LedgerEntry:
    return LedgerEntry(
        job_name=f"{ID}{name}",
        kind=kind,
        tasks=tasks,
        gpus=gpus,
        limit_s=3600,
        overrun_s=0,
        weight=1.0,
        reserved_at=NOW - HOUR,
        job_id="7",
        queued_at=NOW - HOUR,
        settled_at=NOW if settled else None,
    )


def observation(states: dict[int, JobState], stuck: str = "") -> Observation:
    attempts = tuple(
        Attempt(
            raw_id=str(task),
            job_id="7",
            job_name="",
            task=task,
            state=state,
            exit_code=0,
            elapsed_s=360,
            gpus=1,
            submitted=NOW - HOUR,
            started=NOW - HOUR,
            ended=NOW if state.is_terminal else None,
            node="gpu1",
        )
        for task, state in states.items()
        if state is not JobState.PENDING
    )
    queued = frozenset(task for task, state in states.items() if not state.is_terminal)
    return Observation(NOW, states, queued, attempts, stuck)


def trial(index: int, loss: float, time_s: float, outcome: TrialOutcome = TrialOutcome.CLEAN) -> Trial:
    result = TrainResult(steps=10, val_loss=loss, train_time_s=time_s)
    return Trial(index=index, outcome=outcome, note="", result=result, node="gpu1", seal="", image_sha256=None)


def array(over: int, runs_over: int, name: str = "0001", blocks_planned: int = 10) -> ArrayRecords:
    blocks = tuple(
        Block(candidate=trial(index, 3.2, 90.0), incumbent=trial(index, 3.2, 100.0)) for index in range(over)
    )
    return ArrayRecords(
        f"{ID}{name}", blocks_planned, arms=2, is_decoy=False, runs_over=runs_over, over=blocks, stopped=""
    )


def submission(number: str = "0001", path: str = "/workspace/submissions/fast") -> SubmissionRecords:
    handed_in = Submission(number=number, request="a1", path=path, received_at=NOW)
    return SubmissionRecords(handed_in, is_sealed=False, is_judged=False, array=None, is_timed=False, verdict=None)


def confirming(number: str, confirms: str) -> SubmissionRecords:
    """A confirmation that has no verdict yet."""
    given = submission(number)
    return replace(given, submission=given.submission.model_copy(update={"confirms": confirms}))


def confirmed(number: str, confirms: str, outcome: Outcome, saved_s: float) -> SubmissionRecords:
    asked, given = confirming(number, confirms), decided(number, outcome, saved_s).verdict
    assert given
    told = given.model_copy(update={"confirms": confirms, "confirmation": 1, "seal": f"seal {confirms}"})
    return replace(asked, verdict=told)


def decided(number: str, outcome: Outcome, saved_s: float | None = None) -> SubmissionRecords:
    speed = None
    if saved_s is not None:
        speed = SpeedTest(
            incumbent_mean_s=100,
            candidate_mean_s=100 - saved_s,
            saved_s=saved_s,
            saved_low_s=saved_s - 1,
            saved_high_s=saved_s + 1,
            p_value=0.001,
        )
    verdict = Verdict(
        outcome=outcome,
        reason="",
        rejected_by="loss" if outcome is Outcome.REJECTED else None,
        speed=speed,
        submission=number,
        request="a1",
        candidate=f"/workspace/submissions/c{number}",
        exit_code=0,
        seal=f"seal {number}",
        gpu_seconds=0,
        repeats=None,
        decided_at=NOW,
    )
    return replace(submission(number), verdict=verdict)


def records(*entries: LedgerEntry, state: SessionState = SessionState.RUNNING) -> SessionRecords:
    return SessionRecords(
        session=Session(id="id", name="one", campaign="test", revision="", state=state, started=NOW - 2 * HOUR),
        agent="scripted",
        hours=4.0,
        terms=Terms(512.0, 1.0, 600.0),
        grace=timedelta(seconds=300),
        entries=entries,
        resting=(),
        working=None,
        submissions=(),
        desk=Desk.UNKNOWN,
        trace=(),
    )


LINK, RELAY = entry("session1", "session"), entry("relay1", "relay", gpus=0)
OVER = LINK.model_copy(update={"settled_at": NOW}), RELAY.model_copy(update={"settled_at": NOW})
RUNS = {LINK.job_name: observation({0: JobState.RUNNING})}
WAITS = {LINK.job_name: observation({0: JobState.PENDING}, "QOSGrpGRESMinutes")}


@pytest.mark.parametrize(
    ("entries", "seen", "state", "desk", "said", "is_over"),
    [
        ((LINK, RELAY), RUNS, SessionState.RUNNING, Desk.UNKNOWN, "running", False),
        ((LINK, RELAY), WAITS, SessionState.RUNNING, Desk.UNKNOWN, "queued", False),
        ((LINK, RELAY), WAITS, SessionState.INTERRUPTED, Desk.GONE, "queued", False),
        ((LINK, RELAY), {}, SessionState.RUNNING, Desk.UNKNOWN, "queued", False),
        ((OVER[0], RELAY), {}, SessionState.PAUSED, Desk.UNKNOWN, "paused", False),
        (OVER, {}, SessionState.RUNNING, Desk.UNKNOWN, "lost", True),
        (OVER, {}, SessionState.RUNNING, Desk.LIVES, "running", False),
        (OVER, {}, SessionState.INTERRUPTED, Desk.GONE, "interrupted", True),
        (OVER, {}, SessionState.FINISHED, Desk.GONE, "finished", True),
        ((), {}, SessionState.RUNNING, Desk.LIVES, "running", False),
        ((), {}, SessionState.RUNNING, Desk.GONE, "lost", True),
        ((), {}, SessionState.RUNNING, Desk.UNKNOWN, "running", False),
        ((), {}, SessionState.INTERRUPTED, Desk.UNKNOWN, "interrupted", True),
    ],
)
def test_a_state_is_the_records_unless_what_is_seen_is_newer(  # noqa: PLR0913, PLR0917  each a column of the table
    entries: tuple[LedgerEntry, ...],
    seen: dict[str, Observation],
    state: SessionState,
    desk: Desk,
    said: str,
    is_over: bool,
) -> None:
    view = session_view(replace(records(*entries, state=state), desk=desk), seen)
    assert (view.state, view.is_over) == (said, is_over)


def test_jobs_say_why_they_are_stuck_and_one_that_the_scheduler_ended_is_over() -> None:
    waits = session_view(records(LINK, RELAY), WAITS)
    assert [(job.name, job.state, job.stuck) for job in waits.jobs] == [
        ("session1", "pending", "QOSGrpGRESMinutes"),
        ("relay1", "pending", ""),
    ]
    ended = session_view(records(LINK, RELAY), {LINK.job_name: observation({0: JobState.TIMEOUT})})
    assert [job.state for job in ended.jobs] == ["over", "pending"]
    assert ended.budget.reserved == 0 and ended.budget.spent == pytest.approx(0.1), "as its desk would settle it"


def test_experiments_are_counted_by_how_they_stand_and_only_where_there_are_any() -> None:
    asked = [entry(f"experiment{number}", "experiment", settled=number == 4) for number in range(1, 6)]
    names = [each.job_name for each in asked]
    seen = {
        names[0]: observation({0: JobState.PENDING}, "QOSGrpGRESMinutes"),
        names[1]: observation({0: JobState.RUNNING}),
        names[2]: observation({0: JobState.TIMEOUT}),
    }
    view = session_view(records(LINK, RELAY, *asked), RUNS | seen)
    assert view.experiments == ExperimentsView(waiting=2, running=1, over=2, stuck="QOSGrpGRESMinutes")
    assert [job.kind for job in view.jobs] == ["session", "relay"]
    assert session_view(records(LINK, RELAY), RUNS).experiments is None


def test_time_is_what_was_seen_last() -> None:
    assert (session_view(records(), {}).worked_h, session_view(records(), {}).left_h) == (0.0, 4.0)
    working = Working(deadline=NOW + 3 * HOUR, seen_at=NOW, progressed_at=NOW - HOUR)
    view = session_view(replace(records(), working=working), {})
    assert (view.worked_h, view.left_h, view.progressed_at) == (1.0, 3.0, NOW - HOUR)
    late = session_view(replace(records(), working=Working(deadline=NOW, seen_at=NOW + HOUR)), {})
    assert (late.worked_h, late.left_h) == (4.0, 0.0)


SEALED = replace(submission(), is_sealed=True)
JUDGED = replace(SEALED, is_judged=True)
PLANNED = replace(JUDGED, array=array(0, 0))
ARRAY = entry("0001", "retiming", tasks=10)


@pytest.mark.parametrize(
    ("found", "states", "at"),
    [
        (submission(), {}, "received"),
        (SEALED, {}, "sealed"),
        (JUDGED, {}, "judged"),
        (PLANNED, dict.fromkeys(range(10), JobState.PENDING), "queued"),
        (PLANNED, {0: JobState.RUNNING, 1: JobState.PENDING}, "running"),
        (replace(PLANNED, array=array(1, 2)), dict.fromkeys(range(10), JobState.PENDING), "running"),
        (replace(PLANNED, array=array(9, 18)), dict.fromkeys(range(10), JobState.CANCELLED), "ended"),
        (replace(PLANNED, is_timed=True), {}, "timed"),
        (decided("0001", Outcome.REJECTED), {}, "rejected by loss"),
        (decided("0001", Outcome.UNDECIDED), {}, "undecided"),
    ],
)
def test_what_a_submission_is_at(found: SubmissionRecords, states: dict[int, JobState], at: str) -> None:
    view = session_view(replace(records(ARRAY), submissions=(found,)), {ARRAY.job_name: observation(states)})
    assert view.submission and view.submission.at == at


def test_an_array_counts_both_arms_runs_and_the_tasks_that_run() -> None:
    found = replace(PLANNED, array=array(4, 9))
    states = {**dict.fromkeys(range(4), JobState.COMPLETED), 4: JobState.RUNNING, 5: JobState.COMPLETING}
    view = session_view(replace(records(ARRAY), submissions=(found,)), {ARRAY.job_name: observation(states)})
    assert view.submission and view.submission.array
    seen = view.submission.array
    assert (seen.blocks_over, seen.blocks, seen.runs_over, seen.runs) == (4, 10, 9, 20)
    assert (seen.running, seen.pending, seen.share) == (2, 4, 0.45)
    last = seen.last[-1]
    assert (last.index, last.loss, last.time_s, last.incumbent_time_s) == (3, 3.2, 90.0, 100.0)


def test_the_current_submission_is_the_oldest_without_a_verdict_or_else_the_last() -> None:
    answered = decided("0001", Outcome.REJECTED)
    waiting, next_one = submission("0002"), submission("0003")
    both = session_view(replace(records(), submissions=(answered, waiting, next_one)), {})
    assert both.submission and both.submission.number == "0002"
    none = session_view(replace(records(), submissions=(answered,)), {})
    assert none.submission and none.submission.number == "0001"
    assert session_view(records(), {}).submission is None


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/workspace/submissions/fast", "fast"),
        ("/workspace/submissions/\x1b[2Jfast\n\rx", "\N{REPLACEMENT CHARACTER}[2Jfast x"),
        ("/workspace/submissions/" + "x" * 300, "x" * 40),
        ("", ""),
    ],
)
def test_names_that_agents_choose_are_printable_and_short(path: str, name: str) -> None:
    view = session_view(replace(records(), submissions=(submission(path=path),)), {})
    assert view.submission and view.submission.candidate == name


def test_verdicts_by_outcome_and_the_best_of_the_accepted() -> None:
    found = (
        decided("0001", Outcome.REJECTED, 50.0),
        decided("0002", Outcome.ACCEPTED, 3.0),
        decided("0003", Outcome.ACCEPTED, 12.0),
        decided("0004", Outcome.ACCEPTED, 5.0),
        decided("0005", Outcome.INVALID),
    )
    view = session_view(replace(records(), submissions=found), {})
    assert list(view.verdicts.items()) == [("accepted", 3), ("rejected", 1), ("invalid", 1)]
    assert view.best and (view.best.candidate, view.best.saved_s, view.best.saved_low_s) == ("c0003", 12.0, 11.0)


def test_a_confirmation_is_said_and_is_none_of_the_agents_submissions() -> None:
    afresh = replace(confirming("0002", "0001"), is_judged=True, array=array(8, 17, "0002", blocks_planned=20))
    found = (decided("0001", Outcome.ACCEPTED, 3.0), afresh)
    view = session_view(replace(records(LINK), submissions=found), RUNS)
    assert view.is_being_confirmed and view.score.state is ScoreState.RUNNING and view.verdicts == {"accepted": 1}
    assert view.submission and (view.submission.confirms, view.submission.name) == (
        "0001",
        "confirmation of 0001, fast",
    )
    assert view.submission.array and (view.submission.array.blocks_over, view.submission.array.blocks) == (8, 20)


@pytest.mark.parametrize(
    ("desk", "said", "is_over"), [(Desk.LIVES, True, False), (Desk.GONE, False, True), (Desk.UNKNOWN, True, True)]
)
def test_a_session_that_is_confirmed_later_goes_on_as_long_as_its_desk(desk: Desk, said: bool, is_over: bool) -> None:
    found = (decided("0001", Outcome.ACCEPTED, 3.0), confirming("0002", "0001"))
    view = session_view(replace(records(state=SessionState.FINISHED), submissions=found, desk=desk), {})
    assert (view.is_being_confirmed, view.is_over) == (said, is_over)


def test_a_confirmed_score_is_shown_beside_what_was_accepted() -> None:
    found = (decided("0001", Outcome.ACCEPTED, 3.0), confirmed("0002", "0001", Outcome.ACCEPTED, 2.5))
    view = session_view(replace(records(state=SessionState.FINISHED), submissions=found), {})
    assert view.score.saved and view.score.saved.saved_s == 2.5 and not view.is_being_confirmed
    assert view.best and view.best.saved_s == 3.0, "of what was handed in"
    assert view.verdicts == {"accepted": 1}


def test_a_campaigns_budget_counts_a_calibration_once_and_shows_it_while_it_is_timed() -> None:
    timing = entry("calibration1", "calibration", tasks=10)
    one = replace(records(LINK), resting=(timing,))
    two = replace(one, session=one.session.model_copy(update={"name": "two"}), entries=())
    calibration = CalibrationRecords("rec-1", (timing,), one.grace, array(3, 6, "calibration1"), is_timed=False)
    found = CampaignRecords("test", (one, two), (calibration,))
    view = campaign_view(found, {}, NOW, "sacct: connection refused")
    assert [session.budget.reserved for session in view.sessions] == [11.0, 10.0]
    assert (view.budget.limit, view.budget.reserved, view.silence) == (600.0, 11.0, "sacct: connection refused")
    assert [(each.name, each.array.blocks_over, each.array.pending) for each in view.calibrations] == [("rec-1", 3, 10)]
    done = replace(found, calibrations=(replace(calibration, is_timed=True),))
    assert campaign_view(done, {}, NOW).calibrations == ()
