"""A desk that is killed while it queues a job: dying_desk.py CONFIG WHEN NAME FOLDER, WHEN before or after sbatch."""

import os
import signal
import sys
from pathlib import Path

from slurm_bench.effects.cluster import Job
from slurm_bench.effects.slurm import SlurmCluster
from slurm_bench.steps import site
from slurm_bench.words.paths import SessionPaths
from tests.contract.test_cluster import job

session, when, name, folder = sys.argv[1:]


class Dying(SlurmCluster):
    def submit(self, job: Job) -> str:
        if when == "after":
            super().submit(job)
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError("not reached")


paths = SessionPaths(Path(session))
config = site.load_config(paths)
ledger = site.ledger_of(config, paths, Dying(config.cluster, Path(config.runs) / "usage"))
ledger.run_to_queue("retiming", job(name, Path(folder), "sleep for 2", count=2))
