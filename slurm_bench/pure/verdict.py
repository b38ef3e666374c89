"""Trials to an outcome: the last step of a submission's way, without any effect."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from slurm_bench.pure import confirmation, sequential
from slurm_bench.pure.rules import CONFIRMATION_RUNS, LEVEL, RUNS
from slurm_bench.pure.statistics import (
    Untestable,
    carry_over_test,
    check,
    check_spread,
    loss_test,
    off_clock_test,
    speed_test,
)
from slurm_bench.words.config import RetimeConfig, TaskConfig
from slurm_bench.words.errors import InfrastructureError, Unsettled
from slurm_bench.words.opinions import Opinion
from slurm_bench.words.trials import (
    Block,
    CarryOver,
    Design,
    EarlyStop,
    LossTest,
    Retiming,
    SpeedTest,
    Trial,
    TrialOutcome,
)
from slurm_bench.words.verdicts import Decision, Outcome, Verdict

NOT_RUN = (TrialOutcome.INFRASTRUCTURE, TrialOutcome.STOPPED)
"""What says nothing of a program."""


@dataclass(frozen=True)
class Terms:
    """What a verdict is given by."""

    target_loss: float
    """Nats a token."""
    loss_margin: float
    """How far below the target a mean loss is believed without a second look (nats a token)."""
    design: Design
    off_clock_growth: float
    """Allowed growth of the time off the clock, as a share of the incumbent's; more is flagged."""
    stop_below: float
    """Chance of passing below which an array is stopped."""
    confirmation: int | None = None
    """The how manieth confirmation of its session this is; None for what an agent handed in."""

    @property
    def runs(self) -> int:
        """Return how many runs of the candidate this verdict rests on."""
        return CONFIRMATION_RUNS if self.confirmation else RUNS

    @property
    def level(self) -> float:
        return confirmation.level(self.confirmation) if self.confirmation else LEVEL

    @classmethod
    def of(cls, retime: RetimeConfig, task: TaskConfig, place: int | None = None) -> "Terms":
        """By a session's configuration.

        Args:
            place: among the session's confirmations, which are paired whatever the design of its verdicts.
        """
        return cls(
            target_loss=task.target_loss,
            loss_margin=task.loss_margin,
            design=Design.PAIRED if place else Design(retime.design),
            off_clock_growth=retime.off_clock_growth,
            stop_below=retime.stop_below,
            confirmation=place,
        )

    def loss_p_value(self, loss: LossTest) -> float:
        """The p-value that decides on the loss: as published, or for a score by the stricter test."""
        return loss.adjusted_p_value if self.confirmation else loss.p_value


def on_opinion(opinion: Opinion) -> Decision:
    """Decision on an opinion that rejects."""
    first = opinion.findings[0]
    more = f" (and {len(opinion.findings) - 1} more)" if len(opinion.findings) > 1 else ""
    return Decision(
        outcome=Outcome.REJECTED,
        rejected_by="judge",
        reason=f"rule {first.rule}: {first.message}, {first.place}{more}",
        findings=opinion.findings,
        suspicions=opinion.suspicions,
    )


def decision_of(given: Verdict) -> Decision:
    """What a verdict says, without what it was given on."""
    return Decision.model_validate({name: getattr(given, name) for name in Decision.model_fields})


def refuse_undecided(opinion: Opinion) -> None:
    """
    Raises:
        Unsettled: the static checker cannot tell, and nobody else was asked.
        InfrastructureError: the judge has no opinion.
    """
    if opinion.waits_for_a_look:
        raise Unsettled(opinion.summary)
    if opinion.is_undecided:
        raise InfrastructureError(f"the judge has no opinion ({opinion.summary})")


def with_suspicions(decision: Decision, opinion: Opinion) -> Decision:
    """A decision on a candidate's runs with what the judge could not prove before them."""
    both = tuple(dict.fromkeys((*opinion.suspicions, *decision.suspicions)))
    return decision.model_copy(update={"suspicions": both})


def look(blocks: Sequence[Block], incumbent: Sequence[Trial], terms: Terms) -> EarlyStop | None:
    """Whether the blocks that are over have decided already, so that the rest need not be run.

    Args:
        incumbent: the classic design's ten trials; the paired design has its own in the blocks.
    """
    failed = on_failure(blocks, terms.runs)
    clean = [block for block in blocks if _is_clean(block, terms.design)]
    if failed or not sequential.FIRST_LOOK <= len(clean) < terms.runs:
        return failed
    return _look_at_runs([block.candidate for block in clean], _beside(clean, incumbent, terms.design), terms)


def on_failure(blocks: Sequence[Block], runs: int = RUNS) -> EarlyStop | None:
    """The stop on a run that failed by itself, if there is one; of so many that were to be run."""
    trials = [block.candidate for block in blocks]
    own = [trial.index for trial in trials if failed_by_itself(trial)]
    return EarlyStop(by="loss", seen=tuple(own), chance=0, reason=_own_failure(trials, runs)) if own else None


def _look_at_runs(trials: Sequence[Trial], incumbent: Sequence[Trial], terms: Terms) -> EarlyStop | None:
    seen = tuple(sorted(trial.index for trial in trials))
    times = training_times(trials), training_times(incumbent)
    loss = float(sequential.loss_chance(losses(trials), terms.target_loss, terms.level, terms.runs))
    speed = float(sequential.speed_chance(terms.design, *times, terms.level, terms.runs))
    so_far = f"after {len(trials)} of {terms.runs} runs"
    mean_loss, saved_s = _mean(losses(trials)), _mean(times[1]) - _mean(times[0])
    if loss < terms.stop_below:
        reason = f"{so_far} with mean loss {mean_loss:.4f} a pass below {terms.target_loss:g} is out of reach"
        return EarlyStop(by="loss", seen=seen, chance=loss, reason=reason)
    if speed < terms.stop_below:
        reason = f"{so_far} with {saved_s:.2f} s saved a significant speed-up is out of reach"
        return EarlyStop(by="speed", seen=seen, chance=speed, reason=reason)
    return None


def on_retiming(retiming: Retiming, incumbent: Sequence[Trial], terms: Terms) -> Decision:
    """Decision on a candidate's runs beside the incumbent's.

    Args:
        incumbent: the classic design's ten trials; the paired design has its own in the blocks.

    Raises:
        InfrastructureError: the site failed a trial, so nothing can be said of the candidate.
    """
    in_order = tuple(sorted(retiming.blocks, key=lambda block: block.candidate.index))
    decision = _decide(retiming.model_copy(update={"blocks": in_order}), incumbent, terms)
    void = tuple(block.candidate.index for block in in_order if block.candidate.first_run_void)
    return decision.model_copy(update={"rerun": void, "level": terms.level, "confirmation": terms.confirmation})


def _decide(retiming: Retiming, incumbent: Sequence[Trial], terms: Terms) -> Decision:
    stopped, trials = retiming.stopped, retiming.trials
    if stopped:
        return _on_stop(stopped, trials)
    unclean = _own_failure(trials, terms.runs)
    if unclean:
        return _rejected("loss", unclean)
    beside = _beside(retiming.blocks, incumbent, terms.design)
    _check_site(trials, beside, terms.runs)
    first = None
    if terms.design is Design.PAIRED:
        _check_blocks(retiming.blocks)
        first = _candidate_first(retiming.blocks)
    decision = _on_runs(trials, beside, first, terms)
    if decision.speed is None:
        return decision
    off_clock = off_clock_test(
        _off_clock(trials), _off_clock(beside), first, decision.speed.saved_s, terms.off_clock_growth
    )
    carry_over = _carry_over(retiming.blocks) if terms.design is Design.PAIRED else None
    return decision.model_copy(update={"off_clock": off_clock, "carry_over": carry_over})


def _on_stop(stopped: EarlyStop, trials: Sequence[Trial]) -> Decision:
    spoilt = [trial for trial in trials if trial.index in stopped.seen and trial.outcome in NOT_RUN]
    if spoilt:
        raise InfrastructureError(f"it was stopped by runs that the site failed: {spoilt[0].note}")
    return _rejected(stopped.by, stopped.reason).model_copy(update={"stopped": stopped})


def failed_by_itself(trial: Trial) -> bool:
    """Whether a run failed, and not for its site."""
    return trial.outcome is not TrialOutcome.CLEAN and trial.outcome not in NOT_RUN


def _own_failure(trials: Sequence[Trial], runs: int) -> str:
    """What a candidate failed by itself, whatever became of its other runs; empty if nothing."""
    own = [trial for trial in trials if failed_by_itself(trial)]
    if not own:
        return ""
    clean = sum(trial.outcome is TrialOutcome.CLEAN for trial in trials)
    return f"{clean} clean runs of {runs}: trial {own[0].index} {own[0].outcome}, {own[0].note}"


def _is_clean(block: Block, design: Design) -> bool:
    trials = [block.candidate, block.incumbent] if design is Design.PAIRED else [block.candidate]
    return all(trial is not None and trial.outcome is TrialOutcome.CLEAN for trial in trials)


def _beside(blocks: Sequence[Block], incumbent: Sequence[Trial], design: Design) -> Sequence[Trial]:
    """The incumbent's trials that a candidate's are compared with, in the same order where they are paired."""
    return [block.incumbent for block in blocks if block.incumbent] if design is Design.PAIRED else incumbent


def _check_blocks(blocks: Sequence[Block]) -> None:
    """Each with its two runs on the same node, half of them begun by the candidate: what the node adds cancels."""
    for block in blocks:
        ours, theirs = block.candidate, block.incumbent
        if theirs is None or (ours.index, ours.node) != (theirs.index, theirs.node):
            raise InfrastructureError(f"the incumbent did not run beside trial {ours.index}, on the same node")
    if sum(_candidate_first(blocks)) != len(blocks) // 2:
        raise InfrastructureError("the candidate did not begin half of the blocks")


def _candidate_first(blocks: Sequence[Block]) -> list[bool]:
    """Which blocks the candidate began."""
    pairs = [(block.candidate.started, block.incumbent.started) for block in blocks if block.incumbent]
    return [ours is not None and theirs is not None and ours < theirs for ours, theirs in pairs]


def _check_site(trials: Sequence[Trial], incumbent: Sequence[Trial], runs: int) -> None:
    """So many trials of each, each once, all of them clean and of the same bytes, under the same conditions."""
    _check_all_ran([*trials, *incumbent])
    for arm in (trials, incumbent):
        indices = [trial.index for trial in arm]
        if sorted(indices) != list(range(runs)) or len({trial.seal for trial in arm}) != 1:
            raise InfrastructureError(f"there are not {runs} trials of one seal, but trials {indices}")
    _check_conditions(trials, incumbent)
    try:
        check(losses(incumbent), "incumbent losses", runs)
        check(training_times(incumbent), "incumbent times", runs)
    except Untestable as problem:
        raise InfrastructureError(str(problem)) from None


def _check_all_ran(trials: Sequence[Trial]) -> None:
    unrun = [trial for trial in trials if trial.outcome is TrialOutcome.STOPPED]
    failed = [trial for trial in trials if trial.outcome not in (TrialOutcome.CLEAN, TrialOutcome.STOPPED)] or unrun
    if failed:
        problem = f"{len(failed)} of {len(trials)} trials failed for reasons of the site: {failed[0].note}"
        raise InfrastructureError(problem)


def _check_conditions(trials: Sequence[Trial], incumbent: Sequence[Trial]) -> None:
    if len({trial.image_sha256 for trial in (*trials, *incumbent)}) > 1:
        raise InfrastructureError("the container's image is not the one that the incumbent was timed in")
    if len({_is_warm(trial) for trial in (*trials, *incumbent)}) > 1:
        raise InfrastructureError("some runs began with what a decoy run had compiled, others with nothing")
    ours, theirs = (
        sorted({f"{gpu.name}, driver {gpu.driver}" for trial in arm for gpu in trial.gpus})
        for arm in (trials, incumbent)
    )
    if ours != theirs:
        raise InfrastructureError(f"the candidate ran on {ours}, the incumbent on {theirs}")


def _is_warm(trial: Trial) -> bool:
    return trial.caches is not None and trial.caches.sha256 is not None


def _on_runs(trials: Sequence[Trial], beside: Sequence[Trial], first: Sequence[bool] | None, terms: Terms) -> Decision:
    try:
        loss = loss_test(losses(trials), terms.target_loss, terms.runs)
        check_spread(losses(trials), losses(beside))
    except Untestable as problem:
        return _rejected("loss", str(problem))
    try:
        speed = speed_test(terms.design, training_times(trials), training_times(beside), first, terms.runs)
    except Untestable as problem:
        return _rejected("speed", str(problem), loss)
    return _on_tests(loss, speed, terms)


def _on_tests(loss: LossTest, speed: SpeedTest, terms: Terms) -> Decision:
    saved = f"{speed.saved_s:.2f} s saved [{speed.saved_low_s:.2f}, {speed.saved_high_s:.2f}]"
    p_value = terms.loss_p_value(loss)
    if not p_value < terms.level:
        where = "below {:g}, but not significantly" if loss.mean < loss.target else "not below {:g}"
        below = where.format(loss.target)
        reason = f"mean loss {loss.mean:.4f} is {below} (p = {p_value:.2g}, level {terms.level:.2g})"
        return _rejected("loss", reason, loss, speed)
    if not speed.p_value < terms.level:
        reason = f"{saved} are not significant (p = {speed.p_value:.2g}, level {terms.level:.2g})"
        return _rejected("speed", reason, loss, speed)
    reason = (
        f"mean loss {loss.mean:.4f} below {loss.target:g} (p = {p_value:.2g}), {saved} "
        f"(p = {speed.p_value:.2g}, level {terms.level:.2g})"
    )
    return Decision(outcome=Outcome.ACCEPTED, reason=reason, loss=loss, speed=speed)


def _rejected(
    by: Literal["loss", "speed"], reason: str, loss: LossTest | None = None, speed: SpeedTest | None = None
) -> Decision:
    return Decision(outcome=Outcome.REJECTED, rejected_by=by, reason=reason, loss=loss, speed=speed)


def _carry_over(blocks: Sequence[Block]) -> CarryOver | None:
    saved: dict[bool, list[float]] = {True: [], False: []}
    for block, first in zip(blocks, _candidate_first(blocks), strict=True):
        ours, theirs = block.candidate.result, block.incumbent.result if block.incumbent else None
        if ours and theirs:
            saved[first].append(theirs.train_time_s - ours.train_time_s)
    return carry_over_test(saved[True], saved[False])


def losses(trials: Sequence[Trial]) -> list[float]:
    """Final validation losses (nats a token) of the trials that have a result; of two draws the higher."""
    draws = [(trial.result.val_loss, trial.first_run_loss) for trial in trials if trial.result]
    return [loss if first is None or not first > loss else first for loss, first in draws]


def training_times(trials: Sequence[Trial]) -> list[float]:
    """Seconds of training time of the trials that have a result."""
    return [trial.result.train_time_s for trial in trials if trial.result]


def _off_clock(trials: Sequence[Trial]) -> list[float]:
    return [trial.off_clock_s for trial in trials if trial.off_clock_s is not None]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
