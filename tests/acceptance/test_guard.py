"""The limit inside Slurm, on a real one: made by the printed commands, it stops what would pass it, and is checked."""

import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from slurm_bench.words.accounting import JobState
from tests import waiting
from tests.clusters import DEV_CLUSTER
from tests.conftest import REPOSITORY
from tests.contract.test_cluster import job, slurm, states_of, until_over

pytestmark = [
    pytest.mark.slurm,
    pytest.mark.skipif(os.getuid() != 0, reason="only an administrator of the cluster makes a QOS"),
]

SMALL = ("budget.h100_hours=0.1", "retime.confirm=false")
GPU_MINUTES = 6
"""0.1 H100-hours."""


def shell(script: str) -> "subprocess.CompletedProcess[str]":
    """By bash, as the cluster's administrator."""
    environment = {**os.environ, "SLURM_CONF": str(DEV_CLUSTER / "slurm.conf")}
    return subprocess.run(
        ["bash", "-c", script], env=environment, capture_output=True, text=True, timeout=waiting.LONG_S
    )


@dataclass(frozen=True)
class Fence:
    """The command line of one campaign, and its QOS."""

    campaign: str

    @property
    def qos(self) -> str:
        return f"slurm_bench-{self.campaign}".lower()

    def __call__(self, what: str, *overrides: str) -> "subprocess.CompletedProcess[str]":
        options = ["cluster=dev", "command=budget", f"guard={what}", f"campaign={self.campaign}"]
        return subprocess.run(
            [sys.executable, "-m", "slurm_bench", *options, *SMALL, *overrides],
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            timeout=waiting.LONG_S,
        )

    def check(self) -> "subprocess.CompletedProcess[str]":
        return self("check", f"cluster.qos={self.qos}")

    def make(self) -> None:
        """Do as printed; what is there already is set right."""
        shown = self("show")
        assert shown.returncode == 0, shown.stderr
        done = shell(shown.stdout)
        assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def fence() -> Iterator[Fence]:
    made = Fence(f"Guard-{uuid.uuid4().hex[:8]}")
    made.make()
    yield made
    shell(f"sacctmgr -i delete qos {made.qos}")


def test_the_printed_commands_put_it_in_force(fence: Fence) -> None:
    done = fence.check()
    assert done.returncode == 0, done.stderr
    assert {line.split()[0] for line in done.stdout.splitlines()} == {"holds"}
    assert f"the QOS's limit is {GPU_MINUTES} GPU-minutes (0 used), the campaign's {GPU_MINUTES}" in done.stdout


def test_a_job_that_would_pass_it_waits_and_one_that_fits_runs(fence: Fence, tmp_path: Path) -> None:
    """Two minutes of eight GPUs are too much for six GPU-minutes; of two GPUs they are not."""
    cluster, since = slurm(tmp_path, qos=fence.qos), datetime.now(UTC)
    beyond, fitting = (f"{fence.qos}-{what}" for what in ("beyond", "fitting"))
    cluster.submit(job(beyond, tmp_path, "touch", count=1, gpus=8))
    try:
        cluster.submit(job(fitting, tmp_path, "touch", count=1, gpus=2))
        assert until_over(cluster, fitting, 1, since) == {0: JobState.COMPLETED}
        waiting.until(lambda: _queued(beyond) == "PENDING QOSGrpGRESMinutes")
        assert states_of(cluster, beyond, since, 1) == {0: JobState.PENDING}
    finally:
        cluster.cancel(beyond)


def _queued(name: str) -> str:
    return shell(f"squeue --noheader --name={name} --format='%T %r'").stdout.strip()


@pytest.mark.parametrize(
    ("damage", "failing"),
    [
        ("modify qos where name={qos} set Flags-=NoDecay", "the QOS's flags are none: sacctmgr"),
        ("modify qos where name={qos} set UsageFactor=0.5", "the QOS's UsageFactor is 0.5: sacctmgr"),
        ("modify qos where name={qos} set GrpTRESMins=gres/gpu=7", "the QOS's limit is 7 GPU-minutes"),
        ("modify qos where name={qos} set GrpTRESMins=gres/gpu=-1", "the QOS's limit is missing"),
        ("modify user where name=root cluster=dev account=lab set qos-={qos}", "may not use it: sacctmgr"),
    ],
)
def test_a_damage_is_found_and_its_remedy_mends_it(fence: Fence, damage: str, failing: str) -> None:
    assert shell(f"sacctmgr -i {damage.format(qos=fence.qos)}").returncode == 0
    check_mends(fence, failing)


def check_mends(fence: Fence, failing: str) -> None:
    done = fence.check()
    assert done.returncode == 2
    assert failing in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert [line.split()[0] for line in done.stdout.splitlines()].count("fails") == 1
    remedy = "sacctmgr -i " + done.stderr.partition("sacctmgr -i ")[2].partition(": ")[0]
    assert shell(remedy).returncode == 0, remedy
    assert fence.check().returncode == 0


def test_the_partitions_own_limit_would_go_before_it(fence: Fence) -> None:
    other = f"{fence.qos}-partition"
    try:
        done = shell(
            f"sacctmgr -i add qos {other} set GrpTRESMins=gres/gpu=1000 && scontrol update partition=gpu qos={other}"
        )
        assert done.returncode == 0, done.stderr
        check_mends(fence, f"another limit ({other}): sacctmgr")
    finally:
        shell(f"scontrol update partition=gpu qos=; sacctmgr -i delete qos {other}")


def test_jobs_that_do_not_name_it_are_outside(fence: Fence) -> None:
    done = fence("check")
    assert done.returncode == 2
    assert done.stderr == (
        f"slurm_bench: cluster.qos is null: set cluster.qos={fence.qos}: else jobs run under another\n"
    )


def test_the_limit_is_the_campaigns(fence: Fence) -> None:
    assert f"gres/gpu={6 * GPU_MINUTES}\n" in fence("show", "sessions=6").stdout
    assert "gres/gpu=120\n" in fence("show", "sessions=6", "budget.campaign_h100_hours=2").stdout
    scores = (
        6 * 3 * 20 * 8 * 2 * (7 + 5)
    )  # of each three times twenty blocks, of two runs with five minutes around each
    more = fence("show", "sessions=6", "retime.confirm=true", "task.trial_minutes=7")
    assert f"gres/gpu={6 * GPU_MINUTES + scores}\n" in more.stdout
    assert fence("check", f"cluster.qos={fence.qos}", "sessions=6").returncode == 0, "a lower limit is a limit"
