"""A site with a single node: the whole benchmark in one Slurm job, whose trials are its steps."""

import json
import subprocess
from pathlib import Path

import pytest

from slurm_bench.effects import store
from slurm_bench.words.accounting import LedgerEntry
from slurm_bench.words.paths import CampaignPaths, SessionPaths
from slurm_bench.words.records import Session
from slurm_bench.words.trials import Trial, TrialOutcome
from tests.acceptance import sacct
from tests.acceptance.test_rehearsal import check_outcomes, slurm_bench


@pytest.mark.slurm
@pytest.mark.timeout(400)
def test_a_rehearsal_in_the_sessions_own_job(tmp_path: Path) -> None:
    """Its calibration too. Slurm knows one job, and is all that anything was charged for."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    its_own_job = ("retime=classic", "retime.where=allocation", "cluster.session_gpus=8", "cluster.session_hours=2")
    done = slurm_bench(tmp_path, "cluster=dev", "session=one", f"cluster.scratch={scratch}", *its_own_job)
    assert done.returncode == 0, done.stderr
    campaign = CampaignPaths(tmp_path / "rehearsal")
    (session,) = campaign.sessions()
    assert [verdict.gpu_seconds for verdict in check_outcomes(session)] == [0, 0, 0, 0]
    assert not list(scratch.iterdir()), "cancelled trials too leave nothing"
    assert "its agent stopped meanwhile" in campaign.report.read_text()

    identity = store.read(session.session, Session).id
    ((job, state, gpu_seconds),) = sacct.rows(identity)
    assert state == "COMPLETED" and gpu_seconds > 0
    accounts = json.loads(slurm_bench(tmp_path, "command=budget", "format=json").stdout)["accounts"]
    assert [(each["gpu_seconds"], each["reserved_gpu_seconds"]) for each in accounts] == [(gpu_seconds, 0), (0, 0)]
    check_steps(campaign, session, job)


def check_steps(campaign: CampaignPaths, session: SessionPaths, job: str) -> None:
    """The agent is a step of the job, and so is every trial; no other job was queued."""
    records = [path for each in (session, *campaign.calibrations()) for path in each.ledger.glob("*.json")]
    entries = [store.read(path, LedgerEntry) for path in records]
    assert sorted(entry.kind for entry in entries) == ["calibration", "retiming", "retiming", "session"]
    assert [entry.gpus for entry in entries if entry.kind != "session"] == [0, 0, 0]
    assert not any(sacct.rows(entry.job_name) for entry in entries if entry.kind != "session")
    retimings = [each.retiming for paths in (session, *campaign.calibrations()) for each in paths.timed()]
    trials = [store.read(record, Trial) for retiming in retimings for record in retiming.records()]
    clean = [trial for trial in trials if trial.outcome is TrialOutcome.CLEAN]
    assert len(clean) >= 10 + 3 + 10
    assert {(trial.job, trial.node) for trial in trials} == {(job, trials[0].node)}
    assert steps(job) >= 1 + len(clean)


def steps(job: str) -> int:
    """Steps of a job that srun began."""
    argv = ["sacct", f"--jobs={job}", "--noheader", "--parsable2", "--format=JobID"]
    done = subprocess.run(argv, env=sacct.ENVIRONMENT, capture_output=True, text=True, check=True)
    return sum(line.partition(".")[2].isdigit() for line in done.stdout.splitlines())
