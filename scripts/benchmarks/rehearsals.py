"""The whole rehearsal, and in it the time from `submit` to its first queued job."""

import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks.figures import Figure
from benchmarks.sessions import waits_for_queue
from benchmarks.start_up import seconds
from slurm_bench.words.paths import SessionPaths


def local(folder: Path) -> Iterator[Figure]:
    yield from rehearsal(folder, "this machine", [])


def on_slurm(folder: Path) -> Iterator[Figure]:
    yield from rehearsal(folder, "Slurm and Apptainer", ["cluster=dev", "container=apptainer"])


def rehearsal(runs: Path, where: str, overrides: list[str]) -> Iterator[Figure]:
    took = seconds([sys.executable, "-m", "slurm_bench", f"runs={runs}", "session=one", *overrides])
    yield Figure(f"rehearsal, {where}", took, "s", 180, "four candidates, real training on two cores")
    waits = list(waits_for_queue(SessionPaths(runs / "rehearsal" / "one")))
    if not waits:
        raise RuntimeError("the rehearsal queued nothing")
    note = f"worst of {len(waits)}, from the request's file on, static judge included"
    yield Figure(f"submit to queued decoy run, {where}", max(waits), "s", 1, note)
