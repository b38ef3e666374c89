"""The human records, and the noise of their runs."""

import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date


@dataclass(frozen=True)
class HumanRecord:
    name: str
    date: date
    """On upstream's leaderboard."""
    saved_s: float | None
    """Seconds faster than the first record, as the original benchmark retimed both; None where it did not."""
    leaderboard_s: float
    """Its training time as upstream's leaderboard has it."""
    made_by: str = "people"
    """`people`, `ai` or `people+ai`, by upstream's credits."""
    warm_up: str = "30 steps"
    objective: str = "next token"

    @property
    def keeps_warm_up(self) -> bool:
        """Whether it warms up as the rules for agents ask."""
        return self.warm_up == "30 steps"

    @property
    def plain_next_token(self) -> bool:
        """Whether it trains on the objective that the rules for agents ask for."""
        return self.objective == "next token"


@dataclass(frozen=True)
class HumanRun:
    """One run of a record, from upstream's logs."""

    record: str
    loss: float
    time_s: float
    step_ms: float
    steps: int


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
