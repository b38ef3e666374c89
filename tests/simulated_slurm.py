"""A Slurm in simulated time, as the ledger meets it: jobs with lives that were drawn before, squeue and sacct as text.

The text goes through the real SlurmCluster's questions and parsers. Times are whole seconds since EPOCH.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import Enum
from itertools import count

from slurm_bench.effects.accounting import Sacct
from slurm_bench.effects.cluster import Job, Queued
from slurm_bench.effects.polling import Answer
from slurm_bench.effects.slurm import SlurmCluster
from slurm_bench.pure import sacct
from slurm_bench.words.accounting import JobState, Observation
from slurm_bench.words.errors import JobRefused, SchedulerError

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
OVERRUN_S = 90


class Killed(BaseException):
    """Whoever called the cluster dies."""


class SimulatedClock:
    """
    Args:
        watch: called after each sleep.
    """

    def __init__(self, watch: Callable[[], None]) -> None:
        self.seconds = 0.0
        self._watch = watch

    def now(self) -> datetime:
        return EPOCH + timedelta(seconds=self.seconds)

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds
        self._watch()


@dataclass(frozen=True)
class Run:
    """One attempt at a task."""

    waits_s: int
    runs_s: int
    state: JobState = JobState.COMPLETED


@dataclass(frozen=True)
class Life:
    """What becomes of a task: each attempt but the last ends in a requeue."""

    runs: tuple[Run, ...]
    cancelled_after_s: int | None = None
    """It waits once more after these attempts, and is cancelled then: that leaves no row in the accounting."""


@dataclass(frozen=True)
class Site:
    """Habits of a cluster, in seconds."""

    min_job_age_s: int = 60
    """How long squeue remembers a task that is over."""
    completing_s: int = 0
    lag_s: int = 0
    """How long it takes until the accounting knows."""
    recovery_s: int = 0
    """How long after an outage sacct answers without the rows of what ran in it."""
    settling_s: int = 0
    """How long after that sacct shows the end of an attempt without its time."""
    answer_s: int = 0
    """Between squeue and sacct in one look."""
    poll_s: int = 0
    """How old an answer may be that is given again."""
    ahead_s: int = 0
    """By which the desks' clock is ahead of slurmctld's."""


class Fault(Enum):
    """What becomes of an sbatch."""

    NONE = "none"
    REFUSED = "it says no"
    UNHEARD = "no answer, and nothing is queued"
    LOST = "no answer, but the job is queued"
    KILLED_BEFORE = "the caller dies before"
    KILLED_AFTER = "the caller dies after"


@dataclass(frozen=True)
class Spell:
    """One attempt in the simulation's time."""

    task: int
    raw_id: int
    submitted: int
    started: int | None
    """None if it was cancelled before."""
    ended: int
    state: JobState
    gpus: int

    def used(self, now: float) -> float:
        """GPU-seconds until then."""
        return 0 if self.started is None else self.gpus * max(0, min(now, self.ended) - self.started)


@dataclass(frozen=True)
class Outage:
    began: float
    back: float


@dataclass(frozen=True)
class SimulatedJob:
    job: Job
    job_id: int
    submitted: int
    spells: tuple[Spell, ...]
    rest: frozenset[int]
    """Tasks that were cancelled together while they waited."""
    rest_cancelled: int

    @property
    def over(self) -> int:
        return max(spell.ended for spell in self.spells)

    def used(self, now: float) -> float:
        return sum(spell.used(now) for spell in self.spells)


@dataclass(frozen=True)
class Plan:
    """What will become of a job."""

    lives: tuple[Life, ...]
    rest_cancelled_after_s: int | None = None


@dataclass
class _Poll:
    """SharedPoll without its files, in simulated time."""

    ask: Callable[[frozenset[str], datetime], Answer]
    clock: SimulatedClock
    interval_s: int
    asked_at: float = 0
    answered_at: float = 0
    last: Answer | None = None

    def answer(self, jobs: Collection[Queued]) -> Answer:
        names = frozenset(job.name for job in jobs)
        if self.last is None or self.clock.seconds >= self.asked_at + self.interval_s or not names <= self.last.names:
            before, self.last, self.asked_at = self.last, None, self.clock.seconds
            now = self.clock.now()
            answer = self.ask(names, min(job.since for job in jobs))
            steady = self.asked_at - self.answered_at <= max(10, 3 * self.interval_s)
            since = before.answering_since if before and steady else now
            self.last = answer.model_copy(update={"asked_at": now, "answering_since": since})
            self.answered_at = self.clock.seconds
        return self.last


@dataclass
class SimulatedSlurm(SlurmCluster):
    """SlurmCluster with a simulation in the place of Slurm's commands."""

    clock: SimulatedClock
    site: Site = Site()
    plans: dict[str, Plan] = field(default_factory=dict)
    """By job name; a job has to have one before it is submitted."""
    fault: Fault = Fault.NONE
    """Of the next sbatch."""
    jobs: dict[str, SimulatedJob] = field(default_factory=dict)
    """All that were ever queued."""
    seen_at: dict[str, float] = field(default_factory=dict)
    """By job name when the accounting was last asked for all of its attempts, and answered."""
    squeue_outages: list[Outage] = field(default_factory=list)
    sacct_outages: list[Outage] = field(default_factory=list)

    overrun_s = OVERRUN_S

    def __post_init__(self) -> None:
        self._numbers = count(100)
        self._accounting = Sacct(self._ask)
        self._poll = _Poll(self._ask_for_all, self.clock, self.site.poll_s)  # type: ignore[assignment]

    def submit(self, job: Job) -> str:
        fault, self.fault = self.fault, Fault.NONE
        poll: _Poll = self._poll  # type: ignore[assignment]
        assert poll.last, f"{job.name} was submitted though the scheduler gave no answer"
        assert job.name not in self.jobs or self.is_without_trace(job.name), f"{job.name} was submitted twice"
        if fault is Fault.KILLED_BEFORE:
            raise Killed
        if fault is Fault.REFUSED:
            raise JobRefused("sbatch: invalid account")
        if fault is Fault.UNHEARD or self._is_out(self.squeue_outages):
            raise SchedulerError("sbatch: unable to contact slurm controller")
        self.jobs[job.name] = made = self._made(job, self.plans[job.name])
        if fault is Fault.KILLED_AFTER:
            raise Killed
        if fault is Fault.LOST:
            raise SchedulerError("sbatch: socket timed out")
        return str(made.job_id)

    def is_without_trace(self, name: str) -> bool:
        """Whether all of a job was cancelled before it began, so that nobody can know of it for long."""
        job = self.jobs[name]
        return job.over <= self.clock.seconds and all(spell.started is None for spell in job.spells)

    def look(self, jobs: Collection[Queued]) -> Mapping[str, Observation]:
        seen = super().look(jobs)
        poll: _Poll = self._poll  # type: ignore[assignment]
        for job in jobs:
            if job.name in self.jobs and job.since <= EPOCH + timedelta(seconds=self.jobs[job.name].submitted + 1):
                self.seen_at[job.name] = poll.answered_at
        return seen

    def _made(self, job: Job, plan: Plan) -> SimulatedJob:
        job_id, submitted = next(self._numbers), int(self.clock.seconds)
        cancelled = submitted + (plan.rest_cancelled_after_s if plan.rest_cancelled_after_s is not None else 10**9)
        spells, rest = [], set()
        for task, life in enumerate(plan.lives[: job.tasks]):
            lived = list(_lived(task, next(self._numbers), submitted, life, job.held_gpus))
            if (lived[0].ended if lived[0].started is None else lived[0].started) > cancelled:
                rest.add(task)
                lived = [replace(lived[0], started=None, ended=cancelled, state=JobState.CANCELLED)]
            spells += lived
        return SimulatedJob(job, job_id, submitted, tuple(spells), frozenset(rest), cancelled)

    def _is_out(self, outages: list[Outage]) -> bool:
        return any(outage.began <= self.clock.seconds < outage.back for outage in outages)

    def _ask(self, *argv: str) -> str:
        names = next(arg for arg in argv if arg.startswith("--name=")).removeprefix("--name=").split(",")
        jobs = [self.jobs[name] for name in names if name in self.jobs]
        if argv[0] == "sacct":
            return self._sacct(names, jobs)
        text = self._squeue(jobs)
        if "--format=%A|%F" in argv:
            return "".join(f"0|{line.split('|')[1].partition('_')[0]}\n" for line in text.splitlines())
        self.clock.seconds += self.site.answer_s
        return text

    def _squeue(self, jobs: list[SimulatedJob]) -> str:
        if self._is_out(self.squeue_outages):
            raise SchedulerError("squeue: unable to contact slurm controller")
        return "".join(f"{line}\n" for job in jobs for line in self._queue_lines(job))

    def _queue_lines(self, job: SimulatedJob) -> Iterator[str]:
        now, name = int(self.clock.seconds), job.job.name
        if job.rest and job.rest_cancelled <= now < job.rest_cancelled + self.site.min_job_age_s:
            yield f"{name}|{job.job_id}|CANCELLED|0:00|None"
        newest = {spell.task: spell for spell in job.spells if spell.submitted <= now}
        for task, spell in newest.items():
            if task in job.rest and now >= job.rest_cancelled:
                continue
            if now < spell.ended + self.site.min_job_age_s:
                used = 0 if spell.started is None else max(0, min(now, spell.ended) - spell.started)
                yield f"{name}|{job.job_id}_{task}|{self._queue_state(spell, now)}|{used // 60}:{used % 60:02}|None"

    def _queue_state(self, spell: Spell, now: int) -> JobState:
        if now < (spell.ended if spell.started is None else spell.started):
            return JobState.PENDING
        if now < spell.ended:
            return JobState.RUNNING
        if spell.started is not None and now < spell.ended + self.site.completing_s:
            return JobState.COMPLETING
        return spell.state

    def _sacct(self, names: list[str], jobs: list[SimulatedJob]) -> str:
        if self._is_out(self.sacct_outages):
            raise SchedulerError("sacct: connection refused")
        rows = ["|".join(sacct.FIELDS)]
        # Numbers come again: rows of older jobs of other names.
        old = f"gres/gpu=8|gres/gpu=8|{self._epoch(-90000)}|{self._epoch(-80000)}|{self._epoch(-79000)}|gpu1"
        rows += [f"{number}_0|{number}|other|COMPLETED|0:0|1000|{old}" for number in (100, 101)]
        rows += [f"101_0|102|another|RUNNING|0:0|10|{old.replace(str(self._epoch(-79000)), 'Unknown')}"]
        for job in jobs:
            requested = f"billing=1,cpu=1,gres/gpu:h100={job.job.gpus},gres/gpu={job.job.gpus},mem=4000M,node=1"
            if self._learned(job.submitted) <= self.clock.seconds:
                # The row of an array's range stays as it was.
                head = f"{job.job_id}_[0-{job.job.tasks - 1}%4]|{job.job_id}|{job.job.name}|PENDING|0:0|0|"
                rows.append(f"{head}|{requested}|{self._epoch(job.submitted)}|Unknown|Unknown|None assigned")
            rows += [row for spell in job.spells for row in self._rows(job, spell, requested)]
        return "\n".join(rows) + "\n"

    def _rows(self, job: SimulatedJob, spell: Spell, requested: str) -> Iterator[str]:
        now = self.clock.seconds
        known_from = self._learned(spell.started)
        if spell.submitted > job.submitted:
            # A requeued one has a row before it begins, but only once its node is done with the last attempt.
            known_from = min(known_from, self._learned(spell.submitted + self.site.completing_s))
        if now < known_from or (spell.started is None and now >= spell.ended) or self._is_hidden(spell):
            return
        head = f"{job.job_id}_{spell.task}|{spell.raw_id}|{job.job.name}"
        if spell.started is None or now < self._learned(spell.started):
            yield f"{head}|PENDING|0:0|0||{requested}|{self._epoch(spell.submitted)}|Unknown|Unknown|None assigned"
            return
        allocated = f"billing=1,cpu=1,gres/gpu:h100={spell.gpus},gres/gpu={spell.gpus},node=1"
        times = f"{self._epoch(spell.submitted)}|{self._epoch(spell.started)}"
        running = int(now) - spell.started
        if now < self._learned(spell.ended):
            # Just begun, it can be shown as pending and without what it holds.
            state, held = ("PENDING", "") if running < 3 else ("RUNNING", allocated)
            yield f"{head}|{state}|0:0|{running}|{held}|{requested}|{times}|Unknown|gpu1"
        elif now < self.shown_in_full(spell):
            yield f"{head}|{spell.state}|0:0|{running}|{allocated}|{requested}|{times}|Unknown|gpu1"
        else:
            elapsed = spell.ended - spell.started
            yield f"{head}|{spell.state}|0:0|{elapsed}|{allocated}|{requested}|{times}|{self._epoch(spell.ended)}|gpu1"

    def _epoch(self, second: int) -> int:
        """A second as slurmctld has it."""
        return int(EPOCH.timestamp()) + second - self.site.ahead_s

    def shown_in_full(self, spell: Spell) -> float:
        """When sacct says what an attempt used."""
        learned = self._learned(spell.ended)
        return learned if learned == spell.ended + self.site.lag_s else learned + self.site.settling_s

    def _learned(self, event: int | None) -> float:
        """When the accounting knows of what happened then."""
        if event is None:
            return float("inf")
        for outage in self.sacct_outages:
            if outage.began <= event + self.site.lag_s and event < outage.back + self.site.recovery_s:
                return outage.back + self.site.recovery_s
        return event + self.site.lag_s

    def _is_hidden(self, spell: Spell) -> bool:
        return any(
            outage.back <= self.clock.seconds < outage.back + self.site.recovery_s
            and spell.ended + self.site.lag_s >= outage.began
            for outage in self.sacct_outages
        )


def _lived(task: int, raw_id: int, submitted: int, life: Life, gpus: int) -> Iterator[Spell]:
    for number, run in enumerate(life.runs, 1):
        again = number < len(life.runs) or life.cancelled_after_s is not None
        started = submitted + run.waits_s
        ended = started + run.runs_s
        yield Spell(task, raw_id, submitted, started, ended, JobState.REQUEUED if again else run.state, gpus)
        # A requeue begins with another Submit, and a second is as fine as that is written down.
        submitted = max(ended, submitted + 1)
    if life.cancelled_after_s is not None:
        yield Spell(task, raw_id, submitted, None, submitted + life.cancelled_after_s, JobState.CANCELLED, gpus)
