"""Whatever Slurm and its callers do, the ledger holds what may be spent and charges what was.

Each history is drawn: jobs with lives, outages, callers that die. After every step the books are compared with the
simulation, which knows the truth.
"""

import tempfile
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from slurm_bench.effects.cluster import Job
from slurm_bench.pure.budget import Terms, held_gpu_seconds
from slurm_bench.steps.ledger import Ledger, Patience
from slurm_bench.words.accounting import JobState, LedgerEntry
from slurm_bench.words.errors import BudgetExceeded, SchedulerError
from slurm_bench.words.kinds import Kind
from slurm_bench.words.paths import SessionPaths
from tests.simulated_slurm import (
    OVERRUN_S,
    Fault,
    Killed,
    Life,
    Outage,
    Plan,
    Run,
    SimulatedClock,
    SimulatedSlurm,
    Site,
)

pytestmark = pytest.mark.whole

GRACE_S = 120
LONGEST_OUTAGE_S = 60
PATIENCE = Patience(absent_s=GRACE_S, silence_s=4 * LONGEST_OUTAGE_S)
COUNTS: frozenset[Kind] = frozenset(("session", "retiming"))


@dataclass(frozen=True)
class Submit:
    """A new job of a session."""

    session: int
    plan: Plan
    fault: Fault = Fault.NONE
    kind: Kind = "retiming"
    gpus: int = 2
    exclusive: bool = False
    limit_minutes: int = 1


@dataclass(frozen=True)
class Again:
    """Queue an earlier job once more, as its session does when it goes on."""

    number: int
    fault: Fault = Fault.NONE


@dataclass(frozen=True)
class Settle:
    session: int


@dataclass(frozen=True)
class Wait:
    number: int


@dataclass(frozen=True)
class Pass:
    seconds: int


@dataclass(frozen=True)
class Silence:
    """A command of the scheduler gives no answer for so many seconds; sacct only once in a history."""

    command: Literal["squeue", "sacct"]
    seconds: int
    then_s: int | None = None
    """The next step comes so long after it ended; None is at once."""


Step = Submit | Again | Settle | Wait | Pass | Silence


@dataclass(frozen=True)
class History:
    steps: tuple[Step, ...]
    site: Site = field(default_factory=Site)
    limit: int = 10**6
    """GPU-seconds of a session."""
    campaign_limit: int = 10**6


class Campaign:
    """Two sessions of one campaign on a simulated cluster, and what has to be true of them."""

    def __init__(self, root: Path, history: History) -> None:
        self.clock = SimulatedClock(self.check)
        self.slurm = SimulatedSlurm(self.clock, history.site)
        self.limit, self.campaign_limit = history.limit, history.campaign_limit
        terms = Terms(history.limit / 3600, 1.0, history.campaign_limit / 3600, COUNTS)
        self.books = [
            Ledger(SessionPaths(root / name), self.slurm, terms, PATIENCE, clock=self.clock) for name in ("one", "two")
        ]
        self.root = root
        self.asked: list[tuple[Submit, Job]] = []
        """Every job that somebody wanted."""

    def take(self, step: Step) -> None:
        match step:
            case Submit():
                name = f"job{len(self.asked)}"
                self.slurm.plans[name] = step.plan
                tasks = len(step.plan.lives)
                job = Job(name, self.root, ["true"], tasks, step.gpus, 8, step.exclusive, step.limit_minutes)
                self.asked.append((step, job))
                self.queue(step, job, step.fault)
            case Again() if self.asked:
                self.queue(*self.asked[step.number % len(self.asked)], step.fault)
            case Settle():
                with suppress(SchedulerError):
                    self.books[step.session].settle_finished()
            case Wait() if self.asked:
                asked, job = self.asked[step.number % len(self.asked)]
                if job.name in self.entries(asked.session) and job.name in self.slurm.jobs:
                    self.wait(self.books[asked.session], job.name)
            case Pass():
                self.clock.sleep(step.seconds)
            case Silence():
                outages = self.slurm.squeue_outages if step.command == "squeue" else self.slurm.sacct_outages
                if step.command == "squeue" or not outages:
                    outages.append(Outage(self.clock.seconds, self.clock.seconds + step.seconds))
                    if step.then_s is not None:
                        self.clock.sleep(step.seconds + step.then_s)
        self.check()

    def wait(self, book: Ledger, name: str) -> None:
        try:
            assert book.wait_until_over(name, 10, lambda _: self.check()).settled_at
        except SchedulerError:
            assert self.slurm.is_without_trace(name), "only of such a job nobody can know that it was queued"

    def queue(self, asked: Submit, job: Job, fault: Fault) -> None:
        self.slurm.fault = fault
        with suppress(BudgetExceeded, SchedulerError, Killed):
            entry = self.books[asked.session].run_to_queue(asked.kind, job)
            assert entry.job_id == str(self.slurm.jobs[job.name].job_id)
        self.slurm.fault = Fault.NONE

    def entries(self, session: int) -> dict[str, LedgerEntry]:
        return {entry.job_name: entry for entry in self.books[session].entries()}

    def check(self) -> None:
        entries = [self.entries(session) for session in (0, 1)]
        for asked, job in self.asked:
            entry = entries[asked.session].get(job.name)
            if entry and job.name in self.slurm.jobs:
                self.check_job(entry)
            elif job.name in self.slurm.jobs:
                assert self.slurm.is_without_trace(job.name), f"{job.name} was queued, but nothing is reserved"
        spent = [self.within_worst_cases(session) for session in (0, 1)]
        assert max(spent) <= self.limit
        assert sum(spent) <= self.campaign_limit

    def check_job(self, entry: LedgerEntry) -> None:
        simulated, now = self.slurm.jobs[entry.job_name], self.clock.seconds
        assert self.possible_use(entry) <= held_gpu_seconds(entry), "more is or can be used than is held"
        if entry.settled_at is not None:
            assert simulated.over <= now, "a task is not over, and its reservation was released"
            assert entry.charged_gpu_seconds == simulated.used(now)

    def possible_use(self, entry: LedgerEntry) -> float:
        """GPU-seconds of attempts that the ledger was told of, and the worst that one more of each task can use."""
        told, others = 0.0, dict[int, float]()
        for spell in self.slurm.jobs[entry.job_name].spells:
            used = spell.used(self.clock.seconds)
            if self.slurm.shown_in_full(spell) <= self.slurm.seen_at.get(entry.job_name, -1):
                told += used
            else:
                worst_case = entry.task_gpu_seconds if spell.ended > self.clock.seconds else used
                others[spell.task] = max(worst_case, others.get(spell.task, 0))
        return told + sum(others.values())

    def within_worst_cases(self, session: int) -> float:
        """GPU-seconds of jobs that count, without attempts that were requeued."""
        return sum(
            spell.used(self.clock.seconds)
            for asked, job in self.asked
            if asked.session == session and asked.kind in COUNTS and job.name in self.slurm.jobs
            for spell in self.slurm.jobs[job.name].spells
            if spell.state is not JobState.REQUEUED
        )

    def end(self) -> None:
        """Let everything be over and the scheduler answer for longer than the grace: all is settled, to the second."""
        over = max([self.clock.seconds, *(job.over for job in self.slurm.jobs.values())])
        outages = [*self.slurm.squeue_outages, *self.slurm.sacct_outages]
        until = max([over, *(outage.back for outage in outages)]) + 3 * GRACE_S
        while self.clock.seconds < until:
            for session in (0, 1):
                self.take(Settle(session))
            self.clock.sleep(GRACE_S / 4)
        for book in self.books:
            book.settle_finished()
        entries = self.entries(0) | self.entries(1)
        assert entries.keys() <= self.slurm.jobs.keys(), "what was never queued is released"
        assert all(entry.settled_at for entry in entries.values())


def is_right(history: History) -> bool:
    """Whether what has to be true is so after each step, and all is settled in the end: equal to the simulation."""
    with tempfile.TemporaryDirectory() as folder:
        campaign = Campaign(Path(folder), history)
        for step in history.steps:
            campaign.take(step)
        campaign.end()
        entries = campaign.entries(0) | campaign.entries(1)
        return all(entry.settled_at for entry in entries.values())


ENDS = (
    JobState.COMPLETED,
    JobState.FAILED,
    JobState.CANCELLED,
    JobState.NODE_FAIL,
    JobState.OUT_OF_MEMORY,
)


FAULTS = st.sampled_from((*[Fault.NONE] * len(Fault), *Fault))
SELDOM_SECONDS = st.one_of(st.none(), st.none(), st.none(), st.integers(0, 200))


@st.composite
def runs(draw: st.DrawFn, limit_s: int) -> Run:
    waits_s = draw(st.integers(0, 200))
    if draw(st.integers(0, 3)):
        return Run(waits_s, draw(st.integers(0, limit_s)), draw(st.sampled_from(ENDS)))
    return Run(waits_s, draw(st.integers(limit_s, limit_s + OVERRUN_S)), JobState.TIMEOUT)


@st.composite
def lives(draw: st.DrawFn, limit_s: int) -> Life:
    cancelled_after_s = draw(SELDOM_SECONDS)
    least = 0 if cancelled_after_s is not None else 1
    return Life(tuple(draw(st.lists(runs(limit_s), min_size=least, max_size=least + 1))), cancelled_after_s)


@st.composite
def submissions(draw: st.DrawFn) -> Submit:
    limit_minutes = draw(st.integers(1, 2))
    return Submit(
        session=draw(st.integers(0, 1)),
        plan=Plan(
            tuple(draw(st.lists(lives(60 * limit_minutes), min_size=1, max_size=3))),
            draw(SELDOM_SECONDS),
        ),
        fault=draw(FAULTS),
        kind=draw(st.sampled_from(("retiming", "session", "calibration"))),
        gpus=draw(st.integers(1, 4)),
        exclusive=draw(st.booleans()),
        limit_minutes=limit_minutes,
    )


OUTAGE_S = st.integers(1, LONGEST_OUTAGE_S)
STEPS: st.SearchStrategy[Step] = st.one_of(
    submissions(),
    submissions(),
    st.builds(Again, st.integers(0, 3), FAULTS),
    st.builds(Settle, st.integers(0, 1)),
    st.builds(Wait, st.integers(0, 3)),
    st.builds(Pass, st.integers(1, 30) | st.integers(30, 400)),
    st.builds(Silence, st.sampled_from(("squeue", "sacct")), OUTAGE_S, st.none() | st.integers(0, 20)),
)
SITES = st.builds(
    Site,
    min_job_age_s=st.sampled_from((30, 60, 300)),
    completing_s=st.integers(0, 30),
    lag_s=st.integers(0, 20),
    recovery_s=st.integers(0, 7),
    settling_s=st.integers(0, 10),
    answer_s=st.integers(0, 3),
    poll_s=st.sampled_from((0, 10)),
    ahead_s=st.sampled_from((0, 200, -200)),
)

LIMITS = st.sampled_from((1_000, 3_000, 10_000, 50_000))
"""GPU-seconds; one job can take 150 to 5040."""


@st.composite
def histories(draw: st.DrawFn) -> History:
    site = draw(SITES)
    steps = draw(st.lists(STEPS, min_size=4, max_size=20))
    return History(tuple(steps), site, draw(LIMITS), draw(LIMITS))


@given(histories())
@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
def test_the_ledger_is_right_in_every_history(history: History) -> None:
    assert is_right(history)


RECOVERING = Site(min_job_age_s=30, recovery_s=7)
SHORT = Life((Run(waits_s=0, runs_s=10),))
WAITS = Life((Run(waits_s=200, runs_s=10),))


def test_an_attempt_without_an_end_is_not_over_though_the_rest_of_its_array_was_cancelled() -> None:
    """squeue has forgotten the first task and shows the cancelled rest; sacct comes back and still lacks its rows."""
    first, second = Submit(0, Plan((SHORT, WAITS), rest_cancelled_after_s=50)), Settle(0)
    assert is_right(History((first, Pass(5), second, Silence("sacct", 60), Pass(61), Settle(0)), RECOVERING))


@pytest.mark.parametrize("ahead_s", [200, 7200, -7200])
def test_another_clock_than_slurms_hides_nothing(ahead_s: int) -> None:
    """What slurmctld says was submitted before it was reserved for is charged all the same."""
    assert is_right(History((Submit(0, Plan((SHORT,))), Pass(20), Settle(0)), Site(ahead_s=ahead_s)))


def test_a_node_that_hangs_while_it_cleans_up_holds_nothing() -> None:
    """squeue says COMPLETING for hours, and sacct has had the end since the first second."""
    assert is_right(
        History((Submit(0, Plan((SHORT,))), Pass(20), Settle(0)), Site(completing_s=10_000, min_job_age_s=20_000))
    )


def test_the_rest_of_an_array_after_an_unseen_task() -> None:
    """The same, but nobody ever looked while the first task had a row; the accounting was away beyond MinJobAge."""
    job = Submit(0, Plan((SHORT, WAITS), rest_cancelled_after_s=50))
    assert is_right(History((job, Pass(1), Silence("sacct", 60), Pass(61), Settle(0)), RECOVERING))


def test_a_state_without_its_end_settles_nothing() -> None:
    """After an outage sacct says COMPLETED first, with seconds that still grow, and what was used later."""
    site = Site(recovery_s=0, settling_s=10)
    assert is_right(History((Submit(0, Plan((SHORT,))), Pass(1), Silence("sacct", 30, then_s=1), Settle(0)), site))


def test_a_job_whose_id_was_lost_is_not_queued_again_by_an_accounting_that_comes_back() -> None:
    job = Submit(0, Plan((SHORT,)), Fault.KILLED_AFTER)
    assert is_right(History((job, Silence("sacct", 60), Pass(61), Again(0)), RECOVERING))


def test_a_job_whose_id_was_lost_is_not_forgotten_by_an_accounting_that_comes_back() -> None:
    job = Submit(0, Plan((Life((Run(waits_s=70, runs_s=10),)),)), Fault.KILLED_AFTER)
    assert is_right(History((job, Pass(65), Silence("sacct", 60), Pass(61), Settle(0)), RECOVERING))


def test_a_requeued_attempt_is_held_before_the_next_has_a_row() -> None:
    job = Submit(0, Plan((Life((Run(0, 100), Run(121, 100))),)))
    assert is_right(History((job, Pass(101), Settle(0)), Site(completing_s=10)))


def test_a_job_that_is_adopted_while_it_is_queued_again_is_looked_at_from_its_beginning() -> None:
    """The rows of its first attempts are older than the call that adopts it."""
    job = Submit(0, Plan((Life((Run(0, 62), Run(0, 60))),)), Fault.KILLED_AFTER)
    assert is_right(History((job, Pass(121), Again(0)), Site(min_job_age_s=300)))
