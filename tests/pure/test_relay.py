"""What comes after a session's job, by the session's record and how the job ended."""

from datetime import UTC, datetime, timedelta

import pytest

from slurm_bench.pure import relay
from slurm_bench.pure.relay import Decision, Move, end_of, fruitless
from slurm_bench.words.accounting import Attempt, JobState, LedgerEntry
from slurm_bench.words.errors import BudgetExceeded, InfrastructureError, UsageError
from slurm_bench.words.kinds import Kind
from slurm_bench.words.records import Session, SessionState

START = datetime(2026, 11, 25, 12, tzinfo=UTC)
SITES = {"problem": "the site failed", "problem_exit_code": InfrastructureError.exit_code}
KILLED = [
    JobState.TIMEOUT,
    JobState.NODE_FAIL,
    JobState.PREEMPTED,
    JobState.BOOT_FAIL,
    JobState.OUT_OF_MEMORY,
    JobState.DEADLINE,
    JobState.FAILED,
    JobState.COMPLETED,
]


def session(state: SessionState, **fields: object) -> Session:
    known = {"id": "id", "name": "one", "campaign": "test", "revision": "", "state": state, "started": START}
    return Session.model_validate({**known, **fields})


def job(state: JobState | None, kind: Kind = "session", began_at: float = 0) -> LedgerEntry:
    """One that is over.

    Args:
        state: None for one that never began.
        began_at: seconds after the session did.
    """
    began = START + timedelta(seconds=began_at)
    row = Attempt("1", "1", "job", 0, state or JobState.PENDING, 0, 1, 1, began, began, began, "gpu1")
    entry = LedgerEntry(
        job_name="job", kind=kind, tasks=1, gpus=1, limit_s=60, overrun_s=0, weight=1.0, reserved_at=began
    )
    return entry.model_copy(update={"attempts": (row,) if state else (), "settled_at": began})


def decide(begun: Session, before: LedgerEntry) -> Decision:
    """Where trials have allocations of their own."""
    return relay.decide(begun, before, needs_link=begun.agent_exit_code is None)


@pytest.mark.parametrize("state", KILLED)
def test_a_link_that_died_without_a_word_is_followed_by_the_next(state: JobState) -> None:
    decision = decide(session(SessionState.RUNNING), job(state))
    assert (decision.move, state in decision.why) == (Move.NEXT, True)


@pytest.mark.parametrize(
    ("begun", "ended", "move", "why"),
    [
        (session(SessionState.FINISHED), JobState.COMPLETED, Move.LEAVE, "is over"),
        (session(SessionState.FINISHED), JobState.CANCELLED, Move.LEAVE, "is over"),
        (session(SessionState.RUNNING), JobState.CANCELLED, Move.STOP, "cancelled; the same command goes on"),
        (session(SessionState.RUNNING), None, Move.STOP, "cancelled; the same command goes on"),
        (session(SessionState.PAUSED, **SITES), JobState.CANCELLED, Move.STOP, "cancelled"),
        (session(SessionState.PAUSED, **SITES), JobState.COMPLETED, Move.NEXT, "the site failed"),
        (session(SessionState.PAUSED), JobState.COMPLETED, Move.NEXT, "COMPLETED"),
        (session(SessionState.PAUSED, agent_exit_code=0), JobState.COMPLETED, Move.CLOSE, "its desk answers"),
        (session(SessionState.RUNNING, agent_exit_code=5), JobState.NODE_FAIL, Move.CLOSE, "NODE_FAIL"),
        (session(SessionState.INTERRUPTED, **SITES), JobState.FAILED, Move.NEXT, "the site failed"),
        (session(SessionState.INTERRUPTED, **SITES), JobState.TIMEOUT, Move.NEXT, "the site failed"),
        (session(SessionState.INTERRUPTED), JobState.NODE_FAIL, Move.NEXT, "NODE_FAIL"),
    ],
)
def test_what_comes_next(begun: Session, ended: JobState | None, move: Move, why: str) -> None:
    decision = decide(begun, job(ended))
    assert (decision.move, why in decision.why) == (move, True), decision


@pytest.mark.parametrize("kind", [UsageError, BudgetExceeded])
def test_a_problem_that_only_a_person_can_mend_stays(kind: type[UsageError] | type[BudgetExceeded]) -> None:
    left = session(SessionState.INTERRUPTED, problem="no shards there", problem_exit_code=kind.exit_code)
    for over in ({}, {"agent_exit_code": 0}):
        decision = decide(left.model_copy(update=over), job(JobState.FAILED))
        assert (decision.move, decision.why) == (Move.LEAVE, "the session stops: no shards there")


def test_three_links_in_which_the_agent_did_nothing_are_enough() -> None:
    begun = session(SessionState.INTERRUPTED, **SITES)
    moves = [decide(begun.model_copy(update={"fruitless_links": count}), job(JobState.FAILED)) for count in (2, 3)]
    assert [each.move for each in moves] == [Move.NEXT, Move.STOP]
    assert moves[1].why == "3 links in a row in which the agent did nothing; the last one: the site failed"
    over = begun.model_copy(update={"fruitless_links": 3, "agent_exit_code": 0})
    assert decide(over, job(JobState.FAILED)).move is Move.CLOSE, "its desk needs no agent"
    nested = [over.model_copy(update={"fruitless_links": count}) for count in (2, 3)]
    moves = [relay.decide(each, job(JobState.FAILED), needs_link=True) for each in nested]
    assert [each.move for each in moves] == [Move.NEXT, Move.STOP], "trials in the session's own job need one"


@pytest.mark.parametrize(
    ("ended", "move"),
    [
        (JobState.COMPLETED, Move.LEAVE),
        (JobState.FAILED, Move.LEAVE),
        (JobState.CANCELLED, Move.STOP),
        (JobState.TIMEOUT, Move.CLOSE),
        (JobState.NODE_FAIL, Move.CLOSE),
    ],
)
def test_a_desk_without_an_agent_is_taken_over_where_slurm_ended_it(ended: JobState, move: Move) -> None:
    begun = session(SessionState.INTERRUPTED, agent_exit_code=0, **SITES)
    assert decide(begun, job(ended, "relay")).move is move


def test_links_in_a_row_are_counted_back_from_the_last() -> None:
    links = [job(JobState.TIMEOUT, began_at=begin) for begin in (0, 100, 200)]
    at = [None, *(START + timedelta(seconds=second) for second in (50, 150, 250))]
    assert [fruitless(links, progressed_at) for progressed_at in at] == [3, 2, 1, 0]
    assert fruitless([], None) == 0


def test_a_cancelled_link_does_not_count() -> None:
    cancelled = job(JobState.CANCELLED, began_at=200)
    assert fruitless([job(JobState.TIMEOUT), job(None, began_at=100), cancelled], None) == 1
    assert end_of(cancelled) is end_of(job(None)) is JobState.CANCELLED
