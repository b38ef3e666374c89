"""Simulated candidates through the rules of the package: whether ten runs are accepted, and twenty confirmed.

A candidate descends from one of the human records and has its noise. Its runs go through the functions that a verdict
goes through (slurm_bench.pure). All draws come from fixed seeds: two runs of the study write the same.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import ArrayLike, NDArray

from slurm_bench.pure import confirmation
from slurm_bench.pure.rules import CONFIRMATION_RUNS, LEVEL, MOST_CONFIRMATIONS, PUBLISHED_TARGET_LOSS, RUNS
from slurm_bench.pure.sequential import FIRST_LOOK, loss_chance, speed_chance
from slurm_bench.pure.statistics import adjusted_p_value, mean_p_value, speed_p_value
from slurm_bench.words.trials import Design
from study.noise import Kind, Noise, Records, Samples, pooled, read_noise

Mask = NDArray[np.bool_]
Times = tuple[Samples, Samples]
"""Seconds of the candidate's runs and of the incumbent's, shape (candidates, blocks) each."""

STOP_BELOW = 0.05
"""As in conf/retime."""
PROGRAM_S = 100.0
LEVELS = tuple(confirmation.level(place) for place in range(1, MOST_CONFIRMATIONS + 1))
"""Of a session's confirmations."""


@dataclass(frozen=True)
class Candidates:
    """What is true of candidates; arrays of the shape (candidates,)."""

    record: Records
    """That each descends from."""
    margin: Samples
    """How far its mean loss lies below the target, in standard deviations of its runs."""
    saved_s: Samples

    @classmethod
    def alike(cls, record: Records, margin: float, saved_s: float) -> "Candidates":
        return cls(record, np.full(record.shape, margin), np.full(record.shape, saved_s))

    def __getitem__(self, which: Mask | NDArray[np.int64]) -> "Candidates":
        return Candidates(self.record[which], self.margin[which], self.saved_s[which])

    def __len__(self) -> int:
        return len(self.record)


@dataclass(frozen=True)
class World:
    """What losses and times of runs are drawn from."""

    loss: Noise
    time: Noise
    loss_kind: Kind = pooled
    time_kind: Kind = pooled
    disturbance: Callable[[Generator, int, int], Samples] | None = None
    """Seconds that the node adds to the runs of an array in their order in time, shape (candidates, runs)."""
    drawn_order: bool = True
    """Whether it is drawn who begins a block; else the candidate begins every other one."""

    def records(self, rng: Generator, count: int) -> Records:
        return self.loss.records(rng, count)

    def losses(self, rng: Generator, some: Candidates, runs: int) -> Samples:
        deviations = self.loss_kind(rng, self.loss, some.record, runs) - some.margin[:, None]
        return PUBLISHED_TARGET_LOSS + self.loss.spreads[some.record][:, None] * deviations

    def times(self, rng: Generator, some: Candidates, blocks: int) -> Times:
        """Those of the blocks that the candidate began are in the even columns."""
        spread = self.time.spreads[some.record][:, None]
        ours, theirs = (PROGRAM_S + spread * self.time_kind(rng, self.time, some.record, blocks) for _ in range(2))
        if self.disturbance:
            added = self.disturbance(rng, len(some), 2 * blocks)
            of_ours, of_theirs = in_blocks(rng, added, self.drawn_order)
            ours, theirs = ours + of_ours, theirs + of_theirs
        return ours - some.saved_s[:, None], theirs


def human_world() -> World:
    return World(*read_noise())


def in_blocks(rng: Generator, added: Samples, drawn: bool) -> Times:
    """What is added to runs in their order in time, as added to the candidate's and the incumbent's runs."""
    blocks = added.shape[-1] // 2
    pairs = added.reshape(-1, blocks, 2)
    if drawn:
        order = rng.permuted(np.tile(np.arange(blocks), (len(pairs), 1)), axis=1)
        pairs = np.take_along_axis(pairs, order[..., None], axis=1)
    begins = np.arange(blocks) % 2 == 0
    return np.where(begins, pairs[..., 0], pairs[..., 1]), np.where(begins, pairs[..., 1], pairs[..., 0])


# The tests of a verdict.


def passes_loss(losses: Samples, level: float, test: Callable[[ArrayLike, float], Samples] = mean_p_value) -> Mask:
    """Runs that do not vary are refused, not tested."""
    return np.asarray((test(losses, PUBLISHED_TARGET_LOSS) < level) & (np.ptp(losses, axis=-1) > 0))


def passes_speed(times: Times, level: float) -> Mask:
    return speed_p_value(Design.PAIRED, *times) < level


def saved_s(times: Times) -> Samples:
    ours, theirs = times
    return np.asarray(theirs.mean(axis=-1) - ours.mean(axis=-1))


@dataclass(frozen=True)
class Rule:
    """What a candidate has to pass."""

    runs: int
    level: float
    loss_test: Callable[[ArrayLike, float], Samples]

    def passes(self, losses: Samples, times: Times) -> Mask:
        return passes_loss(losses, self.level, self.loss_test) & passes_speed(times, self.level)


ACCEPTANCE = Rule(RUNS, LEVEL, mean_p_value)


def confirmation_at(level: float, runs: int = CONFIRMATION_RUNS) -> Rule:
    return Rule(runs, level, adjusted_p_value)


@dataclass(frozen=True)
class Timed:
    """What came of candidates that were timed."""

    passed: Mask
    saved_s: Samples
    """As measured; nan where the loss failed."""


def timed(rng: Generator, world: World, some: Candidates, rule: Rule) -> Timed:
    """Time candidates, with looks."""
    losses = world.losses(rng, some, rule.runs)
    left = np.flatnonzero(passes_loss(losses, rule.level, rule.loss_test))  # whoever fails needs no times, no looks
    times = world.times(rng, some[left], rule.runs)
    measured, passed = np.full(len(some), np.nan), np.zeros(len(some), dtype=bool)
    measured[left] = saved_s(times)
    good = passes_speed(times, rule.level)
    through = stops(losses[left[good]], (times[0][good], times[1][good]), rule.level) == rule.runs
    passed[left[good]] = through
    return Timed(passed, measured)


def stops(losses: Samples, times: Times, level: float, at_once: int = 1) -> NDArray[np.int64]:
    """Blocks until the first hopeless look, all of them where there is none, one block after another."""
    runs = losses.shape[-1]
    stopped = np.full(len(losses), runs)
    for seen in reversed(range(max(at_once, FIRST_LOOK), runs, at_once)):
        so_far = times[0][:, :seen], times[1][:, :seen]
        loss = loss_chance(losses[:, :seen], PUBLISHED_TARGET_LOSS, level, runs)
        speed = speed_chance(Design.PAIRED, *so_far, level, runs)
        stopped[(loss < STOP_BELOW) | (speed < STOP_BELOW)] = seen
    return stopped


# Sessions.


@dataclass(frozen=True)
class Sessions:
    """What came of sessions; arrays of the shape (sessions,)."""

    score_s: Samples
    """Seconds that the confirmed candidate saved in its confirmation; nan where none is confirmed."""
    confirmed: NDArray[np.int64]
    """Its array in the session, from 0; -1 where none is."""
    best_s: Samples
    """Seconds saved of the best accepted candidate, as accepted; nan where none is."""

    @property
    def scored(self) -> Mask:
        return self.confirmed >= 0

    @property
    def accepted(self) -> Mask:
        return ~np.isnan(self.best_s)


@dataclass(frozen=True)
class Accepted:
    """The candidates of sessions, and which of them are accepted."""

    some: Candidates
    """Those of the first session, of the second, and so on."""
    saved_s: Samples
    """As measured, shape (sessions, arrays); minus infinity where one is not accepted."""


def accept_all(rng: Generator, world: World, margin: Samples, saved: Samples) -> Accepted:
    """Time all candidates of sessions; those of one session have the noise of one record.

    Args:
        margin, saved: of each session's arrays, shape (sessions, arrays).
    """
    record = np.repeat(world.records(rng, len(margin)), margin.shape[1])
    some = Candidates(record, margin.ravel(), saved.ravel())
    found = timed(rng, world, some, ACCEPTANCE)
    return Accepted(some, np.where(found.passed, found.saved_s, -np.inf).reshape(margin.shape))


def confirm_best(rng: Generator, world: World, accepted: Accepted, levels: Sequence[float] = LEVELS) -> Sessions:
    """Time the best afresh, where it fails the next best, and so on.

    Args:
        levels: of the confirmations.
    """
    count, arrays = accepted.saved_s.shape
    order, passed = np.argsort(-accepted.saved_s, axis=1), (accepted.saved_s > -np.inf).sum(axis=1)
    score_s, confirmed = np.full(count, np.nan), np.full(count, -1)
    for place, level in enumerate(levels[:arrays]):
        left = np.flatnonzero((confirmed < 0) & (passed > place))
        chosen = order[left, place]
        afresh = timed(rng, world, accepted.some[left * arrays + chosen], confirmation_at(level))
        score_s[left[afresh.passed]] = afresh.saved_s[afresh.passed]
        confirmed[left[afresh.passed]] = chosen[afresh.passed]
    best_s = np.where(passed > 0, accepted.saved_s.max(axis=1), np.nan)
    return Sessions(score_s, confirmed, best_s)


def run_sessions(rng: Generator, world: World, margin: Samples, saved: Samples) -> Sessions:
    """Accept and confirm by the rules; margin and saved as for `accept_all`."""
    return confirm_best(rng, world, accept_all(rng, world, margin, saved))


def rate(passed: Mask) -> float:
    return float(passed.mean())
