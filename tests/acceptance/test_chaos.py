"""Twelve desks on a real Slurm, and everything that can go wrong at once: nothing is lost, or queued twice."""

import os
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from slurm_bench.effects import store
from slurm_bench.effects.containers import NoContainer
from slurm_bench.steps import site
from slurm_bench.words.accounting import LedgerEntry
from slurm_bench.words.paths import SessionPaths
from slurm_bench.words.verdicts import Verdict
from tests import waiting
from tests.acceptance import sacct
from tests.acceptance.test_ledger_on_slurm import dev_cluster, slurm
from tests.conftest import REPOSITORY, make_config, make_quick_record
from tests.scene import BaseScene

pytestmark = [
    pytest.mark.slurm,
    pytest.mark.long,
    pytest.mark.skipif(os.getuid() != 0, reason="only root ends the development cluster's daemons"),
]
DESKS = 12
GOOD = 3
"""Sessions whose candidate is good, and runs to the end of its ten blocks; the others are stopped early."""
AHEAD_S = 200


class Fleet:
    """Desks as processes, one a session, of one campaign."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.identity = uuid.uuid4().hex[:12]
        self.record = make_quick_record(folder)
        self.sessions = [self._prepared(number) for number in range(DESKS)]
        self.desks: dict[int, subprocess.Popen[bytes]] = {}
        self.hangs = folder / "hangs"

    def _prepared(self, number: int) -> SessionPaths:
        """A session's folder with its candidate."""
        config = make_config(self.folder, self.record, ["cluster/slurm", "cluster/dev"], "container/none")
        config.campaign, config.session = self.identity, f"s{number}"
        scene = BaseScene(config, site.cluster_of(config), NoContainer(), "unused")
        loss, seconds = 3.25 if number < GOOD else 3.6, 0.01 + number / 1000
        scene.edited("candidate", [("LOSS = 3.25", f"LOSS = {loss}"), ("SECONDS = 0.08", f"SECONDS = {seconds}")])
        return scene.paths

    def start(self, number: int, ahead_s: float = 0) -> None:
        argv = [sys.executable, "-m", "tests.acceptance.chaos_desk", str(self.sessions[number].root), str(ahead_s)]
        path = f"{self._slow_sbatch()}:{os.environ['PATH']}" if number == DESKS - 1 else os.environ["PATH"]
        with (self.folder / f"desk{number}.log").open("ab") as out:
            self.desks[number] = subprocess.Popen(
                argv, cwd=REPOSITORY, env={**os.environ, "PATH": path}, stdout=out, stderr=out
            )

    def _slow_sbatch(self) -> Path:
        """A folder with an sbatch that hangs as long as there is a file."""
        folder = self.folder / "bin"
        folder.mkdir(exist_ok=True)
        real = shutil.which("sbatch")
        (folder / "sbatch").write_text(f'#!/bin/sh\n[ -e {self.hangs} ] && exec sleep 600\nexec {real} "$@"\n')
        (folder / "sbatch").chmod(0o755)
        return folder

    def trials(self, number: int) -> list[Path]:
        """Return the records of the trials of this session that have begun."""
        return list(self.sessions[number].submissions.glob("*/retiming/trials/*.json"))

    def entries(self, number: int) -> list[LedgerEntry]:
        return store.read_all(self.sessions[number].ledger, LedgerEntry)

    def verdicts(self, number: int) -> list[Verdict]:
        return [store.read(path, Verdict) for path in sorted(self.sessions[number].submissions.glob("*/verdict.json"))]

    def wait(self) -> None:
        waiting.until(lambda: all(desk.poll() is not None for desk in self.desks.values()))
        said = {number: (self.folder / f"desk{number}.log").read_text() for number in self.desks}
        assert {number: desk.returncode for number, desk in self.desks.items()} == dict.fromkeys(self.desks, 0), said

    def kill(self, *numbers: int) -> None:
        for desk in (self.desks[number] for number in numbers if number in self.desks):
            desk.kill()
            desk.wait()


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    made = Fleet(tmp_path)
    with ExitStack() as stack:
        stack.callback(made.kill, *range(DESKS))
        yield made


def test_everything_at_once(fleet: Fleet) -> None:
    fleet.hangs.touch()
    for number in range(DESKS):
        fleet.start(number, ahead_s=AHEAD_S if number == GOOD else 0)
    held = hold_one_of(fleet)
    waiting.until(lambda: all(fleet.trials(number) for number in range(GOOD)))
    fleet.kill(*range(GOOD))
    with accounting_away():
        for number in range(GOOD):
            fleet.start(number)
        time.sleep(60)
    assert slurm("squeue", "--noheader", f"--jobs={held}", "--format=%r").split() == ["JobHeldAdmin"]
    slurm("scontrol", "release", held)
    fleet.hangs.unlink()
    fleet.wait()

    for number in range(DESKS):
        last = fleet.verdicts(number)[-1]
        expected = ("accepted", None) if number < GOOD else ("rejected", "loss")
        assert (last.outcome.value, last.rejected_by) == expected, last.reason
        check_against_sacct(fleet.entries(number))
    assert sum(entry.charged_gpu_seconds for number in range(DESKS) for entry in fleet.entries(number)) == (
        sacct.gpu_seconds(fleet.identity)
    )


def hold_one_of(fleet: Fleet) -> str:
    """Hold an array before it starts, and return its number."""
    pending = ["squeue", "--noheader", "--states=PENDING", "--format=%A %j"]

    def waits() -> list[str]:
        rows = [row.split() for row in slurm(*pending).splitlines()]
        return [job for job, name in rows if f"{fleet.identity}-s{DESKS - 2}-" in name]

    waiting.until(waits)
    held = waits()[0]
    slurm("scontrol", "hold", held)
    return held


@contextmanager
def accounting_away() -> Iterator[None]:
    dev_cluster("down", "slurmdbd")
    try:
        yield
    finally:
        dev_cluster("up")


def check_against_sacct(entries: list[LedgerEntry]) -> None:
    """Every job was queued once, every task ran once, and each is charged what the accounting says."""
    assert entries
    for entry in entries:
        rows = sacct.rows(entry.job_name)
        jobs = {job.partition("_")[0] for job, _, _ in rows}
        assert jobs == {entry.job_id}, entry.job_name
        assert len({job for job, _, _ in rows}) == len(rows), entry.job_name
        assert entry.charged_gpu_seconds == sacct.gpu_seconds(entry.job_name), entry.job_name
