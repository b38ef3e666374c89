"""What the doctor asks sbatch, and what it writes about a site, without one."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from slurm_bench.pure.survey import Survey
from slurm_bench.steps import examination, site_file
from slurm_bench.words.config import Config
from tests.conftest import REPOSITORY, make_config


@pytest.fixture
def config(tmp_path: Path, quick_record: Path) -> Config:
    """Of a session on a cluster of our own making, whose agent asks for its GPUs."""
    made = make_config(tmp_path, quick_record, ["cluster/slurm", "cluster/dev"], "container/none")
    return replace(made, agent=replace(made.agent, gpus="experiments", experiment_minutes=45.5))


def test_sbatch_is_asked_about_an_experiment_too(config: Config, tmp_path: Path) -> None:
    jobs = examination.jobs_of_a_session(config, tmp_path)
    assert list(jobs) == ["session", "trials", "experiment", "relay"]
    assert (jobs["session"].gpus, jobs["session"].cpu_only) == (0, True)
    asked = jobs["experiment"]
    assert (asked.gpus, asked.tasks, asked.limit_minutes) == (config.cluster.trial_gpus, 1, 49)
    assert not asked.exclusive and not asked.cpu_only
    attached = replace(config, agent=replace(config.agent, gpus="session"))
    assert list(examination.jobs_of_a_session(attached, tmp_path)) == ["session", "trials", "relay"]


def test_the_file_of_a_site_says_nothing_of_an_agent_that_asks_for_its_gpus(config: Config, tmp_path: Path) -> None:
    path = tmp_path / "cluster" / "ours.yaml"
    found = Survey(({"PartitionName": "gpu"},), (), nodes={}, up={})
    site_file.write(path, config, found, None)
    written = yaml.safe_load(path.read_text())
    assert written["partition"] == "gpu" and written["node_gpus"] == config.cluster.node_gpus
    assert "session_gpus" not in written


@pytest.mark.parametrize(
    ("flock", "said"),
    [
        ("NOTHING", "two processes can hold the same lock at once"),
        ("ENOSYS", "no locks between processes there (flock: Function not implemented)"),
    ],
)
def test_a_folder_of_runs_without_locks_is_refused(tmp_path: Path, flock: str, said: str) -> None:
    runs = tmp_path / "runs"
    argv = [sys.executable, str(REPOSITORY / "tests/without_flock.py"), flock, "slurm_bench"]
    asked = ["command=doctor", "format=json", f"runs={runs}"]
    done = subprocess.run([*argv, *asked], env={"PYTHONPATH": str(REPOSITORY)}, capture_output=True, text=True)
    (found,) = [each for each in json.loads(done.stdout)["findings"] if each["check"] == "runs"]
    assert (found["state"], said in found["found"]) == ("fails", True), found
    assert not list(runs.iterdir()), "what it tried with is gone"
