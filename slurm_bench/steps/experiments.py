"""The desk for experiments: an agent without GPUs asks for a job for each thing that it tries.

Each step's record is looked for before the step is done, so a desk that died goes on where it was. Nothing here waits:
it is called again and again, also while a submission is timed.
"""

import logging
import math
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
        self._open = [each for each in self._all() if self._note(each).state != "over"]

    def tick(self) -> None:
        """Take up what is asked for, and say what has changed. What goes wrong here is no matter of a verdict's."""
        now = self._clock.now()
        if self._rests_until and now < self._rests_until:
            return
        try:
            for request in self._outbox.waiting():
                self._take(request)
            if self._followed_at is None or now - self._followed_at >= self._interval:
                self._followed_at = now
                self._follow()
        except BenchError as error:
            log.warning("experiments: %s", error)
            self._rests_until = now + self._interval
        except Exception:
            log.exception("experiments: a defect of the desk")
            self._rests_until = now + self._interval

    def end(self) -> None:
        """Cancel what is open, and return once it is over: its agent is."""
        for each in self._open:
            if self._site.ledger.was_queued(self._job_name(each)):
                self._site.cluster.cancel(self._job_name(each))
                self._site.ledger.wait_until_over(
                    self._job_name(each), self._config.cluster.poll_seconds, lambda states: None
                )
        self._follow()

    def all_wait_for_gpus(self) -> bool:
        """Return whether all that the agent has queued waits."""
        return experiments.all_wait(self._site.ledger.entries())

    # --- what is asked for

    def _take(self, request: ExperimentRequest) -> None:
        if request.cancels:
            self._cancel(request)
        elif len(self._open) < self._config.agent.experiments_at_once or self._known(request):
            self._begin(request)

    def _cancel(self, request: ExperimentRequest) -> None:
        for each in self._open:
            if each.number == request.cancels:
                log.info("experiment %s is cancelled", each.number)
                self._site.cluster.cancel(self._job_name(each))
        self._outbox.drop(request)

    def _begin(self, request: ExperimentRequest) -> None:
        try:
            taken = self._known(request) or self._numbered(request)
            folder = self._folder(taken.path)
            where = self._paths.experiment(taken.number)
            store.once(where.seal, Seal, lambda: self._sealed(folder))
        except InvalidCandidate as error:
            self._refuse(request, error)
            return
        log.info("experiment %s: %r on %d GPUs", taken.number, taken.path, taken.gpus)
        self._tell(experiments.begun(taken))
        if taken not in self._open:
            self._open.append(taken)
        self._queue(taken)

    def _numbered(self, request: ExperimentRequest) -> Experiment:
        cluster, task = self._config.cluster, self._config.task
        most = self._config.agent.experiment_minutes
        gpus, minutes = experiments.asked(request, cluster.trial_gpus, task.trial_minutes, most)
        self._folder(request.path)
        number = f"{len(self._all()) + 1:04}"
        now = datetime.now(UTC)
        taken = Experiment(
            number=number, request=request.id, path=request.path, gpus=gpus, minutes=minutes, received_at=now
        )
        store.write(self._paths.experiment(number).experiment, taken)
        return taken

    def _known(self, request: ExperimentRequest) -> Experiment | None:
        return next((each for each in self._all() if each.request == request.id), None)

    def _all(self) -> list[Experiment]:
        records = sorted(self._paths.experiments.glob("*/experiment.json"))
        return [store.read(record, Experiment) for record in records]

    def _folder(self, path: str) -> PurePosixPath:
        """The folder relative to the workspace, judged by its text alone."""
        folder = PurePosixPath(path)
        if not folder.is_relative_to(self._workspace) or folder == self._workspace or ".." in folder.parts:
            raise InvalidCandidate(f"{path!r} is not a folder in {self._workspace}")
        return folder.relative_to(self._workspace)

    def _sealed(self, folder: PurePosixPath) -> Seal:
        return seals.seal(self._paths.workspace, folder, self._paths.seals, required=(LAUNCHER,))

    def _refuse(self, request: ExperimentRequest, error: BenchError) -> None:
        log.info("an experiment is refused: %s", error)
        store.write(self._paths.experiment_note(request.id), experiments.refused(request, error.exit_code, str(error)))

    # --- its job

    def _queue(self, taken: Experiment) -> None:
        where = self._paths.experiment(taken.number)
        plan = store.once(where.plan, ExperimentPlan, lambda: self._plan(taken, store.read(where.seal, Seal)))
        try:
            self._site.ledger.run_to_queue("experiment", self._job(taken, plan))
        except (BudgetExceeded, JobRefused) as error:
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

    def _plan(self, taken: Experiment, sealed: Seal) -> ExperimentPlan:
        where = self._paths.experiment(taken.number)
        return ExperimentPlan(
            run=self._run_of(taken, sealed),
            output=str(self._paths.experiment_output(taken.number)),
            left=str(self._paths.experiment_left(taken.number)),
            keeps=str(where.caches),
            record=str(where.run),
        )

    def _run_of(self, taken: Experiment, sealed: Seal) -> TrialPlan:
        config, container = self._config, self._site.container
        arm = Arm(
            seal=sealed,
            seal_dir=str(self._paths.seals / sealed.sha256),
            trials_dir="",
            declared_steps=(),
            caches=self._newest_caches(),
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
        for each in reversed(self._all()):
            run = store.read_if_there(self._paths.experiment(each.number).run, ExperimentRun)
            if run and run.caches and Path(run.caches.archive).exists():
                return run.caches
        return None

    # --- how it goes on

    def _follow(self) -> None:
        waiting = [each for each in self._open if self._note(each).state == "waiting"]
        starts = self._expected_starts(waiting)
        for each in list(self._open):
            self._look_at(each, starts.get(self._job_name(each)))
        goes_on = [each for each in self._open if self._note(each).state != "over"]
        is_last = bool(self._open) and not goes_on
        self._open = goes_on
        if is_last:
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
        if entry is None or entry.job_id is None:
            self._queue(taken)
        elif entry.settled_at is None:
            known = {"state": "running", "starts": None} if run else {"state": "waiting", "starts": starts}
            self._tell(note.model_copy(update=known))
        else:
            left = self._site.ledger.balances().tightest.left
            self._tell(experiments.at_its_end(note, run, entry, left))
            log.info("experiment %s is over: %s", taken.number, self._note(taken).note or "its program has ended")

    def _note(self, taken: Experiment) -> ExperimentNote:
        known = store.read_if_there(self._paths.experiment_note(taken.request), ExperimentNote)
        return known or experiments.begun(taken)

    def _tell(self, note: ExperimentNote) -> None:
        file = self._paths.experiment_note(note.request)
        if note != store.read_if_there(file, ExperimentNote):
            store.write(file, note)

    def _tell_over(self, taken: Experiment, **known: object) -> None:
        self._tell(self._note(taken).model_copy(update={"state": "over", **known}))

    def _prune(self) -> None:
        """Keep the newest caches alone, now that nobody begins with others any more."""
        newest = self._newest_caches()
        for each in self._all():
            archive = self._paths.experiment(each.number).caches
            if newest is None or str(archive) != newest.archive:
                archive.unlink(missing_ok=True)


def waiting_of(paths: SessionPaths) -> set[str]:
    """Return the requests for experiments that are not over; a name that is no request's is none."""
    asked = {request.stem for request in paths.experiments_outbox.glob("*.json")}
    names = {name for name in asked if name.isascii() and name.isalnum()}
    notes = {name: store.read_if_there(paths.experiment_note(name), ExperimentNote) for name in names}
    return {name for name, note in notes.items() if note is None or note.state != "over"}
