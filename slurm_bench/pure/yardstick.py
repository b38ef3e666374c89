"""The yardstick of a session: what humans saved from its starting record on, and percent of that.

The seconds between two records come from up to three places, the best of which counts (`Source`). Not all records keep
the rules that an agent must keep, so that there is more than one yardstick, by named sets of rules
(human_baselines/README.md).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from enum import StrEnum

from slurm_bench.pure.human import HumanRecord
from slurm_bench.pure.score import Saved
from slurm_bench.words.config import RULE_SET_NAMES
from slurm_bench.words.trials import SpeedTest


class Source(StrEnum):
    """Where the seconds between two records are known from, the best first."""

    HERE = "timed here"
    """Both were timed by `command=retime` in one image, on as many GPUs of one type."""
    PUBLISHED = "published"
    """Both were retimed by the original benchmark, on one set of machines."""
    LEADERBOARD = "leaderboard"
    """Upstream's leaderboard, which compares figures of different machines and days."""


@dataclass(frozen=True)
class HumanStep:
    """A human record, against the one that the sessions started from."""

    name: str
    date: date
    saved_s: float
    source: Source = Source.PUBLISHED
    made_by: str = "people"


@dataclass(frozen=True)
class Yardstick:
    """What humans saved from a starting record on, by the records that keep a rule set."""

    rule_set: str
    start: HumanRecord
    steps: tuple[HumanStep, ...]
    """The later records that saved something, oldest first; there is at least one."""
    whole: HumanStep
    """The one of them whose seconds are 100 %."""


_Keeps = Callable[[HumanRecord, HumanRecord], bool]
_KEEPS: tuple[_Keeps, ...] = (
    lambda record, start: True,
    lambda record, start: record.made_by == "people",
    lambda record, start: record.objective == start.objective,
    lambda record, start: (record.objective, record.warm_up) == (start.objective, start.warm_up),
)
RULE_SETS: Mapping[str, _Keeps] = dict(zip(RULE_SET_NAMES, _KEEPS, strict=True))
"""By name, whether a record counts for sessions that begin with a starting record."""


def yardsticks(
    records: Sequence[HumanRecord], start: str, until: str | None = None, here: Mapping[str, float] | None = None
) -> tuple[Yardstick, ...]:
    """Return what humans saved from a starting record on, under each rule set.

    Args:
        records: oldest first.
        start: name of the record that the sessions started from.
        until: name of the last record that counts; None, or one that is not later than the start, is the newest.
        here: by record, seconds that it saved against the start when both were timed here.

    Returns:
        Nothing where `start` is no human record; no yardstick where nothing was saved after it.
    """
    seconds, names = on_one_scale(records), [record.name for record in records]
    if start not in seconds:
        return ()
    first, last = names.index(start), names.index(until) if until in names else 0
    later = records[first + 1 : last + 1 if last > first else None]
    made = (_yardstick(rule_set, records[first], later, seconds, here or {}) for rule_set in RULE_SETS)
    return tuple(each for each in made if each)


def on_one_scale(records: Iterable[HumanRecord]) -> dict[str, float]:
    """Return the seconds that each record saved against the first of all, by its name.

    A record that was not retimed saved what the last one before it did that was, and in addition what it is faster
    than that one by the leaderboard. One with none before it is left out.
    """
    found: dict[str, float] = {}
    last_s, last_leaderboard_s = None, 0.0
    for record in records:
        if record.saved_s is not None:
            last_s, last_leaderboard_s = record.saved_s, record.leaderboard_s
        if last_s is not None:
            found[record.name] = last_s + last_leaderboard_s - record.leaderboard_s
    return found


def _yardstick(
    rule_set: str,
    start: HumanRecord,
    later: Iterable[HumanRecord],
    seconds: Mapping[str, float],
    here: Mapping[str, float],
) -> Yardstick | None:
    keeps = RULE_SETS[rule_set]
    compared = (_step(record, start, seconds, here) for record in later if keeps(record, start))
    steps = tuple(step for step in compared if step.saved_s > 0)
    if not steps:
        return None
    # The best on the one scale that all are on: seconds of other sources are no measure of each other.
    return Yardstick(rule_set, start, steps, max(steps, key=lambda step: seconds[step.name]))


def _step(
    record: HumanRecord, start: HumanRecord, seconds: Mapping[str, float], here: Mapping[str, float]
) -> HumanStep:
    saved_s, source = seconds[record.name] - seconds[start.name], Source.PUBLISHED
    if record.name in here:
        saved_s, source = here[record.name], Source.HERE
    elif None in (record.saved_s, start.saved_s):
        source = Source.LEADERBOARD
    return HumanStep(record.name, record.date, saved_s, source, record.made_by)


# Timed here.


@dataclass(frozen=True)
class Conditions:
    """What has to be the same for two programs' times to be compared."""

    image: str | None
    """Its SHA-256; None without a container."""
    gpu_type: str
    gpus: int


@dataclass(frozen=True)
class TimedRecord:
    """A human record's runs on this site, outside any session."""

    record: str
    array: str
    """Records of one array took turns on the same nodes."""
    conditions: Conditions
    mean_s: float
    """Of the training times."""


def saved_here(timed: Sequence[TimedRecord], start: str, gpu_type: str, gpus: int) -> dict[str, float]:
    """Return the seconds that records saved against a starting one, where both were timed under the same conditions.

    Two of one array come before two of different times.
    """
    pairs = [
        (own, other)
        for own in timed
        for other in timed
        if own.record == start != other.record
        and own.conditions == other.conditions
        and (own.conditions.gpu_type, own.conditions.gpus) == (gpu_type, gpus)
    ]
    pairs.sort(key=lambda pair: pair[0].array == pair[1].array)
    return {other.record: own.mean_s - other.mean_s for own, other in pairs}


# Percent.


@dataclass(frozen=True)
class Progress:
    """Percent of human progress under one rule set, with the ends of its interval."""

    rule_set: str
    human_saved_s: float
    source: Source
    """Of the seconds that humans saved."""
    percent: float
    low: float
    high: float


def progress(yardsticks: Iterable[Yardstick], speed: SpeedTest | Saved) -> tuple[Progress, ...]:
    """Return a speed-up as percent of what humans saved from the same starting record on, under each rule set.

    The interval is that of the seconds saved. What the humans saved is one figure without one.
    """
    return tuple(
        Progress(
            rule_set=each.rule_set,
            human_saved_s=each.whole.saved_s,
            source=each.whole.source,
            percent=100 * speed.saved_s / each.whole.saved_s,
            low=100 * speed.saved_low_s / each.whole.saved_s,
            high=100 * speed.saved_high_s / each.whole.saved_s,
        )
        for each in yardsticks
    )


def describe(share: Progress) -> str:
    """One line for people."""
    percent = f"{share.percent:.1f} % [{share.low:.1f}, {share.high:.1f}] of human progress"
    return f"{percent}, {measure_of(share)}"


def measure_of(share: Progress) -> str:
    """Say what a percentage is of."""
    return f"{share.rule_set} ({share.human_saved_s:.1f} s, {share.source})"


def describe_yardstick(yardstick: Yardstick) -> str:
    """Say in sentences what 100 % is, and by which sources the records stand."""
    start, whole = yardstick.start, yardstick.whole
    counts = [(sum(step.source is source for step in yardstick.steps), source) for source in Source]
    by_source = ", ".join(f"{count} {source}" for count, source in counts if count)
    return (
        f"100 % is {whole.saved_s:.1f} s ({whole.source}), from {start.name} of {start.date} to {whole.name} of "
        f"{whole.date}, {yardstick.rule_set}. Where the seconds of the {len(yardstick.steps)} human records are from: "
        f"{by_source}."
    )
