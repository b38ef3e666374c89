"""Measures what the project promises of itself and prints it beside the limit; exits 1 if a limit is missed.

The cluster figure runs on the development cluster (scripts/dev_cluster up) with Apptainer, and is left out, aloud,
where there is none.
"""

import json
import os
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from rich.console import Console
from rich.table import Table

from slurm_bench.effects import seals, store
from slurm_bench.pure import verdict
from slurm_bench.pure.verdict import Terms
from slurm_bench.steps import site, trial
from slurm_bench.steps.cli import register
from slurm_bench.steps.retime import Retimer, Timing
from slurm_bench.words.accounting import LedgerEntry
from slurm_bench.words.config import Config
from slurm_bench.words.paths import SessionPaths, shipped, starting_record
from slurm_bench.words.records import Submission
from slurm_bench.words.trials import Design, TrialPlan


@dataclass(frozen=True)
class Figure:
    what: str
    measured: float
    limit: float
    unit: str
    note: str = ""


def main() -> int:
    if sys.argv[1:]:
        sys.exit("bench: takes no arguments; it measures everything, which takes minutes and this whole machine")
    figures = []
    with tempfile.TemporaryDirectory(prefix="slurm_bench-bench-") as folder:
        for figure in measure(Path(folder)):
            print(
                f"{figure.what}: {figure.measured:.2f} {figure.unit} (limit {figure.limit:g}) {figure.note}", flush=True
            )
            figures.append(figure)
    table = Table("figure", "measured", "limit", "note", title=f"{os.cpu_count()} cores, {datetime.now(UTC):%Y-%m-%d}")
    for figure in figures:
        table.add_row(
            figure.what, f"{figure.measured:.2f} {figure.unit}", f"{figure.limit:g} {figure.unit}", figure.note
        )
    Console().print(table)
    return int(any(figure.measured > figure.limit for figure in figures))


def measure(folder: Path) -> Iterator[Figure]:
    yield help_time()
    yield from ledger_at_scale()
    yield from rehearsal(folder / "local", [])
    if shutil.which("sbatch") and shutil.which("apptainer"):
        *_, queueing = rehearsal(folder / "slurm", ["cluster=dev", "container=apptainer"])
        yield queueing
        yield verdict_against_bare_array(folder / "array")
    else:
        print("no Slurm or no Apptainer: the cluster's figures are left out", flush=True)


def seconds(argv: list[str]) -> float:
    began = time.perf_counter()
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    return time.perf_counter() - began


def help_time() -> Figure:
    times = [seconds([sys.executable, "-m", "slurm_bench", "--help"]) for _ in range(10)]
    note = f"median of 10, {min(times):.2f} to {max(times):.2f}"
    return Figure("--help", statistics.median(times), 0.7, "s", note)


def ledger_at_scale() -> Iterator[Figure]:
    """The books of 100,000 synthetic rows of sacct, each time in a fresh process."""
    argv = [sys.executable, str(Path(__file__).with_name("ledger_at_scale.py"))]
    found = [json.loads(subprocess.run(argv, check=True, stdout=subprocess.PIPE).stdout) for _ in range(5)]
    times, peaks = [each["seconds"] for each in found], [each["peak_mb"] for each in found]
    what = "ledger over 100,000 sacct rows"
    yield Figure(what, statistics.median(times), 1, "s", f"median of 5, {min(times):.2f} to {max(times):.2f}")
    note = f"worst of 5, imports included; {found[0]['growth_mb']:.0f} MB of it traced as the books' own, at their peak"
    yield Figure(f"{what}, memory", max(peaks), 200, "MB", note)


def rehearsal(runs: Path, overrides: list[str]) -> Iterator[Figure]:
    """The whole rehearsal, and in it the time from `submit` to a queued array."""
    took = seconds([sys.executable, "-m", "slurm_bench", f"runs={runs}", "session=one", *overrides])
    where = "local" if not overrides else "Slurm and Apptainer"
    yield Figure(f"rehearsal, {where}", took, 180, "s")
    paths = SessionPaths(runs / "rehearsal" / "one")
    waits = list(waits_for_queue(paths))
    yield Figure(
        f"submit to queued array, {where}", max(waits), 1, "s", f"worst of {len(waits)}, static judge included"
    )


def waits_for_queue(paths: SessionPaths) -> Iterator[float]:
    """Seconds from each request's file to the line in the ledger that its array is queued."""
    entries = [store.read(path, LedgerEntry) for path in paths.ledger.glob("*.json")]
    for record in sorted(paths.submissions.glob("*/submission.json")):
        submission = store.read(record, Submission)
        asked = (paths.outbox / f"{submission.request}.json").stat().st_mtime
        for entry in entries:
            if entry.job_name.endswith(f"-{submission.number}") and entry.queued_at:
                yield entry.queued_at.timestamp() - asked


def verdict_against_bare_array(runs: Path) -> Figure:
    """A ten-trial verdict beside `sbatch --array` of the same ten command lines, in turn, three times."""
    config = composed(["cluster=dev", "container=apptainer", f"runs={runs}", "session=one"])
    site.prepare_data(config)
    ours, bare = [], []
    for attempt in range(3):
        took, plan = timed_verdict(config, attempt)
        ours.append(took)
        bare.append(timed_bare_array(config, plan, runs / f"bare{attempt}"))
    ratio = statistics.median(ours) / statistics.median(bare)
    note = f"medians of 3: {statistics.median(ours):.1f} s against {statistics.median(bare):.1f} s"
    return Figure("ten-trial verdict / bare array", ratio, 1.25, "x", note)


def composed(overrides: list[str]) -> Config:
    register()
    with initialize_config_dir(str(shipped("conf").absolute()), version_base="1.3"):
        config = OmegaConf.to_object(compose("config", overrides=overrides))
    assert isinstance(config, Config)
    config.container.image = str(Path(str(config.container.image)).absolute())
    return config


def timed_verdict(config: Config, attempt: int) -> tuple[float, TrialPlan]:
    paths = SessionPaths(config.session_dir / str(attempt))
    record = starting_record(config.task.record)
    sealed = seals.seal(record.parent, PurePosixPath(record.name), paths.seals)
    cluster = site.cluster_of(config)
    container = site.container_of(config.container)
    ledger = site.ledger_of(config, paths, cluster)
    retimer = Retimer(config, paths.seals, uuid.uuid4().hex[:12], cluster, container, ledger)
    where = paths.submission("bench").retiming
    terms = Terms(config.task.target_loss, Design.CLASSIC, attempt=1, off_clock_growth=0.25, stop_below=0)
    began = time.perf_counter()
    retiming = retimer.retime(Timing("calibration", "bench", (sealed,)), where)
    verdict.on_retiming(retiming, retiming.trials, terms)
    took = time.perf_counter() - began
    return took, store.read(where.plan, TrialPlan)


def timed_bare_array(config: Config, plan: TrialPlan, folder: Path) -> float:
    """The same command lines with the same resources, each a line of shell in a plain array."""
    for task in range(len(plan.indices)):
        scratch = folder / f"task{task}"
        scratch.mkdir(parents=True)
        (scratch / "command").write_text(
            shlex.join(trial.command_line(plan, plan.arms[0], scratch, ["bash", "run.sh"]))
        )
    cluster = config.cluster
    argv = [
        "sbatch",
        "--parsable",
        f"--array=0-{len(plan.indices) - 1}%{cluster.parallel}",
        "--exclusive",
        "--export=NONE",
    ]
    argv += [
        f"--partition={cluster.partition}",
        f"--account={cluster.account}",
        "--time=3",
        f"--output={folder}/%a.log",
    ]
    argv += [f"--gres=gpu:{cluster.gpu_type}:{cluster.trial_gpus}"]
    argv += [f"--wrap=export SLURM_CONF={cluster.slurm_conf}; bash {folder}/task$SLURM_ARRAY_TASK_ID/command"]
    os.environ["SLURM_CONF"] = str(cluster.slurm_conf)
    # Not `sbatch --wait`: it looks every ten seconds only, which would flatter us.
    began = time.perf_counter()
    job = subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()
    queue = ["squeue", "--noheader", "--states=pending,running,completing", f"--jobs={job}"]
    while subprocess.run(queue, check=True, capture_output=True, text=True).stdout:
        time.sleep(0.2)
    return time.perf_counter() - began


if __name__ == "__main__":
    sys.exit(main())
