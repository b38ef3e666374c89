"""What a site's file says, as sbatch gets to read it."""

import shlex
import subprocess
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from slurm_bench.effects.cluster import Job
from slurm_bench.effects.slurm import SlurmCluster
from slurm_bench.words.config import ClusterConfig
from slurm_bench.words.errors import JobRefused, SchedulerError
from tests import waiting
from tests.conftest import make_config, make_quick_record

pytestmark = pytest.mark.slurm


@pytest.fixture
def dev(tmp_path: Path) -> ClusterConfig:
    record = make_quick_record(tmp_path)
    return make_config(tmp_path, record, ["cluster/slurm", "cluster/dev"], "container/none").cluster


def a_job(folder: Path, **changes: object) -> Job:
    job = Job(
        name="slurm_bench-tried",
        folder=folder / "jobs",
        command=["true"],
        tasks=10,
        gpus=8,
        node_gpus=8,
        exclusive=False,
        limit_minutes=5,
    )
    return replace(job, **changes)  # type: ignore[arg-type]


def script(config: ClusterConfig, job: Job) -> list[str]:
    """Lines of the script that a job would be queued by."""
    with suppress(JobRefused):  # the development cluster has no features and no reservations: the words count
        SlurmCluster(config, job.folder).try_out(job)
    return (job.folder / "try_out.sh").read_text().splitlines()


def test_sbatch_foresees_a_job_and_queues_none(dev: ClusterConfig, tmp_path: Path) -> None:
    cluster, job = SlurmCluster(dev, tmp_path), a_job(tmp_path)
    assert "to start at" in cluster.try_out(job)
    assert not cluster.is_queued(job.name)


def test_sbatch_refuses_in_its_own_words(dev: ClusterConfig, tmp_path: Path) -> None:
    with pytest.raises(JobRefused, match="Invalid account"):
        SlurmCluster(replace(dev, account="physics"), tmp_path).try_out(a_job(tmp_path))


def test_no_answer_is_no_refusal(dev: ClusterConfig, tmp_path: Path) -> None:
    assert dev.slurm_conf
    closed = tmp_path / "slurm.conf"
    closed.write_text(Path(dev.slurm_conf).read_text().replace("SlurmctldPort=", "SlurmctldPort=9\n#"))
    with pytest.raises(SchedulerError) as error:
        SlurmCluster(replace(dev, slurm_conf=str(closed)), tmp_path).try_out(a_job(tmp_path))
    assert not isinstance(error.value, JobRefused)


def test_how_gpus_and_their_cores_are_asked_for(dev: ClusterConfig, tmp_path: Path) -> None:
    asked = script(replace(dev, gpu_request="gpus-per-node={type}:{count}", gpu_cores=2), a_job(tmp_path))
    assert {"#SBATCH --gpus-per-node=h100:8", "#SBATCH --cpus-per-task=16"} <= set(asked)
    whole = script(dev, a_job(tmp_path, exclusive=True))
    assert {"#SBATCH --gres=gpu:h100:8", "#SBATCH --exclusive"} <= set(whole)
    assert not [line for line in whole if "cpus-per-task" in line], "a node of its own has all its cores"


def test_where_a_job_may_run(dev: ClusterConfig, tmp_path: Path) -> None:
    placed = replace(dev, reservation="monday", constraint="h100&nvlink", qos="normal")
    asked = [shlex.split(line.removeprefix("#SBATCH ")) for line in script(placed, a_job(tmp_path))]
    for option in ("--reservation=monday", "--constraint=h100&nvlink", "--qos=normal", "--partition=gpu"):
        assert [option] in asked, option
    small = script(placed, a_job(tmp_path, gpus=0, cpu_only=True))
    of_gpus = [line for line in small if "reservation" in line or "constraint" in line]
    assert not of_gpus, "those are for nodes with GPUs"


def test_a_step_asks_for_gpus_as_its_job_does(dev: ClusterConfig, tmp_path: Path) -> None:
    cluster = SlurmCluster(replace(dev, gpu_request="gpus-per-node={count}"), tmp_path)
    assert "--gpus-per-node=4" in cluster.step_beside(4)


def test_modules_come_before_the_lines_of_the_site(dev: ClusterConfig, tmp_path: Path) -> None:
    site = replace(dev, modules=["apptainer/1.4", "cuda 12"], setup=["echo then"])
    lines = script(site, a_job(tmp_path))
    loading = "\n".join(lines[lines.index("# setup") : lines.index("echo then") + 1])
    module = 'module() { echo "module $# $3"; }\n'
    done = subprocess.run(["bash", "-c", module + loading], capture_output=True, text=True)
    assert done.stdout == "module 3 cuda 12\nthen\n"
    failing = subprocess.run(
        ["bash", "-c", f"module() {{ return 1; }}\n{loading}"], capture_output=True, timeout=waiting.LONG_S
    )
    assert (failing.returncode, failing.stdout) == (1, b""), "a job without its modules ends"
