"""The desk for experiments: an agent without GPUs asks for a job for each thing that it tries.

Each step's record is looked for before the step is done, so a desk that died goes on where it was. Nothing here waits:
it is called again and again, also while a submission is timed.
"""

import logging
import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePosixPath

from slurm_bench.effects import containers, seals, store
from slurm_bench.effects.clock import Clock, SystemClock
from slurm_bench.effects.cluster import Cluster, Job, python_command
from slurm_bench.effects.containers import Container, Mount
from slurm_bench.pure import experiments
from slurm_bench.pure.rules import LAUNCHER
from slurm_bench.steps import experiment as runner
from slurm_bench.steps.ledger import Ledger
from slurm_bench.steps.outbox import Outbox
from slurm_bench.words.config import Config
from slurm_bench.words.errors import BenchError, BudgetExceeded, InvalidCandidate, JobRefused, SchedulerError
from slurm_bench.words.experiments import (
    Experiment,
    ExperimentNote,
    ExperimentPlan,
    ExperimentRequest,
    ExperimentRun,
)
from slurm_bench.words.paths import SessionPaths
from slurm_bench.words.records import Seal
from slurm_bench.words.trials import Arm, Caches, TrialPlan

log = logging.getLogger(__name__)

_AROUND_MINUTES = 3
"""What the runner may take around an experiment: a look at the GPUs, its caches, what it left."""
_LEAST_INTERVAL = timedelta(seconds=1)
_MOST_AN_HOUR = 240
"""Requests for experiments that are answered; more wait for their turn, whatever is wrong with them."""
_ARCHIVES = "*caches.tar.gz*"
"""With what a runner that was killed has left of one."""


def limit_minutes(minutes: float) -> int:
    """Return the time limit of an experiment's job."""
    return math.ceil(minutes) + _AROUND_MINUTES


@dataclass(frozen=True)
class Site:
    """Where experiments run, and who keeps their books."""

    identity: str
    """Unique for all time: what jobs are named by."""
    cluster: Cluster
    container: Container
    ledger: Ledger


class Experiments:
    """
    Args:
        workspace: as the agent's container sees it.
    """

    def __init__(
        self, config: Config, paths: SessionPaths, site: Site, workspace: Mount, *, clock: Clock | None = None
    ) -> None:
        self._config, self._paths, self._site = config, paths, site
        self._workspace = PurePosixPath(site.container.inside(workspace))
        self._clock = clock or SystemClock()
        self._outbox = Outbox(
            paths.experiments_outbox, ExperimentRequest, lambda name: paths.experiment_note(name).exists()
        )
        self._interval = max(_LEAST_INTERVAL, timedelta(seconds=config.cluster.poll_seconds))
        self._followed_at: datetime | None = None
        self._rests_until: datetime | None = None
        """After something went wrong that the next try may not meet."""
        self._taken = {each.request: each for each in self._all()}
        self._open = [each for each in self._taken.values() if self._note(each).state != "over"]
        self._begun_at: list[datetime] = []
        """Within the last hour."""
        self._cancelled: set[str] = set()
        """Numbers, since the desk last looked: who asks again and again makes nobody but us work."""
        self._newest = self._newest_caches()
        self._unpruned = [each for each in self._taken.values() if each not in self._open]
        """Over, perhaps with caches that nobody begins with any more."""

    def tick(self) -> None:
        """Take up what is asked for, and say what has changed. What goes wrong here is no matter of a verdict's."""
        now = self._clock.now()
        if self._rests_until and now < self._rests_until:
            return
        if self._followed_at is None or now - self._followed_at >= self._interval:
            self._followed_at = now
            self._try(self._follow, now)
        self._try(self._take_all, now)

    def _try(self, step: Callable[[], None], now: datetime) -> None:
        try:
            step()
        except BenchError as error:
            log.warning("experiments: %s", error)
            self._rests_until = now + self._interval
        except Exception:
            log.exception("experiments: a defect of the desk")
            self._rests_until = now + self._interval

    def end(self) -> None:
        """Cancel what is open, and return once it is over: its agent is."""
        ledger = self._site.ledger
        names = [name for name in map(self._job_name, self._taken.values()) if ledger.is_open(name)]
        for name in names:
            self._site.cluster.cancel(name)
        for name in names:
            try:
                ledger.wait_until_over(name, self._config.cluster.poll_seconds, lambda states: None)
            except SchedulerError:
                if ledger.was_queued(name):
                    raise
        for each in self._open:
            self._end_unqueued(each)
        self._follow()

    def all_wait_for_gpus(self) -> bool:
        """Return whether all that the agent has queued waits."""
        return experiments.all_wait(self._site.ledger.entries())

    # --- what is asked for

    def _take_all(self) -> None:
        for request in self._outbox.waiting():
            if request.cancels:
                self._cancel(request)
            elif request.id in self._taken or self._is_its_turn():
                self._begin(request)

    def _is_its_turn(self) -> bool:
        since = self._clock.now() - timedelta(hours=1)
        self._begun_at = [each for each in self._begun_at if each > since]
        return len(self._open) < self._config.agent.experiments_at_once and len(self._begun_at) < _MOST_AN_HOUR

    def _cancel(self, request: ExperimentRequest) -> None:
        found = next((each for each in self._open if each.number == request.cancels), None)
        if found and found.number not in self._cancelled:
            log.info("experiment %s is cancelled", found.number)
            self._site.cluster.cancel(self._job_name(found))
            self._cancelled.add(found.number)
            self._end_unqueued(found)
        self._outbox.drop(request.id)

    def _end_unqueued(self, taken: Experiment) -> None:
        """One whose job nobody knows would be queued at the next look; should it be there after all, it is ended."""
        entry = self._site.ledger.entry(self._job_name(taken))
        if entry is None or entry.job_id is None:
            self._tell_over(taken, exit_code=experiments.CANCELLED, note=experiments.WAS_CANCELLED)

    def _begin(self, request: ExperimentRequest) -> None:
        try:
            taken = self._taken.get(request.id) or self._numbered(request)
        except InvalidCandidate as error:
            self._refuse(request, error)
            return
        log.info("experiment %s: %r, GPUs: %d", taken.number, taken.path, taken.gpus)
        if taken not in self._open:
            self._open.append(taken)
        self._queue(taken)
        if not self._paths.experiment_note(taken.request).exists():
            self._tell(experiments.begun(taken))

    def _numbered(self, request: ExperimentRequest) -> Experiment:
        self._begun_at.append(self._clock.now())
        cluster, task = self._config.cluster, self._config.task
        most = self._config.agent.experiment_minutes
        gpus, minutes = experiments.asked(request, cluster.trial_gpus, task.trial_minutes, most)
        taken = Experiment(
            number=f"{len(self._taken) + 1:04}",
            request=request.id,
            path=request.path,
            gpus=gpus,
            minutes=minutes,
            received_at=datetime.now(UTC),
            seal=self._sealed(self._folder(request.path)),
        )
        store.write(self._paths.experiment(taken.number).experiment, taken)
        self._taken[taken.request] = taken
        return taken

    def _all(self) -> list[Experiment]:
        records = sorted(self._paths.experiments.glob("*/experiment.json"), key=lambda each: int(each.parent.name))
        return [store.read(record, Experiment) for record in records]

    def _folder(self, path: str) -> PurePosixPath:
        """The folder relative to the workspace, judged by its text alone."""
        folder = PurePosixPath(path)
        if not folder.is_relative_to(self._workspace) or folder == self._workspace or ".." in folder.parts:
            raise InvalidCandidate(f"{path!r} is not a folder in {self._workspace}")
        return folder.relative_to(self._workspace)

    def _sealed(self, folder: PurePosixPath) -> Seal:
        try:
            return seals.seal(self._paths.workspace, folder, self._paths.seals, required=(LAUNCHER,))
        except OSError as error:
            raise InvalidCandidate(f"{folder} cannot be copied: {error.strerror}") from None

    def _refuse(self, request: ExperimentRequest, error: BenchError) -> None:
        log.info("an experiment is refused: %s", error)
        self._tell(experiments.refused(request, error.exit_code, str(error)))

    # --- its job

    def _queue(self, taken: Experiment) -> None:
        if self._site.ledger.was_queued(self._job_name(taken)):
            return  # or may have been: the ledger finds out by the way, where to ask now would be to wait
        where = self._paths.experiment(taken.number)
        plan = store.once(where.plan, ExperimentPlan, lambda: self._plan(taken))
        try:
            self._site.ledger.run_to_queue("experiment", self._job(taken, plan))
        except BudgetExceeded as error:
            figures = f"it may cost {error.worst_case:.3f} H100-hours, and {error.left:.3f} are left"
            self._tell_over(taken, exit_code=error.exit_code, note=f"{figures}: ask for fewer --minutes or --gpus")
        except JobRefused as error:
            self._tell_over(taken, exit_code=error.exit_code, note=str(error))
        except SchedulerError as error:
            log.warning("experiment %s waits: %s", taken.number, error)

    def _job_name(self, taken: Experiment) -> str:
        return f"slurm_bench-{self._site.identity}-experiment{taken.number}"

    def _job(self, taken: Experiment, plan: ExperimentPlan) -> Job:
        where = self._paths.experiment(taken.number)
        self._paths.experiment_output(taken.number).parent.mkdir(parents=True, exist_ok=True)
        return Job(
            name=plan.run.job_name,
            folder=where.jobs,
            command=python_command(runner.__name__, str(where.plan)),
            tasks=1,
            gpus=taken.gpus,
            node_gpus=self._config.cluster.node_gpus,
            exclusive=False,
            limit_minutes=limit_minutes(taken.minutes),
        )

    def _plan(self, taken: Experiment) -> ExperimentPlan:
        where = self._paths.experiment(taken.number)
        return ExperimentPlan(
            run=self._run_of(taken),
            output=str(self._paths.experiment_output(taken.number)),
            left=str(self._paths.experiment_left(taken.number)),
            keeps=str(where.caches),
            record=str(where.run),
        )

    def _run_of(self, taken: Experiment) -> TrialPlan:
        config, container = self._config, self._site.container
        arm = Arm(
            seal=taken.seal,
            seal_dir=str(self._paths.seals / taken.seal.sha256),
            trials_dir="",
            declared_steps=(),
            caches=self._newest,
        )
        return TrialPlan(
            job_name=self._job_name(taken),
            arms=(arm,),
            data_dir=config.task.data,
            scratch_dir=config.cluster.scratch,
            indices=(0,),
            candidate_first=(0,),
            timeout_s=round(60 * taken.minutes),
            scratch_bytes=round(config.task.trial_gigabytes * 2**30),
            environment=dict(config.task.environment),
            cache_variables=dict(config.task.caches),
            container="apptainer" if container.image else "none",
            image=str(container.image) if container.image else None,
            image_sha256=containers.image_sha256(container),
            gpus=taken.gpus if config.container.gpu_devices else 0,
            foreign_cores=None,
            step=self._site.cluster.step,
        )

    def _newest_caches(self) -> Caches | None:
        """What the session's last experiment that compiled anything left; never seen by a timed run."""
        for each in reversed(self._taken.values()):
            run = store.read_if_there(self._paths.experiment(each.number).run, ExperimentRun)
            if run and run.caches and Path(run.caches.archive).exists():
                return run.caches
        return None

    # --- how it goes on

    def _follow(self) -> None:
        self._cancelled.clear()
        waiting = [each for each in self._open if self._note(each).state == "waiting"]
        starts = self._expected_starts(waiting)
        for each in list(self._open):
            self._look_at(each, starts.get(self._job_name(each)))
        self._unpruned += [each for each in self._open if self._note(each).state == "over"]
        self._open = [each for each in self._open if self._note(each).state != "over"]
        self._prune()

    def _expected_starts(self, waiting: list[Experiment]) -> dict[str, datetime]:
        with suppress(SchedulerError):
            return dict(self._site.cluster.expected_starts([self._job_name(each) for each in waiting]))
        return {}

    def _look_at(self, taken: Experiment, starts: datetime | None) -> None:
        entry = self._site.ledger.entry(self._job_name(taken))
        run = store.read_if_there(self._paths.experiment(taken.number).run, ExperimentRun)
        note = self._note(taken)
        if note.state == "over":
            return
        if entry is None:
            self._queue(taken)
        elif entry.settled_at is None:
            known = {"state": "running", "starts": None} if run else {"state": "waiting", "starts": starts}
            self._tell(note.model_copy(update=known))
        else:
            left = self._site.ledger.balances().tightest.left
            self._newest = (run and run.caches) or self._newest
            self._tell(experiments.at_its_end(note, run, entry, left))
            log.info("experiment %s is over: %s", taken.number, self._note(taken).note or "its program has ended")

    def _note(self, taken: Experiment) -> ExperimentNote:
        known = store.read_if_there(self._paths.experiment_note(taken.request), ExperimentNote)
        return known or experiments.begun(taken)

    def _tell(self, note: ExperimentNote) -> None:
        file = self._paths.experiment_note(note.request)
        if note != store.read_if_there(file, ExperimentNote):
            store.write(file, note)
        if note.state == "over":
            self._outbox.drop(note.request)

    def _tell_over(self, taken: Experiment, **known: object) -> None:
        self._tell(self._note(taken).model_copy(update={"state": "over", **known}))

    def _prune(self) -> None:
        """Keep of all that were compiled the newest caches, and what an experiment that is open begins with."""
        plans = [store.read_if_there(self._paths.experiment(each.number).plan, ExperimentPlan) for each in self._open]
        begins = [arm.caches for plan in plans if plan for arm in plan.run.arms]
        needed = {caches.archive for caches in (self._newest, *begins) if caches}
        over, self._unpruned = self._unpruned, []
        for each in over:
            archives = {str(path) for path in self._paths.experiment(each.number).root.glob(_ARCHIVES)}
            for archive in archives - needed:
                Path(archive).unlink(missing_ok=True)
            if archives & needed:
                self._unpruned.append(each)


def waiting_of(paths: SessionPaths) -> set[str]:
    """Return the requests for experiments that are not over; a name that is no request's is none."""
    asked = {request.stem for request in paths.experiments_outbox.glob("*.json")}
    names = {name for name in asked if name.isascii() and name.isalnum()}
    notes = {name: store.read_if_there(paths.experiment_note(name), ExperimentNote) for name in names}
    return {name for name, note in notes.items() if note is None or note.state != "over"}
