"""A cluster in memory: tasks run when they are queued, or one at each poll, our own modules in this process."""

import importlib
import subprocess
from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, datetime

from slurm_bench.effects.cluster import Job, Queued
from slurm_bench.words.accounting import Attempt, JobState, Observation
from slurm_bench.words.errors import JobRefused, SchedulerError


class FakeCluster:
    """
    Args:
        lost: tasks of each array that vanish from the scheduler without a trace, as cancelled pending ones do.
        cancelled: tasks that run and are cancelled at their end.
        requeued: tasks that run twice.
        one_by_one: each look at an array's states runs one more of its tasks.
        by_hand: nothing runs; jobs wait until somebody says how they end.
    """

    accounting = "memory"
    step: tuple[str, ...] = ()
    overrun_s = 90

    def __init__(
        self,
        lost: Iterable[int] = (),
        cancelled: Iterable[int] = (),
        requeued: Iterable[int] = (),
        one_by_one: bool = False,
        by_hand: bool = False,
    ) -> None:
        self.by_hand = by_hand
        self.one_by_one = one_by_one
        self.lost, self.cancelled, self.requeued = set(lost), set(cancelled), set(requeued)
        self.queued: list[Job] = []
        self.silent = False
        """No command of the scheduler answers."""
        self.refusing = False
        """sbatch refuses."""
        self.gpus_only = False
        """sbatch refuses jobs without GPUs."""
        self.unheard = False
        """sbatch gives no answer, and has queued nothing."""
        self.lying = False
        """sbatch says that it refused what it queued."""
        self.stuck = ""
        """The queue's reason why nothing can start."""
        self.falling_silent = False
        """Nothing answers once a job is queued."""
        self.failing_at_cancel = False
        """scancel fails, and from then on nothing answers."""
        self.dying_after_queueing = False
        """We die between sbatch and the line that keeps its answer."""
        self._attempts: dict[str, list[Attempt]] = {}
        self._pending: dict[str, list[int]] = {}

    def step_beside(self, gpus: int) -> tuple[str, ...]:
        return self.step

    def submit(self, job: Job) -> str:
        self._speak()
        if self.refusing or (self.gpus_only and not job.gpus):
            raise JobRefused("sbatch refused: invalid account")
        if self.unheard:
            raise SchedulerError("sbatch: unable to contact slurm controller")
        self.queued.append(job)
        kept = [task for task in range(job.tasks) if task not in self.lost]
        self._attempts[job.name] = []
        self._pending[job.name] = [*kept, *(task for task in self.requeued if task < job.tasks)]
        while self._pending[job.name] and not (self.one_by_one or self.by_hand):
            self._run_next(job)
        if self.dying_after_queueing:
            raise KeyboardInterrupt
        self.silent = self.falling_silent
        if self.lying:
            raise JobRefused("sbatch refused: wrapper")
        return str(len(self.queued))

    def _run_next(self, job: Job) -> None:
        task = self._pending[job.name].pop(0)
        self._attempts[job.name].append(self._run(job, task))

    def end(self, name: str, state: JobState) -> None:
        """A job that waits begins, and ends like this, without its command."""
        (job,) = [each for each in self.queued if each.name == name]
        self._attempts[name] = [self._attempt(job, task, state, 0) for task in self._pending[name]]
        self._pending[name] = []

    def _run(self, job: Job, task: int) -> Attempt:
        code = _exit_code([*job.command, str(task)])
        state = JobState.FAILED if code else JobState.COMPLETED
        return self._attempt(job, task, JobState.CANCELLED if task in self.cancelled else state, code)

    def _attempt(self, job: Job, task: int, state: JobState, code: int) -> Attempt:
        now = datetime.now(UTC)
        return Attempt(
            raw_id=f"{len(self.queued)}-{task}",
            job_id=str(len(self.queued)),
            job_name=job.name,
            task=task,
            state=state,
            exit_code=code,
            elapsed_s=1,
            gpus=job.held_gpus,
            submitted=now,
            started=now,
            ended=now,
            node="fake1",
        )

    def find(self, name: str, since: datetime) -> str | None:
        self._speak()
        known = [number for number, job in enumerate(self.queued, 1) if job.name == name]
        return str(known[0]) if known else None

    def look(self, jobs: Collection[Queued]) -> Mapping[str, Observation]:
        self._speak()
        return {job.name: self._look(job) for job in jobs}

    def _look(self, known: Queued) -> Observation:
        for job in self.queued:
            if job.name == known.name and self._pending[known.name] and not (self.stuck or self.by_hand):
                self._run_next(job)
        pending = dict.fromkeys(self._pending.get(known.name, ()), JobState.PENDING)
        attempts = tuple(self.attempts([known.name], known.since))
        states = pending | {attempt.task: attempt.state for attempt in attempts}
        return Observation(datetime.now(UTC), states, frozenset(pending), attempts, self.stuck)

    def attempts(self, names: Iterable[str], since: datetime) -> list[Attempt]:
        self._speak()
        return [attempt for name in sorted(set(names)) for attempt in self._attempts.get(name, [])]

    def expected_starts(self, names: Collection[str]) -> Mapping[str, datetime]:
        self._speak()
        return {}

    def cancel(self, name: str) -> None:
        """As on Slurm, a task that is cancelled while it is pending leaves no trace."""
        self._speak()
        if self.failing_at_cancel:
            self.silent = True
            raise SchedulerError("scancel: timed out")
        self._pending[name] = []

    def _speak(self) -> None:
        if self.silent:
            raise SchedulerError("sacct: connection refused")


def _exit_code(argv: list[str]) -> int:
    if argv[1:3] != ["-I", "-m"]:
        return subprocess.run(argv, check=False).returncode
    try:
        importlib.import_module(argv[3]).main(*argv[4:])
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1
    except Exception:  # noqa: BLE001  as on a cluster, a task's failure is its exit code
        return 1
    return 0
