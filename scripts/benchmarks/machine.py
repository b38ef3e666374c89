"""The machine and the code that figures were measured with, read off where they are measured."""

import os
import platform
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

_REPOSITORY = Path(__file__).parents[2]
_DEV_CLUSTER = Path(os.environ.get("SLURM_BENCH_DEV_CLUSTER", "/var/lib/slurm_bench_dev"))
_IMAGE = _REPOSITORY / "containers" / "rehearsal.sif"


@dataclass(frozen=True)
class Machine:
    date: str
    cores: int
    memory_gib: float
    system: str
    python: str
    slurm: str
    """Empty where there is none."""
    apptainer: str
    commit: str
    load: str
    """Averages of 1, 5 and 15 minutes before anything was measured."""

    @property
    def line(self) -> str:
        parts = [f"{self.cores} cores", f"{self.memory_gib:.0f} GiB", self.system, f"Python {self.python}"]
        parts += [each for each in (self.slurm, self.apptainer) if each]
        return f"{', '.join(parts)}; load before it {self.load}; commit {self.commit}"


def read() -> Machine:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return Machine(
        date=f"{datetime.now(UTC):%Y-%m-%d}",
        cores=len(os.sched_getaffinity(0)),
        memory_gib=round(memory / 2**30, 1),
        system=platform.freedesktop_os_release()["PRETTY_NAME"],
        python=platform.python_version(),
        slurm=said(["sbatch", "--version"], {"SLURM_CONF": str(_DEV_CLUSTER / "slurm.conf")}),
        apptainer=said(["apptainer", "--version"]),
        commit=commit(),
        load=", ".join(f"{load:.2f}" for load in os.getloadavg()),
    )


def commit() -> str:
    """Of the checkout, and whether anything in it differs.

    SLURM_BENCH_COMMIT tells it to a checkout that travelled without its .git.
    """
    if told := os.environ.get("SLURM_BENCH_COMMIT"):
        return told
    found = said(["git", "-C", str(_REPOSITORY), "rev-parse", "--short=12", "HEAD"])
    changed = said(["git", "-C", str(_REPOSITORY), "status", "--porcelain", "--untracked-files=no"])
    return f"{found or 'unknown'}{' with changes' if changed else ''}"


def gpus() -> list[str]:
    """Name, memory and driver of each that is really there."""
    return said(["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]).splitlines()


def what_the_cluster_lacks() -> str:
    """Why nothing can be measured on the development cluster; empty if it can."""
    missing = [name for name in ("sbatch", "apptainer") if not shutil.which(name)]
    if missing:
        return f"no {' and no '.join(missing)}: scripts/install_cluster_packages"
    if not (_DEV_CLUSTER / "slurm.conf").exists():
        return "no development cluster: scripts/dev_cluster up"
    return "" if _IMAGE.exists() else "no image: scripts/build_image rehearsal"


def said(argv: Sequence[str], further: Mapping[str, str] | None = None) -> str:
    """Output of a command; nothing if it fails or is not there."""
    try:
        done = subprocess.run(argv, capture_output=True, text=True, check=True, env={**os.environ, **(further or {})})
    except (OSError, subprocess.CalledProcessError):
        return ""
    return done.stdout.strip()
