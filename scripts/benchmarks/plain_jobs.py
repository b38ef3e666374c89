"""The same trials as somebody would run them by hand: their command lines in plain jobs, without any of our steps."""

import os
import shlex
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from benchmarks.figures import say
from slurm_bench.effects import slurm_commands
from slurm_bench.steps import trial
from slurm_bench.words.config import ClusterConfig
from slurm_bench.words.trials import TrialPlan

OURS = "-bench"
"""Ends the names of all jobs that are timed."""
_LOOK_S = 0.2
"""Not `sbatch --wait`: it looks every ten seconds only, which would flatter us."""


_TRIES = 3
_IDLE_S = 300
"""How long the cluster is waited for."""

T = TypeVar("T")


def undisturbed(cluster: ClusterConfig, timed: Callable[[], T]) -> T:
    """What a timing gives while nobody else has a job on the cluster; it is repeated if somebody had.

    Raises:
        RuntimeError: somebody always has.
    """
    for _ in range(_TRIES):
        await_idle(cluster)
        began = time.time()
        result = timed()
        if not others(cluster, began):
            return result
        say("other jobs ran on the cluster meanwhile: once more")
    raise RuntimeError("others use this cluster all the time")


def await_idle(cluster: ClusterConfig) -> None:
    until = time.monotonic() + _IDLE_S
    while output(["squeue", "--noheader"], environment(cluster)):
        if time.monotonic() > until:
            raise RuntimeError(f"others have used the cluster for {_IDLE_S} s")
        time.sleep(1)


def others(cluster: ClusterConfig, since: float) -> bool:
    """Whether any job but ours was there since then (epoch seconds)."""
    begin = f"--starttime={datetime.fromtimestamp(since):%Y-%m-%dT%H:%M:%S}"
    argv = ["sacct", "--allusers", "--allocations", "--noheader", "--parsable2", "--format=JobName", begin]
    return any(not name.endswith(OURS) for name in output(argv, environment(cluster)).splitlines())


def array(cluster: ClusterConfig, plan: TrialPlan, folder: Path) -> float:
    """Seconds of an array of as many tasks, each one run, with the same resources."""
    lines = [command_line(plan, folder / f"task{number}") for number in range(len(plan.indices))]
    for number, line in enumerate(lines):
        (folder / f"task{number}" / "command").write_text(line)
    command = f"bash {folder}/task$SLURM_ARRAY_TASK_ID/command"
    return seconds(cluster, folder, command, len(lines))


def one_after_another(cluster: ClusterConfig, plan: TrialPlan, folder: Path) -> float:
    """Seconds of one job that runs them in turn on its node, as the original benchmark's validator does."""
    lines = [command_line(plan, folder / f"task{number}") for number in range(len(plan.indices))]
    (folder / "commands").write_text("\n".join(["set -e", *lines]) + "\n")
    return seconds(cluster, folder, f"bash {folder}/commands", 1)


def command_line(plan: TrialPlan, scratch: Path) -> str:
    """What our runner would start for a run of the plan's first program."""
    scratch.mkdir(parents=True)
    return shlex.join(trial.command_line(plan, plan.arms[0], scratch, ["bash", "run.sh"]))


def seconds(cluster: ClusterConfig, folder: Path, command: str, tasks: int) -> float:
    """From sbatch until nothing of the job is left in the queue.

    Args:
        command: of each task of an array.

    Raises:
        CalledProcessError: one of Slurm's commands failed.
        RuntimeError: a run did.
    """
    argv = [
        "sbatch",
        "--parsable",
        f"--job-name=plain{OURS}",
        "--exclusive",
        "--export=NONE",
        "--nodes=1",
        "--time=10",
        f"--array=0-{tasks - 1}%{cluster.parallel}",
    ]
    argv += [f"--partition={cluster.partition}", f"--account={cluster.account}", f"--output={folder}/%a.log"]
    argv += [f"--gres=gpu:{cluster.gpu_type}:{cluster.trial_gpus}"]
    argv += [f"--wrap=export SLURM_CONF={cluster.slurm_conf}; {command} && echo whole"]
    began = time.perf_counter()
    job = output(argv, environment(cluster)).strip()
    queue = ["squeue", "--noheader", "--states=pending,running,completing", f"--jobs={job}"]
    while output(queue, environment(cluster)):
        time.sleep(_LOOK_S)
    took = time.perf_counter() - began
    said = [log.read_text() for log in folder.glob("*.log")]
    failed = [text for text in said if not text.endswith("whole\n")]
    if failed or len(said) < tasks:
        raise RuntimeError(f"{len(said) - len(failed)} of {tasks} plain tasks ran to their end: {failed[:1]}")
    return took


def environment(cluster: ClusterConfig) -> Mapping[str, str]:
    return {**os.environ, **slurm_commands.environment(cluster.slurm_conf)}


def output(argv: Sequence[str], environment: Mapping[str, str]) -> str:
    return subprocess.run(argv, check=True, capture_output=True, text=True, env=environment).stdout
