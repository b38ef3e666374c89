"""A sum over sacct that shares no code with the ledger."""

import os
import subprocess

from tests.clusters import DEV_CLUSTER

ENVIRONMENT = {**os.environ, "SLURM_CONF": str(DEV_CLUSTER / "slurm.conf")}


def rows(part_of_name: str) -> list[tuple[str, str, int]]:
    """Job, state and GPU-seconds of every attempt at jobs with this in their name."""
    argv = ["sacct", "-X", "-D", "--noheader", "--parsable2", "--starttime=now-1day"]
    fields = "--format=JobName%100,JobID,State,ElapsedRaw,AllocTRES"
    done = subprocess.run([*argv, fields], env=ENVIRONMENT, capture_output=True, text=True, check=True)
    found = []
    for row in done.stdout.splitlines():
        name, job, state, elapsed, tres = row.split("|")
        if part_of_name in name and "[" not in job:
            resources = dict(part.split("=") for part in tres.split(",") if part)
            found.append((job, state.split()[0], int(elapsed) * int(resources.get("gres/gpu", 0))))
    return found


def gpu_seconds(part_of_name: str) -> int:
    return sum(seconds for _, _, seconds in rows(part_of_name))
