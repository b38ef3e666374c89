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
    for _ in range(3):
        took, plan = timed_verdict(config, Design.CLASSIC)
        ours.append(took)
        bare.append(timed_array(config, plan))
        say(f"verdict {ours[-1]:.1f} s, bare array {bare[-1]:.1f} s")
    ratio = statistics.median(ours) / statistics.median(bare)
    note = f"medians of 3: {statistics.median(ours):.1f} s against {statistics.median(bare):.1f} s"
    note += "; ten runs of the rehearsal's training without the incumbent's, two at once"
    yield Figure("ten-trial verdict / bare sbatch array", ratio, "x", 1.25, note)


def beside_sequential_validator(folder: Path) -> Iterator[Figure]:
    """One job that runs the same container command line ten times one after another, before and after ours."""
    config = configuration(folder, f"task.record={WAITING}")
    _, plan = timed_verdict(with_nodes(config, 4), Design.CLASSIC)  # for its command line; and the caches are warm
    theirs = [timed_validator(config, plan)]
    ours = {}
    for design in (Design.PAIRED, Design.CLASSIC):
        for nodes in NODES:
            ours[design, nodes], _ = timed_verdict(with_nodes(config, nodes), design)
            say(f"{design}, {in_words(nodes)}: {ours[design, nodes]:.1f} s")
    theirs.append(timed_validator(config, plan))
    base = statistics.mean(theirs)
    note = f"ten runs that wait {WAIT_S} s, in one job; mean of one before ours and one after: "
    yield Figure("sequential validator", base, "s", note=note + " and ".join(f"{took:.1f} s" for took in theirs))
    for (design, nodes), took in ours.items():
        runs = RUNS * (2 if design is Design.PAIRED else 1)
        note = f"{took:.1f} s for {runs} runs; a run waits {WAIT_S} s and trains nothing, so that nodes share no core"
        yield Figure(f"verdict / sequential validator, {design}, {in_words(nodes)}", took / base, "x", note=note)


def timed_array(config: Config, plan: TrialPlan) -> float:
    cluster, folder = config.cluster, config.session_dir
    return plain_jobs.undisturbed(cluster, lambda: plain_jobs.array(cluster, plan, fresh(folder)))


def in_words(nodes: int) -> str:
    return f"{nodes} node{'s' if nodes > 1 else ''}"


def timed_validator(config: Config, plan: TrialPlan) -> float:
    cluster, folder = config.cluster, config.session_dir
    took = plain_jobs.undisturbed(cluster, lambda: plain_jobs.one_after_another(cluster, plan, fresh(folder)))
    say(f"sequential validator: {took:.1f} s")
    return took


def fresh(folder: Path) -> Path:
    """A folder that is not there yet."""
    return folder / f"plain{next(_NUMBERS)}"


def configuration(folder: Path, *further: str) -> Config:
    config = composed(["cluster=dev", "container=apptainer", f"runs={folder}", "session=one", *further])
    site.prepare_data(config)
    return config


def with_nodes(config: Config, nodes: int) -> Config:
    return replace(config, cluster=replace(config.cluster, parallel=nodes))


def timed_verdict(config: Config, design: Design) -> tuple[float, TrialPlan]:
    """Seconds of a verdict while the cluster is ours, and the plan that it ran by."""
    return plain_jobs.undisturbed(config.cluster, lambda: one_verdict(config, design))


def one_verdict(config: Config, design: Design) -> tuple[float, TrialPlan]:
    paths = SessionPaths(config.session_dir / str(next(_NUMBERS)))
    record = starting_record(config.task.record)
    sealed = seals.seal(record.parent, PurePosixPath(record.name), paths.seals)
    cluster = site.cluster_of(config)
    container = site.container_of(config.container)
    ledger = site.ledger_of(config, paths, cluster)
    retimer = Retimer(config, paths.seals, uuid.uuid4().hex[:12], cluster, container, ledger)
    where = paths.submission("bench").retiming
    arms = (sealed, sealed) if design is Design.PAIRED else (sealed,)
    terms = replace(Terms.of(config.retime, config.task), design=design, stop_below=0)
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
