"""What the human records did: percent of human progress, their progress over time, the noise of their runs.

The records do not all keep the rules that agents must keep, so that there is more than one denominator, by named sets
of rules (human_baselines/README.md).
"""

import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date

from slurm_bench.pure.score import Saved
from slurm_bench.words.config import RULE_SET_NAMES
from slurm_bench.words.trials import SpeedTest


@dataclass(frozen=True)
class HumanRecord:
    name: str
    date: date
    """On upstream's leaderboard."""
    saved_s: float | None
    """Seconds faster than the first record, on one set of machines; None where it was not timed there."""
    keeps_warm_up: bool
    plain_next_token: bool


@dataclass(frozen=True)
class HumanRun:
    """One run of a record, from upstream's logs."""

    record: str
    loss: float
    time_s: float
    step_ms: float
    steps: int


@dataclass(frozen=True)
class Progress:
    """Percent of human progress under one rule set, with the ends of its interval."""

    rule_set: str
    human_saved_s: float
    percent: float
    low: float
    high: float


_KEEPS: tuple[Callable[[HumanRecord], bool], ...] = (
    lambda record: True,
    lambda record: record.plain_next_token,
    lambda record: record.plain_next_token and record.keeps_warm_up,
)
RULE_SETS = dict(zip(RULE_SET_NAMES, _KEEPS, strict=True))


def progress(records: Iterable[HumanRecord], start: str, speed: SpeedTest | Saved) -> tuple[Progress, ...]:
    """Return a speed-up as percent of what humans saved from the same starting record on, under each rule set.

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


# Progress over time.


@dataclass(frozen=True)
class Milestone:
    """A record on the day it was set."""

    date: date
    name: str
    saved_s: float
    best_s: float
    """The most that any record had saved until then: human progress."""


def trajectory(records: Iterable[HumanRecord], rule_set: str) -> tuple[Milestone, ...]:
    """The timed records that keep a rule set, oldest first; seconds saved are against the first record of all."""
    keeps = RULE_SETS[rule_set]
    found: list[Milestone] = []
    for record in sorted(records, key=lambda record: record.date):
        if record.saved_s is not None and keeps(record):
            best_s = max([record.saved_s, *(earlier.best_s for earlier in found[-1:])])
            found.append(Milestone(record.date, record.name, record.saved_s, best_s))
    return tuple(found)


# Noise.

_LEAST_RUNS = 3


@dataclass(frozen=True)
class Noise:
    """Of one run: sample standard deviations over several."""

    loss: float
    time: float
    """As a share of the mean training time."""


@dataclass(frozen=True)
class NoiseRange:
    """The noise of several programs; loss and time each by themselves."""

    least: Noise
    median: Noise
    most: Noise


def noise(losses: Sequence[float], times: Sequence[float]) -> Noise:
    """
    Args:
        losses, times: of at least two runs, the times in any unit.
    """
    return Noise(statistics.stdev(losses), statistics.stdev(times) / statistics.mean(times))


def noises(runs: Iterable[HumanRun]) -> dict[str, Noise]:
    """By record, of those with at least three runs."""
    grouped = defaultdict(list)
    for run in runs:
        grouped[run.record].append(run)
    return {
        record: noise([run.loss for run in group], [run.time_s for run in group])
        for record, group in grouped.items()
        if len(group) >= _LEAST_RUNS
    }


def noise_range(found: Iterable[Noise]) -> NoiseRange:
    losses, times = zip(*((each.loss, each.time) for each in found), strict=True)
    least, median, most = (Noise(of(losses), of(times)) for of in (min, statistics.median, max))
    return NoiseRange(least, median, most)


def describe_noise(programs: dict[str, Noise], human: NoiseRange) -> str:
    """One line for people: programs by name, beside the human records."""
    each = [f"{name}: time {100 * own.time:.2f} %, loss {own.loss:.4f}" for name, own in programs.items()]
    least, median, most = human.least, human.median, human.most
    times = f"time {100 * least.time:.2f} to {100 * most.time:.2f} % (median {100 * median.time:.2f} %)"
    losses = f"loss {least.loss:.4f} to {most.loss:.4f} (median {median.loss:.4f})"
    return "noise of a run: " + "; ".join([*each, f"human records: {times}, {losses}"])
