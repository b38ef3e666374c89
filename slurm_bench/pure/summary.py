"""What a report says of sessions and their submissions, and how agents stand beside each other."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Annotated, TypeVar

from pydantic import Field

from slurm_bench.pure import human, progress
from slurm_bench.pure.changes import Difference
from slurm_bench.pure.human import HumanRecord, Progress
from slurm_bench.pure.progress import Curve, Step
from slurm_bench.pure.usage import Account
from slurm_bench.words.opinions import Opinion
from slurm_bench.words.records import Session
from slurm_bench.words.verdicts import Outcome, Verdict

Number = TypeVar("Number", int, float)


@dataclass(frozen=True)
class Runs:
    """Final losses (nats a token) and training times (seconds), run by run, with where they took place."""

    losses: tuple[float, ...]
    times_s: tuple[float, ...]
    nodes: tuple[str, ...] = ()
    jobs: tuple[str, ...] = ()


@dataclass(frozen=True)
class SubmissionSummary:
    verdict: Verdict
    name: str
    """Of the candidate, printable: its agent chose it."""
    h100_hours: float
    """That its session had used when it was decided."""
    hours: float
    """Since its session started."""
    runs: Runs
    incumbent_runs: Runs
    """Those beside them, in the paired design."""
    human_progress: tuple[Progress, ...]
    """Of an accepted submission, where the session started from a human record."""
    stamp: str = ""
    """Digest that commits to the verdict, its records and all verdicts of its session before it."""
    opinion: Annotated[Opinion | None, Field(exclude=True)] = None
    """The judge's last one; None where there is none. Too long for report.json, as is what follows."""
    difference: Annotated[Difference | None, Field(exclude=True)] = None
    """From the incumbent's files to the candidate's."""

    @property
    def step(self) -> Step | None:
        """Where it was accepted."""
        speed = self.verdict.speed if self.verdict.outcome is Outcome.ACCEPTED else None
        if speed is None:
            return None
        return Step(
            submission=self.verdict.submission,
            candidate=self.name,
            h100_hours=self.h100_hours,
            hours=self.hours,
            saved_s=speed.saved_s,
            low_s=speed.saved_low_s,
            high_s=speed.saved_high_s,
        )


@dataclass(frozen=True)
class Yardstick:
    """What has to be the same for two sessions to be compared."""

    record: str
    """Name of the starting record."""
    incumbent: str
    """Hash of its seal; empty where none was taken yet."""
    target_loss: float
    gpu_type: str
    gpus: int
    """Of a trial."""


@dataclass(frozen=True)
class SessionSummary:
    session: Session
    yardstick: Yardstick
    agent: str
    model: str
    """Empty for an agent without one."""
    cluster: str
    container: str
    design: str
    where: str
    level: str
    incumbent_runs: Runs
    """The calibration's, in the classic design."""
    submissions: tuple[SubmissionSummary, ...]
    h100_hours: float
    """Used so far, of the kinds of jobs that count."""
    hours: float
    """Since its start, up to its end or its last record."""
    tokens: int | None
    """None where nobody counted them."""
    usd: float | None
    budget: Account | None
    """None where the scheduler's accounting gave no answer."""

    @property
    def target_loss(self) -> float:
        return self.yardstick.target_loss

    @property
    def label(self) -> str:
        """Of all sessions of all campaigns."""
        return f"{self.session.campaign}/{self.session.name}"

    @property
    def contestant(self) -> str:
        """The agent with its model, which several seeds share."""
        return f"{self.agent} ({self.model})" if self.model else self.agent

    @property
    def best(self) -> SubmissionSummary | None:
        """The accepted submission that saves the most seconds."""
        accepted = [each for each in self.submissions if each.step]
        return max(accepted, key=lambda each: each.step.saved_s if each.step else 0, default=None)

    @property
    def outcomes(self) -> Mapping[Outcome, int]:
        return Counter(each.verdict.outcome for each in self.submissions)

    @property
    def ending(self) -> str:
        """Why its agent, or the session, is over or not."""
        session = self.session
        if session.problem:
            return session.problem
        if session.agent_exit_code is None:
            return ""
        failed = f"the agent ended with exit code {session.agent_exit_code}" if session.agent_exit_code else ""
        return session.agent_ended_by or failed or "the agent was done"

    def curve(self) -> Curve:
        steps = progress.best_so_far(each.step for each in self.submissions if each.step)
        return Curve(self.contestant, self.label, steps, self.h100_hours, self.hours)


@dataclass(frozen=True)
class Standing:
    """An agent with its model, over all its seeds."""

    contestant: str
    seeds: int
    best: Step | None
    """Of all seeds; there were more to choose from where there are more seeds."""
    best_session: str
    human_progress: tuple[Progress, ...]
    """Of the best."""
    seed_mean_s: float
    """Best seconds saved of each seed, 0 where it has none: their mean and range."""
    seed_low_s: float
    seed_high_s: float
    h100_hours: float
    outcomes: Mapping[Outcome, int]
    tokens: int | None
    usd: float | None
    overlaps: tuple[int, ...] = ()
    """Places, from 1, of the agents whose best this one's is neither clearly above nor below."""


def standings(sessions: Sequence[SessionSummary], records: Sequence[HumanRecord]) -> tuple[Standing, ...]:
    """Best first; of sessions that can be compared."""
    by_agent: dict[str, list[SessionSummary]] = {}
    for session in sessions:
        by_agent.setdefault(session.contestant, []).append(session)
    found = [_standing(name, seeds, records) for name, seeds in by_agent.items()]
    ranked = sorted(found, key=lambda each: each.best.saved_s if each.best else 0.0, reverse=True)
    return tuple(_with_overlaps(standing, ranked) for standing in ranked)


def _standing(name: str, seeds: Sequence[SessionSummary], records: Sequence[HumanRecord]) -> Standing:
    leader = max(seeds, key=_best_s)
    best, saved = leader.best, [_best_s(each) for each in seeds]
    speed = best.verdict.speed if best else None
    return Standing(
        contestant=name,
        seeds=len(seeds),
        best=best.step if best else None,
        best_session=leader.label if best else "",
        human_progress=human.progress(records, leader.yardstick.record, speed) if speed else (),
        seed_mean_s=fmean(saved),
        seed_low_s=min(saved),
        seed_high_s=max(saved),
        h100_hours=sum(each.h100_hours for each in seeds),
        outcomes=sum((Counter(each.outcomes) for each in seeds), Counter()),
        tokens=_sum([each.tokens for each in seeds]),
        usd=_sum([each.usd for each in seeds]),
    )


def _best_s(session: SessionSummary) -> float:
    step = session.best.step if session.best else None
    return step.saved_s if step else 0.0


def _sum(counts: Sequence[Number | None]) -> Number | None:
    """None where one of them is not known: a sum of the others would look like all."""
    known = [count for count in counts if count is not None]
    return sum(known[1:], known[0]) if known and len(known) == len(counts) else None


def _with_overlaps(standing: Standing, ranked: Sequence[Standing]) -> Standing:
    places = [place for place, other in enumerate(ranked, 1) if other is not standing and _overlap(standing, other)]
    return replace(standing, overlaps=tuple(places))


def _overlap(one: Standing, other: Standing) -> bool:
    if one.best is None or other.best is None:
        return False
    return not (one.best.is_clear_of(other.best) or other.best.is_clear_of(one.best))
