"""The development cluster of this process.

`scripts/test` runs the tests in several processes at once. Each starts a cluster of its own when a test first needs
one, so that no test sees another's jobs or misses a daemon that another has ended. Where pytest runs by itself, its
tests use the cluster that `scripts/dev_cluster up` has started.
"""

import functools
import os
import shutil
import subprocess
from pathlib import Path

_SCRIPT = Path(__file__).parents[1] / "scripts/dev_cluster"
_FOLDERS = os.environ.get("SLURM_BENCH_TEST_CLUSTERS")
"""What the names of the clusters' folders begin with, and what follows is the number of the process."""
_NEWER = "/usr/local/lib/slurm"
"""What the folders of Slurms begin with that scripts/install_cluster_packages put beside the machine's own."""
_PORTS = 100
"""So many belong to each cluster."""


def _choose() -> Path:
    """Return the folder of this process's cluster, and make every program that it starts use that cluster."""
    if _FOLDERS:
        number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
        port = int(os.environ["SLURM_BENCH_TEST_PORT"]) + _PORTS * number
        os.environ |= {"SLURM_BENCH_DEV_CLUSTER": f"{_FOLDERS}{number}", "SLURM_BENCH_DEV_PORT": str(port)}
    return Path(os.environ.get("SLURM_BENCH_DEV_CLUSTER", "/var/lib/slurm_bench_dev"))


def _find_its_commands(folder: Path) -> None:
    """Let a Slurm that is not this machine's own come first on the PATH of every program that a test starts."""
    kept = folder / "slurm"
    version = os.environ.get("SLURM_BENCH_DEV_SLURM") or (kept.read_text().strip() if kept.exists() else "")
    if (programs := Path(f"{_NEWER}-{version}/bin")).is_dir():
        os.environ["PATH"] = f"{programs}:{os.environ['PATH']}"


DEV_CLUSTER = _choose()
_find_its_commands(DEV_CLUSTER)


def newer_slurm() -> str:
    """Return the version of a Slurm beside the machine's own, or an empty text if there is none."""
    found = sorted(Path(_NEWER).parent.glob(f"{Path(_NEWER).name}-[0-9]*/bin/slurmctld"))
    return found[-1].parts[-3].partition("-")[2] if found else ""


@functools.cache
def is_there() -> bool:
    """Return whether there is a cluster to test on; with `scripts/test` it is started now if need be."""
    if not shutil.which("sbatch"):
        return False
    if _FOLDERS:
        subprocess.run(
            [_SCRIPT, "up"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=True
        )
    return (DEV_CLUSTER / "slurm.conf").exists()
