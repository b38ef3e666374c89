"""How long a person waits for the command line."""

import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.figures import Figure


def help_time(_: Path) -> Iterator[Figure]:
    times = [seconds([sys.executable, "-m", "slurm_bench", "--help"]) for _ in range(10)]
    note = f"median of 10, {min(times):.2f} to {max(times):.2f}"
    yield Figure("python -m slurm_bench --help", statistics.median(times), "s", 0.7, note)


def seconds(argv: Sequence[str]) -> float:
    began = time.perf_counter()
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    return time.perf_counter() - began
