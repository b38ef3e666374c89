"""Ten trials of one seal: planned, reserved, queued, awaited and collected, each step resumable from its record."""

import logging
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from slurm_bench.effects import containers, store
from slurm_bench.effects.cluster import Cluster, Job
from slurm_bench.effects.containers import Container
from slurm_bench.pure.rules import RUNS
from slurm_bench.pure.sacct import latest_states
from slurm_bench.steps import trial
from slurm_bench.steps.ledger import Ledger
from slurm_bench.words.config import Config
from slurm_bench.words.paths import RetimingPaths, SessionPaths
from slurm_bench.words.records import Attempt, JobState, Seal, Trial, TrialOutcome, TrialPlan

log = logging.getLogger(__name__)

_RUNNER_S = 60
"""What the runner itself may take around a trial: its imports, the container's start, cleaning up."""


@dataclass(frozen=True)
class Retimer:
    """What every retiming of a session shares."""

    config: Config
    session: SessionPaths
    session_id: str
    cluster: Cluster
    container: Container
    ledger: Ledger

    def retime(
        self, kind: Literal["calibration", "retiming"], name: str, sealed: Seal, where: RetimingPaths
    ) -> list[Trial]:
        """Trials of a seal, one for each run.

        Args:
            name: of the array within the session, e.g. the submission's number.

        Raises:
            BudgetExceeded: the worst case does not fit; nothing was queued.
            SchedulerError: the cluster does not answer.
        """
        plan = store.once(where.plan, TrialPlan, lambda: self._plan(name, sealed, where))
        self.ledger.run_to_queue(kind, self._job(plan, where))
        progress = _Progress(where, plan.tasks, name)
        poll_s = self.config.cluster.poll_seconds
        entry = self.ledger.wait_until_over(plan.job_name, poll_s, progress.log_news)
        return collect(plan, where, entry.attempts)

    def charged(self, name: str) -> int:
        """GPU-seconds that the array of this name was charged so far; 0 if there is none."""
        return self.ledger.charged(self._job_name(name))

    def _job_name(self, name: str) -> str:
        return f"slurm_bench-{self.session_id}-{name}"

    def _plan(self, name: str, sealed: Seal, where: RetimingPaths) -> TrialPlan:
        config, image = self.config, self.container.image
        return TrialPlan(
            job_name=self._job_name(name),
            seal=sealed,
            seal_dir=str(self.session.seals / sealed.sha256),
            data_dir=config.task.data,
            trials_dir=str(where.trials),
            scratch_dir=config.cluster.scratch,
            tasks=RUNS,
            timeout_s=round(config.task.trial_minutes * 60),
            environment=dict(config.task.environment),
            container="apptainer" if image else "none",
            image=str(image) if image else None,
            image_sha256=containers.image_sha256(self.container),
            gpu_devices=config.container.gpu_devices,
            step=self.cluster.step,
        )

    def _job(self, plan: TrialPlan, where: RetimingPaths) -> Job:
        where.trials.mkdir(parents=True, exist_ok=True)
        return Job(
            name=plan.job_name,
            folder=where.jobs,
            function=trial.run_task,
            arguments=[(str(where.plan), task) for task in range(plan.tasks)],
            gpus=self.config.cluster.trial_gpus,
            node_gpus=self.config.cluster.node_gpus,
            exclusive=self.config.cluster.exclusive,
            limit_minutes=math.ceil((plan.timeout_s + _RUNNER_S) / 60),
        )


def collect(plan: TrialPlan, where: RetimingPaths, attempts: Sequence[Attempt]) -> list[Trial]:
    """A trial for each task of an array that is over.

    Only a task that the scheduler calls completed, at its first attempt, has a trial that counts: one that was
    cancelled leaves the record of a run that crashed, and one that was requeued has run twice.
    """
    states = latest_states(attempts)
    tries = Counter(attempt.task for attempt in attempts)
    return [_trial(plan, where, task, states.get(task), tries[task]) for task in range(plan.tasks)]


def _trial(plan: TrialPlan, where: RetimingPaths, task: int, state: JobState | None, tries: int) -> Trial:
    if state is JobState.OUT_OF_MEMORY:
        return _lost(plan, task, f"array task {task} ran out of memory", TrialOutcome.CRASHED)
    if state is not JobState.COMPLETED:
        return _lost(plan, task, f"array task {task} {state or 'was never run'}")
    if tries != 1:
        return _lost(plan, task, f"array task {task} ran {tries} times")
    return store.read_if_there(where.trial(task), Trial) or _lost(plan, task, f"array task {task} left no record")


def _lost(plan: TrialPlan, task: int, note: str, outcome: TrialOutcome = TrialOutcome.INFRASTRUCTURE) -> Trial:
    return Trial(
        index=task,
        outcome=outcome,
        note=note,
        exit_code=None,
        result=None,
        wall_s=0,
        started=None,
        node="",
        seal=plan.seal.sha256,
        image_sha256=plan.image_sha256,
    )


class _Progress:
    """Says each trial once, as its record appears."""

    def __init__(self, where: RetimingPaths, tasks: int, name: str) -> None:
        self._where, self._name = where, name
        self._waiting = list(range(tasks))
        self._tasks = tasks

    def log_news(self) -> None:
        for index in [index for index in self._waiting if self._where.trial(index).exists()]:
            self._waiting.remove(index)
            done = self._tasks - len(self._waiting)
            log.info("%s: trial %d/%d %s", self._name, done, self._tasks, _describe(self._where, index))


def _describe(where: RetimingPaths, index: int) -> str:
    """One trial in a few words."""
    record = store.read(where.trial(index), Trial)
    if record.result is None:
        return f"{record.outcome}: {record.note}"
    return (
        f"{record.outcome}: loss {record.result.val_loss:.4f}, {record.result.train_time_s:.2f} s of training, "
        f"{record.wall_s:.1f} s in all, on {record.node}"
    )
