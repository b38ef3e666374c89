"""What goes wrong on a real Slurm, on purpose; each time the ledger ends equal to sacct, to the GPU-second."""

import os
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from slurm_bench.effects import store
from slurm_bench.effects.cluster import Job
from slurm_bench.pure.budget import held_gpu_seconds
from slurm_bench.steps import site
from slurm_bench.steps.ledger import Ledger
from slurm_bench.words.accounting import LedgerEntry
from slurm_bench.words.errors import BudgetExceeded, SchedulerError
from slurm_bench.words.paths import SessionPaths
from slurm_bench.words.records import Session, SessionState
from tests import waiting
from tests.acceptance import sacct
from tests.acceptance.rehearsals import QUICK, SLOWER, check_outcomes, slurm_bench, start, trials
from tests.conftest import REPOSITORY, make_config, make_quick_record
from tests.contract.test_cluster import job

pytestmark = [
    pytest.mark.slurm,
    pytest.mark.skipif(os.getuid() != 0, reason="only root ends the development cluster's daemons"),
]


class Books:
    """A session's ledger on the development cluster, without its session."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = make_config(folder, make_quick_record(folder), ["cluster/slurm", "cluster/dev"], "container/none")
        self.config.cluster.parallel = 4
        self.identity = uuid.uuid4().hex[:12]
        self.paths = self.session("one")
        self.ledger = self.another_desk()

    def session(self, name: str) -> SessionPaths:
        paths = SessionPaths(self.config.session_dir.parent / name)
        site.save_config(paths, self.config)
        return paths

    def another_desk(self, paths: SessionPaths | None = None) -> Ledger:
        return site.ledger_of(self.config, paths or self.paths, site.cluster_of(self.config))

    def job(self, name: str, what: str, count: int = 2, **changes: object) -> Job:
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        return job(f"{self.identity}-{name}", folder, what, count=count, **changes)

    def queue(self, name: str, what: str, count: int = 2, **changes: object) -> str:
        """The job's number."""
        entry = self.ledger.run_to_queue("retiming", self.job(name, what, count, **changes))
        assert entry.job_id is not None
        return entry.job_id

    def begun(self, name: str, task: int = 0) -> bool:
        return (self.folder / name / f"task{task}").exists()

    def entry(self, name: str) -> LedgerEntry:
        (found,) = [each for each in self.ledger.entries() if each.job_name == f"{self.identity}-{name}"]
        return found

    def settle(self) -> None:
        """Until all is settled; never is less held than sacct says."""

        def settled() -> bool:
            try:
                self.ledger.settle_finished()
            except SchedulerError:
                return False
            return all(entry.settled_at for entry in self.ledger.entries())

        waiting.until(settled)

    def check_against_sacct(self) -> None:
        """Each job by itself, and what the budget is left with."""
        for entry in self.ledger.entries():
            assert entry.charged_gpu_seconds == sacct.gpu_seconds(entry.job_name), entry.job_name
            assert held_gpu_seconds(entry) == entry.charged_gpu_seconds
        spent = sacct.gpu_seconds(self.identity) / 3600
        assert self.ledger.balances().own.left == pytest.approx(self.config.budget.h100_hours - spent)


def slurm(*argv: str) -> str:
    return subprocess.run(argv, env=sacct.ENVIRONMENT, capture_output=True, text=True, check=True).stdout


def dev_cluster(*argv: str) -> None:
    subprocess.run([str(REPOSITORY / "scripts/dev_cluster"), *argv], capture_output=True, check=True)


def state(job_id: str) -> str:
    return slurm("squeue", "--noheader", "--states=all", f"--jobs={job_id}", "--format=%T").strip()


@pytest.fixture
def books(tmp_path: Path) -> Iterator[Books]:
    made = Books(tmp_path)
    try:
        yield made
    finally:
        dev_cluster("up")
        for entry in made.ledger.entries():
            slurm("scancel", f"--name={entry.job_name}")


def let_requeue(job_id: str) -> None:
    """As an administrator may: we forbid it to our jobs."""
    slurm("scontrol", "update", f"jobid={job_id}", "requeue=1")


def start_now(job_id: str) -> None:
    """A requeued job waits two minutes else."""
    slurm("scontrol", "update", f"jobid={job_id}", "StartTime=now")


def kill_steps(job_id: str, folder: Path) -> None:
    """A node that dies takes its steps along; the one that ended here is only a daemon."""
    for pattern in (rf"slurmstepd: \[{job_id}\.", f"tasks.py .* {folder} "):
        subprocess.run(["pkill", "-KILL", "-f", pattern], check=True)


@pytest.mark.long
def test_every_way_that_jobs_end(books: Books) -> None:
    """All at once, because each takes its time: a requeue, cancellations, failures, a limit, and a node that dies."""
    on_gpu4 = {"nodelist": "gpu4"}
    others = {"exclude": "gpu4"}
    books.config.cluster.sbatch = on_gpu4
    books.ledger = books.another_desk()
    lost = books.queue("lost", "sleep", count=1)
    moved = books.queue("moved", "sleep the first time", count=1)
    waiting.until(lambda: books.begun("lost") and books.begun("moved"))
    let_requeue(moved)
    dev_cluster("down", "gpu4")
    kill_steps(lost, books.folder / "lost")
    kill_steps(moved, books.folder / "moved")

    books.config.cluster.sbatch = others
    books.ledger = books.another_desk()
    again = books.queue("again", "sleep the first time", count=1)
    cancelled = books.queue("cancelled", "sleep for 20", count=6)
    books.queue("failed", "fail at odd")
    books.queue("outlasting", "outlast for 300", count=1, limit_minutes=1)
    waiting.until(lambda: books.begun("again") and books.begun("cancelled", 3))
    let_requeue(again)
    slurm("scontrol", "requeue", again)
    start_now(again)
    slurm("scancel", f"{cancelled}_1", f"{cancelled}_5")  # one that runs, and one that waits and leaves no row

    waiting.until(lambda: state(lost) == "NODE_FAIL")
    dev_cluster("up")
    time.sleep(5)  # a slurmd that is only just back clears away scripts of the jobs that it lost
    start_now(moved)
    books.settle()
    books.check_against_sacct()

    ends = {
        name: sorted(attempt.state for attempt in books.entry(name).attempts)
        for name in ("lost", "moved", "again", "cancelled", "failed", "outlasting")
    }
    assert ends == {
        "lost": ["NODE_FAIL"],
        "moved": ["COMPLETED", "NODE_FAIL"],
        "again": ["COMPLETED", "REQUEUED"],
        "cancelled": ["CANCELLED", "COMPLETED", "COMPLETED", "COMPLETED", "COMPLETED"],
        "failed": ["COMPLETED", "FAILED"],
        "outlasting": ["TIMEOUT"],
    }
    overran = books.entry("outlasting")
    assert 60 < overran.attempts[0].elapsed_s <= overran.limit_s + overran.overrun_s, "within the stated grace"


def test_slurmctld_is_restarted(books: Books) -> None:
    books.queue("array", "sleep for 6", count=6)
    waiting.until(lambda: books.begun("array"))
    dev_cluster("down", "slurmctld")
    with pytest.raises(SchedulerError):
        books.queue("later", "sleep for 1")
    dev_cluster("up")
    books.queue("later", "sleep for 1")
    books.settle()
    books.check_against_sacct()
    assert len(sacct.rows(f"{books.identity}-later")) == 2, "queued once"
    assert len(sacct.rows(f"{books.identity}-array")) == 6


@pytest.mark.parametrize("daemon", ["slurmdbd", "mariadbd"])
def test_the_accounting_is_gone_while_tasks_end(books: Books, daemon: str) -> None:
    """What ended unseen is charged when the database has caught up, and not by what it says until then."""
    books.queue("array", "sleep for 4", count=6)
    waiting.until(lambda: books.begun("array"))
    dev_cluster("down", daemon)
    with pytest.raises(SchedulerError):
        books.queue("later", "sleep for 1")
    assert not [entry for entry in books.ledger.entries() if "later" in entry.job_name], "nothing is reserved either"
    waiting.until(lambda: not slurm("squeue", "--noheader", f"--name={books.entry('array').job_name}"))
    held = books.entry("array")
    assert held.settled_at is None and held_gpu_seconds(held) >= held.reserved_gpu_seconds
    dev_cluster("up")
    books.settle()
    books.check_against_sacct()
    assert [attempt.state for attempt in books.entry("array").attempts] == ["COMPLETED"] * 6


@pytest.mark.parametrize("when", ["before", "after"])
def test_the_desk_is_killed_at_sbatch(books: Books, when: str) -> None:
    """Between the reservation and sbatch, or between sbatch and the record of its answer."""
    wanted = books.job("array", "sleep for 2")
    script = [sys.executable, "-m", "tests.acceptance.dying_desk"]
    argv = [*script, str(books.paths.root), when, wanted.name, str(books.folder / "array")]
    assert subprocess.run(argv, cwd=REPOSITORY, check=False).returncode == -9
    left = books.entry("array")
    assert left.job_id is None and held_gpu_seconds(left) == left.reserved_gpu_seconds > 0
    entry = books.another_desk().run_to_queue("retiming", wanted)
    assert entry.job_id is not None
    books.settle()
    books.check_against_sacct()
    assert {row[0].partition("_")[0] for row in sacct.rows(wanted.name)} == {entry.job_id}, "queued once"


def test_what_a_killed_desk_reserved_is_released_when_nobody_asks_again(books: Books) -> None:
    books.config.cluster.absent_grace_seconds = 1
    books.ledger = books.another_desk()
    name, folder = f"{books.identity}-array", books.folder / "array"
    argv = [sys.executable, "-m", "tests.acceptance.dying_desk", str(books.paths.root), "before", name, str(folder)]
    assert subprocess.run(argv, cwd=REPOSITORY, check=False).returncode == -9
    books.settle()
    assert not books.ledger.entries()


def test_two_sessions_race_for_the_last_gpu_hour(books: Books) -> None:
    """The campaign can pay for one more job: one of them gets it, however close they are."""
    wanted = [books.job(f"racer{number}", "sleep for 1") for number in range(4)]
    overrun_s = site.cluster_of(books.config).overrun_s
    worst_case = 2 * 2 * (120 + overrun_s) / 3600
    books.config.budget.campaign_h100_hours = 1.5 * worst_case
    ledgers = [books.another_desk(books.session(name)) for name in ("one", "two", "three", "four")]

    def race(number: int) -> bool:
        try:
            return ledgers[number].run_to_queue("retiming", wanted[number]).job_id is not None
        except BudgetExceeded as error:
            assert error.left < worst_case <= error.limit
            return False

    with ThreadPoolExecutor(4) as pool:
        won = list(pool.map(race, range(4)))
    assert sum(won) == 1
    (winner,) = [ledgers[number] for number in range(4) if won[number]]
    waiting.until(lambda: _settled(winner))
    assert len(sacct.rows(f"{books.identity}-racer")) == 2


def test_many_desks_ask_as_often_as_one(books: Books, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twelve sessions that wait for their arrays, one squeue and one sacct an interval; nothing by job number."""
    asked = count_calls(books.folder / "bin", monkeypatch, "squeue", "sacct")
    books.config.cluster.poll_seconds = 1
    ledgers = [books.another_desk(books.session(f"s{number}")) for number in range(12)]
    for number, ledger in enumerate(ledgers):
        ledger.run_to_queue("retiming", books.job(f"desk{number}", "sleep for 1", count=1))
    asked.unlink()
    began = time.monotonic()
    with ThreadPoolExecutor(12) as pool:
        list(pool.map(lambda each: each.wait_until_over(each.entries()[0].job_name, 1, lambda states: None), ledgers))
    took = time.monotonic() - began
    calls = asked.read_text().splitlines()
    for program in ("squeue", "sacct"):
        count = sum(call.startswith(f"{program} ") for call in calls)
        assert 2 <= count <= took / 0.8 + 2, f"{count} in {took:.0f} s"
    assert not any("--job" in call or " -j" in call for call in calls)


def count_calls(folder: Path, monkeypatch: pytest.MonkeyPatch, *programs: str) -> Path:
    """A file that gets a line for each call of these programs."""
    folder.mkdir()
    for program in programs:
        real = shutil.which(program)
        (folder / program).write_text(f'#!/bin/sh\necho "{program} $*" >> {folder}/calls\nexec {real} "$@"\n')
        (folder / program).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return folder / "calls"


def _settled(ledger: Ledger) -> bool:
    ledger.settle_finished()
    return all(entry.settled_at for entry in ledger.entries())


@pytest.mark.long
def test_slurmdbd_is_gone_for_a_minute_in_a_session(tmp_path: Path) -> None:
    """Trials run on, nobody is charged nothing, and the session ends as if nothing had been."""
    paths = SessionPaths(tmp_path / "runs/rehearsal/one")
    running = start(paths, *QUICK, *SLOWER, "cluster=dev")
    try:
        waiting.until(lambda: len(trials(paths, "0003")) >= 1)
        dev_cluster("down", "slurmdbd")
        time.sleep(60)
    finally:
        dev_cluster("up")
    assert running.wait(waiting.LONG_S) == 0, (tmp_path / "front.log").read_text()
    check_outcomes(paths)
    identity = store.read(paths.session, Session).id
    entries = [store.read(path, LedgerEntry) for path in paths.ledger.glob("*.json")]
    assert all(entry.settled_at for entry in entries if entry.gpus)
    assert sum(entry.charged_gpu_seconds for entry in entries) == sacct.gpu_seconds(identity)


def a_session_without_a_budget(tmp_path: Path) -> SessionPaths:
    """Its first job is over, and its agent is not."""
    done = slurm_bench(tmp_path / "runs", *QUICK, "session=one", "agent.hours=0.0001")
    assert done.returncode == 0, done.stderr
    paths = SessionPaths(tmp_path / "runs/rehearsal/one")
    books = Books(tmp_path)
    config = site.load_config(paths)
    config.cluster, config.budget.h100_hours = books.config.cluster, 20.2
    site.save_config(paths, config)
    left = store.read(paths.session, Session)
    changed = {"state": SessionState.INTERRUPTED, "agent_exit_code": None, "agent_ended_by": ""}
    store.write(paths.session, left.model_copy(update=changed))
    ledger = books.another_desk(paths)
    ledger.run_to_queue("session", books.job("first", "sleep for 1", count=1))
    waiting.until(lambda: _settled(ledger))
    return paths


def test_a_session_whose_next_job_the_budget_cannot_pay_is_over(tmp_path: Path) -> None:
    """What it handed in is answered by its desk alone, without another job."""
    paths = a_session_without_a_budget(tmp_path)
    done = slurm_bench(tmp_path / "runs", "session=one", "cluster=dev")
    assert done.returncode == 0, done.stderr
    ended = store.read(paths.session, Session)
    assert (ended.state, ended.agent_ended_by) == (SessionState.FINISHED, "the budget is spent")
    assert len(list(paths.ledger.iterdir())) == 1, "no other job was queued"
