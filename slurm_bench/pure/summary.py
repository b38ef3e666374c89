"""What a report says of sessions and their submissions, and how agents stand beside each other."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf
from statistics import fmean
from typing import Annotated, TypeVar

from pydantic import Field

from slurm_bench.pure import node_correlation, progress, rules
from slurm_bench.pure.changes import Difference
from slurm_bench.pure.human import HumanRecord
from slurm_bench.pure.node_correlation import widened_p_value
from slurm_bench.pure.progress import Curve, Step
from slurm_bench.pure.score import Saved, Score, ScoreState
from slurm_bench.pure.statistics import adjusted_p_value
from slurm_bench.pure.usage import Account
from slurm_bench.pure.yardstick import Progress, Yardstick
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
    """What was handed in, or the confirmation of it."""

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
    stamp: str = ""
    """Digest that commits to the verdict, its records and all verdicts of its session before it."""
    opinion: Annotated[Opinion | None, Field(exclude=True)] = None
    """The judge's last one; None where there is none. Too long for report.json, as is what follows."""
    difference: Annotated[Difference | None, Field(exclude=True)] = None
    """From the incumbent's files to the candidate's; None for a confirmation, whose files were handed in before."""

    @property
    def planned_runs(self) -> int:
        """Return how many runs of the candidate such a verdict rests on."""
        return rules.CONFIRMATION_RUNS if self.verdict.confirms else rules.RUNS

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
class Contest:
    """What has to be the same for two sessions to be compared."""

    record: str
    """Name of the starting record."""
    incumbent: str
    """Hash of its seal; empty where none was taken yet."""
    target_loss: float
    gpu_type: str
    gpus: int
    """Of a trial."""
    until: str
    """Name of the last human record that counts; empty where there is no human progress to compare with."""


@dataclass(frozen=True)
class SessionSummary:
    session: Session
    contest: Contest
    agent: str
    model: str
    """Empty for an agent without one."""
    by_experiments: bool
    """Whether its agent has no GPUs of its own, and asks for a job for each thing that it tries."""
    cluster: str
    container: str
    design: str
    where: str
    confirms: bool
    """Whether its best candidate is timed afresh when it is over."""
    incumbent_runs: Runs
    """The calibration's, in the classic design."""
    submissions: tuple[SubmissionSummary, ...]
    """That its agent handed in."""
    confirmations: tuple[SubmissionSummary, ...]
    """Of these, what was timed afresh when the session was over."""
    score: Score
    human_progress: tuple[Progress, ...]
    """Of the score, where there is one and the session started from a human record."""
    start: Annotated[HumanRecord | None, Field(exclude=True)]
    """The human record that the session started from."""
    yardsticks: Annotated[tuple[Yardstick, ...], Field(exclude=True)]
    """What humans saved from there on, by rule set. The report has them once for a contest."""
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
        return self.contest.target_loss

    @property
    def label(self) -> str:
        """Of all sessions of all campaigns."""
        return f"{self.session.campaign}/{self.session.name}"

    @property
    def contestant(self) -> str:
        """The agent with its model and its way to GPUs, which several seeds share."""
        named = f"{self.agent} ({self.model})" if self.model else self.agent
        return f"{named}, by experiments" if self.by_experiments else named

    @property
    def unconfirmed(self) -> Step | None:
        """Return the accepted submission that is to be confirmed next; None if nothing is."""
        waits = [each for each in self.submissions if each.verdict.submission == self.score.submission]
        return waits[0].step if waits and self.score.saved is None else None

    def confirmations_of(self, submission: SubmissionSummary) -> list[SubmissionSummary]:
        return [each for each in self.confirmations if each.verdict.confirms == submission.verdict.submission]

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
        return Curve(self.contestant, self.label, steps, self.h100_hours, self.hours, self.score)


def losses_by_node(sessions: Iterable[SessionSummary]) -> Iterator[tuple[str, str, float]]:
    """Yield seal, node and final loss (nats a token) of each run, the incumbent's too, each once."""
    arrays = set()  # sessions share a calibration, and a verdict that repeats another shares its runs
    for session in sessions:
        arrays.add((session.contest.incumbent, session.incumbent_runs))
        for each in (*session.submissions, *session.confirmations):
            arrays |= {(each.verdict.seal or "", each.runs), (session.contest.incumbent, each.incumbent_runs)}
    for seal, runs in arrays:
        yield from ((seal, node, loss) for node, loss in zip(runs.nodes, runs.losses, strict=True))


def losing_by_nodes(sessions: Iterable[SessionSummary], correlation: float) -> list[str]:
    """Return the sessions whose score fails the loss test, once that allows for a correlation within nodes."""
    return [session.label for session in sessions for each in session.confirmations if _fails(each, correlation)]


def _fails(confirmation: SubmissionSummary, correlation: float) -> bool:
    verdict, runs = confirmation.verdict, confirmation.runs
    if verdict.outcome is not Outcome.ACCEPTED or verdict.loss is None or verdict.level is None:
        return False
    factor = node_correlation.error_factor(correlation, list(Counter(runs.nodes).values()))
    return float(widened_p_value(runs.losses, verdict.loss.target, factor, adjusted_p_value)) >= verdict.level


@dataclass(frozen=True)
class Standing:
    """An agent with its model and its way to GPUs, over all its seeds."""

    contestant: str
    seeds: Mapping[ScoreState, int]
    """How many have a score, run, or are not confirmed."""
    score: Saved | None
    """The best of all seeds; there were more to choose from where there are more seeds."""
    score_session: str
    human_progress: tuple[Progress, ...]
    """Of the score."""
    unconfirmed: Step | None
    """The best accepted submission of the seeds that have no score."""
    unconfirmed_session: str
    seed_mean_s: float | None
    """Scores of the seeds that have one: their mean and range."""
    seed_low_s: float | None
    seed_high_s: float | None
    h100_hours: float
    outcomes: Mapping[Outcome, int]
    tokens: int | None
    usd: float | None
    overlaps: tuple[int, ...] = ()
    """Places, from 1, of the agents whose score this one's is neither clearly above nor below."""


def standings(sessions: Sequence[SessionSummary]) -> tuple[Standing, ...]:
    """Return the agents of sessions that can be compared: the best score first, then what is accepted."""
    by_agent: dict[str, list[SessionSummary]] = {}
    for session in sessions:
        by_agent.setdefault(session.contestant, []).append(session)
    found = [_standing(name, seeds) for name, seeds in by_agent.items()]
    ranked = sorted(found, key=_rank, reverse=True)
    return tuple(_with_overlaps(standing, ranked) for standing in ranked)


def _rank(standing: Standing) -> tuple[float, float]:
    score, accepted = standing.score, standing.unconfirmed
    return score.saved_s if score else 0.0, accepted.saved_s if accepted else 0.0


def _standing(name: str, seeds: Sequence[SessionSummary]) -> Standing:
    scores = [each.score.saved.saved_s for each in seeds if each.score.saved]
    leader = max(seeds, key=lambda each: each.score.saved.saved_s if each.score.saved else -inf)
    waiting = max(seeds, key=lambda each: each.unconfirmed.saved_s if each.unconfirmed else -inf)
    return Standing(
        contestant=name,
        seeds=Counter(each.score.state for each in seeds),
        score=leader.score.saved,
        score_session=leader.label if leader.score.saved else "",
        human_progress=leader.human_progress,
        unconfirmed=waiting.unconfirmed,
        unconfirmed_session=waiting.label if waiting.unconfirmed else "",
        seed_mean_s=fmean(scores) if scores else None,
        seed_low_s=min(scores, default=None),
        seed_high_s=max(scores, default=None),
        h100_hours=sum(each.h100_hours for each in seeds),
        outcomes=sum((Counter(each.outcomes) for each in seeds), Counter()),
        tokens=_sum([each.tokens for each in seeds]),
        usd=_sum([each.usd for each in seeds]),
    )


def _sum(counts: Sequence[Number | None]) -> Number | None:
    """None where one of them is not known: a sum of the others would look like all."""
    known = [count for count in counts if count is not None]
    return sum(known[1:], known[0]) if known and len(known) == len(counts) else None


def _with_overlaps(standing: Standing, ranked: Sequence[Standing]) -> Standing:
    places = [place for place, other in enumerate(ranked, 1) if other is not standing and _overlap(standing, other)]
    return replace(standing, overlaps=tuple(places))


def _overlap(one: Standing, other: Standing) -> bool:
    if one.score is None or other.score is None:
        return False
    return not (one.score.is_clear_of(other.score) or other.score.is_clear_of(one.score))
