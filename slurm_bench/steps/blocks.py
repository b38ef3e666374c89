"""What an array's tasks left behind: records of the runner and the scheduler's word, to blocks of trials."""

from collections.abc import Sequence
from pathlib import Path

from slurm_bench.effects import store
from slurm_bench.pure.sacct import latest_states
from slurm_bench.words import paths
from slurm_bench.words.accounting import Attempt, JobState
from slurm_bench.words.trials import Arm, Block, EarlyStop, Trial, TrialOutcome, TrialPlan

_OWN_ENDS = (JobState.COMPLETED, JobState.FAILED, JobState.TIMEOUT, JobState.OUT_OF_MEMORY)
"""How a task ends by what runs in it, not by its site."""


def collect(plan: TrialPlan, jobs: Path, attempts: Sequence[Attempt], stopped: EarlyStop | None) -> list[Block]:
    """A block for each task of an array that is over.

    A task has trials that count if it was attempted once and came to its own end, good or bad, with records: its
    runner writes one before a program starts. What the scheduler or the site ended is void, whatever it wrote; or
    stopped, if runs before it had decided and it was cancelled.

    Args:
        jobs: folder of the tasks' output, for the notes of void trials.
    """
    blocks = []
    for task, index in enumerate(plan.indices):
        of_task = [row for row in attempts if row.task == task]
        trials = [_trial(plan, arm, jobs, index, of_task) for arm in plan.arms]
        if stopped and index not in stopped.seen:
            trials = [_cancelled(trial) for trial in trials]
        blocks.append(_block(trials))
    return blocks


def _cancelled(trial: Trial) -> Trial:
    """What ended before it was cancelled stays as it ended."""
    if trial.outcome is not TrialOutcome.INFRASTRUCTURE:
        return trial
    return trial.model_copy(update={"outcome": TrialOutcome.STOPPED, "note": "the runs before it decided"})


def recorded(plan: TrialPlan, index: int) -> Block | None:
    """A block by its runner's records alone; None while it runs, or if it left none."""
    finals = [final_record(arm, index) for arm in plan.arms]
    if not all(finals) and not any(final and not is_clean(final) for final in finals):
        return None
    pairs = zip(plan.arms, finals, strict=True)
    return _block([final or _left_out(plan, arm, index) for arm, final in pairs])


def _block(trials: Sequence[Trial]) -> Block:
    return Block(candidate=trials[0], incumbent=trials[1] if len(trials) > 1 else None)


def _trial(plan: TrialPlan, arm: Arm, jobs: Path, index: int, attempts: Sequence[Attempt]) -> Trial:
    """A trial by its record and by what the scheduler says of its task."""
    if not attempts:
        return _void(plan, arm, index, f"the task of trial {index} was never run")
    last = attempts[-1]
    state = latest_states(attempts)[last.task]
    if len(attempts) > 1:
        return _void(plan, arm, index, f"the task of trial {index} ran {len(attempts)} times", last)
    final = final_record(arm, index)
    if final and state in _OWN_ENDS:
        return final
    how = f"{state} (exit {last.exit_code})"
    begun = store.read_if_there(_record(arm, index), Trial)
    if begun and state in _OWN_ENDS and state is not JobState.COMPLETED:
        return begun.model_copy(update={"outcome": TrialOutcome.CRASHED, "note": f"its runner was ended: {how}"})
    if not begun and state in _OWN_ENDS and any(_record(other, index).exists() for other in plan.arms):
        return _left_out(plan, arm, index)
    log_file = jobs / f"{last.job_id}_{last.task}_0_log.err"
    return _void(plan, arm, index, f"the task of trial {index} ended {how} without a result: {log_file}", last)


def _record(arm: Arm, index: int) -> Path:
    return paths.trial_record(Path(arm.trials_dir), index)


def final_record(arm: Arm, index: int) -> Trial | None:
    record = store.read_if_there(_record(arm, index), Trial)
    return record if record and record.outcome is not TrialOutcome.BEGUN else None


def is_clean(trial: Trial | None) -> bool:
    """Whether nothing is wrong with a run, or there was none to be."""
    return trial is None or trial.outcome is TrialOutcome.CLEAN


def is_void(block: Block) -> bool:
    """Whether a block says nothing: the site failed the candidate's run, or the incumbent's failed in any way."""
    outcome = block.candidate.outcome
    blameless = outcome in (TrialOutcome.CLEAN, TrialOutcome.STOPPED)
    return outcome is TrialOutcome.INFRASTRUCTURE or (blameless and not is_clean(block.incumbent))


def why_void(block: Block) -> str:
    """What spoiled a void block."""
    if block.candidate.outcome is TrialOutcome.INFRASTRUCTURE or block.incumbent is None:
        return block.candidate.note
    return f"the incumbent's run: {block.incumbent.note}"


def after_void(before: Block, block: Block, why: str) -> Block:
    """A block that was run once more, with the reason on its record, and the loss of a first run that was clean."""
    first = before.candidate.result if is_clean(before.candidate) else None
    seen = {"first_run_void": why, "first_run_loss": first.val_loss if first else None}
    return block.model_copy(update={"candidate": block.candidate.model_copy(update=seen)})


def _left_out(plan: TrialPlan, arm: Arm, index: int) -> Trial:
    return _unrun(plan, arm, index, TrialOutcome.STOPPED, "left out: the other run of its block had failed")


def _void(plan: TrialPlan, arm: Arm, index: int, note: str, attempt: Attempt | None = None) -> Trial:
    void = _unrun(plan, arm, index, TrialOutcome.INFRASTRUCTURE, note)
    if attempt is None:
        return void
    job = f"{attempt.job_id}_{attempt.task}"
    seen = {"started": attempt.started, "ended": attempt.ended, "node": attempt.node, "job": job}
    return void.model_copy(update=seen)


def _unrun(plan: TrialPlan, arm: Arm, index: int, outcome: TrialOutcome, note: str) -> Trial:
    return Trial(index=index, outcome=outcome, note=note, seal=arm.seal.sha256, image_sha256=plan.image_sha256)
