"""The books of 100,000 synthetic rows of sacct, each time in a fresh process."""

import json
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks.figures import Figure

_PROGRAM = Path(__file__).parents[1] / "ledger_at_scale.py"


def at_scale(_: Path) -> Iterator[Figure]:
    argv = [sys.executable, str(_PROGRAM)]
    found = [json.loads(subprocess.run(argv, check=True, stdout=subprocess.PIPE).stdout) for _ in range(5)]
    times, peaks = [each["seconds"] for each in found], [each["peak_mb"] for each in found]
    what = "ledger over 100,000 rows of sacct, text to balances and days"
    yield Figure(what, statistics.median(times), "s", 1, f"median of 5, {min(times):.2f} to {max(times):.2f}")
    note = f"worst of 5, imports included; {found[0]['growth_mb']:.0f} MB of it traced as the books' own, at their peak"
    yield Figure(f"{what}: memory", max(peaks), "MB", 200, note)
