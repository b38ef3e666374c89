"""What a model may remember: which records of a yardstick were public before its stated training cut-off."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from slurm_bench.pure.human import HumanRecord
from slurm_bench.pure.yardstick import HumanStep


@dataclass(frozen=True)
class Cutoff:
    """What is stated of a model."""

    model: str
    until: str
    """A month or a day, YYYY-MM or YYYY-MM-DD."""
    of: str
    """What reaches until then: `training data`, or `knowledge`, which training data may outlast."""
    source: str
    seen: str
    """The day on which somebody looked."""

    def covers(self, day: date) -> bool:
        """Return whether a day is before the cut-off; the cut-off's own day, or whole month, is."""
        return day.isoformat()[: len(self.until)] <= self.until


def lines(
    start: HumanRecord | None,
    later: Sequence[HumanStep],
    models: Iterable[tuple[str, str]],
    cutoffs: Mapping[str, Cutoff],
) -> tuple[str, ...]:
    """Return sentences on what each model may remember; what is not known is said, too.

    Args:
        start: that the sessions began with; None where it is no human record.
        later: the yardstick's records, oldest first.
        models: the name of an agent and that of its model, which is empty where none is known.
    """
    if start is None:
        return ("Contamination: the start is no human record, and what a model may remember of it is not known.",)
    last = f"the yardstick's last record, {later[-1].name}, since {later[-1].date}" if later else "none later is known"
    told = (_line(start, later, agent, model, cutoffs.get(model)) for agent, model in models)
    return (f"Contamination: the start, {start.name}, is public since {start.date}, {last}.", *dict.fromkeys(told))


def _line(start: HumanRecord, later: Sequence[HumanStep], agent: str, model: str, cutoff: Cutoff | None) -> str:
    if cutoff is None:
        who = f"{model}: its" if model else f"{agent}: no model is named, so its"
        counted = f", nor how many of the {len(later)} records of the yardstick were public before it" if later else ""
        return f"{who} training cut-off is not known{counted}."
    public = sum(cutoff.covers(step.date) for step in later)
    before = "public before the model's stated training cut-off"
    counted = f"{public} of {len(later)} records of the yardstick were {before}; " if later else ""
    was = "was" if cutoff.covers(start.date) else "was not"
    may_outlast = ", which its training data may outlast" if cutoff.of == "knowledge" else ""
    return (
        f"{model}: {counted}the start {was}{'' if later else f' {before}'}. "
        f"(Stated: {cutoff.of} until {cutoff.until}{may_outlast}; {cutoff.source}, seen on {cutoff.seen}.)"
    )
