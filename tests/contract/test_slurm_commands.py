"""What of a site, a user and a wrapper may come between us and Slurm's commands, on the real ones."""

import os
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from slurm_bench.effects import processes, slurm_commands
from slurm_bench.effects.cluster import Queued
from slurm_bench.pure.budget import Terms
from slurm_bench.steps.ledger import Ledger, Patience
from slurm_bench.words.accounting import JobState
from slurm_bench.words.errors import SchedulerError
from slurm_bench.words.paths import SessionPaths
from tests.contract.test_cluster import ACCOUNTING, job, name, slurm, states_of, until_over
from tests.waiting import until

__all__ = ["name"]  # the fixture
pytestmark = pytest.mark.slurm


def wrap(program: str, script: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a wrapper of the site's before one of Slurm's commands, which it finds as $REAL."""
    real = shutil.which(program)
    folder.mkdir(exist_ok=True)
    (folder / program).write_text(f"#!/bin/sh\nREAL={real}\n{script}\n")
    (folder / program).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


@ACCOUNTING
@pytest.mark.parametrize("ahead", [timedelta(seconds=200), timedelta(hours=2)])
def test_a_clock_that_is_ahead_of_slurms_hides_nothing(
    accounting: str, ahead: timedelta, name: str, tmp_path: Path
) -> None:
    cluster, since = slurm(tmp_path, accounting=accounting), datetime.now(UTC) + ahead
    job_id = cluster.submit(job(name, tmp_path, "sleep for 2", count=1))
    until_over(cluster, name, 1, since)
    assert cluster.find(name, since) == job_id
    (attempt,) = cluster.attempts([name], since)
    (looked_at,) = cluster.look([Queued(name, since, 1)])[name].attempts
    assert attempt.gpu_seconds == looked_at.gpu_seconds > 0


def test_a_users_own_settings_of_scancel_reach_no_cancellation(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable, value in {"PARTITION": "another", "STATE": "PENDING", "USER": "nobody"}.items():
        monkeypatch.setenv(f"SCANCEL_{variable}", value)
    cluster, since = slurm(tmp_path), datetime.now(UTC)
    cluster.submit(job(name, tmp_path, "sleep", count=1))
    until(lambda: states_of(cluster, name, since, 1) == {0: JobState.RUNNING})
    cluster.cancel(name)
    assert until_over(cluster, name, 1, since) == {0: JobState.CANCELLED}


def test_a_cancellation_that_reaches_nothing_is_said(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster, since = slurm(tmp_path), datetime.now(UTC)
    cluster.submit(job(name, tmp_path, "sleep", count=1))
    until(lambda: states_of(cluster, name, since, 1) == {0: JobState.RUNNING})
    with monkeypatch.context() as patch:
        wrap("scancel", "exit 0", tmp_path / "bin", patch)
        with pytest.raises(SchedulerError, match=rf"scancel answered, but {name} goes on: \d+_0\|RUNNING"):
            cluster.cancel(name)
    cluster.cancel(name)


def test_a_wrappers_own_words_are_no_jobs_number(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wrap("sbatch", 'echo "this is your job 7 today"; exec $REAL "$@"', tmp_path / "bin", monkeypatch)
    cluster, since = slurm(tmp_path), datetime.now(UTC)
    job_id = cluster.submit(job(name, tmp_path, "touch", count=1))
    until_over(cluster, name, 1, since)
    assert job_id == cluster.find(name, since) != "7"


def test_no_key_of_submitits_is_sent(name: str, tmp_path: Path) -> None:
    slurm(tmp_path).try_out(job(name, tmp_path, "touch"))
    assert "wckey" not in (tmp_path / "jobs/try_out.sh").read_text()


@pytest.mark.long
def test_an_sbatch_that_hangs_keeps_no_other_session_waiting(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has a limit, its reservation stays, and what may yet have been queued is not released meanwhile."""
    hangs = tmp_path / "hangs"
    wrap("sbatch", f'[ -e {hangs} ] && exec sleep 600; exec $REAL "$@"', tmp_path / "bin", monkeypatch)
    cluster = slurm(tmp_path)
    one, two = (
        Ledger(SessionPaths(tmp_path / "campaign" / each), cluster, Terms(1.0, 1.0), Patience(5, silence_s=60))
        for each in ("one", "two")
    )
    hangs.touch()
    with ThreadPoolExecutor(1) as pool:
        hanging = pool.submit(one.run_to_queue, "retiming", job(f"{name}-one", tmp_path, "touch", count=1))
        until(lambda: bool(one.entries()))
        time.sleep(1)  # until its sbatch runs
        hangs.unlink()
        assert two.run_to_queue("retiming", job(f"{name}-two", tmp_path, "touch", count=1)).job_id
        assert not hanging.done()
        other_desk = Ledger(SessionPaths(tmp_path / "campaign/one"), cluster, Terms(1.0, 1.0), Patience(0, 60))
        other_desk.settle_finished()
        other_desk.settle_finished()
        assert one.entries(), "its sbatch has not ended"
        with pytest.raises(SchedulerError, match=r"sbatch gave no answer for .*-one: no message"):
            hanging.result()
    (entry,) = one.entries()
    assert (entry.job_id, entry.settled_at) == (None, None)
    cluster.cancel(f"{name}-two")


SAID = {
    "sbatch: error: Batch job submission failed: Invalid account or account/partition combination specified": True,
    "sbatch: error: Your message: contact support, this is temporary\n"
    "sbatch: error: Batch job submission failed: Unspecified error": True,
    "sbatch: error: Batch job submission failed: Unable to contact slurm controller (connect failure)": False,
    "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation": False,
    "sbatch: error: Batch job submission failed: Zero Bytes were transmitted or received": False,
    "sbatch: error: Slurm temporarily unable to accept job, sleeping and retrying": False,
    "sbatch: unrecognized option '--nonsense'\nsbatch: error: Invalid --time specification": True,
    "allocation failure: Invalid feature specification": True,
    "": False,
}


@pytest.mark.parametrize("said", SAID)
def test_only_slurms_own_line_tells_a_refusal_from_silence(said: str) -> None:
    assert slurm_commands.is_refusal(said) is SAID[said]


def test_a_sites_own_words_are_quoted() -> None:
    said = "sbatch: error: ask the help desk\nsbatch: error: Batch job submission failed: Unspecified error\n"
    assert slurm_commands.words(said) == "ask the help desk; Batch job submission failed: Unspecified error"


def test_no_variable_of_slurms_commands_reaches_them() -> None:
    theirs = {f"{command}_USER": "x" for command in ("SCANCEL", "SCONTROL", "SALLOC", "SBATCH", "SQUEUE", "SACCT")}
    kept = {"SLURM_CONF": "/etc/slurm/slurm.conf", "SHELL": "/bin/sh", "SSH_AUTH_SOCK": "/tmp/x", "SCRATCH": "/scratch"}
    assert processes.clean_environment({**theirs, **kept}) == kept
