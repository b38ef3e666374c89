"""Percent of human progress: seconds saved as a share of what the human records saved, by named sets of rules.

The records do not all keep the rules that agents must keep, so that there is more than one denominator
(human_baselines/README.md).
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from slurm_bench.words.trials import SpeedTest


@dataclass(frozen=True)
class HumanRecord:
    name: str
    saved_s: float | None
    """Seconds faster than the first record, on one set of machines; None where it was not timed there."""
    keeps_warm_up: bool
    plain_next_token: bool


@dataclass(frozen=True)
class Progress:
    """Percent of human progress under one rule set, with the ends of its interval."""

    rule_set: str
    human_saved_s: float
    percent: float
    low: float
    high: float


RULE_SETS: dict[str, Callable[[HumanRecord], bool]] = {
    "all records": lambda record: True,
    "before multi-token training": lambda record: record.plain_next_token,
    "records that keep every rule": lambda record: record.plain_next_token and record.keeps_warm_up,
}


def progress(records: Iterable[HumanRecord], start: str, speed: SpeedTest) -> tuple[Progress, ...]:
    """A speed-up as percent of what humans saved from the same starting record on, under each rule set.

    The interval is that of the seconds saved. What the humans saved is one published figure without one.

    Args:
        start: name of the record that the session started from.

    Returns:
        Nothing where `start` is no human record that was timed, or where humans saved nothing after it.
    """
    timed = {record.name: record for record in records if record.saved_s is not None}
    if start not in timed:
        return ()
    saved = {
        rule_set: max((record.saved_s or 0 for record in timed.values() if keeps(record)), default=0)
        - (timed[start].saved_s or 0)
        for rule_set, keeps in RULE_SETS.items()
    }
    return tuple(
        Progress(
            rule_set=rule_set,
            human_saved_s=human_s,
            percent=100 * speed.saved_s / human_s,
            low=100 * speed.saved_low_s / human_s,
            high=100 * speed.saved_high_s / human_s,
        )
        for rule_set, human_s in saved.items()
        if human_s > 0
    )


def describe(share: Progress) -> str:
    """One line for people."""
    percent = f"{share.percent:.1f} % [{share.low:.1f}, {share.high:.1f}] of human progress"
    return f"{percent}, {share.rule_set} ({share.human_saved_s:.1f} s)"
