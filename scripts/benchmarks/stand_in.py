"""A Slurm that costs nothing beside its desks: its commands are stand-ins on the PATH, its nodes a loop in here.

What desks do is all real: submitit, the shared poll, the processes that they start, the text that they read.
"""

import json
import os
import shlex
import stat
import sys
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from slurm_bench.effects import store
from slurm_bench.steps import trial
from slurm_bench.words import paths
from slurm_bench.words.trials import Arm, TrainResult, Trial, TrialOutcome, TrialPlan

PROGRAM = Path(__file__).with_name("stand_in_program.py")
COMMANDS = ("sbatch", "squeue", "sacct", "scancel", "srun", "scontrol")
CLUSTER = (
    *("cluster=slurm", "container=none", "cluster.partition=gpu", "cluster.gpu_type=h100", "cluster.gpu_cores=1"),
    *("cluster.gpu_request='gres=gpu:{type}:{count}'", "cluster.node_gpus=8", "cluster.session_hours=24"),
)
"""Overrides beside `cluster.slurm_conf`: nothing is left open that the stand-ins would be asked for."""
_SAVED_S = 1.0


class StandIn:
    """
    Args:
        home: folder for its commands and its state; made anew.
    """

    def __init__(self, home: Path) -> None:
        self.home = home
        self.conf = home / "slurm.conf"
        for name in ("bin", "jobs", "ended"):
            (home / name).mkdir(parents=True)
        self.conf.touch()
        (home / "calls").touch()
        for name in COMMANDS:
            command = home / "bin" / name
            # Without site packages: Slurm's commands start quickly too.
            command.write_text(f"#!{sys.executable} -IS\n{PROGRAM.read_text()}")
            command.chmod(command.stat().st_mode | stat.S_IXUSR)

    @property
    def environment(self) -> dict[str, str]:
        """For processes that are to find its commands."""
        return {**os.environ, "PATH": f"{self.home / 'bin'}:{os.environ['PATH']}"}

    @property
    def overrides(self) -> tuple[str, ...]:
        return (*CLUSTER, f"cluster.slurm_conf={self.conf}", "retime.caches=empty")

    def calls(self) -> list[tuple[float, str]]:
        """When each command was called (epoch seconds), and which."""
        lines = (line.split() for line in (self.home / "calls").read_text().splitlines())
        return [(float(when), name) for when, name in lines]

    def called(self) -> Counter[str]:
        return Counter(name for _, name in self.calls())

    def run_trials(self) -> int:
        """Let every array that is queued run to its end; return how many there were.

        Its trials take no time: their records are written as the runner on a node would have written them, clean, with
        each candidate a second faster than the incumbent.
        """
        jobs = [record for record in (self.home / "jobs").glob("[!.]*.json") if not self._end(record).exists()]
        for record in jobs:
            plan = plan_of(json.loads(record.read_text())["script"])
            for path, made in trials(plan):
                beside = path.with_name(f".{path.name}")
                beside.write_text(made.model_dump_json())
                beside.rename(path)
            self._end(record).touch()
        return len(jobs)

    def _end(self, record: Path) -> Path:
        return self.home / "ended" / record.stem


def plan_of(script: str) -> TrialPlan:
    """The plan that a batch script's tasks are run by."""
    (line,) = [line for line in script.splitlines() if trial.__name__ in line]
    words = shlex.split(line)
    return store.read(Path(words[words.index(trial.__name__) + 1]), TrialPlan)


def trials(plan: TrialPlan) -> Iterator[tuple[Path, Trial]]:
    """Records of a plan's runs, and where they belong."""
    for index in plan.indices:
        for place, arm in enumerate(trial.in_turn(plan, index)):
            yield paths.trial_record(Path(arm.trials_dir), index), clean_trial(plan, arm, index, place)


def clean_trial(plan: TrialPlan, arm: Arm, index: int, place: int) -> Trial:
    """
    Args:
        place: in its block.
    """
    spread = (index * 7 % 10) / 1000
    slower = 0.0 if arm is plan.arms[0] else _SAVED_S
    result = TrainResult(steps=min(arm.declared_steps), val_loss=0.77 + spread, train_time_s=3 + slower + spread)
    return Trial(
        index=index,
        outcome=TrialOutcome.CLEAN,
        note="",
        exit_code=0,
        result=result,
        wall_s=result.train_time_s + 1,
        started=datetime.now(UTC) + timedelta(seconds=place),
        node="gpu1",
        seal=arm.seal.sha256,
        image_sha256=plan.image_sha256,
    )
