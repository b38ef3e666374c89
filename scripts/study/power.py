"""What gain is accepted, confirmed and scored, how far a score lies from the truth, and what else could be done."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from slurm_bench.pure.rules import CONFIRMATION_RUNS, LEVEL
from study import noise
from study.errors import ARRAYS, SAFE_MARGIN, SAFE_S
from study.looks import PLANS, PROMISING, second_level
from study.noise import Samples
from study.page import Lines, heading, percent, table
from study.simulations import (
    ACCEPTANCE,
    LEVELS,
    Accepted,
    Candidates,
    Sessions,
    World,
    accept_all,
    confirm_best,
    confirmation_at,
    rate,
    run_sessions,
    timed,
)

CANDIDATES = 12_000
SESSIONS = 20_000
GAIN_S = 0.3
MARGIN = 1.24
"""Standard deviations below the target: the humans' median (study.runs)."""
FIRST = confirmation_at(LEVELS[0])
PLACES = (1, 2, 5, 10, 20)
"""Of the gain among a session's arrays."""
BLOCK_H = 1.03
"""H100-hours of a block of the starting record, as `scripts/bench gpu-hours` finds."""
OTHERS = {
    "at the target, saving nothing": (0.0, 0.0),
    f"at the target, saving {SAFE_S:g} s": (0.0, SAFE_S),
    "far below the target, saving nothing": (SAFE_MARGIN, 0.0),
}
"""What the other candidates of a session are: distance from the target in standard deviations, seconds saved."""


def sessions_with_one_gain(world: World) -> Lines:
    yield from heading(
        "Sessions with one gain",
        f"One of {ARRAYS} candidates saves {GAIN_S} s, {MARGIN} standard deviations below the target. The others are",
        "wrong. Share of sessions that score it, by its place among them.",
    )
    rows = []
    for others in OTHERS:
        for name, kind in {"all records": noise.pooled, "within one record": noise.within_record}.items():
            here = replace(world, loss_kind=kind, time_kind=kind)
            accepted, place = one_gain(here, others)
            found = confirm_best(np.random.default_rng(56), here, accepted)
            right = found.confirmed == place - 1
            by_place = [percent(rate(right[place == each]), 0) for each in PLACES]
            wrong = rate(found.scored & ~right)
            rows.append([others, name, *by_place, percent(rate(right), 1), percent(wrong)])
    places = [f"array {place}" for place in PLACES]
    yield from table(["the others", "noise", *places, "all", "another is scored"], *rows)


def one_gain(world: World, others: str) -> tuple[Accepted, Samples]:
    """Return what is accepted in sessions with one gain, and the gain's place in each, from 1."""
    rng = np.random.default_rng(50)
    margin, saved_s = (np.full((SESSIONS, ARRAYS), value) for value in OTHERS[others])
    place = rng.choice(PLACES, SESSIONS)
    here = np.arange(SESSIONS), place - 1
    margin[here], saved_s[here] = MARGIN, GAIN_S
    return accept_all(rng, world, margin, saved_s), place


def gains(world: World) -> Lines:
    yield from heading(
        "What gain can be seen",
        "Share of candidates that are accepted, and that are then confirmed by a session's first confirmation; by what",
        "they truly save, and how far below the target they truly are (in standard deviations of a run).",
    )
    margins = (0.6, MARGIN, 2.0, SAFE_MARGIN)
    rows = []
    for saved_s in (0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0):
        cells = []
        for margin in margins:
            rng = np.random.default_rng(51)
            some = Candidates.alike(world.records(rng, CANDIDATES // 2), margin, saved_s)
            first = timed(rng, world, some, ACCEPTANCE).passed
            confirmed = timed(rng, world, some[first], FIRST).passed.sum() / len(some)
            cells.append(f"{percent(rate(first), 0)}, {percent(confirmed, 0)}")
        rows.append([f"{saved_s:g} s", *cells])
    yield from table(["saved", *(f"{margin:g}" for margin in margins)], *rows)


def luck(world: World) -> Lines:
    yield from heading(
        "The luck of the best",
        f"Sessions whose candidates all save the same, {MARGIN} standard deviations below the target: the mean of what",
        "is measured, less what is true, where there is an accepted candidate, or a score.",
    )
    rows = []
    for saved_s in (0.1, 0.2, GAIN_S, 0.5):
        for arrays in (1, ARRAYS):
            shape = (SESSIONS * 4 // (arrays + 3), arrays)
            found = run_sessions(np.random.default_rng(52), world, np.full(shape, MARGIN), np.full(shape, saved_s))
            scored, best = found.score_s[found.scored], found.best_s[found.accepted]
            biases = [f"{sample.mean() - saved_s:+.3f} s" for sample in (best, scored)]
            rows.append([f"{saved_s} s", str(arrays), biases[0], biases[1], percent(rate(found.scored), 0)])
    yield from table(["truly saved", "candidates", "best accepted", "score", "sessions with a score"], *rows)


def blocks_of_a_confirmation(world: World) -> Lines:
    yield from heading(
        "Blocks of a confirmation",
        f"Share of candidates that save {GAIN_S} s, {MARGIN} standard deviations below the target, that are confirmed.",
        f"A block takes {BLOCK_H} H100-hours.",
    )
    rows = []
    for blocks in (10, 14, 16, CONFIRMATION_RUNS, 24, 30):
        rng = np.random.default_rng(53)
        some = Candidates.alike(world.records(rng, CANDIDATES), MARGIN, GAIN_S)
        passed = [percent(rate(timed(rng, world, some, confirmation_at(level, blocks)).passed), 0) for level in LEVELS]
        rows.append([str(blocks), *passed, f"{blocks * BLOCK_H:.1f} h"])
    names = [f"{place} at {level:g}" for place, level in zip(("first", "second", "third"), LEVELS, strict=True)]
    yield from table(["blocks", *names, "H100-hours"], *rows)


SPLITS = {
    "a half, a quarter, an eighth (as it is)": LEVELS,
    "all of it on the first": (LEVEL,),
    "halves": (LEVEL / 2,) * 2,
    "thirds": (LEVEL / 3,) * 3,
    f"{LEVEL} each, not split": (LEVEL,) * 3,
}


def by_split(world: World, accepted: Accepted) -> Iterator[Sessions]:
    for levels in SPLITS.values():
        yield confirm_best(np.random.default_rng(57), world, accepted, levels)


def splits(world: World) -> Lines:
    yield from heading(
        "How the level is split over confirmations",
        f"False scores of sessions of {ARRAYS} candidates at the target that save {SAFE_S:g} s; and sessions that",
        f"score a gain of {GAIN_S} s among {ARRAYS - 1} such candidates, or among such that save nothing. The bound",
        "holds whatever is handed in.",
    )
    within = replace(world, loss_kind=noise.within_record, time_kind=noise.within_record)
    shape = (2 * SESSIONS, ARRAYS)
    columns: list[list[str]] = [[percent(sum(levels)) for levels in SPLITS.values()]]
    for here in (world, within):
        accepted = accept_all(np.random.default_rng(54), here, np.zeros(shape), np.full(shape, SAFE_S))
        columns.append([percent(rate(found.scored)) for found in by_split(here, accepted)])
    for others in list(OTHERS)[1::-1]:
        accepted, place = one_gain(world, others)
        columns.append([percent(rate(found.confirmed == place - 1), 1) for found in by_split(world, accepted)])
    rows = [[name, *cells] for name, cells in zip(SPLITS, zip(*columns, strict=True), strict=True)]
    header = ["split", "bound", "false scores", "within one record", "gain among these", "gain among worthless ones"]
    yield from table(header, *rows)


def stages(world: World) -> Lines:
    yield from heading(
        "Ten more blocks for a promising candidate",
        f"Two stages: accepted at {LEVEL / 2:g} after ten blocks; whoever has p < {PROMISING:g} on loss and speed then",
        f"gets ten more, and is accepted at {second_level():.4f} on all twenty. On normal noise that is {LEVEL}",
        "together. Handed in again: what is not accepted is changed by a comment, and timed once more. All blocks run.",
    )
    kinds = {
        f"saves {GAIN_S} s, {MARGIN} below": (MARGIN, GAIN_S),
        "at the target": (0.0, SAFE_S),
        "saves nothing": (SAFE_MARGIN, 0.0),
    }
    rows = []
    for plan in PLANS:
        cells = []
        for margin, saved_s in kinds.values():
            rng = np.random.default_rng(55)
            some = Candidates.alike(world.records(rng, CANDIDATES * 2), margin, saved_s)
            accepted, blocks = plan.accept(rng, world, some)
            scored = accepted & timed(rng, world, some, FIRST).passed
            hours = f"{BLOCK_H * float(blocks.mean()):.1f} h"
            cells.append(f"{percent(rate(accepted), 1)}, {percent(rate(scored), 1)}, {hours}")
        rows.append([plan.name, *cells])
    yield "Accepted, confirmed too, and H100-hours of a verdict:"
    yield ""
    yield from table(["", *kinds], *rows)
