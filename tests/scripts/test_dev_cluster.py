"""scripts/dev_cluster: clusters of one machine leave each other alone."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clusters import DEV_CLUSTER
from tests.conftest import REPOSITORY

FUSE = Path("/dev/fuse")


def dev_cluster(folder: Path, *argv: str, port: int | None = None) -> "subprocess.CompletedProcess[str]":
    chosen = {"SLURM_BENCH_DEV_CLUSTER": str(folder)} | ({"SLURM_BENCH_DEV_PORT": str(port)} if port else {})
    others = {name: value for name, value in os.environ.items() if name != "SLURM_BENCH_DEV_PORT"}
    script = str(REPOSITORY / "scripts/dev_cluster")
    return subprocess.run([script, *argv], env=others | chosen, capture_output=True, text=True, check=False)


def port_of(folder: Path) -> int:
    return int((folder / "port").read_text())


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a short name, since sockets lie in it."""
    made = Path(tempfile.mkdtemp(prefix="slurm_bench-"))
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.mark.parametrize("command", ["up", "status", "down"])
def test_another_port_than_the_clusters_is_refused(folder: Path, command: str) -> None:
    (folder / "port").write_text("28000\n")
    done = dev_cluster(folder, command, port=28100)
    assert done.returncode == 1
    assert done.stderr == (
        f"dev_cluster: the cluster in {folder} has port 28000, not 28100: unset SLURM_BENCH_DEV_PORT, "
        "or set SLURM_BENCH_DEV_CLUSTER to another folder\n"
    )


@pytest.mark.slurm
@pytest.mark.skipif(os.geteuid() != 0, reason="only root starts a cluster")
def test_a_second_cluster_comes_and_goes_beside_the_first(folder: Path) -> None:
    """It remembers its port, has job numbers of its own, and leaves /dev/fuse open for the first when it ends."""
    mode = FUSE.stat().st_mode
    port = port_of(DEV_CLUSTER) + 50  # behind those that the first one uses
    try:
        done = dev_cluster(folder, "up", port=port)
        assert done.returncode == 0, done.stderr
        assert port_of(folder) == port
        assert dev_cluster(folder, "up").returncode == 0, "without its variables it is the same"
        conf = {"SLURM_CONF": str(folder / "slurm.conf")}
        argv = ["sbatch", "--parsable", "--output=/dev/null", "--wrap=true"]
        job = subprocess.run(argv, env=os.environ | conf, capture_output=True, text=True, check=True).stdout
        assert int(job) == 1000 * port + 1
    finally:
        ended = dev_cluster(folder, "down", "--purge")
    assert ended.returncode == 0 and not folder.exists(), ended.stdout
    assert FUSE.stat().st_mode == mode
    assert dev_cluster(DEV_CLUSTER, "status").returncode == 0
