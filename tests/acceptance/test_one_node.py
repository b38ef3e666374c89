"""A site with a single node: the whole benchmark in one Slurm job, whose trials are its steps."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from slurm_bench.effects import store
from slurm_bench.effects.campaigns import members
from slurm_bench.effects.containers import NoContainer
from slurm_bench.steps import calibration
from slurm_bench.steps.calibration import Program
from slurm_bench.words.accounting import LedgerEntry
from slurm_bench.words.paths import CampaignPaths, SessionPaths
from slurm_bench.words.records import Session
from slurm_bench.words.trials import Trial, TrialOutcome
from tests.acceptance import sacct
from tests.acceptance.rehearsals import QUICK, check_outcomes, slurm_bench
from tests.conftest import make_config
from tests.contract.test_cluster import around


@pytest.mark.long
@pytest.mark.slurm
def test_a_rehearsal_in_the_sessions_own_job(tmp_path: Path) -> None:
    """Slurm knows one job, and that is all that anything was charged for."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    its_own_job = ("retime.where=allocation", "cluster.session_gpus=8", "cluster.session_hours=3")
    done = slurm_bench(tmp_path, *QUICK, "cluster=dev", "session=one", f"cluster.scratch={scratch}", *its_own_job)
    assert done.returncode == 0, done.stderr
    campaign = CampaignPaths(tmp_path / "rehearsal")
    (session,) = members(campaign).sessions
    assert [verdict.gpu_seconds for verdict in check_outcomes(session)] == [0, 0, 0, 0]
    assert not list(scratch.iterdir()), "cancelled trials too leave nothing"
    assert "its agent stopped meanwhile" in campaign.report.page.read_text()

    identity = store.read(session.session, Session).id
    ((job, state, gpu_seconds),) = sacct.rows(f"{identity}-session")
    assert state == "COMPLETED" and gpu_seconds > 0
    account, decoy = json.loads(slurm_bench(tmp_path, "command=budget", "format=json").stdout)["accounts"]
    assert (account["gpu_seconds"], account["reserved_gpu_seconds"]) == (gpu_seconds, 0)
    assert (decoy["gpu_seconds"], decoy["reserved_gpu_seconds"]) == (0, 0), "the starting record's ran there too"
    check_steps(session, job)


def check_steps(session: SessionPaths, job: str) -> None:
    """The agent is a step of the job, and so is every trial."""
    entries = [store.read(path, LedgerEntry) for path in session.ledger.glob("*.json")]
    held = sorted((entry.kind, entry.gpus) for entry in entries if entry.kind != "relay")
    assert held == [("decoy", 0), ("decoy", 0), ("retiming", 0), ("retiming", 0), ("session", 8)]
    trials = [store.read(record, Trial) for each in session.timed() for record in each.retiming.records()]
    clean = [trial for trial in trials if trial.outcome is TrialOutcome.CLEAN]
    assert len(clean) >= 2 * (3 + 10)
    assert {(trial.job, trial.node) for trial in trials} == {(job, trials[0].node)}
    assert steps(job) >= 1 + len(clean)


@pytest.mark.slurm
def test_a_calibration_in_the_job_that_needs_it(tmp_path: Path, quick_record: Path) -> None:
    (tmp_path / "around").mkdir()
    config = make_config(tmp_path, quick_record, ["cluster/slurm", "cluster/dev"], "container/none")
    config.retime.design, config.retime.where, config.cluster.session_gpus = "classic", "allocation", 8
    with around(tmp_path, minutes=70) as cluster:
        program = Program(quick_record.name, quick_record)
        trials = calibration.calibrate(config, cluster, NoContainer(), [program]).trials
        assert {trial.outcome for trial in trials} == {TrialOutcome.CLEAN} and len(trials) == 10
        assert steps(os.environ["SLURM_JOB_ID"]) == 10
    (ledger,) = members(CampaignPaths(config.session_dir.parent)).calibrations
    (entry,) = (store.read(path, LedgerEntry) for path in ledger.ledger.glob("*.json"))
    assert entry.settled_at and (entry.reserved_gpu_seconds, len(entry.attempts)) == (0, 10)


def steps(job: str) -> int:
    """Steps of a job that srun began."""
    argv = ["sacct", f"--jobs={job}", "--noheader", "--parsable2", "--format=JobID"]
    done = subprocess.run(argv, env=sacct.ENVIRONMENT, capture_output=True, text=True, check=True)
    return sum(line.partition(".")[2].isdigit() for line in done.stdout.splitlines())
