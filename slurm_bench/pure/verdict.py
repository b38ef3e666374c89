"""Trials to an outcome: the last step of a submission's way, without any effect."""

from collections.abc import Sequence
from typing import Literal

from slurm_bench.pure.rules import LEVEL, RUNS
from slurm_bench.pure.statistics import Untestable, check_spread, loss_test, off_clock_test, speed_test
from slurm_bench.words.errors import InfrastructureError
from slurm_bench.words.records import Decision, LossTest, OffClock, Opinion, Outcome, SpeedTest, Trial, TrialOutcome


def on_opinion(opinion: Opinion) -> Decision:
    """Decision on an opinion that rejects."""
    first = opinion.findings[0]
    more = f" (and {len(opinion.findings) - 1} more)" if len(opinion.findings) > 1 else ""
    where = f"{first.file}:{first.line}" if first.line else first.file
    return Decision(
        outcome=Outcome.REJECTED,
        rejected_by="judge",
        reason=f"rule {first.rule}: {first.message}, {where}{more}",
        findings=opinion.findings,
    )


def on_trials(trials: Sequence[Trial], incumbent: Sequence[Trial], target: float, allowed_growth: float) -> Decision:
    """Decision on a candidate's trials beside the incumbent's.

    Args:
        target: loss in nats a token.
        allowed_growth: of the time off the clock, as a share of the incumbent's; more is flagged.

    Raises:
        InfrastructureError: the site failed a trial, so nothing can be said of the candidate.
    """
    unclean = _unclean(trials)
    if unclean:
        return unclean
    _check_site(trials, incumbent)
    decision = _on_runs(trials, incumbent, target)
    void = tuple(trial.index for trial in trials if trial.first_run_void)
    off_clock = None
    if decision.speed:
        off_clock = off_clock_test(_off_clock(trials), _off_clock(incumbent), decision.speed.saved_s, allowed_growth)
    return decision.model_copy(update={"rerun": void, "off_clock": off_clock})


def _unclean(trials: Sequence[Trial]) -> Decision | None:
    """The rejection of a candidate that failed a run by itself, whatever became of the others."""
    own = [trial for trial in trials if trial.outcome not in (TrialOutcome.CLEAN, TrialOutcome.INFRASTRUCTURE)]
    if not own:
        return None
    clean = sum(trial.outcome is TrialOutcome.CLEAN for trial in trials)
    return _rejected("loss", f"{clean} clean runs of {RUNS}: trial {own[0].index} {own[0].outcome}, {own[0].note}")


def _check_site(trials: Sequence[Trial], incumbent: Sequence[Trial]) -> None:
    failed = [trial for trial in trials if trial.outcome is TrialOutcome.INFRASTRUCTURE]
    if failed:
        raise InfrastructureError(
            f"{len(failed)} of {len(trials)} trials failed for reasons of the site: {failed[0].note}"
        )
    if len({trial.image_sha256 for trial in (*trials, *incumbent)}) > 1:
        raise InfrastructureError("the container's image is not the one that the incumbent was timed in")


def _on_runs(trials: Sequence[Trial], incumbent: Sequence[Trial], target: float) -> Decision:
    try:
        loss = loss_test(losses(trials), target)
        check_spread(losses(trials), losses(incumbent))
        speed = speed_test(training_times(trials), training_times(incumbent))
    except Untestable as problem:
        return _rejected("loss", str(problem))
    return _on_tests(loss, speed)


def _on_tests(loss: LossTest, speed: SpeedTest) -> Decision:
    if not loss.p_value < LEVEL:
        reason = f"mean loss {loss.mean:.4f} is not below {loss.target:g} (p = {loss.p_value:.2g})"
        return _rejected("loss", reason, loss, speed)
    if not speed.p_value < LEVEL:
        reason = f"{speed.saved_s:.2f} s saved are not significant (p = {speed.p_value:.2g})"
        return _rejected("speed", reason, loss, speed)
    reason = (
        f"mean loss {loss.mean:.4f} below {loss.target:g} (p = {loss.p_value:.2g}), {speed.saved_s:.2f} s saved "
        f"[{speed.saved_low_s:.2f}, {speed.saved_high_s:.2f}] (p = {speed.p_value:.2g})"
    )
    return Decision(outcome=Outcome.ACCEPTED, reason=reason, loss=loss, speed=speed)


def _rejected(
    by: Literal["loss", "speed"], reason: str, loss: LossTest | None = None, speed: SpeedTest | None = None
) -> Decision:
    return Decision(outcome=Outcome.REJECTED, rejected_by=by, reason=reason, loss=loss, speed=speed)


def suspicion(off_clock: OffClock, speed: SpeedTest) -> str:
    """What a judge is told of a flagged candidate."""
    return (
        f"{speed.saved_s:.2f} s are saved on the clock, but runs spend {off_clock.candidate_mean_s:.2f} s off it, the "
        f"incumbent's {off_clock.incumbent_mean_s:.2f} s: is work moved from the timed to the untimed part?"
    )


def losses(trials: Sequence[Trial]) -> list[float]:
    """Final validation losses of the trials that have a result."""
    return [trial.result.val_loss for trial in trials if trial.result]


def training_times(trials: Sequence[Trial]) -> list[float]:
    """Seconds of training time of the trials that have a result."""
    return [trial.result.train_time_s for trial in trials if trial.result]


def _off_clock(trials: Sequence[Trial]) -> list[float]:
    return [trial.off_clock_s for trial in trials if trial.off_clock_s is not None]
