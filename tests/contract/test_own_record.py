"""Our own record of usage beside what the real accounting says of the same jobs, which end in every way they can.

Half of them are watched by a desk to their end; of the other half it hears when squeue has forgotten them.
"""

import json
import shutil
import signal
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
import pytest

from slurm_bench.effects import slurm_commands, task_record
from slurm_bench.effects.accounting import OwnRecord, Sacct
from slurm_bench.effects.cluster import Queued
from slurm_bench.steps import budget, calibration
from slurm_bench.words.accounting import Attempt, JobState
from slurm_bench.words.config import BudgetCommand, RetimeCommand
from tests.clusters import DEV_CLUSTER
from tests.conftest import make_config
from tests.contract.test_cluster import cluster_config, job, slurm
from tests.waiting import LONG_S, until

pytestmark = pytest.mark.slurm

ENDS = {
    "completed": "sleep 4",
    "failed": "sleep 3; exit 3",
    "cancelled": "sleep 100",
    "rest cancelled": "sleep 100",
    "killed": "sleep 100",
    "requeued": "sleep 6",
}
WATCHED = {**ENDS, "exclusive": "sleep 4", "timeout": "sleep 200"}
MOST_BESIDE_S = 5
"""By how much a task that nobody watched may be charged more than it used: the allowance for its last seconds, and
what it takes to end when it is asked to."""
LIMIT_S = 240
"""Longer than squeue remembers: what has outlived its limit is over, whoever saw it."""


def ask(*argv: str) -> str:
    return slurm_commands.ask({"SLURM_CONF": str(DEV_CLUSTER / "slurm.conf")}, *argv)


def accounted(name: str, count: int, sacct: str = "sacct") -> list[Attempt]:
    """So many attempts at a job by the real accounting, once it has heard of their ends."""
    real = Sacct(lambda _, *argv: ask(sacct, *argv))
    found: list[Attempt] = []

    def all_over() -> bool:
        found[:] = real.attempts([name], datetime.now(UTC) - timedelta(hours=1))
        return len(found) == count and all(attempt.ended for attempt in found)

    until(all_over)
    return found


class Scene:
    """All jobs, on a PATH without sacct."""

    def __init__(self, folder: Path) -> None:
        self.since, self.usage = datetime.now(UTC), folder / "usage"
        self.cluster = slurm(folder, accounting="own", parallel=1)
        self.names = {
            group: {end: f"slurm_bench-test-{uuid.uuid4().hex}" for end in ends}
            for group, ends in (("watched", WATCHED), ("away", ENDS))
        }
        for ends in self.names.values():
            for end, name in ends.items():
                changes: dict[str, object] = {
                    "command": ["bash", "-c", WATCHED[end]],
                    "gpus": 1,
                    "exclusive": end == "exclusive",
                }
                changes["limit_minutes"] = 1 if end == "timeout" else LIMIT_S // 60
                count = 3 if end == "rest cancelled" else 1
                self.cluster.submit(job(name, folder, "", count=count, **changes))

    def queue(self, names: Sequence[str], columns: str = "%T") -> list[str]:
        listed = ",".join(names)
        return ask("squeue", "-h", "-r", "--states=all", f"--name={listed}", f"--format={columns}").splitlines()

    def both(self, end: str) -> list[str]:
        return [self.names[group][end] for group in ("watched", "away")]

    def watch(self) -> Mapping[str, set[JobState]]:
        names = self.names["watched"]
        seen = self.cluster.look(
            [Queued(name, self.since, 3 if end == "rest cancelled" else 1) for end, name in names.items()]
        )
        return {end: set(seen[name].states.values()) for end, name in names.items()}

    def until(self, condition: Callable[[], bool]) -> None:
        """Wait as a desk that watches its half of the jobs."""
        deadline = time.monotonic() + LONG_S
        while not condition():
            assert time.monotonic() < deadline
            self.watch()
            time.sleep(0.3)

    def own(self, group: str, end: str) -> list[Attempt]:
        return self.cluster.attempts([self.names[group][end]], self.since)

    def interfere(self) -> None:
        """End what does not end by itself, once all have begun."""
        self.until(lambda: len(list(self.usage.glob("*/task-*.json"))) == len(WATCHED) + len(ENDS))
        time.sleep(1)
        for name in (*self.both("cancelled"), *self.both("rest cancelled")):
            self.cluster.cancel(name)
        for process in psutil.process_iter(["cmdline"]):
            line = " ".join(process.info["cmdline"] or [])
            if task_record.__name__ in line and any(name in line for name in self.both("killed")):
                process.send_signal(signal.SIGKILL)
        self._requeue(self.queue(self.both("requeued"), "%A"))

    def _requeue(self, numbers: Sequence[str]) -> None:
        """As an administrator can, even jobs that are not to be."""
        for number in numbers:
            ask("scontrol", "update", f"jobid={number}", "requeue=1")
            ask("scontrol", "requeue", number)
        self.until(lambda: self.queue(self.both("requeued")) == ["PENDING"] * 2)
        time.sleep(2)  # or its node would take the new attempt for the old one, and refuse it
        for number in numbers:
            ask("scontrol", "update", f"jobid={number}", "StartTime=now")


@pytest.mark.long
def test_as_much_as_sacct_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sacct = shutil.which("sacct")
    assert sacct
    programs = tmp_path / "bin"
    programs.mkdir()
    for program in ("sbatch", "squeue", "scancel", "srun", "scontrol", "timeout", "env", "bash", "sleep"):
        (programs / program).symlink_to(str(shutil.which(program)))
    monkeypatch.setenv("PATH", str(programs))
    scene = Scene(tmp_path)
    scene.interfere()
    away = list(scene.names["away"].values())
    scene.until(lambda: all(state.is_terminal for states in scene.watch().values() for state in states))
    for end, name in scene.names["watched"].items():
        _check_watched(scene.own("watched", end), accounted(name, 2 if end == "requeued" else 1, sacct))
    scene.until(lambda: not scene.queue(away))
    assert scene.own("away", "killed")[0].is_live, "one answer without it proves nothing"
    time.sleep(8)
    for end, name in scene.names["away"].items():
        theirs = accounted(name, 2 if end == "requeued" else 1, sacct)
        _check_away(scene.own("away", end), theirs, scene.cluster.overrun_s if end == "killed" else None)


def _check_watched(own: Sequence[Attempt], accounted: Sequence[Attempt]) -> None:
    for ours, theirs in zip(own, accounted, strict=True):
        assert _what(ours) == _what(theirs)
        if ours.state is JobState.REQUEUED:  # squeue says when it was over, sacct when that began
            assert 0 <= ours.elapsed_s - theirs.elapsed_s <= MOST_BESIDE_S
        else:
            assert (ours.started, ours.ended, ours.elapsed_s) == (theirs.started, theirs.ended, theirs.elapsed_s)


def _check_away(own: Sequence[Attempt], accounted: Sequence[Attempt], lost_overrun_s: int | None) -> None:
    for ours, theirs in zip(own, accounted, strict=True):
        assert _what(ours) == _what(theirs)
        if lost_overrun_s is not None:
            assert ours.elapsed_s == LIMIT_S + lost_overrun_s
        else:
            assert 0 <= ours.elapsed_s - theirs.elapsed_s <= MOST_BESIDE_S


def _what(attempt: Attempt) -> tuple[object, ...]:
    return attempt.raw_id, attempt.job_id, attempt.task, attempt.state, attempt.gpus, attempt.node


def test_the_budget_says_whose_record_it_is(
    tmp_path: Path, quick_record: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ten runs of a program and their budget, to the GPU-second of the accounting that was never asked."""
    config = make_config(tmp_path, quick_record, ["cluster/slurm", "cluster/dev"], "container/none")
    config.cluster = cluster_config(
        "slurm+dev",
        slurm_conf=str(DEV_CLUSTER / "slurm.conf"),
        accounting="own",
        exclusive=False,
        trial_gpus=2,
        parallel=10,
        scratch=str(tmp_path / "scratch"),
    )
    for folder in (Path(config.cluster.scratch), Path(config.task.data) / "fineweb10B"):
        folder.mkdir(parents=True, exist_ok=True)
    (Path(config.task.data) / "fineweb10B" / "fineweb_val_000000.bin").touch()
    config.command = RetimeCommand(format="json")
    calibration.perform(config)
    capsys.readouterr()
    config.command = BudgetCommand(format="json")
    budget.perform(config)
    (account,) = json.loads(capsys.readouterr().out)["accounts"]
    assert account["accounting"] == OwnRecord.name
    (entry,) = Path(config.runs).glob("*/calibrations/*/ledger/*.json")
    used = sum(attempt.gpu_seconds for attempt in accounted(entry.stem, 10))
    assert account["gpu_seconds"] == used > 0
