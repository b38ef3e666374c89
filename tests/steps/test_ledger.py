"""Reservations that outlive whoever made them."""

import threading
from dataclasses import replace
from pathlib import Path

import pytest

from slurm_bench.effects import store
from slurm_bench.effects.cluster import Job
from slurm_bench.pure.budget import Terms, held_gpu_seconds
from slurm_bench.steps.ledger import Ledger, Patience, Shrinkable
from slurm_bench.words.accounting import LedgerEntry
from slurm_bench.words.errors import BudgetExceeded, InfrastructureError, JobRefused, SchedulerError, StorageError
from slurm_bench.words.paths import CalibrationPaths, SessionPaths
from tests import small_disk
from tests.fake_cluster import FakeCluster

GRACE_S = 0.1


def job(tmp_path: Path, name: str = "job", tasks: int = 4) -> Job:
    return Job(name, tmp_path / "jobs", ["true"], tasks, 2, 8, False, 1)


def ledger(
    tmp_path: Path, cluster: FakeCluster, grace_s: float = GRACE_S, limit: float = 1.0, *, silence_s: float = 0.1
) -> Ledger:
    paths = SessionPaths(tmp_path / "campaign" / "session")
    return Ledger(paths, cluster, Terms(limit, 1.0), Patience(grace_s, silence_s))


def only(book: Ledger) -> LedgerEntry:
    (entry,) = book.entries()
    return entry


def test_what_is_over_is_settled_though_nobody_waited(tmp_path: Path) -> None:
    book = ledger(tmp_path, FakeCluster())
    book.run_to_queue("retiming", job(tmp_path))
    assert held_gpu_seconds(only(book)) == 4 * 2 * (60 + FakeCluster.overrun_s)
    book.settle_finished()
    assert held_gpu_seconds(only(book)) == 8


def test_tasks_without_a_trace_are_cancelled_only_after_the_grace(tmp_path: Path) -> None:
    cluster = FakeCluster(lost={2})
    patient = ledger(tmp_path, cluster, grace_s=3600)
    patient.run_to_queue("retiming", job(tmp_path))
    patient.settle_finished()
    assert only(patient).settled_at is None
    ledger(tmp_path, cluster, grace_s=-1).settle_finished()
    assert only(patient).settled_at
    assert only(patient).charged_gpu_seconds == 6


def test_a_job_whose_id_was_lost_is_found_by_its_name(tmp_path: Path) -> None:
    cluster = FakeCluster()
    cluster.dying_after_queueing = True
    book = ledger(tmp_path, cluster)
    with pytest.raises(KeyboardInterrupt):
        book.run_to_queue("retiming", job(tmp_path))
    assert only(book).job_id is None
    book.settle_finished()
    assert only(book).job_id == "1" and only(book).charged_gpu_seconds == 8
    cluster.dying_after_queueing = False
    assert book.run_to_queue("retiming", job(tmp_path)).job_id == "1"
    assert len(cluster.queued) == 1


def test_a_job_that_can_never_start_is_cancelled_and_said(tmp_path: Path) -> None:
    cluster = FakeCluster(one_by_one=True)
    book = ledger(tmp_path, cluster)
    name = book.run_to_queue("retiming", job(tmp_path)).job_name
    cluster.stuck = "PartitionTimeLimit"
    with pytest.raises(InfrastructureError, match="was cancelled: it waited for 0 minutes for PartitionTimeLimit"):
        book.wait_until_over(name, 0.01, lambda states: None)
    cluster.stuck = ""
    book.wait_until_over(name, 0.01, lambda states: None)
    assert only(book).settled_at


def test_a_full_disk_is_waited_out_as_a_silent_scheduler_is(tmp_path: Path) -> None:
    with small_disk.mounted(tmp_path / "disk") as disk:
        book = ledger(disk, FakeCluster(one_by_one=True), silence_s=60)
        name = book.run_to_queue("retiming", job(tmp_path)).job_name
        filler = small_disk.fill(disk)
        threading.Timer(1.5, filler.unlink).start()
        assert book.wait_until_over(name, 0.01, lambda states: None).charged_gpu_seconds == 8


def test_a_disk_that_stays_full_leaves_a_job_to_whoever_comes_next(tmp_path: Path) -> None:
    with small_disk.mounted(tmp_path / "disk") as disk:
        book = ledger(disk, FakeCluster())
        name = book.run_to_queue("retiming", job(tmp_path)).job_name
        filler = small_disk.fill(disk)
        with pytest.raises(StorageError, match="No space left on device for 0 s; make room or mend it, then"):
            book.wait_until_over(name, 0.01, lambda states: None)
        filler.unlink()
        assert held_gpu_seconds(only(book)) == only(book).reserved_gpu_seconds
        assert book.wait_until_over(name, 0.01, lambda states: None).charged_gpu_seconds == 8


def test_what_another_desk_learns_before_sbatch_has_answered_stays_known(tmp_path: Path) -> None:
    """It finds the job by its name, sees it end and settles it; the answer that comes then takes nothing back."""

    class Slow(FakeCluster):
        def submit(self, job: Job) -> str:
            job_id = super().submit(job)
            other_desk.settle_finished()
            return job_id

    cluster = Slow()
    book, other_desk = ledger(tmp_path, cluster), ledger(tmp_path, cluster)
    queued = book.run_to_queue("retiming", job(tmp_path))
    assert queued == only(book) and queued.job_id == "1"
    assert queued.settled_at and queued.charged_gpu_seconds == 8


def test_what_sbatch_says_is_believed_only_where_the_queue_agrees(tmp_path: Path) -> None:
    """It says no, and the job is there all the same: it is reserved for, and not queued again."""
    cluster = FakeCluster()
    cluster.lying = True
    book = ledger(tmp_path, cluster)
    assert book.run_to_queue("retiming", job(tmp_path)).job_id == "1"
    assert held_gpu_seconds(only(book)) > 0


def test_what_the_accounting_learns_later_is_charged_later(tmp_path: Path) -> None:
    book = ledger(tmp_path, FakeCluster())
    book.run_to_queue("retiming", job(tmp_path))
    book.settle_finished()
    settled = only(book)
    more = replace(settled.attempts[0], elapsed_s=11)
    book.correct({"job": [more], "another": [more]})
    assert only(book).charged_gpu_seconds == settled.charged_gpu_seconds + 20
    assert only(book).settled_at == settled.settled_at


def test_reservations_add_up_until_they_are_settled(tmp_path: Path) -> None:
    worst_case = 4 * 2 * (60 + FakeCluster.overrun_s) / 3600
    cluster = FakeCluster(one_by_one=True)
    book = ledger(tmp_path, cluster, limit=1.5 * worst_case)
    book.run_to_queue("retiming", job(tmp_path, "first"))
    with pytest.raises(BudgetExceeded):
        book.run_to_queue("retiming", job(tmp_path, "second"))
    for _ in range(4):
        book.settle_finished()
    assert book.run_to_queue("retiming", job(tmp_path, "second")).job_id == "2"


def test_while_the_scheduler_is_silent_nothing_is_reserved_or_queued(tmp_path: Path) -> None:
    cluster = FakeCluster()
    cluster.silent = True
    book = ledger(tmp_path, cluster)
    with pytest.raises(SchedulerError):
        book.run_to_queue("retiming", job(tmp_path))
    assert not book.entries() and not cluster.queued


def test_sbatch_without_an_answer_keeps_its_reservation_for_the_grace(tmp_path: Path) -> None:
    """slurmctld may have taken it: only a queue that does not know it for the grace proves that it has not."""
    cluster = FakeCluster()
    cluster.unheard = True
    book = ledger(tmp_path, cluster, grace_s=3600)
    with pytest.raises(SchedulerError):
        book.run_to_queue("retiming", job(tmp_path))
    assert held_gpu_seconds(only(book)) > 0
    book.settle_finished()
    assert only(book).job_id is None
    ledger(tmp_path, cluster, grace_s=-1).settle_finished()
    assert not book.entries()


def test_a_refused_sbatch_keeps_nothing(tmp_path: Path) -> None:
    cluster = FakeCluster()
    cluster.refusing = True
    book = ledger(tmp_path, cluster)
    with pytest.raises(JobRefused):
        book.run_to_queue("retiming", job(tmp_path))
    assert not book.entries()


def session_job(tmp_path: Path, minutes: int) -> Job:
    return Job("link", tmp_path / "jobs", ["true"], 1, 2, 8, False, minutes)


def test_a_link_takes_what_the_budget_leaves_it(tmp_path: Path) -> None:
    """Of two hours one is kept for a submission: half an hour of two GPUs is left, with the overrun of 90 s."""
    cluster = FakeCluster()
    book = ledger(tmp_path, cluster, limit=2.0)
    entry = book.run_to_queue("session", session_job(tmp_path, 600), Shrinkable(least_minutes=10, keep=1.0))
    assert entry.limit_s == 28 * 60
    assert held_gpu_seconds(entry) / 3600 <= 1.0
    assert cluster.queued[0].limit_minutes == 28


def test_a_link_that_fits_keeps_its_limit(tmp_path: Path) -> None:
    book = ledger(tmp_path, FakeCluster(), limit=100.0)
    entry = book.run_to_queue("session", session_job(tmp_path, 600), Shrinkable(least_minutes=10, keep=1.0))
    assert entry.limit_s == 600 * 60


def test_a_link_that_is_not_worth_it_is_refused(tmp_path: Path) -> None:
    cluster = FakeCluster()
    book = ledger(tmp_path, cluster, limit=1.2)
    with pytest.raises(BudgetExceeded) as refused:
        book.run_to_queue("session", session_job(tmp_path, 600), Shrinkable(least_minutes=10, keep=1.0))
    assert refused.value.worst_case == pytest.approx(1.0 + 2 * (600 + 90) / 3600)
    assert not book.entries() and not cluster.queued


def test_a_calibration_counts_for_every_session_that_rests_on_it(tmp_path: Path) -> None:
    campaign = tmp_path / "campaign"
    shared = CalibrationPaths(campaign / "calibrations/record")
    terms, patience = Terms(1.0, 1.0), Patience(GRACE_S, 0.1)
    books = [Ledger(SessionPaths(campaign / name), FakeCluster(), terms, patience) for name in ("one", "two")]
    Ledger(shared, FakeCluster(), terms, patience).run_to_queue("calibration", job(tmp_path))
    held = held_gpu_seconds(entry_in(shared)) / 3600
    assert [book.balances().own.left for book in books] == [1.0, 1.0]
    for book in books:
        book.rest_on(shared)
        book.rest_on(shared)
    assert [book.balances().own.left for book in books] == [1.0 - held, 1.0 - held]


def entry_in(paths: CalibrationPaths) -> LedgerEntry:
    (path,) = paths.ledger.glob("*.json")
    return store.read(path, LedgerEntry)


def test_what_another_link_can_be_paid_from(tmp_path: Path) -> None:
    """What is only reserved may still come back; what costs nothing, or does not count, can always be paid."""
    least = Shrinkable(least_minutes=10, keep=0.5)
    link = session_job(tmp_path, 600)
    assert not ledger(tmp_path, FakeCluster(), limit=0.8).could_afford("session", link, least)
    book = ledger(tmp_path, FakeCluster(one_by_one=True), limit=0.9)
    assert book.could_afford("session", link, least)
    book.run_to_queue("retiming", job(tmp_path))
    assert book.could_afford("session", link, least), "it is only reserved"
    with pytest.raises(BudgetExceeded) as refused:
        book.run_to_queue("session", link, least)
    assert not refused.value.for_good
    assert ledger(tmp_path, FakeCluster(), limit=0.001).could_afford("session", replace(link, gpus=0), least)
