"""What looks save and what a design resolves, by the simulations behind docs/statistics.md."""

import csv
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.figures import Figure
from slurm_bench.pure.budget import h100_hours
from slurm_bench.pure.rules import CONFIRMATION_RUNS, LEVEL, RUNS
from slurm_bench.pure.statistics import speed_p_value
from slurm_bench.words.trials import Design
from study.looks import AT_ONCE, KINDS, Cost, costs
from study.nodes import CALIBRATIONS, classic_times, paired_times
from study.noise import REPOSITORY, Noise, read_noise
from study.simulations import LEVELS, Times, confirmation_at, human_world, rate

GPUS = 8
WARM_S = 63.9
"""That a run of the record takes beside its training with what a decoy run compiled, on one H200 (docs/gpus.md)."""
COLD_S = 634.2
"""With nothing compiled; likewise."""
RUNNER_S = 3.5
"""That the runner takes around each: unpacking the caches, a look at the GPUs, clearing away."""
POLL_S = 30
"""As in conf/cluster/slurm.yaml."""
POWER = 0.8
OFFSET_S = 0.7
_STEP_S = 0.001


def gpu_hours(_: Path) -> Iterator[Figure]:
    """GPU-hours of a verdict in the paired design, by kind of candidate, with looks and without."""
    warm, cold = run_h(WARM_S + RUNNER_S), run_h(COLD_S + RUNNER_S)
    decoy = h100_hours(GPUS * round(COLD_S + RUNNER_S), weight=1) + warm
    block = 2 * warm
    what = "H100-hours a verdict"
    each = f"{training_s():.1f} s of training on {GPUS} GPUs (2025-09-03_FA3), {WARM_S + RUNNER_S:.0f} s beside it"
    once = (
        f"{COLD_S + RUNNER_S:.0f} s until it trains with nothing compiled, then a run like the others; once for a seal"
    )
    yield Figure(f"{what}, paired, without early stopping", RUNS * block, "h", 14, f"ten blocks of two runs, {each}")
    yield Figure(f"{what}, classic, without early stopping", RUNS * warm, "h", 8, f"ten runs, {each}")
    yield Figure("H100-hours a decoy run", decoy, "h", 2, once)
    yield Figure(
        f"{what}, paired, empty caches",
        2 * RUNS * cold,
        "h",
        note=f"retime.caches=empty: twenty runs, {COLD_S + RUNNER_S:.0f} s each beside the training",
    )
    row = f"ten runs in a row, whose first one compiles for the others; {WARM_S:.0f} s beside the training of those"
    yield Figure(f"{what}, the original's way", run_h(COLD_S) + (RUNS - 1) * run_h(WARM_S), "h", note=row)
    yield from with_looks(what, costs(human_world()), RUNS, block)
    confirmations = costs(human_world(), confirmation_at(LEVELS[0]))
    yield from with_looks("H100-hours a confirmation", confirmations, CONFIRMATION_RUNS, block)


def with_looks(what: str, found: Mapping[str, Cost], runs: int, block: float) -> Iterator[Figure]:
    for kind in KINDS[:-1]:  # a very good one is like a good one
        cost, truth = found[kind.name], f"loss {kind.loss:g}, saves {kind.saved_s:g} s"
        for nodes, blocks in ((1, cost.runs_one_by_one), (AT_ONCE, cost.runs_at_once)):
            name = f"{what}, {kind.name}, {nodes} node{'s' if nodes > 1 else ''}"
            yield Figure(name, blocks * block, "h", note=f"{truth}; {blocks_note(blocks, runs, nodes)}")


def run_h(beside_s: float) -> float:
    """H100-hours of a run of the record."""
    return h100_hours(GPUS * round(training_s() + beside_s), weight=1)


def blocks_note(blocks: float, runs: int, nodes: int) -> str:
    note = f"simulated: {blocks:.1f} of {runs} blocks run to their end, {100 * (1 - blocks / runs):.0f} % saved"
    begun = h100_hours(nodes * GPUS * POLL_S, weight=1)
    return f"{note}; if stopped, at most {begun:.2f} h more for blocks begun before the next poll"


def training_s() -> float:
    """Mean training time of the record that the benchmark starts from."""
    with (REPOSITORY / "human_baselines/human_records.tsv").open(newline="") as stream:
        rows = {row["record"]: row for row in csv.DictReader(stream, delimiter="\t")}
    return float(rows["2025-09-03_FA3"]["log_mean_train_time_s"])


@dataclass(frozen=True)
class Plan:
    """A design, and how its times are drawn."""

    name: str
    design: Design
    times: Callable[[np.random.Generator, float], Times]
    """By the largest offset of a node, in seconds."""
    level: float = LEVEL
    trials: int = RUNS


def smallest_speed_ups(_: Path) -> Iterator[Figure]:
    """Seconds that a candidate must save to pass the speed test four times in five."""
    for plan in plans(read_noise()[1]):
        for most in (0.0, OFFSET_S):
            saved = smallest_saved_s(plan, most)
            what = f"smallest speed-up, {plan.name}, at {plan.level:g}, node offsets to {most:g} s"
            note = (
                f"simulated: {100 * POWER:.0f} % power on the speed alone, {plan.trials} trials, a node for each run; "
            )
            note += f"{100 * saved / training_s():.2f} % of {training_s():.1f} s"
            yield Figure(what, saved, "s", note=note)


def plans(time: Noise) -> list[Plan]:
    """The designs, with a node for each run: on fewer nodes classic does not keep its level (docs/statistics.md)."""
    paired = Plan("paired", Design.PAIRED, partial(paired_times, noise=time))
    twenty = partial(paired_times, noise=time, blocks=CONFIRMATION_RUNS)
    confirmation = Plan("a confirmation", Design.PAIRED, twenty, LEVELS[0], CONFIRMATION_RUNS)
    return [paired, confirmation, *(classic(name, time, runs) for name, runs in CALIBRATIONS.items())]


def classic(name: str, time: Noise, calibration: int) -> Plan:
    return Plan(name, Design.CLASSIC, partial(classic_times, noise=time, calibration=calibration, nodes=None))


def smallest_saved_s(plan: Plan, most: float) -> float:
    """By bisection on the same draws, whose power grows with what is saved."""
    candidate, incumbent = plan.times(np.random.default_rng(43), most)
    low, high = 0.0, 4.0
    while high - low > _STEP_S:
        saved = (low + high) / 2
        enough = rate(speed_p_value(plan.design, candidate - saved, incumbent) < plan.level) >= POWER
        low, high = (low, saved) if enough else (saved, high)
    return high
