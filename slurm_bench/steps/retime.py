"""Blocks of trials: planned, reserved, queued, awaited and collected, each step resumable from its record.

A block is one array task: a trial of a seal, and in the paired design one of the incumbent on the same node.
"""

import itertools
import logging
import math
import random
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from slurm_bench.effects import containers, folders, seals, store, trouble
from slurm_bench.effects.cluster import Cluster, Job, python_command
from slurm_bench.effects.containers import Container
from slurm_bench.pure.blocks import Left, collect, final, recorded, to_run_again, with_reruns
from slurm_bench.pure.budget import h100_hours
from slurm_bench.pure.rules import CONFIRMATION_RUNS, MOST_CONFIRMATIONS, PROGRAM, RUNS
from slurm_bench.pure.settings import declared_steps
from slurm_bench.steps import trial
from slurm_bench.steps.ledger import Ledger
from slurm_bench.words import paths
from slurm_bench.words.accounting import Attempt, JobState, LedgerEntry
from slurm_bench.words.config import Config
from slurm_bench.words.errors import BudgetExceeded, InfrastructureError, SchedulerError
from slurm_bench.words.paths import RetimingPaths
from slurm_bench.words.records import Seal
from slurm_bench.words.trials import Arm, Block, Caches, Design, EarlyStop, Retiming, Trial, TrialOutcome, TrialPlan

log = logging.getLogger(__name__)

TimedKind = Literal["calibration", "retiming", "decoy", "confirmation"]

Look = Callable[[Sequence[Block]], EarlyStop | None]
"""Asked of the blocks that are over whether the rest need be run."""


@dataclass(frozen=True)
class Timing:
    """What is to be timed."""

    kind: TimedKind
    name: str
    """Of the array among those of a Retimer, e.g. the submission's number."""
    arms: tuple[Seal, ...]
    """A seal, and in the paired design the incumbent's beside it."""
    look: Look = lambda blocks: None
    runs: int = RUNS
    """Blocks, where this is no decoy run."""
    caches: tuple[Caches | None, ...] = ()
    """What the runs of each arm begin with; none are empty ones."""
    decoy: "DecoyRun | None" = None
    """Where this is a decoy run."""
    candidate_first: tuple[int, ...] | None = None
    """Blocks that the first arm begins; None draws half of them."""

    @property
    def indices(self) -> tuple[int, ...]:
        """Return the indices of its blocks."""
        return (0,) if self.decoy else tuple(range(self.runs))

    def again(self, first: TrialPlan) -> "Timing":
        """The array of what has to be run once more, as the first was planned: all of it, whatever it shows."""
        return replace(
            self,
            name=f"{self.name}{RERUN}",
            look=lambda blocks: None,
            caches=tuple(arm.caches for arm in first.arms),
            candidate_first=first.candidate_first,
        )


@dataclass(frozen=True)
class DecoyRun:
    """What sets a decoy run apart from one that counts; its arms are the canary, and what compiles before it."""

    data: Path
    """In place of task.data."""
    keeps: Path
    """Archive for what it compiles."""


RERUN = "-rerun"
"""At the end of the name of what is run once more."""
_DECOY = "-decoy"

_RUNNER_S = 300
"""What the runner may take around each trial at worst: two looks at the GPUs, a node that comes to rest, two probes.

A task that meets its time limit has failed by itself, so that the limit must leave room for a slow site.
"""


@dataclass(frozen=True)
class Retimer:
    """What every retiming of a session, or of a calibration, shares."""

    config: Config
    seals: Path
    """Folder of seals."""
    identity: str
    """Unique for all time: what jobs are named by."""
    cluster: Cluster
    container: Container
    ledger: Ledger
    watch: Callable[[], None] = lambda: None
    """Called at each poll while trials are awaited."""
    rest: Callable[[], AbstractContextManager[None]] = nullcontext
    """What the node has to be kept in while trials run there that are nested in our job."""

    def retime(self, timing: Timing, where: RetimingPaths) -> Retiming:
        """Blocks of trials (or one decoy run), or as many as its looks let run; what the site voided ran once more.

        Raises:
            BudgetExceeded: the worst case does not fit; nothing was queued.
            SchedulerError: the cluster does not answer.
            StorageError: the folder of runs stays in trouble; the next call goes on.
        """

        tries = itertools.count()

        def go_on() -> Retiming:
            if next(tries):
                self.watch()
            return store.once(where.collected, Retiming, lambda: self._retiming(timing, where))

        cluster = self.config.cluster
        patience_s = 60 * cluster.silence_minutes
        return trouble.waited_out(go_on, where.root, trouble.of_waits(patience_s, cluster.poll_seconds))

    def afresh(self) -> "Retimer":
        """Return the same with allocations of their own for all trials, also where others are nested in our job."""
        config = replace(self.config, retime=replace(self.config.retime, where="fresh"))
        return replace(self, config=config, rest=nullcontext)

    @property
    def has_room_for_two(self) -> bool:
        """Whether two arrays may run at once; a scheduler sees to it itself."""
        cluster = self.config.cluster
        return not self.config.retime.is_nested and (cluster.kind == "slurm" or cluster.parallel > 1)

    def begin(self, timing: Timing, where: RetimingPaths) -> None:
        """Queue an array unless it is, without waiting for it.

        Raises:
            As retime.
        """
        plan = store.once(where.plan, TrialPlan, lambda: self._plan(timing, where, timing.indices))
        self.ledger.run_to_queue(timing.kind, self._job(plan, where))

    def _retiming(self, timing: Timing, where: RetimingPaths) -> Retiming:
        blocks = self._array(timing, where, timing.indices)
        stopped = store.read_if_there(where.stopped, EarlyStop)
        own = timing.decoy and not _failed_by_site(blocks)
        void = {} if own else to_run_again(blocks, stopped)
        if void:
            index, why = next(iter(void.items()))
            log.info("%s: %d void blocks run once more, e.g. %d: %s", timing.name, len(void), index, why)
            blocks = with_reruns(blocks, self._again(timing, where, tuple(void)), void)
        return Retiming(blocks=tuple(blocks), stopped=stopped)

    def _again(self, timing: Timing, where: RetimingPaths, void: tuple[int, ...]) -> list[Block]:
        try:
            return self._array(timing.again(store.read(where.plan, TrialPlan)), where.rerun, void)
        except BudgetExceeded as error:
            # The array itself was run and paid for: its submission is undecided, and not one that did not fit.
            raise InfrastructureError(f"{len(void)} blocks were void and cannot be run again: {error}") from None

    def _array(self, timing: Timing, where: RetimingPaths, indices: tuple[int, ...]) -> list[Block]:
        plan = store.once(where.plan, TrialPlan, lambda: self._plan(timing, where, indices))
        with self.rest() if self.config.retime.is_nested else nullcontext():
            entry = self._run(timing, plan, where)
        self._await_records(plan, entry.attempts)
        left = Left(trial_of, str(where.jobs))
        return collect(plan, left, entry.attempts, store.read_if_there(where.stopped, EarlyStop))

    def _run(self, timing: Timing, plan: TrialPlan, where: RetimingPaths) -> LedgerEntry:
        """Queue an array unless it is, and return its entry once it is over."""
        self.ledger.run_to_queue(timing.kind, self._job(plan, where))
        progress, poll_s = _Progress(plan, timing.name), self.config.cluster.poll_seconds
        stopping = _Stopping(self.cluster, plan, where, timing.look)

        def watch(states: Mapping[int, JobState]) -> None:
            progress.log_news()
            stopping.look_again(states)
            self.watch()

        try:
            return self.ledger.wait_until_over(plan.job_name, poll_s, watch)
        except BaseException:
            if self.config.retime.is_nested:
                self.cluster.cancel(plan.job_name)  # it must not run on beside an agent that goes on
            raise

    def _await_records(self, plan: TrialPlan, attempts: Sequence[Attempt]) -> None:
        """A file system shared by many nodes may show a record later than the scheduler shows its task's end."""
        ended = {plan.indices[row.task] for row in attempts if row.state is JobState.COMPLETED}
        deadline = time.monotonic() + self.config.cluster.absent_grace_seconds
        while time.monotonic() < deadline:
            for arm in plan.arms:
                list(Path(arm.trials_dir).iterdir())  # makes a network file system look again
            if all(recorded(plan, Left(trial_of, ""), index) for index in ended):
                return
            time.sleep(self.config.cluster.poll_seconds)

    def refuse_unaffordable(self, name: str, decoy_runs: int) -> None:
        """
        Args:
            decoy_runs: that have to be made first.

        Raises:
            BudgetExceeded: what a submission costs at worst does not fit; nothing of it was queued yet.
        """
        counts = {"retiming", "decoy"} <= set(self.config.budget.counts)
        if counts and not any(self.ledger.was_queued(job_name) for job_name in self._job_names(name)):
            needed = worst_case_h100_hours(self.config, self.cluster.overrun_s, decoy_runs)
            error = self.ledger.balances().exceeded(f"retiming {self.job_name(name)}", needed)
            if error:
                raise error

    def end(self, name: str) -> None:
        """Cancel what is left of the arrays of this name, if anything is; a scheduler that is silent is asked again."""
        for job_name in self._job_names(name):
            if self.ledger.is_open(job_name):
                with suppress(SchedulerError):
                    self.cluster.cancel(job_name)

    def was_queued(self, name: str) -> bool:
        """Whether an array of this name was ever queued, so that a look at its runs was possible."""
        return self.ledger.was_queued(self.job_name(name))

    def charged(self, name: str) -> int:
        """GPU-seconds that the arrays of this name were charged so far; 0 if there are none."""
        return sum(self.ledger.charged(job_name) for job_name in self._job_names(name))

    def _job_names(self, name: str) -> list[str]:
        """Of the arrays that one submission can have: its decoy run's, its own, and what was run once more of both."""
        return [self.job_name(f"{name}{part}{again}") for part in (_DECOY, "") for again in ("", RERUN)]

    def job_name(self, name: str) -> str:
        return f"slurm_bench-{self.identity}-{name}"

    def _plan(self, timing: Timing, where: RetimingPaths, indices: tuple[int, ...]) -> TrialPlan:
        config, image = self.config, self.container.image
        gpus = config.cluster.trial_gpus
        folders = (where.trials, where.incumbents)
        return TrialPlan(
            job_name=self.job_name(timing.name),
            arms=tuple(self._arm(timing, place, folder) for place, folder in enumerate(folders[: len(timing.arms)])),
            data_dir=str(timing.decoy.data) if timing.decoy else config.task.data,
            scratch_dir=config.cluster.scratch,
            indices=indices,
            candidate_first=_half(timing.indices) if timing.candidate_first is None else timing.candidate_first,
            timeout_s=round(config.task.trial_minutes * 60),
            scratch_bytes=round(config.task.trial_gigabytes * 2**30),
            environment=dict(config.task.environment),
            cache_variables=dict(config.task.caches),
            is_decoy=timing.decoy is not None,
            container="apptainer" if image else "none",
            image=str(image) if image else None,
            image_sha256=containers.image_sha256(self.container),
            gpus=gpus if config.container.gpu_devices else 0,
            foreign_cores=config.cluster.foreign_cores,
            step=self.cluster.step_beside(gpus) if config.retime.is_nested else self.cluster.step,
        )

    def _arm(self, timing: Timing, place: int, trials: Path) -> Arm:
        sealed = timing.arms[place]
        program = seals.load(self.seals, sealed)[PROGRAM]
        return Arm(
            seal=sealed,
            seal_dir=str(self.seals / sealed.sha256),
            trials_dir=str(trials),
            declared_steps=tuple(sorted(declared_steps(program))),
            caches=timing.caches[place] if timing.caches else None,
            keeps=str(timing.decoy.keeps) if timing.decoy and place > 0 else None,
        )

    def _job(self, plan: TrialPlan, where: RetimingPaths) -> Job:
        for arm in plan.arms:
            folders.make(Path(arm.trials_dir))
        return Job(
            name=plan.job_name,
            folder=where.jobs,
            command=python_command(trial.__name__, str(where.plan)),
            tasks=len(plan.indices),
            gpus=self.config.cluster.trial_gpus,
            node_gpus=self.config.cluster.node_gpus,
            exclusive=self.config.cluster.exclusive,
            limit_minutes=_limit_minutes(plan.timeout_s, len(plan.arms)),
            nested=self.config.retime.is_nested,
        )


def _half(indices: Sequence[int]) -> tuple[int, ...]:
    """Return half of the blocks, drawn at random: nobody can tell, or time, who begins the next one."""
    return tuple(sorted(random.SystemRandom().sample(indices, len(indices) // 2)))


def most_minutes_of_a_task(config: Config) -> int:
    """Time limit of an array's task under this configuration."""
    arms = 2 if Design(config.retime.design) is Design.PAIRED else 1
    return _limit_minutes(round(config.task.trial_minutes * 60), arms)


def most_minutes_of_a_decoy_run(config: Config) -> int:
    """Time limit of its job, which has two halves."""
    return _limit_minutes(round(config.task.trial_minutes * 60), 2)


def worst_case_h100_hours(config: Config, overrun_s: int, decoy_runs: int = 2) -> float:
    """What one submission may cost under this configuration, reruns of void blocks left out.

    Args:
        decoy_runs: that have to be made first: its own, and before a campaign's first one the starting record's.

    Nothing where it is timed in the session's own job, whose GPUs are paid for all the time.
    """
    if config.retime.is_nested:
        return 0.0
    gpus = config.cluster.node_gpus if config.cluster.exclusive else config.cluster.trial_gpus
    seconds = RUNS * (60 * most_minutes_of_a_task(config) + overrun_s)
    if config.retime.caches == "decoy":
        seconds += decoy_runs * (60 * most_minutes_of_a_decoy_run(config) + overrun_s)
    return h100_hours(gpus * seconds, config.h100_weight)


def worst_case_of_scores_h100_hours(config: Config) -> float:
    """What the confirmations of one session may cost, reruns of void blocks left out."""
    gpus = config.cluster.node_gpus if config.cluster.exclusive else config.cluster.trial_gpus
    minutes = _limit_minutes(round(config.task.trial_minutes * 60), 2)
    return MOST_CONFIRMATIONS * CONFIRMATION_RUNS * h100_hours(gpus * 60 * minutes, config.h100_weight)


def _failed_by_site(blocks: Sequence[Block]) -> bool:
    outcomes = [trial.outcome for block in blocks for trial in (block.candidate, block.incumbent) if trial]
    return TrialOutcome.INFRASTRUCTURE in outcomes


def _limit_minutes(timeout_s: int, arms: int) -> int:
    """Time limit of a task that runs so many trials in turn."""
    return math.ceil(arms * (timeout_s + _RUNNER_S) / 60)


def trial_of(arm: Arm, index: int) -> Trial | None:
    return store.read_if_there(paths.trial_record(Path(arm.trials_dir), index), Trial)


class _Stopping:
    """Looks at the blocks that are over whenever there are more of them, and cancels the rest if they decide."""

    def __init__(self, cluster: Cluster, plan: TrialPlan, where: RetimingPaths, look: Look) -> None:
        self._cluster, self._plan, self._where, self._look = cluster, plan, where, look
        self._left = Left(trial_of, str(where.jobs))
        self._seen = 0
        self._cancelled = False

    def look_again(self, states: Mapping[int, JobState]) -> None:
        if self._cancelled:
            return
        stopped = store.read_if_there(self._where.stopped, EarlyStop) or self._decide(states)
        if stopped is not None:
            self._cancel(stopped)

    def _decide(self, states: Mapping[int, JobState]) -> EarlyStop | None:
        """Look if there is more to see than at the last look; only tasks that the scheduler too calls completed count.

        A decision is written down before anything is cancelled: this array is stopped then, also for our successor.
        """
        ended = [self._plan.indices[task] for task, state in states.items() if state is JobState.COMPLETED]
        over = [block for index in sorted(ended) if (block := recorded(self._plan, self._left, index))]
        if len(over) in (self._seen, len(self._plan.indices)):
            return None
        self._seen = len(over)
        stopped = self._look(over)
        if stopped is not None:
            store.write(self._where.stopped, stopped)
        return stopped

    def _cancel(self, stopped: EarlyStop) -> None:
        log.info("stopping early: %s", stopped.reason)
        try:
            self._cluster.cancel(self._plan.job_name)
            self._cancelled = True
        except SchedulerError as error:
            log.warning("the rest is not cancelled yet: %s", error)


class _Progress:
    """Says each run once, when it is over."""

    def __init__(self, plan: TrialPlan, name: str) -> None:
        self._name = name
        names = ("the canary, ", "compiling, ") if plan.is_decoy else ("", "the incumbent's ")
        self._waiting = [
            (name, arm, index) for index in plan.indices for name, arm in zip(names, plan.arms, strict=False)
        ]
        self._count = len(self._waiting)

    def log_news(self) -> None:
        for waiting in list(self._waiting):
            whose, arm, index = waiting
            record = final(trial_of(arm, index))
            if record:
                self._waiting.remove(waiting)
                done = self._count - len(self._waiting)
                log.info("%s: %d/%d, %strial %d %s", self._name, done, self._count, whose, index, _describe(record))


def _describe(record: Trial) -> str:
    """One trial in a few words."""
    if record.result is None:
        return f"{record.outcome}: {record.note}, {record.wall_s:.1f} s"
    return (
        f"{record.outcome}: loss {record.result.val_loss:.4f}, {record.result.train_time_s:.2f} s of training, "
        f"{record.wall_s:.1f} s in all, on {record.node}"
    )
