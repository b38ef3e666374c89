"""A Slurm cluster where jobs can also be nested: run in the job of whoever queues them, as steps beside others.

For sites with a single node. Nested jobs are worked through by a lane (`lane`) as on `cluster=local`, and end with the
job around them; Slurm knows their steps only, so whoever asks for them by name is answered by the lane's records.
"""

import os
import time
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from pathlib import Path

from slurm_bench.effects import processes
from slurm_bench.effects.cluster import Cluster, Job, Queued
from slurm_bench.effects.lane import Owner
from slurm_bench.effects.local import LocalCluster
from slurm_bench.effects.slurm import SlurmCluster
from slurm_bench.words.accounting import Attempt, Observation
from slurm_bench.words.config import ClusterConfig
from slurm_bench.words.errors import JobRefused

_LEAVING_S = 60.0
"""Before the end of a job that its desk leaves it."""


class NestingCluster:
    """
    Args:
        usage: folder for the records of nested jobs.
    """

    def __init__(self, slurm: SlurmCluster, config: ClusterConfig, usage: Path) -> None:
        self._slurm = slurm
        self._nested = LocalCluster(config, usage, self._goes_on)

    @property
    def accounting(self) -> str:
        return self._slurm.accounting

    @property
    def overrun_s(self) -> int:
        return self._slurm.overrun_s

    @property
    def step(self) -> tuple[str, ...]:
        return self._slurm.step

    def step_beside(self, gpus: int) -> tuple[str, ...]:
        return self._slurm.step_beside(gpus)

    def submit(self, job: Job) -> str:
        return self._nested.submit(job, self._owner(job)) if job.nested else self._slurm.submit(job)

    def _owner(self, job: Job) -> Owner:
        """The job that we are in, if it lasts as long as all tasks of another may."""
        job_id = os.environ.get("SLURM_JOB_ID")
        if job_id is None:
            raise JobRefused("retime.where=allocation times inside the session's own job, and this is none")
        left_s, needed_s = self._slurm.ends_at(job_id) - time.time(), job.tasks * job.limit_s + _LEAVING_S
        if left_s < needed_s:
            raise JobRefused(
                f"timing it may take {needed_s / 60:.0f} minutes, and the session's job is over in {left_s / 60:.0f}: "
                "ask again in its next job"
            )
        return Owner(job_id=job_id, job_name=os.environ["SLURM_JOB_NAME"], desk=processes.identify(os.getpid()))

    def _goes_on(self, owner: Owner) -> bool:
        """Whether a job that we cannot look into goes on; ours has left another host if it was there."""
        return owner.job_id != os.environ.get("SLURM_JOB_ID") and self._slurm.is_queued(owner.job_name)

    def _keeper(self, name: str) -> Cluster:
        return self._nested if self._nested.knows(name) else self._slurm

    def find(self, name: str, since: datetime) -> str | None:
        return self._keeper(name).find(name, since)

    def look(self, jobs: Collection[Queued]) -> Mapping[str, Observation]:
        nested = [job for job in jobs if self._nested.knows(job.name)]
        others = [job for job in jobs if job not in nested]
        return {**self._slurm.look(others), **self._nested.look(nested)}

    def attempts(self, names: Iterable[str], since: datetime) -> list[Attempt]:
        wanted = set(names)
        nested = {name for name in wanted if self._nested.knows(name)}
        return [*self._slurm.attempts(wanted - nested, since), *self._nested.attempts(nested, since)]

    def expected_starts(self, names: Collection[str]) -> Mapping[str, datetime]:
        return self._slurm.expected_starts([name for name in names if not self._nested.knows(name)])

    def cancel(self, name: str) -> None:
        self._keeper(name).cancel(name)
