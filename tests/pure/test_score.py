"""What a session is worth, by its verdicts alone."""

from datetime import UTC, datetime

import pytest

from slurm_bench.pure import score
from slurm_bench.pure.score import NOTHING_SAVED, Saved, ScoreState
from slurm_bench.words.records import SessionState
from slurm_bench.words.trials import SpeedTest
from slurm_bench.words.verdicts import Outcome, Verdict

FINISHED, RUNNING = SessionState.FINISHED, SessionState.RUNNING


def verdict(
    number: str, outcome: Outcome, saved_s: float = 1.0, confirms: str = "", place: int | None = None
) -> Verdict:
    speed = SpeedTest(
        incumbent_mean_s=100,
        candidate_mean_s=100 - saved_s,
        saved_s=saved_s,
        saved_low_s=saved_s - 0.1,
        saved_high_s=saved_s + 0.1,
        p_value=0.001,
    )
    return Verdict(
        outcome=outcome,
        reason="",
        speed=speed,
        confirmation=place,
        submission=number,
        request=f"r{number}",
        candidate=f"/workspace/submissions/c{number}",
        exit_code=0,
        seal=f"seal {confirms or number}",
        gpu_seconds=0,
        repeats=None,
        confirms=confirms or None,
        decided_at=datetime(2026, 11, 28, 12, tzinfo=UTC),
    )


ACCEPTED = verdict("0001", Outcome.ACCEPTED, 0.9), verdict("0002", Outcome.ACCEPTED, 0.6)
FAILED = verdict("0003", Outcome.REJECTED, confirms="0001", place=1)


def test_what_a_confirmation_saved_is_the_score_and_not_what_was_accepted() -> None:
    found = score.of(FINISHED, [*ACCEPTED, FAILED, verdict("0004", Outcome.ACCEPTED, 0.52, "0002", 2)])
    assert found.saved and found.saved.saved_s == 0.52
    assert (found.state, found.submission, found.confirmation) == (ScoreState.SCORED, "0002", "0004")
    assert score.describe(found) == "score: 0.52 s [0.42, 0.62] saved, confirmed by 20 fresh blocks"


@pytest.mark.parametrize("handed_in", [(), (verdict("0001", Outcome.REJECTED),), (verdict("0001", Outcome.UNDECIDED),)])
def test_a_session_that_accepted_nothing_scores_zero(handed_in: tuple[Verdict, ...]) -> None:
    found = score.of(FINISHED, handed_in)
    assert (found.state, found.saved, found.why) == (ScoreState.SCORED, NOTHING_SAVED, "nothing was accepted")
    assert score.describe(found) == "score: 0, nothing was accepted"


def test_a_session_whose_candidates_all_failed_afresh_scores_zero() -> None:
    found = score.of(FINISHED, [*ACCEPTED, FAILED, verdict("0004", Outcome.REJECTED, confirms="0002", place=2)])
    assert found.saved == NOTHING_SAVED
    assert score.describe(found) == "score: 0, none of its accepted candidates that were timed afresh was confirmed"


@pytest.mark.parametrize("handed_in", [(), ACCEPTED[:1], (*ACCEPTED, FAILED)])
def test_a_session_that_runs_has_no_score(handed_in: tuple[Verdict, ...]) -> None:
    found = score.of(RUNNING, handed_in)
    assert (found.state, found.saved) == (ScoreState.RUNNING, None)
    assert score.describe(found).startswith("no score yet: not over")


@pytest.mark.parametrize("outcome", [Outcome.UNDECIDED, Outcome.OVER_BUDGET])
def test_what_is_left_to_be_confirmed_is_no_score(outcome: Outcome) -> None:
    found = score.of(FINISHED, [*ACCEPTED, FAILED, verdict("0004", outcome, confirms="0002")])
    assert (found.state, found.saved, found.submission) == (ScoreState.NOT_CONFIRMED, None, "0002")
    said = "no score yet: not confirmed; submission 0002 is accepted, and left to be confirmed (command=confirm)"
    assert score.describe(found) == said


def test_what_differs_by_chance_is_not_clear() -> None:
    assert Saved(1.0, 0.7, 1.3).is_clear_of(Saved(0.5, 0.2, 0.8))
    assert not Saved(1.0, 0.7, 1.3).is_clear_of(Saved(0.6, 0.3, 0.9))
    assert not NOTHING_SAVED.is_clear_of(NOTHING_SAVED)
