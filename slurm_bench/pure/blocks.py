"""What an array's tasks left behind: records of the runner and the scheduler's word, to blocks of trials."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from slurm_bench.pure.sacct import latest_states
from slurm_bench.pure.verdict import failed_by_itself
from slurm_bench.words.accounting import Attempt, JobState
from slurm_bench.words.trials import RECORD_LOST, Arm, Block, EarlyStop, Trial, TrialOutcome, TrialPlan

_OWN_ENDS = (JobState.COMPLETED, JobState.FAILED, JobState.TIMEOUT, JobState.OUT_OF_MEMORY)
"""How a task ends by what runs in it, not by its site."""

_MOST_RERUNS = 0.5
"""Where the site voids a larger share of an array's blocks, it is sick, and nothing is run again."""


@dataclass(frozen=True)
class Left:
    """What an array's tasks left behind."""

    record: Callable[[Arm, int], Trial | None]
    """What the runner of an arm has written down of a trial, by its index."""
    jobs: str
    """Folder of the tasks' output, for the notes of void trials."""


def collect(plan: TrialPlan, left: Left, attempts: Sequence[Attempt], stopped: EarlyStop | None) -> list[Block]:
    """A block for each task of an array that is over.

    A task has trials that count if it was attempted once and came to its own end, good or bad, with records: its
    runner writes one before a program starts. What the scheduler or the site ended is void, whatever it wrote; or
    stopped, if runs before it had decided and it was cancelled.
    """
    blocks = []
    for task, index in enumerate(plan.indices):
        of_task = [row for row in attempts if row.task == task]
        trials = [_trial(plan, arm, left, index, of_task) for arm in plan.arms]
        if stopped and index not in stopped.seen:
            trials = [_cancelled(trial) for trial in trials]
        blocks.append(_block(trials))
    return blocks


def _cancelled(trial: Trial) -> Trial:
    """What ended before it was cancelled stays as it ended."""
    if trial.outcome is not TrialOutcome.INFRASTRUCTURE:
        return trial
    return trial.model_copy(update={"outcome": TrialOutcome.STOPPED, "note": "the runs before it decided"})


def recorded(plan: TrialPlan, left: Left, index: int) -> Block | None:
    """A block by its runner's records alone; None while it runs, or if it left none."""
    finals = [final(left.record(arm, index)) for arm in plan.arms]
    if not all(finals) and not any(each and not is_clean(each) for each in finals):
        return None
    pairs = zip(plan.arms, finals, strict=True)
    return _block([each or _left_out(plan, arm, index) for arm, each in pairs])


def _block(trials: Sequence[Trial]) -> Block:
    return Block(candidate=trials[0], incumbent=trials[1] if len(trials) > 1 else None)


def _trial(plan: TrialPlan, arm: Arm, left: Left, index: int, attempts: Sequence[Attempt]) -> Trial:
    """A trial by its record and by what the scheduler says of its task."""
    if not attempts:
        return _void(plan, arm, index, f"the task of trial {index} was never run")
    last = attempts[-1]
    state = latest_states(attempts)[last.task]
    if len(attempts) > 1:
        return _void(plan, arm, index, f"the task of trial {index} ran {len(attempts)} times", last)
    begun = left.record(arm, index)
    ended = final(begun)
    if ended and state in _OWN_ENDS:
        return ended
    how = f"{state} (exit {last.exit_code})"
    by_itself = state in _OWN_ENDS and last.exit_code != RECORD_LOST
    if begun and by_itself and state is not JobState.COMPLETED:
        return begun.model_copy(update={"outcome": TrialOutcome.CRASHED, "note": f"its runner was ended: {how}"})
    if not begun and by_itself and any(left.record(other, index) for other in plan.arms):
        return _left_out(plan, arm, index)
    log_file = f"{left.jobs}/{last.job_id}_{last.task}_0_log.err"
    return _void(plan, arm, index, f"the task of trial {index} ended {how} without a result: {log_file}", last)


def final(record: Trial | None) -> Trial | None:
    """What a runner wrote at a trial's end, if it did."""
    return record if record and record.outcome is not TrialOutcome.BEGUN else None


def is_clean(trial: Trial | None) -> bool:
    """Whether nothing is wrong with a run, or there was none to be."""
    return trial is None or trial.outcome in (TrialOutcome.CLEAN, TrialOutcome.COMPILED)


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


def to_run_again(blocks: Sequence[Block], stopped: EarlyStop | None) -> dict[int, str]:
    """What spoiled the void blocks of an array, by index, where they are run once more; empty where nothing is."""
    void = {block.candidate.index: why_void(block) for block in blocks if is_void(block)}
    # One failure of the candidate's own decides already.
    own = [block for block in blocks if failed_by_itself(block.candidate)]
    return void if len(void) <= math.ceil(_MOST_RERUNS * len(blocks)) and not own and not stopped else {}


def with_reruns(blocks: Sequence[Block], again: Sequence[Block], why: Mapping[int, str]) -> list[Block]:
    """An array's blocks, with those that were run once more in the place of their first runs."""
    reruns = {block.candidate.index: block for block in again}
    return [
        after_void(block, reruns[index], why[index]) if (index := block.candidate.index) in reruns else block
        for block in blocks
    ]


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
