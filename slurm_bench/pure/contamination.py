"""What a model may remember: which records of a yardstick were public before its stated training cut-off."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date

from slurm_bench.pure.yardstick import Yardstick


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
    yardstick: Yardstick | None, models: Iterable[tuple[str, str]], cutoffs: Mapping[str, Cutoff]
) -> tuple[str, ...]:
    """Return sentences on what each model may remember; what is not known is said, too.

    Args:
        yardstick: of all records.
        models: the name of an agent and that of its model, which is empty where none is known.
    """
    if yardstick is None:
        return (
            "Contamination: no human record that is known here came after the start. What a model may remember of the "
            "start itself is not known.",
        )
    start, last = yardstick.start, yardstick.steps[-1]
    dates = f"{start.name}, is public since {start.date}, the yardstick's last record, {last.name}, since {last.date}"
    told = (_line(yardstick, agent, model, cutoffs.get(model)) for agent, model in models)
    return (f"Contamination: the start, {dates}.", *dict.fromkeys(told))


def _line(yardstick: Yardstick, agent: str, model: str, cutoff: Cutoff | None) -> str:
    count = len(yardstick.steps)
    if cutoff is None:
        who = f"{model}: its" if model else f"{agent}: no model is named, so its"
        return f"{who} training cut-off is not known, nor how many of the {count} records were public before it."
    public = sum(cutoff.covers(step.date) for step in yardstick.steps)
    start = "was too" if cutoff.covers(yardstick.start.date) else "was not"
    may_outlast = ", which its training data may outlast" if cutoff.of == "knowledge" else ""
    return (
        f"{model}: {public} of {count} records of the yardstick were public before the model's stated training "
        f"cut-off; the start {start}. (Stated: {cutoff.of} until {cutoff.until}{may_outlast}; {cutoff.source}, seen "
        f"on {cutoff.seen}.)"
    )
