"""Ten trials of one seal: planned, reserved, queued, awaited and collected, each step resumable from its record."""

import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from slurm_bench.effects import containers, seals, store
from slurm_bench.effects.cluster import Cluster, Job, python_command
from slurm_bench.effects.containers import Container
from slurm_bench.pure.rules import RUNS
from slurm_bench.pure.sacct import latest_states
from slurm_bench.pure.static_rules import PROGRAM
from slurm_bench.pure.trainlog import declared_steps
from slurm_bench.steps import trial
from slurm_bench.steps.ledger import Ledger
from slurm_bench.words.config import Config
from slurm_bench.words.paths import RetimingPaths, SessionPaths
from slurm_bench.words.records import Attempt, JobState, Seal, Trial, TrialOutcome, TrialPlan, Trials

log = logging.getLogger(__name__)

_Kind = Literal["calibration", "retiming"]

_RUNNER_S = 300
"""What the runner may take around a trial at worst: two looks at the GPUs, a node that comes to rest, two probes.

A task that meets its time limit has failed by itself, so that the limit must leave room for a slow site.
"""

_MOST_RERUNS = RUNS // 2
"""Where the site voids more trials of an array than this, it is sick, and nothing is run again."""

_OWN_ENDS = (JobState.COMPLETED, JobState.FAILED, JobState.TIMEOUT, JobState.OUT_OF_MEMORY)
"""How a task ends by what runs in it, not by its site."""


def _rerun(name: str) -> str:
    return f"{name}-rerun"


@dataclass(frozen=True)
class Retimer:
    """What every retiming of a session shares."""

    config: Config
    session: SessionPaths
    session_id: str
    cluster: Cluster
    container: Container
    ledger: Ledger
    watch: Callable[[], None] = lambda: None
    """Called at each poll while trials are awaited."""

    def retime(self, kind: _Kind, name: str, sealed: Seal, where: RetimingPaths) -> list[Trial]:
        """Trials of a seal, one for each run; what the site voided was run once more.

        Args:
            name: of the array within the session, e.g. the submission's number.

        Raises:
            BudgetExceeded: the worst case does not fit; nothing was queued.
            SchedulerError: the cluster does not answer.
        """
        collected = store.once(where.collected, Trials, lambda: self._trials(kind, name, sealed, where))
        return list(collected.trials)

    def _trials(self, kind: _Kind, name: str, sealed: Seal, where: RetimingPaths) -> Trials:
        trials = self._array(kind, name, sealed, where, tuple(range(RUNS)))
        void = [trial for trial in trials if trial.outcome is TrialOutcome.INFRASTRUCTURE]
        clean = [trial for trial in trials if trial.outcome is TrialOutcome.CLEAN]
        # One failure of the candidate's own decides already.
        if 0 < len(void) <= _MOST_RERUNS and len(void) + len(clean) == RUNS:
            log.info("%s: %d void trials run once more, e.g. %d: %s", name, len(void), void[0].index, void[0].note)
            again = self._array(kind, _rerun(name), sealed, where.rerun, tuple(trial.index for trial in void))
            for first, second in zip(void, again, strict=True):
                trials[first.index] = second.model_copy(update={"first_run_void": first.note})
        return Trials(trials=tuple(trials))

    def _array(
        self, kind: _Kind, name: str, sealed: Seal, where: RetimingPaths, indices: tuple[int, ...]
    ) -> list[Trial]:
        plan = store.once(where.plan, TrialPlan, lambda: self._plan(name, sealed, where, indices))
        self.ledger.run_to_queue(kind, self._job(plan, where))
        progress, poll_s = _Progress(where, plan, name), self.config.cluster.poll_seconds

        def watch() -> None:
            progress.log_news()
            self.watch()

        entry = self.ledger.wait_until_over(plan.job_name, poll_s, watch)
        self._await_records(plan, where, entry.attempts)
        return collect(plan, where, entry.attempts)

    def _await_records(self, plan: TrialPlan, where: RetimingPaths, attempts: Sequence[Attempt]) -> None:
        """A file system shared by many nodes may show a record later than the scheduler shows its task's end."""
        ended = {plan.indices[row.task] for row in attempts if row.state is JobState.COMPLETED}
        deadline = time.monotonic() + self.config.cluster.absent_grace_seconds
        while time.monotonic() < deadline:
            list(where.trials.iterdir())  # makes a network file system look again
            if all(_final_record(where, index) for index in ended):
                return
            time.sleep(self.config.cluster.poll_seconds)

    def charged(self, name: str) -> int:
        """GPU-seconds that the arrays of this name were charged so far; 0 if there are none."""
        return self.ledger.charged(self._job_name(name)) + self.ledger.charged(self._job_name(_rerun(name)))

    def _job_name(self, name: str) -> str:
        return f"slurm_bench-{self.session_id}-{name}"

    def _plan(self, name: str, sealed: Seal, where: RetimingPaths, indices: tuple[int, ...]) -> TrialPlan:
        config, image = self.config, self.container.image
        program = seals.load(self.session.seals, sealed)[PROGRAM]
        return TrialPlan(
            job_name=self._job_name(name),
            seal=sealed,
            seal_dir=str(self.session.seals / sealed.sha256),
            data_dir=config.task.data,
            trials_dir=str(where.trials),
            scratch_dir=config.cluster.scratch,
            indices=indices,
            timeout_s=round(config.task.trial_minutes * 60),
            scratch_bytes=round(config.task.trial_gigabytes * 2**30),
            declared_steps=tuple(sorted(declared_steps(program))),
            environment=dict(config.task.environment),
            container="apptainer" if image else "none",
            image=str(image) if image else None,
            image_sha256=containers.image_sha256(self.container),
            gpus=config.cluster.trial_gpus if config.container.gpu_devices else 0,
            foreign_cores=config.cluster.foreign_cores,
            step=self.cluster.step,
        )

    def _job(self, plan: TrialPlan, where: RetimingPaths) -> Job:
        where.trials.mkdir(parents=True, exist_ok=True)
        return Job(
            name=plan.job_name,
            folder=where.jobs,
            command=python_command(trial.__name__, str(where.plan)),
            tasks=len(plan.indices),
            gpus=self.config.cluster.trial_gpus,
            node_gpus=self.config.cluster.node_gpus,
            exclusive=self.config.cluster.exclusive,
            limit_minutes=math.ceil((plan.timeout_s + _RUNNER_S) / 60),
        )


def collect(plan: TrialPlan, where: RetimingPaths, attempts: Sequence[Attempt]) -> list[Trial]:
    """A trial for each task of an array that is over.

    A task has a trial that counts if it was attempted once and came to its own end, good or bad, with a record: its
    runner writes one before the candidate starts. What the scheduler or the site ended is void, whatever it wrote.
    """
    by_task = {task: [row for row in attempts if row.task == task] for task in range(len(plan.indices))}
    states = latest_states(attempts)
    return [_trial(plan, where, index, by_task[task], states.get(task)) for task, index in enumerate(plan.indices)]


def _trial(
    plan: TrialPlan, where: RetimingPaths, index: int, attempts: Sequence[Attempt], state: JobState | None
) -> Trial:
    if not attempts:
        return _void(plan, index, f"the task of trial {index} was never run")
    last, job = attempts[-1], f"{attempts[-1].job_id}_{attempts[-1].task}"
    if len(attempts) > 1:
        return _void(plan, index, f"the task of trial {index} ran {len(attempts)} times", last)
    final = _final_record(where, index)
    if final and state in _OWN_ENDS:
        return final
    how = f"{state} (exit {last.exit_code})"
    begun = store.read_if_there(where.trial(index), Trial)
    if begun and state in _OWN_ENDS and state is not JobState.COMPLETED:
        return begun.model_copy(update={"outcome": TrialOutcome.CRASHED, "note": f"its runner was ended: {how}"})
    return _void(
        plan, index, f"the task of trial {index} ended {how} without a result: {where.jobs}/{job}_0_log.err", last
    )


def _final_record(where: RetimingPaths, index: int) -> Trial | None:
    record = store.read_if_there(where.trial(index), Trial)
    return record if record and record.outcome is not TrialOutcome.BEGUN else None


def _void(plan: TrialPlan, index: int, note: str, attempt: Attempt | None = None) -> Trial:
    return Trial(
        index=index,
        outcome=TrialOutcome.INFRASTRUCTURE,
        note=note,
        started=attempt.started if attempt else None,
        ended=attempt.ended if attempt else None,
        node=attempt.node if attempt else "",
        job=f"{attempt.job_id}_{attempt.task}" if attempt else "",
        seal=plan.seal.sha256,
        image_sha256=plan.image_sha256,
    )


class _Progress:
    """Says each trial once, when it is over."""

    def __init__(self, where: RetimingPaths, plan: TrialPlan, name: str) -> None:
        self._where, self._name = where, name
        self._waiting, self._count = list(plan.indices), len(plan.indices)

    def log_news(self) -> None:
        for index in list(self._waiting):
            record = _final_record(self._where, index)
            if record:
                self._waiting.remove(index)
                done = self._count - len(self._waiting)
                log.info("%s: trial %d/%d %s", self._name, done, self._count, _describe(record))


def _describe(record: Trial) -> str:
    """One trial in a few words."""
    if record.result is None:
        return f"{record.outcome}: {record.note}"
    return (
        f"{record.outcome}: loss {record.result.val_loss:.4f}, {record.result.train_time_s:.2f} s of training, "
        f"{record.wall_s:.1f} s in all, on {record.node}"
    )
