"""scripts/dev_cluster: clusters of one machine leave each other alone."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clusters import DEV_CLUSTER, newer_slurm
from tests.conftest import REPOSITORY

FUSE = Path("/dev/fuse")


def dev_cluster(folder: Path, *argv: str, **chosen: str) -> "subprocess.CompletedProcess[str]":
    """Run the script with SLURM_BENCH_DEV_PORT and SLURM_BENCH_DEV_SLURM if they are chosen."""
    others = {name: value for name, value in os.environ.items() if not name.startswith("SLURM_BENCH_DEV_")}
    variables = {f"SLURM_BENCH_DEV_{name.upper()}": value for name, value in chosen.items()}
    return subprocess.run(
        [str(REPOSITORY / "scripts/dev_cluster"), *argv],
        env=others | variables | {"SLURM_BENCH_DEV_CLUSTER": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )


def port_of(folder: Path) -> int:
    return int((folder / "port").read_text())


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a short name, since sockets lie in it."""
    made = Path(tempfile.mkdtemp(prefix="slurm_bench-"))
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.mark.parametrize("command", ["up", "status", "down"])
@pytest.mark.parametrize(
    ("what", "kept", "wanted"), [("port", "28000", "28100"), ("Slurm", "22.05", "26.05"), ("Slurm", "26.05", "22.05")]
)
def test_another_port_or_slurm_than_the_clusters_is_refused(
    folder: Path, command: str, what: str, kept: str, wanted: str
) -> None:
    (folder / what.lower()).write_text(f"{kept}\n")
    done = dev_cluster(folder, command, **{what.lower(): wanted})
    assert done.returncode == 1
    assert done.stderr == (
        f"dev_cluster: the cluster in {folder} has {what} {kept}, not {wanted}: "
        f"unset SLURM_BENCH_DEV_{what.upper()}, "
        "or set SLURM_BENCH_DEV_CLUSTER to another folder\n"
    )


@pytest.mark.slurm
@pytest.mark.skipif(os.geteuid() != 0, reason="only root starts a cluster")
def test_a_slurm_that_is_not_here_is_refused(folder: Path) -> None:
    done = dev_cluster(folder, "up", slurm="19.05")
    assert (done.returncode, list(folder.iterdir())) == (1, [])
    remedy = "scripts/install_cluster_packages brings a newer one"
    assert done.stderr == f"dev_cluster: there is no Slurm 19.05 here: {remedy}\n"


@pytest.mark.slurm
@pytest.mark.skipif(os.geteuid() != 0, reason="only root starts a cluster")
@pytest.mark.parametrize("slurm", ["the machine's", pytest.param("newer", marks=pytest.mark.newer_slurm)])
def test_a_second_cluster_comes_and_goes_beside_the_first(folder: Path, tmp_path: Path, slurm: str) -> None:
    """It remembers its port and its Slurm, has job numbers of its own, and leaves /dev/fuse open for the first."""
    mode = FUSE.stat().st_mode
    port = port_of(DEV_CLUSTER) + 50  # behind those that the first one uses
    chosen = {"port": str(port)} | ({"slurm": newer_slurm()} if slurm == "newer" else {})
    try:
        done = dev_cluster(folder, "up", **chosen)
        assert done.returncode == 0, done.stderr
        assert port_of(folder) == port
        assert dev_cluster(folder, "up").returncode == 0, "without its variables it is the same"
        version = (folder / "slurm").read_text().strip()
        assert version == chosen.get("slurm", version)
        *_, exports = done.stdout.splitlines()
        submit = f"sbatch --wait --parsable --export=NONE --output={tmp_path}/said --wrap='srun --version'"
        job = subprocess.run(
            ["bash", "-c", f"{exports}; {submit}"], env={"PATH": "/usr/bin:/bin"}, capture_output=True, check=True
        ).stdout
        assert int(job) == 1000 * port + 1
        assert f" {version}." in (tmp_path / "said").read_text(), "a job finds the commands of its cluster's Slurm"
    finally:
        ended = dev_cluster(folder, "down", "--purge")
    assert ended.returncode == 0 and not folder.exists(), ended.stdout
    assert FUSE.stat().st_mode == mode
    assert dev_cluster(DEV_CLUSTER, "status").returncode == 0
