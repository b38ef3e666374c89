"""How often a wrong candidate is accepted, confirmed, or ends a session with a score, by the kind of noise."""

from dataclasses import replace

import numpy as np
from numpy.random import Generator

from slurm_bench.pure.node_correlation import error_factor, widened_p_value
from slurm_bench.pure.rules import CONFIRMATION_RUNS, LEVEL, MOST_CONFIRMATIONS, PUBLISHED_TARGET_LOSS, RUNS
from slurm_bench.pure.statistics import adjusted_p_value, mean_p_value
from study import noise
from study.noise import Samples
from study.page import Lines, heading, percent, table
from study.simulations import LEVELS, Candidates, World, passes_loss, passes_speed, rate, run_sessions

CANDIDATES = 60_000
SESSIONS = 10_000
ARRAYS = 20
"""Candidates that a session has timed."""
SAFE_MARGIN = 3.0
"""Standard deviations below the target that leave the loss in no doubt."""
SAFE_S = 1.0
"""Seconds saved that leave the speed in no doubt."""
CORRELATION = 0.1
NODES = (RUNS, 4, 2, 1)
DISTURBED_S = 0.3
DRIFT_S = 1.0
PERIOD = 4
"""Runs."""

HEADER = (
    "noise",
    f"accepted: ten runs at {LEVEL:g}",
    *(f"confirmed at {level:g}" for level in LEVELS),
    f"sessions of {ARRAYS} with one accepted",
    "sessions with a false score",
)

KINDS = {
    "normal": noise.normal,
    "human, all records together": noise.pooled,
    "human, within one record": noise.within_record,
    "heavy tails (Student's t, 3 degrees of freedom)": noise.heavy_tails,
    "two modes (a third of the runs, 4 deviations higher)": noise.two_modes,
    "rare failures (one run in twenty, 5 deviations higher)": noise.rare_failures,
}


def losses_at_the_target(world: World) -> Lines:
    yield from heading(
        "Wrong on the loss",
        f"Candidates whose true mean loss is exactly {PUBLISHED_TARGET_LOSS}; they save {SAFE_S:g} s. A confirmation",
        f"has {CONFIRMATION_RUNS} blocks and the adjusted test; a session makes {MOST_CONFIRMATIONS} at most.",
    )
    reruns = noise.noise_of(noise.read_runs("human_reruns", *noise.RERUN_KINDS)[0])
    kinds = {
        **KINDS,
        "human, the reruns that no table had": noise.drawn_from(reruns),
        **{
            f"human, correlated by {CORRELATION} within a node, {nodes} node{'s' * (nodes > 1)}": noise.on_nodes(
                nodes, CORRELATION
            )
            for nodes in NODES
        },
    }
    rows = []
    for name, kind in kinds.items():
        here = replace(world, loss_kind=kind)
        rng = np.random.default_rng(40)
        some = Candidates.alike(world.records(rng, CANDIDATES), 0.0, SAFE_S)
        accepted = passes_loss(here.losses(rng, some, RUNS), LEVEL)
        losses = here.losses(rng, some, CONFIRMATION_RUNS)
        confirmed = [rate(passes_loss(losses, level, adjusted_p_value)) for level in LEVELS]
        rows.append(row(name, rate(accepted), confirmed, of_sessions(here, 0.0, SAFE_S)))
    yield from table(HEADER, *rows)


def nothing_saved(world: World) -> Lines:
    yield from heading(
        "Wrong on the speed",
        f"Candidates that save nothing; their loss is {SAFE_MARGIN:g} standard deviations below the target.",
        f"The drift makes a node {DRIFT_S:g} s slower over an array. The periodic disturbance swings by",
        f"{DISTURBED_S} s with a period of {PERIOD} runs, at a phase of its own for each array.",
    )
    worlds = {name: replace(world, time_kind=kind) for name, kind in KINDS.items()}
    worlds["human, with a drift"] = replace(world, disturbance=drift)
    worlds["human, with a periodic disturbance"] = replace(world, disturbance=periodic)
    worlds["the same, if the candidate began every other block"] = replace(
        world, disturbance=periodic, drawn_order=False
    )
    rows = []
    for name, here in worlds.items():
        rng = np.random.default_rng(41)
        some = Candidates.alike(world.records(rng, CANDIDATES), SAFE_MARGIN, 0.0)
        accepted = passes_speed(here.times(rng, some, RUNS), LEVEL)
        times = here.times(rng, some, CONFIRMATION_RUNS)
        confirmed = [rate(passes_speed(times, level)) for level in LEVELS]
        rows.append(row(name, rate(accepted), confirmed, of_sessions(here, SAFE_MARGIN, 0.0)))
    yield from table(HEADER, *rows)


def of_sessions(world: World, margin: float, saved_s: float) -> tuple[float, float]:
    """Share of sessions, all of whose candidates are wrong, that have one accepted, and that have a score."""
    shape = (SESSIONS, ARRAYS)
    found = run_sessions(np.random.default_rng(42), world, np.full(shape, margin), np.full(shape, saved_s))
    return rate(found.accepted), rate(found.scored)


def row(name: str, accepted: float, confirmed: list[float], sessions: tuple[float, float]) -> list[str]:
    return [name, *map(percent, (accepted, *confirmed)), percent(sessions[0], 1), percent(sessions[1])]


def drift(rng: Generator, candidates: int, runs: int) -> Samples:
    return np.tile(np.linspace(0, DRIFT_S, runs), (candidates, 1))


def periodic(rng: Generator, candidates: int, runs: int) -> Samples:
    phase = rng.uniform(0, 2 * np.pi, (candidates, 1))
    return DISTURBED_S * np.sin(2 * np.pi * np.arange(runs) / PERIOD + phase)


def widened(world: World) -> Lines:
    """The loss test with the error that a correlation within nodes makes."""
    yield from heading(
        "Losses correlated within a node",
        f"Candidates at the target whose losses are correlated by {CORRELATION} on each node. The widened tests know",
        "the correlation. The factor is that of the standard error.",
    )
    rows = []
    for nodes in NODES:
        here = replace(world, loss_kind=noise.on_nodes(nodes, CORRELATION))
        rng, cells = np.random.default_rng(43), []
        some = Candidates.alike(world.records(rng, CANDIDATES), 0.0, SAFE_S)
        for runs, level, test in ((RUNS, LEVEL, mean_p_value), (CONFIRMATION_RUNS, LEVELS[0], adjusted_p_value)):
            losses = here.losses(rng, some, runs)
            factor = error_factor(CORRELATION, [len(range(node, runs, nodes)) for node in range(nodes)])
            wider = widened_p_value(losses, PUBLISHED_TARGET_LOSS, factor, test) < level
            cells += [f"{factor:.2f}", percent(rate(passes_loss(losses, level, test))), percent(rate(wider))]
        rows.append([str(nodes), *cells])
    ten, twenty = f"ten runs at {LEVEL:g}", f"{CONFIRMATION_RUNS} at {LEVELS[0]:g}, adjusted"
    yield from table(["nodes", "factor", ten, "widened", "factor", twenty, "widened"], *rows)
