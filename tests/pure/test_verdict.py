import pytest

from slurm_bench.pure import verdict
from slurm_bench.words.errors import InfrastructureError
from slurm_bench.words.records import Finding, Opinion, Outcome, TrainResult, Trial, TrialOutcome

INCUMBENT_SECONDS = [10 + 0.01 * k for k in range(10)]


def trials(
    loss: float = 3.27, seconds: float = 10.0, outcome: TrialOutcome = TrialOutcome.CLEAN, count: int = 10
) -> list[Trial]:
    return [
        Trial(
            index=k,
            outcome=outcome if k == 0 else TrialOutcome.CLEAN,
            note="exit 1" if k == 0 else "",
            exit_code=0,
            result=None
            if k == 0 and outcome is not TrialOutcome.CLEAN
            else TrainResult(steps=10, val_loss=loss + 0.0001 * k, train_time_s=seconds + 0.01 * k),
            wall_s=20,
            started=None,
            node="gpu1",
            seal="0",
            image_sha256=None,
        )
        for k in range(count)
    ]


@pytest.mark.parametrize(
    ("candidate", "outcome", "by"),
    [
        (trials(seconds=9.0), Outcome.ACCEPTED, None),
        (trials(loss=3.2795, seconds=9.0), Outcome.REJECTED, "loss"),
        (trials(seconds=10.0), Outcome.REJECTED, "speed"),
        (trials(seconds=11.0), Outcome.REJECTED, "speed"),
        (trials(seconds=9.0, outcome=TrialOutcome.CRASHED), Outcome.REJECTED, "loss"),
        (trials(seconds=9.0, outcome=TrialOutcome.IMPLAUSIBLE), Outcome.REJECTED, "loss"),
        (trials(seconds=9.0, count=9), Outcome.REJECTED, "loss"),
    ],
)
def test_decisions(candidate: list[Trial], outcome: Outcome, by: str | None) -> None:
    decision = verdict.on_trials(candidate, trials(), 3.28, 0.25)
    assert (decision.outcome, decision.rejected_by) == (outcome, by)


def test_nine_crashes_and_one_lucky_run_are_no_pass() -> None:
    crashed = [trial.model_copy(update={"outcome": TrialOutcome.CRASHED, "result": None}) for trial in trials()[:9]]
    decision = verdict.on_trials([*crashed, trials(seconds=5.0)[9]], trials(), 3.28, 0.25)
    assert decision.outcome is Outcome.REJECTED
    assert "1 clean runs of 10" in decision.reason
    assert decision.loss is None


def test_the_sites_failure_is_not_the_candidates() -> None:
    with pytest.raises(InfrastructureError, match="1 of 10 trials"):
        verdict.on_trials(trials(outcome=TrialOutcome.INFRASTRUCTURE), trials(), 3.28, 0.25)


def test_an_opinion_names_rule_and_place() -> None:
    finding = Finding(rule="data", message="the loader differs", file="train_gpt.py", line=7)
    decision = verdict.on_opinion(Opinion(judge="static", seal="0", findings=(finding, finding)))
    assert decision.reason == "rule data: the loader differs, train_gpt.py:7 (and 1 more)"
    assert decision.rejected_by == "judge"


def test_exit_codes_of_submit() -> None:
    assert [outcome.exit_code for outcome in Outcome] == [0, 1, 2, 3, 4]
    assert Outcome.UNDECIDED.exit_code == 3


def test_another_image_than_the_incumbents_says_nothing_of_the_candidate() -> None:
    rebuilt = [trial.model_copy(update={"image_sha256": "1"}) for trial in trials(seconds=9.0)]
    with pytest.raises(InfrastructureError, match="image"):
        verdict.on_trials(rebuilt, trials(), 3.28, 0.25)


def test_time_off_the_clock_and_reruns_are_on_the_verdict() -> None:
    candidate = [trial.model_copy(update={"wall_s": 40.0}) for trial in trials(seconds=9.0)]
    candidate[4] = candidate[4].model_copy(update={"first_run_void": "the node died"})
    decision = verdict.on_trials(candidate, trials(), 3.28, 0.25)
    assert decision.outcome is Outcome.ACCEPTED
    assert decision.rerun == (4,)
    assert decision.off_clock and decision.off_clock.flagged


def test_a_crash_decides_though_the_site_failed_another_run() -> None:
    candidate = trials(seconds=9.0, outcome=TrialOutcome.CRASHED)
    candidate[1] = candidate[1].model_copy(update={"outcome": TrialOutcome.INFRASTRUCTURE, "result": None})
    decision = verdict.on_trials(candidate, trials(), 3.28, 0.25)
    assert (decision.outcome, decision.rejected_by) == (Outcome.REJECTED, "loss")
    assert decision.reason == "8 clean runs of 10: trial 0 crashed, exit 1"
