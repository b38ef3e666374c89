"""Wall time of a ten-trial verdict on the development cluster, beside what one would write by hand.

A verdict is the Retimer's array and the statistics on it: what a desk does after its judge. All ten trials run (no
looks), and in the classic design the calibration is there already, as for all but a campaign's first verdict.
"""

import statistics
import time
import uuid
from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path, PurePosixPath

from benchmarks import plain_jobs
from benchmarks.figures import Figure, say
from benchmarks.sessions import composed
from slurm_bench.effects import seals, store
from slurm_bench.pure import verdict
from slurm_bench.pure.rules import RUNS
from slurm_bench.pure.verdict import Terms
from slurm_bench.steps import site
from slurm_bench.steps.retime import Retimer, Timing
from slurm_bench.words.config import Config
from slurm_bench.words.paths import SessionPaths, starting_record
from slurm_bench.words.trials import Design, Retiming, TrialOutcome, TrialPlan

WAITING = Path(__file__).with_name("waiting")
WAIT_S = 8
"""Of each of its runs, as its program says."""
NODES = (1, 2, 4)
_NUMBERS = count(1)


def beside_bare_array(folder: Path) -> Iterator[Figure]:
    """`sbatch --array` of the same ten command lines, in turn with ours, three times."""
    config = configuration(folder)
    ours, bare = [], []
    for number in range(3):
        took, plan = timed_verdict(config, Design.CLASSIC)
        ours.append(took)
        took = plain_jobs.array(config.cluster, plan, folder / f"bare{number}")
        bare.append(took)
        say(f"verdict {ours[-1]:.1f} s, bare array {took:.1f} s")
    ratio = statistics.median(ours) / statistics.median(bare)
    note = f"medians of 3: {statistics.median(ours):.1f} s against {statistics.median(bare):.1f} s"
    note += "; ten runs of the rehearsal's training without the incumbent's, two at once"
    yield Figure("ten-trial verdict / bare sbatch array", ratio, "x", 1.25, note)


def beside_sequential_validator(folder: Path) -> Iterator[Figure]:
    """One job that runs the same container command line ten times one after another, before and after ours."""
    config = configuration(folder, f"task.record={WAITING}", "cluster.trial_gpus=8")
    _, plan = timed_verdict(with_nodes(config, 4), Design.CLASSIC)  # for its command line; and the node's caches warm
    theirs = [plain_jobs.one_after_another(config.cluster, plan, folder / "before")]
    say(f"sequential validator {theirs[0]:.1f} s")
    ours = {}
    for design in (Design.PAIRED, Design.CLASSIC):
        for nodes in NODES:
            ours[design, nodes], _ = timed_verdict(with_nodes(config, nodes), design)
            say(f"{design}, {nodes} nodes: {ours[design, nodes]:.1f} s")
    theirs.append(plain_jobs.one_after_another(config.cluster, plan, folder / "after"))
    note = f"ten runs that wait {WAIT_S} s, in one job; mean of one before ours and one after, "
    note += f"{theirs[0]:.1f} and {theirs[1]:.1f}"
    base = statistics.mean(theirs)
    yield Figure("sequential validator", base, "s", note=note)
    for (design, nodes), took in ours.items():
        runs = RUNS * (2 if design is Design.PAIRED else 1)
        note = f"{took:.1f} s for {runs} runs of {WAIT_S} s; a wait stands for training, so that nodes share no core"
        what = f"verdict / sequential validator, {design}, {nodes} node{'s' if nodes > 1 else ''}"
        yield Figure(what, took / base, "x", note=note)


def configuration(folder: Path, *further: str) -> Config:
    config = composed(["cluster=dev", "container=apptainer", f"runs={folder}", "session=one", *further])
    site.prepare_data(config)
    return config


def with_nodes(config: Config, nodes: int) -> Config:
    return replace(config, cluster=replace(config.cluster, parallel=nodes))


def timed_verdict(config: Config, design: Design) -> tuple[float, TrialPlan]:
    """Seconds of ten blocks and their statistics."""
    paths = SessionPaths(config.session_dir / str(next(_NUMBERS)))
    record = starting_record(config.task.record)
    sealed = seals.seal(record.parent, PurePosixPath(record.name), paths.seals)
    cluster = site.cluster_of(config)
    container = site.container_of(config.container)
    ledger = site.ledger_of(config, paths, cluster)
    retimer = Retimer(config, paths.seals, uuid.uuid4().hex[:12], cluster, container, ledger)
    where = paths.submission("bench").retiming
    arms = (sealed, sealed) if design is Design.PAIRED else (sealed,)
    terms = Terms(config.task.target_loss, design, attempt=1, off_clock_growth=0.25, stop_below=0)
    began = time.perf_counter()
    retiming = retimer.retime(Timing("retiming", "bench", arms), where)
    verdict.on_retiming(retiming, retiming.trials, terms)
    took = time.perf_counter() - began
    check(retiming)
    return took, store.read(where.plan, TrialPlan)


def check(retiming: Retiming) -> None:
    """A verdict on anything but ten clean runs would be another measurement."""
    for trial in (*retiming.trials, *retiming.incumbents):
        if trial.outcome is not TrialOutcome.CLEAN or trial.first_run_void:
            raise RuntimeError(f"trial {trial.index}: {trial.outcome}: {trial.note or trial.first_run_void}")
