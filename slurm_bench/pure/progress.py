"""How far agents came for what they spent: one curve a session, beside what humans saved, for figures and tables."""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from statistics import fmean

from slurm_bench.pure.budget import h100_hours
from slurm_bench.pure.score import Score, ScoreState
from slurm_bench.pure.usage import Line
from slurm_bench.pure.yardstick import HumanStep, Yardstick
from slurm_bench.words.accounting import LedgerEntry
from slurm_bench.words.kinds import Kind


@dataclass(frozen=True)
class Step:
    """An accepted submission that saved more than any before it in its session."""

    submission: str
    candidate: str
    h100_hours: float
    """That its session had used when it was decided."""
    hours: float
    """Since its session started."""
    saved_s: float
    low_s: float
    high_s: float
    """Seconds of training time saved, with the ends of their interval."""


@dataclass(frozen=True)
class Curve:
    """The best accepted of a session so far, against what it had used: a step function, 0 before the first step."""

    agent: str
    """With its model, for people; several seeds share it."""
    session: str
    steps: tuple[Step, ...]
    h100_hours: float
    """Where the curve ends."""
    hours: float
    score: Score

    @property
    def is_over(self) -> bool:
        return self.score.state is not ScoreState.RUNNING

    @property
    def best(self) -> Step | None:
        return self.steps[-1] if self.steps else None

    def saved_at(self, spent: float) -> float:
        """The best so far (seconds) once so many H100-hours were used."""
        reached = bisect_right([step.h100_hours for step in self.steps], spent)
        return self.steps[reached - 1].saved_s if reached else 0.0


@dataclass(frozen=True)
class Published:
    """A result that others published for an agent on the same task. It came without an interval."""

    agent: str
    percent: float
    """Of human progress, all records."""
    h100_hours: float
    source: str


@dataclass(frozen=True)
class Board:
    """Sessions that can be compared: they had the same program to beat, to the same loss, on the same GPUs."""

    name: str
    """Of the starting record."""
    target_loss: float
    """Nats a token."""
    gpu_type: str
    curves: tuple[Curve, ...]
    yardstick: Yardstick | None = None
    """None where the starting record is no human one, or none saved something after it."""
    published: tuple[Published, ...] = ()
    budget: tuple[Line, ...] = ()
    """GPU time of these sessions by kind of job and day."""

    @property
    def human(self) -> tuple[HumanStep, ...]:
        """Oldest first."""
        return self.yardstick.steps if self.yardstick else ()

    @property
    def human_s(self) -> float | None:
        """Seconds that are 100 % of human progress; None where there is no such measure."""
        return self.yardstick.whole.saved_s if self.yardstick else None

    @property
    def agents(self) -> tuple[str, ...]:
        """In the order of their first session."""
        return tuple(dict.fromkeys(curve.agent for curve in self.curves))


@dataclass(frozen=True)
class Band:
    """Several seeds of an agent: mean and range of their best so far, right of each of the points."""

    agent: str
    seeds: int
    at: tuple[float, ...]
    """H100-hours, ascending, up to its last session's end; the others keep their best until then."""
    mean_s: tuple[float, ...]
    low_s: tuple[float, ...]
    high_s: tuple[float, ...]


def best_so_far(accepted: Iterable[Step]) -> tuple[Step, ...]:
    """Those of the accepted submissions, in their order, that saved more than all before them."""
    steps: list[Step] = []
    for step in accepted:
        if not steps or step.saved_s > steps[-1].saved_s:
            steps.append(step)
    return tuple(steps)


def bands(curves: Sequence[Curve]) -> tuple[Band, ...]:
    """Return a band for each agent with several sessions that are over; one that runs is in no mean."""
    over = [curve for curve in curves if curve.is_over]
    by_agent = {curve.agent: [each for each in over if each.agent == curve.agent] for curve in over}
    return tuple(_band(agent, seeds) for agent, seeds in by_agent.items() if len(seeds) > 1)


def _band(agent: str, curves: Sequence[Curve]) -> Band:
    end = max(curve.h100_hours for curve in curves)
    at = sorted({0.0, end, *(step.h100_hours for curve in curves for step in curve.steps)})
    saved = [[curve.saved_at(spent) for curve in curves] for spent in at]
    mean, low, high = (tuple(of(each) for each in saved) for of in (fmean, min, max))
    return Band(agent, len(curves), tuple(at), mean, low, high)


def spent_until(entries: Iterable[LedgerEntry], moment: datetime, counts: Iterable[Kind]) -> float:
    """H100-hours that jobs had used by a moment, of the kinds that count."""
    counted = set(counts)
    return sum(
        h100_hours(attempt.gpus * min(attempt.elapsed_s, max(0.0, (moment - begin).total_seconds())), entry.weight)
        for entry in entries
        if entry.kind in counted
        for attempt in entry.attempts
        for begin in [attempt.started or attempt.submitted]
    )
