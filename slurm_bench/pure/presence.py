"""The runs that a bundle must have: what was left out of it confirms nothing."""

from collections.abc import Iterator, Sequence

from slurm_bench.pure.differences import differences
from slurm_bench.pure.evidence import Array, Exhibit
from slurm_bench.pure.verdict import NOT_RUN
from slurm_bench.words.trials import Block, Retiming, Trial, TrialOutcome


def was_queued(exhibit: Exhibit) -> bool:
    """Whether there was an array, whose plan must then be there."""
    return bool(exhibit.collected or exhibit.stopped or exhibit.stamp.confirmation is not None)


def wrong_in_runs(arrays: Sequence[Array], collected: Retiming) -> Iterator[str]:
    """Of the runs that were collected those that their runners did not write down so, or that are not there.

    Needs no rows of the scheduler: by those only fewer runs count than by the runners' records.
    """
    for block in collected.blocks:
        again = int(bool(block.candidate.first_run_void))
        if again >= len(arrays):
            yield f"trial {block.candidate.index}: its second run is not there"
        else:
            yield from _wrong_in_block(arrays[again], block)
            yield from _wrong_first_loss(arrays[0], block.candidate)


def _wrong_in_block(array: Array, block: Block) -> Iterator[str]:
    for place, stored in enumerate(filter(None, (block.candidate, block.incumbent))):
        if stored.outcome in NOT_RUN and stored.result is None:
            continue
        record = array.records.get((place, stored.index))
        arm = "the incumbent's trial" if place else "trial"
        if record is None:
            yield f"{arm} {stored.index}: no record of it"
        else:
            yield from (f"{arm} {stored.index}: {line}" for line in _wrong_in_trial(stored, record))


def _wrong_in_trial(stored: Trial, record: Trial) -> list[str]:
    """What differs; by the scheduler's rows a run may have ended otherwise than its runner could say."""
    said: dict[str, object] = {each: getattr(stored, each) for each in ("first_run_void", "first_run_loss")}
    runner_ended = record.outcome is TrialOutcome.BEGUN and stored.outcome is TrialOutcome.CRASHED
    if runner_ended or stored.outcome in NOT_RUN:
        said |= {"outcome": stored.outcome, "note": stored.note}
    return differences(stored, record.model_copy(update=said))


def _wrong_first_loss(first: Array, stored: Trial) -> Iterator[str]:
    """The first run of a trial that was run once more, if it counts."""
    if stored.first_run_loss is None:
        return
    record = first.records.get((0, stored.index))
    if record is None or record.result is None or record.result.val_loss != stored.first_run_loss:
        yield f"trial {stored.index}: no record of its first run's loss"
