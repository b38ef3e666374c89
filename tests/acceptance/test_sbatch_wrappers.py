"""The commands as jobs of their own, queued by sbatch: a session, a campaign, a retiming."""

import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from slurm_bench.effects import store
from slurm_bench.effects.campaigns import members
from slurm_bench.steps import site
from slurm_bench.words.paths import CampaignPaths, SessionPaths
from slurm_bench.words.records import Session
from slurm_bench.words.verdicts import Verdict
from tests import waiting
from tests.acceptance import sacct
from tests.acceptance.test_ledger_on_slurm import slurm, state
from tests.clusters import DEV_CLUSTER
from tests.conftest import REPOSITORY

pytestmark = [pytest.mark.slurm]

CALLERS = {"ANTHROPIC_API_KEY": "not-for-a-job", "SLURM_OF_CALLER": "1"}
"""Variables of whoever calls sbatch; the second reaches the first job, as all of Slurm's do."""
VALIDATION = """
val_loss, val_steps = loss, 1
if val_steps:
    val_loss /= val_steps
    print(f"val_loss:{val_loss}")
"""
"""What the scripted agent's second candidate tampers with; the third has nothing to change, and ends the agent."""


@pytest.fixture
def quick(tmp_path: Path, quick_record: Path) -> list[str]:
    """What follows a script's name: the quick record, on a site of one's own, below tmp_path/runs/quick."""
    ours = tmp_path / "conf/cluster/ours.yaml"
    ours.parent.mkdir(parents=True)
    ours.write_text("defaults: [dev, _self_]\n")
    data = tmp_path / "data"
    (data / "fineweb10B").mkdir(parents=True)
    (data / "fineweb10B/fineweb_val_000000.bin").touch()
    task = [
        "retime.caches=empty",
        f"task.record={quick_record}",
        f"task.data={data}",
        "task.synthetic=null",
        "task.target_loss=3.28",
    ]
    return ["--config-dir", str(tmp_path / "conf"), "cluster=ours", f"runs={tmp_path}/runs", "campaign=quick", *task]


def queue(script: str, folder: Path, overrides: Sequence[str], *options: str) -> str:
    """The number of a job whose log is folder/NUMBER.log."""
    return call("--parsable", f"--output={folder}/%j.log", *options, f"scripts/{script}", *overrides).stdout.strip()


def call(*argv: str, cwd: Path = REPOSITORY) -> "subprocess.CompletedProcess[str]":
    environment = {**sacct.ENVIRONMENT, **CALLERS}
    return subprocess.run(["sbatch", *argv], cwd=cwd, env=environment, capture_output=True, text=True, check=False)


def queued(job_id: str, what: str) -> str:
    return slurm("squeue", "--noheader", "--states=all", f"--jobs={job_id}", f"--format={what}").strip()


def is_over(job_id: str) -> bool:
    return state(job_id) not in ("PENDING", "RUNNING", "COMPLETING")


def exit_code(job_id: str) -> str:
    """As sacct has it, with the signal."""
    waiting.until(lambda: field(job_id, "End") not in ("", "Unknown"))
    return field(job_id, "ExitCode")


def field(job_id: str, name: str) -> str:
    return slurm("sacct", "-X", "--noheader", "--parsable2", f"--jobs={job_id}", f"--format={name}").strip()


def test_a_session_ends_with_its_verdicts(tmp_path: Path, quick: list[str], quick_record: Path) -> None:
    """The job follows it to its end, and ends as it does: overrides come through as they were typed."""
    program = quick_record / "train_gpt.py"
    program.write_text(program.read_text() + VALIDATION)
    setup = f"""cluster.setup=['env > "{tmp_path}/as seen by $SLURM_JOB_NAME"']"""
    note = """+task.environment={NOTE: "a, [b] $c 'd'"}"""
    job_id = queue("session.sbatch", tmp_path, [*quick, "session=one", setup, note], "--mem-per-cpu=50", "--time=7")
    assert queued(job_id, "%j %l") == "slurm_bench-session 7:00"
    waiting.until(lambda: is_over(job_id))

    paths = SessionPaths(tmp_path / "runs/quick/one")
    log = (tmp_path / f"{job_id}.log").read_text()
    assert exit_code(job_id) == "5:0", log  # the agent failed
    verdicts = [store.read(path, Verdict) for path in sorted(paths.submissions.glob("*/verdict.json"))]
    assert [(each.outcome, each.rejected_by) for each in verdicts] == [("invalid", None), ("rejected", "judge")]
    assert f"session one in {paths.root}" in log and "tampered-validation" in log and "slurm_bench: the agent" in log
    assert site.load_config(paths).task.environment["NOTE"] == "a, [b] $c 'd'"
    check_environment(tmp_path / f"as seen by slurm_bench-{store.read(paths.session, Session).id}-session1", job_id)


def check_environment(seen: Path, outer: str) -> None:
    """The session's own job knows nothing of the job that queued it."""
    variables = dict(line.split("=", 1) for line in seen.read_text().splitlines() if "=" in line)
    assert variables["SLURM_JOB_ID"] != outer
    assert "SLURM_MEM_PER_CPU" not in variables, "of --mem-per-cpu"
    assert not CALLERS.keys() & variables.keys()


def test_a_campaign_of_two(tmp_path: Path, quick: list[str]) -> None:
    """It is over when both are queued, whose account is this job's where the configuration has none."""
    bare = ["cluster=slurm", f"cluster.slurm_conf={DEV_CLUSTER}/slurm.conf", "cluster.session_gpus=1"]
    small = ["cluster.poll_seconds=0.5", "cluster.trial_gpus=1", "seed=1,2"]
    job_id = queue("campaign.sbatch", tmp_path, [*quick, *bare, *small], "--account=lab", "--job-name=mine")
    assert queued(job_id, "%j %l") == "mine 1:00:00"
    waiting.until(lambda: is_over(job_id))
    log = (tmp_path / f"{job_id}.log").read_text()
    assert exit_code(job_id) == "0:0", log
    sessions = members(CampaignPaths(tmp_path / "runs/quick")).sessions
    assert [paths.root.name[-2:] for paths in sessions] == ["-1", "-2"]
    assert log.count("its job is slurm_bench-") == 2
    assert {site.load_config(paths).cluster.account for paths in sessions} == {"lab"}
    for paths in sessions:
        identity = store.read(paths.session, Session).id
        slurm("scancel", f"--name=slurm_bench-{identity}-relay1,slurm_bench-{identity}-session1")


def test_a_retiming_goes_on_after_scancel(tmp_path: Path, quick: list[str]) -> None:
    first = queue("retime.sbatch", tmp_path, quick)
    timing = tmp_path / "runs/quick/calibrations"
    waiting.until(lambda: any(timing.glob("*/retiming/trials/0*.json")))
    slurm("scancel", first)
    waiting.until(lambda: is_over(first))
    assert state(first) == "CANCELLED"
    (name,) = re.findall(r"jobs (\S+)\)", (tmp_path / f"{first}.log").read_text())
    assert slurm("squeue", "--noheader", f"--name={name}", "--format=%T").strip(), "its runs are still queued"

    second = queue("retime.sbatch", tmp_path, quick)
    waiting.until(lambda: is_over(second))
    log = (tmp_path / f"{second}.log").read_text()
    assert exit_code(second) == "0:0", log
    assert name in log and "calibration1: 10/10" in log and "3.25" in log
    assert len({task.partition("_")[0] for task, _, _ in sacct.rows(name)}) == 1, "queued once"
    assert len(sacct.rows(name)) == 10


def test_wrong_input_is_exit_2(tmp_path: Path) -> None:
    """And a key in the environment of whoever calls sbatch is not in the job's."""
    job_id = queue("session.sbatch", tmp_path, ["session=${oc.env:ANTHROPIC_API_KEY}"])
    assert exit_code(job_id) == "2:0"
    (line,) = (tmp_path / f"{job_id}.log").read_text().splitlines()
    assert line.startswith("slurm_bench: ") and "Environment variable 'ANTHROPIC_API_KEY' not found" in line


@pytest.mark.parametrize("name", ["session", "campaign", "retime", "budget_report"])
def test_another_folder_than_the_checkout(tmp_path: Path, name: str) -> None:
    """One line, and exit code 2 for a shell script that waits."""
    options = ["--wait"] if name == "session" else []
    done = call(*options, "--parsable", f"{REPOSITORY}/scripts/{name}.sbatch", cwd=tmp_path)
    assert done.returncode == (2 if options else 0)
    assert exit_code(done.stdout.strip()) == "2:0"
    (line,) = (tmp_path / f"{name}-{done.stdout.strip()}.log").read_text().splitlines()
    assert line.startswith(f"{name}.sbatch: no checkout with a .venv in {tmp_path} on gpu")
